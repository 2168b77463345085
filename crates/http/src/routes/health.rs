use std::time::SystemTime;

use http::StatusCode;
use http::header::{HeaderMap, HeaderValue, VARY};

use crate::apps::AppService;
use crate::error::Error;
use crate::metrics::{Exposition, Metrics};
use crate::reply::{Response, content};

const TEXT: &str = "text/plain; charset=utf-8";

/// The process runs and answers
pub(crate) fn live() -> Response {
    content(StatusCode::OK, TEXT, "ok\n")
}

/// The process can do its work: the store answered, and apps have keys if there are apps
pub(crate) fn ready<S>(
    pinged: Result<(), store::Error>,
    apps: Option<&AppService<S>>,
    now: SystemTime,
) -> Result<Response, Error> {
    pinged.map_err(Error::NotReady)?;
    if apps.is_some_and(|apps| !apps.keys.can_sign(now)) {
        return Err(Error::NoKeys);
    }
    Ok(content(StatusCode::OK, TEXT, "ready\n"))
}

/// The metrics, in the format that the client prefers
pub(crate) fn metrics(metrics: &Metrics, headers: &HeaderMap) -> Result<Response, Error> {
    let exposition = Exposition::accepted_by(headers);
    let text = metrics.encode(exposition).map_err(|_| Error::Panicked)?;
    let mut response = content(StatusCode::OK, exposition.content_type(), text);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}
