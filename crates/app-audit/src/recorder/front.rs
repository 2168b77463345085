use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::{Answer, Count, SessionKey, Window};

/// Sessions of which a further visit would change nothing in the journal
///
/// Only those are kept, and only as long as that is certain: the journal has said how
/// old the session's last visit is, and until that is older than [`Window::touch`] a
/// visit is merely counted. Entries leave in the order they came, which is about the
/// order in which they expire, whether they are used or not.
#[derive(Debug)]
pub(super) struct Front {
    interval: Duration,
    fresh: HashMap<SessionKey, Fresh>,
    order: VecDeque<(Instant, SessionKey)>,
}

#[derive(Debug)]
struct Fresh {
    session: Uuid,
    until: Instant,
    absorbed: u64,
}

impl Front {
    pub(super) fn new(window: Window) -> Self {
        let interval = window.touch.min(window.stale);
        Self { interval, fresh: HashMap::new(), order: VecDeque::new() }
    }

    /// Counts visits to a fresh session, and says which it is
    pub(super) fn absorb(&mut self, key: SessionKey, visits: u64, now: Instant) -> Option<Uuid> {
        let fresh = self.fresh.get_mut(&key).filter(|fresh| now < fresh.until)?;
        fresh.absorbed += visits;
        Some(fresh.session)
    }

    /// Remembers what the journal said to a question asked at `asked`
    ///
    /// Returns visits of an earlier session with that key, or of one that had to make
    /// room.
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
            let fresh = Fresh { session, until, absorbed: 0 };
            counts[0] = self.fresh.insert(key, fresh).and_then(|old| old.count(key));
            self.order.push_back((until, key));
            if self.order.len() > CAPACITY {
                counts[1] = self.pop();
            }
        }
        counts.into_iter().flatten()
    }

    /// Forgets what is no longer certain, or everything; returns what was counted
    pub(super) fn expire(&mut self, now: Option<Instant>) -> Vec<Count> {
        let mut counts = Vec::new();
        while self.order.front().is_some_and(|(until, _)| now.is_none_or(|now| now >= *until)) {
            counts.extend(self.pop());
        }
        counts
    }

    /// When something is to be forgotten
    pub(super) fn next(&self) -> Option<Instant> {
        self.order.front().map(|(until, _)| *until)
    }

    fn pop(&mut self) -> Option<Count> {
        let (until, key) = self.order.pop_front()?;
        // Replaced since, it has another place in the order.
        self.fresh.get(&key).filter(|fresh| fresh.until == until)?;
        self.fresh.remove(&key)?.count(key)
    }
}

impl Fresh {
    fn count(&self, key: SessionKey) -> Option<Count> {
        let count = Count { key, session: self.session, visits: self.absorbed };
        Some(count).filter(|count| count.visits > 0)
    }
}

/// A few megabytes: more sessions than begin in a minute, almost everywhere
const CAPACITY: usize = 10_000;
