//! Every route, called by every kind of caller

use std::collections::BTreeSet;
use std::sync::Arc;

use app_authz::rbac::Switches;
use serde_json::json;
use store::fleet::SharingLevel;
use testkit::net::Answer;

use crate::api::undocumented;
use crate::oidc::Fake;
use crate::world::{ISSUE, Plan, World, text};

/// The callers, in the order of the table's columns
const ACTORS: [&str; 9] = [
    "anonymous",
    "owner",
    "colleague",
    "outsider",
    "site owner",
    "suspended",
    "scoped key",
    "proxy",
    "foreign key",
];

type Statuses = [u16; 9];

/// Method, path and query, body, and the status for each caller
const TABLE: &[(&str, &str, &str, Statuses)] = &[
    ("GET", "/", "", [303, 200, 200, 200, 200, 401, 404, 303, 303]),
    (
        "GET",
        "/api/v2/applications/auth-redirect?redirect_uri=https://owner--dev--alice.test.coder.com/",
        "",
        [303, 303, 404, 404, 303, 401, 404, 303, 303],
    ),
    ("GET", "/api/v2/applications/host", "", [401, 200, 200, 200, 200, 401, 200, 401, 401]),
    (
        "POST",
        "/api/v2/applications/reconnecting-pty-signed-token",
        "TERMINAL",
        [401, 200, 404, 404, 200, 401, 404, 401, 401],
    ),
    ("GET", "/api/v2/audit", "", [401, 403, 403, 403, 200, 401, 403, 401, 401]),
    ("GET", "/api/v2/authd/audit/acts", "", [401, 403, 403, 403, 200, 401, 403, 401, 401]),
    ("POST", "/api/v2/authd/import", "{}", [401, 403, 403, 403, 200, 401, 403, 401, 401]),
    // Any other answer to a proxy does not end.
    ("GET", "/api/v2/authd/revocations?after=x", "", [401, 401, 401, 401, 401, 401, 401, 400, 401]),
    (
        "GET",
        "/api/v2/authd/shares?workspace=alice/dev",
        "",
        [401, 200, 404, 404, 200, 401, 404, 401, 401],
    ),
    (
        "PUT",
        "/api/v2/authd/shares",
        r#"{"workspace": "alice/dev", "app": "owner", "users": [], "groups": []}"#,
        [401, 200, 404, 404, 200, 401, 404, 401, 401],
    ),
    ("GET", "/api/v2/forward-auth/caddy", "", [303, 200, 404, 404, 200, 401, 200, 303, 303]),
    (
        "GET",
        "/api/v2/forward-auth/control-plane/caddy",
        "",
        [303, 200, 404, 404, 200, 401, 200, 303, 303],
    ),
    (
        "GET",
        "/api/v2/forward-auth/control-plane/envoy",
        "",
        [303, 307, 404, 404, 307, 401, 307, 303, 303],
    ),
    (
        "GET",
        "/api/v2/forward-auth/control-plane/nginx",
        "",
        [401, 200, 401, 401, 200, 401, 200, 401, 401],
    ),
    (
        "GET",
        "/api/v2/forward-auth/control-plane/traefik",
        "",
        [303, 200, 404, 404, 200, 401, 200, 303, 303],
    ),
    ("GET", "/api/v2/forward-auth/envoy", "", [303, 307, 404, 404, 307, 401, 307, 303, 303]),
    ("GET", "/api/v2/forward-auth/nginx", "", [401, 200, 401, 401, 200, 401, 200, 401, 401]),
    ("GET", "/api/v2/forward-auth/nginx/answer", "", [400; 9]),
    ("GET", "/api/v2/forward-auth/timeout", "", [504; 9]),
    ("GET", "/api/v2/forward-auth/traefik", "", [303, 200, 404, 404, 200, 401, 200, 303, 303]),
    ("GET", "/api/v2/forward-auth/unreachable", "", [502; 9]),
    ("POST", "/api/v2/users/logout", "", [401, 200, 200, 200, 200, 401, 200, 401, 401]),
    ("POST", "/api/v2/users/oidc/backchannel-logout", "", [400; 9]),
    // To the provider.
    ("GET", "/api/v2/users/oidc/callback", "", [303; 9]),
    ("POST", "/api/v2/authd/instance-identity/challenge", "", [404; 9]),
    ("POST", "/api/v2/workspaceagents/aws-instance-identity", "{}", [400; 9]),
    ("POST", "/api/v2/workspaceagents/azure-instance-identity", "{}", [400; 9]),
    ("POST", "/api/v2/workspaceagents/google-instance-identity", "{}", [400; 9]),
    ("GET", "/api/v2/workspaceproxies/jwks.json", "", [404; 9]),
    (
        "GET",
        "/api/v2/workspaceproxies/me/crypto-keys?feature=workspace_apps_token",
        "",
        [401, 401, 401, 401, 401, 401, 401, 200, 401],
    ),
    // A complete request would be answered with a token, a page or an address.
    ("POST", ISSUE, "{}", [401, 401, 401, 401, 401, 401, 401, 500, 401]),
    ("GET", "/audit", "", [303, 403, 403, 403, 200, 401, 403, 303, 303]),
    ("GET", "/audit/export.csv", "", [401, 403, 403, 403, 200, 401, 403, 401, 401]),
    ("GET", "/audit/export.jsonl", "", [401, 403, 403, 403, 200, 401, 403, 401, 401]),
    ("GET", "/healthz", "", [200; 9]),
    ("GET", "/login", "", [200; 9]),
    ("POST", "/logout", "", [303; 9]),
    ("GET", "/metrics", "", [200; 9]),
    ("GET", "/readyz", "", [200; 9]),
];

