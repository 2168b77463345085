use std::str::FromStr;
use std::time::Duration;

use app_authz::Rules;
use app_authz::address::{HostPattern, HttpUrl};
use app_authz::app::INACTIVE_TIMEOUT;
use app_authz::rbac::Switches;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::proxies::TrustedProxies;

/// How apps are reached, and on what terms
///
/// Start with [`new`](Self::new) and change what differs; the defaults are the strict
/// ones.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AppsConfig {
    /// The URL of the dashboard, at the root of its host
    pub access_url: HttpUrl,
    /// The pattern of app hosts; without one apps are reached by path alone
    ///
    /// Under a pattern without a port, apps are on the port of the access URL or on the usual
    /// one of its scheme.
    pub app_hosts: Option<HostPattern>,
    /// Refuse apps that are reached by path
    pub disable_path_apps: bool,
    /// How decisions depart from the default
    pub rules: Rules,
    /// How the built-in roles depart from the default
    pub switches: Switches,
    /// The longest an app session lasts
    pub session_duration: Duration,
    /// Never extend a session by its use
    pub disable_expiry_refresh: bool,
    /// Never extend an API token by its use
    pub disable_token_expiry_refresh: bool,
    /// What cookies say beside their value
    pub cookies: CookieConfig,
    /// Whose word on clients and hosts is taken
    pub trusted: TrustedProxies,
    /// How long a connected agent may be silent
    pub agent_inactive_timeout: Duration,
    /// Without a visit for so long an audit session is over
    pub audit_session_timeout: Duration,
    /// Record the end of an audit session too
    pub audit_close_rows: bool,
    /// What becomes of a visit that cannot be recorded
    pub audit_fail: AuditFail,
    /// How app tokens are signed
    pub signing: Signing,
}

impl AppsConfig {
    /// Apps by path alone, below `access_url`
    #[must_use]
    pub fn new(access_url: HttpUrl) -> Self {
        Self {
            access_url,
            app_hosts: None,
            disable_path_apps: false,
            // The control plane enforces it only with a licence.
            rules: Rules::default().enforce_max_port_sharing(false),
            switches: Switches::default(),
            session_duration: Duration::from_secs(24 * 60 * 60),
            disable_expiry_refresh: false,
            disable_token_expiry_refresh: false,
            cookies: CookieConfig::default(),
            trusted: TrustedProxies::default(),
            agent_inactive_timeout: INACTIVE_TIMEOUT,
            audit_session_timeout: Duration::from_secs(60 * 60),
            audit_close_rows: false,
            audit_fail: AuditFail::default(),
            signing: Signing::default(),
        }
    }
}

/// What cookies say beside their value
#[derive(Clone, Debug, Default)]
pub struct CookieConfig {
    /// Sent over TLS alone
    pub secure: bool,
    /// Whether other sites' pages send them
    pub same_site: SameSite,
    /// Kept apart for each site that embeds the app
    pub partitioned: bool,
    /// What stands before every name
    pub prefix: String,
}

/// Whether a cookie is sent with requests that pages of other sites make
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// Only if the user follows a link
    #[default]
    Lax,
    /// Always, which apps in frames of other sites need
    None,
}

impl SameSite {
    /// All values
    pub const ALL: [Self; 2] = [Self::Lax, Self::None];

    /// The value as text: `lax` or `none`
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lax => "lax",
            Self::None => "none",
        }
    }
}

impl FromStr for SameSite {
    type Err = ParseValueError;

    fn from_str(text: &str) -> Result<Self, ParseValueError> {
        parse(text, &Self::ALL, Self::as_str)
    }
}

/// What happens to a visit that cannot be recorded
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditFail {
    /// It is allowed, and the whole event is logged
    #[default]
    Open,
    /// It is refused
    Closed,
}

impl AuditFail {
    /// All values
    pub const ALL: [Self; 2] = [Self::Open, Self::Closed];

    /// The value as text: `open` or `closed`
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

impl FromStr for AuditFail {
    type Err = ParseValueError;

    fn from_str(text: &str) -> Result<Self, ParseValueError> {
        parse(text, &Self::ALL, Self::as_str)
    }
}

/// How app tokens are signed
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Signing {
    /// HMAC, as the control plane does: every verifier has the key to sign with
    #[default]
    Hs512,
    /// Ed25519: proxies verify with public keys
    Eddsa,
}

impl Signing {
    /// All values
    pub const ALL: [Self; 2] = [Self::Hs512, Self::Eddsa];

    /// The value as text: `hs512` or `eddsa`
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs512 => "hs512",
            Self::Eddsa => "eddsa",
        }
    }
}

impl FromStr for Signing {
    type Err = ParseValueError;

    fn from_str(text: &str) -> Result<Self, ParseValueError> {
        parse(text, &Self::ALL, Self::as_str)
    }
}

/// A text is not one of the values of a setting
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{text}` is not one of {}", values.join(", "))]
pub struct ParseValueError {
    text: String,
    values: Vec<&'static str>,
}

fn parse<T: Copy>(
    text: &str,
    all: &[T],
    as_str: fn(T) -> &'static str,
) -> Result<T, ParseValueError> {
    let found = all.iter().copied().find(|value| as_str(*value) == text);
    found.ok_or_else(|| ParseValueError {
        text: text.to_owned(),
        values: all.iter().copied().map(as_str).collect(),
    })
}
