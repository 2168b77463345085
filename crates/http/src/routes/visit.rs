use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use http_body_util::Full;
use store::Store;
use uuid::Uuid;

use crate::apps::{Apps, Asked, Upstream, VisitRequest, accepts_html, visit};
use crate::error::Refused;

/// An app's own address, asked of authd itself
///
/// All that a visitor is told is told here too. Who may go on cannot: authd decides, and
/// carries nothing.
pub(crate) async fn direct<S: Store>(
    apps: &Arc<Apps<S>>,
    request: &Parts,
    asked: Asked<'_>,
    now: SystemTime,
    request_id: Uuid,
) -> Response<Full<Bytes>> {
    let question = VisitRequest {
        host: asked.host,
        path: request.uri.path(),
        query: request.uri.query().unwrap_or_default(),
        headers: &request.headers,
        client: asked.client,
        now,
        request_id,
        preflight: false,
        upstream: Upstream::Apps,
    };
    let told = match visit(apps, question).await {
        Ok(allowed) => {
            Refused::NoCarrier.told(accepts_html(&request.headers)).with_cookie(allowed.cookie)
        }
        Err(told) => told,
    };
    told.into_response(&apps.config.access_url.to_string())
}
