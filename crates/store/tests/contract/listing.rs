use std::sync::Arc;

use app_authz::UserId;
use app_authz::id::OrganizationId;
use app_authz::rbac::{BuiltInRoles, Role, RoleName, Scope, Subject, Switches, WorkspaceSharing};
use store::fleet::{AppHealth, Fleet, SharingLevel, Transition};
use store::listing::{Health, ListPosition, ListQuery};

contract! {
    since V2_24;

    fn own_workspaces_come_first_and_others_if_they_share_an_app(store, fleet: apps) {
        let all = [
            "alice/dev: code,jupyter,shared",
            "alice/off: ",
            "alice/plain: ",
            "bob/Lab: code,jupyter,shared",
        ];
        for (search, after, limit, expected) in [
            ("", None, 100, &all[..]),
            ("", None, 2, &all[..2]),
            ("", Some((false, "alice", "dev")), 100, &all[1..]),
            ("", Some((false, "ALICE", "Off")), 1, &all[2..3]),
            ("", Some((true, "bob", "aaa")), 100, &all[3..]),
            ("", Some((true, "bob", "lab")), 100, &[]),
            ("LAB", None, 100, &all[3..]),
            (" alice ", None, 100, &all[..3]),
            // The name that is shown, and the slug.
            ("editor", None, 100, &["alice/dev: code,jupyter,shared", "bob/Lab: code,jupyter,shared"]),
            ("jupy", Some((true, "a", "")), 100, &all[3..]),
            ("%", None, 100, &[]),
            ("\0", None, 1, &all[..1]),
        ] {
            let mut asked = ListQuery::new(&member(&fleet, 0), search, limit);
            asked.after = after.map(|(is_of_other, owner, workspace)| ListPosition {
                is_of_other,
                owner: owner.to_owned(),
                workspace: workspace.to_owned(),
            });
            let found: Vec<_> = store.listed(&asked).await.unwrap().into_iter().map(|listed| {
                let workspace = &listed.facts.workspace;
                let slugs: Vec<_> = listed.facts.apps.iter().map(|app| &*app.slug).collect();
                assert_eq!(listed.apps.len(), slugs.len());
                format!("{}/{}: {}", workspace.owner_name, workspace.name, slugs.join(","))
            }).collect();
            assert_eq!(found, expected, "{search:?} {after:?} {limit}");
        }
    }

    fn apps_that_an_organization_shares_are_listed_for_its_members(store, fleet: shared_in_one) {
        for (user, expected) in
            [(0, &["bob/team"][..]), (1, &["bob/team"]), (2, &[]), (3, &["dan/room"])]
        {
            let asked = ListQuery::new(&member(&fleet, user), "", 100);
            let found = store.listed(&asked).await.unwrap();
            let names: Vec<_> = found.iter().map(|listed| {
                let workspace = &listed.facts.workspace;
                format!("{}/{}", workspace.owner_name, workspace.name)
            }).collect();
            assert_eq!(names, expected, "user {user}");
        }
    }

    fn each_app_has_its_name_its_health_and_its_agent(store, fleet: apps) {
        let asked = ListQuery::new(&member(&fleet, 0), "", 1);
        let dev = store.listed(&asked).await.unwrap().remove(0);
        assert_eq!(dev.facts.agents.len(), 2);
        let mut seen: Vec<_> = dev.facts.apps.iter().map(|app| {
            let shown = dev.apps.iter().find(|shown| shown.id == app.id).unwrap();
            let agent = dev.facts.agents.iter().find(|agent| agent.id == app.agent).unwrap();
            (&*app.slug, &*shown.display_name, shown.health, shown.is_on_own_host, &*agent.name)
        }).collect();
        seen.sort_by_key(|(slug, ..)| *slug);
        assert_eq!(seen, [
            ("code", "Editor", Health::Healthy, true, "main"),
            ("jupyter", "jupyter", Health::Initializing, false, "second"),
            ("shared", "shared", Health::Unknown, false, "main"),
        ]);
    }
}

/// Alice has two agents with apps, a stopped workspace, one without agents, a dormant and a
/// deleted one. Bob of another organization has a workspace that shares an app, and one that does
/// not.
fn apps() -> Fleet {
    let mut fleet = Fleet::default();
    let [acme, globex] = ["acme", "globex"].map(|name| fleet.organization(name));
    let (alice, bob) = (fleet.user("alice", acme), fleet.user("bob", globex));
    for (owner, name) in
        [(alice, "dev"), (bob, "Lab"), (bob, "closed"), (alice, "gone"), (alice, "asleep")]
    {
        let workspace = fleet.workspace(owner, name);
        let build = fleet.build(workspace, Transition::Start);
        let main = fleet.agent(build.resource, "main", name).id;
        let second = fleet.agent(build.resource, "second", &format!("{name}-2")).id;
        if name == "closed" {
            fleet.app(main, "own");
            continue;
        }
        let code = fleet.app(main, "code");
        code.display_name = "Editor".to_owned();
        code.subdomain = true;
        code.health = AppHealth::Healthy;
        fleet.app(second, "jupyter").health = AppHealth::Initializing;
        fleet.app(main, "shared").sharing_level = SharingLevel::Authenticated;
        fleet.app(main, "hidden").hidden = true;
        let row = fleet.workspaces.last_mut().unwrap();
        row.deleted = name == "gone";
        row.dormant_at = (name == "asleep").then_some(row.last_used_at);
    }
    let off = fleet.workspace(alice, "off");
    let build = fleet.build(off, Transition::Start);
    let agent = fleet.agent(build.resource, "main", "off").id;
    fleet.app(agent, "code");
    fleet.build(off, Transition::Stop);
    let plain = fleet.workspace(alice, "plain");
    fleet.build(plain, Transition::Start);
    fleet
}

/// Alice and Bob are members of one organization, Carol and Dan each of another. Bob shares an app
/// with his organization, and Dan with his.
fn shared_in_one() -> Fleet {
    let mut fleet = Fleet::default();
    let [acme, globex, initech] =
        ["acme", "globex", "initech"].map(|name| fleet.organization(name));
    fleet.user("alice", acme);
    let bob = fleet.user("bob", acme);
    fleet.user("carol", globex);
    let dan = fleet.user("dan", initech);
    for (owner, name) in [(bob, "team"), (dan, "room")] {
        let workspace = fleet.workspace(owner, name);
        let build = fleet.build(workspace, Transition::Start);
        let agent = fleet.agent(build.resource, "main", name).id;
        fleet.app(agent, "board").sharing_level = SharingLevel::Organization;
    }
    fleet
}

fn member(fleet: &Fleet, user: usize) -> Subject {
    let row = &fleet.organization_members[user];
    let organization = OrganizationId(row.organization_id);
    let name = RoleName::in_organization("organization-member", organization).unwrap();
    let names = [(&name, WorkspaceSharing::default())];
    let roles: Vec<Arc<Role>> = BuiltInRoles::new(Switches::default()).expand(names, &[]);
    Subject::new(UserId(row.user_id), roles, Scope::all())
}
