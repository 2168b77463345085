//! App tokens signed and found with keys that are fetched when one is missing

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use app_authz::app::{
    Agent, App, Contact, SharingLevel, Transition, UncheckedRequest, Workspace, WorkspaceFacts,
};
use app_authz::id::{AppId, OrganizationId};
use app_authz::token::{
    CryptoKey, Feature, Hs512Key, KeyCache, KeyStore, LEEWAY, PresentedTokens, Secret,
    TOKEN_LIFETIME, Want,
};
use app_authz::{AgentId, AppRequest, Error, Rules, Target, UserId, WorkspaceId, decide, resolve};
use uuid::Uuid;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn request(slug: &str) -> AppRequest {
    let fields = UncheckedRequest {
        access_method: "subdomain".to_owned(),
        username_or_id: "ann".to_owned(),
        workspace_name_or_id: "dev".to_owned(),
        app_slug_or_port: slug.to_owned(),
        ..UncheckedRequest::default()
    };
    fields.try_into().unwrap()
}

fn public_app() -> Target<'static> {
    let owner = UserId(Uuid::from_u128(2));
    let workspace = Workspace::new(
        (WorkspaceId(Uuid::from_u128(1)), "dev"),
        (owner, "ann"),
        OrganizationId(Uuid::from_u128(3)),
    );
    let agent = AgentId(Uuid::from_u128(4));
    let app = App::new(AppId(Uuid::from_u128(5)), agent, "code", "http://127.0.0.1:8080");
    let facts = WorkspaceFacts::new(owner, workspace, Transition::Start, None)
        .with_agents([Agent::new(agent, "main", Contact::new(now()))])
        .with_apps([app.with_sharing(SharingLevel::Public)]);
    resolve(kept(request("code")), Some(kept(facts)), Rules::default()).unwrap()
}

/// The facts of a target, leaked so that they live as long as the test
fn kept<T>(fact: T) -> &'static T {
    Box::leak(Box::new(fact))
}

/// Keys with these sequences, and how often they were fetched
struct Store {
    sequences: Vec<i32>,
    fetches: Mutex<u32>,
}

impl Store {
    fn of(sequences: &[i32]) -> Self {
        Self { sequences: sequences.to_vec(), fetches: Mutex::new(0) }
    }

    fn fetches(&self) -> u32 {
        *self.fetches.lock().unwrap()
    }
}

impl KeyStore for Store {
    type Error = Infallible;

    async fn keys(&self, feature: Feature) -> Result<Vec<CryptoKey>, Infallible> {
        *self.fetches.lock().unwrap() += 1;
        let key = |sequence: &i32| {
            let secret = Secret::new([u8::try_from(*sequence).unwrap(); 64]);
            CryptoKey::new(feature, *sequence, secret, SystemTime::UNIX_EPOCH)
        };
        Ok(self.sequences.iter().map(key).collect())
    }
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future waits for something"),
    }
}

fn signed(cache: &KeyCache<Hs512Key>, store: &Store) -> Result<String, Error> {
    let target = public_app();
    let permit = decide(&target, None, Rules::default()).unwrap();
    let token = ready(cache.sign(store, &permit, now()))?;
    Ok(token.reveal().to_owned())
}

fn is_found(
    cache: &KeyCache<Hs512Key>,
    store: &Store,
    token: &str,
    request: &AppRequest,
    at: SystemTime,
) -> bool {
    let candidates = PresentedTokens { query: None, cookies: vec![token] };
    ready(cache.find(store, &candidates, request, at, LEEWAY)).unwrap().is_some()
}

#[test]
fn a_cache_without_keys_fetches_them_to_sign_and_to_verify() {
    let store = Store::of(&[1]);
    let (signer, verifier) = (KeyCache::new(), KeyCache::new());
    let token = signed(&signer, &store).unwrap();
    assert_eq!(signed(&signer, &store).unwrap(), token);
    assert_eq!(store.fetches(), 1);

    assert!(is_found(&verifier, &store, &token, &request("code"), now()));
    assert!(is_found(&verifier, &store, &token, &request("code"), now()));
    assert_eq!(store.fetches(), 2);

    let none = Store::of(&[]);
    assert_eq!(signed(&KeyCache::new(), &none), Err(Error::NoSigningKey));
    assert_eq!(none.fetches(), 1);
}

#[test]
fn a_token_of_a_new_key_is_found_after_one_fetch_and_that_of_an_invented_one_never() {
    let (old, new) = (Store::of(&[1]), Store::of(&[1, 2]));
    let cache = KeyCache::new();
    assert_eq!(ready(cache.fetch(&old, Want::Refresh, now())), Ok(true));

    let token = signed(&KeyCache::new(), &new).unwrap();
    assert!(!is_found(&cache, &old, &token, &request("code"), now()));
    assert_eq!(old.fetches(), 2);
    // Another fetch is not due yet.
    assert!(!is_found(&cache, &new, &token, &request("code"), now()));
    let later = now() + Duration::from_secs(10);
    assert!(is_found(&cache, &new, &token, &request("code"), later));
    assert_eq!(new.fetches(), 2);
}

