pub(crate) mod app_tokens;
pub(crate) mod applications;
pub(crate) mod audit;
pub(crate) mod crypto_keys;
pub(crate) mod forward_auth;
pub(crate) mod health;
pub(crate) mod home;
pub(crate) mod import;
pub(crate) mod instance_identity;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod visit;

mod body;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Serialize;

pub(crate) use self::body::Bounds;

/// A JSON answer
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    // Room for most answers, a signed token among them, at once; allocators are slower at
    // anything beyond a thousand bytes.
    let mut bytes = Vec::with_capacity(1000);
    match serde_json::to_writer(&mut bytes, body) {
        Ok(()) => answer(status, "application/json; charset=utf-8", bytes),
        // Nothing we send has a map with keys that are no strings.
        Err(_) => answer(StatusCode::INTERNAL_SERVER_ERROR, "application/json", "{}"),
    }
}

fn answer(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
