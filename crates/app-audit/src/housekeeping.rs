use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::{Journal, Observer, Window};

/// A background task that deletes what a journal no longer needs, until it is dropped
///
/// It deletes sessions that have ended; with [`Window::close`] it also writes a row for
/// the end of each. It deletes rows of the log only if a retention period is given. The
/// work is done in small batches. It also lets the journal [prepare](Journal::prepare) for the time
/// to come. Any number of replicas may do it at the same time.
#[derive(Debug)]
pub struct Housekeeping {
    task: JoinHandle<()>,
}

impl Housekeeping {
    /// Starts the task on the current tokio runtime; its first run is immediate
    ///
    /// Rows of the log are deleted once they are older than `keep_rows`, and never if it
    /// is `None`. An error of a deletion ends the run. Errors are passed to [`Observer::failing`]; the
    /// next run comes at its usual time.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with timers.
    #[must_use]
    pub fn start<J: Journal + 'static>(
        journal: Arc<J>,
        window: Window,
        keep_rows: Option<Duration>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let task = tokio::spawn(async move {
            loop {
                let prepared = journal.prepare().await;
                let deleted = delete_expired(&*journal, window, keep_rows).await;
                for error in [prepared.err(), deleted.err()].into_iter().flatten() {
                    observer.failing(&error, 0);
                }
                sleep(if window.close { INTERVAL_TO_CLOSE } else { INTERVAL }).await;
            }
        });
        Self { task }
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn delete_expired<J: Journal>(
    journal: &J,
    window: Window,
    keep_rows: Option<Duration>,
) -> Result<(), J::Error> {
    while journal.end_sessions(window, BATCH).await? == u64::from(BATCH) {
        sleep(BATCH_PAUSE).await;
    }
    if let Some(keep) = keep_rows {
        while journal.forget(keep, BATCH).await? >= u64::from(BATCH) {
            sleep(BATCH_PAUSE).await;
        }
    }
    Ok(())
}

/// Rows of one statement: few enough that it takes milliseconds
const BATCH: u32 = 1_000;

/// Pause between two batches, so that other statements are not starved
const BATCH_PAUSE: Duration = Duration::from_millis(100);

const INTERVAL: Duration = Duration::from_secs(600);

/// Interval with [`Window::close`]: the time of a session's last visit is known to the
/// minute by default, so its end is written within about a minute as well
const INTERVAL_TO_CLOSE: Duration = Duration::from_secs(60);
