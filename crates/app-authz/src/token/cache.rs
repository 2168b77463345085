use std::error::Error as StdError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use super::recent::Recent;
use super::{
    AppToken, CryptoKey, Feature, Found, KeyMaterial, KeyRing, PresentedTokens, SignedToken,
    SigningKey, TokenError, TokenOptions,
};
use crate::Error;
use crate::app::{AppRequest, Permit};
use crate::error::Cause;
use crate::port::port;

/// Looks up the keys of a feature
///
/// The answers must not come from a replica of the database: a key that was removed would be
/// good again.
pub trait KeyStore: Sync {
    /// Why the query failed
    type Error: StdError + Send + Sync + 'static;

    /// Returns all rows of the feature that have a secret
    ///
    /// A secret that cannot be read is returned as
    /// [`Secret::unreadable`](super::Secret::unreadable). Fails if no secret can be read, so
    /// that a cache keeps the keys it has.
    fn keys(
        &self,
        feature: Feature,
    ) -> impl Future<Output = Result<Vec<CryptoKey>, Self::Error>> + Send;
}

port! {
    DynKeyStore of KeyStore
    fn keys as dyn_keys([], feature: Feature) -> Vec<CryptoKey>;
}

/// The keys of one feature, fetched from time to time
///
/// Reading never waits: the cache always has a ring, perhaps an old one, whose keys are
/// checked against their own times. App tokens that a ring has verified are remembered with
/// that ring, because a browser sends its token with each request.
///
/// A caller that misses a key may [`claim`](Self::claim) a fetch. There is at most one at a
/// time. A fetch that fails or is cancelled drops its claim, so the next caller can claim
/// again, and the cache keeps its keys.
#[derive(Debug)]
pub struct KeyCache<K> {
    fetched: ArcSwap<Fetched<K>>,
    schedule: Arc<Mutex<Schedule>>,
}

/// A ring, and the tokens that it has verified
#[derive(Debug)]
pub(super) struct Fetched<K> {
    pub(super) ring: Arc<KeyRing<K>>,
    recent: Recent,
}

impl<K> Fetched<K> {
    fn new(ring: KeyRing<K>) -> Self {
        Self { ring: Arc::new(ring), recent: Recent::default() }
    }
}

impl<K: KeyMaterial> KeyCache<K> {
    /// A cache without keys, due for a fetch
    #[must_use]
    pub fn new() -> Self {
        Self {
            fetched: ArcSwap::from_pointee(Fetched::new(KeyRing::EMPTY)),
            schedule: Arc::new(Mutex::new(Schedule::default())),
        }
    }

    /// The keys of the last fetch
    #[must_use]
    pub fn ring(&self) -> Arc<KeyRing<K>> {
        Arc::clone(&self.fetched.load().ring)
    }

    /// Claims the right to fetch at `now`, if a fetch is due
    ///
    /// It is not due while another fetch is in progress. A refresh is due [`REFRESH_INTERVAL`]
    /// after the last fetch, ten seconds after one that failed, and a second after one that brought
    /// no key that may sign. For a missing key it is due [`MISS_INTERVAL`] after the last fetch for
    /// one, so that a client that invents keys cannot cause a query for each.
    #[must_use]
    pub fn claim(&self, want: Want, now: SystemTime) -> Option<Fetch> {
        let mut schedule = lock(&self.schedule);
        // If the clock was set back, a fetch is due now rather than far in the future.
        let passed = |since: Option<SystemTime>, interval: Duration| {
            since.is_none_or(|since| now.duration_since(since).map_or(true, |d| d >= interval))
        };
        let can_sign = || self.ring().signing(now).is_ok();
        let due = match want {
            // The table may have been empty, or its keys not valid yet.
            Want::Refresh if !can_sign() => passed(schedule.fetched_at, RETRY_WITHOUT_KEYS),
            Want::Refresh if schedule.failed => passed(schedule.fetched_at, RETRY),
            Want::Refresh => passed(schedule.fetched_at, REFRESH_INTERVAL),
            Want::Missing => passed(schedule.missed_at, MISS_INTERVAL),
        };
        if schedule.fetching || !due {
            return None;
        }
        schedule.fetching = true;
        if want == Want::Missing {
            schedule.missed_at = Some(now);
        }
        Some(Fetch { schedule: Arc::clone(&self.schedule), now, done: false })
    }

