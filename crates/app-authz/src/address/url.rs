use std::fmt;
use std::str::FromStr;

use thiserror::Error as ThisError;

use crate::Error;

/// An absolute `http` or `https` URL, parsed only as far as a redirect needs
///
/// Host, path and query stay as they were written: decoding or joining them could change
/// what they mean. Hosts are compared without case, so two URLs that differ only in the case
/// of their hosts are equal. A text with a user part, a fragment, a backslash or a control
/// character is refused: browsers and servers disagree about these, and open redirects
/// depend on such disagreement.
#[derive(Clone, Debug)]
pub struct HttpUrl {
    scheme: Scheme,
    /// In lower case
    host: String,
    /// The host as it was written, if it is not in lower case
    written: Option<String>,
    port: Option<u16>,
    /// Starts with a slash
    path: String,
    query: Option<String>,
}

/// The scheme of a URL
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub(crate) const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl HttpUrl {
    /// Parses the URL of an app, which the author of a template wrote for browsers
    ///
    /// A fragment is cut off, as it never reaches a server. In path and query, spaces,
    /// quotes, angle brackets and characters that are not ASCII are percent-encoded, as a
    /// browser does it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUrl`] if the rest is not a URL.
    pub fn of_app(text: &str) -> Result<Self, Error> {
        let url = text.split_once('#').map_or(text, |(url, _)| url);
        if is_sound(url) {
            return url.parse();
        }
        // The slashes of the scheme do not begin the path.
        let host = url.find("://").map_or(0, |at| at + 3);
        let path = url[host..].find(['/', '?']).map_or(url.len(), |at| host + at);
        let (host, rest) = url.split_at(path);
        let mut encoded = host.to_owned();
        for byte in rest.bytes() {
            match byte {
                b' ' | b'"' | b'<' | b'>' | 128.. => push_encoded(&mut encoded, byte),
                byte => encoded.push(char::from(byte)),
            }
        }
        parse(&encoded).map_err(|kind| UrlError::new(text, kind).into())
    }

    /// The scheme
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host without port, in lower case
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether `authority`, as a `Host` header has it, names this host, on any port
    ///
    /// Case, trailing dots and surrounding white space are ignored.
    #[must_use]
    pub fn is_on(&self, authority: &str) -> bool {
        let authority = authority.trim();
        // Most hosts already differ at the beginning, so few are parsed.
        let begin = authority.get(..self.host.len());
        begin.is_some_and(|begin| begin.eq_ignore_ascii_case(&self.host))
            && split_authority(authority)
                .is_some_and(|(host, _)| host.trim_end_matches('.').len() == self.host.len())
    }

    /// The port, if the URL has one
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The port of the URL, or the default port of its scheme
    #[must_use]
    pub const fn effective_port(&self) -> u16 {
        match self.port {
            Some(port) => port,
            None => self.scheme.default_port(),
        }
    }

    /// Host and port as a `Host` header has them, in the case in which they were written
    #[must_use]
    pub fn authority(&self) -> String {
        let host = self.written.as_ref().unwrap_or(&self.host);
        match self.port {
            Some(port) => format!("{host}:{port}"),
            None => host.clone(),
        }
    }

    /// Scheme, host and port: everything before the path
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme.as_str(), self.authority())
    }

    /// The path as it was written, with its leading slash
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query as it was written, without the question mark
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The same URL with another scheme
    #[must_use]
    pub const fn with_scheme(mut self, scheme: Scheme) -> Self {
        self.scheme = scheme;
        self
    }

    /// The same URL on another host: `HOST` or `HOST:PORT`
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUrl`] if `authority` is not a host with an optional port.
    pub fn with_authority(mut self, authority: &str) -> Result<Self, Error> {
        (self.host, self.written, self.port) = parse_authority(authority)
            .ok_or_else(|| UrlError::new(authority, UrlErrorKind::Authority))?;
        Ok(self)
    }

    /// The same URL with another query, which must be encoded; empty for none
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUrl`] if `query` has a character that a URL cannot have.
    pub fn with_query(mut self, query: &str) -> Result<Self, Error> {
        if !is_sound(query) {
            return Err(UrlError::new(query, UrlErrorKind::Character).into());
        }
        self.query = Some(query.to_owned()).filter(|query| !query.is_empty());
        Ok(self)
    }

    /// The same scheme, host and port with another path and query, which must be encoded
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUrl`] if the path does not start with exactly one slash or has a
    /// segment `..`, encoded or not, and if path or query has a character that it cannot have
    /// in a URL.
    pub fn with_path(mut self, path: &str, query: Option<&str>) -> Result<Self, Error> {
        let broken = if !is_sound(path) || path.contains('?') || !query.is_none_or(is_sound) {
            Some(UrlErrorKind::Character)
        } else if !path.starts_with('/') || path.starts_with("//") {
            Some(UrlErrorKind::Path)
        } else if path.split('/').any(climbs) {
            Some(UrlErrorKind::Climbs)
        } else {
            None
        };
        if let Some(kind) = broken {
            return Err(UrlError::new(path, kind).into());
        }
        path.clone_into(&mut self.path);
        self.query = query.filter(|query| !query.is_empty()).map(str::to_owned);
        Ok(self)
    }
}

impl PartialEq for HttpUrl {
    fn eq(&self, other: &Self) -> bool {
        let Self { scheme, host, written: _, port, path, query } = self;
        (scheme, host, port, path, query)
            == (&other.scheme, &other.host, &other.port, &other.path, &other.query)
    }
}

impl Eq for HttpUrl {}

impl FromStr for HttpUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|kind| UrlError::new(text, kind).into())
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.path)?;
        match &self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

/// A text that is not a URL, or not a part of one, that is safe to send a browser to
#[derive(Clone, Debug, ThisError, PartialEq, Eq)]
#[error("`{text}` is not a valid url: {kind}")]
pub struct UrlError {
    text: String,
    kind: UrlErrorKind,
}

impl UrlError {
    fn new(text: &str, kind: UrlErrorKind) -> Self {
        Self { text: text.to_owned(), kind }
    }

    /// The text as it was given
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is wrong with the text
    #[must_use]
    pub const fn kind(&self) -> UrlErrorKind {
        self.kind
    }
}

/// What is wrong with a URL
#[derive(Clone, Copy, Debug, ThisError, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UrlErrorKind {
    /// The URL is relative, or its scheme is neither `http` nor `https`
    #[error("it does not begin with `http://` or `https://`")]
    Scheme,
    /// Host or port is missing or malformed, or the URL has a user part
    #[error("its host or port is not valid")]
    Authority,
    /// The path does not start with exactly one slash
    #[error("its path does not start with exactly one slash")]
    Path,
    /// The path has a segment `..`, encoded or not
    #[error("its path has a segment `..`")]
    Climbs,
    /// The text has a character that must be encoded, or a fragment
    #[error("it has a character that must be encoded")]
    Character,
}

