mod limiter;
mod session_cache;
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

/// Writes events to a journal in the background, so that requests do not wait for it
///
/// An event is captured once [`record`](Self::record) returns, and is then written even
/// if the visitor hangs up. While the journal is unavailable, events wait, and the
/// recorder retries without limit. A further visit of a session that the journal has just
/// noted is only counted.
///
/// Events that are queued when the process is killed are lost. While the journal answers,
/// these are the events of some milliseconds. Every other event that does not reach the
/// journal is handed to the [`Observer`] as a whole record.
///
/// A dropped recorder still writes what is queued, as long as its runtime lives.
/// [`drain`](Self::drain) waits for that.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    writers: tokio::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl Recorder {
    /// Starts writing to `journal`, on the current tokio runtime
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with timers.
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

    /// Captures an event without waiting
    ///
    /// # Errors
    ///
    /// Fails if the event will not be recorded. The observer is notified as well.
    pub fn record(&self, event: Event) -> Result<Receipt, RecordError> {
        let now = Instant::now();
        let key = event.key();
        if let Some(receipt) = self.shared.state().admit(key, now) {
            return Ok(receipt);
        }
        // Made before the lock is taken again, although a visit with the same key may be
        // queued in between.
        let entry = Entry::new(&event, fresh_id(&event));
        let denied = event.reason.map(|_| event.ip);
        let mut state = self.shared.state();
        if let Some(receipt) = state.admit(key, now) {
            return Ok(receipt);
        }
        if let Err(error) = state.make_room(denied, now) {
            drop(state);
            match error {
                // A writer reports these once a minute, and has to know that there are some.
                RecordError::TooManyDenials => self.shared.wake.notify_one(),
                error => self.shared.observer.unrecorded(&entry.record, error),
            }
            return Err(error);
        }
        let receipt = state.push(entry);
        let wakes_writer = state.wakes_writer();
        drop(state);
        if wakes_writer {
            self.shared.wake.notify_one();
        }
        Ok(receipt)
    }

    /// Returns what the recorder has done so far
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.state().stats()
    }

    /// Stops accepting events, writes what is queued, and returns after at most `timeout`
    ///
    /// Events that are not written by then are handed to the observer. The journal may
    /// still have carried out a statement that was under way.
    pub async fn drain(&self, timeout: Duration) -> Drained {
        let before = self.stats();
        self.close();
        let end = Instant::now() + timeout;
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
    /// When a session ends, and how exactly its end is known
    pub window: Window,
    /// How many events may wait to be written, including those under way
    pub queue: usize,
    /// How many statements may be under way at a time, at least one
    ///
    /// With more than one, the journal works on a statement while the next is prepared.
    pub writers: usize,
    /// How many new sessions of denied visits from one address are recorded in a minute
    pub denials_per_minute: u32,
    /// The observer that is notified of problems
    pub observer: Arc<dyn Observer>,
}

/// Ten thousand events, two writers, sixty denials a minute, and an observer that ignores
/// everything
impl Default for Settings {
    fn default() -> Self {
        Self {
            window: Window::default(),
            queue: 10_000,
            writers: 2,
            denials_per_minute: 60,
            observer: Arc::new(IgnoreAll),
        }
    }
}

impl Settings {
    /// Returns the same settings with [`window`](Self::window) as given
    #[must_use]
    pub fn window(mut self, window: Window) -> Self {
        self.window = window;
        self
    }

    /// Returns the same settings with [`queue`](Self::queue) as given
    #[must_use]
    pub fn queue(mut self, events: usize) -> Self {
        self.queue = events;
        self
    }

    /// Returns the same settings with [`writers`](Self::writers) as given
    #[must_use]
    pub fn writers(mut self, writers: usize) -> Self {
        self.writers = writers;
        self
    }

    /// Returns the same settings with [`denials_per_minute`](Self::denials_per_minute) as given
    #[must_use]
    pub fn denials_per_minute(mut self, rows: u32) -> Self {
        self.denials_per_minute = rows;
        self
    }

    /// Returns the same settings with [`observer`](Self::observer) as given
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = observer;
        self
    }
}

/// Is notified of problems, to log them
///
/// Its methods are called while requests are handled and by the writers, so they must not
/// block.
pub trait Observer: fmt::Debug + Send + Sync {
    /// Called for a record that did not reach the journal and will not be retried
    ///
    /// The record is kept nowhere else.
    fn unrecorded(&self, record: &Record, error: RecordError);

    /// Called at most once a minute with the number of denials that were left out as
    /// [too many](RecordError::TooManyDenials)
    fn limited(&self, denials: u64);

    /// Called when the journal did not take what it was given, which will be retried
    ///
    /// `waiting` is the number of entries that wait.
    fn failing(&self, error: &dyn Error, waiting: usize);
}

#[derive(Debug)]
struct IgnoreAll;

impl Observer for IgnoreAll {
    fn unrecorded(&self, _: &Record, _: RecordError) {}
    fn limited(&self, _: u64) {}
    fn failing(&self, _: &dyn Error, _: usize) {}
}

/// A future that resolves once an event is written to the journal or given up
///
/// The event is recorded whether or not the receipt is awaited. A receipt stays pending
/// as long as the journal is unavailable, so await it with a timeout.
#[derive(Debug)]
#[must_use = "await it, or drop it to let the visitor go on at once"]
pub struct Receipt(ReceiptState);

#[derive(Debug)]
enum ReceiptState {
    Pending(oneshot::Receiver<Result<Noted, RecordError>>),
    Ready(Noted),
}

impl Receipt {
    const fn ready(noted: Noted) -> Self {
        Self(ReceiptState::Ready(noted))
    }

    const fn pending(receiver: oneshot::Receiver<Result<Noted, RecordError>>) -> Self {
        Self(ReceiptState::Pending(receiver))
    }
}

impl Future for Receipt {
    type Output = Result<Noted, RecordError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            ReceiptState::Ready(noted) => Poll::Ready(Ok(*noted)),
            ReceiptState::Pending(receiver) => Pin::new(receiver)
                .poll(context)
                .map(|outcome| outcome.unwrap_or(Err(RecordError::Stopped))),
        }
    }
}

/// Why an event was not recorded
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecordError {
    /// The queue has reached [`Settings::queue`]
    #[error("the audit queue is full")]
    Full,
    /// The journal refused this event several times, but accepted others
    #[error("the audit journal refuses the event")]
    Refused,
    /// The recorder ended before the event could be written
    #[error("the audit recorder has ended")]
    Stopped,
    /// The visit was denied, and its address has reached [`Settings::denials_per_minute`]
    #[error("too many denials from one address")]
    TooManyDenials,
}

/// What a [`Recorder`] has done since it was started
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Entries that wait now, including those under way
    pub queued: usize,
    /// Entries that the journal has accepted, each for one visit or more
    pub written: u64,
    /// Visits that did not need an entry of their own
    pub absorbed: u64,
    /// How often a statement was retried
    pub retried: u64,
    /// Entries that were given up or not accepted into the queue
    pub lost: u64,
    /// Denied visits that were left out as [too many](RecordError::TooManyDenials)
    pub limited: u64,
}

/// What [`Recorder::drain`] has written and lost
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Entries that were written while draining
    pub written: u64,
    /// Entries that were given up while draining
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
