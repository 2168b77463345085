//! What is imported is there, changes what differs, and leaves the rest alone
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::{Duration, UNIX_EPOCH};

use app_audit::{Act, ActFilter, ActKind, ActRow, Page, SubjectKind, printable};
use store::fleet::{Fleet, Transition};
use store::import::{Change, Details, Import, Name, Named, Rows, Session};
use store::{Error, MemoryStore, Options, PgStore, Store};
use testkit::Database;
use uuid::Uuid;

/// A fleet's rows as rows to be imported
fn rows(fleet: &Fleet) -> Rows {
    let mut rows = Rows::default();
    fleet.organizations.iter().for_each(|row| rows.want(row, &[]));
    fleet.users.iter().for_each(|row| rows.want(row, &["created_at"]));
    fleet.organization_members.iter().for_each(|row| rows.want(row, &[]));
    fleet.api_keys.iter().for_each(|row| rows.want(row, &[]));
    fleet.workspaces.iter().for_each(|row| rows.want(row, &[]));
    fleet.provisioner_jobs.iter().for_each(|row| rows.want(row, &[]));
    fleet.workspace_builds.iter().for_each(|row| rows.want(row, &[]));
    fleet.workspace_resources.iter().for_each(|row| rows.want(row, &[]));
    fleet.workspace_agents.iter().for_each(|row| rows.want(row, &["auth_token"]));
    fleet.workspace_proxies.iter().for_each(|row| rows.want(row, &[]));
    rows
}

fn fleet() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    fleet.session(alice);
    let workspace = fleet.workspace(alice, "dev");
    let build = fleet.build(workspace, Transition::Start);
    fleet.agent(build.resource, "main", "i-0abc");
    fleet.proxy("sydney", "https://sydney.example.com", "");
    fleet
}

#[tokio::test]
async fn a_second_import_of_the_same_changes_nothing() {
    let database = Database::new().await;
    let store = database.store().await;
    let rows = rows(&fleet());
    let first = store.import(&rows, false).await.unwrap();
    assert_eq!(first.len(), rows.len());
    assert!(first.iter().all(|difference| difference.change == Change::Added), "{first:?}");
    assert_eq!(store.import(&rows, false).await.unwrap(), []);
    assert_eq!(database.sql("SELECT name FROM workspace_proxies").await, ["sydney"]);
}

#[tokio::test]
async fn what_differs_is_changed_and_told_column_by_column() {
    let database = Database::new().await;
    let store = database.store().await;
    let mut fleet = fleet();
    store.import(&rows(&fleet), false).await.unwrap();
    let token = fleet.workspace_agents[0].auth_token;

    fleet.users[0].username = "alicia".to_owned();
    fleet.users[0].created_at += chrono::Duration::days(1);
    fleet.workspace_agents[0].auth_token = store::fleet::Token(Uuid::new_v4());
    fleet.api_keys[0].hashed_secret.0[0] ^= 1;
    let expected = [("users", "username"), ("api_keys", "hashed_secret")];

    let planned = store.import(&rows(&fleet), true).await.unwrap();
    assert_eq!(database.sql("SELECT username FROM users").await, ["alice"], "a dry run is dry");
    let done = store.import(&rows(&fleet), false).await.unwrap();
    assert_eq!(planned, done);
    let reported: Vec<_> = done
        .iter()
        .flat_map(|difference| {
            let Change::Changed(columns) = &difference.change else { panic!("{difference:?}") };
            columns.iter().map(|change| (difference.table, change.column.as_str()))
        })
        .collect();
    assert_eq!(reported, expected, "what is kept is neither changed nor reported");
    assert!(!format!("{done:?}").contains("\\\\x"), "no secret is reported: {done:?}");

    assert_eq!(database.sql("SELECT username FROM users").await, ["alicia"]);
    assert_eq!(
        database.sql("SELECT auth_token FROM workspace_agents").await,
        [token.0.to_string()]
    );
}

