use std::time::Duration;

use crate::body::Bounds;

/// Limits of one request and of all requests together
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in a request's body
    pub body: usize,
    /// Time from a request's head to its answer
    pub request: Duration,
    /// Requests that are answered at the same time
    pub requests_in_flight: usize,
}

impl Limits {
    /// The limits of a body
    ///
    /// They end before the request's own time does, so that a slow client is distinguished from
    /// a slow server.
    pub(crate) fn body_bounds(&self) -> Bounds {
        Bounds { size: self.body, timeout: self.request.mul_f32(0.9) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { body: 64 * 1024, request: Duration::from_secs(10), requests_in_flight: 1024 }
    }
}
