//! The example configurations of `docs/proxies`, in their proxies

use hyper::Method;
use store::fleet::CorsBehavior;
use testkit::net::Answer;

use crate::proxy::{Program, Proxy};
use crate::subdomain::session_cookie_name;
use crate::upstream::upstream;
use crate::world::{Plan, World, header, location, query, set_cookies, text};

const HOST: &str = "owner--agent--dev--alice.test.coder.com";

/// A proxy in front of a control plane and an app that reports its requests
struct Front {
    world: World,
    proxy: Proxy,
}

impl Front {
    /// nginx in front of `app`; `None` if it is not installed
    async fn nginx(plan: Plan, app: &str) -> Option<Self> {
        Self::start(Program::Nginx, "nginx.conf", plan, app).await
    }

    /// Caddy in front of `app`; `None` if it is not installed
    async fn caddy(plan: Plan, app: &str) -> Option<Self> {
        Self::start(Program::Caddy, "Caddyfile", plan, app).await
    }

    async fn start(program: Program, example: &str, plan: Plan, app: &str) -> Option<Self> {
        let world = plan.serve().await;
        let addresses = [world.url.strip_prefix("http://").unwrap(), app, &nowhere()];
        let proxy = Proxy::start(program, example, addresses, &[]).await?;
        Some(Self { world, proxy })
    }

    async fn get(&self, host: &str, uri: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask(Method::GET, host, uri, headers).await
    }

    async fn ask(&self, method: Method, host: &str, uri: &str, headers: &[(&str, &str)]) -> Answer {
        self.proxy.ask(method, (host, uri), headers, "").await
    }

    /// Signs in and visits apps
    async fn sign_in_and_visit(&self) {
        let world = &self.world;
        let stranger = self.get(HOST, "/some/path/?a=1&b=%2F", &[]).await;
        assert_eq!(stranger.status, 303, "{}", text(&stranger));
        let back = format!("https://{HOST}/some/path/?a=1&b=%2F");
        assert_eq!(query(&location(&stranger))["redirect_uri"], back);

        // The dashboard, behind the same proxy, issues a session for the app's host.
        let redirect = location(&stranger);
        let uri = format!("{}?{}", redirect.path(), redirect.query().unwrap());
        let dashboard = format!("coder_session_token={}", world.token("alice"));
        let handed = self.get("coder.test", &uri, &[("cookie", &dashboard)]).await;
        assert_eq!(handed.status, 303, "{}", text(&handed));
        let arriving = location(&handed);
        let uri = format!("{}?{}", arriving.path(), arriving.query().unwrap());
        let (name, value, _) = &set_cookies(&stranger)[0];
        let leaving = format!("{name}={value}");
        let arrived = self.get(HOST, &uri, &[("cookie", &leaving)]).await;
        assert_eq!((arrived.status.as_u16(), header(&arrived, "location")), (303, &*back));
        let (name, session, _) = &set_cookies(&arrived)[0];
        assert_eq!(*name, session_cookie_name());

        let cookie = format!("own=1; {name}={session}");
        let forged = [
            ("cookie", &*cookie),
            ("x-authd-user", "somebody"),
            ("x-authd-agent-id", "forged"),
            ("x-authd-owner-id", "forged"),
            ("x-authd-uri", "forged"),
            ("x-authd-cors-origin", "forged"),
            ("coder-session-token", "mine"),
            ("authorization", "Bearer theirs"),
        ];
        let opened = self.get(HOST, "/some/path/?a=1", &forged).await;
        assert_eq!(opened.status, 200, "{}", text(&opened));
        let seen = text(&opened).to_lowercase();
        assert!(seen.starts_with("get /some/path/?a=1 http/1.1"), "{seen}");
        let user = world.people["alice"].id;
        for line in [
            format!("x-authd-user: {user}"),
            format!("x-authd-agent-id: {}", world.agent),
            "cookie: own=1".to_owned(),
            "authorization: bearer theirs".to_owned(),
        ] {
            assert!(seen.lines().any(|known| known == line), "{line} in {seen}");
        }
        for gone in ["somebody", "forged", "coder-session-token", &session.to_lowercase()] {
            assert!(!seen.contains(gone), "{gone} in {seen}");
        }
        let (signed, token, _) = &set_cookies(&opened)[0];
        assert_eq!(signed, "coder_signed_app_token");

        let cookie = format!("{signed}={token}");
        let (again, statements) = world.counted(self.get(HOST, "/", &[("cookie", &cookie)])).await;
        assert_eq!((again.status.as_u16(), statements), (200, 0));
        assert!(!text(&again).contains(token.as_str()));
        assert!(set_cookies(&again).iter().all(|(_, value, _)| value.is_empty()));

        let bob = [("coder-session-token", world.token("bob"))];
        let refused = self.get(HOST, "/", &bob).await;
        assert_eq!(refused.status, 404);
        assert!(text(&refused).contains("Application Not Found"));
        assert!(header(&refused, "content-security-policy").starts_with("default-src 'none'"));
        let offline = self.get("owner--main--off--alice.test.coder.com", "/", &bob).await;
        assert_eq!(offline.status, 400);
        assert!(text(&offline).contains("This workspace is stopped"));

        let session = [("coder-session-token", world.token("alice"))];
        let folder = self.get("coder.test", "/@alice/dev/apps/owner", &session).await;
        assert_eq!(
            (folder.status.as_u16(), header(&folder, "location")),
            (307, "https://coder.test/@alice/dev/apps/owner/")
        );
        let by_path = self.get("coder.test", "/@alice/dev/apps/owner/x/?y", &session).await;
        assert!(
            text(&by_path).to_lowercase().starts_with("get /x/?y http/1.1"),
            "{}",
            text(&by_path)
        );
        let login = self.get("coder.test", "/@alice/dev/apps/owner/x/?y", &[]).await;
        assert_eq!((login.status.as_u16(), location(&login).path()), (303, "/login"));
        let rows = world.rows().await;
        assert!(rows.iter().all(|row| row.text("ip") == "127.0.0.1"), "{rows:?}");
    }
}

