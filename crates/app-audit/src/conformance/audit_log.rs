use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use uuid::Uuid;

use super::visits::{entry, event, hour, note, rows, seconds, visit};
use super::{Checked, World, holds, rules, same, worked};
use crate::{
    App, AppId, AuditLog, Decision, Entry, Event, Filter, Journal, OrganizationId, Page, Resource,
    Row, UserId, WorkspaceId,
};

rules! {
    $
    /// A rule that every implementation of [`AuditLog`] keeps
    AuditLogRule: Journal, AuditLog;
    /// Checks all rules of [`AuditLog`]
    fn audit_log;
    /// Makes a test of each rule of [`AuditLog`](crate::AuditLog)
    macro audit_log_conformance;
    /// A row is read as [`Row::from`] makes it of the record, its time rounded down to the
    /// microsecond
    AsWritten = a_row_is_read_as_it_was_written,
    /// A filter selects the rows that match every field, as [`Filter::passes`] does
    Filters = a_filter_selects_what_matches_all_of_it,
    /// Rows come newest first, those of one time by id, the greatest first
    NewestFirst = rows_come_newest_first,
    /// Pages of any size follow each other without a gap or a repetition, even if many rows have
    /// one time, and no page has more rows than its limit
    Pages = pages_follow_each_other_without_gap_or_repetition,
    /// Rows that are written while a reader goes on do not move the next page: no row is left out
    /// and none comes twice
    WrittenMeanwhile = rows_that_are_written_meanwhile_do_not_move_the_next_page,
}

async fn a_row_is_read_as_it_was_written<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditLog,
{
    // A database's microseconds are finer than some clocks, and coarser than others.
    let whole = event(&*world, 1).time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let time = UNIX_EPOCH + seconds(whole) + Duration::from_nanos(1_234_567);
    let nowhere = Event::new(
        time + seconds(1),
        Uuid::from_u128(3),
        Resource::Unknown("gone \u{1f510}".to_owned()),
        404,
    );
    let entries = [
        entry(&Event { time, ..event(&*world, 1) }),
        entry(&nowhere.client(None, b"\xff\0").denied("not_found")),
    ];
    note(&world, &entries, hour()).await?;
    let found = rows(&world, &Filter::default()).await?;
    let expected: Vec<_> = entries.iter().rev().map(|entry| Row::from(&entry.record)).collect();
    same(&found, &expected, "the rows")
}

/// Eight visits, a second apart, of which each but two differs from the rest in one field
fn differing<W: World>(world: &W) -> Vec<Entry> {
    let other = Uuid::from_u128(99);
    // Whole seconds, which no row has rounded.
    let now = world.now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let first = UNIX_EPOCH + seconds(now.saturating_sub(1_000));
    let mut events: Vec<_> = (0..8).map(|device| event(world, device)).collect();
    for (event, n) in events.iter_mut().zip(0..) {
        event.time = first + seconds(n);
        match n {
            1 => event.user = Some(UserId(other)),
            2 => event.request = other,
            3 => event.resource = Resource::App(AppId(other), "other".to_owned()),
            4 => {
                event.reason = Some("no");
                event.status = 404;
                event.ip = Some([198, 51, 100, 7].into());
            }
            5 => {
                event.resource = Resource::Unknown("a\"b %'".to_owned());
                event.user = None;
            }
            6 => event.workspace.iter_mut().for_each(|of| of.id = WorkspaceId(other)),
            7 => event.workspace.iter_mut().for_each(|of| of.organization = OrganizationId(other)),
            _ => {}
        }
    }
    events.iter().map(entry).collect()
}

