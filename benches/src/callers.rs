use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::runtime::Runtime;

use crate::{Round, Side, Until};

/// An operation of one of several callers: it gets the number of the caller and that of the call
///
/// Its future is boxed, so that its type ends here: the machinery around it is compiled once, and the
/// cost of the box is on both sides of a comparison.
pub type Operation =
    Arc<dyn Fn(usize, u64) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Makes an [`Operation`] of an asynchronous closure
pub fn operation<F>(run: impl Fn(usize, u64) -> F + Send + Sync + 'static) -> Operation
where
    F: Future<Output = ()> + Send + 'static,
{
    Arc::new(move |caller, call| Box::pin(run(caller, call)))
}

/// The side on which `count` tasks repeat an operation, each of which waits for one call before
/// the next
#[must_use]
pub fn callers(runtime: &Arc<Runtime>, count: usize, operation: Operation) -> Side {
    let runtime = Arc::clone(runtime);
    Box::new(move |until| round(&runtime, count, &operation, until))
}

fn round(runtime: &Runtime, count: usize, operation: &Operation, until: Until) -> Round {
    let calls = Arc::new(AtomicU64::new(0));
    let limit = Arc::new(AtomicU64::new(match until {
        Until::Time(_) => u64::MAX,
        Until::Operations(operations) => operations,
    }));
    let start = Instant::now();
    let tasks: Vec<_> = (0..count)
        .map(|caller| {
            let (calls, limit) = (Arc::clone(&calls), Arc::clone(&limit));
            runtime.spawn(repeat(caller, Arc::clone(operation), calls, limit))
        })
        .collect();
    let operations = runtime.block_on(async {
        if let Until::Time(time) = until {
            tokio::time::sleep(time).await;
            limit.store(0, Ordering::Relaxed);
        }
        let mut operations = 0;
        for task in tasks {
            match task.await {
                Ok(completed) => operations += completed,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        operations
    });
    Round { operations, elapsed: start.elapsed() }
}

async fn repeat(
    caller: usize,
    operation: Operation,
    calls: Arc<AtomicU64>,
    limit: Arc<AtomicU64>,
) -> u64 {
    let mut completed = 0;
    loop {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        if call >= limit.load(Ordering::Relaxed) {
            return completed;
        }
        operation(caller, call).await;
        completed += 1;
        // A caller that never waits would keep other tasks from running.
        tokio::task::consume_budget().await;
    }
}
