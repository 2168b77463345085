use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout_at};

use super::RecordError;
use super::core::Shared;
use super::item::{Item, Sink};
use super::state::{Caller, Waiting, settle};
use crate::Answer;

/// Writes queued entries to the journal
///
/// One statement at a time: entries that come while it is under way share the next one.
/// Load therefore makes statements larger instead of more frequent, and a single entry
/// does not wait. The writers of a recorder share the queue. If two of them note visits of
/// one session at the same time, the journal orders them.
pub(super) struct Writer<S: Sink> {
    journal: Arc<S>,
    shared: Arc<Shared<S::Item>>,
    batch: Batch<S::Item>,
    suspects: Vec<Suspect<S::Item>>,
    /// How many entries the journal has accepted
    accepted: u64,
    /// The earliest time of the next delivery of counts
    counts_at: Instant,
}

/// The entries being noted, kept in the writer so that they survive an aborted task
struct Batch<I> {
    entries: Vec<I>,
    callers: Vec<Vec<Caller>>,
}

/// An entry that has left the queue, and the callers that wait for it
struct Taken<I> {
    entry: I,
    callers: Vec<Caller>,
}

/// An entry that the journal refused although it accepts others
struct Suspect<I> {
    entry: I,
    callers: Vec<Caller>,
    refusals: u32,
    due: Instant,
    /// How many entries had been accepted when this one was first refused
    accepted: u64,
}

/// Why entries were not noted
enum Failure {
    Unavailable,
    Refused,
}

impl<S: Sink> Writer<S> {
    pub(super) fn new(journal: Arc<S>, shared: Arc<Shared<S::Item>>) -> Self {
        Self {
            journal,
            shared,
            batch: Batch::default(),
            suspects: Vec::new(),
            accepted: 0,
            counts_at: Instant::now(),
        }
    }

    /// Runs until the recorder is closed and its queue is empty
    pub(super) async fn run(mut self) {
        let mut gathered = false;
        loop {
            self.deliver_counts(false).await;
            // Callers whose receipts the last statement resolved may record again at once,
            // and share the next statement.
            yield_now().await;
            let taken = self.shared.state().take(MAX_BATCH, gathered, Instant::now());
            let under_way = taken.len();
            let idle = under_way == 0;
            gathered = false;
            self.batch = taken.into_iter().collect();
            self.deliver().await;
            self.shared.state().arrived(under_way);
            self.retry_suspects().await;
            self.report_limited(false);
            if idle {
                if self.shared.state().closed && self.shared.state().is_idle() {
                    // Wakes the next writer, which has to end as well.
                    self.shared.wake.notify_one();
                    break;
                }
                gathered = self.wait().await;
            }
        }
        // Each suspect was retried once more after the recorder was closed.
        while let Some(suspect) = self.suspects.pop() {
            self.give_up(suspect.into(), RecordError::Refused);
        }
        self.deliver_counts(true).await;
        self.report_limited(true);
    }

