//! The files of `docs/beside-coder.md` in their proxies, in front of a control plane that carries
//! admitted visits

use hyper::Method;
use serde_json::{Value, json};
use testkit::net::Answer;

use crate::control_plane::{ControlPlane, Outcome, Seen};
use crate::everyday::{Everyday, upgrade};
use crate::faithful::cookies_are_kept;
use crate::proxy::{Program, Proxy, read_head};
use crate::subdomain::session_cookie_name;
use crate::world::{ISSUE, Plan, World, claims_of, header, location, query, set_cookies, text};

const HOST: &str = "owner--agent--dev--alice.test.coder.com";
const PUBLIC: &str = "public--agent--dev--alice.test.coder.com";
const DASHBOARD: &str = "coder.test";
const NGINX: (Program, &str) = (Program::Nginx, "beside-coder.nginx.conf");
const CADDY: (Program, &str) = (Program::Caddy, "beside-coder.Caddyfile");
const NEW_CADDY: (Program, &str) = (Program::NewCaddy, "beside-coder.Caddyfile");

/// A proxy in front of authd and a control plane
struct Front {
    world: World,
    control_plane: ControlPlane,
    proxy: Proxy,
}

impl Front {
    /// Returns `None` if the program is not installed
    async fn start(front: (Program, &str)) -> Option<Self> {
        let world = Plan::new().serve().await;
        let control_plane = ControlPlane::beside(&world).await;
        let address = control_plane.address().to_owned();
        let authd = world.url.strip_prefix("http://").unwrap().to_owned();
        let proxy = between(front, &authd, &address).await?;
        Some(Self { world, control_plane, proxy })
    }

    fn session(&self) -> (&str, &str) {
        ("coder-session-token", self.world.token("alice"))
    }

    async fn get(&self, host: &str, uri: &str, headers: &[(&str, &str)]) -> Answer {
        self.proxy.ask(Method::GET, (host, uri), headers, "").await
    }

    /// The one request that reached the control plane
    fn only(&self, place: &str) -> Seen {
        let mut seen = self.control_plane.seen();
        assert_eq!(seen.len(), 1, "{place}: {seen:?}");
        seen.remove(0)
    }

    /// Sends a request byte by byte and returns the first line of the answer
    async fn line(&self, target: &str, host: &str, headers: &str) -> String {
        let head =
            format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
        self.proxy.raw(&head).await.lines().next().unwrap_or_default().to_owned()
    }
}

/// The proxy with its example, between authd and the control plane at these addresses
async fn between((program, example): (Program, &str), authd: &str, to: &str) -> Option<Proxy> {
    Proxy::start(program, example, [authd, "", to], &[]).await
}

