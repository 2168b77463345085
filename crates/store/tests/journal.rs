//! What a journal over PostgreSQL does beside the published rules: replicas, rows and statements
//!
//! `tests/ports.rs` has the rules.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use app_audit::{Count, Entry, Journal, Noted, Resource, Window};
use common::{entries, entry, event, hour, with};
use store::{Options, PgStore};
use testkit::Database;
use uuid::Uuid;

// scenario 276, 277
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_first_visits_over_two_replicas_one_is_recorded() {
    let database = Database::new().await;
    let options = Options::default().audit_connections(8);
    let replicas = [
        Arc::new(PgStore::connect(database.url(), &options).await.unwrap()),
        Arc::new(PgStore::connect(database.url(), &options).await.unwrap()),
    ];
    for round in 0..200 {
        // All of the same moment, as far as they know.
        let event = event(round);
        let visits: Vec<_> = (0..64)
            .map(|n| {
                let (replica, entry) = (Arc::clone(&replicas[n % 2]), entry(&event));
                tokio::spawn(async move { note(&*replica, &[entry], hour()).await })
            })
            .collect();
        let mut began = 0;
        let mut sessions = Vec::new();
        for visit in visits {
            let noted = visit.await.unwrap()[0];
            began += u32::from(matches!(noted, Noted::Began(_)));
            sessions.push(noted.session());
        }
        sessions.dedup();
        assert_eq!((began, sessions.len()), (1, 1), "round {round}");
    }
    let rows = database
        .sql("SELECT count(*), count(DISTINCT session_id), (SELECT sum(visits) FROM authd_audit_sessions) FROM authd_audit_log")
        .await;
    assert_eq!(rows, ["200|200|12800"]);
}

#[tokio::test]
async fn a_batch_of_old_rows_begins_where_a_full_one_ended() {
    let database = Database::new().await;
    let store = database.store().await;
    let days_ago = async |days: std::ops::RangeInclusive<u32>| {
        let (first, last) = days.into_inner();
        let rows = "INSERT INTO authd_audit_log (id, time, user_id, organization_id, resource_type,
                        resource_id, resource_target, action, status_code, request_id)
                    SELECT id, now() - n * interval '1 day', id, id, 'workspace_app', id, '', 'open',
                           200, id
                    FROM (SELECT n, gen_random_uuid() AS id";
        database.sql(&format!("{rows} FROM generate_series({first}, {last}) n) rows")).await;
    };
    let forget = async || store.forget(Duration::from_secs(86_400), 2).await.unwrap();
    days_ago(2..=4).await;
    assert_eq!(forget().await, 2, "the oldest");
    days_ago(9..=9).await;
    assert_eq!(forget().await, 1, "the rest of what was there");
    assert_eq!(forget().await, 1, "from the oldest again");
}

#[tokio::test]
async fn a_clock_that_was_set_back_continues_sessions() {
    let database = Database::new().await;
    let store = database.store().await;
    let first = entry(&event(1));
    note(&store, std::slice::from_ref(&first), hour()).await;
    let future = "UPDATE authd_audit_sessions SET updated_at = now() + interval '2 h'";
    database.sql(future).await;
    let continued = [Noted::Continued(first.record.session)];
    assert_eq!(note(&store, &[entry(&event(1))], hour()).await, continued);
}

