//! The same answer through each proxy, as far as it can relay it

use hyper::StatusCode;

use crate::world::{Plan, World, header, location, page, query, set_cookies, text};

const HOST: &str = "owner--agent--dev--alice.test.coder.com";
const NGINX: &str = "/api/v2/forward-auth/nginx";
const CADDY: &str = "/api/v2/forward-auth/caddy";
const ENVOY: &str = "/api/v2/forward-auth/envoy";
const UNREACHABLE: &str = "/api/v2/forward-auth/unreachable";

fn forwarded<'a>(host: &'a str, uri: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![
        ("x-forwarded-host", host),
        ("x-forwarded-uri", uri),
        ("x-forwarded-for", "203.0.113.7"),
        ("accept", "text/html"),
    ]
}

#[tokio::test]
async fn nginx_gets_the_answer_in_a_header() {
    let world = World::new().await;
    let mut stranger = forwarded(HOST, "/x?a=1");
    let checked = world.send("GET", NGINX, &stranger, "").await;
    assert_eq!(checked.status, StatusCode::UNAUTHORIZED);
    assert!(checked.body.is_empty());
    let handed = [("x-authd-answer", header(&checked, "x-authd-answer"))];
    let given = world.send("GET", &format!("{NGINX}/answer"), &handed, "").await;
    let relayed = world.visit(HOST, "/x?a=1", &[]).await;
    assert_eq!(given.status, StatusCode::SEE_OTHER);
    // Each leaves with a nonce of its own.
    let [given, relayed] =
        [&given, &relayed].map(|answer| query(&location(answer))["redirect_uri"].clone());
    assert_eq!(given, relayed);

    let bob = world.token("bob");
    stranger.push(("coder-session-token", bob));
    let checked = world.send("GET", NGINX, &stranger, "").await;
    assert_eq!(checked.status, StatusCode::UNAUTHORIZED);
    let handed = [("x-authd-answer", header(&checked, "x-authd-answer"))];
    let given = world.send("GET", &format!("{NGINX}/answer"), &handed, "").await;
    let relayed = world.visit(HOST, "/x?a=1", &[("coder-session-token", bob)]).await;
    assert_eq!((given.status, page(&given)), (StatusCode::NOT_FOUND, page(&relayed)));
    assert_eq!(
        given.headers["content-security-policy"],
        relayed.headers["content-security-policy"]
    );

    let mut owner = forwarded(HOST, "/x?coder_session_token=t&a");
    let cookie = format!("own=1; coder_session_token={}", world.token("alice"));
    owner.push(("cookie", &cookie));
    let allowed = world.send("GET", NGINX, &owner, "").await;
    assert_eq!(allowed.status, StatusCode::OK);
    assert_eq!(header(&allowed, "x-authd-cookie"), "own=1");
    assert_eq!(header(&allowed, "x-authd-uri"), "/x?a");
    assert_eq!(set_cookies(&allowed).len(), 1);

    // No JSON, and the statuses 101, 200, 204 and 999.
    let statuses = [
        "eyJzdGF0dXMiOjEwMX0",
        "eyJzdGF0dXMiOjIwMH0",
        "eyJzdGF0dXMiOjIwNH0",
        "eyJzdGF0dXMiOjk5OX0",
    ];
    for broken in ["", "bm9uc2Vuc2U", "%%%"].into_iter().chain(statuses) {
        let answer =
            world.send("GET", &format!("{NGINX}/answer"), &[("x-authd-answer", broken)], "").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{broken}");
    }
}

