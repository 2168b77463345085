//! The examples do what they say, over real connections

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "the tests do not call `main`")]

#[path = "../examples/axum.rs"]
mod axum_example;
#[path = "../examples/hyper.rs"]
mod hyper_example;
#[path = "../examples/protect_apps/main.rs"]
mod protect_apps;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use authd_http::MaintenanceSettings;
use chrono::{DateTime, Utc};
use protect_apps::Carrier;
use store::MemoryStore;
use store::fleet::{Fleet, Transition};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn authd_answers_beside_the_routes_of_a_control_plane_on_axum() {
    let (listener, address) = listen().await;
    let routes = axum_example::routes(axum_example::authd(MemoryStore::default()));
    let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, routes).await });

    let own = get(address, "x", "/api/v2/buildinfo", "").await;
    assert!(own.ends_with("control plane 1.0"), "{own}");
    answers_as_authd(address).await;
}

#[tokio::test]
async fn authd_answers_on_plain_hyper() {
    let (listener, address) = listen().await;
    let authd = axum_example::authd(MemoryStore::default());
    tokio::spawn(async move { hyper_example::serve(listener, &authd).await });
    answers_as_authd(address).await;
}

async fn answers_as_authd(address: SocketAddr) {
    let sign_in = "POST /api/v2/workspaceagents/aws-instance-identity HTTP/1.1\r\nHost: x";
    let missing = send(address, &format!("{sign_in}\r\nContent-Length: 2"), "{}").await;
    assert!(missing.starts_with("HTTP/1.1 400 "), "{missing}");
    assert!(missing.contains("required: signature, document"), "{missing}");
    let unknown = get(address, "x", "/api/v2/unknown", "").await;
    assert!(unknown.starts_with("HTTP/1.1 404 "), "{unknown}");
    assert!(unknown.contains("x-request-id: "), "{unknown}");
}

const DASHBOARD: &str = "coder.example.com";
const CODE: &str = "code--main--dev--alice.apps.example.com";
const AWAY: &str = "away--main--dev--alice.apps.example.com";
const ELSEWHERE: &str = "elsewhere--main--dev--alice.apps.example.com";

#[tokio::test]
async fn only_allowed_requests_reach_an_app() {
    let host = Host::start().await;
    let signed_out = get(host.address, CODE, "/x", "Accept: text/html").await;
    assert!(signed_out.starts_with("HTTP/1.1 303 "), "{signed_out}");
    assert!(
        signed_out.contains("location: http://coder.example.com/api/v2/applications/auth-redirect"),
        "{signed_out}"
    );
    let script = get(host.address, CODE, "/x", "Accept: application/json").await;
    assert!(script.starts_with("HTTP/1.1 401 "), "{script}");

    let token = &host.token;
    let headers = format!(
        "Cookie: coder_session_token={token}; own=1\r\nAuthorization: Bearer {token}\r\n\
         Coder-Session-Token: {token}\r\nX-Authd-Other: forged\r\nX-Authd-User: forged\r\n\
         X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n\
         Connection: close, x-authd-user"
    );
    let uri = format!("/a%2Fb?x&coder_session_token={token}&y=%20");
    let seen = get(host.address, CODE, &uri, &headers).await;
    assert!(seen.starts_with("HTTP/1.1 200 "), "{seen}");
    let (answer, request) = seen.split_once("\r\n\r\n").unwrap();
    for expected in [
        "GET /a%2Fb?x&y=%20 HTTP/1.1",
        "cookie: own=1",
        "host: code--main--dev--alice.apps.example.com",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-authd-app-url: http://127.0.0.1",
        "x-authd-cors: simple",
    ] {
        assert!(request.contains(expected), "{expected} in {request}");
    }
    for hidden in [&**token, "authorization", "forged"] {
        assert!(!request.contains(hidden), "{hidden} in {request}");
    }
    // The app names the visitor by the id that authd gave it.
    let user = request.lines().find_map(|line| line.strip_prefix("x-authd-user: ")).unwrap();
    assert_eq!(user.trim(), host.alice.to_string());

    for expected in [
        "set-cookie: own=2; Path=/\r\n",
        "set-cookie: coder_signed_app_token=",
        "location: http://code--main--dev--alice.apps.example.com/next?a\r\n",
        "vary: Origin",
        "x-request-id: ",
    ] {
        assert!(answer.contains(expected), "{expected} in {answer}");
    }
    for hidden in ["evil", "access-control-allow-origin", "keep-alive"] {
        assert!(!answer.contains(hidden), "{hidden} in {answer}");
    }
}