impl Front {
    /// A signed-out visitor signs in, and then opens the requested page
    async fn sign_in(&self) {
        let world = &self.world;
        let stranger = self.get(HOST, "/a%2Fb/?c=%20&d", &[]).await;
        assert_eq!(stranger.status, 303, "{}", text(&stranger));
        let redirect = location(&stranger);
        let back = format!("https://{HOST}/a%2Fb/?c=%20&d");
        assert_eq!(query(&redirect)["redirect_uri"], back);
        let uri = format!("{}?{}", redirect.path(), redirect.query().unwrap());
        let dashboard = format!("coder_session_token={}", world.token("alice"));
        let handed = self.get(DASHBOARD, &uri, &[("cookie", &dashboard)]).await;
        assert_eq!(handed.status, 303, "{}", text(&handed));
        let arriving = location(&handed);
        let uri = format!("{}?{}", arriving.path(), arriving.query().unwrap());
        let (name, value, _) = &set_cookies(&stranger)[0];
        let leaving = format!("{name}={value}");
        let arrived = self.get(HOST, &uri, &[("cookie", &leaving)]).await;
        assert_eq!(arrived.status, 303, "{}", text(&arrived));
        assert!(header(&arrived, "location").ends_with("/a%2Fb/?c=%20&d"));
        let (name, session, _) = &set_cookies(&arrived)[0];
        assert_eq!(*name, session_cookie_name());
        // None of these requests reaches the control plane.
        assert!(self.control_plane.seen().is_empty());

        let cookie = format!("own=1; {name}={session}");
        let opened = self.get(HOST, "/a%2Fb/?c=%20&d", &[("cookie", &cookie)]).await;
        assert_eq!(opened.status, 200, "{}", text(&opened));
        let seen = self.only("signed in");
        assert_eq!(seen.outcome, Outcome::Carried);
        let cookies = set_cookies(&opened);
        let names: Vec<&str> = cookies.iter().map(|(name, ..)| &**name).collect();
        assert!(names.contains(&"app") && names.contains(&"coder_signed_app_token"), "{names:?}");
        let token = cookies.iter().find(|(name, ..)| name == "coder_signed_app_token").unwrap();
        let only = format!("coder_signed_app_token={}; own=1", token.1);
        assert_eq!(seen.head.header("cookie"), Some(&*only));
        assert_eq!(claims_of(&token.1)["visitor"], world.people["alice"].id.to_string());

        // For a minute, the token admits visits without a query.
        let ((_, _), statements) = world
            .counted(async {
                let again = self.get(HOST, "/", &[("cookie", &only)]).await;
                (again.status, self.only("again"))
            })
            .await;
        assert_eq!(statements, 0);
    }

    /// Admitted visits arrive with a matching token and without a session
    async fn carry(&self) {
        let session = self.world.token("alice");
        let cookie = format!(
            "own=1; coder_session_token={session}; coder_path_app_session_token={session}; \
             {}={session}; coder_signed_app_token=a; coder_signed_app_token=b; \
             coder_signed_app_token=c; coder_signed_app_token=d",
            session_cookie_name(),
        );
        let terminal = format!("/api/v2/workspaceagents/{}/pty", self.world.agent);
        let with_query = format!("{terminal}?reconnect=1");
        let capitals = "Owner--AGENT--dev--Alice.TEST.coder.com";
        let lower = "owner--agent--dev--alice.test.coder.com";
        for (host, target, read) in [
            (HOST, "/", HOST),
            (capitals, "/", lower),
            (&*format!("{capitals}:8443"), "/x", &*format!("{lower}:8443")),
            ("owner--dev--alice.test.coder.com", "/", "owner--dev--alice.test.coder.com"),
            ("OWNER--Dev--alice.test.coder.com", "/", "owner--dev--alice.test.coder.com"),
            (
                "9000--agent--dev--alice.test.coder.com",
                "/",
                "9000--agent--dev--alice.test.coder.com",
            ),
            (DASHBOARD, "/@alice/dev/apps/owner/", DASHBOARD),
            ("Coder.Test", "/@alice/dev.agent/apps/owner/x", DASHBOARD),
            (DASHBOARD, "/%40alice/dev/apps/owner/x", DASHBOARD),
            (DASHBOARD, "/@alice/dev/apps/owner/Untitled%20(1).ipynb", DASHBOARD),
            (DASHBOARD, "/@alice/dev/apps/owner/a%2Fb/../c", DASHBOARD),
            (DASHBOARD, &*terminal, DASHBOARD),
            (DASHBOARD, &*with_query, DASHBOARD),
            (PUBLIC, "/", PUBLIC),
        ] {
            let place = format!("{host} {target}");
            for own in ["", "Authorization: Basic own\r\n"] {
                let headers = format!(
                    "Cookie: {cookie}\r\nCoder-Session-Token: {session}\r\nX-Authd-User: forged\r\n\
                     X-Authd-Host: forged\r\nX-Authd-Uri: /forged\r\nX-Authd-Cookie: forged\r\n\
                     X-Authd-Cors-Origin: forged\r\nX-Forwarded-Host: {PUBLIC}\r\n{own}"
                );
                let line = self.line(target, host, &headers).await;
                assert!(line.contains(" 200 "), "{place}: {line}");
                let seen = self.only(&place);
                assert_eq!((seen.outcome, &*seen.head.target), (Outcome::Carried, target));
                for name in ["host", "x-forwarded-host"] {
                    assert_eq!(seen.head.header(name), Some(read), "{place}: {name}");
                }
                let cookies = seen.head.header("cookie").unwrap();
                assert!(cookies.starts_with("coder_signed_app_token=ey"), "{place}: {cookies}");
                assert!(cookies.ends_with("; own=1") && cookies.matches('=').count() == 2);
                let kept = (!own.is_empty()).then_some("Basic own");
                assert_eq!(seen.head.header("authorization"), kept, "{place}");
                for (name, value) in &seen.head.headers {
                    let ours = name.starts_with("x-authd-") || name == "coder-session-token";
                    let secret = value.contains(session) || value.contains("forged");
                    assert!(!ours && !secret, "{place}: {name}: {value}");
                }
            }
        }
    }

