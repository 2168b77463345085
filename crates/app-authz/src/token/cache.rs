use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use super::recent::Recent;
use super::{
    AppToken, CryptoKey, Feature, Found, KeyMaterial, KeyRing, PresentedTokens, SealKey,
    SignedToken, SigningKey, TokenError,
};
use crate::Error;
use crate::app::{AppRequest, Permit};
use crate::credential::SessionToken;

/// Answers which keys a feature has
///
/// Not from a replica of the database: a key that was taken away must not come back.
pub trait KeyStore: Sync {
    /// Why the question could not be answered
    type Error: StdError + Send + Sync + 'static;

    /// All rows of the feature that have a secret
    ///
    /// A secret that cannot be read comes along as [`Secret::unreadable`](super::Secret::unreadable).
    /// If none can be read, that is an error, so that a cache keeps the keys it has.
    fn keys(
        &self,
        feature: Feature,
    ) -> impl Future<Output = Result<Vec<CryptoKey>, Self::Error>> + Send;
}

/// The keys of one feature, fetched now and then
///
/// Reading never waits: there is always a ring, if an old one, and its keys are judged
/// by their own times. App tokens that were found authentic are remembered with the ring
/// that did, as a browser sends its token with everything that it asks for. Whoever finds something missing may [`claim`](Self::claim) a
/// fetch. One is under way at most; a claim that is dropped gives way to the next, so a
/// fetch that fails or is cancelled leaves nobody waiting and no key lost.
#[derive(Debug)]
pub struct KeyCache<K> {
    fetched: ArcSwap<Fetched<K>>,
    schedule: Arc<Mutex<Schedule>>,
}

/// A ring, and what was verified with it
#[derive(Debug)]
struct Fetched<K> {
    ring: Arc<KeyRing<K>>,
    recent: Recent,
}

impl<K> Fetched<K> {
    fn new(ring: KeyRing<K>) -> Self {
        Self { ring: Arc::new(ring), recent: Recent::default() }
    }
}

impl<K: KeyMaterial> KeyCache<K> {
    /// A cache without keys, for which a fetch is due at once
    #[must_use]
    pub fn new() -> Self {
        Self {
            fetched: ArcSwap::from_pointee(Fetched::new(KeyRing::EMPTY)),
            schedule: Arc::new(Mutex::new(Schedule::default())),
        }
    }

    /// The keys as last fetched
    #[must_use]
    pub fn ring(&self) -> Arc<KeyRing<K>> {
        Arc::clone(&self.fetched.load().ring)
    }

