//! What an app must not see of a visitor's request, and must not set in its answer

use app_authz::app::AccessMethod;
use app_authz::credential::{CookieNames, Withheld};
use proptest::prelude::*;

use super::TOKEN;

/// Without a prefix, with one, and with one that browsers know
fn names() -> [CookieNames; 3] {
    ["", "dev_", "__Secure-"].map(|prefix| {
        CookieNames::new(prefix, Some(&"*.test.coder.com".parse().unwrap())).secure(true)
    })
}

// scenario 184
#[test]
fn no_cookie_that_signs_a_visitor_in_reaches_an_app() {
    for names in names() {
        let withheld = Withheld::new(&names);
        let own = names.app_session(AccessMethod::Subdomain);
        for name in [
            own,
            names.session(),
            names.host_session(),
            names.new_session(),
            names.app_session(AccessMethod::Path),
            names.signed_app_token(AccessMethod::Path),
            names.signed_app_token(AccessMethod::Subdomain),
            names.host_app_session(AccessMethod::Path).unwrap(),
            names.host_app_session(AccessMethod::Subdomain).unwrap(),
            names.sign_in(),
            "coder_session_token",
            "coder_path_app_session_token",
            "coder_subdomain_app_session_token",
            "coder_subdomain_app_session_token_0011",
            "coder_signed_app_token",
            "authd_sign_in",
            "oauth_state",
            "oauth_redirect",
        ] {
            let more = if name.starts_with("__") { 1 } else { 5 };
            for prefix in &["", "__Host-", "__Secure-", "__host-", "__SECURE-"][..more] {
                for pair in [
                    format!("{prefix}{name}=x"),
                    format!(" {prefix}{name} = x"),
                    format!("\t{prefix}{name}"),
                    format!("{prefix}{name}==\"x\""),
                    format!("{prefix}{name}=x=y"),
                ] {
                    assert!(withheld.cookie(pair.as_bytes()), "{pair}");
                }
            }
        }
        let opaque = b"coder_session_token=\xff";
        assert!(withheld.cookie(opaque));
        for pair in [
            "",
            "=",
            "=coder_session_token",
            "session=x",
            "coder_session_token2=x",
            "xcoder_session_token=x",
            "own__Secure-coder_session_token=x",
            // Nothing reads a name in another case.
            "CODER_SESSION_TOKEN=x",
            "value=coder_session_token",
            "oauth_state2=x",
        ] {
            assert!(!withheld.cookie(pair.as_bytes()), "{pair}");
        }
        assert!(!withheld.cookie(b"\xff=x"));
    }
    // The prefix of the deployment, before and after one that browsers know
    let names = CookieNames::new("dev_", None);
    for pair in ["dev___Host-coder_session_token=x", "__Host-dev_coder_session_token=x"] {
        assert!(Withheld::new(&names).cookie(pair.as_bytes()), "{pair}");
    }
}

#[test]
fn headers_that_authd_sets_and_those_that_imitate_them_are_withheld() {
    for (name, is_withheld, is_imitation) in [
        ("Coder-Session-Token", true, false),
        ("coder-session-token", true, false),
        ("CODER_SESSION_TOKEN", true, false),
        ("Coder.Session.Token", true, false),
        ("X-Authd-User", true, false),
        ("x-authd-app-url", true, false),
        ("X-AUTHD-NEW", true, false),
        ("X-Authd-", true, false),
        ("X_Authd_User", true, true),
        ("x_authd_user", true, true),
        ("X-Authd_User", true, true),
        ("X_Authd-Agent-Id", true, true),
        ("X-Authd-App_Url", true, true),
        ("X.Authd.User", true, true),
        ("X~Authd!User", true, true),
        ("X-Authd", false, false),
        ("X-AuthdUser", false, false),
        ("X--Authd-User", false, false),
        ("My-X-Authd-User", false, false),
        ("Coder-Session-Token-2", false, false),
        ("Authorization", false, false),
        ("Cookie", false, false),
        ("", false, false),
    ] {
        assert_eq!(Withheld::header(name), is_withheld, "{name}");
        assert_eq!(Withheld::is_imitation(name), is_imitation, "{name}");
    }
}

#[test]
fn an_authorization_with_a_session_token_is_withheld() {
    for before in ["Bearer ", "bearer  ", "BEARER\t", "Token ", "", "Bearer \"", "Bearer token="] {
        for after in ["", " ", "\"", ", x", ";"] {
            let value = format!("{before}{TOKEN}{after}");
            assert!(Withheld::authorization(value.as_bytes()), "{value}");
        }
    }
    assert!(Withheld::authorization(format!("Bearer \u{ff},{TOKEN}").as_bytes()));
    for own in [
        "",
        "Bearer",
        "Bearer x.y.z",
        "Basic YWxpY2U6c2VjcmV0",
        "Bearer 0123456789",
        &format!("Bearer {TOKEN}x"),
        &format!("Bearer x{TOKEN}"),
        // A signed token of an app may have such a part at random.
        &format!("Bearer aaaa.bbbb.{TOKEN}_cc"),
        &format!("Bearer aaaa.bbbb.{TOKEN}"),
    ] {
        assert!(!Withheld::authorization(own.as_bytes()), "{own}");
    }
}

