use std::time::{Duration, SystemTime};

/// Counts of the program that a service is part of, which metrics include
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostCounts {
    /// Lines that the log has dropped since the start
    pub log_lines_dropped: u64,
    /// Connections that are open now
    pub connections: usize,
    /// Connections that were closed to make room for others, since the start
    pub connections_replaced: u64,
    /// Connections that were refused, since there was no room
    pub connections_refused: u64,
    /// Connections whose clients were too slow
    pub connections_overdue: u64,
    /// Bytes of answers that wait for their clients now
    pub waiting_answers: usize,
    /// When the certificate of the server expires, if it speaks TLS
    pub tls_expires: Option<SystemTime>,
    /// Handshakes of TLS that have failed since the start
    pub tls_failed_handshakes: u64,
    /// The process; `None` if the host does not know
    pub process: Option<ProcessFacts>,
}

/// What the operating system says about the process
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Processor time since the start, in user and in system mode
    pub cpu: Duration,
    /// Open file descriptors
    pub open_files: u64,
    /// File descriptors that may be open at most
    pub max_files: u64,
    /// Threads
    pub threads: u64,
    /// The size of the address space, in bytes
    pub virtual_memory: u64,
    /// Memory in use, in bytes
    pub resident_memory: u64,
    /// When the process started, since the epoch
    pub started: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Exposition, Metrics};

    #[test]
    fn each_count_of_the_host_has_its_metric() {
        let metrics = Metrics::new();
        metrics.host(HostCounts {
            log_lines_dropped: 1,
            connections: 2,
            connections_replaced: 3,
            connections_refused: 4,
            connections_overdue: 5,
            waiting_answers: 6,
            tls_failed_handshakes: 7,
            ..HostCounts::default()
        });
        let text = metrics.encode(Exposition::Text).unwrap();
        for line in [
            "authd_log_lines_dropped_total 1\n",
            "authd_connections 2\n",
            "authd_connections_ended_total{reason=\"replaced\"} 3\n",
            "authd_connections_ended_total{reason=\"refused\"} 4\n",
            "authd_connections_ended_total{reason=\"overdue\"} 5\n",
            "authd_answers_waiting_bytes 6\n",
            "authd_tls_handshakes_failed_total 7\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
