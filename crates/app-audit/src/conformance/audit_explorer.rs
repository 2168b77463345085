use std::sync::Arc;
use std::time::UNIX_EPOCH;

use uuid::Uuid;

use super::visits::{entry, event, hour, note, seconds, visit};
use super::{Checked, World, holds, rules, same, worked};
use crate::{
    AuditExplorer, AuditLog, Decision, Event, Filter, Journal, Listed, Page, Plot, UserId,
};

rules! {
    $
    /// A rule that every implementation of [`AuditExplorer`] keeps
    ///
    /// The names of users and workspaces come from tables that the checks do not know, so
    /// [`AuditExplorer::look_up`] and [`AuditExplorer::usernames`] are not checked.
    AuditExplorerRule: Journal, AuditExplorer;
    /// Checks all rules of [`AuditExplorer`]
    fn audit_explorer;
    /// Makes a test of each rule of [`AuditExplorer`](crate::AuditExplorer)
    macro audit_explorer_conformance;
    /// A session is one row with its end, if that was written. The provided
    /// [`AuditExplorer::explore`] does not keep this rule, since it shows no ends.
    WithItsEnd = a_session_is_one_row_with_its_end,
    /// The sessions are those of the rows of beginnings that match the filter, in the order of the
    /// log, and pages follow each other without a gap or a repetition
    Pages = sessions_are_the_rows_of_beginnings_page_by_page,
    /// A plot counts sessions and denials by steps that begin at multiples of their length
    Steps = a_plot_counts_visits_by_steps,
    /// The shortest length is used that gives at most sixty steps wherever they begin
    Length = a_plot_has_no_step_too_many,
}

async fn a_session_is_one_row_with_its_end<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditExplorer,
{
    let window = hour().close(true);
    let first = visit(&*world, 1);
    let session = first.record.session;
    note(&world, &[first], window).await?;
    world.later(seconds(3600)).await;
    note(&world, &[visit(&*world, 1)], window).await?;
    let sessions = explore(&world, &Filter::default()).await?;
    same(&sessions.len(), &2, "the number of sessions")?;
    holds(sessions.iter().all(|of| of.row.action == "open"), "sessions are rows of beginnings")?;
    let ended: Vec<_> = sessions.iter().filter(|of| of.end.is_some()).map(|of| of.row.id).collect();
    same(&ended, &[session], "the sessions that ended")?;
    let filter = Filter { session: Some(session), ..Filter::default() };
    let of_first = explore(&world, &filter).await?;
    let ends: Vec<_> = of_first.iter().map(|of| of.end.as_ref()).collect();
    let [Some(end)] = ends[..] else { return Err(format!("the end of a session: {ends:?}")) };
    same(&end.visits, &Some(1), "the visits of the session that ended")?;
    let has_time = end.last_seen.as_ref().is_some_and(|time| time.ends_with('Z'));
    holds(has_time, "the time of the last visit is known")
}

async fn sessions_are_the_rows_of_beginnings_page_by_page<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditExplorer,
{
    // With an end for each of the first sessions.
    let window = hour().close(true);
    let old: Vec<_> = (0..10).map(|device| visit(&*world, device)).collect();
    note(&world, &old, window).await?;
    world.later(seconds(3601)).await;
    worked(world.store().end_sessions(window, 100).await, "`end_sessions`")?;
    let mut events: Vec<_> = (0..15).map(|device| event(&*world, device)).collect();
    for event in &mut events[..4] {
        (event.reason, event.status) = (Some("not_shared"), 404);
    }
    note(&world, &events.iter().map(entry).collect::<Vec<_>>(), window).await?;
    let denied = Filter { reason: Some("not_shared".to_owned()), ..Filter::default() };
    for (filter, sessions) in [(Filter::default(), 25), (denied, 4)] {
        let rows = worked(world.store().list(&filter, Page::first(Page::MAX)).await, "`list`")?;
        let opened: Vec<_> =
            rows.iter().filter(|row| row.action == "open").map(|row| row.id).collect();
        same(&opened.len(), &sessions, "the number of rows of beginnings")?;
        let (mut found, mut page) = (Vec::new(), Page::first(7));
        while found.len() <= sessions {
            let listed = worked(world.store().explore(&filter, page).await, "`explore`")?;
            holds(listed.len() <= 7, "a page of 7 sessions has no more")?;
            let Some(last) = listed.last() else { break };
            page = page.after(last.row.cursor());
            found.extend(listed.into_iter().map(|session| session.row.id));
        }
        same(&found, &opened, "the sessions of pages of 7")?;
    }
    Ok(())
}