impl Front {
    /// The visits of Alice, from the log
    async fn opened(&self) -> Vec<(u64, String)> {
        let alice = self.world.people["alice"].id;
        let rows = self.world.rows().await.into_iter().filter(|row| row.user() == alice);
        let mut opened: Vec<_> =
            rows.map(|row| (row.status(), row.text("target").into())).collect();
        opened.sort_unstable();
        opened
    }

    /// The page for an app that is down, and the record of the visit
    async fn visit_app_that_is_down(&self) {
        let world = &self.world;
        let session = ("coder-session-token", world.token("alice"));
        let mut opened = Vec::new();
        for (host, uri, slug) in
            [("coder.test", "/@alice/dev/apps/authed/x?y", "authed"), (HOST, "/x?y", "owner")]
        {
            opened.push((200, slug.to_owned()));
            let down = self.get(host, uri, &[session, ("accept", "text/html")]).await;
            assert_eq!(down.status, 502, "{}", text(&down));
            assert!(text(&down).contains("<h1>Application Unavailable</h1>"), "{}", text(&down));
            assert!(text(&down).contains("<a href=\"\">Retry</a>"));
            assert!(header(&down, "content-security-policy").starts_with("default-src 'none'"));
            assert_eq!(header(&down, "cache-control"), "no-store");
            assert_eq!(self.opened().await, opened);

            // A retry needs no statement, and is the same visit.
            let (name, token, _) = &set_cookies(&down)[0];
            assert_eq!(name, "coder_signed_app_token");
            let cookie = format!("{name}={token}");
            let retry = [("cookie", &*cookie), ("accept", "application/json")];
            let (again, statements) = world.counted(self.get(host, uri, &retry)).await;
            assert_eq!((again.status.as_u16(), statements), (502, 0));
            let body: serde_json::Value = serde_json::from_slice(&again.body).unwrap();
            assert_eq!(body["message"], "Application Unavailable");
            assert_eq!(self.opened().await, opened);

            // A visitor who may not open the app does not learn that it is down.
            let bob = ("coder-session-token", world.token("bob"));
            let expected = if slug == "owner" { 404 } else { 502 };
            assert_eq!(self.get(host, uri, &[bob]).await.status, expected);
            assert_eq!(self.get(host, uri, &[]).await.status, 303);
        }
    }
}

