//! Which agent an instance is, through the public API

use std::time::{Duration, SystemTime};

use agent_auth::{
    AgentId, AgentToken, BuildId, Candidate, Denial, MAX_CANDIDATES, ProvenInstance, Rules,
    Standing, WorkspaceId, select,
};
use proptest::prelude::*;
use uuid::Uuid;

const WORKSPACE: u128 = 1;
const OTHER_WORKSPACE: u128 = 2;

/// The `n`th candidate of `workspace`; a higher `n` is an older candidate
fn candidate(n: u128, workspace: u128, name: &str, standing: Standing) -> Candidate {
    Candidate::new(
        AgentId(Uuid::from_u128(n)),
        name.to_owned(),
        AgentToken::new(Uuid::from_u128(1000 + n)),
        BuildId(Uuid::from_u128(2000 + n)),
        WorkspaceId(Uuid::from_u128(workspace)),
        standing,
    )
}

fn live(n: u128, name: &str) -> Candidate {
    candidate(n, WORKSPACE, name, Standing::Live)
}

fn ambiguous(names: &[&str]) -> Denial {
    Denial::Ambiguous { names: names.iter().map(|&n| n.to_owned()).collect() }
}

#[test]
fn one_live_agent_needs_no_name() {
    let candidates = [live(1, "main")];
    assert_eq!(select(&candidates, None, Rules::default()), Ok(&candidates[0]));
}

#[test]
fn two_live_agents_need_a_name() {
    let candidates = [live(1, "beta"), live(2, "alpha")];
    let denied = Err(ambiguous(&["alpha", "beta"]));
    for no_name in [None, Some(""), Some("   "), Some("\u{a0}\t\n\u{2003}")] {
        assert_eq!(select(&candidates, no_name, Rules::default()), denied, "{no_name:?}");
    }
    for alpha in ["alpha", " alpha ", "\u{2003}alpha\n"] {
        assert_eq!(select(&candidates, Some(alpha), Rules::default()), Ok(&candidates[1]));
    }
    for unknown in ["Alpha", "alph", "al pha", "gamma"] {
        let denied = Err(Denial::NoAgentOfThatName);
        assert_eq!(select(&candidates, Some(unknown), Rules::default()), denied, "{unknown}");
    }
}

#[test]
fn a_proof_that_is_older_than_the_pin_is_a_replay() {
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let strict = |signed_at| Rules::default().refuse_replays(at(signed_at));
    for (pinned, signed_at, is_admitted) in [
        (Some(10), 9, false),
        (Some(10), 10, true),
        (Some(10), 11, true),
        // Nothing is known of earlier proofs.
        (None, 10, false),
    ] {
        let candidates = [live(1, "main").with_pinned(pinned.map(at))];
        let expected = if is_admitted { Ok(&candidates[0]) } else { Err(Denial::Replayed) };
        assert_eq!(select(&candidates, None, strict(signed_at)), expected, "{pinned:?}");
        // Without the rule pins do not count.
        assert_eq!(select(&candidates, None, Rules::default()), Ok(&candidates[0]));
    }
}

#[test]
fn the_pin_of_the_selected_agent_counts() {
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let rules = Rules::default().allow_instance_shared_by_workspaces(true).refuse_replays(at(5));
    let alpha = candidate(1, WORKSPACE, "alpha", Standing::Live).with_pinned(at(5));
    let beta = candidate(2, OTHER_WORKSPACE, "beta", Standing::Live).with_pinned(at(6));
    let candidates = [alpha, beta];
    assert_eq!(select(&candidates, Some("alpha"), rules), Ok(&candidates[0]));
    assert_eq!(select(&candidates, Some("beta"), rules), Err(Denial::Replayed));
    // Any other denial comes first.
    assert_eq!(select(&candidates, Some("gamma"), rules), Err(Denial::NoAgentOfThatName));
    let stale = [candidate(1, WORKSPACE, "main", Standing::Stale)];
    assert_eq!(select(&stale, None, rules), Err(Denial::Stale));
}

#[test]
fn a_name_must_match_even_a_single_agent() {
    let candidates = [live(1, "main")];
    let denied = Err(Denial::NoAgentOfThatName);
    assert_eq!(select(&candidates, Some("other"), Rules::default()), denied);
}

