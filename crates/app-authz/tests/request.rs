//! Requests, the hosts they come in on, what they lead to, and where they are sent

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::{Duration, SystemTime};

use app_authz::rbac::Acl;
use app_authz::{
    AccessMethod, Agent, AgentId, App, AppId, AppName, AppRequest, Contact, CorsBehavior, Envelope,
    Error, HostMeaning, HostPattern, HttpUrl, OrganizationId, Place, PortShare, RedirectHosts,
    RequestFault, SharingLevel, SignIn, Transition, UncheckedRequest, Unresolved, UserId,
    Workspace, WorkspaceId, auth_redirect, login, resolve,
};
use proptest::prelude::*;
use uuid::Uuid;

const AGENT: &str = "00000000-0000-0000-0000-000000000004";

fn app_request() -> UncheckedRequest {
    UncheckedRequest {
        access_method: "path".to_owned(),
        base_path: "/".to_owned(),
        username_or_id: "foo".to_owned(),
        workspace_name_or_id: "bar".to_owned(),
        agent_name_or_id: "baz".to_owned(),
        app_slug_or_port: "qux".to_owned(),
        ..UncheckedRequest::default()
    }
}

fn terminal() -> UncheckedRequest {
    UncheckedRequest {
        access_method: "terminal".to_owned(),
        base_path: "/".to_owned(),
        agent_name_or_id: AGENT.to_owned(),
        ..UncheckedRequest::default()
    }
}

fn with(change: impl FnOnce(&mut UncheckedRequest)) -> UncheckedRequest {
    let mut request = app_request();
    change(&mut request);
    request
}

fn on_subdomain(change: impl FnOnce(&mut UncheckedRequest)) -> UncheckedRequest {
    let mut request = with(|r| r.access_method = "subdomain".to_owned());
    change(&mut request);
    request
}

// scenario 1, 3, 4, 6, 15
#[test]
fn sound_requests_are_taken() {
    for request in [
        app_request(),
        terminal(),
        with(|r| r.agent_name_or_id.clear()),
        on_subdomain(|r| r.app_slug_or_port = "8080s".to_owned()),
        on_subdomain(|r| r.app_prefix = "blah---".to_owned()),
        with(|r| r.username_or_id = "ME".to_owned()),
        UncheckedRequest { app_prefix: "odd".to_owned(), ..terminal() },
    ] {
        assert!(request.clone().check().is_ok(), "{request:?}");
    }
}

// scenario 7, 9, 10, 12, 13, 16, 18, 19, 21, 22, 24
#[test]
fn the_first_broken_rule_is_named() {
    let joined = |text: &str| {
        with(|r| {
            r.workspace_and_agent = text.to_owned();
            r.workspace_name_or_id.clear();
            r.agent_name_or_id.clear();
        })
    };
    for (request, message) in [
        (with(|r| r.access_method.clear()), "invalid access method"),
        (with(|r| r.access_method = "Path".to_owned()), "invalid access method"),
        (with(|r| r.base_path.clear()), "base path is required"),
        (with(|r| r.username_or_id.clear()), "username or ID is required"),
        (with(|r| r.username_or_id = "me".to_owned()), "username cannot be \"me\" in app requests"),
        (joined(".bar").normalize(), "workspace name or ID is required"),
        (with(|r| r.workspace_name_or_id.clear()), "workspace name or ID is required"),
        (with(|r| r.app_slug_or_port.clear()), "app slug or port is required"),
        (with(|r| r.app_prefix = "blah---".to_owned()), "prefix is only valid for subdomain apps"),
        (on_subdomain(|r| r.app_prefix = "blah".to_owned()), "prefix must have a trailing '---'"),
        (joined("a.b"), "checked before it was normalised"),
        (
            UncheckedRequest { username_or_id: "foo".to_owned(), ..terminal() },
            "cannot specify any fields other than",
        ),
        (
            UncheckedRequest { workspace_and_agent: "bar.baz".to_owned(), ..terminal() }
                .normalize(),
            "cannot specify any fields other than",
        ),
        (
            UncheckedRequest { app_slug_or_port: "qux".to_owned(), ..terminal() },
            "cannot specify any fields other than",
        ),
        (
            UncheckedRequest { agent_name_or_id: String::new(), ..terminal() },
            "agent name or ID is required",
        ),
        (
            UncheckedRequest { agent_name_or_id: "baz".to_owned(), ..terminal() },
            "invalid agent name or ID \"baz\", must be a UUID",
        ),
        (
            UncheckedRequest { agent_name_or_id: AGENT.replace('-', ""), ..terminal() },
            "must be a UUID",
        ),
    ] {
        let error = request.clone().check().unwrap_err();
        assert!(error.to_string().contains(message), "{error} for {request:?}");
        assert!(matches!(error, Error::InvalidRequest(_)));
    }
    let twice_wrong = UncheckedRequest { base_path: String::new(), ..UncheckedRequest::default() };
    let first = RequestFault::AccessMethod(String::new());
    assert_eq!(twice_wrong.check(), Err(first.into()));
}

