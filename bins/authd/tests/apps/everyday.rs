//! Ordinary traffic of apps, through the example configurations of `docs/proxies`

use std::time::Duration;

use hyper::Method;
use serde_json::Value;
use store::fleet::SharingLevel;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::App;
use crate::control_plane::{ControlPlane, Outcome};
use crate::proxy::{Program, Proxy, read_example, read_head};
use crate::world::{Plan, World, header, text};

/// An app behind a proxy, and a session that may open it
pub struct Everyday<'a> {
    pub proxy: &'a Proxy,
    pub app: &'a App,
    /// A session token
    pub session: &'a str,
}

impl Everyday<'_> {
    fn head(&self, line: &str, host: &str, headers: &str) -> String {
        let session = self.session;
        format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\nCoder-Session-Token: {session}\r\n{headers}\r\n"
        )
    }

    /// The lengths of the bodies of all requests since the last call
    fn bodies(&self) -> Vec<usize> {
        self.app.seen().iter().map(|head| head.body).collect()
    }

    /// Bodies and WebSockets, below a folder of a host
    pub async fn transport(&self, host: &str, folder: &str) {
        self.app.seen();
        // Events arrive one by one, with either framing.
        for form in ["chunked", "to-the-end"] {
            let line = format!("GET {folder}/events?{form}");
            let mut stream = self.proxy.connect(&self.head(&line, host, "")).await;
            read_until(&mut stream, "data: 1\n\n").await;
            for next in [2, 3] {
                self.app.send_event();
                read_until(&mut stream, &format!("data: {next}\n\n")).await;
            }
        }
        // So does a body: the request reaches the app before its body is complete.
        let mut begun = self.app.begun();
        let head = self.head(&format!("POST {folder}/up"), host, "Content-Length: 6\r\n");
        let mut stream = self.proxy.connect(&format!("{head}first")).await;
        tokio::time::timeout(TIMEOUT, begun.changed()).await.unwrap().unwrap();
        stream.write_all(b"!").await.unwrap();
        assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200"));
        assert_eq!(self.bodies(), [0, 0, 6]);

        let session = [("coder-session-token", self.session)];
        let body = vec![b'x'; 5 << 20];
        let uri = format!("{folder}/up");
        let put = self.proxy.ask(Method::PUT, (host, &uri), &session, body).await;
        assert_eq!((put.status.as_u16(), self.bodies()), (200, vec![5 << 20]), "{}", text(&put));
        let chunked = "Connection: close\r\nTransfer-Encoding: chunked\r\n";
        let head = self.head(&format!("POST {folder}/up"), host, chunked);
        let chunk = format!("2000\r\n{}\r\n", "x".repeat(0x2000));
        let answer = self.proxy.raw(&format!("{head}{}0\r\n\r\n", chunk.repeat(640))).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(self.bodies(), [5 << 20]);
        let head = self.head(&format!("GET {folder}/down"), host, "Connection: close\r\n");
        let down = self.proxy.raw(&head).await;
        let (head, body) = down.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200") && body.len() == 5 << 20, "{head}");

        for method in ["PROPFIND", "MKCOL", "MOVE", "LOCK", "REPORT", "PATCH", "DELETE", "OPTIONS"]
        {
            let method: Method = method.parse().unwrap();
            self.app.seen();
            let headers = [session[0], ("depth", "1"), ("destination", "https://a.example/x")];
            let asked = self.proxy.ask(method.clone(), (host, &uri), &headers, "").await;
            assert_eq!(asked.status, 200, "{method}: {}", text(&asked));
            let seen = self.app.seen().remove(0);
            assert_eq!((&*seen.method, seen.header("depth")), (method.as_str(), Some("1")));
        }
        self.socket(host, &format!("{folder}/ws")).await;
        for other in ["h2c", "TLS/1.2", "DERP", "websocket, h2c"] {
            self.app.seen();
            let session = format!("Coder-Session-Token: {}\r\n", self.session);
            let head = upgrade(&format!("{folder}/"), host, &session, other);
            let answer = read_head(&mut self.proxy.connect(&head).await).await;
            assert!(!answer.starts_with("HTTP/1.1 101"), "{other}: {answer}");
            for seen in self.app.seen() {
                assert_eq!(seen.header("upgrade"), None, "{other}");
            }
        }
    }

    /// A WebSocket that echoes, and whose answer sets a new app token
    pub async fn socket(&self, host: &str, target: &str) {
        let session = format!("Coder-Session-Token: {}\r\n", self.session);
        let mut stream = self.proxy.connect(&upgrade(target, host, &session, "websocket")).await;
        let switched = read_head(&mut stream).await.to_lowercase();
        assert!(switched.starts_with("http/1.1 101"), "{host} {target}: {switched}");
        assert!(switched.contains("set-cookie: coder_signed_app_token="), "{switched}");
        for sent in ["one", "two"] {
            stream.write_all(sent.as_bytes()).await.unwrap();
            let mut back = [0; 3];
            let read = stream.read_exact(&mut back);
            tokio::time::timeout(TIMEOUT, read).await.unwrap().unwrap();
            assert_eq!(back, sent.as_bytes(), "{host} {target}");
        }
    }
}

