use std::cmp::Reverse;
use std::sync::Arc;

use uuid::Uuid;

use super::act_journal::{note, past_the_hour, rows, sign_in};
use super::visits::seconds;
use super::{Checked, World, holds, rules, same, worked};
use crate::{
    Act, ActFilter, ActJournal, ActKind, ActLog, ActRow, AgentId, Decision, Page, SubjectKind,
    UserId, WorkspaceId,
};

rules! {
    $
    /// A rule that every implementation of [`ActLog`] keeps
    ActLogRule: ActJournal, ActLog;
    /// Checks all rules of [`ActLog`]
    fn act_log;
    /// Makes a test of each rule of [`ActLog`](crate::ActLog)
    macro act_log_conformance;
    /// An act is read as [`ActRow::from`] makes it, apart from names of users and workspaces
    AsWritten = an_act_is_read_as_it_was_written,
    /// A filter selects the acts that match every field, as [`ActFilter::passes`] does
    Filters = a_filter_selects_what_matches_all_of_it,
    /// Acts come newest first, and pages follow each other without a gap or a repetition
    Pages = pages_follow_each_other_without_gap_or_repetition,
    /// Acts that are noted while a reader goes on do not move the next page
    WrittenMeanwhile = acts_that_are_noted_meanwhile_do_not_move_the_next_page,
}

async fn an_act_is_read_as_it_was_written<W: World>(world: Arc<W>) -> Checked
where
    W::Store: ActJournal + ActLog,
{
    let acts = [
        sign_in(&*world, 0, 5),
        Act::new(ActKind::TokenCreate, past_the_hour(&*world) - seconds(60))
            .user(Uuid::from_u128(2))
            .subject(SubjectKind::Token, "abcdefghij")
            .operator("ann", "root", Some(1_000)),
        Act::new(ActKind::AgentSignIn, past_the_hour(&*world) - seconds(90))
            .refused("signature")
            .subject(SubjectKind::ClaimedInstance, "i-\u{1f510}'"),
    ];
    note(&world, &acts).await?;
    let mut found = rows(&world).await?;
    for row in &mut found {
        (row.username, row.workspace_name, row.workspace_owner) = (None, None, None);
    }
    same(&found, &acts.iter().map(ActRow::from).collect::<Vec<_>>(), "the acts")
}

async fn a_filter_selects_what_matches_all_of_it<W: World>(world: Arc<W>) -> Checked
where
    W::Store: ActJournal + ActLog,
{
    let quarter = past_the_hour(&*world);
    let user = Uuid::from_u128(2);
    let acts = [
        Act::new(ActKind::LogIn, quarter + seconds(1)).user(user).request(
            Uuid::from_u128(78),
            Some([198, 51, 100, 9].into()),
            b"Mozilla",
        ),
        sign_in(&*world, 0, 5),
        Act::new(ActKind::AgentSignIn, quarter - seconds(1))
            .refused("signature")
            .subject(SubjectKind::ClaimedInstance, "i-9")
            .proof("azure")
            .request(Uuid::from_u128(77), "2001:db8::7".parse().ok(), b""),
    ];
    note(&world, &acts).await?;
    let none = ActFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let request = Some(Uuid::from_u128(78));
    let cases: [(ActFilter, &[usize]); 19] = [
        (ActFilter { from: Some(quarter), ..none() }, &[0, 1]),
        (ActFilter { to: Some(quarter), ..none() }, &[2]),
        (ActFilter { kind: Some(ActKind::LogIn), ..none() }, &[0]),
        (ActFilter { kind: Some(ActKind::AgentSignIn), ..none() }, &[1, 2]),
        (ActFilter { kind: Some(ActKind::Import), ..none() }, &[]),
        (ActFilter { decision: Some(Decision::Deny), ..none() }, &[2]),
        (ActFilter { decision: Some(Decision::Allow), ..none() }, &[0, 1]),
        (ActFilter { reason: text("signature"), ..none() }, &[2]),
        (ActFilter { reason: text("\0"), ..none() }, &[]),
        (ActFilter { user: Some(UserId(user)), ..none() }, &[0]),
        (ActFilter { agent: Some(AgentId(Uuid::from_u128(5))), ..none() }, &[1]),
        (ActFilter { workspace: Some(WorkspaceId(Uuid::from_u128(6))), ..none() }, &[1]),
        (ActFilter { subject: text("i-9"), ..none() }, &[2]),
        (ActFilter { subject: text("I-9"), ..none() }, &[]),
        (ActFilter { ip: Some([192, 0, 2, 7].into()), ..none() }, &[1]),
        (ActFilter { ip: "::ffff:192.0.2.7".parse().ok(), ..none() }, &[1]),
        (ActFilter { ip: "2001:db8::7".parse().ok(), ..none() }, &[2]),
        (ActFilter { request, ..none() }, &[0]),
        (ActFilter { request, kind: Some(ActKind::Import), ..none() }, &[]),
    ];
    for (filter, expected) in cases {
        let found = world.store().list_acts(&filter, Page::first(Page::MAX)).await;
        let found: Vec<_> = worked(found, "`list_acts`")?.iter().map(|row| row.id).collect();
        let expected = acts.iter().enumerate().filter(|(n, _)| expected.contains(n));
        let expected: Vec<_> = expected.map(|(_, act)| act.id()).collect();
        same(&found, &expected, &format!("the acts of {filter:?}"))?;
    }
    Ok(())
}

