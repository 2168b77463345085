//! Answers to checks if the control plane carries the visit

use authd_http::{CookieConfig, Signing};
use serde_json::Value;
use store::fleet::SharingLevel;
use testkit::net::Answer;

use crate::control_plane::ControlPlane;
use crate::world::{Plan, World, claims_of, header, set_cookies, text};

const HOST: &str = "owner--agent--dev--alice.test.coder.com";
const PUBLIC: &str = "public--agent--dev--alice.test.coder.com";
const PROXIES: [&str; 4] = ["caddy", "envoy", "nginx", "traefik"];

/// A request to a proxy
struct ProxyRequest<'a> {
    proxy: &'a str,
    host: &'a str,
    uri: &'a str,
    /// The visitor's own headers
    headers: &'a [(&'a str, &'a str)],
}

impl ProxyRequest<'_> {
    /// Sends the proxy's check to authd; `behind` selects the upstream
    async fn check(&self, world: &World, behind: &str) -> Answer {
        let Self { proxy, host, uri, headers } = *self;
        // The answer that nginx fetches has the id of the check.
        let id = ("x-request-id", "0190a8c3-52d0-7c1e-8a46-0b6dd5f6a1b2");
        let mut all = vec![("x-forwarded-for", "203.0.113.7"), ("x-forwarded-method", "GET"), id];
        let mut path = format!("/api/v2/forward-auth/{behind}{proxy}");
        if proxy == "envoy" {
            all.push(("host", host));
            path.push_str(uri);
        } else {
            all.extend([("x-forwarded-host", host), ("x-forwarded-uri", uri)]);
        }
        all.extend(headers);
        world.send("GET", &path, &all, "").await
    }

    /// Does what the proxy does with an answer that admits: sends the request to the control plane
    async fn carry(&self, world: &World, to: &ControlPlane, checked: &Answer) -> Option<Answer> {
        if checked.status != 200 {
            return None;
        }
        let header = |name: &str| checked.headers.get(name).map(|value| value.to_str().unwrap());
        let mut headers: Vec<(String, String)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .chain([("host".to_owned(), self.host.to_owned())])
            .collect();
        let mut replace = |name: &str, value: Option<&str>| {
            headers.retain(|(known, _)| known != name);
            headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        };
        let mut uri = self.uri;
        match self.proxy {
            "envoy" => {
                for name in header("x-envoy-auth-headers-to-remove").unwrap().split(',') {
                    replace(name, None);
                }
                for name in ["cookie", "authorization", "x-forwarded-host"] {
                    if let Some(value) = header(name) {
                        replace(name, Some(value));
                    }
                }
            }
            "traefik" => {
                let listed = ["cookie", "authorization", "coder-session-token"];
                for name in listed.into_iter().chain(["x-forwarded-host"]).chain(OURS) {
                    replace(name, header(name));
                }
            }
            _ => {
                uri = header("x-authd-uri").unwrap();
                for name in ["host", "x-forwarded-host"] {
                    replace(name, header("x-authd-host"));
                }
                for name in ["cookie", "authorization"] {
                    let value = header(&format!("x-authd-{name}")).unwrap();
                    replace(name, Some(value).filter(|value| !value.is_empty()));
                }
                for name in OURS.into_iter().chain(["coder-session-token"]) {
                    replace(name, None);
                }
            }
        }
        let headers: Vec<_> = headers.iter().map(|(k, v)| (k.parse().unwrap(), &**v)).collect();
        let url = format!("http://{}{uri}", to.address());
        Some(
            world.client.send(hyper::Method::GET, &url, &headers, Vec::new().into()).await.unwrap(),
        )
    }

    async fn visit(&self, world: &World, to: &ControlPlane) -> (Answer, Option<Answer>) {
        let checked = self.check(world, "control-plane/").await;
        let carried = self.carry(world, to, &checked).await;
        (checked, carried)
    }
}