    /// A session in the query does not reach the control plane
    async fn keep_query(&self) {
        let session = self.world.token("alice");
        let target = format!("/x%2Fy?a=%2F&coder_session_token={session}&b={{c}}");
        let line = self.line(&target, HOST, "Accept: text/html\r\n").await;
        let seen = self.control_plane.seen();
        // nginx rewrites the address, and Caddy redirects the browser.
        if line.contains(" 200 ") {
            assert_eq!(seen[0].head.target, "/x%2Fy?a=%2F&b={c}");
        } else {
            assert!(line.contains(" 307 ") && seen.is_empty(), "{line} {seen:?}");
        }
    }

    /// Refused visits never reach the control plane
    async fn refuse(&self) {
        let world = &self.world;
        let terminal = format!("/api/v2/workspaceagents/{}/pty", world.agent);
        let bob = ("coder-session-token", world.token("bob"));
        let sue = ("coder-session-token", world.token("sue"));
        let page = ("accept", "text/html");
        let fresh = "coder_signed_app_token=none; own=1";
        for (host, uri, headers, status) in [
            (HOST, "/", vec![page], 303),
            (HOST, "/", vec![("accept", "application/json")], 401),
            (HOST, "/", vec![bob, page], 404),
            (HOST, "/", vec![sue], 401),
            (HOST, "/", vec![("cookie", fresh)], 303),
            ("nothing--agent--dev--alice.test.coder.com", "/", vec![self.session()], 404),
            ("nothing.test.coder.com", "/", vec![self.session()], 400),
            ("owner--main--off--alice.test.coder.com", "/", vec![self.session()], 400),
            (DASHBOARD, "/@alice/dev/apps/owner/x", vec![page], 303),
            (DASHBOARD, "/@alice/dev/apps/owner/x", vec![bob, page], 404),
            (DASHBOARD, "/@alice/dev/apps/owner", vec![self.session()], 307),
            (DASHBOARD, "/%40alice/dev/apps/owner/", vec![bob], 404),
            (DASHBOARD, &*terminal, vec![], 404),
            (DASHBOARD, &*terminal, vec![bob], 404),
        ] {
            let answer = self.get(host, uri, &headers).await;
            assert_eq!(answer.status.as_u16(), status, "{host} {uri}: {}", text(&answer));
            let page = status == 404 && headers.contains(&page);
            assert!(!page || text(&answer).contains("<h1>Application Not Found</h1>"));
            assert!(self.control_plane.seen().is_empty(), "{host} {uri}");
        }
        let body = vec![b'x'; 5 << 20];
        let posted = self.proxy.ask(Method::POST, (HOST, "/"), &[page], body).await;
        assert_eq!(posted.status, 401);
        assert!(self.control_plane.seen().is_empty());
    }

