//! What a store notices makes a question due before its time

use std::error::Error;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::debug;

use crate::error::chain;

/// Tells `due` of each notice for which `next` waits, for as long as the future is polled
pub(crate) async fn pass_on<E, N>(next: impl Fn() -> N, due: &Notify)
where
    E: Error + 'static,
    N: Future<Output = Result<(), E>>,
{
    loop {
        match next().await {
            Ok(()) => {
                due.notify_one();
                // Also where each new connection is closed at once.
                sleep(SOON).await;
            }
            Err(error) => {
                debug!(error = chain(&error), "changes are not noticed, and asked for");
                sleep(RETRY).await;
            }
        }
    }
}

/// How long after one question a notice leads to the next: a change seldom comes alone
pub(crate) const SOON: Duration = Duration::from_millis(100);

/// How long after a failure it is tried again to notice changes
const RETRY: Duration = Duration::from_secs(5);
