//! Detection of a pooler between authd and the database

use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage, Statement};

use super::PgStore;
use super::connect::{Connector, Purpose};
use crate::Error;

/// The kind of pooler between authd and the database
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Pooling {
    /// No pooler that keeps settings from the server
    None,
    /// A pooler that assigns a connection to one client until the client disconnects, as far as
    /// could be observed
    Session,
    /// A pooler that assigns a connection to another client after each transaction
    Transaction,
}

impl PgStore {
    /// Whether a pooler keeps authd's settings from the server, as of the last connection
    ///
    /// authd then sets nothing, and the settings of its role apply: `jit`, `plan_cache_mode` and
    /// `statement_timeout`. authd enforces the statement timeout itself.
    #[must_use]
    pub fn is_pooled(&self) -> bool {
        self.connector.is_pooled()
    }

    /// Finds out what kind of pooler stands between authd and the database
    ///
    /// Opens one connection, or two if there is a pooler. A pooler that is busy with other clients
    /// may be reported as [`Pooling::Session`].
    ///
    /// # Errors
    ///
    /// [`Error::Pooler`] if authd cannot work through the pooler: it reassigns connections after
    /// each statement, or after each transaction without keeping prepared statements apart, so
    /// that a statement might run another one of the same name. [`Error::Unavailable`].
    pub async fn pooling(&self) -> Result<Pooling, Error> {
        let connector = &self.connector;
        let one = connector.in_time(connector.log_in(Purpose::Read)).await?;
        if !connector.is_pooled() {
            return Ok(Pooling::None);
        }
        let other = connector.in_time(connector.log_in(Purpose::Read)).await?;
        let look = look(&one.client, &other.client, connector);
        match timeout(connector.connect_timeout(), look).await {
            Ok(seen) => seen,
            // The pooler is busy, which is not an error.
            Err(_) => Ok(Pooling::Session),
        }
    }
}

async fn look(one: &Client, other: &Client, connector: &Connector) -> Result<Pooling, Error> {
    if !shares_connections(one, other).await? {
        return Ok(Pooling::Session);
    }
    for _ in 0..TRIES {
        let kept = keeps_statements(one, other, connector).await?;
        match kept {
            Some(true) => return Ok(Pooling::Transaction),
            Some(false) => {
                return Err(Error::Pooler {
                    reason: "it hands connections on after each transaction and does not keep \
                             prepared statements apart; PgBouncer does from version 1.21 with \
                             `max_prepared_statements` above 0, otherwise it needs \
                             `pool_mode = session`"
                        .to_owned(),
                });
            }
            None => {}
        }
    }
    // One connection for all clients: it refuses names that collide, so nothing is mixed up.
    Ok(Pooling::Transaction)
}

/// Whether two clients that are both connected were given the same server process
async fn shares_connections(one: &Client, other: &Client) -> Result<bool, Error> {
    let first = process(one).await?;
    for _ in 0..TRIES {
        // Poolers usually assign the connection that was released last.
        if process(one).await? != first || process(other).await? == first {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a prepared statement can be used on another connection than the one on which it was
/// prepared; `None` if that could not be tried
async fn keeps_statements(
    one: &Client,
    other: &Client,
    connector: &Connector,
) -> Result<Option<bool>, Error> {
    // Prepared and used in two steps, which are two transactions.
    let prepared = match one.prepare("SELECT pg_backend_pid()").await {
        Ok(statement) => statement,
        Err(error) => return lost(error).map(Some),
    };
    let prepared_at = match execute(one, &prepared).await {
        Ok(process) => process,
        Err(error) => return lost(error).map(Some),
    };
    if let Err(error) = other.batch_execute("BEGIN").await {
        let reason = match error.as_db_error() {
            Some(error) => format!("it does not let transactions begin: {}", error.message()),
            None => return Err(Error::unavailable(error)),
        };
        return Err(Error::Pooler { reason });
    }
    let held = process(other).await?;
    // While the other client holds the connection, the statement has to run elsewhere.
    let kept = if held == prepared_at {
        let limit = WAIT.min(connector.connect_timeout());
        match timeout(limit, execute(one, &prepared)).await {
            Ok(Ok(_)) => Some(true),
            Ok(Err(error)) => Some(lost(error)?),
            Err(_) => None,
        }
    } else {
        None
    };
    other.batch_execute("ROLLBACK").await.map_err(Error::unavailable)?;
    Ok(kept)
}

async fn execute(client: &Client, statement: &Statement) -> Result<i32, tokio_postgres::Error> {
    client.query_one(statement, &[]).await?.try_get(0)
}

/// Returns `false` if `error` means that a prepared statement was not found
fn lost(error: tokio_postgres::Error) -> Result<bool, Error> {
    match error.code() {
        Some(
            &SqlState::INVALID_SQL_STATEMENT_NAME
            | &SqlState::DUPLICATE_PSTATEMENT
            | &SqlState::PROTOCOL_VIOLATION,
        ) => Ok(false),
        _ => Err(Error::unavailable(error)),
    }
}

/// The id of the server process behind a client
async fn process(client: &Client) -> Result<i32, Error> {
    let messages = client.simple_query("SELECT pg_backend_pid()").await;
    let row = messages.map_err(Error::unavailable)?.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).and_then(|process| process.parse().ok()),
        _ => None,
    });
    row.ok_or_else(|| Error::unavailable("the server does not say which process it is"))
}

const TRIES: usize = 8;
const WAIT: Duration = Duration::from_millis(500);
