//! Limited API keys: no route lets them do more than their limits allow

use app_authz::credential::SessionToken;
use chrono::{DateTime, Utc};
use serde_json::json;
use store::fleet::{KeyScope, LoginType, Oauth2ProviderAppToken};
use testkit::{Database, Release};
use uuid::Uuid;

use crate::world::{
    DASHBOARD, NONCE, Plan, SIGN_IN, World, by_path, by_subdomain, location, set_cookies, text,
};

const REDIRECT: &str = "/api/v2/applications/auth-redirect";
const OWNER_APP: &str = "owner--agent--dev--alice.test.coder.com";
const PORT_OF_SOLO: &str = "9000--main--solo--alice.test.coder.com";

impl Plan {
    /// Adds a limited session of a user
    fn limited(&mut self, who: &str, scopes: &[&str], allow_list: &[&str]) -> SessionToken {
        let token = self.rows.session(self.people[who].id);
        let row = self.rows.api_keys.last_mut().unwrap();
        row.last_used = self.now.into();
        row.scopes = scopes.iter().map(|scope| KeyScope((*scope).to_owned())).collect();
        row.allow_list = allow_list.iter().map(|entry| (*entry).to_owned()).collect();
        token
    }

    /// The allow-list entry of one of Alice's workspaces
    fn entry(&self, name: &str) -> String {
        let workspace = self.rows.workspaces.iter().find(|workspace| workspace.name == name);
        format!("workspace:{}", workspace.unwrap().id)
    }
}

/// The key's user, scopes and allow list, and the status of each of [`ways`]
type Case<'a> = (&'a str, &'a [&'a str], &'a [&'a str], [u16; 14]);

/// The status that a key gets from each way to an app or a terminal
async fn ways(world: &World, token: &str) -> Vec<(&'static str, u16)> {
    let session = [("coder-session-token", token)];
    let mut found = Vec::new();
    for (what, host, uri) in [
        ("app", OWNER_APP, "/".to_owned()),
        ("app by path", "coder.test", "/@alice/dev.agent/apps/owner/".to_owned()),
        ("terminal", "coder.test", format!("/api/v2/workspaceagents/{}/pty", world.agent)),
        ("port of another", PORT_OF_SOLO, "/".to_owned()),
        ("shared", "authed--agent--dev--alice.test.coder.com", "/".to_owned()),
        ("public", "public--agent--dev--alice.test.coder.com", "/".to_owned()),
    ] {
        found.push((what, world.visit(host, &uri, &session).await.status.as_u16()));
    }
    for (what, envelope) in [
        ("issued", by_subdomain("alice", "dev", "agent", "owner", token)),
        ("issued by path", by_path("alice", "dev", "agent", "owner", token)),
        ("issued for another", by_subdomain("alice", "solo", "main", "9000", token)),
    ] {
        found.push((what, world.issue(envelope).await.status.as_u16()));
    }
    let url = format!("wss://sydney.coder.com/api/v2/workspaceagents/{}/pty", world.agent);
    let body = json!({ "url": url, "agentID": world.agent }).to_string();
    let headers = [("coder-session-token", token), ("content-type", "application/json")];
    for (what, method, path, body) in [
        ("terminal token", "POST", "/api/v2/applications/reconnecting-pty-signed-token", &*body),
        ("session for apps", "GET", &*format!("{REDIRECT}?redirect_uri=https://{OWNER_APP}/"), ""),
        ("audit", "GET", "/api/v2/audit", ""),
        ("import", "POST", "/api/v2/authd/import?dry_run", "{}"),
        ("app hosts", "GET", "/api/v2/applications/host", ""),
    ] {
        found.push((what, world.send(method, path, &headers, body).await.status.as_u16()));
    }
    found
}

