use std::time::Duration;

use tokio::time::sleep;

use super::http::Timeouts;
use super::patience::{Patience, Pauses};
use super::progress::Progress;
use super::trouble::{Cure, Trouble};

/// Repeats what fails, for as long as the patience lasts
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempts<'a> {
    pub(super) patience: Patience,
    pub(super) pauses: &'a Pauses,
    pub(super) progress: &'a Progress,
}

impl Attempts<'_> {
    /// Repeats `attempt` until it succeeds
    ///
    /// # Errors
    ///
    /// The last trouble: one that waiting does not cure, or any once the patience is over.
    pub(super) async fn at<T>(
        &self,
        service: &'static str,
        timeouts: Timeouts,
        mut attempt: impl AsyncFnMut(Timeouts) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut failures = 0_u32;
        loop {
            let trouble = match attempt(timeouts.after(failures, self.left())).await {
                Ok(done) => return Ok(done),
                Err(trouble) => trouble,
            };
            let next = self.next(failures, trouble);
            let (Ok((trouble, _)) | Err(trouble)) = &next;
            self.progress.failed(service, trouble);
            sleep(next?.1).await;
            failures = failures.saturating_add(1);
        }
    }

    /// The pause before the next attempt
    ///
    /// # Errors
    ///
    /// The trouble, if there is to be no next attempt.
    fn next(&self, failures: u32, trouble: Trouble) -> Result<(Trouble, Duration), Trouble> {
        let pause = self.pauses.after(failures, &trouble);
        match (trouble.cure, self.left()) {
            (Cure::Change, _) => Err(trouble),
            (Cure::Waiting(_), None) => Ok((trouble, pause)),
            (Cure::Waiting(_), Some(_)) if self.patience == Patience::Once => Err(trouble),
            (Cure::Waiting(_), Some(Duration::ZERO)) => {
                let waited = self.progress.elapsed().as_secs();
                Err(trouble.with(&format!("; gave up after {waited} s")))
            }
            (Cure::Waiting(Some(asked)), Some(left)) if asked > left => {
                let (asked, left) = (asked.as_secs(), left.as_secs());
                Err(trouble.with(&format!(
                    "; it asks to wait {asked} s, of which the patience has {left} left"
                )))
            }
            (Cure::Waiting(_), Some(left)) => Ok((trouble, pause.min(left))),
        }
    }

    /// How long attempts may still begin; `None` for ever
    fn left(&self) -> Option<Duration> {
        match self.patience {
            Patience::Unlimited => None,
            // The timeouts of the one attempt are not cut.
            Patience::Once => Some(Duration::MAX),
            Patience::For(time) => Some(time.saturating_sub(self.progress.elapsed())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::*;

    const TIMEOUTS: Timeouts =
        Timeouts { connect: Duration::from_secs(2), answer: Duration::from_secs(5) };

    /// When attempts began, in milliseconds, and how it ended
    async fn attempts(
        patience: Patience,
        troubles: &[Trouble],
    ) -> (Vec<u128>, Result<u32, Trouble>) {
        let pauses = Pauses::new(Arc::new(|| 1.0));
        let progress = Progress::begin();
        let began = Instant::now();
        let mut begins = Vec::new();
        let mut troubles = troubles.iter().cycle().cloned();
        let ended = Attempts { patience, pauses: &pauses, progress: &progress }
            .at("service", TIMEOUTS, async |_| {
                begins.push(began.elapsed().as_millis());
                match troubles.next() {
                    Some(trouble) if trouble.what != "fine" => Err(trouble),
                    _ => Ok(7),
                }
            })
            .await;
        (begins, ended)
    }

    const FIVE_SECONDS: Patience = Patience::For(Duration::from_secs(5));

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_tried_again_with_growing_pauses() {
        let busy = Trouble::passing("busy");
        let script = [busy.clone(), busy.clone(), busy.clone(), Trouble::passing("fine")];
        let (begins, ended) = attempts(Patience::default(), &script).await;
        assert_eq!((begins, ended), (vec![0, 250, 750, 1750], Ok(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_attempt_begins_when_the_patience_ends() {
        let (begins, ended) = attempts(FIVE_SECONDS, &[Trouble::passing("busy")]).await;
        assert_eq!(begins, [0, 250, 750, 1750, 3750, 5000]);
        assert_eq!(ended, Err(Trouble::passing("busy; gave up after 5 s")));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_pass_ends_it_at_once() {
        for patience in [Patience::Once, FIVE_SECONDS, Patience::Unlimited] {
            let (begins, ended) = attempts(patience, &[Trouble::lasting("no")]).await;
            assert_eq!((begins, ended), (vec![0], Err(Trouble::lasting("no"))));
        }
        let (begins, ended) = attempts(Patience::Once, &[Trouble::passing("busy")]).await;
        assert_eq!((begins, ended), (vec![0], Err(Trouble::passing("busy"))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_asks_for_a_pause_gets_it() {
        let busy =
            |seconds| Trouble::passing("busy").not_before(Some(Duration::from_secs(seconds)));
        let (begins, ended) =
            attempts(Patience::default(), &[busy(8), Trouble::passing("fine")]).await;
        // And a quarter more, with this jitter.
        assert_eq!((begins, ended), (vec![0, 10_000], Ok(7)));
        let (begins, ended) = attempts(FIVE_SECONDS, &[busy(60)]).await;
        assert_eq!(begins, [0]);
        assert!(ended.unwrap_err().what.contains("asks to wait 60 s"));
        let (begins, _) =
            attempts(Patience::Unlimited, &[busy(60), Trouble::passing("fine")]).await;
        assert_eq!(begins, [0, 75_000]);
    }
}
