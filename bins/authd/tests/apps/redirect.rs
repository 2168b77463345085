//! Sessions on an app's own host: how they are created and ended

use app_authz::credential::Sessions;
use hyper::StatusCode;
use serde_json::json;

use crate::sign_in::Browser;
use crate::subdomain::session_cookie_name;
use crate::world::{
    DASHBOARD, NONCE, Plan, SIGN_IN, World, by_path, by_subdomain, header, location, query,
    set_cookies, text,
};

const REDIRECT: &str = "/api/v2/applications/auth-redirect";
const PARAMETER: &str = "coder_application_connect_api_key_35e783";
const HOST: &str = "owner--agent--dev--alice.test.coder.com";

fn redirect_to(uri: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("redirect_uri", uri).append_pair("authd_nonce", NONCE);
    format!("{REDIRECT}?{}", query.finish())
}

async fn ask(world: &World, uri: &str) -> testkit::net::Answer {
    let cookie = format!("coder_session_token={}", world.token("alice"));
    world.send("GET", &redirect_to(uri), &[("cookie", &cookie)], "").await
}

// scenario 220, 222, 223, 225
#[tokio::test]
async fn visitors_return_to_hosts_of_apps_and_proxies() {
    let world = World::new().await;
    for (uri, back) in [
        ("https://APP.test.coder.com", "https://APP.test.coder.com/?"),
        ("https://APP.test.coder.com/a/b/?c=d", "https://APP.test.coder.com/a/b/?c=d&"),
        ("https://sydney.coder.com/PATH/?a=1", "https://sydney.coder.com/PATH/?a=1&"),
        ("https://APP.sydney.coder.com/path/?a=%2F", "https://APP.sydney.coder.com/path/?a=%2F&"),
        ("http://APP.sydney.coder.com:443/x", "https://APP.sydney.coder.com:443/x?"),
        ("http://APP.sydney.coder.com/x", "https://APP.sydney.coder.com/x?"),
    ] {
        let [uri, back] = [uri, back].map(|address| {
            address.replace("APP", "owner--dev--alice").replace("PATH", "@alice/dev/apps/owner")
        });
        let answer = ask(&world, &uri).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{uri}: {}", text(&answer));
        let location = header(&answer, "location");
        assert!(location.starts_with(&format!("{back}{PARAMETER}=")), "{uri}: {location}");
    }
}

#[tokio::test]
async fn path_and_query_are_kept_except_for_an_earlier_sealed_session() {
    let world = World::new().await;
    let app = "https://owner--dev--alice.test.coder.com";
    let other = "coder_application_connect_api%5Fkey_35e783";
    for (path, back) in [
        ("//evil.example", "//evil.example?"),
        ("/a/../..", "/a/../..?"),
        ("/?a&&b=%2F+", "/?a&b=%2F+&"),
        (&format!("/?{PARAMETER}=old&a=1&{other}=older"), "/?a=1&"),
    ] {
        let answer = ask(&world, &format!("{app}{path}")).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}: {}", text(&answer));
        let location = header(&answer, "location");
        let sealed = location.strip_prefix(&format!("{app}{back}{PARAMETER}="));
        assert!(sealed.is_some_and(|sealed| sealed.starts_with("ey")), "{path}: {location}");
    }
}

#[tokio::test]
async fn visitors_return_to_a_proxy_on_its_own_port() {
    let mut plan = Plan::new();
    plan.rows.proxy("oslo", "https://oslo.coder.com:8443", "*.oslo.coder.com");
    plan.rows.proxy("beside", "https://coder.test:9443", "");
    let world = plan.serve().await;
    for (base, hosts, subdomain, back) in [
        (
            "https://oslo.coder.com:8443",
            "*.oslo.coder.com",
            true,
            "https://owner--agent--dev--alice.oslo.coder.com/some/path/?a=1",
        ),
        (
            "https://coder.test:9443",
            "",
            false,
            "https://coder.test:9443/@alice/dev.agent/apps/owner/some/path/?a=1",
        ),
    ] {
        let asking = if subdomain { by_subdomain } else { by_path };
        let mut visit = asking("alice", "dev", "agent", "owner", "");
        visit["path_app_base_url"] = base.into();
        visit["app_hostname"] = hosts.into();
        let sent = world.issue(visit).await;
        let uri = query(&location(&sent))["redirect_uri"].clone();
        assert_eq!(uri, back);
        assert_eq!(ask(&world, &uri).await.status, StatusCode::SEE_OTHER, "{uri}");
    }
}

