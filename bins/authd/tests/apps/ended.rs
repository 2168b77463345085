//! Sessions that end, and what ends with them: on two replicas, in this browser and not in others
//!
//! The clock of the replicas stands still, so no app token expires by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_auth::Rules;
use app_authz::credential::{MAX_MADE, SessionToken, Sessions};
use authd::{ServerLimits, serve};
use authd_http::{AppsConfig, Limits, Service};
use hyper::StatusCode;
use identity_fetch::Identity;
use testkit::net::Answer;
use tokio::net::TcpListener;

use crate::world::{Plan, World, claims_of, header, location, set_cookies, text};

const HOST: &str = "owner--agent--dev--alice.test.coder.com";
const OTHER_HOST: &str = "query--agent--dev--alice.test.coder.com";
const DASHBOARD: &str = "coder.test";

/// Two replicas, and Alice in two browsers
struct Deployment {
    world: World,
    replicas: [String; 2],
    browsers: [Browser; 2],
}

/// A browser that has opened an app
struct Browser {
    session: SessionToken,
    app_session: SessionToken,
    app_token: String,
    /// The cookies with both
    session_cookie: String,
    token_cookie: String,
}

impl Deployment {
    async fn new() -> Self {
        Self::of(Plan::new()).await
    }

    async fn of(mut plan: Plan) -> Self {
        let alice = plan.people["alice"].clone();
        let elsewhere = plan.rows.session(alice.id);
        let config = plan.config.clone();
        let mut world = plan.serve().await;
        let second = replica(&world, config).await;
        let replicas = [world.url.clone(), second];
        let mut browsers = Vec::new();
        for session in [alice.token, elsewhere] {
            browsers.push(open_app(&world, session).await);
        }
        world.url.clone_from(&replicas[0]);
        let browsers = browsers.try_into().ok().unwrap();
        let mut deployment = Self { world, replicas, browsers };
        for replica in 0..2 {
            for browser in 0..2 {
                let answer = deployment.by_token(replica, browser).await;
                assert_eq!(answer.status, 200, "{replica} {browser}");
            }
        }
        deployment
    }

    /// Visits the app with nothing but the browser's app token
    async fn by_token(&mut self, replica: usize, browser: usize) -> Answer {
        let cookie = self.browsers[browser].token_cookie.clone();
        self.world.url.clone_from(&self.replicas[replica]);
        self.world.visit(HOST, "/", &[("cookie", &cookie)]).await
    }

    /// Visits another app with the browser's session for apps
    async fn by_session(&mut self, replica: usize, browser: usize) -> u16 {
        let cookie = self.browsers[browser].session_cookie.clone();
        self.world.url.clone_from(&self.replicas[replica]);
        self.world.visit(OTHER_HOST, "/?q=1", &[("cookie", &cookie)]).await.status.as_u16()
    }

    /// Whether the dashboard accepts the browser's session
    async fn is_signed_in(&self, browser: usize) -> bool {
        let headers = [("coder-session-token", self.browsers[browser].session.reveal())];
        let answer = self.world.send("GET", "/api/v2/applications/host", &headers, "").await;
        answer.status == StatusCode::OK
    }

