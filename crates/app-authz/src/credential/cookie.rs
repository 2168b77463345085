use std::fmt::Write;

use crate::address::HostPattern;
use crate::app::AccessMethod;
use crate::digest::sha256;

/// The names of the cookies that carry tokens
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieNames {
    session: String,
    path_app: String,
    subdomain_app: String,
    /// The name for subdomain apps before it depended on their hosts
    subdomain_app_before: String,
    signed_app_token: String,
    sign_in: String,
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
            session: format!("{prefix}{SESSION}"),
            path_app: format!("{prefix}{PATH_APP}"),
            subdomain_app,
            subdomain_app_before: before,
            signed_app_token: format!("{prefix}{SIGNED_APP_TOKEN}"),
            sign_in: format!("{prefix}{SIGN_IN}"),
        }
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

    /// The cookie with a signed app token
    #[must_use]
    pub fn signed_app_token(&self) -> &str {
        &self.signed_app_token
    }

    /// The cookie with the dashboard's session token, if the control plane binds it to its host
    ///
    /// It does so since v2.31 with the setting `CODER_HOST_PREFIX_COOKIE`. Browsers accept a
    /// cookie with the prefix `__Host-` only from the host itself, so it takes precedence over
    /// [`session`](Self::session).
    #[must_use]
    pub const fn host_session(&self) -> &'static str {
        HOST_SESSION
    }

    /// The cookie of an app's host for a browser that is signing in, which holds a
    /// [`Nonce`](crate::token::Nonce)
    ///
    /// Other hosts cannot set it if its attributes allow the prefix `__Host-`: it is secure, and
    /// has the path `/` and no domain (RFC 6265bis, section 4.1.3.2).
    #[must_use]
    pub fn sign_in(&self, is_secure: bool) -> &str {
        if is_secure { HOST_SIGN_IN } else { &self.sign_in }
    }

    /// Whether a cookie of that name is read as a session token of apps reached by `method`
    pub(super) fn is_app_session(&self, name: &str, method: AccessMethod) -> bool {
        name == self.app_session(method)
            || method == AccessMethod::Subdomain && name == self.subdomain_app_before
    }

    /// Whether a cookie of that name must not reach an app
    ///
    /// Includes the cookies for apps of other patterns, which browsers may send to this host
    /// as well.
    #[must_use]
    pub fn is_withheld(&self, name: &str) -> bool {
        let exact = [&self.session, &self.path_app, &self.signed_app_token, &self.sign_in];
        exact.into_iter().any(|withheld| withheld == name)
            || name.starts_with(&self.subdomain_app_before)
            || [HOST_SESSION, HOST_SIGN_IN].contains(&name)
            || OAUTH.contains(&name)
    }
}

const SESSION: &str = "coder_session_token";
const HOST_SESSION: &str = "__Host-coder_session_token";
const PATH_APP: &str = "coder_path_app_session_token";
const SUBDOMAIN_APP: &str = "coder_subdomain_app_session_token";
const SIGNED_APP_TOKEN: &str = "coder_signed_app_token";
const SIGN_IN: &str = "authd_sign_in";
const HOST_SIGN_IN: &str = "__Host-authd_sign_in";

/// The cookies of a sign-in in progress
const OAUTH: [&str; 2] = ["oauth_state", "oauth_redirect"];
