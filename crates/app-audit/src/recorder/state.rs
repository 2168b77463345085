use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::session_cache::SessionCache;
use super::shares::Shares;
use super::{Item, Receipt, RecordError, Settings, Stats};
use crate::limiter::Limiter;
use crate::source::Source;
use crate::{Answer, Count, Noted, SessionKey};

/// What callers and writers share
#[derive(Debug)]
pub(super) struct State<I> {
    pub(super) limiter: Limiter,
    pub(super) stats: Stats,
    pub(super) closed: bool,
    cache: SessionCache,
    queue: Queue<I>,
    shares: Shares,
    /// Absorbed visits to add to each session, not yet delivered
    counts: HashMap<(SessionKey, Uuid), u64>,
    /// The entries that the writers have taken and not settled, by their ids, and since when they
    /// wait
    unsettled: HashMap<Uuid, Instant>,
    /// How many of them are in statements under way
    under_way: usize,
    writers: usize,
    capacity: usize,
    /// When a failure of the journal may be reported again
    quiet_until: Option<Instant>,
    /// Whether visits with the same key share an entry: not where each is a session
    joins: bool,
}

/// Sends the outcome of an entry to a receipt
pub(super) type Caller = oneshot::Sender<Result<Noted, RecordError>>;

/// A queued entry and the callers that wait for it
#[derive(Debug)]
pub(super) struct Waiting<I> {
    /// The key of the entry, kept because that of an act is a digest of its fields
    key: SessionKey,
    pub(super) entry: I,
    source: Source,
    since: Instant,
    pub(super) callers: Vec<Caller>,
}

impl<I: Item> State<I> {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            limiter: Limiter::new(settings.limited_per_minute),
            stats: Stats::default(),
            closed: false,
            cache: SessionCache::new(settings.window),
            queue: Queue::default(),
            shares: Shares::default(),
            counts: HashMap::new(),
            unsettled: HashMap::new(),
            under_way: 0,
            writers: settings.writers.max(1),
            capacity: settings.queue,
            quiet_until: None,
            joins: !settings.window.stale.is_zero(),
        }
    }

    /// Absorbs a visit that does not need an entry of its own
    ///
    /// It would not change the journal, or a queued entry can stand for it too. Returns
    /// `None` for any other visit.
    pub(super) fn admit(&mut self, key: SessionKey, now: Instant) -> Option<Receipt> {
        if self.closed {
            return None;
        }
        let receipt = match self.cache.absorb(key, 1, now) {
            Some(session) => Receipt::ready(Noted::Continued(session)),
            None => {
                let waiting = self.queue.get(key).filter(|_| self.joins)?;
                waiting.entry.add();
                waiting.add_caller()
            }
        };
        self.stats.absorbed += 1;
        Some(receipt)
    }

    /// Fails if one more entry of `source` does not fit
    ///
    /// Visits that are anonymous or denied are limited in a minute by their address, `limited_by`.
    pub(super) fn make_room(
        &mut self,
        source: Source,
        limited_by: Option<Source>,
        now: Instant,
    ) -> Result<(), RecordError> {
        if self.closed {
            return Err(RecordError::Stopped);
        }
        // First, so that what is too much anyway does not go to the spool.
        if limited_by.is_some_and(|source| !self.limiter.admit(source, now)) {
            self.stats.limited += 1;
            return Err(RecordError::Limited);
        }
        let free = self.capacity.saturating_sub(self.waiting());
        if !self.shares.has_room(source, free) {
            return Err(RecordError::Full);
        }
        Ok(())
    }

    /// Puts an entry at the end of the queue
    pub(super) fn push(
        &mut self,
        key: SessionKey,
        entry: I,
        source: Source,
        now: Instant,
    ) -> Receipt {
        let mut waiting = Waiting { key, entry, source, since: now, callers: Vec::new() };
        let receipt = waiting.add_caller();
        self.shares.add(source);
        self.queue.push(waiting);
        receipt
    }

    /// Returns whether a failure of the journal may be reported, which is once a minute
    pub(super) fn may_report_failure(&mut self, now: Instant) -> bool {
        let is_due = self.quiet_until.is_none_or(|until| now >= until);
        if is_due {
            self.quiet_until = Some(now + MINUTE);
        }
        is_due
    }

    fn pop(&mut self) -> Option<Waiting<I>> {
        let waiting = self.queue.pop()?;
        self.shares.remove(waiting.source);
        Some(waiting)
    }

    /// Returns a writer's share of the entries that wait or are under way
    fn share(&self) -> usize {
        (self.queue.items.len() + self.under_way).div_ceil(self.writers)
    }

    /// Returns whether an entry that was just pushed wakes a writer
    ///
    /// The first entry in the queue does, so that a writer starts its gathering time, and
    /// so does each one once enough wait for a statement.
    pub(super) fn wakes_writer(&self) -> bool {
        let waiting = self.queue.items.len();
        waiting == 1 || waiting >= self.share()
    }

    /// Takes the next entries to note, at most `most`
    ///
    /// A writer takes at most its share. It takes nothing while fewer entries wait, unless
    /// they have `gathered` long enough: a statement costs as much as several entries, so
    /// entries that come while another statement is under way gather until they are as
    /// many, or until it ends. If no statement is under way, one entry is enough.
    ///
    /// Entries that the cache can absorb by now are settled here.
    pub(super) fn take(&mut self, most: usize, gathered: bool, now: Instant) -> Vec<Waiting<I>> {
        let share = self.share();
        if self.queue.items.len() < share && !gathered && !self.closed {
            return Vec::new();
        }
        let most = most.min(share);
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(waiting) = self.pop()
        {
            match self.cache.absorb(waiting.key, waiting.entry.times(), now) {
                Some(session) => {
                    self.stats.absorbed += 1;
                    settle(waiting.callers, Ok(Noted::Continued(session)));
                }
                None => taken.push(waiting),
            }
        }
        self.take_over(&taken);
        self.under_way += taken.len();
        taken
    }

    /// Subtracts entries that are no longer under way, settled or not
    pub(super) fn arrived(&mut self, entries: usize) {
        self.under_way -= entries;
    }

    /// Settles an entry with this key that the journal accepted in a statement sent at `asked`
    pub(super) fn noted(&mut self, key: SessionKey, entry: &I, answer: Answer, asked: Instant) {
        self.given_up(entry);
        self.stats.written += 1;
        let counts = self.cache.insert(key, answer, asked);
        self.keep_counts(counts);
    }

    /// Subtracts an entry that a writer has taken and gives up
    pub(super) fn given_up(&mut self, entry: &I) {
        self.unsettled.remove(&entry.id());
    }

    fn take_over(&mut self, taken: &[Waiting<I>]) {
        let taken = taken.iter().map(|waiting| (waiting.entry.id(), waiting.since));
        self.unsettled.extend(taken);
    }

    /// How many entries wait, including those under way
    pub(super) fn waiting(&self) -> usize {
        self.queue.items.len() + self.unsettled.len()
    }

    /// Takes the counts of sessions that have left the cache by `now`, or of all sessions
    /// if that is `None`
    pub(super) fn take_counts(&mut self, now: Option<Instant>) -> Vec<Count> {
        let expired = self.cache.expire(now);
        self.keep_counts(expired);
        let counts = self.counts.drain();
        counts.map(|((key, session), visits)| Count::new(key, session, visits)).collect()
    }

    /// Keeps counts until they can be delivered
    pub(super) fn keep_counts(&mut self, counts: impl IntoIterator<Item = Count>) {
        for Count { key, session, visits } in counts {
            *self.counts.entry((key, session)).or_default() += visits;
        }
    }

    /// Returns when counts are due to be delivered
    pub(super) fn counts_due(&self, now: Instant) -> Option<Instant> {
        if self.counts.is_empty() { self.cache.next() } else { Some(now) }
    }

    /// Closes the queue and takes everything from it, when no writer is left
    pub(super) fn abandon(&mut self) -> Vec<Waiting<I>> {
        self.closed = true;
        let left: Vec<_> = std::iter::from_fn(|| self.pop()).collect();
        self.take_over(&left);
        left
    }

    pub(super) fn stats(&self, now: Instant) -> Stats {
        let first = self.queue.items.front().map(|waiting| waiting.since);
        let oldest = self.unsettled.values().copied().chain(first).min();
        let oldest = oldest.map(|since| now.saturating_duration_since(since));
        Stats { queued: self.waiting(), oldest, ..self.stats }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.items.is_empty()
    }
}