/// A request to speak another protocol
pub fn upgrade(target: &str, host: &str, headers: &str, protocol: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\n{headers}Connection: Upgrade\r\n\
         Upgrade: {protocol}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// Reads up to and including `wanted`
async fn read_until(stream: &mut TcpStream, wanted: &str) {
    let mut read = Vec::new();
    while !read.ends_with(wanted.as_bytes()) {
        let byte = tokio::time::timeout(TIMEOUT, stream.read_u8()).await;
        read.push(byte.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&read))).unwrap());
    }
}

/// Longer than any step takes on a busy machine
const TIMEOUT: Duration = Duration::from_secs(30);

pub const HOST: &str = "own--agent--dev--alice.test.coder.com";
pub const DASHBOARD: &str = "coder.test";

/// A proxy with its example configuration, in front of an app
pub struct Front {
    pub world: World,
    pub app: App,
    dashboard: ControlPlane,
    pub proxy: Proxy,
    pub program: Program,
}

impl Front {
    /// Returns `None` if the program is not installed
    async fn start(program: Program) -> Option<Self> {
        Self::planned(program, Plan::new(), &[]).await
    }

    /// The same, with another control plane, and further replacements in the example
    pub async fn planned(program: Program, plan: Plan, changes: &[(&str, &str)]) -> Option<Self> {
        Self::before(program, plan, App::start().await, changes).await
    }

    /// The same, before another app
    pub async fn before(
        program: Program,
        mut plan: Plan,
        app: App,
        changes: &[(&str, &str)],
    ) -> Option<Self> {
        for (slug, path) in
            [("own", "/"), ("same", "/@alice/dev/apps/same"), ("base", "/some/base/")]
        {
            let row = plan.rows.app(plan.agent, slug);
            row.url = Some(format!("http://{}{path}", app.address));
            row.sharing_level = SharingLevel::Owner;
        }
        let world = plan.serve().await;
        let dashboard = ControlPlane::beside(&world).await;
        let authd = world.url.strip_prefix("http://").unwrap();
        let changes = [&[program.network()], changes].concat();
        let addresses = [authd, &*crate::real::nowhere(), dashboard.address()];
        let proxy = Proxy::start(program, program.example(), addresses, &changes).await?;
        Some(Self { world, app, dashboard, proxy, program })
    }

