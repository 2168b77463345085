//! A service has the parts that were added to it, and answers the routes that were chosen

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agent_auth::{Candidate, Candidates, ProvenInstance, Rules};
use authd_http::{
    AppsConfig, Exposition, Health, Limits, OidcConfig, PortError, RouteGroup, Routes, Service,
    routes,
};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use identity_fetch::{Clock, Identity};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use store::MemoryStore;
use uuid::Uuid;

const APP_HOST: &str = "code--dev--alice.apps.test";

const GROUPS: [(RouteGroup, &[&str]); 13] = [
    (
        RouteGroup::AgentSignIn,
        &[
            "/api/v2/authd/instance-identity/challenge",
            "/api/v2/workspaceagents/aws-instance-identity",
            "/api/v2/workspaceagents/azure-instance-identity",
            "/api/v2/workspaceagents/google-instance-identity",
        ],
    ),
    (
        RouteGroup::Apps,
        &[
            "/api/v2/applications/auth-redirect",
            "/api/v2/applications/host",
            "/api/v2/applications/reconnecting-pty-signed-token",
        ],
    ),
    (
        RouteGroup::ForwardAuth,
        &[
            "/api/v2/forward-auth/caddy",
            "/api/v2/forward-auth/control-plane/caddy",
            "/api/v2/forward-auth/control-plane/envoy",
            "/api/v2/forward-auth/control-plane/nginx",
            "/api/v2/forward-auth/control-plane/traefik",
            "/api/v2/forward-auth/envoy",
            "/api/v2/forward-auth/nginx",
            "/api/v2/forward-auth/nginx/answer",
            "/api/v2/forward-auth/timeout",
            "/api/v2/forward-auth/traefik",
            "/api/v2/forward-auth/unreachable",
        ],
    ),
    (
        RouteGroup::Proxies,
        &[
            "/api/v2/workspaceproxies/jwks.json",
            "/api/v2/workspaceproxies/me/crypto-keys",
            "/api/v2/workspaceproxies/me/issue-signed-app-token",
        ],
    ),
    (RouteGroup::LogIn, &["/login", "/logout", "/api/v2/users/logout"]),
    (RouteGroup::Oidc, &["/api/v2/users/oidc/backchannel-logout", "/api/v2/users/oidc/callback"]),
    (RouteGroup::Home, &["/"]),
    (
        RouteGroup::Audit,
        &[
            "/api/v2/audit",
            "/api/v2/authd/audit/acts",
            "/audit",
            "/audit/export.csv",
            "/audit/export.jsonl",
        ],
    ),
    (RouteGroup::Import, &["/api/v2/authd/import"]),
    (RouteGroup::Revocations, &["/api/v2/authd/revocations"]),
    (RouteGroup::Shares, &["/api/v2/authd/shares"]),
    (RouteGroup::Health, &["/healthz", "/readyz"]),
    (RouteGroup::Metrics, &["/metrics"]),
];

fn clock() -> Clock {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000);
    Arc::new(move || now)
}

/// A service with every part
fn whole() -> Service {
    let store = Arc::new(MemoryStore::default());
    Service::over(&store, Identity::builtin(), Rules::default(), Limits::default(), clock())
        .with_revocations(Arc::clone(&store))
        .with_apps(Arc::clone(&store), config())
        .with_oidc(store, oidc())
}

/// A provider at which nothing listens
fn oidc() -> OidcConfig {
    OidcConfig::new("http://127.0.0.1:1", "authd", &config().access_url).unwrap()
}

fn config() -> AppsConfig {
    let mut config = AppsConfig::new("https://coder.test".parse().unwrap());
    config.app_hosts = Some("*.apps.test".parse().unwrap());
    config
}

