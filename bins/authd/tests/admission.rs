//! One stranger cannot keep others out, and the server says so when it stops

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;
mod slow_store;

use std::net::Ipv4Addr;
use std::time::Duration;

use authd_http::Limits;
use common::{SIGN_IN, Server, Setup, proof};
use identity_fetch::Identity;
use identity_verify::test_util::aws::Cloud;
use identity_verify::test_util::google;
use slow_store::SlowStore;
use store::MemoryStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const INSTANCE: &str = "i-0123456789abcdef0";
const LONG: Duration = Duration::from_secs(60);

/// A connection from 127.0.0.N
async fn from(server: &Server, n: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::new(127, 0, 0, n), 0).into()).unwrap();
    socket.connect(server.address).await.unwrap()
}

/// Sends the head of a sign-in and the first bytes of its body
async fn begin(stream: &mut TcpStream, body: &str, bytes: usize) {
    let head = format!(
        "POST {SIGN_IN} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body.as_bytes()[..bytes]).await.unwrap();
}

/// Status and whole text of the answer
async fn answer(stream: &mut TcpStream) -> (u16, String) {
    let mut text = String::new();
    timeout(LONG, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
}

/// Signs in from 127.0.0.N
async fn sign_in(server: &Server, n: u8, body: &str) -> (u16, String) {
    let mut stream = from(server, n).await;
    begin(&mut stream, body, body.len()).await;
    answer(&mut stream).await
}

/// Signs in as an instance of Google from 127.0.0.N
async fn sign_in_with_token(server: &Server, n: u8, token: &str) -> (u16, String) {
    let body = format!("{{\"json_web_token\":\"{token}\"}}");
    let mut stream = from(server, n).await;
    let head = format!(
        "POST /api/v2/workspaceagents/google-instance-identity HTTP/1.1\r\nhost: a\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.unwrap();
    answer(&mut stream).await
}

async fn metric(server: &Server, start: &str) -> u64 {
    let answer = server.get("/metrics").await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(start)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

async fn wait_for(server: &Server, name: &str, value: u64) {
    let waited = timeout(LONG, async {
        while metric(server, name).await < value {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap();
}

fn few_places() -> Limits {
    Limits { requests_in_flight: 8, ..Limits::default() }
}

#[tokio::test]
async fn slow_bodies_of_one_address_take_no_turn_of_others() {
    let cloud = Cloud::generate(common::REGION);
    let server = Setup::trusting(&cloud).limits(few_places()).start(MemoryStore::default()).await;
    let body = proof(&cloud, INSTANCE, None).to_string();
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut stream = from(&server, 1).await;
        begin(&mut stream, &body, 1).await;
        slow.push(stream);
    }
    wait_for(&server, "authd_http_requests_in_flight", 41).await;
    for n in 2..10 {
        assert_eq!(sign_in(&server, n, &body).await.0, 404, "{n}");
    }
    // A body that comes after all is answered, too.
    slow[0].write_all(&body.as_bytes()[1..]).await.unwrap();
    assert_eq!(answer(&mut slow[0]).await.0, 404);
}

#[tokio::test]
async fn one_address_takes_half_of_the_places_and_others_need_not_wait_for_it() {
    let cloud = Cloud::generate(common::REGION);
    let store = SlowStore::new();
    let server = Setup::trusting(&cloud).limits(few_places()).start(store.clone()).await;
    let body = proof(&cloud, INSTANCE, None).to_string();
    let mut greedy = Vec::new();
    for _ in 0..20 {
        let mut stream = from(&server, 1).await;
        begin(&mut stream, &body, body.len()).await;
        greedy.push(stream);
    }
    let waiting = "authd_http_requests_waiting{work=\"sign-in\"}";
    wait_for(&server, waiting, 16).await;
    // Two others get places at once, before those that wait.
    let mut others = Vec::new();
    for n in [2, 3] {
        let mut stream = from(&server, n).await;
        begin(&mut stream, &body, body.len()).await;
        others.push(stream);
    }
    wait_for(&server, "authd_http_requests_in_flight", 23).await;
    assert_eq!(metric(&server, waiting).await, 16);
    // Stuck sign-ins stop neither probes nor visits.
    assert_eq!(server.get("/healthz").await.status, 200);
    assert_eq!(server.get("/api/v2/audit").await.status, 404, "app access is off");
    store.0.add_permits(22);
    for stream in others.iter_mut().chain(&mut greedy) {
        assert_eq!(answer(stream).await.0, 404);
    }
}

#[tokio::test]
async fn what_would_wait_too_long_is_refused_with_a_time_to_return() {
    let cloud = Cloud::generate(common::REGION);
    let store = SlowStore::new();
    let limits = Limits {
        requests_in_flight: 1,
        longest_wait: Duration::from_millis(300),
        ..Limits::default()
    };
    let server = Setup::trusting(&cloud).limits(limits).start(store.clone()).await;
    let body = proof(&cloud, INSTANCE, None).to_string();
    let mut first = from(&server, 1).await;
    begin(&mut first, &body, body.len()).await;
    wait_for(&server, "authd_http_requests_in_flight", 2).await;
    let (status, text) = sign_in(&server, 2, &body).await;
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("The server is busy."), "{text}");
    let after = text.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!((1..=3).contains(&after.trim().parse::<u64>().unwrap()), "{text}");
    assert_eq!(
        metric(&server, "authd_http_requests_refused_total{reason=\"overloaded\"}").await,
        1
    );
    store.0.add_permits(1);
    assert_eq!(answer(&mut first).await.0, 404);
}

#[tokio::test]
async fn an_address_whose_proofs_fail_too_often_is_refused_for_a_while() {
    let cloud = Cloud::generate(common::REGION);
    let limits = Limits { failed_proofs_per_minute: 5, ..Limits::default() };
    let server = Setup::trusting(&cloud).limits(limits).start(MemoryStore::default()).await;
    let forged = proof(&Cloud::generate(common::REGION), INSTANCE, None).to_string();
    let good = proof(&cloud, INSTANCE, None).to_string();
    for _ in 0..5 {
        assert_eq!(sign_in(&server, 1, &good).await.0, 404, "what is genuine costs nothing");
        assert_eq!(sign_in(&server, 1, &forged).await.0, 401);
    }
    let (status, text) = sign_in(&server, 1, &good).await;
    assert_eq!(status, 429, "{text}");
    assert!(text.contains("too many") || text.contains("Too many"), "{text}");
    let after = text.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!((1..=12).contains(&after.trim().parse::<u64>().unwrap()), "{text}");
    assert_eq!(sign_in(&server, 2, &good).await.0, 404, "another address");
    assert_eq!(server.get("/healthz").await.status, 200);
    let refused = "authd_http_requests_refused_total{reason=\"too_many_failures\"}";
    assert_eq!(metric(&server, refused).await, 1);
}

#[tokio::test]
async fn a_proof_whose_key_is_unknown_counts_fifty_times() {
    let known = google::Cloud::generate();
    let verifier = identity_verify::google::Verifier::default();
    let identity = Identity::builtin().google(verifier).google_keys(known.jwks());
    let limits = Limits { failed_proofs_per_minute: 100, ..Limits::default() };
    let server = Setup::with(identity).limits(limits).start(MemoryStore::default()).await;
    let issued = identity_verify::test_util::at("2026-11-20T23:59:00Z");
    let claims = google::Claims::new("7", "project", "coder", issued).to_json();
    let unknown = google::Cloud::generate_bits("unknown", 2048).sign(&claims);
    for expected in [401, 401, 429] {
        let (status, text) = sign_in_with_token(&server, 1, &unknown).await;
        assert_eq!(status, expected, "{text}");
    }
    assert_eq!(sign_in_with_token(&server, 2, &known.sign(&claims)).await.0, 404);
}
