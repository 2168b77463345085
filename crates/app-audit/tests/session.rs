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

/// The event, with some fields changed
fn with(mut event: Event, change: impl FnOnce(&mut Event)) -> Event {
    change(&mut event);
    event
}

fn event() -> Event {
    with(Event::new(at(0), id(1), Resource::App(AppId(id(3)), "code".to_owned()), 200), |it| {
        it.user = Some(UserId(id(2)));
        it.ip = parse_ip("192.0.2.1");
        it.user_agent = b"curl".to_vec();
        it.agent = Some((AgentId(id(4)), "main".to_owned()));
        it.workspace =
            Some(Workspace::new(WorkspaceId(id(5)), "dev", "ann", OrganizationId(id(6))));
    })
}

#[test]
fn a_session_is_identified_by_seven_fields_and_no_others() {
    let event = event();
    // scenario 144
    let others = [
        with(event.clone(), |it| it.user = None),
        with(event.clone(), |it| it.user = Some(UserId(id(99)))),
        with(event.clone(), |it| it.ip = None),
        with(event.clone(), |it| it.ip = parse_ip("192.0.2.2")),
        with(event.clone(), |it| it.ip = parse_ip("::1")),
        with(event.clone(), |it| it.user_agent = b"curl/8".to_vec()),
        with(event.clone(), |it| it.user_agent = Vec::new()),
        with(event.clone(), |it| it.resource = Resource::App(AppId(id(99)), "code".to_owned())),
        with(event.clone(), |it| it.resource = Resource::Port("8080".to_owned())),
        with(event.clone(), |it| it.resource = Resource::Port("8080s".to_owned())),
        with(event.clone(), |it| it.resource = Resource::Terminal),
        with(event.clone(), |it| it.agent = Some((AgentId(id(99)), "main".to_owned()))),
        with(event.clone(), |it| it.status = 404),
    ];
    let keys: HashSet<_> = others.iter().chain([&event]).map(Event::key).collect();
    assert_eq!(keys.len(), others.len() + 1);

    let same = with(event.clone(), |it| {
        it.time = at(9);
        it.request = id(99);
        it.workspace = None;
        it.reason = Some("a_reason");
        it.resource = Resource::App(AppId(id(3)), "renamed".to_owned());
        it.agent = Some((AgentId(id(4)), "renamed".to_owned()));
    });
    assert_eq!(same.key(), event.key());

    // Requests that led to no agent are distinguished by workspace.
    let nowhere = |workspace| {
        with(event.clone(), |it| {
            it.agent = None;
            it.resource = Resource::Unknown("code".to_owned());
            it.workspace =
                Some(Workspace::new(WorkspaceId(workspace), "dev", "ann", OrganizationId(id(6))));
        })
    };
    assert_eq!(nowhere(id(5)).key(), nowhere(id(5)).key());
    assert_ne!(nowhere(id(5)).key(), nowhere(id(98)).key());
}

#[test]
fn fields_do_not_run_into_each_other() {
    let of = |user_agent: &[u8], port: &str| {
        with(event(), |it| {
            it.user_agent = user_agent.to_vec();
            it.resource = Resource::Port(port.to_owned());
        })
    };
    assert_ne!(of(b"a8", "080").key(), of(b"a", "8080").key());
}

#[test]
fn all_spellings_of_an_address_are_one_address() {
    let same = |spellings: &[&str]| {
        let keys: HashSet<_> = spellings
            .iter()
            .map(|ip| with(event(), |it| it.ip = Some(parse_ip(ip).unwrap())).key())
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
    let mapped = with(event(), |it| it.ip = Some("::ffff:192.0.2.1".parse().unwrap()));
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

    let port = with(event(), |it| it.resource = Resource::Port("8080s".to_owned())).record(id(7));
    assert_eq!((port.resource_type, port.resource_id), ("workspace_agent", id(4)));
    assert_eq!(port.resource_target, "main");
    assert_eq!(port.additional_fields["slug_or_port"], "8080s");
    let terminal = with(event(), |it| it.resource = Resource::Terminal).record(id(7));
    assert_eq!(terminal.additional_fields["slug_or_port"], "terminal");

    let nowhere = with(event(), |it| {
        it.resource = Resource::Unknown("gone".to_owned());
        it.agent = None;
        it.workspace = None;
        it.user = None;
        it.ip = None;
        it.user_agent = Vec::new();
        it.status = 404;
    });
    let record = nowhere.record(id(7));
    assert_eq!((record.user_id, record.resource_id), (Uuid::nil(), Uuid::nil()));
    assert_eq!((record.ip, record.user_agent), (None, None));
    assert_eq!(record.resource_target, "gone");
}

// scenario 283
#[test]
fn any_user_agent_can_be_stored() {
    for user_agent in [vec![b'a'; 257], vec![0x80; 4096], b"a\x80b\0c".to_vec()] {
        let event = with(event(), |it| it.user_agent = user_agent);
        let text = event.record(id(7)).user_agent.unwrap();
        assert!(text.chars().count() <= 256 && !text.contains('\0'));
    }
    let odd = with(event(), |it| it.user_agent = b"a\x80b\0c".to_vec());
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
        let event = with(event(), |it| { it.user_agent = user_agent; it.resource = Resource::Unknown(port); });
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
