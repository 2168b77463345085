//! Which requests are answered now, which wait for their turn, and which are refused

use std::time::Duration;

use agent_auth::Denial;
use bytes::Bytes;
use fair_share::{Allowance, Busy, Source, Turn, TurnSettings, Turns};
use futures_util::FutureExt;
use http_body_util::{BodyExt, Full};
use identity_verify::Reason;
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use crate::body::{self, Bounds};
use crate::context::{Body, Context};
use crate::error::{Error, SignInError};
use crate::limits::Limits;
use crate::metrics::{Metrics, OVERLOADED, TOO_MANY_FAILURES};
use crate::omitted::Omitted;
use crate::proxies::Peer;

/// Divides what the server can do among the sources of its requests
///
/// Each kind of work has places of its own, so that a storm of one kind does not stop the others.
pub(crate) struct Admission {
    sign_ins: Turns,
    visits: Turns,
    administration: Turns,
    /// Decisions under way, also those whose visitors have hung up
    decisions: Turns,
    /// Bodies that have begun to arrive
    bodies: Turns,
    failed_proofs: Allowance,
    failed_log_ins: Allowance,
    log_lines: Allowance,
    overloads: Omitted,
    locked_out: Omitted,
    unlogged: Omitted,
    metrics: Metrics,
}

/// A kind of work
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// An instance's sign-in
    SignIn,
    /// Anything of a visitor or a proxy
    Visit,
    /// An import or a page of the audit
    Administration,
}

/// What a source may fail at only so often
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    Proof,
    LogIn,
}

/// Who a request counts for
///
/// That is the visitor for whom a trusted proxy asks, and otherwise the peer. Peers without an
/// address, such as those of Unix sockets, count as one.
pub(crate) fn source(cx: &Context<'_>, peer: Peer) -> Source {
    cx.client.or_else(|| peer.address()).into()
}

impl Admission {
    pub(crate) fn new(limits: &Limits, metrics: Metrics) -> Self {
        let turns = |places| {
            let longest_wait = limits.longest_wait;
            Turns::new(TurnSettings { places, longest_wait, waiting_bytes: WAITING_BYTES })
        };
        let places = limits.requests_in_flight;
        Self {
            sign_ins: turns(places),
            visits: turns(places),
            administration: turns(places.min(ADMINISTRATION)),
            decisions: turns(places),
            bodies: turns(places),
            failed_proofs: Allowance::new(limits.failed_proofs_per_minute),
            failed_log_ins: Allowance::new(limits.failed_log_ins_per_minute),
            log_lines: Allowance::new(limits.log_lines_per_minute),
            overloads: Omitted::new(|requests| {
                warn!(requests, "requests were refused, since they would have waited for too long");
            }),
            locked_out: Omitted::new(|requests| {
                warn!(requests, "requests were refused after too many failed attempts");
            }),
            unlogged: Omitted::new(|requests| {
                warn!(requests, "requests of busy sources were not logged");
            }),
            metrics,
        }
    }

    /// Reads a small body, before its request takes part in anything
    ///
    /// A client that sends its body slowly takes a place among such bodies, and none among the
    /// requests that are answered. A body that is complete needs no place.
    pub(crate) async fn receive(
        &self,
        source: Source,
        body: Body,
        bounds: Bounds,
        request: Uuid,
    ) -> Result<(usize, Body), Error> {
        let mut read = Box::pin(body::read(body, bounds));
        let bytes: Bytes = match (&mut read).now_or_never() {
            Some(bytes) => bytes?,
            None => {
                let place = self.bodies.take(source, 0).await;
                let _place = place.map_err(|busy| self.overloaded(busy, request))?;
                read.await?
            }
        };
        Ok((bytes.len(), Full::new(bytes).map_err(|never| match never {}).boxed_unsync()))
    }

    /// Waits for the turn of a request that holds so many bytes
    pub(crate) async fn turn(
        &self,
        work: Work,
        source: Source,
        bytes: usize,
        request: Uuid,
    ) -> Result<Turn, Error> {
        let turns = match work {
            Work::SignIn => &self.sign_ins,
            Work::Visit => &self.visits,
            Work::Administration => &self.administration,
        };
        turns.take(source, bytes).await.map_err(|busy| self.overloaded(busy, request))
    }

