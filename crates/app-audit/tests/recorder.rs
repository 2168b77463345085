//! What a recorder does with events, from the request to the journal

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use app_audit::{
    Act, Answer, Count, Entry, Event, Journal, Noted, Observer, Receipt, Record, RecordError,
    Recorder, Resource, Session, SessionKey, Settings, Window, parse_ip,
};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// A journal that can be unavailable, slow, or refuse some entries or all
#[derive(Debug, Default)]
struct Fake {
    sessions: Mutex<HashMap<SessionKey, (Session, u64)>>,
    rows: Mutex<Vec<Record>>,
    statements: AtomicU32,
    unavailable: AtomicBool,
    refuses_all: AtomicBool,
    takes: Mutex<Duration>,
}

#[derive(Debug, thiserror::Error, PartialEq)]
enum Fault {
    #[error("unavailable")]
    Unavailable,
    #[error("refused")]
    Refused,
}

impl Journal for Fake {
    type Error = Fault;

    async fn note(&self, entries: &[Entry], window: Window) -> Result<Vec<Answer>, Fault> {
        self.statements.fetch_add(1, Ordering::SeqCst);
        let takes = *self.takes.lock().unwrap();
        sleep(takes).await;
        if self.unavailable.load(Ordering::SeqCst) {
            return Err(Fault::Unavailable);
        }
        let refuses_all = self.refuses_all.load(Ordering::SeqCst);
        if refuses_all || entries.iter().any(|entry| entry.record.resource_target == "poison") {
            return Err(Fault::Refused);
        }
        let now =
            SystemTime::UNIX_EPOCH + Instant::now().duration_since(START.get().copied().unwrap());
        let mut sessions = self.sessions.lock().unwrap();
        let answers = entries.iter().map(|entry| {
            let fresh = entry.record.session;
            let last = sessions.get(&entry.key).copied();
            let (session, _) = Session::visit(last.map(|(last, _)| last), fresh, now, window);
            let began = session.id == fresh;
            let visits = last.filter(|_| !began).map_or(0, |(_, visits)| visits) + entry.visits;
            sessions.insert(entry.key, (session, visits));
            let noted = if began {
                self.rows.lock().unwrap().push(entry.record.clone());
                Noted::Began(fresh)
            } else {
                Noted::Continued(session.id)
            };
            Answer::new(noted, Some(now.duration_since(session.updated_at).unwrap()))
        });
        Ok(answers.collect())
    }

    async fn count(&self, counts: &[Count]) -> Result<(), Fault> {
        if self.unavailable.load(Ordering::SeqCst) {
            return Err(Fault::Unavailable);
        }
        let mut sessions = self.sessions.lock().unwrap();
        for count in counts {
            let (session, visits) = sessions.get_mut(&count.key).unwrap();
            assert_eq!(session.id, count.session);
            *visits += count.visits;
        }
        Ok(())
    }

    async fn end_sessions(&self, _: Window, _: u32) -> Result<u64, Fault> {
        unreachable!("no recorder ends sessions")
    }

    async fn forget(&self, _: Duration, _: u32) -> Result<u64, Fault> {
        unreachable!("no recorder forgets")
    }

    fn is_unavailable(error: &Fault) -> bool {
        *error == Fault::Unavailable
    }
}

impl Fake {
    fn rows(&self) -> usize {
        self.rows.lock().unwrap().len()
    }

    fn visits(&self) -> u64 {
        self.sessions.lock().unwrap().values().map(|(_, visits)| visits).sum()
    }
}

/// Keeps what it is called with
#[derive(Debug, Default)]
struct Log {
    unrecorded: Mutex<Vec<(Record, RecordError)>>,
    limited: Mutex<Vec<u64>>,
    failing: AtomicU32,
}

impl Observer for Log {
    fn unrecorded(&self, entry: &Entry, error: RecordError) {
        self.unrecorded.lock().unwrap().push((entry.record.clone(), error));
    }

    fn act_unrecorded(&self, act: &Act, error: RecordError) {
        panic!("{act:?}: {error}");
    }

