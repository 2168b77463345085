//! Sessions that count, and how use changes them

use app_authz::credential::{SessionToken, Sessions};
use chrono::{DateTime, Utc};
use hyper::StatusCode;
use store::fleet::{LoginType, UserLink, UserStatus};

use crate::addresses::redirected;
use crate::world::{Plan, SIGN_IN, by_path, header, location, set_cookies, text};

const HOST: &str = "owner--agent--dev--alice.test.coder.com";

impl Plan {
    /// The row of the user's unrestricted session
    fn key(&mut self, name: &str) -> &mut store::fleet::ApiKey {
        let id = self.people[name].token.id().to_owned();
        self.rows.api_keys.iter_mut().find(|key| key.id == id).unwrap()
    }
}

#[tokio::test]
async fn the_use_of_a_session_is_recorded_without_delay() {
    let mut plan = Plan::new();
    let now: DateTime<Utc> = plan.now.into();
    let key = plan.key("alice");
    key.last_used = now - chrono::Duration::days(1);
    key.expires_at = now + chrono::Duration::hours(2);
    let id = key.id.clone();
    let world = plan.serve().await;
    let query = format!(
        "select to_char(last_used at time zone 'utc', 'YYYY-MM-DD HH24:MI'),
         to_char(expires_at at time zone 'utc', 'YYYY-MM-DD HH24:MI') from api_keys where id = '{id}'"
    );
    let expected = format!(
        "{}|{}",
        now.format("%Y-%m-%d %H:%M"),
        (now + chrono::Duration::days(1)).format("%Y-%m-%d %H:%M")
    );
    let session = ("coder-session-token", world.token("alice"));
    world.use_until((HOST, 200), session, (&query, &expected)).await;
}

// scenario 215
#[tokio::test]
async fn an_app_session_expires_with_the_session_that_created_it() {
    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;
    for (login_type, left, end, lifetime) in [
        (LoginType::Password, DAY - 60, DAY - 60, DAY),
        // This request extends the session.
        (LoginType::Password, DAY / 2, DAY, DAY),
        (LoginType::Token, DAY, DAY, HOUR - 1),
    ] {
        let mut plan = Plan::new();
        let now: DateTime<Utc> = plan.now.into();
        let key = plan.key("alice");
        key.login_type = login_type;
        key.expires_at = now + chrono::Duration::seconds(left);
        key.lifetime_seconds = DAY;
        let world = plan.serve().await;
        let arriving = location(&redirected(&world, &format!("https://{HOST}/")).await);
        let uri = format!("{}?{}", arriving.path(), arriving.query().unwrap());
        let arrived = world.visit(HOST, &uri, &[("cookie", SIGN_IN)]).await;
        let token: SessionToken = set_cookies(&arrived)[0].1.parse().unwrap();
        let key = world.database.store().await.holders(&[token]).await.unwrap().remove(0).key;
        assert_eq!(key.login_type, app_authz::credential::LoginType::Password);
        let ends_in = (DateTime::<Utc>::from(key.expires_at) - now).num_seconds();
        let seconds = i64::try_from(key.lifetime.as_secs()).unwrap();
        assert_eq!((ends_in, seconds), (end, lifetime), "{login_type:?} {left}");
    }
}

#[tokio::test]
async fn a_host_prefixed_session_cookie_counts_and_is_not_forwarded() {
    let world = crate::world::World::new().await;
    let cookie = format!("own=1; __Host-coder_session_token={}", world.token("alice"));
    let session = [("cookie", &*cookie)];
    let opened = world.visit("coder.test", "/@alice/dev/apps/owner/", &session).await;
    assert_eq!((opened.status.as_u16(), header(&opened, "cookie")), (200, "own=1"));
    let asked = format!("/api/v2/applications/auth-redirect?redirect_uri=https://{HOST}/");
    let handed = world.send("GET", &asked, &session, "").await;
    assert!(header(&handed, "location").starts_with(&format!("https://{HOST}/?coder_app")));
}

#[tokio::test]
async fn an_expired_session_does_not_count() {
    let mut plan = Plan::new();
    let now: DateTime<Utc> = plan.now.into();
    plan.key("alice").expires_at = now - chrono::Duration::seconds(1);
    let world = plan.serve().await;
    let token = world.token("alice");
    let forged = format!("{}-{}", &token[..10], "x".repeat(22));
    for bad in [token, &forged, "", "nonsense", &format!("{token}x")] {
        let visit = world.visit(HOST, "/", &[("coder-session-token", bad)]).await;
        assert_eq!(visit.status, StatusCode::SEE_OTHER, "{bad}");
        let path = "/api/v2/applications/host";
        let api = world.send("GET", path, &[("coder-session-token", bad)], "").await;
        assert_eq!(api.status, StatusCode::UNAUTHORIZED, "{bad}");
        assert!(header(&api, "www-authenticate").starts_with("Bearer realm="));
    }
}

