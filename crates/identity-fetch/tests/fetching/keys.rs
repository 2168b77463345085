use std::error::Error as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::join_all;
use identity_fetch::Clock;
use identity_fetch::{FetchError, KeyCache};
use identity_verify::Error;
use identity_verify::google::{FindKey, IdentityToken, Unavailable, Verifier};
use identity_verify::test_util::at;
use identity_verify::test_util::google::{Claims, Cloud};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::world::{Reply, World};

const START: &str = "2026-11-21T00:00:00Z";
const HOUR: u64 = 3_600;

/// Google's endpoint, and a cache of its keys
struct Google {
    world: World,
    cache: Arc<KeyCache>,
    clock: Clock,
    answer: Arc<Mutex<Reply>>,
}

impl Google {
    fn answering(answer: Reply) -> Self {
        let world = World::default();
        let answer = Arc::new(Mutex::new(answer));
        let answers = Arc::clone(&answer);
        world.host("localhost", "127.0.0.1", move |path| {
            assert_eq!(path, "/certs");
            answers.lock().unwrap().clone()
        });
        let (then, started) = (at(START), Instant::now());
        let clock: Clock = Arc::new(move || then + started.elapsed());
        let url = "http://localhost/certs".parse().unwrap();
        let cache = Arc::new(KeyCache::fetching(url, world.network(), Arc::clone(&clock)));
        Self { world, cache, clock, answer }
    }

    fn now_answers(&self, answer: Reply) {
        *self.answer.lock().unwrap() = answer;
    }

    fn now(&self) -> SystemTime {
        (self.clock)()
    }

    /// Whether the cache finds a key with this id
    async fn knows(&self, kid: &str) -> Result<bool, Unavailable> {
        Ok(self.cache.find_key(kid, self.now()).await?.is_some())
    }

    fn fetches(&self) -> usize {
        self.world.requests().len()
    }
}

/// A key set with these ids, which all have the same key
fn set(kids: &[&str]) -> String {
    static JWK: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| Cloud::generate().jwk());
    let with_id = |kid: &&str| {
        let mut jwk = JWK.clone();
        jwk["kid"] = json!(kid);
        jwk
    };
    json!({ "keys": kids.iter().map(with_id).collect::<Vec<_>>() }).to_string()
}

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

async fn stampede() {
    let cloud = Cloud::generate();
    let google = Google::answering(Reply::kept(HOUR, cloud.jwks_json()));
    let claims = Claims::new("1234567890", "a-project", "coder", at(START));
    let token = cloud.sign(&claims.to_json());
    let tasks = (0..1_000).map(|_| {
        let (token, cache, now) = (token.clone(), Arc::clone(&google.cache), google.now());
        tokio::spawn(async move {
            let proof = IdentityToken { token: token.as_bytes() };
            Verifier::default().verify_with(&proof, now, &*cache).await.unwrap();
        })
    });
    for done in join_all(tasks).await {
        done.unwrap();
    }
    assert_eq!(google.fetches(), 1);
    assert_eq!(google.cache.counts().fetches, 1);
}