#[tokio::test]
async fn every_path_of_an_apps_host_is_the_apps() {
    let host = Host::start().await;
    let own = get(host.address, DASHBOARD, "/api/v2/buildinfo", "").await;
    assert!(own.ends_with("control plane 1.0"), "{own}");
    let sign_in = get(host.address, DASHBOARD, "/login", "Accept: text/html").await;
    assert!(sign_in.starts_with("HTTP/1.1 200 "), "{sign_in}");
    let token = format!("Coder-Session-Token: {}", host.token);
    for path in ["/api/v2/buildinfo", "/login", "/metrics", "/healthz"] {
        let carried = get(host.address, CODE, path, &token).await;
        assert!(carried.contains(&format!("GET {path} HTTP/1.1")), "{carried}");
    }
    let by_path = get(host.address, DASHBOARD, "/@alice/dev/apps/code/x?a", &token).await;
    assert!(by_path.contains("GET /x?a HTTP/1.1"), "{by_path}");
    assert!(by_path.contains("x-authd-folder: /@alice/dev/apps/code"), "{by_path}");
    let next = "location: http://coder.example.com/@alice/dev/apps/code/next?a";
    assert!(by_path.contains(next), "{by_path}");
}

#[tokio::test]
async fn a_page_says_that_an_app_cannot_be_reached() {
    let host = Host::start().await;
    let signed_in = format!("Coder-Session-Token: {}\r\nAccept: text/html", host.token);
    for app in [AWAY, ELSEWHERE] {
        let page = get(host.address, app, "/", &signed_in).await;
        assert!(page.starts_with("HTTP/1.1 502 "), "{page}");
        assert!(page.contains("text/html") && page.contains("cache-control: no-store"), "{page}");
        // The visit itself was allowed.
        assert!(page.contains("set-cookie: coder_signed_app_token="), "{page}");
    }
    let slow = get(host.address, CODE, "/silent", &signed_in).await;
    assert!(slow.starts_with("HTTP/1.1 504 "), "{slow}");
}

#[tokio::test]
async fn a_websocket_and_a_body_are_carried_both_ways_as_they_come() {
    let host = Host::start().await;
    let head = format!("Host: {CODE}\r\nCoder-Session-Token: {}", host.token);
    let mut socket = BufReader::new(TcpStream::connect(host.address).await.unwrap());
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13";
    let start = format!("GET /socket HTTP/1.1\r\n{head}\r\n{upgrade}\r\n\r\n");
    socket.write_all(start.as_bytes()).await.unwrap();
    assert!(head_of(&mut socket).await.starts_with("HTTP/1.1 101 "));
    for text in ["first\n", "second\n"] {
        socket.write_all(text.as_bytes()).await.unwrap();
        let mut echoed = String::new();
        socket.read_line(&mut echoed).await.unwrap();
        assert_eq!(echoed, text);
    }

    let mut body = BufReader::new(TcpStream::connect(host.address).await.unwrap());
    let start = format!("POST /echo HTTP/1.1\r\n{head}\r\nContent-Length: 10\r\n\r\n");
    body.write_all(start.as_bytes()).await.unwrap();
    assert!(head_of(&mut body).await.starts_with("HTTP/1.1 200 "));
    for text in ["half\n", "rest\n"] {
        body.write_all(text.as_bytes()).await.unwrap();
        // The answer comes in chunks, whose sizes are lines.
        let mut line = String::new();
        while line != text {
            line.clear();
            assert_ne!(body.read_line(&mut line).await.unwrap(), 0, "{text}");
        }
    }

    // Only a WebSocket may be spoken on an upgraded connection.
    let h2c = format!(
        "Coder-Session-Token: {}\r\nUpgrade: h2c\r\nConnection: upgrade, close",
        host.token
    );
    let plain = send(host.address, &format!("GET / HTTP/1.1\r\nHost: {CODE}\r\n{h2c}"), "").await;
    assert!(plain.contains("HTTP/1.1 200 ") && !plain.contains("h2c"), "{plain}");
}

