//! Which visits are one session, what is written about them, and how long a session lasts

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use app_audit::{
    AgentId, AppId, Event, OrganizationId, Resource, Session, UserId, Visit, Window, Workspace,
    WorkspaceId, parse_ip,
};
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
}

fn event() -> Event {
    Event {
        time: at(0),
        request: id(1),
        user: Some(UserId(id(2))),
        ip: parse_ip("192.0.2.1"),
        user_agent: b"curl".to_vec(),
        resource: Resource::App(AppId(id(3)), "code".to_owned()),
        agent: Some((AgentId(id(4)), "main".to_owned())),
        workspace: Some(Workspace {
            id: WorkspaceId(id(5)),
            name: "dev".to_owned(),
            owner: "ann".to_owned(),
            organization: OrganizationId(id(6)),
        }),
        status: 200,
        reason: None,
    }
}

#[test]
fn a_session_is_identified_by_seven_fields_and_no_others() {
    let event = event();
    // scenario 144
    let others = [
        Event { user: None, ..event.clone() },
        Event { user: Some(UserId(id(99))), ..event.clone() },
        Event { ip: None, ..event.clone() },
        Event { ip: parse_ip("192.0.2.2"), ..event.clone() },
        Event { ip: parse_ip("::1"), ..event.clone() },
        Event { user_agent: b"curl/8".to_vec(), ..event.clone() },
        Event { user_agent: Vec::new(), ..event.clone() },
        Event { resource: Resource::App(AppId(id(99)), "code".to_owned()), ..event.clone() },
        Event { resource: Resource::Port("8080".to_owned()), ..event.clone() },
        Event { resource: Resource::Port("8080s".to_owned()), ..event.clone() },
        Event { resource: Resource::Terminal, ..event.clone() },
        Event { agent: Some((AgentId(id(99)), "main".to_owned())), ..event.clone() },
        Event { status: 404, ..event.clone() },
    ];
    let keys: HashSet<_> = others.iter().chain([&event]).map(Event::key).collect();
    assert_eq!(keys.len(), others.len() + 1);

    let same = Event {
        time: at(9),
        request: id(99),
        workspace: None,
        reason: Some("a_reason"),
        resource: Resource::App(AppId(id(3)), "renamed".to_owned()),
        agent: Some((AgentId(id(4)), "renamed".to_owned())),
        ..event.clone()
    };
    assert_eq!(same.key(), event.key());

    // Requests that led to no agent are distinguished by workspace.
    let nowhere = |workspace| Event {
        agent: None,
        resource: Resource::Unknown("code".to_owned()),
        workspace: event.workspace.clone().map(|w| Workspace { id: WorkspaceId(workspace), ..w }),
        ..event.clone()
    };
    assert_eq!(nowhere(id(5)).key(), nowhere(id(5)).key());
    assert_ne!(nowhere(id(5)).key(), nowhere(id(98)).key());
}

#[test]
fn fields_do_not_run_into_each_other() {
    let with = |user_agent: &[u8], port: &str| Event {
        user_agent: user_agent.to_vec(),
        resource: Resource::Port(port.to_owned()),
        ..event()
    };
    assert_ne!(with(b"a8", "080").key(), with(b"a", "8080").key());
}

#[test]
fn all_spellings_of_an_address_are_one_address() {
    let same = |spellings: &[&str]| {
        let keys: HashSet<_> = spellings
            .iter()
            .map(|ip| Event { ip: Some(parse_ip(ip).unwrap()), ..event() }.key())
            .collect();
        assert_eq!(keys.len(), 1, "{spellings:?}");
    };
    same(&["192.0.2.1", "::ffff:192.0.2.1", "::FFFF:c000:0201", "0:0:0:0:0:ffff:c000:201"]);
    same(&["192.0.2.1", "192.0.2.1:80", "192.0.2.1:65535", "[::ffff:192.0.2.1]:1"]);
    same(&[
        "fe80::1",
        "FE80:0::0:1",
        "fe80::1%eth0",
        "fe80::1%1",
        "[fe80::1%eth0]:80",
        "[fe80::1]",
    ]);
    for none in [
        "",
        "192.0.2.1%eth0",
        "fe80::1%",
        "192.0.2.01",
        "localhost",
        "localhost:80",
        "192.0.2.1:",
        "192.0.2.1:65536",
        "192.0.2.1:+1",
        "192.0.2.1:http",
        "[::1",
        "[::1]80",
        "[::1]:",
        "::1]:80",
        "[192.0.2.1]:80",
        "[]",
        "[]:80",
        ":80",
        ":",
    ] {
        assert_eq!(parse_ip(none), None, "{none}");
    }
    let mapped = Event { ip: Some("::ffff:192.0.2.1".parse().unwrap()), ..event() };
    assert_eq!(mapped.key(), event().key());
    assert_eq!(mapped.record(id(7)).ip, parse_ip("192.0.2.1"));
}

