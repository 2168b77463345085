//! Every request gets an answer of the documented shape, however malformed it is
//!
//! None of these requests reaches a store, so an empty one in memory is enough.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::time::Duration;

use authd::ServerLimits;
use authd_http::Limits;
use common::{SIGN_IN, Server, Setup, proof, signed, status_and_message};
use identity_fetch::Identity;
use identity_verify::test_util::aws::{Cloud, Document};
use identity_verify::{Policy, aws};
use serde_json::{Value, json};
use store::MemoryStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const INSTANCE: &str = "i-0123456789abcdef0";

async fn server(cloud: &Cloud) -> Server {
    Setup::trusting(cloud).start(MemoryStore::default()).await
}

/// Sends bytes as they are and returns everything that comes back
async fn raw(server: &Server, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), read).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The JSON in an answer, after checking its status
fn refusal(answer: &str, status: u16) -> Value {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

fn post(headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {SIGN_IN} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\
         {headers}\r\n{body}"
    )
    .into_bytes()
}

#[tokio::test]
async fn bodies_that_are_not_json_of_the_expected_shape() {
    let cloud = Cloud::generate(common::REGION);
    let server = server(&cloud).await;
    let valid = proof(&cloud, INSTANCE, None).to_string();
    let bomb = "[".repeat(60_000);
    let nested =
        format!("{{\"document\":\"x\",\"signature\":\"x\",\"more\":{}}}", "{\"a\":".repeat(9_000));
    for body in [
        "",
        " ",
        "{",
        "null",
        "[]",
        " [\"document\",\"signature\",null,null]",
        "\"text\"",
        "7",
        "{} {}",
        "{\"document\":1,\"signature\":\"x\"}",
        "{\"document\":{},\"signature\":[]}",
        "{\"document\":\"x\",\"document\":\"y\",\"signature\":\"x\"}",
        "{\"document\":\"\\ud800\",\"signature\":\"x\"}",
        &valid[..valid.len() - 1],
        &format!("{valid}x"),
        &bomb,
        &nested,
    ] {
        let (status, message) = status_and_message(&server.post(body).await);
        let start = &body[..body.len().min(60)];
        assert_eq!(
            (status, message.as_str()),
            (400, "Request body must be valid JSON."),
            "{start}"
        );
    }
    let mut not_utf8 = post("", "{\"document\":\"__\",\"signature\":\"x\"}");
    let at = not_utf8.windows(2).position(|pair| pair == b"__").unwrap();
    not_utf8[at] = 0xff;
    let body = refusal(&raw(&server, &not_utf8).await, 400);
    assert_eq!(body["message"], "Request body must be valid JSON.");
}

#[tokio::test]
async fn an_error_never_repeats_the_request() {
    let cloud = Cloud::generate(common::REGION);
    let server = server(&cloud).await;
    for body in [
        "\"c2VjcmV0\"",
        "{\"document\":[\"c2VjcmV0\"]}",
        "{\"signature\":\"c2VjcmV0\",\"document\":\"c2VjcmV0\"}",
    ] {
        let answer = server.post(body).await;
        assert!(!String::from_utf8_lossy(&answer.body).contains("c2VjcmV0"), "{body}");
    }
}

#[tokio::test]
async fn required_fields_are_listed_one_by_one() {
    let cloud = Cloud::generate(common::REGION);
    let server = server(&cloud).await;
    for (body, missing) in [
        (json!({}), &["signature", "document"][..]),
        (json!({"document": "", "signature": ""}), &["signature", "document"]),
        (json!({"document": null, "signature": "x"}), &["document"]),
        (json!({"document": "x", "agent_name": "main"}), &["signature"]),
        (json!({"Document": "x", "signature": "x"}), &["document"]),
    ] {
        let answer = server.post(body.to_string()).await;
        assert_eq!(status_and_message(&answer), (400, "Validation failed.".to_owned()), "{body}");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let validations = body["validations"].as_array().unwrap();
        let fields: Vec<_> = validations.iter().map(|v| v["field"].as_str().unwrap()).collect();
        assert_eq!(fields, missing);
    }
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    let cloud = Cloud::generate(common::REGION);
    let server = server(&cloud).await;
    let mut body = proof(&cloud, INSTANCE, None);
    body["more"] = json!({"of": ["this"]});
    assert_eq!(status_and_message(&server.post(body.to_string()).await).0, 404);
}

