//! Every store keeps the published rules of the ports of `app-audit`
//!
//! `tests/contract/candidates.rs` has those of `agent-auth`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use app_audit::conformance::World;
use store::{MemoryStore, PgStore};
use testkit::Database;

/// A store in memory, whose clock is put forward
struct InMemory {
    store: MemoryStore,
    clock: Arc<Mutex<SystemTime>>,
}

impl World for InMemory {
    type Store = MemoryStore;

    fn store(&self) -> &MemoryStore {
        &self.store
    }

    fn now(&self) -> SystemTime {
        *self.clock.lock().unwrap()
    }

    async fn later(&self, time: Duration) {
        *self.clock.lock().unwrap() += time;
    }
}

async fn in_memory() -> InMemory {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_219_200);
    let clock = Arc::new(Mutex::new(start));
    let now = Arc::clone(&clock);
    InMemory { store: MemoryStore::with_clock(move || *now.lock().unwrap()), clock }
}

/// A store over PostgreSQL, whose rows are moved back
struct InPostgres {
    store: PgStore,
    database: Database,
}

impl World for InPostgres {
    type Store = PgStore;

    fn store(&self) -> &PgStore {
        &self.store
    }

    #[expect(clippy::disallowed_methods, reason = "the server runs on this machine")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    async fn later(&self, time: Duration) {
        let by = format!("interval '{} microseconds'", time.as_micros());
        let sessions = "UPDATE authd_audit_sessions SET";
        let log = "UPDATE authd_audit_log SET";
        let moved = format!(
            "{sessions} started_at = started_at - {by}, updated_at = updated_at - {by};
             {log} time = time - {by}"
        );
        self.database.sql(&moved).await;
    }
}

async fn in_postgres() -> InPostgres {
    let database = Database::new().await;
    InPostgres { store: database.store().await, database }
}

// scenarios 141, 142, 276, 277 and 279
mod journal {
    mod memory {
        app_audit::journal_conformance!(super::super::in_memory);
    }

    mod postgres {
        app_audit::journal_conformance! {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)] super::super::in_postgres
        }
    }
}

mod audit_log {
    mod memory {
        app_audit::audit_log_conformance!(super::super::in_memory);
    }

    mod postgres {
        app_audit::audit_log_conformance!(super::super::in_postgres);
    }
}

mod audit_explorer {
    mod memory {
        app_audit::audit_explorer_conformance!(super::super::in_memory);
    }

    mod postgres {
        app_audit::audit_explorer_conformance!(super::super::in_postgres);
    }
}

mod act_journal {
    mod memory {
        app_audit::act_journal_conformance!(super::super::in_memory);
    }

    mod postgres {
        app_audit::act_journal_conformance! {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)] super::super::in_postgres
        }
    }
}

mod act_log {
    mod memory {
        app_audit::act_log_conformance!(super::super::in_memory);
    }

    mod postgres {
        app_audit::act_log_conformance!(super::super::in_postgres);
    }
}
