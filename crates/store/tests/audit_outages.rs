//! What becomes of visits when the database, its connections or the process go away

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use app_audit::{Answer, Count, Entry, Event, Journal, Noted, Recorder, Settings, UserId, Window};
use common::{event, with};
use store::{Error, Options, PgStore};
use testkit::{Database, OwnServer};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use uuid::Uuid;

/// A visit by another user with each device, so that none of them has too much of the queue
fn of_own_user(device: u32) -> Event {
    with(event(device), |it| it.user = Some(UserId(Uuid::from_u128(100 + u128::from(device)))))
}

/// Visits without end, each by another device, two hundred a second
struct Load {
    visitors: Vec<JoinHandle<()>>,
    visits: Arc<AtomicU32>,
    over: Arc<AtomicBool>,
}

impl Load {
    fn start(recorder: &Arc<Recorder>) -> Self {
        let (visits, over) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let visitors = (0..8).map(|visitor| {
            let recorder = Arc::clone(recorder);
            let (visits, over) = (Arc::clone(&visits), Arc::clone(&over));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let visit = visits.fetch_add(1, Ordering::Relaxed);
                    let receipt = recorder.record(of_own_user(visit)).unwrap();
                    match visitor % 2 {
                        // Some go away at once or in the middle of it.
                        0 => drop(tokio::time::timeout(Duration::from_millis(5), receipt).await),
                        _ => drop(receipt),
                    }
                    sleep(Duration::from_millis(40)).await;
                }
            })
        });
        Self { visitors: visitors.collect(), visits, over }
    }

    /// How many visits there were
    async fn end(self) -> u32 {
        self.over.store(true, Ordering::Relaxed);
        for visitor in self.visitors {
            visitor.await.unwrap();
        }
        self.visits.load(Ordering::Relaxed)
    }
}

async fn recorder(database: &Database) -> Arc<Recorder> {
    let store = PgStore::connect(database.url(), &Options::default()).await.unwrap();
    Arc::new(Recorder::start(Arc::new(store), Settings::default()))
}

/// Each visit is there once, and nothing else is
async fn assert_complete(database: &Database, visits: u32) {
    let rows = "SELECT count(*), count(DISTINCT user_agent), count(DISTINCT session_id),
                       (SELECT count(*) FROM authd_audit_sessions) FROM authd_audit_log";
    assert_eq!(database.sql(rows).await, [format!("{visits}|{visits}|{visits}|{visits}")]);
}

// scenario 282
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_the_database_is_away_for_half_a_minute() {
    let server = OwnServer::start().await;
    let database = server.database().await;
    let recorder = recorder(&database).await;
    let load = Load::start(&recorder);
    sleep(Duration::from_secs(1)).await;
    server.pause().await;
    sleep(Duration::from_secs(30)).await;
    assert!(recorder.stats().queued > 1_000);
    server.resume().await;
    sleep(Duration::from_secs(1)).await;

    let visits = load.end().await;
    let drained = recorder.drain(Duration::from_secs(20)).await;
    assert_eq!((drained.lost, recorder.stats().queued), (0, 0));
    assert!(recorder.stats().retried > 0);
    assert_complete(&database, visits).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_connections_are_ended() {
    let database = Database::new().await;
    let recorder = recorder(&database).await;
    let load = Load::start(&recorder);
    for _ in 0..40 {
        sleep(Duration::from_millis(50)).await;
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                      WHERE datname = current_database() AND pid <> pg_backend_pid() LIMIT 1";
        database.sql(others).await;
    }
    let visits = load.end().await;
    let drained = recorder.drain(Duration::from_secs(20)).await;
    assert_eq!(drained.lost, 0);
    assert_complete(&database, visits).await;
}

/// A journal whose connection breaks between the commit and the answer, every other time
struct Breaking {
    store: PgStore,
    calls: AtomicU32,
}

impl Journal for Breaking {
    type Error = Error;

    async fn note(&self, entries: &[Entry], window: Window) -> Result<Vec<Answer>, Error> {
        let answers = self.store.note(entries, window).await?;
        if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            return Err(Error::Unavailable { reason: "the answer was lost".into() });
        }
        Ok(answers)
    }

    async fn count(&self, counts: &[Count]) -> Result<(), Error> {
        self.store.count(counts).await
    }

    async fn end_sessions(&self, window: Window, at_most: u32) -> Result<u64, Error> {
        self.store.end_sessions(window, at_most).await
    }

    async fn forget(&self, keep: Duration, at_most: u32) -> Result<u64, Error> {
        self.store.forget(keep, at_most).await
    }

    fn is_unavailable(error: &Error) -> bool {
        error.is_unavailable()
    }
}

#[tokio::test]
async fn what_was_committed_before_its_connection_broke_is_not_written_twice() {
    for window in [Window::default(), Window::default().stale(Duration::ZERO)] {
        let database = Database::new().await;
        let journal = Breaking { store: database.store().await, calls: AtomicU32::new(0) };
        let recorder = Recorder::start(Arc::new(journal), Settings::default().window(window));
        let receipts: Vec<_> = (0..20).map(|n| recorder.record(event(n)).unwrap()).collect();
        for receipt in receipts {
            assert!(matches!(receipt.await, Ok(Noted::Began(_))));
        }
        assert!(recorder.stats().retried > 0);
        assert_complete(&database, 20).await;
    }
}