#[tokio::test]
async fn an_import_that_contradicts_itself_leaves_everything_as_it_was() {
    let database = Database::new().await;
    let store = database.store().await;
    let mut fleet = fleet();
    let organization = fleet.organizations[0].id;
    fleet.user("ALICE", organization);
    for dry_run in [true, false] {
        let Err(Error::Query { reason }) = store.import(&rows(&fleet), dry_run).await else {
            panic!("two users have one name")
        };
        assert!(reason.to_string().contains("users_username_lower_idx"), "{reason}");
    }
    assert_eq!(database.sql("SELECT count(*) FROM organizations").await, ["0"]);
}

#[tokio::test]
async fn what_a_list_no_longer_holds_is_removed() {
    let database = Database::new().await;
    let store = database.store().await;
    let mut fleet = fleet();
    let organization = fleet.organizations[0].id;
    let (alice, bob) = (fleet.users[0].id, fleet.user("bob", organization));
    let mut all = rows(&fleet);
    all.exactly::<store::fleet::OrganizationMember>("user_id", bob);
    store.import(&all, false).await.unwrap();

    let mut none = Rows::default();
    none.exactly::<store::fleet::OrganizationMember>("user_id", bob);
    let [removed] = &store.import(&none, false).await.unwrap()[..] else { panic!() };
    assert_eq!((removed.table, &removed.change), ("organization_members", &Change::Removed));
    assert_eq!(removed.key["user_id"], bob.to_string());
    assert_eq!(
        database.sql("SELECT user_id FROM organization_members").await,
        [alice.to_string()],
        "others keep theirs"
    );
}

#[tokio::test]
async fn a_store_in_memory_takes_the_same_rows_and_tells_the_same() {
    let database = Database::new().await;
    let (store, memory) = (database.store().await, MemoryStore::default());
    let mut fleet = fleet();
    let organization = fleet.organizations[0].id;
    let bob = fleet.user("bob", organization);
    let sorted = |differences: Vec<store::import::Difference>| {
        let mut lines: Vec<_> = differences
            .into_iter()
            .map(|difference| {
                let columns = match difference.change {
                    Change::Added => vec!["+".to_owned()],
                    Change::Removed => vec!["-".to_owned()],
                    Change::Changed(columns) => columns.into_iter().map(|c| c.column).collect(),
                };
                (difference.table, difference.label, difference.key, columns)
            })
            .collect();
        lines.sort_by_key(|line| format!("{line:?}"));
        lines
    };
    let mut steps = vec![rows(&fleet), rows(&fleet)];
    fleet.users[0].username = "alicia".to_owned();
    fleet.workspace_agents[0].auth_token = store::fleet::Token(Uuid::new_v4());
    fleet.organization_members.retain(|member| member.user_id != bob);
    let mut last = rows(&fleet);
    last.exactly::<store::fleet::OrganizationMember>("user_id", bob);
    steps.push(last);
    for (step, expected) in steps.iter().zip([12, 0, 2]) {
        for dry_run in [true, false] {
            let in_memory = sorted(memory.import(step, dry_run).await.unwrap());
            assert_eq!(in_memory, sorted(store.import(step, dry_run).await.unwrap()));
            assert_eq!(in_memory.len(), expected);
        }
    }

    fleet.user("ALICIA", organization);
    assert!(matches!(memory.import(&rows(&fleet), false).await, Err(Error::Query { .. })));
}

#[tokio::test]
async fn what_a_store_in_memory_has_imported_it_answers_from() {
    use agent_auth::{Candidates, ProvenInstance};
    use app_authz::credential::{OtherSessions, Sessions};

    let memory = MemoryStore::default();
    let mut fleet = fleet();
    let bobs = {
        let bob = fleet.user("bob", fleet.organizations[0].id);
        fleet.session(bob)
    };
    memory.import(&rows(&fleet), false).await.unwrap();
    assert_eq!(
        memory.by_instance(ProvenInstance::assume_verified("i-0abc")).await.unwrap().len(),
        1
    );
    let [holder] = &memory.holders(std::slice::from_ref(&bobs)).await.unwrap()[..] else {
        panic!()
    };
    memory.log_out(&holder.key, OtherSessions::EndOfApps).await.unwrap();

    memory.import(&Rows::default(), false).await.unwrap();
    assert!(memory.holders(&[bobs]).await.unwrap().is_empty(), "a session that ended stays so");
}

