use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use uuid::Uuid;

use super::journal_ends::{
    a_session_that_the_next_one_replaces_is_closed, no_end_is_written_unless_that_is_asked_for,
    no_more_sessions_are_deleted_than_given,
    rows_are_deleted_when_they_are_too_old_and_no_more_than_given,
    sessions_are_deleted_a_day_after_they_ended,
    the_end_of_a_session_is_written_if_that_is_asked_for,
};
use super::visits::{
    entry, event, hour, note, opened_and_closed, rows, seconds, visit, visits_when_ended,
};
use super::{Checked, POLLS, World, abandoned, holds, rules, same, worked};
use crate::{AuditLog, Count, Event, Filter, Journal, Noted, Session, Visit};

rules! {
    $
    /// A rule that every implementation of [`Journal`] keeps
    JournalRule: Journal, AuditLog;
    /// Checks all rules of [`Journal`]
    fn journal;
    /// Makes a test of each rule of [`Journal`](crate::Journal)
    macro journal_conformance;
    /// The first visit of a key begins a session, with the id of its record, and writes the
    /// record. The next continues it.
    FirstVisit = the_first_visit_begins_a_session_and_the_next_continues_it,
    /// Without a stale interval each visit is a session, also of one key in one call
    EachVisit = without_a_stale_interval_each_visit_is_a_session,
    /// Visits of one call are answered in the order given, and the first of a key begins
    Order = visits_that_come_together_are_answered_in_their_order,
    /// An entry that is noted again has the same answer, is written once, and counts once
    Again = an_entry_that_is_noted_again_is_answered_the_same_and_written_once,
    /// An entry that is noted again after another session has replaced its own has one row
    AgainLate = an_entry_that_is_noted_again_late_has_one_row,
    /// Of first visits that come at the same time, one begins the session
    Concurrent = of_first_visits_at_the_same_time_one_begins_the_session,
    /// All entries of a call are noted or none, even if the caller goes away meanwhile
    AllOrNone = all_entries_are_noted_or_none,
    /// A visit exactly [`Window::stale`](crate::Window::stale) after the last one begins a
    /// session, and each visit extends its session
    Stale = a_session_ends_when_it_is_stale,
    /// Any sequence of visits is answered as [`Session::visit`] does
    Sequence = any_sequence_of_visits_follows_the_rule,
    /// The age of the last written visit is answered, or that it is not known
    Idle = the_age_of_the_last_written_visit_is_answered,
    /// The journal's clock decides, not the time of the visit
    OwnClock = the_time_of_a_visit_does_not_move_its_session,
    /// Visits that were noted and counted are in the row of the session's end
    Counted = visits_are_counted,
    /// Counts for a session that is not that of the key change nothing
    CountedElsewhere = counts_for_another_session_change_nothing,
    /// With [`Window::close`](crate::Window::close), a session that is deleted gets a row for its
    /// end, like that of its beginning
    Closed = the_end_of_a_session_is_written_if_that_is_asked_for,
    /// A session that another replaces gets a row for its end, and its visits are not counted for
    /// the next
    ClosedByNext = a_session_that_the_next_one_replaces_is_closed,
    /// No end is written if it is not asked for, or if each visit is a session
    NotClosed = no_end_is_written_unless_that_is_asked_for,
    /// Sessions are deleted a day after they ended, and long ones after twice their length
    Deleted = sessions_are_deleted_a_day_after_they_ended,
    /// [`Journal::end_sessions`] deletes at most as many sessions as given
    DeletedInPart = no_more_sessions_are_deleted_than_given,
    /// [`Journal::forget`] deletes rows that are older than given, and at most as many as given
    Forgotten = rows_are_deleted_when_they_are_too_old_and_no_more_than_given,
}

async fn the_first_visit_begins_a_session_and_the_next_continues_it<W: World>(
    world: Arc<W>,
) -> Checked
where
    W::Store: Journal + AuditLog,
{
    let first = visit(&*world, 1);
    let session = first.record.session;
    let noted = note(&world, &[first], hour()).await?;
    same(&noted, &[Noted::Began(session)], "the answer to the first visit")?;
    let noted = note(&world, &[visit(&*world, 1)], hour()).await?;
    same(&noted, &[Noted::Continued(session)], "the answer to the next visit")?;
    let ids: Vec<_> = rows(&world, &Filter::default()).await?.iter().map(|row| row.id).collect();
    same(&ids, &[session], "the ids of the rows")
}

