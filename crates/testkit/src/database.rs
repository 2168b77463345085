#![allow(clippy::unwrap_used)] // a test without its database has failed

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use private_postgres::{Ephemeral, Error, Settings};
use store::{Migrations, Options, PgStore, StatementCounter};
use tokio::sync::OnceCell;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use uuid::Uuid;

use crate::ddl;
use crate::{Refusal, Release, Rows};

/// A migrated database for one test
///
/// All tests of a process share one private server. The first test starts it, and it is removed
/// when the process ends. The tables are created once and copied.
#[derive(Debug)]
pub struct Database {
    url: String,
    release: Option<Release>,
}

impl Database {
    /// A database with all tables and no rows
    pub async fn new() -> Self {
        shared().await.copy(TEMPLATE).await
    }

    /// A database without tables
    pub async fn empty() -> Self {
        shared().await.copy("template0").await
    }

    /// A database with the tables of a control plane's release and authd's own, without rows
    ///
    /// The tables have all known columns, defaults, keys, indexes and references, and the
    /// triggers that affect authd. The number of the release's last migration is stored as the
    /// control plane does, see [`forget_version`](Self::forget_version).
    pub async fn of_release(release: Release) -> Self {
        shared().await.copy_of_release(release).await
    }

    /// Like [`of_release`](Self::of_release), with rows, from a pool of databases
    ///
    /// Reusing a database is cheaper than a copy: the rows of the previous test are deleted. Its
    /// changes to the tables are not undone.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub async fn lent(release: Release, rows: Rows) -> Result<Loan, Refusal> {
        let free = {
            let mut free = lock(&FREE);
            let place = free.iter().position(|database| database.release == Some(release));
            place.map(|place| free.swap_remove(place))
        };
        let database = match free {
            Some(database) => database,
            None => Self::of_release(release).await,
        };
        let loan = Loan { database: Some(database) };
        let statements = rows.statements(release)?;
        let loaded = loan.try_sql(&format!("{WIPE} {statements}")).await;
        loaded.map(|_| loan).map_err(Refusal::Refused)
    }

    /// The release whose tables these are, if they are a control plane's
    #[must_use]
    pub const fn release(&self) -> Option<Release> {
        self.release
    }

    /// Removes the number of the last migration, as in a schema that was restored from a dump of
    /// the tables
    pub async fn forget_version(&self) {
        self.sql("DROP TABLE schema_migrations").await;
    }

    /// Migrates the tables and their rows to another release, newer or older, in one transaction
    /// as a control plane does
    ///
    /// A deadlock with a reader is possible. If the database aborts the upgrade, it is retried.
    ///
    /// # Panics
    ///
    /// Panics if these are not a control plane's tables, or if the rows cannot be kept.
    pub async fn upgrade(&mut self, to: Release) {
        let from = self.release.replace(to).unwrap();
        let steps = format!("BEGIN; {} COMMIT;", ddl::upgrade(from, to));
        while let Err(message) = self.try_sql(&steps).await {
            assert_eq!(message, "deadlock detected", "{from} to {to}");
        }
    }

    /// Adds rows to a control plane's tables as its release writes them: all or none of them
    ///
    /// # Errors
    ///
    /// Fails if the release cannot hold the rows, such as access lists in old releases.
    ///
    /// # Panics
    ///
    /// Panics if these are not a control plane's tables.
    pub async fn load(&self, rows: Rows) -> Result<(), Refusal> {
        let statements = rows.statements(self.release.unwrap())?;
        self.try_sql(&statements).await.map(drop).map_err(Refusal::Refused)
    }

    /// The URL of the database
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A store over this database
    pub async fn store(&self) -> PgStore {
        PgStore::connect(&self.url, &Options::default()).await.unwrap()
    }

    /// A store over this database, and the count of its statements
    pub async fn counted_store(&self) -> (PgStore, StatementCounter) {
        let counter = StatementCounter::default();
        let options = Options::default().statements(counter.clone());
        (PgStore::connect(&self.url, &options).await.unwrap(), counter)
    }

    /// Runs statements, and returns the rows of the last one as text, with `|` between columns
    ///
    /// For everything that a store does not offer: unusual rows, catalogues, plans.
    pub async fn sql(&self, statements: &str) -> Vec<String> {
        self.try_sql(statements).await.unwrap()
    }

    /// Like [`sql`](Self::sql), but returns the database's error
    ///
    /// # Errors
    ///
    /// The database's message.
    pub async fn try_sql(&self, statements: &str) -> Result<Vec<String>, String> {
        let result = sql(&self.url, statements).await;
        result.map_err(|error| message(&error))
    }

    /// Adds 100,000 agents with histories, in a few seconds
    ///
    /// Instances `i-one-N-B` (N odd, 1001 to 8999, build B of 10) have one
    /// candidate, `i-ten-N` (N even, 1002 to 9000) have ten, one of which is live, and
    /// `i-twenty-N` (N from 1 to 1000) have twenty, two of which are live. The SQL file lists the
    /// users, sessions and apps.
    pub async fn fill(&self) {
        self.sql(include_str!("history.sql")).await;
        self.sql("VACUUM ANALYZE").await;
        // Otherwise it would come while something is measured.
        self.sql("CHECKPOINT").await;
    }

    /// Lets the database accept no writes, or accept them again, in all sessions
    pub async fn set_read_only(&self, is_read_only: bool) {
        let name = self.sql("SELECT current_database()").await.remove(0);
        let set = format!(
            "BEGIN READ WRITE;
             ALTER DATABASE {name} SET default_transaction_read_only = {is_read_only};
             COMMIT"
        );
        self.sql(&set).await;
        // A setting of a database is read when a session begins.
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
        self.sql(others).await;
    }

    /// Runs statements in a transaction that stays open, such as one that locks a table
    pub async fn hold(&self, statements: &str) -> Held {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&format!("BEGIN; {statements}")).await.unwrap();
        Held { client }
    }

    /// Starts to run statements, and returns once the server executes them, up to a `pg_sleep` if
    /// they have one
    pub async fn sql_in_background(&self, statements: &str) -> JoinHandle<()> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let id: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        let mut running = Box::pin({
            let statements = statements.to_owned();
            async move { client.batch_execute(&statements).await.unwrap() }
        });
        // Longer than sending takes, and much shorter than the statements should take.
        let early = timeout(Duration::from_millis(100), &mut running).await;
        assert!(early.is_err(), "`{statements}` ended at once");
        let running = tokio::spawn(running);
        let sleeps = format!("SELECT wait_event FROM pg_stat_activity WHERE pid = {id}");
        while statements.contains("pg_sleep") && !running.is_finished() {
            if self.sql(&sleeps).await == ["PgSleep"] {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        running
    }
}