// scenario 223, 249, 250
#[tokio::test]
async fn hosts_of_a_pattern_with_a_suffix_and_a_port_can_sign_in_and_out() {
    let mut plan = Plan::new();
    plan.config.app_hosts = Some("*--apps.test.coder.com:4444".parse().unwrap());
    let world = plan.serve().await;
    let host = "owner--agent--dev--alice--apps.test.coder.com";
    let sent = world.visit(host, "/x?a=1", &[]).await;
    let uri = query(&location(&sent))["redirect_uri"].clone();
    assert_eq!(uri, format!("https://{host}:4444/x?a=1"));
    let back = location(&ask(&world, &uri).await);
    assert_eq!(back.authority(), format!("{host}:4444"));
    let uri = format!("{}?{}", back.path(), back.query().unwrap());
    let arrived = world.visit(&back.authority(), &uri, &[("cookie", SIGN_IN)]).await;
    assert_eq!(header(&arrived, "location"), format!("https://{host}:4444/x?a=1"));
    let (name, token, line) = &set_cookies(&arrived)[0];
    assert!(line.contains("; Domain=test.coder.com; "), "{line}");
    let cookie = format!("{name}={token}");
    for (host, status) in [
        (host, 200),
        (&*host.to_uppercase(), 200),
        (&format!("{host}.:4444"), 200),
        (&format!("some---{host}"), 200),
        ("owner--agent--dev--alice.test.coder.com", 404),
        ("owner--agent--dev--alice--apps--apps.test.coder.com", 400),
        ("--apps.test.coder.com", 404),
    ] {
        let answer = world.visit(host, "/", &[("cookie", &cookie)]).await;
        assert_eq!(answer.status.as_u16(), status, "{host}");
    }
    let out = world.visit("coder-logout--apps.test.coder.com", "/", &[("cookie", &cookie)]).await;
    assert_eq!(header(&out, "location"), "https://coder.test/");
    assert!(set_cookies(&out)[0].2.contains("Domain=test.coder.com; Max-Age=0"));
    assert_eq!(world.visit(host, "/", &[("cookie", &cookie)]).await.status, StatusCode::SEE_OTHER);
}

// scenario 226, 228, 229
#[tokio::test]
async fn visitors_return_to_no_other_host() {
    let world = World::new().await;
    let cookie = format!("coder_session_token={}", world.token("alice"));
    for path in [REDIRECT.to_owned(), format!("{REDIRECT}?redirect_uri=")] {
        let answer = world.send("GET", &path, &[("cookie", &cookie)], "").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(text(&answer).contains("Missing redirect_uri"));
    }
    for uri in [
        "https://example.com/",
        "https://coder.test/",
        "https://sydney.co/",
        "https://sydney/",
        "https://s/",
        "https://_/",
        "https://sydney.coder.com.evil.example/",
        "https://evilsydney.coder.com/",
        "https://a.b.sydney.coder.com/",
        "https://a.b.test.coder.com/",
        "https://test.coder.com/",
        "https://user@app.test.coder.com/",
        "https://user:pass@app.test.coder.com/",
        "https://example.com\\@app.test.coder.com/",
        "https://app.test.coder.com\\.example.com/",
        "https://app.test.coder.com%2eexample.com/",
        "https://app%2etest.coder.com/",
        "https://app.test.coder.com:8443/",
        "https://app.test.coder.com:99999/",
        "https://xn--pp-fka.example/",
        "https://äpp.test.coder.com/",
        "https://app。test.coder.com/",
        "https://app.test.coder.com#@example.com/",
        "//app.test.coder.com/",
        "///example.com",
        "/relative",
        "javascript:alert(1)//app.test.coder.com",
        "ftp://app.test.coder.com/",
        "wss://app.test.coder.com/",
        "https:app.test.coder.com",
        "https:/app.test.coder.com",
        "https:///app.test.coder.com",
        "https://app.test.coder.com/\r\nSet-Cookie: a=b",
        "https://[::1]/",
        "https://127.0.0.1/",
        "https://*.test.coder.com/",
        " https://example.com",
    ] {
        let answer = ask(&world, uri).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{uri}: {:?}", answer.headers);
        assert!(text(&answer).contains("Invalid redirect_uri."), "{uri}");
        assert!(!answer.headers.contains_key("location"), "{uri}");
    }
    let keys =
        world.database.sql("select count(*) from api_keys where created_at > '2026-01-01'").await;
    assert_eq!(keys, ["0"]);
}

