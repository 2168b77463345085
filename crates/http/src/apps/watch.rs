//! Which sessions have ended since their app tokens were signed
//!
//! An app token names its session. Every second, one statement asks which of the sessions whose
//! tokens were seen lately have ended; a check looks the answer up in memory. A session whose
//! token was signed a while ago, and that this replica has not seen before, is asked about at
//! once, and the check waits for that: another replica may know already that it has ended. Where the
//! store notices that sessions may have ended, it is asked soon after that.

use std::collections::HashMap;
use std::error::Error;
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};

use app_authz::token::{AppToken, LEEWAY, SignedToken, TOKEN_LIFETIME};
use futures_util::future::join;
use identity_fetch::Clock;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use crate::error::chain;
use crate::metrics::Metrics;
use crate::notices::{SOON, pass_on};

/// The sessions whose app tokens were seen lately
#[derive(Debug)]
pub(super) struct SessionWatch {
    sessions: RwLock<Sessions>,
    /// How long the tokens of this deployment are good
    lifetime: Duration,
    /// Whether the last question was not answered
    is_failing: AtomicBool,
    /// A session has to be asked about at once
    wake: Notify,
    /// Sessions may have ended
    noticed: Notify,
    /// Changes with each answer
    answers: watch::Sender<u64>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Sessions {
    watched: HashMap<Box<str>, Watched>,
    /// Those that have to be asked about at once
    unknown: Vec<Box<str>>,
}

/// A session, for as long as a token of it may be presented
#[derive(Debug)]
struct Watched {
    until: SystemTime,
    asked: Option<Instant>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It has to be asked about before its token counts
    Unknown,
    Good,
    Ended,
}

impl SessionWatch {
    pub(super) fn new(lifetime: Duration, metrics: Metrics) -> Self {
        Self {
            sessions: RwLock::default(),
            lifetime,
            is_failing: AtomicBool::new(false),
            wake: Notify::new(),
            noticed: Notify::new(),
            answers: watch::Sender::new(0),
            metrics,
        }
    }

    /// Notes that a token was signed for a session that is good
    ///
    /// If the session had ended before, its user was suspended and is active again.
    pub(super) fn signed(&self, token: &SignedToken) {
        let Some(id) = token.token().session() else { return };
        let until = token.expires_at() + LEEWAY;
        self.insert(id, Watched { until, asked: None, state: State::Good });
    }

    /// Notes that sessions have ended
    pub(super) fn end(&self, ids: &[String], now: SystemTime) {
        let until = now + TOKEN_LIFETIME + LEEWAY;
        for id in ids {
            self.insert(id, Watched { until, asked: None, state: State::Ended });
        }
    }

    /// Whether the session of a good token has not ended
    ///
    /// A token that names no session counts until it expires, and so does every token while the
    /// database does not answer.
    pub(super) async fn is_good(&self, token: &AppToken, now: SystemTime) -> bool {
        let Some(id) = token.session() else { return true };
        match self.state(id, token, now) {
            State::Good => true,
            State::Ended => false,
            State::Unknown => {
                let mut answers = self.answers.subscribe();
                let answered = async {
                    while self.known(id) == Some(State::Unknown) {
                        if answers.changed().await.is_err() {
                            return;
                        }
                    }
                };
                if timeout(ANSWER_TIMEOUT, answered).await.is_err() {
                    self.write().trust(id);
                }
                self.known(id) != Some(State::Ended)
            }
        }
    }

    fn state(&self, id: &str, token: &AppToken, now: SystemTime) -> State {
        let until = token.expires_at() + LEEWAY;
        let known = self.read().watched.get(id).map(|watched| (watched.state, watched.until));
        match known {
            Some((state, known_until)) if known_until >= until => state,
            Some((state, _)) => {
                if let Some(watched) = self.write().watched.get_mut(id) {
                    watched.until = watched.until.max(until);
                }
                state
            }
            None => {
                let signed = token.expires_at().checked_sub(self.lifetime);
                let is_new = signed.is_some_and(|signed| difference(signed, now) <= JUST_SIGNED);
                let is_trusted = is_new || self.is_failing.load(Ordering::Relaxed);
                let state = if is_trusted { State::Good } else { State::Unknown };
                match self.insert(id, Watched { until, asked: None, state }) {
                    true => state,
                    false => State::Good,
                }
            }
        }
    }

