use std::time::SystemTime;

use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderValue, VARY};

use crate::apps::Keys;
use crate::error::Error;
use crate::metrics::Exposition;
use crate::port_error::ErasedPortError;
use crate::reply::{Response, content};

const TEXT: &str = "text/plain; charset=utf-8";

/// The process runs and answers
pub(crate) fn live() -> Response {
    content(StatusCode::OK, TEXT, "ok\n")
}

/// The process can do its work: the store answered, and apps have keys if there are apps
pub(crate) fn ready(
    pinged: Result<(), ErasedPortError>,
    keys: Option<&Keys>,
    now: SystemTime,
) -> Result<Response, Error> {
    pinged.map_err(Error::NotReady)?;
    if keys.is_some_and(|keys| !keys.can_sign(now)) {
        return Err(Error::NoKeys);
    }
    Ok(content(StatusCode::OK, TEXT, "ready\n"))
}

/// The metrics, as a text in this format
pub(crate) fn metrics(exposition: Exposition, text: Bytes) -> Response {
    let mut response = content(StatusCode::OK, exposition.content_type(), text);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}