// scenario 85, 241
#[tokio::test]
async fn signed_out_visitors_are_sent_to_the_login_page() {
    let world = World::new().await;
    let path = redirect_to("https://app.test.coder.com/");
    let answer = world.send("GET", &path, &[], "").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let login = location(&answer);
    assert_eq!((login.host(), login.path()), ("coder.test", "/login"));
    assert_eq!(query(&login)["redirect"], path);
    let script = world.send("GET", &path, &[("accept", "application/json")], "").await;
    assert_eq!(script.status, StatusCode::UNAUTHORIZED);
    assert!(header(&script, "www-authenticate").starts_with("Bearer realm=\"coder\""));
    let suspended = format!("coder_session_token={}", world.token("sue"));
    let suspended = world.send("GET", &path, &[("cookie", &suspended)], "").await;
    assert_eq!(suspended.status, StatusCode::UNAUTHORIZED);
}

/// Follows a browser to the app's host, and returns the answer and the cookie
async fn arrive(world: &World, host: &str, path: &str) -> (testkit::net::Answer, String) {
    let answer = ask(world, &format!("https://{host}{path}")).await;
    let back = location(&answer);
    let uri = format!("{}?{}", back.path(), back.query().unwrap());
    (world.visit(host, &uri, &[("cookie", SIGN_IN)]).await, uri)
}

// scenario 216
#[tokio::test]
async fn the_session_in_the_address_becomes_a_cookie_of_apps_alone() {
    let world = World::new().await;
    let (arrived, uri) = arrive(&world, HOST, "/x/?b=2&a=1").await;
    assert_eq!(arrived.status, StatusCode::SEE_OTHER);
    assert_eq!(header(&arrived, "location"), format!("https://{HOST}/x/?b=2&a=1"));
    let [(name, token, line), (browser, ..)] = &set_cookies(&arrived)[..] else { panic!() };
    assert_eq!(browser, "authd_sign_in");
    assert_eq!(*name, session_cookie_name());
    assert!(line.contains("; Path=/; Domain=test.coder.com; HttpOnly"), "{line}");
    assert!(!line.contains("Expires") && !line.contains("Max-Age"));
    let cookie = format!("{name}={token}");
    let opened = world.visit(HOST, "/x/?b=2&a=1", &[("cookie", &cookie)]).await;
    assert_eq!(opened.status, StatusCode::OK);

    // The session opens apps only: it opens no terminal and creates no further session.
    let headers = [("coder-session-token", &**token)];
    let terminal = format!("/api/v2/workspaceagents/{}/pty", world.agent);
    assert_eq!(world.visit("coder.test", &terminal, &headers).await.status, 404);
    let path = redirect_to(&format!("https://{HOST}/"));
    assert_eq!(world.send("GET", &path, &headers, "").await.status, StatusCode::NOT_FOUND);
    let store = world.database.store().await;
    let holders = store.holders(&[token.parse().unwrap()]).await.unwrap();
    let subject = holders[0].subject(&app_authz::rbac::BuiltInRoles::new(Default::default()));
    let own_user = app_authz::rbac::Object::user(holders[0].key.user);
    assert!(!subject.is_allowed(&app_authz::rbac::Action::Read, &own_user));

    // A second use sets no cookie, and a browser that has the cookie continues.
    let replayed = world.visit(HOST, &uri, &[("cookie", SIGN_IN)]).await;
    assert_eq!(replayed.status, StatusCode::SEE_OTHER);
    assert!(set_cookies(&replayed).is_empty());
}

