use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fair_share::Source;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Limits;
use crate::server::Stage;

/// What is known of an open connection, from which it follows when it ends
///
/// Shared by its task, its stream, its requests and its answers.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) source: Source,
    /// Its place among all connections
    pub(crate) number: AtomicU64,
    state: Mutex<State>,
    /// Wakes the task of the connection
    end: Notify,
    /// Wakes requests that wait until answers are taken
    taken: Notify,
    /// The bytes of answers that wait on all connections
    all_waiting: Arc<AtomicUsize>,
}

/// Since when something lasts, is noted by [`State::look`], which is called a few times a second: a
/// request would otherwise read the clock several times, which costs more than all else here.
#[derive(Debug, Default)]
struct State {
    /// Requests that are being answered
    requests: usize,
    /// How many have begun so far
    begun: u64,
    /// Bytes of answers that were not written yet
    waiting: usize,
    /// Since when the connection has no request
    unused_since: Option<Instant>,
    /// The number of bytes of the next head that have arrived
    head: usize,
    /// Whether a head, or the set-up of TLS, is waited for
    awaits_head: bool,
    /// Since when one is waited for, or arrives
    head_since: Option<Instant>,
    /// Since when answers wait of which nothing is taken
    untaken_since: Option<Instant>,
    /// Whether nothing could be written at the last attempt
    is_blocked: bool,
    /// Since when nothing can be written
    blocked_since: Option<Instant>,
    is_http2: bool,
    /// Whether hyper has it, over HTTP/1.1
    is_served: bool,
    finishing_since: Option<Instant>,
    end: Option<End>,
}

/// How a connection ends
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As its protocol has it: requests in progress are answered
    Finish,
    /// At once
    Close,
    /// Not at all: it is kept without the buffers of its protocol
    Park,
}

impl Connection {
    pub(crate) fn new(source: Source, all_waiting: Arc<AtomicUsize>) -> Self {
        let (end, taken) = (Notify::new(), Notify::new());
        let number = AtomicU64::new(0);
        Self { source, number, state: Mutex::default(), end, taken, all_waiting }
    }

    /// A request has arrived; it is in progress until the returned value is dropped
    pub(crate) fn request_begins(self: &Arc<Self>, is_http2: bool) -> InProgress {
        let mut state = self.state();
        state.requests += 1;
        state.begun += 1;
        state.is_http2 = is_http2;
        state.unused_since = None;
        state.head_ends();
        drop(state);
        InProgress(Arc::clone(self))
    }

    /// Waits until the client has taken enough of the answers that it was given
    pub(crate) async fn has_room(&self, limits: &Limits) {
        loop {
            let taken = self.taken.notified();
            let waiting = self.state().waiting;
            let is_full = self.all_waiting.load(Ordering::Relaxed) >= limits.waiting_answers;
            if waiting == 0 || (waiting < WAITING_ANSWERS && !is_full) {
                return;
            }
            let _held = Held::new(&self.all_waiting);
            taken.await;
        }
    }

    /// Its client speaks HTTP/2
    pub(crate) fn speaks_http2(&self) {
        self.state().is_http2 = true;
    }

    /// Whether hyper has it from now on
    pub(crate) fn served(&self, is_served: bool) {
        let mut state = self.state();
        state.is_served = is_served;
        // A park that was not noticed yet would close a connection that hyper does not have.
        state.end.take_if(|end| *end == End::Park);
    }

    /// A head, or the set-up of TLS, is waited for from now on
    pub(crate) fn bytes_wait(&self) {
        self.state().awaits_head = true;
    }

    /// What was waited for since [`bytes_wait`](Self::bytes_wait) is over, and was not a head
    pub(crate) fn head_ends(&self) {
        let mut state = self.state();
        state.unused_since = None;
        state.head_ends();
    }

    pub(crate) fn bytes_read(&self, bytes: usize) {
        let mut state = self.state();
        if state.requests == 0 {
            state.head += bytes;
        }
    }

    /// Whether something could be written just now
    pub(crate) fn written(&self, is_ready: bool) {
        let mut state = self.state();
        state.is_blocked = !is_ready;
        if is_ready {
            state.blocked_since = None;
        }
    }

