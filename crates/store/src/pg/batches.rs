use std::collections::VecDeque;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use diesel::result::QueryResult;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::connect::Connection;
use super::reads::Reads;
use crate::Error;
use crate::facts::Question;

/// A query of which several share one statement
pub(super) trait BatchQuery: Send + Sync + 'static {
    /// The part of the statement's result that answers one query
    type Answer: Send + 'static;

    /// The question under which the statement's time is counted
    const QUESTION: Question = Question::Other;

    /// Runs all queries in one statement, and returns an answer to each
    fn run(
        queries: &[Self],
        connection: Arc<Connection>,
    ) -> impl Future<Output = QueryResult<Vec<Self::Answer>>> + Send
    where
        Self: Sized;
}

/// Lets callers with queries at the same time share a statement
///
/// A caller who is alone has a statement at once. Callers who come while a statement is running
/// share the next one. That starts when the first ends, or earlier on another connection: once
/// [`EARLY_BATCH`] callers wait, or the first has taken [`SLOW_AFTER`]. Starting a statement
/// costs the database as much as several lookups, so under load this more than halves the work.
/// A statement answers only queries that were asked before it was sent, so no answer is older
/// than its query.
pub(super) struct Batches<Q: BatchQuery> {
    reads: Arc<Reads>,
    state: Mutex<State<Q>>,
}

struct State<Q: BatchQuery> {
    /// The connections on which no batch is running
    idle: Vec<usize>,
    /// How many statements are running that have not taken [`SLOW_AFTER`] yet
    quick: usize,
    waiting: VecDeque<(Q, Caller<Q>)>,
}

impl<Q: BatchQuery> State<Q> {
    /// Takes a connection for one more statement, if one is idle
    fn begin(&mut self) -> Option<usize> {
        let connection = self.idle.pop()?;
        self.quick += 1;
        Some(connection)
    }
}

impl<Q: BatchQuery> Batches<Q> {
    pub(super) fn new(reads: Arc<Reads>) -> Self {
        let idle = (0..reads.connections()).collect();
        let state = State { idle, quick: 0, waiting: VecDeque::new() };
        Self { reads, state: Mutex::new(state) }
    }

    pub(super) async fn ask(self: &Arc<Self>, query: Q) -> Result<Q::Answer, Error> {
        let (caller, answer) = oneshot::channel();
        let idle = {
            let mut state = self.state();
            state.waiting.push_back((query, caller));
            if state.quick == 0 || state.waiting.len() >= EARLY_BATCH {
                state.begin()
            } else {
                None
            }
        };
        self.start(idle);
        answer.await.unwrap_or_else(|_| Err(Error::unavailable("the store is shutting down")))
    }

    /// The number of callers that wait to share a statement
    pub(super) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// Starts to answer waiting callers over `connection`, if there is one
    fn start(self: &Arc<Self>, connection: Option<usize>) {
        if connection.is_some() {
            // A task of its own: other callers come to depend on it, so it must outlive
            // this one.
            let worker = Worker { batches: Arc::clone(self), connection, is_quick: true };
            tokio::spawn(worker.run());
        }
    }

    fn state(&self) -> MutexGuard<'_, State<Q>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Q: BatchQuery> fmt::Debug for Batches<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches").field("waiting", &self.state().waiting.len()).finish()
    }
}

/// Answers waiting callers over one connection, until none is left
struct Worker<Q: BatchQuery> {
    batches: Arc<Batches<Q>>,
    /// `None` once it is given back
    connection: Option<usize>,
    /// Whether this worker is counted in [`State::quick`]
    is_quick: bool,
}

type Caller<Q> = oneshot::Sender<Result<<Q as BatchQuery>::Answer, Error>>;

impl<Q: BatchQuery> Worker<Q> {
    async fn run(mut self) {
        loop {
            // Callers who are ready to ask come first: a statement costs more than that.
            yield_now().await;
            let Some((connection, queries, callers)) = self.next() else { return };
            let reads = Arc::clone(&self.batches.reads);
            let run = async |queries: &[Q]| {
                let run = |connection| async move { Q::run(queries, connection).await };
                reads.run_on(connection, Q::QUESTION, run).await
            };
            match self.unless_slow(run(&queries)).await {
                Ok(answers) => {
                    for (caller, answer) in callers.into_iter().zip(answers) {
                        // Fails if the caller has gone away.
                        let _ = caller.send(Ok(answer));
                    }
                }
                // One query may be at fault, by taking too long or by finding an invalid row.
                // The others must not suffer for it.
                Err(Error::Query { .. } | Error::InvalidRow { .. }) if queries.len() > 1 => {
                    for (query, caller) in queries.into_iter().zip(callers) {
                        let answer = self.unless_slow(run(&[query])).await;
                        let answer = answer.map(|mut answers| answers.pop());
                        if let Some(answer) = answer.transpose() {
                            let _ = caller.send(answer);
                        }
                    }
                }
                Err(error) => {
                    for caller in callers {
                        let _ = caller.send(Err(error.clone()));
                    }
                }
            }
        }
    }

    /// Waits for a statement, and lets others have another once it takes long
    async fn unless_slow<T>(&mut self, statement: impl Future<Output = T>) -> T {
        let mut statement = pin!(statement);
        match timeout(SLOW_AFTER, &mut statement).await {
            Ok(answers) => answers,
            Err(_) => {
                let next = {
                    let mut state = self.batches.state();
                    state.quick -= usize::from(std::mem::take(&mut self.is_quick));
                    if state.waiting.is_empty() { None } else { state.begin() }
                };
                self.batches.start(next);
                statement.await
            }
        }
    }

    /// The callers that wait now; `None` if there are none, and the worker has ended
    fn next(&mut self) -> Option<(usize, Vec<Q>, Vec<Caller<Q>>)> {
        let batches = Arc::clone(&self.batches);
        let mut state = batches.state();
        loop {
            let count = state.waiting.len().min(MAX_BATCH);
            if count == 0 {
                // Under the lock that found no caller. One who came in between would find
                // neither an idle connection nor a worker.
                state.quick -= usize::from(std::mem::take(&mut self.is_quick));
                state.idle.extend(self.connection.take());
                return None;
            }
            let (queries, callers): (Vec<_>, Vec<_>) =
                state.waiting.drain(..count).filter(|(_, caller)| !caller.is_closed()).unzip();
            if !queries.is_empty() {
                state.quick += usize::from(!std::mem::replace(&mut self.is_quick, true));
                return Some((self.connection?, queries, callers));
            }
        }
    }
}

impl<Q: BatchQuery> Drop for Worker<Q> {
    /// Gives the connection back, also if a panic ends the worker early
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let mut state = self.batches.state();
            state.quick -= usize::from(self.is_quick);
            state.idle.push(connection);
        }
    }
}

/// How many waiting callers are worth a statement beside the one that is running
const EARLY_BATCH: usize = 8;

/// How long a statement may keep others waiting while a connection is idle
///
/// Longer than a statement usually takes, and too short for a caller to notice.
const SLOW_AFTER: Duration = Duration::from_millis(1);

/// The most queries in one statement: more would keep the first of them waiting too long
const MAX_BATCH: usize = 64;