    /// Preflight requests are admitted from apps of the same owner, and others are anonymous
    async fn preflight(&self) {
        for (sibling, status) in
            [("public--main--solo--alice", 204), ("public--main--solo--bob", 401)]
        {
            let origin = format!("https://{sibling}.test.coder.com");
            let headers = [("origin", &*origin), ("access-control-request-method", "PUT")];
            let asked = self.proxy.ask(Method::OPTIONS, (HOST, "/"), &headers, "").await;
            let allowed = header(&asked, "access-control-allow-origin");
            assert_eq!((asked.status.as_u16(), allowed == origin), (status, status == 204));
        }
        assert!(self.control_plane.seen().is_empty());
    }

    /// No spelling of a request reaches an app without a decision
    async fn go_around(&self) {
        let session = format!("Coder-Session-Token: {}\r\n", self.world.token("alice"));
        let terminal = format!("/api/v2/workspaceagents/{}/pty", self.world.agent);
        let app = "/@alice/dev/apps/owner";
        for (target, host) in [
            (app.to_owned(), DASHBOARD),
            (format!("{app}/../../../../api/v2/users/me"), DASHBOARD),
            (format!("/api/v2/..{app}/"), DASHBOARD),
            (format!("/x/..{app}/"), DASHBOARD),
            (format!("/{app}/"), DASHBOARD),
            (format!("/.{app}/"), DASHBOARD),
            (format!("{app}/?x=/../"), DASHBOARD),
            (format!("/x?{app}/"), DASHBOARD),
            ("/@alice//dev/apps/owner/".to_owned(), DASHBOARD),
            ("/@alice/dev/%61pps/owner/".to_owned(), DASHBOARD),
            ("/@alice%2Fdev/apps/owner/".to_owned(), DASHBOARD),
            ("/%2540alice/dev/apps/owner/".to_owned(), DASHBOARD),
            ("/%40alice/dev/apps/owner/".to_owned(), DASHBOARD),
            (terminal.clone(), DASHBOARD),
            (format!("{terminal}?x"), DASHBOARD),
            (format!("{terminal}/"), DASHBOARD),
            (format!("/api/v2/x/..{terminal}"), &terminal[7..]),
            (terminal.replace("/pty", "//pty"), DASHBOARD),
            (terminal.replace("/pty", "/%70ty"), DASHBOARD),
            (format!("http://{DASHBOARD}/"), HOST),
            (format!("http://{DASHBOARD}{app}/"), HOST),
            (format!("http://{HOST}/"), DASHBOARD),
            ("/".to_owned(), "owner--agent--dev--alice.test.coder.com."),
            ("/".to_owned(), "OWNER--agent--dev--alice.TEST.coder.com"),
            ("/".to_owned(), "owner--agent--dev--alice.test.coder.com:1"),
            ("/".to_owned(), "owner--agent--dev--alice.test.coder.com.evil.example"),
            ("/".to_owned(), "elsewhere.example"),
            ("/".to_owned(), "127.0.0.1"),
            ("/".to_owned(), ""),
            ("/_authd/app".to_owned(), DASHBOARD),
            ("/_authd/check".to_owned(), HOST),
        ] {
            for forged in ["", "X-Forwarded-Host: owner--agent--dev--alice.test.coder.com\r\n"] {
                self.line(&target, host, &format!("{session}{forged}")).await;
                for seen in self.control_plane.seen() {
                    let place = format!("{target} at {host} {forged}: {seen:?}");
                    assert_ne!(seen.outcome, Outcome::Undecided, "{place}");
                    let own = seen.outcome == Outcome::Own;
                    let read = seen.head.header("x-forwarded-host").unwrap();
                    assert!(!own || read.split(':').next() == Some(DASHBOARD), "{place}");
                }
            }
        }
    }

