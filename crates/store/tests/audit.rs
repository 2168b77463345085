//! Cursors, and housekeeping by several replicas
//!
//! `tests/ports.rs` has the rules of the log.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use app_audit::{Housekeeping, Journal, Page, Row, Settings};
use common::{entry, event, hour};
use testkit::Database;

#[test]
fn a_page_has_a_row_at_least_and_a_thousand_at_most() {
    assert_eq!((Page::first(0).limit(), Page::first(1_000_000).limit()), (1, 1_000));
}

#[test]
fn a_cursor_is_only_what_a_page_ended_with() {
    let row = Row::from(&entry(&event(1)).record);
    let cursor = row.cursor();
    let text = cursor.to_string();
    assert_eq!(text.parse(), Ok(cursor));
    assert_eq!((cursor.time(), cursor.id()), (row.time, row.id));
    let shorter = &text[1..];
    let upper = text.to_uppercase();
    let late = format!("ffffffffffffffff{}", &text[16..]);
    for none in ["", shorter, &format!("{text}0"), &upper, &late, &"é".repeat(24), &" ".repeat(48)]
    {
        assert!(none.parse::<app_audit::Cursor>().is_err(), "{none}");
    }
}

/// Replicas that tidy up at once leave each other's work alone
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_the_work() {
    let database = Database::new().await;
    database
        .sql(
            "INSERT INTO authd_audit_sessions (key, id, agent_id, started_at, updated_at)
             SELECT sha256(n::text::bytea), md5(n::text)::uuid, gen_random_uuid(), now(),
                    now() - interval '2 h'
             FROM generate_series(1, 5000) n;
             INSERT INTO authd_audit_log (id, session_id, time, user_id, organization_id,
                                          resource_type, resource_id, resource_target, action,
                                          status_code, request_id)
             SELECT id, id, now(), id, id, 'workspace_app', id, '', 'open', 200, id
             FROM authd_audit_sessions",
        )
        .await;
    let window = hour().close(true);
    let mut replicas = Vec::new();
    for _ in 0..4 {
        let store = database.store().await;
        replicas.push(tokio::spawn(async move {
            let mut ended = 0;
            loop {
                match store.end_sessions(window, 100).await.unwrap() {
                    0 => return ended,
                    some => ended += some,
                }
            }
        }));
    }
    let mut ended = 0;
    for replica in replicas {
        ended += replica.await.unwrap();
    }
    assert_eq!(ended, 5000);
    let closed =
        "SELECT count(*), count(DISTINCT session_id) FROM authd_audit_log WHERE action = 'close'";
    assert_eq!(database.sql(closed).await, ["5000|5000"]);
}

#[tokio::test]
async fn housekeeping_goes_on_by_itself() {
    let database = Database::new().await;
    let store = Arc::new(database.store().await);
    for batch in 0..5 {
        let visits: Vec<_> = (0..500).map(|n| entry(&event(500 * batch + n))).collect();
        store.note(&visits, hour()).await.unwrap();
    }
    database
        .sql(
            "UPDATE authd_audit_sessions SET updated_at = now() - interval '25 h';
             UPDATE authd_audit_log SET time = now();
             UPDATE authd_audit_log SET time = now() - interval '8 days'
             WHERE id IN (SELECT id FROM authd_audit_log LIMIT 2400)",
        )
        .await;
    let week = Duration::from_secs(7 * 86_400);
    let observer = Settings::default().observer;
    let housekeeping = Housekeeping::start(store, hour(), Some(week), observer);
    let left = "SELECT (SELECT count(*) FROM authd_audit_sessions),
                       (SELECT count(*) FROM authd_audit_log)";
    let mut seen = HashSet::new();
    for _ in 0..200 {
        let now = database.sql(left).await.remove(0);
        if now == "0|100" {
            drop(housekeeping);
            return;
        }
        seen.insert(now);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{seen:?}");
}