/// The headers that only authd may set
const OURS: [&str; 9] = [
    "x-authd-user",
    "x-authd-owner-id",
    "x-authd-workspace-id",
    "x-authd-agent-id",
    "x-authd-app-url",
    "x-authd-uri",
    "x-authd-cors",
    "x-authd-cors-origin",
    "x-authd-host",
];

/// The headers that arrived
fn arrived(answer: &Answer) -> Vec<(String, String)> {
    let echo: Value = serde_json::from_slice(&answer.body).unwrap();
    serde_json::from_value(echo["headers"].clone()).unwrap()
}

fn arrived_as<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
}

#[tokio::test]
async fn only_the_app_token_reaches_the_control_plane() {
    let mut plan = Plan::new();
    plan.share_port(9001, SharingLevel::Authenticated);
    let world = plan.serve().await;
    let control_plane = ControlPlane::beside(&world).await;
    let session = world.token("alice");
    let scoped = world.scoped("alice");
    let cookie = format!(
        "own=1; coder_session_token={session}; coder_path_app_session_token={session}; \
         coder_subdomain_app_session_token={scoped}; coder_subdomain_app_session_token_ab={scoped}; \
         coder_signed_app_token=a; coder_signed_app_token=b; coder_signed_app_token=c; \
         coder_signed_app_token=d; coder_signed_app_token=e; __Host-coder_session_token={session}"
    );
    let bearer = format!("Bearer {session}");
    let terminal = format!("/api/v2/workspaceagents/{}/pty", world.agent);
    let mut headers = vec![("cookie", &*cookie), ("coder-session-token", session)];
    headers.extend(OURS.map(|name| (name, "forged")));
    for proxy in PROXIES {
        for (authorization, kept) in [("Basic own", Some("Basic own")), (&*bearer, None)] {
            for (host, uri, expected) in [
                (HOST, "/", HOST),
                ("Owner--AGENT--dev--alice.test.CODER.com:8443", "/a%2Fb//c?x=1&&y", "LOWER"),
                (
                    "9001--agent--dev--alice.test.coder.com",
                    "/",
                    "9001--agent--dev--alice.test.coder.com",
                ),
                ("coder.test", "/@alice/dev/apps/owner/a?", "coder.test"),
                ("coder.test", "/@alice/dev.agent/apps/owner/", "coder.test"),
                ("coder.test", &*terminal, "coder.test"),
            ] {
                let mut headers = headers.clone();
                headers.push(("authorization", authorization));
                let asked = ProxyRequest { proxy, host, uri, headers: &headers };
                let (checked, carried) = asked.visit(&world, &control_plane).await;
                let place = format!("{proxy} {host} {uri}");
                let carried = carried.unwrap_or_else(|| panic!("{place}: {}", checked.status));
                assert_eq!(carried.status, 200, "{place}");
                let echo: Value = serde_json::from_slice(&carried.body).unwrap();
                assert_eq!(echo["target"], uri, "{place}");

                let arrived = arrived(&carried);
                let (name, token, _) = &set_cookies(&checked)[0];
                assert_eq!(name, "coder_signed_app_token");
                let only = format!("coder_signed_app_token={token}; own=1");
                assert_eq!(arrived_as(&arrived, "cookie"), Some(&*only), "{place}");
                assert_eq!(arrived_as(&arrived, "authorization"), kept, "{place}");
                let read = arrived_as(&arrived, "x-forwarded-host")
                    .or_else(|| arrived_as(&arrived, "host"));
                let lower = host.to_lowercase();
                let expected = if expected == "LOWER" { &*lower } else { expected };
                assert_eq!(read, Some(expected), "{place}");
                for (name, value) in &arrived {
                    let secret = [session, scoped, "forged"].iter().any(|s| value.contains(s));
                    assert!(!secret, "{place}: {name}: {value}");
                }

                // The token alone is enough, and needs no statement.
                let cookie = format!("coder_signed_app_token={token}");
                let headers = [("cookie", &*cookie)];
                let again = ProxyRequest { proxy, host, uri, headers: &headers };
                let ((checked, carried), statements) =
                    world.counted(again.visit(&world, &control_plane)).await;
                assert_eq!((carried.unwrap().status.as_u16(), statements), (200, 0), "{place}");
                assert!(set_cookies(&checked).is_empty(), "{place}");
            }
        }
    }
    let seen = control_plane.seen();
    assert!(seen.iter().all(|seen| seen.outcome == crate::control_plane::Outcome::Carried));
}