    /// Requests for neither apps nor terminals are forwarded unchanged, with their session
    async fn leave_alone(&self) {
        let session = self.world.token("alice");
        for target in [
            "/",
            "/x?",
            "/api/v2/users/me?a=%2F&&b=%20",
            "/api/v2/workspaceagents/me/rpc",
            "/api/v2/workspaceproxies/me/register",
            "/@alice/dev",
            "/@alice/dev/builds/1",
            "/templates/%2Fx//y",
            "/x/../y",
            "/x?a=/@b/c/apps/d/",
            // Not authd's route, although the normalized path would be.
            "/api/v2/forward-auth/envoy/../../applications/auth-redirect",
            "/api/v2/forward-auth/control-plane/nginx/../../../applications/auth-redirect",
            "/api/v2/applications//auth-redirect",
            "/api/v2/forward-auth/control-plane/nginx",
            "/metrics",
        ] {
            let headers = format!(
                "Cookie: coder_session_token={session}; other=1\r\nCoder-Session-Token: {session}\r\n\
                 Authorization: Bearer {session}\r\nX-Own: kept\r\nX-Forwarded-Host: {HOST}\r\n"
            );
            let line = self.line(target, DASHBOARD, &headers).await;
            assert!(line.contains(" 200 "), "{target}: {line}");
            let seen = self.only(target);
            assert_eq!((seen.outcome, &*seen.head.target), (Outcome::Own, target));
            let cookie = format!("coder_session_token={session}; other=1");
            let bearer = format!("Bearer {session}");
            for (name, value) in [
                ("host", DASHBOARD),
                ("x-forwarded-host", DASHBOARD),
                ("x-forwarded-for", "127.0.0.1"),
                ("x-forwarded-proto", "http"),
                ("cookie", &*cookie),
                ("coder-session-token", session),
                ("authorization", &*bearer),
                ("x-own", "kept"),
            ] {
                assert_eq!(seen.head.header(name), Some(value), "{target}: {name}");
            }
        }
        let body = vec![b'x'; 5 << 20];
        let posted = self.proxy.ask(Method::POST, (DASHBOARD, "/api/v2/files"), &[], body).await;
        assert_eq!((posted.status.as_u16(), self.only("a body").head.body), (200, 5 << 20));
    }

    /// Routes of the control plane that authd answers
    async fn answer(&self) {
        let world = &self.world;
        let proxy = world.proxy.reveal();
        let headers =
            [("coder-external-proxy-token", &*proxy), ("content-type", "application/json")];
        let visit =
            crate::world::by_subdomain("alice", "dev", "agent", "owner", world.token("alice"));
        let asked = (DASHBOARD, ISSUE);
        let issued = self.proxy.ask(Method::POST, asked, &headers, visit.to_string()).await;
        assert_eq!(issued.status, 201, "{}", text(&issued));
        let visits = world.rows().await.into_iter().filter(|row| row.text("ip") == "198.51.100.4");
        assert_eq!(visits.map(|row| row.status()).collect::<Vec<_>>(), [200]);

        let url = format!("wss://sydney.coder.com/api/v2/workspaceagents/{}/pty", world.agent);
        let terminal = json!({ "url": url, "agentID": world.agent }).to_string();
        let headers = [self.session(), ("content-type", "application/json")];
        let asked = (DASHBOARD, "/api/v2/applications/reconnecting-pty-signed-token");
        let issued = self.proxy.ask(Method::POST, asked, &headers, terminal).await;
        assert_eq!(issued.status, 200, "{}", text(&issued));
        for cloud in ["aws", "azure", "google"] {
            let path = format!("/api/v2/workspaceagents/{cloud}-instance-identity");
            let answer =
                self.proxy.ask(Method::POST, (DASHBOARD, &path), &headers[1..], "{}").await;
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(
                (answer.status.as_u16(), &body["message"]),
                (400, &json!("Validation failed."))
            );
        }
        let challenge = (DASHBOARD, "/api/v2/authd/instance-identity/challenge");
        let answer = self.proxy.ask(Method::POST, challenge, &[], "").await;
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["message"], "No nonce is demanded.");
        assert!(self.control_plane.seen().is_empty());
    }

    /// Bodies, WebSockets and other traffic of apps
    async fn transport(&self) {
        let app = Everyday {
            proxy: &self.proxy,
            app: &self.control_plane.app,
            session: self.world.token("alice"),
        };
        for (host, folder) in [(HOST, ""), (DASHBOARD, "/@alice/dev/apps/owner")] {
            app.transport(host, folder).await;
        }
        let terminal = format!("/api/v2/workspaceagents/{}/pty?reconnect=1", self.world.agent);
        app.socket(DASHBOARD, &terminal).await;
        let seen = self.control_plane.seen();
        assert!(seen.iter().all(|seen| seen.outcome == Outcome::Carried), "{seen:?}");

        // Coder's own protocols are forwarded.
        let mut stream = self.proxy.connect(&upgrade("/derp", DASHBOARD, "", "DERP")).await;
        read_head(&mut stream).await;
        let passed = self.only("derp").head.header("upgrade").unwrap().to_owned();
        assert!(passed.eq_ignore_ascii_case("derp"), "{passed}");
    }
}

