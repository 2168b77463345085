use std::collections::BTreeSet;

use agent_auth::{Candidate, Denial, MAX_CANDIDATES, ProvenInstance, Rules, Standing, select};
use store::fleet::{Fleet, JobType, Transition};
use uuid::Uuid;

contract! {
    since V2_20;

    fn a_store_that_was_just_loaded_is_ready(store, _fleet: one_agent) {
        store.ping().await.unwrap();
    }

    fn one_agent_is_one_live_candidate(store, fleet: one_agent) {
        let agent = &fleet.workspace_agents[0];
        let found = store.by_instance(proven(ID)).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].agent.0, agent.id);
        assert_eq!(found[0].name, "main");
        assert_eq!(found[0].token.reveal(), agent.auth_token.0);
        assert_eq!(found[0].build.0, fleet.workspace_builds[0].id);
        assert_eq!(found[0].workspace.0, fleet.workspaces[0].id);
        assert_eq!(found[0].standing, Standing::Live);
    }

    fn only_the_very_same_id_is_found(store, _fleet: one_agent) {
        for other in ["", "I-0ABC", "i-0ab", "i-0abc ", " i-0abc", "i-0abc\0", "\0", "i_0abc", "%"] {
            assert_eq!(store.by_instance(proven(other)).await.unwrap(), [], "{other:?}");
        }
    }

    fn any_text_is_an_id(store, _fleet: odd_ids) {
        for id in ODD_IDS {
            assert_eq!(store.by_instance(proven(id)).await.unwrap().len(), 1, "{id:?}");
        }
    }

    fn a_uuid_is_found_in_either_case(store, fleet: in_both_cases) {
        let all: BTreeSet<_> = fleet.workspace_agents.iter().map(|agent| agent.id).collect();
        for id in [UUID, &UUID.to_uppercase()] {
            let found = store.by_instance(proven(id)).await.unwrap();
            assert_eq!(agents(&found).into_iter().collect::<BTreeSet<_>>(), all, "{id}");
        }
        assert_eq!(store.by_instance(proven(&UUID.replace('-', ""))).await.unwrap(), []);
    }

    // The rows behind scenarios 256 and 259
    fn two_agents_of_one_build_are_both_live(store, _fleet: two_agents) {
        let found = store.by_instance(proven(ID)).await.unwrap();
        assert_eq!(standings(&found), [Standing::Live, Standing::Live]);
        let names = vec!["alpha".to_owned(), "beta".to_owned()];
        let refused = select(&found, None, Rules::default());
        assert_eq!(refused, Err(Denial::Ambiguous { names }));
        let beta = select(&found, Some("beta"), Rules::default()).unwrap();
        assert_eq!(beta.name, "beta");
    }

    // scenario 261
    fn sub_agents_are_no_candidates(store, fleet: sub_agent) {
        let found = store.by_instance(proven(ID)).await.unwrap();
        assert_eq!(agents(&found), [fleet.workspace_agents[0].id]);
    }

    fn soft_deleted_agents_are_no_candidates(store, fleet: deleted_agent) {
        let found = store.by_instance(proven(ID)).await.unwrap();
        assert_eq!(agents(&found), [fleet.workspace_agents[0].id]);
    }

    // scenario 268
    fn agents_of_jobs_that_are_no_builds_are_no_candidates(store, fleet: template_import) {
        let found = store.by_instance(proven(ID)).await.unwrap();
        assert_eq!(agents(&found), [fleet.workspace_agents[0].id]);
    }

    // scenario 262
    fn earlier_builds_are_stale_and_come_after_the_live_one(store, fleet: ten_builds) {
        let found = store.by_instance(proven(ID)).await.unwrap();
        let newest_first = fleet.workspace_agents.iter().rev().map(|agent| agent.id);
        assert_eq!(agents(&found), newest_first.collect::<Vec<_>>());
        assert_eq!(found[0].standing, Standing::Live);
        assert!(found[1..].iter().all(|c| c.standing == Standing::Stale));
        let selected = select(&found, None, Rules::default()).unwrap();
        assert_eq!(selected.agent, found[0].agent);
    }

    fn a_newer_build_without_agents_makes_all_stale(store, _fleet: stopped) {
        let found = store.by_instance(proven(ID)).await.unwrap();
        assert_eq!(standings(&found), [Standing::Stale]);
    }

    // scenario 270
    fn agents_of_a_deleted_workspace_are_deleted_whichever_build(store, _fleet: deleted_workspace) {
        let found = store.by_instance(proven(ID)).await.unwrap();
        assert_eq!(standings(&found), [Standing::Deleted, Standing::Deleted]);
        assert_eq!(select(&found, None, Rules::default()), Err(Denial::NotFound));
    }

    // The rows behind scenario 274
    fn a_recycled_id_is_live_in_both_workspaces(store, fleet: recycled) {
        let found = store.by_instance(proven(ID)).await.unwrap();
        assert_eq!(standings(&found), [Standing::Live, Standing::Live]);
        let workspaces: Vec<_> = found.iter().map(|c| c.workspace.0).collect();
        assert_eq!(workspaces, [fleet.workspaces[1].id, fleet.workspaces[0].id]);
        assert_eq!(select(&found, None, Rules::default()), Err(Denial::SharedByWorkspaces));
    }

    fn a_live_agent_comes_before_younger_stale_ones(store, _fleet: live_but_oldest) {
        let found = store.by_instance(proven(ID)).await.unwrap();
        assert_eq!(standings(&found), [Standing::Live, Standing::Stale]);
    }

    fn history_never_crowds_the_live_agent_out(store, fleet: long_history) {
        let found = store.by_instance(proven(ID)).await.unwrap();
        assert_eq!(found.len(), MAX_CANDIDATES + 1);
        assert_eq!(found[0].standing, Standing::Live);
        let oldest = fleet.workspace_agents[0].id;
        assert!(!agents(&found).contains(&oldest), "the oldest are left out");
        assert!(select(&found, None, Rules::default()).is_ok());
    }

    fn agents_of_one_moment_are_in_the_order_of_their_ids(store, _fleet: one_moment) {
        let found = store.by_instance(proven(ID)).await.unwrap();
        assert!(agents(&found).is_sorted());
        assert_eq!(found.len(), 5);
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

fn in_both_cases() -> Fleet {
    let (mut fleet, workspace) = workspace();
    let build = fleet.build(workspace, Transition::Start);
    fleet.agent(build.resource, "alpha", &UUID.to_uppercase());
    fleet.agent(build.resource, "beta", UUID);
    fleet
}

fn odd_ids() -> Fleet {
    let (mut fleet, workspace) = workspace();
    let build = fleet.build(workspace, Transition::Start);
    for (n, id) in ODD_IDS.into_iter().enumerate() {
        fleet.agent(build.resource, &format!("agent-{n}"), id);
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

fn sub_agent() -> Fleet {
    let mut fleet = one_agent();
    let root = fleet.workspace_agents[0].clone();
    fleet.agent(root.resource_id, "child", ID).parent_id = Some(root.id);
    fleet
}

fn deleted_agent() -> Fleet {
    let mut fleet = one_agent();
    let resource = fleet.workspace_agents[0].resource_id;
    fleet.agent(resource, "main", ID).deleted = true;
    fleet
}

fn template_import() -> Fleet {
    let mut fleet = one_agent();
    let organization = fleet.organizations[0].id;
    for job in [JobType::TemplateVersionImport, JobType::TemplateVersionDryRun] {
        let resource = fleet.bare_job(job, organization);
        fleet.agent(resource, "main", ID);
    }
    fleet
}

fn ten_builds() -> Fleet {
    builds(10)
}

fn stopped() -> Fleet {
    let mut fleet = one_agent();
    let workspace = fleet.workspaces[0].id;
    fleet.build(workspace, Transition::Stop);
    fleet
}

fn deleted_workspace() -> Fleet {
    let mut fleet = one_agent();
    let workspace = fleet.workspaces[0].id;
    let build = fleet.build(workspace, Transition::Delete);
    fleet.agent(build.resource, "main", ID);
    fleet
}

fn recycled() -> Fleet {
    let mut fleet = one_agent();
    let globex = fleet.organization("globex");
    let bob = fleet.user("bob", globex);
    let theirs = fleet.workspace(bob, "dev");
    let build = fleet.build(theirs, Transition::Start);
    fleet.agent(build.resource, "main", ID);
    fleet
}

fn live_but_oldest() -> Fleet {
    let mut fleet = one_agent();
    let workspace = fleet.workspace(fleet.users[0].id, "rebuilt");
    let build = fleet.build(workspace, Transition::Start);
    fleet.agent(build.resource, "main", ID);
    fleet.build(workspace, Transition::Stop);
    fleet
}

fn long_history() -> Fleet {
    builds(MAX_CANDIDATES + 10)
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

fn builds(count: usize) -> Fleet {
    let (mut fleet, workspace) = workspace();
    for _ in 0..count {
        let build = fleet.build(workspace, Transition::Start);
        fleet.agent(build.resource, "main", ID);
    }
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

fn standings(candidates: &[Candidate]) -> Vec<Standing> {
    candidates.iter().map(|candidate| candidate.standing).collect()
}

const ID: &str = "i-0abc";
const UUID: &str = "02aab8a4-74ef-476e-8182-f6d2ba4166a6";
const ODD_IDS: [&str; 6] =
    ["", "' OR '1'='1", "\"quoted\" \\ and 'quoted'", "ünïcödé-\u{1f510}", "tab\tand\u{7f}", "$1"];

fn proven(id: &str) -> ProvenInstance<'_> {
    ProvenInstance::assume_verified(id)
}