async fn without_a_stale_interval_each_visit_is_a_session<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditLog,
{
    let always = hour().stale(Duration::ZERO);
    let all = [1, 2, 1, 1].map(|device| visit(&*world, device));
    let began: Vec<_> = all.iter().map(|entry| Noted::Began(entry.record.session)).collect();
    same(&note(&world, &all, always).await?, &began, "the answers")?;
    let next = visit(&*world, 1);
    let began = [Noted::Began(next.record.session)];
    same(&note(&world, &[next], always).await?, &began, "the answer to a later visit")?;
    same(&opened_and_closed(&world).await?, &(5, 0), "the rows of beginnings and ends")
}

async fn visits_that_come_together_are_answered_in_their_order<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditLog,
{
    let all = [7, 3, 3, 7, 5].map(|device| visit(&*world, device));
    let [a, b, c] = [&all[0], &all[1], &all[4]].map(|entry| entry.record.session);
    let expected = [
        Noted::Began(a),
        Noted::Began(b),
        Noted::Continued(b),
        Noted::Continued(a),
        Noted::Began(c),
    ];
    same(&note(&world, &all, hour()).await?, &expected, "the answers")?;
    same(&note(&world, &[], hour()).await?.len(), &0, "the number of answers to no visits")?;
    same(&opened_and_closed(&world).await?, &(3, 0), "the rows of beginnings and ends")
}

async fn an_entry_that_is_noted_again_is_answered_the_same_and_written_once<W: World>(
    world: Arc<W>,
) -> Checked
where
    W::Store: Journal + AuditLog,
{
    for (device, window) in [(1, hour()), (2, hour().stale(Duration::ZERO))] {
        let entries = [visit(&*world, device)];
        let once = note(&world, &entries, window).await?;
        same(&once, &[Noted::Began(entries[0].record.session)], "the first answer")?;
        for _ in 0..2 {
            same(&note(&world, &entries, window).await?, &once, "the answer to the same entry")?;
        }
    }
    same(&opened_and_closed(&world).await?, &(2, 0), "the rows of beginnings and ends")?;
    // One visit of the first key, although it was noted three times.
    let visits = visits_when_ended(&world).await?;
    holds(visits.iter().all(|visits| *visits == Some(1)), "an entry counts once")
}

async fn an_entry_that_is_noted_again_late_has_one_row<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditLog,
{
    let [first, second, other] = [1, 1, 2].map(|device| visit(&*world, device));
    for entry in [&first, &second] {
        note(&world, std::slice::from_ref(entry), hour()).await?;
        world.later(seconds(3600)).await;
    }
    // The first session was replaced, and the second is stale too.
    let noted = note(&world, &[other.clone(), first.clone()], hour()).await?;
    let expected = [other, first].map(|entry| Noted::Began(entry.record.session));
    same(&noted, &expected, "the answers")?;
    same(&opened_and_closed(&world).await?, &(3, 0), "the rows of beginnings and ends")?;
    // Each visit is a session, and those of one call come again in two.
    let always = hour().stale(Duration::ZERO);
    let [a, b] = [3, 3].map(|device| visit(&*world, device));
    for entries in [&[a.clone(), b.clone()][..], &[a], &[b]] {
        note(&world, entries, always).await?;
    }
    same(&opened_and_closed(&world).await?, &(5, 0), "the rows of beginnings and ends")
}

async fn of_first_visits_at_the_same_time_one_begins_the_session<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditLog,
{
    for device in 0..10 {
        let event = event(&*world, device);
        let mut visits = JoinSet::new();
        for _ in 0..16 {
            let (world, entry) = (Arc::clone(&world), entry(&event));
            visits.spawn(async move { note(&world, &[entry], hour()).await });
        }
        let mut noted = Vec::new();
        while let Some(visit) = visits.join_next().await {
            noted.extend(worked(visit, "a task")??);
        }
        let began = noted.iter().filter(|noted| matches!(noted, Noted::Began(_))).count();
        let sessions: BTreeSet<Uuid> = noted.iter().map(|noted| noted.session()).collect();
        same(&(began, sessions.len()), &(1, 1), "the visits that began, and the sessions")?;
    }
    same(&opened_and_closed(&world).await?, &(10, 0), "the rows of beginnings and ends")
}

async fn all_entries_are_noted_or_none<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditLog,
{
    for (polls, n) in POLLS.into_iter().zip(0..) {
        let all: Vec<_> = (0..8).map(|device| visit(&*world, 8 * n + device)).collect();
        abandoned(world.store().note(&all, hour()), polls).await;
        let ids: BTreeSet<_> = all.iter().map(|entry| entry.record.session).collect();
        let written = rows(&world, &Filter::default()).await?;
        let written = written.iter().filter(|row| ids.contains(&row.id)).count();
        holds(
            written == 0 || written == all.len(),
            &format!("all or none of 8 entries are noted: {written} are"),
        )?;
    }
    Ok(())
}

