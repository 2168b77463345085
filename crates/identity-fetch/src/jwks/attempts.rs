use std::time::Duration;

use tokio::time::Instant;

/// How many fetches there were, and when the next may be
///
/// On the clock that nobody sets: intervals between requests of ours are no matter of
/// the date.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attempts {
    begun: u64,
    ended: u64,
    failures: u64,
    failures_in_a_row: u32,
    /// When the last one began
    last: Option<Instant>,
    /// When the set wants to be fetched anew, or a failed fetch to be repeated
    due: Option<Instant>,
}

/// What a fetch is wanted for
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// The set at hand cannot answer
    Answer,
    /// The set at hand answers, but is getting old
    Refresh,
}

impl Attempts {
    /// Begins a fetch, if none is under way and it is not too early for one
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

    /// Ends the fetch under way, which brought a set that wants to be fetched anew so
    /// much later
    pub(super) fn succeed(&mut self, refresh_in: Duration, now: Instant) {
        self.ended = self.begun;
        self.failures_in_a_row = 0;
        self.due = Some(now + refresh_in);
    }

    /// Ends the fetch under way, which brought nothing
    pub(super) fn fail(&mut self, now: Instant) {
        self.ended = self.begun;
        self.failures += 1;
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        // A set that is not due yet, but lacked a key, is due when it was before.
        self.due = self.due.max(Some(now + back_off(self.failures_in_a_row)));
    }

    /// The number of the fetch under way
    pub(super) fn under_way(&self) -> Option<u64> {
        (self.begun > self.ended).then_some(self.begun)
    }

    /// Fetches that are over
    pub(super) const fn ended(&self) -> u64 {
        self.ended
    }

    /// Those of them that brought nothing
    pub(super) const fn failures(&self) -> u64 {
        self.failures
    }

    /// When the next fetch is wanted, once there was one
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }
}

/// How long to wait after so many failures in a row: 5, 10, 20 seconds and so on, up
/// to 5 minutes
fn back_off(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    (FIRST_RETRY * 2_u32.pow(doublings)).min(LAST_RETRY)
}

/// Between a fetch and one that an unknown key may cause
const INTERVAL: Duration = Duration::from_mins(1);

const FIRST_RETRY: Duration = Duration::from_secs(5);
const LAST_RETRY: Duration = Duration::from_mins(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_thin_out() {
        let seconds: Vec<_> = (1..=9).map(|n| back_off(n).as_secs()).collect();
        assert_eq!(seconds, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(back_off(u32::MAX), LAST_RETRY);
    }
}
