use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use app_audit::{Act, ActFilter, ActJournal, ActLog, ActRow, Cursor, Page};
use uuid::Uuid;

use super::MemoryStore;
use crate::Error;
use crate::acts::by_id;

/// Acts in the order of their times, each id once
#[derive(Debug, Default)]
pub(super) struct Acts(Mutex<Rows>);

#[derive(Debug, Default)]
struct Rows {
    rows: BTreeMap<Cursor, ActRow>,
    by_id: HashMap<Uuid, Cursor>,
}

impl Acts {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, acts: &[Act]) {
        let mut rows = self.rows();
        for (id, (act, times)) in by_id(acts) {
            rows.add(id, act, times);
        }
    }
}

impl Rows {
    fn get_mut(&mut self, id: Uuid) -> Option<&mut ActRow> {
        self.by_id.get(&id).and_then(|cursor| self.rows.get_mut(cursor))
    }

    fn add(&mut self, id: Uuid, act: &Act, times: u64) {
        if let Some(row) = self.get_mut(id) {
            if row.request_id != act.request {
                row.times = row.times.saturating_add(times);
            }
            return;
        }
        let mut row = ActRow::from(act);
        row.times = times;
        self.by_id.insert(id, row.cursor());
        self.rows.insert(row.cursor(), row);
    }
}

impl ActJournal for MemoryStore {
    type Error = Error;

    async fn note_acts(&self, acts: &[Act]) -> Result<(), Error> {
        self.acts.add(acts);
        Ok(())
    }

    async fn count_acts(&self, counts: &[(Uuid, u64)]) -> Result<(), Error> {
        let mut rows = self.acts.rows();
        for (id, times) in counts {
            if let Some(row) = rows.get_mut(*id) {
                row.times = row.times.saturating_add(*times);
            }
        }
        Ok(())
    }

    async fn forget_acts(&self, keep: Duration, at_most: u32) -> Result<u64, Error> {
        let now = self.log.now();
        let mut rows = self.acts.rows();
        let mut forgotten = 0;
        while forgotten < u64::from(at_most)
            && let Some(oldest) = rows.rows.first_entry()
            && now.duration_since(oldest.get().time).is_ok_and(|age| age > keep)
        {
            let row = oldest.remove();
            rows.by_id.remove(&row.id);
            forgotten += 1;
        }
        Ok(forgotten)
    }

    async fn records_acts(&self) -> Result<bool, Error> {
        Ok(true)
    }

    fn is_unavailable(error: &Error) -> bool {
        error.is_unavailable()
    }
}

impl ActLog for MemoryStore {
    type Error = Error;

    async fn list_acts(&self, filter: &ActFilter, page: Page) -> Result<Vec<ActRow>, Error> {
        let limit = usize::try_from(page.limit()).unwrap_or(usize::MAX);
        let mut found: Vec<ActRow> = {
            let rows = self.acts.rows();
            let rows = match page.cursor() {
                Some(cursor) => rows.rows.range(..cursor),
                None => rows.rows.range(..),
            };
            let rows = rows.rev().map(|(_, row)| row).filter(|row| filter.passes(row));
            rows.take(limit).cloned().collect()
        };
        let tables = self.read();
        let username = |id: Uuid| tables.users.get(&id).map(|user| user.username.clone());
        for row in &mut found {
            row.username = row.user_id.and_then(username);
            if let Some(workspace) = row.workspace_id.and_then(|id| tables.workspaces.get(&id)) {
                row.workspace_name = Some(workspace.name.clone());
                row.workspace_owner = username(workspace.owner_id);
            }
        }
        Ok(found)
    }
}