impl Front {
    /// Under `simple`, pages of the same owner's apps may read an app's answers
    async fn simple_cors(&self) {
        let world = &self.world;
        let sibling = "https://public--main--solo--alice.test.coder.com";
        let ahead = async |host: &str, origin: &str| {
            let headers = [
                ("origin", origin),
                ("access-control-request-method", "PUT"),
                ("access-control-request-headers", "x-a,content-type"),
            ];
            self.ask(Method::OPTIONS, host, "/x", &headers).await
        };
        // Anonymous, as browsers send no cookies with a preflight request.
        let (asked, statements) = world.counted(ahead(HOST, sibling)).await;
        assert_eq!((asked.status.as_u16(), statements), (204, 1), "{}", text(&asked));
        assert_eq!(cors(&asked), [sibling, "true", "PUT", "x-a,content-type", ""]);
        assert!(header(&asked, "vary").contains("Origin"));
        assert!(world.rows().await.is_empty());

        for foreign in [
            "https://public--main--solo--bob.test.coder.com",
            "https://public--main--solo--alice.test.coder.com.evil.example",
            "http://public--main--solo--alice.test.coder.com",
            "https://public--main--solo--alice.test.coder.com:8443",
            "https://public--main--solo--alice.test.coder.com.",
            "https://public--main--solo--alice.test.coder.com/",
            "https://coder.test",
            "null",
        ] {
            let asked = ahead(HOST, foreign).await;
            assert_eq!((asked.status.as_u16(), cors(&asked)), (401, [""; 5]), "{foreign}");
        }
        let nothing = ahead("nothing--agent--dev--alice.test.coder.com", sibling).await;
        let refused = [sibling, "true", "", "", ""];
        assert_eq!((nothing.status.as_u16(), cors(&nothing)), (404, refused));

        let session = ("coder-session-token", world.token("alice"));
        for (origin, allowed) in
            [(sibling, [sibling, "true", "", "", ""]), ("https://evil.example", [""; 5])]
        {
            let read = self.get(HOST, "/x", &[session, ("origin", origin)]).await;
            assert_eq!((read.status.as_u16(), cors(&read)), (200, allowed), "{origin}");
            assert_eq!(header(&read, "vary"), "Origin");
            // Also with the token, while it is good.
            let (name, token, _) = &set_cookies(&read)[0];
            let cookie = format!("{name}={token}");
            let again = self.get(HOST, "/x", &[("cookie", &*cookie), ("origin", origin)]).await;
            assert_eq!((again.status.as_u16(), cors(&again)), (200, allowed), "{origin}");
        }
        let by_path = [session, ("origin", sibling)];
        let by_path = self.get("coder.test", "/@alice/dev/apps/owner/", &by_path).await;
        assert_eq!((by_path.status.as_u16(), cors(&by_path)), (200, [""; 5]));
    }

    /// Under `passthru` the app's own CORS headers are kept
    async fn passthru_cors(&self) {
        let expected = ["https://app-chose.example", "true", "", "", "x-app"];
        let public = "public--agent--dev--alice.test.coder.com";
        for origin in ["https://owner--agent--dev--alice.test.coder.com", "https://evil.example"] {
            let ahead = [("origin", origin), ("access-control-request-method", "PUT")];
            for (method, headers) in [(Method::OPTIONS, &ahead[..]), (Method::GET, &ahead[..1])] {
                let open = self.ask(method.clone(), public, "/", headers).await;
                assert_eq!(
                    (open.status.as_u16(), cors(&open)),
                    (200, expected),
                    "{method} {origin}"
                );
                assert!(text(&open).starts_with(method.as_str()));
                let closed = self.ask(method.clone(), HOST, "/", headers).await;
                let status = if method == Method::GET { 303 } else { 401 };
                assert_eq!((closed.status.as_u16(), cors(&closed)), (status, [""; 5]), "{origin}");
            }
        }
    }
}