    /// Waits until a replica refuses the browser's app token
    async fn until_refused(&mut self, replica: usize, browser: usize) {
        let began = Instant::now();
        for _ in 0..1_000 {
            if self.by_token(replica, browser).await.status != StatusCode::OK {
                println!("replica {replica}: refused after {:?}", began.elapsed());
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("replica {replica} still accepts the app token of browser {browser}");
    }

    /// That everything of the first browser is refused, and nothing of the second
    async fn assert_only_first_ended(&mut self) {
        for replica in 0..2 {
            self.until_refused(replica, 0).await;
            assert_eq!(self.by_session(replica, 0).await, 303, "{replica}");
        }
        for replica in 0..2 {
            let answer = self.by_token(replica, 1).await;
            assert_eq!(answer.status, 200, "{replica}");
            assert!(set_cookies(&answer).is_empty(), "{replica}: it was decided anew");
            assert_eq!(self.by_session(replica, 1).await, 200, "{replica}");
        }
        assert!(self.is_signed_in(1).await);
    }

    /// A series of the replica's metrics
    async fn metric(&mut self, replica: usize, series: &str) -> u64 {
        self.world.url.clone_from(&self.replicas[replica]);
        let metrics = text(&self.world.send("GET", "/metrics", &[], "").await);
        let line = metrics.lines().find_map(|line| line.strip_prefix(series));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }
}

/// Starts another replica on the world's database
pub async fn replica(world: &World, config: AppsConfig) -> String {
    let clock: authd_http::Clock = Arc::new(world.clock());
    let (store, identity) = (Arc::new(world.database.store().await), Identity::builtin());
    let service = Service::over(&store, identity, Rules::default(), Limits::default(), clock);
    let service = Arc::new(service.with_apps(store, config));
    service.maintain_keys(true).await.unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, service, ServerLimits::default(), std::future::pending()));
    url
}

/// Signs in at the app's host by way of the dashboard, and opens the app
async fn open_app(world: &World, session: SessionToken) -> Browser {
    let (name, app_session) = sign_in(world, &session).await;
    let session_cookie = format!("{name}={}", app_session.reveal());
    let opened = world.visit(HOST, "/", &[("cookie", &session_cookie)]).await;
    let cookies = set_cookies(&opened);
    let token = cookies.into_iter().find(|(name, ..)| name.contains("signed_app_token"));
    let (name, app_token, _) = token.unwrap();
    let token_cookie = format!("{name}={app_token}");
    Browser { session, app_session, app_token, session_cookie, token_cookie }
}

/// The session for apps that an app's host receives, with the name of its cookie
async fn sign_in(world: &World, session: &SessionToken) -> (String, SessionToken) {
    let path = format!("/api/v2/applications/auth-redirect?redirect_uri=https://{HOST}/");
    let handed = world.send("GET", &path, &[("coder-session-token", session.reveal())], "").await;
    let arriving = location(&handed);
    let uri = format!("{}?{}", arriving.path(), arriving.query().unwrap());
    let arrived = world.visit(HOST, &uri, &[]).await;
    let (name, token, _) = set_cookies(&arrived).remove(0);
    (name, token.parse().unwrap())
}

#[tokio::test]
async fn revoking_a_session_ends_its_apps_and_no_others() {
    let mut deployment = Deployment::new().await;
    let Browser { session, app_session, app_token, .. } = &deployment.browsers[0];
    assert_eq!(claims_of(app_token)["sid"], app_session.id());
    let store = deployment.world.database.store().await;
    let mut ended = store.revoke(session.id()).await.unwrap();
    ended.sort();
    let mut expected = [session.id(), app_session.id()];
    expected.sort_unstable();
    assert_eq!(ended, expected);
    deployment.assert_only_first_ended().await;
    assert!(deployment.metric(1, "authd_session_checks_total{outcome=\"ended\"}").await > 0);
}

#[tokio::test]
async fn signing_out_ends_the_apps_of_this_browser() {
    for path in ["/api/v2/users/logout", "/logout"] {
        let mut deployment = Deployment::new().await;
        let token = deployment.browsers[0].session.reveal().to_owned();
        let cookie = format!("coder_session_token={token}");
        let headers = [("cookie", &*cookie), ("origin", "https://coder.test")];
        deployment.world.url.clone_from(&deployment.replicas[0]);
        let out = deployment.world.send("POST", path, &headers, "").await;
        assert!(matches!(out.status.as_u16(), 200 | 303), "{path}");
        // The replica that ended it does not have to ask.
        assert_eq!(deployment.by_token(0, 0).await.status, 303, "{path}");
        assert!(!deployment.is_signed_in(0).await, "{path}");
        deployment.assert_only_first_ended().await;
    }
}

