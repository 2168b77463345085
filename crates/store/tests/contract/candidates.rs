//! The published rules of the port, and what only the control plane's tables can hold

use agent_auth::conformance::{Rows, Rule};
use std::time::{Duration, SystemTime};

use agent_auth::{Candidate, Denial, ProvenInstance, Rules, select};
use store::fleet::{Fleet, JobType, Transition};
use uuid::Uuid;

// scenarios 261, 262, 268 and 270
// The rows behind scenarios 256, 259 and 274
agent_auth::__candidates_rules! { rules { RULES: Rule since V2_20; } }

/// The rows of a rule as a control plane has them: with owners, jobs and resources
fn fleet(rows: &Rows) -> Fleet {
    let mut fleet = Fleet::default();
    let add = |fleet: &mut Fleet, resource, agent: &agent_auth::conformance::Agent, parent| {
        let row = fleet.agent(resource, &agent.name, &agent.instance);
        row.auth_token.0 = agent.token;
        row.created_at = agent.created_at.into();
        row.deleted = agent.is_deleted;
        row.parent_id = parent;
        row.id
    };
    for workspace in &rows.workspaces {
        let organization = fleet.organization(&format!("of-{}", workspace.name));
        let owner = fleet.user(&format!("owner-{}", workspace.name), organization);
        let id = fleet.workspace(owner, &workspace.name);
        for build in &workspace.builds {
            let is_last = workspace.builds.last() == Some(build);
            let transition = match (&*build.agents, is_last && workspace.is_deleted) {
                (_, true) => Transition::Delete,
                ([], _) => Transition::Stop,
                _ => Transition::Start,
            };
            let resource = fleet.build(id, transition).resource;
            let mut first = None;
            for agent in &build.agents {
                let parent = first.filter(|_| agent.is_sub_agent);
                let id = add(&mut fleet, resource, agent, parent);
                first.get_or_insert(id);
            }
        }
    }
    for agent in &rows.without_build {
        let organization = fleet.organizations[0].id;
        for job in [JobType::TemplateVersionImport, JobType::TemplateVersionDryRun] {
            let resource = fleet.bare_job(job, organization);
            add(&mut fleet, resource, agent, None);
        }
    }
    fleet
}

contract! {
    since V2_20;

    fn a_store_that_was_just_loaded_is_ready(store, _fleet: one_agent) {
        store.ping().await.unwrap();
    }

    fn a_candidate_has_the_ids_of_the_control_plane(store, fleet: one_agent) {
        let agent = &fleet.workspace_agents[0];
        let found = store.by_instance(proven(ID)).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].agent.0, agent.id);
        assert_eq!(*found[0].token.reveal(), agent.auth_token.0);
        assert_eq!(found[0].build.0, fleet.workspace_builds[0].id);
        assert_eq!(found[0].workspace.0, fleet.workspaces[0].id);
    }

    fn what_a_store_finds_is_decided_on(store, _fleet: two_agents) {
        let found = store.by_instance(proven(ID)).await.unwrap();
        let names = vec!["alpha".to_owned(), "beta".to_owned()];
        let refused = select(&found, None, Rules::default());
        assert_eq!(refused, Err(Denial::Ambiguous { names }));
        let beta = select(&found, Some("beta"), Rules::default()).unwrap();
        assert_eq!(beta.name, "beta");
    }

    fn agents_of_one_moment_are_in_the_order_of_their_ids(store, _fleet: one_moment) {
        let found = store.by_instance(proven(ID)).await.unwrap();
        assert!(agents(&found).is_sorted());
        assert_eq!(found.len(), 5);
    }

    fn a_newer_build_has_a_pin_of_its_own(store, _fleet: rebuilt) {
        for (moment, old, pins) in [
            (2, ID, [Some(2), None]),
            (1, ID, [Some(2), None]),
            (2, ID, [Some(2), None]),
            (3, ID, [Some(3), None]),
            (1, OTHER_ID, [Some(1), None]),
            (9, "i-0none", [None, None]),
        ] {
            let found = store.by_instance(proven(old).pinning(at(moment))).await.unwrap();
            let found: Vec<_> = found.iter().map(|candidate| candidate.pinned).collect();
            let expected = if old == "i-0none" { vec![] } else { pins.map(|n| n.map(at)).to_vec() };
            assert_eq!(found, expected, "{old} at {moment}");
        }
        let found = store.by_instance(proven(ID).pinning(at(2))).await.unwrap();
        let refused = select(&found, None, Rules::default().refuse_replays(at(2)));
        assert_eq!(refused, Err(Denial::Replayed));
    }

    fn pins_of_the_past_are_forgotten(store, _fleet: one_agent) {
        let moments = async |moment| {
            let found = store.by_instance(proven(ID).pinning(at(moment))).await.unwrap();
            found[0].pinned
        };
        assert_eq!(moments(2).await, Some(at(2)));
        // The rows of other checks may be in the same table.
        while store.forget_pins(100).await.unwrap() > 0 {}
        assert_eq!(moments(1).await, Some(at(2)), "a pin of the newest build stays");
    }

    fn rows_that_lead_nowhere_are_no_candidates(store, _fleet: dangling) {
        assert_eq!(store.by_instance(proven(ID)).await.unwrap(), []);
    }
}

fn one_agent() -> Fleet {
    let (mut fleet, workspace) = workspace();
    let build = fleet.build(workspace, Transition::Start);
    fleet.agent(build.resource, "main", ID);
    fleet
}

/// Two instances, each with an agent in an earlier and in the newest build
fn rebuilt() -> Fleet {
    let (mut fleet, workspace) = workspace();
    for _ in 0..2 {
        let build = fleet.build(workspace, Transition::Start);
        fleet.agent(build.resource, "main", ID);
        fleet.agent(build.resource, "other", OTHER_ID);
    }
    fleet
}

fn two_agents() -> Fleet {
    let (mut fleet, workspace) = workspace();
    let build = fleet.build(workspace, Transition::Start);
    fleet.agent(build.resource, "beta", ID);
    fleet.agent(build.resource, "alpha", ID);
    fleet
}

fn one_moment() -> Fleet {
    let (mut fleet, workspace) = workspace();
    let build = fleet.build(workspace, Transition::Start);
    for n in 0..5 {
        fleet.agent(build.resource, &format!("agent-{n}"), ID);
    }
    fleet
}

fn dangling() -> Fleet {
    let mut fleet = Fleet::default();
    fleet.agent(Uuid::new_v4(), "no-resource", ID);
    let build = fleet.build(Uuid::new_v4(), Transition::Start);
    fleet.agent(build.resource, "no-workspace", ID);
    fleet
}

fn workspace() -> (Fleet, Uuid) {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    let workspace = fleet.workspace(alice, "dev");
    (fleet, workspace)
}

fn agents(candidates: &[Candidate]) -> Vec<Uuid> {
    candidates.iter().map(|candidate| candidate.agent.0).collect()
}

const ID: &str = "i-0abc";
const OTHER_ID: &str = "i-0def";

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600 + seconds)
}

fn proven(id: &str) -> ProvenInstance<'_> {
    ProvenInstance::assume_verified(id)
}
