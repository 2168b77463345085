use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_token::{Backoff, BaseUrl, Cloud, Machine, RetryTimeout, Timeouts};
use identity_verify::test_util::server::{Answer, Server};
use serde_json::Value;

use crate::world::{
    CLOUDS, LONG, SHORT, TOKEN, World, complaint, first_request, page, short_backoff, sign_in_path,
    silence, spoil,
};

/// Transient failures of either service
fn transient() -> Vec<(&'static str, Answer)> {
    let soon = |status| Answer::status(status).with_header("Retry-After", "0");
    vec![
        ("408", Answer::status(408)),
        ("410", Answer::status(410)),
        ("425", Answer::status(425)),
        ("429", soon(429)),
        ("500", Answer::status(500)),
        ("502", Answer::status(502)),
        ("503", soon(503)),
        ("504", Answer::status(504)),
        ("599", Answer::status(599)),
        ("a date that is over", {
            Answer::status(503).with_header("Retry-After", "Fri, 20 Nov 2026 00:00:00 GMT")
        }),
        ("a time that cannot be read", Answer::status(503).with_header("Retry-After", "soon")),
        ("a body that breaks off", Answer::ok("{\"session_token\": \"b65").broken()),
        ("silence", silence()),
    ]
}

/// How long to wait for an answer: short only if none comes
fn timeouts_for(answer: &Answer) -> Timeouts {
    if answer.delay.is_zero() { LONG } else { SHORT }
}

#[tokio::test]
async fn a_metadata_service_that_is_not_ready_is_asked_again() {
    let mut rows = transient();
    rows.extend([
        ("404", Answer::status(404)),
        ("an empty answer", Answer::ok("")),
        ("a page", page()),
        ("half a document", Answer::ok("{\"encoding\":\"pkcs7\",\"signature\":\"MII")),
        ("JSON of something else", Answer::ok("{\"error\":\"bad\"}")),
        ("bytes that are no text", Answer { body: vec![0xff, 0xfe], ..Answer::ok("") }),
    ]);
    for cloud in CLOUDS {
        for (what, bad) in &rows {
            let world = World::of(cloud);
            let metadata_timeouts = timeouts_for(bad);
            let bad = bad.clone();
            let asked = spoil(&world.metadata, first_request(cloud), 2, move |_| bad.clone());
            let machine = Machine { metadata_timeouts, ..world.machine(cloud) };
            let token = machine.sign_in().await;
            assert_eq!(token.unwrap().reveal(), TOKEN, "{cloud}: {what}");
            assert_eq!(asked.load(Ordering::SeqCst), 3, "{cloud}: {what}");
        }
    }
}

#[tokio::test]
async fn every_step_of_aws_continues_where_it_failed() {
    let bad = [404, 429, 503].map(Answer::status);
    for name in ["document", "signature", "rsa2048"] {
        for bad in bad.iter().chain([&Answer::ok("").broken(), &page(), &silence()]) {
            if (name, bad.status) == ("rsa2048", 404) {
                continue;
            }
            let world = World::of(Cloud::Aws);
            let path = format!("/latest/dynamic/instance-identity/{name}");
            let answer = bad.clone();
            let asked = spoil(&world.metadata, ("GET", &path), 2, move |_| answer.clone());
            let metadata_timeouts = timeouts_for(bad);
            let machine = Machine { metadata_timeouts, ..world.machine(Cloud::Aws) };
            let token = machine.sign_in().await;
            assert_eq!(token.unwrap().reveal(), TOKEN, "{name}: {}", bad.status);
            assert_eq!(asked.load(Ordering::SeqCst), 3, "{name}: {}", bad.status);
            // What had been fetched was not requested again.
            assert_eq!(world.metadata.requests().len(), 4 + 2, "{name}: {}", bad.status);
        }
    }
}

/// Removes the end of the Base64 in an answer, so that what is left is Base64 too
fn cut(answer: Answer, keep: impl Fn(usize) -> usize) -> Answer {
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let shorter = |text: &str| {
        let digits = text.replace('\n', "");
        digits[..keep(digits.len()) / 4 * 4].to_owned()
    };
    let body = match serde_json::from_str::<Value>(&text) {
        Ok(mut attested) => {
            attested["signature"] = shorter(attested["signature"].as_str().unwrap()).into();
            attested.to_string()
        }
        Err(_) => shorter(&text),
    };
    Answer { body: body.into(), ..answer }
}

#[tokio::test]
async fn a_proof_that_is_cut_off_is_fetched_again() {
    let aws = |name: &str| format!("/latest/dynamic/instance-identity/{name}");
    for (cloud, path) in [
        (Cloud::Aws, aws("signature")),
        (Cloud::Aws, aws("rsa2048")),
        (Cloud::Azure, first_request(Cloud::Azure).1.to_owned()),
        (Cloud::Google, first_request(Cloud::Google).1.to_owned()),
    ] {
        for keep in [|all| all / 2, |all| all - 8, |all| all - 4] {
            let world = World::of(cloud);
            let good = world.metadata.handler("GET", &path).unwrap();
            let asked = spoil(&world.metadata, ("GET", &path), 2, move |r| cut(good(r), keep));
            assert_eq!(world.machine(cloud).sign_in().await.unwrap().reveal(), TOKEN);
            assert_eq!(asked.load(Ordering::SeqCst), 3, "{path}");
            let sent = world.control_plane.requests().pop().unwrap();
            let body: Value = serde_json::from_slice(&sent.body).unwrap();
            assert!(cloud != Cloud::Aws || body["pkcs7"].is_string(), "{path}: {body}");
        }
    }
}

