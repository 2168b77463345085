use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// A future that completes even if it is dropped
///
/// While it is awaited it runs within the awaiting task. If it is dropped before its end, it
/// becomes a task of its own.
#[derive(Debug)]
pub(crate) struct DetachOnDrop<F>(Option<Pin<Box<F>>>)
where
    F: Future + Send + 'static,
    F::Output: Send;

impl<F> DetachOnDrop<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    pub(crate) fn new(future: F) -> Self {
        Self(Some(Box::pin(future)))
    }
}

impl<F> Future for DetachOnDrop<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Taken out while it is polled, so that a future that panicked is not polled again.
        let Some(mut future) = self.0.take() else { return Poll::Pending };
        let polled = future.as_mut().poll(cx);
        if polled.is_pending() {
            self.0 = Some(future);
        }
        polled
    }
}

impl<F> Drop for DetachOnDrop<F>
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn drop(&mut self) {
        if let (Some(rest), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::{Notify, oneshot};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn it_completes_when_it_is_awaited_and_when_it_is_dropped() {
        assert_eq!(DetachOnDrop::new(async { 7 }).await, 7);

        let go_on = Arc::new(Notify::new());
        for begun in [false, true] {
            let (done, mut ended) = oneshot::channel();
            let signal = Arc::clone(&go_on);
            let mut future = DetachOnDrop::new(async move {
                signal.notified().await;
                done.send(()).unwrap();
            });
            if begun {
                assert!(timeout(Duration::from_millis(1), &mut future).await.is_err());
            }
            drop(future);
            assert!(ended.try_recv().is_err());
            go_on.notify_one();
            ended.await.unwrap();
        }
    }
}
