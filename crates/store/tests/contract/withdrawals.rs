//! What a grant may rest on, and is gone
//!
//! The changes are imported, which no store beside a control plane allows: `crates/store/tests` has them
//! in SQL for the tables of releases.

use std::time::SystemTime;

use app_authz::app::{Mask, Revocation, RevocationReason};
use app_authz::{UserId, WorkspaceId};
use serde_json::{Value, json};
use store::Store;
use store::fleet::{
    Fleet, GroupMember, OrganizationMember, PortShareProtocol, Share, SharingLevel, Template, User,
    Workspace, WorkspaceAgent, WorkspaceAgentPortShare, WorkspaceApp,
};
use store::import::{Details, Rows, Session as _};
use store::revocations::Slice;

use crate::revocations::{granted, now, of, share, team, user};

/// Runs each check over a store in memory and over one on tables of our own
macro_rules! on_own_tables {
    ($($name:ident)*) => {
        $(mod $name {
            use super::*;

            #[tokio::test]
            async fn in_memory() {
                let (store, fleet) = (store::MemoryStore::default(), team());
                store.load(&fleet);
                super::$name(store, fleet).await;
            }

            #[tokio::test]
            async fn in_postgres() {
                let (store, fleet) = (testkit::Database::new().await.store().await, team());
                store.load(&fleet).await.unwrap();
                super::$name(store, fleet).await;
            }
        })*
    };
}

on_own_tables! {
    a_share_that_an_import_removes_is_reported
    what_a_grant_rests_on_is_reported_once_it_is_gone
    an_entry_of_an_access_list_is_reported_once_it_is_gone
    parts_have_each_grant_once_and_new_ones_at_once
}

async fn a_share_that_an_import_removes_is_reported<S: Store>(store: S, fleet: Fleet) {
    let now = now(&store).await;
    share(&store, &["bob"], &["crew"], now).await;
    let before = store.revocations(None, Slice::ALL, now).await.unwrap();
    let workspace = fleet.workspaces[0].id;
    let mut rows = Rows::default();
    let (is_group, person_id) = (true, fleet.groups[0].id);
    let kept = Share {
        workspace_id: workspace,
        agent_name: "main".to_owned(),
        slug_or_port: "code".to_owned(),
        is_group,
        person_id,
        created_at: now.into(),
        created_by: None,
    };
    rows.want(&kept, &["created_at", "created_by"]);
    rows.exactly::<Share>("workspace_id", workspace);
    import(&store, &rows).await;
    let found = store.revocations(Some(before.at), Slice::NONE, now).await.unwrap();
    let mut mask = user(&fleet, 1);
    mask.workspace = Some(WorkspaceId(workspace));
    mask.app = Some("code".to_owned());
    assert_eq!(of(&found), [Revocation::new(RevocationReason::ShareWithdrawn, mask)]);
}

