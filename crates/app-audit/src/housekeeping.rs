use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::{Journal, Observer, Window};

/// Keeps a journal from growing for ever, in the background, until it is dropped
///
/// Sessions that have ended are forgotten; with [`Window::close`] that they have ended
/// is written down. Rows of the log are forgotten only if it is said for how long they
/// are kept. Work is done a little at a time, and any number of replicas may share it.
#[derive(Debug)]
pub struct Housekeeping {
    task: JoinHandle<()>,
}

impl Housekeeping {
    /// Begins at once, on the tokio runtime that this is called on
    ///
    /// # Panics
    ///
    /// Outside of a runtime with timers.
    #[must_use]
    pub fn start<J: Journal + 'static>(
        journal: Arc<J>,
        window: Window,
        keep_rows: Option<Duration>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let task = tokio::spawn(async move {
            loop {
                if let Err(error) = tidy(&*journal, window, keep_rows).await {
                    observer.failing(&error, 0);
                }
                sleep(if window.close { EVERY_TO_CLOSE } else { EVERY }).await;
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

async fn tidy<J: Journal>(
    journal: &J,
    window: Window,
    keep_rows: Option<Duration>,
) -> Result<(), J::Error> {
    while journal.end_sessions(window, BATCH).await? == u64::from(BATCH) {
        sleep(BREATH).await;
    }
    if let Some(keep) = keep_rows {
        while journal.forget(keep, BATCH).await? == u64::from(BATCH) {
            sleep(BREATH).await;
        }
    }
    Ok(())
}

/// Small enough to be over in milliseconds
const BATCH: u32 = 1_000;

/// What others have for themselves between two batches
const BREATH: Duration = Duration::from_millis(100);

const EVERY: Duration = Duration::from_secs(600);

/// The end of a session is written about as exactly as its last visit is known
const EVERY_TO_CLOSE: Duration = Duration::from_secs(60);
