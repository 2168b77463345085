//! Apps below a path of the dashboard's or a proxy's host

use hyper::StatusCode;

use crate::world::{Plan, World, claims_of, header, location, query, set_cookies, text};

const APP: &str = "/@alice/dev.agent/apps/owner/";

// scenario 150
#[tokio::test]
async fn anonymous_visitors_are_sent_to_the_login_page_of_the_dashboard() {
    let world = World::new().await;
    let answer = world.visit("coder.test", "/@alice/dev.agent/apps/owner/x/?a=1&b=2", &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let login = location(&answer);
    assert_eq!((login.host(), login.path()), ("coder.test", "/login"));
    assert!(query(&login)["message"].starts_with("You are signed out"));
    assert_eq!(query(&login)["redirect"], "/@alice/dev.agent/apps/owner/x/?a=1&b=2");
}

// scenario 151, 217
#[tokio::test]
async fn on_a_proxy_anonymous_visitors_are_sent_through_the_dashboard() {
    let world = World::new().await;
    let answer = world.visit("sydney.coder.com", "/@alice/dev/apps/owner/x/?a=1", &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let redirect = location(&answer);
    assert_eq!(redirect.path(), "/api/v2/applications/auth-redirect");
    let back = "https://sydney.coder.com/@alice/dev/apps/owner/x/?a=1";
    assert_eq!(query(&redirect)["redirect_uri"], back);

    let cookie = format!("coder_path_app_session_token={}", world.scoped("alice"));
    let uri = "/@alice/dev/apps/owner/x/";
    let allowed = world.visit("sydney.coder.com", uri, &[("cookie", &cookie)]).await;
    assert_eq!(allowed.status, StatusCode::OK, "{}", text(&allowed));
}

#[tokio::test]
async fn a_proxys_host_may_match_the_pattern_of_apps() {
    let mut plan = Plan::new();
    plan.rows.proxy("eu", "https://eu.test.coder.com", "");
    plan.rows.proxy("broken", "not a url", "*.broken");
    let world = plan.serve().await;
    let app = "/@alice/dev/apps/owner/x/";
    let answer = world.visit("eu.test.coder.com", app, &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let back = format!("https://eu.test.coder.com{app}");
    assert_eq!(query(&location(&answer))["redirect_uri"], back);
    let session = [("coder-session-token", world.token("alice"))];
    assert_eq!(world.visit("eu.test.coder.com", app, &session).await.status, StatusCode::OK);
    let other = world.visit("us.test.coder.com", app, &session).await;
    assert_eq!(other.status, StatusCode::BAD_REQUEST);
}

// scenario 153, 154
#[tokio::test]
async fn a_browser_is_redirected_to_the_folder_and_the_default_query() {
    let world = World::new().await;
    let session = [("coder-session-token", world.token("alice"))];
    let no_slash = world.visit("coder.test", "/@alice/dev.agent/apps/owner?a=1", &session).await;
    assert_eq!(no_slash.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(
        header(&no_slash, "location"),
        "https://coder.test/@alice/dev.agent/apps/owner/?a=1"
    );

    let no_query = world.visit("coder.test", "/@alice/dev/apps/query/", &session).await;
    assert_eq!(no_query.status, StatusCode::TEMPORARY_REDIRECT);
    let with_default = "https://coder.test/@alice/dev/apps/query/?q=default";
    assert_eq!(header(&no_query, "location"), with_default);
    let neither = world.visit("coder.test", "/@alice/dev/apps/query", &session).await;
    assert_eq!(header(&neither, "location"), with_default);
    let own_query = world.visit("coder.test", "/@alice/dev/apps/query/?q=own", &session).await;
    assert_eq!(own_query.status, StatusCode::OK);

    // A visitor who may not open the app does not learn its query.
    let stranger = world.visit("coder.test", "/@alice/dev/apps/query/", &[]).await;
    assert_eq!(stranger.status, StatusCode::SEE_OTHER);
    assert!(!header(&stranger, "location").contains("default"));
}

// scenario 156, 165
#[tokio::test]
async fn the_token_of_an_app_opens_it_without_a_query() {
    let world = World::new().await;
    let session = [("coder-session-token", world.token("alice"))];
    let first = world.visit("coder.test", APP, &session).await;
    assert_eq!(first.status, StatusCode::OK, "{}", text(&first));
    let [(name, token, line)] = &set_cookies(&first)[..] else { panic!("{:?}", first.headers) };
    assert_eq!(name, "coder_signed_app_token");
    assert!(line.contains("; Path=/@alice/dev.agent/apps/owner/; Expires="), "{line}");
    assert!(line.ends_with("; HttpOnly; SameSite=Lax"), "{line}");
    assert_eq!(claims_of(token)["app_url"], "http://127.0.0.1:8080");

    let cookie = format!("{name}={token}");
    let (second, statements) =
        world.counted(world.visit("coder.test", APP, &[("cookie", &cookie)])).await;
    assert_eq!((second.status, statements), (StatusCode::OK, 0));
    assert!(set_cookies(&second).is_empty());
    for known in ["x-authd-user", "x-authd-workspace-id", "x-authd-agent-id", "x-authd-app-url"] {
        assert_eq!(header(&second, known), header(&first, known), "{known}");
    }
    assert_eq!(header(&second, "x-authd-user"), world.people["alice"].id.to_string());

    let other = "/@alice/dev.agent/apps/authed/";
    let refused = world.visit("coder.test", other, &[("cookie", &cookie)]).await;
    assert_eq!(refused.status, StatusCode::SEE_OTHER);
    world.move_clock(3 * 60);
    let expired = world.visit("coder.test", APP, &[("cookie", &cookie)]).await;
    assert_eq!(expired.status, StatusCode::SEE_OTHER);
    assert_eq!(world.rows().await.len(), 3, "one allowed, and two sent to sign in");
}

// scenario 157, 160
// What a visitor writes is not an error of the server, so 160 is 400.
#[tokio::test]
async fn some_paths_never_name_an_app() {
    let world = World::new().await;
    let session = [("coder-session-token", world.token("alice"))];
    let me = world.visit("coder.test", "/@me/dev/apps/owner/", &session).await;
    assert_eq!(me.status, StatusCode::NOT_FOUND);
    assert!(text(&me).contains("must be accessed with the full username, not @me"));
    let port = world.visit("coder.test", "/@alice/dev.agent/apps/8080/", &session).await;
    assert_eq!(port.status, StatusCode::BAD_REQUEST);
    assert!(text(&port).contains("hosts of their own"), "{}", text(&port));
    for nothing in ["/", "/@alice", "/@alice/dev", "/@alice/dev/apps/", "/@/dev/apps/owner/", "?x"]
    {
        let answer = world.visit("coder.test", nothing, &session).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{nothing}");
    }
    assert!(world.rows().await.is_empty());
}

#[tokio::test]
async fn path_apps_can_be_turned_off() {
    let mut plan = Plan::new();
    plan.config.disable_path_apps = true;
    let world = plan.serve().await;
    let session = [("coder-session-token", world.token("alice"))];
    assert_eq!(world.visit("coder.test", APP, &session).await.status, StatusCode::FORBIDDEN);
    let terminal = format!("/api/v2/workspaceagents/{}/pty", world.agent);
    assert_eq!(world.visit("coder.test", &terminal, &session).await.status, StatusCode::OK);
}

// scenario 244
#[tokio::test]
async fn a_terminal_opens_for_its_owner_and_for_a_token_in_the_query() {
    let world = World::new().await;
    let terminal = format!("/api/v2/workspaceagents/{}/pty", world.agent);
    let visit = async |headers: &[(&str, &str)]| {
        world.visit("sydney.coder.com", &terminal, headers).await.status
    };
    assert_eq!(visit(&[("coder-session-token", world.token("alice"))]).await, 200);
    assert_eq!(visit(&[("coder-session-token", world.scoped("alice"))]).await, 404);
    assert_eq!(visit(&[("coder-session-token", world.token("bob"))]).await, 404);
    assert_eq!(visit(&[]).await, 404);

    let url = format!("wss://sydney.coder.com{terminal}");
    let body = serde_json::json!({ "url": url, "agentID": world.agent }).to_string();
    let headers =
        [("coder-session-token", world.token("alice")), ("content-type", "application/json")];
    let path = "/api/v2/applications/reconnecting-pty-signed-token";
    let issued = world.send("POST", path, &headers, &body).await;
    let issued: serde_json::Value = serde_json::from_slice(&issued.body).unwrap();
    let token = issued["signed_token"].as_str().unwrap();
    let with_token = format!("{terminal}?coder_signed_app_token_23db1dde={token}");
    let (opened, statements) =
        world.counted(world.visit("sydney.coder.com", &with_token, &[])).await;
    assert_eq!((opened.status, statements), (StatusCode::OK, 0));
    assert_eq!(header(&opened, "x-authd-uri"), "/");
    for (url, agent) in [
        ("wss://sydney.coder.com/api/v2/workspaceagents/agent/pty", "agent"),
        ("wss://sydney.coder.com/api/v2/workspaceagents//pty", ""),
        (&*url, "agent"),
    ] {
        let body = serde_json::json!({ "url": url, "agentID": agent }).to_string();
        let refused = world.send("POST", path, &headers, &body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{agent}: {}", text(&refused));
    }
    let garbage = format!("{terminal}?coder_signed_app_token_23db1dde=x");
    assert_eq!(world.visit("sydney.coder.com", &garbage, &[]).await.status, 404);
}
