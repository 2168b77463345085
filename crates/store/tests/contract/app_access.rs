use std::sync::Arc;
use std::time::SystemTime;

use app_authz::app::{
    AgentStatus, AppFacts, INACTIVE_TIMEOUT, Reason, ResolveError, SharingLevel, UncheckedRequest,
    WorkspaceFacts,
};
use app_authz::rbac::{BuiltInRoles, Switches};
use app_authz::{AppRequest, Rules, Target, decide, resolve};
use chrono::Duration;
use serde_json::json;
use store::Store;
use store::fleet::{self, CorsBehavior, Fleet, Transition, WorkspaceAgentPortShare};
use uuid::Uuid;

use crate::{session, sessions};

contract! {
    since V2_24;

    // scenario 115, 123
    fn names_and_ids_lead_to_the_same_target(store, fleet: office) {
        let (owner, workspace) = (fleet.users[0].id, fleet.workspaces[0].id);
        let agent = fleet.workspace_agents[0].id;
        let by_names = target(&store, &app("alice", "dev", "main", "open")).await.unwrap();
        assert_eq!(by_names.workspace().id.0, workspace);
        assert_eq!(by_names.workspace().owner.0, owner);
        assert_eq!(by_names.workspace().owner_name, "alice");
        assert_eq!(by_names.workspace().organization.0, fleet.organizations[0].id);
        assert_eq!(by_names.agent().id.0, agent);
        assert_eq!(by_names.app().unwrap().0, fleet.workspace_apps[0].id);
        assert_eq!(by_names.url(), "http://127.0.0.1:8080");
        for (owner, workspace, agent) in [
            (owner.to_string(), workspace.to_string(), agent.to_string()),
            (owner.to_string().to_uppercase(), "dev".to_owned(), "main".to_owned()),
            ("alice".to_owned(), workspace.to_string(), String::new()),
            ("alice".to_owned(), "dev".to_owned(), agent.to_string()),
            ("ALICE".to_owned(), "Dev".to_owned(), String::new()),
        ] {
            let request = app(&owner, &workspace, &agent, "open");
            let found = target(&store, &request).await.unwrap();
            let case = format!("{owner} {workspace} {agent}");
            assert_eq!(found.workspace(), by_names.workspace(), "{case}");
            assert_eq!(found.agent(), by_names.agent(), "{case}");
            assert_eq!((found.app(), found.url()), (by_names.app(), by_names.url()), "{case}");
            assert_eq!(found.sharing(), by_names.sharing(), "{case}");
            assert_eq!(found.cors(), by_names.cors(), "{case}");
        }
    }

    // scenario 121
    fn an_app_is_found_on_whichever_agent_has_it(store, fleet: office) {
        let found = target(&store, &app("alice", "dev", "", "aside")).await.unwrap();
        assert_eq!(found.agent().id.0, fleet.workspace_agents[1].id);
        assert_eq!(found.request().agent(), None);
        let elsewhere = target(&store, &app("alice", "dev", "main", "aside")).await;
        assert_eq!(elsewhere, Err(ResolveError::NoApp));
    }

    // scenario 124
    fn workspace_and_agent_may_come_as_one_piece(store, fleet: office) {
        let (workspace, agent) = (fleet.workspaces[0].id, fleet.workspace_agents[1].id);
        let request = AppRequest::try_from(UncheckedRequest {
            workspace_and_agent: format!("{workspace}.{agent}"),
            ..fields("alice", "", "", "aside")
        });
        assert_eq!(target(&store, &request.unwrap()).await.unwrap().agent().id.0, agent);
    }

    fn a_user_is_found_by_name_and_never_by_address(store, fleet: users_without_address) {
        for nobody in ["carol@example.com", "alice@example.com", "nobody", "al_ce", "%"] {
            assert_eq!(place(&store, &fields(nobody, "dev", "", "open")).await, None, "{nobody}");
        }
        assert!(place(&store, &fields("carol", "dev", "", "open")).await.is_some());
        let deleted = fleet.users[1].id.to_string();
        assert_eq!(place(&store, &fields("ghost", "dev", "", "open")).await, None);
        let found = place(&store, &fields(&deleted, "dev", "", "open")).await.unwrap();
        assert_eq!(found.asked_owner.0.to_string(), deleted);
    }

    fn a_deleted_users_name_is_the_next_ones(store, fleet: name_taken_over) {
        let found = place(&store, &fields("alice", "dev", "", "open")).await.unwrap();
        assert_eq!(found.asked_owner.0, fleet.users.last().unwrap().id);
    }

    fn a_workspace_id_under_another_user_is_refused(store, fleet: office) {
        let workspace = fleet.workspaces[0].id.to_string();
        for other in ["bob", &*fleet.users[1].id.to_string()] {
            let request = app(other, &workspace, "main", "open");
            assert_eq!(target(&store, &request).await, Err(ResolveError::NotOwner), "{other}");
        }
        assert_eq!(target(&store, &app("bob", "dev", "", "open")).await, Err(ResolveError::NoWorkspace));
        let nobody = Uuid::new_v4().to_string();
        let request = app(&nobody, &workspace, "main", "open");
        assert_eq!(target(&store, &request).await, Err(ResolveError::NoWorkspace));
    }

    fn what_is_no_hyphenated_id_is_a_name(store, fleet: office) {
        let simple = fleet.workspaces[0].id.simple().to_string();
        let braced = format!("{{{}}}", fleet.users[0].id);
        assert_eq!(place(&store, &fields("alice", &simple, "", "open")).await, None);
        assert_eq!(place(&store, &fields(&braced, "dev", "", "open")).await, None);
    }

    fn names_that_no_row_can_have_are_unknown(store, _fleet: office) {
        for (user, workspace) in [("alice\0", "dev"), ("alice", "dev\0"), ("\0", "\0")] {
            assert_eq!(place(&store, &fields(user, workspace, "", "open")).await, None);
        }
        for (agent, slug) in [("", "open\0"), ("main", "\0"), ("main\0", "open")] {
            let found = target(&store, &app("alice", "dev", agent, slug)).await;
            assert!(found.unwrap_err().is_not_found());
        }
    }

    fn a_deleted_workspace_is_not_found(store, fleet: deleted) {
        let old = fleet.workspaces[0].id.to_string();
        assert_eq!(place(&store, &fields("alice", &old, "", "open")).await, None);
        let found = place(&store, &fields("alice", "dev", "", "open")).await.unwrap();
        assert_eq!(found.workspace.id.0, fleet.workspaces[1].id);
    }

    fn a_workspace_without_build_is_not_found(store, _fleet: unbuilt) {
        assert_eq!(place(&store, &fields("alice", "unbuilt", "", "open")).await, None);
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

    fn a_stopped_workspace_says_so(store, _fleet: stopped) {
        for agent in ["", "main", "nobody"] {
            let request = app("alice", "dev", agent, "open");
            assert_eq!(target(&store, &request).await, Err(ResolveError::Stopped));
        }
    }

    fn a_workspace_being_deleted_has_no_agents(store, fleet: being_deleted) {
        let found = place(&store, &fields("alice", "dev", "", "open")).await.unwrap();
        assert_eq!(found.transition, app_authz::app::Transition::Delete);
        assert_eq!(target(&store, &app("alice", "dev", "", "open")).await, Err(ResolveError::NoAgent));
        assert!(!fleet.workspaces[0].deleted);
    }

    fn times_are_read_as_they_are_stored(store, fleet: office) {
        let found = target(&store, &app("alice", "dev", "main", "open")).await.unwrap();
        let row = &fleet.workspace_agents[0];
        let contact = found.agent().contact;
        assert_eq!(contact.created_at, SystemTime::from(row.created_at));
        assert_eq!(contact.first_connected_at, row.first_connected_at.map(SystemTime::from));
        assert_eq!(contact.last_connected_at, row.last_connected_at.map(SystemTime::from));
        assert_eq!(contact.disconnected_at, None);
        let now = row.last_connected_at.unwrap() + Duration::seconds(30);
        assert_eq!(contact.status(now.into(), INACTIVE_TIMEOUT), AgentStatus::Connected);

        let never = target(&store, &app("alice", "dev", "side", "aside")).await.unwrap();
        let contact = never.agent().contact;
        assert_eq!(contact.first_connected_at, None);
        assert_eq!(contact.connection_timeout.as_secs(), 120);
    }

    fn an_app_without_url_or_elsewhere_is_not_opened(store, _fleet: office) {
        for (slug, why) in [
            ("elsewhere", ResolveError::NoApp),
            ("command", ResolveError::NoUrl),
            ("nothing", ResolveError::NoApp),
        ] {
            assert_eq!(target(&store, &app("alice", "dev", "main", slug)).await, Err(why), "{slug}");
        }
    }

    fn names_have_no_case_and_the_exact_one_is_preferred(store, fleet: in_other_case) {
        let [code, capital, space] = [0, 1, 2].map(|n| fleet.workspace_apps[n].id);
        for (owner, workspace, agent, slug, found) in [
            ("alice", "dev", "Main", "code", code),
            ("ALICE", "DEV", "MAIN", "Code", capital),
            ("Alice", "Dev", "main", "CODE", capital),
            ("alice", "dev", "", "code", code),
            ("alice", "dev", "", "code server", space),
            ("alice", &fleet.workspaces[0].id.to_string(), "main", "CODE SERVER", space),
        ] {
            let request = app(owner, workspace, agent, slug);
            let found_app = target(&store, &request).await.unwrap().app().unwrap();
            assert_eq!(found_app.0, found, "{owner} {workspace} {agent} {slug}");
        }
        for (agent, port, sharing) in [
            ("Main", "8443", SharingLevel::Public),
            ("main", "8443S", SharingLevel::Public),
            ("main", "8444", SharingLevel::Authenticated),
            ("Main", "8445", SharingLevel::Owner),
        ] {
            let found = target(&store, &app("alice", "dev", agent, port)).await.unwrap();
            assert_eq!(found.sharing(), sharing, "{agent} {port}");
        }
    }

    fn a_port_is_shared_as_its_row_says_and_the_template_allows(store, _fleet: shared_ports) {
        for (agent, port, sharing) in [
            ("main", "8080", SharingLevel::Authenticated),
            ("main", "8080s", SharingLevel::Authenticated),
            ("main", "8081", SharingLevel::Organization),
            ("main", "8082", SharingLevel::Owner),
            ("side", "8080", SharingLevel::Owner),
        ] {
            let found = target(&store, &app("alice", "dev", agent, port)).await.unwrap();
            assert_eq!(found.sharing(), sharing, "{agent} {port}");
            assert_eq!(found.app(), None);
        }
        let request = app("alice", "dev", "", "8080");
        assert_eq!(target(&store, &request).await, Err(ResolveError::AgentNeeded));
    }

    fn without_a_template_nothing_is_shared_by_port(store, _fleet: no_template) {
        let found = target(&store, &app("alice", "dev", "main", "8080")).await.unwrap();
        assert_eq!(found.sharing(), SharingLevel::Owner);
        assert_eq!(found.cors(), app_authz::app::CorsBehavior::Simple);
    }

    fn the_template_says_who_answers_for_other_origins(store, _fleet: open_to_others) {
        let found = target(&store, &app("alice", "dev", "main", "open")).await.unwrap();
        assert_eq!(found.cors(), app_authz::app::CorsBehavior::Passthru);
    }

    fn a_terminal_is_found_by_its_agent(store, fleet: office) {
        for row in &fleet.workspace_agents {
            let found = target(&store, &terminal(row.id)).await.unwrap();
            assert_eq!(found.agent().id.0, row.id);
            assert_eq!(found.agent().name, row.name);
            assert_eq!(found.workspace().id.0, fleet.workspaces[0].id);
            assert_eq!(found.workspace().owner_name, "alice");
            assert_eq!((found.sharing(), found.url()), (SharingLevel::Owner, ""));
        }
        assert_eq!(target(&store, &terminal(Uuid::new_v4())).await, Err(ResolveError::NoWorkspace));
    }

    fn agents_of_the_past_have_no_terminal(store, fleet: rebuilt) {
        let [stale, main, child, gone] = &fleet.workspace_agents[..] else { panic!() };
        for (row, found) in [(stale, false), (main, true), (child, true), (gone, false)] {
            let request = terminal(row.id).to_unchecked();
            assert_eq!(place(&store, &request).await.is_some(), found, "{}", row.name);
        }
    }

    fn agents_of_a_deleted_workspace_have_no_terminal(store, fleet: deleted) {
        let [old, new] = [fleet.workspace_agents[0].id, fleet.workspace_agents.last().unwrap().id];
        assert_eq!(target(&store, &terminal(old)).await, Err(ResolveError::NoWorkspace));
        assert!(target(&store, &terminal(new)).await.is_ok());
    }

    fn a_dormant_workspace_is_known_as_such(store, _fleet: dormant) {
        assert!(target(&store, &app("alice", "dev", "main", "open")).await.unwrap().workspace().dormant);
    }

    fn place_and_holder_come_together_and_decide(store, _fleet: visited) {
        let [alice, bob, carol] = [0, 1, 2].map(session);
        let built_in = BuiltInRoles::new(Switches::default());
        for (token, slug, denied) in [
            (Some(&alice), "closed", None),
            (Some(&bob), "closed", Some(Reason::NotShared)),
            (Some(&bob), "team", None),
            (Some(&carol), "team", Some(Reason::NotMember)),
            (Some(&carol), "signed-in", None),
            (None, "signed-in", Some(Reason::NotSignedIn)),
            (None, "open", None),
        ] {
            let request = app("alice", "dev", "main", slug);
            let access = store.app_access(&request, token.map_or(&[], std::slice::from_ref)).await;
            let AppFacts { workspace, holders, .. } = access.unwrap();
            assert_eq!(holders.len(), usize::from(token.is_some()));
            let subject = holders.first().map(|holder| holder.subject(&built_in));
            let target = resolve(&request, workspace.as_deref(), Rules::default()).unwrap();
            let decision = decide(&target, subject.as_ref(), Rules::default());
            assert_eq!(decision.err().map(|denial| denial.reason()), denied, "{token:?} {slug}");
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

    fn unknown_places_hide_no_holder_and_the_other_way_round(store, fleet: visited) {
        let alice = session(0);
        let request = app("nobody", "dev\0", "", "open");
        let access = store.app_access(&request, &[alice]).await.unwrap();
        assert_eq!((access.workspace, access.holders.len()), (None, 1));
        let unknown = app_authz::credential::SessionToken::generate(|bytes| bytes.fill(7));
        let request = terminal(fleet.workspace_agents[0].id);
        let access = store.app_access(&request, &[unknown]).await.unwrap();
        assert_eq!((access.workspace.is_some(), access.holders.len()), (true, 0));
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
fn running(fleet: &mut Fleet, owner: Uuid, name: &str) -> Uuid {
    let workspace = fleet.workspace(owner, name);
    let resource = fleet.build(workspace, Transition::Start).resource;
    let agent = fleet.agent(resource, "main", "i-0abc");
    agent.first_connected_at = Some(agent.created_at + Duration::seconds(10));
    agent.last_connected_at = Some(agent.created_at + Duration::microseconds(20_000_001));
    let main = agent.id;
    let side = fleet.agent(resource, "side", "i-0abc").id;
    fleet.app(main, "open").sharing_level = fleet::SharingLevel::Public;
    fleet.app(main, "signed-in").sharing_level = fleet::SharingLevel::Authenticated;
    fleet.app(main, "team").sharing_level = fleet::SharingLevel::Organization;
    fleet.app(main, "closed");
    fleet.app(main, "elsewhere").external = true;
    fleet.app(main, "command").url = None;
    fleet.app(side, "aside");
    workspace
}

fn users_without_address() -> Fleet {
    let mut fleet = office();
    let acme = fleet.organizations[0].id;
    fleet.users[0].email = String::new();
    fleet.users.truncate(1);
    fleet.organization_members.truncate(1);
    let ghost = fleet.user("ghost", acme);
    fleet.users[1].deleted = true;
    running(&mut fleet, ghost, "dev");
    let carol = fleet.user("carol", acme);
    running(&mut fleet, carol, "dev");
    fleet
}

fn name_taken_over() -> Fleet {
    let mut fleet = office();
    let acme = fleet.organizations[0].id;
    fleet.users[0].deleted = true;
    let alice = fleet.user("Alice", acme);
    running(&mut fleet, alice, "dev");
    fleet
}

fn deleted() -> Fleet {
    let mut fleet = office();
    let alice = fleet.users[0].id;
    fleet.workspaces[0].deleted = true;
    running(&mut fleet, alice, "dev");
    fleet
}

fn unbuilt() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    fleet.workspace(alice, "unbuilt");
    fleet
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

fn stopped() -> Fleet {
    let mut fleet = office();
    let workspace = fleet.workspaces[0].id;
    fleet.build(workspace, Transition::Stop);
    fleet
}

fn being_deleted() -> Fleet {
    let mut fleet = office();
    let workspace = fleet.workspaces[0].id;
    fleet.build(workspace, Transition::Delete);
    fleet.workspaces[0].deleted = false;
    fleet
}

fn shared_ports() -> Fleet {
    let mut fleet = office();
    let workspace_id = fleet.workspaces[0].id;
    for (port, share_level) in [
        (8080, fleet::SharingLevel::Public),
        (8081, fleet::SharingLevel::Organization),
        (9000, fleet::SharingLevel::Public),
    ] {
        fleet.workspace_agent_port_share.push(WorkspaceAgentPortShare {
            workspace_id,
            agent_name: "main".to_owned(),
            port,
            share_level,
            protocol: Default::default(),
        });
    }
    fleet.templates[0].max_port_sharing_level = fleet::SharingLevel::Authenticated;
    fleet
}

fn in_other_case() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    let workspace_id = fleet.workspace(alice, "Dev");
    let resource = fleet.build(workspace_id, Transition::Start).resource;
    let main = fleet.agent(resource, "Main", "i-0abc").id;
    for slug in ["code", "Code", "Code Server"] {
        fleet.app(main, slug);
    }
    for (agent_name, port, share_level) in [
        ("MAIN", 8443, fleet::SharingLevel::Public),
        ("MAIN", 8444, fleet::SharingLevel::Public),
        ("Main", 8444, fleet::SharingLevel::Authenticated),
    ] {
        fleet.workspace_agent_port_share.push(WorkspaceAgentPortShare {
            workspace_id,
            agent_name: agent_name.to_owned(),
            port,
            share_level,
            protocol: Default::default(),
        });
    }
    fleet.templates[0].max_port_sharing_level = fleet::SharingLevel::Public;
    fleet
}

fn open_to_others() -> Fleet {
    let mut fleet = office();
    fleet.templates[0].cors_behavior = CorsBehavior::Passthru;
    fleet
}

fn no_template() -> Fleet {
    let mut fleet = shared_ports();
    fleet.templates.clear();
    fleet
}

fn dormant() -> Fleet {
    let mut fleet = office();
    fleet.workspaces[0].dormant_at = Some(fleet.users[0].created_at);
    fleet
}

/// The office, a stranger, and a session for each
fn visited() -> Fleet {
    let mut fleet = office();
    let globex = fleet.organization("globex");
    fleet.user("carol", globex);
    sessions(&mut fleet);
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