#[tokio::test]
async fn envoy_appends_the_visitors_path() {
    let world = World::new().await;
    let cookie = format!("coder_session_token={}", world.token("alice"));
    let headers = [
        ("host", HOST),
        // Headers of the visitor, which Envoy forwards and authd must not believe.
        ("x-forwarded-host", "public--agent--dev--alice.test.coder.com"),
        ("x-forwarded-for", "203.0.113.7"),
        ("accept", "text/html"),
        ("cookie", &cookie),
    ];
    for method in ["GET", "POST", "OPTIONS"] {
        let answer = world.send(method, &format!("{ENVOY}/some/path?a=1"), &headers, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{method}");
        assert_eq!(header(&answer, "x-authd-uri"), "/some/path?a=1");
        assert_eq!(
            header(&answer, "x-envoy-auth-headers-to-remove"),
            "coder-session-token,x-authd-folder,x-authd-cors-origin,cookie,authorization"
        );
    }
    let anonymous = world.send("GET", &format!("{ENVOY}/"), &headers[..4], "").await;
    assert_eq!(anonymous.status, StatusCode::SEE_OTHER);
    let row = world.rows().await.into_iter().find(|row| row.status() == 303).unwrap();
    assert_eq!(row.text("target"), "owner");
}

#[tokio::test]
async fn caddy_gets_the_credentials_that_the_app_may_see() {
    let world = World::new().await;
    let mut headers = forwarded(HOST, "/");
    let cookie = format!("coder_session_token={}", world.token("alice"));
    headers.push(("cookie", &cookie));
    let answer = world.send("GET", CADDY, &headers, "").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(header(&answer, "x-authd-cookie"), "");
    assert!(answer.headers.contains_key("x-authd-cookie"));
    assert!(!header(&answer, "x-authd-user").is_empty());
}

#[tokio::test]
async fn the_path_of_an_apps_url_precedes_the_visitors_path() {
    let mut plan = Plan::new();
    for (slug, url) in [
        ("root", "http://127.0.0.1:8888/"),
        ("same", "http://127.0.0.1:8888/@alice/dev/apps/same"),
        ("base", "http://127.0.0.1:8888/some%20base/"),
        ("query", "http://127.0.0.1:8888/base?q=default#top"),
        ("spaced", "http://127.0.0.1:8888/a b"),
    ] {
        let known = plan.rows.workspace_apps.iter().any(|app| app.slug == slug);
        if !known {
            plan.rows.app(plan.agent, slug);
        }
        let app = plan.rows.workspace_apps.iter_mut().find(|app| app.slug == slug).unwrap();
        app.url = Some(url.to_owned());
    }
    let world = plan.serve().await;
    for (slug, path, asked) in [
        ("root", "/", "/"),
        ("root", "/x//y?z", "/x//y?z"),
        ("same", "/", "/@alice/dev/apps/same/"),
        ("same", "/x%2Fy?", "/@alice/dev/apps/same/x%2Fy?"),
        ("base", "/", "/some%20base/"),
        ("base", "/../x", "/some%20base/../x"),
        ("query", "/x?y", "/base/x?y"),
        ("spaced", "/x", "/a%20b/x"),
    ] {
        let folder = format!("/@alice/dev.agent/apps/{slug}");
        let host = format!("{slug}--agent--dev--alice.test.coder.com");
        for (host, uri, folder) in
            [(&*host, path.to_owned(), ""), ("coder.test", format!("{folder}{path}"), &*folder)]
        {
            for proxy in ["nginx", "caddy", "traefik", "envoy"] {
                let mut headers = vec![("coder-session-token", world.token("alice"))];
                let mut check = format!("/api/v2/forward-auth/{proxy}");
                if proxy == "envoy" {
                    headers.push(("host", host));
                    check.push_str(&uri);
                } else {
                    headers.extend(forwarded(host, &uri));
                }
                let answer = world.send("GET", &check, &headers, "").await;
                assert_eq!(answer.status, StatusCode::OK, "{proxy} {host} {uri}");
                assert_eq!(header(&answer, "x-authd-uri"), asked, "{proxy} {host} {uri}");
                assert_eq!(header(&answer, "x-authd-folder"), folder, "{proxy} {host} {uri}");
                // Without the header, Caddy would forward the placeholder's name.
                let has_folder = answer.headers.contains_key("x-authd-folder");
                assert_eq!(has_folder, proxy == "caddy" || !folder.is_empty(), "{proxy}");
            }
        }
    }
}

#[tokio::test]
async fn only_trusted_proxies_are_answered() {
    let mut plan = Plan::new();
    plan.config.trusted.origins = vec!["10.0.0.0/8".parse().unwrap()];
    let world = plan.serve().await;
    let public = forwarded("public--agent--dev--alice.test.coder.com", "/");
    let carried = ["caddy", "envoy", "envoy/", "nginx", "traefik"]
        .map(|proxy| format!("/api/v2/forward-auth/control-plane/{proxy}"));
    for path in
        [NGINX, CADDY, ENVOY, crate::world::TRAEFIK, &format!("{NGINX}/answer"), UNREACHABLE]
            .into_iter()
            .chain(carried.iter().map(|path| &**path))
    {
        let answer = world.send("GET", path, &public, "").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test]
async fn a_check_without_the_needed_headers_is_an_error() {
    let world = World::new().await;
    for headers in [
        vec![],
        vec![("x-forwarded-host", HOST)],
        vec![("x-forwarded-uri", "/")],
        vec![("x-forwarded-host", HOST), ("x-forwarded-uri", "https://evil.example/")],
    ] {
        for path in [
            NGINX,
            CADDY,
            crate::world::TRAEFIK,
            "/api/v2/forward-auth/control-plane/nginx",
            "/api/v2/forward-auth/control-plane/caddy",
            "/api/v2/forward-auth/control-plane/traefik",
        ] {
            let answer = world.send("GET", path, &headers, "").await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path} {headers:?}");
        }
    }
}

#[tokio::test]
async fn direct_visits_get_the_same_answers_and_are_not_carried() {
    let world = World::new().await;
    let page = [("host", HOST), ("accept", "text/html")];
    let stranger = world.send("GET", "/", &page, "").await;
    assert_eq!(stranger.status, StatusCode::SEE_OTHER);
    let session = world.token("alice");
    let owner =
        world.send("GET", "/", &[("host", HOST), ("coder-session-token", session)], "").await;
    assert_eq!(owner.status, StatusCode::BAD_GATEWAY);
    assert!(text(&owner).contains("no proxy carries this address"));
    let posted = world.send("POST", "/", &page, "").await;
    assert_eq!(posted.status, StatusCode::UNAUTHORIZED);
    let page = [("host", "coder.test"), ("accept", "text/html")];
    let path = world.send("GET", "/@alice/dev/apps/owner/", &page, "").await;
    assert_eq!(path.status, StatusCode::SEE_OTHER);
}
