//! The statement timeout, enforced on this side if a pooler kept the setting from the server

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use diesel::connection::{Instrumentation, InstrumentationEvent};
use tokio::time::{Instant, sleep_until};

use super::StatementCounter;

/// Watches one connection for a statement that takes too long
///
/// It observes statements through diesel's instrumentation. The server executes the statements
/// of a connection in turn, so the time of each begins when the one before it ends. A statement
/// whose caller has gone away counts as running, as it may be.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    state: Mutex<State>,
    overdue: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// When the server began with the oldest running statement
    since: Option<Instant>,
}

impl Watchdog {
    /// Waits until a statement has taken longer than `limit`
    pub(super) async fn overdue(&self, limit: Duration) {
        loop {
            let now = Instant::now();
            let due = self.state().since.unwrap_or(now) + limit;
            if due <= now {
                self.overdue.store(true, Ordering::Release);
                return;
            }
            sleep_until(due).await;
        }
    }

    /// Whether the connection was closed because a statement took too long
    pub(super) fn is_overdue(&self) -> bool {
        self.overdue.load(Ordering::Acquire)
    }

    fn begin(&self) {
        let mut state = self.state();
        state.running += 1;
        state.since.get_or_insert_with(Instant::now);
    }

    fn end(&self) {
        let mut state = self.state();
        state.running = state.running.saturating_sub(1);
        state.since = (state.running > 0).then(Instant::now);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The observers of a connection's statements
pub(super) struct Observers {
    pub(super) watchdog: Option<Arc<Watchdog>>,
    pub(super) counter: Option<StatementCounter>,
}

impl Instrumentation for Observers {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if let Some(watchdog) = &self.watchdog {
            match &event {
                InstrumentationEvent::StartQuery { .. } => watchdog.begin(),
                InstrumentationEvent::FinishQuery { .. } => watchdog.end(),
                _ => {}
            }
        }
        if let (Some(counter), InstrumentationEvent::StartQuery { .. }) = (&self.counter, &event) {
            counter.count();
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observers").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{sleep, timeout};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(3);
    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn each_statement_has_the_whole_time_from_the_end_of_the_one_before() {
        let watchdog = Arc::new(Watchdog::default());
        let watching = tokio::spawn({
            let watchdog = Arc::clone(&watchdog);
            async move { watchdog.overdue(LIMIT).await }
        });
        // Nothing runs for long.
        sleep(10 * SECOND).await;
        watchdog.begin();
        watchdog.begin();
        sleep(2 * SECOND).await;
        watchdog.end();
        sleep(2 * SECOND).await;
        // Statements that begin behind it do not extend its time.
        watchdog.begin();
        assert!(!watching.is_finished() && !watchdog.is_overdue());
        timeout(SECOND + SECOND / 10, watching).await.unwrap().unwrap();
        assert!(watchdog.is_overdue());
    }

    #[tokio::test(start_paused = true)]
    async fn a_statement_that_ended_is_not_counted() {
        let watchdog = Watchdog::default();
        for _ in 0..10 {
            watchdog.begin();
            assert!(timeout(2 * SECOND, watchdog.overdue(LIMIT)).await.is_err());
            watchdog.end();
        }
        assert!(timeout(10 * SECOND, watchdog.overdue(LIMIT)).await.is_err());
        assert!(!watchdog.is_overdue());
    }
}
