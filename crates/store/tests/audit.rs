//! The log is read a page at a time, and what has ended is forgotten

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use app_audit::{
    App, AppId, Decision, Event, Filter, Housekeeping, Journal, Noted, OrganizationId, Page,
    Resource, Row, Settings, UserId, Window, Workspace, WorkspaceId,
};
use common::{entry, event, hour};
use store::{MemoryStore, Store};
use testkit::Database;
use uuid::Uuid;

/// A store whose time can be moved
struct World<S> {
    store: Arc<S>,
    later: Later,
}

enum Later {
    Clock(Arc<Mutex<SystemTime>>),
    Database(Database),
}

impl World<MemoryStore> {
    fn in_memory() -> Self {
        let clock = Arc::new(Mutex::new(event(0).time));
        let now = Arc::clone(&clock);
        let store = MemoryStore::with_clock(move || *now.lock().unwrap());
        Self { store: Arc::new(store), later: Later::Clock(clock) }
    }
}

impl World<store::PgStore> {
    async fn in_postgres() -> Self {
        let database = Database::new().await;
        Self { store: Arc::new(database.store().await), later: Later::Database(database) }
    }
}

impl<S: Store> World<S> {
    /// Lets time go by: there is a clock to be moved, or what has been moves back
    async fn later(&self, time: Duration) {
        match &self.later {
            Later::Clock(clock) => *clock.lock().unwrap() += time,
            Later::Database(database) => {
                let by = format!("interval '{} microseconds'", time.as_micros());
                let sessions = "UPDATE authd_audit_sessions SET";
                let moved = format!(
                    "{sessions} started_at = started_at - {by}, updated_at = updated_at - {by}"
                );
                database.sql(&moved).await;
                let log = "UPDATE authd_audit_log SET time = time -";
                database.sql(&format!("{log} {by}")).await;
            }
        }
    }

    async fn visit(&self, event: &Event, window: Window) {
        self.store.note(&[entry(event)], window).await.unwrap();
    }

    async fn rows(&self, filter: &Filter) -> Vec<Row> {
        self.store.list(filter, Page::first(Page::MAX)).await.unwrap()
    }

    async fn actions(&self) -> Vec<String> {
        self.rows(&Filter::default()).await.into_iter().map(|row| row.action).collect()
    }
}

