use std::time::Duration;

/// Limits on connections, and on the time that a server takes to stop
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The number of open connections
    pub connections: usize,
    /// How long the head of a request may take to arrive over HTTP/1.1
    pub head: Duration,
    /// How long a connection may stay open without a request
    pub idle: Duration,
    /// How long an answer may wait without its client taking any of it
    pub answer: Duration,
    /// How many bytes the answers that wait for all clients may have
    ///
    /// Beyond that, requests are answered only on connections on which no answer waits.
    pub waiting_answers: usize,
    /// How long connections are still accepted once the server is to stop
    pub lame_duck: Duration,
    /// How long requests in progress may take after that
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8192,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            answer: Duration::from_secs(20),
            waiting_answers: 32 * 1024 * 1024,
            lame_duck: Duration::ZERO,
            drain: Duration::from_secs(20),
        }
    }
}