#[tokio::test]
async fn anonymous_visitors_are_carried_to_public_apps() {
    let world = World::new().await;
    let control_plane = ControlPlane::beside(&world).await;
    for proxy in PROXIES {
        for (host, uri) in [(PUBLIC, "/x"), ("coder.test", "/@alice/dev/apps/public/x")] {
            let asked = ProxyRequest { proxy, host, uri, headers: &[] };
            let (_, carried) = asked.visit(&world, &control_plane).await;
            let carried = carried.unwrap();
            assert_eq!(carried.status, 200, "{proxy} {uri}");
            let cookie = arrived(&carried);
            let (name, token) = arrived_as(&cookie, "cookie").unwrap().split_once('=').unwrap();
            assert_eq!(name, "coder_signed_app_token");
            assert_eq!(claims_of(token)["visitor"], uuid::Uuid::nil().to_string());
        }
    }
}

#[tokio::test]
async fn a_refused_visitor_gets_the_usual_answer() {
    let world = World::new().await;
    let control_plane = ControlPlane::beside(&world).await;
    let terminal = format!("/api/v2/workspaceagents/{}/pty", world.agent);
    let sue = [("coder-session-token", world.token("sue"))];
    let bob = [("coder-session-token", world.token("bob"))];
    let alice = [("coder-session-token", world.token("alice"))];
    let json = [("accept", "application/json")];
    for proxy in PROXIES {
        for (host, uri, headers) in [
            (HOST, "/a?b", &[][..]),
            (HOST, "/a?b", &json),
            (HOST, "/", &bob),
            (HOST, "/", &sue),
            (HOST, "", &alice),
            ("nothing--agent--dev--alice.test.coder.com", "/", &alice),
            ("owner--main--off--alice.test.coder.com", "/", &alice),
            ("slow-app--slow--dev--alice.test.coder.com", "/", &alice),
            ("query--agent--dev--alice.test.coder.com", "/", &alice),
            ("nothing.test.coder.com", "/", &alice),
            ("elsewhere.test", "/", &alice),
            ("coder-logout.test.coder.com", "/", &alice),
            ("coder.test", "/@alice/dev/apps/owner", &alice),
            ("coder.test", "/@alice/dev/apps/owner/a%20(1)?b", &[]),
            ("coder.test", "/@me/dev/apps/owner/", &alice),
            ("coder.test", "/", &alice),
            ("coder.test", &*terminal, &[]),
            ("coder.test", &*terminal, &bob),
        ] {
            let asked = ProxyRequest { proxy, host, uri, headers };
            let usual = asked.check(&world, "").await;
            let (checked, carried) = asked.visit(&world, &control_plane).await;
            assert!(carried.is_none(), "{proxy} {host} {uri}");
            let summary = |answer: &Answer| {
                let headers = ["location", "x-authd-answer", "retry-after", "content-type"];
                let values = headers.map(|name| header(answer, name).to_owned());
                (answer.status, values, text(answer))
            };
            // New tokens differ, and therefore the answers that contain them.
            if summary(&usual) != summary(&checked) {
                assert_eq!(usual.status, checked.status, "{proxy} {host} {uri}");
                let moved = ["", "/@alice/dev/apps/owner", "/"].contains(&uri);
                assert!(moved && proxy == "nginx", "{proxy} {host} {uri}");
            }
        }
    }
    assert!(control_plane.seen().is_empty());
}

