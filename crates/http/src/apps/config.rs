use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use app_authz::Rules;
use app_authz::address::{HostPattern, HttpUrl};
use app_authz::app::INACTIVE_TIMEOUT;
use app_authz::credential::SameSite;
use app_authz::rbac::Switches;
use app_authz::token::TOKEN_LIFETIME;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::proxies::TrustedProxies;
use crate::reply::Branding;

/// How apps are reached and protected
///
/// Start with [`new`](Self::new), whose values are the strict ones, and change what differs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AppsConfig {
    /// The URL of the dashboard, at the root of its host
    pub access_url: HttpUrl,
    /// The pattern of app hosts; without one apps are reached by path alone
    ///
    /// If the pattern has no port, apps are on the port of the access URL, which defaults to that
    /// of its scheme.
    pub app_hosts: Option<HostPattern>,
    /// Refuse apps that are reached by path
    pub disable_path_apps: bool,
    /// Options of the access decision
    pub rules: Rules,
    /// Options of the built-in roles
    pub switches: Switches,
    /// The longest lifetime of an app session
    pub session_duration: Duration,
    /// Do not extend sessions when they are used
    pub disable_expiry_refresh: bool,
    /// Do not extend API tokens when they are used
    pub disable_token_expiry_refresh: bool,
    /// Other sites whose pages may open terminals, beside the dashboard
    pub terminal_origins: Vec<HttpUrl>,
    /// The attributes and the name prefix of cookies
    pub cookies: CookieConfig,
    /// The proxies that are believed about client addresses and hosts
    pub trusted: TrustedProxies,
    /// How long after its last message an agent counts as connected
    pub agent_inactive_timeout: Duration,
    /// An audit session ends after this time without a visit
    pub audit_session_timeout: Duration,
    /// Also record the end of each audit session
    pub audit_close_rows: bool,
    /// Whether a visit that cannot be recorded is admitted
    pub audit_fail: AuditFail,
    /// The file that keeps audit events which the store did not get; `None` to log them
    pub audit_spool: Option<PathBuf>,
    /// How app tokens are signed
    pub signing: Signing,
    /// How long an app token is good: a minute at most
    pub token_lifetime: Duration,
    /// Who runs the deployment, as pages show it
    pub branding: Branding,
    /// Whether a control plane serves the access URL, with a page for each workspace; otherwise
    /// authd itself does
    pub has_dashboard: bool,
}

impl AppsConfig {
    /// Serves apps by path alone, below `access_url`
    #[must_use]
    pub fn new(access_url: HttpUrl) -> Self {
        Self {
            access_url,
            app_hosts: None,
            disable_path_apps: false,
            // The control plane enforces the maximum only with a licence.
            rules: Rules::default().enforce_max_port_sharing(false),
            switches: Switches::default(),
            session_duration: Duration::from_secs(24 * 60 * 60),
            disable_expiry_refresh: false,
            disable_token_expiry_refresh: false,
            terminal_origins: Vec::new(),
            cookies: CookieConfig::default(),
            trusted: TrustedProxies::default(),
            agent_inactive_timeout: INACTIVE_TIMEOUT,
            audit_session_timeout: Duration::from_secs(60 * 60),
            audit_close_rows: false,
            audit_fail: AuditFail::default(),
            audit_spool: None,
            signing: Signing::default(),
            token_lifetime: TOKEN_LIFETIME,
            branding: Branding::default(),
            has_dashboard: false,
        }
    }

    /// Serves apps by path below `access_url`, and on the hosts of `app_hosts`
    #[must_use]
    pub fn with_hosts(access_url: HttpUrl, app_hosts: HostPattern) -> Self {
        Self { app_hosts: Some(app_hosts), ..Self::new(access_url) }
    }
}

/// The attributes and the name prefix of cookies
#[derive(Clone, Debug, Default)]
pub struct CookieConfig {
    /// `Secure`: browsers send cookies over TLS only
    pub secure: bool,
    /// `SameSite`: whether requests from other sites' pages carry cookies
    pub same_site: SameSite,
    /// `Partitioned`: browsers keep separate cookies for each site that embeds an app
    pub partitioned: bool,
    /// Prepended to the name of every cookie
    pub prefix: String,
}

/// Whether a visit that cannot be recorded is admitted
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditFail {
    /// The visit is admitted, and the whole event is logged
    #[default]
    Open,
    /// The visit is refused
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
    /// HMAC, as the control plane uses it: a key that verifies tokens can also sign them
    #[default]
    Hs512,
    /// Ed25519: proxies verify tokens with public keys
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
