//! What requests lead to

use std::time::SystemTime;

use app_authz::address::AgentInHost;
use app_authz::app::{
    Agent, App, Contact, PortShare, ResolveError, SharingLevel, Transition, UncheckedRequest,
    Workspace, WorkspaceFacts,
};
use app_authz::id::{AppId, OrganizationId};
use app_authz::{AgentId, AppRequest, Rules, UserId, WorkspaceId, resolve};
use uuid::Uuid;

use super::{AGENT, app_request, of_host, on_subdomain, terminal, with};

pub(crate) fn agent(n: u128, name: &str) -> Agent {
    Agent::new(AgentId(Uuid::from_u128(n)), name, Contact::new(SystemTime::UNIX_EPOCH))
}

pub(crate) fn app(n: u128, agent: u128, slug: &str, url: &str) -> App {
    App::new(AppId(Uuid::from_u128(n)), AgentId(Uuid::from_u128(agent)), slug, url)
        .with_sharing(SharingLevel::Authenticated)
}

pub(crate) fn facts() -> WorkspaceFacts {
    let owner = UserId(Uuid::from_u128(1));
    let workspace = Workspace::new(
        (WorkspaceId(Uuid::from_u128(2)), "bar"),
        (owner, "foo"),
        OrganizationId(Uuid::from_u128(3)),
    );
    WorkspaceFacts::new(owner, workspace, Transition::Start, None)
        .with_agents([agent(4, "baz")])
        .with_apps([
            app(10, 4, "app-ends-in-s", "http://127.0.0.1:1/?query=1"),
            app(11, 4, "link", "https://example.com").with_external(true),
            app(12, 4, "qux", "http://127.0.0.1:2"),
            app(15, 4, "routed", "http://127.0.0.1:5/?a=b#/view"),
            app(13, 4, "shell", ""),
            app(14, 4, "wrong", "ftp://127.0.0.1"),
        ])
        .with_port_shares([PortShare::new("baz", 9090, SharingLevel::Public)])
}

/// What the request leads to, with facts that are leaked so that they live as long as the test
pub(crate) fn find(
    request: UncheckedRequest,
    facts: &WorkspaceFacts,
) -> Result<app_authz::Target<'static>, ResolveError> {
    let facts: &(AppRequest, WorkspaceFacts) =
        Box::leak(Box::new((request.try_into().unwrap(), facts.clone())));
    resolve(&facts.0, Some(&facts.1), Rules::default())
}

pub(crate) fn ask(slug: &str) -> UncheckedRequest {
    on_subdomain(|r| r.app_slug_or_port = slug.to_owned())
}

