use std::fmt::Write;

use crate::address::HostPattern;
use crate::app::AccessMethod;
use crate::digest::sha256;

/// What the cookies are called that carry tokens
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieNames {
    session: String,
    path_app: String,
    subdomain_app: String,
    /// The name subdomain apps had before it depended on their hosts
    subdomain_app_before: String,
    signed_app_token: String,
}

impl CookieNames {
    /// The control plane's names, behind `prefix`, which is empty as a rule
    ///
    /// Cookies of `*.example.com` reach proxies at `*.sydney.example.com` too. Sharing a
    /// name they displaced each other, and browsers went in circles; so the name of
    /// subdomain apps' cookie depends on where these live.
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
        }
    }

    /// Carries the dashboard's session token
    #[must_use]
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Carries the session token of apps that are reached that way
    #[must_use]
    pub fn app_session(&self, method: AccessMethod) -> &str {
        match method {
            AccessMethod::Subdomain => &self.subdomain_app,
            AccessMethod::Path | AccessMethod::Terminal => &self.path_app,
        }
    }

    /// Carries a signed app token
    #[must_use]
    pub fn signed_app_token(&self) -> &str {
        &self.signed_app_token
    }

    /// Carries the dashboard's session token where the control plane has it bound to its host
    ///
    /// Since v2.31 it does so under a setting of its own (`CODER_HOST_PREFIX_COOKIE`). Browsers
    /// take a cookie of that name from no other host and from no page, so it goes before
    /// [`session`](Self::session).
    #[must_use]
    pub const fn host_session(&self) -> &'static str {
        HOST_SESSION
    }

    /// Whether a cookie of that name is read as the session token of such apps
    pub(super) fn is_app_session(&self, name: &str, method: AccessMethod) -> bool {
        name == self.app_session(method)
            || method == AccessMethod::Subdomain && name == self.subdomain_app_before
    }

    /// Whether an app must never see a cookie of that name
    ///
    /// The cookies of other hosts' apps are among them: they reach this one's too.
    #[must_use]
    pub fn is_withheld(&self, name: &str) -> bool {
        let exact = [&self.session, &self.path_app, &self.signed_app_token];
        exact.into_iter().any(|withheld| withheld == name)
            || name.starts_with(&self.subdomain_app_before)
            || name == HOST_SESSION
            || OAUTH.contains(&name)
    }
}

const SESSION: &str = "coder_session_token";
const HOST_SESSION: &str = "__Host-coder_session_token";
const PATH_APP: &str = "coder_path_app_session_token";
const SUBDOMAIN_APP: &str = "coder_subdomain_app_session_token";
const SIGNED_APP_TOKEN: &str = "coder_signed_app_token";

/// The cookies of a sign-in that is under way
const OAUTH: [&str; 2] = ["oauth_state", "oauth_redirect"];