// scenario 9, 25
#[test]
fn normalising_parts_at_the_first_dot_and_ends_the_base_path() {
    let normal = |text: &str| {
        let request = with(|r| r.workspace_and_agent = text.to_owned()).normalize();
        (request.workspace_name_or_id, request.agent_name_or_id)
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(normal("a.b.c"), pair("a", "b.c"));
    assert_eq!(normal("a"), pair("a", "baz"));
    assert_eq!(normal("a."), pair("a", ""));
    assert_eq!(normal(""), pair("bar", "baz"));

    let request = with(|r| r.base_path.clear()).normalize();
    assert_eq!(request.base_path, "/");
    assert!(request.check().is_ok());
    assert_eq!(with(|r| r.base_path = "/app".to_owned()).normalize().base_path, "/app/");
}

#[test]
fn a_request_is_sent_with_the_control_planes_names() {
    let json = serde_json::to_value(AppRequest::try_from(app_request()).unwrap()).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "access_method": "path", "base_path": "/", "app_prefix": "", "username_or_id": "foo",
            "workspace_name_or_id": "bar", "agent_name_or_id": "baz", "app_slug_or_port": "qux",
        })
    );
    // What is joined is never taken from outside.
    let text = r#"{"access_method":"path","workspace_and_agent":"x.y","WorkspaceAndAgent":"x.y"}"#;
    let request: UncheckedRequest = serde_json::from_str(text).unwrap();
    assert_eq!(request.workspace_and_agent, "");
}

proptest! {
    #[test]
    fn normalising_twice_changes_nothing(
        fields in prop::array::uniform8("[a-zA-Z0-9./-]{0,12}"),
    ) {
        let [access_method, base_path, app_prefix, username_or_id, workspace_and_agent,
            workspace_name_or_id, agent_name_or_id, app_slug_or_port] = fields;
        let request = UncheckedRequest {
            access_method, base_path, app_prefix, username_or_id, workspace_and_agent,
            workspace_name_or_id, agent_name_or_id, app_slug_or_port,
        };
        let once = request.normalize();
        prop_assert_eq!(once.clone().normalize(), once);
    }

    #[test]
    fn no_text_makes_a_host_or_a_url_panic(text in any::<String>(), host in "[-a-z.*:0-9 ]{0,30}") {
        for text in [text, host] {
            let pattern: HostPattern = "*--apps.example.com:8080".parse().unwrap();
            let _ = (text.parse::<HostPattern>(), text.parse::<HttpUrl>(), text.parse::<AppName>());
            let _ = (pattern.capture(&text), text.parse::<app_authz::Port>());
        }
    }

    #[test]
    fn an_app_name_is_read_back(
        prefix in "([a-z0-9]{1,6}-{3,5}){0,2}",
        parts in prop::array::uniform4("[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,5}){0,2}"),
    ) {
        let [slug_or_port, agent, workspace, user] = parts;
        let name = AppName { prefix, slug_or_port, agent, workspace, user };
        prop_assert_eq!(name.to_string().parse(), Ok(name));
    }

    #[test]
    fn a_url_is_read_back(text in "https?://[a-z][a-z0-9.-]{0,12}(:[1-9][0-9]{0,3})?/[a-z/%0-9]{0,12}(\\?[a-z=&%]{1,9})?") {
        prop_assert_eq!(text.parse::<HttpUrl>().unwrap().to_string(), text);
    }
}

