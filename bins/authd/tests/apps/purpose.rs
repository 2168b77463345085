//! Who is redirected: a person who navigates. Every other request is refused in JSON.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use store::fleet::CorsBehavior;

use crate::world::{Plan, World, header};

const HOST: &str = "owner--agent--dev--alice.test.coder.com";
const PUBLIC: &str = "public--agent--dev--alice.test.coder.com";
const DASHBOARD: &str = "coder.test";
const SOCKET: [(&str, &str); 2] = [("upgrade", "websocket"), ("sec-websocket-version", "13")];
const PAGE: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

/// What a visitor gets through a proxy
struct Seen {
    status: u16,
    location: String,
    content_type: String,
    origin: String,
}

/// The check of one of the four proxies for a request of a visitor
pub async fn check(
    world: &World,
    proxy: &str,
    (method, host, uri): (&str, &str, &str),
    headers: &[(&str, &str)],
) -> testkit::net::Answer {
    let mut all = headers.to_vec();
    if proxy == "envoy" {
        all.push(("host", host));
        let path = format!("/api/v2/forward-auth/envoy{uri}");
        return world.send(method, &path, &all, "").await;
    }
    all.extend([
        ("x-forwarded-host", host),
        ("x-forwarded-uri", uri),
        ("x-forwarded-method", method),
        ("x-forwarded-for", "203.0.113.7"),
    ]);
    let checked = world.send("GET", &format!("/api/v2/forward-auth/{proxy}"), &all, "").await;
    match header(&checked, "x-authd-answer") {
        "" => checked,
        answer => {
            let answer = [("x-authd-answer", answer)];
            world.send("GET", "/api/v2/forward-auth/nginx/answer", &answer, "").await
        }
    }
}

async fn seen(
    world: &World,
    proxy: &str,
    request: (&str, &str, &str),
    headers: &[(&str, &str)],
) -> Seen {
    let answer = check(world, proxy, request, headers).await;
    let text = |name| header(&answer, name).to_owned();
    Seen {
        status: answer.status.as_u16(),
        location: text("location"),
        content_type: text("content-type"),
        origin: text("access-control-allow-origin"),
    }
}

fn metadata<'a>(mode: &'a str, dest: &'a str, accept: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![("sec-fetch-mode", mode), ("sec-fetch-dest", dest), ("accept", accept)]
}

const PROXIES: [&str; 4] = ["caddy", "envoy", "nginx", "traefik"];

#[tokio::test]
async fn signed_out_only_navigations_are_redirected() {
    let world = World::new().await;
    let socket = [&metadata("websocket", "empty", "*/*")[..], &SOCKET].concat();
    for (what, method, headers, redirected) in [
        ("a navigation", "GET", metadata("navigate", "document", PAGE), true),
        ("a frame", "GET", metadata("navigate", "iframe", PAGE), true),
        ("a preview of a link", "HEAD", metadata("navigate", "document", PAGE), true),
        ("an old browser", "GET", vec![("accept", PAGE)], true),
        ("a form", "POST", metadata("navigate", "document", PAGE), false),
        ("an old browser's form", "POST", vec![("accept", PAGE)], false),
        ("fetch", "GET", metadata("cors", "empty", "*/*"), false),
        ("fetch of a page", "GET", metadata("same-origin", "empty", "text/html"), false),
        ("fetch with a body", "POST", metadata("cors", "empty", "*/*"), false),
        ("an image", "GET", metadata("no-cors", "image", "image/webp,*/*"), false),
        ("a script", "GET", metadata("no-cors", "script", "*/*"), false),
        ("a font", "GET", metadata("cors", "font", "*/*"), false),
        ("a manifest", "GET", metadata("cors", "manifest", "*/*"), false),
        ("a service worker", "GET", metadata("same-origin", "serviceworker", "*/*"), false),
        ("events", "GET", metadata("cors", "empty", "text/event-stream"), false),
        ("a beacon", "POST", metadata("no-cors", "empty", "*/*"), false),
        ("a WebSocket", "GET", socket, false),
        ("a WebSocket of a program", "GET", SOCKET.to_vec(), false),
        ("an old library", "GET", vec![("x-requested-with", "XMLHttpRequest")], false),
        ("gRPC", "POST", vec![("content-type", "application/grpc"), ("te", "trailers")], false),
        ("Git", "GET", vec![("accept", "*/*"), ("user-agent", "git/2.47")], false),
        ("WebDAV", "PROPFIND", vec![("depth", "1")], false),
        ("another WebDAV", "MKCOL", vec![("accept", PAGE)], false),
        ("a program", "GET", vec![], false),
    ] {
        for proxy in PROXIES {
            for (host, uri) in [(HOST, "/x?a=1"), (DASHBOARD, "/@alice/dev.agent/apps/owner/x")] {
                let seen = seen(&world, proxy, (method, host, uri), &headers).await;
                let place = format!("{what} through {proxy} to {host}{uri}");
                assert_eq!(seen.status, if redirected { 303 } else { 401 }, "{place}");
                assert_eq!(seen.location.is_empty(), !redirected, "{place}");
                assert!(seen.location.is_empty() || seen.location.starts_with("https://"));
                if what == "a form" {
                    assert!(seen.content_type.starts_with("text/html"), "{place}");
                } else if !redirected {
                    assert!(seen.content_type.starts_with("application/json"), "{place}");
                }
            }
        }
    }
    // The audit has the status that the visitor got.
    let rows = world.rows().await;
    let statuses: Vec<u64> = rows.iter().map(super::world::Row::status).collect();
    assert!(statuses.contains(&303) && statuses.contains(&401), "{statuses:?}");
}

