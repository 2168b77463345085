use std::collections::{HashMap, HashSet};
use std::time::{Instant, SystemTime};

use app_audit::{Act, Entry, Groups, SessionKey, Window};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::journal::NoteVisits;
use crate::Error;

impl PgStore {
    /// Writes visits of the past that no journal has noted, and returns how many rows that made
    ///
    /// `entries` are sorted by time. A visit is left out if its row is in the log, or if its time
    /// lies in a session with its key, of the database or of `entries`. The same entries may thus
    /// be replayed again, after an error or by mistake, and add nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Query`]. What was written by then stays.
    pub async fn replay(&self, entries: &[Entry], window: Window) -> Result<u64, Error> {
        let begun = sessions(entries, window);
        let mut rows = 0;
        for batch in batches(&begun) {
            rows += self.replay_batch(&batch, window).await?;
        }
        Ok(rows)
    }

    /// Writes visits and acts of the past, as [`replay`](Self::replay) and
    /// [`replay_acts`](Self::replay_acts) do, and returns how many rows that made
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], [`Error::Query`]. What was written by then stays.
    pub async fn replay_all(
        &self,
        entries: &[Entry],
        window: Window,
        acts: &[Act],
    ) -> Result<u64, Error> {
        Ok(self.replay(entries, window).await? + self.replay_acts(acts).await?)
    }

    async fn replay_batch(&self, batch: &[Entry], window: Window) -> Result<u64, Error> {
        let groups = Groups::of(batch, window);
        let mut connection = self.audit.get().await?;
        let tables = connection.tables();
        let began = Instant::now();
        let sql = tables.replay_visits(self.mirror);
        let noted = NoteVisits::of(&groups, window, sql).load(&mut *connection).await;
        let rows: Vec<(Vec<u8>, Uuid, f64)> = connection.judge(noted, began).await?;
        Ok(u64::try_from(rows.len()).unwrap_or(u64::MAX))
    }
}

/// The first visit of each session among the entries, with the number of its visits
fn sessions(entries: &[Entry], window: Window) -> Vec<Entry> {
    let mut begun: Vec<Entry> = Vec::new();
    let mut last: HashMap<SessionKey, (usize, SystemTime)> = HashMap::new();
    for entry in entries {
        let time = entry.record.time;
        let continued = last
            .get_mut(&entry.key)
            .filter(|(_, last)| time.duration_since(*last).unwrap_or_default() < window.stale);
        match continued {
            Some((at, last)) => {
                begun[*at].visits = begun[*at].visits.saturating_add(entry.visits);
                *last = time;
            }
            None => {
                last.insert(entry.key, (begun.len(), time));
                begun.push(entry.clone());
            }
        }
    }
    begun
}

/// The entries in their order, in parts in which no key occurs twice
fn batches(entries: &[Entry]) -> Vec<Vec<Entry>> {
    let mut batches: Vec<Vec<Entry>> = Vec::new();
    let mut keys = HashSet::new();
    for entry in entries {
        let is_full = batches.last().is_none_or(|batch| batch.len() == BATCH);
        if is_full || keys.contains(&entry.key) {
            batches.push(Vec::new());
            keys.clear();
        }
        keys.insert(entry.key);
        if let Some(batch) = batches.last_mut() {
            batch.push(entry.clone());
        }
    }
    batches
}

/// As many as a recorder notes in one statement
const BATCH: usize = 256;