/// Statements read the clock once, so a function in place of `now` can stand still
#[tokio::test]
async fn exactly_stale_is_stale() {
    let database = Database::new().await;
    let store = database.store().await;
    let first = entry(&event(1));
    let at = |second: u64| {
        format!(
            "CREATE SCHEMA IF NOT EXISTS still;
             CREATE OR REPLACE FUNCTION still.now() RETURNS timestamptz LANGUAGE sql STABLE AS
             $$ SELECT '2026-11-21 00:00:00Z'::timestamptz + interval '{second} s' $$"
        )
    };
    database.sql(&at(0)).await;
    let name = database.sql("SELECT current_database()").await.remove(0);
    let path = format!("ALTER DATABASE {name} SET search_path = still, public, pg_catalog");
    database.sql(&path).await;
    // Its connections are opened when they are first needed: from now on.
    let begin = note(&store, std::slice::from_ref(&first), hour()).await;
    assert_eq!(begin, [Noted::Began(first.record.session)]);
    for (second, stale) in
        [(0, false), (3599, false), (3599 + 3599, false), (2 * 3599 + 3600, true)]
    {
        database.sql(&at(second)).await;
        let next = entry(&event(1));
        let noted = note(&store, std::slice::from_ref(&next), hour()).await;
        assert_eq!(noted == [Noted::Began(next.record.session)], stale, "{second}");
    }
}

// scenario 144
#[tokio::test]
async fn another_device_status_or_port_is_another_row() {
    let database = Database::new().await;
    let store = database.store().await;
    let port = |port: &str| with(event(1), |it| it.resource = Resource::Port(port.to_owned()));
    let others = [
        event(1),
        with(event(1), |it| it.user_agent = b"other".to_vec()),
        with(event(1), |it| it.status = 404),
        port("8080"),
        port("8080s"),
        with(event(1), |it| it.resource = Resource::Terminal),
    ];
    for _ in 0..2 {
        for event in &others {
            note(&store, &[entry(event)], hour()).await;
        }
    }
    assert_eq!(database.sql("SELECT count(*) FROM authd_audit_log").await, ["6"]);
}

// scenario 283
#[tokio::test]
async fn no_user_agent_keeps_a_row_away() {
    let database = Database::new().await;
    let store = database.store().await;
    // Incompressible, as what is too large for an index would be.
    let random: Vec<u8> =
        (0..128_u32).flat_map(|n| *app_audit::SessionKey::as_bytes(&event(n).key())).collect();
    assert_eq!(random.len(), 4096);
    let odd = [vec![b'a'; 257], random, b"a\x80b".to_vec(), b"\0".to_vec(), vec![0xff; 70_000]];
    for user_agent in &odd {
        let entry = entry(&with(event(1), |it| it.user_agent = user_agent.clone()));
        assert_eq!(
            note(&store, std::slice::from_ref(&entry), hour()).await,
            [Noted::Began(entry.record.session)]
        );
    }
    assert_eq!(database.sql("SELECT count(*) FROM authd_audit_log").await, ["5"]);
}

// scenario 288
#[tokio::test]
async fn a_row_holds_exactly_what_it_should() {
    let database = Database::new().await;
    let store = database.store().await;
    let app = entry(&event(1));
    let port = entry(&with(event(1), |it| it.resource = Resource::Port("8080s".to_owned())));
    let nowhere = entry(&with(event(1), |it| {
        it.user = None;
        it.ip = None;
        it.user_agent = Vec::new();
        it.resource = Resource::Unknown("gone".to_owned());
        it.agent = None;
        it.workspace = None;
        it.status = 404;
        it.reason = Some("not_found");
    }));
    note(&store, &[app.clone(), port.clone(), nowhere.clone()], hour()).await;
    let rows = database
        .sql(
            "SET timezone = 'UTC';
             SELECT id, session_id, time, user_id, organization_id, workspace_id, ip, user_agent,
                    resource_type, resource_id, resource_target, resource_icon, action, diff,
                    status_code, decision, reason, request_id, additional_fields
             FROM authd_audit_log ORDER BY id",
        )
        .await;
    let id = |n: u128| Uuid::from_u128(n).to_string();
    let row = |entry: &Entry, rest: &str| {
        format!("{0}|{0}|2026-11-21 00:00:00+00|{rest}", entry.record.session)
    };
    let known = format!("{}|{}|{}|192.0.2.1|curl/8 1", id(2), id(7), id(6));
    let names = format!(
        r#""workspace_id": "{}", "workspace_name": "dev", "workspace_owner": "ann"}}"#,
        id(6)
    );
    let unknown = format!("{0}|{0}|{0}||", Uuid::nil());
    let no_names = format!(
        r#""workspace_id": "{}", "workspace_name": "", "workspace_owner": ""}}"#,
        Uuid::nil()
    );
    let builds = r#"{"build_number": "", "build_reason": "","#;
    let mut expected = vec![
        row(
            &app,
            &format!(
                "{known}|workspace_app|{}|code||open|{{}}|200|allow||{}|{builds} {names}",
                id(4),
                id(1)
            ),
        ),
        row(
            &port,
            &format!(
                "{known}|workspace_agent|{}|main||open|{{}}|200|allow||{}|{builds} {} {names}",
                id(5),
                id(1),
                r#""slug_or_port": "8080s","#
            ),
        ),
        row(
            &nowhere,
            &format!(
                "{unknown}|workspace_app|{}|gone||open|{{}}|404|deny|not_found|{}|{builds} {} {no_names}",
                id(0),
                id(1),
                r#""slug_or_port": "gone","#
            ),
        ),
    ];
    expected.sort();
    assert_eq!(rows, expected);
}