/// The CORS headers of an answer, each of which must occur at most once
fn cors(answer: &Answer) -> [&str; 5] {
    ["allow-origin", "allow-credentials", "allow-methods", "allow-headers", "expose-headers"].map(
        |name| {
            let name = format!("access-control-{name}");
            assert!(answer.headers.get_all(&name).iter().count() < 2, "{name} twice");
            header(answer, &name)
        },
    )
}

fn sharing(behavior: CorsBehavior) -> Plan {
    let mut plan = Plan::new();
    plan.cors(behavior);
    plan
}

/// An address on which no process listens
pub fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Answers with the head of the request, and with CORS headers of its own
fn echo(head: &str) -> (&'static str, String) {
    let headers = "access-control-allow-origin: https://app-chose.example\r\n\
                   access-control-allow-credentials: true\r\n\
                   access-control-expose-headers: x-app\r\n";
    (headers, head.to_owned())
}

#[tokio::test]
async fn nginx_carries_what_authd_decides() {
    if let Some(front) = Front::nginx(Plan::new(), &upstream(echo).await).await {
        front.sign_in_and_visit().await;
    }
}

#[tokio::test]
async fn caddy_carries_what_authd_decides() {
    if let Some(front) = Front::caddy(Plan::new(), &upstream(echo).await).await {
        front.sign_in_and_visit().await;
    }
}

#[tokio::test]
async fn a_newer_caddy_carries_what_authd_decides() {
    let (app, program) = (upstream(echo).await, Program::NewCaddy);
    if let Some(front) = Front::start(program, "Caddyfile", Plan::new(), &app).await {
        front.sign_in_and_visit().await;
    }
}

#[tokio::test]
async fn envoy_carries_what_authd_decides() {
    let (app, program) = (upstream(echo).await, Program::Envoy);
    if let Some(front) = Front::start(program, "envoy.yaml", Plan::new(), &app).await {
        front.sign_in_and_visit().await;
    }
}

// scenario 159, 168
#[tokio::test]
async fn nginx_shows_the_page_of_an_app_that_is_down() {
    if let Some(front) = Front::nginx(Plan::new(), &nowhere()).await {
        front.visit_app_that_is_down().await;
    }
}

// scenario 159, 168
#[tokio::test]
async fn caddy_shows_the_page_of_an_app_that_is_down() {
    if let Some(front) = Front::caddy(Plan::new(), &nowhere()).await {
        front.visit_app_that_is_down().await;
    }
}

// scenario 205, 207, 210
#[tokio::test]
async fn nginx_shares_among_the_apps_of_one_owner() {
    if let Some(front) = Front::nginx(sharing(CorsBehavior::Simple), &upstream(echo).await).await {
        front.simple_cors().await;
    }
}

// scenario 205, 207, 210
#[tokio::test]
async fn caddy_shares_among_the_apps_of_one_owner() {
    if let Some(front) = Front::caddy(sharing(CorsBehavior::Simple), &upstream(echo).await).await {
        front.simple_cors().await;
    }
}

// scenario 205, 207, 210
#[tokio::test]
async fn envoy_shares_among_the_apps_of_one_owner() {
    let (app, plan) = (upstream(echo).await, sharing(CorsBehavior::Simple));
    if let Some(front) = Front::start(Program::Envoy, "envoy.yaml", plan, &app).await {
        front.simple_cors().await;
    }
}

// scenario 208, 211, 213, 214
#[tokio::test]
async fn envoy_leaves_sharing_to_the_app() {
    let (app, plan) = (upstream(echo).await, sharing(CorsBehavior::Passthru));
    if let Some(front) = Front::start(Program::Envoy, "envoy.yaml", plan, &app).await {
        front.passthru_cors().await;
    }
}

// scenario 208, 211, 213, 214
#[tokio::test]
async fn nginx_leaves_sharing_to_the_app() {
    if let Some(front) = Front::nginx(sharing(CorsBehavior::Passthru), &upstream(echo).await).await
    {
        front.passthru_cors().await;
    }
}

// scenario 208, 211, 213, 214
#[tokio::test]
async fn caddy_leaves_sharing_to_the_app() {
    if let Some(front) = Front::caddy(sharing(CorsBehavior::Passthru), &upstream(echo).await).await
    {
        front.passthru_cors().await;
    }
}