#[tokio::test]
async fn paths_that_the_control_plane_decodes_differently_are_admitted() {
    let world = World::new().await;
    let control_plane = ControlPlane::beside(&world).await;
    let session = [("coder-session-token", world.token("alice"))];
    for proxy in PROXIES {
        for (folder, below) in [
            ("/@alice/dev/apps/owner/", "a%20b"),
            ("/@alice/dev/apps/owner/", "a%2Fb?c=%2F"),
            ("/@alice/dev/apps/owner/", "Untitled%20(1).ipynb"),
            ("/@alice/dev/apps/owner/", "%E2%82%AC'*"),
            ("/@alice/dev.agent/apps/owner/", "x/%2e%2e/y"),
            ("/%40alice/dev/apps/owner/", ""),
            ("/%40alice/dev/apps/owner/", "a/b(c)"),
            ("/%40alice/dev/apps/owner/", "a%20b"),
        ] {
            let uri = format!("{folder}{below}");
            let asked = ProxyRequest { proxy, host: "coder.test", uri: &uri, headers: &session };
            let (checked, carried) = asked.visit(&world, &control_plane).await;
            assert_eq!(carried.unwrap().status, 200, "{proxy} {uri}");
            // The cookie's path is the folder as the browser writes it.
            let (_, token, line) = &set_cookies(&checked)[0];
            assert!(line.contains(&format!("; Path={folder};")), "{line}");
            assert_eq!(claims_of(token)["request"]["base_path"], folder);

            let cookie = format!("coder_signed_app_token={token}");
            let headers = [("cookie", &*cookie)];
            let again = ProxyRequest { headers: &headers, ..asked };
            let ((_, carried), statements) =
                world.counted(again.visit(&world, &control_plane)).await;
            let carried = carried.unwrap();
            assert_eq!((carried.status.as_u16(), statements), (200, 0), "{proxy} {uri}");
            let arrived = arrived(&carried);
            let handed = arrived_as(&arrived, "cookie").unwrap().split_once('=').unwrap().1;
            assert_eq!(claims_of(handed)["exp"], claims_of(token)["exp"], "{proxy} {uri}");
        }
    }
}

