//! Every failure on the way to an app has a page, and none of them is a proxy's own

use std::time::Duration;

use hyper::Method;
use testkit::net::Answer;
use tokio::net::TcpListener;

use crate::app::App;
use crate::everyday::{DASHBOARD, Front, HOST};
use crate::proxy::{Program, Proxy};
use crate::world::{Plan, header, text};

const PROGRAMS: [Program; 4] = [Program::Nginx, Program::Caddy, Program::NewCaddy, Program::Envoy];

/// nginx answers a request that it does not carry with a page of the example
#[tokio::test]
async fn nginx_shows_no_page_of_its_own() {
    let Some(front) = Front::planned(Program::Nginx, Plan::new(), &[]).await else { return };
    let long = "x".repeat(70_000);
    let session = format!("Coder-Session-Token: {}", front.world.token("alice"));
    for (request, status, title) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: {HOST}\r\n"), 414, "Address Too Long"),
        (format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nCookie: {long}\r\n"), 431, "Headers Too Long"),
        (format!("GET / HTTP/1.1\r\nCookie: {long}\r\nHost: {HOST}\r\n"), 431, "Headers Too Long"),
        ("GET / HTTP/1.1\r\n".to_owned(), 400, "Bad Request"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n".to_owned(), 400, "Bad Request"),
        ("nonsense\r\n".to_owned(), 400, "Bad Request"),
        (format!("GET x HTTP/1.1\r\nHost: {HOST}\r\n"), 400, "Bad Request"),
        (format!("GET / HTTP/3.0\r\nHost: {HOST}\r\n"), 505, "Bad Request"),
        (format!("TRACE / HTTP/1.1\r\nHost: {HOST}\r\n"), 405, "Bad Request"),
        (format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}\r\n"), 400, "Bad Request"),
        (
            format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: x\r\n"),
            501,
            "Bad Request",
        ),
        (format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: x\r\n"), 400, "Bad Request"),
        ("GET / HTTP/1.1\r\nHost: elsewhere.example\r\n".to_owned(), 404, "Not Found"),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n".to_owned(), 404, "Not Found"),
        (
            format!(
                "POST / HTTP/1.1\r\nHost: {HOST}\r\n{session}\r\nTransfer-Encoding: chunked\r\n\r\nzz"
            ),
            400,
            "Bad Request",
        ),
    ] {
        let answer = front.proxy.raw(&format!("{request}Connection: close\r\n\r\n")).await;
        let shown = &request[..request.len().min(80)];
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{shown}: {answer}");
        assert!(answer.contains(&format!("<h1>{title}</h1>")), "{shown}: {answer}");
        assert!(!answer.contains("<center>"), "{shown}: {answer}");
    }
}

/// A page, and not an empty answer or one of the proxy's
fn is_page(answer: &Answer, title: &str) -> bool {
    header(answer, "content-type").starts_with("text/html")
        && text(answer).contains(&format!("<h1>{title}</h1>"))
        && !header(answer, "retry-after").is_empty()
}

// What authd cannot decide because it is busy
#[tokio::test]
async fn failures_of_authd_have_its_page() {
    for program in PROGRAMS {
        let mut plan = Plan::new();
        plan.limits.requests_in_flight = 0;
        plan.limits.longest_wait = Duration::ZERO;
        let Some(front) = Front::planned(program, plan, &[]).await else { continue };
        for (host, uri) in [(HOST, "/x"), (DASHBOARD, "/@alice/dev/apps/own/")] {
            let ask = async |accept: &str| {
                let headers = [("accept", accept)];
                front.proxy.ask(Method::GET, (host, uri), &headers, "").await
            };
            let page = ask("text/html").await;
            // Envoy relays no failure, and has a page of its own.
            let title = if program == Program::Envoy { "Try Again" } else { "The server is busy" };
            assert_eq!(page.status, 503, "{program:?}: {}", text(&page));
            assert!(is_page(&page, title), "{program:?}: {page:?}");
            let json = ask("application/json").await;
            assert_eq!(json.status, 503, "{program:?}: {}", text(&json));
            if program != Program::Envoy {
                let body: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
                assert_eq!(body["message"], "The server is busy.", "{program:?}");
            }
        }
        assert!(front.app.seen().is_empty(), "{program:?}");
    }
}

/// A server that accepts connections and answers nothing
async fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            open.push(stream);
        }
    });
    address
}