    pub(crate) fn answer_waits(&self, bytes: usize) {
        self.state().waiting += bytes;
        self.all_waiting.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn answer_taken(&self, bytes: usize) {
        if bytes > 0 {
            let mut state = self.state();
            state.untaken_since = None;
            state.waiting -= bytes;
            drop(state);
            self.all_waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.taken.notify_waiters();
        }
    }

    /// Since when it is known, at `now`, that the connection has no request; `None` if it has one
    pub(crate) fn unused_since(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state();
        state.look(now);
        state.unused_since
    }

    /// How many requests were answered; `None` while one is being answered
    pub(crate) fn answered(&self) -> Option<u64> {
        let state = self.state();
        (state.requests == 0).then_some(state.begun)
    }

    /// The bytes of the head that is arriving
    pub(crate) fn head(&self) -> usize {
        self.state().head
    }

    /// Ends the connection if its time is over; returns whether it is closed at once
    pub(crate) fn end_if_due(&self, limits: &Limits, stage: Stage, now: Instant) -> bool {
        let is_full = self.all_waiting.load(Ordering::Relaxed) >= limits.waiting_answers;
        let mut state = self.state();
        state.look(now);
        let due = state.due(limits, is_full, stage, now);
        if let Some(end) = due {
            if end == End::Finish {
                state.finishing_since = Some(now);
            }
            // Before the lock is released: a moment later it may not be due any more.
            state.end(end);
            drop(state);
            self.end.notify_one();
        }
        due == Some(End::Close)
    }

    /// Ends the connection in this way, unless it is to be closed already
    pub(crate) fn end(&self, how: End) {
        self.state().end(how);
        self.end.notify_one();
    }

    /// Waits until the connection is to end
    pub(crate) async fn ended(&self) -> End {
        loop {
            if let Some(end) = self.state().end.take() {
                return end;
            }
            self.end.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Notes since when what is the case now lasts, where that is not noted yet
    fn look(&mut self, now: Instant) {
        let lasting = [
            (self.requests == 0, &mut self.unused_since),
            (self.awaits_head || self.head > 0, &mut self.head_since),
            (self.waiting > 0, &mut self.untaken_since),
            (self.is_blocked, &mut self.blocked_since),
        ];
        for (lasts, since) in lasting {
            *since = lasts.then(|| since.unwrap_or(now));
        }
    }

    fn head_ends(&mut self) {
        self.awaits_head = false;
        self.head_since = None;
        self.head = 0;
    }

    fn end(&mut self, how: End) {
        // One that makes room is not among the open connections any more, so that nothing would
        // close it later.
        if self.end != Some(End::Close) {
            self.end = Some(how);
        }
    }

    fn due(&self, limits: &Limits, is_full: bool, stage: Stage, now: Instant) -> Option<End> {
        let is_over = |since: Option<Instant>, limit| {
            since.is_some_and(|since| now.saturating_duration_since(since) >= limit)
        };
        // While too many answers wait, only clients that take theirs keep their connections.
        let answer = if is_full { limits.answer.min(MOMENT) } else { limits.answer };
        let is_stalled = is_over(self.untaken_since, answer) || is_over(self.blocked_since, answer);
        let is_slow = !self.is_http2 && is_over(self.head_since, limits.head);
        if is_stalled || is_slow {
            return Some(End::Close);
        }
        if self.finishing_since.is_some() {
            let is_unanswered = self.requests == 0 && self.waiting == 0;
            let is_unfinished = is_unanswered && is_over(self.finishing_since, MOMENT);
            return is_unfinished.then_some(End::Close);
        }
        // HTTP/2 tells its client which requests were not seen, so that it can end at any time.
        if stage != Stage::Serving && self.is_http2 {
            return Some(End::Finish);
        }
        // A load balancer turns to connections that it has kept for long as soon as others end.
        // Until it had the time to, a request may be on its way on any of them.
        let idle = if stage == Stage::Draining { limits.idle.min(MOMENT) } else { limits.idle };
        let begun = self.head_since.filter(|_| !self.is_http2);
        let is_idle = self.waiting == 0 && begun.is_none();
        if is_idle && is_over(self.unused_since, idle) {
            return Some(End::Finish);
        }
        (is_idle && self.is_served && is_over(self.unused_since, UNUSED)).then_some(End::Park)
    }
}

/// A request that is being answered
#[derive(Debug)]
pub(crate) struct InProgress(Arc<Connection>);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.state().requests -= 1;
    }
}

/// The memory of a request that waits until answers before it are taken
struct Held<'a>(&'a AtomicUsize);

impl<'a> Held<'a> {
    fn new(all: &'a AtomicUsize) -> Self {
        all.fetch_add(WAITING_REQUEST, Ordering::Relaxed);
        Self(all)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(WAITING_REQUEST, Ordering::Relaxed);
    }
}

/// Bytes that a request holds while it waits: its head, its task and its stream
const WAITING_REQUEST: usize = 4 * 1024;

/// Bytes of answers that may wait on one connection before it gets more
const WAITING_ANSWERS: usize = 64 * 1024;

/// How long a connection is kept ready for its next request
const UNUSED: std::time::Duration = std::time::Duration::from_millis(500);