// scenario 246, 247
#[test]
fn an_app_name_has_four_parts() {
    let parse = |label: &str| label.parse::<AppName>();
    for bad in [
        "test",
        "workspace.agent--app",
        "workspace--app",
        "app--workspace--user",
        "app--agent--workspace--user--more",
        "",
        "a--b--c--",
        "--b--c--d",
        "a-----b--c--d",
        "a--b--c--d-",
        "-a--b--c--d",
        "a_b--b--c--d",
        "a--b--c--d.e",
        "prefix---",
        "ä--b--c--d",
    ] {
        assert_eq!(parse(bad), Err(Error::InvalidAppName(bad.to_owned())), "{bad}");
    }
    let parts = |label: &str| {
        let name = parse(label).unwrap();
        assert_eq!(name.to_string(), label);
        [name.prefix, name.slug_or_port, name.agent, name.workspace, name.user]
    };
    assert_eq!(parts("app--agent--ws--user"), ["", "app", "agent", "ws", "user"]);
    assert_eq!(parts("8080s--agent--ws--user"), ["", "8080s", "agent", "ws", "user"]);
    assert_eq!(parts("my-app--an-agent--w-s--us-er"), ["", "my-app", "an-agent", "w-s", "us-er"]);
    assert_eq!(
        parts("dean---was---here---app--agent--ws--user"),
        ["dean---was---here---", "app", "agent", "ws", "user"]
    );
}

// scenario 249, 250
#[test]
fn a_pattern_stands_for_one_label_or_its_start() {
    let hi: HostPattern = "*.hi".parse().unwrap();
    for (host, captured) in [
        ("abcd.hi", Some("abcd")),
        ("ABcd.Hi", Some("abcd")),
        ("abcd.hi.", Some("abcd")),
        ("  abcd.hi\t", Some("abcd")),
        ("abcd.hi:8080", Some("abcd")),
        ("abcd.hi.:8080", Some("abcd")),
        ("__ab-cd--.hi", Some("__ab-cd--")),
        ("hi", None),
        (".hi", None),
        ("hi.com", None),
        ("hi.hi.hi", None),
        ("abcd.hi..", None),
        ("abcd.hi:", None),
        ("abcd.hi:80a", None),
    ] {
        assert_eq!(hi.capture(host).as_deref(), captured, "{host}");
    }
    for (pattern, host, captured) in [
        ("*a.hi.com", "123a.hi.com", Some("123")),
        ("*a.hi.com", "a.hi.com", None),
        ("*-test.hi.com", "app-test.hi.com", Some("app")),
        ("*-test.hi.com", "app.hi.com", None),
        ("*.Example.com:4444", "x.example.com", Some("x")),
    ] {
        assert_eq!(pattern.parse::<HostPattern>().unwrap().capture(host).as_deref(), captured);
    }
    for bad in [
        "",
        "*",
        "*.",
        "hi.com",
        "a*.hi.com",
        "*.*.com",
        "**.hi",
        "https://*.hi.com",
        ".*.hi.com",
        "*.hi.com.",
        "*.hi..com",
        "*.-hi.com",
        "*.hi-.com",
        "*-.hi.com",
        "*.h_i.com",
        "*.hi.com:x",
        "*.hi.com:99999",
        "*.hi.com/",
    ] {
        assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
    }
}

