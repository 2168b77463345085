use std::collections::hash_map::{Entry, OccupiedEntry};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::Source;

/// Limits how many requests are answered at the same time, fairly among their sources
///
/// - A source may take a place as long as it has fewer places than are free. So one source has
///   half of all places at most, two have a third each, and few sources leave a place for others.
/// - If a source may not take a place, its request waits. Of the sources that wait, the one with
///   the fewest places is next; sources with the same number take turns.
/// - A request that would probably wait too long is refused at once, so that its client can go
///   elsewhere. How long it would wait is estimated from how quickly places became free lately.
/// - What requests hold in memory while they wait is divided by the same rule as places.
///
/// Clones share everything.
#[derive(Clone)]
pub struct Turns(Arc<Shared>);

/// How many requests are answered at a time, and how many wait
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnSettings {
    /// How many requests are answered at the same time; every request is refused if it is 0
    pub places: usize,
    /// How long a request may wait for its turn
    pub longest_wait: Duration,
    /// How many bytes the requests that wait may hold together
    pub waiting_bytes: usize,
}

/// A request's place among those that are answered, until it is dropped
#[must_use = "the place is free once this is dropped"]
pub struct Turn {
    turns: Turns,
    source: Source,
}

/// A request was refused, since it would have to wait for too long
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the server has more requests than it can answer in time")]
pub struct Busy {
    /// How long it takes, by estimate, until the requests that wait now are answered
    pub retry_after: Duration,
}

struct Shared {
    settings: TurnSettings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: usize,
    waiting: usize,
    waiting_bytes: usize,
    sources: HashMap<Source, Of>,
    /// Every source that waits, in the order in which they are next
    queue: BTreeSet<Rank>,
    /// The next number, of a request that waits or of a source
    next: u64,
    pace: Pace,
}

/// Where a source that waits stands: the number of its places, and when it began to wait or was
/// last served
type Rank = (usize, u64, Source);

/// What one source has
#[derive(Default)]
struct Of {
    taken: usize,
    /// In its [`Rank`]
    since: u64,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
}

struct Waiting {
    number: u64,
    bytes: usize,
    turn: oneshot::Sender<()>,
}

impl Turns {
    /// Starts with all places free
    #[must_use]
    pub fn new(settings: TurnSettings) -> Self {
        Self(Arc::new(Shared { settings, state: Mutex::default() }))
    }

    /// Takes a place for a request of this source, which holds so many bytes while it waits
    ///
    /// # Errors
    ///
    /// Fails at once if the wait would probably be too long, and otherwise after
    /// [`TurnSettings::longest_wait`].
    pub async fn take(&self, source: Source, bytes: usize) -> Result<Turn, Busy> {
        let mut place = {
            let mut state = self.state();
            if state.take(source, &self.0.settings) {
                return Ok(Turn { turns: self.clone(), source });
            }
            let (number, turn) = state.wait(source, bytes, &self.0.settings)?;
            Place { turns: self, source, number, turn, is_used: false }
        };
        let waited = timeout(self.0.settings.longest_wait, &mut place.turn).await;
        if let Ok(Ok(())) = waited {
            place.is_used = true;
            return Ok(Turn { turns: self.clone(), source });
        }
        let retry_after = self.state().expected_wait(source);
        Err(Busy { retry_after: retry_after.max(self.0.settings.longest_wait) })
    }

    /// How many requests are answered now
    #[must_use]
    pub fn taken(&self) -> usize {
        self.state().taken
    }

    /// How many requests wait now
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.state().waiting
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half way.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes a place for a source before all that wait, if it may; returns whether it did
    fn take(&mut self, source: Source, settings: &TurnSettings) -> bool {
        let free = settings.places.saturating_sub(self.taken);
        let may_take = match self.sources.entry(source) {
            Entry::Occupied(mut entry) => {
                let own = entry.get_mut();
                let may_take = own.waiting.is_empty() && own.taken < free;
                own.taken += usize::from(may_take);
                may_take
            }
            Entry::Vacant(entry) => {
                if free > 0 {
                    entry.insert(Of { taken: 1, ..Of::default() });
                }
                free > 0
            }
        };
        self.taken += usize::from(may_take);
        may_take
    }

    /// Puts a request behind the others of its source
    fn wait(
        &mut self,
        source: Source,
        bytes: usize,
        settings: &TurnSettings,
    ) -> Result<(u64, oneshot::Receiver<()>), Busy> {
        let expected = self.expected_wait(source);
        let own = self.sources.get(&source).map_or(0, |own| own.waiting_bytes);
        let free = settings.waiting_bytes.saturating_sub(self.waiting_bytes);
        let is_too_much = own.saturating_add(bytes).saturating_add(OVERHEAD) > free;
        if is_too_much || expected > settings.longest_wait {
            return Err(Busy { retry_after: expected });
        }
        let bytes = bytes + OVERHEAD;
        let number = self.next;
        self.next += 1;
        self.waiting += 1;
        self.waiting_bytes += bytes;
        let (turn, receiver) = oneshot::channel();
        let own = self.sources.entry(source).or_default();
        if own.waiting.is_empty() {
            own.since = number;
            self.queue.insert((own.taken, own.since, source));
        }
        own.waiting.push_back(Waiting { number, bytes, turn });
        own.waiting_bytes += bytes;
        Ok((number, receiver))
    }

