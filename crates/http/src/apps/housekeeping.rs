use std::sync::Arc;
use std::time::Duration;

use agent_auth::Candidates;
use app_authz::credential::Sessions;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use identity_fetch::Clock;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::error;

use crate::acts::OldActs;
use crate::batches::{BATCH, BATCH_PAUSE};
use crate::error::{BoxError, chain};

/// Background tasks that delete what is not needed any more, until this is dropped
#[derive(Debug)]
pub struct Housekeeping {
    _audit: Option<app_audit::Housekeeping>,
    _tasks: Vec<AbortOnDrop>,
}

impl Housekeeping {
    /// Starts to delete sessions for apps that have ended, beside the work on the audit
    pub(super) fn start<S: Sessions + Send + Sync + 'static>(
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
        Self { _audit: Some(audit), _tasks: vec![AbortOnDrop(sessions)] }
    }

    /// Starts to delete pins that no sign-in needs, beside the rest of `housekeeping`
    pub(crate) fn with_pins(housekeeping: Option<Self>, pins: Arc<dyn OldPins>) -> Self {
        let forgetting = AbortOnDrop(tokio::spawn(async move {
            loop {
                if let Err(error) = pins.forget().await {
                    error!(error = chain(&*error), "old pins were not deleted");
                }
                sleep(PINS_INTERVAL).await;
            }
        }));
        let mut all = housekeeping.unwrap_or(Self { _audit: None, _tasks: Vec::new() });
        all._tasks.push(forgetting);
        all
    }

    /// Starts to delete acts that are older than `keep`, beside the rest of `housekeeping`
    pub(crate) fn with_acts(
        housekeeping: Option<Self>,
        acts: Arc<dyn OldActs>,
        keep: Duration,
    ) -> Self {
        let forgetting = AbortOnDrop(tokio::spawn(async move {
            loop {
                if let Err(error) = acts.forget(keep).await {
                    error!(error = chain(&*error), "old acts were not deleted");
                }
                sleep(ACTS_INTERVAL).await;
            }
        }));
        let mut all = housekeeping.unwrap_or(Self { _audit: None, _tasks: Vec::new() });
        all._tasks.push(forgetting);
        all
    }
}

/// Pins of builds that are superseded
pub(crate) trait OldPins: Send + Sync {
    /// Deletes them
    fn forget(&self) -> BoxFuture<'_, Result<(), BoxError>>;
}

impl<C: Candidates + Send> OldPins for C {
    fn forget(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        async move {
            while self.forget_pins(BATCH).await? == u64::from(BATCH) {
                sleep(BATCH_PAUSE).await;
            }
            Ok(())
        }
        .boxed()
    }
}

async fn forget_ended<S: Sessions>(store: &S, clock: &Clock) -> Result<(), S::Error> {
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

/// A control plane that carries apps itself accepts a session for apps until it is deleted, also
/// if the session that it was made from is gone
const INTERVAL: Duration = Duration::from_secs(60);

/// No pin of a superseded build has an effect
const PINS_INTERVAL: Duration = Duration::from_secs(600);

/// Acts are kept for days, so their age need not be exact
const ACTS_INTERVAL: Duration = Duration::from_secs(600);
