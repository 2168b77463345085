use std::sync::Arc;
use std::time::Duration;

use identity_fetch::Clock;
use store::Store;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::error;

use crate::error::chain;

/// Background tasks that delete what is not needed any more, until this is dropped
#[derive(Debug)]
pub struct Housekeeping {
    _audit: app_audit::Housekeeping,
    _sessions: AbortOnDrop,
}

impl Housekeeping {
    /// Starts to delete sessions for apps that have ended, beside the work on the audit
    pub(super) fn start<S: Store>(
        audit: app_audit::Housekeeping,
        store: Arc<S>,
        clock: Clock,
    ) -> Self {
        let sessions = tokio::spawn(async move {
            loop {
                if let Err(error) = forget_ended(&*store, &clock).await {
                    error!(error = chain(&error), "sessions for apps that ended were not deleted");
                }
                sleep(INTERVAL).await;
            }
        });
        Self { _audit: audit, _sessions: AbortOnDrop(sessions) }
    }
}

async fn forget_ended<S: Store>(store: &S, clock: &Clock) -> Result<(), store::Error> {
    while store.forget_ended(clock(), BATCH).await? == u64::from(BATCH) {
        sleep(BATCH_PAUSE).await;
    }
    Ok(())
}

/// A task that ends when this is dropped
#[derive(Debug)]
pub(super) struct AbortOnDrop(pub(super) JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Rows of one statement: few enough that it takes milliseconds
const BATCH: u32 = 1_000;

/// Pause between two batches, so that other statements are not starved
const BATCH_PAUSE: Duration = Duration::from_millis(100);

/// A control plane that carries apps itself accepts a session for apps until it is deleted, also
/// if the session that it was made from is gone
const INTERVAL: Duration = Duration::from_secs(60);
