#![allow(clippy::unwrap_used)] // a test that cannot have its database has failed

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use store::cluster::{Ephemeral, Settings};
use store::{Migrations, Options, PgStore, StatementCounter};
use tokio::sync::OnceCell;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tokio_postgres::{NoTls, SimpleQueryMessage};
use uuid::Uuid;

/// A migrated database of one test's own
///
/// All tests of a process share one private server, started by the first of them
/// and removed when the process ends. The tables are made once and copied.
#[derive(Debug)]
pub struct Database {
    url: String,
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

    /// For anything that takes a database URL
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

    /// Runs statements, and returns the last one's rows as text, columns by `|`
    ///
    /// The way into the database for what a store has no word for: unusual rows,
    /// catalogues, plans.
    pub async fn sql(&self, statements: &str) -> Vec<String> {
        self.try_sql(statements).await.unwrap()
    }

    /// Like [`sql`](Self::sql), or what the database has against it
    ///
    /// # Errors
    ///
    /// The database's message.
    pub async fn try_sql(&self, statements: &str) -> Result<Vec<String>, String> {
        let result = sql(&self.url, statements).await;
        result.map_err(|error| {
            error
                .as_db_error()
                .map_or_else(|| error.to_string(), |error| error.message().to_owned())
        })
    }

    /// Adds 100,000 agents with histories, in a few seconds
    ///
    /// Instances `i-one-N-B` (N odd, 1001 to 8999, build B of 10) have one
    /// candidate, `i-ten-N` (N even, 1002 to 9000) ten of which one is live, and
    /// `i-twenty-N` (N from 1 to 1000) twenty of which two are live. The file says which
    /// users, sessions and apps there are besides.
    pub async fn fill(&self) {
        self.sql(include_str!("history.sql")).await;
        self.sql("VACUUM ANALYZE").await;
    }

    /// Starts to run statements, and returns once the server works on them
    pub async fn sql_in_background(&self, statements: &str) -> JoinHandle<()> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let mut running = Box::pin({
            let statements = statements.to_owned();
            async move { client.batch_execute(&statements).await.unwrap() }
        });
        // Longer than it takes to send them, and far less than they should take.
        let early = timeout(Duration::from_millis(100), &mut running).await;
        assert!(early.is_err(), "`{statements}` ended at once");
        tokio::spawn(running)
    }
}

/// A private server of one test's own, to be stopped and started under way
#[derive(Debug)]
pub struct OwnServer {
    server: Server,
}

impl OwnServer {
    /// Starts a server
    pub async fn start() -> Self {
        Self { server: Server::start().await }
    }

    /// A database with all tables and no rows
    pub async fn database(&self) -> Database {
        self.server.copy(TEMPLATE).await
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

/// A server with the template
#[derive(Debug)]
struct Server {
    cluster: Arc<Mutex<Ephemeral>>,
}

impl Server {
    async fn start() -> Self {
        let started = spawn_blocking(|| Ephemeral::start(&Settings::default())).await.unwrap();
        // The message says what to install.
        let cluster = started.unwrap_or_else(|error| panic!("{error}"));
        let server = Self { cluster: Arc::new(Mutex::new(cluster)) };
        sql(&server.url("postgres"), &format!("CREATE DATABASE {TEMPLATE}")).await.unwrap();
        let store = PgStore::new(&server.url(TEMPLATE), &Options::default()).unwrap();
        store.migrate(Migrations::All).await.unwrap();
        server
    }

    async fn copy(&self, template: &str) -> Database {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let admin = self.url("postgres");
        sql(&admin, &format!("CREATE DATABASE {name} TEMPLATE {template}")).await.unwrap();
        Database { url: self.url(&name) }
    }

    async fn change(&self, change: fn(&mut Ephemeral)) {
        let cluster = Arc::clone(&self.cluster);
        spawn_blocking(move || change(&mut lock(&cluster))).await.unwrap();
    }

    fn url(&self, database: &str) -> String {
        lock(&self.cluster).url(database)
    }
}

async fn shared() -> &'static Server {
    static SHARED: OnceCell<Server> = OnceCell::const_new();
    SHARED.get_or_init(Server::start).await
}

async fn sql(url: &str, statements: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let messages = client.simple_query(statements).await;
    // Gone before the next step: a template must have no visitors.
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

fn lock(cluster: &Mutex<Ephemeral>) -> MutexGuard<'_, Ephemeral> {
    cluster.lock().unwrap_or_else(PoisonError::into_inner)
}

const TEMPLATE: &str = "template_migrated";
