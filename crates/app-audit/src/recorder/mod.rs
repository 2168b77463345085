mod front;
mod limiter;
mod state;
mod writer;

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use uuid::{NoContext, Timestamp, Uuid};

use self::state::State;
use self::writer::Writer;
use crate::{Entry, Event, Journal, Noted, Record, Window};

/// Brings events into a journal, off the path of the requests they tell of
///
/// An event is captured when [`record`](Self::record) returns, and is then written even
/// if the visitor hangs up. While the journal is away it waits and is tried again for
/// ever. A visit of a session that the journal has just heard of is only counted.
///
/// What is queued is lost if the process is killed: whatever came since the statements
/// under way, which is milliseconds' worth as long as the journal answers. Everything
/// else that does not reach the journal is handed to the [`Observer`], whole.
///
/// Dropping a recorder lets it write what is queued, as long as its runtime lives;
/// [`drain`](Self::drain) waits for that.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    writers: tokio::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl Recorder {
    /// Starts to write to `journal`, on the tokio runtime that this is called on
    ///
    /// # Panics
    ///
    /// Outside of a runtime with timers.
    #[must_use]
    pub fn start<J: Journal + 'static>(journal: Arc<J>, settings: Settings) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(&settings)),
            wake: Notify::new(),
            window: settings.window,
            observer: settings.observer,
        });
        let writers = (0..settings.writers.max(1)).map(|_| {
            let writer = Writer::new(Arc::clone(&journal), Arc::clone(&shared));
            tokio::spawn(writer.run())
        });
        let writers = tokio::sync::Mutex::new(writers.collect());
        Self { shared, writers }
    }

    /// Captures an event, without waiting for anything
    ///
    /// # Errors
    ///
    /// Why it will not be recorded; the observer has been told.
    pub fn record(&self, event: Event) -> Result<Receipt, Unrecorded> {
        let now = Instant::now();
        let key = event.key();
        if let Some(receipt) = self.shared.state().admit(key, now) {
            return Ok(receipt);
        }
        // Made while nobody waits for it, though another may come first.
        let entry = Entry::new(&event, fresh_id(&event));
        let denied = event.reason.map(|_| event.ip);
        let mut state = self.shared.state();
        if let Some(receipt) = state.admit(key, now) {
            return Ok(receipt);
        }
        if let Err(why) = state.make_room(denied, now) {
            drop(state);
            match why {
                // The writer is to tell of it in a while.
                Unrecorded::TooManyDenials => self.shared.wake.notify_one(),
                why => self.shared.observer.unrecorded(&entry.record, why),
            }
            return Err(why);
        }
        let receipt = state.push(entry);
        let news = state.is_news();
        drop(state);
        if news {
            self.shared.wake.notify_one();
        }
        Ok(receipt)
    }

    /// What has happened so far
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.state().stats()
    }

    /// Takes no more events, writes what is queued, and ends after at most `limit`
    ///
    /// What is then left is handed to the observer. A statement that was under way at
    /// the limit may have been carried out nevertheless.
    pub async fn drain(&self, limit: Duration) -> Drained {
        let before = self.stats();
        self.close();
        let end = Instant::now() + limit;
        for mut writer in std::mem::take(&mut *self.writers.lock().await) {
            if timeout_at(end, &mut writer).await.is_err() {
                writer.abort();
                let _ = writer.await;
            }
        }
        let after = self.stats();
        Drained { written: after.written - before.written, lost: after.lost - before.lost }
    }

    fn close(&self) {
        self.shared.state().closed = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.close();
    }
}

/// How a [`Recorder`] works
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// What a session is
    pub window: Window,
    /// How many events may wait to be written, those under way included
    pub queue: usize,
    /// How many statements may be under way at a time, at least one
    ///
    /// The journal works on one while the next is put together.
    pub writers: usize,
    /// How many rows the refusals of one address may make in a minute, those of
    /// sessions that go on not counted
    pub denials_per_minute: u32,
    /// Who is told of what goes wrong
    pub observer: Arc<dyn Observer>,
}

/// Ten thousand events, two writers, sixty refusals a minute, and nobody who is told
impl Default for Settings {
    fn default() -> Self {
        Self {
            window: Window::default(),
            queue: 10_000,
            writers: 2,
            denials_per_minute: 60,
            observer: Arc::new(Nobody),
        }
    }
}

