use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use app_audit::{Limiter, Source};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

/// Decides which visits of visitors who are not signed in get a line in the log
///
/// Every visit of a user does. A stranger could write megabytes a second, so of each source as many
/// lines are written in a minute as sessions are recorded, and the rest is counted.
#[derive(Debug)]
pub(super) struct VisitLog {
    limiter: Arc<Mutex<Limiter>>,
}

impl VisitLog {
    /// Returns whether one more visit from `ip` by a visitor who is not signed in gets a line
    ///
    /// Call it within a tokio runtime.
    pub(super) fn admits(&self, ip: Option<IpAddr>) -> bool {
        let mut limiter = lock(&self.limiter);
        let had_report = limiter.next().is_some();
        let is_admitted = limiter.admit(Source::new(None, ip), Instant::now());
        let next = limiter.next().filter(|_| !had_report);
        drop(limiter);
        if let Some(next) = next {
            let limiter = Arc::clone(&self.limiter);
            tokio::spawn(async move {
                sleep_until(next).await;
                report(&limiter, false);
            });
        }
        is_admitted
    }

    /// Logs how many lines were left out since that was last logged
    pub(super) fn report(&self) {
        report(&self.limiter, true);
    }
}

impl Default for VisitLog {
    fn default() -> Self {
        Self { limiter: Arc::new(Mutex::new(Limiter::new(LINES_PER_MINUTE))) }
    }
}

fn report(limiter: &Mutex<Limiter>, at_once: bool) {
    let left_out = lock(limiter).report(Instant::now(), at_once);
    if let Some(visits) = left_out {
        warn!(visits, "visits that are anonymous were left out of the log");
    }
}

fn lock(limiter: &Mutex<Limiter>) -> MutexGuard<'_, Limiter> {
    // Nothing under this lock can panic half way.
    limiter.lock().unwrap_or_else(PoisonError::into_inner)
}

const LINES_PER_MINUTE: u32 = 60;
