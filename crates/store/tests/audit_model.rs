//! Memory, PostgreSQL and the rule agree on any sequence of visits

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use app_audit::{Entry, Journal, Session, Visit, Window};
use common::{entry, event, hour};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use store::{MemoryStore, PgStore};
use testkit::Database;

/// Three devices come after gaps of seconds that are as often as not at an edge, and
/// sometimes several at once
fn visits() -> impl Strategy<Value = Vec<(u64, Vec<u32>)>> {
    let gap = prop_oneof![Just(0_u64), Just(59), Just(61), Just(3_598), Just(3_602), 0..8_000_u64];
    prop::collection::vec((gap, prop::collection::vec(0..3_u32, 1..5)), 1..12)
}

#[test]
fn memory_and_postgres_follow_the_rule() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (database, store) = runtime.block_on(async {
        let database = Database::new().await;
        let store = database.store().await;
        (database, store)
    });
    let mut runner =
        TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
    let windows = prop_oneof![
        Just(hour()),
        Just(hour().touch(Duration::ZERO)),
        Just(hour().touch(Duration::from_secs(7_200))),
        Just(hour().stale(Duration::ZERO)),
    ];
    runner
        .run(&(visits(), windows), |(visits, window)| {
            runtime.block_on(agree(&database, &store, visits, window));
            Ok(())
        })
        .unwrap();
}

async fn agree(database: &Database, store: &PgStore, visits: Vec<(u64, Vec<u32>)>, window: Window) {
    database.sql("TRUNCATE authd_audit_sessions, authd_audit_log").await;
    let clock = Arc::new(Mutex::new(SystemTime::UNIX_EPOCH));
    let memory = {
        let clock = Arc::clone(&clock);
        MemoryStore::with_clock(move || *clock.lock().unwrap())
    };
    let mut rule: [Option<Session>; 3] = [None; 3];
    for (gap, devices) in visits {
        *clock.lock().unwrap() += Duration::from_secs(gap);
        let now = *clock.lock().unwrap();
        let back = "UPDATE authd_audit_sessions SET updated_at = updated_at -";
        database.sql(&format!("{back} interval '{gap} s'")).await;

        let entries: Vec<Entry> = devices.iter().map(|device| entry(&event(*device))).collect();
        let expected: Vec<_> = devices
            .iter()
            .zip(&entries)
            .map(|(device, entry)| {
                let last = &mut rule[usize::try_from(*device).unwrap()];
                let (session, visit) = Session::visit(*last, entry.record.session, now, window);
                *last = Some(session);
                (session.id, visit == Visit::Began)
            })
            .collect();
        for answers in [memory.note(&entries, window).await, store.note(&entries, window).await] {
            let noted = answers.unwrap().into_iter().map(|answer| {
                let began = matches!(answer.noted, app_audit::Noted::Began(_));
                (answer.noted.session(), began)
            });
            assert_eq!(noted.collect::<Vec<_>>(), expected);
        }
    }
}
