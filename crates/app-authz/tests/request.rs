//! Requests, what they lead to, and where visitors are sent to sign in

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::{Duration, SystemTime};

use app_authz::address::{
    AgentInHost, AppName, Envelope, HostPattern, HttpUrl, SignIn, auth_redirect, login,
};
use app_authz::app::{
    AccessMethod, Agent, App, Contact, CorsBehavior, PortShare, RequestError, ResolveError,
    SharingLevel, Transition, UncheckedRequest, Workspace, WorkspaceFacts,
};
use app_authz::id::{AppId, OrganizationId};
use app_authz::rbac::Acl;
use app_authz::{AgentId, AppRequest, Error, Rules, UserId, WorkspaceId, resolve};
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
    let first = RequestError::AccessMethod(String::new());
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
    // What is joined is never taken from outside, nor is what only a host says.
    let text = r#"{"access_method":"path","workspace_and_agent":"x.y","WorkspaceAndAgent":"x.y",
        "agent_in_host":"x"}"#;
    let request: UncheckedRequest = serde_json::from_str(text).unwrap();
    assert_eq!((&*request.workspace_and_agent, &*request.agent_in_host), ("", ""));
}

/// The request of an app's host, under a rule, and how it is signed
fn of_host(label: &str, rule: AgentInHost) -> (AppRequest, serde_json::Value) {
    let name: AppName = label.parse().unwrap();
    let request = AppRequest::try_from(UncheckedRequest::from(name)).unwrap().under(rule);
    let signed = serde_json::to_value(&request).unwrap();
    (request, signed)
}

#[test]
fn the_agent_in_a_host_is_signed_as_the_release_reads_it() {
    use AgentInHost::{OfAll, OfPorts};
    for (label, rule, asked, signed) in [
        ("code--ws--user", OfPorts, None, ""),
        ("code--ws--user", OfAll, None, ""),
        ("code--main--ws--user", OfPorts, Some("main"), ""),
        ("code--main--ws--user", OfAll, Some("main"), "main"),
        ("8080--main--ws--user", OfPorts, Some("main"), "main"),
        ("8080s--main--ws--user", OfPorts, Some("main"), "main"),
        ("70000--main--ws--user", OfPorts, Some("main"), "main"),
        ("8080--main--ws--user", OfAll, Some("main"), "main"),
        // Too short for the host of a port, and a port all the same.
        ("80--main--ws--user", OfPorts, Some("main"), ""),
        ("80--ws--user", OfPorts, None, ""),
        ("80--main--ws--user", OfAll, Some("main"), "main"),
    ] {
        let (request, json) = of_host(label, rule);
        assert_eq!(request.agent(), asked, "{label} {rule:?}");
        assert_eq!(json["agent_name_or_id"], signed, "{label} {rule:?}");
        assert_eq!(json["access_method"], "subdomain");
        assert_eq!(json["base_path"], "/");
        assert!(json.get("agent_in_host").is_none());
    }
    assert_eq!(AgentInHost::default(), OfPorts);

    // What is signed is as it was written, and what is looked for has no case.
    let (request, json) = of_host("Pre---CODE--Main--Ws--User", OfAll);
    assert_eq!(request.slug_or_port(), "code");
    assert_eq!((request.user(), request.workspace()), ("User", "Ws"));
    assert_eq!(
        json,
        serde_json::json!({
            "access_method": "subdomain", "base_path": "/", "app_prefix": "Pre---",
            "username_or_id": "User", "workspace_name_or_id": "Ws", "agent_name_or_id": "Main",
            "app_slug_or_port": "CODE",
        })
    );
}

