use std::fmt;

use http::Method;
use identity_verify::Cloud;

use crate::apps::Upstream;
use crate::error::Error;
use crate::explorer::Format;
use crate::route_groups::{RouteGroup, Routes};
use crate::routes::AppRoute;
use crate::routes::forward_auth::{Failure, ProxyKind, envoy_prefix};

/// The handler of a request, by method and path
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Route {
    Operational(Probe),
    SignIn(Cloud),
    Challenge,
    Apps(AppRoute),
}

/// A request about the server itself, which is answered even when the server is busy
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Probe {
    Live,
    Ready,
    Metrics,
}

/// A path, the methods that are allowed there, and the handler
pub(crate) struct Row {
    path: &'static str,
    methods: Methods,
    /// The label of the route in metrics and logs
    pub(crate) label: &'static str,
    pub(crate) route: Route,
    pub(crate) group: RouteGroup,
}

/// A visit to an app itself, by host or path: a request that no row matches
pub(crate) const VISIT: Row = apps("", Methods::ANY, "visit", AppRoute::Visit);

/// Every path, exactly: nothing is decoded, folded or trimmed
const ROWS: &[Row] = &[
    apps("/", Methods::GET, "home", AppRoute::Home),
    // This creates a session, so `HEAD` is not allowed.
    apps(
        "/api/v2/applications/auth-redirect",
        Methods::GET_ONLY,
        "auth-redirect",
        AppRoute::AuthRedirect,
    ),
    apps("/api/v2/applications/host", Methods::GET, "app-host", AppRoute::AppHost),
    apps(
        "/api/v2/applications/reconnecting-pty-signed-token",
        Methods::POST,
        "issue-terminal-token",
        AppRoute::IssueTerminalToken,
    ),
    apps("/api/v2/audit", Methods::GET, "audit", AppRoute::Audit),
    apps("/api/v2/authd/audit/acts", Methods::GET, "acts", AppRoute::Acts),
    apps("/api/v2/authd/import", Methods::POST, "import", AppRoute::Import),
    // An answer does not end, so `HEAD` is not allowed.
    apps("/api/v2/authd/revocations", Methods::GET_ONLY, "revocations", AppRoute::Revocations),
    apps("/api/v2/authd/shares", Methods::GET, "shares", AppRoute::Shares),
    apps("/api/v2/authd/shares", Methods::PUT, "replace-shares", AppRoute::ReplaceShares),
    Row {
        path: "/api/v2/authd/instance-identity/challenge",
        methods: Methods::POST,
        label: "challenge",
        route: Route::Challenge,
        group: RouteGroup::AgentSignIn,
    },
    check("/api/v2/forward-auth/caddy", "forward-auth-caddy", ProxyKind::Caddy, Upstream::Apps),
    check(
        "/api/v2/forward-auth/control-plane/caddy",
        "forward-auth-control-plane-caddy",
        ProxyKind::Caddy,
        Upstream::ControlPlane,
    ),
    check(
        envoy_prefix(Upstream::ControlPlane),
        "forward-auth-control-plane-envoy",
        ProxyKind::Envoy,
        Upstream::ControlPlane,
    ),
    check(
        "/api/v2/forward-auth/control-plane/nginx",
        "forward-auth-control-plane-nginx",
        ProxyKind::Nginx,
        Upstream::ControlPlane,
    ),
    check(
        "/api/v2/forward-auth/control-plane/traefik",
        "forward-auth-control-plane-traefik",
        ProxyKind::Traefik,
        Upstream::ControlPlane,
    ),
    check(envoy_prefix(Upstream::Apps), "forward-auth-envoy", ProxyKind::Envoy, Upstream::Apps),
    check("/api/v2/forward-auth/nginx", "forward-auth-nginx", ProxyKind::Nginx, Upstream::Apps),
    apps(
        "/api/v2/forward-auth/nginx/answer",
        Methods::ANY,
        "forward-auth-answer",
        AppRoute::ForwardAuthAnswer,
    ),
    apps(
        "/api/v2/forward-auth/timeout",
        Methods::ANY,
        "app-timeout",
        AppRoute::AppFailed(Failure::TimedOut),
    ),
    check(
        "/api/v2/forward-auth/traefik",
        "forward-auth-traefik",
        ProxyKind::Traefik,
        Upstream::Apps,
    ),
    apps(
        "/api/v2/forward-auth/unreachable",
        Methods::ANY,
        "app-unreachable",
        AppRoute::AppFailed(Failure::Unreachable),
    ),
    apps("/api/v2/users/logout", Methods::POST, "logout", AppRoute::LogOut),
    apps(
        "/api/v2/users/oidc/backchannel-logout",
        Methods::POST,
        "oidc-logout",
        AppRoute::OidcLogout,
    ),
    // This uses up the answer of the provider, so `HEAD` is not allowed.
    apps("/api/v2/users/oidc/callback", Methods::GET_ONLY, "oidc-callback", AppRoute::OidcCallback),
    sign_in("/api/v2/workspaceagents/aws-instance-identity", "aws-instance-identity", Cloud::Aws),
    sign_in(
        "/api/v2/workspaceagents/azure-instance-identity",
        "azure-instance-identity",
        Cloud::Azure,
    ),
    sign_in(
        "/api/v2/workspaceagents/google-instance-identity",
        "google-instance-identity",
        Cloud::Google,
    ),
    apps("/api/v2/workspaceproxies/jwks.json", Methods::GET, "jwks", AppRoute::Jwks),
    apps(
        "/api/v2/workspaceproxies/me/crypto-keys",
        Methods::GET,
        "crypto-keys",
        AppRoute::CryptoKeys,
    ),
    apps(
        "/api/v2/workspaceproxies/me/issue-signed-app-token",
        Methods::POST,
        "issue-app-token",
        AppRoute::IssueAppToken,
    ),
    apps("/audit", Methods::GET, "audit-page", AppRoute::AuditPage),
    apps("/audit/export.csv", Methods::GET, "audit-export-csv", AppRoute::AuditExport(Format::Csv)),
    apps(
        "/audit/export.jsonl",
        Methods::GET,
        "audit-export-jsonl",
        AppRoute::AuditExport(Format::JsonLines),
    ),
    probe("/healthz", "healthz", Probe::Live),
    apps("/login", Methods::GET, "login", AppRoute::LogInPage),
    apps("/login", Methods::POST, "login", AppRoute::LogIn),
    apps("/logout", Methods::POST, "logout-page", AppRoute::LogOutPage),
    probe("/metrics", "metrics", Probe::Metrics),
    probe("/readyz", "readyz", Probe::Ready),
];