    fn limited(&self, visits: u64) {
        self.limited.lock().unwrap().push(visits);
    }

    fn failing(&self, _: &dyn std::error::Error, _: usize) {
        self.failing.fetch_add(1, Ordering::SeqCst);
    }
}

static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();

struct Bench {
    journal: Arc<Fake>,
    log: Arc<Log>,
    recorder: Recorder,
}

impl Bench {
    fn new(settings: impl FnOnce(Settings) -> Settings) -> Self {
        START.get_or_init(|| Instant::now() - Duration::from_secs(1_000));
        let (journal, log) = (Arc::new(Fake::default()), Arc::new(Log::default()));
        let settings = settings(Settings::default().writers(1).observer(Arc::<Log>::clone(&log)));
        let recorder = Recorder::start(Arc::clone(&journal), settings);
        Self { journal, log, recorder }
    }

    fn record(&self, event: Event) -> Receipt {
        self.recorder.record(event).unwrap()
    }
}

/// The event, with some fields changed
fn with(mut event: Event, change: impl FnOnce(&mut Event)) -> Event {
    change(&mut event);
    event
}

fn event(device: u32) -> Event {
    let resource = Resource::Unknown("code".to_owned());
    let event = Event::new(SystemTime::UNIX_EPOCH, Uuid::from_u128(1), resource, 200);
    // Another user with each device, so that none has too much of the queue.
    let user = Uuid::from_u128(2 + u128::from(device));
    event.user(user).client(parse_ip("192.0.2.1"), &device.to_be_bytes())
}

fn denied(device: u32, ip: &str) -> Event {
    with(anonymous(device, ip), |it| {
        it.reason = Some("no");
        it.status = 404;
    })
}

fn anonymous(device: u32, ip: &str) -> Event {
    with(event(device), |it| {
        it.user = None;
        it.ip = parse_ip(ip);
    })
}

