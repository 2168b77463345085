mod owner;
mod record;
mod remove;

use diesel::migration::{MigrationSource, Result as MigrationResult};
use diesel::pg::Pg;
use diesel_async::SimpleAsyncConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use tokio::task::spawn_blocking;

pub use self::owner::Owner;
pub(super) use self::owner::Recorded;
use self::record::Session;
pub use self::remove::Owned;
use super::PgStore;
use super::connect::Purpose;
use crate::Error;

/// Which tables a migration is about
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrations {
    /// The control plane's tables and authd's own: authd stands alone
    All,
    /// Only the tables that authd alone writes: a control plane has the rest
    OwnedOnly,
}

/// What a migration did
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migrated {
    /// The migrations that were applied, in their order, such as
    /// `2026-11-21-000900_audit_sessions`
    pub applied: Vec<String>,
    /// What became of a record that an earlier release of authd kept, if there was one
    pub former_record: Option<FormerRecord>,
}

/// What became of `__diesel_schema_migrations`, where earlier releases of authd recorded
/// migrations
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FormerRecord {
    /// How many migrations of authd were recorded there
    pub entries: usize,
    /// Whether the table was dropped: nothing else was in it, and it belonged to this user
    pub dropped: bool,
}

impl PgStore {
    /// Brings the tables to the newest version; does nothing if they are
    ///
    /// Replicas may all do this when they start: one works and the others wait. Each
    /// migration is a transaction, and is recorded in the table `authd_schema_migrations`.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignTables`] if all tables are asked for and a control plane's
    /// are there already, [`Error::Migration`], [`Error::Unavailable`].
    pub async fn migrate(&self, migrations: Migrations) -> Result<Migrated, Error> {
        let migrated = self.with_session(move |session| {
            let former_record = record::take_over(session)?;
            if migrations == Migrations::All
                && let Some(table) = foreign_table(session)?
            {
                return Ok(Err(Error::ForeignTables { table }));
            }
            let mut applied = Vec::new();
            for source in migrations.sources() {
                applied.append(&mut record::apply(&source, session)?);
            }
            Ok(Ok(Migrated { applied, former_record }))
        });
        migrated.await?
    }

    /// Drops the tables and all that is in them
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
        // The lock is a transaction's and not a session's, which a pooler would hand on with
        // it. It is released with the connection, even if this process is killed.
        lock.batch_execute(&format!(
            "BEGIN; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; \
             SELECT pg_advisory_xact_lock({LOCK});"
        ))
        .await
        .map_err(Error::unavailable)?;
        // diesel's migrations know no async, so they get a thread that may block.
        let work = move || {
            let done = work(&mut AsyncConnectionWrapper::from(connection));
            done.map_err(Error::migration)
        };
        let done = spawn_blocking(work).await.map_err(Error::migration)?;
        // If this fails the transaction has ended as well.
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

/// A table that is there although no migration of ours created it belongs to another
/// program, and creating ours beside or over it would be wrong
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

/// Tables that every control plane has
const TELLING_TABLES: [&str; 3] = ["workspace_agents", "workspaces", "users"];

/// "authd" in ASCII, so that no other program has it by chance
const LOCK: i64 = 0x0061_7574_6864;
const LOCK_TIMEOUT: &str = "60s";
