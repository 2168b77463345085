//! When keys are fetched

use std::error::Error as _;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use app_authz::Error;
use app_authz::credential::SessionToken;
use app_authz::token::{
    CryptoKey, Feature, Hs512Key, KeyCache, KeyStore, LEEWAY, SealKey, SealedSession, Secret,
    TokenError, Want,
};

use super::{HOUR, MINUTE, key, now, with_secret};

#[derive(Debug)]
struct Down;

impl std::fmt::Display for Down {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the store is down")
    }
}

impl std::error::Error for Down {}

/// A store that counts queries and answers with rows, an error, or never
#[derive(Default)]
struct Store {
    answers: Mutex<(u32, Option<Vec<CryptoKey>>)>,
    hangs: bool,
}

impl Store {
    fn of(rows: Vec<CryptoKey>) -> Self {
        Self { answers: Mutex::new((0, Some(rows))), hangs: false }
    }

    fn set(&self, rows: Option<Vec<CryptoKey>>) {
        self.answers.lock().unwrap().1 = rows;
    }

    fn fetches(&self) -> u32 {
        self.answers.lock().unwrap().0
    }
}

impl KeyStore for Store {
    type Error = Down;

    async fn keys(&self, feature: Feature) -> Result<Vec<CryptoKey>, Down> {
        assert_eq!(feature, Feature::WorkspaceAppsToken);
        let rows = {
            let mut answers = self.answers.lock().unwrap();
            answers.0 += 1;
            answers.1.clone()
        };
        if self.hangs {
            std::future::pending::<()>().await;
        }
        rows.ok_or(Down)
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn ready<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future waits for something"),
    }
}

fn fetch(
    cache: &KeyCache<Hs512Key>,
    store: &Store,
    want: Want,
    at: SystemTime,
) -> Result<bool, Error> {
    ready(cache.fetch(store, want, at))
}

// scenario 60, 69
#[test]
fn keys_are_fetched_at_the_start_and_every_ten_minutes() {
    let (cache, store) = (KeyCache::new(), Store::of(vec![key(1, now() - HOUR, None)]));
    assert_eq!(fetch(&cache, &store, Want::Refresh, now()), Ok(true));
    for later in [0, 1, 599] {
        let at = now() + Duration::from_secs(later);
        assert_eq!(cache.ring().signing(at).unwrap().0, 1);
        assert_eq!(fetch(&cache, &store, Want::Refresh, at), Ok(false));
    }
    assert_eq!(store.fetches(), 1);

    store.set(Some(vec![key(1, now() - HOUR, None), key(2, now(), None)]));
    assert_eq!(fetch(&cache, &store, Want::Refresh, now() + 10 * MINUTE), Ok(true));
    assert_eq!(cache.ring().signing(now()).unwrap().0, 2);
    assert_eq!(fetch(&cache, &store, Want::Refresh, now() + 20 * MINUTE - MINUTE), Ok(false));
    assert_eq!(fetch(&cache, &store, Want::Refresh, now() + 20 * MINUTE), Ok(true));
    // A clock that was set back does not stop the refresh.
    assert_eq!(fetch(&cache, &store, Want::Refresh, now() - HOUR), Ok(true));
}

/// The table was empty, had a key of the future, or could not be read
#[test]
fn a_refresh_that_brought_no_key_to_sign_with_is_due_again_in_a_second() {
    for rows in [Some(vec![]), Some(vec![key(1, now() + HOUR, None)]), None] {
        let (cache, store) = (KeyCache::new(), Store::of(vec![]));
        store.set(rows.clone());
        let first = fetch(&cache, &store, Want::Refresh, now());
        assert_eq!(first.is_ok(), rows.is_some());
        store.set(Some(vec![key(2, now(), None)]));
        assert_eq!(fetch(&cache, &store, Want::Refresh, now()), Ok(false));
        let at = now() + Duration::from_secs(1);
        assert_eq!(fetch(&cache, &store, Want::Refresh, at), Ok(true), "{rows:?}");
        assert_eq!(cache.ring().signing(at).unwrap().0, 2);
        // Now there is one.
        assert_eq!(fetch(&cache, &store, Want::Refresh, at + MINUTE), Ok(false));
    }
}

// scenario 61
#[test]
fn a_missing_key_is_fetched_once_and_invented_ones_are_not() {
    let (cache, store) = (KeyCache::new(), Store::of(vec![key(1, now(), None)]));
    assert_eq!(fetch(&cache, &store, Want::Refresh, now()), Ok(true));
    store.set(Some(vec![key(1, now(), None), key(2, now(), None)]));
    assert_eq!(fetch(&cache, &store, Want::Missing, now()), Ok(true));
    assert!(cache.ring().knows(2));
    for second in 0..10 {
        let at = now() + Duration::from_secs(second);
        assert_eq!(fetch(&cache, &store, Want::Missing, at), Ok(false));
    }
    assert_eq!(fetch(&cache, &store, Want::Missing, now() + 10 * MINUTE), Ok(true));
    assert_eq!(store.fetches(), 3);
}

