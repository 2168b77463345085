mod attempts;
mod url;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use futures_util::FutureExt;
use identity_verify::google::{FindKey, Jwks, Unavailable, VerifyingKey};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use self::attempts::{Attempts, Need};
pub use self::url::{KeyUrl, KeyUrlError};
use super::exchange::FetchError;
use super::fetch::Fetcher;
use super::network::Network;
use super::reach::Reach;
use crate::Clock;
use crate::error::chain;

/// Google's keys: fetched when a proof first needs them, then kept fresh while used
///
/// A set is refreshed in the background after four fifths of its `max-age`, if a key was looked
/// up since the last refresh. The old set is used in the meantime, and if the refresh fails, until
/// it is [24 hours](Self::USABLE) old. A key that is not in the set also causes a fetch, but not
/// within a minute of the last one.
///
/// At most one fetch is under way. All callers that need its outcome wait for it, for at most five
/// seconds. A key that is in the set is returned without waiting. A caller that is dropped while it
/// waits neither ends the fetch nor delays the next one.
#[derive(Debug)]
pub struct KeyCache {
    shared: Arc<Shared>,
    /// The background task, which a lookup starts on its runtime
    refresher: Mutex<Option<AbortHandle>>,
}

impl KeyCache {
    /// How long after its fetch a set is used if it cannot be refreshed
    pub const USABLE: Duration = Duration::from_secs(24 * 3_600);

    /// Creates an empty cache for the keys at `url`
    ///
    /// `clock` dates the fetched sets. It must be the clock from which callers read the `now` of
    /// [`find_key`](FindKey::find_key).
    #[must_use]
    pub fn fetching(url: KeyUrl, network: Arc<dyn Network>, clock: Clock) -> Self {
        Self::with_fetcher(url, Fetcher::new(network, Reach::Anywhere), clock)
    }

    /// As [`fetching`](Self::fetching), with a fetcher that has the caller's TLS or a proxy
    #[must_use]
    pub fn with_fetcher(url: KeyUrl, fetcher: Fetcher, clock: Clock) -> Self {
        Self {
            shared: Arc::new(Shared {
                url,
                fetcher,
                clock,
                set: ArcSwapOption::empty(),
                failure: ArcSwapOption::empty(),
                used: AtomicBool::new(false),
                attempts: watch::Sender::default(),
            }),
            refresher: Mutex::default(),
        }
    }

    /// Counts since the cache was created
    #[must_use]
    pub fn counts(&self) -> KeyCounts {
        let set = self.shared.set.load();
        let attempts = *self.shared.attempts.borrow();
        KeyCounts {
            keys: set.as_ref().map_or(0, |set| set.keys.ids().len()),
            fetched: set.as_ref().map(|set| set.fetched),
            fetches: attempts.ended(),
            failures: attempts.failures(),
        }
    }

    fn begin_fetch(&self, need: Need) -> Option<u64> {
        let mut refresher = self.refresher.lock().unwrap_or_else(PoisonError::into_inner);
        // The runtime on which it was started may have ended, with a fetch under way.
        if refresher.as_ref().is_none_or(AbortHandle::is_finished) {
            *refresher = Some(tokio::spawn(keep_fresh(Arc::clone(&self.shared))).abort_handle());
        }
        drop(refresher);
        self.shared.begin_fetch(need)
    }
}

impl FindKey for KeyCache {
    async fn find_key(
        &self,
        kid: &str,
        now: SystemTime,
    ) -> Result<Option<VerifyingKey>, Unavailable> {
        self.shared.used.store(true, Ordering::Relaxed);
        let set = self.shared.set.load();
        let usable = set.as_ref().filter(|set| set.is_usable(now));
        if let Some((set, key)) = usable.and_then(|set| Some((set, set.keys.get(kid)?))) {
            if set.is_due(now) {
                self.begin_fetch(Need::Refresh);
            }
            return Ok(Some(key.clone()));
        }
        if let Some(attempt) = self.begin_fetch(Need::Answer) {
            let mut attempts = self.shared.attempts.subscribe();
            // Fails only if the sender is dropped, and `self` owns the sender.
            let _ = attempts.wait_for(|attempts| attempts.ended() >= attempt).await;
        }
        // Looked up again even without a fetch to wait for: one may have ended since the first
        // lookup.
        let set = self.shared.set.load();
        let set = set
            .as_ref()
            .filter(|set| set.is_usable(now))
            .ok_or_else(|| self.shared.unavailable())?;
        match set.keys.get(kid) {
            Some(key) => Ok(Some(key.clone())),
            None if set.is_fresh(now) => Ok(None),
            // Google may have published that key since the set was fetched.
            None => Err(self.shared.unavailable()),
        }
    }
}

/// Counts of a [`KeyCache`], for metrics
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyCounts {
    /// The number of keys in the current set, even if it is stale
    pub keys: usize,
    /// When the current set was fetched, if there is one
    pub fetched: Option<SystemTime>,
    /// Fetches that have ended
    pub fetches: u64,
    /// Fetches that failed
    pub failures: u64,
}

