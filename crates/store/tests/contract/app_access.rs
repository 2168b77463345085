use std::sync::Arc;

use app_authz::app::{AppFacts, ResolveError, SharingLevel, UncheckedRequest, WorkspaceFacts};
use app_authz::rbac::{BuiltInRoles, Switches};
use app_authz::{AppRequest, Rules, Target, decide, resolve};
use serde_json::json;
use store::Store;
use store::fleet::{self, Fleet, Transition, WorkspaceAgentPortShare};
use uuid::Uuid;

use crate::{session, sessions};

contract! {
    since V2_24;

    // scenario 124
    fn workspace_and_agent_may_come_as_one_piece(store, fleet: office) {
        let (workspace, agent) = (fleet.workspaces[0].id, fleet.workspace_agents[1].id);
        let request = AppRequest::try_from(UncheckedRequest {
            workspace_and_agent: format!("{workspace}.{agent}"),
            ..fields("alice", "", "", "aside")
        });
        assert_eq!(target(&store, &request.unwrap()).await.unwrap().agent().id.0, agent);
    }

    fn a_workspace_without_owner_is_not_found(store, fleet: orphaned) {
        let orphan = fleet.workspaces[0].id.to_string();
        assert_eq!(place(&store, &fields("alice", &orphan, "", "open")).await, None);
    }

    fn the_agents_are_those_of_the_newest_build(store, fleet: rebuilt) {
        let found = place(&store, &fields("alice", "dev", "", "open")).await.unwrap();
        let agents: Vec<_> = found.agents.iter().map(|agent| agent.id.0).collect();
        let [.., main, child, gone] = &fleet.workspace_agents[..] else { panic!() };
        assert!(gone.deleted);
        assert_eq!(agents, [child.id, main.id], "in the order of their names");
        let stale = fleet.workspace_agents[0].id.to_string();
        let request = app("alice", "dev", &stale, "open");
        assert_eq!(target(&store, &request).await, Err(ResolveError::NoAgent));
    }

    fn without_a_template_nothing_is_shared_by_port(store, _fleet: no_template) {
        let found = target(&store, &app("alice", "dev", "main", "8080")).await.unwrap();
        assert_eq!(found.sharing(), SharingLevel::Owner);
        assert_eq!(found.cors(), app_authz::app::CorsBehavior::Simple);
    }

    fn agents_of_the_past_have_no_terminal(store, fleet: rebuilt) {
        let [stale, main, child, gone] = &fleet.workspace_agents[..] else { panic!() };
        for (row, found) in [(stale, false), (main, true), (child, true), (gone, false)] {
            let request = terminal(row.id).to_unchecked();
            assert_eq!(place(&store, &request).await.is_some(), found, "{}", row.name);
        }
    }

    fn an_access_list_counts_and_a_broken_one_grants_nothing(store, _fleet: listed) {
        let bob = session(1);
        let built_in = BuiltInRoles::new(Switches::default());
        for (name, opened) in [("dev", true), ("broken", false), ("listed-for-group", true)] {
            let request = app("alice", name, "main", "closed");
            let AppFacts { workspace, holders, .. } =
                store.app_access(&request, std::slice::from_ref(&bob)).await.unwrap();
            let target = resolve(&request, workspace.as_deref(), Rules::default()).unwrap();
            let subject = holders[0].subject(&built_in);
            let decision = decide(&target, Some(&subject), Rules::default());
            assert_eq!(decision.is_ok(), opened, "{name}");
        }
    }
}

/// What the request leads to, for a visitor without session, with facts that are kept for
/// the rest of the test
async fn target(store: &impl Store, request: &AppRequest) -> Result<Target<'static>, ResolveError> {
    let access = store.app_access(request, &[]).await.unwrap();
    let facts: &(_, _) = Box::leak(Box::new((request.clone(), access.workspace)));
    resolve(&facts.0, facts.1.as_deref(), Rules::default())
}

/// The place of a request that may be none a server would make
async fn place(store: &impl Store, fields: &UncheckedRequest) -> Option<WorkspaceFacts> {
    let request = AppRequest::try_from(fields.clone()).ok()?;
    store.app_access(&request, &[]).await.unwrap().workspace.map(Arc::unwrap_or_clone)
}

fn fields(owner: &str, workspace: &str, agent: &str, slug: &str) -> UncheckedRequest {
    UncheckedRequest {
        access_method: "subdomain".to_owned(),
        username_or_id: owner.to_owned(),
        workspace_name_or_id: workspace.to_owned(),
        agent_name_or_id: agent.to_owned(),
        app_slug_or_port: slug.to_owned(),
        ..UncheckedRequest::default()
    }
}

fn app(owner: &str, workspace: &str, agent: &str, slug: &str) -> AppRequest {
    fields(owner, workspace, agent, slug).normalize().check().unwrap()
}

fn terminal(agent: Uuid) -> AppRequest {
    let fields = UncheckedRequest {
        access_method: "terminal".to_owned(),
        agent_name_or_id: agent.to_string(),
        ..UncheckedRequest::default()
    };
    fields.normalize().check().unwrap()
}

/// Alice's workspace `dev` with the agents `main` and `side`, and Bob, who has none
fn office() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    fleet.user("bob", acme);
    running(&mut fleet, alice, "dev");
    fleet
}

/// Adds a workspace that runs
fn running(fleet: &mut Fleet, owner: Uuid, name: &str) {
    let workspace = fleet.workspace(owner, name);
    let resource = fleet.build(workspace, Transition::Start).resource;
    let main = fleet.agent(resource, "main", "i-0abc").id;
    let side = fleet.agent(resource, "side", "i-0abc").id;
    fleet.app(main, "open").sharing_level = fleet::SharingLevel::Public;
    fleet.app(main, "closed");
    fleet.app(side, "aside");
}

fn orphaned() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    fleet.user("alice", acme);
    running(&mut fleet, Uuid::new_v4(), "orphan");
    fleet
}

fn rebuilt() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    let workspace = fleet.workspace(alice, "dev");
    let old = fleet.build(workspace, Transition::Start).resource;
    fleet.agent(old, "main", "i-0abc");
    let new = fleet.build(workspace, Transition::Start).resource;
    let main = fleet.agent(new, "main", "i-0abc").id;
    fleet.agent(new, "child", "i-0abc").parent_id = Some(main);
    fleet.agent(new, "gone", "i-0abc").deleted = true;
    fleet
}

/// A workspace with a shared port, whose template is missing
fn no_template() -> Fleet {
    let mut fleet = office();
    fleet.workspace_agent_port_share.push(WorkspaceAgentPortShare {
        workspace_id: fleet.workspaces[0].id,
        agent_name: "main".to_owned(),
        port: 8080,
        share_level: fleet::SharingLevel::Public,
        protocol: Default::default(),
    });
    fleet.templates.clear();
    fleet
}

/// Workspaces that are shared with Bob, by himself and by a group, or meant to be
fn listed() -> Fleet {
    let mut fleet = office();
    let [alice, bob] = [fleet.users[0].id, fleet.users[1].id];
    let friends = fleet.group("friends", fleet.organizations[0].id, &[bob]);
    running(&mut fleet, alice, "broken");
    running(&mut fleet, alice, "listed-for-group");
    let grants = json!(["read", "application_connect"]);
    fleet.workspaces[0].user_acl = json!({bob.to_string(): grants});
    fleet.workspaces[1].user_acl = json!({bob.to_string(): grants, "nobody": 7});
    fleet.workspaces[2].group_acl = json!({friends.to_string(): {"permissions": grants}});
    sessions(&mut fleet);
    fleet
}
