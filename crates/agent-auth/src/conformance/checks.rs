use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, SystemTime};

use super::rows::{self, ID, ODD_IDS, OTHER_ID, UUID};
use crate::{Candidates, CandidatesOf, MAX_CANDIDATES, ProvenInstance, Standing};

/// What was found instead of what the rule demands
type Checked = Result<(), String>;

pub(super) async fn the_agent_of_an_instance_is_found<C: Candidates>(candidates: &C) -> Checked
where
    C::Token: fmt::Display,
{
    for (instance, name) in [(ID, "main"), (OTHER_ID, "other"), ("i-0abd", "elsewhere")] {
        let found = find(candidates, instance).await?;
        same(&names(&found), &[name], "the agents of an instance")?;
        same(&standings(&found), &[Standing::Live], "the standing of the only agent")?;
        let rows = rows::the_agent_of_an_instance_is_found();
        let expected: Vec<_> = rows
            .agents()
            .filter(|(_, _, agent)| agent.name == name)
            .map(|(_, _, agent)| agent.token.to_string())
            .collect();
        let tokens: Vec<_> = found.iter().map(|found| found.token.reveal().to_string()).collect();
        same(&tokens, &expected, "the token of the agent")?;
    }
    Ok(())
}

pub(super) async fn ids_are_compared_byte_for_byte<C: Candidates>(candidates: &C) -> Checked {
    same(&names(&find(candidates, ID).await?), &["main"], "the same id")?;
    for other in ["", "I-0ABC", "i-0ab", "i-0abc ", " i-0abc", "i-0abc\0", "\0", "i_0abc", "%"] {
        let found = find(candidates, other).await?;
        same(&found.len(), &0, &format!("the number of agents of {other:?}"))?;
    }
    Ok(())
}

pub(super) async fn any_text_is_an_id<C: Candidates>(candidates: &C) -> Checked {
    for id in ODD_IDS {
        let found = find(candidates, id).await?;
        same(&names(&found), &["main"], &format!("the agents of {id:?}"))?;
    }
    Ok(())
}

pub(super) async fn a_uuid_is_found_in_either_case<C: Candidates>(candidates: &C) -> Checked {
    for id in [UUID, &UUID.to_uppercase()] {
        let found = find(candidates, id).await?;
        let names: BTreeSet<_> = names(&found).into_iter().collect();
        same(&names, &BTreeSet::from(["alpha", "beta"]), &format!("the agents of `{id}`"))?;
    }
    let without_hyphens = find(candidates, &UUID.replace('-', "")).await?;
    same(&without_hyphens.len(), &0, "the number of agents of the UUID without hyphens")
}

pub(super) async fn all_agents_of_the_newest_build_are_live<C: Candidates>(
    candidates: &C,
) -> Checked {
    let found = find(candidates, ID).await?;
    same(&standings(&found), &[Standing::Live; 2], "two agents of one build")?;
    let names: BTreeSet<_> = names(&found).into_iter().collect();
    same(&names, &BTreeSet::from(["alpha", "beta"]), "their names")
}

pub(super) async fn candidates_have_the_ids_of_their_rows<C: Candidates>(
    candidates: &C,
) -> Checked {
    let found = find(candidates, ID).await?;
    let named = |name: &str| {
        let candidate = found.iter().find(|candidate| candidate.name == name);
        candidate.ok_or_else(|| format!("`{name}` is missing in {:?}", names(&found)))
    };
    let [old, alpha, beta, gamma] =
        [named("old")?, named("alpha")?, named("beta")?, named("gamma")?];
    for (what, holds) in [
        ("two agents of one build have the same build", alpha.build == beta.build),
        ("an earlier build is another", old.build != alpha.build),
        ("a build of another workspace is another", gamma.build != alpha.build),
        ("two builds of one workspace have the same workspace", old.workspace == alpha.workspace),
        ("another workspace is another", gamma.workspace != alpha.workspace),
        (
            "each agent has an id of its own",
            found
                .iter()
                .enumerate()
                .all(|(n, one)| found.iter().skip(n + 1).all(|other| other.agent != one.agent)),
        ),
    ] {
        if !holds {
            return Err(format!("it does not hold that {what}"));
        }
    }
    Ok(())
}