/// All checks, through one proxy
async fn all(front: (Program, &str)) {
    let program = front.0;
    let Some(front) = Front::start(front).await else { return };
    front.sign_in().await;
    for (host, uri) in [(HOST, "/cookies"), (DASHBOARD, "/@alice/dev/apps/owner/cookies")] {
        let proxy = (&front.proxy, program);
        cookies_are_kept(proxy, (host, uri), front.world.token("alice")).await;
    }
    front.control_plane.seen();
    front.carry().await;
    front.keep_query().await;
    front.refuse().await;
    front.preflight().await;
    front.go_around().await;
    front.leave_alone().await;
    front.answer().await;
    front.transport().await;
}

/// The answers while one of the two servers behind the proxy is down
async fn without(front: (Program, &str)) {
    let world = World::new().await;
    let control_plane = ControlPlane::beside(&world).await;
    let gone = crate::real::nowhere();
    let authd = world.url.strip_prefix("http://").unwrap();
    let session = [("coder-session-token", world.token("alice")), ("accept", "text/html")];

    let Some(proxy) = between(front, &gone, control_plane.address()).await else { return };
    for host in [HOST, PUBLIC] {
        let away = proxy.ask(Method::GET, (host, "/"), &session, "").await;
        assert_eq!((away.status.as_u16(), header(&away, "retry-after")), (503, "5"));
        assert!(text(&away).contains("<h1>Try Again</h1>"));
    }
    assert!(control_plane.seen().is_empty());
    let own = proxy.ask(Method::GET, (DASHBOARD, "/"), &session, "").await;
    assert_eq!((own.status.as_u16(), control_plane.seen().len()), (200, 1));

    let proxy = between(front, authd, &gone).await.unwrap();
    let down = proxy.ask(Method::GET, (HOST, "/"), &session, "").await;
    assert_eq!(down.status, 502);
    assert!(text(&down).contains("<h1>Application Unavailable</h1>"), "{}", text(&down));
    let own = proxy.ask(Method::GET, (DASHBOARD, "/"), &session, "").await;
    assert_eq!(own.status, 502);
    assert!(!text(&own).contains("Application Unavailable"));
    if front == NGINX {
        assert!(text(&own).contains("<h1>Try Again</h1>"), "{}", text(&own));
    }
}

#[tokio::test]
async fn nginx_in_front_of_a_control_plane_that_carries() {
    all(NGINX).await;
}

#[tokio::test]
async fn caddy_in_front_of_a_control_plane_that_carries() {
    all(CADDY).await;
}

#[tokio::test]
async fn a_newer_caddy_in_front_of_a_control_plane_that_carries() {
    all(NEW_CADDY).await;
}

#[tokio::test]
async fn nginx_reports_which_server_is_down() {
    without(NGINX).await;
}

#[tokio::test]
async fn caddy_reports_which_server_is_down() {
    without(CADDY).await;
    without(NEW_CADDY).await;
}