// scenario 171, 252
#[test]
fn a_pattern_builds_hosts() {
    let pattern: HostPattern = "*--apps.example.com".parse().unwrap();
    assert_eq!(pattern.host_of(&"x"), "x--apps.example.com");
    assert_eq!(pattern.csp_source(), "*.example.com");
    assert_eq!(pattern.to_string(), "*--apps.example.com");
    let port = pattern.or_port(Some(4444));
    assert_eq!(port.host_of(&"x"), "x--apps.example.com:4444");
    assert_eq!(port.clone().or_port(Some(1)), port);
    assert_eq!("*.hi.com:9".parse::<HostPattern>().unwrap().csp_source(), "*.hi.com:9");
}

// scenario 172, 177, 178
#[test]
fn a_host_is_the_dashboards_an_apps_or_malformed() {
    let pattern: HostPattern = "*.test.coder.com".parse().unwrap();
    let of = |host: &str| HostMeaning::of(host, Some(&pattern), ["dash.test.coder.com"]);
    assert_eq!(of("coder.com"), HostMeaning::Dashboard);
    assert_eq!(of("localhost"), HostMeaning::Dashboard);
    assert_eq!(of("Dash.Test.Coder.com:443"), HostMeaning::Dashboard);
    assert_eq!(of("coder-logout.test.coder.com"), HostMeaning::Logout);
    let malformed = HostMeaning::Malformed("not-an-app-subdomain".to_owned());
    assert_eq!(of("not-an-app-subdomain.test.coder.com"), malformed);
    let HostMeaning::App(name) = of("APP--agent--ws--User.TEST.coder.com") else { panic!() };
    assert_eq!(name.to_string(), "app--agent--ws--user");
    assert_eq!(HostMeaning::of("a--b--c--d.test.coder.com", None, []), HostMeaning::Dashboard);
}

fn agent(n: u128, name: &str) -> Agent {
    let contact = Contact {
        created_at: SystemTime::UNIX_EPOCH,
        first_connected_at: None,
        last_connected_at: None,
        disconnected_at: None,
        connection_timeout: Duration::ZERO,
    };
    Agent { id: AgentId(Uuid::from_u128(n)), name: name.to_owned(), contact }
}

fn app(n: u128, agent: u128, slug: &str, url: &str) -> App {
    App {
        id: AppId(Uuid::from_u128(n)),
        agent: AgentId(Uuid::from_u128(agent)),
        slug: slug.to_owned(),
        url: url.to_owned(),
        external: false,
        sharing: SharingLevel::Authenticated,
    }
}

fn place() -> Place {
    let owner = UserId(Uuid::from_u128(1));
    Place {
        asked_owner: owner,
        workspace: Workspace {
            id: WorkspaceId(Uuid::from_u128(2)),
            name: "bar".to_owned(),
            owner,
            owner_name: "foo".to_owned(),
            organization: OrganizationId(Uuid::from_u128(3)),
            dormant: false,
            acl: Acl::NONE,
        },
        transition: Transition::Start,
        agents: vec![agent(4, "baz")],
        apps: vec![
            app(10, 4, "app-ends-in-s", "http://127.0.0.1:1/?query=1"),
            App { external: true, ..app(11, 4, "link", "https://example.com") },
            app(12, 4, "qux", "http://127.0.0.1:2"),
            app(15, 4, "routed", "http://127.0.0.1:5/?a=b#/view"),
            app(13, 4, "shell", ""),
            app(14, 4, "wrong", "ftp://127.0.0.1"),
        ],
        port_shares: vec![PortShare {
            agent_name: "baz".to_owned(),
            port: 9090,
            sharing: SharingLevel::Public,
        }],
        cors: CorsBehavior::Simple,
        max_port_sharing: None,
    }
}

/// What the request leads to, with facts that are kept for the rest of the test
fn find(
    request: UncheckedRequest,
    place: &Place,
) -> Result<app_authz::Target<'static>, Unresolved> {
    let facts: &(AppRequest, Place) =
        Box::leak(Box::new((request.try_into().unwrap(), place.clone())));
    resolve(&facts.0, Some(&facts.1))
}

fn ask(slug: &str) -> UncheckedRequest {
    on_subdomain(|r| r.app_slug_or_port = slug.to_owned())
}