    /// Waits for the turn of a decision that continues if its visitor hangs up
    pub(crate) async fn decision(&self, source: Source) -> Result<Turn, Busy> {
        let turn = self.decisions.take(source, 0).await;
        turn.inspect_err(|_| self.note_overload())
    }

    /// Errs if too many attempts of this source have failed lately
    pub(crate) fn check(&self, attempt: Attempt, source: Source) -> Result<(), Error> {
        let left = self.allowance(attempt).check(source, Instant::now());
        left.map_err(|wait| {
            self.metrics.request_refused(TOO_MANY_FAILURES);
            self.locked_out.note();
            Error::TooManyFailures { retry_after: seconds(wait) }
        })
    }

    /// Counts a failed attempt of this source
    pub(crate) fn failed(&self, attempt: Attempt, source: Source, cost: u32) {
        self.allowance(attempt).spend(source, cost, Instant::now());
    }

    /// Whether what this source caused without being signed in is written to the log
    ///
    /// A stranger could write megabytes a second. What is left out is counted, and one line a
    /// minute has the number.
    pub(crate) fn logs(&self, source: Source) -> bool {
        let logs = self.log_lines.take(source, Instant::now());
        if !logs {
            self.unlogged.note();
        }
        logs
    }

    /// Logs the numbers that were not logged yet
    pub(crate) fn report(&self) {
        for omitted in [&self.overloads, &self.locked_out, &self.unlogged] {
            omitted.report();
        }
    }

    /// Sets the metrics that are computed when they are read
    pub(crate) fn observe(&self) {
        let waiting = [
            ("sign-in", &self.sign_ins),
            ("visit", &self.visits),
            ("administration", &self.administration),
            ("body", &self.bodies),
        ];
        for (work, turns) in waiting {
            self.metrics.waiting(work, turns.waiting());
        }
    }

    fn overloaded(&self, busy: Busy, request: Uuid) -> Error {
        self.note_overload();
        Error::Overloaded { retry_after: spread(seconds(busy.retry_after), request) }
    }

    fn note_overload(&self) {
        self.metrics.request_refused(OVERLOADED);
        self.overloads.note();
    }

    const fn allowance(&self, attempt: Attempt) -> &Allowance {
        match attempt {
            Attempt::Proof => &self.failed_proofs,
            Attempt::LogIn => &self.failed_log_ins,
        }
    }
}

/// What a sign-in that failed costs of its source's allowance; 0 if the source is not at fault
pub(crate) fn cost(error: &Error) -> u32 {
    match error {
        Error::SignIn(SignInError::InvalidIdentity { rejection, .. }) => match rejection.reason() {
            Reason::KeysUnavailable => 0,
            // The key set is fetched for it, which costs others their turn.
            Reason::UnknownKey => UNKNOWN_KEY,
            _ => 1,
        },
        Error::SignIn(SignInError::Denied(denied)) if denied.denial == Denial::Replayed => 1,
        _ => 0,
    }
}

/// In whole seconds, at least one
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero())
}

/// Up to twice the time, so that clients who were refused together do not return together
///
/// The end of a request's id is random.
fn spread(seconds: u64, request: Uuid) -> u64 {
    let [.., random] = request.into_bytes();
    seconds + u64::from(random) % (seconds + 1)
}

/// Imports and pages of the audit at the same time: each works for longer than other requests
const ADMINISTRATION: usize = 16;

/// What all requests of one kind may hold while they wait
const WAITING_BYTES: usize = 64 * 1024 * 1024;

/// Failed proofs that one with an unknown key counts for
const UNKNOWN_KEY: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_who_were_refused_together_return_apart() {
        assert_eq!(
            [0, 1, 999, 1000, 1001].map(|wait| seconds(Duration::from_millis(wait))),
            [1, 1, 1, 1, 2]
        );
        let times = (0..=255).map(|end| spread(5, Uuid::from_u128(end)));
        let times = times.collect::<std::collections::BTreeSet<_>>();
        assert_eq!(times.into_iter().collect::<Vec<_>>(), [5, 6, 7, 8, 9, 10]);
    }
}
