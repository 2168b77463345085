//! Apps on hosts of their own

use authd_http::SameSite;
use hyper::StatusCode;
use testkit::OwnServer;

use crate::world::{
    Plan, World, by_subdomain, claims_of, header, location, query, set_cookies, text,
};

const HOST: &str = "owner--agent--dev--alice.test.coder.com";

// scenario 162
#[tokio::test]
async fn visits_by_host_are_decided_like_visits_by_path() {
    let world = World::new().await;
    for (token, status) in [("alice", 200), ("bob", 404), ("root", 200), ("carol", 404)] {
        let answer = world.visit(HOST, "/", &[("coder-session-token", world.token(token))]).await;
        assert_eq!(answer.status.as_u16(), status, "{token}");
    }
    let anonymous = world.visit(HOST, "/x//y%2Fz/?a=%20", &[]).await;
    assert_eq!(anonymous.status, StatusCode::SEE_OTHER);
    let back = format!("https://{HOST}/x//y%2Fz/?a=%20");
    assert_eq!(query(&location(&anonymous))["redirect_uri"], back);
    let odd = world.visit(HOST, "/x?path=C:\\x&q=\"<>", &[]).await;
    let back = format!("https://{HOST}/x?path=C:%5Cx&q=%22%3C%3E");
    assert_eq!(query(&location(&odd))["redirect_uri"], back);
    for climbing in ["/../x", "/a/%2e%2E/x", "/.%2e"] {
        let answer = world.visit(HOST, climbing, &[]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{climbing}");
    }
    let upper = HOST.to_uppercase();
    assert_eq!(world.visit(&upper, "/", &[]).await.status, StatusCode::SEE_OTHER);
}

// scenario 163
#[tokio::test]
async fn the_empty_path_is_the_root() {
    let world = World::new().await;
    let session = [("coder-session-token", world.token("alice"))];
    for (uri, root) in [("", "/"), ("?a=1", "/?a=1")] {
        let answer = world.visit(HOST, uri, &session).await;
        assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT, "{uri}");
        assert_eq!(header(&answer, "location"), format!("https://{HOST}{root}"));
    }
}

// scenario 165, 166, 180
#[tokio::test]
async fn the_cookie_alone_suffices() {
    let world = World::new().await;
    let first = world.visit(HOST, "/", &[("coder-session-token", world.token("alice"))]).await;
    let [(name, token, line)] = &set_cookies(&first)[..] else { panic!("{:?}", first.headers) };
    assert!(line.contains("; Path=/; "), "{line}");
    assert!(!line.contains("Domain"), "{line}");
    let cookie = format!("other=1; {name}={token}");
    let (again, statements) =
        world.counted(world.visit(HOST, "/any/path?q", &[("cookie", &cookie)])).await;
    assert_eq!((again.status, statements), (StatusCode::OK, 0));
    assert_eq!(header(&again, "x-authd-uri"), "/any/path?q");
    assert_eq!(header(&again, "cookie"), "other=1");
    // An empty parameter is ignored. Any other replaces the cookie, and counts for terminals only.
    for (uri, status) in [
        ("/?coder_signed_app_token_23db1dde=", 200),
        ("/?coder_application_connect_api_key_35e783=&a", 200),
        ("/?coder_signed_app_token_23db1dde=x", 303),
    ] {
        let answer = world.visit(HOST, uri, &[("cookie", &cookie)]).await;
        assert_eq!(answer.status.as_u16(), status, "{uri}");
    }
}