async fn what_a_grant_rests_on_is_reported_once_it_is_gone<S: Store>(store: S, fleet: Fleet) {
    let watched = Watched::begin(store, fleet).await;
    let fleet = &watched.fleet;
    let (alice, bob, place) = (fleet.users[0].id, fleet.users[1].id, fleet.workspaces[0].id);
    let port = WorkspaceAgentPortShare {
        workspace_id: place,
        agent_name: "main".to_owned(),
        port: 8080,
        share_level: SharingLevel::Owner,
        protocol: PortShareProtocol::Http,
    };
    let (code, crew) = (fleet.workspace_apps[0].clone(), fleet.group_members[0].clone());
    let level = |sharing_level| {
        let app = WorkspaceApp { sharing_level, ..code.clone() };
        move |rows: &mut Rows| rows.want(&app, &[])
    };
    let of_port = |share_level| {
        let port = WorkspaceAgentPortShare { share_level, ..port.clone() };
        move |rows: &mut Rows| rows.want(&port, &[])
    };
    watched.step("a port is shared", &of_port(SharingLevel::Authenticated), &[]).await;
    watched.step("an app is", &level(SharingLevel::Public), &[]).await;
    let app = ["share_withdrawn bob code", "share_withdrawn - code"];
    watched.step("an app is public no more", &level(SharingLevel::Authenticated), &app).await;
    watched.step("nor shared", &level(SharingLevel::Owner), &app).await;
    watched.step("and is again", &level(SharingLevel::Organization), &[]).await;
    let narrower = ["share_withdrawn bob 8080", "share_withdrawn - 8080"];
    watched.step("a port", &of_port(SharingLevel::Organization), &narrower).await;
    let gone = |rows: &mut Rows| {
        rows.exactly::<WorkspaceAgentPortShare>("workspace_id", place);
    };
    watched.step("a port is not shared", &gone, &narrower).await;

    let template = watched.fleet.templates[0].clone();
    let most = |max_port_sharing_level| {
        let template = Template { max_port_sharing_level, ..template.clone() };
        move |rows: &mut Rows| rows.want(&template, &[])
    };
    let all = ["share_withdrawn bob", "share_withdrawn -"];
    watched.step("a maximum", &most(SharingLevel::Public), &[]).await;
    watched.step("a lower maximum", &most(SharingLevel::Authenticated), &all).await;

    let withdrawn = ["permission_withdrawn bob"];
    let row = watched.fleet.users[1].clone();
    let roles = |roles: &[&str]| {
        let rbac_roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let row = User { rbac_roles, ..row.clone() };
        move |rows: &mut Rows| rows.want(&row, &[])
    };
    watched.step("roles", &roles(&["auditor", "owner"]), &[]).await;
    watched.step("a role less", &roles(&["auditor"]), &withdrawn).await;
    let members = |rows: &mut Rows| {
        rows.exactly::<GroupMember>("user_id", crew.user_id);
    };
    watched.step("a group", &members, &withdrawn).await;
    let organization = |rows: &mut Rows| {
        rows.exactly::<OrganizationMember>("user_id", bob);
    };
    watched.step("an organization", &organization, &withdrawn).await;

    let dev = watched.fleet.workspaces[0].clone();
    let owner = |owner_id| {
        let dev = Workspace { owner_id, ..dev.clone() };
        move |rows: &mut Rows| rows.want(&dev, &[])
    };
    // An owner does not rest on what is shared.
    let changed = ["permission_withdrawn alice", "share_withdrawn bob", "share_withdrawn bob code"];
    watched.step("another owner", &owner(bob), &changed).await;
    let changed =
        ["permission_withdrawn bob", "share_withdrawn alice", "share_withdrawn alice code"];
    watched.step("the first again", &owner(alice), &changed).await;
    let agent = WorkspaceAgent { deleted: true, ..watched.fleet.workspace_agents[0].clone() };
    let deleted = |rows: &mut Rows| rows.want(&agent, &[]);
    watched.step("an agent", &deleted, &["workspace_stopped -"]).await;
}

async fn an_entry_of_an_access_list_is_reported_once_it_is_gone<S: Store>(store: S, fleet: Fleet) {
    let watched = Watched::begin(store, fleet).await;
    let (dev, bob) = (watched.fleet.workspaces[0].clone(), watched.fleet.users[1].id.to_string());
    let crew = watched.fleet.groups[0].id.to_string();
    let everyone = watched.fleet.organizations[0].id.to_string();
    let lists = |users: Value, groups: Value| {
        let dev = Workspace { user_acl: users, group_acl: groups, ..dev.clone() };
        move |rows: &mut Rows| rows.want(&dev, &[])
    };
    let (admin, used) = (json!({&bob: ["*"]}), json!({&bob: ["read"]}));
    let withdrawn = ["permission_withdrawn bob"];
    watched.step("a user", &lists(admin.clone(), json!({})), &[]).await;
    watched.step("less", &lists(used.clone(), json!({})), &withdrawn).await;
    let groups = json!({&crew: ["*"], &everyone: ["read"]});
    watched.step("groups", &lists(used, groups.clone()), &[]).await;
    watched.step("no user", &lists(json!({}), groups), &withdrawn).await;
    let rest = json!({&everyone: ["read"]});
    watched.step("a group", &lists(json!({}), rest), &withdrawn).await;
    watched.step("everyone", &lists(json!({}), json!({})), &withdrawn).await;
}

