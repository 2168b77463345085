use http::Method;

use crate::apps::Upstream;
use crate::error::Failure;
use crate::routes::forward_auth::Carrier;

/// What a request asks for, by method and path
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Route {
    AppHost,
    AppUnreachable,
    Audit,
    AuthRedirect,
    AwsInstanceIdentity,
    AzureInstanceIdentity,
    CryptoKeys,
    ForwardAuth(Carrier, Upstream),
    ForwardAuthAnswer,
    GoogleInstanceIdentity,
    Healthz,
    Home,
    Import,
    IssueAppToken,
    IssueTerminalToken,
    Jwks,
    LogOut,
    LogOutPage,
    Metrics,
    Readyz,
    SignIn,
    /// An app itself, by its host or path: exactly matched paths come first, but for `/`
    Visit,
}

/// Every exact path, the methods allowed there, and what answers
const ROUTES: &[(&str, &str, Route)] = &[
    ("/", "GET, HEAD", Route::Home),
    // It makes a session, so nothing that merely looks ahead may ask.
    ("/api/v2/applications/auth-redirect", "GET", Route::AuthRedirect),
    ("/api/v2/applications/host", "GET, HEAD", Route::AppHost),
    ("/api/v2/applications/reconnecting-pty-signed-token", "POST", Route::IssueTerminalToken),
    ("/api/v2/audit", "GET, HEAD", Route::Audit),
    ("/api/v2/authd/import", "POST", Route::Import),
    ("/api/v2/forward-auth/caddy", ANY, Route::ForwardAuth(Carrier::Caddy, Upstream::Apps)),
    (
        "/api/v2/forward-auth/control-plane/caddy",
        ANY,
        Route::ForwardAuth(Carrier::Caddy, Upstream::ControlPlane),
    ),
    (
        envoy_prefix(Upstream::ControlPlane),
        ANY,
        Route::ForwardAuth(Carrier::Envoy, Upstream::ControlPlane),
    ),
    (
        "/api/v2/forward-auth/control-plane/nginx",
        ANY,
        Route::ForwardAuth(Carrier::Nginx, Upstream::ControlPlane),
    ),
    (
        "/api/v2/forward-auth/control-plane/traefik",
        ANY,
        Route::ForwardAuth(Carrier::Traefik, Upstream::ControlPlane),
    ),
    (envoy_prefix(Upstream::Apps), ANY, Route::ForwardAuth(Carrier::Envoy, Upstream::Apps)),
    ("/api/v2/forward-auth/nginx", ANY, Route::ForwardAuth(Carrier::Nginx, Upstream::Apps)),
    ("/api/v2/forward-auth/nginx/answer", ANY, Route::ForwardAuthAnswer),
    ("/api/v2/forward-auth/traefik", ANY, Route::ForwardAuth(Carrier::Traefik, Upstream::Apps)),
    ("/api/v2/forward-auth/unreachable", ANY, Route::AppUnreachable),
    ("/api/v2/users/logout", "POST", Route::LogOut),
    ("/api/v2/workspaceagents/aws-instance-identity", "POST", Route::AwsInstanceIdentity),
    ("/api/v2/workspaceagents/azure-instance-identity", "POST", Route::AzureInstanceIdentity),
    ("/api/v2/workspaceagents/google-instance-identity", "POST", Route::GoogleInstanceIdentity),
    ("/api/v2/workspaceproxies/jwks.json", "GET, HEAD", Route::Jwks),
    ("/api/v2/workspaceproxies/me/crypto-keys", "GET, HEAD", Route::CryptoKeys),
    ("/api/v2/workspaceproxies/me/issue-signed-app-token", "POST", Route::IssueAppToken),
    ("/healthz", "GET, HEAD", Route::Healthz),
    ("/login", "GET, HEAD, POST", Route::SignIn),
    ("/logout", "POST", Route::LogOutPage),
    ("/metrics", "GET, HEAD", Route::Metrics),
    ("/readyz", "GET, HEAD", Route::Readyz),
];

/// Proxies pass on whatever method was asked
const ANY: &str = "*";

/// Every path there is, with the methods allowed: a list separated by commas, or `*`
///
/// Below [those of Envoy](envoy_prefix) any path may follow. For code that describes or
/// tests the interface.
#[doc(hidden)]
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROUTES.iter().map(|(path, methods, _)| (*path, *methods))
}

/// The path of Envoy's checks, which the visitor's own path follows
pub(crate) const fn envoy_prefix(upstream: Upstream) -> &'static str {
    match upstream {
        Upstream::Apps => "/api/v2/forward-auth/envoy",
        Upstream::ControlPlane => "/api/v2/forward-auth/control-plane/envoy",
    }
}

impl Route {
    /// Finds the route of an exact path
    ///
    /// Nothing is decoded, folded or trimmed: a path that needs normalising is not
    /// one of ours.
    pub(crate) fn find(method: &Method, path: &str) -> Result<Self, Failure> {
        let exact = ROUTES.iter().find(|(known, _, _)| *known == path);
        let below = |upstream: &Upstream| {
            let rest = path.strip_prefix(envoy_prefix(*upstream));
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        let (allowed, route) = match exact {
            Some((_, allowed, route)) => (*allowed, *route),
            None => match [Upstream::Apps, Upstream::ControlPlane].into_iter().find(below) {
                Some(upstream) => (ANY, Self::ForwardAuth(Carrier::Envoy, upstream)),
                None => return Err(Failure::RouteNotFound),
            },
        };
        if allowed == ANY || allowed.split(", ").any(|allowed| allowed == method.as_str()) {
            Ok(route)
        } else {
            Err(Failure::MethodNotAllowed { allowed })
        }
    }

    /// The label under which metrics and logs know the route
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AppHost => "app-host",
            Self::AppUnreachable => "app-unreachable",
            Self::Audit => "audit",
            Self::AuthRedirect => "auth-redirect",
            Self::AwsInstanceIdentity => "aws-instance-identity",
            Self::AzureInstanceIdentity => "azure-instance-identity",
            Self::CryptoKeys => "crypto-keys",
            Self::ForwardAuth(carrier, Upstream::Apps) => match carrier {
                Carrier::Caddy => "forward-auth-caddy",
                Carrier::Envoy => "forward-auth-envoy",
                Carrier::Nginx => "forward-auth-nginx",
                Carrier::Traefik => "forward-auth-traefik",
            },
            Self::ForwardAuth(carrier, Upstream::ControlPlane) => match carrier {
                Carrier::Caddy => "forward-auth-control-plane-caddy",
                Carrier::Envoy => "forward-auth-control-plane-envoy",
                Carrier::Nginx => "forward-auth-control-plane-nginx",
                Carrier::Traefik => "forward-auth-control-plane-traefik",
            },
            Self::ForwardAuthAnswer => "forward-auth-answer",
            Self::GoogleInstanceIdentity => "google-instance-identity",
            Self::Healthz => "healthz",
            Self::Home => "home",
            Self::Import => "import",
            Self::IssueAppToken => "issue-app-token",
            Self::IssueTerminalToken => "issue-terminal-token",
            Self::Jwks => "jwks",
            Self::LogOut => "logout",
            Self::LogOutPage => "logout-page",
            Self::Metrics => "metrics",
            Self::Readyz => "readyz",
            Self::SignIn => "login",
            Self::Visit => "visit",
        }
    }

    /// Whether the route is answered even when authd has all the work it can take
    ///
    /// Whoever watches authd must be able to tell "busy" from "dead".
    pub(crate) const fn is_operational(self) -> bool {
        matches!(self, Self::Healthz | Self::Metrics | Self::Readyz)
    }
}
