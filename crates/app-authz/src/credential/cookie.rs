use std::fmt::Write;

use super::set_cookie::{HOST_PREFIX, SECURE_PREFIX};
use crate::address::HostPattern;
use crate::app::AccessMethod;
use crate::digest::sha256;

/// The names of the cookies that carry tokens
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieNames {
    prefix: String,
    session: String,
    path_app: String,
    subdomain_app: String,
    /// The name for subdomain apps before it depended on their hosts
    subdomain_app_before: String,
    signed_app_token: String,
    sign_in: String,
    oidc: String,
    /// Whether browsers accept cookies that are bound to their host
    is_secure: bool,
}

impl CookieNames {
    /// The control plane's names with `prefix` before them, which is usually empty
    ///
    /// Cookies of `*.example.com` also reach proxies at `*.sydney.example.com`. Under one name
    /// they replaced each other, which sent browsers into redirect loops. So the name for
    /// subdomain apps depends on the pattern of their hosts.
    #[must_use]
    pub fn new(prefix: &str, app_hosts: Option<&HostPattern>) -> Self {
        let before = format!("{prefix}{SUBDOMAIN_APP}");
        let mut subdomain_app = before.clone();
        if let Some(hosts) = app_hosts {
            subdomain_app.push('_');
            for byte in &sha256(hosts.to_string().as_bytes())[..16] {
                // Writing to a string cannot fail.
                let _ = write!(subdomain_app, "{byte:02x}");
            }
        }
        Self {
            prefix: prefix.to_owned(),
            session: format!("{prefix}{SESSION}"),
            path_app: format!("{prefix}{PATH_APP}"),
            subdomain_app,
            subdomain_app_before: before,
            signed_app_token: format!("{prefix}{SIGNED_APP_TOKEN}"),
            sign_in: format!("{prefix}{SIGN_IN}"),
            oidc: format!("{prefix}{OIDC}"),
            is_secure: false,
        }
    }

    /// The same names, for cookies that are `Secure` if `is_secure`
    ///
    /// Cookies are then bound to the host that sets them, where their path and their domain allow
    /// it. A browser accepts a name with the prefix `__Host-` only from that host itself, and only
    /// for a cookie that is secure and has the path `/` and no domain (RFC 6265bis, section
    /// 4.1.3.2). So no other host of the same site can set it.
    #[must_use]
    pub fn secure(self, is_secure: bool) -> Self {
        Self { is_secure, ..self }
    }

    /// The cookie with the dashboard's session token
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// The cookie with the session token of apps that are reached by `method`
    #[must_use]
    pub fn app_session(&self, method: AccessMethod) -> &str {
        match method {
            AccessMethod::Subdomain => &self.subdomain_app,
            AccessMethod::Path | AccessMethod::Terminal => &self.path_app,
        }
    }