// scenario 115, 121, 132, 147
#[test]
fn an_app_is_found_by_its_exact_slug() {
    let found = find(app_request(), &place()).unwrap();
    assert_eq!((found.app, &*found.agent.name), (Some(AppId(Uuid::from_u128(12))), "baz"));
    assert_eq!((&*found.url, found.sharing), ("http://127.0.0.1:2", SharingLevel::Authenticated));

    for agent in ["", "baz", AGENT] {
        let request = with(|r| r.agent_name_or_id = agent.to_owned());
        let found = find(request, &place()).unwrap();
        assert_eq!(found.agent.id, AgentId(Uuid::from_u128(4)));
        assert_eq!(found.request.agent().unwrap_or_default(), agent);
    }
    assert!(find(ask("app-ends-in-s"), &place()).is_ok());
    assert!(find(ask("routed"), &place()).is_ok());
    for (slug, reason) in [
        ("Qux", Unresolved::NoApp),
        ("app-ends-in-", Unresolved::NoApp),
        ("s", Unresolved::NoApp),
        ("+80", Unresolved::NoApp),
        ("65536", Unresolved::NoApp),
        ("9090ss", Unresolved::NoApp),
        ("link", Unresolved::NoApp),
        ("shell", Unresolved::NoUrl),
        ("wrong", Unresolved::InvalidUrl),
    ] {
        assert_eq!(find(ask(slug), &place()).unwrap_err(), reason, "{slug}");
    }
}

#[test]
fn only_the_asked_agents_apps_match() {
    let mut place = place();
    place.agents.push(agent(5, "second"));
    place.apps.insert(0, app(9, 5, "qux", "http://127.0.0.1:9"));
    let of = |agent: &str| find(with(|r| r.agent_name_or_id = agent.to_owned()), &place);
    assert_eq!(of("baz").unwrap().app, Some(AppId(Uuid::from_u128(12))));
    assert_eq!(of("second").unwrap().app, Some(AppId(Uuid::from_u128(9))));
    assert_eq!(of("third").unwrap_err(), Unresolved::NoAgent);
    assert_eq!(of("Baz").unwrap_err(), Unresolved::NoAgent);
    assert_eq!(of(&Uuid::from_u128(6).to_string()).unwrap_err(), Unresolved::NoAgent);
    // scenario 145
    let no_agent = |slug: &str| {
        let request = on_subdomain(|r| {
            r.agent_name_or_id.clear();
            r.app_slug_or_port = slug.to_owned();
        });
        find(request, &place)
    };
    assert_eq!(no_agent("8080").unwrap_err(), Unresolved::AgentNeeded);
    assert_eq!(no_agent("app-ends-in-s").unwrap().agent.name, "baz");
}

// scenario 129, 130, 201, 202, 204
#[test]
fn a_port_comes_before_a_slug_and_is_the_owners_unless_shared() {
    let mut place = place();
    place.apps.push(app(20, 4, "9090", "http://127.0.0.1:3"));
    let found = find(ask("9090"), &place).unwrap();
    assert_eq!((&*found.url, found.app), ("http://127.0.0.1:9090", None));
    assert_eq!(found.sharing, SharingLevel::Public);
    let found = find(ask("9090s"), &place).unwrap();
    assert_eq!((&*found.url, found.sharing), ("https://127.0.0.1:9090", SharingLevel::Public));
    let found = find(
        on_subdomain(|r| {
            r.agent_name_or_id = AGENT.to_owned();
            r.app_slug_or_port = "09090".to_owned();
        }),
        &place,
    )
    .unwrap();
    assert_eq!((&*found.url, found.sharing), ("http://127.0.0.1:9090", SharingLevel::Public));
    assert_eq!(found.request.slug_or_port(), "09090");
    assert_eq!(find(ask("8080"), &place).unwrap().sharing, SharingLevel::Owner);

    place.max_port_sharing = Some(SharingLevel::Organization);
    assert_eq!(find(ask("9090"), &place).unwrap().sharing, SharingLevel::Organization);
    assert_eq!(find(ask("8080"), &place).unwrap().sharing, SharingLevel::Owner);

    let by_path = with(|r| r.app_slug_or_port = "9090".to_owned());
    assert_eq!(find(by_path, &place).unwrap_err(), Unresolved::PortByPath);
}

