//! What was allowed and may not be any more, for those who carry connections that stay open
//!
//! One statement after another finds out which of the grants that were given in the last day do not
//! hold any more (`feed`). From then on, app tokens of before do not count (`recent`). Each listener
//! gets what was found (`listener`), also while it was away (`position`).

mod feed;
mod listener;
mod position;
mod recent;
mod stream;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use app_authz::app::{Connection, Visitor};
use app_authz::token::AppToken;
use identity_fetch::Clock;
use store::revocations::{KEPT, MAX_LOGGED, Slice, WatchedGrant};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::feed::{OVERLAP, Sent};
pub use self::listener::{RevocationListener, RevocationNotice};
pub(crate) use self::position::Position;
use self::recent::Recent;
pub(crate) use self::stream::stream;
use crate::error::{AccessError, Error};
use crate::metrics::Metrics;
use crate::ports::AnyRevocations;

/// Finds revocations and tells listeners, once it was started
pub(crate) struct Revocations {
    started: OnceLock<Started>,
    metrics: Metrics,
}

struct Started {
    shared: Arc<Shared>,
    running: JoinHandle<()>,
}

impl Drop for Started {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// What the feed and its listeners share
struct Shared {
    tables: Arc<dyn AnyRevocations>,
    clock: Clock,
    /// What was granted since the last statement
    granted: Mutex<HashSet<WatchedGrant>>,
    recent: Recent,
    /// What was found; a listener that is too slow misses the oldest
    sent: broadcast::Sender<Sent>,
    /// Up to where all that was found was sent
    read: watch::Sender<Option<Position>>,
    is_stopping: watch::Sender<bool>,
    is_failing: AtomicBool,
    places: Arc<Semaphore>,
    metrics: Metrics,
}

impl Revocations {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self { started: OnceLock::new(), metrics }
    }

    /// Starts on the current runtime, unless it was started before
    pub(crate) fn start(&self, tables: Arc<dyn AnyRevocations>, clock: Clock) {
        self.started.get_or_init(|| {
            let shared = Arc::new(Shared {
                tables,
                clock,
                granted: Mutex::default(),
                recent: Recent::default(),
                sent: broadcast::Sender::new(BUFFERED),
                read: watch::Sender::new(None),
                is_stopping: watch::Sender::new(false),
                is_failing: AtomicBool::new(false),
                places: Arc::new(Semaphore::new(MAX_LISTENERS)),
                metrics: self.metrics.clone(),
            });
            let running = tokio::spawn(feed::run(Arc::clone(&shared)));
            Started { shared, running }
        });
    }

    pub(crate) fn is_on(&self) -> bool {
        self.started.get().is_some()
    }

    /// Ends all listeners, which may go on elsewhere
    pub(crate) fn stop(&self) {
        if let Some(Started { shared, .. }) = self.started.get() {
            shared.is_stopping.send_replace(true);
        }
    }

    /// Watches what a new token admits
    ///
    /// Each token counts: the grant may have ended since an earlier one.
    pub(crate) fn granted(&self, token: &AppToken) {
        if let Some(Started { shared, .. }) = self.started.get() {
            shared.grant(token);
        }
    }

    /// Whether what a token admits need not be decided once more
    pub(crate) fn admit(&self, token: &AppToken) -> bool {
        let started = self.started.get();
        let connection = || Connection::from(token);
        started.is_none_or(|started| started.shared.recent.admits(connection, Instant::now()))
    }

    /// Listens to what is found from now on, and after `position`
    ///
    /// # Errors
    ///
    /// If revocations are off, if there are too many listeners, if the server is about to stop, or if
    /// the store fails.
    pub(crate) async fn listen(
        &self,
        position: Option<Position>,
    ) -> Result<RevocationListener, Error> {
        let Some(Started { shared, .. }) = self.started.get() else {
            return Err(Error::RouteNotFound);
        };
        if shared.is_stopping() {
            return Err(Error::Stopping);
        }
        let Ok(place) = Arc::clone(&shared.places).try_acquire_owned() else {
            return Err(Error::Overloaded { retry_after: RETRY_SECONDS });
        };
        // Before the question: what is found later is sent.
        let mut listener = RevocationListener::new(shared, place);
        let since = position.map(|position| position.before(OVERLAP));
        let logged = shared.tables.revocations(since, Slice::NONE, (shared.clock)()).await;
        let logged = logged.map_err(AccessError::Store)?;
        let now = Position::at(logged.at);
        let is_lost = position.is_some_and(|position| {
            position.before(OVERLAP) < now.before(KEPT) || position > now.after(OVERLAP)
        });
        match is_lost || logged.entries.len() >= MAX_LOGGED {
            true => listener.begin_with_reset(now),
            false => listener.begin(position.is_none().then_some(now), logged.entries),
        }
        Ok(listener)
    }
}

impl Shared {
    fn grant(&self, token: &AppToken) {
        let grant = token.grant();
        let session = match grant.visitor {
            Visitor::User(user) => token.session().map(|session| (user, session.into())),
            Visitor::Anonymous | Visitor::Unspecified => None,
        };
        let watched = WatchedGrant::new(session, grant.workspace, grant.agent);
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        if granted.len() >= MAX_GRANTED && !granted.contains(&watched) {
            drop(granted);
            self.metrics.grants_watched("dropped", 1);
            return;
        }
        granted.insert(watched);
    }

    fn is_stopping(&self) -> bool {
        *self.is_stopping.borrow()
    }

    fn set_failing(&self, is_failing: bool) -> bool {
        self.is_failing.swap(is_failing, Ordering::Relaxed)
    }
}

/// The most listeners of one replica
const MAX_LISTENERS: usize = 64;

/// What was found last, for listeners that are slow: some hundred kilobytes for all of them
const BUFFERED: usize = 1_024;

/// The most grants that wait to be watched, about a megabyte
const MAX_GRANTED: usize = 10_000;

/// Seconds after which a listener that found no place may try again
const RETRY_SECONDS: u64 = 10;
