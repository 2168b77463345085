//! The log as people read it: names, filters and large logs
//!
//! `tests/ports.rs` has the rules of the port.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::time::{Duration, SystemTime};

use app_audit::{
    AuditExplorer, Decision, Event, Filter, Found, Listed, Names, Page, Plot, Resource, UserId,
    WorkspaceId,
};
use common::{entry, event, hour, with};
use store::fleet::Fleet;
use store::{MemoryStore, Store};
use testkit::Database;
use uuid::Uuid;

/// Ann, who owns `dev`, and Bob, who is deleted
fn fleet() -> (Fleet, [Uuid; 3]) {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let [ann, bob] = ["Ann", "bob"].map(|name| fleet.user(name, acme));
    fleet.users.iter_mut().find(|user| user.id == bob).unwrap().deleted = true;
    let dev = fleet.workspace(ann, "Dev");
    (fleet, [ann, bob, dev])
}

/// Runs each check over every store
macro_rules! contract {
    ($($(#[$attr:meta])* fn $name:ident($store:ident, $ids:ident) $body:block)*) => {
        $($(#[$attr])* mod $name {
            use super::*;

            async fn check($store: impl Store, $ids: [Uuid; 3]) $body

            #[tokio::test]
            async fn in_memory() {
                let (fleet, ids) = fleet();
                let store = MemoryStore::default();
                store.load(&fleet);
                check(store, ids).await;
            }

            #[tokio::test]
            async fn in_postgres() {
                let (fleet, ids) = fleet();
                let database = Database::new().await;
                let store = database.store().await;
                store.load(&fleet).await.unwrap();
                check(store, ids).await;
            }
        })*
    };
}

/// A visit of `user`, so many minutes after the first
fn visit(n: u32, user: Option<Uuid>, reason: Option<&'static str>) -> Event {
    let time = event(0).time + Duration::from_secs(60 * u64::from(n));
    let status = if reason.is_some() { 404 } else { 200 };
    with(event(n), |it| {
        it.time = time;
        it.user = user.map(UserId);
        it.reason = reason;
        it.status = status;
    })
}

async fn explore(store: &impl Store, filter: &Filter) -> Vec<Listed> {
    store.explore(filter, Page::first(Page::MAX)).await.unwrap()
}

contract! {
    fn sessions_have_the_names_of_users_who_exist(store, ids) {
        let [ann, bob, _] = ids;
        let other = Uuid::from_u128(99);
        let users = [Some(ann), Some(bob), Some(other), None];
        let events = users.into_iter().zip(0..).map(|(user, n)| entry(&visit(n, user, None)));
        store.note(&events.collect::<Vec<_>>(), hour()).await.unwrap();
        let names: Vec<_> =
            explore(&store, &Filter::default()).await.into_iter().map(|row| row.username).collect();
        assert_eq!(names, [None, None, None, Some("Ann".to_owned())]);
        let found = store.usernames(&[ann, bob, other].map(UserId)).await.unwrap();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [(UserId(ann), "Ann".to_owned())]);
    }

    fn reasons_and_addresses_are_filters(store, ids) {
        let ann = Some(ids[0]);
        let mut events = [
            visit(0, ann, None),
            visit(1, ann, Some("not_shared")),
            visit(2, ann, Some("not_found")),
            visit(3, ann, Some("not_shared")),
        ];
        events[3].ip = Some("2001:db8::7".parse().unwrap());
        let entries: Vec<_> = events.iter().map(entry).collect();
        store.note(&entries, hour()).await.unwrap();
        let usual = events[0].ip.unwrap();
        let with = |reason: Option<&str>, ip: Option<std::net::IpAddr>, decision| Filter {
            reason: reason.map(str::to_owned), ip, decision, ..Filter::default()
        };
        for (filter, minutes) in [
            (with(Some("not_shared"), None, None), vec![3, 1]),
            (with(Some("not_shared"), Some(usual), None), vec![1]),
            (with(None, events[3].ip, None), vec![3]),
            (with(None, Some("2001:db8::8".parse().unwrap()), None), vec![]),
            (with(Some("Not_Shared"), None, None), vec![]),
            (with(Some(""), None, None), vec![]),
            (with(Some("a\0"), None, None), vec![]),
            (with(Some("not_shared"), None, Some(Decision::Allow)), vec![]),
            (with(Some("not_shared"), None, Some(Decision::Deny)), vec![3, 1]),
        ] {
            let expected: Vec<_> = minutes.iter().map(|n: &usize| events[*n].time).collect();
            let listed = store.list(&filter, Page::first(10)).await.unwrap();
            let listed: Vec<SystemTime> = listed.into_iter().map(|row| row.time).collect();
            let explored = explore(&store, &filter).await;
            let explored: Vec<SystemTime> = explored.into_iter().map(|row| row.row.time).collect();
            assert_eq!((&listed, &explored), (&expected, &expected), "{filter:?}");
            let plot = store.plot(&filter).await.unwrap();
            let visits: u64 = plot.steps.iter().map(|step| step.visits).sum();
            assert_eq!(visits, u64::try_from(minutes.len()).unwrap(), "{filter:?}");
        }
    }

    fn names_are_looked_up_without_regard_to_case(store, ids) {
        let [ann, _, dev] = ids;
        let app = with(event(1), |it| it.resource = Resource::Unknown("Code".to_owned()));
        store.note(&[entry(&app)], hour()).await.unwrap();
        let user = |name: &str| Names { user: Some(name.to_owned()), ..Names::default() };
        let workspace = |owner: &str, name: &str| Names {
            workspace: Some((owner.to_owned(), name.to_owned())),
            ..Names::default()
        };
        let slug = |slug: &str| Names { app: Some(slug.to_owned()), ..Names::default() };
        let none = Found::default();
        let of_ann = Found { user: Some(UserId(ann)), ..none };
        let of_dev = Found { workspace: Some(WorkspaceId(dev)), ..none };
        for (names, found) in [
            (Names::default(), none),
            (user("aNN"), of_ann),
            (user("bob"), none),
            (user("nobody"), none),
            (user("a\0"), none),
            (workspace("ANN", "dev"), of_dev),
            (workspace("bob", "dev"), none),
            (workspace("ann", "other"), none),
            (slug("Code"), Found { app: true, ..none }),
            (slug("code"), none),
        ] {
            assert_eq!(store.look_up(&names).await.unwrap(), found, "{names:?}");
        }
    }
}

#[tokio::test]
async fn a_plot_looks_at_so_many_rows_and_no_more() {
    let database = Database::new().await;
    database
        .sql(
            "INSERT INTO authd_audit_log (id, session_id, time, user_id, organization_id,
                                          resource_type, resource_id, resource_target, action,
                                          status_code, request_id)
             SELECT id, id, '2026-11-21Z'::timestamptz + n * interval '1 s', id, id,
                    'workspace_app', id, '', 'open', 200, id
             FROM (SELECT n, md5(n::text)::uuid AS id FROM generate_series(1, 6000) n) rows",
        )
        .await;
    let store = database.store().await;
    let plot = store.plot(&Filter::default()).await.unwrap();
    let visits: u64 = plot.steps.iter().map(|step| step.visits).sum();
    assert_eq!((visits, plot.is_cut), (u64::try_from(Plot::ROWS).unwrap(), true));
    let seconds = plot.since.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(seconds % 86_400, 1001, "the oldest of the newest 5000");
}