#[tokio::test]
async fn proofs_that_do_not_hold() {
    let cloud = Cloud::generate(common::REGION);
    let stranger = Cloud::generate(common::REGION);
    let elsewhere = Cloud::generate("test-region-2");
    let mut keys = aws::Keys::builtin();
    for cloud in [&cloud, &elsewhere] {
        keys.add_pem(cloud.region(), cloud.public_key_pem().as_bytes()).unwrap();
    }
    let setup = Setup::with(Identity::builtin().aws(aws::Verifier::new(keys, Policy::default())));
    let server = setup.start(MemoryStore::default()).await;

    let document =
        |region, id| Document::new(id, region, common::ACCOUNT, "2026-11-20T00:00:00Z").to_json();
    let ours = document(common::REGION, INSTANCE);
    let other = document(common::REGION, "i-0ffffffffffffffff");
    let altered = |field: &str, value: Value| {
        let mut body = signed(&cloud, &ours, None);
        body[field] = value;
        body
    };
    let twice = ours.replacen("\"instanceId\"", "\"instanceId\":\"i-00000000\",\"instanceId\"", 1);
    let bomb = format!("{}{}", "[".repeat(1_700), "]".repeat(1_700));
    let cut_off = ours.trim_end_matches('}');
    let nested = format!(r#"{{"region":"elsewhere","tags":{{"region":"{}"}}}}"#, common::REGION);
    let deep = ours.replacen('{', &format!("{{\"region\":{bomb},"), 1);
    for (what, body, reason) in [
        ("an untrusted key", signed(&stranger, &ours, None), "bad_signature"),
        ("another region's key", signed(&elsewhere, &ours, None), "bad_signature"),
        ("a signature over another document", altered("document", other.into()), "bad_signature"),
        ("an empty document's worth", altered("document", "{}".into()), "bad_signature"),
        (
            "a control byte more",
            altered("document", format!("{ours}\u{1}").into()),
            "bad_signature",
        ),
        ("no base64", altered("signature", "%%%".into()), "malformed_proof"),
        ("base64 of nothing much", altered("signature", "AAAA".into()), "bad_signature"),
        ("a large document", altered("document", " ".repeat(20_000).into()), "oversized_proof"),
        ("a large signature", altered("signature", "A".repeat(20_000).into()), "oversized_proof"),
        ("signed, but not JSON", signed(&cloud, "x", None), "bad_signature"),
        ("signed, but cut off", signed(&cloud, cut_off, None), "malformed_proof"),
        ("signed, but empty JSON", signed(&cloud, "{}", None), "bad_signature"),
        ("signed, with a region inside", signed(&cloud, &nested, None), "region_mismatch"),
        ("signed, with the id twice", signed(&cloud, &twice, None), "malformed_proof"),
        ("signed, with a nested bomb", signed(&cloud, &deep, None), "malformed_proof"),
    ] {
        let answer = server.post(body.to_string()).await;
        assert_eq!(
            status_and_message(&answer),
            (401, "Invalid AWS identity.".to_owned()),
            "{what}"
        );
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["detail"], reason, "{what}");
    }
}

