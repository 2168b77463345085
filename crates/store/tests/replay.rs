//! Visits that a spool file kept come into the audit log once, however often they are replayed

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and has a clock"
)]

mod common;

use std::time::Duration;

use app_audit::{Entry, Event, Journal, Window};
use common::{entry, event, hour, with};
use store::PgStore;
use testkit::Database;

/// A visit by a device, so many seconds after the first
fn visit(device: u32, seconds: u64) -> Entry {
    let event = event(device);
    let time = event.time + Duration::from_secs(seconds);
    entry(&with(event, |it| it.time = time))
}

async fn table(database: &Database) -> (Vec<String>, Vec<String>) {
    let rows =
        "SELECT user_agent, extract(epoch FROM time)::bigint - 1795219200 FROM authd_audit_log
                ORDER BY user_agent, time";
    let sessions = "SELECT extract(epoch FROM started_at)::bigint - 1795219200, visits
                    FROM authd_audit_sessions WHERE started_at < now() - interval '1 hour'
                    OR started_at > now() + interval '1 hour' ORDER BY 1, 2";
    (database.sql(rows).await, database.sql(sessions).await)
}

async fn replayed(store: &PgStore, entries: &[Entry], window: Window) -> u64 {
    store.replay(entries, window).await.unwrap()
}

#[tokio::test]
async fn events_become_rows_and_sessions_of_their_time_once() {
    let database = Database::new().await;
    let store = database.store().await;
    // Device 2 comes again within its session, and a day later.
    let entries = [visit(1, 0), visit(2, 10), visit(2, 20), visit(3, 30), visit(2, 86_400)];
    assert_eq!(replayed(&store, &entries, hour()).await, 4);
    let rows = ["curl/8 1|0", "curl/8 2|10", "curl/8 2|86400", "curl/8 3|30"];
    let after = table(&database).await;
    assert_eq!(after.0, rows);
    assert_eq!(after.1, ["0|1", "10|2", "30|1"]);

    for again in [&entries[..], &entries[..2], &entries[3..]] {
        assert_eq!(replayed(&store, again, hour()).await, 0);
        assert_eq!(table(&database).await, after);
    }
    // A visit of now begins a session of its own.
    store.note(&[entry(&event(1))], hour()).await.unwrap();
    assert_eq!(database.sql("SELECT count(*) FROM authd_audit_log").await, ["5"]);
    assert_eq!(replayed(&store, &entries, hour()).await, 0);
}

#[tokio::test]
async fn what_was_noted_after_all_is_left_out() {
    let database = Database::new().await;
    let store = database.store().await;
    let now = |event: Event| with(event, |it| it.time = std::time::SystemTime::now());
    let noted = entry(&now(event(1)));
    store.note(std::slice::from_ref(&noted), hour()).await.unwrap();
    let continued = entry(&now(event(1)));
    let other = entry(&now(event(2)));
    for added in [1, 0] {
        let entries = [noted.clone(), continued.clone(), other.clone()];
        assert_eq!(replayed(&store, &entries, hour()).await, added);
        let count = "SELECT (SELECT count(*) FROM authd_audit_log), count(*), sum(visits)
                     FROM authd_audit_sessions";
        assert_eq!(database.sql(count).await, ["2|2|2"]);
    }
}

#[tokio::test]
async fn each_visit_is_a_row_where_each_is_a_session() {
    let database = Database::new().await;
    let store = database.store().await;
    let window = Window::default().stale(Duration::ZERO);
    let entries: Vec<_> = (0..600).map(|n| visit(n % 2, n.into())).collect();
    assert_eq!(replayed(&store, &entries, window).await, 600);
    assert_eq!(replayed(&store, &entries, window).await, 0);
    assert_eq!(database.sql("SELECT count(*) FROM authd_audit_log").await, ["600"]);
}

#[tokio::test]
async fn many_events_at_once_from_two_processes() {
    let database = Database::new().await;
    let (one, two) = (database.store().await, database.store().await);
    let entries: Vec<_> = (0..1_000).map(|n| visit(n, n.into())).collect();
    let (first, second) =
        tokio::join!(replayed(&one, &entries, hour()), replayed(&two, &entries, hour()));
    assert_eq!(first + second, 1_000);
    assert_eq!(database.sql("SELECT count(*) FROM authd_audit_log").await, ["1000"]);
    assert_eq!(database.sql("SELECT count(*) FROM authd_audit_sessions").await, ["1000"]);
}