    /// Replaces the keys with the rows of a claimed fetch
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSecret`] if a key does not fit the feature. The cache keeps its keys.
    pub fn complete(&self, mut fetch: Fetch, rows: &[CryptoKey]) -> Result<(), Error> {
        self.fetched.store(Arc::new(Fetched::new(KeyRing::new(rows)?)));
        fetch.done = true;
        Ok(())
    }

    /// Fetches the keys from `store` if a fetch is due, and returns whether it did
    ///
    /// # Errors
    ///
    /// [`Error::KeysUnavailable`] if the store fails or its keys do not fit the feature. The
    /// cache keeps its keys.
    pub async fn fetch<S: KeyStore>(
        &self,
        store: &S,
        want: Want,
        now: SystemTime,
    ) -> Result<bool, Error> {
        let Some(fetch) = self.claim(want, now) else { return Ok(false) };
        let rows = store.keys(K::FEATURE).await.map_err(unavailable)?;
        self.complete(fetch, &rows).map_err(unavailable)?;
        Ok(true)
    }

    /// Runs `attempt` with the keys, and once more with new ones if a key was missing
    pub(super) async fn retried<S: KeyStore, T>(
        &self,
        store: &S,
        now: SystemTime,
        attempt: impl Fn(&Fetched<K>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (result, missing) = {
            let keys = self.fetched.load();
            let result = attempt(&keys);
            let missing = match &result {
                Err(Error::NoSigningKey) => true,
                Err(Error::InvalidToken(TokenError::UnknownKey(key))) => !keys.ring.knows(*key),
                _ => false,
            };
            (result, missing)
        };
        if missing && self.fetch(store, Want::Missing, now).await? {
            return attempt(&self.fetched.load());
        }
        result
    }
}

impl<K: KeyMaterial + SigningKey> KeyCache<K> {
    /// Signs a permit as [`KeyRing::sign`] does, and fetches the keys once if none may sign
    ///
    /// # Errors
    ///
    /// [`Error::NoSigningKey`] if no key may sign after that, and [`Error::KeysUnavailable`]
    /// if the fetch failed.
    pub async fn sign<S: KeyStore>(
        &self,
        store: &S,
        permit: &Permit<'_>,
        now: SystemTime,
    ) -> Result<SignedToken, Error> {
        self.sign_with(store, permit, TokenOptions::default(), now).await
    }

    /// Signs a permit as [`KeyRing::sign_with`] does, and fetches the keys once if none may sign
    ///
    /// # Errors
    ///
    /// Those of [`sign`](Self::sign).
    pub async fn sign_with<S: KeyStore>(
        &self,
        store: &S,
        permit: &Permit<'_>,
        options: TokenOptions<'_>,
        now: SystemTime,
    ) -> Result<SignedToken, Error> {
        self.retried(store, now, |keys| keys.ring.sign_with(permit, options, now)).await
    }

    /// Signs a token for another base path as [`KeyRing::rebase`] does, and fetches the keys
    /// once if one is missing
    ///
    /// # Errors
    ///
    /// Those of [`KeyRing::rebase`] after that, and [`Error::KeysUnavailable`] if the fetch
    /// failed.
    pub async fn rebase<S: KeyStore>(
        &self,
        store: &S,
        (token, base_path): (&str, &str),
        now: SystemTime,
        leeway: Duration,
    ) -> Result<SignedToken, Error> {
        let rebase = |keys: &Fetched<K>| keys.ring.rebase(token, base_path, now, leeway);
        self.retried(store, now, rebase).await
    }

    /// Finds a good token for the request as [`KeyRing::find`] does, and fetches the keys once
    /// if one is missing
    ///
    /// # Errors
    ///
    /// [`Error::KeysUnavailable`] if the fetch failed. Decide the request then, as if it had
    /// no token.
    pub async fn find<S: KeyStore>(
        &self,
        store: &S,
        presented: &PresentedTokens<'_>,
        request: &AppRequest,
        now: SystemTime,
        leeway: Duration,
    ) -> Result<Option<Arc<AppToken>>, Error> {
        let found = |Fetched { ring, recent }: &Fetched<_>| {
            let verify = |token: &str| recent.verify(token, ring, now, leeway);
            match presented.find(ring, request, verify) {
                Found::Token(token) => Ok(Some(token)),
                Found::Nothing { missing: None } => Ok(None),
                Found::Nothing { missing: Some(key) } => Err(TokenError::UnknownKey(key).into()),
            }
        };
        match self.retried(store, now, found).await {
            Err(Error::InvalidToken(_)) => Ok(None),
            result => result,
        }
    }
}

impl<K: KeyMaterial> Default for KeyCache<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a caller wants to fetch keys
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The keys may be out of date
    Refresh,
    /// A token names a key that the cache does not have, or no key may sign
    Missing,
}

/// The right to fetch keys, released when dropped
#[derive(Debug)]
#[must_use]
pub struct Fetch {
    schedule: Arc<Mutex<Schedule>>,
    now: SystemTime,
    done: bool,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        let mut schedule = lock(&self.schedule);
        schedule.fetching = false;
        schedule.fetched_at = Some(self.now);
        schedule.failed = !self.done;
    }
}

#[derive(Debug, Default)]
struct Schedule {
    fetching: bool,
    /// When the last fetch began, whether or not it succeeded
    fetched_at: Option<SystemTime>,
    failed: bool,
    /// When the last fetch for a missing key began
    missed_at: Option<SystemTime>,
}

fn unavailable(error: impl StdError + Send + Sync + 'static) -> Error {
    Error::KeysUnavailable(Cause::new(error))
}

/// Locks the schedule, even if it is poisoned: it is never left half changed
fn lock(schedule: &Mutex<Schedule>) -> MutexGuard<'_, Schedule> {
    schedule.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How old keys may become before they are fetched again
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// How long after a failed fetch the next refresh is due
const RETRY: Duration = Duration::from_secs(10);

/// How long after a fetch the next refresh is due while no key may sign
const RETRY_WITHOUT_KEYS: Duration = Duration::from_secs(1);

/// How long after a fetch for a missing key the next one is due
pub const MISS_INTERVAL: Duration = Duration::from_secs(10);