impl<I> Waiting<I> {
    fn add_caller(&mut self) -> Receipt {
        // Dropped receipts are as many as visits, so they are removed. Awaited ones are at
        // most as many as requests under way.
        if self.callers.len() == self.callers.capacity() {
            self.callers.retain(|caller| !caller.is_closed());
        }
        let (caller, receiver) = oneshot::channel();
        self.callers.push(caller);
        Receipt::pending(receiver)
    }
}

/// Sends the outcome to every caller; only the first visit began a new session
pub(super) fn settle(callers: Vec<Caller>, outcome: Result<Noted, RecordError>) {
    let mut outcome = outcome;
    for caller in callers {
        // Fails if the receipt was dropped.
        let _ = caller.send(outcome);
        outcome = outcome.map(|noted| Noted::Continued(noted.session()));
    }
}

/// Entries in the order they came; the last one with each key can be found by it
#[derive(Debug)]
struct Queue<I> {
    items: VecDeque<Waiting<I>>,
    /// How many entries have left, which makes the numbers in `by_key` positions
    left: u64,
    by_key: HashMap<SessionKey, u64>,
}

impl<I> Default for Queue<I> {
    fn default() -> Self {
        Self { items: VecDeque::new(), left: 0, by_key: HashMap::new() }
    }
}

impl<I: Item> Queue<I> {
    fn get(&mut self, key: SessionKey) -> Option<&mut Waiting<I>> {
        let place = self.by_key.get(&key)?.checked_sub(self.left)?;
        self.items.get_mut(usize::try_from(place).ok()?)
    }

    fn push(&mut self, waiting: Waiting<I>) {
        let place = u64::try_from(self.items.len()).unwrap_or(u64::MAX);
        self.by_key.insert(waiting.key, self.left.saturating_add(place));
        self.items.push_back(waiting);
    }

    fn pop(&mut self) -> Option<Waiting<I>> {
        let waiting = self.items.pop_front()?;
        if self.by_key.get(&waiting.key) == Some(&self.left) {
            self.by_key.remove(&waiting.key);
        }
        self.left += 1;
        Some(waiting)
    }
}

const MINUTE: Duration = Duration::from_secs(60);
