//! What a grant may rest on, and is gone, in the tables of a control plane

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::time::{Duration, SystemTime};

use app_authz::app::Revocation;
use app_authz::credential::Sessions;
use app_authz::{AgentId, UserId, WorkspaceId};
use store::fleet::{Fleet, SharingLevel, Transition};
use store::revocations::{Revocations, Slice, WatchedGrant};
use store::{Options, PgStore};
use testkit::{Database, Release, Rows};
use tokio::time::timeout;

use crate::common::notifications::listen;

mod common;

/// A statement about Alice's workspace, where `BOB` and so on stand for ids, and what is logged for
/// Bob, Alice and a visitor who is not signed in
type Step = (&'static str, &'static [&'static str]);

const STEPS: &[Step] = &[
    ("UPDATE workspaces SET last_used_at = now()", &[]),
    ("UPDATE workspace_apps SET sharing_level = 'public'", &[]),
    ("UPDATE workspace_apps SET sharing_level = 'authenticated'", APP),
    (
        "INSERT INTO workspace_agent_port_share (workspace_id, agent_name, port, share_level)
         VALUES ('DEV', 'Main', 8080, 'authenticated')",
        &[],
    ),
    ("UPDATE workspace_agent_port_share SET share_level = 'public'", &[]),
    ("UPDATE workspace_agent_port_share SET share_level = 'organization'", PORT),
    ("DELETE FROM workspace_agent_port_share", PORT),
    (
        "UPDATE templates SET max_port_sharing_level = 'owner'",
        &["share_withdrawn -", "share_withdrawn bob"],
    ),
    ("UPDATE users SET rbac_roles = '{auditor,owner}' WHERE id = 'BOB'", &[]),
    ("UPDATE users SET rbac_roles = '{auditor,NULL}' WHERE id = 'BOB'", BOB),
    ("UPDATE users SET rbac_roles = '{}' WHERE id = 'BOB'", BOB),
    ("UPDATE organization_members SET roles = '{organization-admin}' WHERE user_id = 'BOB'", &[]),
    ("UPDATE organization_members SET roles = '{}' WHERE user_id = 'BOB'", BOB),
    // With the share of the group, which the table's trigger logs.
    ("INSERT INTO authd_shares VALUES ('DEV', 'main', 'code', true, 'CREW', now())", &[]),
    ("DELETE FROM group_members WHERE user_id = 'BOB'", BOB),
    ("DELETE FROM authd_shares", &["share_withdrawn - code"]),
    (
        "INSERT INTO authd_shares VALUES ('DEV', 'main', 'code', false, 'BOB', now()),
                                         ('DEV', 'main', '8080', false, 'BOB', now())",
        &[],
    ),
    ("UPDATE authd_shares SET created_by = 'CAROL'", &[]),
    (
        "UPDATE authd_shares SET person_id = 'CAROL' WHERE slug_or_port = 'code'",
        &["share_withdrawn bob code"],
    ),
    ("DELETE FROM authd_shares WHERE person_id = 'BOB'", &["share_withdrawn bob 8080"]),
    (
        "SET search_path = pg_catalog; DELETE FROM public.authd_shares",
        &["share_withdrawn carol code"],
    ),
    ("DELETE FROM organization_members WHERE user_id = 'BOB'", BOB),
    ("UPDATE workspace_agents SET deleted = true", &["workspace_stopped -"]),
];

/// Access lists, which came with v2.26
const LISTS: &[Step] = &[
    (
        "UPDATE workspaces SET user_acl = '{\"BOB\": [\"*\"]}', group_acl = '{\"CREW\": [\"*\"]}'",
        &[],
    ),
    ("UPDATE workspaces SET user_acl = '{\"BOB\": [\"read\"]}'", BOB),
    ("UPDATE workspaces SET user_acl = '{}'", BOB),
    ("UPDATE workspaces SET group_acl = '{\"CREW\": [\"*\"], \"ACME\": [\"read\"]}'", &[]),
    ("UPDATE workspaces SET group_acl = '{\"ACME\": [\"read\"]}'", BOB),
    ("UPDATE workspaces SET group_acl = '{}'", BOB),
];

/// Roles of every member of an organization, which came with v2.35
const IMPLIED_ROLES: &[Step] = &[
    ("UPDATE organizations SET default_org_member_roles = '{organization-auditor}'", &[]),
    (
        "UPDATE organizations SET default_org_member_roles = '{}'",
        &["permission_withdrawn alice", "permission_withdrawn bob"],
    ),
];

const APP: &[&str] = &["share_withdrawn - code", "share_withdrawn bob code"];
const PORT: &[&str] = &["share_withdrawn - 8080", "share_withdrawn bob 8080"];
const BOB: &[&str] = &["permission_withdrawn bob"];

#[tokio::test]
async fn what_a_control_plane_or_an_operator_withdraws_is_logged_once() {
    for release in Release::FIRST_WITH_APPS.and_later() {
        let world = Withdrawals::of(*release).await;
        if *release >= Release::V2_35 {
            world.take(IMPLIED_ROLES).await;
        }
        if *release >= Release::V2_26 {
            world.take(LISTS).await;
        }
        world.take(STEPS).await;
    }
}

/// Statements that may end something, in tables of our own
const NOTICED: &[&str] = &[
    "UPDATE api_keys SET expires_at = now()",
    "DELETE FROM api_keys",
    "UPDATE users SET status = 'suspended'",
    "UPDATE users SET rbac_roles = '{}'",
    "UPDATE users SET deleted = true",
    "UPDATE organizations SET default_org_member_roles = '{}'",
    "UPDATE organization_members SET roles = '{}'",
    "DELETE FROM organization_members",
    "DELETE FROM group_members",
    "UPDATE workspaces SET deleted = true",
    "UPDATE workspaces SET owner_id = 'BOB'",
    "UPDATE workspaces SET user_acl = '{}'",
    "UPDATE workspaces SET group_acl = '{}'",
    "INSERT INTO workspace_builds SELECT gen_random_uuid(), workspace_id, 2, 'stop',
         gen_random_uuid(), template_version_id, initiator_id, now() FROM workspace_builds",
    "UPDATE workspace_agents SET deleted = true",
    "UPDATE workspace_apps SET sharing_level = 'owner'",
    "DELETE FROM workspace_apps",
    "UPDATE workspace_agent_port_share SET share_level = 'owner'",
    "DELETE FROM workspace_agent_port_share",
    "UPDATE templates SET max_port_sharing_level = 'owner'",
    "DELETE FROM authd_shares",
    "INSERT INTO authd_revocations (reason) VALUES ('share_withdrawn')",
];

/// Statements that end nothing, some of which are frequent
const UNNOTICED: &[&str] = &[
    "UPDATE api_keys SET last_used = now()",
    "UPDATE users SET last_seen_at = now()",
    "UPDATE workspaces SET last_used_at = now()",
    "UPDATE workspace_agents SET last_connected_at = now()",
    "UPDATE workspace_apps SET health = 'healthy'",
    "INSERT INTO authd_shares VALUES ('DEV', 'main', 'code', false, 'BOB', now())",
    "INSERT INTO authd_revocations (reason) SELECT 'share_withdrawn' WHERE false",
];

/// With `end` after each statement, so that the answer does not depend on time
#[tokio::test]
async fn what_may_end_something_is_noticed() {
    let fleet = fleet();
    let database = Database::new().await;
    database.store().await.load(&fleet).await.unwrap();
    let (client, mut notified) = listen(&database, "authd_revocations").await;
    let ports = "INSERT INTO workspace_agent_port_share VALUES ('DEV', 'main', 8080, 'public')";
    database.sql(&with_ids(&fleet, ports)).await;
    let unnoticed = UNNOTICED.iter().map(|statement| (statement, false));
    for (statement, is_noticed) in unnoticed.chain(NOTICED.iter().map(|one| (one, true))) {
        client.batch_execute(&with_ids(&fleet, statement)).await.unwrap();
        client.batch_execute("NOTIFY authd_revocations, 'end'").await.unwrap();
        let mut before = 0;
        while timeout(LONG, notified.recv()).await.unwrap().unwrap() != "end" {
            before += 1;
        }
        assert_eq!(before > 0, is_noticed, "{statement}");
    }
}

#[tokio::test]
async fn a_store_hears_of_changes_also_after_its_connection_was_ended() {
    let fleet = fleet();
    let database = Database::new().await;
    let store = database.store().await;
    store.load(&fleet).await.unwrap();
    let changed = async || timeout(LONG, store.changed()).await.unwrap().unwrap();
    // Once it listens: something may have changed before.
    changed().await;
    for _ in 0..2 {
        database.sql("DELETE FROM api_keys").await;
        changed().await;
        let ended = database
            .sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE query LIKE 'LISTEN authd%' AND datname = current_database()",
            )
            .await;
        assert_eq!(ended, ["t"]);
        // The end, or the new connection.
        changed().await;
    }
}

#[tokio::test]
async fn the_questions_about_grants_and_sessions_hear_on_one_connection() {
    let database = Database::new().await;
    let store = database.store().await;
    store.load(&fleet()).await.unwrap();
    let changed = async || timeout(LONG, store.changed()).await.unwrap().unwrap();
    let next_end = async || timeout(LONG, store.next_end()).await.unwrap().unwrap();
    // Once it listens
    changed().await;
    for first in [true, false] {
        database.sql("DELETE FROM api_keys").await;
        if first {
            changed().await;
            next_end().await;
        } else {
            next_end().await;
            changed().await;
        }
    }
    let more = timeout(Duration::from_millis(300), store.next_end()).await;
    assert!(more.is_err(), "nothing has happened since");
    assert_eq!(database.sql(LISTENING).await, ["1"]);
}

/// Beside a control plane no end of a session is noticed, and no connection is kept for that
#[tokio::test]
async fn ends_of_a_control_planes_sessions_are_not_listened_for() {
    let Withdrawals { database, store, .. } = Withdrawals::of(Release::V2_35).await;
    let ended = timeout(Duration::from_secs(1), store.next_end()).await;
    assert!(ended.is_err(), "{ended:?}");
    assert_eq!(database.sql(LISTENING).await, ["0"]);
}

const LISTENING: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE query LIKE 'LISTEN authd%' AND datname = current_database()";

/// Longer than any machine takes
const LONG: Duration = Duration::from_secs(60);

struct Withdrawals {
    release: Release,
    database: Database,
    store: PgStore,
    fleet: Fleet,
}

impl Withdrawals {
    async fn of(release: Release) -> Self {
        let fleet = fleet();
        let (workspace, agent) = (fleet.workspaces[0].id, fleet.workspace_agents[0].id);
        let database = Database::of_release(release).await;
        database.load(Rows::of(&fleet)).await.unwrap();
        let store = PgStore::connect(database.url(), &Options::default()).await.unwrap();
        let of = |key: &store::fleet::ApiKey| (UserId(key.user_id), (&*key.id).into());
        let sessions = fleet.api_keys.iter().map(|key| Some(of(key))).chain([None]);
        let grants: Vec<_> = sessions
            .map(|session| WatchedGrant::new(session, WorkspaceId(workspace), AgentId(agent)))
            .collect();
        let world = Self { release, database, store, fleet };
        world.store.watch_grants(&grants, world.now()).await.unwrap();
        assert_eq!(
            world.logged().await,
            Vec::<String>::new(),
            "{release}: nothing was there before"
        );
        world
    }

    /// A time at which all sessions are good
    fn now(&self) -> SystemTime {
        self.fleet.api_keys[0].last_used.into()
    }

    async fn take(&self, steps: &[Step]) {
        for (statement, expected) in steps {
            let statement = with_ids(&self.fleet, statement);
            self.database.sql("DELETE FROM authd_revocations").await;
            self.database.sql(&statement).await;
            let release = self.release;
            assert_eq!(self.logged().await, *expected, "{release}: {statement}");
            let again = self.database.sql("SELECT count(*) FROM authd_revocations").await;
            assert_eq!(self.logged().await, *expected, "{release}: it is kept");
            let count = expected.len().to_string();
            assert_eq!(again, [count], "{release}: {statement}");
        }
    }

    /// What is in the log after a question
    async fn logged(&self) -> Vec<String> {
        let all = Some(SystemTime::UNIX_EPOCH);
        let logged = self.store.revocations(all, Slice::ALL, self.now()).await.unwrap();
        let mut lines: Vec<_> =
            logged.entries.iter().map(|entry| self.line(&entry.revocation)).collect();
        lines.sort();
        lines
    }

    fn line(&self, Revocation { reason, mask, .. }: &Revocation) -> String {
        assert_eq!(mask.workspace, Some(WorkspaceId(self.fleet.workspaces[0].id)));
        let user = self.fleet.users.iter().find(|row| Some(UserId(row.id)) == mask.user);
        let user = user.map_or("-", |user| &user.username);
        let app = mask.app.as_deref().map(|app| format!(" {app}")).unwrap_or_default();
        format!("{reason} {user}{app}")
    }
}

/// Alice's workspace; Bob is in a group
fn fleet() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let [alice, bob, _] = ["alice", "bob", "carol"].map(|name| fleet.user(name, acme));
    fleet.group("crew", acme, &[bob]);
    let workspace = fleet.workspace(alice, "dev");
    fleet.templates[0].max_port_sharing_level = SharingLevel::Public;
    let build = fleet.build(workspace, Transition::Start);
    let agent = fleet.agent(build.resource, "main", "i-1").id;
    fleet.app(agent, "code");
    for user in [alice, bob] {
        fleet.session(user);
    }
    fleet
}

fn with_ids(fleet: &Fleet, statement: &str) -> String {
    let Fleet { users, groups, workspaces, organizations, .. } = fleet;
    let ids = [
        ("DEV", workspaces[0].id),
        ("BOB", users[1].id),
        ("CAROL", users[2].id),
        ("CREW", groups[0].id),
        ("ACME", organizations[0].id),
    ];
    ids.iter().fold(statement.to_owned(), |text, (name, id)| text.replace(name, &id.to_string()))
}