pub(super) async fn sub_agents_are_not_candidates<C: Candidates>(candidates: &C) -> Checked {
    only_main(candidates).await
}

pub(super) async fn deleted_agents_are_not_candidates<C: Candidates>(candidates: &C) -> Checked {
    only_main(candidates).await
}

pub(super) async fn agents_without_a_build_are_not_candidates<C: Candidates>(
    candidates: &C,
) -> Checked {
    only_main(candidates).await
}

pub(super) async fn agents_of_earlier_builds_are_stale_and_the_newest_come_first<C: Candidates>(
    candidates: &C,
) -> Checked {
    let found = find(candidates, ID).await?;
    let newest_first: Vec<_> = (1..=10).rev().map(|n| format!("build-{n}")).collect();
    same(&names(&found), &newest_first, "the agents of ten builds, in order")?;
    let mut expected = [Standing::Stale; 10];
    expected[0] = Standing::Live;
    same(&standings(&found), &expected, "their standings")
}

pub(super) async fn a_newer_build_without_agents_makes_all_stale<C: Candidates>(
    candidates: &C,
) -> Checked {
    let found = find(candidates, ID).await?;
    same(&standings(&found), &[Standing::Stale], "the agent of a workspace that was stopped")
}

pub(super) async fn agents_of_a_deleted_workspace_are_deleted<C: Candidates>(
    candidates: &C,
) -> Checked {
    let found = find(candidates, ID).await?;
    same(&standings(&found), &[Standing::Deleted; 2], "agents of a deleted workspace")
}

pub(super) async fn an_id_in_two_workspaces_is_live_in_both<C: Candidates>(
    candidates: &C,
) -> Checked {
    let found = find(candidates, ID).await?;
    same(&names(&found), &["second", "first"], "the agents of two workspaces, newest first")?;
    same(&standings(&found), &[Standing::Live; 2], "their standings")
}

pub(super) async fn live_agents_come_before_younger_stale_ones<C: Candidates>(
    candidates: &C,
) -> Checked {
    let found = find(candidates, ID).await?;
    same(&names(&found), &["live", "stale"], "a live agent and a younger, stale one, in order")?;
    same(&standings(&found), &[Standing::Live, Standing::Stale], "their standings")
}

pub(super) async fn history_never_pushes_out_a_live_agent<C: Candidates>(
    candidates: &C,
) -> Checked {
    let found = find(candidates, ID).await?;
    let newest = (1..=MAX_CANDIDATES + 10).rev().take(MAX_CANDIDATES + 1);
    let newest: Vec<_> = newest.map(|n| format!("build-{n}")).collect();
    same(&found.len(), &newest.len(), "the number of candidates")?;
    for (n, (name, expected)) in (1..).zip(names(&found).into_iter().zip(&newest)) {
        same(name, &**expected, &format!("candidate {n} of many, the newest first"))?;
    }
    same(&standings(&found)[..1], &[Standing::Live], "the standing of the first")
}

pub(super) async fn one_more_than_the_most_live_agents_is_returned<C: Candidates>(
    candidates: &C,
) -> Checked {
    let found = find(candidates, ID).await?;
    same(&found.len(), &(MAX_CANDIDATES + 1), "the number of candidates")?;
    same(&standings(&found), &vec![Standing::Live; MAX_CANDIDATES + 1], "their standings")
}

pub(super) async fn agents_of_one_moment_are_in_the_same_order_each_time<C: Candidates>(
    candidates: &C,
) -> Checked {
    let found = find(candidates, ID).await?;
    same(&found.len(), &5, "the number of candidates")?;
    for _ in 0..3 {
        let again = find(candidates, ID).await?;
        same(&names(&again), &names(&found), "the same candidates, asked for again")?;
    }
    Ok(())
}

