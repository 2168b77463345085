//! The hosts of apps: names, patterns, and which of them credentials are sent to

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use app_authz::Error;
use app_authz::address::{AppName, HostMeaning, HostPattern, HttpUrl, RedirectHosts};
use proptest::prelude::*;

fn url(text: &str) -> HttpUrl {
    text.parse().unwrap()
}

fn pattern(text: &str) -> HostPattern {
    text.parse().unwrap()
}

/// A part of a name: letters, digits, and single inner hyphens
const PART: &str = "[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,5}){0,2}";

proptest! {
    #[test]
    fn no_text_makes_a_host_or_a_url_panic(text in any::<String>(), host in "[-a-z.*:0-9 ]{0,30}") {
        for text in [text, host] {
            let pattern = pattern("*--apps.example.com:8080");
            let _ = (text.parse::<HostPattern>(), text.parse::<HttpUrl>(), text.parse::<AppName>());
            let _ = (pattern.capture(&text), text.parse::<app_authz::app::Port>());
        }
    }

    #[test]
    fn a_printed_name_parses_to_the_same_name(
        prefix in "([A-Za-z0-9_]{1,6}(---){1,2}){0,2}",
        slug_or_port in prop_oneof![PART, "[0-9]{1,6}s?"],
        agent in proptest::option::of(PART),
        parts in prop::array::uniform2(PART),
    ) {
        let [workspace, user] = parts;
        let name = AppName { prefix, slug_or_port, agent, workspace, user };
        let label = name.to_string();
        if name.is_port() && name.agent.is_none() {
            prop_assert_eq!(label.parse::<AppName>(), Err(Error::InvalidAppName(label)));
        } else {
            prop_assert_eq!(label.parse(), Ok(name));
        }
    }

    #[test]
    fn a_parsed_name_prints_the_same_text(
        label in "([a-z]{0,2}-{0,4}){0,2}[a-z0-9]{1,5}(-{1,4}[a-z0-9]{1,3}){1,5}-{0,2}",
    ) {
        if let Ok(name) = label.parse::<AppName>() {
            prop_assert_eq!(name.to_string(), label);
        }
    }
}

// scenario 246
#[test]
fn a_label_of_neither_form_is_not_the_name_of_an_app() {
    for bad in [
        "test",
        "workspace.agent--app",
        "workspace--app",
        "app--agent--workspace--user--more",
        "",
        "a--b--c--",
        "--b--c--d",
        "a-----b--c--d",
        "a--b--c--d-",
        "-a--b--c--d",
        "a_b--b--c--d",
        "a--b--c--d.e",
        "a--b--c d",
        "prefix---",
        "prefix---a--b",
        "\u{e4}--b--c--d",
        "\u{e4}---a--b--c--d",
        "a b---a--b--c--d",
        "a:b---a--b--c--d",
        // Four hyphens are split into three and one, and a name does not begin with one.
        "prefix----a--b--c",
        "prefix-----a--b--c--d",
        "a----b--c--d",
        // The host of a port must name the agent.
        "8080--ws--user",
        "8080s--ws--user",
        "8080S--ws--user",
        "65536--ws--user",
        "00000s--ws--user",
        "prefix---8080--ws--user",
    ] {
        assert_eq!(bad.parse::<AppName>(), Err(Error::InvalidAppName(bad.to_owned())), "{bad}");
    }
}

