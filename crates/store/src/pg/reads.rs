use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use diesel::result::QueryResult;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::connect::{Connection, Connector, Purpose};
use super::failure::Failure;
use crate::Error;
use crate::facts::{Durations, PoolFacts, Question};

/// A few connections that all reads share
///
/// Statements of different callers are sent without waiting for each other's answers, which is
/// twice as fast as a pool that lends a connection to one caller at a time. In return a slow
/// statement delays those behind it, and there are no transactions. Use these connections only
/// for single statements that read few rows.
#[derive(Debug)]
pub(super) struct Reads {
    slots: Vec<Slot>,
    next: AtomicUsize,
    /// The longest that a read may take, with all tries
    limit: Duration,
}

/// A slot for one connection, which is opened when first needed and reopened when it breaks
#[derive(Debug)]
struct Slot {
    connector: Connector,
    current: ArcSwapOption<Connection>,
    opening: Mutex<()>,
    /// How often opening has failed, and the last error
    failures: AtomicUsize,
    last_failure: ArcSwapOption<Error>,
}

impl Reads {
    pub(super) fn new(connector: &Connector, connections: usize) -> Self {
        let slots = (0..connections.max(1)).map(|_| Slot::new(connector.clone()));
        Self {
            slots: slots.collect(),
            next: AtomicUsize::new(0),
            limit: connector.connect_timeout() + connector.statement_timeout(),
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.slots.len()
    }

    /// The connections as they are now; `waiting` callers wait to share a statement
    pub(super) fn facts(&self, pool: &'static str, waiting: usize) -> PoolFacts {
        let open = self.slots.iter().filter(|slot| slot.open_connection().is_some()).count();
        let number = |count| u64::try_from(count).unwrap_or(u64::MAX);
        PoolFacts {
            pool,
            open: number(open),
            in_use: 0,
            limit: number(self.slots.len()),
            waiting: number(waiting),
            waits: Durations::default(),
        }
    }

    /// Runs one read on any connection, as [`run_on`](Self::run_on) does, and counts its time under
    /// [`Question::Other`]
    pub(super) async fn run<T, F>(&self, read: impl Fn(Arc<Connection>) -> F) -> Result<T, Error>
    where
        F: Future<Output = QueryResult<T>>,
    {
        self.ask(Question::Other, read).await
    }

    /// Runs one read on any connection, as [`run_on`](Self::run_on) does
    pub(super) async fn ask<T, F>(
        &self,
        question: Question,
        read: impl Fn(Arc<Connection>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = QueryResult<T>>,
    {
        let connection = self.next.fetch_add(1, Ordering::Relaxed);
        // On the heap: few requests make these reads, and every one would otherwise reserve
        // space for them.
        Box::pin(self.run_on(connection, question, read)).await
    }

    /// Runs one read, and tries it again if its connection is lost, the tables have changed or
    /// the server refuses the statement
    ///
    /// Returns within the sum of the connect timeout and the statement timeout, including all
    /// tries.
    pub(super) async fn run_on<T, F>(
        &self,
        connection: usize,
        question: Question,
        read: impl Fn(Arc<Connection>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = QueryResult<T>>,
    {
        let slot = &self.slots[connection % self.slots.len()];
        timeout(self.limit, slot.run(question, read)).await.unwrap_or_else(|_| {
            slot.connector.statements.ended(question, self.limit, false);
            // The state of this connection is unknown, so no other read should wait behind it.
            slot.current.store(None);
            let limit = self.limit.as_secs_f32();
            Err(Error::unavailable(format!("no answer within {limit} s")))
        })
    }
}

impl Slot {
    fn new(connector: Connector) -> Self {
        Self {
            connector,
            current: ArcSwapOption::empty(),
            opening: Mutex::new(()),
            failures: AtomicUsize::new(0),
            last_failure: ArcSwapOption::empty(),
        }
    }

    async fn run<T, F>(
        &self,
        question: Question,
        read: impl Fn(Arc<Connection>) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = QueryResult<T>>,
    {
        let (mut tries, mut refused) = (TRIES, false);
        loop {
            let connection = self.connection().await?;
            let began = Instant::now();
            let outcome = read(Arc::clone(&connection)).await;
            self.connector.statements.ended(question, began.elapsed(), outcome.is_ok());
            let error = match outcome {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            tries -= 1;
            // On the heap: few reads fail.
            let failure = Box::pin(Failure::of(&connection, &error, began.elapsed())).await;
            match failure {
                Failure::Lost | Failure::TablesChanged if tries > 0 => self.discard(&connection),
                // Once: a refusal that is not temporary would come again.
                Failure::Refused if !refused => refused = true,
                failure => return Err(failure.error(error)),
            }
        }
    }

    /// The open connection, or a new one
    async fn connection(&self) -> Result<Arc<Connection>, Error> {
        match self.open_connection() {
            Some(connection) => Ok(connection),
            // On the heap: every read would otherwise reserve space for it, three kilobytes for
            // each request and each idle client of a server.
            None => Box::pin(self.new_connection()).await,
        }
    }

    /// Opens a connection
    ///
    /// Of many callers without a connection one opens it, and the others share the result,
    /// including a failure. They would otherwise wait for a dead database one after another.
    async fn new_connection(&self) -> Result<Arc<Connection>, Error> {
        let failures_before = self.failures.load(Ordering::Acquire);
        let _opening = self.opening.lock().await;
        if let Some(connection) = self.open_connection() {
            return Ok(connection);
        }
        if self.failures.load(Ordering::Acquire) != failures_before
            && let Some(error) = self.last_failure.load_full()
        {
            return Err((*error).clone());
        }
        match self.connector.connect(Purpose::Read).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                self.current.store(Some(Arc::clone(&connection)));
                Ok(connection)
            }
            Err(error) => {
                self.last_failure.store(Some(Arc::new(error.clone())));
                self.failures.fetch_add(1, Ordering::Release);
                Err(error)
            }
        }
    }

    fn open_connection(&self) -> Option<Arc<Connection>> {
        self.current.load_full().filter(|connection| !connection.is_closed())
    }

    /// Empties the slot, unless another caller has replaced the broken connection already
    fn discard(&self, broken: &Arc<Connection>) {
        self.current.compare_and_swap(broken, None);
    }
}

/// How often a read is tried: twice in case its connection was lost, and once more in case the
/// tables have changed meanwhile
const TRIES: u8 = 3;
