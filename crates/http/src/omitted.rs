use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

/// Counts what has no line of its own in the log, and logs the numbers
///
/// The first is reported at once, and what follows it together, once a minute.
#[derive(Clone, Debug)]
pub(crate) struct Omitted {
    counted: Arc<Mutex<Counted>>,
    /// Logs how many were left out
    report: fn(u64),
}

#[derive(Debug, Default)]
struct Counted {
    /// What was not reported yet
    count: u64,
    /// Whether a task waits for the next report
    is_due: bool,
}

impl Omitted {
    pub(crate) fn new(report: fn(u64)) -> Self {
        Self { counted: Arc::default(), report }
    }

    /// Counts one more
    ///
    /// Call it within a tokio runtime.
    pub(crate) fn note(&self) {
        let mut counted = self.counted();
        if counted.is_due {
            counted.count += 1;
            return;
        }
        counted.is_due = true;
        drop(counted);
        (self.report)(1);
        let omitted = self.clone();
        tokio::spawn(async move {
            loop {
                sleep(MINUTE).await;
                if !omitted.report() {
                    break;
                }
            }
        });
    }

    /// Reports what was not reported yet
    ///
    /// Returns whether there was something. If not, the next is reported at once.
    pub(crate) fn report(&self) -> bool {
        let count = {
            let mut counted = self.counted();
            counted.is_due = counted.count > 0;
            std::mem::take(&mut counted.count)
        };
        if count > 0 {
            (self.report)(count);
        }
        count > 0
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        // Nothing under this lock can panic half way.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_are_reported_and_at_most_once_a_minute() {
        static REPORTS: AtomicU64 = AtomicU64::new(0);
        static REPORTED: AtomicU64 = AtomicU64::new(0);
        let omitted = Omitted::new(|count| {
            REPORTS.fetch_add(1, Ordering::Relaxed);
            REPORTED.fetch_add(count, Ordering::Relaxed);
        });
        let so_far = || (REPORTS.load(Ordering::Relaxed), REPORTED.load(Ordering::Relaxed));
        for _ in 0..100 {
            omitted.note();
        }
        assert_eq!(so_far(), (1, 1));
        sleep(Duration::from_secs(61)).await;
        assert_eq!(so_far(), (2, 100));
        omitted.note();
        assert_eq!(so_far(), (2, 100), "within a minute of the last report");
        sleep(Duration::from_secs(200)).await;
        assert_eq!(so_far(), (3, 101));
        omitted.note();
        assert_eq!(so_far(), (4, 102), "after a minute without one");
    }
}