/// An open transaction, rolled back when it is dropped
#[derive(Debug)]
pub struct Held {
    client: Client,
}

impl Held {
    /// Waits until another session waits for what the transaction has locked
    ///
    /// # Panics
    ///
    /// Panics if that takes longer than a minute.
    pub async fn wait_for_other(&self) {
        let others = "SELECT FROM pg_locks
                      WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))";
        let waited = timeout(Duration::from_secs(60), async {
            while self.client.query(others, &[]).await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        waited.await.unwrap();
    }

    /// Commits the transaction
    pub async fn commit(self) {
        self.client.batch_execute("COMMIT").await.unwrap();
    }
}

/// A database of a release that returns to the pool when it is dropped, unless its test failed
#[derive(Debug)]
pub struct Loan {
    database: Option<Database>,
}

impl Deref for Loan {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.database.as_ref().unwrap()
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            lock(&FREE).extend(self.database.take());
        }
    }
}

/// A private server for one test, which the test can stop and restart
#[derive(Debug)]
pub struct OwnServer {
    server: Server,
}

impl OwnServer {
    /// Starts a server
    pub async fn start() -> Self {
        Self { server: Server::start(false).await }
    }

    /// Starts a server that writes to disk before it answers a commit
    pub async fn start_durable() -> Self {
        Self { server: Server::start(true).await }
    }

    /// A database with all tables and no rows
    pub async fn database(&self) -> Database {
        self.server.copy(TEMPLATE).await
    }

