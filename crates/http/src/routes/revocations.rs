//! What was allowed and may not be any more, for proxies that carry connections

use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::app_tokens::authenticate_proxy;
use crate::apps::{AppService, parameter, parameters};
use crate::context::Context;
use crate::error::{AccessError, Error};
use crate::ports::AppPorts;
use crate::reply::{Response, ResponseBody};
use crate::revocations::{Position, stream};

/// `GET /api/v2/authd/revocations`
///
/// A stream of events for registered proxies.
pub(crate) async fn listen<S: AppPorts>(
    apps: &AppService<S>,
    cx: &Context<'_>,
) -> Result<Response, Error> {
    authenticate_proxy(apps, cx).await?;
    let listener = apps.revocations.listen(position(cx)?).await?;
    let mut response = Response::new(ResponseBody::pieces(stream(listener)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // nginx would collect events before it sends them.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// The position after which the client listens, if it names one
///
/// The header comes first: a browser that connects again sends it with the first URL.
fn position(cx: &Context<'_>) -> Result<Option<Position>, AccessError> {
    let parameters = parameters(cx.query);
    let header = cx.headers().get("last-event-id").map(|id| id.to_str().unwrap_or("?"));
    let named = header.or_else(|| parameter(&parameters, "after")).filter(|id| !id.is_empty());
    let parsed = named.map(str::parse).transpose();
    parsed.map_err(|_| {
        let detail = "It is the `id` of an event, in `Last-Event-ID` or `after`.";
        AccessError::invalid("Invalid position.", detail)
    })
}
