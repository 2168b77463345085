use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout_at};

use super::state::{Caller, Waiting};
use super::{Shared, Unrecorded};
use crate::{Answer, Entry, Journal};

/// Brings what is queued into the journal
///
/// One statement at a time: what comes while it is under way shares the next, so that
/// load makes statements larger rather than more, and nobody who is alone waits. The few
/// writers of a recorder share what there is; two that meet at one session are put in
/// order by the journal.
pub(super) struct Writer<J: Journal> {
    journal: Arc<J>,
    shared: Arc<Shared>,
    batch: Batch,
    suspects: Vec<Suspect>,
    /// How many entries the journal has taken
    accepted: u64,
    /// When absorbed visits are delivered next, at the earliest
    counts_at: Instant,
}

/// What is being noted; on its own, so that it is not lost with a task that is ended
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    callers: Vec<Vec<Caller>>,
}

/// An entry that the journal refused although it takes others
struct Suspect {
    entry: Entry,
    callers: Vec<Caller>,
    refusals: u32,
    due: Instant,
    /// How many entries had been accepted when it was refused first
    accepted: u64,
}

/// Why entries were not noted
enum Failure {
    Unavailable,
    Refused,
}

impl<J: Journal> Writer<J> {
    pub(super) fn new(journal: Arc<J>, shared: Arc<Shared>) -> Self {
        Self {
            journal,
            shared,
            batch: Batch::default(),
            suspects: Vec::new(),
            accepted: 0,
            counts_at: Instant::now(),
        }
    }

    /// Works until the recorder is closed and nothing is left
    pub(super) async fn run(mut self) {
        let mut insists = false;
        loop {
            self.deliver_counts(false).await;
            // Whoever was told of the last statement may come again at once, and is to
            // share the next.
            yield_now().await;
            let taken = self.shared.state().take(MAX_BATCH, insists, Instant::now());
            let under_way = taken.len();
            let idle = under_way == 0;
            insists = false;
            self.batch = taken.into_iter().collect();
            self.deliver().await;
            self.shared.state().arrived(under_way);
            self.retry_suspects().await;
            self.tell_limited(false);
            if idle {
                if self.shared.state().closed && self.shared.state().is_idle() {
                    // The others may be waiting, and are to end too.
                    self.shared.wake.notify_one();
                    break;
                }
                insists = self.wait().await;
            }
        }
        // Whoever was still refused has had another chance, and there is no later one.
        while let Some(suspect) = self.suspects.pop() {
            self.give_up(suspect.into(), Unrecorded::Refused);
        }
        self.deliver_counts(true).await;
        self.tell_limited(true);
    }

    /// Notes the batch, however long that takes
    async fn deliver(&mut self) {
        let mut pause = FIRST_PAUSE;
        while !self.batch.entries.is_empty() {
            let failure = match self.note(0, self.batch.entries.len()).await {
                Ok(()) => continue,
                Err(Failure::Refused) => self.deliver_one_by_one().await,
                Err(failure) => Err(failure),
            };
            if failure.is_err() {
                self.shared.state().stats.retried += 1;
                sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }

    /// Notes each entry of a batch that was refused as a whole
    ///
    /// Those at fault become suspects. If none of the first few is taken, the fault is
    /// the journal's: then all stay, and others will be first next time.
    async fn deliver_one_by_one(&mut self) -> Result<(), Failure> {
        let before = self.accepted;
        let mut refused = 0;
        while refused < self.batch.entries.len() {
            match self.note(refused, refused + 1).await {
                Ok(()) => {}
                Err(Failure::Refused) => refused += 1,
                Err(failure) => return Err(failure),
            }
            if self.accepted == before && refused == TELLING && self.batch.entries.len() > TELLING {
                self.batch.entries.rotate_left(TELLING);
                self.batch.callers.rotate_left(TELLING);
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

    /// Gives each suspect whose time has come another chance
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
                        self.give_up(suspect.into(), Unrecorded::Refused);
                    }
                }
            }
        }
    }

