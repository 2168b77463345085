use std::collections::HashMap;
use std::collections::hash_map;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use app_audit::{Answer, Count, Entry, Journal, Record, Session, SessionKey, Window};
use uuid::Uuid;

use super::MemoryStore;
use crate::Error;
use crate::journal::Groups;

/// Sessions and records, and the clock they go by
pub(super) struct Log {
    clock: Clock,
    tables: Mutex<Tables>,
}

/// Where a store's time comes from
type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

#[derive(Debug, Default)]
struct Tables {
    sessions: HashMap<SessionKey, Kept>,
    records: HashMap<Uuid, Record>,
}

#[derive(Debug)]
struct Kept {
    session: Session,
    visits: u64,
}

impl MemoryStore {
    /// A store whose time is what `clock` says, as a database's is what its server says
    #[must_use]
    pub fn with_clock(clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { log: Log { clock: Arc::new(clock), ..Log::default() }, ..Self::default() }
    }
}

impl Journal for MemoryStore {
    type Error = Error;

    async fn note(&self, entries: &[Entry], window: Window) -> Result<Vec<Answer>, Error> {
        let groups = Groups::of(entries, window);
        let now = (self.log.clock)();
        let mut tables = self.log.tables();
        let tables = &mut *tables;
        let mut answers = HashMap::new();
        for &(entry, visits) in groups.rows() {
            let fresh = entry.record.session;
            let last = tables.sessions.get(&entry.key);
            if last.is_some_and(|last| last.session.id == fresh) {
                continue;
            }
            let (session, _) = Session::visit(last.map(|last| last.session), fresh, now, window);
            let began = session.id == fresh;
            let before = last.filter(|_| !began).map_or(0, |last| last.visits);
            let kept = Kept { session, visits: before.saturating_add(visits) };
            tables.sessions.insert(entry.key, kept);
            if began && let hash_map::Entry::Vacant(place) = tables.records.entry(fresh) {
                place.insert(entry.record.clone());
            }
            let idle = now.duration_since(session.updated_at).unwrap_or_default();
            answers.insert(entry.key, (session.id, idle));
        }
        Ok(groups.answers(|key| answers.get(key).copied()))
    }

    async fn count(&self, counts: &[Count]) -> Result<(), Error> {
        let mut tables = self.log.tables();
        for count in counts {
            if let Some(kept) = tables.sessions.get_mut(&count.key)
                && kept.session.id == count.session
            {
                kept.visits = kept.visits.saturating_add(count.visits);
            }
        }
        Ok(())
    }

    fn is_unavailable(error: &Error) -> bool {
        matches!(error, Error::Unavailable { .. })
    }
}

impl Log {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Log {
    #[expect(clippy::disallowed_methods, reason = "this store is its own database")]
    fn default() -> Self {
        Self { clock: Arc::new(SystemTime::now), tables: Mutex::default() }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("tables", &self.tables).finish_non_exhaustive()
    }
}