/// A visit so many minutes after a fixed time, which is long ago
fn at<W: World>(world: &W, minute: u64, user: Option<UserId>) -> Event {
    let device = u32::try_from(minute).unwrap_or_default();
    let mut event = Event { time: UNIX_EPOCH + seconds(FIRST), user, ..event(world, device) };
    event.time += seconds(60 * minute);
    if user.is_none() {
        (event.reason, event.status) = (Some("not_signed_in"), 303);
    }
    event
}

async fn a_plot_counts_visits_by_steps<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditExplorer,
{
    let user = UserId(Uuid::from_u128(2));
    // Two a minute for ten minutes, one of them denied, and two an hour before.
    for minute in [0].into_iter().chain(70..80) {
        let events = [at(&*world, minute, Some(user)), at(&*world, minute, None)];
        note(&world, &events.map(|event| entry(&event)), hour()).await?;
    }
    let plot = plot(&world, &Filter::default()).await?;
    // 79 minutes need more than 60 steps of a minute.
    same(&plot.length, &seconds(300), "the length of a step of 80 minutes")?;
    holds(!plot.is_cut && plot.steps.len() <= 4, "only steps with visits are returned")?;
    let sums = |plot: &Plot| {
        let visits: u64 = plot.steps.iter().map(|step| step.visits).sum();
        (visits, plot.steps.iter().map(|step| step.denials).sum::<u64>())
    };
    same(&sums(&plot), &(22, 11), "the visits and denials of all steps")?;
    let from = at(&*world, 70, None).time;
    let denied = Filter { from: Some(from), decision: Some(Decision::Deny), ..Filter::default() };
    let plot = self::plot(&world, &denied).await?;
    let steps: Vec<_> =
        plot.steps.iter().map(|step| (step.start, step.visits, step.denials)).collect();
    let expected: Vec<_> = (70..80).map(|minute| (at(&*world, minute, None).time, 1, 1)).collect();
    same(&steps, &expected, "the steps of the denials of ten minutes")?;
    let nothing = Filter { user: Some(UserId(Uuid::max())), ..Filter::default() };
    same(&self::plot(&world, &nothing).await?.steps.len(), &0, "the steps of a user without visits")
}

async fn a_plot_has_no_step_too_many<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditExplorer,
{
    let mut events = [0, 59].map(|minute| at(&*world, minute, None));
    events[1].time += seconds(30);
    note(&world, &events.map(|event| entry(&event)), hour()).await?;
    let plot = plot(&world, &Filter::default()).await?;
    let visits: u64 = plot.steps.iter().map(|step| step.visits).sum();
    // These 59.5 minutes may begin and end in the middle of a minute, and touch 61.
    same(&(plot.length, visits), &(seconds(300), 2), "the length of a step, and the visits")
}

async fn explore<W: World>(world: &Arc<W>, filter: &Filter) -> Result<Vec<Listed>, String>
where
    W::Store: AuditExplorer,
{
    worked(world.store().explore(filter, Page::first(Page::MAX)).await, "`explore`")
}

async fn plot<W: World>(world: &Arc<W>, filter: &Filter) -> Result<Plot, String>
where
    W::Store: AuditExplorer,
{
    worked(world.store().plot(filter).await, "`plot`")
}

/// A full hour, in seconds since 1970
const FIRST: u64 = 1_795_219_200;
