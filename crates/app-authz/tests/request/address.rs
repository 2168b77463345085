//! URLs, and the addresses at which visitors sign in

use app_authz::Error;
use app_authz::address::{
    AppName, Envelope, HostPattern, HttpUrl, SignIn, UrlErrorKind, auth_redirect, encode_path,
    login,
};
use app_authz::app::UncheckedRequest;
use app_authz::token::Nonce;

use super::{on_subdomain, terminal, with};
use crate::resolve::{agent, ask, facts, find};

pub(crate) fn url(text: &str) -> HttpUrl {
    text.parse().unwrap()
}

#[test]
fn a_url_is_parsed_strictly() {
    let parsed = url("HTTPS://Sydney.Coder.com:8443?x=%2F");
    assert_eq!(parsed.to_string(), "https://Sydney.Coder.com:8443/?x=%2F");
    assert_eq!((parsed.effective_port(), parsed.query()), (8443, Some("x=%2F")));
    assert_eq!(url("http://[::1]:80/").authority(), "[::1]:80");
    assert_eq!(url("https://a.b").effective_port(), 443);
    // URLs as authors write them, and as browsers read them.
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
    let kind = |result: Result<HttpUrl, Error>| match result.unwrap_err() {
        Error::InvalidUrl(error) => error.kind(),
        other => panic!("{other}"),
    };
    for (path, expected) in [
        ("//evil.com", UrlErrorKind::Path),
        ("", UrlErrorKind::Path),
        ("x", UrlErrorKind::Path),
        ("/..", UrlErrorKind::Climbs),
        ("/a?b", UrlErrorKind::Character),
    ] {
        assert_eq!(kind(url("https://a.b").with_path(path, None)), expected, "{path}");
    }
    assert_eq!(kind(url("https://a.b").with_query("#")), UrlErrorKind::Character);
    assert_eq!(kind(url("https://a.b").with_authority("a@b")), UrlErrorKind::Authority);
    // scenario 229
    for (expected, texts) in [
        (UrlErrorKind::Scheme, &["", "/path", "//host", "ftp://host", "javascript:alert(1)"][..]),
        (
            UrlErrorKind::Authority,
            &[
                "https://",
                "https:///x",
                "https://user@host/",
                "https://user:pass@host/",
                "https://host:/x:",
                "https://host:x/",
                "https://host:65536/",
                "https://[::1/",
                "https://::1/",
                "https://h%6fst/",
            ],
        ),
        (
            UrlErrorKind::Character,
            &[
                "https://host\\@evil/",
                "https://ho st/",
                "https://host/\r\nx",
                "https://host/#x",
                "https://hóst/",
            ],
        ),
    ] {
        for text in texts {
            assert_eq!(kind(text.parse()), expected, "{text}");
        }
    }
    let error = "ftp://host".parse::<HttpUrl>().unwrap_err().to_string();
    assert_eq!(
        error,
        "`ftp://host` is not a valid url: it does not begin with `http://` or `https://`"
    );
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

    // The pattern is used as it is, without the port of the proxy.
    assert_eq!(send(&proxy, ask("qux"), "/x", ""), back(&format!("{apps}/x")));
    // Another port on the dashboard's host belongs to a proxy; another scheme does not.
    let beside = url("https://coder.com:8443");
    let base = "https://coder.com:8443/@foo/bar.baz/apps/qux";
    assert_eq!(send(&beside, by_path("qux"), "/a", ""), back(&format!("{base}/a")));
    assert_eq!(send(&url("http://coder.com"), by_path("qux"), "/a", ""), Ok(SignIn::Login));

    // The visitor's query counts, and the default query of the app only without one.
    let apps = "https://app-ends-in-s--baz--bar--foo.apps.coder.com";
    let own = ask("app-ends-in-s");
    assert_eq!(send(&dashboard, own.clone(), "/", "mine=2"), back(&format!("{apps}/?mine=2")));
    assert_eq!(send(&dashboard, own, "/", ""), back(&format!("{apps}/?query=1")));

    // A path that leaves the app is refused in every spelling.
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

/// The address to which the visitor of an app's host returns
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
fn the_host_of_an_app_keeps_the_spelling_of_the_request() {
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

    // The host of a port names the agent, even if the request does not.
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
fn a_visitor_returns_to_the_host_and_port_of_the_request() {
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
fn paths_are_encoded_as_browsers_do() {
    for (path, expected) in [
        ("/a/b%2F;c=d&e@f:g", "/a/b%2F;c=d&e@f:g"),
        ("/a?b#c%2F", "/a%3Fb%23c%2F"),
        ("/Code Server/é\\\"<>", "/Code%20Server/%C3%A9%5C%22%3C%3E"),
    ] {
        assert_eq!(encode_path(path), expected);
    }
}

#[test]
fn addresses_are_encoded_in_query_parameters() {
    let dashboard = url("https://coder.com");
    let back = url("https://a--b--c--d.apps.coder.com/x?y=z&k=%2F");
    assert_eq!(
        auth_redirect(&dashboard, &back, None).unwrap().to_string(),
        "https://coder.com/api/v2/applications/auth-redirect?redirect_uri=\
         https%3A%2F%2Fa--b--c--d.apps.coder.com%2Fx%3Fy%3Dz%26k%3D%252F"
    );
    let nonce = Nonce::generate(|bytes| bytes.fill(0xa1));
    let redirect = auth_redirect(&dashboard, &url("https://a.coder.com/"), Some(&nonce));
    assert_eq!(
        redirect.unwrap().to_string(),
        "https://coder.com/api/v2/applications/auth-redirect?redirect_uri=\
         https%3A%2F%2Fa.coder.com%2F&authd_nonce=a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"
    );
    assert_eq!(
        login(&dashboard, "You are out. Sign in!", "/@a/b?c=d").unwrap().to_string(),
        "https://coder.com/login?message=You+are+out.+Sign+in%21&redirect=%2F%40a%2Fb%3Fc%3Dd"
    );
}

/// An address that is encoded within two others stays short
#[test]
fn long_addresses_are_encoded_no_more_than_they_need() {
    let dashboard = url("https://coder.com");
    let back = url(&format!("https://a.coder.com/?q={}&z=+;'", "{a:[%22b%22]}/".repeat(300)));
    let redirect = auth_redirect(&dashboard, &back, None).unwrap();
    let encoded = redirect.query().unwrap().strip_prefix("redirect_uri=").unwrap();
    let decode = |text: &str| {
        let mut rest = text.replace('+', " ");
        for (code, character) in
            [("%2B", "+"), ("%26", "&"), ("%3B", ";"), ("%27", "'"), ("%25", "%")]
        {
            rest = rest.replace(code, character);
        }
        rest
    };
    assert_eq!(decode(encoded), back.to_string());
    assert!(!encoded.contains(['&', '+', '#', ' ', ';', '\'']), "{encoded}");
    let path = format!("{}?{}", redirect.path(), redirect.query().unwrap());
    let page = login(&dashboard, "", &path).unwrap().to_string();
    assert!(
        page.len() < back.to_string().len() * 2,
        "{} of {}",
        page.len(),
        back.to_string().len()
    );
}
