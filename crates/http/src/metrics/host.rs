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