#[test]
fn a_bad_token_does_not_cause_a_fetch() {
    let store = Store::of(&[1]);
    let cache = KeyCache::new();
    let token = signed(&cache, &store).unwrap();
    let (code, other) = (request("code"), request("other"));
    assert!(!is_found(&cache, &store, &token, &other, now()));
    assert!(!is_found(&cache, &store, &token, &code, now() + Duration::from_secs(600)));
    assert!(!is_found(&cache, &store, "garbage", &code, now()));
    assert_eq!(store.fetches(), 1);
}

#[test]
fn a_remembered_token_is_checked_against_the_time_again() {
    let store = Store::of(&[1]);
    let cache = KeyCache::new();
    let token = signed(&cache, &store).unwrap();
    let code = request("code");
    let found = |token: &str, at| is_found(&cache, &store, token, &code, at);
    // Verified, verified again and remembered, and found.
    assert!((0..3).all(|_| found(&token, now())));

    assert!(!is_found(&cache, &store, &token, &request("other"), now()));
    let last = now() + TOKEN_LIFETIME + LEEWAY;
    assert!(found(&token, last));
    assert!(!found(&token, last + Duration::from_secs(1)));
    assert!(found(&token, now()), "a clock that is set back");

    // With any character changed it is another token.
    for at in 0..token.len() {
        let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
        let forged = [&token[..at], other, &token[at + 1..]].concat();
        assert!(!found(&forged, now()), "{at}");
        assert!(!found(&token[..at], now()), "{at}");
    }
    assert!(!found(&format!("{token}A"), now()));
    assert!(found(&token, now()));
}

#[test]
fn a_remembered_token_is_only_as_good_as_its_key() {
    let row = |secret: Option<Secret>, deletes_at: Option<SystemTime>| {
        CryptoKey::new(Feature::WorkspaceAppsToken, 1, secret, SystemTime::UNIX_EPOCH)
            .with_deletes_at(deletes_at)
    };
    let secret = |byte: u8| Some(Secret::new([byte; 64]));
    let soon = now() + Duration::from_secs(2);
    for (rows, good_now, good_soon) in [
        (vec![row(secret(1), None)], true, true),
        (vec![row(secret(1), Some(soon))], true, false),
        (vec![row(secret(2), None)], false, false),
        (vec![row(None, None)], false, false),
        (vec![], false, false),
    ] {
        let store = Store::of(&[1]);
        let cache = KeyCache::new();
        assert_eq!(ready(cache.fetch(&store, Want::Refresh, now())), Ok(true));
        let token = signed(&cache, &store).unwrap();
        let found = |at| is_found(&cache, &store, &token, &request("code"), at);
        assert!((0..3).all(|_| found(now())));

        let fetch = cache.claim(Want::Missing, now()).unwrap();
        cache.complete(fetch, &rows).unwrap();
        assert_eq!((found(now()), found(soon)), (good_now, good_soon), "{rows:?}");
    }
}

#[test]
fn many_remembered_tokens_are_distinguished() {
    let store = Store::of(&[1]);
    let cache = KeyCache::new();
    let mut tokens = Vec::new();
    for second in 0..10_000 {
        let target = public_app();
        let permit = decide(&target, None, Rules::default()).unwrap();
        let at = now() + Duration::from_secs(second);
        tokens.push((ready(cache.sign(&store, &permit, at)).unwrap(), at));
    }
    // Twice, because the second time some are remembered and some were replaced.
    for (token, at) in tokens.iter().chain(&tokens) {
        let candidates = PresentedTokens { query: None, cookies: vec![token.reveal()] };
        let found = ready(cache.find(&store, &candidates, &request("code"), *at, LEEWAY));
        assert_eq!(found.unwrap().unwrap().expires_at(), token.expires_at());
        assert!(!is_found(&cache, &store, token.reveal(), &request("other"), *at));
    }
}

#[test]
fn a_token_is_remembered_once_it_comes_again_and_a_single_one_replaces_none() {
    let store = Store::of(&[1]);
    let cache = KeyCache::<Hs512Key>::new();
    let code = request("code");
    let signed = |second| {
        let target = public_app();
        let permit = decide(&target, None, Rules::default()).unwrap();
        let at = now() + Duration::from_secs(second);
        let token = ready(cache.sign(&store, &permit, at)).unwrap();
        (token.reveal().to_owned(), at)
    };
    // Verifying a token allocates to parse its claims, and finding a remembered one does not.
    let is_remembered = |(token, at): &(String, SystemTime)| {
        let candidates = PresentedTokens { query: None, cookies: vec![token] };
        let work = allocation_counter::measure(|| {
            assert!(ready(cache.find(&store, &candidates, &code, *at, LEEWAY)).unwrap().is_some());
        });
        work.count_total == 0
    };

    let first = signed(0);
    assert_eq!([(); 4].map(|()| is_remembered(&first)), [false, false, true, true]);
    for second in 1..20_000 {
        assert!(!is_remembered(&signed(second)));
    }
    assert!(is_remembered(&first));
    // Other tokens that come twice do.
    for second in 1..20_000 {
        let other = signed(second);
        assert!(!is_remembered(&other));
        is_remembered(&other);
    }
    assert!(!is_remembered(&first));
}