impl Drop for KeyCache {
    fn drop(&mut self) {
        let refresher = self.refresher.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(refresher) = refresher {
            refresher.abort();
        }
    }
}

/// The state that lookups share with the background task
struct Shared {
    url: KeyUrl,
    fetcher: Fetcher,
    clock: Clock,
    set: ArcSwapOption<Set>,
    /// Why the last fetch failed, if it did
    failure: ArcSwapOption<KeysError>,
    /// Whether a key was looked up since the last refresh
    used: AtomicBool,
    attempts: watch::Sender<Attempts>,
}

impl Shared {
    /// Begins a fetch unless one is under way or it is too early
    ///
    /// Returns the number of the fetch to wait for, if one is under way.
    fn begin_fetch(&self, need: Need) -> Option<u64> {
        let mut under_way = None;
        self.attempts.send_if_modified(|attempts| {
            let begins = attempts.begin(need, Instant::now());
            under_way = attempts.under_way();
            begins
        });
        under_way
    }

    fn unavailable(&self) -> Unavailable {
        self.failure.load_full().map_or_else(Unavailable::new, Unavailable::because)
    }

    async fn fetch(&self) -> Result<Set, KeysError> {
        // The time before the request, so that the set is never taken for newer than it is.
        let fetched = (self.clock)();
        let answer = self.fetcher.get(self.url.as_uri(), Jwks::MAX_BYTES).await?;
        let keys = Jwks::parse(&answer.body)?;
        let lifetime =
            answer.lifetime.unwrap_or(DEFAULT_LIFETIME).clamp(MIN_LIFETIME, MAX_LIFETIME);
        Ok(Set { keys, fetched, lifetime })
    }

    /// Stores the outcome of the fetch under way and wakes the callers that wait for it
    fn end_fetch(&self, outcome: Result<Set, KeysError>) {
        let refresh_in = match outcome {
            Ok(set) => {
                let (keys, seconds) = (set.keys.ids().len(), set.lifetime.as_secs());
                info!(url = %self.url, keys, seconds, "fetched Google's keys");
                let refresh_in = set.refresh_after();
                self.set.store(Some(Arc::new(set)));
                self.failure.store(None);
                Some(refresh_in)
            }
            Err(error) => {
                warn!(url = %self.url, error = chain(&error), "cannot fetch Google's keys");
                self.failure.store(Some(Arc::new(error)));
                None
            }
        };
        let now = Instant::now();
        self.attempts.send_modify(|attempts| match refresh_in {
            Some(refresh_in) => attempts.succeed(refresh_in, now),
            None => attempts.fail(now),
        });
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("url", &self.url)
            .field("attempts", &*self.attempts.borrow())
            .finish_non_exhaustive()
    }
}

/// Runs fetches: those that lookups begin, and refreshes when they are due
///
/// Only this task fetches, so at most one fetch is under way.
async fn keep_fresh(shared: Arc<Shared>) {
    let mut attempts = shared.attempts.subscribe();
    // If no key was looked up since the last refresh, the next lookup begins the next fetch.
    let mut idle = false;
    loop {
        let due = attempts.borrow_and_update().due();
        tokio::select! {
            begun = async { attempts.wait_for(|a| a.under_way().is_some()).await.is_ok() } => {
                if !begun {
                    return;
                }
                // A panic counts as a failure, so that callers do not wait for ever.
                let fetched = AssertUnwindSafe(shared.fetch()).catch_unwind().await;
                shared.end_fetch(fetched.unwrap_or(Err(KeysError::Panicked)));
                idle = false;
            }
            () = until(due), if !idle => {
                if shared.used.swap(false, Ordering::Relaxed) {
                    shared.begin_fetch(Need::Refresh);
                } else {
                    idle = true;
                }
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Fetched keys and their lifetime
struct Set {
    keys: Jwks,
    fetched: SystemTime,
    lifetime: Duration,
}

impl Set {
    /// The time since the fetch; zero if the clock was set back
    fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.fetched).unwrap_or_default()
    }

    fn refresh_after(&self) -> Duration {
        self.lifetime * 4 / 5
    }

    fn is_due(&self, now: SystemTime) -> bool {
        self.age(now) >= self.refresh_after()
    }

    fn is_fresh(&self, now: SystemTime) -> bool {
        self.age(now) < self.lifetime
    }

    fn is_usable(&self, now: SystemTime) -> bool {
        self.age(now) < KeyCache::USABLE
    }
}

#[derive(Debug, Error)]
enum KeysError {
    #[error("the fetch failed")]
    Fetch(#[from] FetchError),
    #[error("the answer is not a key set")]
    Malformed(#[from] identity_verify::Error),
    #[error("reading the keys panicked")]
    Panicked,
}

/// Bounds of the lifetime in the headers: an answer that forbids caching must not cause a fetch
/// for every proof, and a long lifetime must not keep withdrawn keys in use
const MIN_LIFETIME: Duration = Duration::from_secs(60);
const MAX_LIFETIME: Duration = KeyCache::USABLE;

/// The lifetime if the headers do not say
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3_600);