#[tokio::test]
async fn signing_out_on_an_app_host_ends_the_apps_of_this_browser() {
    let mut deployment = Deployment::new().await;
    let (_, more) = sign_in(&deployment.world, &deployment.browsers[0].session).await;
    let cookie = deployment.browsers[0].session_cookie.clone();
    let host = "coder-logout.test.coder.com";
    let out = deployment.world.visit(host, "/", &[("cookie", &cookie)]).await;
    assert_eq!((out.status.as_u16(), header(&out, "location")), (303, "https://coder.test/"));
    deployment.assert_only_first_ended().await;
    let store = deployment.world.database.store().await;
    assert!(store.holders(&[more]).await.unwrap().is_empty());
    // The session on the dashboard is another one.
    assert!(deployment.is_signed_in(0).await);
}

/// With secure cookies a session for apps is sealed for each host, and ends like any other
#[tokio::test]
async fn sealed_sessions_end_with_the_one_they_were_made_from() {
    for signs_out in [false, true] {
        let mut plan = Plan::new();
        plan.config.cookies.secure = true;
        // Its session is in the plain cookie.
        plan.config.has_dashboard = true;
        let elsewhere = plan.rows.session(plan.people["alice"].id);
        let world = plan.serve().await;
        let [mut first, mut second] = [0; 2].map(|_| crate::sign_in::Browser::of(&world, "alice"));
        let key = (DASHBOARD.to_owned(), "coder_session_token".to_owned());
        second.jar.insert(key, elsewhere.reveal().to_owned());
        let apps = [HOST, OTHER_HOST].map(|host| format!("https://{host}/?q=1"));
        for app in &apps {
            assert_eq!(first.go(app).await.status, StatusCode::OK);
            assert_eq!(second.go(app).await.status, StatusCode::OK);
        }
        let session = &world.people["alice"].token;
        if signs_out {
            let cookie = format!("coder_session_token={}", session.reveal());
            let headers = [("cookie", &*cookie), ("origin", "https://coder.test")];
            let out = world.send("POST", "/api/v2/users/logout", &headers, "").await;
            assert_eq!(out.status, StatusCode::OK);
        } else {
            let ended = world.database.store().await.revoke(session.id()).await.unwrap();
            assert_eq!(ended.len(), 1 + apps.len());
        }
        for app in &apps {
            for n in 0.. {
                if first.one(app).await.status == StatusCode::SEE_OTHER {
                    break;
                }
                assert!(n < 1_000, "{app} is still open");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            // Neither its app token nor its sealed session
            let token = |(_, name): &(String, String)| name.contains("signed_app_token");
            first.jar.retain(|key, _| !token(key));
            assert_eq!(first.one(app).await.status, StatusCode::SEE_OTHER);
            assert_eq!(second.one(app).await.status, StatusCode::OK);
            second.jar.retain(|key, _| !token(key));
            assert_eq!(second.one(app).await.status, StatusCode::OK);
        }
    }
}

/// What the control plane does at its own sign-out, and for all sessions at a change of password
#[tokio::test]
async fn a_session_that_the_control_plane_deletes_ends_its_apps() {
    let mut deployment = Deployment::new().await;
    let Browser { session, app_session, .. } = &deployment.browsers[0];
    let (id, made) = (session.id().to_owned(), app_session.id().to_owned());
    let database = &deployment.world.database;
    database.sql(&format!("DELETE FROM api_keys WHERE id = '{id}'")).await;
    deployment.assert_only_first_ended().await;

    let left = format!(
        "SELECT (SELECT count(*) FROM api_keys WHERE id = '{made}'),
                (SELECT count(*) FROM authd_app_sessions WHERE key_id = '{made}')"
    );
    assert_eq!(deployment.world.database.sql(&left).await, ["1|1"]);
    let _housekeeping = deployment.world.app.start_housekeeping(None);
    for _ in 0..1_000 {
        if deployment.world.database.sql(&left).await == ["0|0"] {
            return deployment.assert_only_first_ended().await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the session for apps is still there");
}

#[tokio::test]
async fn a_suspended_user_opens_nothing_until_active_again() {
    let mut deployment = Deployment::new().await;
    let alice = deployment.world.people["alice"].id;
    let set = |status| format!("UPDATE users SET status = '{status}' WHERE id = '{alice}'");
    deployment.world.database.sql(&set("suspended")).await;
    for replica in 0..2 {
        for browser in 0..2 {
            deployment.until_refused(replica, browser).await;
            assert_eq!(deployment.by_session(replica, browser).await, 401);
        }
    }
    deployment.world.database.sql(&set("active")).await;
    for replica in 0..2 {
        assert_eq!(deployment.by_session(replica, 0).await, 200);
        assert_eq!(deployment.by_token(replica, 0).await.status, 200);
    }
}

/// A replica that has never seen the session does not accept its token once more
#[tokio::test]
async fn a_replica_asks_about_a_session_that_it_has_not_seen() {
    let plan = Plan::new();
    let config = plan.config.clone();
    let mut world = plan.serve().await;
    let elsewhere = replica(&world, config).await;
    let alice = world.people["alice"].token.clone();
    let (ended, good) = (open_app(&world, alice.clone()).await, open_app(&world, alice).await);
    let store = world.database.store().await;
    assert_eq!(store.revoke(ended.app_session.id()).await.unwrap().len(), 1);
    world.move_clock(30);
    world.url = elsewhere;
    for (browser, status) in [(ended, 303), (good, 200)] {
        let answer = world.visit(HOST, "/", &[("cookie", &browser.token_cookie)]).await;
        assert_eq!(answer.status.as_u16(), status);
        assert!(set_cookies(&answer).iter().all(|(name, ..)| !name.contains("signed_app_token")));
    }
}

#[tokio::test]
async fn app_tokens_work_until_they_expire_while_it_is_not_known_what_has_ended() {
    let mut deployment = Deployment::new().await;
    let rename = |from, to| format!("ALTER TABLE {from} RENAME TO {to}");
    let database = &deployment.world.database;
    database.sql(&rename("authd_app_sessions", "hidden")).await;
    let session = deployment.browsers[0].session.id().to_owned();
    database.sql(&format!("DELETE FROM api_keys WHERE id = '{session}'")).await;
    let failed = "authd_session_checks_total{outcome=\"failed\"}";
    let before = deployment.metric(0, failed).await;
    for _ in 0..1_000 {
        if deployment.metric(0, failed).await > before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(deployment.metric(0, failed).await > before);
    assert_eq!(deployment.by_token(0, 0).await.status, 200);

    deployment.world.database.sql(&rename("hidden", "authd_app_sessions")).await;
    deployment.assert_only_first_ended().await;
}

#[tokio::test]
async fn the_lifetime_of_app_tokens_can_be_shortened() {
    let mut plan = Plan::new();
    plan.config.token_lifetime = Duration::from_secs(10);
    let now = chrono::DateTime::<chrono::Utc>::from(plan.now).timestamp();
    let mut deployment = Deployment::of(plan).await;
    assert_eq!(claims_of(&deployment.browsers[0].app_token)["exp"], now + 10);
    deployment.world.move_clock(15);
    assert_eq!(deployment.by_token(0, 0).await.status, 200);
    deployment.world.move_clock(1);
    assert_eq!(deployment.by_token(0, 0).await.status, 303);
}

/// Every redirect makes a session; of those made from one session the newest are kept
#[tokio::test]
async fn redirects_in_a_loop_do_not_fill_the_table_of_keys() {
    let mut deployment = Deployment::new().await;
    let session = deployment.browsers[0].session.clone();
    let before = deployment.world.database.sql("SELECT count(*) FROM api_keys").await;
    let before: usize = before[0].parse().unwrap();
    for n in 0..MAX_MADE + 10 {
        sign_in(&deployment.world, &session).await;
        // The agent counts as connected for less than a minute more.
        deployment.world.move_clock(i64::from(n % 8 == 0));
    }
    let after = deployment.world.database.sql("SELECT count(*) FROM api_keys").await;
    assert_eq!(after, [(before + MAX_MADE - 1).to_string()]);
    assert_eq!(deployment.by_session(0, 1).await, 200);
}