async fn parts_have_each_grant_once_and_new_ones_at_once<S: Store>(store: S, fleet: Fleet) {
    let now = now(&store).await;
    let level = |sharing_level| {
        let mut rows = Rows::default();
        for app in &fleet.workspace_apps {
            rows.want(&WorkspaceApp { sharing_level, ..app.clone() }, &[]);
        }
        rows
    };
    import(&store, &level(SharingLevel::Authenticated)).await;
    let users = [Some(0), Some(1), Some(2), None];
    let grants = [0, 1].map(|place| users.map(|user| granted(&fleet, user, place)));
    store.watch_grants(&grants.concat(), now).await.unwrap();
    let part = |number| Slice::ALL.comparing(number, 3);
    assert_eq!(store.revocations(None, part(0), now).await.unwrap().entries, []);

    // All were looked at, and each is found in one part, but for those of the owner.
    import(&store, &level(SharingLevel::Owner)).await;
    let mut found = 0;
    for number in 0..3 {
        found += store.revocations(None, part(number), now).await.unwrap().entries.len();
    }
    assert_eq!(found, 6);
    assert_eq!(store.revocations(None, Slice::ALL, now).await.unwrap().entries, []);
}

/// Grants to Bob, Alice and a visitor who is not signed in, in Alice's first workspace
struct Watched<S> {
    store: S,
    fleet: Fleet,
    now: SystemTime,
}

impl<S: Store> Watched<S> {
    async fn begin(store: S, fleet: Fleet) -> Self {
        let now = now(&store).await;
        let grants = [Some(0), Some(1), None].map(|user| granted(&fleet, user, 0));
        store.watch_grants(&grants, now).await.unwrap();
        let first = store.revocations(None, Slice::ALL, now).await.unwrap();
        assert_eq!(first.entries, [], "nothing was there before");
        Self { store, fleet, now }
    }

    /// Imports rows, after which these revocations and no others are logged, once
    async fn step(&self, what: &str, change: &dyn Fn(&mut Rows), expected: &[&str]) {
        let mut rows = Rows::default();
        change(&mut rows);
        import(&self.store, &rows).await;
        let found = self.store.revocations(None, Slice::ALL, self.now).await.unwrap();
        let mut found: Vec<_> = of(&found).iter().map(|revocation| self.line(revocation)).collect();
        found.sort();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{what}");
        let again = self.store.revocations(None, Slice::ALL, self.now).await.unwrap();
        assert_eq!(again.entries, [], "{what}");
    }

    fn line(&self, revocation: &Revocation) -> String {
        let Mask { user, workspace, agent, app, session, .. } = &revocation.mask;
        let granted = granted(&self.fleet, None, 0);
        assert_eq!((*workspace, *agent), (Some(granted.workspace), Some(granted.agent)));
        assert_eq!(*session, None);
        let user = self.fleet.users.iter().find(|row| Some(UserId(row.id)) == *user);
        let user = user.map_or("-", |user| &user.username);
        let app = app.as_deref().map(|app| format!(" {app}")).unwrap_or_default();
        format!("{} {user}{app}", revocation.reason)
    }
}

async fn import(store: &impl Store, rows: &Rows) {
    let mut session = store.begin_import(false).await.unwrap();
    session.stage(rows).await.unwrap();
    session.apply(Details::First(0), |_| ()).await.unwrap();
    session.finish(None).await.unwrap();
}