#[test]
fn a_host_that_carries_apps_takes_at_most_80_lines() {
    let files = [
        include_str!("../examples/protect_apps/main.rs"),
        include_str!("../examples/protect_apps/carrier.rs"),
    ];
    let counts = |line: &&str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with("//") && !line.starts_with("#[expect")
    };
    let lines = files.iter().flat_map(|file| file.lines()).filter(counts).count();
    assert!((50..=80).contains(&lines), "{lines}");
}

/// The example of a control plane, whose workspace `dev` has apps
struct Host {
    address: SocketAddr,
    alice: uuid::Uuid,
    token: String,
}

impl Host {
    #[allow(clippy::disallowed_methods, reason = "the example reads the clock, too")]
    async fn start() -> Self {
        let (apps, app) = listen().await;
        let (gone, away) = listen().await;
        drop(gone);
        tokio::spawn(serve_app(apps));

        let mut fleet = Fleet::default();
        let acme = fleet.organization("acme");
        let alice = fleet.user("alice", acme);
        let token = fleet.session(alice).reveal().to_owned();
        let workspace = fleet.workspace(alice, "dev");
        let build = fleet.build(workspace, Transition::Start);
        let now: DateTime<Utc> = SystemTime::now().into();
        let agent = fleet.agent(build.resource, "main", "i-1");
        agent.first_connected_at = Some(now);
        agent.last_connected_at = Some(now);
        let agent = agent.id;
        for (slug, url) in [
            ("code", format!("http://{app}")),
            ("away", format!("http://{away}")),
            ("elsewhere", "http://192.0.2.1:1".to_owned()),
        ] {
            fleet.app(agent, slug).url = Some(url);
        }
        let store = MemoryStore::default();
        store.load(&fleet);

        let authd = protect_apps::authd(store).unwrap();
        let maintenance = authd.maintain(MaintenanceSettings::default()).await;
        let carrier =
            Carrier { agents: "127.0.0.1".parse().unwrap(), timeout: Duration::from_secs(1) };
        let routes = protect_apps::routes(authd, carrier);
        let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
        let (listener, address) = listen().await;
        tokio::spawn(async move {
            let served = axum::serve(listener, routes).await;
            maintenance.finish().await;
            served
        });
        Self { address, alice, token }
    }
}

/// An app that answers with the head of its request, and echoes what follows below `/echo`
async fn serve_app(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            let address = stream.get_ref().local_addr().unwrap();
            let head = head_of(&mut stream).await;
            let answer = match head.split(' ').nth(1).unwrap_or_default() {
                "/silent" => return drop(stream.read_u8().await),
                "/socket" if head.contains("upgrade: websocket") => {
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                     Upgrade: websocket\r\n\r\n"
                        .to_owned()
                }
                "/echo" => "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_owned(),
                _ => format!(
                    "HTTP/1.1 200 OK\r\nConnection: close, keep-alive\r\nKeep-Alive: timeout=5\r\n\
                     Access-Control-Allow-Origin: *\r\nLocation: http://{address}/next?a\r\n\
                     Set-Cookie: coder_session_token=evil\r\n\
                     Set-Cookie: own=2; Domain=example.com; Path=/\r\n\
                     Content-Length: {}\r\n\r\n{head}",
                    head.len()
                ),
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
            let (mut from, mut to) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
    }
}

/// The lines up to the first empty one
async fn head_of(stream: &mut BufReader<TcpStream>) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).await.unwrap(), 0, "{head}");
    }
    head
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn get(address: SocketAddr, host: &str, uri: &str, headers: &str) -> String {
    let line = if headers.is_empty() { String::new() } else { format!("\r\n{headers}") };
    send(address, &format!("GET {uri} HTTP/1.1\r\nHost: {host}{line}"), "").await
}

async fn send(address: SocketAddr, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let close = if head.contains("Connection:") { "" } else { "Connection: close\r\n" };
    stream.write_all(format!("{head}\r\n{close}\r\n{body}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => break,
            read => answer.extend_from_slice(&buffer[..read]),
        }
    }
    String::from_utf8(answer).unwrap()
}
