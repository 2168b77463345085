use std::collections::{BTreeMap, HashMap, hash_map};
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use app_audit::{
    Answer, AuditExplorer, AuditLog, Count, Cursor, End, Entry, Filter, Found, Groups, Journal,
    Kept, Listed, Names, Page, Plot, Row, SessionKey, UserId, Window, WorkspaceId,
};
use uuid::Uuid;

use super::MemoryStore;
use crate::Error;

/// Sessions, records, and their clock
pub(super) struct Log {
    clock: Clock,
    tables: Mutex<Tables>,
}

/// The clock of a store
type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

#[derive(Debug, Default)]
struct Tables {
    sessions: HashMap<SessionKey, Kept>,
    log: Rows,
}

/// Records in the order of their times, each id once
#[derive(Debug, Default)]
struct Rows {
    rows: BTreeMap<Cursor, Row>,
    by_id: HashMap<Uuid, Cursor>,
}

impl MemoryStore {
    /// A store with this clock, as a database has its server's
    #[must_use]
    pub fn with_clock(clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { log: Log { clock: Arc::new(clock), ..Log::default() }, ..Self::default() }
    }
}

impl Journal for MemoryStore {
    type Error = Error;

    async fn note(&self, entries: &[Entry], window: Window) -> Result<Vec<Answer>, Error> {
        let now = (self.log.clock)();
        let mut tables = self.log.tables();
        let Tables { sessions, log } = &mut *tables;
        let changes = Groups::of(entries, window).apply(now, |key| sessions.get(key).copied());
        for row in changes.rows(|id| log.get(id)) {
            log.add(row);
        }
        sessions.extend(changes.sessions);
        Ok(changes.answers)
    }

    async fn count(&self, counts: &[Count]) -> Result<(), Error> {
        let mut tables = self.log.tables();
        for count in counts {
            tables.sessions.entry(count.key).and_modify(|kept| kept.count(count));
        }
        Ok(())
    }

    async fn end_sessions(&self, window: Window, at_most: u32) -> Result<u64, Error> {
        let now = (self.log.clock)();
        let mut tables = self.log.tables();
        let Tables { sessions, log } = &mut *tables;
        let mut left = at_most;
        sessions.retain(|_, kept| {
            if left == 0 || !kept.is_forgotten(now, window) {
                return true;
            }
            if let Some(row) = kept.closing(window, log.get(kept.session.id)) {
                log.add(row);
            }
            left -= 1;
            false
        });
        Ok(u64::from(at_most - left))
    }

    async fn forget(&self, keep: Duration, at_most: u32) -> Result<u64, Error> {
        let now = (self.log.clock)();
        let mut tables = self.log.tables();
        let mut forgotten = 0;
        while forgotten < u64::from(at_most)
            && let Some(oldest) = tables.log.rows.first_entry()
            && oldest.get().is_older_than(keep, now)
        {
            let row = oldest.remove();
            tables.log.by_id.remove(&row.id);
            forgotten += 1;
        }
        Ok(forgotten)
    }

    fn is_unavailable(error: &Error) -> bool {
        error.is_unavailable()
    }
}

impl AuditLog for MemoryStore {
    type Error = Error;

    async fn list(&self, filter: &Filter, page: Page) -> Result<Vec<Row>, Error> {
        let tables = self.log.tables();
        let rows = tables.log.newest_before(page.cursor()).filter(|row| filter.passes(row));
        let limit = usize::try_from(page.limit()).unwrap_or(usize::MAX);
        Ok(rows.take(limit).cloned().collect())
    }
}

impl AuditExplorer for MemoryStore {
    async fn explore(&self, filter: &Filter, page: Page) -> Result<Vec<Listed>, Error> {
        let tables = self.log.tables();
        let rows = tables.log.newest_before(page.cursor()).filter(|row| row.action == "open");
        let limit = usize::try_from(page.limit()).unwrap_or(usize::MAX);
        let rows = rows.filter(|row| filter.passes(row)).take(limit);
        let people = self.read();
        let sessions = rows.map(|row| {
            let mut session = Listed::new(row.clone(), people.username(row.user_id));
            let of_session = |other: &&Row| other.session_id == Some(row.id);
            let close =
                tables.log.rows.values().filter(of_session).find(|row| row.action == "close");
            session.end = close.map(|row| End::of(row.time, &row.additional_fields));
            session
        });
        Ok(sessions.collect())
    }

    async fn plot(&self, filter: &Filter) -> Result<Plot, Error> {
        let tables = self.log.tables();
        let is_in_time = |row: &&Row| {
            let of_time = Filter { from: filter.from, to: filter.to, ..Filter::default() };
            of_time.passes(row)
        };
        Ok(Plot::of(tables.log.newest_before(None).filter(is_in_time), filter))
    }

    async fn look_up(&self, names: &Names) -> Result<Found, Error> {
        // Before the tables are read: others read them while they hold the lock of the log.
        let app = names.app.as_ref().is_some_and(|app| {
            let tables = self.log.tables();
            tables.log.rows.values().any(|row| row.resource_target == *app)
        });
        let people = self.read();
        let user = |name: &String| people.user_by_name.get(&name.to_lowercase()).copied();
        let workspace = |(owner, name): &(String, String)| {
            people.workspace_by_name.get(&(user(owner)?, name.to_lowercase())).copied()
        };
        Ok(Found {
            user: names.user.as_ref().and_then(user).map(UserId),
            workspace: names.workspace.as_ref().and_then(workspace).map(WorkspaceId),
            app,
        })
    }

    async fn usernames(&self, users: &[UserId]) -> Result<HashMap<UserId, String>, Error> {
        let people = self.read();
        let named = users.iter().filter_map(|id| Some((*id, people.username(id.0)?)));
        Ok(named.collect())
    }
}

impl Rows {
    /// The rows before a position, the newest first
    fn newest_before(&self, cursor: Option<Cursor>) -> impl Iterator<Item = &Row> {
        let before = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        self.rows.range((Bound::Unbounded, before)).rev().map(|(_, row)| row)
    }

    fn add(&mut self, row: Row) {
        if let hash_map::Entry::Vacant(place) = self.by_id.entry(row.id) {
            place.insert(row.cursor());
            self.rows.insert(row.cursor(), row);
        }
    }

    fn get(&self, id: Uuid) -> Option<&Row> {
        self.by_id.get(&id).and_then(|cursor| self.rows.get(cursor))
    }
}

impl Log {
    /// The time as the store's clock has it
    pub(super) fn now(&self) -> SystemTime {
        (self.clock)()
    }

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