pub(super) async fn a_pin_is_the_newest_moment_of_an_instance_in_a_build<C: Candidates>(
    candidates: &C,
) -> Checked {
    same(&pins(candidates, ID, None).await?, &[None, None], "pins that were not asked for")?;
    let first = pins(candidates, ID, Some(2)).await?;
    if first == [None, None] {
        // It keeps no pins.
        return Ok(());
    }
    same(&first, &[Some(2), None], "the pins of a live and a stale agent after the first proof")?;
    for (moment, pinned, what) in [
        (1, 2, "an older proof"),
        (2, 2, "the same proof again"),
        (3, 3, "a newer proof"),
        (2, 3, "the first proof again"),
    ] {
        let found = pins(candidates, ID, Some(moment)).await?;
        same(&found, &[Some(pinned), None], &format!("the pins after {what}"))?;
    }
    let other = pins(candidates, OTHER_ID, Some(1)).await?;
    same(&other, &[Some(1)], "the pin of another instance in the same build")?;
    same(&pins(candidates, ID, None).await?, &[None, None], "pins that are not asked for again")
}

pub(super) async fn the_spellings_of_a_uuid_share_a_pin<C: Candidates>(candidates: &C) -> Checked {
    for (id, moment) in [(UUID, 2), (&*UUID.to_uppercase(), 1)] {
        let found = pins(candidates, id, Some(moment)).await?;
        if found != [None, None] {
            same(&found, &[Some(2), Some(2)], &format!("the pins of two agents of `{id}`"))?;
        }
    }
    Ok(())
}

pub(super) async fn each_live_build_of_an_instance_is_pinned<C: Candidates>(
    candidates: &C,
) -> Checked {
    let found = pins(candidates, ID, Some(1)).await?;
    match found == [None, None] {
        true => Ok(()),
        false => same(&found, &[Some(1), Some(1)], "the pins in builds of two workspaces"),
    }
}

/// The pins of an instance's candidates, in seconds, after it was asked for with this moment
async fn pins<C: Candidates>(
    candidates: &C,
    instance: &str,
    moment: Option<u64>,
) -> Result<Vec<Option<u64>>, String> {
    // A time of day, with more digits than tables need to keep.
    let begin = SystemTime::UNIX_EPOCH + Duration::new(1_767_225_600, 123_456_000);
    let mut asked = ProvenInstance::assume_verified(instance);
    if let Some(seconds) = moment {
        asked = asked.pinning(begin + Duration::from_secs(seconds));
    }
    let found = candidates.by_instance(asked).await;
    let found =
        found.map_err(|error| format!("the pins of {instance:?} cannot be moved: {error}"))?;
    let seconds = |pinned: SystemTime| match pinned.duration_since(begin) {
        Ok(since) if since.subsec_nanos() == 0 => Ok(since.as_secs()),
        _ => Err(format!("no proof of {instance:?} has the moment {pinned:?}")),
    };
    found.into_iter().map(|candidate| candidate.pinned.map(seconds).transpose()).collect()
}

async fn only_main<C: Candidates>(candidates: &C) -> Checked {
    same(&names(&find(candidates, ID).await?), &["main"], "the names of the candidates")
}

async fn find<C: Candidates>(candidates: &C, instance: &str) -> Result<CandidatesOf<C>, String> {
    let found = candidates.by_instance(ProvenInstance::assume_verified(instance)).await;
    found.map_err(|error| format!("the candidates of {instance:?} cannot be read: {error}"))
}

fn names<Id, Token>(found: &[crate::Candidate<Id, Token>]) -> Vec<&str> {
    found.iter().map(|candidate| &*candidate.name).collect()
}

fn standings<Id, Token>(found: &[crate::Candidate<Id, Token>]) -> Vec<Standing> {
    found.iter().map(|candidate| candidate.standing).collect()
}

fn same<A, B>(found: &A, expected: &B, what: &str) -> Checked
where
    A: PartialEq<B> + fmt::Debug + ?Sized,
    B: fmt::Debug + ?Sized,
{
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found:?} instead of {expected:?}"))
}