async fn a_filter_selects_what_matches_all_of_it<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditLog,
{
    let entries = differing(&*world);
    note(&world, &entries, hour()).await?;
    let all = rows(&world, &Filter::default()).await?;
    same(&all.len(), &8, "the number of rows")?;
    let other = Uuid::from_u128(99);
    let time = |n: usize| entries.get(n).map(|entry| entry.record.time);
    let none = Filter::default;
    let app = |app: App| Filter { app: Some(app), ..none() };
    let slug = |slug: &str| app(App::Slug(slug.to_owned()));
    let reason = |reason: &str| Filter { reason: Some(reason.to_owned()), ..none() };
    let ip = |ip: &str| Filter { ip: ip.parse().ok(), ..none() };
    let cases: [(Filter, &[usize]); 28] = [
        (Filter { user: Some(UserId(other)), ..none() }, &[1]),
        (Filter { user: Some(UserId(Uuid::nil())), ..none() }, &[5]),
        (Filter { request: Some(other), ..none() }, &[2]),
        (app(App::Id(AppId(other))), &[3]),
        (slug("other"), &[3]),
        (slug("Other"), &[]),
        (slug("a\"b %'"), &[5]),
        (slug("%"), &[]),
        (slug("\0"), &[]),
        (Filter { decision: Some(Decision::Deny), ..none() }, &[4]),
        (Filter { decision: Some(Decision::Allow), ..none() }, &[7, 6, 5, 3, 2, 1, 0]),
        (reason("no"), &[4]),
        (reason("No"), &[]),
        (reason(""), &[]),
        (reason("a\0"), &[]),
        (ip("198.51.100.7"), &[4]),
        (ip("::ffff:198.51.100.7"), &[4]),
        (ip("198.51.100.8"), &[]),
        (Filter { workspace: Some(WorkspaceId(other)), ..none() }, &[6]),
        (Filter { organization: Some(OrganizationId(other)), ..none() }, &[7]),
        (Filter { session: entries.get(3).map(|of| of.record.session), ..none() }, &[3]),
        (Filter { from: time(6), ..none() }, &[7, 6]),
        (Filter { to: time(2), ..none() }, &[1, 0]),
        (Filter { from: time(2), to: time(5), decision: Some(Decision::Allow), ..none() }, &[3, 2]),
        (Filter { user: Some(UserId(other)), request: Some(other), ..none() }, &[]),
        (
            Filter {
                user: Some(UserId(Uuid::from_u128(2))),
                organization: Some(OrganizationId(other)),
                ..none()
            },
            &[7],
        ),
        (Filter { from: Some(UNIX_EPOCH - seconds(9)), to: Some(UNIX_EPOCH), ..none() }, &[]),
        (
            Filter {
                to: time(0).map(|time| time + seconds(40_000_000_000)),
                session: Some(other),
                ..none()
            },
            &[],
        ),
    ];
    for (filter, expected) in cases {
        let found = rows(&world, &filter).await?;
        let ids: Vec<_> = found.iter().map(|row| row.id).collect();
        let expected: Vec<_> = entries
            .iter()
            .enumerate()
            .rev()
            .filter(|(n, _)| expected.contains(n))
            .map(|(_, entry)| entry.record.session)
            .collect();
        same(&ids, &expected, &format!("the rows of {filter:?}"))?;
        let passing: Vec<_> = all.iter().filter(|row| filter.passes(row)).cloned().collect();
        same(&found, &passing, &format!("the rows that pass {filter:?}"))?;
    }
    Ok(())
}

/// Fifty visits of which many have the same time
async fn of_few_moments<W: World>(world: &Arc<W>) -> Result<Vec<Row>, String>
where
    W::Store: Journal + AuditLog,
{
    let now = world.now();
    let entries: Vec<_> = (0..50)
        .map(|n| Event { time: now - seconds(u64::from(n / 20)), ..event(&**world, n) })
        .map(|event| entry(&event))
        .collect();
    note(world, &entries, hour()).await?;
    let all = rows(world, &Filter::default()).await?;
    same(&all.len(), &entries.len(), "the number of rows")?;
    Ok(all)
}

async fn rows_come_newest_first<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditLog,
{
    let all = of_few_moments(&world).await?;
    holds(all.is_sorted_by_key(|row| Reverse(row.cursor())), "rows are in the order of cursors")
}

async fn pages_follow_each_other_without_gap_or_repetition<W: World>(world: Arc<W>) -> Checked
where
    W::Store: Journal + AuditLog,
{
    let all = of_few_moments(&world).await?;
    for limit in [1, 7, 49, 50, 1_000] {
        let (mut found, mut page) = (Vec::new(), Page::first(limit));
        while found.len() <= all.len() {
            let rows = worked(world.store().list(&Filter::default(), page).await, "`list`")?;
            let most = usize::try_from(limit).unwrap_or(usize::MAX);
            holds(rows.len() <= most, &format!("a page of {limit} rows has no more"))?;
            let Some(last) = rows.last() else { break };
            // As a client passes it back.
            page = page.after(worked(last.cursor().to_string().parse(), "parsing a cursor")?);
            found.extend(rows);
        }
        same(&ids(&found), &ids(&all), &format!("the rows of pages of {limit}"))?;
    }
    Ok(())
}

async fn rows_that_are_written_meanwhile_do_not_move_the_next_page<W: World>(
    world: Arc<W>,
) -> Checked
where
    W::Store: Journal + AuditLog,
{
    let all = of_few_moments(&world).await?;
    let (mut found, mut page) = (Vec::new(), Page::first(9));
    for device in 100.. {
        let rows = worked(world.store().list(&Filter::default(), page).await, "`list`")?;
        let Some(last) = rows.last() else { break };
        page = page.after(last.cursor());
        found.extend(rows);
        holds(found.len() <= all.len(), "pages come to an end")?;
        // Newer than all that were read.
        let mut newer = visit(&*world, device);
        newer.record.time = world.now() + seconds(60);
        note(&world, &[newer], hour()).await?;
    }
    same(&ids(&found), &ids(&all), "the rows of pages of 9")
}

fn ids(rows: &[Row]) -> Vec<Uuid> {
    rows.iter().map(|row| row.id).collect()
}
