use std::time::Duration;

use tokio::time::Instant;

/// Counts of fetches, and when the next may begin
///
/// Measured with the monotonic clock, since intervals between requests do not depend on the date.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempts {
    begun: u64,
    ended: u64,
    failures: u64,
    failures_in_a_row: u32,
    /// When the last fetch began
    last: Option<Instant>,
    /// When to refresh the set, or to repeat a failed fetch
    due: Option<Instant>,
}

/// Why a fetch is needed
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// The current set cannot answer
    Answer,
    /// The current set answers, but has to be refreshed soon
    Refresh,
}

impl Attempts {
    /// Begins a fetch unless one is under way or it is too early; returns whether it did
    pub(super) fn begin(&mut self, need: Need, now: Instant) -> bool {
        let is_due = self.due.is_none_or(|due| now >= due);
        let is_a_while_ago = self.last.is_none_or(|last| now >= last + INTERVAL);
        let begins = self.under_way().is_none()
            && match need {
                Need::Answer => is_due || is_a_while_ago,
                Need::Refresh => is_due,
            };
        if begins {
            self.begun += 1;
            self.last = Some(now);
        }
        begins
    }

    /// Ends the fetch under way, which returned a set to be refreshed after `refresh_in`
    pub(super) fn succeed(&mut self, refresh_in: Duration, now: Instant) {
        self.ended = self.begun;
        self.failures_in_a_row = 0;
        self.due = Some(now + refresh_in);
    }

    /// Ends the fetch under way, which failed
    pub(super) fn fail(&mut self, now: Instant) {
        self.ended = self.begun;
        self.failures += 1;
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        // If the set was not due, and was fetched for an unknown key, it is due as before.
        self.due = self.due.max(Some(now + back_off(self.failures_in_a_row)));
    }

    /// The number of the fetch under way, if there is one
    pub(super) fn under_way(&self) -> Option<u64> {
        (self.begun > self.ended).then_some(self.begun)
    }

    /// How many fetches have ended
    pub(super) const fn ended(&self) -> u64 {
        self.ended
    }

    /// How many fetches have failed
    pub(super) const fn failures(&self) -> u64 {
        self.failures
    }

    /// When the next fetch is due; `None` before the first one
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }
}

/// How long to wait after that many failures in a row: 5, 10, 20 seconds and so on, up to 5
/// minutes
fn back_off(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    (FIRST_RETRY * 2_u32.pow(doublings)).min(LAST_RETRY)
}

/// The shortest time between a fetch and one that is caused by an unknown key
const INTERVAL: Duration = Duration::from_secs(60);

const FIRST_RETRY: Duration = Duration::from_secs(5);
const LAST_RETRY: Duration = Duration::from_secs(5 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_become_rarer() {
        let seconds: Vec<_> = (1..=9).map(|n| back_off(n).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(back_off(u32::MAX), LAST_RETRY);
    }
}
