use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::Source;

/// Limits what each source may do in a minute
///
/// A source that has done nothing for a minute may do a minute's worth at once. After that it may
/// go on as its allowance comes back, evenly. What a thing costs is chosen when it is done.
///
/// At most 10,000 sources are remembered. While there are more, those that are not remembered are
/// not limited: refusing them would let many sources lock out all others.
#[derive(Debug)]
pub struct Allowance {
    per_minute: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When each source will have its whole allowance again
    whole_at: HashMap<Source, Instant>,
    swept: Option<Instant>,
}

impl Allowance {
    /// An allowance of so much a minute for each source; nothing is allowed if it is 0
    #[must_use]
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, state: Mutex::new(State { whole_at: HashMap::new(), swept: None }) }
    }

    /// Whether a source has anything left
    ///
    /// # Errors
    ///
    /// Returns how long it takes until it has.
    pub fn check(&self, source: Source, now: Instant) -> Result<(), Duration> {
        let Some(each) = self.price(1) else { return Err(MINUTE) };
        let state = self.state();
        let Some(whole_at) = state.whole_at.get(&source) else { return Ok(()) };
        missing(*whole_at, each, now)
    }

    /// Takes a cost from what a source has left, which may then be less than nothing
    pub fn spend(&self, source: Source, cost: u32, now: Instant) {
        let Some(price) = self.price(cost) else { return };
        let mut state = self.state();
        state.make_room_for(source, now);
        if state.has_room_for(source) {
            let whole_at = state.whole_at.entry(source).or_insert(now);
            // No source is in debt for longer than it takes to have its whole allowance twice.
            *whole_at = ((*whole_at).max(now) + price).min(now + 2 * MINUTE);
        }
    }

    /// Takes one from what a source has left, if it has one left; returns whether it had
    pub fn take(&self, source: Source, now: Instant) -> bool {
        let has_one = self.check(source, now).is_ok();
        if has_one {
            self.spend(source, 1, now);
        }
        has_one
    }

    /// How long it takes until a cost is restored; `None` if nothing ever is
    fn price(&self, cost: u32) -> Option<Duration> {
        MINUTE.checked_div(self.per_minute).map(|each| each * cost)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room_for(&self, source: Source) -> bool {
        self.whole_at.len() < MAX_SOURCES || self.whole_at.contains_key(&source)
    }

    /// Forgets sources that have their whole allowance, if another does not fit
    fn make_room_for(&mut self, source: Source, now: Instant) {
        let is_due = self.swept.is_none_or(|swept| now >= swept + SWEEP);
        if is_due && !self.has_room_for(source) {
            self.swept = Some(now);
            self.whole_at.retain(|_, whole_at| *whole_at > now);
        }
    }
}

/// How long a source must wait for the price of one thing
fn missing(whole_at: Instant, each: Duration, now: Instant) -> Result<(), Duration> {
    let missing = (whole_at + each).saturating_duration_since(now + MINUTE);
    if missing.is_zero() { Ok(()) } else { Err(missing) }
}

const MINUTE: Duration = Duration::from_secs(60);
const SWEEP: Duration = Duration::from_secs(1);
const MAX_SOURCES: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn source(n: u32) -> Source {
        Source::of(Ipv4Addr::from(n).into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_minutes_worth_is_there_at_once_and_comes_back_evenly() {
        let allowance = Allowance::new(6);
        let start = Instant::now();
        let take = |seconds| allowance.take(source(1), start + Duration::from_secs(seconds));
        for expected in [true, true, true, true, true, true, false, false] {
            assert_eq!(take(0), expected);
        }
        let wait = allowance.check(source(1), start + Duration::from_secs(4));
        assert_eq!(wait, Err(Duration::from_secs(6)));
        assert!(!take(9));
        assert!(take(10));
        assert!(!take(10));
        assert!(allowance.take(source(2), start), "another source has its own");
    }

    #[tokio::test(start_paused = true)]
    async fn what_costs_more_than_is_left_is_paid_later() {
        let allowance = Allowance::new(60);
        let start = Instant::now();
        allowance.spend(source(1), 59, start);
        assert_eq!(allowance.check(source(1), start), Ok(()));
        allowance.spend(source(1), 10, start);
        assert_eq!(allowance.check(source(1), start), Err(Duration::from_secs(10)));
        allowance.spend(source(1), u32::MAX, start);
        let wait = allowance.check(source(1), start).unwrap_err();
        assert!(wait <= 2 * MINUTE, "{wait:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_allowed_at_zero() {
        assert!(!Allowance::new(0).take(source(1), Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn many_sources_neither_take_more_memory_nor_lock_out_others() {
        let allowance = Allowance::new(1);
        let now = Instant::now();
        for n in 0..50_000 {
            assert!(allowance.take(source(n), now));
        }
        assert_eq!(allowance.state().whole_at.len(), MAX_SOURCES);
        assert!(!allowance.take(source(1), now), "those that are remembered stay limited");
        let later = now + MINUTE;
        assert!(allowance.take(source(60_000), later));
        assert_eq!(allowance.state().whole_at.len(), 1, "what is whole again is forgotten");
    }
}