    /// Delivers what was absorbed, and keeps it if that fails
    ///
    /// In the end it is tried until it succeeds, or whoever waits for that gives up.
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
            self.shared.state().owe(later);
            if counts.is_empty() {
                return;
            }
            self.counts_at = now + COUNTS_EVERY;
            if let Err(error) = self.journal.count(&counts).await {
                let waiting = self.shared.state().stats().queued;
                self.shared.observer.failing(&error, waiting);
                self.shared.state().owe(counts);
                if !at_the_end {
                    return;
                }
                sleep(pause).await;
                pause = (pause * 2).min(MAX_PAUSE);
            }
        }
    }

    fn tell_limited(&self, at_once: bool) {
        let told = self.shared.state().limiter.tell(Instant::now(), at_once);
        if let Some(denials) = told {
            self.shared.observer.limited(denials);
        }
    }

    /// Waits for the next event, or whatever else is to be done; whether that took as long
    /// as entries may gather
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

    /// Notes a part of the batch, which then leaves it
    async fn note(&mut self, from: usize, to: usize) -> Result<(), Failure> {
        let asked = Instant::now();
        let answers = self.ask(&self.batch.entries[from..to]).await?;
        let entries = self.batch.entries.drain(from..to);
        let callers = self.batch.callers.drain(from..to);
        let settled: Vec<_> = entries.zip(callers).zip(answers).collect();
        for ((entry, callers), answer) in settled {
            self.settle(Waiting { entry, callers }, answer, asked);
        }
        Ok(())
    }

    async fn ask(&self, entries: &[Entry]) -> Result<Vec<Answer>, Failure> {
        let answers = self.journal.note(entries, self.shared.window).await;
        answers.map_err(|error| {
            let waiting = self.shared.state().stats().queued;
            self.shared.observer.failing(&error, waiting);
            if J::is_unavailable(&error) { Failure::Unavailable } else { Failure::Refused }
        })
    }

    fn settle(&mut self, waiting: Waiting, answer: Answer, asked: Instant) {
        self.accepted += 1;
        self.shared.state().noted(waiting.entry.key, answer, asked);
        waiting.settle(Ok(answer.noted));
    }

    fn give_up(&self, waiting: Waiting, why: Unrecorded) {
        self.shared.state().lost();
        self.shared.observer.unrecorded(&waiting.entry.record, why);
        waiting.settle(Err(why));
    }
}

/// However the writer ends, nothing is forgotten in silence
impl<J: Journal> Drop for Writer<J> {
    fn drop(&mut self) {
        let queued = self.shared.state().abandon();
        let batch = std::mem::take(&mut self.batch);
        let noting = batch.entries.into_iter().zip(batch.callers);
        let noting = noting.map(|(entry, callers)| Waiting { entry, callers });
        let suspects = std::mem::take(&mut self.suspects).into_iter().map(Waiting::from);
        for waiting in noting.chain(suspects).chain(queued).collect::<Vec<_>>() {
            self.give_up(waiting, Unrecorded::Stopped);
        }
    }
}

impl From<Suspect> for Waiting {
    fn from(Suspect { entry, callers, .. }: Suspect) -> Self {
        Self { entry, callers }
    }
}

impl FromIterator<Waiting> for Batch {
    fn from_iter<I: IntoIterator<Item = Waiting>>(taken: I) -> Self {
        let pairs = taken.into_iter().map(|Waiting { entry, callers }| (entry, callers));
        let (entries, callers) = pairs.unzip();
        Self { entries, callers }
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Entries of one statement: more would keep the first of them waiting for long
const MAX_BATCH: usize = 256;

/// How long entries wait at most for others or for another writer's statement to end
const GATHER: Duration = Duration::from_millis(5);

/// Sessions of one statement that only adds to counts, and how often there is one
const MAX_COUNTS: usize = 1_000;
const COUNTS_EVERY: Duration = Duration::from_secs(1);

/// How many entries in a row must be refused for the journal to be at fault
const TELLING: usize = 3;

/// After how many refusals, over some 20 seconds, an entry is given up
const MAX_REFUSALS: u32 = 10;
