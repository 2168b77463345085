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
    _audit: Option<app_audit::Housekeeping>,
    _tasks: Vec<AbortOnDrop>,
}

impl Housekeeping {
    /// Starts to delete sessions for apps that have ended, beside the work on the audit
    pub(super) fn start<S: Store>(
        audit: app_audit::Housekeeping,
        store: Arc<S>,
        keep_rows: Option<Duration>,
        clock: Clock,
    ) -> Self {
        let acts = keep_rows.map(|keep| spawn_forgetting(Arc::clone(&store), keep));
        let sessions = tokio::spawn(async move {
            loop {
                if let Err(error) = forget_ended(&*store, &clock).await {
                    error!(error = chain(&error), "sessions for apps that ended were not deleted");
                }
                sleep(INTERVAL).await;
            }
        });
        let tasks = acts.into_iter().chain([AbortOnDrop(sessions)]).collect();
        Self { _audit: Some(audit), _tasks: tasks }
    }

    /// Starts to delete acts that are older than `keep`
    pub(crate) fn of_acts<S: Store>(store: Arc<S>, keep: Duration) -> Self {
        Self { _audit: None, _tasks: vec![spawn_forgetting(store, keep)] }
    }
}

fn spawn_forgetting<S: Store>(store: Arc<S>, keep: Duration) -> AbortOnDrop {
    AbortOnDrop(tokio::spawn(async move {
        loop {
            if let Err(error) = forget_acts(&*store, keep).await {
                error!(error = chain(&error), "old acts were not deleted");
            }
            sleep(ACTS_INTERVAL).await;
        }
    }))
}

async fn forget_acts<S: Store>(store: &S, keep: Duration) -> Result<(), store::Error> {
    if !store.records_acts().await? {
        return Ok(());
    }
    while store.forget_acts(keep, BATCH).await? == u64::from(BATCH) {
        sleep(BATCH_PAUSE).await;
    }
    Ok(())
}

async fn forget_ended<S: Store>(store: &S, clock: &Clock) -> Result<(), store::Error> {
    while store.forget_ended(clock(), BATCH).await? == u64::from(BATCH) {
        sleep(BATCH_PAUSE).await;
    }
    Ok(())
}

/// A task that ends when this is dropped
#[derive(Debug)]
pub(crate) struct AbortOnDrop(pub(crate) JoinHandle<()>);

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

/// Acts are kept for days, so their age need not be exact
const ACTS_INTERVAL: Duration = Duration::from_secs(600);
