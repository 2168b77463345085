use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{fmt, io};

use serde::{Serialize, Serializer};

/// How an attempt ended
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// An answer with this status
    Status(u16),
    /// An answer with 200 and the session token of another agent
    WrongToken,
    /// No answer in time
    TimedOut,
    /// The connection was refused
    Refused,
    /// The connection was reset
    Reset,
    /// The connection was closed before an answer was complete
    Closed,
    /// The HTTP/2 connection ended with GOAWAY
    GoAway,
    /// The HTTP/2 stream was reset
    StreamReset,
    /// What was received is not HTTP
    Malformed,
    /// Another error of the system
    Other(io::ErrorKind),
}

impl Outcome {
    pub(crate) fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::UnexpectedEof => Self::Closed,
            io::ErrorKind::TimedOut => Self::TimedOut,
            kind => Self::Other(kind),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::WrongToken => f.write_str("wrong token"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Refused => f.write_str("refused"),
            Self::Reset => f.write_str("reset"),
            Self::Closed => f.write_str("closed"),
            Self::GoAway => f.write_str("GOAWAY"),
            Self::StreamReset => f.write_str("stream reset"),
            Self::Malformed => f.write_str("malformed answer"),
            Self::Other(kind) => write!(f, "{kind}"),
        }
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How often each outcome occurred
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Outcomes(BTreeMap<Outcome, u64>);

impl Outcomes {
    pub(crate) fn add(&mut self, outcome: Outcome) {
        *self.0.entry(outcome).or_default() += 1;
    }

    /// How often `outcome` occurred
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0.get(&outcome).copied().unwrap_or(0)
    }

    /// How often any outcome occurred
    #[must_use]
    pub fn all(&self) -> u64 {
        self.0.values().sum()
    }

    /// How often a status of at least `from` and below `to` was answered
    #[must_use]
    pub fn statuses(&self, from: u16, to: u16) -> u64 {
        self.0.range(Outcome::Status(from)..Outcome::Status(to)).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no answers");
        }
        for (n, (outcome, count)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{count} × {outcome}")?;
        }
        Ok(())
    }
}

/// Counts that several tasks add to
#[derive(Debug, Default)]
pub(crate) struct Tally {
    outcomes: Mutex<Outcomes>,
    open: AtomicUsize,
}

impl Tally {
    pub(crate) fn add(&self, outcome: Outcome) {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).add(outcome);
    }

    pub(crate) fn outcomes(&self) -> Outcomes {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of connections that are open now
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Counts a connection as open until the value is dropped
    pub(crate) fn connected(&self) -> Open<'_> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(&self.open)
    }
}

#[derive(Debug)]
pub(crate) struct Open<'a>(&'a AtomicUsize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Quantiles of times, in milliseconds
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Quantiles {
    /// The median
    pub p50: f64,
    /// The time that 95 % stay below
    pub p95: f64,
    /// The time that 99 % stay below
    pub p99: f64,
    /// The longest time
    pub max: f64,
}

impl Quantiles {
    pub(crate) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100);
            times.get(rank.saturating_sub(1)).map_or(0.0, |time| milliseconds(*time))
        };
        Self { p50: at(50), p95: at(95), p99: at(99), max: at(100) }
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p95, p99, max } = self;
        write!(f, "p50 {p50:.1}, p95 {p95:.1}, p99 {p99:.1}, max {max:.1} ms")
    }
}

/// With two decimals
pub(crate) fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_occurred() {
        let times = |count: u64| (1..=count).rev().map(Duration::from_millis).collect();
        let of = |count| {
            let Quantiles { p50, p95, p99, max } = Quantiles::of(times(count));
            [p50, p95, p99, max]
        };
        assert_eq!(of(0), [0.0; 4]);
        assert_eq!(of(1), [1.0; 4]);
        assert_eq!(of(4), [2.0, 4.0, 4.0, 4.0]);
        assert_eq!(of(1_000), [500.0, 950.0, 990.0, 1_000.0]);
    }

    #[test]
    fn statuses_are_counted_by_class() {
        let mut outcomes = Outcomes::default();
        for status in [200, 401, 500, 503, 503] {
            outcomes.add(Outcome::Status(status));
        }
        outcomes.add(Outcome::Closed);
        assert_eq!(outcomes.statuses(500, 600), 3);
        assert_eq!(outcomes.of(Outcome::Status(401)), 1);
        assert_eq!(outcomes.all(), 6);
        assert_eq!(outcomes.to_string(), "1 × 200, 1 × 401, 1 × 500, 2 × 503, 1 × closed");
        let json = serde_json::to_string(&outcomes).unwrap();
        assert_eq!(json, r#"{"200":1,"401":1,"500":1,"503":2,"closed":1}"#);
    }
}
