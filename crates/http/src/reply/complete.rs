use std::time::SystemTime;

use http::header::{CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http_body::Body;

use super::{Layout, Response};
use crate::request_facts::{RequestId, X_REQUEST_ID};

/// Puts a page into the layout, and adds the headers that every answer has
pub(crate) fn complete(response: &mut Response, layout: &Layout, id: RequestId, now: SystemTime) {
    // An answer that was decided under another id keeps that one, which is in the log.
    if let Some(id) = id.to_header() {
        response.headers_mut().entry(X_REQUEST_ID).or_insert(id);
    }
    layout.render(response, now);
    let has_content = !response.body().is_end_stream();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, NO_STORE);
    if has_content {
        headers.insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    }
}

pub(crate) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