#[test]
fn duplicate_names_are_listed_as_often_as_they_occur_and_the_newest_wins() {
    let candidates = [live(1, "dev"), live(2, "dev")];
    assert_eq!(select(&candidates, None, Rules::default()), Err(ambiguous(&["dev", "dev"])));
    assert_eq!(select(&candidates, Some("dev"), Rules::default()), Ok(&candidates[0]));
}

#[test]
fn an_instance_without_candidates_or_of_a_deleted_workspace_is_not_found() {
    let none: [Candidate; 0] = [];
    assert_eq!(select(&none, None, Rules::default()), Err(Denial::NotFound));
    let deleted = [candidate(1, WORKSPACE, "main", Standing::Deleted)];
    assert_eq!(select(&deleted, None, Rules::default()), Err(Denial::NotFound));
    assert_eq!(select(&deleted, Some("main"), Rules::default()), Err(Denial::NotFound));
}

#[test]
fn only_stale_agents_are_reported_as_stale_or_hidden() {
    let stale = [
        candidate(1, WORKSPACE, "main", Standing::Stale),
        candidate(2, OTHER_WORKSPACE, "main", Standing::Deleted),
    ];
    for name in [None, Some("main"), Some("other")] {
        assert_eq!(select(&stale, name, Rules::default()), Err(Denial::Stale));
        let hidden = Rules::default().hide_stale(true);
        assert_eq!(select(&stale, name, hidden), Err(Denial::NotFound));
    }
}

#[test]
fn two_workspaces_are_denied_unless_the_site_shares_machines() {
    let candidates = [live(1, "alpha"), candidate(2, OTHER_WORKSPACE, "beta", Standing::Live)];
    for name in [None, Some("alpha"), Some("beta"), Some("gamma")] {
        let denial = select(&candidates, name, Rules::default()).unwrap_err();
        assert_eq!(denial, Denial::SharedByWorkspaces);
        assert!(!denial.to_string().contains("alpha") && !denial.to_string().contains("beta"));
    }
    let shared = Rules::default().allow_instance_shared_by_workspaces(true);
    assert_eq!(select(&candidates, Some("beta"), shared), Ok(&candidates[1]));
    assert_eq!(select(&candidates, None, shared), Err(ambiguous(&["alpha", "beta"])));
}

#[test]
fn only_live_candidates_count_toward_the_maximum() {
    let mut candidates: Vec<_> = (1..).map(|n| live(n, "main")).take(MAX_CANDIDATES).collect();
    assert!(select(&candidates, Some("main"), Rules::default()).is_ok());
    candidates.push(live(9999, "main"));
    assert_eq!(select(&candidates, Some("main"), Rules::default()), Err(Denial::TooMany));

    let mut history = vec![live(0, "main")];
    let stale = (1..).map(|n| candidate(n, WORKSPACE, "main", Standing::Stale));
    history.extend(stale.take(MAX_CANDIDATES));
    assert_eq!(select(&history, None, Rules::default()), Ok(&history[0]));
}

#[test]
fn a_proven_instance_is_the_id_that_was_verified() {
    assert_eq!(ProvenInstance::assume_verified("i-0123abcd").as_str(), "i-0123abcd");
}

fn standing() -> impl Strategy<Value = Standing> {
    prop_oneof![Just(Standing::Live), Just(Standing::Stale), Just(Standing::Deleted)]
}

/// Candidates of three workspaces and two names, the newest first
fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::vec((1..4u128, "[ab]", standing()), 0..8).prop_map(|rows| {
        let rows = rows.into_iter().zip(1..);
        rows.map(|((w, name, s), n)| candidate(n, w, &name, s)).collect()
    })
}

proptest! {
    #[test]
    fn history_never_changes_the_answer_of_an_instance_that_has_a_live_agent(
        mut candidates in candidates(),
        one_live in any::<prop::sample::Index>(),
        name in prop::option::of("[ab]"),
        share in any::<bool>(),
    ) {
        candidates.insert(one_live.index(candidates.len() + 1), live(99, "a"));
        let live: Vec<_> =
            candidates.iter().filter(|c| c.standing == Standing::Live).cloned().collect();
        let rules = Rules::default().allow_instance_shared_by_workspaces(share);
        prop_assert_eq!(
            select(&candidates, name.as_deref(), rules),
            select(&live, name.as_deref(), rules)
        );
    }

    #[test]
    fn a_selected_agent_is_live_and_has_the_given_name(
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
