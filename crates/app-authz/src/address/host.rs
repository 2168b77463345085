use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::address::HttpUrl;

/// The pattern of the hosts on which apps are served, such as `*.apps.example.com`
///
/// The `*` is the first character and stands for one label or the first part of one. A port
/// in the pattern is used to build URLs; a host matches on any port. Patterns are compared
/// without case.
#[derive(Clone, Debug)]
pub struct HostPattern {
    /// What follows the `*`, without the port, as it was written
    suffix: String,
    port: Option<u16>,
}

impl HostPattern {
    /// The part of `host` that the `*` stands for, as it is written there
    ///
    /// `None` if the host does not match. The case of the rest, a trailing dot, a port and
    /// surrounding white space are ignored.
    #[must_use]
    pub fn capture<'a>(&self, host: &'a str) -> Option<&'a str> {
        let host = bare(host);
        let (captured, suffix) =
            host.split_at_checked(host.len().checked_sub(self.suffix.len())?)?;
        let is_captured = suffix.eq_ignore_ascii_case(&self.suffix)
            && !captured.is_empty()
            && !captured.contains('.');
        is_captured.then_some(captured)
    }

    /// The host on which the app of that name is served, with the port of the pattern
    #[must_use]
    pub fn host_of(&self, app: &impl fmt::Display) -> String {
        match self.port {
            Some(port) => format!("{app}{}:{port}", self.suffix),
            None => format!("{app}{}", self.suffix),
        }
    }

    /// The hosts of all apps as a source of a Content Security Policy
    ///
    /// A policy cannot match a part of a label, so `*--apps.example.com` becomes
    /// `*.example.com`.
    #[must_use]
    pub fn csp_source(&self) -> String {
        let domain = self.suffix.split_once('.').map_or("", |(_, domain)| domain);
        match self.port {
            Some(port) => format!("*.{domain}:{port}"),
            None => format!("*.{domain}"),
        }
    }

    /// The port in the pattern, if it has one
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether apps may be served on `port`, where `base` is the URL of their deployment
    ///
    /// If the pattern has a port, they are served on that port only. Otherwise they are on
    /// the port of the base or on the default port of its scheme: the control plane's
    /// dashboard adds the port of the base to its links, and its proxies do not.
    #[must_use]
    pub fn has_port(&self, port: u16, base: &HttpUrl) -> bool {
        match self.port {
            Some(own) => port == own,
            None => port == base.effective_port() || port == base.scheme().default_port(),
        }
    }

    /// The domain of all app hosts, for a cookie that they share
    #[must_use]
    pub fn domain(&self) -> &str {
        self.suffix.split_once('.').map_or("", |(_, domain)| domain)
    }

    /// The same pattern, with `port` if it has none of its own
    #[must_use]
    pub fn or_port(mut self, port: Option<u16>) -> Self {
        self.port = self.port.or(port);
        self
    }
}

impl PartialEq for HostPattern {
    fn eq(&self, other: &Self) -> bool {
        self.suffix.eq_ignore_ascii_case(&other.suffix) && self.port == other.port
    }
}

impl Eq for HostPattern {}

impl FromStr for HostPattern {
    type Err = Error;

    /// Parses `*SUFFIX` with an optional `:PORT`
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::InvalidHostPattern(text.to_owned());
        let (pattern, port) = match text.rsplit_once(':') {
            Some((pattern, port)) if is_digits(port) => {
                (pattern, Some(port.parse().map_err(|_| invalid())?))
            }
            _ => (text, None),
        };
        let suffix = pattern.strip_prefix('*').ok_or_else(invalid)?;
        // The label with the `*` is checked with a letter in its place.
        let mut labels = pattern.split('.').enumerate().map(|(at, label)| match at {
            0 => label.replacen('*', "a", 1),
            _ => label.to_owned(),
        });
        if !suffix.contains('.') || !labels.all(|label| is_host_label(&label)) {
            return Err(invalid());
        }
        Ok(Self { suffix: suffix.to_owned(), port })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host_of(&"*"))
    }
}

/// The name of an app or a port as the first label of its host:
/// `[PREFIX---]SLUG--WORKSPACE--USER` or `[PREFIX---]SLUG-OR-PORT--AGENT--WORKSPACE--USER`
///
/// The parts keep the case in which they were written, though names in hosts are compared
/// without case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppName {
    /// Letters, digits, hyphens and underscores that end in `---`, or empty
    pub prefix: String,
    /// The app's slug, or a port
    pub slug_or_port: String,
    /// The agent's name, which the host of a port must have
    pub agent: Option<String>,
    /// The workspace's name
    pub workspace: String,
    /// The user name of the workspace's owner
    pub user: String,
}

impl AppName {
    /// Whether the host has the form for ports
    ///
    /// The control plane takes four or five digits for a port, and a final `s` for TLS. Fewer
    /// digits are a port too, but their host is read like that of an app.
    #[must_use]
    pub fn is_port(&self) -> bool {
        is_port(&self.slug_or_port)
    }
}