#[test]
fn what_is_not_there_is_not_found_and_what_sleeps_is_stopped() {
    assert_eq!(resolve(&app_request().try_into().unwrap(), None), Err(Unresolved::NoWorkspace));
    let foreign = Place { asked_owner: UserId(Uuid::from_u128(99)), ..place() };
    assert_eq!(find(app_request(), &foreign).unwrap_err(), Unresolved::NotOwner);
    let stopped = Place { transition: Transition::Stop, agents: vec![], ..place() };
    assert_eq!(find(app_request(), &stopped).unwrap_err(), Unresolved::Stopped);
    let deleted = Place { transition: Transition::Delete, agents: vec![], ..place() };
    assert_eq!(find(app_request(), &deleted).unwrap_err(), Unresolved::NoAgent);
    for (reason, hidden) in [
        (Unresolved::NotOwner, true),
        (Unresolved::NoAgent, true),
        (Unresolved::Stopped, false),
        (Unresolved::PortByPath, false),
    ] {
        assert_eq!(reason.is_not_found(), hidden);
    }
}

#[test]
fn a_terminal_is_its_agents_and_the_owners() {
    let stopped = Place { transition: Transition::Stop, ..place() };
    let found = find(terminal(), &stopped).unwrap();
    assert_eq!((&*found.agent.name, found.sharing), ("baz", SharingLevel::Owner));
    assert_eq!((&*found.url, found.app), ("", None));
    let elsewhere = Place { agents: vec![agent(5, "baz")], ..place() };
    assert_eq!(find(terminal(), &elsewhere).unwrap_err(), Unresolved::NoAgent);
}

fn url(text: &str) -> HttpUrl {
    text.parse().unwrap()
}

#[test]
fn a_url_is_taken_apart_once_and_strictly() {
    let parsed = url("HTTPS://Sydney.Coder.com:8443?x=%2F");
    assert_eq!(parsed.to_string(), "https://sydney.coder.com:8443/?x=%2F");
    assert_eq!((parsed.effective_port(), parsed.query()), (8443, Some("x=%2F")));
    assert_eq!(url("http://[::1]:80/").authority(), "[::1]:80");
    assert_eq!(url("https://a.b").effective_port(), 443);
    // An author's own spelling, as browsers and the control plane take it.
    for (written, read) in [
        (
            "http://localhost:1/a b?folder=/home/ä \"<x>\"#/view",
            "http://localhost:1/a%20b?folder=/home/%C3%A4%20%22%3Cx%3E%22",
        ),
        ("http://localhost?a b", "http://localhost/?a%20b"),
        ("http://localhost/%20", "http://localhost/%20"),
    ] {
        assert_eq!(HttpUrl::of_app(written).unwrap().to_string(), read);
    }
    for bad in
        ["http://local host/", "http://hóst/", "http://host/\\x", "http://host/\r\nx", "ä", " "]
    {
        assert!(HttpUrl::of_app(bad).is_err(), "{bad}");
    }
    for path in ["//evil.com", "", "x", "/..", "/a?b"] {
        assert!(url("https://a.b").with_path(path, None).is_err(), "{path}");
    }
    // scenario 229
    for bad in [
        "",
        "/path",
        "//host",
        "ftp://host",
        "javascript:alert(1)",
        "https://",
        "https:///x",
        "https://user@host/",
        "https://user:pass@host/",
        "https://host\\@evil/",
        "https://ho st/",
        "https://host/\r\nx",
        "https://host/#x",
        "https://host:/x:",
        "https://host:x/",
        "https://host:65536/",
        "https://[::1/",
        "https://::1/",
        "https://hóst/",
        "https://h%6fst/",
    ] {
        assert!(bad.parse::<HttpUrl>().is_err(), "{bad}");
    }
}

