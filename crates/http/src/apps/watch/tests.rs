use std::convert::Infallible;

use app_authz::credential::{ApiKey, KeyHolder, NewKey, OtherSessions, SessionToken, Sessions};

use tokio::time::sleep;

use super::*;
use crate::metrics::Exposition;

fn watch() -> SessionWatch {
    SessionWatch::new(TOKEN_LIFETIME, Metrics::new())
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn good(until: SystemTime) -> Watched {
    Watched { until, asked: None, state: State::Good }
}

#[test]
fn memory_is_bounded_and_what_does_not_fit_is_counted() {
    let watch = watch();
    for number in 0..MAX_SESSIONS {
        assert!(watch.insert(&number.to_string(), good(at(60))));
    }
    assert!(!watch.insert("one more", good(at(60))));
    assert!(watch.insert("7", good(at(60))), "it is there already");
    assert_eq!(watch.known("one more"), None);
    let metrics = watch.metrics.encode(Exposition::OpenMetrics).unwrap();
    assert!(metrics.contains("authd_session_checks_total{outcome=\"unwatched\"} 1"));
    // Once their tokens have expired, sessions are forgotten.
    assert!(watch.write().all(at(61), Instant::now()).is_empty());
    assert!(watch.insert("one more", good(at(90))));
}

#[test]
fn each_session_is_asked_about_in_turn() {
    let watch = watch();
    let all = 2 * MAX_ASKED + 1;
    for number in 0..all {
        watch.insert(&number.to_string(), good(at(60)));
    }
    let start = Instant::now();
    let mut asked = std::collections::HashSet::new();
    for second in 0..3 {
        let now = start + Duration::from_secs(second);
        let ids = watch.write().all(at(second), now);
        assert_eq!(ids.len(), MAX_ASKED);
        asked.extend(ids);
    }
    assert_eq!(asked.len(), all);
    let unknown = Watched { until: at(60), asked: None, state: State::Unknown };
    watch.insert("first", unknown);
    assert_eq!(&*watch.write().all(at(3), start + INTERVAL * 3)[0], "first");
}

#[test]
fn what_has_ended_is_not_asked_about_again() {
    let watch = watch();
    watch.insert("ended", good(at(60)));
    watch.insert("good", good(at(60)));
    watch.note::<Infallible>(&["ended", "good"], Ok(vec!["ended".to_owned(), "other".to_owned()]));
    assert_eq!(watch.known("ended"), Some(State::Ended));
    assert_eq!(watch.known("other"), None);
    assert_eq!(watch.write().all(at(1), Instant::now()), ["good".into()]);
    watch.end(&["good".to_owned()], at(1));
    assert!(watch.write().all(at(2), Instant::now()).is_empty());
}

/// Sessions that end at the word of a test, and are told after `took`
#[derive(Default)]
struct Ends {
    ended: std::sync::Mutex<Vec<String>>,
    notices: Option<Notify>,
    took: Duration,
    asked: std::sync::atomic::AtomicUsize,
}

impl Ends {
    fn end(&self, id: &str) {
        self.ended.lock().unwrap().push(id.to_owned());
        if let Some(notices) = &self.notices {
            notices.notify_one();
        }
    }
}

impl Sessions for Ends {
    type Error = Infallible;

    async fn holders(&self, _: &[SessionToken]) -> Result<Vec<KeyHolder>, Infallible> {
        Ok(Vec::new())
    }

    async fn insert(&self, _: &NewKey<'_>) -> Result<(), Infallible> {
        Ok(())
    }

    async fn log_out(&self, _: &ApiKey, _: OtherSessions) -> Result<Vec<String>, Infallible> {
        Ok(Vec::new())
    }

    async fn ended(&self, ids: &[&str], _: SystemTime) -> Result<Vec<String>, Infallible> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        sleep(self.took).await;
        let mut ended = self.ended.lock().unwrap().clone();
        ended.retain(|id| ids.contains(&&**id));
        Ok(ended)
    }

    async fn next_end(&self) -> Result<(), Infallible> {
        match &self.notices {
            Some(notices) => notices.notified().await,
            None => pending().await,
        }
        Ok(())
    }
}

fn running(ends: Ends) -> (Arc<SessionWatch>, Arc<Ends>) {
    let (watch, ends) = (Arc::new(watch()), Arc::new(ends));
    let clock: Clock = Arc::new(|| at(0));
    tokio::spawn(Arc::clone(&watch).run(Arc::clone(&ends), clock));
    (watch, ends)
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_is_found_in_a_second_and_a_notice_makes_it_a_tenth() {
    for (notices, limit) in [(None, 1_000), (Some(Notify::new()), 100)] {
        let (watch, ends) = running(Ends { notices, ..Ends::default() });
        for (n, pause) in [0, 10, 430, 999, 2_500].into_iter().enumerate() {
            let id = n.to_string();
            assert!(watch.insert(&id, good(at(60))));
            sleep(Duration::from_millis(pause)).await;
            ends.end(&id);
            let end = Instant::now();
            while watch.known(&id) != Some(State::Ended) {
                sleep(Duration::from_millis(1)).await;
            }
            let took = end.elapsed().as_millis();
            assert!(took <= limit + 2, "{took} ms after the end, at most {limit}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn notices_without_end_make_the_database_work_a_fifth_of_the_time() {
    let took = Duration::from_millis(100);
    let ends = Ends { notices: Some(Notify::new()), took, ..Ends::default() };
    let (watch, ends) = running(ends);
    assert!(watch.insert("it stays", good(at(60))));
    for _ in 0..1_000 {
        ends.end("another");
        sleep(Duration::from_millis(10)).await;
    }
    let asked = ends.asked.load(Ordering::Relaxed);
    assert!((15..=21).contains(&asked), "{asked} questions in ten seconds");
}