/// A connection that was not used for so long is probably not being used at this moment, so that
/// closing it loses no request
pub(crate) const MOMENT: std::time::Duration = std::time::Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    /// How a connection ends after these steps, at most once in a minute
    async fn ends(steps: impl FnOnce(&Arc<Connection>)) -> Option<(End, u128)> {
        ends_in(Stage::Serving, steps).await
    }

    async fn ends_in(stage: Stage, steps: impl FnOnce(&Arc<Connection>)) -> Option<(End, u128)> {
        let limits = Limits { waiting_answers: 100_000, ..Limits::default() };
        let connection = Arc::new(Connection::new(Source::UNKNOWN, Arc::default()));
        steps(&connection);
        let start = Instant::now();
        for _ in 0..900 {
            connection.end_if_due(&limits, stage, Instant::now());
            let end = connection.state().end;
            if let Some(end) = end {
                return Some((end, start.elapsed().as_millis()));
            }
            advance(Duration::from_millis(100)).await;
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_connection_does_decides_when_it_ends() {
        assert_eq!(ends(|_| {}).await, Some((End::Finish, 75_000)), "it is silent");
        let parked = ends(|connection| {
            connection.served(true);
            drop(connection.request_begins(false));
        });
        assert_eq!(parked.await, Some((End::Park, 500)), "it was used");
        let busy = ends(|connection| {
            connection.served(true);
            std::mem::forget(connection.request_begins(false));
        });
        assert_eq!(busy.await, None, "its request is being answered");
        let slow = ends(|connection| {
            connection.served(true);
            connection.bytes_read(1);
        });
        assert_eq!(slow.await, Some((End::Close, 10_000)), "its head does not arrive");
        let pings = ends(|connection| {
            connection.speaks_http2();
            connection.bytes_read(1);
        });
        assert_eq!(pings.await, Some((End::Finish, 75_000)), "it sends no request");
        let untaken = ends(|connection| connection.answer_waits(10));
        assert_eq!(untaken.await, Some((End::Close, 20_000)), "an answer is not taken");
        let blocked = ends(|connection| connection.written(false));
        assert_eq!(blocked.await, Some((End::Close, 20_000)), "nothing can be written");
        let unblocked = ends(|connection| {
            connection.written(false);
            connection.written(true);
        });
        assert_eq!(unblocked.await, Some((End::Finish, 75_000)));
        let too_much = ends(|connection| connection.answer_waits(100_000));
        assert_eq!(too_much.await, Some((End::Close, 1_000)), "too many answers wait");
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_between_two_looks_ends_what_lasted() {
        let limits = Limits { head: HALF, answer: HALF, idle: HALF, ..Limits::default() };
        let connection = Arc::new(Connection::new(Source::UNKNOWN, Arc::default()));
        let pause = HALF.mul_f32(0.9);
        for _ in 0..10 {
            // A request, an answer and a write begin and end.
            connection.bytes_read(10);
            connection.answer_waits(10);
            connection.written(false);
            connection.end_if_due(&limits, Stage::Serving, Instant::now());
            advance(pause).await;
            connection.answer_taken(10);
            connection.written(true);
            drop(connection.request_begins(false));
            connection.end_if_due(&limits, Stage::Serving, Instant::now());
            advance(pause).await;
            drop(connection.request_begins(false));
        }
        assert_eq!(connection.state().end, None);
        // An answer is taken bit by bit, and writing blocks again at once.
        connection.answer_waits(11);
        for _ in 0..10 {
            connection.answer_taken(1);
            connection.written(true);
            connection.written(false);
            connection.end_if_due(&limits, Stage::Serving, Instant::now());
            advance(pause).await;
        }
        assert_eq!(connection.state().end, None);
        connection.answer_taken(1);
        connection.written(true);
        drop(connection.request_begins(false));
        for (step, expected) in [(pause, None), (pause, None), (pause, Some(End::Finish))] {
            connection.end_if_due(&limits, Stage::Serving, Instant::now());
            assert_eq!(connection.state().end, expected);
            advance(step).await;
        }
    }

    #[test]
    fn requests_are_counted_once_they_are_answered() {
        let connection = Arc::new(Connection::new(Source::UNKNOWN, Arc::default()));
        assert_eq!(connection.answered(), Some(0));
        for count in 1..4 {
            let request = connection.request_begins(false);
            assert_eq!(connection.answered(), None);
            drop(request);
            assert_eq!(connection.answered(), Some(count));
        }
    }

    const HALF: Duration = Duration::from_millis(500);

    #[tokio::test(start_paused = true)]
    async fn an_unused_connection_outlives_the_lame_duck_unless_it_is_http2() {
        let http2 = |connection: &Arc<Connection>| connection.speaks_http2();
        let expected = [
            (Stage::Serving, 75_000, 75_000),
            (Stage::LameDuck, 75_000, 0),
            (Stage::Draining, 1_000, 0),
        ];
        for (stage, unused, of_http2) in expected {
            assert_eq!(ends_in(stage, |_| {}).await, Some((End::Finish, unused)), "{stage:?}");
            assert_eq!(ends_in(stage, http2).await, Some((End::Finish, of_http2)), "{stage:?}");
        }
    }

    #[tokio::test]
    async fn a_park_that_comes_late_neither_replaces_a_close_nor_ends_a_connection() {
        let connection = Connection::new(Source::UNKNOWN, Arc::default());
        connection.end(End::Close);
        connection.end(End::Park);
        assert_eq!(connection.ended().await, End::Close);
        connection.end(End::Park);
        connection.served(false);
        assert_eq!(connection.state().end, None);
    }
}