/// The status, and the answer to a program
async fn ask(service: &Service, host: &str, path: &str) -> (StatusCode, String) {
    let known = routes().find(|(known, _)| *known == path);
    let methods = known.map_or_else(String::new, |(_, methods)| methods);
    let method = if methods.starts_with("POST") { "POST" } else { "GET" };
    let request = Request::builder().method(method).uri(path).header("host", host);
    let answer = service.answer(request.body(Full::<Bytes>::default()).unwrap()).await;
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn is_found(service: &Service, path: &str) -> bool {
    let (status, body) = ask(service, "coder.test", path).await;
    let is_found = !body.contains("Route not found.");
    assert!(is_found || status == StatusCode::NOT_FOUND, "{path}");
    is_found
}

#[tokio::test]
async fn every_route_is_of_one_group_and_each_group_can_be_left_out() {
    let in_groups: Vec<&str> = GROUPS.iter().flat_map(|(_, paths)| *paths).copied().collect();
    let known: BTreeSet<&str> = routes().map(|(path, _)| path).collect();
    assert_eq!(in_groups.len(), known.len());
    assert_eq!(in_groups.iter().copied().collect::<BTreeSet<_>>(), known);

    for (group, paths) in GROUPS {
        let without = whole().with_routes(Routes::all().without(group));
        let alone = whole().with_routes(Routes::none().with(group));
        for path in &in_groups {
            let is_of_group = paths.contains(path);
            assert_eq!(is_found(&without, path).await, !is_of_group, "{path} without {group:?}");
            assert_eq!(is_found(&alone, path).await, is_of_group, "{path} with {group:?} alone");
        }
    }
}

#[tokio::test]
async fn a_path_without_a_route_is_the_apps_on_its_host() {
    // Not found by the gate: no such workspace exists.
    let is_visit = |(status, body): &(StatusCode, String)| {
        *status == StatusCode::NOT_FOUND && body.contains("Application Not Found")
    };
    let whole = whole();
    for path in ["/", "/audit", "/x"] {
        let answer = ask(&whole, APP_HOST, path).await;
        assert!(is_visit(&answer), "{path}: {answer:?}");
    }
    assert!(!is_visit(&ask(&whole, APP_HOST, "/login").await));
    let reduced = Routes::all().without(RouteGroup::LogIn).without(RouteGroup::Metrics);
    let reduced = whole.clone().with_routes(reduced);
    for path in ["/", "/login", "/metrics"] {
        let answer = ask(&reduced, APP_HOST, path).await;
        assert!(is_visit(&answer), "{path}: {answer:?}");
        assert_eq!(is_found(&reduced, path).await, path == "/");
    }
    // Without apps there are no visits.
    let none = whole.with_routes(Routes::all().without(RouteGroup::Apps));
    let (status, body) = ask(&none, APP_HOST, "/x").await;
    assert_eq!((status, body.contains("Route not found.")), (StatusCode::NOT_FOUND, true));
}

/// No table but that of agents
struct Machines;

impl Candidates for Machines {
    type Id = Uuid;
    type Token = Uuid;
    type Error = Infallible;

    async fn by_instance(&self, _: ProvenInstance<'_>) -> Result<Vec<Candidate>, Infallible> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn absent_parts_are_not_found() {
    let bare = Service::new(Limits::default(), clock());
    let agents =
        bare.clone().with_agents(Arc::new(Machines), Identity::builtin(), Rules::default());
    let store = Arc::new(MemoryStore::default());
    let apps = bare.clone().with_apps(Arc::clone(&store), config());
    let with_log = apps.clone().with_audit_log(Arc::clone(&store));
    let with_import = apps.clone().with_import(Arc::clone(&store));
    let with_sharing = apps.clone().with_sharing(Arc::clone(&store));
    let with_oidc = apps.clone().with_oidc(Arc::clone(&store), oidc());
    // Of its own, since clones share what finds revocations.
    let with_revocations = Service::new(Limits::default(), clock())
        .with_revocations(Arc::clone(&store))
        .with_apps(store, config());
    for (group, paths) in GROUPS {
        let is_of_apps = !matches!(
            group,
            RouteGroup::AgentSignIn
                | RouteGroup::Audit
                | RouteGroup::Import
                | RouteGroup::Oidc
                | RouteGroup::Revocations
                | RouteGroup::Shares
                | RouteGroup::Health
                | RouteGroup::Metrics
        );
        for path in paths {
            let (is_health, is_audit) = (
                matches!(group, RouteGroup::Health | RouteGroup::Metrics),
                group == RouteGroup::Audit,
            );
            // Routes of app access say that it is off.
            let off = ask(&bare, "coder.test", path).await;
            let is_off = off.1.contains("App access is not configured.");
            let may_be_off = !is_health && group != RouteGroup::AgentSignIn;
            assert_eq!((is_off, off.0 == 404), (may_be_off, !is_health), "{path}: {off:?}");
            for (service, expected) in [
                (&agents, group != RouteGroup::AgentSignIn || !is_off),
                (&apps, is_of_apps || is_health),
                (&with_log, is_of_apps || is_health || is_audit),
                (&with_import, is_of_apps || is_health || group == RouteGroup::Import),
                (&with_revocations, is_of_apps || is_health || group == RouteGroup::Revocations),
                (&with_sharing, is_of_apps || is_health || group == RouteGroup::Shares),
                (&with_oidc, is_of_apps || is_health || group == RouteGroup::Oidc),
            ] {
                assert_eq!(is_found(service, path).await, expected, "{path}");
            }
        }
    }
    assert!(bare.identity().is_none() && apps.identity().is_none() && agents.identity().is_some());
    assert_eq!(ask(&agents, "coder.test", "/readyz").await, (StatusCode::OK, "ready\n".into()));
}

/// A database that is away, or whose tables do not fit
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Away,
    Unfit,
    Broken,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Fault {}

impl PortError for Fault {
    fn is_unavailable(&self) -> bool {
        *self != Self::Broken
    }

    fn unfit(&self) -> Option<String> {
        (*self == Self::Unfit).then(|| "a column is missing".to_owned())
    }
}

struct Database(Option<Fault>);

impl Health for Database {
    type Error = Fault;

    async fn ping(&self) -> Result<(), Fault> {
        self.0.map_or(Ok(()), Err)
    }
}

#[tokio::test]
async fn readiness_and_metrics_know_the_health_of_the_host() {
    let unreachable = "The database is not reachable.";
    for (fault, ready, up) in [
        (None, "ready", "authd_database_up 1"),
        (Some(Fault::Away), unreachable, "authd_database_up 0"),
        (Some(Fault::Unfit), "a column is missing", "authd_database_up 1"),
        (Some(Fault::Broken), unreachable, "authd_database_up 1"),
    ] {
        let service =
            Service::new(Limits::default(), clock()).with_health(Arc::new(Database(fault)));
        let (status, body) = ask(&service, "coder.test", "/readyz").await;
        assert_eq!(status == 200, fault.is_none(), "{fault:?}");
        assert!(body.contains(ready), "{body}");
        let (_, metrics) = ask(&service, "coder.test", "/metrics").await;
        assert!(metrics.lines().any(|line| line == up), "{fault:?}: {metrics}");
    }
    let (_, metrics) =
        ask(&Service::new(Limits::default(), clock()), "coder.test", "/metrics").await;
    assert!(!metrics.contains("authd_database_up 1"), "{metrics}");
}

#[tokio::test]
async fn metrics_are_part_of_a_registry_of_the_host() {
    let mut registry = Registry::default();
    let service = whole();
    service.register_metrics(&mut registry);
    assert_eq!(ask(&service, "coder.test", "/login").await.0, 200);
    let text = || {
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    };
    // What is counted is there at once, and what is computed once that was asked for.
    let answered = r#"authd_http_requests_total{route="login",status="200"} 1"#;
    assert!(text().contains(answered) && !text().contains("authd_database_up 1"));
    service.refresh_metrics().await;
    assert!(text().contains("authd_database_up 1"));
    let own = service.metrics_text(Exposition::OpenMetrics).await.unwrap();
    let of_registry = text();
    let (mut own, mut of_host): (Vec<_>, Vec<_>) =
        (std::str::from_utf8(&own).unwrap().lines().collect(), of_registry.lines().collect());
    own.sort_unstable();
    of_host.sort_unstable();
    assert_eq!(own, of_host);
}
