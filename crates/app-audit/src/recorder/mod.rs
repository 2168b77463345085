mod acts;
mod core;
mod item;
mod session_cache;
mod shares;
mod state;
mod writer;

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::oneshot;
use uuid::{NoContext, Timestamp, Uuid};

pub use self::acts::ActRecorder;
use self::core::{Core, Offer};
pub(crate) use self::item::Item;
use self::item::Visits;
use crate::source::Source;
use crate::{Act, Entry, Event, Journal, Noted, SpoolFile, Window};

/// Writes events to a journal in the background, so that requests do not wait for it
///
/// An event is captured once [`record`](Self::record) returns, and is then written even
/// if the visitor hangs up. While the journal is unavailable, events wait, and the
/// recorder retries without limit. A further visit of a session that the journal has just
/// noted is only counted.
///
/// Events that are queued when the process is killed are lost. While the journal answers,
/// these are the events of some milliseconds. Every other event that does not reach the
/// journal is kept in the [spool](Settings::spool), or else handed to the [`Observer`] as a whole,
/// except what is left out of a flood.
///
/// A visitor who can make up new sessions at will cannot fill the log, or keep others out of it:
/// - Of visits that are anonymous or denied, [`Settings::limited_per_minute`] new sessions of each
///   address are recorded in a minute, a /64 network of IPv6 counting as one. The rest is counted.
/// - While events wait, a source, which is such an address or a user, takes at most a quarter of
///   the queue, and all visitors who are not signed in take at most half of it. What is beyond may
///   fill half of the spool. Further visits that are anonymous or denied are only counted.
///
/// One recorder is enough for a process: requests share it in an `Arc`.
///
/// A dropped recorder still writes what is queued, as long as its runtime lives.
/// [`drain`](Self::drain) waits for that.
#[derive(Debug)]
pub struct Recorder(Core<Entry>);

impl Recorder {
    /// Starts writing to `journal`, on the current tokio runtime
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with timers.
    #[must_use]
    pub fn start<J: Journal + 'static>(journal: Arc<J>, settings: Settings) -> Self {
        Self(Core::start(Visits(journal), settings))
    }

    /// Captures an event without waiting
    ///
    /// # Errors
    ///
    /// Fails if the event is not going to be written to the journal: it was left out and counted as
    /// one of too many, or it is kept in the spool, or the observer was called with it.
    pub fn record(&self, event: Event) -> Result<Receipt, RecordError> {
        let key = event.key();
        self.0.record(key, || {
            let source = Source::of(&event);
            let is_limited = event.reason.is_some() || source.is_anonymous();
            Offer {
                item: Entry::of(&event, key, fresh_id(&event)),
                source,
                limited_by: is_limited.then(|| Source::new(None, event.ip)),
            }
        })
    }

    /// Returns what the recorder has done so far
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }

    /// Stops accepting events, writes what is queued, and returns after at most `timeout`
    ///
    /// Events that are not written by then are kept in the spool, which is not flushed here, or
    /// handed to the observer. The journal may still have carried out a statement that was under
    /// way.
    pub async fn drain(&self, timeout: Duration) -> Drained {
        self.0.drain(timeout).await
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
    /// How many new sessions of anonymous or denied visits of one source are recorded in a minute
    pub limited_per_minute: u32,
    /// Where events are kept that the journal did not get; `None` to hand them to the observer
    pub spool: Option<Arc<SpoolFile>>,
    /// The observer that is notified of problems
    pub observer: Arc<dyn Observer>,
}

/// Ten thousand events, two writers, sixty limited sessions a minute, no spool, and an observer
/// that ignores everything
impl Default for Settings {
    fn default() -> Self {
        Self {
            window: Window::default(),
            queue: 10_000,
            writers: 2,
            limited_per_minute: 60,
            spool: None,
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

    /// Returns the same settings with [`limited_per_minute`](Self::limited_per_minute) as given
    #[must_use]
    pub fn limited_per_minute(mut self, sessions: u32) -> Self {
        self.limited_per_minute = sessions;
        self
    }

    /// Returns the same settings with [`spool`](Self::spool) as given
    #[must_use]
    pub fn spool(mut self, spool: Option<Arc<SpoolFile>>) -> Self {
        self.spool = spool;
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
    /// Called for an entry that neither the journal nor the spool got
    ///
    /// It is kept nowhere else.
    fn unrecorded(&self, entry: &Entry, error: RecordError);

    /// Called for an act that neither the journal nor the spool got
    ///
    /// It is kept nowhere else.
    fn act_unrecorded(&self, act: &Act, error: RecordError);

    /// Called at most once a minute with the number of visits that were left out and are counted
    /// as [`Stats::limited`]
    fn limited(&self, visits: u64);

    /// Called at most once a minute while the journal does not take what it is given, which will
    /// be retried
    ///
    /// `waiting` is the number of entries that wait.
    fn failing(&self, error: &dyn Error, waiting: usize);
}

#[derive(Debug)]
struct IgnoreAll;

impl Observer for IgnoreAll {
    fn unrecorded(&self, _: &Entry, _: RecordError) {}
    fn act_unrecorded(&self, _: &Act, _: RecordError) {}
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
    /// The queue has reached [`Settings::queue`], or the source its share of it
    #[error("the audit queue is full")]
    Full,
    /// The journal refused this event several times, but accepted others
    #[error("the audit journal refuses the event")]
    Refused,
    /// The recorder ended before the event could be written
    #[error("the audit recorder has ended")]
    Stopped,
    /// The visit was anonymous or denied, and its source has reached
    /// [`Settings::limited_per_minute`]
    #[error("too many visits that are anonymous or denied from one source")]
    Limited,
}

/// What a [`Recorder`] has done since it was started
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Entries that wait now, including those under way
    pub queued: usize,
    /// How long the oldest of them has waited; `None` if none waits
    pub oldest: Option<Duration>,
    /// Entries that the journal has accepted, each for one visit or more
    pub written: u64,
    /// Visits that did not need an entry of their own
    pub absorbed: u64,
    /// How often a statement failed and was retried
    pub retried: u64,
    /// Entries that the spool accepted instead of the journal
    pub spooled: u64,
    /// Entries that neither the journal nor the spool accepted
    pub lost: u64,
    /// Visits that were left out as [too many](RecordError::Limited), or because queue and spool
    /// had no room for a visit that is anonymous or denied
    pub limited: u64,
}

/// What [`Recorder::drain`] has written and lost
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Entries that were written while draining
    pub written: u64,
    /// Entries that the spool accepted while draining
    pub spooled: u64,
    /// Entries that were lost while draining
    pub lost: u64,
}

/// An id that no other event has
///
/// It begins with the event's time, so that rows of one time are near each other in the
/// index.
fn fresh_id(event: &Event) -> Uuid {
    let since = event.time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Uuid::new_v7(Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos()))
}
