use std::fmt;

use hyper::Uri;
use thiserror::Error;

/// An `http` or `https` URL without user, query and fragment: the address of a service
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    tls: bool,
    /// Without the brackets of an IPv6 address
    host: String,
    port: u16,
    /// Host and port as they were written
    authority: String,
    /// Without a slash at the end
    path: String,
}

impl BaseUrl {
    /// Parses `text`; white space around it is ignored
    ///
    /// # Errors
    ///
    /// [`UrlError`], which says what is wrong.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        // Files of settings leave a space or a carriage return after a value.
        let text = text.trim();
        let wrong = |problem| UrlError { text: without_user(text), problem };
        // `Uri` silently drops a fragment.
        if text.contains(['?', '#']) {
            return Err(wrong(Problem::Query));
        }
        let uri: Uri = text.parse().map_err(|_| {
            wrong(if text.contains("://") { Problem::Malformed } else { Problem::NoScheme })
        })?;
        let (tls, usual_port) = match uri.scheme_str() {
            Some(scheme) if scheme.eq_ignore_ascii_case("http") => (false, 80),
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => (true, 443),
            Some(_) => return Err(wrong(Problem::OtherScheme)),
            None => return Err(wrong(Problem::NoScheme)),
        };
        let authority = uri.authority().ok_or_else(|| wrong(Problem::Malformed))?;
        let written_host = authority.host();
        let port = match authority.as_str().strip_prefix(written_host) {
            // A user precedes the host.
            None => return Err(wrong(Problem::User)),
            Some("") => usual_port,
            Some(port) => port
                .strip_prefix(':')
                .and_then(|port| port.parse().ok())
                .ok_or_else(|| wrong(Problem::Malformed))?,
        };
        let host = written_host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = host.unwrap_or(written_host).to_owned();
        if host.is_empty() {
            return Err(wrong(Problem::Malformed));
        }
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { tls, host, port, authority: authority.as_str().to_owned(), path })
    }

    /// Returns whether the scheme is `https`
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// Returns the host; an IPv6 address has no brackets
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port; the default port of the scheme if the URL has none
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Returns host and port as they were written, which is the value of the header `Host`
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns host and port; the port is always present
    pub(crate) fn host_and_port(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Appends `path` to the path of the URL
    pub(crate) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.path)
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

/// Removes from `text` what precedes an `@`, as that may be a password
fn without_user(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => text.to_owned(),
    }
}

/// Why a text is not the URL of a service
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{}` {problem}", text.escape_debug())]
pub struct UrlError {
    text: String,
    problem: Problem,
}

#[derive(Debug, Error, PartialEq, Eq)]
enum Problem {
    #[error("is not a URL such as https://coder.example.com")]
    Malformed,
    #[error("is not a URL: it lacks the scheme, http:// or https://")]
    NoScheme,
    #[error("has a scheme other than http:// and https://")]
    OtherScheme,
    #[error("has a query or a fragment, which is not supported")]
    Query,
    #[error("has a user before the host, which is not supported")]
    User,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_base_url() {
        for (text, tls, host_and_port, joined) in [
            ("http://127.0.0.1:8080", false, "127.0.0.1:8080", "/api"),
            ("HTTP://coder.example.com", false, "coder.example.com:80", "/api"),
            ("https://coder.example.com/", true, "coder.example.com:443", "/api"),
            ("https://coder.example.com//", true, "coder.example.com:443", "/api"),
            ("https://example.com/coder/", true, "example.com:443", "/coder/api"),
            ("http://[fd00:ec2::254]", false, "[fd00:ec2::254]:80", "/api"),
            ("http://[::1]:81", false, "[::1]:81", "/api"),
            (" https://coder.example.com\r\n", true, "coder.example.com:443", "/api"),
        ] {
            let url = BaseUrl::parse(text).unwrap();
            assert_eq!((url.is_tls(), &*url.host_and_port()), (tls, host_and_port), "{text}");
            assert_eq!(url.join("/api"), joined, "{text}");
        }
    }

    #[test]
    fn the_error_says_what_is_wrong() {
        for (text, problem) in [
            ("", Problem::NoScheme),
            ("coder.example.com", Problem::NoScheme),
            ("127.0.0.1:8080", Problem::NoScheme),
            ("coder.example.com:8080/x", Problem::NoScheme),
            ("/api", Problem::NoScheme),
            ("ftp://coder.example.com", Problem::OtherScheme),
            ("socks5://coder.example.com", Problem::OtherScheme),
            ("http://", Problem::Malformed),
            ("http://coder example.com", Problem::Malformed),
            ("http://coder.example.com:x", Problem::Malformed),
            ("http://coder.example.com:99999", Problem::Malformed),
            ("https://user:secret@coder.example.com", Problem::User),
            ("https://coder.example.com?x=y", Problem::Query),
            ("https://coder.example.com/#top", Problem::Query),
        ] {
            let error = BaseUrl::parse(text).unwrap_err();
            assert_eq!(error.problem, problem, "{text}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