/// The page of an app whose session has ended, or of another app of its owner
#[tokio::test]
async fn siblings_read_refusals() {
    let sibling = "https://other--agent--dev--alice.test.coder.com";
    for (behavior, readable) in [(CorsBehavior::Simple, true), (CorsBehavior::Passthru, false)] {
        let mut plan = Plan::new();
        plan.cors(behavior);
        let world = plan.serve().await;
        let fetch = metadata("cors", "empty", "*/*");
        for proxy in PROXIES {
            for (origin, allowed) in [
                (sibling, readable),
                ("https://other--agent--dev--bob.test.coder.com", false),
                ("https://evil.example", false),
                ("https://coder.test", false),
                ("null", false),
            ] {
                let bob = world.token("bob");
                for (session, status) in [("", 401), (bob, 404)] {
                    let mut headers = fetch.clone();
                    headers.extend([("origin", origin), ("coder-session-token", session)]);
                    let seen = seen(&world, proxy, ("GET", HOST, "/x"), &headers).await;
                    let place = format!("{behavior:?} {proxy} {origin} {session}");
                    assert_eq!(seen.status, status, "{place}");
                    assert_eq!(seen.origin, if allowed { origin } else { "" }, "{place}");
                }
            }
        }
    }
}

// scenario 154, 156
#[tokio::test]
async fn a_default_query_is_added_to_navigations_at_the_root_alone() {
    let mut plan = Plan::new();
    for app in &mut plan.rows.workspace_apps {
        app.url = app.url.as_ref().map(|url| format!("{url}/?folder=/a b&x=%2F"));
    }
    let world = plan.serve().await;
    let alice = ("coder-session-token", world.token("alice"));
    let page = metadata("navigate", "document", PAGE);
    let fetch = metadata("cors", "empty", "*/*");
    let socket = [&metadata("websocket", "empty", "*/*")[..], &SOCKET].concat();
    let preflight = vec![("origin", "https://x.example"), ("access-control-request-method", "PUT")];
    for (what, method, uri, headers, added) in [
        ("the root", "GET", "/", &page, true),
        ("the root, by a program", "GET", "/", &vec![], true),
        ("the root, its headers", "HEAD", "/", &page, true),
        ("the root with a query", "GET", "/?x", &page, false),
        ("another page", "GET", "/login", &page, false),
        ("another folder", "GET", "/a/", &page, false),
        ("a script", "GET", "/static/app.js", &fetch, false),
        ("fetch of the root", "GET", "/", &fetch, false),
        ("a form at the root", "POST", "/", &page, false),
        ("a request of a program at the root", "PUT", "/", &vec![], false),
        ("a WebSocket", "GET", "/ws", &socket, false),
        ("a WebSocket at the root", "GET", "/", &socket, false),
        ("a preflight", "OPTIONS", "/", &preflight, false),
    ] {
        for proxy in PROXIES {
            for (host, folder) in [(HOST, ""), (DASHBOARD, "/@alice/dev.agent/apps/owner")] {
                let uri = format!("{folder}{uri}");
                let headers = [&headers[..], &[alice]].concat();
                let answer = check(&world, proxy, (method, host, &uri), &headers).await;
                let place = format!("{what} through {proxy} to {host}{uri}");
                if !added {
                    assert_eq!(answer.status, 200, "{place}");
                    continue;
                }
                assert_eq!(answer.status, 307, "{place}");
                let at = header(&answer, "location");
                assert!(at.starts_with(&format!("https://{host}{folder}/?folder=/a")), "{at}");
                assert!(at.ends_with("&x=%2F"), "{at}");
            }
        }
    }
    // Signed out, a link comes back as it was.
    let answer = check(&world, "traefik", ("GET", HOST, "/lab/tree"), &page).await;
    let back = crate::world::query(&crate::world::location(&answer))["redirect_uri"].clone();
    assert_eq!(back, format!("https://{HOST}/lab/tree"));
}

/// The folder of an app without its slash: a browser is redirected, and any other request is for
/// the app's root
#[tokio::test]
async fn a_folder_without_its_slash_is_the_root() {
    let world = World::new().await;
    let alice = ("coder-session-token", world.token("alice"));
    let folder = "/@alice/dev.agent/apps/owner";
    let page = metadata("navigate", "document", PAGE);
    let socket = [&metadata("websocket", "empty", "*/*")[..], &SOCKET].concat();
    for proxy in PROXIES {
        let headers = [&page[..], &[alice]].concat();
        let answer = check(&world, proxy, ("GET", DASHBOARD, folder), &headers).await;
        assert_eq!(header(&answer, "location"), format!("https://{DASHBOARD}{folder}/"));
        for (method, headers) in [("GET", &socket), ("POST", &page)] {
            let headers = [&headers[..], &[alice]].concat();
            let answer = check(&world, proxy, (method, DASHBOARD, folder), &headers).await;
            assert_eq!(answer.status, 200, "{proxy} {method}");
            assert_eq!(header(&answer, "x-authd-uri"), "/");
            assert_eq!(header(&answer, "x-authd-folder"), folder);
        }
    }
}

/// The header in which nginx gets an answer has the same words
#[tokio::test]
async fn what_nginx_gets_travels_whole() {
    let world = World::new().await;
    let sibling = "https://other--agent--dev--alice.test.coder.com";
    let headers = [
        ("x-forwarded-host", HOST),
        ("x-forwarded-uri", "/"),
        ("sec-fetch-mode", "cors"),
        ("origin", sibling),
    ];
    let checked = world.send("GET", "/api/v2/forward-auth/nginx", &headers, "").await;
    let answer = URL_SAFE_NO_PAD.decode(header(&checked, "x-authd-answer")).unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((&answer["status"], &answer["origin"]), (&401.into(), &sibling.into()));
    assert_eq!(world.visit(PUBLIC, "/", &[]).await.status, 200);
}
