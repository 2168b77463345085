//! Every store keeps the published rules of the ports of `app-audit`
//!
//! `tests/contract/candidates.rs` has those of `agent-auth`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use app_audit::conformance::{JournalRule, World};
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
    /// Whether the rows of the log are moved too
    moves_log: bool,
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
        let moved =
            format!("{sessions} started_at = started_at - {by}, updated_at = updated_at - {by}");
        self.database.sql(&moved).await;
        if self.moves_log {
            self.database.sql(&format!("{log} time = time - {by}")).await;
        }
    }
}

async fn in_postgres() -> InPostgres {
    let database = Database::new().await;
    InPostgres { store: database.store().await, database, moves_log: true }
}

/// The same, with a table for each month of the log
async fn with_months() -> InPostgres {
    let world = in_postgres().await;
    common::months::partition(&world.database, &world.store, 2).await;
    world
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

    /// But for one rule: the rows of a month are deleted together
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn postgres_with_months() {
        use super::JournalRule as Rule;
        for rule in Rule::ALL.iter().filter(|rule| **rule != Rule::Forgotten) {
            let mut world = super::with_months().await;
            // An entry is known by its id and time.
            world.moves_log = *rule != Rule::AgainLate;
            rule.check(world).await.unwrap();
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

    mod postgres_with_months {
        app_audit::audit_log_conformance!(super::super::with_months);
    }
}

mod audit_explorer {
    mod memory {
        app_audit::audit_explorer_conformance!(super::super::in_memory);
    }

    mod postgres {
        app_audit::audit_explorer_conformance!(super::super::in_postgres);
    }

    mod postgres_with_months {
        app_audit::audit_explorer_conformance!(super::super::with_months);
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