// scenario 70
#[test]
fn only_one_fetch_is_in_progress_and_it_delays_the_next() {
    let (cache, store) = (KeyCache::new(), Store::of(vec![key(1, now(), None)]));
    let claim = cache.claim(Want::Refresh, now()).unwrap();
    assert!(cache.claim(Want::Refresh, now() + HOUR).is_none());
    assert!(cache.claim(Want::Missing, now() + HOUR).is_none());
    cache.complete(claim, &[key(1, now(), None)]).unwrap();

    let at = now() + 9 * MINUTE;
    assert_eq!(fetch(&cache, &store, Want::Missing, at), Ok(true));
    assert_eq!(fetch(&cache, &store, Want::Refresh, now() + 10 * MINUTE), Ok(false));
    assert_eq!(fetch(&cache, &store, Want::Refresh, at + 10 * MINUTE), Ok(true));
}

// scenario 72
#[test]
fn a_failed_or_cancelled_fetch_allows_the_next_and_keeps_the_keys() {
    let (cache, store) = (KeyCache::new(), Store::of(vec![key(1, now() - HOUR, None)]));
    assert_eq!(fetch(&cache, &store, Want::Refresh, now()), Ok(true));

    store.set(None);
    let at = now() + 10 * MINUTE;
    let error = fetch(&cache, &store, Want::Refresh, at).unwrap_err();
    let Error::KeysUnavailable(cause) = &error else { panic!("{error:?}") };
    assert!(cause.get().is::<Down>());
    assert_eq!(error.to_string(), "the keys are unavailable");
    assert_eq!(error.source().unwrap().to_string(), "the store is down");
    assert_eq!(error.clone(), error);
    assert_eq!(cache.ring().signing(at).unwrap().0, 1);
    assert_eq!(fetch(&cache, &store, Want::Refresh, at + Duration::from_secs(9)), Ok(false));
    store.set(Some(vec![key(2, now(), None)]));
    let at = at + Duration::from_secs(10);
    assert_eq!(fetch(&cache, &store, Want::Refresh, at), Ok(true));
    assert_eq!(cache.ring().signing(at).unwrap().0, 2);

    let hanging = Store { hangs: true, ..Store::default() };
    {
        let mut request = pin!(cache.fetch(&hanging, Want::Missing, at));
        assert!(poll(request.as_mut()).is_pending());
        assert!(cache.claim(Want::Refresh, at + HOUR).is_none());
    }
    assert_eq!(fetch(&cache, &store, Want::Refresh, at + HOUR), Ok(true));

    let spoiled = with_secret(key(3, now(), None), Some(Secret::new([1])));
    store.set(Some(vec![spoiled]));
    let at = at + 2 * HOUR;
    assert!(matches!(fetch(&cache, &store, Want::Refresh, at), Err(Error::KeysUnavailable(_))));
    assert!(cache.ring().knows(2));
}

// scenario 58, 61
#[test]
fn a_seal_by_a_new_key_is_opened_after_one_fetch() {
    #[derive(Default)]
    struct Seals(Mutex<u32>);

    impl KeyStore for Seals {
        type Error = Down;

        async fn keys(&self, feature: Feature) -> Result<Vec<CryptoKey>, Down> {
            *self.0.lock().unwrap() += 1;
            Ok(vec![CryptoKey::new(feature, 1, Secret::new([5; 32]), now())])
        }
    }

    let token = session("0123456789-abcdefghijklmnopqrstuv");
    let (here, there, store) = (KeyCache::new(), KeyCache::new(), Seals::default());
    let sealed = ready(here.seal(&store, &token, now())).unwrap();
    assert_eq!(ready(there.open(&store, &sealed, now(), LEEWAY)), Ok(token.clone()));
    assert_eq!(ready(there.open(&store, &sealed, now(), LEEWAY)), Ok(token));
    assert_eq!(*store.0.lock().unwrap(), 2);

    let late = ready(there.open(&store, &sealed, now() + HOUR, LEEWAY));
    assert!(matches!(late, Err(Error::InvalidToken(TokenError::Expired { .. }))));
    let other = KeyCache::<SealKey>::new();
    let early =
        ready(other.seal(&store, &session("abcdefghij-0123456789012345678901"), now() - HOUR));
    assert_eq!(early, Err(Error::NoSigningKey));
}

fn session(text: &str) -> SealedSession {
    text.parse::<SessionToken>().unwrap().into()
}