#[tokio::test(start_paused = true)]
async fn a_cold_stampede_makes_one_fetch() {
    stampede().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cold_stampede_from_several_threads_makes_one_fetch() {
    stampede().await;
}

#[tokio::test(start_paused = true)]
async fn a_stampede_on_a_failing_endpoint_makes_one_fetch_and_every_caller_returns() {
    for answer in [Reply::status("500 Internal"), Reply::Silence, Reply::Endless] {
        let google = Google::answering(answer);
        let started = Instant::now();
        let answers = join_all((0..1_000).map(|_| google.knows("a"))).await;
        assert!(answers.iter().all(Result::is_err));
        assert!(started.elapsed() <= Duration::from_secs(6), "{:?}", started.elapsed());
        assert_eq!(google.fetches(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_fetched_before_a_proof_needs_it() {
    let google = Google::answering(Reply::ok(set(&["a"])));
    seconds(100 * HOUR).await;
    let malformed = IdentityToken { token: b"a.b.c" };
    let error = Verifier::default().verify_with(&malformed, google.now(), &*google.cache).await;
    assert!(matches!(error, Err(Error::MalformedProof { .. })), "{error:?}");
    assert_eq!(google.fetches(), 0);
    assert_eq!(google.knows("a").await, Ok(true));
    assert_eq!(google.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_unknown_keys_makes_one_fetch_in_a_minute() {
    let google = Google::answering(Reply::kept(24 * HOUR, set(&["a"])));
    google.knows("a").await.unwrap();
    for second in 0..600 {
        let kids: Vec<_> = (0..20).map(|n| format!("{second}-{n}")).collect();
        let answers = join_all(kids.iter().map(|kid| google.knows(kid))).await;
        assert!(answers.iter().all(|answer| *answer == Ok(false)));
        // The endpoint fails half of the time, which must not cause more fetches.
        if second == 300 {
            google.now_answers(Reply::status("500 Internal"));
        }
        assert!(google.fetches() <= 1 + second / 60, "in second {second}");
        assert_eq!(google.knows("a").await, Ok(true));
        seconds(1).await;
    }
    assert_eq!(google.fetches(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_as_soon_as_a_proof_names_it() {
    let google = Google::answering(Reply::kept(6 * HOUR, set(&["old", "now"])));
    assert_eq!(google.knows("now").await, Ok(true));
    seconds(59).await;
    google.now_answers(Reply::kept(6 * HOUR, set(&["now", "new"])));
    // Too early: the last fetch is less than a minute ago.
    assert_eq!(google.knows("new").await, Ok(false));
    seconds(1).await;
    let answers = join_all((0..100).map(|_| google.knows("new"))).await;
    assert!(answers.iter().all(|answer| *answer == Ok(true)));
    assert_eq!(google.fetches(), 2);
    assert_eq!(google.knows("now").await, Ok(true));
    assert_eq!(google.knows("old").await, Ok(false));
}

#[tokio::test(start_paused = true)]
async fn a_set_in_use_is_refreshed_before_it_expires() {
    let google = Google::answering(Reply::kept(HOUR, set(&["a"])));
    assert_eq!(google.knows("a").await, Ok(true));
    seconds(1).await;
    for minute in 0..600 {
        // Only the first lookup waits.
        let before = Instant::now();
        assert_eq!(google.knows("a").await, Ok(true));
        assert!(before.elapsed().is_zero());
        assert_eq!(google.fetches(), 1 + minute / 48, "in minute {minute}");
        seconds(60).await;
    }
    // No more lookups: one last refresh follows, for those made after the previous one.
    let fetches = google.fetches();
    seconds(100 * HOUR).await;
    assert_eq!(google.fetches(), fetches + 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_the_old_set_answers_while_a_new_one_is_fetched() {
    let google = Google::answering(Reply::kept(HOUR, set(&["old"])));
    google.knows("old").await.unwrap();
    // The last refresh is after 48 minutes.
    seconds(10 * HOUR).await;
    assert_eq!(google.fetches(), 2);
    google.now_answers(Reply::kept(HOUR, set(&["new"])));
    assert_eq!(google.knows("old").await, Ok(true));
    assert_eq!(google.knows("new").await, Ok(true));
    assert_eq!(google.knows("old").await, Ok(false));
    assert_eq!(google.fetches(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_known_key_never_waits_for_a_refresh() {
    let google = Google::answering(Reply::kept(HOUR, set(&["a"])));
    google.knows("a").await.unwrap();
    google.now_answers(Reply::Silence);
    for _ in 0..HOUR {
        let before = Instant::now();
        assert_eq!(google.knows("a").await, Ok(true));
        assert!(before.elapsed().is_zero());
        seconds(1).await;
    }
    assert!(google.cache.counts().failures > 2);
}

#[tokio::test(start_paused = true)]
async fn an_old_set_answers_for_a_day_if_it_cannot_be_refreshed() {
    let google = Google::answering(Reply::kept(HOUR, set(&["a"])));
    google.knows("a").await.unwrap();
    let mut failures = [
        Reply::status("500 Internal"),
        Reply::ok("<html>captive portal</html>"),
        Reply::ok(r#"{"keys":[]}"#),
        Reply::ok(vec![b' '; (256 << 10) + 1]),
        Reply::Silence,
        Reply::with("302 Found", "location: http://localhost/certs\r\n", ""),
        Reply::Bytes(Vec::new()),
    ]
    .into_iter()
    .cycle();
    for minute in 0..24 * 60 {
        google.now_answers(failures.next().unwrap());
        assert_eq!(google.knows("a").await, Ok(true), "in minute {minute}");
        // An expired set cannot show whether such a key exists by now.
        if minute == 59 {
            assert_eq!(google.knows("b").await, Ok(false));
        } else if minute == 66 {
            assert!(google.knows("b").await.is_err());
        }
        let elapsed = google.now().duration_since(at(START)).unwrap().as_secs();
        seconds((minute + 1) * 60 - elapsed).await;
    }
    assert!(google.knows("a").await.is_err());
    // One every five minutes from the 48th minute on, when the endpoint stays down.
    let failures = google.cache.counts().failures;
    assert!((270..=300).contains(&failures), "{failures}");
}

#[tokio::test(start_paused = true)]
async fn recovery_does_not_need_a_lookup() {
    let google = Google::answering(Reply::status("503 Unavailable"));
    assert!(google.knows("a").await.is_err());
    google.now_answers(Reply::ok(set(&["a"])));
    // Rejected at once, so that proofs neither wait nor cause fetches.
    assert!(google.knows("a").await.is_err());
    assert_eq!(google.fetches(), 1);
    seconds(6).await;
    assert_eq!(google.fetches(), 2);
    assert_eq!(google.knows("a").await, Ok(true));
    let counts = google.cache.counts();
    assert_eq!((counts.keys, counts.fetches, counts.failures), (1, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn retries_become_rarer_while_an_endpoint_is_down() {
    let google = Google::answering(Reply::status("500 Internal"));
    let mut begun = Vec::new();
    for second in 0..1_000 {
        assert!(google.knows("a").await.is_err());
        if google.fetches() > begun.len() {
            begun.push(second);
        }
        seconds(1).await;
    }
    // At first when retries are due, then as often as an unknown key may cause a fetch.
    assert_eq!(begun[..5], [0, 5, 15, 35, 75]);
    assert!(begun[4..].windows(2).all(|pair| pair[1] - pair[0] == 60), "{begun:?}");
    // One retry for the last lookup, and no further ones.
    seconds(100 * HOUR).await;
    assert!(google.fetches() <= begun.len() + 1);
}

#[tokio::test(start_paused = true)]
async fn the_lifetime_in_the_headers_is_bounded() {
    for (headers, refreshed_after) in [
        ("", 48 * 60),
        ("cache-control: max-age=0\r\n", 48),
        ("cache-control: no-store\r\n", 48),
        ("cache-control: max-age=1000\r\nage: 500\r\n", 400),
        ("cache-control: max-age=31536000\r\n", 24 * HOUR * 4 / 5),
    ] {
        let google = Google::answering(Reply::with("200 OK", headers, set(&["a"])));
        google.knows("a").await.unwrap();
        seconds(refreshed_after - 1).await;
        assert_eq!(google.fetches(), 1, "{headers}");
        seconds(2).await;
        assert_eq!(google.fetches(), 2, "{headers}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_or_forth_drops_no_key() {
    let google = Google::answering(Reply::kept(HOUR, set(&["a"])));
    google.knows("a").await.unwrap();
    let yesterday = google.now() - Duration::from_secs(24 * HOUR);
    assert!(google.cache.find_key("a", yesterday).await.unwrap().is_some());
    // Two days on, the set is too old: it is fetched, and dated by the cache's clock.
    let tomorrow = google.now() + Duration::from_secs(48 * HOUR);
    assert_eq!(google.cache.find_key("a", tomorrow).await, Err(Unavailable::new()));
    assert_eq!(google.knows("a").await, Ok(true));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_lookup_does_not_stop_the_fetch() {
    let google = Google::answering(Reply::Silence);
    let impatient = tokio::time::timeout(Duration::from_secs(1), google.knows("a"));
    assert!(impatient.await.is_err());
    // The same fetch, which ends after five seconds in all.
    let started = Instant::now();
    assert!(google.knows("a").await.is_err());
    assert_eq!(started.elapsed().as_secs(), 4);
    assert_eq!(google.fetches(), 1);
}

/// A client that hangs up must not keep the others from signing in
#[tokio::test(start_paused = true)]
async fn a_caller_that_is_dropped_during_the_fetch_does_not_lock_out_the_next() {
    let google = Google::answering(Reply::ok(set(&["a"])));
    // Dropped before the fetch has begun, and while it is under way.
    for polls in 0..2 {
        let mut lookup = Box::pin(google.knows("a"));
        for _ in 0..polls {
            assert!((&mut lookup).now_or_never().is_none(), "the fetch takes longer");
            tokio::task::yield_now().await;
        }
        drop(lookup);
    }
    assert_eq!(google.knows("a").await, Ok(true));
    assert_eq!(google.fetches(), 1);
}

/// A cache in a static outlives the runtimes of tests
#[test]
fn a_cache_goes_on_when_the_runtime_of_its_task_has_ended() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().start_paused(true).build().unwrap()
    };
    let first = runtime();
    let google = first.block_on(async { Google::answering(Reply::Silence) });
    first.block_on(async {
        // The fetch is under way when its runtime ends.
        let lookup = tokio::time::timeout(Duration::from_secs(1), google.knows("a"));
        assert!(lookup.await.is_err());
    });
    drop(first);
    google.now_answers(Reply::ok(set(&["a"])));
    let found = runtime().block_on(google.cache.find_key("a", at(START)));
    assert!(found.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn why_keys_cannot_be_fetched_is_kept() {
    let cloud = Cloud::generate();
    let google = Google::answering(Reply::status("503 Unavailable"));
    let token = cloud.sign(&Claims::new("1234567890", "a-project", "coder", at(START)).to_json());
    let proof = IdentityToken { token: token.as_bytes() };
    let verifier = Verifier::default();
    let verify = || verifier.verify_with(&proof, google.now(), &google.cache);
    // The first waits for the fetch, and the second is refused without one.
    for _ in 0..2 {
        let error = verify().await.unwrap_err();
        let causes = [error.source().unwrap(), error.source().unwrap().source().unwrap()];
        let texts = causes.map(ToString::to_string);
        assert_eq!(texts, ["the fetch failed", "the answer has status 503"]);
        assert!(causes[1].is::<FetchError>());
    }
    google.now_answers(Reply::ok(cloud.jwks_json()));
    seconds(6).await;
    verify().await.unwrap();
    // What failed before is not why a set is too old later.
    let later = google.now() + Duration::from_secs(48 * HOUR);
    assert_eq!(google.cache.find_key("a", later).await, Err(Unavailable::new()));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_cache_fetches_nothing() {
    let Google { world, cache, clock, .. } = Google::answering(Reply::kept(60, set(&["a"])));
    cache.find_key("a", clock()).await.unwrap();
    drop(cache);
    seconds(HOUR).await;
    assert_eq!(world.requests().len(), 1);
}