async fn a_session_ends_when_it_is_stale<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditLog,
{
    let first = visit(&*world, 1);
    let session = first.record.session;
    note(&world, &[first], hour()).await?;
    for _ in 0..2 {
        world.later(seconds(3590)).await;
        let noted = note(&world, &[visit(&*world, 1)], hour()).await?;
        same(&noted, &[Noted::Continued(session)], "the answer 3590 seconds after the last visit")?;
    }
    world.later(seconds(3600)).await;
    let next = visit(&*world, 1);
    let began = [Noted::Began(next.record.session)];
    same(&note(&world, &[next], hour()).await?, &began, "the answer an hour after the last visit")
}

async fn any_sequence_of_visits_follows_the_rule<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditLog,
{
    // All gaps are multiples of 13 seconds, so that sums of them are at least eight seconds before
    // the end of a window or after it: a database's clock runs on during the check.
    const GAPS: [u64; 8] = [0, 4, 5, 276, 277, 11, 138, 0];
    let windows = [hour(), hour().touch(Duration::ZERO), hour().touch(seconds(7200))];
    for (window, n) in windows.into_iter().zip(0..) {
        let mut now = std::time::UNIX_EPOCH;
        let mut kept: HashMap<u32, Session> = HashMap::new();
        let mut state: u32 = 1;
        for _ in 0..30 {
            // Numerical Recipes' linear congruential generator: the same sequence each time.
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let gap = seconds(13 * GAPS[usize::try_from(state >> 29).unwrap_or_default()]);
            now += gap;
            world.later(gap).await;
            let devices: Vec<u32> =
                (0..=(state >> 20) % 3).map(|visit| 10 * n + (state >> (10 + visit)) % 3).collect();
            let entries: Vec<_> = devices.iter().map(|device| visit(&*world, *device)).collect();
            let mut expected = Vec::new();
            for (device, entry) in devices.iter().zip(&entries) {
                let last = kept.get(device).copied();
                let (session, visit) = Session::visit(last, entry.record.session, now, window);
                kept.insert(*device, session);
                expected.push(match visit {
                    Visit::Began => Noted::Began(session.id),
                    Visit::Extended | Visit::Untouched => Noted::Continued(session.id),
                });
            }
            let noted = note(&world, &entries, window).await?;
            same(&noted, &expected, &format!("the answers {gap:?} after the last ones"))?;
        }
    }
    Ok(())
}

async fn the_age_of_the_last_written_visit_is_answered<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditLog,
{
    // The second visit comes so soon after the first that it is not written.
    for (after, at_least) in [(0, 0), (30, 30), (60, 0)] {
        world.later(seconds(after)).await;
        let entries = [visit(&*world, 1)];
        let answers = worked(world.store().note(&entries, hour()).await, "`note`")?;
        let idle = answers.first().and_then(|answer| answer.idle);
        let is_right = |idle: Duration| (at_least..at_least + 20).contains(&idle.as_secs());
        holds(
            idle.is_none_or(is_right),
            &format!("the last written visit was {at_least} seconds ago: {idle:?}"),
        )?;
    }
    Ok(())
}

async fn the_time_of_a_visit_does_not_move_its_session<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditLog,
{
    let now = world.now();
    let mut sessions = BTreeSet::new();
    for time in [now - seconds(7200), now, now + seconds(7200), now - seconds(7200)] {
        let entry = entry(&Event { time, ..event(&*world, 1) });
        sessions.extend(note(&world, &[entry], hour()).await?.into_iter().map(Noted::session));
    }
    same(&sessions.len(), &1, "the sessions of four visits")
}

async fn visits_are_counted<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditLog,
{
    let window = hour().close(true);
    let all = [1, 1, 2].map(|visits| visit(&*world, 1).visits(visits));
    note(&world, &all, window).await?;
    note(&world, &[visit(&*world, 1).visits(5)], window).await?;
    let count = Count::new(all[0].key, all[0].record.session, 4);
    for _ in 0..2 {
        worked(world.store().count(&[count]).await, "`count`")?;
    }
    same(&visits_when_ended(&world).await?, &[Some(17)], "the visits of 4 + 5 + 4 + 4")
}

async fn counts_for_another_session_change_nothing<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditLog,
{
    let first = visit(&*world, 1);
    let (key, unknown) = (first.key, visit(&*world, 2));
    note(&world, &[first], hour().close(true)).await?;
    let counts = [Count::new(key, Uuid::from_u128(9), 3), Count::new(unknown.key, Uuid::nil(), 3)];
    worked(world.store().count(&[]).await, "`count` of nothing")?;
    worked(world.store().count(&counts).await, "`count` for unknown sessions")?;
    same(&visits_when_ended(&world).await?, &[Some(1)], "the visits of the session")
}