impl FromStr for AppName {
    type Err = Error;

    /// Parses both forms
    ///
    /// The prefix ends with the last `---`. Runs of hyphens are split into threes from the
    /// left, as the control plane does it.
    fn from_str(label: &str) -> Result<Self, Error> {
        let invalid = || Error::InvalidAppName(label.to_owned());
        let (prefix, name) = label.split_at_checked(prefix_len(label)).ok_or_else(invalid)?;
        let (slug_or_port, rest) = cut(name).ok_or_else(invalid)?;
        let (first, second) = cut(rest).ok_or_else(invalid)?;
        let (agent, workspace, user) = match cut(second) {
            Some((workspace, user)) => (Some(first), workspace, user),
            None => (None, first, second),
        };
        let is_sound =
            prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
                && [slug_or_port, workspace, user].into_iter().all(is_name)
                && agent.is_none_or(is_name)
                && (agent.is_some() || !is_port(slug_or_port));
        if !is_sound {
            return Err(invalid());
        }
        Ok(Self {
            prefix: prefix.to_owned(),
            slug_or_port: slug_or_port.to_owned(),
            agent: agent.map(str::to_owned),
            workspace: workspace.to_owned(),
            user: user.to_owned(),
        })
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix, slug_or_port, agent, workspace, user } = self;
        write!(f, "{prefix}{slug_or_port}")?;
        if let Some(agent) = agent {
            write!(f, "--{agent}")?;
        }
        write!(f, "--{workspace}--{user}")
    }
}

/// Whether the agent in the host of an app is part of the request
///
/// Releases of the control plane differ. Hosts of both forms, and tokens that were signed
/// under the other rule, are understood under either rule. The rule decides what is signed,
/// because the control plane and its proxies compare a token with their own reading of the
/// host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AgentInHost {
    /// Since v2.27: only in the host of a port; in that of an app it is ignored
    #[default]
    OfPorts,
    /// Before v2.27: in every host
    OfAll,
}

/// What the host of a request names
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMeaning {
    /// Not an app: the dashboard, or a host outside of this deployment
    Dashboard,
    /// The app of that name, whether or not it exists
    App(AppName),
    /// The host that ends app sessions
    Logout,
    /// A host that fits the pattern, with a label that is not the name of an app
    Malformed(String),
}

impl HostMeaning {
    /// What `host` names, given the pattern of app hosts
    ///
    /// The `reserved` hosts are never those of apps, even if they fit the pattern: the
    /// dashboard's and this proxy's. The host must be that of the request itself, or come from
    /// a trusted proxy; that is not checked.
    #[must_use]
    pub fn of<'a>(
        host: &str,
        pattern: Option<&HostPattern>,
        reserved: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let same = |reserved: &str| bare(reserved).eq_ignore_ascii_case(bare(host));
        let Some(label) = pattern.and_then(|pattern| pattern.capture(host)) else {
            return Self::Dashboard;
        };
        if reserved.into_iter().any(same) {
            return Self::Dashboard;
        }
        if label.eq_ignore_ascii_case(LOGOUT_LABEL) {
            return Self::Logout;
        }
        label.parse().map_or_else(|_| Self::Malformed(label.to_owned()), Self::App)
    }
}

/// The host without port, trailing dot and surrounding white space
fn bare(host: &str) -> &str {
    let host = host.trim();
    let before_port = host.trim_end_matches(|end: char| end.is_ascii_digit()).strip_suffix(':');
    let name = before_port.filter(|_| !host.ends_with(':')).unwrap_or(host);
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether the text is a label of a host name: letters, digits, and inner hyphens
fn is_host_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !label.is_empty()
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Whether the text is four or five digits with at most one final `s`
fn is_port(text: &str) -> bool {
    let digits = text.strip_suffix(['s', 'S']).unwrap_or(text);
    matches!(digits.len(), 4 | 5) && is_digits(digits)
}

/// The length of the prefix of a label
fn prefix_len(label: &str) -> usize {
    let (mut end, mut hyphens) = (0, 0);
    for (at, byte) in label.bytes().enumerate() {
        hyphens = if byte == b'-' { hyphens + 1 } else { 0 };
        if hyphens == 3 {
            (end, hyphens) = (at + 1, 0);
        }
    }
    end
}

/// The text before the first two hyphens, and the text after them
///
/// On the path of every visit. For texts this short, comparing windows is faster than
/// `split_once`, which has to prepare its search.
fn cut(text: &str) -> Option<(&str, &str)> {
    let at = text.as_bytes().windows(2).position(|pair| pair == b"--")?;
    Some((text.get(..at)?, text.get(at + 2..)?))
}

/// Whether the text can be a part of an app's name: letters, digits, and single inner hyphens
pub(super) fn is_name(part: &str) -> bool {
    !part.is_empty()
        && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !part.starts_with('-')
        && !part.ends_with('-')
        && cut(part).is_none()
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The label of the host that removes the cookies of app sessions
const LOGOUT_LABEL: &str = "coder-logout";