    /// How long the next request of a source would wait, if places become free as they did lately
    ///
    /// Sources take turns, so a source with few requests does not wait for all of the others'.
    fn expected_wait(&self, source: Source) -> Duration {
        let own = self.sources.get(&source).map_or(0, |own| own.waiting.len());
        let by_turns = (own + 1).saturating_mul(self.queue.len().max(1));
        let before = by_turns.min(self.waiting + 1);
        self.pace.between.saturating_mul(u32::try_from(before).unwrap_or(u32::MAX))
    }

    /// Frees a place of a source, and gives places to those that are next
    fn release(&mut self, source: Source, settings: &TurnSettings) {
        self.taken -= 1;
        match self.waiting {
            0 => self.pace = Pace::default(),
            _ => self.pace.freed(Instant::now()),
        }
        if let Entry::Occupied(mut entry) = self.sources.entry(source) {
            let own = entry.get_mut();
            if self.queue.remove(&(own.taken, own.since, source)) {
                self.queue.insert((own.taken - 1, own.since, source));
            }
            own.taken -= 1;
            forget_if_unused(entry);
        }
        while let Some((taken, _, next)) = self.queue.first().copied() {
            if taken >= settings.places.saturating_sub(self.taken) {
                break;
            }
            self.give_place(next);
        }
    }

    /// Gives a place to the first waiting request of a source
    fn give_place(&mut self, source: Source) {
        let Some(own) = self.sources.get_mut(&source) else { return };
        let Some(waiting) = own.waiting.pop_front() else { return };
        self.queue.remove(&(own.taken, own.since, source));
        own.taken += 1;
        own.waiting_bytes -= waiting.bytes;
        if !own.waiting.is_empty() {
            own.since = self.next;
            self.next += 1;
            self.queue.insert((own.taken, own.since, source));
        }
        self.taken += 1;
        self.waiting -= 1;
        self.waiting_bytes -= waiting.bytes;
        // A request that is given up at this moment gives its place back, in `Place::drop`.
        let _ = waiting.turn.send(());
    }

    /// Removes a request that waits; returns whether it was still waiting
    fn give_up(&mut self, source: Source, number: u64) -> bool {
        let Entry::Occupied(mut entry) = self.sources.entry(source) else { return false };
        let own = entry.get_mut();
        let Ok(at) = own.waiting.binary_search_by_key(&number, |waiting| waiting.number) else {
            return false;
        };
        let Some(waiting) = own.waiting.remove(at) else { return false };
        own.waiting_bytes -= waiting.bytes;
        self.waiting -= 1;
        self.waiting_bytes -= waiting.bytes;
        if own.waiting.is_empty() {
            self.queue.remove(&(own.taken, own.since, source));
        }
        forget_if_unused(entry);
        true
    }
}

/// Removes a source that has no place and waits for none
fn forget_if_unused(entry: OccupiedEntry<'_, Source, Of>) {
    let own = entry.get();
    if own.taken == 0 && own.waiting.is_empty() {
        entry.remove();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.state().release(self.source, &self.turns.0.settings);
    }
}

/// A request's place among those that wait
struct Place<'a> {
    turns: &'a Turns,
    source: Source,
    number: u64,
    turn: oneshot::Receiver<()>,
    /// Whether the request has its turn, and knows
    is_used: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.is_used {
            return;
        }
        let mut state = self.turns.state();
        if !state.give_up(self.source, self.number) {
            state.release(self.source, &self.turns.0.settings);
        }
    }
}

/// How quickly places became free since requests wait
///
/// Nothing is remembered from one time that requests wait to the next: the server may have been
/// slow for a reason that is gone.
#[derive(Default)]
struct Pace {
    /// The mean time between two
    between: Duration,
    /// How many times it is the mean of, at most [`MEMORY`]
    count: u32,
    /// When the last became free
    last: Option<Instant>,
}

impl Pace {
    fn freed(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            let since = now.saturating_duration_since(last);
            self.between = (self.between * self.count + since) / (self.count + 1);
            self.count = (self.count + 1).min(MEMORY);
        }
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns")
            .field("settings", &self.0.settings)
            .field("taken", &self.taken())
            .field("waiting", &self.waiting())
            .finish()
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Enough for a steady mean, and few enough that it follows a change within a moment
const MEMORY: u32 = 127;

/// Bytes that a waiting request holds besides what its caller names: its task and its place here
const OVERHEAD: usize = 4096;

#[cfg(test)]
mod tests;
