use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::{Answer, Count, SessionKey, Window};

/// Caches the sessions in which a further visit would change nothing in the journal
///
/// The journal has reported how old such a session's last written visit is. Until it is
/// older than [`Window::touch`], further visits are only counted here. Entries are evicted
/// in the order they were inserted, which is roughly the order in which they expire,
/// whether they are used or not.
#[derive(Debug)]
pub(super) struct SessionCache {
    interval: Duration,
    sessions: HashMap<SessionKey, Cached>,
    order: VecDeque<(Instant, SessionKey)>,
}

#[derive(Debug)]
struct Cached {
    session: Uuid,
    until: Instant,
    absorbed: u64,
}

impl SessionCache {
    pub(super) fn new(window: Window) -> Self {
        let interval = window.touch.min(window.stale);
        Self { interval, sessions: HashMap::new(), order: VecDeque::new() }
    }

    /// Counts visits to a cached session, and returns its id
    pub(super) fn absorb(&mut self, key: SessionKey, visits: u64, now: Instant) -> Option<Uuid> {
        let cached = self.sessions.get_mut(&key).filter(|cached| now < cached.until)?;
        cached.absorbed += visits;
        Some(cached.session)
    }

    /// Caches the session of an answer to a statement that was sent at `asked`
    ///
    /// Returns the visits that were counted for an earlier session with that key, and for
    /// one that was evicted to make room.
    pub(super) fn insert(
        &mut self,
        key: SessionKey,
        answer: Answer,
        asked: Instant,
    ) -> impl Iterator<Item = Count> + use<> {
        let left = answer.idle.and_then(|idle| self.interval.checked_sub(idle));
        let mut counts = [None, None];
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            let session = answer.noted.session();
            let until = asked + left;
            let cached = Cached { session, until, absorbed: 0 };
            counts[0] = self.sessions.insert(key, cached).and_then(|old| old.count(key));
            self.order.push_back((until, key));
            if self.order.len() > CAPACITY {
                counts[1] = self.pop();
            }
        }
        counts.into_iter().flatten()
    }

    /// Evicts what has expired by `now`, or everything if that is `None`, and returns the
    /// counted visits
    pub(super) fn expire(&mut self, now: Option<Instant>) -> Vec<Count> {
        let mut counts = Vec::new();
        while self.order.front().is_some_and(|(until, _)| now.is_none_or(|now| now >= *until)) {
            counts.extend(self.pop());
        }
        counts
    }

    /// Returns when the next entry expires
    pub(super) fn next(&self) -> Option<Instant> {
        self.order.front().map(|(until, _)| *until)
    }

    fn pop(&mut self) -> Option<Count> {
        let (until, key) = self.order.pop_front()?;
        // An entry that was replaced stands further back in the order.
        self.sessions.get(&key).filter(|cached| cached.until == until)?;
        self.sessions.remove(&key)?.count(key)
    }
}

impl Cached {
    fn count(&self, key: SessionKey) -> Option<Count> {
        (self.absorbed > 0).then(|| Count::new(key, self.session, self.absorbed))
    }
}

/// A few megabytes, and more sessions than begin in a minute on almost every deployment
const CAPACITY: usize = 10_000;
