//! The statements that watch grants and find those that do not hold any more

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use app_authz::app::Mask;
use futures_util::future::join;
use store::revocations::{Entry, KEPT as LOG_KEPT, MAX_LOGGED, Slice, WatchedGrant};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{info, warn};
use uuid::Uuid;

use super::Shared;
use super::position::Position;
use super::recent::KEPT;
use crate::error::chain;
use crate::notices::{SOON, pass_on};
use crate::port_error::ErasedPortError;

/// What every listener gets
#[derive(Clone, Debug)]
pub(super) enum Sent {
    Entry(Arc<Entry>),
    /// Something was found that is not sent
    Reset(Position),
}

/// Watches and asks, for as long as the future is polled
pub(super) async fn run(shared: Arc<Shared>) {
    let changed = Notify::new();
    join(shared.ask(&changed), pass_on(|| shared.tables.changed(), &changed)).await;
}

/// What was read so far
#[derive(Default)]
struct Reader {
    /// The moment of the last question
    asked: Option<Position>,
    /// Whether that was the first one, whose answer has nothing of before
    is_new: bool,
    slices: Slices,
    /// The entries that the next question may return once more
    seen: HashMap<Uuid, SystemTime>,
}

/// The pieces in which what is watched is asked about, one after another
///
/// One, unless a question takes long: a statement delays others, and has a time limit. A part of it
/// is compared with what it rested on before, so that every grant is within a second and a half.
struct Slices {
    of: u16,
    next: u16,
    part: u16,
}

impl Default for Slices {
    fn default() -> Self {
        Self { of: 1, next: 0, part: 0 }
    }
}

impl Slices {
    /// The next slice; the whole of it is compared if something has changed
    fn next(&mut self, is_changed: bool) -> Slice {
        self.next = (self.next + 1) % self.of;
        let slice = Slice::new(self.next, self.of);
        if is_changed {
            return slice;
        }
        if self.next == 0 {
            self.part = (self.part + 1) % PARTS;
        }
        slice.comparing(self.part, PARTS)
    }

    /// Makes smaller slices after a question that took long, and larger ones after a quick one
    fn note(&mut self, took: Duration) {
        if took > LONG {
            self.of = (self.of * 2).min(MOST_SLICES);
        } else if took < QUICK {
            self.of = (self.of / 2).max(1);
        }
    }
}

impl Shared {
    /// Asks from time to time, and soon after a change
    async fn ask(&self, changed: &Notify) {
        let (mut reader, mut is_changed) = (Reader::default(), false);
        loop {
            let began = Instant::now();
            let watched = self.watch().await;
            let read = self.read(&mut reader, is_changed).await;
            self.note(watched.and(read));
            // The database works on this a fifth of the time at most.
            let pause = began.elapsed() * 5;
            let next = began + INTERVAL.max(pause);
            is_changed = timeout_at(next, changed.notified()).await.is_ok();
            sleep_until(began + SOON.max(pause)).await;
        }
    }

    /// Watches what was granted since the last time
    async fn watch(&self) -> Result<(), ErasedPortError> {
        let granted =
            std::mem::take(&mut *self.granted.lock().unwrap_or_else(PoisonError::into_inner));
        let grants: Vec<WatchedGrant> = granted.into_iter().collect();
        if grants.is_empty() {
            return Ok(());
        }
        let watched = self.tables.watch_grants(&grants, (self.clock)()).await;
        match watched {
            Ok(()) => self.metrics.grants_watched("watched", grants.len()),
            // They are tried again, before newer ones.
            Err(_) => {
                let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
                granted.extend(grants);
            }
        }
        watched
    }

    /// Asks what has ended, and sends what was not sent before
    async fn read(&self, reader: &mut Reader, is_changed: bool) -> Result<(), ErasedPortError> {
        let overlap = if reader.is_new { KEPT } else { OVERLAP };
        let since = reader.asked.map(|asked| asked.before(overlap));
        let (slice, began) = (reader.slices.next(is_changed), Instant::now());
        let answer = self.tables.revocations(since, slice, (self.clock)()).await;
        reader.slices.note(began.elapsed());
        let mut logged = answer?;
        let asked = Position::at(logged.at);
        let is_late = reader.asked.is_some_and(|before| before.after(LOG_KEPT - OVERLAP) < asked);
        if is_late || logged.entries.len() >= MAX_LOGGED {
            self.recent.add(&Mask::default(), Instant::now());
            // Without receivers this fails, and nothing is lost.
            let _ = self.sent.send(Sent::Reset(asked));
        }
        logged.entries.sort_by_key(|entry| (entry.at, entry.id));
        for entry in logged.entries {
            if reader.seen.insert(entry.id, entry.at).is_none() {
                self.metrics.revoked(entry.revocation.reason.as_str());
                self.recent.add(&entry.revocation.mask, Instant::now());
                let _ = self.sent.send(Sent::Entry(Arc::new(entry)));
            }
        }
        let forgotten = asked.before(KEPT + OVERLAP);
        reader.seen.retain(|_, at| *at >= forgotten);
        reader.is_new = reader.asked.is_none();
        reader.asked = Some(asked);
        self.read.send_replace(Some(asked));
        Ok(())
    }

    fn note(&self, outcome: Result<(), ErasedPortError>) {
        let was_failing = self.set_failing(outcome.is_err());
        self.metrics.revocations_asked(if outcome.is_ok() { "ok" } else { "failed" });
        match outcome {
            Err(error) if !was_failing => warn!(
                error = chain(&error),
                "it is not known what has ended: open connections stay open"
            ),
            Ok(()) if was_failing => info!("it is known again what has ended"),
            _ => {}
        }
    }
}

/// How long after an entry was stamped its transaction may end
///
/// The log is read from so much before the last question, and entries that were sent are left out.
pub(super) const OVERLAP: Duration = Duration::from_secs(10);

/// A question that takes longer is asked in more pieces, and one that takes less than a quarter in fewer
const LONG: Duration = Duration::from_millis(200);
const QUICK: Duration = Duration::from_millis(50);

const MOST_SLICES: u16 = 256;

/// In how many questions each grant of a slice is compared once
const PARTS: u16 = 3;

/// From one question to the next, unless they take long
const INTERVAL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_question_that_takes_long_is_asked_in_pieces_until_it_does_not() {
        let mut slices = Slices::default();
        let round = |slices: &mut Slices, of| {
            let asked: HashSet<_> = (0..of * PARTS).map(|_| slices.next(false)).collect();
            let all = (0..of).flat_map(|number| {
                (0..PARTS).map(move |part| Slice::new(number, of).comparing(part, PARTS))
            });
            assert_eq!(asked, all.collect(), "{of}");
        };
        round(&mut slices, 1);
        assert_eq!(slices.next(true), Slice::ALL, "compared whole");
        for of in [2, 4, 8] {
            slices.note(Duration::from_millis(300));
            round(&mut slices, of);
        }
        slices.note(Duration::from_millis(100));
        assert_eq!(slices.of, 8);
        for _ in 0..20 {
            slices.note(Duration::from_secs(3));
        }
        assert_eq!(slices.of, MOST_SLICES);
        for _ in 0..20 {
            slices.note(Duration::from_millis(1));
        }
        round(&mut slices, 1);
    }
}