// scenario 217, 219
#[tokio::test]
async fn a_sealed_session_is_opened_only_on_its_deployment() {
    let world = World::new().await;
    let app = "/@alice/dev/apps/owner/x/";
    let (arrived, uri) = arrive(&world, "sydney.coder.com", app).await;
    assert_eq!(arrived.status, StatusCode::SEE_OTHER, "{}", text(&arrived));
    assert_eq!(header(&arrived, "location"), format!("https://sydney.coder.com{app}"));
    let (name, token, line) = &set_cookies(&arrived)[0];
    assert_eq!(name, "coder_path_app_session_token");
    assert!(!line.contains("Domain"), "{line}");
    let cookie = format!("{name}={token}");
    let opened = world.visit("sydney.coder.com", app, &[("cookie", &cookie)]).await;
    assert_eq!(opened.status, StatusCode::OK);

    let on_dashboard = world.visit("coder.test", &uri, &[]).await;
    assert_eq!(on_dashboard.status, StatusCode::BAD_REQUEST);
    let sealed = uri.split_once(&format!("{PARAMETER}=")).unwrap().1;
    let mut forged = sealed.to_owned();
    forged.pop();
    for bad in ["x", "a.b.c.d.e", &forged, &sealed.replacen('.', "..", 1), &"A".repeat(9000)] {
        let answer = world.visit(HOST, &format!("/?{PARAMETER}={bad}"), &[]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{bad}");
        assert!(set_cookies(&answer).is_empty());
    }
    let (_, uri) = arrive(&world, HOST, "/").await;
    world.move_clock(3 * 60);
    assert_eq!(world.visit(HOST, &uri, &[]).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_return_path_stays_on_the_host() {
    let world = World::new().await;
    for path in ["//evil.example/", "/\\evil.example/", "///evil.example"] {
        let answer = ask(&world, "https://owner--agent--dev--alice.test.coder.com/").await;
        let sealed = query(&location(&answer))[PARAMETER].clone();
        let arrived = world
            .visit(HOST, &format!("{path}?{PARAMETER}={sealed}"), &[("cookie", SIGN_IN)])
            .await;
        let location = header(&arrived, "location");
        let own = format!("https://{HOST}/evil.example");
        assert!(location.starts_with(&own), "{path}: {location}");
    }
}

// scenario 231
#[tokio::test]
async fn the_dashboard_learns_the_hosts_of_apps() {
    let ask = async |world: &World, token: &str| {
        world.send("GET", "/api/v2/applications/host", &[("coder-session-token", token)], "").await
    };
    for (access_url, pattern, host) in [
        (DASHBOARD, Some("*.test.coder.com"), "*.test.coder.com"),
        (DASHBOARD, None, ""),
        (DASHBOARD, Some("*--x.coder.com:4444"), "*--x.coder.com:4444"),
        ("https://coder.test:8443", Some("*.Test.coder.com"), "*.Test.coder.com:8443"),
        ("https://coder.test:8443", Some("*.test.coder.com:443"), "*.test.coder.com:443"),
    ] {
        let mut plan = Plan::new();
        plan.config.access_url = access_url.parse().unwrap();
        plan.config.app_hosts = pattern.map(|pattern| pattern.parse().unwrap());
        let world = plan.serve().await;
        let answer = ask(&world, world.token("alice")).await;
        assert_eq!(text(&answer), json!({ "host": host }).to_string());
        assert_eq!(ask(&world, "").await.status, StatusCode::UNAUTHORIZED);
    }
}

// scenario 237, 238, 240, 241, 243
#[tokio::test]
async fn the_dashboard_gets_a_token_for_a_terminal_on_a_proxy() {
    let world = World::new().await;
    let path = format!("/api/v2/workspaceagents/{}/pty", world.agent);
    let ask = async |url: &str, token: &str| {
        let body = json!({ "url": url, "agentID": world.agent }).to_string();
        let headers = [("coder-session-token", token), ("content-type", "application/json")];
        let route = "/api/v2/applications/reconnecting-pty-signed-token";
        world.send("POST", route, &headers, &body).await
    };
    let owner = world.token("alice");
    for (url, message, detail) in [
        (":".to_owned(), "Invalid URL.", ""),
        (format!("ftp://sydney.coder.com{path}"), "Invalid URL.", "scheme"),
        (format!("wss://sydney.coder.com{path}/x"), "Invalid URL.", "path"),
        ("wss://sydney.coder.com/".to_owned(), "Invalid URL.", "path"),
        (format!("wss://sydney.coder.com/x/..{path}"), "Invalid URL.", ""),
        (format!("wss://elsewhere.example{path}"), "Invalid hostname in URL.", ""),
        (format!("wss://coder.test{path}"), "Invalid hostname in URL.", ""),
        (format!("wss://sydney.coder.com:8443{path}"), "Invalid hostname in URL.", ""),
        (format!("wss://sydney.co{path}"), "Invalid hostname in URL.", ""),
    ] {
        let answer = ask(&url, owner).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{url}");
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["message"], message, "{url}");
        assert!(body["detail"].as_str().unwrap().contains(detail), "{url}: {body}");
    }
    let url = format!("wss://sydney.coder.com{path}");
    assert_eq!(ask(&url, "").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&url, "0123456789-0123456789012345678901").await.status, 401);
    assert_eq!(ask(&url, world.token("sue")).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&url, world.token("bob")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(ask(&url, world.scoped("alice")).await.status, StatusCode::NOT_FOUND);
    let answer = ask(&url, owner).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", text(&answer));
    assert!(text(&answer).starts_with("{\"signed_token\":\""));
}

#[tokio::test]
async fn logging_out_ends_app_sessions_too() {
    let world = World::new().await;
    let session = format!("coder_session_token={}", world.token("alice"));
    let (arrived, _) = arrive(&world, HOST, "/").await;
    let (name, token, _) = &set_cookies(&arrived)[0];
    let app = format!("{name}={token}");
    let logout = "/api/v2/users/logout";
    let foreign =
        [("cookie", &*session), ("origin", "https://owner--agent--dev--alice.test.coder.com")];
    assert_eq!(world.send("POST", logout, &foreign, "").await.status, StatusCode::FORBIDDEN);
    assert_eq!(world.visit(HOST, "/", &[("cookie", &app)]).await.status, StatusCode::OK);

    let own = [("cookie", &*session), ("origin", "https://coder.test")];
    let answer = world.send("POST", logout, &own, "").await;
    assert_eq!(answer.status, StatusCode::OK);
    let gone = set_cookies(&answer);
    let names: Vec<&str> = gone.iter().map(|(name, _, _)| &**name).collect();
    assert_eq!(
        names,
        ["coder_session_token", "coder_path_app_session_token", &session_cookie_name()]
    );
    assert!(gone.iter().all(|(_, value, line)| value.is_empty() && line.contains("Max-Age=0")));
    assert!(gone[2].2.contains("Domain=test.coder.com"));
    assert_eq!(world.visit(HOST, "/", &[("cookie", &app)]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(world.send("POST", logout, &own, "").await.status, StatusCode::UNAUTHORIZED);
    // Sessions of other users stay.
    let root = world.visit(HOST, "/", &[("coder-session-token", world.scoped("root"))]).await;
    assert_eq!(root.status, StatusCode::OK);
}

#[tokio::test]
async fn an_app_host_can_end_its_own_session() {
    let world = World::new().await;
    let (arrived, _) = arrive(&world, HOST, "/").await;
    let (name, token, _) = &set_cookies(&arrived)[0];
    let app = format!("{name}={token}");
    let answer = world.visit("coder-logout.test.coder.com", "/", &[("cookie", &app)]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(header(&answer, "location"), "https://coder.test/");
    assert!(set_cookies(&answer)[0].2.contains("Max-Age=0"));
    assert_eq!(world.visit(HOST, "/", &[("cookie", &app)]).await.status, StatusCode::SEE_OTHER);
    let dashboard = format!("coder_session_token={}", world.token("alice"));
    assert_eq!(world.visit(HOST, "/", &[("cookie", &dashboard)]).await.status, StatusCode::OK);
}

/// The session of an app's host does not reach another host then
#[tokio::test]
async fn with_secure_cookies_visitors_sign_out_at_the_dashboard() {
    let mut plan = Plan::new();
    plan.config.cookies.secure = true;
    // Its sign-in sets a cookie that is not bound to the host.
    plan.config.has_dashboard = true;
    let world = plan.serve().await;
    let mut browser = Browser::of(&world, "alice");
    let app = format!("https://{HOST}/");
    assert_eq!(browser.go(&app).await.status, StatusCode::OK);
    let led = browser.one("https://coder-logout.test.coder.com/").await;
    assert_eq!(header(&led, "location"), "https://coder.test/");
    browser.jar.retain(|(_, name), _| !name.contains("signed_app_token"));
    assert_eq!(browser.one(&app).await.status, StatusCode::OK);
    let session = format!("coder_session_token={}", world.token("alice"));
    let own = [("cookie", &*session), ("origin", "https://coder.test")];
    let out = world.send("POST", "/api/v2/users/logout", &own, "").await;
    assert_eq!(out.status, StatusCode::OK);
    assert_eq!(browser.one(&app).await.status, StatusCode::SEE_OTHER);
}
