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

/// A question of which several fit into one statement
pub(super) trait Question: Send + Sync + 'static {
    /// What the statement says to one of them
    type Answer: Send + 'static;

    /// Puts all questions in one statement, and returns an answer to each
    fn ask(
        questions: &[Self],
        connection: Arc<Connection>,
    ) -> impl Future<Output = QueryResult<Vec<Self::Answer>>> + Send
    where
        Self: Sized;
}

/// Lets callers that ask at the same time share a statement
///
/// A caller who is alone has a statement of its own at once. Those who ask while one is
/// under way share the next, which begins when that one ends, or before that on another
/// connection: once they are [`ENOUGH`], or the one under way has taken [`PATIENCE`]. A
/// statement costs the database as much to start as several lookups, so
/// under load this more than halves the work. Nobody is told anything older than the own
/// question: a statement answers only those who asked before it was sent.
pub(super) struct Batches<Q: Question> {
    reads: Arc<Reads>,
    state: Mutex<State<Q>>,
}

struct State<Q: Question> {
    /// The connections on which no batch is under way
    idle: Vec<usize>,
    /// How many statements are under way that have not taken [`PATIENCE`] yet
    quick: usize,
    waiting: VecDeque<(Q, Caller<Q>)>,
}

impl<Q: Question> State<Q> {
    /// Takes a connection for one more statement, if there is one
    fn begin(&mut self) -> Option<usize> {
        let connection = self.idle.pop()?;
        self.quick += 1;
        Some(connection)
    }
}

impl<Q: Question> Batches<Q> {
    pub(super) fn new(reads: Arc<Reads>) -> Self {
        let idle = (0..reads.connections()).collect();
        let state = State { idle, quick: 0, waiting: VecDeque::new() };
        Self { reads, state: Mutex::new(state) }
    }

    pub(super) async fn ask(self: &Arc<Self>, question: Q) -> Result<Q::Answer, Error> {
        let (caller, answer) = oneshot::channel();
        let idle = {
            let mut state = self.state();
            state.waiting.push_back((question, caller));
            if state.quick == 0 || state.waiting.len() >= ENOUGH { state.begin() } else { None }
        };
        self.serve(idle);
        answer.await.unwrap_or_else(|_| Err(Error::unavailable("the store is shutting down")))
    }

    /// Answers whoever waits, over `connection` if there is one
    fn serve(self: &Arc<Self>, connection: Option<usize>) {
        if connection.is_some() {
            // A task of its own: the others who come to depend on it must not be
            // left alone when this caller goes away.
            let duty = Duty { batches: Arc::clone(self), connection, is_quick: true };
            tokio::spawn(duty.serve());
        }
    }

    fn state(&self) -> MutexGuard<'_, State<Q>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Q: Question> fmt::Debug for Batches<Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches").field("waiting", &self.state().waiting.len()).finish()
    }
}

/// Answers whoever waits, over one connection, until nobody does
struct Duty<Q: Question> {
    batches: Arc<Batches<Q>>,
    /// `None` once it is given back
    connection: Option<usize>,
    /// Whether it is among [`State::quick`]
    is_quick: bool,
}

type Caller<Q> = oneshot::Sender<Result<<Q as Question>::Answer, Error>>;

impl<Q: Question> Duty<Q> {
    async fn serve(mut self) {
        loop {
            // Callers who are ready to ask come first: a statement costs more than that.
            yield_now().await;
            let Some((connection, questions, callers)) = self.next() else { return };
            let reads = Arc::clone(&self.batches.reads);
            let put = async |questions: &[Q]| {
                let ask = |connection| async move { Q::ask(questions, connection).await };
                reads.run_on(connection, ask).await
            };
            match self.unless_slow(put(&questions)).await {
                Ok(answers) => {
                    for (caller, answer) in callers.into_iter().zip(answers) {
                        // A caller that has gone away needs none.
                        let _ = caller.send(Ok(answer));
                    }
                }
                // One question may be at fault, such as by taking too long or by meeting
                // a row that makes no sense, and the others shall not suffer for it.
                Err(Error::Query { .. } | Error::InvalidRow { .. }) if questions.len() > 1 => {
                    for (question, caller) in questions.into_iter().zip(callers) {
                        let answer = self.unless_slow(put(&[question])).await;
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
        match timeout(PATIENCE, &mut statement).await {
            Ok(answers) => answers,
            Err(_) => {
                let next = {
                    let mut state = self.batches.state();
                    state.quick -= usize::from(std::mem::take(&mut self.is_quick));
                    if state.waiting.is_empty() { None } else { state.begin() }
                };
                self.batches.serve(next);
                statement.await
            }
        }
    }

    /// Those who wait now; if nobody does, the duty is over
    fn next(&mut self) -> Option<(usize, Vec<Q>, Vec<Caller<Q>>)> {
        let batches = Arc::clone(&self.batches);
        let mut state = batches.state();
        loop {
            let count = state.waiting.len().min(MAX_BATCH);
            if count == 0 {
                // Under the same lock as the look, so that nobody arrives in between
                // and finds neither a connection nor a duty.
                state.quick -= usize::from(std::mem::take(&mut self.is_quick));
                state.idle.extend(self.connection.take());
                return None;
            }
            let (questions, callers): (Vec<_>, Vec<_>) =
                state.waiting.drain(..count).filter(|(_, caller)| !caller.is_closed()).unzip();
            if !questions.is_empty() {
                state.quick += usize::from(!std::mem::replace(&mut self.is_quick, true));
                return Some((self.connection?, questions, callers));
            }
        }
    }
}

impl<Q: Question> Drop for Duty<Q> {
    /// Also when a panic ends the duty early
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let mut state = self.batches.state();
            state.quick -= usize::from(self.is_quick);
            state.idle.push(connection);
        }
    }
}

/// How many questions are worth a statement beside the one that is under way
const ENOUGH: usize = 8;

/// How long a statement may keep others waiting while a connection has nothing to do
///
/// Longer than a statement takes as a rule, and nothing that a caller would notice.
const PATIENCE: Duration = Duration::from_millis(1);

/// A statement with more questions would keep the first of them waiting for long
const MAX_BATCH: usize = 64;
