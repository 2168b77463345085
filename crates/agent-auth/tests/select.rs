//! The decision which agent an instance is, through the public API

use agent_auth::{
    AgentId, AgentToken, BuildId, Candidate, MAX_CANDIDATES, Refusal, Rules, Standing, WorkspaceId,
    select,
};
use proptest::prelude::*;
use uuid::Uuid;

const WORKSPACE: u128 = 1;
const OTHER_WORKSPACE: u128 = 2;

/// The `n`th candidate of `workspace`, older the higher `n` is
fn candidate(n: u128, workspace: u128, name: &str, standing: Standing) -> Candidate {
    Candidate {
        agent: AgentId(Uuid::from_u128(n)),
        name: name.to_owned(),
        token: AgentToken::new(Uuid::from_u128(1000 + n)),
        build: BuildId(Uuid::from_u128(2000 + n)),
        workspace: WorkspaceId(Uuid::from_u128(workspace)),
        standing,
    }
}

fn live(n: u128, name: &str) -> Candidate {
    candidate(n, WORKSPACE, name, Standing::Live)
}

fn ambiguous(names: &[&str]) -> Refusal {
    Refusal::Ambiguous { names: names.iter().map(|&n| n.to_owned()).collect() }
}

#[test]
fn one_live_agent_needs_no_name() {
    let candidates = [live(1, "main")];
    assert_eq!(select(&candidates, None, Rules::default()), Ok(&candidates[0]));
}

#[test]
fn two_live_agents_need_a_name() {
    let candidates = [live(1, "beta"), live(2, "alpha")];
    let refused = Err(ambiguous(&["alpha", "beta"]));
    for no_name in [None, Some(""), Some("   "), Some("\u{a0}\t\n\u{2003}")] {
        assert_eq!(select(&candidates, no_name, Rules::default()), refused, "{no_name:?}");
    }
    for alpha in ["alpha", " alpha ", "\u{2003}alpha\n"] {
        assert_eq!(select(&candidates, Some(alpha), Rules::default()), Ok(&candidates[1]));
    }
    for unknown in ["Alpha", "alph", "al pha", "gamma"] {
        let refused = Err(Refusal::NoAgentOfThatName);
        assert_eq!(select(&candidates, Some(unknown), Rules::default()), refused, "{unknown}");
    }
}

#[test]
fn a_name_must_fit_even_a_single_agent() {
    let candidates = [live(1, "main")];
    let refused = Err(Refusal::NoAgentOfThatName);
    assert_eq!(select(&candidates, Some("other"), Rules::default()), refused);
}

#[test]
fn duplicate_names_are_listed_as_often_as_they_occur_and_the_newest_wins() {
    let candidates = [live(1, "dev"), live(2, "dev")];
    assert_eq!(select(&candidates, None, Rules::default()), Err(ambiguous(&["dev", "dev"])));
    assert_eq!(select(&candidates, Some("dev"), Rules::default()), Ok(&candidates[0]));
}

#[test]
fn nothing_or_only_a_deleted_workspace_is_not_found() {
    assert_eq!(select(&[], None, Rules::default()), Err(Refusal::NotFound));
    let deleted = [candidate(1, WORKSPACE, "main", Standing::Deleted)];
    assert_eq!(select(&deleted, None, Rules::default()), Err(Refusal::NotFound));
    assert_eq!(select(&deleted, Some("main"), Rules::default()), Err(Refusal::NotFound));
}

#[test]
fn only_stale_agents_are_reported_as_stale_or_hidden() {
    let stale = [
        candidate(1, WORKSPACE, "main", Standing::Stale),
        candidate(2, OTHER_WORKSPACE, "main", Standing::Deleted),
    ];
    for name in [None, Some("main"), Some("other")] {
        assert_eq!(select(&stale, name, Rules::default()), Err(Refusal::Stale));
        let hidden = Rules::default().hide_stale(true);
        assert_eq!(select(&stale, name, hidden), Err(Refusal::NotFound));
    }
}

#[test]
fn two_workspaces_are_refused_unless_the_site_shares_machines() {
    let candidates = [live(1, "alpha"), candidate(2, OTHER_WORKSPACE, "beta", Standing::Live)];
    for name in [None, Some("alpha"), Some("beta"), Some("gamma")] {
        let refusal = select(&candidates, name, Rules::default()).unwrap_err();
        assert_eq!(refusal, Refusal::SharedByWorkspaces);
        assert!(!refusal.to_string().contains("alpha") && !refusal.to_string().contains("beta"));
    }
    let shared = Rules::default().allow_instance_shared_by_workspaces(true);
    assert_eq!(select(&candidates, Some("beta"), shared), Ok(&candidates[1]));
    assert_eq!(select(&candidates, None, shared), Err(ambiguous(&["alpha", "beta"])));
}

#[test]
fn the_cap_counts_live_candidates_alone() {
    let mut candidates: Vec<_> = (1..).map(|n| live(n, "main")).take(MAX_CANDIDATES).collect();
    assert!(select(&candidates, Some("main"), Rules::default()).is_ok());
    candidates.push(live(9999, "main"));
    assert_eq!(select(&candidates, Some("main"), Rules::default()), Err(Refusal::TooMany));

    let mut history = vec![live(0, "main")];
    let stale = (1..).map(|n| candidate(n, WORKSPACE, "main", Standing::Stale));
    history.extend(stale.take(MAX_CANDIDATES));
    assert_eq!(select(&history, None, Rules::default()), Ok(&history[0]));
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let standing =
        prop_oneof![Just(Standing::Live), Just(Standing::Stale), Just(Standing::Deleted)];
    let one = (1..4u128, "[ab]", standing);
    prop::collection::vec(one, 0..8).prop_map(|rows| {
        let rows = rows.into_iter().zip(1..);
        rows.map(|((w, name, s), n)| candidate(n, w, &name, s)).collect()
    })
}

proptest! {
    #[test]
    fn history_never_changes_the_answer_of_an_instance_that_has_a_live_agent(
        candidates in candidates(),
        name in prop::option::of("[ab]"),
        share in any::<bool>(),
    ) {
        let live: Vec<_> =
            candidates.iter().filter(|c| c.standing == Standing::Live).cloned().collect();
        prop_assume!(!live.is_empty());
        let rules = Rules::default().allow_instance_shared_by_workspaces(share);
        prop_assert_eq!(
            select(&candidates, name.as_deref(), rules),
            select(&live, name.as_deref(), rules)
        );
    }

    #[test]
    fn whoever_is_selected_is_live_and_bears_the_asked_name(
        candidates in candidates(),
        name in prop::option::of("[ab]"),
        share in any::<bool>(),
        hide_stale in any::<bool>(),
    ) {
        let rules = Rules::default()
            .allow_instance_shared_by_workspaces(share)
            .hide_stale(hide_stale);
        if let Ok(agent) = select(&candidates, name.as_deref(), rules) {
            prop_assert_eq!(agent.standing, Standing::Live);
            prop_assert!(name.is_none_or(|n| n == agent.name));
        }
    }
}
