use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;
use uuid::Uuid;

use super::visits::seconds;
use super::{Checked, POLLS, World, abandoned, holds, rules, same, worked};
use crate::{Act, ActFilter, ActJournal, ActKind, ActLog, ActRow, Page, SubjectKind};

rules! {
    $
    /// A rule that every implementation of [`ActJournal`] keeps
    ActJournalRule: ActJournal, ActLog;
    /// Checks all rules of [`ActJournal`]
    fn act_journal;
    /// Makes a test of each rule of [`ActJournal`](crate::ActJournal)
    macro act_journal_conformance;
    /// Acts that have the same id are one row, and counted
    OneRow = the_same_sign_in_is_one_row_an_hour_and_counted,
    /// Acts with different ids are rows of their own: another hour, another agent, and each thing
    /// that an operator did
    OtherRows = other_acts_are_rows_of_their_own,
    /// An act of the request that the row is from is not counted again
    Again = an_act_that_is_noted_again_counts_once,
    /// Acts of one call that have the same id count together
    Together = acts_of_one_call_count_together,
    /// Of acts that are noted at the same time, all are counted in one row
    Concurrent = writers_at_the_same_time_make_one_row,
    /// All acts of a call are written or none, even if the caller goes away meanwhile
    AllOrNone = all_acts_are_noted_or_none,
    /// Counts are added to the rows with these ids, each time that they are passed
    Counted = counts_are_added_to_rows_that_exist,
    /// [`ActJournal::forget_acts`] deletes acts that are older than given, and at most as many as
    /// given
    Forgotten = acts_are_deleted_when_they_are_too_old_and_no_more_than_given,
    /// A journal that can write acts says so
    Records = a_journal_that_can_write_says_so,
}

/// A sign-in, in a request of its own, a quarter past an hour so many hours ago
pub(super) fn sign_in<W: World>(world: &W, hours_ago: u64, agent: u128) -> Act {
    Act::new(ActKind::AgentSignIn, past_the_hour(world) - seconds(3600 * hours_ago))
        .agent(Uuid::from_u128(agent), Uuid::from_u128(6))
        .subject(SubjectKind::Instance, &format!("i-{agent}"))
        .proof("aws")
        .request(Uuid::new_v4(), Some([192, 0, 2, 7].into()), b"curl")
        .detail("agent_name", "main")
}

/// A quarter past the last full hour but one
pub(super) fn past_the_hour<W: World>(world: &W) -> SystemTime {
    let secs = world.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    UNIX_EPOCH + seconds((secs - secs % 3600).saturating_sub(2700))
}

pub(super) async fn note<W: World>(world: &Arc<W>, acts: &[Act]) -> Checked
where
    W::Store: ActJournal,
{
    worked(world.store().note_acts(acts).await, "`note_acts`")
}

pub(super) async fn rows<W: World>(world: &Arc<W>) -> Result<Vec<ActRow>, String>
where
    W::Store: ActLog,
{
    let all = world.store().list_acts(&ActFilter::default(), Page::first(Page::MAX)).await;
    worked(all, "`list_acts`")
}

/// How often each row was done, in ascending order
async fn times<W: World>(world: &Arc<W>) -> Result<Vec<u64>, String>
where
    W::Store: ActLog,
{
    let mut times: Vec<_> = rows(world).await?.iter().map(|row| row.times).collect();
    times.sort_unstable();
    Ok(times)
}

async fn the_same_sign_in_is_one_row_an_hour_and_counted<W: World>(world: Arc<W>) -> Checked
where
    W::Store: ActJournal + ActLog,
{
    let first = sign_in(&*world, 0, 5);
    note(&world, std::slice::from_ref(&first)).await?;
    note(&world, &[sign_in(&*world, 0, 5)]).await?;
    let found = rows(&world).await?;
    let found: Vec<_> = found.iter().map(|row| (row.id, row.request_id, row.times)).collect();
    same(
        &found,
        &[(first.id(), first.request, 2)],
        "the row of two sign-ins, with the first request",
    )
}

async fn other_acts_are_rows_of_their_own<W: World>(world: Arc<W>) -> Checked
where
    W::Store: ActJournal + ActLog,
{
    let created = || Act::new(ActKind::TokenCreate, world.now());
    note(&world, &[sign_in(&*world, 0, 5), sign_in(&*world, 1, 5), created()]).await?;
    note(&world, &[sign_in(&*world, 0, 6), created()]).await?;
    same(&times(&world).await?, &[1; 5], "how often each row was done")
}