/// Encodes `value` as the value of a query parameter
///
/// Form encoding (`application/x-www-form-urlencoded`): a space becomes `+`. In a value of more than
/// 2,048 bytes only those bytes are encoded that would change its meaning: addresses are encoded
/// within addresses, and servers limit how long they may be.
#[must_use]
pub fn encode_query_value(value: &str) -> String {
    let is_long = value.len() > 2048;
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            b'/' | b'?' | b':' | b'@' | b'!' | b'$' | b'(' | b')' | b'*' | b',' | b'=' | b'{'
            | b'}' | b'[' | b']' | b'|'
                if is_long =>
            {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            byte => push_encoded(&mut encoded, byte),
        }
    }
    encoded
}

/// Encodes every byte that the path of a URL must not contain, as browsers do; escapes are kept
///
/// Clients write paths in any way, and the control plane's proxies send them decoded. A question
/// mark is part of the path, and does not begin a query.
#[must_use]
pub fn encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'?' | b'#' | b'"' | b'<' | b'>' | b'\\' => push_encoded(&mut encoded, byte),
            byte if byte.is_ascii_graphic() => encoded.push(char::from(byte)),
            byte => push_encoded(&mut encoded, byte),
        }
    }
    encoded
}

fn push_encoded(text: &mut String, byte: u8) {
    let digit = |nibble: u8| char::from(b"0123456789ABCDEF"[usize::from(nibble)]);
    text.extend(['%', digit(byte >> 4), digit(byte & 15)]);
}

fn parse(text: &str) -> Result<HttpUrl, UrlErrorKind> {
    if !is_sound(text) {
        return Err(UrlErrorKind::Character);
    }
    let (scheme, rest) = text.split_once("://").ok_or(UrlErrorKind::Scheme)?;
    let scheme = match &*scheme.to_ascii_lowercase() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err(UrlErrorKind::Scheme),
    };
    let (authority, path_and_query) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (host, written, port) = parse_authority(authority).ok_or(UrlErrorKind::Authority)?;
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (path_and_query, None),
    };
    let path = if path.is_empty() { "/" } else { path }.to_owned();
    Ok(HttpUrl { scheme, host, written, port, path, query })
}

/// The host in lower case, the host as it is written if that differs, and the port
fn parse_authority(authority: &str) -> Option<(String, Option<String>, Option<u16>)> {
    let (written, port) = split_authority(authority)?;
    let host = written.to_ascii_lowercase();
    let written = (host != written).then(|| written.to_owned());
    Some((host, written, port))
}

/// Host and port, as they are written
fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            let host = &authority[..address.len() + 2];
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if !host.starts_with('[') && (host.is_empty() || !host.bytes().all(is_host)) {
        return None;
    }
    let port = match port {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
        None => None,
    };
    Some((host, port))
}

/// Whether the text has only characters that a URL without a fragment may have
fn is_sound(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#' | b'"' | b'<' | b'>'))
}

/// Whether a segment of a path is `..`, encoded or not
fn climbs(segment: &str) -> bool {
    segment.replace("%2e", ".").replace("%2E", ".") == ".."
}
