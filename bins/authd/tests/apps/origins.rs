//! What a page may do to apps on other hosts, with the cookies that its browser sends along

use serde_json::json;
use store::fleet::CorsBehavior;

use crate::purpose::check;
use crate::world::{Plan, World, by_path, by_subdomain, header, text};

const HOST: &str = "owner--agent--dev--alice.test.coder.com";
const DASHBOARD: &str = "coder.test";
const OWN: &str = "https://owner--agent--dev--alice.test.coder.com";
const SIBLING: &str = "https://other--agent--dev--alice.test.coder.com";
const OF_BOB: &str = "https://evil--main--solo--bob.test.coder.com";
const PROXIES: [&str; 4] = ["caddy", "envoy", "nginx", "traefik"];
const SOCKET: [(&str, &str); 2] = [("upgrade", "websocket"), ("sec-websocket-version", "13")];
/// As it arrives behind a proxy that leaves `Upgrade` out of checks
const CHECKED_SOCKET: [(&str, &str); 1] = [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];

/// Headers of a request
type Headers = &'static [(&'static str, &'static str)];

/// The ways in which a request can change something, and those in which it only reads
fn requests() -> Vec<(&'static str, Headers, bool)> {
    vec![
        ("GET", &[], false),
        ("HEAD", &[], false),
        ("OPTIONS", &[], false),
        ("POST", &[], true),
        ("PUT", &[], true),
        ("DELETE", &[], true),
        ("MOVE", &[], true),
        ("GET", &SOCKET, true),
        ("GET", &CHECKED_SOCKET, true),
        ("GET", &[("sec-fetch-mode", "websocket")], true),
        ("GET", &[("upgrade", "h2c")], true),
    ]
}

/// What browsers send of a page, and whether it is the app's own or one of its owner's
fn pages() -> Vec<(Vec<(&'static str, &'static str)>, &'static str)> {
    vec![
        (vec![], "own"),
        (vec![("origin", OWN)], "own"),
        (vec![("origin", "https://OWNER--agent--dev--alice.test.coder.com:443")], "own"),
        (vec![("sec-fetch-site", "same-origin")], "own"),
        (vec![("sec-fetch-site", "none")], "own"),
        (vec![("origin", SIBLING)], "sibling"),
        (vec![("origin", SIBLING), ("sec-fetch-site", "same-site")], "sibling"),
        (vec![("origin", OF_BOB)], "foreign"),
        (vec![("origin", "https://coder.test")], "foreign"),
        (vec![("origin", "https://evil.example")], "foreign"),
        (vec![("origin", "http://owner--agent--dev--alice.test.coder.com")], "foreign"),
        (vec![("origin", "https://owner--agent--dev--alice.test.coder.com:8443")], "foreign"),
        (
            vec![("origin", "https://owner--agent--dev--alice.test.coder.com.evil.example")],
            "foreign",
        ),
        (vec![("origin", "null")], "foreign"),
        (vec![("origin", "")], "foreign"),
        (vec![("origin", OWN), ("origin", OF_BOB)], "foreign"),
        (vec![("sec-fetch-site", "same-site")], "foreign"),
        (vec![("sec-fetch-site", "cross-site")], "foreign"),
        (vec![("sec-fetch-site", "what-comes-next")], "foreign"),
    ]
}

#[tokio::test]
async fn pages_of_other_owners_only_read() {
    for behavior in [CorsBehavior::Simple, CorsBehavior::Passthru] {
        let mut plan = Plan::new();
        plan.cors(behavior);
        let world = plan.serve().await;
        let session = ("coder-session-token", world.token("alice"));
        for proxy in PROXIES {
            for (page, kind) in pages() {
                for (method, request, changes) in requests() {
                    let headers = [&page[..], request, &[session]].concat();
                    let refused = changes && kind == "foreign" && behavior == CorsBehavior::Simple;
                    let answer = check(&world, proxy, (method, HOST, "/x"), &headers).await;
                    let place = format!("{behavior:?} {proxy} {page:?} {method} {request:?}");
                    let expected = if refused { 403 } else { 200 };
                    assert_eq!(answer.status, expected, "{place}: {}", text(&answer));
                }
            }
        }
    }
}

#[tokio::test]
async fn an_app_token_does_not_help_a_page() {
    let world = World::new().await;
    let session = ("coder-session-token", world.token("alice"));
    let opened = check(&world, "caddy", ("GET", HOST, "/"), &[session]).await;
    let cookie = header(&opened, "set-cookie").split(';').next().unwrap();
    let before = world.rows().await.len();
    for (origin, status) in [(OWN, 200), (SIBLING, 200), (OF_BOB, 403)] {
        let headers = [("cookie", cookie), ("origin", origin)];
        let answer = check(&world, "caddy", ("POST", HOST, "/"), &headers).await;
        assert_eq!(answer.status, status, "{origin}");
    }
    assert_eq!(world.rows().await.len(), before);

    // Without one, the refusal is recorded with its reason.
    let headers = [session, ("origin", OF_BOB)];
    assert_eq!(check(&world, "caddy", ("POST", HOST, "/"), &headers).await.status, 403);
    let rows = world.rows().await;
    let row = rows.iter().find(|row| row.status() == 403).unwrap();
    assert_eq!(row.text("reason"), "foreign_page");
}