#[tokio::test]
async fn tokens_are_removed_from_the_query() {
    let world = World::new().await;
    let alice = world.token("alice");
    let page = ("accept", "text/html,*/*;q=0.8");
    for (uri, kept) in [
        (format!("/x?a=%2F&coder_session_token={alice}&&b"), "/x?a=%2F&&b"),
        (format!("//x%2F?coder%5Fsession_token={alice}"), "//x%2F"),
        (format!("/x?access_token={alice}&b"), "/x?b"),
        (format!("/x?coder_signed_app_token_23db1dde=none&coder_session_token={alice}"), "/x"),
        ("/x?access_token=theirs".to_owned(), "/x?access_token=theirs"),
        ("/x?".to_owned(), "/x?"),
        ("/x??".to_owned(), "/x??"),
    ] {
        let session = ("coder-session-token", alice);
        let asks = async |proxy: &str, behind: &str, headers: &[(&str, &str)]| {
            let asked = ProxyRequest { proxy, host: HOST, uri: &uri, headers };
            asked.check(&world, behind).await
        };
        for behind in ["", "control-plane/"] {
            let checked = asks("nginx", behind, &[session]).await;
            assert_eq!(header(&checked, "x-authd-uri"), kept, "{behind} {uri}");
            for proxy in ["caddy", "envoy", "traefik"] {
                let place = format!("{behind}{proxy} {uri}");
                let checked = asks(proxy, behind, &[session]).await;
                if kept == uri {
                    assert_eq!(checked.status, 200, "{place}");
                    continue;
                }
                // The client is not a browser, so it would not keep a cookie.
                assert_eq!(checked.status, 400, "{place}");
                assert!(text(&checked).contains("Coder-Session-Token"), "{place}");
                for (headers, status) in [
                    (vec![session, page], 307),
                    (vec![page, ("sec-fetch-mode", "navigate")], 307),
                    (vec![page, ("sec-fetch-mode", "cors")], 400),
                    (vec![page, ("upgrade", "websocket")], 400),
                ] {
                    let checked = asks(proxy, behind, &headers).await;
                    // The query may hold the only session.
                    assert_eq!(checked.status.as_u16(), status, "{place} {headers:?}");
                    if status == 307 {
                        let address = format!("https://{HOST}{kept}");
                        assert_eq!(header(&checked, "location"), address, "{place}");
                        assert_eq!(set_cookies(&checked)[0].0, "coder_signed_app_token");
                    }
                }
                // A refused visitor gets the refusal and no redirect.
                let bob = ("coder-session-token", world.token("bob"));
                let stranger = ProxyRequest {
                    proxy,
                    host: HOST,
                    uri: "/x?coder_session_token=y",
                    headers: &[bob],
                };
                assert_eq!(stranger.check(&world, behind).await.status, 404, "{place}");
            }
        }
    }
    // A terminal's token may be in the query: pages of other hosts put it there.
    let control_plane = ControlPlane::beside(&world).await;
    let terminal = format!("/api/v2/workspaceagents/{}/pty", world.agent);
    let headers = [("coder-session-token", alice)];
    let asked =
        ProxyRequest { proxy: "nginx", host: "coder.test", uri: &terminal, headers: &headers };
    let token = set_cookies(&asked.check(&world, "").await)[0].1.clone();
    let uri = format!("{terminal}?reconnect=1&coder_signed_app_token_23db1dde={token}");
    for proxy in PROXIES {
        let asked = ProxyRequest { proxy, host: "coder.test", uri: &uri, headers: &[] };
        let (_, carried) = asked.visit(&world, &control_plane).await;
        let carried = carried.unwrap();
        assert_eq!(carried.status, 200, "{proxy}");
        let cookie = format!("coder_signed_app_token={token}");
        assert_eq!(arrived_as(&arrived(&carried), "cookie"), Some(&*cookie));
    }
}

#[tokio::test]
async fn the_token_has_the_control_planes_cookie_name_under_any_prefix() {
    let mut plan = Plan::new();
    plan.config.cookies =
        CookieConfig { secure: true, prefix: "__Secure-".to_owned(), ..CookieConfig::default() };
    let world = plan.serve().await;
    let control_plane = ControlPlane::beside(&world).await;
    let alice = world.token("alice");
    let cookie = format!(
        "__Secure-coder_session_token={alice}; coder_session_token={alice}; \
         coder_signed_app_token=theirs; __Secure-coder_signed_app_token=none"
    );
    let headers = [("cookie", &*cookie)];
    for proxy in PROXIES {
        let asked = ProxyRequest { proxy, host: HOST, uri: "/", headers: &headers };
        let (checked, carried) = asked.visit(&world, &control_plane).await;
        let (name, token, _) = &set_cookies(&checked)[0];
        assert_eq!(name, "__Host-coder_signed_app_token");
        let handed = format!("coder_signed_app_token={token}");
        assert_eq!(arrived_as(&arrived(&carried.unwrap()), "cookie"), Some(&*handed));
    }
}

#[tokio::test]
async fn tokens_that_the_control_plane_cannot_verify_are_refused_at_once() {
    let mut plan = Plan::new();
    plan.config.signing = Signing::Eddsa;
    let world = plan.serve().await;
    for proxy in PROXIES {
        let asked = ProxyRequest { proxy, host: PUBLIC, uri: "/", headers: &[] };
        assert_eq!(asked.check(&world, "").await.status, 200);
        let refused = asked.check(&world, "control-plane/").await;
        assert_eq!(refused.status, 400, "{proxy}");
        assert!(text(&refused).contains("--app-token-signing hs512"), "{}", text(&refused));
    }
}