#[tokio::test]
async fn a_store_in_memory_still_knows_which_sessions_were_made_from_others() {
    use app_authz::credential::{NewKey, OtherSessions, SessionToken, Sessions};
    use app_authz::rbac::ScopeName;

    let memory = MemoryStore::default();
    let mut fleet = fleet();
    let alice = fleet.users[0].id;
    let session = fleet.session(alice);
    memory.import(&rows(&fleet), false).await.unwrap();
    let parent = memory.holders(&[session]).await.unwrap().remove(0).key;
    let made = SessionToken::generate(|bytes| bytes.fill(7));
    let key = NewKey::new(&made, parent.user, parent.last_used, parent.expires_at)
        .with_scope(ScopeName::ApplicationConnect)
        .with_lifetime(parent.lifetime)
        .with_parent(&parent.id);
    memory.insert(&key).await.unwrap();
    memory.import(&Rows::default(), false).await.unwrap();
    memory.log_out(&parent, OtherSessions::Keep).await.unwrap();
    assert!(memory.holders(&[made]).await.unwrap().is_empty());
}

#[tokio::test]
async fn names_are_found_without_deleted_entries_unless_those_are_asked_for() {
    let database = Database::new().await;
    let (store, memory) = (database.store().await, MemoryStore::default());
    let mut fleet = fleet();
    let acme = fleet.organizations[0].id;
    let (alice, former) = (fleet.users[0].id, fleet.user("Former", acme));
    fleet.users[1].deleted = true;
    fleet.user("alice", acme);
    fleet.users[2].deleted = true;
    let ours = fleet.group("ours", acme, &[alice]);
    store.import(&all(&fleet), false).await.unwrap();
    memory.import(&all(&fleet), false).await.unwrap();

    let name = |parent, name: &str| Name { parent, name: name.to_owned() };
    let nil = Uuid::nil();
    let users = ["carol", "former", "alice"].map(|user| name(nil, user));
    let groups = [name(acme, "ours"), name(nil, "ours")];
    for (kind, names, with_deleted, expected) in [
        (Named::User, &users[..], false, vec![None, None, Some(alice)]),
        (Named::User, &users[..], true, vec![None, Some(former), Some(alice)]),
        (Named::Organization, &[name(nil, "acme")][..], false, vec![Some(acme)]),
        (Named::Group, &groups[..], false, vec![Some(ours), None]),
        (Named::Group, &groups[..], true, vec![Some(ours), None]),
        (Named::Template, &groups[..], false, vec![None, None]),
    ] {
        let mut session = store.begin_import(true).await.unwrap();
        assert_eq!(session.find(kind, names, with_deleted).await.unwrap(), expected, "{kind:?}");
        let mut session = memory.begin_import(true).await.unwrap();
        assert_eq!(session.find(kind, names, with_deleted).await.unwrap(), expected, "{kind:?}");
    }
}

/// [`rows`], with groups
fn all(fleet: &Fleet) -> Rows {
    let mut rows = rows(fleet);
    fleet.groups.iter().for_each(|row| rows.want(row, &[]));
    rows
}

