//! The server around the routes: protocols, limits, stopping, metrics

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;
mod slow_store;

use std::time::Duration;

use authd::ServerLimits;
use authd_http::Limits;
use bytes::Bytes;
use common::{SIGN_IN, Setup, proof, status_and_message};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use identity_verify::test_util::aws::Cloud;
use slow_store::{PANIC, SlowStore};
use store::MemoryStore;
use tokio::net::TcpStream;

const INSTANCE: &str = "i-0123456789abcdef0";

#[tokio::test]
async fn http2_with_prior_knowledge() {
    let cloud = Cloud::generate(common::REGION);
    let server = Setup::trusting(&cloud).start(MemoryStore::default()).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut http2, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::get(server.url("/healthz")).body(Empty::<Bytes>::new()).unwrap();
    let response = http2.send_request(request).await.unwrap();
    assert_eq!((response.version(), response.status().as_u16()), (hyper::Version::HTTP_2, 200));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "ok\n");
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_except_operational_ones() {
    let cloud = Cloud::generate(common::REGION);
    let longest_wait = Duration::ZERO;
    let limits = Limits { requests_in_flight: 1, longest_wait, ..Limits::default() };
    let store = SlowStore::new();
    let server = Setup::trusting(&cloud).limits(limits).start(store.clone()).await;
    let first = async {
        let answer = server.sign_in(&cloud, INSTANCE, None).await;
        assert_eq!(status_and_message(&answer).0, 404);
    };
    let others = async {
        while !metric(&server, "authd_http_requests_in_flight").await.contains(" 2") {
            tokio::task::yield_now().await;
        }
        let answer = server.sign_in(&cloud, INSTANCE, None).await;
        assert_eq!(status_and_message(&answer), (503, "The server is busy.".to_owned()));
        assert_eq!(server.get("/healthz").await.status, 200);
        assert_eq!(server.get("/readyz").await.status, 200);
        store.0.add_permits(1);
    };
    tokio::join!(first, others);
}

#[tokio::test]
async fn a_slow_store_is_abandoned_at_the_deadline() {
    let cloud = Cloud::generate(common::REGION);
    let limits = Limits { request: Duration::from_millis(200), ..Limits::default() };
    let server = Setup::trusting(&cloud).limits(limits).start(SlowStore::new()).await;
    let answer = server.sign_in(&cloud, INSTANCE, None).await;
    assert_eq!(status_and_message(&answer), (503, "The request took too long.".to_owned()));
}

#[tokio::test]
async fn a_panic_fails_one_request_only() {
    let cloud = Cloud::generate(common::REGION);
    let store = SlowStore::new();
    store.0.add_permits(1);
    let server = Setup::trusting(&cloud).start(store).await;
    let answer = server.sign_in(&cloud, PANIC, None).await;
    assert_eq!(status_and_message(&answer), (500, "Internal server error.".to_owned()));
    assert_eq!(status_and_message(&server.sign_in(&cloud, INSTANCE, None).await).0, 404);
}

#[tokio::test]
async fn requests_under_way_are_answered_before_stopping() {
    let cloud = Cloud::generate(common::REGION);
    let store = SlowStore::new();
    let mut server = Setup::trusting(&cloud).start(store.clone()).await;
    let url = server.url(SIGN_IN);
    let body = proof(&cloud, INSTANCE, None).to_string();
    let under_way =
        tokio::spawn(
            async move { testkit::net::Client::new().post_json(&url, body).await.unwrap() },
        );
    while !metric(&server, "authd_http_requests_in_flight").await.contains(" 2") {
        tokio::task::yield_now().await;
    }
    server.begin_stop();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!under_way.is_finished());
    store.0.add_permits(1);
    assert_eq!(status_and_message(&under_way.await.unwrap()).0, 404);
    server.stop().await;
}

#[tokio::test]
async fn draining_is_limited_in_time() {
    let cloud = Cloud::generate(common::REGION);
    let limits = ServerLimits { drain: Duration::from_millis(100), ..ServerLimits::default() };
    let server = Setup::trusting(&cloud).server(limits).start(SlowStore::new()).await;
    let url = server.url(SIGN_IN);
    let body = proof(&cloud, INSTANCE, None).to_string();
    let abandoned =
        tokio::spawn(async move { testkit::net::Client::new().post_json(&url, body).await });
    while !metric(&server, "authd_http_requests_in_flight").await.contains(" 2") {
        tokio::task::yield_now().await;
    }
    server.stop().await;
    abandoned.abort();
}

#[tokio::test]
async fn metrics_count_requests_and_outcomes() {
    let cloud = Cloud::generate(common::REGION);
    let server = Setup::trusting(&cloud).start(MemoryStore::default()).await;
    server.sign_in(&cloud, INSTANCE, None).await;
    server.sign_in(&Cloud::generate(common::REGION), INSTANCE, None).await;
    server.get("/nowhere").await;
    for line in [
        r#"authd_http_requests_total{route="aws-instance-identity",status="404"} 1"#,
        r#"authd_http_requests_total{route="aws-instance-identity",status="401"} 1"#,
        r#"authd_http_requests_total{route="unmatched",status="404"} 1"#,
        r#"authd_identity_verifications_total{cloud="aws",outcome="accept",reason=""} 1"#,
        r#"authd_identity_verifications_total{cloud="aws",outcome="reject",reason="bad_signature"} 1"#,
        r#"authd_agent_sign_ins_total{outcome="not_found"} 1"#,
        r#"authd_http_request_duration_seconds_count{route="aws-instance-identity"} 2"#,
    ] {
        assert_eq!(metric(&server, line).await, line);
    }
}

#[tokio::test]
async fn metrics_show_when_certificates_expire() {
    let cloud = Cloud::generate(common::REGION);
    let server = Setup::trusting(&cloud).start(MemoryStore::default()).await;
    let name = "authd_certificate_expiration_timestamp_seconds";
    let root = format!(r#"{name}{{cloud="azure",name="DigiCert Global Root G2""#);
    let line = metric(&server, &root).await;
    // 2038-01-15T12:00:00Z
    assert!(line.ends_with(" 2147169600"), "{line}");
    // Expired in 2025, more than a month ago.
    let ended = format!(r#"{name}{{cloud="azure",name="Baltimore CyberTrust Root""#);
    assert_eq!(metric(&server, &ended).await, "");
}

/// The first line of the metrics that starts with `start`
async fn metric(server: &common::Server, start: &str) -> String {
    let answer = server.get("/metrics").await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    text.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned()
}
