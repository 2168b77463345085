use std::time::Duration;

use tokio::time::sleep;

use crate::backoff::Backoff;
use crate::failure::{Failure, FailureKind};
use crate::progress::Progress;
use crate::request::Timeouts;
use crate::retry_timeout::RetryTimeout;

/// A step of a sign-in, which may take several attempts
pub(crate) trait Step {
    type Output;

    /// Makes one attempt
    fn attempt(
        &mut self,
        timeouts: Timeouts,
    ) -> impl Future<Output = Result<Self::Output, Failure>> + Send;
}

/// Repeats attempts until one succeeds, one fails permanently, or the retry timeout is over
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry<'a> {
    pub(crate) timeout: RetryTimeout,
    pub(crate) backoff: &'a Backoff,
    pub(crate) progress: &'a Progress,
}

impl Retry<'_> {
    /// Makes attempts at `step` until one succeeds
    ///
    /// # Errors
    ///
    /// The last failure: a permanent one, or any once the retry timeout is over.
    pub(crate) async fn run<S: Step>(
        &self,
        service: &'static str,
        timeouts: Timeouts,
        mut step: S,
    ) -> Result<S::Output, Failure> {
        let mut failures = 0_u32;
        loop {
            let failure = match step.attempt(timeouts.after(failures, self.left())).await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            let next = self.next(failures, failure);
            let (Ok((failure, _)) | Err(failure)) = &next;
            self.progress.failed(service, failure);
            sleep(next?.1).await;
            failures = failures.saturating_add(1);
        }
    }

    /// The pause before the next attempt
    ///
    /// # Errors
    ///
    /// The failure, if there is not to be another attempt.
    fn next(&self, failures: u32, failure: Failure) -> Result<(Failure, Duration), Failure> {
        let pause = self.backoff.pause(failures, &failure);
        let FailureKind::Transient { retry_after } = failure.kind else { return Err(failure) };
        let waiting = |failure: Failure| match retry_after {
            Some(asked) if asked > self.backoff.longest => {
                failure.with(&format!("; it asks to wait {} s", asked.as_secs()))
            }
            _ => failure,
        };
        match (retry_after, self.left()) {
            (_, None) => Ok((waiting(failure), pause)),
            (_, Some(_)) if self.timeout == RetryTimeout::Once => Err(failure),
            (_, Some(Duration::ZERO)) => {
                let waited = self.progress.elapsed().as_secs();
                Err(failure.with(&format!("; gave up after {waited} s")))
            }
            (Some(asked), Some(left)) if asked > left => {
                let (asked, left) = (asked.as_secs(), left.as_secs());
                Err(failure.with(&format!(
                    "; it asks to wait {asked} s, and only {left} s of the retry timeout are left"
                )))
            }
            (_, Some(left)) => Ok((waiting(failure), pause.min(left))),
        }
    }

    /// How long attempts may still begin; `None` without a limit
    fn left(&self) -> Option<Duration> {
        match self.timeout {
            RetryTimeout::Unlimited => None,
            // The timeouts of the one attempt are not shortened.
            RetryTimeout::Once => Some(Duration::MAX),
            RetryTimeout::For(time) => Some(time.saturating_sub(self.progress.elapsed())),
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

    /// A step whose attempts fail in this order, over and over
    struct Script<'a> {
        failures: std::iter::Cycle<std::slice::Iter<'a, Failure>>,
        begins: &'a mut Vec<u128>,
        started: Instant,
    }

    impl Step for Script<'_> {
        type Output = u32;

        async fn attempt(&mut self, _: Timeouts) -> Result<u32, Failure> {
            self.begins.push(self.started.elapsed().as_millis());
            match self.failures.next().cloned() {
                Some(failure) if failure.message != "success" => Err(failure),
                _ => Ok(7),
            }
        }
    }

    /// When attempts began, in milliseconds, and the result
    async fn attempts(
        timeout: RetryTimeout,
        script: &[Failure],
    ) -> (Vec<u128>, Result<u32, Failure>) {
        let backoff = Backoff::new(Arc::new(|| 1.0));
        let progress = Progress::start();
        let mut begins = Vec::new();
        let failures = script.iter().cycle();
        let script = Script { failures, begins: &mut begins, started: Instant::now() };
        let retry = Retry { timeout, backoff: &backoff, progress: &progress };
        let result = retry.run("service", TIMEOUTS, script).await;
        (begins, result)
    }

    const FIVE_SECONDS: RetryTimeout = RetryTimeout::For(Duration::from_secs(5));

    #[tokio::test(start_paused = true)]
    async fn transient_failures_are_retried_with_growing_pauses() {
        let busy = Failure::transient("busy");
        let script = [busy.clone(), busy.clone(), busy.clone(), Failure::transient("success")];
        let (begins, result) = attempts(RetryTimeout::default(), &script).await;
        assert_eq!((begins, result), (vec![0, 250, 750, 1750], Ok(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_attempt_begins_when_the_retry_timeout_ends() {
        let (begins, result) = attempts(FIVE_SECONDS, &[Failure::transient("busy")]).await;
        assert_eq!(begins, [0, 250, 750, 1750, 3750, 5000]);
        assert_eq!(result, Err(Failure::transient("busy; gave up after 5 s")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_permanent_failure_is_not_retried() {
        for timeout in [RetryTimeout::Once, FIVE_SECONDS, RetryTimeout::Unlimited] {
            let (begins, result) = attempts(timeout, &[Failure::permanent("no")]).await;
            assert_eq!((begins, result), (vec![0], Err(Failure::permanent("no"))));
        }
        let (begins, result) = attempts(RetryTimeout::Once, &[Failure::transient("busy")]).await;
        assert_eq!((begins, result), (vec![0], Err(Failure::transient("busy"))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_asks_for_a_pause_gets_it() {
        let busy =
            |seconds| Failure::transient("busy").retry_after(Some(Duration::from_secs(seconds)));
        let (begins, result) =
            attempts(RetryTimeout::default(), &[busy(8), Failure::transient("success")]).await;
        // And a quarter more, with this jitter.
        assert_eq!((begins, result), (vec![0, 10_000], Ok(7)));
        let backoff = Backoff::new(Arc::new(|| 1.0));
        let progress = Progress::start();
        let retry =
            Retry { timeout: RetryTimeout::Unlimited, backoff: &backoff, progress: &progress };
        let said = |seconds| retry.next(0, busy(seconds)).unwrap().0.message;
        assert_eq!((said(10), said(60)), ("busy".into(), "busy; it asks to wait 60 s".into()));
        let (begins, result) = attempts(FIVE_SECONDS, &[busy(60)]).await;
        assert_eq!(begins, [0]);
        assert!(result.unwrap_err().message.contains("asks to wait 60 s"));
        let (begins, _) =
            attempts(RetryTimeout::Unlimited, &[busy(60), Failure::transient("success")]).await;
        assert_eq!(begins, [0, 75_000]);
    }
}