// scenario 247
#[test]
fn the_name_of_an_app_has_three_parts_and_that_of_a_port_four() {
    for (label, [prefix, slug_or_port, agent, workspace, user], is_port) in [
        ("app--ws--user", ["", "app", "", "ws", "user"], false),
        ("app--agent--ws--user", ["", "app", "agent", "ws", "user"], false),
        ("8080--agent--ws--user", ["", "8080", "agent", "ws", "user"], true),
        ("8080s--agent--ws--user", ["", "8080s", "agent", "ws", "user"], true),
        ("65535s--agent--ws--user", ["", "65535s", "agent", "ws", "user"], true),
        ("99999--agent--ws--user", ["", "99999", "agent", "ws", "user"], true),
        // The control plane reads these as slugs.
        ("80--ws--user", ["", "80", "", "ws", "user"], false),
        ("808s--ws--user", ["", "808s", "", "ws", "user"], false),
        ("123456--ws--user", ["", "123456", "", "ws", "user"], false),
        ("8080ss--ws--user", ["", "8080ss", "", "ws", "user"], false),
        ("s--ws--user", ["", "s", "", "ws", "user"], false),
        ("8080-a--ws--user", ["", "8080-a", "", "ws", "user"], false),
        ("80--agent--ws--user", ["", "80", "agent", "ws", "user"], false),
        // A number in another part is a name.
        ("app--8080--user", ["", "app", "", "8080", "user"], false),
        ("app--8080--ws--user", ["", "app", "8080", "ws", "user"], false),
        ("my-app--w-s--us-er", ["", "my-app", "", "w-s", "us-er"], false),
        ("my-app--an-agent--w-s--us-er", ["", "my-app", "an-agent", "w-s", "us-er"], false),
        ("App--WS--User", ["", "App", "", "WS", "User"], false),
        ("pre---app--ws--user", ["pre---", "app", "", "ws", "user"], false),
        ("pre---8080--agent--ws--user", ["pre---", "8080", "agent", "ws", "user"], true),
        ("---app--ws--user", ["---", "app", "", "ws", "user"], false),
        ("pre------app--ws--user", ["pre------", "app", "", "ws", "user"], false),
        ("a--b---app--ws--user", ["a--b---", "app", "", "ws", "user"], false),
        (
            "dean---was---here---app--agent--ws--user",
            ["dean---was---here---", "app", "agent", "ws", "user"],
            false,
        ),
    ] {
        let name: AppName = label.parse().unwrap();
        assert_eq!(name.to_string(), label);
        assert_eq!(name.is_port(), is_port, "{label}");
        assert_eq!(name.agent.is_some(), !agent.is_empty(), "{label}");
        let parts = [
            &*name.prefix,
            &*name.slug_or_port,
            name.agent.as_deref().unwrap_or_default(),
            &*name.workspace,
            &*name.user,
        ];
        assert_eq!(parts, [prefix, slug_or_port, agent, workspace, user], "{label}");
    }
}

