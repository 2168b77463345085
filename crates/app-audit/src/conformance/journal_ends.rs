//! The rules of a journal about ends: of sessions, and of rows

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::DateTime;

use super::visits::{
    entry, event, hour, note, opened_and_closed, rows, seconds, visit, visits_when_ended,
};
use super::{Checked, World, holds, same, worked};
use crate::{AuditLog, Event, Filter, Journal};

pub(super) async fn the_end_of_a_session_is_written_if_that_is_asked_for<W: World>(
    world: Arc<W>,
) -> Checked
where
    W::Store: Journal + AuditLog,
{
    let window = hour().close(true);
    note(&world, &[visit(&*world, 1)], window).await?;
    world.later(seconds(1800)).await;
    note(&world, &[visit(&*world, 1)], window).await?;
    for (after, ended) in [(3590, 0), (11, 1), (0, 0)] {
        world.later(seconds(after)).await;
        let found = worked(world.store().end_sessions(window, 10).await, "`end_sessions`")?;
        same(&found, &ended, "the number of sessions that were deleted")?;
    }
    let found = rows(&world, &Filter::default()).await?;
    let [close, open] = &found[..] else {
        return Err(format!("{} rows instead of a beginning and an end", found.len()));
    };
    same(&(&*open.action, &*close.action), &("open", "close"), "the rows, in order")?;
    same(&close.session_id, &Some(open.id), "the session of the end")?;
    holds(close.id != open.id, "the row of the end has an id of its own")?;
    let mut fields = close.additional_fields.clone();
    let mut taken = |name: &str| {
        let fields = fields.as_object_mut();
        fields.and_then(|fields| fields.remove(name)).unwrap_or_default()
    };
    same(&taken("visits").as_u64(), &Some(2), "the visits")?;
    let times = ["first_seen", "last_seen"].map(|name| {
        let time = taken(name);
        DateTime::parse_from_rfc3339(time.as_str().unwrap_or_default()).ok()
    });
    let [Some(first), Some(last)] = times else {
        return Err("`first_seen` and `last_seen` are not times".to_owned());
    };
    let between = (last - first).num_seconds();
    holds((1795..=1820).contains(&between), "the last visit was half an hour after the first")?;
    let ended_at = SystemTime::from(last) + window.stale;
    same(&close.time, &ended_at, "the time of the end, an hour after the last visit")?;
    let mut expected = open.clone();
    (expected.id, expected.time) = (close.id, close.time);
    (expected.action, expected.additional_fields) =
        (close.action.clone(), close.additional_fields.clone());
    same(close, &expected, "the rest of the row")?;
    same(&fields, &open.additional_fields, "the other additional fields")
}

pub(super) async fn a_session_that_the_next_one_replaces_is_closed<W: World>(
    world: Arc<W>,
) -> Checked
where
    W::Store: Journal + AuditLog,
{
    let window = hour().close(true);
    for _ in 0..2 {
        note(&world, &[visit(&*world, 1)], window).await?;
    }
    world.later(seconds(3600)).await;
    note(&world, &[visit(&*world, 1), visit(&*world, 2)], window).await?;
    same(&opened_and_closed(&world).await?, &(3, 1), "the rows of beginnings and ends")?;
    let rows = rows(&world, &Filter::default()).await?;
    let closed = rows.iter().find(|row| row.action == "close");
    let visits = closed.and_then(|row| row.additional_fields["visits"].as_u64());
    same(&visits, &Some(2), "the visits of the session that ended")?;
    let last = closed.and_then(|row| row.additional_fields["last_seen"].as_str());
    let last = last.and_then(|last| DateTime::parse_from_rfc3339(last).ok());
    let ended_at = last.map(|last| SystemTime::from(last) + window.stale);
    same(
        &closed.map(|row| row.time),
        &ended_at,
        "the time of the end, an hour after the last visit",
    )?;
    let mut visits = visits_when_ended(&world).await?;
    visits.sort_unstable();
    same(&visits, &[Some(1), Some(1), Some(2)], "the visits of all sessions")
}

pub(super) async fn no_end_is_written_unless_that_is_asked_for<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditLog,
{
    let always = hour().close(true).stale(Duration::ZERO);
    for window in [hour(), hour(), always, always] {
        note(&world, &[visit(&*world, 1)], window).await?;
        world.later(seconds(3600)).await;
    }
    world.later(seconds(24 * 3600 + 1)).await;
    worked(world.store().end_sessions(always, 10).await, "`end_sessions`")?;
    worked(world.store().end_sessions(hour(), 10).await, "`end_sessions`")?;
    same(&opened_and_closed(&world).await?, &(4, 0), "the rows of beginnings and ends")
}

pub(super) async fn sessions_are_deleted_a_day_after_they_ended<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditLog,
{
    note(&world, &[visit(&*world, 1)], hour()).await?;
    world.later(seconds(23 * 3600)).await;
    note(&world, &[visit(&*world, 2)], hour()).await?;
    let long = hour().stale(seconds(30 * 3600));
    // The second session is kept for as long as where sessions last for 30 hours.
    for (after, window, deleted) in [
        (0, hour(), 0),
        (3601, hour(), 1),
        (0, hour(), 0),
        (58 * 3600, long, 0),
        (2 * 3600, long, 1),
    ] {
        world.later(seconds(after)).await;
        let found = worked(world.store().end_sessions(window, 10).await, "`end_sessions`")?;
        same(&found, &deleted, "the number of sessions that were deleted")?;
    }
    same(&opened_and_closed(&world).await?, &(2, 0), "the rows of beginnings and ends")
}

pub(super) async fn no_more_sessions_are_deleted_than_given<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditLog,
{
    let all: Vec<_> = (0..25).map(|device| visit(&*world, device)).collect();
    note(&world, &all, hour()).await?;
    world.later(seconds(48 * 3600)).await;
    for deleted in [10, 10, 5, 0] {
        let found = worked(world.store().end_sessions(hour(), 10).await, "`end_sessions`")?;
        same(&found, &deleted, "the number of sessions that were deleted")?;
    }
    Ok(())
}

pub(super) async fn rows_are_deleted_when_they_are_too_old_and_no_more_than_given<W: World>(
    world: Arc<W>,
) -> Checked
where
    W::Store: Journal + AuditLog,
{
    for device in 0..4 {
        let time = world.now() - seconds(86_400 * (10 - u64::from(device)));
        note(&world, &[entry(&Event { time, ..event(&*world, device) })], hour()).await?;
    }
    note(&world, &[visit(&*world, 4)], hour()).await?;
    let keep = seconds(86_400 + 86_400 / 2);
    for (deleted, left) in [(2, 3), (2, 1), (0, 1)] {
        let found = worked(world.store().forget(keep, 2).await, "`forget`")?;
        same(&found, &deleted, "the number of rows that were deleted")?;
        let found = rows(&world, &Filter::default()).await?.len();
        same(&found, &left, "the number of rows that are left")?;
    }
    Ok(())
}