impl Settings {
    /// The same settings, with [`window`](Self::window) as given
    #[must_use]
    pub fn window(mut self, window: Window) -> Self {
        self.window = window;
        self
    }

    /// The same settings, with [`queue`](Self::queue) as given
    #[must_use]
    pub fn queue(mut self, events: usize) -> Self {
        self.queue = events;
        self
    }

    /// The same settings, with [`writers`](Self::writers) as given
    #[must_use]
    pub fn writers(mut self, writers: usize) -> Self {
        self.writers = writers;
        self
    }

    /// The same settings, with [`denials_per_minute`](Self::denials_per_minute) as given
    #[must_use]
    pub fn denials_per_minute(mut self, rows: u32) -> Self {
        self.denials_per_minute = rows;
        self
    }

    /// The same settings, with [`observer`](Self::observer) as given
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }
}

/// Who is told of what goes wrong: a log
///
/// Called on the path of requests or of the writer, so it must not block.
pub trait Observer: fmt::Debug + Send + Sync {
    /// A record that did not reach the journal and is not tried again: this is the only
    /// trace of it
    fn unrecorded(&self, record: &Record, why: Unrecorded);

    /// Within a minute so many denials were left out as
    /// [too many](Unrecorded::TooManyDenials)
    fn limited(&self, denials: u64);

    /// The journal did not take what it was given, which will be tried again; `waiting`
    /// is how much there is by now
    fn failing(&self, error: &dyn Error, waiting: usize);
}

#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn unrecorded(&self, _: &Record, _: Unrecorded) {}
    fn limited(&self, _: u64) {}
    fn failing(&self, _: &dyn Error, _: usize) {}
}

/// The promise to record an event, which is kept whether or not anybody waits
///
/// Resolves when the event is in the journal for good, or given up. That may take as
/// long as the journal is away, so whoever waits needs a limit.
#[derive(Debug)]
#[must_use = "wait for it, or drop it to let the visitor go on at once"]
pub struct Receipt(Waiting);

#[derive(Debug)]
enum Waiting {
    For(oneshot::Receiver<Result<Noted, Unrecorded>>),
    No(Noted),
}

impl Receipt {
    fn of(noted: Noted) -> Self {
        Self(Waiting::No(noted))
    }

    fn waiting(receiver: oneshot::Receiver<Result<Noted, Unrecorded>>) -> Self {
        Self(Waiting::For(receiver))
    }
}

impl Future for Receipt {
    type Output = Result<Noted, Unrecorded>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Waiting::No(noted) => Poll::Ready(Ok(*noted)),
            Waiting::For(receiver) => Pin::new(receiver)
                .poll(context)
                .map(|outcome| outcome.unwrap_or(Err(Unrecorded::Stopped))),
        }
    }
}

/// Why an event is not in the journal
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unrecorded {
    /// As many events as allowed wait already
    #[error("the audit queue is full")]
    Full,
    /// The journal takes others, and refused this one again and again
    #[error("the audit journal refuses the event")]
    Refused,
    /// The recorder was told to end before it could be written
    #[error("the audit recorder has ended")]
    Stopped,
    /// A refusal like too many others from its address
    #[error("too many denials from one address")]
    TooManyDenials,
}

/// What a [`Recorder`] has done since it was started
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Entries that wait now, those under way included
    pub queued: usize,
    /// Entries that the journal has taken, for one visit or more
    pub written: u64,
    /// Visits that needed no entry of their own
    pub absorbed: u64,
    /// How often a statement was tried again
    pub retried: u64,
    /// Entries that were given up or never taken
    pub lost: u64,
    /// Denials that were left out as too many
    pub limited: u64,
}

/// What [`Recorder::drain`] came to
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Entries that were written meanwhile
    pub written: u64,
    /// Entries that were given up meanwhile
    pub lost: u64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes a writer
    wake: Notify,
    window: Window,
    observer: Arc<dyn Observer>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An id that no other event has
///
/// It begins with the event's time, so that rows of one time are near each other in the
/// index.
fn fresh_id(event: &Event) -> Uuid {
    let since = event.time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Uuid::new_v7(Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos()))
}