/// Runs each check over every store
macro_rules! contract {
    ($($(#[$attr:meta])* fn $name:ident($world:ident) $body:block)*) => {
        $($(#[$attr])* mod $name {
            use super::*;

            async fn check($world: World<impl Store>) $body

            #[tokio::test]
            async fn in_memory() {
                check(World::in_memory()).await;
            }

            #[tokio::test]
            async fn in_postgres() {
                check(World::in_postgres().await).await;
            }
        })*
    };
}

contract! {
    fn a_row_is_read_as_it_was_written(world) {
        let event = event(1);
        let entry = entry(&event);
        world.store.note(std::slice::from_ref(&entry), hour()).await.unwrap();
        assert_eq!(world.rows(&Filter::default()).await, [Row::from(&entry.record)]);
        // The database's microseconds are finer than some clocks and coarser than others.
        let fine = Event { time: event.time + Duration::from_nanos(1_234_567), ..common::event(2) };
        world.visit(&fine, hour()).await;
        let newest = world.rows(&Filter::default()).await.remove(0);
        assert_eq!(newest.time, event.time + Duration::from_micros(1_234));
    }

    fn a_filter_lets_through_what_agrees_with_all_of_it(world) {
        let other = Uuid::from_u128(99);
        let with = |n: u32, change: fn(&mut Event)| {
            let mut event = Event { time: event(n).time + Duration::from_secs(u64::from(n)), ..event(n) };
            change(&mut event);
            event
        };
        let of_workspace = |event: &mut Event, change: fn(&mut Workspace)| {
            event.workspace.as_mut().map(change).unwrap();
        };
        let mut events = [
            with(0, |_| {}),
            with(1, |event| event.user = Some(UserId(Uuid::from_u128(99)))),
            with(2, |event| event.request = Uuid::from_u128(99)),
            with(3, |event| event.resource = Resource::App(AppId(Uuid::from_u128(99)), "other".to_owned())),
            with(4, |event| { event.reason = Some("no"); event.status = 404; }),
            with(5, |event| { event.resource = Resource::Unknown("a\"b %'".to_owned()); event.user = None; }),
            with(6, |_| {}),
            with(7, |_| {}),
        ];
        of_workspace(&mut events[6], |w| w.id = WorkspaceId(Uuid::from_u128(99)));
        of_workspace(&mut events[7], |w| w.organization = OrganizationId(Uuid::from_u128(99)));
        let entries: Vec<_> = events.iter().map(entry).collect();
        world.store.note(&entries, hour()).await.unwrap();
        let all = world.rows(&Filter::default()).await;
        assert_eq!(all.len(), 8);

        let none = Filter::default();
        let cases = [
            (Filter { user: Some(UserId(other)), ..none.clone() }, vec![1]),
            (Filter { user: Some(UserId(Uuid::nil())), ..none.clone() }, vec![5]),
            (Filter { request: Some(other), ..none.clone() }, vec![2]),
            (Filter { app: Some(App::Id(AppId(other))), ..none.clone() }, vec![3]),
            (Filter { app: Some(App::Slug("other".to_owned())), ..none.clone() }, vec![3]),
            (Filter { app: Some(App::Slug("a\"b %'".to_owned())), ..none.clone() }, vec![5]),
            (Filter { app: Some(App::Slug("\0".to_owned())), ..none.clone() }, vec![]),
            (Filter { decision: Some(Decision::Deny), ..none.clone() }, vec![4]),
            (Filter { decision: Some(Decision::Allow), ..none.clone() }, vec![7, 6, 5, 3, 2, 1, 0]),
            (Filter { workspace: Some(WorkspaceId(other)), ..none.clone() }, vec![6]),
            (Filter { organization: Some(OrganizationId(other)), ..none.clone() }, vec![7]),
            (Filter { session: Some(entries[3].record.session), ..none.clone() }, vec![3]),
            (Filter { from: Some(events[6].time), ..none.clone() }, vec![7, 6]),
            (Filter { to: Some(events[2].time), ..none.clone() }, vec![1, 0]),
            (
                Filter { from: Some(events[2].time), to: Some(events[5].time), decision: Some(Decision::Allow), ..none.clone() },
                vec![3, 2],
            ),
            (Filter { user: Some(UserId(other)), request: Some(other), ..none.clone() }, vec![]),
            (Filter { user: Some(UserId(Uuid::from_u128(2))), organization: Some(OrganizationId(other)), ..none.clone() }, vec![7]),
            (Filter { from: Some(SystemTime::UNIX_EPOCH - Duration::from_secs(9)), to: Some(SystemTime::UNIX_EPOCH), ..none.clone() }, vec![]),
            (Filter { to: Some(events[0].time + Duration::from_secs(40_000_000_000)), session: Some(other), ..none }, vec![]),
        ];
        for (filter, expected) in cases {
            let found = world.rows(&filter).await;
            let expected: Vec<_> = expected.iter().map(|n: &usize| entries[*n].record.session).collect();
            assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), expected, "{filter:?}");
            assert_eq!(found, all.iter().filter(|row| filter.passes(row)).cloned().collect::<Vec<_>>());
        }
    }

    fn pages_follow_each_other_without_gap_or_repetition(world) {
        // Many of one moment, so that the time alone would not do.
        let entries: Vec<_> = (0..50)
            .map(|n| entry(&Event { time: event(n).time + Duration::from_secs(u64::from(n / 20)), ..event(n) }))
            .collect();
        world.store.note(&entries, hour()).await.unwrap();
        let all = world.rows(&Filter::default()).await;
        assert!(all.is_sorted_by_key(|row| std::cmp::Reverse((row.time, row.id))));
        for limit in [1, 7, 49, 50, 1000] {
            let mut pages = Vec::new();
            let mut page = Page::first(limit);
            loop {
                let rows = world.store.list(&Filter::default(), page).await.unwrap();
                assert!(rows.len() <= usize::try_from(limit).unwrap());
                let Some(last) = rows.last() else { break };
                // As a client hands it back.
                page = page.after(last.cursor().to_string().parse().unwrap());
                pages.extend(rows);
            }
            assert_eq!(pages, all, "{limit}");
        }
        // Rows that are written meanwhile do not affect the following pages.
        let half = world.store.list(&Filter::default(), Page::first(25)).await.unwrap();
        world.visit(&Event { time: event(0).time + Duration::from_secs(60), ..event(100) }, hour()).await;
        let rest = Page::first(25).after(half[24].cursor());
        assert_eq!(world.store.list(&Filter::default(), rest).await.unwrap(), all[25..]);
        assert_eq!((Page::first(0).limit(), Page::first(1_000_000).limit()), (1, 1_000));
    }

    fn sessions_are_forgotten_a_day_after_they_ended(world) {
        world.visit(&event(1), hour()).await;
        world.later(Duration::from_secs(23 * 3600)).await;
        world.visit(&event(2), hour()).await;
        assert_eq!(world.store.end_sessions(hour(), 10).await, Ok(0));
        world.later(Duration::from_secs(3601)).await;
        assert_eq!(world.store.end_sessions(hour(), 10).await, Ok(1));
        assert_eq!(world.store.end_sessions(hour(), 10).await, Ok(0));
        assert_eq!(world.actions().await, ["open", "open"]);
        // Where sessions last long they are kept long.
        let long = hour().stale(Duration::from_secs(30 * 3600));
        world.later(Duration::from_secs(58 * 3600)).await;
        assert_eq!(world.store.end_sessions(long, 10).await, Ok(0));
        world.later(Duration::from_secs(2 * 3600)).await;
        assert_eq!(world.store.end_sessions(long, 10).await, Ok(1));
    }

    fn no_more_is_forgotten_at_once_than_was_said(world) {
        let entries: Vec<_> = (0..25).map(|n| entry(&event(n))).collect();
        world.store.note(&entries, hour()).await.unwrap();
        world.later(Duration::from_secs(48 * 3600)).await;
        for left in [10, 10, 5, 0] {
            assert_eq!(world.store.end_sessions(hour(), 10).await, Ok(left));
        }
    }

    fn an_end_is_written_if_that_is_asked_for(world) {
        let window = hour().close(true);
        world.visit(&event(1), window).await;
        world.later(Duration::from_secs(1800)).await;
        world.visit(&event(1), window).await;
        world.later(Duration::from_secs(3599)).await;
        assert_eq!(world.store.end_sessions(window, 10).await, Ok(0));
        world.later(Duration::from_secs(2)).await;
        assert_eq!(world.store.end_sessions(window, 10).await, Ok(1));
        assert_eq!(world.store.end_sessions(window, 10).await, Ok(0));

        let session = world.rows(&Filter::default()).await[0].session_id;
        let rows = world.rows(&Filter { session, ..Filter::default() }).await;
        let [close, open] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((open.action.as_str(), close.action.as_str()), ("open", "close"));
        assert_eq!(Some(open.id), session);
        assert_ne!(Some(close.id), session);
        let mut fields = close.additional_fields.clone();
        let mut taken = |name: &str| fields.as_object_mut().unwrap().remove(name).unwrap();
        let (first, last) = (taken("first_seen"), taken("last_seen"));
        let time = |text: &serde_json::Value| chrono::DateTime::parse_from_rfc3339(text.as_str().unwrap()).unwrap();
        assert!((time(&last) - time(&first)).num_seconds() == 1800, "{first} {last}");
        assert!(first.as_str().unwrap().ends_with('Z') && first.as_str().unwrap().len() == 27);
        assert_eq!(taken("visits"), 2);
        let mut same = close.clone();
        (same.id, same.time, same.additional_fields) = (open.id, open.time, fields);
        same.action = "open".to_owned();
        assert_eq!(&same, open);
        // The next visit begins a session again.
        world.visit(&event(1), window).await;
        assert_eq!(world.rows(&Filter::default()).await.len(), 3);
    }

    fn a_session_that_gives_way_to_the_next_is_closed_too(world) {
        let window = hour().close(true);
        world.visit(&event(1), window).await;
        world.visit(&event(1), window).await;
        world.later(Duration::from_secs(3600)).await;
        world.store.note(&[entry(&event(1)), entry(&event(2))], window).await.unwrap();
        let rows = world.rows(&Filter::default()).await;
        let closed: Vec<_> = rows.iter().filter(|row| row.action == "close").collect();
        assert_eq!((rows.len(), closed.len()), (4, 1));
        assert_eq!(closed[0].additional_fields["visits"], 2);
        // Without being asked nothing is closed, nor where each visit is a session.
        world.later(Duration::from_secs(3600)).await;
        world.visit(&event(1), hour()).await;
        world.visit(&event(1), window.stale(Duration::ZERO)).await;
        world.later(Duration::from_secs(24 * 3600 + 1)).await;
        assert_eq!(world.store.end_sessions(window.stale(Duration::ZERO), 10).await, Ok(2));
        let closed = world.actions().await.into_iter().filter(|action| action == "close");
        assert_eq!(closed.count(), 1);
    }

    fn a_visit_that_is_offered_again_late_has_one_row(world) {
        // Its session has given way meanwhile, and then the next is stale too.
        let [first, second, other] = [entry(&event(1)), entry(&event(1)), entry(&event(2))];
        for entry in [&first, &second] {
            world.store.note(std::slice::from_ref(entry), hour()).await.unwrap();
            world.later(Duration::from_secs(3600)).await;
        }
        let answers = world.store.note(&[other.clone(), first.clone()], hour()).await.unwrap();
        let noted: Vec<_> = answers.into_iter().map(|answer| answer.noted).collect();
        assert_eq!(noted, [Noted::Began(other.record.session), Noted::Began(first.record.session)]);
        assert_eq!(world.actions().await.len(), 3);
        // Or each visit is a session, and those of one statement come again in two.
        let each = hour().stale(Duration::ZERO);
        let [a, b] = [entry(&event(3)), entry(&event(3))];
        for entries in [&[a.clone(), b.clone()][..], &[a], &[b]] {
            world.store.note(entries, each).await.unwrap();
        }
        assert_eq!(world.actions().await.len(), 5);
    }

    fn rows_are_forgotten_when_they_are_too_old(world) {
        let time = |n: u32| SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 * u64::from(n));
        for n in 0..5 {
            world.visit(&Event { time: time(n), ..event(n) }, hour()).await;
        }
        let now = match &world.later {
            Later::Clock(clock) => *clock.lock().unwrap(),
            Later::Database(database) => {
                let seconds = database.sql("SELECT extract(epoch FROM now())::bigint").await;
                SystemTime::UNIX_EPOCH + Duration::from_secs(seconds[0].parse().unwrap())
            }
        };
        let keep = now.duration_since(time(3)).unwrap() - Duration::from_secs(500);
        assert_eq!(world.store.forget(keep, 2).await, Ok(2));
        assert_eq!(world.store.forget(keep, 2).await, Ok(2));
        assert_eq!(world.store.forget(keep, 2).await, Ok(0));
        assert_eq!(world.rows(&Filter::default()).await.len(), 1);
    }
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
             SELECT sha256(n::text::bytea), md5(n::text)::uuid, gen_random_uuid(), now(), now() - interval '2 h'
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
    for device in 0..2_500 {
        let old = Event { time: event(0).time - Duration::from_secs(3600), ..event(device) };
        if device % 500 == 0 {
            store
                .note(
                    &(0..500)
                        .map(|n| {
                            entry(&Event {
                                user_agent: format!("{n} {device}").into_bytes(),
                                ..old.clone()
                            })
                        })
                        .collect::<Vec<_>>(),
                    hour(),
                )
                .await
                .unwrap();
        }
    }
    database.sql("UPDATE authd_audit_sessions SET updated_at = now() - interval '25 h'").await;
    database.sql("UPDATE authd_audit_log SET time = now() - interval '8 days' WHERE id IN (SELECT id FROM authd_audit_log LIMIT 2400)").await;
    let week = Duration::from_secs(7 * 86_400);
    let observer = Settings::default().observer;
    let housekeeping = Housekeeping::start(store, hour(), Some(week), observer);
    let left = "SELECT (SELECT count(*) FROM authd_audit_sessions), (SELECT count(*) FROM authd_audit_log)";
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