async fn ask(world: &World, actor: &str, method: &str, path: &str, body: &str) -> Answer {
    let proxy = world.proxy.reveal();
    let credential = match actor {
        "anonymous" => None,
        "owner" => Some(("coder-session-token", world.token("alice"))),
        "colleague" => Some(("coder-session-token", world.token("bob"))),
        "outsider" => Some(("coder-session-token", world.token("carol"))),
        "site owner" => Some(("coder-session-token", world.token("root"))),
        "suspended" => Some(("coder-session-token", world.token("sue"))),
        "scoped key" => Some(("coder-session-token", world.scoped("alice"))),
        "proxy" => Some(("coder-external-proxy-token", &*proxy)),
        _ => Some(("coder-session-token", "AAAAAAAAAA-BBBBBBBBBBBBBBBBBBBBBB")),
    };
    let host = "owner--agent--dev--alice.test.coder.com";
    let mut headers =
        vec![("x-forwarded-host", host), ("x-forwarded-uri", "/"), ("accept", "text/html")];
    if path.ends_with("/envoy") {
        headers.push(("host", host));
    }
    if path == "/" || path.starts_with("/audit") {
        // On an app's host, the path is the app's.
        headers = vec![("host", "coder.test"), ("accept", "text/html")];
    }
    headers.extend(credential);
    if !body.is_empty() {
        headers.push(("content-type", "application/json"));
    }
    let url = format!("wss://sydney.coder.com/api/v2/workspaceagents/{}/pty", world.agent);
    let terminal = json!({ "url": url, "agentID": world.agent }).to_string();
    let body = if body == "TERMINAL" { &terminal } else { body };
    world.send(method, path, &headers, body).await
}

/// With every route
async fn world() -> World {
    let mut plan = Fake::start().await.plan();
    plan.revocations = true;
    plan.serve().await
}

