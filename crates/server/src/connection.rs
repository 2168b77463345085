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

#[derive(Debug)]
struct State {
    /// Requests that are being answered
    requests: usize,
    /// Bytes of answers that were not written yet
    waiting: usize,
    /// When a request was answered last, or the connection was accepted
    used: Instant,
    /// When the first byte of the next head arrived
    head_since: Option<Instant>,
    /// The number of its bytes
    head: usize,
    /// When an answer was last taken, in part or whole, or began to wait
    taken: Instant,
    /// Since when nothing could be written
    blocked_since: Option<Instant>,
    is_http2: bool,
    /// Whether hyper has it, over HTTP/1.1
    is_served: bool,
    is_finishing_since: Option<Instant>,
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
        let now = Instant::now();
        let state = State {
            requests: 0,
            waiting: 0,
            used: now,
            head_since: None,
            head: 0,
            taken: now,
            blocked_since: None,
            is_http2: false,
            is_served: false,
            is_finishing_since: None,
            end: None,
        };
        let (end, taken) = (Notify::new(), Notify::new());
        let number = AtomicU64::new(0);
        Self { source, number, state: Mutex::new(state), end, taken, all_waiting }
    }

    /// A request has arrived; it is in progress until the returned value is dropped
    pub(crate) fn request_begins(self: &Arc<Self>, is_http2: bool) -> InProgress {
        let mut state = self.state();
        state.requests += 1;
        state.is_http2 = is_http2;
        state.head_since = None;
        state.head = 0;
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
        self.state().head_since.get_or_insert_with(Instant::now);
    }

    /// What was waited for since [`bytes_wait`](Self::bytes_wait) is over, and was not a head
    pub(crate) fn head_ends(&self) {
        let mut state = self.state();
        state.used = Instant::now();
        state.head_since = None;
        state.head = 0;
    }

    pub(crate) fn bytes_read(&self, bytes: usize) {
        let mut state = self.state();
        if state.requests > 0 {
            return;
        }
        state.head_since.get_or_insert_with(Instant::now);
        state.head += bytes;
    }

    /// Whether something could be written just now
    pub(crate) fn written(&self, is_ready: bool) {
        let mut state = self.state();
        match is_ready {
            true => state.blocked_since = None,
            false => drop(state.blocked_since.get_or_insert_with(Instant::now)),
        }
    }

    pub(crate) fn answer_waits(&self, bytes: usize) {
        let mut state = self.state();
        if state.waiting == 0 {
            state.taken = Instant::now();
        }
        state.waiting += bytes;
        self.all_waiting.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn answer_taken(&self, bytes: usize) {
        if bytes > 0 {
            let mut state = self.state();
            state.taken = Instant::now();
            state.waiting -= bytes;
            drop(state);
            self.all_waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.taken.notify_waiters();
        }
    }

    /// Since when no request was answered; `None` if one is being answered
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.requests == 0).then_some(state.used)
    }

    /// The bytes of the head that is arriving
    pub(crate) fn head(&self) -> usize {
        self.state().head
    }

    /// Ends the connection if its time is over; returns whether it is closed at once
    pub(crate) fn end_if_due(&self, limits: &Limits, stage: Stage, now: Instant) -> bool {
        let is_full = self.all_waiting.load(Ordering::Relaxed) >= limits.waiting_answers;
        let mut state = self.state();
        let due = state.due(limits, is_full, stage, now);
        if let Some(end) = due {
            if end == End::Finish {
                state.is_finishing_since = Some(now);
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
    fn end(&mut self, how: End) {
        // One that makes room is not among the open connections any more, so that nothing would
        // close it later.
        if self.end != Some(End::Close) {
            self.end = Some(how);
        }
    }

    fn due(&self, limits: &Limits, is_full: bool, stage: Stage, now: Instant) -> Option<End> {
        let is_over = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
        // While too many answers wait, only clients that take theirs keep their connections.
        let answer = if is_full { limits.answer.min(MOMENT) } else { limits.answer };
        let is_stalled = self.waiting > 0 && is_over(self.taken, answer)
            || self.blocked_since.is_some_and(|since| is_over(since, answer));
        let is_slow =
            !self.is_http2 && self.head_since.is_some_and(|since| is_over(since, limits.head));
        if is_stalled || is_slow {
            return Some(End::Close);
        }
        if let Some(since) = self.is_finishing_since {
            let is_unfinished = self.requests == 0 && self.waiting == 0 && is_over(since, MOMENT);
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
        let is_idle = self.requests == 0 && self.waiting == 0 && begun.is_none();
        if is_idle && is_over(self.used, idle) {
            return Some(End::Finish);
        }
        (is_idle && self.is_served && is_over(self.used, UNUSED)).then_some(End::Park)
    }
}

/// A request that is being answered
#[derive(Debug)]
pub(crate) struct InProgress(Arc<Connection>);

impl Drop for InProgress {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.requests -= 1;
        state.used = Instant::now();
        // What has arrived since was the body.
        state.head_since = None;
        state.head = 0;
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