    pub fn everyday(&self) -> Everyday<'_> {
        let session = self.world.token("alice");
        Everyday { proxy: &self.proxy, app: &self.app, session }
    }

    /// Path and query arrive as they were written, after the path of the app's URL
    async fn spell(&self) {
        let session = format!("Coder-Session-Token: {}\r\n", self.world.token("alice"));
        for written in [
            "/",
            "/a%20b",
            "/a%2Fb",
            "/a%252Fb",
            "/%F0%9F%98%80",
            "/a%2e%2e/b",
            "/a/../b//c",
            "/a[id].js",
            "/Untitled%20(1).ipynb",
            "/x?hashes=a|b",
            "/x?a=1&&b",
            "/x?a={b}",
            "/x?a={env.HOME}&{http.request.host}",
            "/x?a=%2F",
            "/x?",
            "/x??a",
            "/x?a=https://y.example/?z=1",
            "/x;v=1",
        ] {
            for (host, folder, base) in [
                (HOST, "", ""),
                (DASHBOARD, "/@alice/dev/apps/own", ""),
                (DASHBOARD, "/%40alice/dev.agent/apps/own", ""),
                (DASHBOARD, "/@alice/dev/apps/same", "/@alice/dev/apps/same"),
                (DASHBOARD, "/@alice/dev/apps/base", "/some/base"),
                ("base--agent--dev--alice.test.coder.com", "", "/some/base"),
            ] {
                self.app.seen();
                let target = format!("{folder}{written}");
                let head = format!(
                    "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{session}\r\n"
                );
                let answer = self.proxy.raw(&head).await;
                let seen = self.app.seen();
                assert_eq!(seen.len(), 1, "{host} {target}: {answer}");
                // Caddy 2.6 encodes brackets when it removes the folder.
                let anew = self.program == Program::Caddy && format!("{base}{written}") != target;
                let written =
                    if anew { written.replace("[id]", "%5Bid%5D") } else { written.into() };
                assert_eq!(seen[0].target, format!("{base}{written}"), "{host} {target}");
                // Headers without a value are left out.
                for absent in ["cookie", "authorization", "x-authd-cors-origin", "upgrade"] {
                    assert_eq!(seen[0].header(absent), None, "{absent}");
                }
                let expected = Some(folder).filter(|folder| !folder.is_empty());
                assert_eq!(seen[0].header("x-authd-folder"), expected, "{host} {target}");
            }
        }
    }

    /// A redirect of the app to its own address becomes the visitor's address
    async fn redirect(&self) {
        let own = &self.app.address;
        let session = [("coder-session-token", self.world.token("alice"))];
        let moved = async |host: &str, folder: &str, to: &str| {
            let uri = format!("{folder}/moved?{to}");
            let answer = self.proxy.ask(Method::GET, (host, &uri), &session, "").await;
            assert_eq!(answer.status, 302, "{host} {uri}: {}", text(&answer));
            header(&answer, "location").to_owned()
        };
        let by_path = "/@alice/dev/apps/own";
        assert_eq!(moved(HOST, "", &format!("http://{own}/lab?x=1")).await, "/lab?x=1");
        let lab = moved(DASHBOARD, by_path, &format!("http://{own}/lab?x=1")).await;
        assert_eq!(lab, format!("{by_path}/lab?x=1"));
        let same = "/@alice/dev/apps/same";
        let lab = moved(DASHBOARD, same, &format!("http://{own}{same}/lab")).await;
        assert_eq!(lab, format!("{same}/lab"));
        let port = own.split_once(':').unwrap().1;
        for (to, rest) in [
            (format!("http://{own}"), "/"),
            (format!("http://{own}/"), "/"),
            (format!("http://{own}?x=1"), "/?x=1"),
            (format!("http://localhost:{port}/lab?x=/y"), "/lab?x=/y"),
            (format!("http://localhost:{port}"), "/"),
        ] {
            assert_eq!(moved(HOST, "", &to).await, rest, "{to}");
            assert_eq!(moved(DASHBOARD, by_path, &to).await, format!("{by_path}{rest}"), "{to}");
        }
        let near = format!("http://{own}.evil.example/x");
        for kept in ["/lab", "lab", "https://elsewhere.example/x", "//elsewhere.example/", &near] {
            assert_eq!(moved(HOST, "", kept).await, kept);
            assert_eq!(moved(DASHBOARD, by_path, kept).await, kept);
        }
    }

    /// Paths that are not an app's reach the dashboard unchanged, and those of apps never do
    async fn part(&self) {
        let session = self.world.token("alice");
        let app = "/@alice/dev/apps/own";
        let terminal = format!("/api/v2/workspaceagents/{}/pty", self.world.agent);
        for (target, host) in [
            ("/x?".to_owned(), DASHBOARD),
            ("/x/../y//z%2F?a&&b".to_owned(), DASHBOARD),
            (format!("{app}/../../../../api/v2/users/me"), DASHBOARD),
            (format!("/x/..{app}/"), DASHBOARD),
            (format!("/{app}/"), DASHBOARD),
            ("/%2540alice/dev/apps/own/".to_owned(), DASHBOARD),
            (format!("{terminal}?x"), DASHBOARD),
            (format!("http://{DASHBOARD}{app}/"), HOST),
            (format!("http://{DASHBOARD}/"), HOST),
            ("/".to_owned(), "elsewhere.example"),
            ("/api/v2/forward-auth/envoy/../../applications/auth-redirect".to_owned(), DASHBOARD),
        ] {
            let head = format!(
                "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
                 Cookie: coder_session_token={session}\r\nX-Forwarded-Host: {HOST}\r\n\r\n"
            );
            let answer = self.proxy.raw(&head).await;
            for seen in self.dashboard.seen() {
                let place = format!("{target} at {host}: {answer}");
                assert_eq!(seen.outcome, Outcome::Own, "{place}");
                assert_eq!(seen.head.target, target.replace(&format!("http://{DASHBOARD}"), ""));
                let cookie = format!("coder_session_token={session}");
                assert_eq!(seen.head.header("cookie"), Some(&*cookie), "{place}");
                assert_eq!(seen.head.header("x-forwarded-host"), Some(DASHBOARD), "{place}");
            }
        }
    }

    /// The request as the app received it
    async fn echo(&self) -> Value {
        let session = [("coder-session-token", self.world.token("alice")), ("x_own", "kept")];
        let answer = self.proxy.ask(Method::GET, (HOST, "/"), &session, "").await;
        serde_json::from_slice(&answer.body).unwrap()
    }
}