const fn apps(path: &'static str, methods: Methods, label: &'static str, route: AppRoute) -> Row {
    Row { path, methods, label, route: Route::Apps(route), group: route.group() }
}

/// A proxy's check: proxies forward the method of the visitor's request
const fn check(
    path: &'static str,
    label: &'static str,
    proxy: ProxyKind,
    upstream: Upstream,
) -> Row {
    apps(path, Methods::ANY, label, AppRoute::ForwardAuth(proxy, upstream))
}

const fn sign_in(path: &'static str, label: &'static str, cloud: Cloud) -> Row {
    let (methods, group) = (Methods::POST, RouteGroup::AgentSignIn);
    Row { path, methods, label, route: Route::SignIn(cloud), group }
}

const fn probe(path: &'static str, label: &'static str, probe: Probe) -> Row {
    let group = match probe {
        Probe::Live | Probe::Ready => RouteGroup::Health,
        Probe::Metrics => RouteGroup::Metrics,
    };
    Row { path, methods: Methods::GET, label, route: Route::Operational(probe), group }
}

impl Row {
    /// Finds the row of a request among those that are `served`
    ///
    /// Any path may follow that of Envoy's checks, which append the visitor's own.
    ///
    /// # Errors
    ///
    /// [`Error::RouteNotFound`] and [`Error::MethodNotAllowed`].
    pub(crate) fn find(
        served: Routes,
        method: &Method,
        path: &str,
    ) -> Result<&'static Self, Error> {
        let matches = |row: &&'static Self| {
            (row.path == path || row.is_check_of_envoy(path)) && served.contains(row.group)
        };
        let mut allowed = Methods::NONE;
        for row in ROWS.iter().filter(matches) {
            if row.methods.contain(method) {
                return Ok(row);
            }
            allowed = allowed.or(row.methods);
        }
        match allowed {
            Methods::NONE => Err(Error::RouteNotFound),
            allowed => Err(Error::MethodNotAllowed { allowed: allowed.to_string() }),
        }
    }

    fn is_check_of_envoy(&self, path: &str) -> bool {
        matches!(self.route, Route::Apps(AppRoute::ForwardAuth(ProxyKind::Envoy, _)))
            && path.strip_prefix(self.path).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// Every path with the methods that are allowed there: a list separated by commas, or `*`
///
/// For code that describes or tests the interface. Any path may follow that of Envoy's checks.
#[doc(hidden)]
pub fn routes() -> impl Iterator<Item = (&'static str, String)> {
    let first = |(n, row): &(usize, &Row)| ROWS[..*n].iter().all(|other| other.path != row.path);
    ROWS.iter().enumerate().filter(first).map(|(_, row)| {
        let same_path = ROWS.iter().filter(|other| other.path == row.path);
        let methods = same_path.fold(Methods::NONE, |all, other| all.or(other.methods));
        (row.path, methods.to_string())
    })
}

/// A set of methods
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Methods(u8);

impl Methods {
    const NONE: Self = Self(0);
    const GET_ONLY: Self = Self(1);
    const GET: Self = Self(0b11);
    const POST: Self = Self(0b100);
    const PUT: Self = Self(0b1000);
    const ANY: Self = Self(u8::MAX);

    const NAMED: [(Self, Method); 4] = [
        (Self(1), Method::GET),
        (Self(0b10), Method::HEAD),
        (Self(0b100), Method::POST),
        (Self(0b1000), Method::PUT),
    ];

    const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn contain(self, method: &Method) -> bool {
        self == Self::ANY
            || Self::NAMED.iter().any(|(set, named)| self.0 & set.0 != 0 && named == method)
    }
}

/// As in the header `Allow`, and `*` for all methods
impl fmt::Display for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ANY {
            return f.write_str("*");
        }
        let named = Self::NAMED.iter().filter(|(set, _)| self.0 & set.0 != 0);
        let names: Vec<&str> = named.map(|(_, method)| method.as_str()).collect();
        f.write_str(&names.join(", "))
    }
}