#[tokio::test]
async fn ids_that_no_instance_has_are_not_found() {
    let cloud = Cloud::generate(common::REGION);
    let server = server(&cloud).await;
    for (id, quoted) in [
        ("", r#""""#),
        ("i-\"x\"\\", r#""i-\"x\"\\""#),
        ("i-0123abcd\n\u{1}\u{7f}", r#""i-0123abcd\n\x01\x7f""#),
        ("I-0123ABCD", r#""I-0123ABCD""#),
        (INSTANCE, &format!("\"{INSTANCE}\"")),
    ] {
        let answer = server.sign_in(&cloud, id, None).await;
        assert_eq!(
            status_and_message(&answer),
            (404, format!("Instance with id {quoted} not found."))
        );
    }
}

#[tokio::test]
async fn only_json_is_accepted() {
    let cloud = Cloud::generate(common::REGION);
    let server = server(&cloud).await;
    for (content_type, status) in [
        ("Content-Type: application/json\r\n", 400),
        ("Content-Type: application/json; charset=utf-8\r\n", 400),
        ("", 400),
        ("Content-Type: text/plain\r\n", 415),
        ("Content-Type: application/x-www-form-urlencoded\r\n", 415),
        ("Content-Type: multipart/form-data; boundary=x\r\n", 415),
    ] {
        refusal(&raw(&server, &post(content_type, "{}")).await, status);
    }
}

#[tokio::test]
async fn large_bodies_are_rejected() {
    let cloud = Cloud::generate(common::REGION);
    let server = server(&cloud).await;
    let limit = Limits::default().body;
    let fits = format!("{{\"x\":\"{}\"}}", "x".repeat(limit - 8));
    assert_eq!(fits.len(), limit);
    refusal(&raw(&server, &post("", &fits)).await, 400);
    let message = "The request body is too large.";
    let declared =
        format!("POST {SIGN_IN} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", limit + 1);
    assert_eq!(refusal(&raw(&server, declared.as_bytes()).await, 413)["message"], message);

    let chunk = format!("{:x}\r\n{}\r\n", 4096, "x".repeat(4096));
    let chunked = format!(
        "POST {SIGN_IN} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        chunk.repeat(limit / 4096 + 1)
    );
    assert_eq!(refusal(&raw(&server, chunked.as_bytes()).await, 413)["message"], message);
}

#[tokio::test]
async fn slow_bodies_time_out() {
    let cloud = Cloud::generate(common::REGION);
    let limits = Limits { request: Duration::from_millis(300), ..Limits::default() };
    let server = Setup::trusting(&cloud).limits(limits).start(MemoryStore::default()).await;
    let slow = format!("POST {SIGN_IN} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{");
    let body = refusal(&raw(&server, slow.as_bytes()).await, 408);
    assert_eq!(body["message"], "The request body did not arrive in time.");
}

#[tokio::test]
async fn a_head_that_never_ends_times_out() {
    let cloud = Cloud::generate(common::REGION);
    let brief = Duration::from_millis(300);
    let limits = ServerLimits { head: brief, idle: brief, ..ServerLimits::default() };
    let server = Setup::trusting(&cloud).server(limits).start(MemoryStore::default()).await;
    // Nothing, half an HTTP/2 preface, half a head: hyper may close without an answer.
    for start in ["", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nHost"] {
        raw(&server, start.as_bytes()).await;
    }
}

#[tokio::test]
async fn unknown_routes_and_methods() {
    let cloud = Cloud::generate(common::REGION);
    let server = server(&cloud).await;
    for path in [
        "//",
        "/api/v2",
        &format!("{SIGN_IN}/"),
        "/api/v2/workspaceagents/aws%2dinstance-identity",
        "/HEALTHZ",
        "/healthz/../metrics",
    ] {
        assert_eq!(
            status_and_message(&server.get(path).await),
            (404, "Route not found.".to_owned()),
            "{path}"
        );
    }
    assert_eq!(
        status_and_message(&server.get(SIGN_IN).await),
        (405, "Method not allowed.".to_owned())
    );
    let answer = raw(
        &server,
        format!("PUT {SIGN_IN} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
    )
    .await;
    refusal(&answer, 405);
    assert!(answer.to_lowercase().contains("\r\nallow: post\r\n"), "{answer}");
}
