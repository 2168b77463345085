use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bb8::{ManageConnection, Pool, PooledConnection, RunError};
use diesel::result::QueryResult;
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::PoolableConnection;

use super::connect::{Connection, Connector, Purpose};
use super::failure::Failure;
use super::tables::Tables;
use super::timing::{Counted, Histogram, Statements};
use crate::Error;
use crate::facts::{PoolFacts, Question};

/// A pool of connections, each for one writer at a time
pub(super) struct Writes {
    pool: Pool<Opener>,
    connector: Connector,
    limit: u32,
    waiting: AtomicU64,
    waits: Histogram,
}

/// Opens the connections of a pool
#[derive(Debug)]
struct Opener {
    connector: Connector,
    purpose: Purpose,
}

impl ManageConnection for Opener {
    type Connection = Connection;
    type Error = Error;

    async fn connect(&self) -> Result<Connection, Error> {
        self.connector.connect(self.purpose).await
    }

    /// Not checked: that would cost a round trip per use, as much as most statements
    async fn is_valid(&self, _: &mut Connection) -> Result<(), Error> {
        Ok(())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.is_closed() || connection.inner.is_broken()
    }
}

/// A connection out of the pool
pub(super) struct Lent<'a> {
    connection: PooledConnection<'a, Opener>,
    question: Question,
    statements: &'a Statements,
}

impl Lent<'_> {
    pub(super) fn tables(&self) -> Arc<Tables> {
        Arc::clone(&self.connection.tables)
    }

    /// Keeps the connection from being lent again
    pub(super) fn retire(&self) {
        self.connection.retire();
    }
}

impl Deref for Lent<'_> {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        &self.connection.inner
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        &mut self.connection.inner
    }
}

impl Writes {
    pub(super) fn new(connector: Connector, purpose: Purpose, connections: u32) -> Self {
        let limit = connections.max(1);
        let opener = Opener { connector: connector.clone(), purpose };
        let pool = Pool::builder()
            .max_size(limit)
            .test_on_check_out(false)
            .connection_timeout(connector.connect_timeout())
            .build_unchecked(opener);
        let (waiting, waits) = (AtomicU64::new(0), Histogram::default());
        Self { pool, connector, limit, waiting, waits }
    }

    /// Says why no connection became free, which the pool does not
    fn none_free(&self) -> Error {
        const LATE: &str = "no connection became free in time";
        match self.connector.failure() {
            Some(Error::Unavailable { reason }) => {
                Error::unavailable(format!("{LATE}, and none can be opened: {reason}"))
            }
            Some(error) => error,
            None => Error::unavailable(LATE),
        }
    }

    /// The connections as they are now
    pub(super) fn facts(&self, pool: &'static str) -> PoolFacts {
        let state = self.pool.state();
        PoolFacts {
            pool,
            open: state.connections.into(),
            in_use: state.connections.saturating_sub(state.idle_connections).into(),
            limit: self.limit.into(),
            waiting: self.waiting.load(Ordering::Relaxed),
            waits: self.waits.read(),
        }
    }

    /// As [`get_for`](Self::get_for), for [`Question::Other`]
    pub(super) async fn get(&self) -> Result<Lent<'_>, Error> {
        self.get_for(Question::Other).await
    }

    /// Returns a connection that was open a moment ago, for a statement that answers `question`
    ///
    /// After a restart of the database, no idle connection is.
    pub(super) async fn get_for(&self, question: Question) -> Result<Lent<'_>, Error> {
        let asked = Instant::now();
        let waiting = Counted::new(&self.waiting);
        let lent = self.lend(question).await;
        drop(waiting);
        self.waits.add(asked.elapsed());
        lent
    }

    async fn lend(&self, question: Question) -> Result<Lent<'_>, Error> {
        loop {
            // On the heap: opening a connection takes a kilobyte, which every request that may
            // write would otherwise reserve.
            let connection = Box::pin(self.pool.get()).await;
            let mut connection = connection.map_err(|error| match error {
                RunError::TimedOut => self.none_free(),
                RunError::User(error) => error,
            })?;
            // Dropping a broken connection removes it from the pool, so this ends.
            if !connection.is_closed() && !connection.inner.is_broken() {
                return Ok(Lent { connection, question, statements: &self.connector.statements });
            }
        }
    }

    /// As [`ask`](Self::ask), for [`Question::Other`]
    pub(super) async fn run<T>(
        &self,
        write: impl AsyncFnOnce(&mut AsyncPgConnection) -> QueryResult<T>,
    ) -> Result<T, Error> {
        self.ask(Question::Other, write).await
    }

    /// As [`ask`](Self::ask), for a statement that depends on the tables
    pub(super) async fn ask_by_tables<T>(
        &self,
        question: Question,
        write: impl AsyncFnOnce(&mut AsyncPgConnection, &Tables) -> QueryResult<T>,
    ) -> Result<T, Error> {
        let mut connection = self.get_for(question).await?;
        let (tables, began) = (connection.tables(), Instant::now());
        let outcome = write(&mut connection, &tables).await;
        connection.judge(outcome, began).await
    }

    /// Runs one write, once
    ///
    /// If its connection turns out to be broken, the write may have been executed or not.
    pub(super) async fn ask<T>(
        &self,
        question: Question,
        write: impl AsyncFnOnce(&mut AsyncPgConnection) -> QueryResult<T>,
    ) -> Result<T, Error> {
        let mut connection = self.get_for(question).await?;
        let began = Instant::now();
        let outcome = write(&mut connection).await;
        connection.judge(outcome, began).await
    }
}

impl Lent<'_> {
    /// The result of a write that is not tried again
    pub(super) async fn judge<T>(
        &self,
        outcome: QueryResult<T>,
        began: Instant,
    ) -> Result<T, Error> {
        self.statements.ended(self.question, began.elapsed(), outcome.is_ok());
        match outcome {
            Ok(done) => Ok(done),
            Err(error) => {
                let failure = self.failed(&error, began).await;
                Err(failure.error(error))
            }
        }
    }

    /// The result of a write whose statement depends on the tables
    ///
    /// Returns `None` if the write should be tried again on another connection: a statement
    /// that the server refused, or that failed because the tables have changed, wrote nothing.
    pub(super) async fn done<T>(
        &self,
        outcome: QueryResult<T>,
        began: Instant,
        tries: &mut u8,
    ) -> Result<Option<T>, Error> {
        self.statements.ended(self.question, began.elapsed(), outcome.is_ok());
        let error = match outcome {
            Ok(done) => return Ok(Some(done)),
            Err(error) => error,
        };
        *tries += 1;
        match self.failed(&error, began).await {
            Failure::TablesChanged if *tries < TRIES => Ok(None),
            // Once: a refusal that is not temporary would come again.
            Failure::Refused if *tries == 1 => Ok(None),
            failure => Err(failure.error(error)),
        }
    }

    /// Finds out why a statement failed, and retires a connection that knows outdated tables or
    /// cannot write
    async fn failed(&self, error: &diesel::result::Error, began: Instant) -> Failure {
        // On the heap: few writes fail.
        let failure = Box::pin(Failure::of(&self.connection, error, began.elapsed())).await;
        // After a failover the next connection may lead to a server that accepts writes.
        if matches!(failure, Failure::TablesChanged | Failure::ReadOnly) {
            self.connection.retire();
        }
        failure
    }
}

impl fmt::Debug for Writes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writes").field("state", &self.pool.state()).finish()
    }
}

/// How often a write is tried while the tables change
const TRIES: u8 = 3;
