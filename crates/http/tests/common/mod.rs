//! A machine of Google that signs in

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::net::IpAddr;
use std::time::SystemTime;

use authd_http::Service;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use identity_verify::test_util::google::{Claims, Cloud};

pub(crate) const AUDIENCE: &str = "authd.test";

/// The status and the body that a machine of `cloud` gets
pub(crate) async fn sign_in(
    service: &Service,
    cloud: &Cloud,
    now: SystemTime,
) -> (StatusCode, String) {
    let claims = Claims::new("4242", "project", AUDIENCE, now);
    let token = cloud.sign(&claims.to_json());
    let body = Bytes::from(format!(r#"{{"json_web_token":"{token}"}}"#));
    let request = Request::post("/api/v2/workspaceagents/google-instance-identity");
    let request = request.header("content-type", "application/json").body(Full::new(body)).unwrap();
    let answer = service.answer_to(IpAddr::from([192, 0, 2, 1]), request).await;
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}