#[test]
fn a_query_loses_what_signs_its_visitor_in_and_nothing_else() {
    let access = format!("access_token={TOKEN}");
    let escaped = format!("access%5ftoken=%22{}%22", TOKEN.replace('-', "%2D"));
    for (query, open) in [
        ("", ""),
        ("a=%2F&b+c=d&&e", "a=%2F&b+c=d&&e"),
        ("coder_session_token=x&a=1", "a=1"),
        ("a=1&coder%5Fsession_token=x", "a=1"),
        ("a=1&%63oder%5fsession%5Ftoken=x&b", "a=1&b"),
        ("coder_session_token=x&a&coder_session_token=y&coder_session_token", "a"),
        ("coder_signed_app_token_23db1dde=x", ""),
        ("coder_application_connect_api_key_35e783=x&z", "z"),
        ("a&coder_session_token=", "a"),
        (&format!("{access}&a"), "a"),
        (&format!("a&{escaped}"), "a"),
        (&format!("access_token=+{TOKEN}+"), ""),
        // Theirs
        ("access_token=theirs", "access_token=theirs"),
        ("access_token=a.b.c", "access_token=a.b.c"),
        ("Coder_Session_Token=x", "Coder_Session_Token=x"),
        ("coder_session_token%00=x", "coder_session_token%00=x"),
        ("coder+session+token=x", "coder+session+token=x"),
        ("x=coder_session_token", "x=coder_session_token"),
        ("%zz=%&%4", "%zz=%&%4"),
    ] {
        assert_eq!(Withheld::query(query), open, "{query}");
        let is_named_alone = query.ends_with("_token=");
        assert_eq!(Withheld::holds_token(query), open != query && !is_named_alone, "{query}");
    }
    for empty in ["coder_session_token=", "coder_session_token", "access_token="] {
        assert!(!Withheld::holds_token(empty), "{empty}");
    }
    assert!(Withheld::parameter("coder_session_token", "") && !Withheld::parameter("a", TOKEN));
    assert!(Withheld::parameter("access_token", TOKEN));
    assert!(!Withheld::parameter("access_token", "x"));
}

#[test]
fn an_app_sets_cookies_of_its_own_for_its_own_host() {
    for names in names() {
        let withheld = Withheld::new(&names);
        for name in [
            names.session(),
            names.app_session(AccessMethod::Subdomain),
            names.host_session(),
            names.sign_in(),
            "coder_session_token",
            "coder_session_token_2",
            "Coder_Session_Token",
            "__Host-coder_session_token",
            "__HOST-CODER_SIGNED_APP_TOKEN",
            "__secure-coder_path_app_session_token",
            "coder_subdomain_app_session_token_ff",
            "coder_signed_app_token",
            "authd_sign_in",
            "authd_anything",
            "oauth_state",
            "__Host-oauth_redirect",
        ] {
            for set in [
                format!("{name}=x"),
                format!("{name}=x; Path=/; HttpOnly"),
                format!("  {name} =x"),
                format!("\t{name}=x"),
                // A browser sends a cookie without a name as its value alone.
                format!("={name}=x"),
                format!(" = {name}=x; Path=/"),
                name.to_owned(),
            ] {
                assert_eq!(withheld.set_cookie(set.as_bytes()), None, "{set}");
            }
        }
        for (set, kept) in [
            ("theme=dark", "theme=dark"),
            ("theme=dark; Path=/; Max-Age=60; Secure", "theme=dark; Path=/; Max-Age=60; Secure"),
            ("oauth_state2=x", "oauth_state2=x"),
            ("xcoder_session_token=x", "xcoder_session_token=x"),
            ("a=coder_session_token", "a=coder_session_token"),
            ("a=domain=x", "a=domain=x"),
            ("domain=x; path=/", "domain=x; path=/"),
            ("a=b; Domain=example.com", "a=b"),
            ("a=b;domain=example.com;Path=/", "a=b;Path=/"),
            ("a=b; DOMAIN = .example.com ; Path=/; \tDomain=b", "a=b; Path=/"),
            ("a=b; Domain; Path=/", "a=b; Path=/"),
            ("a=b; Domains=x", "a=b; Domains=x"),
            ("", ""),
            ("=", "="),
        ] {
            let found = withheld.set_cookie(set.as_bytes());
            assert_eq!(found.as_deref(), Some(kept.as_bytes()), "{set}");
        }
        assert_eq!(withheld.set_cookie(b"a=\xff; Domain=\xfe").unwrap().as_ref(), b"a=\xff");
    }
}

proptest! {
    /// What a carrier passes on has nothing left that another look would take away
    #[test]
    fn what_is_left_is_left_by_a_second_look(
        query in "([a-z=&%+]|coder_session_token|access_token=|0123456789-abcdefghijklmnopqrstuv){0,12}",
        set in "([a-zA-Z=; ]|coder_session_token|__Host-|Domain=){0,12}",
    ) {
        let once = Withheld::query(&query).into_owned();
        prop_assert_eq!(Withheld::query(&once), &*once);
        prop_assert!(!Withheld::holds_token(&once));
        let names = CookieNames::new("", None);
        let withheld = Withheld::new(&names);
        if let Some(once) = withheld.set_cookie(set.as_bytes()) {
            prop_assert_eq!(withheld.set_cookie(&once), Some(once.clone()));
        }
    }
}