#[tokio::test]
async fn a_pause_that_one_of_several_answers_asks_for_is_obeyed() {
    for name in ["document", "signature", "rsa2048"] {
        let world = World::of(Cloud::Aws);
        for other in ["document", "signature", "rsa2048"] {
            let path = format!("/latest/dynamic/instance-identity/{other}");
            let bad = Answer::status(503);
            let bad = if other == name { bad.with_header("Retry-After", "3600") } else { bad };
            spoil(&world.metadata, ("GET", &path), 1, move |_| bad.clone());
        }
        let said = complaint(&world.machine(Cloud::Aws)).await;
        assert!(said.contains("asks to wait 3600 s"), "{name}: {said}");
    }
}

#[tokio::test]
async fn a_metadata_session_that_ended_is_replaced() {
    for name in ["document", "signature", "rsa2048"] {
        let world = World::of(Cloud::Aws);
        let path = format!("/latest/dynamic/instance-identity/{name}");
        spoil(&world.metadata, ("GET", &path), 2, |_| Answer::status(401));
        let begun = spoil(&world.metadata, first_request(Cloud::Aws), 0, |_| Answer::status(500));
        assert_eq!(world.machine(Cloud::Aws).sign_in().await.unwrap().reveal(), TOKEN);
        assert_eq!(begun.load(Ordering::SeqCst), 3, "{name}");
    }
}

#[tokio::test]
async fn a_missing_stronger_signature_is_not_a_failure() {
    for (what, bad, asked_for) in [
        ("404", Answer::status(404), 1),
        ("403", Answer::status(403), 1),
        ("405", Answer::status(405), 1),
        ("a redirect", Answer::status(302).with_header("Location", "/elsewhere"), 1),
        ("401, always", Answer::status(401), 3),
        ("503, always", Answer::status(503), 3),
        ("a page, always", page(), 3),
        ("silence, always", silence(), 3),
    ] {
        let world = World::of(Cloud::Aws);
        let route = ("GET", "/latest/dynamic/instance-identity/rsa2048");
        let metadata_timeouts = timeouts_for(&bad);
        let asked = spoil(&world.metadata, route, usize::MAX, move |_| bad.clone());
        let machine = Machine { metadata_timeouts, ..world.machine(Cloud::Aws) };
        assert_eq!(machine.sign_in().await.unwrap().reveal(), TOKEN, "{what}");
        assert_eq!(asked.load(Ordering::SeqCst), asked_for, "{what}");
        let sent = world.control_plane.requests().pop().unwrap();
        let body: Value = serde_json::from_slice(&sent.body).unwrap();
        assert!(body["document"].is_string() && body["signature"].is_string(), "{what}: {body}");
        assert!(body.get("pkcs7").is_none(), "{what}: {body}");
    }
}

#[tokio::test]
async fn a_control_plane_that_is_busy_is_asked_again() {
    let mut rows = transient();
    rows.push(("half an answer", Answer::ok("{\"session_token\": \"b65")));
    for (what, bad) in rows {
        let world = World::of(Cloud::Azure);
        let path = sign_in_path(Cloud::Azure);
        let control_plane_timeouts = timeouts_for(&bad);
        let asked = spoil(&world.control_plane, ("POST", &path), 2, move |_| bad.clone());
        let machine = Machine { control_plane_timeouts, ..world.machine(Cloud::Azure) };
        let token = machine.sign_in().await;
        assert_eq!(token.unwrap().reveal(), TOKEN, "{what}");
        assert_eq!(asked.load(Ordering::SeqCst), 3, "{what}");
        // The proof is still valid.
        assert_eq!(world.metadata.requests().len(), 1, "{what}");
    }
}

