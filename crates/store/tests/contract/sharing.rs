use std::time::{Duration, SystemTime};

use app_audit::{Act, ActFilter, ActKind, Page};
use app_authz::app::{Person, ResolveError, SharingLevel};
use app_authz::id::{GroupId, OrganizationId};
use app_authz::{Rules, UserId, WorkspaceId};
use store::Store;
use store::fleet::{self, Fleet, Transition};
use store::sharing::{Changed, Edit, MAX_PEOPLE, ShareError, ShareRequest, change};

use crate::session;

contract! {
    since V2_24;

    fn a_list_is_set_added_to_and_removed_from(store, fleet: team) {
        let [alice, bob, carol] = users(&fleet);
        let group = Person::Group(GroupId(fleet.groups[0].id));
        let run = async |edit, users: &[&str], groups: &[&str]| {
            changed(&store, ask("code", edit, users, groups)).await.unwrap()
        };
        assert_eq!(run(Edit::Set, &["BOB"], &["crew"]).await, (vec![bob, group], vec![]));
        assert_eq!(run(Edit::Set, &["BOB"], &["crew"]).await, (vec![], vec![]), "once more");
        assert_eq!(run(Edit::Add, &["carol", "bob"], &[]).await, (vec![carol], vec![]));
        assert_eq!(run(Edit::Remove, &["bob", "alice"], &[]).await, (vec![], vec![bob]));
        assert_eq!(run(Edit::Set, &["alice"], &[]).await, (vec![alice], vec![carol, group]));
        assert_eq!(run(Edit::Set, &[], &[]).await, (vec![], vec![alice]));
        assert!(store.shares(None).await.unwrap().is_empty());

        // Only changes are acts, with whom they are about.
        let acts = store.list_acts(&ActFilter::default(), Page::first(10)).await.unwrap();
        // They are of one time, so they come in any order.
        let mut added: Vec<_> = acts.iter().map(|act| act.detail["added"].to_string()).collect();
        let mut expected = [
            format!(r#"["{bob}","{group}"]"#),
            format!(r#"["{carol}"]"#),
            "[]".to_owned(),
            format!(r#"["{alice}"]"#),
            "[]".to_owned(),
        ];
        added.sort();
        expected.sort();
        assert_eq!(added, expected);
        assert_eq!(acts[0].workspace_id, Some(fleet.workspaces[0].id));
    }

    fn rows_are_listed_with_the_names_of_what_exists(store, fleet: team) {
        let gone = fleet.users[3].id;
        changed(&store, ask("8080s", Edit::Set, &["bob"], &["crew"])).await.unwrap();
        changed(&store, ask("CODE", Edit::Set, &["carol"], &[])).await.unwrap();
        let rows = store.shares(Some(WorkspaceId(fleet.workspaces[0].id))).await.unwrap();
        let texts: Vec<_> = rows
            .iter()
            .map(|row| {
                let (workspace, name) = (row.workspace.as_deref(), row.name.as_deref());
                (workspace.unwrap(), &*row.agent, &*row.app, row.is_group, name.unwrap())
            })
            .collect();
        assert_eq!(
            texts,
            [
                ("alice/dev", "main", "8080", false, "bob"),
                ("alice/dev", "main", "8080", true, "crew"),
                ("alice/dev", "main", "code", false, "carol"),
            ]
        );
        assert_eq!(rows[0].created_by, Some(fleet.users[0].id));
        let other = store.shares(Some(WorkspaceId(gone))).await.unwrap();
        assert!(other.is_empty(), "of another workspace");
    }

    fn what_cannot_be_shared_is_refused(store, fleet: team) {
        let by_id = fleet.users[3].id.to_string();
        let other_group = fleet.groups[1].id.to_string();
        let refusal = async |asked: ShareRequest| changed(&store, asked).await.unwrap_err().to_string();
        let add = |app, users: &[&str], groups: &[&str]| ask(app, Edit::Set, users, groups);
        for (asked, expected) in [
            (add("code", &["ghost"], &[]), "the user `ghost` does not exist"),
            (add("code", &["gone"], &[]), "the user `gone` does not exist"),
            (add("code", &["b%b"], &[]), "the user `b%b` does not exist"),
            (add("code", &["\0"], &[]), "the user `\0` does not exist"),
            (add("code", &[&by_id], &[]), &format!("the user `{by_id}` does not exist")),
            (
                add("code", &[], &["others"]),
                "the group `others` does not exist in the workspace's organization",
            ),
            (add("8", &["bob"], &[]), "ports below 9 are reserved and never open"),
            (add("none", &["bob"], &[]), "no such app"),
            (
                add("code", &["dora"], &[]),
                "the template allows sharing at the level `organization` at most, and `dora` is not \
                 a member of the workspace's organization",
            ),
        ] {
            assert_eq!(refusal(asked).await, expected);
        }
        let many: Vec<_> = (0..=MAX_PEOPLE).map(|n| format!("user-{n}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let refused = changed(&store, add("code", &many, &[])).await.unwrap_err();
        assert!(matches!(refused, ShareError::TooMany), "{refused}");
        assert!(store.shares(None).await.unwrap().is_empty(), "nothing was written");

        // A group of another organization counts by its id.
        changed(&store, add("code", &[], &[&other_group])).await.unwrap();
        // A deleted user can be removed by id.
        assert_eq!(
            changed(&store, ask("code", Edit::Remove, &[&by_id], &[])).await.unwrap(),
            (vec![], vec![])
        );
    }

    fn shares_add_up_to_the_most_there_may_be(store, fleet: crowd) {
        let names = fleet.users.iter().map(|user| &*user.username);
        let names: Vec<_> = names.filter(|name| name.starts_with("user-")).collect();
        let (first, rest) = names.split_at(MAX_PEOPLE);
        let all = changed(&store, ask("code", Edit::Add, first, &[])).await.unwrap();
        assert_eq!(all.0.len(), MAX_PEOPLE);
        let refused = changed(&store, ask("code", Edit::Add, rest, &[])).await.unwrap_err();
        assert!(matches!(refused, ShareError::TooMany), "{refused}");
        assert_eq!(store.shares(None).await.unwrap().len(), MAX_PEOPLE, "it was undone");
        changed(&store, ask("code", Edit::Set, rest, &[])).await.unwrap();
        assert_eq!(store.shares(None).await.unwrap().len(), rest.len());
    }

    fn a_stopped_workspace_is_not_shared_but_what_was_is_withdrawn(store, fleet: stopped) {
        let add = changed(&store, ask("code", Edit::Add, &["bob"], &[])).await.unwrap_err();
        assert!(matches!(add, ShareError::NotOpenable(ResolveError::Stopped)), "{add}");
        let bob = Person::User(UserId(fleet.users[1].id));
        let removed = changed(&store, ask("code", Edit::Set, &[], &[])).await.unwrap();
        assert_eq!(removed, (vec![], vec![bob]));
    }

    fn a_template_that_shares_nothing_forbids_it(store, _fleet: forbidden) {
        for app in ["code", "8080"] {
            let refused = changed(&store, ask(app, Edit::Add, &["bob"], &[])).await.unwrap_err();
            let refused = refused.to_string();
            assert_eq!(refused, "the template allows sharing at the level `owner` at most");
        }
        changed(&store, ask("code", Edit::Set, &[], &[])).await.unwrap();
    }

    fn a_decision_is_explained(store, fleet: team) {
        use app_authz::rbac::{BuiltInRoles, Switches};
        use store::sharing::explain;

        changed(&store, ask("code", Edit::Set, &["bob"], &[])).await.unwrap();
        let roles = BuiltInRoles::new(Switches::default());
        let explained = async |user: usize, app: &str| {
            let (session, rules) = (session(user), Rules::default());
            let asked = ask(app, Edit::Set, &[], &[]);
            let answer = explain(&store, &asked, session.id(), rules, &roles).await.unwrap();
            (answer.allowed, answer.class, answer.text)
        };
        let bob = format!("a share with user {}", fleet.users[1].id);
        assert_eq!(explained(1, "code").await, (true, "shared_with_user", bob));
        assert_eq!(explained(0, "code").await.1, "rights");
        assert_eq!(explained(2, "code").await.1, "not_shared");
        assert_eq!(explained(1, "8080").await.1, "not_shared");
        assert_eq!(explained(1, "none").await, (false, "not_found", "no such app".to_owned()));
        let asked = ask("code", Edit::Set, &[], &[]);
        for unknown in ["ghost", "0000000099", ""] {
            let refused = explain(&store, &asked, unknown, Rules::default(), &roles).await;
            let refused = refused.unwrap_err().to_string();
            assert_eq!(refused, format!("the session `{unknown}` does not exist"));
        }
    }

    fn the_list_of_apps_has_those_that_are_shared_by_name(store, fleet: team) {
        use app_authz::rbac::{BuiltInRoles, Switches};
        use store::listing::ListQuery;

        let listed = async |user: usize| {
            let holders = store.holders(&[session(user)]).await.unwrap();
            let subject = holders[0].subject(&BuiltInRoles::new(Switches::default()));
            let rows = store.listed(&ListQuery::new(&subject, "", 10)).await.unwrap();
            let shared = rows.iter().flat_map(|row| &row.facts.people_shares);
            (rows.len(), shared.count())
        };
        assert_eq!(listed(1).await, (0, 0));
        let everyone = OrganizationId(fleet.organizations[0].id).0.to_string();
        for (users, groups) in
            [(&["bob"][..], vec![]), (&[][..], vec!["crew"]), (&[][..], vec![&*everyone])]
        {
            changed(&store, ask("code", Edit::Set, users, &groups)).await.unwrap();
            assert_eq!(listed(1).await, (1, 1), "{users:?} {groups:?}");
            assert_eq!(listed(4).await, (0, 0), "of another organization");
            changed(&store, ask("code", Edit::Set, &[], &[])).await.unwrap();
        }
    }
}

/// Whom a change added and removed
type Outcome = (Vec<Person>, Vec<Person>);

async fn changed(store: &impl Store, asked: ShareRequest) -> Result<Outcome, ShareError> {
    let facts = store.app_access(&asked.request()?, &[]).await?;
    let place = facts.workspace.unwrap();
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000);
    let by = Some(place.workspace.owner);
    let act = Act::new(ActKind::ShareChange, at);
    let changed = change(store, &place, &asked, Rules::default(), (by, at), &act).await?;
    let Changed { added, removed, .. } = changed.1;
    Ok((added, removed))
}

fn ask(app: &str, edit: Edit, users: &[&str], groups: &[&str]) -> ShareRequest {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let mut asked = ShareRequest::of("alice/dev", app).unwrap();
    (asked.edit, asked.users, asked.groups) = (edit, names(users), names(groups));
    asked
}

fn users(fleet: &Fleet) -> [Person; 3] {
    [0, 1, 2].map(|n| Person::User(UserId(fleet.users[n].id)))
}

/// A workspace of Alice's, whose colleagues are Bob and Carol; Dora is in another organization
fn team() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let others = fleet.organization("others");
    let alice = fleet.user("alice", acme);
    let bob = fleet.user("bob", acme);
    fleet.user("carol", acme);
    let gone = fleet.user("gone", acme);
    fleet.users.last_mut().unwrap().deleted = true;
    let dora = fleet.user("dora", others);
    fleet.group("crew", acme, &[bob]);
    fleet.group("others", others, &[dora]);
    let workspace = fleet.workspace(alice, "dev");
    fleet.templates.last_mut().unwrap().max_port_sharing_level = fleet::SharingLevel::Organization;
    let build = fleet.build(workspace, Transition::Start);
    let agent = fleet.agent(build.resource, "main", "i-1").id;
    fleet.app(agent, "code");
    crate::sessions(&mut fleet);
    // A deleted user has no sessions.
    fleet.api_keys.retain(|key| key.user_id != gone);
    fleet
}

fn crowd() -> Fleet {
    let mut fleet = team();
    let acme = fleet.organizations[0].id;
    for n in 0..MAX_PEOPLE + 4 {
        fleet.user(&format!("user-{n}"), acme);
    }
    fleet
}

fn stopped() -> Fleet {
    let mut fleet = team();
    let workspace = fleet.workspaces[0].id;
    fleet.authd_shares.push(fleet::Share {
        workspace_id: workspace,
        agent_name: "main".to_owned(),
        slug_or_port: "code".to_owned(),
        is_group: false,
        person_id: fleet.users[1].id,
        created_at: fleet.workspaces[0].last_used_at,
        created_by: None,
    });
    let build = fleet.build(workspace, Transition::Stop);
    fleet.agent(build.resource, "main", "i-1");
    fleet
}

fn forbidden() -> Fleet {
    let mut fleet = team();
    fleet.templates[0].max_port_sharing_level = fleet::SharingLevel::Owner;
    assert_eq!(SharingLevel::from(fleet.templates[0].max_port_sharing_level), SharingLevel::Owner);
    fleet
}
