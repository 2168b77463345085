//! Memory, PostgreSQL and the rule agree on any sequence of visits

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use app_audit::{Entry, Journal, Session, Visit, Window};
use common::{entry, event, hour};
use proptest::prelude::*;
use store::{MemoryStore, PgStore};
use testkit::Database;

/// Three devices visit after gaps of seconds, of which half are just before or after the end
/// of a window, and sometimes several visit at once
///
/// The database's clock keeps running during the test, so it may be some seconds ahead of the
/// clock of the other two. All gaps are therefore multiples of 13 seconds: sums of them are at
/// least eight seconds before the end of a window, or after it.
fn visits() -> impl Strategy<Value = Vec<(u64, Vec<u32>)>> {
    let steps = prop_oneof![Just(0_u64), Just(4), Just(5), Just(276), Just(277), 0..615_u64];
    let gap = steps.prop_map(|steps| 13 * steps);
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
    let windows = prop_oneof![
        Just(hour()),
        Just(hour().touch(Duration::ZERO)),
        Just(hour().touch(Duration::from_secs(7_200))),
        Just(hour().stale(Duration::ZERO)),
    ];
    proptest!(ProptestConfig::with_cases(40), |(visits in visits(), window in windows)| {
        runtime.block_on(agree(&database, &store, visits, window));
    });
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
