use std::time::Duration;

use crate::body::Bounds;

/// Limits of one request and of all requests together
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in a request's body
    pub body: usize,
    /// Time from a request's head to its answer
    pub request: Duration,
    /// Requests of each kind that are answered at the same time: sign-ins, visits, and at most 16
    /// of administration
    pub requests_in_flight: usize,
    /// How long a request may wait for its turn; one that would probably wait longer is refused
    pub longest_wait: Duration,
    /// How many proofs of one source may fail in a minute before its sign-ins are refused
    pub failed_proofs_per_minute: u32,
    /// How many tokens of one source may be wrong in a minute before its requests to sign in at
    /// `/login` are refused
    pub failed_log_ins_per_minute: u32,
    /// How many lines a minute the log has about requests of one source that is not signed in; the
    /// others are counted
    pub log_lines_per_minute: u32,
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
        Self {
            body: 64 * 1024,
            request: Duration::from_secs(10),
            requests_in_flight: 1024,
            longest_wait: Duration::from_secs(5),
            // Less than a hundredth of a processor, and more than thousands of machines behind one
            // address send if none of them is let in.
            failed_proofs_per_minute: 3000,
            failed_log_ins_per_minute: 60,
            log_lines_per_minute: 600,
        }
    }
}
