//! Redirects: to sign in, back to the app, and to other addresses, each absolute

use app_authz::address::HttpUrl;
use hyper::StatusCode;

use crate::world::{
    DASHBOARD, NONCE, Plan, SIGN_IN, World, by_subdomain, header, location, query, set_cookies,
    text,
};

const REDIRECT: &str = "/api/v2/applications/auth-redirect";
const ANSWER: &str = "/api/v2/forward-auth/nginx/answer";
const PARAMETER: &str = "coder_application_connect_api_key_35e783";

fn redirect_to(uri: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("redirect_uri", uri).append_pair("authd_nonce", NONCE);
    format!("{REDIRECT}?{}", query.finish())
}

/// The answer of the dashboard to Alice, who is signed in there
pub async fn redirected(world: &World, uri: &str) -> testkit::net::Answer {
    let cookie = format!("coder_session_token={}", world.token("alice"));
    world.send("GET", &redirect_to(uri), &[("cookie", &cookie)], "").await
}

#[tokio::test]
async fn visitors_of_a_proxy_are_sent_to_the_host_of_its_pattern() {
    let mut plan = Plan::new();
    let oslo = "https://oslo.coder.com:8443";
    let bergen = "https://bergen.coder.com";
    plan.rows.proxy("oslo", oslo, "*.oslo.coder.com");
    plan.rows.proxy("bergen", bergen, "*--apps.Bergen.coder.com:9443");
    let world = plan.serve().await;
    for (base, pattern, [user, agent, slug], back) in [
        (oslo, "*.oslo.coder.com", ["alice", "", "owner"], "owner--dev--alice.oslo.coder.com"),
        (
            oslo,
            "*.oslo.coder.com",
            ["Alice", "agent", "owner"],
            "owner--agent--dev--Alice.oslo.coder.com",
        ),
        (
            oslo,
            "*.oslo.coder.com:8443",
            ["alice", "", "owner"],
            "owner--dev--alice.oslo.coder.com:8443",
        ),
        (
            oslo,
            "*.oslo.coder.com",
            ["alice", "agent", "9090"],
            "9090--agent--dev--alice.oslo.coder.com",
        ),
        (
            bergen,
            "*--apps.Bergen.coder.com:9443",
            ["alice", "", "owner"],
            "owner--dev--alice--apps.Bergen.coder.com:9443",
        ),
    ] {
        let mut visit = by_subdomain(user, "dev", agent, slug, "");
        visit["path_app_base_url"] = base.into();
        visit["app_hostname"] = pattern.into();
        let sent = world.issue(visit).await;
        assert_eq!(sent.status, StatusCode::SEE_OTHER, "{back}: {}", text(&sent));
        let uri = query(&location(&sent))["redirect_uri"].clone();
        assert_eq!(uri, format!("https://{back}/some/path/?a=1"));
        let handed = redirected(&world, &uri).await;
        assert_eq!(handed.status, StatusCode::SEE_OTHER, "{uri}: {}", text(&handed));
        assert!(header(&handed, "location").starts_with(&format!("{uri}&{PARAMETER}=")));
    }
}

#[tokio::test]
async fn a_visitor_returns_to_the_same_host_and_port() {
    const APP: &str = "owner--dev--alice.test.coder.com";
    let upper = APP.to_uppercase();
    let on = |port: u16| format!("{APP}:{port}");
    // Access URL, port of the pattern, the visitor's host, and whether a session is sent there
    for (access, pattern, visited, back, sent_there) in [
        ("https://coder.test", None, APP, APP, true),
        ("https://coder.test", None, &on(443), &on(443), true),
        ("https://coder.test", None, &upper, &upper, true),
        ("https://coder.test", None, &format!("{APP}."), APP, true),
        ("https://coder.test:8443", None, &on(8443), &on(8443), true),
        ("https://coder.test:8443", None, APP, APP, true),
        ("http://coder.test:3000", None, &on(3000), &on(3000), true),
        ("https://coder.test", Some(4444), &on(4444), &on(4444), true),
        // The proxy leaves out the port, and only one is possible.
        ("https://coder.test", Some(4444), APP, &on(4444), true),
        ("https://coder.test", None, &on(8443), &on(8443), false),
        ("https://coder.test:8443", None, &on(9443), &on(9443), false),
        ("https://coder.test", Some(4444), &on(443), &on(443), false),
    ] {
        let mut plan = Plan::new();
        plan.config.access_url = access.parse().unwrap();
        plan.config.app_hosts = plan.config.app_hosts.map(|hosts| hosts.or_port(pattern));
        let world = plan.serve().await;
        let case = format!("{visited} of {access}, pattern on {pattern:?}");
        let sent = world.visit(visited, "/x?a=1", &[]).await;
        assert_eq!(sent.status, StatusCode::SEE_OTHER, "{case}");
        let dashboard = location(&sent);
        assert_eq!(dashboard.origin(), access, "{case}");
        let uri = query(&dashboard)["redirect_uri"].clone();
        let scheme = access.split("://").next().unwrap();
        assert_eq!(uri, format!("{scheme}://{back}/x?a=1"), "{case}");
        let handed = redirected(&world, &uri).await;
        if !sent_there {
            assert_eq!(handed.status, StatusCode::BAD_REQUEST, "{case}");
            assert!(text(&handed).contains("host and port"), "{}", text(&handed));
            continue;
        }
        assert_eq!(handed.status, StatusCode::SEE_OTHER, "{case}: {}", text(&handed));
        let arriving = location(&handed);
        let path = format!("{}?{}", arriving.path(), arriving.query().unwrap());
        let arrived = world.visit(visited, &path, &[("cookie", SIGN_IN)]).await;
        assert_eq!(header(&arrived, "location"), uri, "{case}");
        let (name, token, _) = &set_cookies(&arrived)[0];
        let cookie = format!("{name}={token}");
        let opened = world.visit(visited, "/x?a=1", &[("cookie", &cookie)]).await;
        assert_eq!(opened.status, StatusCode::OK, "{case}");
    }
}

