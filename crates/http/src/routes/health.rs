use std::time::SystemTime;

use http::StatusCode;
use store::Store;

use crate::apps::AppService;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::reply::{Response, content};

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The process runs and answers
pub(crate) fn live() -> Response {
    content(StatusCode::OK, TEXT, "ok\n")
}

/// The process can do its work: the store answers, and apps have keys if there are apps
pub(crate) async fn ready<S: Store>(
    store: &S,
    apps: Option<&AppService<S>>,
    now: SystemTime,
) -> Result<Response, Error> {
    store.ping().await.map_err(Error::NotReady)?;
    if apps.is_some_and(|apps| !apps.keys.can_sign(now)) {
        return Err(Error::NoKeys);
    }
    Ok(content(StatusCode::OK, TEXT, "ready\n"))
}

pub(crate) fn metrics(metrics: &Metrics) -> Result<Response, Error> {
    let text = metrics.encode().map_err(|_| Error::Panicked)?;
    Ok(content(StatusCode::OK, OPEN_METRICS, text))
}
