use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use store::Store;

use super::answer;
use crate::error::Failure;
use crate::service::Service;

const TEXT: &str = "text/plain; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The process runs and answers
pub(crate) fn live() -> Response<Full<Bytes>> {
    answer(StatusCode::OK, TEXT, "ok\n")
}

/// The process can do its work: the store answers
pub(crate) async fn ready(store: &impl Store) -> Result<Response<Full<Bytes>>, Failure> {
    store.ping().await.map_err(|error| Failure::NotReady(error.into()))?;
    Ok(answer(StatusCode::OK, TEXT, "ready\n"))
}

pub(crate) fn metrics<S: Store>(app: &Service<S>) -> Response<Full<Bytes>> {
    let identity = app.identity.load_full();
    app.metrics.certificates(identity.expiries(app.now()));
    app.metrics.fetched(identity.fetchers());
    if let Some(apps) = &app.apps {
        app.metrics.audited(apps.recorder.stats());
    }
    match app.metrics.encode() {
        Ok(text) => answer(StatusCode::OK, OPEN_METRICS, text),
        Err(_) => Failure::Panicked.into_response(),
    }
}
