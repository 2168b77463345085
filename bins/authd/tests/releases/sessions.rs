//! Keys for proxies, and sessions for the hosts of apps

use hyper::header::SET_COOKIE;
use serde_json::Value;
use testkit::net::Answer;
use testkit::{Database, Release, Target, World};

use crate::clouds::Clouds;
use crate::deployment::{DASHBOARD, Deployment, header, location, now, query_of, text};
use crate::visits::places;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn app_sessions_are_created_and_ended_on_every_release() {
    let clouds = Clouds::generate();
    for release in Release::FIRST_WITH_APPS.and_later() {
        let world = World::of(*release, now());
        let database = world.database().await;
        let deployment = Deployment::start(world, &database, true, &clouds).await;
        let ready = deployment.get("/readyz", &[]).await;
        assert_eq!(ready.status, 200, "{release}: {}", text(&ready));
        deployment.hand_out_keys().await;

        // The form to which the release's dashboard links is last.
        let target =
            Target::App { slug: "closed", agent: "main", workspace: "dev", owner: "alice" };
        let (_, host, _) = places(&deployment.world, target).pop().unwrap();
        let session = deployment.sign_in_at(&host, &database).await;
        deployment.hand_to_proxy().await;
        deployment.sign_out(&host, &session).await;
    }
}

impl Deployment {
    async fn hand_out_keys(&self) {
        for (feature, sequence, bytes) in
            [("workspace_apps_token", 2, 64), ("workspace_apps_api_key", 1, 32)]
        {
            let answer = self.keys(feature).await;
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            // The expired key has no secret.
            let [key] = &body["crypto_keys"].as_array().unwrap()[..] else { panic!("{body}") };
            let secret = key["secret"].as_str().unwrap();
            assert_eq!((&key["sequence"], secret.len()), (&sequence.into(), 2 * bytes), "{body}");
        }
        let path = "/api/v2/workspaceproxies/me/crypto-keys?feature=workspace_apps_token";
        for stranger in ["", self.world.token("proxy: gone"), self.world.token("alice")] {
            let answer = self.get(path, &[("coder-external-proxy-token", stranger)]).await;
            assert_eq!(answer.status, 401, "{}", self.release());
        }
    }

    /// Signs in at an app's host through the dashboard, and opens the app
    ///
    /// Returns the cookie with the host's session.
    async fn sign_in_at(&self, host: &str, database: &Database) -> String {
        let release = self.release();
        let alice = format!("coder_session_token={}", self.world.token("alice"));
        let stranger = self.visit((host, "/a/b?c=1"), &[]).await;
        assert_eq!(stranger.status, 303, "{release}: {}", text(&stranger));
        let (dashboard, uri) = location(&stranger);
        assert_eq!(dashboard, DASHBOARD);
        let handed = self.get(&uri, &[("cookie", &alice), ("accept", "text/html")]).await;
        assert_eq!(handed.status, 303, "{release}: {}", text(&handed));
        let (app, uri) = location(&handed);
        assert_eq!(app, host);
        let leaving = header(&stranger, "set-cookie").split(';').next().unwrap().to_owned();
        let arrived = self.visit((host, &uri), &[("cookie", &leaving)]).await;
        assert_eq!(arrived.status, 303, "{release}: {}", text(&arrived));
        assert_eq!(location(&arrived), (host.to_owned(), "/a/b?c=1".to_owned()));
        let cookie = session_cookie(&arrived);
        let opened = self.visit((host, "/a/b?c=1"), &[("cookie", &cookie)]).await;
        assert_eq!(opened.status, 200, "{release}: {}", text(&opened));

        // A key with the scope for apps, in the form of the release
        let id = cookie.split_once('=').unwrap().1.split('-').next().unwrap();
        let (columns, expected) = match release >= Release::V2_27 {
            true => ("scopes, allow_list", "{coder:application_connect}|{*:*}"),
            false => ("scope", "application_connect"),
        };
        let key = format!("SELECT {columns} FROM api_keys WHERE id = '{id}'");
        assert_eq!(database.sql(&key).await, [expected], "{release}");
        cookie
    }

    /// A visitor who comes from a proxy to sign in gets a session for that proxy's hosts
    async fn hand_to_proxy(&self) {
        let alice = format!("coder_session_token={}", self.world.token("alice"));
        let back = "https://closed--dev--alice.oslo.test/some/path";
        let mut query = form_urlencoded::Serializer::new(String::new());
        let query = query.append_pair("redirect_uri", back).finish();
        let uri = format!("/api/v2/applications/auth-redirect?{query}");
        let handed = self.get(&uri, &[("cookie", &alice)]).await;
        assert_eq!(handed.status, 303, "{}: {}", self.release(), text(&handed));
        assert!(header(&handed, "location").starts_with(back));
        assert!(!query_of(&handed, "coder_application_connect_api_key_35e783").is_empty());
    }

    /// Ends Alice's session, which also ends the session of the app's host
    async fn sign_out(&self, host: &str, at_app: &str) {
        let release = self.release();
        let session = [("coder-session-token", self.world.token("alice"))];
        let open = async |headers: &[(&str, &str)]| self.visit((host, "/"), headers).await.status;
        assert_eq!(open(&session).await, 200, "{release}");
        let out = self.send("POST", "/api/v2/users/logout", &session, "").await;
        assert_eq!(out.status, 200, "{release}: {}", text(&out));
        assert_eq!(open(&session).await, 303, "{release}");
        assert_eq!(open(&[("cookie", at_app)]).await, 303, "{release}");
        let bob = [("coder-session-token", self.world.token("bob"))];
        assert_eq!(open(&bob).await, 404, "{release}: Bob is still signed in");
        let again = self.send("POST", "/api/v2/users/logout", &session, "").await;
        assert_eq!(again.status, 401, "{release}");
    }
}

/// Name and value of the cookie that holds the session of an app's host
fn session_cookie(answer: &Answer) -> String {
    let cookies = answer.headers.get_all(SET_COOKIE).iter().map(|line| line.to_str().unwrap());
    let mut cookies = cookies.filter(|line| line.contains("_app_session_token"));
    cookies.next().unwrap().split(';').next().unwrap().to_owned()
}
