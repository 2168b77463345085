use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use private_postgres::{Ephemeral, Settings};
use tokio::task::spawn_blocking;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::StormError;
use super::options::Options;

/// A private PostgreSQL server with authd's database
#[derive(Clone)]
pub(super) struct Database {
    server: Arc<Mutex<Ephemeral>>,
    url: String,
    admin_url: String,
}

impl Database {
    /// Starts the server with an empty database
    pub(super) async fn start(binaries: Option<&Path>) -> Result<Self, StormError> {
        let settings = Settings::default().superuser("authd");
        let settings = match binaries {
            Some(folder) => settings.binaries(folder),
            None => settings,
        };
        let server = spawn_blocking(move || Ephemeral::start(&settings)).await??;
        let database = Self {
            url: server.url(NAME),
            admin_url: server.url("postgres"),
            server: Arc::new(Mutex::new(server)),
        };
        let create = format!("CREATE DATABASE {NAME}");
        run(&database.admin_url, "creating the database", &create).await?;
        Ok(database)
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Writes the fleet into migrated tables
    pub(super) async fn fill(&self, options: &Options) -> Result<(), StormError> {
        let clouds = options.clouds.iter().map(|cloud| match cloud {
            super::options::CloudName::Aws => "'aws'",
            super::options::CloudName::Azure => "'azure'",
            super::options::CloudName::Google => "'google'",
        });
        let fleet = include_str!("fleet.sql")
            .replace("$agents", &options.agents.to_string())
            .replace("$builds", &options.builds.to_string())
            .replace("$recycled", &options.recycled_share.to_string())
            .replace("$count", &options.clouds.len().to_string())
            .replace("$clouds", &clouds.collect::<Vec<_>>().join(", "));
        run(&self.url, "writing the fleet", &fleet).await?;
        run(&self.url, "analysing the tables", "VACUUM ANALYZE").await.map(drop)
    }

    /// The session token of the newest agent of each workspace, in order
    pub(super) async fn tokens(&self, options: &Options) -> Result<Vec<String>, StormError> {
        let (agents, builds) = (options.agents, options.builds);
        let tokens = format!(
            "SELECT md5('token ' || w || ' {builds}')::uuid
             FROM generate_series(0, {agents} - 1) w ORDER BY w"
        );
        run(&self.url, "reading the tokens", &tokens).await
    }

    /// The numbers of committed and of aborted transactions so far
    pub(super) async fn transactions(&self) -> Result<(u64, u64), StormError> {
        let counted = format!(
            "SELECT xact_commit || ' ' || xact_rollback FROM pg_stat_database
             WHERE datname = '{NAME}'"
        );
        let rows = run(&self.admin_url, "counting transactions", &counted).await?;
        let numbers = rows.first().and_then(|row| row.split_once(' '));
        let number = |text: &str| text.parse().unwrap_or(0);
        Ok(numbers.map_or((0, 0), |(done, aborted)| (number(done), number(aborted))))
    }

    /// Terminates authd's sessions and returns how many there were
    pub(super) async fn terminate(&self) -> Result<usize, StormError> {
        let terminate = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{NAME}'"
        );
        let rows = run(&self.admin_url, "terminating sessions", &terminate).await?;
        Ok(rows.iter().filter(|row| *row == "t").count())
    }

    /// Stops the server; open sessions are ended
    pub(super) async fn stop(&self) -> Result<(), StormError> {
        self.change(Ephemeral::pause).await
    }

    /// Starts the server again and returns once it serves
    pub(super) async fn resume(&self) -> Result<(), StormError> {
        self.change(Ephemeral::resume).await
    }

    async fn change(
        &self,
        change: fn(&mut Ephemeral) -> Result<(), private_postgres::Error>,
    ) -> Result<(), StormError> {
        let server = Arc::clone(&self.server);
        let change = move || change(&mut server.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(spawn_blocking(change).await??)
    }
}

/// Runs statements and returns the first column of their rows
async fn run(url: &str, doing: &'static str, statements: &str) -> Result<Vec<String>, StormError> {
    let connected = tokio_postgres::connect(url, NoTls).await;
    let (client, connection) = connected.map_err(StormError::sql(doing))?;
    let connection = tokio::spawn(connection);
    let rows = query(&client, statements).await.map_err(StormError::sql(doing));
    drop(client);
    // The session has ended when this returns, so that it is not counted later.
    let _ = connection.await;
    rows
}

async fn query(client: &Client, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?.into_iter();
    let rows = messages.filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(rows.collect())
}

const NAME: &str = "authd";
