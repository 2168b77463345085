use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use fair_share::Source;

use crate::connection::Connection;

/// The open connections, by source
#[derive(Debug, Default)]
pub(crate) struct Registry {
    by_source: HashMap<Source, BTreeMap<u64, Arc<Connection>>>,
    /// The number of connections of each source, smallest first
    ranks: BTreeSet<(usize, Source)>,
    open: usize,
    next: u64,
}

impl Registry {
    pub(crate) const fn open(&self) -> usize {
        self.open
    }

    /// Adds a connection, and returns its number
    pub(crate) fn add(&mut self, connection: Arc<Connection>) -> u64 {
        let (source, number) = (connection.source, self.next);
        let own = self.by_source.entry(source).or_default();
        self.ranks.remove(&(own.len(), source));
        own.insert(number, connection);
        self.ranks.insert((own.len(), source));
        self.next += 1;
        self.open += 1;
        number
    }

    pub(crate) fn remove(&mut self, source: Source, number: u64) {
        let Some(own) = self.by_source.get_mut(&source) else { return };
        let before = own.len();
        if own.remove(&number).is_none() {
            return;
        }
        self.open -= 1;
        self.ranks.remove(&(before, source));
        match own.len() {
            0 => drop(self.by_source.remove(&source)),
            left => drop(self.ranks.insert((left, source))),
        }
    }

    /// Removes and closes a connection to make room for one of this source
    ///
    /// It is the oldest idle one of the source that would have the most. Returns whether there is
    /// one: requests in progress are not cut off.
    pub(crate) fn replace(&mut self, newcomer: Source) -> bool {
        let own = self.by_source.get(&newcomer).map_or(0, BTreeMap::len);
        let most = self.ranks.last().copied();
        let source = match most {
            Some((most, source)) if most > own => source,
            _ => newcomer,
        };
        let Some(victims) = self.by_source.get(&source) else { return false };
        // A source with many requests in progress is not searched to its end for every newcomer.
        let idle = victims.iter().take(SEARCHED).find(|(_, victim)| victim.is_idle());
        let Some((number, victim)) = idle else { return false };
        victim.close();
        let number = *number;
        self.remove(source, number);
        true
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.by_source.values().flat_map(BTreeMap::values)
    }
}

const SEARCHED: usize = 256;