    /// Watches a session, and returns whether there was room for it
    fn insert(&self, id: &str, watched: Watched) -> bool {
        let mut sessions = self.write();
        if sessions.watched.len() >= MAX_SESSIONS && !sessions.watched.contains_key(id) {
            drop(sessions);
            self.metrics.sessions_checked("unwatched");
            return false;
        }
        let was_idle = sessions.watched.is_empty();
        let is_unknown = watched.state == State::Unknown;
        if is_unknown {
            sessions.unknown.push(id.into());
        }
        sessions.watched.insert(id.into(), watched);
        drop(sessions);
        if was_idle || is_unknown {
            self.wake.notify_one();
        }
        true
    }

    fn known(&self, id: &str) -> Option<State> {
        self.read().watched.get(id).map(|watched| watched.state)
    }

    /// Asks which sessions have ended, for as long as the future is polled
    pub(super) async fn run<S>(self: Arc<Self>, store: Arc<S>, clock: Clock)
    where
        S: app_authz::credential::Sessions + Send + Sync,
    {
        // Nothing is to be noticed before there is a session.
        self.wake.notified().await;
        self.wake.notify_one();
        join(self.ask(&*store, &clock), pass_on(|| store.next_end(), &self.noticed)).await;
    }

    /// Asks every second, soon after a notice, and at once about sessions that are unknown
    async fn ask<S: app_authz::credential::Sessions>(&self, store: &S, clock: &Clock) {
        let (mut next, mut earliest) = (Instant::now(), Instant::now());
        loop {
            let is_idle = self.read().watched.is_empty();
            let due = async {
                match is_idle {
                    true => pending().await,
                    false => sleep_until(next).await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.wake.notified() => {}
                () = self.noticed.notified() => {
                    next = next.min(earliest);
                    continue;
                }
            }
            let (now, at) = (clock(), Instant::now());
            let is_due = at >= next;
            if is_due {
                next = at + INTERVAL;
            }
            let asked = match is_due {
                true => self.write().all(now, at),
                false => std::mem::take(&mut self.write().unknown),
            };
            if asked.is_empty() {
                continue;
            }
            let asked: Vec<&str> = asked.iter().map(|id| &**id).collect();
            let ended = store.ended(&asked, now).await;
            // Notices make the database work on this a fifth of the time at most.
            earliest = at + SOON.max(at.elapsed() * 5);
            self.note(&asked, ended);
        }
    }

    fn note<E: Error + 'static>(&self, asked: &[&str], ended: Result<Vec<String>, E>) {
        let failure = ended.as_ref().err();
        let was_failing = self.is_failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(error) if !was_failing => warn!(
                error = chain(error),
                "it is not known which sessions have ended: their app tokens work until they expire"
            ),
            None if was_failing => info!("it is known again which sessions have ended"),
            _ => {}
        }
        self.metrics.sessions_checked(if failure.is_some() { "failed" } else { "ok" });
        let mut sessions = self.write();
        for id in asked {
            sessions.trust(id);
        }
        for id in ended.unwrap_or_default() {
            if let Some(watched) = sessions.watched.get_mut(&*id) {
                watched.state = State::Ended;
                self.metrics.sessions_checked("ended");
            }
        }
        drop(sessions);
        self.answers.send_modify(|answers| *answers = answers.wrapping_add(1));
    }

    fn read(&self) -> RwLockReadGuard<'_, Sessions> {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Sessions> {
        self.sessions.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    /// The sessions to ask about; forgets those whose tokens have expired
    fn all(&mut self, now: SystemTime, at: Instant) -> Vec<Box<str>> {
        self.watched.retain(|_, watched| watched.until >= now);
        self.unknown.clear();
        let with_tokens = self.watched.iter_mut().filter(|(_, known)| known.state != State::Ended);
        let mut asked: Vec<_> = with_tokens.collect();
        if asked.len() > MAX_ASKED {
            asked.sort_unstable_by_key(|(_, known)| (known.state != State::Unknown, known.asked));
            asked.truncate(MAX_ASKED);
        }
        let asked = asked.into_iter().map(|(id, known)| {
            known.asked = Some(at);
            id.clone()
        });
        asked.collect()
    }

    /// Lets a session count of which nothing is known
    fn trust(&mut self, id: &str) {
        if let Some(watched) = self.watched.get_mut(id)
            && watched.state == State::Unknown
        {
            watched.state = State::Good;
        }
    }
}

fn difference(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|error| error.duration())
}

/// How often all sessions are asked about
const INTERVAL: Duration = Duration::from_secs(1);

/// The age up to which a token proves that its session was just good; tokens have the time to the
/// second
const JUST_SIGNED: Duration = Duration::from_secs(1);

/// How long a check waits for the answer about a session that was not seen before
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The sessions of one statement; if there are more, those that were asked about longest ago come
/// first
const MAX_ASKED: usize = 10_000;

/// Memory of about ten megabytes
const MAX_SESSIONS: usize = 65_536;

#[cfg(test)]
mod tests;