    /// A database with the tables of a control plane's release and no rows
    pub async fn database_of_release(&self, release: Release) -> Database {
        self.server.copy_of_release(release).await
    }

    /// Stops the server, as an outage would
    pub async fn pause(&self) {
        self.server.change(|server| server.pause().unwrap()).await;
    }

    /// Starts the server again
    pub async fn resume(&self) {
        self.server.change(|server| server.resume().unwrap()).await;
    }
}

/// A server with the template databases
#[derive(Debug)]
struct Server {
    postgres: Arc<Mutex<Ephemeral>>,
    /// The releases whose templates exist
    releases: [OnceCell<()>; Release::ALL.len()],
}

impl Server {
    async fn start(durable: bool) -> Self {
        let settings = Settings::default().superuser("authd").durable(durable);
        let start = move || Ephemeral::start(&settings);
        // The message names the package to install.
        let postgres = spawn_blocking(start).await.unwrap().unwrap_or_else(|error| match error {
            Error::Io { ref source, .. } => panic!("{error}: {source}"),
            error => panic!("{error}"),
        });
        let releases = [const { OnceCell::const_new() }; Release::ALL.len()];
        let server = Self { postgres: Arc::new(Mutex::new(postgres)), releases };
        sql(&server.url("postgres"), &format!("CREATE DATABASE {TEMPLATE}")).await.unwrap();
        let store = PgStore::new(&server.url(TEMPLATE), &Options::default()).unwrap();
        store.migrate(Migrations::All).await.unwrap();
        server
    }

    async fn copy(&self, template: &str) -> Database {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let admin = self.url("postgres");
        sql(&admin, &format!("CREATE DATABASE {name} TEMPLATE {template}")).await.unwrap();
        Database { url: self.url(&name), release: None }
    }

    async fn copy_of_release(&self, release: Release) -> Database {
        let template = format!("template_{}", release.position());
        let make = async || {
            sql(&self.url("postgres"), &format!("CREATE DATABASE {template}")).await.unwrap();
            let url = self.url(&template);
            let made = sql(&url, &(ddl::statements(release) + &ddl::version(release))).await;
            made.unwrap_or_else(|error| panic!("{release}: {}", message(&error)));
            let store = PgStore::new(&url, &Options::default()).unwrap();
            store.migrate(Migrations::OwnedOnly).await.unwrap();
        };
        self.releases[release.position()].get_or_init(make).await;
        Database { release: Some(release), ..self.copy(&template).await }
    }

    async fn change(&self, change: fn(&mut Ephemeral)) {
        let postgres = Arc::clone(&self.postgres);
        spawn_blocking(move || change(&mut lock(&postgres))).await.unwrap();
    }

    fn url(&self, database: &str) -> String {
        lock(&self.postgres).url(database)
    }
}

async fn shared() -> &'static Server {
    static SHARED: OnceCell<Server> = OnceCell::const_new();
    SHARED.get_or_init(|| Server::start(false)).await
}

async fn sql(url: &str, statements: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let messages = client.simple_query(statements).await;
    // Closed before the next step: a template must have no visitors.
    drop(client);
    connection.await.unwrap().unwrap();

    let mut rows = Vec::new();
    for message in messages? {
        match message {
            SimpleQueryMessage::RowDescription(_) => rows.clear(),
            SimpleQueryMessage::Row(row) => {
                let columns: Vec<_> =
                    (0..row.len()).map(|column| row.get(column).unwrap_or("")).collect();
                rows.push(columns.join("|"));
            }
            _ => {}
        }
    }
    Ok(rows)
}

fn message(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pool of databases that tests returned
static FREE: Mutex<Vec<Database>> = Mutex::new(Vec::new());

/// Deletes all rows except those about migrations, without running triggers
const WIPE: &str = "
    DO $$
    DECLARE
        name text;
    BEGIN
        SET LOCAL session_replication_role = replica;
        FOR name IN
            SELECT tablename FROM pg_tables
            WHERE schemaname = 'public' AND tablename NOT LIKE '%schema_migrations'
        LOOP
            EXECUTE format('DELETE FROM %I', name);
        END LOOP;
        SET LOCAL session_replication_role = origin;
    END
    $$;";

const TEMPLATE: &str = "template_migrated";
