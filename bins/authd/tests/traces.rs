//! The spans that a server exports, with the feature `otlp`

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::HeaderName;
use serde_json::Value;
use testkit::net::{Client, Collector, free_address};
use tokio::process::Command;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const ID: &str = "0190a8c352d07c1e8a460b6dd5f6a1b2";

#[tokio::test]
async fn a_request_is_part_of_the_trace_of_a_trusted_proxy() {
    let collector = Collector::start().await;
    let address = free_address();
    let mut process = Command::new(env!("CARGO_BIN_EXE_authd"))
        .args(["serve", "--store", "memory", "--listen", &address.to_string()])
        .args(["--access-url", "https://coder.example.com"])
        .args(["--proxy-trusted-origins", "127.0.0.1"])
        .args(["--proxy-trusted-headers", "x-forwarded-for"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .env("OTEL_SERVICE_NAME", "edge")
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let client = Client::new();
    let url = |path: &str| format!("http://{address}{path}");
    while client.get(&url("/healthz")).await.is_err() {
        assert_eq!(process.try_wait().unwrap(), None, "the server has ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let headers =
        [("traceparent", PARENT), ("x-request-id", ID), ("x-forwarded-for", "203.0.113.7")];
    let headers = headers.map(|(name, value)| (HeaderName::from_static(name), value));
    let answer = client.send(Method::GET, &url("/login"), &headers, Bytes::new()).await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["x-request-id"]),
        (200, &ID.parse().unwrap())
    );

    client.get(&url("/readyz")).await.unwrap();
    client.get(&url("/nowhere")).await.unwrap();
    let is_log_in = |span: &&Value| span["name"] == "GET login";
    let spans = collector.wait(|spans| spans.len() > 1).await;
    let names = spans.iter().map(|span| span["name"].as_str().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["GET login", "GET unmatched"]);
    let span = spans.iter().find(is_log_in).unwrap();
    assert_eq!(span["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(span["parentSpanId"], "00f067aa0ba902b7");
    let attributes = span["attributes"].to_string();
    assert!(attributes.contains(ID) && attributes.contains("203.0.113.7"), "{attributes}");
    let service = collector.received()[0].body["resourceSpans"][0]["resource"].to_string();
    assert!(service.contains("edge"), "{service}");
    process.kill().await.unwrap();
}
