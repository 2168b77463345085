//! Requests that are read from the address of a visit

use app_authz::address::AppName;
use app_authz::app::{AccessMethod, RequestError, UncheckedRequest, terminal_agent};
use app_authz::{AppRequest, Error};

use super::AGENT;

#[test]
fn a_path_has_a_base_path_names_and_the_path_within_the_app() {
    let plain = ("/@alice/dev/apps/code/", ["alice", "dev", "", "code"]);
    let named = ("/@alice/dev.main/apps/code/", ["alice", "dev", "main", "code"]);
    for (path, (base, names), rest) in [
        ("/@alice/dev/apps/code", plain, ""),
        ("/@alice/dev/apps/code/", plain, "/"),
        ("/@alice/dev/apps/code//", plain, "//"),
        ("/@alice/dev/apps/code/a%2Fb/../c", plain, "/a%2Fb/../c"),
        ("/@alice/dev.main/apps/code/apps/x", named, "/apps/x"),
        (
            "/@alice/dev.main.two/apps/code/",
            ("/@alice/dev.main.two/apps/code/", ["alice", "dev", "main.two", "code"]),
            "/",
        ),
        // The base path keeps the spelling of the browser, and the names are decoded.
        (
            "/%40alice/dev/apps/code/x",
            ("/%40alice/dev/apps/code/", ["alice", "dev", "", "code"]),
            "/x",
        ),
        (
            "/@%61lice/dev%2Emain/apps/Code%20Server/",
            ("/@%61lice/dev%2Emain/apps/Code%20Server/", ["alice", "dev", "main", "Code Server"]),
            "/",
        ),
        // What a browser would have encoded is encoded, as the base path becomes a cookie's.
        (
            "/@alice/dev/apps/caf\u{e9}; Domain=x/",
            (
                "/@alice/dev/apps/caf%C3%A9;%20Domain=x/",
                ["alice", "dev", "", "caf\u{e9}; Domain=x"],
            ),
            "/",
        ),
        ("/@alice/dev/apps/8080/x", ("/@alice/dev/apps/8080/", ["alice", "dev", "", "8080"]), "/x"),
        ("/@%40a/dev/apps/x/", ("/@%40a/dev/apps/x/", ["@a", "dev", "", "x"]), "/"),
    ] {
        let (request, app_path) = AppRequest::of_path(path).unwrap();
        assert_eq!((request.method(), request.base_path()), (AccessMethod::Path, base), "{path}");
        let agent = request.agent().unwrap_or_default();
        let found = [request.user(), request.workspace(), agent, request.slug_or_port()];
        assert_eq!((found, app_path), (names, rest), "{path}");
    }
}

#[test]
fn other_paths_do_not_lead_to_an_app() {
    for path in [
        "",
        "/",
        "@alice/dev/apps/code",
        "//@alice/dev/apps/code",
        "/alice/dev/apps/code",
        "/@alice",
        "/@alice/dev/apps",
        "/@alice/dev/apps/",
        "/@alice/dev/Apps/code",
        "/@alice/dev/%61pps/code",
        "/@alice/dev/terminal/code",
        "/@/dev/apps/code",
        "/@alice//apps/code",
        "/@alice/dev/apps//code",
        "/%2540alice/dev/apps/code",
        "/api/v2/workspaceagents//pty",
        "/api/v2/workspaceagents/a/b/pty",
        "/api/v2/workspaceagents/a/pty/",
        "/api/v2/workspaceagents/a/PTY",
    ] {
        assert_eq!(AppRequest::of_path(path), Err(Error::InvalidAppPath), "{path}");
        assert_eq!(AppRequest::of_terminal(path), Err(Error::InvalidAppPath), "{path}");
    }
    for name in ["me", "%6De"] {
        let path = format!("/@{name}/dev/apps/code");
        assert_eq!(AppRequest::of_path(&path), Err(RequestError::Me.into()), "{path}");
    }
    let host = "code--dev--me".parse::<AppName>().unwrap();
    assert_eq!(AppRequest::of_host(host), Err(RequestError::Me.into()));
    // A workspace whose name begins with a dot has no name.
    let unnamed = AppRequest::of_path("/@alice/.main/apps/code");
    assert_eq!(unnamed, Err(RequestError::NoWorkspace.into()));
}

#[test]
fn a_terminal_is_named_by_the_id_of_its_agent() {
    let path = format!("/api/v2/workspaceagents/{AGENT}/pty");
    let request = AppRequest::of_terminal(&path).unwrap();
    assert_eq!((request.method(), request.agent()), (AccessMethod::Terminal, Some(AGENT)));
    assert_eq!(request.base_path(), format!("{path}/"));
    assert_eq!(AppRequest::of_path(&path), Ok((request, "/")));
    assert_eq!(terminal_agent(&path), Some(AGENT));
    let unnamed = AppRequest::of_path("/api/v2/workspaceagents/main/pty");
    assert_eq!(unnamed, Err(RequestError::AgentId("main".to_owned()).into()));
}

/// The slug that a segment stands for
fn slug(segment: &str) -> Option<String> {
    let path = format!("/@alice/dev/apps/{segment}/x");
    UncheckedRequest::of_path(&path).map(|(request, _)| request.app_slug_or_port)
}

#[test]
fn a_name_is_what_its_segment_decodes_to() {
    for (segment, expected) in [
        ("code", "code"),
        ("Code%20Server", "Code Server"),
        ("Code Server", "Code Server"),
        ("%61lice", "alice"),
        ("dev%2Emain", "dev.main"),
        ("dev%2emain", "dev.main"),
        ("%40alice", "@alice"),
        ("a+b", "a+b"),
        ("caf%C3%A9", "caf\u{e9}"),
        ("caf\u{e9}", "caf\u{e9}"),
        ("%2561", "%61"),
        ("%25", "%"),
    ] {
        assert_eq!(slug(segment).as_deref(), Some(expected), "{segment}");
    }
}

#[test]
fn other_segments_are_not_names() {
    for segment in [
        "",
        "%",
        "a%",
        "a%2",
        "%zz",
        "%+1",
        "%\u{e9}a",
        "code%2Fx",
        "code%2fx",
        "code%5Cx",
        "code\\x",
        "code%00",
        "%0a",
        "%7F",
        "%C2%85",
        // A single byte of two, an overlong slash, a surrogate, and beyond Unicode
        "caf%E9",
        "code%C0%AF",
        "%ED%A0%80",
        "%F4%90%80%80",
    ] {
        assert_eq!(slug(segment), None, "{segment}");
    }
}
