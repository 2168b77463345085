use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::failure::{Failure, FailureKind};

/// How long to pause between attempts
///
/// Each pause is a random part, between half and all, of a time that doubles from
/// [`first`](Self::first) to [`longest`](Self::longest), so that machines that boot together do
/// not retry together.
#[derive(Clone)]
pub struct Backoff {
    /// The time after the first failure
    pub first: Duration,
    /// The longest pause, unless the service asks for a longer one
    pub longest: Duration,
    /// Returns a random number from 0 up to 1
    pub jitter: Arc<dyn Fn() -> f64 + Send + Sync>,
}

impl Backoff {
    /// Pauses from a quarter of a second to ten seconds
    ///
    /// A metadata service that is not up yet is up within seconds, and so is a control plane
    /// that restarts.
    #[must_use]
    pub fn new(jitter: Arc<dyn Fn() -> f64 + Send + Sync>) -> Self {
        Self { first: Duration::from_millis(250), longest: Duration::from_secs(10), jitter }
    }

    /// The pause after the failure with this number, counted from 0
    ///
    /// It is never shorter than the pause that the service asked for (`Retry-After`), and up to
    /// a quarter longer, because the service asks all machines for the same pause.
    pub(crate) fn pause(&self, failures: u32, failure: &Failure) -> Duration {
        let jitter = (self.jitter)().clamp(0.0, 1.0);
        let doubled = self.first.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
        let own = doubled.min(self.longest).mul_f64(0.5 + jitter / 2.0);
        match failure.kind {
            FailureKind::Transient { retry_after: Some(asked) } => {
                own.max(asked.saturating_add(asked.mul_f64(jitter / 4.0)))
            }
            _ => own,
        }
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, longest, jitter: _ } = self;
        f.debug_struct("Backoff")
            .field("first", first)
            .field("longest", longest)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(jitter: f64) -> Backoff {
        Backoff {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(1),
            jitter: Arc::new(move || jitter),
        }
    }

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let failure = Failure::transient("busy");
        let millis = |jitter, failures| backoff(jitter).pause(failures, &failure).as_millis();
        assert_eq!([0, 1, 2, 3, 4, 99].map(|n| millis(1.0, n)), [100, 200, 400, 800, 1000, 1000]);
        assert_eq!([0, 1, 2, 3, 4, 99].map(|n| millis(0.0, n)), [50, 100, 200, 400, 500, 500]);
    }

    #[test]
    fn a_pause_is_never_shorter_than_the_service_asks_for() {
        let asked = Some(Duration::from_secs(20));
        let failure = Failure::transient("busy").retry_after(asked);
        assert_eq!(backoff(0.0).pause(0, &failure), Duration::from_secs(20));
        assert_eq!(backoff(1.0).pause(0, &failure), Duration::from_secs(25));
        let soon = Failure::transient("busy").retry_after(Some(Duration::ZERO));
        assert_eq!(backoff(1.0).pause(1, &soon), Duration::from_millis(200));
    }
}
