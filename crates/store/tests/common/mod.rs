//! Visits as they happen

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

pub(crate) mod certificates;
pub(crate) mod months;
pub(crate) mod notifications;
pub(crate) mod server;

use std::time::{Duration, SystemTime};

use app_audit::{
    AgentId, AppId, Entry, Event, OrganizationId, Resource, UserId, Window, Workspace, WorkspaceId,
    parse_ip,
};
use store::fleet::{Fleet, Transition};
use uuid::Uuid;

/// The event, with some fields changed
pub(crate) fn with(mut event: Event, change: impl FnOnce(&mut Event)) -> Event {
    change(&mut event);
    event
}

/// A visit like no other, `device` telling devices apart
pub(crate) fn event(device: u32) -> Event {
    with(
        Event::new(
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_219_200),
            Uuid::from_u128(1),
            Resource::App(AppId(Uuid::from_u128(4)), "code".to_owned()),
            200,
        ),
        |it| {
            it.user = Some(UserId(Uuid::from_u128(2)));
            it.ip = parse_ip("192.0.2.1");
            it.user_agent = format!("curl/8 {device}").into_bytes();
            it.agent = Some((AgentId(Uuid::from_u128(5)), "main".to_owned()));
            it.workspace = Some(Workspace::new(
                WorkspaceId(Uuid::from_u128(6)),
                "dev",
                "ann",
                OrganizationId(Uuid::from_u128(7)),
            ));
        },
    )
}

/// The visit, ready to be noted under a fresh id
pub(crate) fn entry(event: &Event) -> Entry {
    Entry::new(event, Uuid::new_v4())
}

/// Several visits of one device
pub(crate) fn entries(device: u32, count: usize) -> Vec<Entry> {
    (0..count).map(|_| entry(&event(device))).collect()
}

/// An hour, known to the minute
pub(crate) fn hour() -> Window {
    Window::default()
}

/// An agent of [`INSTANCE`], and names that no other fleet has
pub(crate) fn one_agent() -> Fleet {
    let mut fleet = Fleet::default();
    let name = |part| format!("{part}-{}", uuid::Uuid::new_v4().simple());
    let acme = fleet.organization(&name("acme"));
    let alice = fleet.user(&name("alice"), acme);
    let workspace = fleet.workspace(alice, "dev");
    let build = fleet.build(workspace, Transition::Start);
    fleet.agent(build.resource, "main", INSTANCE);
    fleet
}

pub(crate) const INSTANCE: &str = "i-0abc";