#[tokio::test]
async fn an_authd_that_is_too_slow_has_a_page() {
    let silent = silent().await;
    for program in PROGRAMS {
        let app = App::start().await;
        let addresses = [&*silent, &*app.address, &*app.address];
        let short = match program {
            Program::Nginx => ("proxy_read_timeout    15s", "proxy_read_timeout    1s"),
            Program::Caddy | Program::NewCaddy => {
                ("response_header_timeout 15s", "response_header_timeout 1s")
            }
            Program::Envoy => ("timeout: 15s", "timeout: 1s"),
        };
        let started = Proxy::start(program, program.example(), addresses, &[short]).await;
        let Some(proxy) = started else { continue };
        let page = proxy.ask(Method::GET, (HOST, "/"), &[("accept", "text/html")], "").await;
        assert_eq!(page.status, 503, "{program:?}: {}", text(&page));
        assert!(is_page(&page, "Try Again"), "{program:?}: {page:?}");
        assert!(app.seen().is_empty(), "{program:?}");
    }
}

/// An app that accepts connections and does not answer is told apart from one that is down
#[tokio::test]
async fn a_slow_app_has_a_page_of_its_own() {
    let silent = silent().await;
    for program in [Program::Nginx, Program::Caddy, Program::NewCaddy] {
        let world = Plan::new().serve().await;
        let authd = world.url.strip_prefix("http://").unwrap();
        let short = match program {
            Program::Nginx => ("proxy_read_timeout      1d", "proxy_read_timeout      1s"),
            _ => ("compression off", "compression off\n\t\tresponse_header_timeout 1s"),
        };
        let addresses = [authd, &*silent, &*silent];
        let started = Proxy::start(program, program.example(), addresses, &[short]).await;
        let Some(proxy) = started else { continue };
        let host = "owner--agent--dev--alice.test.coder.com";
        for (host, uri) in [(host, "/x"), (DASHBOARD, "/@alice/dev/apps/owner/")] {
            let session = ("coder-session-token", world.token("alice"));
            let headers = [session, ("accept", "text/html")];
            let late = proxy.ask(Method::GET, (host, uri), &headers, "").await;
            assert_eq!(late.status, 504, "{program:?}: {}", text(&late));
            assert!(header(&late, "content-type").starts_with("text/html"), "{program:?}");
            assert!(text(&late).contains("Retry"), "{program:?}: {}", text(&late));
            assert!(header(&late, "set-cookie").starts_with("coder_signed_app_token="));
        }
    }
}

#[tokio::test]
async fn an_address_with_many_wrong_tokens_waits() {
    let mut plan = Plan::new();
    plan.limits.failed_log_ins_per_minute = 2;
    let world = plan.serve().await;
    let log_in = async |token: &str| {
        let headers =
            [("content-type", "application/x-www-form-urlencoded"), ("accept", "text/html")];
        world.send("POST", "/login?redirect=/x", &headers, &format!("token={token}")).await
    };
    let good = world.token("alice").to_owned();
    for _ in 0..2 {
        assert_eq!(log_in(&good).await.status, 303, "what succeeds costs nothing");
        assert_eq!(log_in("wrong").await.status, 401);
    }
    let refused = log_in(&good).await;
    assert_eq!(refused.status, 429);
    assert!(!header(&refused, "retry-after").is_empty());
    let page = text(&refused);
    assert!(page.contains("Too many attempts from this address have failed."), "{page}");
    assert!(page.contains("name=\"token\"") && page.contains("value=\"/x\""), "{page}");
}
