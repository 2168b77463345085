mod owner;
mod partition;
mod record;
mod remove;

use diesel::migration::{MigrationSource, Result as MigrationResult};
use diesel::pg::Pg;
use diesel_async::SimpleAsyncConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use serde::Serialize;
use tokio::task::spawn_blocking;

pub use self::owner::Owner;
pub(super) use self::owner::Recorded;
pub use self::partition::AuditMonth;
use self::record::Session;
pub use self::remove::Owned;
use super::PgStore;
use super::connect::Purpose;
use crate::Error;

/// The tables that a migration covers
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrations {
    /// The control plane's tables and authd's own, for authd without a control plane
    All,
    /// Only the tables that authd alone writes, for a database that has a control plane's
    OwnedOnly,
}

/// The result of a migration
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Migrated {
    /// The tables that were created, by name
    pub tables: Vec<String>,
    /// The migrations that were applied, in order, such as
    /// `2026-11-21-000900_audit_sessions`
    pub applied: Vec<String>,
    /// The record of an earlier release of authd that was moved, if there was one
    pub former_record: Option<FormerRecord>,
}

/// The record of migrations in `__diesel_schema_migrations`, where earlier releases of authd kept
/// it
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FormerRecord {
    /// The number of authd's migrations that were recorded there
    pub entries: usize,
    /// Whether the table was dropped, as it had no other rows and belonged to this user
    pub dropped: bool,
}

impl PgStore {
    /// Migrates the tables to the newest version; does nothing if they are up to date
    ///
    /// All replicas may do this when they start: one migrates and the others wait. Each
    /// migration is a transaction, and is recorded in the table `authd_schema_migrations`.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignTables`] if `migrations` covers all tables and a control plane's exist
    /// already; [`Error::Migration`]; [`Error::Unavailable`].
    pub async fn migrate(&self, migrations: Migrations) -> Result<Migrated, Error> {
        let migrated = self.with_session(move |session| {
            let former_record = record::take_over(session)?;
            if migrations == Migrations::All
                && let Some(table) = foreign_table(session)?
            {
                return Ok(Err(Error::ForeignTables { table }));
            }
            let before = record::tables(session)?;
            let mut applied = Vec::new();
            for source in migrations.sources() {
                applied.append(&mut record::apply(&source, session)?);
            }
            let mut tables = record::tables(session)?;
            tables.retain(|table| !before.contains(table));
            Ok(Ok(Migrated { tables, applied, former_record }))
        });
        migrated.await?
    }

    /// Drops the tables with all their rows
    ///
    /// # Errors
    ///
    /// [`Error::Migration`], [`Error::Unavailable`].
    pub async fn revert(&self, migrations: Migrations) -> Result<(), Error> {
        let reverted = self.with_session(move |session| {
            record::take_over(session)?;
            let sources = migrations.sources();
            sources.iter().rev().try_for_each(|source| record::revert(source, session))?;
            record::drop_if_empty(session)
        });
        reverted.await
    }

    /// Runs `work` while no other process migrates this database
    async fn with_session<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session) -> MigrationResult<T> + Send + 'static,
    ) -> Result<T, Error> {
        let connection = self.connector.connect(Purpose::Migrate).await?.inner;
        let mut lock = self.connector.connect(Purpose::Migrate).await?.inner;
        // The lock belongs to a transaction and not to a session, which a pooler might give to
        // another client. It is released with the connection, even if this process is killed.
        lock.batch_execute(&format!(
            "BEGIN; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; \
             SELECT pg_advisory_xact_lock({LOCK});"
        ))
        .await
        .map_err(Error::unavailable)?;
        // diesel's migrations are not async, so they run on a thread that may block.
        let work = move || {
            let done = work(&mut AsyncConnectionWrapper::from(connection));
            done.map_err(Error::migration)
        };
        let done = spawn_blocking(work).await.map_err(Error::migration)?;
        // If this fails, the transaction has ended as well.
        let _ = lock.batch_execute("COMMIT").await;
        done
    }
}

impl Migrations {
    fn sources(self) -> Vec<EmbeddedMigrations> {
        match self {
            Self::All => vec![CONTROL_PLANE, OWNED],
            Self::OwnedOnly => vec![OWNED],
        }
    }

    fn versions(self) -> MigrationResult<Vec<String>> {
        versions(self.sources())
    }
}

/// The versions of migrations, as they are recorded
fn versions(sources: impl IntoIterator<Item = EmbeddedMigrations>) -> MigrationResult<Vec<String>> {
    let mut versions = Vec::new();
    for source in sources {
        let migrations = MigrationSource::<Pg>::migrations(&source)?;
        versions.extend(migrations.iter().map(|migration| migration.name().version().to_string()));
    }
    Ok(versions)
}

/// Fails if a table exists that no migration of authd created
///
/// Such a table belongs to another program, so authd must not create its own beside it.
fn foreign_table(session: &mut Session) -> MigrationResult<Option<&'static str>> {
    let recorded = record::recorded(session)?;
    if versions([CONTROL_PLANE])?.iter().any(|version| recorded.contains(version)) {
        return Ok(None);
    }
    for table in TELLING_TABLES {
        if record::has_table(table, session)? {
            return Ok(Some(table));
        }
    }
    Ok(None)
}

const CONTROL_PLANE: EmbeddedMigrations = embed_migrations!("migrations/control-plane");
const OWNED: EmbeddedMigrations = embed_migrations!("migrations/owned");

/// Tables that each control plane has
const TELLING_TABLES: [&str; 3] = ["workspace_agents", "workspaces", "users"];

/// "authd" in ASCII, so that no other program uses it by chance
const LOCK: i64 = 0x0061_7574_6864;
const LOCK_TIMEOUT: &str = "60s";