async fn an_act_that_is_noted_again_counts_once<W: World>(world: Arc<W>) -> Checked
where
    W::Store: ActJournal + ActLog,
{
    let acts = [sign_in(&*world, 0, 5), Act::new(ActKind::KeysRotate, world.now())];
    for _ in 0..3 {
        note(&world, &acts).await?;
    }
    same(&times(&world).await?, &[1, 1], "how often each row was done")
}

async fn acts_of_one_call_count_together<W: World>(world: Arc<W>) -> Checked
where
    W::Store: ActJournal + ActLog,
{
    let mut twice = sign_in(&*world, 0, 5);
    twice.times = 2;
    note(&world, &[sign_in(&*world, 0, 5), sign_in(&*world, 0, 6), twice]).await?;
    same(&times(&world).await?, &[1, 3], "how often each row was done")?;
    note(&world, &[sign_in(&*world, 0, 5), sign_in(&*world, 0, 5)]).await?;
    same(&times(&world).await?, &[1, 5], "how often each row was done")?;
    note(&world, &[]).await
}

async fn writers_at_the_same_time_make_one_row<W: World>(world: Arc<W>) -> Checked
where
    W::Store: ActJournal + ActLog,
{
    let mut writers = JoinSet::new();
    for _ in 0..8 {
        let acts = [sign_in(&*world, 0, 5), sign_in(&*world, 0, 6)];
        let world = Arc::clone(&world);
        writers.spawn(async move { note(&world, &acts).await });
    }
    while let Some(written) = writers.join_next().await {
        worked(written, "a task")??;
    }
    same(&times(&world).await?, &[8, 8], "how often each row was done")
}

async fn all_acts_are_noted_or_none<W: World>(world: Arc<W>) -> Checked
where
    W::Store: ActJournal + ActLog,
{
    for (polls, n) in POLLS.into_iter().zip(0..) {
        let all: Vec<_> = (0..8).map(|agent| sign_in(&*world, 0, 8 * n + agent)).collect();
        abandoned(world.store().note_acts(&all), polls).await;
        let ids: BTreeSet<_> = all.iter().map(Act::id).collect();
        let written = rows(&world).await?.iter().filter(|row| ids.contains(&row.id)).count();
        holds(
            written == 0 || written == all.len(),
            &format!("all or none of 8 acts are noted: {written} are"),
        )?;
    }
    Ok(())
}

async fn counts_are_added_to_rows_that_exist<W: World>(world: Arc<W>) -> Checked
where
    W::Store: ActJournal + ActLog,
{
    let act = sign_in(&*world, 0, 5);
    note(&world, std::slice::from_ref(&act)).await?;
    for counts in [&[(act.id(), 4), (Uuid::nil(), 9)][..], &[(act.id(), 1), (act.id(), 2)], &[]] {
        worked(world.store().count_acts(counts).await, "`count_acts`")?;
    }
    same(&times(&world).await?, &[8], "how often each row was done")
}

async fn acts_are_deleted_when_they_are_too_old_and_no_more_than_given<W: World>(
    world: Arc<W>,
) -> Checked
where
    W::Store: ActJournal + ActLog,
{
    let acts = [(0, 1), (50, 2), (60, 3)].map(|(hours, agent)| sign_in(&*world, hours, agent));
    note(&world, &acts).await?;
    for (at_most, deleted, left) in [(1, 1, 2), (10, 1, 1), (10, 0, 1)] {
        let found = world.store().forget_acts(seconds(86_400), at_most).await;
        same(&worked(found, "`forget_acts`")?, &deleted, "the number of acts that were deleted")?;
        let ids: Vec<_> = rows(&world).await?.iter().map(|row| row.id).collect();
        same(&ids.len(), &left, "the number of acts that are left")?;
        same(&ids.first().copied(), &Some(acts[0].id()), "the act that is not old")?;
    }
    Ok(())
}

async fn a_journal_that_can_write_says_so<W: World>(world: Arc<W>) -> Checked
where
    W::Store: ActJournal + ActLog,
{
    let records = worked(world.store().records_acts().await, "`records_acts`")?;
    holds(records, "the journal of a world can write acts")
}