impl Program {
    pub fn example(self) -> &'static str {
        match self {
            Self::Nginx => "nginx.conf",
            Self::Caddy | Self::NewCaddy => "Caddyfile",
            Self::Envoy => "envoy.yaml",
        }
    }

    /// The network of the agents in the example, and that of the tests
    fn network(self) -> (&'static str, &'static str) {
        match self {
            Self::Nginx | Self::Caddy | Self::NewCaddy => {
                (r"10\.1\.[0-9]+\.[0-9]+", r"127\.0\.0\.1")
            }
            Self::Envoy => ("10%.1%.%d+%.%d+", "127%.0%.0%.1"),
        }
    }
}

async fn all(program: Program) {
    let Some(front) = Front::start(program).await else { return };
    front.spell().await;
    front.redirect().await;
    front.part().await;
    for (host, folder) in
        [(HOST, ""), (DASHBOARD, "/@alice/dev/apps/own"), (DASHBOARD, "/@alice/dev/apps/same")]
    {
        front.everyday().transport(host, folder).await;
    }
    if front.program != Program::NewCaddy {
        let echo = front.echo().await;
        assert!(echo["headers"].to_string().contains("\"x_own\",\"kept\""), "{echo}");
    }
}

/// While authd is down apps are closed, and the dashboard still works
#[tokio::test]
async fn without_authd_the_apps_are_closed_and_the_dashboard_is_open() {
    for program in [Program::Nginx, Program::Caddy, Program::NewCaddy, Program::Envoy] {
        let (app, dashboard) = (App::start().await, App::start().await);
        let addresses = [&*crate::real::nowhere(), &*app.address, &*dashboard.address];
        let Some(proxy) = Proxy::start(program, program.example(), addresses, &[]).await else {
            continue;
        };
        for (host, uri) in [(HOST, "/"), (DASHBOARD, "/@alice/dev/apps/own/")] {
            let away = proxy.ask(Method::GET, (host, uri), &[("accept", "text/html")], "").await;
            assert_eq!(away.status, 503, "{program:?} {host}: {}", text(&away));
            assert_eq!(header(&away, "retry-after"), "5", "{program:?}");
            assert_eq!(header(&away, "cache-control"), "no-store", "{program:?}");
            assert!(text(&away).contains("<h1>Try Again</h1>"), "{program:?}: {}", text(&away));
        }
        let own = proxy.ask(Method::GET, (DASHBOARD, "/x"), &[], "").await;
        assert_eq!(own.status, 200, "{program:?}");
        assert_eq!((app.seen().len(), dashboard.seen().len()), (0, 1), "{program:?}");
    }
}

/// Timeouts that are too long for a test to wait for
#[test]
fn idle_connections_are_kept_open() {
    let nginx = ["nginx.conf", "alone.nginx.conf", "beside-coder.nginx.conf"];
    for example in nginx {
        let text = read_example(example);
        assert!(text.contains("proxy_read_timeout      1d;"), "{example}");
        assert!(text.contains("proxy_send_timeout      1d;"), "{example}");
        // Checks and other requests to authd have shorter timeouts.
        assert_eq!(text.matches("proxy_read_timeout    15s;").count(), 5, "{example}");
        assert_eq!(text.matches("proxy_connect_timeout 5s;").count(), 5, "{example}");
    }
    let envoy = read_example("envoy.yaml");
    assert!(envoy.contains("stream_idle_timeout: 86400s"));
    let routes = envoy
        .lines()
        .filter(|line| line.contains("cluster: apps, ") || line.contains("cluster: direct"));
    assert!(routes.filter(|line| line.contains("timeout: 0s")).count() >= 5);
    assert!(!read_example("Caddyfile").contains("read_timeout"));
}

#[tokio::test]
async fn nginx_carries_ordinary_traffic() {
    all(Program::Nginx).await;
}

#[tokio::test]
async fn envoy_carries_ordinary_traffic() {
    all(Program::Envoy).await;
}

#[tokio::test]
async fn caddy_carries_ordinary_traffic() {
    all(Program::Caddy).await;
}

#[tokio::test]
async fn a_newer_caddy_carries_ordinary_traffic() {
    all(Program::NewCaddy).await;
}