// scenario 169
#[tokio::test]
async fn low_ports_are_reserved() {
    let world = World::new().await;
    let session = [("coder-session-token", world.token("alice"))];
    for (port, status) in [("8", 400), ("0s", 400), ("9", 200)] {
        let host = format!("{port}--agent--dev--alice.test.coder.com");
        let answer = world.visit(&host, "/", &session).await;
        assert_eq!(answer.status.as_u16(), status, "{port}");
        if status == 400 {
            assert!(text(&answer).contains("Ports below 9 are reserved."));
        }
    }
    let stranger = world.visit("8--agent--dev--alice.test.coder.com", "/", &[]).await;
    assert_eq!(stranger.status, StatusCode::SEE_OTHER);
    let other = [("coder-session-token", world.token("bob"))];
    let other = world.visit("8--agent--dev--alice.test.coder.com", "/", &other).await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
    let rows = world.rows().await;
    let words: Vec<_> = rows.iter().map(|row| (row.status(), row.text("decision"))).collect();
    assert_eq!(words.iter().filter(|word| **word == (400, "deny")).count(), 2, "{words:?}");

    // A proxy relays the answer, as it would give it itself.
    let mut asked = by_subdomain("alice", "dev", "agent", "8", world.token("alice"));
    let answer = world.issue(asked.clone()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(text(&answer).contains("Coder reserves ports less than 9"), "{}", text(&answer));
    assert!(header(&answer, "content-type").starts_with("application/json"));
    asked["session_token"] = "".into();
    assert_eq!(world.issue(asked).await.status, StatusCode::SEE_OTHER);
}

// scenario 172, 177, 178
#[tokio::test]
async fn only_hosts_of_the_pattern_are_apps() {
    let world = World::new().await;
    let session = [("coder-session-token", world.token("alice"))];
    for host in [
        "owner--agent--dev--alice.example.com",
        "owner--agent--dev--alice",
        "x.owner--agent--dev--alice.test.coder.com",
        "test.coder.com",
        "coder.test",
    ] {
        assert_eq!(world.visit(host, "/", &session).await.status, StatusCode::NOT_FOUND, "{host}");
    }
    let malformed = world.visit("not-an-app-subdomain.test.coder.com", "/", &session).await;
    assert_eq!(malformed.status, StatusCode::BAD_REQUEST);
    assert!(text(&malformed).contains("This address leads to no app"));

    let mut plan = Plan::new();
    plan.config.app_hosts = None;
    let without = plan.serve().await;
    let health = without.send("GET", "/healthz", &[("host", HOST)], "").await;
    assert_eq!(health.status, StatusCode::OK);
    let api = without.send("GET", "/x", &[("host", HOST)], "").await;
    assert!(text(&api).contains("Route not found."));
}

// scenario 174
#[tokio::test]
async fn a_token_of_another_signer_is_ignored() {
    let world = World::new().await;
    let other = World::new().await;
    let session = [("coder-session-token", other.token("alice"))];
    let foreign = other.visit(HOST, "/", &session).await;
    let (_, foreign, _) = &set_cookies(&foreign)[0];
    let name = session_cookie_name();
    let cookie = format!("coder_signed_app_token={foreign}; {name}={}", world.scoped("alice"));
    let answer = world.visit(HOST, "/", &[("cookie", &cookie)]).await;
    assert_eq!(answer.status, StatusCode::OK);
    let (_, fresh, _) = &set_cookies(&answer)[0];
    assert_ne!(fresh, foreign);
}

// scenario 175
#[tokio::test]
async fn the_prefix_of_a_host_is_part_of_the_request() {
    let world = World::new().await;
    let host = format!("some---prefix---{HOST}");
    let answer = world.visit(&host, "/", &[("coder-session-token", world.token("alice"))]).await;
    assert_eq!(answer.status, StatusCode::OK);
    let (name, token, _) = &set_cookies(&answer)[0];
    assert_eq!(claims_of(token)["request"]["app_prefix"], "some---prefix---");
    let cookie = format!("{name}={token}");
    assert_eq!(world.visit(&host, "/", &[("cookie", &cookie)]).await.status, StatusCode::OK);
    let without = world.visit(HOST, "/", &[("cookie", &cookie)]).await;
    assert_eq!(without.status, StatusCode::SEE_OTHER);
}

// scenario 183
#[tokio::test]
async fn cookies_have_the_attributes_of_the_deployment() {
    let mut plan = Plan::new();
    plan.config.cookies.secure = true;
    plan.config.cookies.same_site = SameSite::None;
    plan.config.cookies.partitioned = true;
    plan.config.cookies.prefix = "__Secure-".to_owned();
    let world = plan.serve().await;
    let answer = world.visit(HOST, "/", &[("coder-session-token", world.token("alice"))]).await;
    let (name, token, line) = &set_cookies(&answer)[0];
    assert_eq!(name, "__Host-coder_signed_app_token");
    assert!(line.ends_with("; HttpOnly; Secure; SameSite=None; Partitioned"), "{line}");
    let cookie = format!("{name}={token}");
    assert_eq!(world.visit(HOST, "/", &[("cookie", &cookie)]).await.status, StatusCode::OK);
    let cookie = format!("__Secure-coder_session_token={}", world.token("alice"));
    assert_eq!(world.visit(HOST, "/", &[("cookie", &cookie)]).await.status, StatusCode::OK);
}

// scenario 112, 184
#[tokio::test]
async fn an_app_uses_its_own_credentials_and_never_sees_ours() {
    let world = World::new().await;
    let name = session_cookie_name();
    let cookie = format!("own=1; {name}={}", world.scoped("alice"));
    let theirs = [("cookie", &*cookie), ("authorization", "Bearer x.y.z")];
    let answer = world.visit(HOST, "/?access_token=theirs", &theirs).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(header(&answer, "cookie"), "own=1");
    assert_eq!(header(&answer, "authorization"), "Bearer x.y.z");
    assert_eq!(header(&answer, "x-authd-uri"), "/?access_token=theirs");

    let bearer = format!("Bearer {}", world.token("alice"));
    let ours = [("authorization", &*bearer), ("cookie", "coder_session_token=x")];
    let answer = world.visit(HOST, "/?a", &ours).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(!answer.headers.contains_key("cookie"));
    assert!(!answer.headers.contains_key("authorization"));
    assert!(!answer.headers.contains_key("coder-session-token"));
    assert_eq!(header(&answer, "x-authd-uri"), "/?a");
}

#[tokio::test]
async fn good_tokens_open_apps_while_the_database_is_unreachable() {
    let postgres = OwnServer::start().await;
    let world = Plan::new().serve_from(postgres.database().await).await;
    let answer = world.visit(HOST, "/", &[("coder-session-token", world.token("alice"))]).await;
    let (name, token, _) = &set_cookies(&answer)[0];
    let cookie = format!("{name}={token}");
    postgres.pause().await;
    assert_eq!(world.visit(HOST, "/", &[("cookie", &cookie)]).await.status, StatusCode::OK);
    let without = world.visit(HOST, "/", &[]).await;
    assert_eq!(without.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_script_gets_json() {
    let world = World::new().await;
    for (accept, status) in [
        ("application/json", 401),
        ("application/json, text/plain;q=0.9", 401),
        ("*/*", 401),
        ("text/html,application/xhtml+xml", 303),
        ("TEXT/HTML; q=0.1", 303),
        ("", 401),
        (" , ", 401),
        ("text/html;q=0, application/json", 401),
        ("text/html;level=1; q=0.000, */*;Q=0", 401),
    ] {
        let answer = world.visit(HOST, "/", &[("accept", accept)]).await;
        assert_eq!(answer.status.as_u16(), status, "{accept}");
        let challenge = header(&answer, "www-authenticate");
        assert_eq!(challenge.starts_with("Bearer realm=\"coder\""), status == 401, "{accept}");
    }
    let token = world.token("bob");
    let json = [("accept", "application/json"), ("coder-session-token", token)];
    let answer = world.visit(HOST, "/", &json).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(text(&answer).starts_with("{\"message\":\"Application Not Found\""));
}

/// The name of the session cookie of these hosts
pub fn session_cookie_name() -> String {
    let hosts = crate::world::WILDCARD.parse().unwrap();
    let names = app_authz::credential::CookieNames::new("", Some(&hosts));
    names.app_session(app_authz::app::AccessMethod::Subdomain).to_owned()
}