async fn pages_follow_each_other_without_gap_or_repetition<W: World>(world: Arc<W>) -> Checked
where
    W::Store: ActJournal + ActLog,
{
    let acts: Vec<_> = (0..25).map(|n| sign_in(&*world, n % 3, n.into())).collect();
    note(&world, &acts).await?;
    let all = rows(&world).await?;
    same(&all.len(), &25, "the number of rows")?;
    holds(all.is_sorted_by_key(|row| Reverse(row.cursor())), "rows are in the order of cursors")?;
    for limit in [1, 7, 25, 1_000] {
        let (mut found, mut page) = (Vec::new(), Page::first(limit));
        while found.len() <= all.len() {
            let rows = world.store().list_acts(&ActFilter::default(), page).await;
            let rows = worked(rows, "`list_acts`")?;
            let most = usize::try_from(limit).unwrap_or(usize::MAX);
            holds(rows.len() <= most, &format!("a page of {limit} rows has no more"))?;
            let Some(last) = rows.last() else { break };
            // As a client passes it back.
            page = page.after(worked(last.cursor().to_string().parse(), "parsing a cursor")?);
            found.extend(rows.into_iter().map(|row| row.id));
        }
        let all: Vec<_> = all.iter().map(|row| row.id).collect();
        same(&found, &all, &format!("the rows of pages of {limit}"))?;
    }
    Ok(())
}

async fn acts_that_are_noted_meanwhile_do_not_move_the_next_page<W: World>(world: Arc<W>) -> Checked
where
    W::Store: ActJournal + ActLog,
{
    let acts: Vec<_> = (0..25).map(|n| sign_in(&*world, n % 3, n.into())).collect();
    note(&world, &acts).await?;
    let all: Vec<_> = rows(&world).await?.iter().map(|row| row.id).collect();
    let (mut found, mut page) = (Vec::new(), Page::first(4));
    loop {
        let rows = world.store().list_acts(&ActFilter::default(), page).await;
        let rows = worked(rows, "`list_acts`")?;
        let Some(last) = rows.last() else { break };
        page = page.after(last.cursor());
        found.extend(rows.into_iter().map(|row| row.id));
        holds(found.len() <= all.len(), "pages come to an end")?;
        note(&world, &[Act::new(ActKind::LogOut, world.now() + seconds(60))]).await?;
    }
    same(&found, &all, "the rows of pages of 4")
}