// scenario 285
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_is_written_within_the_drain_limit() {
    let database = Database::new().await;
    let recorder = recorder(&database).await;
    let mut taken = 0;
    for device in 0..20_000 {
        taken += u32::from(recorder.record(of_own_user(device)).is_ok());
    }
    assert!(taken >= 10_000, "{taken}");
    let drained = recorder.drain(Duration::from_secs(10)).await;
    assert_eq!((drained.lost, recorder.stats().queued), (0, 0));
    assert_complete(&database, taken).await;
}

// scenario 286
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_a_receipt_outlives_the_process_and_little_else_is_lost() {
    let database = Database::new().await;
    let store = Arc::new(database.store().await);
    let recorder = Recorder::start(store, Settings::default());
    let mut waiting = Vec::new();
    for device in 0..200 {
        waiting.push(recorder.record(event(device)).unwrap());
    }
    for receipt in waiting {
        receipt.await.unwrap();
    }
    for device in 200..300 {
        drop(recorder.record(event(device)).unwrap());
    }
    // Forgotten with all it holds, as when the process is killed. What had been
    // acknowledged is there; of the rest, at most what was queued is not.
    let queued = recorder.stats().queued;
    let written: u32 =
        database.sql("SELECT count(*) FROM authd_audit_log").await[0].parse().unwrap();
    assert!(written >= 200);
    assert!(usize::try_from(written).unwrap() + queued >= 300, "{written} and {queued}");
}

/// A storm of other writes has no connection to spare, and records are written
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_writes_do_not_keep_records_waiting() {
    let database = Database::new().await;
    let options =
        Options::default().write_connections(1).statement_timeout(Duration::from_secs(20));
    let store = Arc::new(PgStore::connect(database.url(), &options).await.unwrap());
    let locked = database.hold("LOCK TABLE organizations").await;
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            let mut fleet = store::fleet::Fleet::default();
            fleet.organization("acme");
            store.load(&fleet).await.unwrap();
        }
    });
    locked.wait_for_other().await;
    let recorder = Recorder::start(Arc::clone(&store), Settings::default());
    recorder.record(event(1)).unwrap().await.unwrap();
    assert!(!writer.is_finished());
    locked.commit().await;
    writer.await.unwrap();
}

// scenario 276
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_recorders_agree_on_every_session() {
    let database = Database::new().await;
    let recorders = [recorder(&database).await, recorder(&database).await];
    for round in 0..200 {
        let visits: Vec<_> = (0..64)
            .map(|n| {
                let recorder = Arc::clone(&recorders[n % 2]);
                tokio::spawn(async move { recorder.record(event(round)).unwrap().await.unwrap() })
            })
            .collect();
        let mut began = 0;
        for visit in visits {
            began += u32::from(matches!(visit.await.unwrap(), Noted::Began(_)));
        }
        assert_eq!(began, 1, "round {round}");
    }
    for recorder in recorders {
        recorder.drain(Duration::from_secs(10)).await;
    }
    let rows =
        "SELECT count(*), (SELECT sum(visits) FROM authd_audit_sessions) FROM authd_audit_log";
    assert_eq!(database.sql(rows).await, ["200|12800"]);
}

// scenario 289
#[tokio::test]
async fn a_visit_that_logs_in_is_two_rows() {
    let database = Database::new().await;
    let recorder = recorder(&database).await;
    let user = event(1).user;
    let nobody = with(event(1), |it| {
        it.user = None;
        it.status = 303;
        it.reason = Some("signed_out");
    });
    for event in [nobody, with(event(1), |it| it.user = user)] {
        recorder.record(event).unwrap().await.unwrap();
    }
    let rows =
        "SELECT status_code, user_id, decision FROM authd_audit_log ORDER BY status_code DESC";
    let [nil, id] = [uuid::Uuid::nil(), user.unwrap().0];
    assert_eq!(database.sql(rows).await, [format!("303|{nil}|deny"), format!("200|{id}|allow")]);
}

/// A read-only database is away as far as the audit is concerned
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visits_wait_while_the_database_is_read_only() {
    let server = OwnServer::start().await;
    let database = server.database().await;
    let recorder = recorder(&database).await;
    let record = |device| drop(recorder.record(event(device)).unwrap());
    record(0);
    while recorder.stats().written == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    database.set_read_only(true).await;
    for device in 1..=200 {
        record(device);
    }
    while recorder.stats().retried < 20 {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((recorder.stats().lost, recorder.stats().written), (0, 1));
    database.set_read_only(false).await;
    let drained = recorder.drain(Duration::from_secs(20)).await;
    assert_eq!((drained.written, drained.lost), (200, 0));
    assert_complete(&database, 201).await;
}
