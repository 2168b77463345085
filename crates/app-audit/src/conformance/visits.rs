//! Visits as the checks make them, and what they read

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::{World, worked};
use crate::{
    AgentId, AppId, AuditLog, Entry, Event, Filter, Journal, Noted, OrganizationId, Page, Resource,
    Row, UserId, Window, Workspace, WorkspaceId,
};

/// A visit of now; `device` tells devices, and with them sessions, apart
pub(super) fn event<W: World>(world: &W, device: u32) -> Event {
    let resource = Resource::App(AppId(Uuid::from_u128(4)), "code".to_owned());
    Event::new(world.now(), Uuid::from_u128(1), resource, 200)
        .user(UserId(Uuid::from_u128(2)))
        .client(Some([192, 0, 2, 1].into()), format!("curl/8 {device}").as_bytes())
        .agent(AgentId(Uuid::from_u128(5)), "main")
        .workspace(Workspace::new(
            WorkspaceId(Uuid::from_u128(6)),
            "dev",
            "ann",
            OrganizationId(Uuid::from_u128(7)),
        ))
}

/// The visit, ready to be noted under a fresh id
pub(super) fn entry(event: &Event) -> Entry {
    Entry::new(event, Uuid::new_v4())
}

/// A visit of now, ready to be noted
pub(super) fn visit<W: World>(world: &W, device: u32) -> Entry {
    entry(&event(world, device))
}

pub(super) async fn note<W: World>(
    world: &Arc<W>,
    entries: &[Entry],
    window: Window,
) -> Result<Vec<Noted>, String>
where
    W::Store: Journal,
{
    let answers = worked(world.store().note(entries, window).await, "`note`")?;
    Ok(answers.into_iter().map(|answer| answer.noted).collect())
}

pub(super) async fn rows<W: World>(world: &Arc<W>, filter: &Filter) -> Result<Vec<Row>, String>
where
    W::Store: AuditLog,
{
    worked(world.store().list(filter, Page::first(Page::MAX)).await, "`list`")
}

/// The rows for beginnings and ends, counted
pub(super) async fn opened_and_closed<W: World>(world: &Arc<W>) -> Result<(usize, usize), String>
where
    W::Store: AuditLog,
{
    let rows = rows(world, &Filter::default()).await?;
    let with = |action| rows.iter().filter(|row| row.action == action).count();
    Ok((with("open"), with("close")))
}

/// Ends all sessions, and returns the visits in the rows of their ends
pub(super) async fn visits_when_ended<W: World>(world: &Arc<W>) -> Result<Vec<Option<u64>>, String>
where
    W::Store: Journal + AuditLog,
{
    world.later(seconds(3601)).await;
    worked(world.store().end_sessions(hour().close(true), 10).await, "`end_sessions`")?;
    let rows = rows(world, &Filter::default()).await?;
    let closed = rows.iter().filter(|row| row.action == "close");
    Ok(closed.map(|row| row.additional_fields["visits"].as_u64()).collect())
}

/// Sessions that end after an hour
pub(super) fn hour() -> Window {
    Window::default()
}

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