// scenario 249, 250
#[test]
fn a_wildcard_stands_for_one_label_or_its_start() {
    let hi = pattern("*.hi");
    for (host, captured) in [
        ("abcd.hi", Some("abcd")),
        ("ABcd.Hi", Some("ABcd")),
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
        assert_eq!(hi.capture(host), captured, "{host}");
    }
    for (text, host, captured) in [
        ("*a.hi.com", "123a.hi.com", Some("123")),
        ("*a.hi.com", "a.hi.com", None),
        ("*-test.hi.com", "app-test.hi.com", Some("app")),
        ("*-test.hi.com", "app.hi.com", None),
        ("*-Test.hi.com", "App-tEST.hi.com", Some("App")),
        ("*.Example.com:4444", "x.example.com", Some("x")),
    ] {
        assert_eq!(pattern(text).capture(host), captured);
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
    let suffixed = pattern("*--apps.example.com");
    assert_eq!(suffixed.host_of(&"x"), "x--apps.example.com");
    assert_eq!(suffixed.csp_source(), "*.example.com");
    assert_eq!(suffixed.to_string(), "*--apps.example.com");
    let port = suffixed.or_port(Some(4444));
    assert_eq!(port.host_of(&"x"), "x--apps.example.com:4444");
    assert_eq!(port.clone().or_port(Some(1)), port);
    assert_eq!(pattern("*.hi.com:9").csp_source(), "*.hi.com:9");
    // Printed as written, compared without case.
    assert_eq!(pattern("*.Apps.example.com").host_of(&"App--X"), "App--X.Apps.example.com");
    assert_eq!(pattern("*.Apps.example.com"), pattern("*.apps.EXAMPLE.com"));
    assert_ne!(pattern("*.apps.example.com"), pattern("*.apps.example.com:443"));
}

#[test]
fn urls_keep_the_case_of_their_host_and_compare_without_it() {
    let written = url("HTTPS://Sydney.Coder.com:8443?x=%2F");
    assert_eq!(written.to_string(), "https://Sydney.Coder.com:8443/?x=%2F");
    assert_eq!(written.authority(), "Sydney.Coder.com:8443");
    assert_eq!(written.origin(), "https://Sydney.Coder.com:8443");
    assert_eq!(written.host(), "sydney.coder.com");
    assert_eq!(written, url("https://sydney.coder.com:8443/?x=%2F"));
    assert_ne!(written, url("https://sydney.coder.com:8443/?X=%2F"));
    assert_ne!(written, url("https://sydney.coder.com:8444/?x=%2F"));
    assert!(written.is_on("SYDNEY.coder.com:1"));
    let moved = written.with_authority("Oslo.coder.com").unwrap();
    assert_eq!(moved.to_string(), "https://Oslo.coder.com/?x=%2F");
    assert_eq!(moved.with_authority("oslo").unwrap().to_string(), "https://oslo/?x=%2F");
}

// scenario 172, 177, 178
#[test]
fn a_host_names_the_dashboard_or_an_app_or_is_malformed() {
    let hosts = pattern("*.test.coder.com");
    let of = |host: &str| HostMeaning::of(host, Some(&hosts), ["dash.test.coder.com"]);
    assert_eq!(of("coder.com"), HostMeaning::Dashboard);
    assert_eq!(of("localhost"), HostMeaning::Dashboard);
    assert_eq!(of("Dash.Test.Coder.com:443"), HostMeaning::Dashboard);
    assert_eq!(of("coder-logout.test.coder.com"), HostMeaning::Logout);
    assert_eq!(of("Coder-Logout.test.coder.com"), HostMeaning::Logout);
    for label in ["not-an-app-subdomain", "8080--ws--user"] {
        let host = format!("{label}.test.coder.com");
        assert_eq!(of(&host), HostMeaning::Malformed(label.to_owned()));
    }
    for (host, name) in [
        ("APP--agent--ws--User.TEST.coder.com", "APP--agent--ws--User"),
        ("app--ws--user.test.coder.com.:8080", "app--ws--user"),
    ] {
        let HostMeaning::App(read) = of(host) else { panic!("{host}") };
        assert_eq!(read.to_string(), name);
    }
    assert_eq!(HostMeaning::of("a--b--c--d.test.coder.com", None, []), HostMeaning::Dashboard);
}

// scenario 220, 222, 223, 225, 228, 229
#[test]
fn credentials_are_sent_only_to_hosts_of_the_deployment() {
    let hosts = RedirectHosts::new(url("https://coder.com"), Some(pattern("*.test.coder.com")))
        .with_proxy(url("https://sydney.coder.com"), Some(pattern("*.sydney.coder.com")))
        .with_proxy(url("http://lab.example:8080"), Some(pattern("*--suffix.example")))
        .with_proxy(url("https://bare.example"), None);
    for (asked, granted) in [
        ("https://a--b--c--d.test.coder.com", "https://a--b--c--d.test.coder.com/"),
        ("http://a--b--c.test.coder.com/x", "https://a--b--c.test.coder.com/x"),
        ("https://A--B--c.Test.coder.com/x", "https://A--B--c.Test.coder.com/x"),
        ("https://x.sydney.coder.com/path?query=1", "https://x.sydney.coder.com/path?query=1"),
        ("https://SYDNEY.coder.com:443/x", "https://SYDNEY.coder.com:443/x"),
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
        "http://x--suffix.example:8081/",
        "https://x.bare.example/",
    ] {
        assert!(matches!(hosts.check(foreign), Err(Error::ForeignHost(_))), "{foreign}");
    }
    // The dashboard's own host is refused, even if a proxy's pattern matches it.
    for proxy in ["https://dash.coder.com:8443", "https://sydney.coder.com"] {
        let wide = RedirectHosts::new(url("https://dash.coder.com"), None)
            .with_proxy(url(proxy), Some(pattern("*.coder.com:443")));
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
fn a_visitor_returns_to_an_app_only_on_ports_of_its_pattern() {
    // Access URL, pattern, and whether each port of the host belongs to the deployment.
    let ports = ["", ":443", ":80", ":8443", ":4444"];
    for (access, hosts, accepted) in [
        ("https://coder.test", "*.x.test", [true, true, false, false, false]),
        ("https://coder.test:443", "*.x.test", [true, true, false, false, false]),
        ("https://coder.test:8443", "*.x.test", [true, true, false, true, false]),
        ("https://coder.test", "*.x.test:4444", [false, false, false, false, true]),
        ("https://coder.test:8443", "*.x.test:4444", [false, false, false, false, true]),
        ("https://coder.test:8443", "*.x.test:443", [true, true, false, false, false]),
        ("http://coder.test", "*.x.test", [true, false, true, false, false]),
        ("http://coder.test:8443", "*.x.test", [true, false, true, true, false]),
        ("http://coder.test:8443", "*--y.x.test", [true, false, true, true, false]),
    ] {
        let primary = RedirectHosts::new(url(access), Some(pattern(hosts)));
        let proxy =
            RedirectHosts::new(url("https://elsewhere.test"), Some(pattern("*.elsewhere.test")))
                .with_proxy(url(access), Some(pattern(hosts)));
        let host = hosts.split(':').next().unwrap().replace('*', "a--b--c");
        for (port, accepted) in ports.into_iter().zip(accepted) {
            for scheme in ["http", "https"] {
                let asked = format!("{scheme}://{host}{port}/");
                for deployments in [&primary, &proxy] {
                    let checked = deployments.check(&asked);
                    assert_eq!(checked.is_ok(), accepted, "{asked} of {access} and {hosts}");
                    let own = url(access);
                    assert!(checked.is_err() || checked.unwrap().scheme() == own.scheme());
                }
            }
        }
    }
}
