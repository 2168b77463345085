mod attempts;
mod url;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
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
use super::fetch::{FetchError, Fetcher};
use super::network::Network;
use super::reach::Reach;
use crate::Clock;
use crate::error::chain;

/// Google's keys: fetched when a proof first needs them, then kept fresh while used
///
/// A set is fetched anew in the background when four fifths of the time that its
/// `max-age` allows have passed, if anybody asked for a key since. Meanwhile, and when
/// that fails, the old set answers, for [24 hours](Self::USABLE) after it was fetched
/// and no longer. A key that is not in the set makes a fetch as well, but none within a
/// minute of the last one, whatever its cause and however many keys are asked for.
///
/// There is never more than one fetch under way: whoever needs its outcome waits for
/// that one, five seconds at most. A key that is in the set never waits.
#[derive(Debug)]
pub struct KeyCache {
    shared: Arc<Shared>,
    /// Started with the first need
    refresher: OnceLock<AbortHandle>,
}

impl KeyCache {
    /// For how long after its fetch a set answers when no newer one can be had
    pub const USABLE: Duration = Duration::from_hours(24);

    /// Keys from `url`, of which none is fetched yet
    ///
    /// `clock` dates what is fetched; it is the clock that `now` of
    /// [`find_key`](FindKey::find_key) is read from.
    #[must_use]
    pub fn fetching(url: KeyUrl, network: Arc<dyn Network>, clock: Clock) -> Self {
        Self {
            shared: Arc::new(Shared {
                url,
                fetcher: Fetcher::new(network, Reach::Anywhere),
                clock,
                set: ArcSwapOption::empty(),
                used: AtomicBool::new(false),
                attempts: watch::Sender::default(),
            }),
            refresher: OnceLock::new(),
        }
    }

    /// What happened so far
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
        self.refresher
            .get_or_init(|| tokio::spawn(keep_fresh(Arc::clone(&self.shared))).abort_handle());
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
        if let Some(set) = self.shared.set.load().as_ref().filter(|set| set.is_usable(now))
            && let Some(key) = set.keys.get(kid)
        {
            if set.is_due(now) {
                self.begin_fetch(Need::Refresh);
            }
            return Ok(Some(key.clone()));
        }
        if let Some(attempt) = self.begin_fetch(Need::Answer) {
            let mut attempts = self.shared.attempts.subscribe();
            // Fails only without a sender, and this borrows the one there is.
            let _ = attempts.wait_for(|attempts| attempts.ended() >= attempt).await;
        }
        // Looked up again even if there was no fetch to wait for: one may have ended
        // since the first look.
        let set = self.shared.set.load();
        let set = set.as_ref().filter(|set| set.is_usable(now)).ok_or(Unavailable)?;
        match set.keys.get(kid) {
            Some(key) => Ok(Some(key.clone())),
            None if set.is_fresh(now) => Ok(None),
            // Google may have published that key since.
            None => Err(Unavailable),
        }
    }
}

/// What a [`KeyCache`] did so far, for metrics
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyCounts {
    /// Keys at hand, stale ones included
    pub keys: usize,
    /// When they were fetched, if they were
    pub fetched: Option<SystemTime>,
    /// Fetches that are over
    pub fetches: u64,
    /// Those that brought no usable set
    pub failures: u64,
}

impl Drop for KeyCache {
    fn drop(&mut self) {
        if let Some(refresher) = self.refresher.get() {
            refresher.abort();
        }
    }
}

/// What those who look for keys share with the task that fetches them
struct Shared {
    url: KeyUrl,
    fetcher: Fetcher,
    clock: Clock,
    set: ArcSwapOption<Set>,
    /// Whether a key was asked for since the last refresh
    used: AtomicBool,
    attempts: watch::Sender<Attempts>,
}

impl Shared {
    /// Begins a fetch if none is under way and it is not too early for one
    ///
    /// The number of the fetch to wait for, begun here or before, if there is one.
    fn begin_fetch(&self, need: Need) -> Option<u64> {
        let mut under_way = None;
        self.attempts.send_if_modified(|attempts| {
            let begins = attempts.begin(need, Instant::now());
            under_way = attempts.under_way();
            begins
        });
        under_way
    }

    async fn fetch(&self) -> Result<Set, KeysError> {
        // Dated before it is asked for, so that it never counts for too long.
        let fetched = (self.clock)();
        let answer = self.fetcher.get(self.url.as_uri(), Jwks::MAX_BYTES).await?;
        let keys = Jwks::parse(&answer.body)?;
        let lifetime = answer.lifetime.unwrap_or(USUAL).clamp(SHORTEST, LONGEST);
        Ok(Set { keys, fetched, lifetime })
    }

    /// Takes the outcome of the fetch under way, and tells whoever waits for it
    fn end_fetch(&self, outcome: Result<Set, KeysError>) {
        let refresh_in = match outcome {
            Ok(set) => {
                let (keys, seconds) = (set.keys.ids().len(), set.lifetime.as_secs());
                info!(url = %self.url, keys, seconds, "fetched Google's keys");
                let refresh_in = set.refresh_after();
                self.set.store(Some(Arc::new(set)));
                Some(refresh_in)
            }
            Err(error) => {
                warn!(url = %self.url, error = chain(&error), "cannot fetch Google's keys");
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

/// Makes the fetches that are begun, and begins the ones that are due
///
/// The only place that fetches, so there are no two at a time.
async fn keep_fresh(shared: Arc<Shared>) {
    let mut attempts = shared.attempts.subscribe();
    // Nobody asked since the last refresh: the next need begins the next one.
    let mut idle = false;
    loop {
        let due = attempts.borrow_and_update().due();
        tokio::select! {
            begun = async { attempts.wait_for(|a| a.under_way().is_some()).await.is_ok() } => {
                if !begun {
                    return;
                }
                // A panic is one failed attempt: those who wait must be told.
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

/// Keys, and how long they count
struct Set {
    keys: Jwks,
    fetched: SystemTime,
    lifetime: Duration,
}

impl Set {
    /// Zero if the clock was set back since
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
    #[error("they do not arrive")]
    Fetch(#[from] FetchError),
    #[error("what arrives is no key set")]
    Malformed(#[from] identity_verify::Error),
    #[error("reading them panicked")]
    Panicked,
}

/// Bounds on what the answer's headers say: an answer that says not to keep it must not
/// cause a fetch for every proof, and one that says for ever must not
const SHORTEST: Duration = Duration::from_mins(1);
const LONGEST: Duration = KeyCache::USABLE;

/// If the answer does not say
const USUAL: Duration = Duration::from_hours(1);
