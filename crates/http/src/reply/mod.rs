//! Answers: JSON, pages, redirects and descriptions of problems
//!
//! All modules that answer build their answers from these values. Of the other modules it uses only
//! `request_facts`.

mod branding;
mod complete;
mod home;
mod page;
mod preflight;
mod problem;
#[expect(clippy::module_inception, reason = "the type that the module is named after")]
mod reply;
mod response_body;
mod sign_in;
mod view;
mod words;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, StatusCode};
use serde::Serialize;

pub use self::branding::{Branding, BrandingError, Contact, DeploymentName, Logo};
pub(crate) use self::complete::{NO_STORE, complete};
pub(crate) use self::home::{AppList, HomePage, ListRow, ShownList, State};
pub(crate) use self::page::PageLink;
pub(crate) use self::preflight::{Preflight, single};
pub(crate) use self::problem::{Invalid, Problem};
pub(crate) use self::reply::{Reply, encoded};
pub use self::response_body::ResponseBody;
pub(crate) use self::sign_in::SignInPage;
pub(crate) use self::view::{Escaped, Layout, Nav, Style, View};

/// An answer of this crate
pub(crate) type Response = http::Response<ResponseBody>;

/// Answers with JSON
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // Room for most answers, a signed token among them, in one allocation; allocators are slower
    // beyond a thousand bytes.
    let mut bytes = Vec::with_capacity(1000);
    match serde_json::to_writer(&mut bytes, body) {
        Ok(()) => content(status, "application/json; charset=utf-8", bytes),
        // Only a map whose keys are not strings fails, and no answer contains one.
        Err(_) => content(StatusCode::INTERNAL_SERVER_ERROR, "application/json", "{}"),
    }
}

/// Answers with content of any type
pub(crate) fn content(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response {
    let mut response = Response::new(ResponseBody::from(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Answers with a status and one header, without content
pub(crate) fn empty(status: StatusCode, name: HeaderName, value: HeaderValue) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response.headers_mut().insert(name, value);
    response
}

/// The challenge of an answer with status 401 (RFC 6750, section 3)
pub(crate) const CHALLENGE: HeaderValue =
    HeaderValue::from_static("Bearer realm=\"coder\", error=\"invalid_token\"");

/// The seconds after which a client may repeat a request that was answered with status 503
pub(crate) const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");
