use std::time::Duration;

/// Limits on connections, and on the time that a server takes to stop
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// The number of open connections
    pub connections: usize,
    /// How long the head of a request may take to arrive
    pub head: Duration,
    /// How long a connection may stay without a byte in either direction
    pub idle: Duration,
    /// How long requests in progress may take once the server stops
    pub drain: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 8192,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            drain: Duration::from_secs(20),
        }
    }
}