#[tokio::test]
async fn every_route_answers_every_caller_as_expected() {
    let known: BTreeSet<&str> = authd_http::routes().map(|(path, _)| path).collect();
    let listed: BTreeSet<&str> =
        TABLE.iter().map(|(_, path, ..)| path.split('?').next().unwrap()).collect();
    assert_eq!(known, listed, "a route is missing from the table, or the other way round");

    let shared = world().await;
    let mut wrong = Vec::new();
    for (method, path, body, statuses) in TABLE {
        for (actor, expected) in ACTORS.iter().zip(statuses) {
            // Logging out ends sessions that later requests need.
            let own = if path.ends_with("/logout") { Some(world().await) } else { None };
            let world = own.as_ref().unwrap_or(&shared);
            let answer = ask(world, actor, method, path, body).await;
            let status = answer.status;
            if status != *expected {
                wrong.push(format!("{method} {path} by {actor}: {status}, not {expected}"));
            }
            wrong.extend(undocumented(method, path, status, &answer.headers));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// scenario 186, 187, 189, 190, 192, 193, 195, 196, 198
#[tokio::test]
async fn each_sharing_level_opens_for_the_right_users_with_either_session() {
    let levels = ["owner", "org", "authed", "public"];
    let mut wrong = Vec::new();
    for (sharing, site_owner) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut plan = Plan::new();
        plan.config.rules = app_authz::Rules::default()
            .allow_path_app_sharing(sharing)
            .allow_path_app_site_owner_access(site_owner);
        let world = plan.serve().await;
        for (slug, who, scoped) in levels.into_iter().flat_map(|slug| {
            ["alice", "bob", "carol", "root", "sue", ""]
                .into_iter()
                .flat_map(move |who| [false, true].map(|scoped| (slug, who, scoped)))
        }) {
            let shared = |level: &str| match (who, level) {
                ("alice", _) | ("bob", "org" | "authed" | "public") => 200,
                ("sue", _) => 401,
                ("", "public") | ("carol" | "root", "authed" | "public") => 200,
                ("", _) => 303,
                _ => 404,
            };
            let own_host = if who == "root" { 200 } else { shared(slug) };
            let level = if sharing { slug } else { "owner" };
            // Root is in another organization, and may open apps by role if the switch allows it.
            let by_path = match (who, level) {
                ("root", "owner") if !site_owner => 404,
                ("root", _) => 200,
                _ => shared(level),
            };
            let token = match (who, scoped) {
                ("", _) => "",
                (_, true) => world.scoped(who),
                (_, false) => world.token(who),
            };
            let session = [("coder-session-token", token)];
            let path = format!("/@alice/dev.agent/apps/{slug}/");
            let path = world.visit("coder.test", &path, &session).await;
            let host = format!("{slug}--agent--dev--alice.test.coder.com");
            let host = world.visit(&host, "/", &session).await;
            let warned = |flag: &str| path.status == 404 && text(&path).contains(flag);
            let observed = (
                path.status.as_u16(),
                host.status.as_u16(),
                warned("--dangerous-allow-path-app-sharing"),
                warned("--dangerous-allow-path-app-site-owner-access"),
            );
            let denied = by_path == 404;
            let forced = denied && level != slug;
            let expected = (by_path, own_host, forced, denied && who == "root");
            if observed != expected {
                wrong.push(format!("{sharing} {site_owner} {slug} {who} {scoped}: {observed:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// scenario 148, 199
#[tokio::test]
async fn roles_do_not_open_dormant_workspaces_or_apps_they_no_longer_permit() {
    let mut plan = Plan::new();
    plan.config.switches = Switches::default().disable_owner_workspace_access(true);
    let asleep = plan.rows.workspace_agents.iter();
    let asleep = asleep.rev().find(|agent| agent.name == "main").unwrap().id;
    for (slug, level) in [
        ("authed", SharingLevel::Authenticated),
        ("org", SharingLevel::Organization),
        ("public", SharingLevel::Public),
    ] {
        plan.rows.app(asleep, slug).sharing_level = level;
    }
    let world = plan.serve().await;
    for (name, who, status) in [
        ("owner--agent--dev", "root", 404),
        ("org--agent--dev", "root", 404),
        ("authed--agent--dev", "root", 200),
        ("owner--main--asleep", "alice", 404),
        ("9000--main--asleep", "alice", 404),
        ("authed--main--asleep", "alice", 200),
        ("org--main--asleep", "alice", 200),
        ("org--main--asleep", "carol", 404),
        ("authed--main--asleep", "carol", 200),
        ("public--main--asleep", "", 200),
        ("owner--main--asleep", "", 303),
    ] {
        let token = if who.is_empty() { "" } else { world.token(who) };
        let host = format!("{name}--alice.test.coder.com");
        let answer = world.visit(&host, "/", &[("coder-session-token", token)]).await;
        assert_eq!(answer.status.as_u16(), status, "{name} {who}");
    }
    let terminal = format!("/api/v2/workspaceagents/{asleep}/pty");
    let session = [("coder-session-token", world.token("alice"))];
    assert_eq!(world.visit("coder.test", &terminal, &session).await.status, 404);
}

#[tokio::test]
async fn other_methods_are_answered_with_the_allowed_ones() {
    let world = world().await;
    for (path, allowed) in authd_http::routes().filter(|(_, allowed)| *allowed != "*") {
        let answer = world.send("DELETE", path, &[], "").await;
        assert_eq!(answer.status, 405, "{path}");
        assert_eq!(crate::world::header(&answer, "allow"), allowed);
    }
}

#[tokio::test]
async fn without_an_access_url_app_access_is_off_and_says_so() {
    let app = authd_http::Service::over(
        &Arc::new(store::MemoryStore::default()),
        identity_fetch::Identity::builtin(),
        Default::default(),
        authd_http::Limits::default(),
        authd::system_clock(),
    );
    for (path, methods) in authd_http::routes() {
        let method = if methods.starts_with("POST") { "POST" } else { "GET" };
        let request = hyper::Request::builder().method(method).uri(path);
        let body = http_body_util::Full::new(bytes::Bytes::new());
        let answer = app.answer(request.body(body).unwrap()).await;
        assert_eq!(undocumented(method, path, answer.status(), answer.headers()), None);
        // Nor is a nonce demanded.
        let of_apps = !path.ends_with("-identity") && !path.ends_with('z') && path != "/metrics";
        assert_eq!(answer.status() == 404, of_apps, "{path}");
    }
}

#[tokio::test]
async fn the_start_page_links_the_audit_where_it_is_answered() {
    let world = World::new().await;
    for (who, path, is_linked) in [("root", "/", true), ("alice", "/", false)] {
        let headers = [("coder-session-token", world.token(who)), ("accept", "text/html")];
        let page = world.send("GET", path, &headers, "").await;
        assert_eq!(text(&page).contains("href=\"/audit\""), is_linked, "{who}: {}", text(&page));
        let audit = world.send("GET", "/audit", &headers, "").await;
        assert_eq!(audit.status == 200, is_linked, "{who}");
    }
}
