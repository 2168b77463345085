//! What a flood of visits leaves in the log, and what it leaves of others' visits

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use app_audit::{Event, RecordError, Recorder, Settings};
use common::{Log, Table, visit, with};
use tokio::time::sleep;
use uuid::Uuid;

const HONEST: u128 = 7;

/// Makes a visit from its number
type Flood = fn(u32) -> Event;

struct Bench {
    table: Arc<Table>,
    log: Arc<Log>,
    recorder: Recorder,
}

impl Bench {
    fn new(table: Table) -> Self {
        let (table, log) = (Arc::new(table), Arc::new(Log::default()));
        let settings = Settings::default().observer(Arc::<Log>::clone(&log));
        let recorder = Recorder::start(Arc::clone(&table), settings);
        Self { table, log, recorder }
    }

    fn record(&self, event: Event) -> Result<(), RecordError> {
        self.recorder.record(event).map(drop)
    }
}

#[tokio::test(start_paused = true)]
async fn an_honest_visit_is_recorded_in_every_flood_while_the_table_is_locked() {
    // Each flood by what its visit number `n` is.
    let floods: [(&str, Flood); 6] = [
        ("one address", |n| anonymous([192, 0, 2, 1], n)),
        ("any address", |n| anonymous(n.to_be_bytes(), n)),
        ("any address, denied", |n| {
            with(anonymous(n.to_be_bytes(), n), |it| it.reason = Some("no"))
        }),
        ("one user", |n| visit(8, n)),
        ("one user, denied", |n| with(visit(8, n), |it| it.reason = Some("no"))),
        ("three users", |n| visit(u128::from(8 + n % 3), n)),
    ];
    for (name, flood) in floods {
        let bench = Bench::new(Table::locked());
        for n in 0..30_000 {
            let _ = bench.record(flood(n));
            if n % 200 == 0 {
                bench.record(visit(HONEST, n)).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
            if n % 1_000 == 0 {
                sleep(Duration::from_millis(100)).await;
            }
        }
        bench.table.is_locked.store(false, Ordering::SeqCst);
        sleep(Duration::from_secs(1)).await;
        let rows = bench.table.rows.lock().unwrap();
        let honest = rows.iter().filter(|row| row.record.user_id == Uuid::from_u128(HONEST));
        assert_eq!(honest.count(), 150, "{name}");
        let others = rows.len() - 150;
        assert!(others <= 8_000, "{name}: {others} rows");
    }
}

#[tokio::test(start_paused = true)]
async fn one_source_takes_a_quarter_of_the_queue_and_all_strangers_take_half() {
    let bench = Bench::new(Table::locked());
    let taken =
        |event: fn(u32) -> Event| (0..9_000).filter(|n| bench.record(event(*n)).is_ok()).count();
    assert_eq!(taken(|n| anonymous(n.to_be_bytes(), n)), 5_000);
    assert_eq!(taken(|n| visit(1, n)), 1_250, "a quarter of what is left");
    // Each takes a smaller part, and the last one still finds room.
    for user in 2..30 {
        assert!(bench.record(visit(user, 0)).is_ok());
    }
    let stats = bench.recorder.stats();
    // Strangers cannot fill what the observer writes, so their visits are only counted.
    assert_eq!((stats.limited, stats.lost), (4_000, 7_750));
    assert_eq!(bench.log.unrecorded.lock().unwrap().len(), 7_750);
    sleep(Duration::from_secs(61)).await;
    assert_eq!(*bench.log.limited.lock().unwrap(), [4_000], "one report");
}

#[tokio::test(start_paused = true)]
async fn allowed_visits_of_one_stranger_are_limited_and_those_of_users_are_not() {
    let bench = Bench::new(Table::default());
    let mut users = 0;
    for n in 0..1_000 {
        let outcome = bench.record(anonymous([192, 0, 2, 1], n));
        assert_eq!(outcome, if n < 60 { Ok(()) } else { Err(RecordError::Limited) });
        // The same visit again belongs to a session that is known.
        assert_eq!(bench.record(anonymous([192, 0, 2, 1], 0)), Ok(()));
        users += u32::from(bench.record(visit(1, n)).is_ok());
        if n % 100 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    assert_eq!(users, 1_000);
    assert_eq!(bench.record(anonymous([192, 0, 2, 2], 0)), Ok(()));
    sleep(Duration::from_secs(61)).await;
    assert_eq!(*bench.log.limited.lock().unwrap(), [940], "one report");
    assert_eq!(bench.recorder.stats().limited, 940);
    assert_eq!(bench.table.rows.lock().unwrap().len(), 60 + 1_000 + 1);
    assert!(bench.log.unrecorded.lock().unwrap().is_empty());
}

/// A script that tries all apps under one session is limited where it runs, and nowhere else
#[tokio::test(start_paused = true)]
async fn denied_visits_of_a_user_are_limited_for_each_address() {
    let bench = Bench::new(Table::default());
    let denied = |ip: [u8; 4], n| {
        let event = with(visit(1, n), |it| {
            it.reason = Some("no");
            it.ip = Some(ip.into());
        });
        bench.record(event)
    };
    for n in 0..100 {
        let expected = if n < 60 { Ok(()) } else { Err(RecordError::Limited) };
        assert_eq!(denied([192, 0, 2, 1], n), expected, "{n}");
        assert_eq!(denied((1_000 + n).to_be_bytes(), n), Ok(()));
    }
}

/// An allowed visit of a visitor who is not signed in
fn anonymous(ip: [u8; 4], device: u32) -> Event {
    with(visit(0, device), |it| {
        it.user = None;
        it.ip = Some(ip.into());
    })
}
