//! What every answer has, and what every answered request leaves behind

use std::time::SystemTime;

use http::Response;

use super::Service;
use crate::reply::{Response as Answer, ResponseBody, complete};
use crate::request_facts::{RequestFacts, log_request};
use crate::request_span::RequestSpan;

impl Service {
    /// Completes an answer, and counts and logs its request
    pub(super) fn finish(
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
    pub(super) fn note_answered(
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