#[tokio::test(start_paused = true)]
async fn a_receipt_says_which_session_and_may_be_dropped() {
    let bench = Bench::new(|settings| settings);
    let Noted::Began(session) = bench.record(event(1)).await.unwrap() else { panic!() };
    assert_eq!(bench.record(event(1)).await, Ok(Noted::Continued(session)));
    drop(bench.record(event(2)));
    bench.recorder.drain(Duration::from_secs(10)).await;
    assert_eq!(bench.journal.rows(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_age_of_the_oldest_event_that_waits_is_known() {
    let bench = Bench::new(|settings| settings);
    assert_eq!(bench.recorder.stats().oldest, None);
    bench.journal.unavailable.store(true, Ordering::SeqCst);
    let first = bench.record(event(1));
    sleep(Duration::from_secs(40)).await;
    // The first event is with the writer, which retries it, and the second one is queued.
    let second = bench.record(event(2));
    sleep(Duration::from_secs(2)).await;
    let stats = bench.recorder.stats();
    assert_eq!((stats.queued, stats.oldest), (2, Some(Duration::from_secs(42))));
    bench.journal.unavailable.store(false, Ordering::SeqCst);
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(bench.recorder.stats().oldest, None);
}

#[tokio::test(start_paused = true)]
async fn repeats_cost_no_statement_and_are_counted() {
    let bench = Bench::new(|settings| settings);
    bench.record(event(1)).await.unwrap();
    for _ in 0..99 {
        bench.record(event(1)).await.unwrap();
    }
    assert_eq!(bench.journal.statements.load(Ordering::SeqCst), 1);
    assert_eq!(bench.recorder.stats().absorbed, 99);
    // The counts are delivered once they expire, without another visit.
    sleep(Duration::from_secs(62)).await;
    assert_eq!(bench.journal.visits(), 100);
    // The next visit is noted by the journal again.
    bench.record(event(1)).await.unwrap();
    bench.record(event(1)).await.unwrap();
    assert_eq!(bench.journal.statements.load(Ordering::SeqCst), 2);
    assert_eq!(bench.journal.rows(), 1);
    bench.recorder.drain(Duration::from_secs(1)).await;
    assert_eq!(bench.journal.visits(), 102);
}

#[tokio::test(start_paused = true)]
async fn a_visit_that_would_begin_a_session_is_never_absorbed() {
    let window = Window::default().stale(Duration::from_secs(90));
    let bench = Bench::new(|settings| settings.window(window));
    bench.record(event(1)).await.unwrap();
    // This recorder does not know another replica's visits, but the journal returns the
    // age of the last written visit: 50 seconds. After 10 more, visits are noted again.
    sleep(Duration::from_secs(50)).await;
    let other = Recorder::start(Arc::clone(&bench.journal), Settings::default().window(window));
    other.record(event(1)).unwrap().await.unwrap();
    sleep(Duration::from_secs(40)).await;
    assert!(matches!(other.record(event(1)).unwrap().await, Ok(Noted::Began(_))));
    assert_eq!(bench.journal.rows(), 2);
}

// scenario 142
#[tokio::test(start_paused = true)]
async fn without_a_stale_interval_nothing_is_absorbed() {
    let bench = Bench::new(|settings| settings.window(Window::default().stale(Duration::ZERO)));
    let receipts: Vec<_> = (0..5).map(|_| bench.record(event(1))).collect();
    for receipt in receipts {
        assert!(matches!(receipt.await, Ok(Noted::Began(_))));
    }
    bench.record(event(1)).await.unwrap();
    assert_eq!((bench.journal.rows(), bench.recorder.stats().absorbed), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn events_that_come_while_a_statement_is_under_way_share_the_next() {
    let bench = Bench::new(|settings| settings);
    *bench.journal.takes.lock().unwrap() = Duration::from_millis(10);
    let first = bench.record(event(0));
    sleep(Duration::from_millis(1)).await;
    let rest: Vec<_> = (1..300).chain(1..300).map(|device| bench.record(event(device))).collect();
    first.await.unwrap();
    let mut began = 0;
    for receipt in rest {
        began += u32::from(matches!(receipt.await.unwrap(), Noted::Began(_)));
    }
    assert_eq!((began, bench.journal.rows(), bench.journal.visits()), (299, 300, 599));
    assert_eq!(bench.journal.statements.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn writers_share_events_that_come_at_once() {
    let bench = Bench::new(|settings| settings.writers(2));
    *bench.journal.takes.lock().unwrap() = Duration::from_millis(10);
    let begun = Instant::now();
    let receipts: Vec<_> = (0..100).map(|device| bench.record(event(device))).collect();
    for receipt in receipts {
        receipt.await.unwrap();
    }
    assert_eq!(bench.journal.statements.load(Ordering::SeqCst), 2);
    assert!(begun.elapsed() < Duration::from_millis(20), "one after the other");
    // A single entry does not wait for others.
    let begun = Instant::now();
    bench.record(event(1_000)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(12), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_few_entries_wait_for_others_but_not_for_long() {
    let bench = Bench::new(|settings| settings.writers(3));
    *bench.journal.takes.lock().unwrap() = Duration::from_secs(60);
    let receipts: Vec<_> = (0..10).map(|device| bench.record(event(device))).collect();
    sleep(Duration::from_millis(2)).await;
    // Four and four are under way, and two are not worth a statement yet.
    assert_eq!(bench.journal.statements.load(Ordering::SeqCst), 2);
    sleep(Duration::from_millis(8)).await;
    assert_eq!(bench.journal.statements.load(Ordering::SeqCst), 3);
    drop(receipts);
}

// scenario 282
#[tokio::test(start_paused = true)]
async fn events_wait_while_the_journal_is_unavailable() {
    let bench = Bench::new(|settings| settings);
    bench.journal.unavailable.store(true, Ordering::SeqCst);
    let receipts: Vec<_> = (0..600).map(|device| bench.record(event(device))).collect();
    assert_eq!(bench.recorder.stats().queued, 600);
    sleep(Duration::from_secs(3600)).await;
    let tries = bench.recorder.stats().retried;
    assert!((17_000..18_010).contains(&tries), "five times a second in the end: {tries}");
    assert_eq!((bench.journal.rows(), bench.recorder.stats().queued), (0, 600));

    bench.journal.unavailable.store(false, Ordering::SeqCst);
    for receipt in receipts {
        assert!(matches!(receipt.await, Ok(Noted::Began(_))));
    }
    assert_eq!(bench.journal.rows(), 600);
    assert!(bench.log.unrecorded.lock().unwrap().is_empty());
    assert_eq!(bench.log.failing.load(Ordering::SeqCst), 60, "once a minute");
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_the_journal_refuses_does_not_delay_others() {
    let bench = Bench::new(|settings| settings);
    *bench.journal.takes.lock().unwrap() = Duration::from_millis(1);
    let poison =
        |device| with(event(device), |it| it.resource = Resource::Unknown("poison".to_owned()));
    let before: Vec<_> = (0..20).map(|device| bench.record(event(device))).collect();
    let refused: Vec<_> = (0..4).map(|device| bench.record(poison(device))).collect();
    let after: Vec<_> = (20..40).map(|device| bench.record(event(device))).collect();
    for receipt in before.into_iter().chain(after) {
        let noted = timeout(Duration::from_millis(500), receipt).await.unwrap();
        assert!(matches!(noted, Ok(Noted::Began(_))));
    }
    // The journal may be at fault, until it accepts others.
    sleep(Duration::from_secs(600)).await;
    assert_eq!(bench.recorder.stats().lost, 0);
    bench.record(event(99)).await.unwrap();
    for receipt in refused {
        assert_eq!(receipt.await, Err(RecordError::Refused));
    }
    let reported = bench.log.unrecorded.lock().unwrap();
    assert_eq!((reported.len(), bench.recorder.stats().lost), (4, 4));
    assert!(reported.iter().all(|(record, _)| record.resource_target == "poison"));
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_refuses_everything_loses_nothing() {
    let bench = Bench::new(|settings| settings);
    bench.journal.refuses_all.store(true, Ordering::SeqCst);
    let mut receipts: Vec<_> = (0..300).map(|device| bench.record(event(device))).collect();
    sleep(Duration::from_secs(600)).await;
    receipts.push(bench.record(event(1000)));
    bench.journal.refuses_all.store(false, Ordering::SeqCst);
    for receipt in receipts {
        assert!(matches!(receipt.await, Ok(Noted::Began(_))));
    }
    assert_eq!((bench.journal.rows(), bench.recorder.stats().lost), (301, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_an_event_and_reports_its_record() {
    let bench = Bench::new(|settings| settings.queue(300));
    bench.journal.unavailable.store(true, Ordering::SeqCst);
    for device in 0..300 {
        drop(bench.record(event(device)));
    }
    sleep(Duration::from_secs(1)).await;
    // Entries under way count as well. A repeat of a queued visit needs no room.
    assert_eq!(bench.recorder.record(event(1000)).unwrap_err(), RecordError::Full);
    drop(bench.record(event(299)));
    let reported = bench.log.unrecorded.lock().unwrap().remove(0);
    assert_eq!((reported.0.request_id, reported.1), (Uuid::from_u128(1), RecordError::Full));
    assert_eq!(bench.recorder.stats().lost, 1);
    bench.journal.unavailable.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(bench.journal.rows(), 300);
}

// scenario 285
#[tokio::test(start_paused = true)]
async fn a_full_queue_is_drained() {
    let bench = Bench::new(|settings| settings);
    *bench.journal.takes.lock().unwrap() = Duration::from_millis(100);
    for device in 0..10_000 {
        drop(bench.record(event(device)));
    }
    let drained = bench.recorder.drain(Duration::from_secs(10)).await;
    assert_eq!((drained.written, drained.lost), (10_000, 0));
    assert_eq!(bench.journal.rows(), 10_000);
    assert_eq!(bench.recorder.record(event(0)).unwrap_err(), RecordError::Stopped);
    assert_eq!(bench.log.unrecorded.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_drained_in_time_is_reported_as_whole_records() {
    let bench = Bench::new(|settings| settings);
    bench.journal.unavailable.store(true, Ordering::SeqCst);
    let receipts: Vec<_> = (0..1_000).map(|device| bench.record(event(device))).collect();
    let asked = Instant::now();
    let drained = bench.recorder.drain(Duration::from_secs(10)).await;
    assert_eq!(asked.elapsed().as_secs(), 10);
    assert_eq!((drained.written, drained.lost), (0, 1_000));
    for receipt in receipts {
        assert_eq!(receipt.await, Err(RecordError::Stopped));
    }
    let reported = bench.log.unrecorded.lock().unwrap();
    let sessions: std::collections::HashSet<_> = reported.iter().map(|(r, _)| r.session).collect();
    assert_eq!(sessions.len(), 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_is_dropped_writes_what_it_has() {
    let Bench { journal, recorder, .. } = Bench::new(|settings| settings);
    drop(recorder.record(event(1)).unwrap());
    drop(recorder);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(journal.rows(), 1);
    assert_eq!(Arc::strong_count(&journal), 1, "the writer has ended");
}

#[tokio::test(start_paused = true)]
async fn denials_of_one_address_are_limited_and_the_rest_are_counted_in_one_report() {
    let bench = Bench::new(|settings| settings);
    let mut limited = 0;
    for device in 0..100 {
        let recorded = bench.recorder.record(denied(device, "192.0.2.1"));
        limited += u32::from(recorded.is_err_and(|error| error == RecordError::Limited));
    }
    assert_eq!(limited, 40);
    // Not limited: another address, an allowed visit, and a session that is known.
    drop(bench.record(denied(0, "192.0.2.2")));
    drop(bench.record(event(500)));
    drop(bench.record(denied(0, "192.0.2.1")));
    // The addresses of one IPv6 network count as one.
    let of_network = |n: u32| denied(n, &format!("2001:db8::{n:x}"));
    let recorded = (0..100).filter(|n| bench.recorder.record(of_network(*n)).is_ok()).count();
    assert_eq!(recorded, 60);
    sleep(Duration::from_secs(10)).await;
    let earned = (0..100).filter(|n| bench.recorder.record(denied(1000 + n, "192.0.2.1")).is_ok());
    assert_eq!(earned.count(), 10);

    assert!(bench.log.limited.lock().unwrap().is_empty());
    sleep(Duration::from_secs(60)).await;
    assert_eq!(*bench.log.limited.lock().unwrap(), [170]);
    assert_eq!(bench.recorder.stats().limited, 170);
    assert!(bench.log.unrecorded.lock().unwrap().is_empty());
    let row = bench.journal.rows.lock().unwrap()[0].clone();
    assert_eq!((row.decision.as_str(), row.reason.as_deref()), ("deny", Some("no")));
}

#[tokio::test(start_paused = true)]
async fn the_table_of_addresses_is_bounded() {
    let bench = Bench::new(|settings| settings.queue(100_000));
    let address = |n: u32| format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255);
    for n in 0..20_000 {
        let _ = bench.recorder.record(denied(n, &address(n)));
    }
    // Addresses beyond the bound share one bucket.
    assert_eq!(bench.recorder.stats().limited, 20_000 - 10_000 - 60);
}

#[tokio::test(start_paused = true)]
async fn several_writers_note_everything_once_and_all_end() {
    let bench = Bench::new(|settings| settings.writers(3));
    *bench.journal.takes.lock().unwrap() = Duration::from_millis(10);
    let mut receipts = Vec::new();
    for n in 0..600 {
        receipts.push(bench.record(event(n % 200)));
        if n % 50 == 0 {
            sleep(Duration::from_millis(3)).await;
        }
    }
    let mut began = 0;
    for receipt in receipts {
        began += u32::from(matches!(receipt.await.unwrap(), Noted::Began(_)));
    }
    let left = bench.record(event(1_000));
    let begun = Instant::now();
    let drained = bench.recorder.drain(Duration::from_secs(60)).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "a writer did not end by itself");
    assert_eq!((drained.lost, left.await.is_ok()), (0, true));
    assert_eq!((began, bench.journal.rows(), bench.journal.visits()), (200, 201, 601));
}
