//! What every answer has, and what every answered request leaves behind

use std::time::SystemTime;

use http::Response;
use http::header::{CACHE_CONTROL, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http_body::Body as HttpBody;

use super::Service;
use crate::reply::{Layout, Response as Answer, ResponseBody};
use crate::request_facts::{RequestFacts, RequestId, X_REQUEST_ID, log_request};
use crate::request_span::RequestSpan;

impl<S> Service<S> {
    /// Completes an answer, and counts and logs its request
    pub(crate) fn finish(
        &self,
        mut response: Answer,
        facts: &RequestFacts,
        is_probe: bool,
        now: SystemTime,
    ) -> Response<ResponseBody> {
        complete(&mut response, &self.layout, facts.id, now);
        self.note_answered(response.status().as_u16(), facts, is_probe, now);
        response
    }

    /// Counts and logs a request that was answered with `status`, or may continue with 200
    pub(crate) fn note_answered(
        &self,
        status: u16,
        facts: &RequestFacts,
        is_probe: bool,
        now: SystemTime,
    ) {
        self.metrics.request_answered(facts.route, status, facts.started.elapsed());
        log_request!(debug, facts, status, "request answered");
        if let Some(observer) = self.spans.as_ref().filter(|_| !is_probe) {
            observer(RequestSpan::new(facts, status, now));
        }
    }
}

/// Puts a page into the layout, and adds the headers that every answer has
pub(crate) fn complete(response: &mut Answer, layout: &Layout, id: RequestId, now: SystemTime) {
    // An answer that was decided under another id keeps that one, which is in the log.
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
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

pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