#[test]
fn a_visitor_is_sent_to_sign_in_and_back() {
    let dashboard = url("https://coder.com");
    let proxy = url("https://sydney.coder.com:8443");
    let hosts: HostPattern = "*.apps.coder.com".parse().unwrap();
    let send = |base: &HttpUrl, request: UncheckedRequest, path: &str, query: &str| {
        let target = find(request, &place()).unwrap();
        let envelope = Envelope {
            dashboard: &dashboard,
            path_app_base: base,
            app_hosts: Some(&hosts),
            app_path: path,
            app_query: query,
        };
        envelope.sign_in(&target)
    };
    let back = |text: &str| Ok(SignIn::AuthRedirect(url(text)));
    let by_path = |slug: &str| {
        with(|r| {
            r.base_path = "/@foo/bar.baz/apps/qux".to_owned();
            r.app_slug_or_port = slug.to_owned();
        })
    };

    assert_eq!(send(&dashboard, terminal(), "", ""), Ok(SignIn::NotFound));
    // scenario 150
    assert_eq!(send(&dashboard, by_path("qux"), "/a", "b=c"), Ok(SignIn::Login));
    // scenario 151: the raw path keeps its last slash, unlike in the reference
    let base = "https://sydney.coder.com:8443/@foo/bar.baz/apps/qux";
    assert_eq!(send(&proxy, by_path("qux"), "/a%2Fb/", "b=c"), back(&format!("{base}/a%2Fb/?b=c")));
    assert_eq!(send(&proxy, by_path("qux"), "", ""), back(&format!("{base}/")));

    let apps = "https://qux--baz--bar--foo.apps.coder.com";
    assert_eq!(send(&dashboard, ask("qux"), "/x/y", "q=1"), back(&format!("{apps}/x/y?q=1")));
    let prefixed = on_subdomain(|r| r.app_prefix = "some---".to_owned());
    let expected = "https://some---qux--baz--bar--foo.apps.coder.com/";
    assert_eq!(send(&dashboard, prefixed, "/", ""), back(expected));

    // A proxy that names no port for its app hosts has them on its own.
    let apps = "https://qux--baz--bar--foo.apps.coder.com:8443";
    assert_eq!(send(&proxy, ask("qux"), "/x", ""), back(&format!("{apps}/x")));
    // Another port of the dashboard's host is a proxy's, and another scheme is not.
    let beside = url("https://coder.com:8443");
    let base = "https://coder.com:8443/@foo/bar.baz/apps/qux";
    assert_eq!(send(&beside, by_path("qux"), "/a", ""), back(&format!("{base}/a")));
    assert_eq!(send(&url("http://coder.com"), by_path("qux"), "/a", ""), Ok(SignIn::Login));

    // The visitor's query counts, and the app's own only where there is none.
    let apps = "https://app-ends-in-s--baz--bar--foo.apps.coder.com";
    let own = ask("app-ends-in-s");
    assert_eq!(send(&dashboard, own.clone(), "/", "mine=2"), back(&format!("{apps}/?mine=2")));
    assert_eq!(send(&dashboard, own, "/", ""), back(&format!("{apps}/?query=1")));

    // No way out of the app, however it is spelled.
    for path in ["/../x", "/a/%2e%2E/b", "/..", "/a/.%2e", "/\\evil", "/a b", "/a\nb"] {
        let refused = send(&proxy, by_path("qux"), path, "");
        assert!(matches!(refused, Err(Error::InvalidUrl(_))), "{path}");
    }
    assert_eq!(
        send(&dashboard, ask("qux"), "//evil.com", ""),
        back("https://qux--baz--bar--foo.apps.coder.com/evil.com")
    );

    let target = find(ask("qux"), &place()).unwrap();
    let without = Envelope {
        dashboard: &dashboard,
        path_app_base: &dashboard,
        app_hosts: None,
        app_path: "",
        app_query: "",
    };
    assert_eq!(without.sign_in(&target), Err(Error::NoAppHosts));
}

