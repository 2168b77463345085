mod acts;
mod app_access;
mod authorized;
mod candidates;
mod crypto_keys;
mod import;
mod jobs;
mod journal;
mod labels;
mod listing;
mod made;
mod provider;
mod proxies;
mod refresh;
mod revocations;
mod sessions;
mod sharing;
mod tables;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use uuid::Uuid;

use self::tables::Tables;
use crate::fleet::Fleet;
use crate::{Error, Store};

/// A store that keeps rows in memory only: for embedding and tests
///
/// Returns the same as `PgStore` for the same rows.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: RwLock<Tables>,
    log: journal::Log,
    acts: acts::Acts,
    /// The newest moment of each instance in each build
    pins: Mutex<HashMap<(String, Uuid), SystemTime>>,
}

impl MemoryStore {
    /// Adds all rows of `fleet`
    ///
    /// A row replaces an earlier row with the same key, where a database would refuse it.
    pub fn load(&self, fleet: &Fleet) {
        self.write().load(fleet);
    }

    // A poisoned lock only means that a panic interrupted an earlier load.
    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    async fn ping(&self) -> Result<(), Error> {
        Ok(())
    }
}