// scenario 288
#[test]
fn a_record_names_visitor_resource_and_workspace() {
    let record = event().record(id(7));
    assert_eq!(record.session, id(7));
    assert_eq!((record.action, record.status_code), ("open", 200));
    assert_eq!((record.user_id, record.organization_id), (id(2), id(6)));
    assert_eq!((record.resource_type, record.resource_id), ("workspace_app", id(3)));
    assert_eq!(record.resource_target, "code");
    let names = json!({
        "workspace_name": "dev", "workspace_owner": "ann", "workspace_id": id(5).to_string(),
        "build_number": "", "build_reason": "",
    });
    assert_eq!(record.additional_fields, names);

    let port = Event { resource: Resource::Port("8080s".to_owned()), ..event() }.record(id(7));
    assert_eq!((port.resource_type, port.resource_id), ("workspace_agent", id(4)));
    assert_eq!(port.resource_target, "main");
    assert_eq!(port.additional_fields["slug_or_port"], "8080s");
    let terminal = Event { resource: Resource::Terminal, ..event() }.record(id(7));
    assert_eq!(terminal.additional_fields["slug_or_port"], "terminal");

    let nowhere = Event {
        resource: Resource::Unknown("gone".to_owned()),
        agent: None,
        workspace: None,
        user: None,
        ip: None,
        user_agent: Vec::new(),
        status: 404,
        ..event()
    };
    let record = nowhere.record(id(7));
    assert_eq!((record.user_id, record.resource_id), (Uuid::nil(), Uuid::nil()));
    assert_eq!((record.ip, record.user_agent), (None, None));
    assert_eq!(record.resource_target, "gone");
}

// scenario 283
#[test]
fn any_user_agent_can_be_stored() {
    for user_agent in [vec![b'a'; 257], vec![0x80; 4096], b"a\x80b\0c".to_vec()] {
        let event = Event { user_agent, ..event() };
        let text = event.record(id(7)).user_agent.unwrap();
        assert!(text.chars().count() <= 256 && !text.contains('\0'));
    }
    let odd = Event { user_agent: b"a\x80b\0c".to_vec(), ..event() };
    assert_eq!(odd.record(id(7)).user_agent.as_deref(), Some("a\u{fffd}b\u{fffd}c"));
}

#[test]
fn a_session_lasts_as_long_as_visits_continue() {
    let window = Window::default();
    let (first, visit) = Session::visit(None, id(1), at(0), window);
    assert_eq!((first.id, visit), (id(1), Visit::Began));

    // scenario 141
    let (same, visit) = Session::visit(Some(first), id(2), at(60), window);
    assert_eq!((same, visit), (first, Visit::Untouched));
    let (longer, visit) = Session::visit(Some(first), id(2), at(61), window);
    assert_eq!((longer.id, longer.started_at, visit), (id(1), at(0), Visit::Extended));
    assert_eq!(longer.updated_at, at(61));

    let (still, visit) = Session::visit(Some(longer), id(3), at(61 + 3599), window);
    assert_eq!((still.id, visit), (id(1), Visit::Extended));
    let (next, visit) = Session::visit(Some(longer), id(3), at(61 + 3600), window);
    assert_eq!((next.id, next.started_at, visit), (id(3), at(3661), Visit::Began));

    // scenario 277
    let (_, visit) = Session::visit(Some(first), id(4), at(0), window);
    assert_eq!(visit, Visit::Untouched);
    let (_, visit) = Session::visit(Some(longer), id(4), at(0), window);
    assert_eq!(visit, Visit::Untouched);

    // scenario 142
    let always = window.stale(Duration::ZERO);
    let (_, visit) = Session::visit(Some(first), id(5), at(0), always);
    assert_eq!(visit, Visit::Began);
}

proptest! {
    #[test]
    fn a_session_never_shrinks_and_ends_only_when_it_is_stale(
        gaps in prop::collection::vec(0..7200_u64, 1..30),
        stale in 1..7200_u64,
        touch in 0..7200_u64,
    ) {
        let window = Window::default()
            .stale(Duration::from_secs(stale))
            .touch(Duration::from_secs(touch));
        let mut clock = 0;
        let mut last: Option<Session> = None;
        for (n, gap) in gaps.into_iter().enumerate() {
            clock += gap;
            let fresh = id(n.try_into().unwrap());
            let (session, visit) = Session::visit(last, fresh, at(clock), window);
            let idle = last.map(|last| at(clock).duration_since(last.updated_at).unwrap());
            prop_assert_eq!(visit == Visit::Began, idle.is_none_or(|idle| idle >= window.stale));
            prop_assert_eq!(visit == Visit::Began, session.id == fresh);
            prop_assert!(session.started_at <= session.updated_at);
            last = Some(session);
        }
    }

    #[test]
    fn any_event_has_a_record_that_can_be_stored(
        user_agent in prop::collection::vec(any::<u8>(), 0..2000),
        port in any::<String>(),
    ) {
        let event = Event { user_agent, resource: Resource::Unknown(port), ..event() };
        let record = event.record(id(1));
        let texts = [
            record.user_agent.unwrap_or_default(),
            record.resource_target,
            record.additional_fields["slug_or_port"].as_str().unwrap_or_default().to_owned(),
        ];
        for text in texts {
            prop_assert!(text.chars().count() <= 256 && !text.contains('\0'));
        }
    }
}