#[test]
fn addresses_are_encoded_into_addresses() {
    let dashboard = url("https://coder.com");
    let back = url("https://a--b--c--d.apps.coder.com/x?y=z&k=%2F");
    assert_eq!(
        auth_redirect(&dashboard, &back).unwrap().to_string(),
        "https://coder.com/api/v2/applications/auth-redirect?redirect_uri=\
         https%3A%2F%2Fa--b--c--d.apps.coder.com%2Fx%3Fy%3Dz%26k%3D%252F"
    );
    assert_eq!(
        login(&dashboard, "You are out. Sign in!", "/@a/b?c=d").unwrap().to_string(),
        "https://coder.com/login?message=You+are+out.+Sign+in%21&redirect=%2F%40a%2Fb%3Fc%3Dd"
    );
}

// scenario 220, 222, 223, 225, 228, 229
#[test]
fn credentials_go_to_own_hosts_alone() {
    let hosts =
        RedirectHosts::new(url("https://coder.com"), Some("*.test.coder.com".parse().unwrap()))
            .with_proxy(
                url("https://sydney.coder.com"),
                Some("*.sydney.coder.com".parse().unwrap()),
            )
            .with_proxy(url("http://lab.example:8080"), Some("*--suffix.example".parse().unwrap()))
            .with_proxy(url("https://bare.example"), None);
    for (asked, granted) in [
        ("https://a--b--c--d.test.coder.com", "https://a--b--c--d.test.coder.com/"),
        ("http://a--b--c--d.test.coder.com/x", "https://a--b--c--d.test.coder.com/x"),
        ("https://x.sydney.coder.com/path?query=1", "https://x.sydney.coder.com/path?query=1"),
        ("https://SYDNEY.coder.com:443/x", "https://sydney.coder.com:443/x"),
        ("http://sydney.coder.com/x", "https://sydney.coder.com/x"),
        ("https://app--suffix.example:8080/", "http://app--suffix.example:8080/"),
        ("http://lab.example:8080/", "http://lab.example:8080/"),
        ("https://bare.example/", "https://bare.example/"),
    ] {
        assert_eq!(hosts.check(asked).unwrap().to_string(), granted, "{asked}");
    }
    for foreign in [
        "https://coder.com/",
        "https://example.com/",
        "https://sydney.co/",
        "https://sydney/",
        "https://s/",
        "https://_/",
        "https://sydney.coder.com.evil.com/",
        "https://a.b.sydney.coder.com/",
        "https://test.coder.com/",
        "https://sydney.coder.com:8443/",
        "https://x.sydney.coder.com:8443/",
        "http://lab.example/",
        "http://x--suffix.example/",
        "https://x.bare.example/",
    ] {
        assert!(matches!(hosts.check(foreign), Err(Error::ForeignHost(_))), "{foreign}");
    }
    // The dashboard's own is not, even where a proxy's pattern covers it.
    for proxy in ["https://dash.coder.com:8443", "https://sydney.coder.com"] {
        let wide = RedirectHosts::new(url("https://dash.coder.com"), None)
            .with_proxy(url(proxy), Some("*.coder.com:443".parse().unwrap()));
        for ours in ["https://app.coder.com/", proxy] {
            assert!(wide.check(ours).is_ok(), "{ours}");
        }
        for own in
            ["https://dash.coder.com/", "http://dash.coder.com/", "https://DASH.coder.com:443/"]
        {
            assert!(matches!(wide.check(own), Err(Error::ForeignHost(_))), "{own} by {proxy}");
        }
    }
    for bad in
        ["", ":", "/x", "https://user@sydney.coder.com/", "https://sydney.coder.com\\@evil.com/"]
    {
        assert!(matches!(hosts.check(bad), Err(Error::InvalidUrl(_))), "{bad}");
    }
}

#[test]
fn methods_have_names() {
    let names = [AccessMethod::Path, AccessMethod::Subdomain, AccessMethod::Terminal]
        .map(|method| method.to_string());
    assert_eq!(names, ["path", "subdomain", "terminal"]);
}
