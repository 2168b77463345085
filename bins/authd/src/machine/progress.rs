use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::trouble::Trouble;

/// What a sign-in waits for, and why
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    /// The last trouble with each service
    troubles: Mutex<BTreeMap<&'static str, Trouble>>,
}

impl Progress {
    /// Begins now
    pub(super) fn begin() -> Self {
        Self { began: Instant::now(), troubles: Mutex::default() }
    }

    /// Since the first attempt
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Remembers the last trouble with `service`, in place of the one before
    pub(super) fn failed(&self, service: &'static str, trouble: &Trouble) {
        self.troubles().insert(service, trouble.clone());
    }

    /// Forgets all trouble: the next step begins
    pub(super) fn succeeded(&self) {
        self.troubles().clear();
    }

    /// The last trouble with every service
    pub(super) fn summary(&self) -> String {
        let troubles = self.troubles();
        let each = troubles.iter().map(|(service, trouble)| format!("{service}: {trouble}"));
        each.collect::<Vec<_>>().join("; ")
    }

    /// Reports what is waited for, first after a second and then once a minute
    ///
    /// Never ends.
    pub(super) async fn report(&self, say: &(dyn Fn(&str) + Send + Sync)) -> Infallible {
        let mut pause = Duration::from_secs(1);
        loop {
            sleep(pause).await;
            let summary = self.summary();
            if !summary.is_empty() {
                say(&format!("still waiting after {} s: {summary}", self.elapsed().as_secs()));
            }
            pause = Duration::from_mins(1);
        }
    }

    /// Held for moments
    fn troubles(&self) -> MutexGuard<'_, BTreeMap<&'static str, Trouble>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_a_minute_with_the_last_trouble_of_each_service() {
        let progress = Progress::begin();
        let said = Mutex::new(Vec::new());
        let say = |line: &str| said.lock().unwrap().push(line.to_owned());
        let work = async {
            progress.failed("the metadata service of aws", &Trouble::passing("404"));
            progress.failed("the metadata service of azure", &Trouble::lasting("403"));
            sleep(Duration::from_secs(30)).await;
            progress.failed("the metadata service of aws", &Trouble::passing("503"));
            sleep(Duration::from_secs(100)).await;
            progress.succeeded();
            sleep(Duration::from_secs(100)).await;
        };
        tokio::select! {
            never = progress.report(&say) => match never {},
            () = work => {}
        }
        assert_eq!(
            said.into_inner().unwrap(),
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