// scenario 94
#[tokio::test]
async fn a_limited_key_opens_only_what_its_limits_allow_by_every_route() {
    let mut plan = Plan::new();
    let [dev, solo] = ["dev", "solo"].map(|name| plan.entry(name));
    let (dev, solo) = (&*dev, &*solo);
    let shouted = format!(" {} ", dev.to_uppercase());
    let connect = "workspace:application_connect";
    // For an app, the same by path, a terminal, a port of another workspace, an app for
    // everyone signed in, a public one; three tokens for a proxy; a token for a terminal, a
    // session for apps, the audit, an import, and where apps are
    #[rustfmt::skip]
    let expected: &[Case<'_>] = &[
        ("alice", &["coder:all"], &["*:*"],
            [200, 200, 200, 200, 200, 200, 201, 201, 201, 200, 303, 403, 403, 200]),
        ("alice", &["coder:all"], &[dev],
            [200, 200, 200, 404, 200, 200, 201, 201, 404, 200, 404, 403, 403, 200]),
        ("alice", &["coder:all"], &[&shouted],
            [200, 200, 200, 404, 200, 200, 201, 201, 404, 200, 404, 403, 403, 200]),
        ("alice", &["coder:all"], &[solo],
            [404, 404, 404, 200, 404, 200, 404, 404, 201, 404, 404, 403, 403, 200]),
        ("alice", &["coder:all"], &[solo, dev],
            [200, 200, 200, 200, 200, 200, 201, 201, 201, 200, 404, 403, 403, 200]),
        ("alice", &["coder:application_connect"], &[dev],
            [200, 200, 404, 404, 200, 200, 201, 201, 404, 404, 404, 403, 403, 200]),
        ("alice", &[connect], &["*:*"],
            [200, 200, 404, 200, 200, 200, 201, 201, 201, 404, 404, 403, 403, 200]),
        ("alice", &["workspace:read", connect], &["workspace:*"],
            [200, 200, 404, 200, 200, 200, 201, 201, 201, 404, 404, 403, 403, 200]),
        ("alice", &["workspace:ssh"], &["*:*"],
            [404, 404, 200, 404, 404, 200, 404, 404, 404, 200, 404, 403, 403, 200]),
        ("alice", &["workspace:read", "template:read"], &["*:*"],
            [404, 404, 404, 404, 404, 200, 404, 404, 404, 404, 404, 403, 403, 200]),
        ("alice", &["coder:all"], &["template:*", "nonsense"],
            [404, 404, 404, 404, 404, 200, 404, 404, 404, 404, 404, 403, 403, 200]),
        ("alice", &["coder:all"], &["nonsense"],
            [404, 404, 404, 404, 404, 200, 404, 404, 404, 404, 404, 403, 403, 200]),
        ("alice", &[], &["*:*"],
            [404, 404, 404, 404, 404, 200, 404, 404, 404, 404, 404, 403, 403, 200]),
        // It may make keys, and could not open what these would.
        ("alice", &["coder:apikeys.manage_self"], &["*:*"],
            [404, 404, 404, 404, 404, 200, 404, 404, 404, 404, 404, 403, 403, 200]),
        // Not even the app it names is shared with it, as that is for everyone.
        ("bob", &["coder:all"], &[dev],
            [404, 404, 404, 404, 404, 200, 404, 404, 404, 404, 404, 403, 403, 200]),
        ("root", &["coder:all"], &["*:*"],
            [200, 200, 200, 200, 200, 200, 201, 201, 201, 200, 303, 200, 200, 200]),
        ("root", &["coder:all"], &[dev],
            [200, 200, 200, 404, 200, 200, 201, 201, 404, 200, 404, 403, 403, 200]),
        ("root", &["audit_log:read", "system:*"], &["*:*"],
            [404, 404, 404, 404, 404, 200, 404, 404, 404, 404, 404, 200, 200, 200]),
    ];
    let tokens: Vec<SessionToken> = expected
        .iter()
        .map(|(who, scopes, allow_list, _)| plan.limited(who, scopes, allow_list))
        .collect();
    let world = plan.serve().await;
    let mut wrong = Vec::new();
    for ((who, scopes, allow_list, statuses), token) in expected.iter().zip(&tokens) {
        for ((what, status), expected) in
            ways(&world, token.reveal()).await.into_iter().zip(statuses)
        {
            if status != *expected {
                wrong.push(format!("{who} {scopes:?} {allow_list:?}, {what}: {status}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_key_that_permits_nothing_is_refused_and_recorded() {
    let mut plan = Plan::new();
    let alice = plan.people["alice"].id;
    let token = plan.limited("alice", &["coder:all"], &["*:*"]);
    let world = plan.serve().await;
    world.database.sql("ALTER TYPE api_key_scope ADD VALUE 'moon_base:visit'").await;
    world.database.sql("ALTER TYPE api_key_scope ADD VALUE 'moon_base:*'").await;
    let session = [("coder-session-token", token.reveal()), ("accept", "text/html")];
    let set = async |change: &str| {
        let id = token.id();
        world.database.sql(&format!("UPDATE api_keys SET {change} WHERE id = '{id}'")).await
    };
    for (change, reason) in [
        ("scopes = '{moon_base:visit}'", "no_scope"),
        ("scopes = '{moon_base:visit,NULL,moon_base:*}'", "no_scope"),
        ("scopes = '{}'", "no_scope"),
        ("scopes = '{coder:all}', allow_list = '{NULL}'", "no_scope"),
        ("scopes = '{coder:all}', allow_list = '{moon_base:*}'", "no_scope"),
        ("scopes = '{coder:all}', allow_list = '{template:*}'", "not_shared"),
        ("scopes = '{workspace:read}', allow_list = '{*:*}'", "not_shared"),
        ("scopes = '{moon_base:visit,workspace:application_connect}'", ""),
    ] {
        set(change).await;
        let browser = format!("browser that finds {change}");
        let headers = [session[0], session[1], ("user-agent", &browser)];
        let visit = world.visit(OWNER_APP, "/", &headers).await;
        let status = if reason.is_empty() { 200 } else { 404 };
        assert_eq!(visit.status.as_u16(), status, "{change}: {}", text(&visit));
        let page = text(&visit);
        assert_eq!(page.contains("Application Not Found"), status == 404, "{change}: {page}");
        let rows = world.rows().await;
        let row = rows.iter().find(|row| row.text("agent") == browser).unwrap();
        assert_eq!((row.text("reason"), row.user()), (reason, alice), "{change}");
    }
}

#[tokio::test]
async fn a_session_made_with_a_limited_key_has_the_same_limits() {
    let mut plan = Plan::new();
    let dev = plan.entry("dev");
    let keys = "api_key:*";
    let cases = [
        (plan.limited("alice", &["coder:all"], &["*:*"]), vec!["*:*"], 200),
        (plan.limited("alice", &["coder:all"], &[keys, &dev]), vec![keys, &dev], 404),
        (
            plan.limited("alice", &["api_key:*", "coder:workspaces.access"], &[&dev, keys]),
            vec![keys, &dev],
            404,
        ),
    ];
    let refused = [
        plan.limited("alice", &["coder:all"], &[&dev]),
        plan.limited("alice", &["api_key:*", "workspace:ssh"], &["*:*"]),
    ];
    let world = plan.serve().await;
    let ask = async |token: &SessionToken| {
        let cookie = format!("coder_session_token={}", token.reveal());
        let path = format!("{REDIRECT}?redirect_uri=https://{OWNER_APP}/&authd_nonce={NONCE}");
        world.send("GET", &path, &[("cookie", &cookie)], "").await
    };
    for (token, list, port_of_solo) in &cases {
        let back = location(&ask(token).await);
        let uri = format!("{}?{}", back.path(), back.query().unwrap());
        let arrived = world.visit(OWNER_APP, &uri, &[("cookie", SIGN_IN)]).await;
        let (name, made, _) = &set_cookies(&arrived)[0];
        let cookie = format!("{name}={made}");
        let visit = async |host| world.visit(host, "/", &[("cookie", &cookie)]).await.status;
        assert_eq!(visit(OWNER_APP).await, 200, "{list:?}");
        assert_eq!(visit(PORT_OF_SOLO).await.as_u16(), *port_of_solo, "{list:?}");
        let made = made.parse::<SessionToken>().unwrap();
        let row = format!(
            "SELECT scopes, array_to_string(allow_list, ' ') FROM api_keys WHERE id = '{}'",
            made.id()
        );
        let row = world.database.sql(&row).await;
        assert_eq!(row, [format!("{{coder:application_connect}}|{}", list.join(" "))]);
    }
    let keys = async || world.database.sql("SELECT count(*) FROM api_keys").await;
    let before = keys().await;
    for token in &refused {
        assert_eq!(ask(token).await.status, 404);
    }
    assert_eq!(keys().await, before, "nothing was made");
}

#[tokio::test]
async fn sessions_made_with_a_token_of_fixed_expiry_have_a_fixed_expiry() {
    let mut plan = Plan::new();
    let end: DateTime<Utc> = (plan.now + std::time::Duration::from_secs(20 * 3600)).into();
    let mut made = Vec::new();
    for (login_type, name) in [(LoginType::Token, "laptop"), (LoginType::Password, "")] {
        let token = plan.limited("alice", &["coder:all"], &["*:*"]);
        let row = plan.rows.api_keys.last_mut().unwrap();
        row.login_type = login_type;
        row.token_name = name.to_owned();
        row.expires_at = end;
        row.lifetime_seconds = 30 * 86_400;
        made.push((token, login_type == LoginType::Password));
    }
    let world = plan.serve().await;
    for (token, is_extended) in made {
        let cookie = format!("coder_session_token={}", token.reveal());
        let path = format!("{REDIRECT}?redirect_uri=https://{OWNER_APP}/&authd_nonce={NONCE}");
        let back = location(&world.send("GET", &path, &[("cookie", &cookie)], "").await);
        let uri = format!("{}?{}", back.path(), back.query().unwrap());
        let cookies = set_cookies(&world.visit(OWNER_APP, &uri, &[("cookie", SIGN_IN)]).await);
        let (name, session, _) = &cookies[0];
        // Used again much later, so that the use is recorded.
        world.move_clock(15 * 3600);
        let cookie = format!("{name}={session}");
        let id = &session[..10];
        let used = format!(
            "SELECT count(*) FROM api_keys WHERE id = '{id}' AND last_used > created_at + interval '14 hours'"
        );
        // The session is good, but the agent has been silent for that time.
        world.use_until((OWNER_APP, 502), ("cookie", &cookie), (&used, "1")).await;
        let later = format!("SELECT expires_at > '{end}' FROM api_keys WHERE id = '{id}'");
        let later = world.database.sql(&later).await;
        assert_eq!(later, [if is_extended { "t" } else { "f" }]);
        world.move_clock(-15 * 3600);
    }
}

/// On a release before v2.35 use extends tokens unless a setting forbids it
#[tokio::test]
async fn a_setting_keeps_use_from_extending_api_tokens() {
    for (disable, is_extended) in [(false, "t"), (true, "f")] {
        let mut plan = Plan::new();
        plan.config.disable_token_expiry_refresh = disable;
        let now: DateTime<Utc> = plan.now.into();
        let mut keys = Vec::new();
        for (login_type, name) in [(LoginType::Token, "laptop"), (LoginType::Password, "")] {
            let token = plan.limited("alice", &["coder:all"], &["*:*"]);
            let row = plan.rows.api_keys.last_mut().unwrap();
            row.login_type = login_type;
            row.token_name = name.to_owned();
            row.last_used = now - chrono::Duration::days(1);
            row.expires_at = now + chrono::Duration::hours(2);
            keys.push(token);
        }
        let world = plan.serve_from(Database::of_release(Release::V2_34).await).await;
        let mut extended = Vec::new();
        for token in &keys {
            let session = ("coder-session-token", token.reveal());
            let of = format!("FROM api_keys WHERE id = '{}'", token.id());
            let used =
                format!("SELECT last_used > '{now}'::timestamptz - interval '1 minute' {of}");
            world.use_until((OWNER_APP, 200), session, (&used, "t")).await;
            let later =
                format!("SELECT expires_at > '{now}'::timestamptz + interval '3 hours' {of}");
            extended.extend(world.database.sql(&later).await);
        }
        assert_eq!(extended, [is_extended, "t"]);
    }
}

#[tokio::test]
async fn a_key_for_another_server_does_not_count() {
    let mut plan = Plan::new();
    let cases = [
        (Some(vec![None]), true),
        (Some(vec![Some(DASHBOARD)]), true),
        (Some(vec![Some("HTTPS://Coder.Test:443/")]), true),
        (Some(vec![Some("https://coder.test/apps")]), false),
        (Some(vec![Some("http://coder.test")]), false),
        (Some(vec![Some("https://elsewhere.test")]), false),
        (Some(vec![Some("https://owner--agent--dev--alice.test.coder.com")]), false),
        (Some(vec![Some(DASHBOARD), Some("https://elsewhere.test")]), false),
        (None, false),
    ];
    let tokens: Vec<_> = cases
        .iter()
        .map(|(audiences, _)| {
            let token = plan.limited("alice", &["coder:all"], &["*:*"]);
            plan.rows.api_keys.last_mut().unwrap().login_type = LoginType::Oauth2ProviderApp;
            for audience in audiences.iter().flatten() {
                plan.rows.oauth2_provider_app_tokens.push(Oauth2ProviderAppToken {
                    id: Uuid::new_v4(),
                    api_key_id: token.id().to_owned(),
                    audience: audience.map(str::to_owned),
                });
            }
            token
        })
        .collect();
    let world = plan.serve().await;
    for ((audiences, is_good), token) in cases.iter().zip(&tokens) {
        let session = [("coder-session-token", token.reveal())];
        let visit = world.visit(OWNER_APP, "/", &session).await.status.as_u16();
        let host = world.send("GET", "/api/v2/applications/host", &session, "").await;
        // A single token row proves another audience (403); otherwise the key does not count (401).
        let known = audiences.as_ref().is_some_and(|audiences| audiences.len() == 1);
        let expected = match (is_good, known) {
            (true, _) => (200, 200),
            (false, true) => (303, 403),
            (false, false) => (303, 401),
        };
        assert_eq!((visit, host.status.as_u16()), expected, "{audiences:?}");
    }
}

#[tokio::test]
async fn a_session_that_may_not_end_others_ends_only_itself() {
    let dev = |plan: &Plan| plan.entry("dev");
    for (scopes, is_limited, ends_others) in [
        (&["coder:all"][..], false, true),
        (&["coder:application_connect"], false, true),
        (&["api_key:delete"], false, true),
        (&["workspace:read"], false, false),
        (&["coder:all"], true, false),
        (&["coder:application_connect"], true, false),
    ] {
        let mut plan = Plan::new();
        let entry = dev(&plan);
        let list: &[&str] = if is_limited { &[&entry] } else { &["*:*"] };
        let token = plan.limited("alice", scopes, list);
        let world = plan.serve().await;
        let session = [("coder-session-token", token.reveal())];
        let out = world.send("POST", "/api/v2/users/logout", &session, "").await;
        assert_eq!(out.status, 200, "{scopes:?}");
        let again = world.send("POST", "/api/v2/users/logout", &session, "").await;
        assert_eq!(again.status, 401, "{scopes:?}");
        let of_apps = [("coder-session-token", world.scoped("alice"))];
        let visit = world.visit(OWNER_APP, "/", &of_apps).await.status;
        assert_eq!(visit.as_u16(), if ends_others { 303 } else { 200 }, "{scopes:?} {list:?}");
    }
}