#[tokio::test]
async fn visits_of_one_call_that_are_sessions_are_counted_together() {
    let database = Database::new().await;
    let store = database.store().await;
    note(&store, &entries(1, 3), hour().stale(Duration::ZERO)).await;
    let visits = "SELECT visits FROM authd_audit_sessions";
    assert_eq!(database.sql(visits).await, ["3"]);
}

#[tokio::test]
async fn counts_of_one_session_in_one_call_are_added() {
    let database = Database::new().await;
    let store = database.store().await;
    let first = entry(&event(1));
    note(&store, std::slice::from_ref(&first), hour()).await;
    let count = |visits| Count::new(first.key, first.record.session, visits);
    let other = Count::new(first.key, Uuid::nil(), 100);
    store.count(&[count(2), other, count(3)]).await.unwrap();
    assert_eq!(database.sql("SELECT visits FROM authd_audit_sessions").await, ["6"]);
}

#[tokio::test]
async fn any_number_of_visits_is_one_statement() {
    let (store, statements) = Database::new().await.counted_store().await;
    for visits in [1, 2, 256] {
        let all: Vec<_> = (0..visits).map(|n| entry(&event(n))).collect();
        let before = statements.get();
        note(&store, &all, hour()).await;
        assert_eq!(statements.get() - before, 1, "{visits} visits");
    }
    let before = statements.get();
    note(&store, &[], hour()).await;
    assert_eq!(statements.get(), before);
}

/// Statements that meet the same sessions in another order do not wait for each other
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_do_not_get_in_each_others_way() {
    let database = Database::new().await;
    let mut replicas = Vec::new();
    for replica in 0..4 {
        let store = database.store().await;
        replicas.push(tokio::spawn(async move {
            for round in 0..30 {
                let mut all: Vec<_> = (0..64).map(|n| entry(&event(n))).collect();
                all.rotate_left((replica * 7 + round) % 64);
                let window = Window::default().stale(Duration::from_millis(1));
                let noted = note(&store, &all, window).await;
                let counts = all.iter().zip(&noted).rev();
                let counts: Vec<_> =
                    counts.map(|(e, noted)| Count::new(e.key, noted.session(), 1)).collect();
                store.count(&counts).await.unwrap();
            }
        }));
    }
    for replica in replicas {
        replica.await.unwrap();
    }
    let sessions = database.sql("SELECT count(*) FROM authd_audit_sessions").await;
    assert_eq!(sessions, ["64"]);
}

async fn note(store: &impl Journal, entries: &[Entry], window: Window) -> Vec<Noted> {
    let answers = store.note(entries, window).await.unwrap();
    answers.into_iter().map(|answer| answer.noted).collect()
}