#[tokio::test]
async fn users_whose_provider_link_has_expired_are_sent_to_sign_in() {
    let now: DateTime<Utc> = Plan::new().now.into();
    let ended = now - chrono::Duration::hours(1);
    let later = now + chrono::Duration::hours(1);
    for (link, status) in [
        (None, 303),
        (Some(("", ended)), 303),
        // Only the dashboard can refresh the link, at sign-in.
        (Some(("refresh", ended)), 303),
        (Some(("", later)), 200),
    ] {
        let mut plan = Plan::new();
        plan.key("alice").login_type = LoginType::Github;
        if let Some((refresh, expiry)) = link {
            plan.rows.user_links.push(UserLink {
                user_id: plan.people["alice"].id,
                login_type: LoginType::Github,
                oauth_refresh_token: store::fleet::Hidden(refresh.to_owned()),
                oauth_expiry: expiry,
            });
        }
        let world = plan.serve().await;
        let answer = world.visit(HOST, "/", &[("coder-session-token", world.token("alice"))]).await;
        assert_eq!(answer.status.as_u16(), status, "{link:?}");
    }
}

#[tokio::test]
async fn only_the_dashboard_activates_a_dormant_user() {
    let mut plan = Plan::new();
    let bob = plan.people["bob"].id;
    plan.rows.users.iter_mut().find(|user| user.id == bob).unwrap().status = UserStatus::Dormant;
    let world = plan.serve().await;
    let answer = world.issue(by_path("alice", "dev", "agent", "public", world.token("bob"))).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(text(&answer).contains("status = \\\"dormant\\\""), "{}", text(&answer));
    assert_eq!(world.rows().await[0].text("reason"), "user_dormant");
}

#[tokio::test]
async fn the_sign_in_page_accepts_only_tokens_that_count_as_sessions() {
    let mut plan = crate::world::Plan::new();
    let (alice, id) = (plan.people["alice"].clone(), plan.people["alice"].token.id().to_owned());
    for key in plan.rows.api_keys.iter_mut().filter(|key| key.id == id) {
        key.login_type = store::fleet::LoginType::Oidc;
    }
    plan.rows.user_links.push(store::fleet::UserLink {
        user_id: alice.id,
        login_type: store::fleet::LoginType::Oidc,
        oauth_refresh_token: store::fleet::Hidden("refresh".to_owned()),
        oauth_expiry: (plan.now - std::time::Duration::from_secs(60)).into(),
    });
    let world = plan.serve().await;
    let form = async |token: &str| {
        let body = format!("token={token}&redirect=%2Fback");
        world.send("POST", "/login", &[], &body).await
    };
    let bob = form(world.token("bob")).await;
    assert_eq!((bob.status.as_u16(), crate::world::header(&bob, "location")), (303, "/back"));
    assert_eq!(crate::world::set_cookies(&bob)[0].0, "coder_session_token");
    // Her provider token has expired, and authd cannot refresh it.
    for token in [world.token("alice"), world.token("sue"), "x"] {
        let refused = form(token).await;
        assert_eq!(refused.status, 401);
        assert!(crate::world::set_cookies(&refused).is_empty());
    }
}

#[tokio::test]
async fn the_start_page_shows_the_signed_in_user() {
    let mut plan = Plan::new();
    let bob = plan.people["bob"].id;
    plan.rows.users.iter_mut().find(|user| user.id == bob).unwrap().username = "<b>".to_owned();
    let world = plan.serve().await;
    let get = async |headers: &[(&str, &str)]| world.send("GET", "/", headers, "").await;
    for stranger in
        [vec![], vec![("cookie", "coder_session_token=AAAAAAAAAA-0000000000000000000000")]]
    {
        let sent = get(&stranger).await;
        assert_eq!((sent.status.as_u16(), header(&sent, "location")), (303, "/login"));
    }
    let script = get(&[("accept", "application/json")]).await;
    assert_eq!(script.status, 401);

    let cookie = format!("coder_session_token={}", world.token("alice"));
    let page = get(&[("cookie", &cookie), ("accept", "text/html")]).await;
    assert!(text(&page).contains("<span>alice</span>"), "{}", text(&page));
    assert!(header(&page, "content-security-policy").starts_with("default-src 'none'"));
    assert_eq!(header(&page, "cache-control"), "no-store");
    let script = get(&[("cookie", &cookie), ("accept", "application/json")]).await;
    let body: serde_json::Value = serde_json::from_slice(&script.body).unwrap();
    let alice = world.people["alice"].id;
    assert_eq!(body, serde_json::json!({ "id": alice, "username": "alice" }));
    let escaped = get(&[("coder-session-token", world.token("bob"))]).await;
    assert!(text(&escaped).contains("<span>&lt;b&gt;</span>"), "{}", text(&escaped));

    // The page's button ends the session; a form of another site cannot.
    let post = async |origin: &str| {
        let headers = [("cookie", &*cookie), ("origin", origin)];
        world.send("POST", "/logout", &headers, "").await
    };
    for foreign in ["https://app.test.coder.com", "https://evil.example", "null"] {
        assert_eq!(post(foreign).await.status, StatusCode::FORBIDDEN, "{foreign}");
    }
    assert_eq!(get(&[("cookie", &cookie)]).await.status, StatusCode::OK);
    let out = post("https://coder.test").await;
    assert_eq!((out.status.as_u16(), header(&out, "location")), (303, "/login"));
    let gone = crate::world::set_cookies(&out);
    assert_eq!(gone[0].0, "coder_session_token");
    assert!(gone.iter().all(|(_, value, line)| value.is_empty() && line.contains("Max-Age=0")));
    assert_eq!(get(&[("cookie", &cookie)]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(post("https://coder.test").await.status, StatusCode::SEE_OTHER);
}