    /// Notes the batch, and retries as long as the journal is unavailable
    async fn deliver(&mut self) {
        let mut pause = FIRST_PAUSE;
        while !self.batch.entries.is_empty() {
            let failure = match self.note(0, self.batch.entries.len()).await {
                Ok(()) => continue,
                Err(Failure::Refused) => self.deliver_one_by_one().await,
                Err(failure) => Err(failure),
            };
            if failure.is_err() {
                self.report_limited(false);
                sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }

    /// Notes each entry of a batch that was refused as a whole
    ///
    /// Entries that are refused become suspects. If the first few are all refused, the
    /// journal is considered unavailable: all entries stay in the batch, and others come
    /// first next time.
    async fn deliver_one_by_one(&mut self) -> Result<(), Failure> {
        let before = self.accepted;
        let mut refused = 0;
        while refused < self.batch.entries.len() {
            match self.note(refused, refused + 1).await {
                Ok(()) => {}
                Err(Failure::Refused) => refused += 1,
                Err(failure) => return Err(failure),
            }
            if self.accepted == before
                && refused == MIN_REFUSALS
                && self.batch.entries.len() > MIN_REFUSALS
            {
                self.batch.entries.rotate_left(MIN_REFUSALS);
                self.batch.callers.rotate_left(MIN_REFUSALS);
                return Err(Failure::Unavailable);
            }
        }
        let due = Instant::now() + FIRST_PAUSE;
        let batch = std::mem::take(&mut self.batch);
        for (entry, callers) in batch.entries.into_iter().zip(batch.callers) {
            let accepted = self.accepted;
            self.suspects.push(Suspect { entry, callers, refusals: 1, due, accepted });
        }
        Ok(())
    }

    /// Retries each suspect that is due, or every suspect once the recorder is closed
    async fn retry_suspects(&mut self) {
        for n in (0..self.suspects.len()).rev() {
            if Instant::now() < self.suspects[n].due && !self.shared.state().closed {
                continue;
            }
            let asked = Instant::now();
            match self.ask(std::slice::from_ref(&self.suspects[n].entry)).await {
                Ok(answers) => {
                    let suspect = self.suspects.swap_remove(n);
                    if let Some(answer) = answers.first() {
                        self.settle(suspect.into(), *answer, asked);
                    }
                }
                Err(failure) => {
                    let suspect = &mut self.suspects[n];
                    suspect.refusals += u32::from(matches!(failure, Failure::Refused));
                    let pause = FIRST_PAUSE * 2_u32.saturating_pow(suspect.refusals).min(100);
                    suspect.due = Instant::now() + pause;
                    if suspect.refusals >= MAX_REFUSALS && self.accepted > suspect.accepted {
                        let suspect = self.suspects.swap_remove(n);
                        self.give_up(suspect.into(), RecordError::Refused);
                    }
                }
            }
        }
    }

    /// Adds absorbed visits to their sessions, and keeps the counts if that fails
    ///
    /// `at_the_end` it retries until it succeeds, or until the task is aborted.
    async fn deliver_counts(&mut self, at_the_end: bool) {
        let mut pause = FIRST_PAUSE;
        loop {
            let now = Instant::now();
            if !at_the_end && now < self.counts_at {
                return;
            }
            let due = (!at_the_end).then_some(now);
            let mut counts = self.shared.state().take_counts(due);
            let later = counts.split_off(counts.len().min(MAX_COUNTS));
            self.shared.state().keep_counts(later);
            if counts.is_empty() {
                return;
            }
            self.counts_at = now + COUNTS_INTERVAL;
            if let Err(error) = self.journal.count(&counts).await {
                self.failed(&error);
                self.shared.state().keep_counts(counts);
                if !at_the_end {
                    return;
                }
                sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }

    fn report_limited(&self, at_once: bool) {
        let report = self.shared.state().limiter.report(Instant::now(), at_once);
        if let Some(visits) = report {
            self.shared.observer.limited(visits);
        }
    }

    /// Waits for an event or until something is due
    ///
    /// Returns whether it waited until something was due, and queued entries have therefore
    /// gathered long enough.
    async fn wait(&self) -> bool {
        let next = {
            let state = self.shared.state();
            let gathered = (!state.is_idle()).then(|| Instant::now() + GATHER);
            let counts = state.counts_due(self.counts_at).map(|due| due.max(self.counts_at));
            let suspects = self.suspects.iter().map(|suspect| suspect.due);
            suspects.chain(counts).chain(state.limiter.next()).chain(gathered).min()
        };
        match next {
            Some(next) => timeout_at(next, self.shared.wake.notified()).await.is_err(),
            None => {
                self.shared.wake.notified().await;
                false
            }
        }
    }

    /// Notes a part of the batch, and removes it from the batch
    async fn note(&mut self, from: usize, to: usize) -> Result<(), Failure> {
        let asked = Instant::now();
        let answers = self.ask(&self.batch.entries[from..to]).await?;
        let entries = self.batch.entries.drain(from..to);
        let callers = self.batch.callers.drain(from..to);
        let settled: Vec<_> = entries.zip(callers).zip(answers).collect();
        for ((entry, callers), answer) in settled {
            self.settle(Taken { entry, callers }, answer, asked);
        }
        Ok(())
    }

    async fn ask(&self, entries: &[S::Item]) -> Result<Vec<Answer>, Failure> {
        let answers = self.journal.note(entries, self.shared.window).await;
        answers.map_err(|error| {
            self.failed(&error);
            if S::is_unavailable(&error) { Failure::Unavailable } else { Failure::Refused }
        })
    }

    /// Counts a failure of the journal, and reports it if that is due
    fn failed(&self, error: &S::Error) {
        let mut state = self.shared.state();
        state.stats.retried += 1;
        let report = state.may_report_failure(Instant::now()).then(|| state.waiting());
        drop(state);
        if let Some(waiting) = report {
            self.shared.observer.failing(error, waiting);
        }
    }

    fn settle(&mut self, waiting: Taken<S::Item>, answer: Answer, asked: Instant) {
        self.accepted += 1;
        // Before the lock is taken: the key of an act is a digest.
        let key = waiting.entry.key();
        self.shared.state().noted(key, &waiting.entry, answer, asked);
        settle(waiting.callers, Ok(answer.noted));
    }

    fn give_up(&self, waiting: Taken<S::Item>, error: RecordError) {
        self.shared.state().given_up(&waiting.entry);
        self.shared.give_up(&waiting.entry, error);
        settle(waiting.callers, Err(error));
    }
}

/// Hands every remaining entry to the observer, however the writer ends
impl<S: Sink> Drop for Writer<S> {
    fn drop(&mut self) {
        let queued = self.shared.state().abandon();
        let batch = std::mem::take(&mut self.batch);
        let noting = batch.entries.into_iter().zip(batch.callers);
        let noting = noting.map(|(entry, callers)| Taken { entry, callers });
        let suspects = std::mem::take(&mut self.suspects).into_iter().map(Taken::from);
        let queued = queued.into_iter().map(Taken::from);
        for waiting in noting.chain(suspects).chain(queued).collect::<Vec<_>>() {
            self.give_up(waiting, RecordError::Stopped);
        }
    }
}

impl<I> From<Waiting<I>> for Taken<I> {
    fn from(Waiting { entry, callers, .. }: Waiting<I>) -> Self {
        Self { entry, callers }
    }
}

impl<I> From<Suspect<I>> for Taken<I> {
    fn from(Suspect { entry, callers, .. }: Suspect<I>) -> Self {
        Self { entry, callers }
    }
}

impl<I> Default for Batch<I> {
    fn default() -> Self {
        Self { entries: Vec::new(), callers: Vec::new() }
    }
}

impl<I> FromIterator<Waiting<I>> for Batch<I> {
    fn from_iter<T: IntoIterator<Item = Waiting<I>>>(taken: T) -> Self {
        let pairs = taken.into_iter().map(|Waiting { entry, callers, .. }| (entry, callers));
        let (entries, callers) = pairs.unzip();
        Self { entries, callers }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Where each visit has to be recorded, visitors wait for this once the journal is back
const MAX_PAUSE: Duration = Duration::from_millis(200);

/// The most entries of one statement: more would delay the first of them
const MAX_BATCH: usize = 256;

/// How long entries wait at most for further entries, or for another writer's statement to
/// end
const GATHER: Duration = Duration::from_millis(5);

/// The most sessions of one statement that adds counts
const MAX_COUNTS: usize = 1_000;

/// How often counts are delivered at most
const COUNTS_INTERVAL: Duration = Duration::from_secs(1);

/// After how many refused entries in a row the journal itself is considered at fault
const MIN_REFUSALS: usize = 3;

/// After how many refusals an entry is given up, which takes about 20 seconds
const MAX_REFUSALS: u32 = 10;