#[tokio::test]
async fn a_host_without_a_port_gets_the_port_of_its_url() {
    let mut plan = Plan::new();
    plan.config.access_url = "https://coder.test:8443".parse().unwrap();
    plan.rows.proxy("oslo", "https://oslo.coder.com:9443", "");
    let world = plan.serve().await;
    let owner = [("coder-session-token", world.token("alice"))];
    for (host, origin) in [
        ("coder.test", "https://coder.test:8443"),
        ("coder.test:8443", "https://coder.test:8443"),
        ("CODER.test.", "https://CODER.test:8443"),
        ("oslo.coder.com", "https://oslo.coder.com:9443"),
        ("oslo.coder.com:9443", "https://oslo.coder.com:9443"),
    ] {
        let folder = world.visit(host, "/@alice/dev/apps/owner", &owner).await;
        let expected = format!("{origin}/@alice/dev/apps/owner/");
        assert_eq!(header(&folder, "location"), expected, "{host}");
    }
    let sent = world.visit("oslo.coder.com", "/@alice/dev/apps/owner/x", &[]).await;
    let uri = query(&location(&sent))["redirect_uri"].clone();
    assert_eq!(uri, "https://oslo.coder.com:9443/@alice/dev/apps/owner/x");
    assert_eq!(redirected(&world, &uri).await.status, StatusCode::SEE_OTHER);
}

/// The answer to the visitor, through any proxy
async fn relayed(
    world: &World,
    carrier: &str,
    host: &str,
    uri: &str,
    cookie: &str,
) -> testkit::net::Answer {
    let path = format!("/api/v2/forward-auth/{carrier}");
    if carrier == "envoy" {
        let headers = [("host", host), ("cookie", cookie), ("accept", "text/html")];
        return world.send("GET", &format!("{path}{uri}"), &headers, "").await;
    }
    let headers = [
        ("x-forwarded-host", host),
        ("x-forwarded-uri", uri),
        ("cookie", cookie),
        ("accept", "text/html"),
    ];
    let checked = world.send("GET", &path, &headers, "").await;
    if carrier != "nginx" {
        return checked;
    }
    assert_eq!(checked.status, StatusCode::UNAUTHORIZED);
    assert!(!checked.headers.contains_key("location"));
    let handed = [("x-authd-answer", header(&checked, "x-authd-answer"))];
    world.send("GET", ANSWER, &handed, "").await
}

#[tokio::test]
async fn every_redirect_in_the_answer_to_a_check_is_absolute() {
    const APP: &str = "https://owner--dev--alice.test.coder.com";
    const QUERY: &str = "https://query--dev--alice.test.coder.com:8443";
    const SYDNEY: &str = "https://sydney.coder.com";
    const BY_PATH: &str = "/@alice/dev/apps/owner";

    let world = World::new().await;
    let owner = format!("coder_session_token={}", world.token("alice"));
    for carrier in ["caddy", "envoy", "nginx", "traefik"] {
        for (visited, uri, cookie, status, origin, path) in [
            (APP, "/x?a=1", "", 303, DASHBOARD, REDIRECT),
            (SYDNEY, "/@alice/dev/apps/owner/", "", 303, DASHBOARD, REDIRECT),
            (DASHBOARD, "/@alice/dev/apps/owner/", "", 303, DASHBOARD, "/login"),
            ("https://coder-logout.test.coder.com", "/", "", 303, DASHBOARD, "/"),
            // The app's own folder, and its default query.
            (DASHBOARD, BY_PATH, &owner, 307, DASHBOARD, "/@alice/dev/apps/owner/"),
            (
                "https://Coder.test:443",
                BY_PATH,
                &owner,
                307,
                "https://Coder.test:443",
                "/@alice/dev/apps/owner/",
            ),
            (SYDNEY, BY_PATH, &owner, 307, SYDNEY, "/@alice/dev/apps/owner/"),
            (QUERY, "/", &owner, 307, QUERY, "/"),
        ] {
            let case = format!("{carrier}: {visited}{uri}");
            let host = visited.strip_prefix("https://").unwrap();
            let answer = relayed(&world, carrier, host, uri, cookie).await;
            assert_eq!(answer.status.as_u16(), status, "{case}: {}", text(&answer));
            let location: HttpUrl = header(&answer, "location").parse().unwrap();
            assert_eq!((&*location.origin(), location.path()), (origin, path), "{case}");
        }

        // A sealed session, seen for the first time and for the second.
        for back in [
            format!("{APP}/x/?b=2"),
            format!("{APP}:443/"),
            format!("{SYDNEY}/@alice/dev/apps/owner/x/"),
        ] {
            let arriving = location(&redirected(&world, &back).await);
            let uri = format!("{}?{}", arriving.path(), arriving.query().unwrap());
            for _ in 0..2 {
                let arrived = relayed(&world, carrier, &arriving.authority(), &uri, SIGN_IN).await;
                assert_eq!(arrived.status, StatusCode::SEE_OTHER, "{carrier}: {back}");
                assert_eq!(header(&arrived, "location"), back, "{carrier}");
            }
        }
    }
}