    /// Claims the right to fetch at `now`, unless there is no cause
    ///
    /// There is none while a fetch is under way, before [`REFRESH_INTERVAL`] has passed since the
    /// last, or, for something missing, before [`MISS_INTERVAL`] has passed since that
    /// was last the cause: a client that makes up keys cannot make us ask for each.
    #[must_use]
    pub fn claim(&self, want: Want, now: SystemTime) -> Option<Fetch> {
        let mut schedule = lock(&self.schedule);
        // A clock that was set back makes a fetch due, rather than never.
        let passed = |since: Option<SystemTime>, interval: Duration| {
            since.is_none_or(|since| now.duration_since(since).map_or(true, |d| d >= interval))
        };
        let due = match want {
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

    /// Takes the rows that a claimed fetch brought, and puts off the next refresh
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSecret`] if a key does not fit the feature; the old keys stay.
    pub fn complete(&self, mut fetch: Fetch, rows: &[CryptoKey]) -> Result<(), Error> {
        self.fetched.store(Arc::new(Fetched::new(KeyRing::new(rows)?)));
        fetch.done = true;
        Ok(())
    }

    /// Fetches from `store`, if there is cause; whether the keys were fetched
    ///
    /// # Errors
    ///
    /// [`Error::KeysUnavailable`] if the store fails, or its keys do not fit; the keys
    /// there are stay good.
    pub async fn fetch<S: KeyStore>(
        &self,
        store: &S,
        want: Want,
        now: SystemTime,
    ) -> Result<bool, Error> {
        let Some(fetch) = self.claim(want, now) else { return Ok(false) };
        let unavailable = |error: &dyn fmt::Display| Error::KeysUnavailable(error.to_string());
        let rows = store.keys(K::FEATURE).await.map_err(|error| unavailable(&error))?;
        self.complete(fetch, &rows).map_err(|error| unavailable(&error))?;
        Ok(true)
    }

    /// Does something with the keys, and once more with new ones if it lacks a key
    async fn retried<S: KeyStore, T>(
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
    /// Signs a permit, as [`KeyRing::sign`] does, and asks the store once if no key may
    ///
    /// # Errors
    ///
    /// [`Error::NoSigningKey`] if no key may sign even so, and
    /// [`Error::KeysUnavailable`] if it had to ask and could not.
    pub async fn sign<S: KeyStore>(
        &self,
        store: &S,
        permit: &Permit<'_>,
        now: SystemTime,
    ) -> Result<SignedToken, Error> {
        self.retried(store, now, |keys| keys.ring.sign(permit, now)).await
    }

    /// Signs a token again for another base path, as [`KeyRing::rebase`] does, and asks the
    /// store once if a key is missing
    ///
    /// # Errors
    ///
    /// [`Error::InvalidToken`] and [`Error::NoSigningKey`] even so, and
    /// [`Error::KeysUnavailable`] if it had to ask and could not.
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

    /// Finds a good token for the request, as [`KeyRing::find`] does, and asks the store
    /// once if a key is missing
    ///
    /// # Errors
    ///
    /// [`Error::KeysUnavailable`] if it had to ask and could not. The request is then to
    /// be decided anew, like one without token.
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

impl KeyCache<SealKey> {
    /// Seals a session token, as [`KeyRing::seal`] does, and asks the store once if no
    /// key may
    ///
    /// # Errors
    ///
    /// [`Error::NoSigningKey`] if no key may seal even so, and
    /// [`Error::KeysUnavailable`] if it had to ask and could not.
    pub async fn seal<S: KeyStore>(
        &self,
        store: &S,
        token: &SessionToken,
        now: SystemTime,
    ) -> Result<String, Error> {
        self.retried(store, now, |keys| keys.ring.seal(token, now)).await
    }

    /// Opens a sealed session token, as [`KeyRing::open`] does, and asks the store once
    /// if its key is missing
    ///
    /// # Errors
    ///
    /// [`Error::InvalidToken`] if it cannot be opened, and [`Error::KeysUnavailable`] if
    /// it had to ask and could not.
    pub async fn open<S: KeyStore>(
        &self,
        store: &S,
        sealed: &str,
        now: SystemTime,
        leeway: Duration,
    ) -> Result<SessionToken, Error> {
        let open = |keys: &Fetched<_>| keys.ring.open(sealed, now, leeway).map_err(Error::from);
        self.retried(store, now, open).await
    }
}

impl<K: KeyMaterial> Default for KeyCache<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// Why somebody would fetch keys
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Time has passed
    Refresh,
    /// A token names a key nobody has heard of, or no key may sign
    Missing,
}

/// The right to fetch keys, given up when dropped
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
    /// When the last fetch began, well or badly
    fetched_at: Option<SystemTime>,
    failed: bool,
    /// When something missing was last the cause
    missed_at: Option<SystemTime>,
}

/// Nothing is ever left half done under this lock, so a panic elsewhere spoils nothing
fn lock(schedule: &Mutex<Schedule>) -> MutexGuard<'_, Schedule> {
    schedule.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How old keys may grow before they are fetched again
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// How soon a failed fetch is tried again
const RETRY: Duration = Duration::from_secs(10);

/// How often something missing is a cause to fetch
pub const MISS_INTERVAL: Duration = Duration::from_secs(10);
