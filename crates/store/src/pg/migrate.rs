use diesel::migration::MigrationSource;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::Text;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use tokio::task::spawn_blocking;

use super::PgStore;
use super::connect::Purpose;
use crate::Error;

/// Which tables a migration is about
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrations {
    /// The control plane's tables and authd's own: authd stands alone
    All,
    /// Only the tables that nobody but authd writes: a control plane has the rest
    OwnedOnly,
}

impl PgStore {
    /// Brings the tables to the newest version; does nothing if they are
    ///
    /// Replicas may all do this when they start: one works and the others wait.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignTables`] if all tables are asked for and a control plane's
    /// are there already, [`Error::Migration`], [`Error::Unavailable`].
    pub async fn migrate(&self, migrations: Migrations) -> Result<(), Error> {
        self.with_harness(move |harness| {
            if migrations == Migrations::All {
                refuse_foreign_tables(harness)?;
            }
            for source in migrations.sources() {
                harness.run_pending_migrations(source).map_err(Error::migration)?;
            }
            Ok(())
        })
        .await
    }

    /// Drops the tables and all that is in them
    ///
    /// # Errors
    ///
    /// [`Error::Migration`], [`Error::Unavailable`].
    pub async fn revert(&self, migrations: Migrations) -> Result<(), Error> {
        self.with_harness(move |harness| {
            let applied = harness.applied_migrations().map_err(Error::migration)?;
            for source in migrations.sources().into_iter().rev() {
                let mut known =
                    MigrationSource::<Pg>::migrations(&source).map_err(Error::migration)?;
                known.retain(|migration| applied.contains(&migration.name().version()));
                known.sort_by(|a, b| b.name().version().cmp(&a.name().version()));
                for migration in known {
                    harness.revert_migration(&migration).map_err(Error::migration)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Runs `work` while nobody else migrates this database
    async fn with_harness(
        &self,
        work: impl FnOnce(&mut Harness) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        let connection = self.connector.connect(Purpose::Migrate).await?.inner;
        let mut lock = self.connector.connect(Purpose::Migrate).await?.inner;
        // The lock is a transaction's and not a session's, which a pooler would hand on with
        // it. It is released with the connection, even if this process is killed.
        lock.batch_execute(&format!(
            "BEGIN; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; \
             SELECT pg_advisory_xact_lock({LOCK});"
        ))
        .await
        .map_err(Error::unavailable)?;
        // diesel's migrations know no async, so they get a thread that may block.
        let done = spawn_blocking(move || work(&mut AsyncConnectionWrapper::from(connection)))
            .await
            .map_err(Error::migration)?;
        // If this fails the transaction has ended as well.
        let _ = lock.batch_execute("COMMIT").await;
        done
    }
}

type Harness = AsyncConnectionWrapper<AsyncPgConnection>;

impl Migrations {
    fn sources(self) -> Vec<EmbeddedMigrations> {
        match self {
            Self::All => vec![CONTROL_PLANE, OWNED],
            Self::OwnedOnly => vec![OWNED],
        }
    }
}

/// A table that is there although no migration of ours created it is somebody
/// else's, and creating ours beside or over it would be wrong
fn refuse_foreign_tables(harness: &mut Harness) -> Result<(), Error> {
    let ours = MigrationSource::<Pg>::migrations(&CONTROL_PLANE).map_err(Error::migration)?;
    let applied = harness.applied_migrations().map_err(Error::migration)?;
    if ours.iter().any(|migration| applied.contains(&migration.name().version())) {
        return Ok(());
    }
    for table in TELLING_TABLES {
        if diesel::select(to_regclass(table).is_not_null()).get_result(harness)? {
            return Err(Error::ForeignTables { table });
        }
    }
    Ok(())
}

#[diesel::declare_sql_function]
extern "SQL" {
    /// The object id of a table, if the search path leads to one
    fn to_regclass(name: Text) -> Nullable<Oid>;
}

const CONTROL_PLANE: EmbeddedMigrations = embed_migrations!("../../migrations/control-plane");
const OWNED: EmbeddedMigrations = embed_migrations!("../../migrations/owned");

/// Tables that every control plane has
const TELLING_TABLES: [&str; 3] = ["workspace_agents", "workspaces", "users"];

/// "authd" in ASCII, so that no other program has it by chance
const LOCK: i64 = 0x0061_7574_6864;
const LOCK_TIMEOUT: &str = "60s";