#[tokio::test]
async fn imports_take_turns_and_a_dropped_one_changes_nothing() {
    let database = Database::new().await;
    let (one, other) = (database.store().await, database.store().await);
    let mut first = one.begin_import(false).await.unwrap();
    first.stage(&rows(&fleet())).await.unwrap();
    first.apply(Details::First(1), |_| {}).await.unwrap();
    let second = tokio::spawn(async move {
        let mut session = other.begin_import(false).await.unwrap();
        let mut rows = Rows::default();
        let mut fleet = Fleet::default();
        fleet.organization("later");
        rows.want(&fleet.organizations[0], &[]);
        session.stage(&rows).await.unwrap();
        session.apply(Details::All, |_| {}).await.unwrap();
        session.finish(None).await.unwrap();
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    while database.sql(waits).await != ["1"] {
        tokio::task::yield_now().await;
    }
    let listed = first.differences().await.unwrap();
    assert_eq!(listed.len(), 1, "the first row of the first table: {listed:?}");
    drop(first);
    second.await.unwrap();
    assert_eq!(database.sql("SELECT name FROM organizations").await, ["later"]);
}

/// Beside an earlier release, a column that is missing matters only if its value would be lost
#[tokio::test]
async fn a_value_without_a_column_is_not_lost_silently() {
    let database = Database::new().await;
    let store = database.store().await;
    database.sql("ALTER TABLE users DROP COLUMN is_service_account").await;
    database.sql("ALTER TABLE workspaces DROP COLUMN user_acl CASCADE").await;
    let fleet = fleet();
    let mut rows = Rows::default();
    rows.want(&fleet.users[0], &["is_service_account"]);
    assert_eq!(store.import(&rows, false).await.unwrap().len(), 1, "the default is enough");
    rows.want(&fleet.workspaces[0], &[]);
    let Err(Error::Query { reason }) = store.import(&rows, false).await else { panic!() };
    assert_eq!(reason.to_string(), "the table `workspaces` has no column `user_acl`");
}

#[tokio::test]
async fn an_import_that_changes_rows_is_recorded_once() {
    let database = Database::new().await;
    imports_are_recorded(&database.store().await).await;
    imports_are_recorded(&MemoryStore::default()).await;
}

async fn imports_are_recorded(store: &impl Store) {
    let rows = rows(&fleet());
    let act = || {
        Act::new(ActKind::Import, UNIX_EPOCH + Duration::from_secs(1_800_000_000))
            .user(Uuid::from_u128(1))
            .agent(Uuid::from_u128(2), Uuid::from_u128(3))
            .subject(SubjectKind::Token, "abcdefghij")
            .proof("aws")
            .request(Uuid::from_u128(4), Some([192, 0, 2, 7].into()), b"curl")
            .detail("operator", "alice")
    };
    let acts = [act(), act(), act()];
    for (act, dry_run) in acts.iter().zip([true, false, false]) {
        let mut session = store.begin_import(dry_run).await.unwrap();
        session.stage(&rows).await.unwrap();
        session.apply(Details::First(1), |_| {}).await.unwrap();
        session.finish(Some(act.clone())).await.unwrap();
    }
    // The dry run changes nothing, and the third import finds nothing to change.
    let [_, act, _] = acts;
    let act = act.detail_value("added", rows.len().into());
    let act = act.detail_value("changed", 0.into()).detail_value("removed", 0.into());
    let recorded = store.list_acts(&ActFilter::default(), Page::first(9)).await.unwrap();
    assert_eq!(recorded, [ActRow::from(&act)]);
}

/// Another program that keeps a table locked is not a fault of the rows
#[tokio::test]
async fn an_import_that_waits_too_long_for_a_lock_may_be_tried_again() {
    let database = Database::new().await;
    let url = format!("{}&lock_timeout=10ms", database.url());
    let store = PgStore::new(&url, &Options::default()).unwrap();
    let locked = database.hold("LOCK TABLE organizations").await;
    let rows = rows(&fleet());
    let refused = store.import(&rows, false).await.unwrap_err();
    assert!(refused.is_unavailable(), "{refused}");
    locked.commit().await;
    assert_eq!(store.import(&rows, false).await.unwrap().len(), rows.len());
}

#[tokio::test]
async fn a_line_about_a_difference_is_safe_to_print() {
    let memory = MemoryStore::default();
    let mut fleet = fleet();
    fleet.users[0].username = "a\u{9b}2J".to_owned();
    let added = memory.import(&rows(&fleet), false).await.unwrap();
    fleet.users[0].username = "\u{202e}ecila".to_owned();
    let changed = memory.import(&rows(&fleet), false).await.unwrap();
    let lines: Vec<_> = added.iter().chain(&changed).map(ToString::to_string).collect();
    assert!(lines.iter().any(|line| line.contains("username \"a\u{fffd}2J\" -> ")), "{lines:?}");
    assert!(lines.iter().all(|line| printable(line) == *line), "{lines:?}");
}