    /// The cookie of an app's own host with the session token of apps, which takes precedence over
    /// [`app_session`](Self::app_session); `None` if cookies are not [secure](Self::secure)
    #[must_use]
    pub const fn host_app_session(&self, method: AccessMethod) -> Option<&'static str> {
        match method {
            _ if !self.is_secure => None,
            AccessMethod::Subdomain => Some(HOST_SUBDOMAIN_APP),
            AccessMethod::Path | AccessMethod::Terminal => Some(HOST_PATH_APP),
        }
    }

    /// The cookie with a signed app token for an app that is reached by `method`
    ///
    /// That of an app by path has the path of the app, so it cannot be bound to the host.
    #[must_use]
    pub fn signed_app_token(&self, method: AccessMethod) -> &str {
        match method {
            AccessMethod::Subdomain if self.is_secure => HOST_SIGNED_APP_TOKEN,
            _ => &self.signed_app_token,
        }
    }

    /// The cookie with the dashboard's session token that is bound to its host
    ///
    /// The control plane sets it since v2.31 with the setting `CODER_HOST_PREFIX_COOKIE`. It takes
    /// precedence over [`session`](Self::session).
    #[must_use]
    pub const fn host_session(&self) -> &'static str {
        HOST_SESSION
    }

    /// The cookie for a new session at the dashboard
    #[must_use]
    pub fn new_session(&self) -> &str {
        if self.is_secure { HOST_SESSION } else { &self.session }
    }

    /// The cookie of an app's host for a browser that is signing in, which holds a
    /// [`Nonce`](crate::token::Nonce)
    #[must_use]
    pub fn sign_in(&self) -> &str {
        if self.is_secure { HOST_SIGN_IN } else { &self.sign_in }
    }

    /// How the names of the dashboard's cookies begin for a browser that is at an OpenID provider
    ///
    /// A browser may sign in in several tabs, so each sign-in has a name of its own.
    #[must_use]
    pub fn oidc(&self) -> &str {
        if self.is_secure { HOST_OIDC } else { &self.oidc }
    }

    /// Whether a cookie of that name is read as a session token of apps reached by `method`
    pub(super) fn is_app_session(&self, name: &str, method: AccessMethod) -> bool {
        name == self.app_session(method)
            || method == AccessMethod::Subdomain && name == self.subdomain_app_before
    }

    /// Whether a cookie of that name is read as a session token of apps reached by `method`, and
    /// only this host can have set it
    pub(super) fn is_host_app_session(&self, name: &str, method: AccessMethod) -> bool {
        name == match method {
            AccessMethod::Subdomain => HOST_SUBDOMAIN_APP,
            AccessMethod::Path | AccessMethod::Terminal => HOST_PATH_APP,
        }
    }

    /// Whether a cookie of that name must not reach an app
    ///
    /// Includes the cookies for apps of other patterns, which browsers may send to this host
    /// as well.
    pub(super) fn is_withheld(&self, name: &str) -> bool {
        let is_plain = |name: &[u8]| {
            EXACT.iter().any(|exact| exact.as_bytes() == name)
                || name.starts_with(SUBDOMAIN_APP.as_bytes())
                || name.starts_with(OIDC.as_bytes())
        };
        self.without_prefixes(name.as_bytes()).into_iter().any(is_plain)
    }

    /// Whether a text begins like the name of a cookie that an app must not set, in any case
    pub(super) fn is_of_ours(&self, text: &[u8]) -> bool {
        let is_plain = |text: &[u8]| OURS.iter().any(|own| without(text, own).is_some());
        self.without_prefixes(text).into_iter().any(is_plain)
    }

    /// The name as it is, and without the prefixes that browsers know and that of the deployment, in
    /// either order
    fn without_prefixes<'a>(&self, name: &'a [u8]) -> [&'a [u8]; 4] {
        let without_own = |name: &'a [u8]| without(name, &self.prefix).unwrap_or(name);
        let of_browser = |name: &'a [u8]| {
            let known = [HOST_PREFIX, SECURE_PREFIX].into_iter();
            known.filter_map(|prefix| without(name, prefix)).next().unwrap_or(name)
        };
        let bare = of_browser(name);
        [name, bare, without_own(bare), of_browser(without_own(name))]
    }
}

/// The text after `prefix`, which is compared without case
fn without<'a>(text: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    let (begin, rest) = text.split_at_checked(prefix.len())?;
    begin.eq_ignore_ascii_case(prefix.as_bytes()).then_some(rest)
}

const SESSION: &str = "coder_session_token";
const HOST_SESSION: &str = "__Host-coder_session_token";
const PATH_APP: &str = "coder_path_app_session_token";
const SUBDOMAIN_APP: &str = "coder_subdomain_app_session_token";
const SIGNED_APP_TOKEN: &str = "coder_signed_app_token";
const SIGN_IN: &str = "authd_sign_in";
const OIDC: &str = "authd_oidc_";
const HOST_OIDC: &str = "__Host-authd_oidc_";
const HOST_SIGN_IN: &str = "__Host-authd_sign_in";
const HOST_PATH_APP: &str = "__Host-coder_path_app_session_token";
const HOST_SUBDOMAIN_APP: &str = "__Host-coder_subdomain_app_session_token";
const HOST_SIGNED_APP_TOKEN: &str = "__Host-coder_signed_app_token";

/// How the names begin that an app must not set
const OURS: [&str; 5] = ["authd_", SESSION, SIGNED_APP_TOKEN, PATH_APP, SUBDOMAIN_APP];

/// The names of cookies that an app must not see, beside those of subdomain apps; the last two are
/// those of a sign-in at the control plane that is in progress
const EXACT: [&str; 6] =
    [SESSION, PATH_APP, SIGNED_APP_TOKEN, SIGN_IN, "oauth_state", "oauth_redirect"];
