use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::request_facts::RequestFacts;

/// A request that was answered, as the span of a trace
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestSpan {
    /// The trace that a trusted proxy named, or a trace of its own, whose id is that of the request
    pub trace_id: u128,
    /// The span of the trusted proxy
    pub parent: Option<ParentSpan>,
    /// The id of the request, as its client received it
    pub request_id: String,
    /// The name of the route
    pub route: &'static str,
    /// The client's method, or `other`
    pub method: &'static str,
    /// The status of the answer
    pub status: u16,
    /// The client's address, if it is known
    pub client: Option<IpAddr>,
    /// When the request arrived
    pub started: SystemTime,
    /// The time until the answer was ready
    pub duration: Duration,
}

/// The span that a request is part of
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParentSpan {
    /// The id of the span
    pub id: u64,
    /// Whether the caller may have recorded the span
    pub is_sampled: bool,
}

/// What is called with every answered request
pub(crate) type SpanObserver = Arc<dyn Fn(RequestSpan) + Send + Sync>;

impl RequestSpan {
    pub(crate) fn new(facts: &RequestFacts, status: u16, started: SystemTime) -> Self {
        let parent = facts
            .parent
            .map(|parent| ParentSpan { id: parent.span, is_sampled: parent.is_sampled() });
        Self {
            trace_id: facts.parent.map_or_else(|| facts.id.uuid().as_u128(), |parent| parent.trace),
            parent,
            request_id: facts.id.to_string(),
            route: facts.route,
            method: facts.method,
            status,
            client: facts.client,
            started,
            duration: facts.started.elapsed(),
        }
    }
}