/// Apps by path share the dashboard's origin, and no other page may use them
#[tokio::test]
async fn apps_by_path_are_for_the_dashboards_origin() {
    let world = World::new().await;
    let session = ("coder-session-token", world.token("alice"));
    for (origin, status) in [("https://coder.test", 200), (SIBLING, 403), (OF_BOB, 403)] {
        for proxy in PROXIES {
            let visit = ("POST", DASHBOARD, "/@alice/dev.agent/apps/owner/x");
            let answer = check(&world, proxy, visit, &[session, ("origin", origin)]).await;
            assert_eq!(answer.status, status, "{proxy} {origin}");
        }
    }
}

#[tokio::test]
async fn a_terminal_opens_for_the_dashboard_and_listed_sites() {
    for behavior in [CorsBehavior::Simple, CorsBehavior::Passthru] {
        let mut plan = Plan::new();
        plan.cors(behavior);
        plan.config.terminal_origins = vec!["https://ide.example".parse().unwrap()];
        let world = plan.serve().await;
        let cookie = format!("coder_session_token={}", world.token("alice"));
        let uri = format!("/api/v2/workspaceagents/{}/pty", world.agent);
        for proxy in PROXIES {
            for (host, page, status) in [
                (DASHBOARD, &[("origin", "https://coder.test")][..], 200),
                (DASHBOARD, &[("origin", "https://ide.example")], 200),
                (DASHBOARD, &[("sec-fetch-site", "same-origin")], 200),
                (DASHBOARD, &[], 200),
                (DASHBOARD, &[("origin", OWN)], 403),
                (DASHBOARD, &[("origin", OF_BOB)], 403),
                (DASHBOARD, &[("origin", "https://evil.example")], 403),
                (DASHBOARD, &[("origin", "http://coder.test")], 403),
                (DASHBOARD, &[("origin", "null")], 403),
                (DASHBOARD, &[("sec-fetch-site", "same-site")], 403),
            ] {
                for socket in [&SOCKET[..], &CHECKED_SOCKET] {
                    let headers = [page, socket, &[("cookie", &*cookie)]].concat();
                    let answer = check(&world, proxy, ("GET", host, &uri), &headers).await;
                    assert_eq!(answer.status, status, "{proxy} {page:?}: {}", text(&answer));
                }
            }
        }
    }
}

/// A workspace proxy that says which page asks gets no token for what that page may not do
#[tokio::test]
async fn a_proxy_says_which_page_asks() {
    const PROXY: &str = "https://sydney.coder.com";
    const APP: &str = "https://owner--agent--dev--alice.sydney.coder.com";
    const OTHER: &str = "https://other--main--solo--alice.sydney.coder.com";
    const OF_OTHERS: &str = "https://evil--main--lair--bob.sydney.coder.com";
    for behavior in [CorsBehavior::Simple, CorsBehavior::Passthru] {
        let mut plan = Plan::new();
        plan.cors(behavior);
        plan.config.terminal_origins = vec!["https://ide.example".parse().unwrap()];
        let world = plan.serve().await;
        let token = world.token("alice");
        let agent = world.agent.to_string();
        let mut terminal = by_path("", "", &agent, "", token);
        terminal["app_request"] = json!({
            "access_method": "terminal",
            "base_path": format!("/api/v2/workspaceagents/{agent}/pty"),
            "agent_name_or_id": agent,
        });
        let by_path = by_path("alice", "dev", "agent", "owner", token);
        let by_host = by_subdomain("alice", "dev", "agent", "owner", token);
        let is_simple = behavior == CorsBehavior::Simple;
        for (asked, own, decides) in [
            (&by_host, &[APP, OTHER][..], is_simple),
            (&by_path, &[PROXY], is_simple),
            (&terminal, &[PROXY, "https://coder.test", "https://ide.example"], true),
        ] {
            for (page, is_own) in [("", true), ("same-origin", true), ("none", true)]
                .into_iter()
                .chain(["same-site", "cross-site"].map(|site| (site, false)))
                .chain(
                    [APP, OTHER, PROXY, OF_OTHERS, OWN, "https://coder.test"]
                        .map(|origin| (origin, own.contains(&origin))),
                )
                .chain([("https://ide.example", own.contains(&"https://ide.example"))])
                .chain([("null", false), ("\n", false), ("http://sydney.coder.com", false)])
            {
                for (method, upgrade, changes) in [
                    ("", "", false),
                    ("GET", "", false),
                    ("HEAD", "", false),
                    ("POST", "", true),
                    ("MOVE", "", true),
                    ("", "websocket", true),
                ] {
                    let mut asked = asked.clone();
                    let is_site =
                        ["same-origin", "none", "same-site", "cross-site"].contains(&page);
                    asked[if is_site { "sec_fetch_site" } else { "origin" }] = page.into();
                    asked["method"] = method.into();
                    asked["upgrade"] = upgrade.into();
                    let answer = world.issue(asked.clone()).await;
                    let expected = if changes && !is_own && decides { 403 } else { 201 };
                    assert_eq!(answer.status, expected, "{behavior:?} {asked}: {}", text(&answer));
                }
            }
        }
        // One that does not say is answered as before.
        assert_eq!(world.issue(by_host).await.status, 201);
    }
}
