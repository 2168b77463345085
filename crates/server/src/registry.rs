use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fair_share::Source;
use tokio::time::Instant;

use crate::connection::{Connection, End, MOMENT};

/// The open connections
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// By number, so that those come first which were not looked at for longest
    all: Numbered,
    by_source: HashMap<Source, Numbered>,
    /// The number of connections of each source, smallest first
    ranks: BTreeSet<(usize, Source)>,
    next: u64,
}

type Numbered = BTreeMap<u64, Arc<Connection>>;

impl Registry {
    pub(crate) fn open(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.all.values()
    }

    pub(crate) fn add(&mut self, connection: &Arc<Connection>) {
        let (source, number) = (connection.source, self.next);
        self.next += 1;
        connection.number.store(number, Ordering::Relaxed);
        self.all.insert(number, Arc::clone(connection));
        let own = self.by_source.entry(source).or_default();
        self.ranks.remove(&(own.len(), source));
        own.insert(number, Arc::clone(connection));
        self.ranks.insert((own.len(), source));
    }

    pub(crate) fn remove(&mut self, connection: &Connection) {
        let (source, number) = (connection.source, connection.number.load(Ordering::Relaxed));
        if self.all.remove(&number).is_none() {
            return;
        }
        let Some(own) = self.by_source.get_mut(&source) else { return };
        self.ranks.remove(&(own.len(), source));
        own.remove(&number);
        match own.len() {
            0 => drop(self.by_source.remove(&source)),
            left => drop(self.ranks.insert((left, source))),
        }
    }

    /// Removes and closes a connection to make room for one of this source
    ///
    /// If a source has more connections than others, it is one of that source. It is the one that
    /// is known to be unused for longest, of some that were not looked at for longest. Requests in progress
    /// are not cut off. If each source has one connection, neither are those that were used a moment
    /// ago: their next request, or their first, may be on its way.
    pub(crate) fn replace(&mut self, newcomer: Source, now: Instant) -> Room {
        let own = self.by_source.get(&newcomer).map_or(0, BTreeMap::len);
        let (most, greediest) = self.ranks.last().copied().unwrap_or((0, newcomer));
        let source = if most > own { greediest } else { newcomer };
        let is_alone = most.max(own) <= 1;
        let candidates = if is_alone { Some(&self.all) } else { self.by_source.get(&source) };
        let looked_at: Vec<_> =
            candidates.into_iter().flat_map(BTreeMap::values).take(LOOKED_AT).cloned().collect();
        let unused = |connection: &Arc<Connection>| connection.unused_since(now);
        let victim = looked_at
            .iter()
            .filter_map(|connection| Some((unused(connection)?, connection)))
            .filter(|(since, _)| !is_alone || now.saturating_duration_since(*since) >= MOMENT)
            .min_by_key(|(since, _): &(Instant, _)| *since)
            .map(|(_, victim)| Arc::clone(victim));
        for connection in &looked_at {
            // The next newcomer looks at others first.
            self.remove(connection);
            if victim.as_ref().is_none_or(|victim| !Arc::ptr_eq(victim, connection)) {
                self.add(connection);
            }
        }
        match victim {
            Some(victim) => {
                victim.end(End::Close);
                Room::Made
            }
            None if is_alone => Room::Soon,
            None => Room::None,
        }
    }
}

/// Whether there is room for a newcomer
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// A connection was closed for it
    Made,
    /// Probably in a moment
    Soon,
    /// Its source, or another that has more, is busy on all its connections
    None,
}

/// How many connections are looked at for each newcomer
const LOOKED_AT: usize = 16;