proptest! {
    #[test]
    fn normalising_twice_changes_nothing(
        fields in prop::array::uniform9("[a-zA-Z0-9./-]{0,12}"),
        is_of_host in any::<bool>(),
    ) {
        let [access_method, base_path, app_prefix, username_or_id, workspace_and_agent,
            workspace_name_or_id, agent_name_or_id, agent_in_host, app_slug_or_port] = fields;
        let request = UncheckedRequest {
            access_method, base_path, app_prefix, username_or_id, workspace_and_agent,
            workspace_name_or_id, agent_name_or_id, is_of_host, agent_in_host, app_slug_or_port,
        };
        let once = request.normalize();
        prop_assert_eq!(once.clone().normalize(), once);
    }

    #[test]
    fn a_url_is_read_back(text in "https?://[a-z][a-z0-9.-]{0,12}(:[1-9][0-9]{0,3})?/[a-z/%0-9]{0,12}(\\?[a-z=&%]{1,9})?") {
        prop_assert_eq!(text.parse::<HttpUrl>().unwrap().to_string(), text);
    }
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

fn facts() -> WorkspaceFacts {
    let owner = UserId(Uuid::from_u128(1));
    WorkspaceFacts {
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
    facts: &WorkspaceFacts,
) -> Result<app_authz::Target<'static>, ResolveError> {
    let facts: &(AppRequest, WorkspaceFacts) =
        Box::leak(Box::new((request.try_into().unwrap(), facts.clone())));
    resolve(&facts.0, Some(&facts.1), Rules::default())
}

fn ask(slug: &str) -> UncheckedRequest {
    on_subdomain(|r| r.app_slug_or_port = slug.to_owned())
}

// scenario 115, 121, 132, 147
#[test]
fn an_app_is_found_by_its_exact_slug() {
    let found = find(app_request(), &facts()).unwrap();
    assert_eq!((found.app, &*found.agent.name), (Some(AppId(Uuid::from_u128(12))), "baz"));
    assert_eq!((&*found.url, found.sharing), ("http://127.0.0.1:2", SharingLevel::Authenticated));

    for agent in ["", "baz", AGENT] {
        let request = with(|r| r.agent_name_or_id = agent.to_owned());
        let found = find(request, &facts()).unwrap();
        assert_eq!(found.agent.id, AgentId(Uuid::from_u128(4)));
        assert_eq!(found.request.agent().unwrap_or_default(), agent);
    }
    assert!(find(ask("app-ends-in-s"), &facts()).is_ok());
    assert!(find(ask("routed"), &facts()).is_ok());
    for (slug, reason) in [
        ("Qux", ResolveError::NoApp),
        ("app-ends-in-", ResolveError::NoApp),
        ("s", ResolveError::NoApp),
        ("+80", ResolveError::NoApp),
        ("65536", ResolveError::NoApp),
        ("9090ss", ResolveError::NoApp),
        ("link", ResolveError::NoApp),
        ("shell", ResolveError::NoUrl),
        ("wrong", ResolveError::InvalidUrl),
    ] {
        assert_eq!(find(ask(slug), &facts()).unwrap_err(), reason, "{slug}");
    }
}

#[test]
fn only_the_asked_agents_apps_match() {
    let mut facts = facts();
    facts.agents.push(agent(5, "second"));
    facts.apps.insert(0, app(9, 5, "qux", "http://127.0.0.1:9"));
    let of = |agent: &str| find(with(|r| r.agent_name_or_id = agent.to_owned()), &facts);
    assert_eq!(of("baz").unwrap().app, Some(AppId(Uuid::from_u128(12))));
    assert_eq!(of("second").unwrap().app, Some(AppId(Uuid::from_u128(9))));
    assert_eq!(of("third").unwrap_err(), ResolveError::NoAgent);
    assert_eq!(of("Baz").unwrap_err(), ResolveError::NoAgent);
    assert_eq!(of(&Uuid::from_u128(6).to_string()).unwrap_err(), ResolveError::NoAgent);
    // An agent that only the host names is asked for all the same, in any case.
    for rule in [AgentInHost::OfPorts, AgentInHost::OfAll] {
        for (label, found) in [
            ("qux--baz--bar--foo", Ok(12)),
            ("qux--second--bar--foo", Ok(9)),
            ("QUX--SECOND--BAR--FOO", Ok(9)),
            (&*format!("qux--{AGENT}--bar--foo"), Ok(12)),
            ("app-ends-in-s--baz--bar--foo", Ok(10)),
            ("app-ends-in-s--bar--foo", Ok(10)),
            ("app-ends-in-s--second--bar--foo", Err(ResolveError::NoApp)),
            ("app-ends-in-s--third--bar--foo", Err(ResolveError::NoAgent)),
        ] {
            let (request, _) = of_host(label, rule);
            let app = resolve(&request, Some(&facts), Rules::default()).map(|target| target.app);
            let found = found.map(|n| Some(AppId(Uuid::from_u128(n))));
            assert_eq!(app, found, "{label} {rule:?}");
        }
        let (request, _) = of_host("80--second--bar--foo", rule);
        assert_eq!(resolve(&request, Some(&facts), Rules::default()).unwrap().agent.name, "second");
    }
    // scenario 145
    let no_agent = |slug: &str| {
        let request = on_subdomain(|r| {
            r.agent_name_or_id.clear();
            r.app_slug_or_port = slug.to_owned();
        });
        find(request, &facts)
    };
    assert_eq!(no_agent("8080").unwrap_err(), ResolveError::AgentNeeded);
    assert_eq!(no_agent("app-ends-in-s").unwrap().agent.name, "baz");
}

// scenario 129, 130, 201, 202, 204
#[test]
fn a_port_comes_before_a_slug_and_is_the_owners_unless_shared() {
    let mut facts = facts();
    facts.apps.push(app(20, 4, "9090", "http://127.0.0.1:3"));
    let found = find(ask("9090"), &facts).unwrap();
    assert_eq!((&*found.url, found.app), ("http://127.0.0.1:9090", None));
    assert_eq!(found.sharing, SharingLevel::Public);
    let found = find(ask("9090s"), &facts).unwrap();
    assert_eq!((&*found.url, found.sharing), ("https://127.0.0.1:9090", SharingLevel::Public));
    let found = find(
        on_subdomain(|r| {
            r.agent_name_or_id = AGENT.to_owned();
            r.app_slug_or_port = "09090".to_owned();
        }),
        &facts,
    )
    .unwrap();
    assert_eq!((&*found.url, found.sharing), ("http://127.0.0.1:9090", SharingLevel::Public));
    assert_eq!(found.request.slug_or_port(), "09090");
    assert_eq!(find(ask("8080"), &facts).unwrap().sharing, SharingLevel::Owner);

    facts.max_port_sharing = Some(SharingLevel::Organization);
    assert_eq!(find(ask("9090"), &facts).unwrap().sharing, SharingLevel::Organization);
    assert_eq!(find(ask("8080"), &facts).unwrap().sharing, SharingLevel::Owner);
    let request = ask("9090").try_into().unwrap();
    let rules = Rules::default().enforce_max_port_sharing(false);
    let free = resolve(&request, Some(&facts), rules).unwrap();
    assert_eq!(free.sharing, SharingLevel::Public);

    let by_path = with(|r| r.app_slug_or_port = "9090".to_owned());
    assert_eq!(find(by_path, &facts).unwrap_err(), ResolveError::PortByPath);
}

#[test]
fn what_is_not_there_is_not_found_and_what_sleeps_is_stopped() {
    assert_eq!(
        resolve(&app_request().try_into().unwrap(), None, Rules::default()),
        Err(ResolveError::NoWorkspace)
    );
    let foreign = WorkspaceFacts { asked_owner: UserId(Uuid::from_u128(99)), ..facts() };
    assert_eq!(find(app_request(), &foreign).unwrap_err(), ResolveError::NotOwner);
    let stopped = WorkspaceFacts { transition: Transition::Stop, agents: vec![], ..facts() };
    assert_eq!(find(app_request(), &stopped).unwrap_err(), ResolveError::Stopped);
    let deleted = WorkspaceFacts { transition: Transition::Delete, agents: vec![], ..facts() };
    assert_eq!(find(app_request(), &deleted).unwrap_err(), ResolveError::NoAgent);
    for (reason, hidden) in [
        (ResolveError::NotOwner, true),
        (ResolveError::NoAgent, true),
        (ResolveError::Stopped, false),
        (ResolveError::PortByPath, false),
    ] {
        assert_eq!(reason.is_not_found(), hidden);
    }
}

#[test]
fn a_terminal_is_its_agents_and_the_owners() {
    let stopped = WorkspaceFacts { transition: Transition::Stop, ..facts() };
    let found = find(terminal(), &stopped).unwrap();
    assert_eq!((&*found.agent.name, found.sharing), ("baz", SharingLevel::Owner));
    assert_eq!((&*found.url, found.app), ("", None));
    let elsewhere = WorkspaceFacts { agents: vec![agent(5, "baz")], ..facts() };
    assert_eq!(find(terminal(), &elsewhere).unwrap_err(), ResolveError::NoAgent);
}

fn url(text: &str) -> HttpUrl {
    text.parse().unwrap()
}

#[test]
fn a_url_is_taken_apart_once_and_strictly() {
    let parsed = url("HTTPS://Sydney.Coder.com:8443?x=%2F");
    assert_eq!(parsed.to_string(), "https://Sydney.Coder.com:8443/?x=%2F");
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
        let target = find(request, &facts()).unwrap();
        let envelope = Envelope {
            dashboard: &dashboard,
            path_app_base: base,
            app_hosts: Some(&hosts),
            visited: None,
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

    // A pattern is used as it is, whatever port the proxy is on.
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

    let target = find(ask("qux"), &facts()).unwrap();
    let without = Envelope {
        dashboard: &dashboard,
        path_app_base: &dashboard,
        app_hosts: None,
        visited: None,
        app_path: "",
        app_query: "",
    };
    assert_eq!(without.sign_in(&target), Err(Error::NoAppHosts));
}

/// Where the visitor of an app's host is sent back to
fn sent_back(request: UncheckedRequest, pattern: &str, visited: Option<&str>) -> String {
    let (dashboard, base) = (url("https://coder.com"), url("https://sydney.coder.com:8443"));
    let hosts: HostPattern = pattern.parse().unwrap();
    let visited = visited.map(url);
    let mut facts = facts();
    facts.agents.push(agent(5, "second"));
    let target = find(request, &facts).unwrap();
    let envelope = Envelope {
        dashboard: &dashboard,
        path_app_base: &base,
        app_hosts: Some(&hosts),
        visited: visited.as_ref(),
        app_path: "/x",
        app_query: "",
    };
    let Ok(SignIn::AuthRedirect(back)) = envelope.sign_in(&target) else { panic!() };
    back.to_string()
}

#[test]
fn the_host_of_an_app_is_written_as_it_was_asked_for() {
    let named = |agent: &str, slug: &str| {
        on_subdomain(|r| {
            r.app_slug_or_port = slug.to_owned();
            r.agent_name_or_id = agent.to_owned();
        })
    };
    for (request, pattern, back) in [
        (named("", "qux"), "*.apps.coder.com", "https://qux--bar--foo.apps.coder.com/x"),
        (named("baz", "qux"), "*.apps.coder.com", "https://qux--baz--bar--foo.apps.coder.com/x"),
        (named("", "qux"), "*.apps.coder.com:9000", "https://qux--bar--foo.apps.coder.com:9000/x"),
        (named("", "qux"), "*--Apps.Coder.com", "https://qux--bar--foo--Apps.Coder.com/x"),
        (named("baz", "8080"), "*.apps.coder.com", "https://8080--baz--bar--foo.apps.coder.com/x"),
        (
            on_subdomain(|r| {
                r.app_prefix = "Pre---".to_owned();
                r.agent_name_or_id.clear();
                r.workspace_name_or_id = "Bar".to_owned();
                r.username_or_id = "Foo-Fighter".to_owned();
            }),
            "*.apps.coder.com",
            "https://Pre---qux--Bar--Foo-Fighter.apps.coder.com/x",
        ),
    ] {
        assert_eq!(sent_back(request, pattern, None), back);
    }

    // The host of a port names its agent, even where the request does not.
    let mut facts = facts();
    facts.apps.clear();
    let target = find(named("", "8080s"), &facts).unwrap();
    let base = url("https://coder.com");
    let envelope = Envelope {
        dashboard: &base,
        path_app_base: &base,
        app_hosts: Some(&"*.apps.coder.com".parse().unwrap()),
        visited: None,
        app_path: "",
        app_query: "",
    };
    let Ok(SignIn::AuthRedirect(back)) = envelope.sign_in(&target) else { panic!() };
    assert_eq!(back.to_string(), "https://8080s--baz--bar--foo.apps.coder.com/");
}

#[test]
fn a_visitor_comes_back_to_the_host_and_port_they_came_from() {
    let of_host = |label: &str| UncheckedRequest::from(label.parse::<AppName>().unwrap());
    for (request, pattern, visited) in [
        (of_host("qux--bar--foo"), "*.apps.coder.com", "https://qux--bar--foo.apps.coder.com"),
        (
            of_host("qux--baz--bar--foo"),
            "*.apps.coder.com",
            "https://qux--baz--bar--foo.apps.coder.com:8443",
        ),
        (
            of_host("QUX--Bar--foo"),
            "*.apps.coder.com:4444",
            "https://QUX--Bar--foo.Apps.Coder.COM:4444",
        ),
        (
            of_host("qux--bar--foo"),
            "*.apps.coder.com:4444",
            "http://qux--bar--foo.apps.coder.com:80",
        ),
    ] {
        assert_eq!(sent_back(request, pattern, Some(visited)), format!("{visited}/x"));
    }
    let by_path = with(|r| r.base_path = "/@foo/bar/apps/qux".to_owned());
    let visited = "https://Sydney.coder.com:9443";
    let back = sent_back(by_path, "*.apps.coder.com", Some(visited));
    assert_eq!(back, format!("{visited}/@foo/bar/apps/qux/x"));
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

#[test]
fn methods_have_names() {
    let names = [AccessMethod::Path, AccessMethod::Subdomain, AccessMethod::Terminal]
        .map(|method| method.to_string());
    assert_eq!(names, ["path", "subdomain", "terminal"]);
}
