use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::failure::Failure;

/// What a sign-in is waiting for, and why
#[derive(Debug)]
pub(crate) struct Progress {
    started: Instant,
    /// The last failure of each service
    failures: Mutex<BTreeMap<&'static str, Failure>>,
}

impl Progress {
    /// Starts to count the time
    pub(crate) fn start() -> Self {
        Self { started: Instant::now(), failures: Mutex::default() }
    }

    /// The time since [`start`](Self::start)
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Replaces the last failure of `service`
    pub(crate) fn failed(&self, service: &'static str, failure: &Failure) {
        self.failures().insert(service, failure.clone());
    }

    /// Forgets all failures, because the next step begins
    pub(crate) fn succeeded(&self) {
        self.failures().clear();
    }

    /// The last failure of every service, in one line
    pub(crate) fn summary(&self) -> String {
        let failures = self.failures();
        let each = failures.iter().map(|(service, failure)| format!("{service}: {failure}"));
        each.collect::<Vec<_>>().join("; ")
    }

    /// Reports the summary after a second and then once a minute, and never returns
    pub(crate) async fn report(&self, report: &(dyn Fn(&str) + Send + Sync)) -> Infallible {
        let mut pause = Duration::from_secs(1);
        loop {
            sleep(pause).await;
            let summary = self.summary();
            if !summary.is_empty() {
                report(&format!("still waiting after {} s: {summary}", self.elapsed().as_secs()));
            }
            pause = Duration::from_secs(60);
        }
    }

    fn failures(&self) -> MutexGuard<'_, BTreeMap<&'static str, Failure>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_a_minute_with_the_last_failure_of_each_service() {
        let progress = Progress::start();
        let reported = Mutex::new(Vec::new());
        let report = |line: &str| reported.lock().unwrap().push(line.to_owned());
        let work = async {
            progress.failed("the metadata service of aws", &Failure::transient("404"));
            progress.failed("the metadata service of azure", &Failure::permanent("403"));
            sleep(Duration::from_secs(30)).await;
            progress.failed("the metadata service of aws", &Failure::transient("503"));
            sleep(Duration::from_secs(100)).await;
            progress.succeeded();
            sleep(Duration::from_secs(100)).await;
        };
        tokio::select! {
            never = progress.report(&report) => match never {},
            () = work => {}
        }
        assert_eq!(
            reported.into_inner().unwrap(),
            [
                "still waiting after 1 s: the metadata service of aws: 404; \
                 the metadata service of azure: 403",
                "still waiting after 61 s: the metadata service of aws: 503; \
                 the metadata service of azure: 403",
                "still waiting after 121 s: the metadata service of aws: 503; \
                 the metadata service of azure: 403",
            ]
        );
    }
}
