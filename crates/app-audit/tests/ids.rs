//! Ids read and write as the UUIDs that they wrap, and events are made step by step

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::time::SystemTime;

use app_audit::{
    AgentId, AppId, Decision, Entry, Event, OrganizationId, Resource, UserId, Workspace,
    WorkspaceId,
};
use uuid::Uuid;

#[test]
fn ids_read_and_write_as_uuids() {
    const TEXT: &str = "02aab8a4-74ef-476e-8182-f6d2ba4166a6";
    let uuid: Uuid = TEXT.parse().unwrap();
    macro_rules! check {
        ($($id:ident)*) => {$({
            let id: $id = TEXT.parse().unwrap();
            assert_eq!((id, Uuid::from(id), id.to_string()), ($id::from(uuid), uuid, TEXT.to_owned()));
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!(json, format!("\"{TEXT}\""));
            assert_eq!(serde_json::from_str::<$id>(&json).unwrap(), id);
            assert!("1".parse::<$id>().is_err());
        })*};
    }
    check!(AgentId AppId OrganizationId UserId WorkspaceId);
}

#[test]
fn an_event_is_made_step_by_step() {
    let id = Uuid::from_u128;
    let event = Event::new(SystemTime::UNIX_EPOCH, id(1), Resource::Terminal, 404)
        .user(id(2))
        .client(Some([192, 0, 2, 1].into()), b"curl/8")
        .agent(id(3), "main")
        .workspace(Workspace::new(id(4), "dev", "ann", id(5)))
        .denied("not_shared");
    let entry = Entry::new(&event, id(6)).visits(3);
    let record = &entry.record;
    assert_eq!((record.session, record.request_id, record.user_id), (id(6), id(1), id(2)));
    assert_eq!((record.resource_id, &*record.resource_target), (id(3), "main"));
    assert_eq!((record.workspace_id, record.organization_id), (id(4), id(5)));
    assert_eq!((record.decision, record.reason.as_deref()), (Decision::Deny, Some("not_shared")));
    assert_eq!((record.user_agent.as_deref(), record.status_code), (Some("curl/8"), 404));
    assert_eq!((entry.visits, entry.agent_id, entry.key), (3, id(3), event.key()));
}