// scenario 115, 121, 132, 147
#[test]
fn an_app_is_found_by_its_slug() {
    let found = find(app_request(), &facts()).unwrap();
    assert_eq!((found.app(), &*found.agent().name), (Some(AppId(Uuid::from_u128(12))), "baz"));
    assert_eq!((found.url(), found.sharing()), ("http://127.0.0.1:2", SharingLevel::Authenticated));

    for agent in ["", "baz", AGENT] {
        let request = with(|r| r.agent_name_or_id = agent.to_owned());
        let found = find(request, &facts()).unwrap();
        assert_eq!(found.agent().id, AgentId(Uuid::from_u128(4)));
        assert_eq!(found.request().agent().unwrap_or_default(), agent);
    }
    assert!(find(ask("app-ends-in-s"), &facts()).is_ok());
    assert!(find(ask("routed"), &facts()).is_ok());
    for (slug, reason) in [
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
fn only_apps_of_the_named_agent_match() {
    let mut facts = facts();
    facts.agents.push(agent(5, "second"));
    facts.apps.insert(0, app(9, 5, "qux", "http://127.0.0.1:9"));
    let of = |agent: &str| find(with(|r| r.agent_name_or_id = agent.to_owned()), &facts);
    assert_eq!(of("baz").unwrap().app(), Some(AppId(Uuid::from_u128(12))));
    assert_eq!(of("second").unwrap().app(), Some(AppId(Uuid::from_u128(9))));
    assert_eq!(of("third").unwrap_err(), ResolveError::NoAgent);
    assert_eq!(of("Baz").unwrap().app(), Some(AppId(Uuid::from_u128(12))));
    assert_eq!(of(&Uuid::from_u128(6).to_string()).unwrap_err(), ResolveError::NoAgent);
    // An agent that only the host names counts too.
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
            let app = resolve(&request, Some(&facts), Rules::default()).map(|target| target.app());
            let found = found.map(|n| Some(AppId(Uuid::from_u128(n))));
            assert_eq!(app, found, "{label} {rule:?}");
        }
        let (request, _) = of_host("80--second--bar--foo", rule);
        assert_eq!(
            resolve(&request, Some(&facts), Rules::default()).unwrap().agent().name,
            "second"
        );
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
    assert_eq!(no_agent("app-ends-in-s").unwrap().agent().name, "baz");
}

// scenario 129, 130, 201, 202, 204
#[test]
fn a_port_comes_before_a_slug_and_is_the_owners_unless_shared() {
    let mut facts = facts();
    facts.apps.push(app(20, 4, "9090", "http://127.0.0.1:3"));
    let found = find(ask("9090"), &facts).unwrap();
    assert_eq!((found.url(), found.app()), ("http://127.0.0.1:9090", None));
    assert_eq!(found.sharing(), SharingLevel::Public);
    let found = find(ask("9090s"), &facts).unwrap();
    assert_eq!((found.url(), found.sharing()), ("https://127.0.0.1:9090", SharingLevel::Public));
    let found = find(
        on_subdomain(|r| {
            r.agent_name_or_id = AGENT.to_owned();
            r.app_slug_or_port = "09090".to_owned();
        }),
        &facts,
    )
    .unwrap();
    assert_eq!((found.url(), found.sharing()), ("http://127.0.0.1:9090", SharingLevel::Public));
    assert_eq!(found.request().slug_or_port(), "09090");
    assert_eq!(find(ask("8080"), &facts).unwrap().sharing(), SharingLevel::Owner);

    facts.max_port_sharing = Some(SharingLevel::Organization);
    assert_eq!(find(ask("9090"), &facts).unwrap().sharing(), SharingLevel::Organization);
    assert_eq!(find(ask("8080"), &facts).unwrap().sharing(), SharingLevel::Owner);
    let request = ask("9090").try_into().unwrap();
    let rules = Rules::default().enforce_max_port_sharing(false);
    let free = resolve(&request, Some(&facts), rules).unwrap();
    assert_eq!(free.sharing(), SharingLevel::Public);

    let by_path = with(|r| r.app_slug_or_port = "9090".to_owned());
    assert_eq!(find(by_path, &facts).unwrap_err(), ResolveError::PortByPath);
}

/// In the form of a host and in that of a path; what is asked, and what is found
#[test]
fn names_have_no_case_and_the_exact_one_is_preferred() {
    let mut facts = facts();
    let (first, second) = (agent(1, "Main"), agent(2, "main"));
    let app = |n, agent: &Agent, slug: &str| {
        App::new(AppId(Uuid::from_u128(n)), agent.id, slug, format!("http://127.0.0.1:{n}"))
    };
    facts.apps = vec![
        app(100, &first, "Code"),
        app(101, &first, "code"),
        app(102, &second, "Docs"),
        app(103, &second, "Code Server"),
    ];
    facts.agents = vec![first, second];
    for (agent, slug, found) in [
        ("", "code", Some("http://127.0.0.1:101")),
        ("", "Code", Some("http://127.0.0.1:100")),
        ("", "CODE", Some("http://127.0.0.1:100")),
        ("Main", "code", Some("http://127.0.0.1:101")),
        ("main", "code", None),
        ("MAIN", "code", Some("http://127.0.0.1:101")),
        ("main", "docs", Some("http://127.0.0.1:102")),
        ("", "dOCS", Some("http://127.0.0.1:102")),
        ("main", "code server", Some("http://127.0.0.1:103")),
        ("", "d\u{f6}cs", None),
        ("other", "docs", None),
    ] {
        let fields = |r: &mut UncheckedRequest| {
            r.agent_name_or_id = agent.to_owned();
            r.app_slug_or_port = slug.to_owned();
        };
        for request in [with(fields), on_subdomain(fields)] {
            let case = format!("{} {slug} of {agent}", request.access_method);
            let url = find(request, &facts).ok().map(|target| target.url().to_owned());
            assert_eq!(url.as_deref(), found, "{case}");
        }
    }

    let share = |name: &str, sharing| PortShare::new(name, 8443, sharing);
    for (shares, level) in [
        (vec![share("MAIN", SharingLevel::Public)], SharingLevel::Public),
        (
            vec![share("Main", SharingLevel::Public), share("main", SharingLevel::Organization)],
            SharingLevel::Organization,
        ),
        (vec![share("mai", SharingLevel::Public)], SharingLevel::Owner),
        // The share of the other agent
        (vec![share("Main", SharingLevel::Public)], SharingLevel::Owner),
    ] {
        facts.port_shares = shares;
        for port in ["8443", "8443s", "8443S", "08443S"] {
            let target = find(
                on_subdomain(|r| {
                    r.agent_name_or_id = "main".to_owned();
                    r.app_slug_or_port = port.to_owned();
                }),
                &facts,
            );
            let target = target.unwrap();
            let scheme = if port.ends_with(['s', 'S']) { "https" } else { "http" };
            assert_eq!(target.url(), format!("{scheme}://127.0.0.1:8443"), "{port}");
            assert_eq!(target.sharing(), level, "{port}");
        }
    }
}

#[test]
fn a_missing_workspace_is_not_found_and_a_stopped_one_is_stopped() {
    assert_eq!(
        resolve(&app_request().try_into().unwrap(), None, Rules::default()),
        Err(ResolveError::NoWorkspace)
    );
    let mut foreign = facts();
    foreign.asked_owner = UserId(Uuid::from_u128(99));
    assert_eq!(find(app_request(), &foreign).unwrap_err(), ResolveError::NotOwner);
    let mut stopped = facts().with_agents([]);
    stopped.transition = Transition::Stop;
    assert_eq!(find(app_request(), &stopped).unwrap_err(), ResolveError::Stopped);
    let mut deleted = facts().with_agents([]);
    deleted.transition = Transition::Delete;
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
fn a_terminal_leads_to_its_agent_at_the_owners_level() {
    let mut stopped = facts();
    stopped.transition = Transition::Stop;
    let found = find(terminal(), &stopped).unwrap();
    assert_eq!((&*found.agent().name, found.sharing()), ("baz", SharingLevel::Owner));
    assert_eq!((found.url(), found.app()), ("", None));
    let elsewhere = facts().with_agents([agent(5, "baz")]);
    assert_eq!(find(terminal(), &elsewhere).unwrap_err(), ResolveError::NoAgent);
}
