//! Requests, what they lead to, and the addresses at which visitors sign in

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod address;
mod path;
mod resolve;

use app_authz::address::{AgentInHost, AppName, HttpUrl};
use app_authz::app::{AccessMethod, RequestError, UncheckedRequest};
use app_authz::{AppRequest, Error};
use proptest::prelude::*;

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
fn valid_requests_are_accepted() {
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
fn normalising_splits_at_the_first_dot_and_completes_the_base_path() {
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
    // Fields that are never sent are not parsed either.
    let text = r#"{"access_method":"path","workspace_and_agent":"x.y","WorkspaceAndAgent":"x.y",
        "agent_in_host":"x"}"#;
    let request: UncheckedRequest = serde_json::from_str(text).unwrap();
    assert_eq!((&*request.workspace_and_agent, &*request.agent_in_host), ("", ""));
}

/// The request for an app's host under a rule, and the agent as it is signed
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
        // Too short for the form for ports, but still a port.
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

    // The request is signed as written, and looked up without case.
    let (request, json) = of_host("Pre---CODE--Main--Ws--User", OfAll);
    assert_eq!(request.slug_or_port(), "CODE");
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
    ) {
        let [access_method, base_path, app_prefix, username_or_id, workspace_and_agent,
            workspace_name_or_id, agent_name_or_id, agent_in_host, app_slug_or_port] = fields;
        let request = UncheckedRequest {
            access_method, base_path, app_prefix, username_or_id, workspace_and_agent,
            workspace_name_or_id, agent_name_or_id, agent_in_host, app_slug_or_port,
        };
        let once = request.normalize();
        prop_assert_eq!(once.clone().normalize(), once);
    }

    #[test]
    fn a_url_is_read_back(text in "https?://[a-z][a-z0-9.-]{0,12}(:[1-9][0-9]{0,3})?/[a-z/%0-9]{0,12}(\\?[a-z=&%]{1,9})?") {
        prop_assert_eq!(text.parse::<HttpUrl>().unwrap().to_string(), text);
    }
}

#[test]
fn methods_have_stable_labels() {
    let names = [AccessMethod::Path, AccessMethod::Subdomain, AccessMethod::Terminal]
        .map(|method| method.to_string());
    assert_eq!(names, ["path", "subdomain", "terminal"]);
}