#[tokio::test]
async fn a_permanent_failure_ends_the_sign_in_at_once() {
    let refusal = r#"{"message":"Refused.","detail":"why"}"#;
    for status in [400, 401, 403, 404, 405, 409, 413, 415, 422, 301, 302, 303, 307, 308] {
        let world = World::of(Cloud::Google);
        let path = sign_in_path(Cloud::Google);
        let bad = Answer { body: refusal.into(), ..Answer::status(status) };
        let bad = bad.with_header("Location", "https://elsewhere.example.com/");
        let asked = spoil(&world.control_plane, ("POST", &path), usize::MAX, move |_| bad.clone());
        for retry_timeout in [RetryTimeout::default(), RetryTimeout::Unlimited, RetryTimeout::Once]
        {
            let machine = Machine { retry_timeout, ..world.machine(Cloud::Google) };
            let said = complaint(&machine).await;
            assert!(said.contains(&status.to_string()), "{said}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 3, "control plane: {status}");
    }
    for cloud in CLOUDS {
        for status in [400, 401, 403, 405, 301, 302, 307] {
            let world = World::of(cloud);
            let asked = spoil(&world.metadata, first_request(cloud), usize::MAX, move |_| {
                Answer::status(status)
            });
            let said = complaint(&world.machine(cloud)).await;
            assert!(said.contains(&status.to_string()), "{cloud}: {said}");
            assert_eq!(asked.load(Ordering::SeqCst), 1, "{cloud}: {status}");
        }
    }
}

#[tokio::test]
async fn each_step_can_be_tried_only_once() {
    let world = World::of(Cloud::Aws);
    let machine = Machine { retry_timeout: RetryTimeout::Once, ..world.machine(Cloud::Aws) };
    assert_eq!(machine.sign_in().await.unwrap().reveal(), TOKEN);
    let path = sign_in_path(Cloud::Aws);
    let asked = spoil(&world.control_plane, ("POST", &path), 1, |_| Answer::status(503));
    assert!(complaint(&machine).await.contains("503"));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let asked = spoil(&world.metadata, first_request(Cloud::Aws), 1, |_| Answer::status(503));
    assert!(complaint(&machine).await.contains("503"));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_sign_in_gives_up_when_the_retry_timeout_is_over() {
    let world = World::of(Cloud::Azure);
    spoil(&world.metadata, first_request(Cloud::Azure), usize::MAX, |_| Answer::status(503));
    // Long enough for three attempts on a busy machine.
    let retry_timeout = RetryTimeout::For(Duration::from_secs(1));
    let said = complaint(&Machine { retry_timeout, ..world.machine(Cloud::Azure) }).await;
    assert!(said.contains("503") && said.contains("gave up"), "{said}");
    assert!(world.metadata.requests().len() > 2);
}

#[tokio::test]
async fn a_sign_in_gives_up_if_the_service_asks_for_a_longer_pause() {
    let world = World::of(Cloud::Azure);
    let path = sign_in_path(Cloud::Azure);
    let asked = spoil(&world.control_plane, ("POST", &path), usize::MAX, |_| {
        // An hour by the clock of the service, which is a year ahead.
        Answer::status(503)
            .with_header("Date", "Sun, 21 Nov 2027 00:00:00 GMT")
            .with_header("Retry-After", "Sun, 21 Nov 2027 01:00:00 GMT")
    });
    let said = complaint(&world.machine(Cloud::Azure)).await;
    assert!(said.contains("asks to wait 3600 s"), "{said}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

/// An address on which nothing listens until a few attempts have failed
struct LateStart {
    address: SocketAddr,
    backoff: Backoff,
    attempts: Arc<AtomicUsize>,
    server: Arc<Mutex<Option<Server>>>,
}

impl LateStart {
    fn new(start: impl Fn(SocketAddr) -> Server + Send + Sync + 'static) -> Self {
        // Bound and released. No other test listens at this address, so the port stays free.
        let address = TcpListener::bind("127.0.0.77:0").unwrap().local_addr().unwrap();
        let (attempts, server) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<_>>::default());
        let (counted, kept) = (Arc::clone(&attempts), Arc::clone(&server));
        // The backoff asks for a random number after each failed attempt.
        let jitter = Arc::new(move || {
            if counted.fetch_add(1, Ordering::SeqCst) == 3 {
                *kept.lock().unwrap() = Some(start(address));
            }
            0.5
        });
        Self { address, backoff: Backoff { jitter, ..short_backoff() }, attempts, server }
    }

    fn url(&self) -> BaseUrl {
        BaseUrl::parse(&format!("http://{}", self.address)).unwrap()
    }
}

#[tokio::test]
async fn a_service_that_is_not_up_yet_is_waited_for() {
    for cloud in CLOUDS {
        let world = World::of(cloud);
        let late = LateStart::new(move |address| {
            let server = Server::start_at(address);
            crate::world::serve(&server, cloud);
            server
        });
        let (metadata, backoff) = (Some(late.url()), late.backoff.clone());
        let machine = Machine { metadata, backoff, ..world.machine(cloud) };
        assert_eq!(machine.sign_in().await.unwrap().reveal(), TOKEN, "{cloud}");
        assert_eq!(late.attempts.load(Ordering::SeqCst), 4);
        assert!(late.server.lock().unwrap().is_some());
    }
    let world = World::of(Cloud::Azure);
    let late = LateStart::new(|address| {
        let server = Server::start_at(address);
        let answer = format!(r#"{{"session_token":"{TOKEN}"}}"#);
        server.on("POST", &sign_in_path(Cloud::Azure), move |_| Answer::ok(&answer));
        server
    });
    let backoff = late.backoff.clone();
    let machine = Machine { control_plane: late.url(), backoff, ..world.machine(Cloud::Azure) };
    assert_eq!(machine.sign_in().await.unwrap().reveal(), TOKEN);
    assert_eq!(late.attempts.load(Ordering::SeqCst), 4);
}
