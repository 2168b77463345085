use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

/// The operations and the duration of one round
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// How many operations were completed
    pub operations: u64,
    /// How long they took
    pub elapsed: Duration,
}

impl Round {
    /// Counts how often `operation` completes within `time`
    pub fn of(time: Duration, mut operation: impl FnMut()) -> Self {
        let start = Instant::now();
        let mut operations = 0;
        loop {
            // Reading the clock takes as long as a fast operation.
            for _ in 0..16 {
                operation();
            }
            operations += 16;
            let elapsed = start.elapsed();
            if elapsed >= time {
                return Self { operations, elapsed };
            }
        }
    }

    /// Nanoseconds between two completed operations
    #[must_use]
    #[allow(clippy::as_conversions)] // far below 2^53
    pub fn nanoseconds(&self) -> f64 {
        self.elapsed.as_nanos() as f64 / self.operations.max(1) as f64
    }
}

/// How much time a comparison may take
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Only checks that everything runs
    Smoke,
    /// Long enough for reliable ratios
    Full,
}

impl Effort {
    /// [`Effort::Full`] under `cargo bench`, [`Effort::Smoke`] with `-- --test` and
    /// under `cargo test`
    #[must_use]
    pub fn from_args() -> Self {
        let given = |flag: &str| std::env::args().any(|arg| arg == flag);
        if given("--bench") && !given("--test") { Self::Full } else { Self::Smoke }
    }
}

/// A comparison in alternating rounds
#[derive(Clone, Copy, Debug)]
pub struct Contest {
    rounds: u32,
    time: Duration,
}

/// The outcome of a comparison
#[derive(Clone, Copy, Debug)]
pub struct Result {
    /// Nanoseconds per operation in the best round of the other side
    pub floor: f64,
    /// Nanoseconds per operation in our best round
    pub ours: f64,
    /// The time of the other side divided by ours: the median over pairs of successive rounds
    pub median_ratio: f64,
}

impl Contest {
    /// A comparison with as many rounds as `effort` allows
    #[must_use]
    pub const fn new(effort: Effort) -> Self {
        match effort {
            Effort::Smoke => Self { rounds: 1, time: Duration::from_millis(20) },
            Effort::Full => Self { rounds: 40, time: Duration::from_millis(100) },
        }
    }

    /// Runs both sides in turn; each is called with the duration of a round
    ///
    /// The sides take turns at being first, and the first round of each is discarded.
    pub fn run(
        &self,
        mut floor: impl FnMut(Duration) -> Round,
        mut ours: impl FnMut(Duration) -> Round,
    ) -> Result {
        floor(self.time);
        ours(self.time);
        let mut best = (f64::INFINITY, f64::INFINITY);
        let mut ratios = Vec::new();
        for round in 0..self.rounds {
            let (floor, ours) = if round % 2 == 0 {
                let floor = floor(self.time).nanoseconds();
                (floor, ours(self.time).nanoseconds())
            } else {
                let ours = ours(self.time).nanoseconds();
                (floor(self.time).nanoseconds(), ours)
            };
            best = (best.0.min(floor), best.1.min(ours));
            ratios.push(floor / ours);
        }
        ratios.sort_unstable_by(f64::total_cmp);
        Result { floor: best.0, ours: best.1, median_ratio: ratios[ratios.len() / 2] }
    }
}

/// When a round ends
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// After this time
    Time(Duration),
    /// After this number of operations
    Operations(u64),
}

/// Repeats `operation` in `callers` tasks, each of which waits for one call before the next
///
/// The operation gets the number of the caller and that of the call.
pub fn concurrently<F>(
    runtime: &Runtime,
    callers: usize,
    until: Until,
    operation: impl Fn(usize, u64) -> F + Clone + Send + Sync + 'static,
) -> Round
where
    F: Future<Output = ()> + Send,
{
    let calls = Arc::new(AtomicU64::new(0));
    let limit = Arc::new(AtomicU64::new(match until {
        Until::Time(_) => u64::MAX,
        Until::Operations(operations) => operations,
    }));
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (calls, limit) = (Arc::clone(&calls), Arc::clone(&limit));
            let operation = operation.clone();
            runtime.spawn(async move {
                let mut completed = 0;
                loop {
                    let call = calls.fetch_add(1, Ordering::Relaxed);
                    if call >= limit.load(Ordering::Relaxed) {
                        return completed;
                    }
                    operation(caller, call).await;
                    completed += 1;
                }
            })
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
