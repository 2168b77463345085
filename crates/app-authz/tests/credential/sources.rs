//! The parts of a request that carry session tokens

use app_authz::Error;
use app_authz::address::HostPattern;
use app_authz::app::AccessMethod;
use app_authz::credential::{Carried, CookieNames, MAX_TOKENS, SessionToken, Source};
use proptest::prelude::*;

use super::{OTHER, TOKEN, token};

fn names() -> CookieNames {
    CookieNames::new("", Some(&"*.test.coder.com".parse().unwrap()))
}

#[test]
fn the_name_of_a_cookie_depends_on_the_app_hosts() {
    let names = names();
    assert_eq!(names.session(), "coder_session_token");
    assert_eq!(names.app_session(AccessMethod::Path), "coder_path_app_session_token");
    assert_eq!(names.app_session(AccessMethod::Terminal), "coder_path_app_session_token");
    let subdomain = names.app_session(AccessMethod::Subdomain);
    let suffix = subdomain.strip_prefix("coder_subdomain_app_session_token_").unwrap();
    assert_eq!(suffix.len(), 32);
    let other: HostPattern = "*.sydney.coder.com".parse().unwrap();
    assert_ne!(CookieNames::new("", Some(&other)).app_session(AccessMethod::Subdomain), subdomain);
    assert_eq!(CookieNames::new("dev_", None).session(), "dev_coder_session_token");
}

// scenario 84
#[test]
fn only_the_first_source_counts_for_the_control_plane() {
    let bearer = format!("bEaReR {OTHER}");
    let mut carried = Carried {
        cookies: vec![("x", "y"), ("coder_session_token", TOKEN)],
        query: vec![("access_token", OTHER), ("coder_session_token", TOKEN)],
        session_header: Some(TOKEN),
        authorization: Some(&bearer),
    };
    let source = |carried: &Carried<'_>| {
        carried.session_tokens(&names()).unwrap().first().map(|found| found.0)
    };
    assert_eq!(source(&carried), Some(Source::SessionCookie));
    carried.cookies = vec![("coder_session_token", "")];
    assert_eq!(source(&carried), Some(Source::SessionParameter));
    carried.query.pop();
    assert_eq!(source(&carried), Some(Source::SessionHeader));
    carried.session_header = Some("");
    assert_eq!(source(&carried), Some(Source::Bearer));
    carried.authorization = Some("Basic abc");
    assert_eq!(source(&carried), Some(Source::AccessTokenParameter));
    carried.query.clear();
    assert_eq!(source(&carried), None);

    carried.session_header = Some("nonsense");
    carried.query = vec![("access_token", TOKEN)];
    assert_eq!(carried.session_tokens(&names()), Err(Error::InvalidSessionToken));
    for odd in ["Bearer", "", "Bearé x", "Bearer"] {
        carried = Carried { authorization: Some(odd), ..Carried::default() };
        assert_eq!(source(&carried), None, "{odd}");
    }
}

#[test]
fn a_cookie_bound_to_its_host_takes_precedence() {
    for prefix in ["", "dev_"] {
        let names = CookieNames::new(prefix, None);
        let cookies = vec![(names.session(), OTHER), (names.host_session(), TOKEN)];
        let mut carried = Carried { cookies, ..Carried::default() };
        let bound = (Source::HostSessionCookie, token(TOKEN));
        let plain = (Source::SessionCookie, token(OTHER));
        assert_eq!(carried.session_tokens(&names), Ok(vec![bound, plain.clone()]));
        let found = carried.app_session_tokens(&names, AccessMethod::Path);
        let tokens: Vec<SessionToken> = found.into_iter().map(|(_, token)| token).collect();
        assert_eq!(tokens, [token(TOKEN), token(OTHER)]);
        carried.cookies.pop();
        assert_eq!(carried.session_tokens(&names), Ok(vec![plain]));
    }
}

// scenario 105, 112
#[test]
fn an_app_may_use_authorization_for_itself() {
    let names = names();
    let cookie = names.app_session(AccessMethod::Subdomain);
    let carried = Carried {
        cookies: vec![(cookie, TOKEN), ("coder_session_token", OTHER), (cookie, TOKEN)],
        authorization: Some("Bearer x.y.z"),
        ..Carried::default()
    };
    let found = carried.app_session_tokens(&names, AccessMethod::Subdomain);
    let sources: Vec<Source> = found.iter().map(|(source, _)| *source).collect();
    assert_eq!(sources, [Source::AppCookie, Source::SessionCookie]);
    assert_eq!(found[0].1, token(TOKEN));
    let by_path = carried.app_session_tokens(&names, AccessMethod::Path);
    assert_eq!(by_path, [(Source::SessionCookie, token(OTHER))]);
    assert_eq!(Carried::default().app_session_tokens(&names, AccessMethod::Path), []);

    // The number of tokens is limited.
    let many: Vec<String> = (0..100).map(|n| format!("{n:010}-abcdefghijklmnopqrstuv")).collect();
    let cookies = many.iter().map(|text| (cookie, &**text)).collect();
    let bomb = Carried { cookies, ..Carried::default() };
    assert_eq!(bomb.app_session_tokens(&names, AccessMethod::Subdomain).len(), MAX_TOKENS);
}

/// Sibling hosts can set any number of cookies, also before the user's own
#[test]
fn cookies_of_sibling_hosts_do_not_hide_others() {
    let names = names().secure(true);
    let junk: Vec<String> = (0..100).map(|n| format!("{n:010}-abcdefghijklmnopqrstuv")).collect();
    let method = AccessMethod::Subdomain;
    let host = names.host_app_session(method).unwrap();
    let all = |name: &'static str, last: &'static str| -> Vec<(&str, &str)> {
        let planted = junk.iter().map(|text| (name, &**text));
        planted.chain([(last, TOKEN)]).collect()
    };
    let before = "coder_subdomain_app_session_token";
    let carried = Carried { cookies: all(before, host), ..Carried::default() };
    let found = carried.app_session_tokens(&names, method);
    assert_eq!((&found[0], found.len()), (&(Source::HostAppCookie, token(TOKEN)), 1 + MAX_TOKENS));
    let carried = Carried { session_header: Some(TOKEN), cookies: all(before, "x"), ..carried };
    let found = carried.app_session_tokens(&names, method);
    assert_eq!(found[MAX_TOKENS], (Source::SessionHeader, token(TOKEN)));
    // At the dashboard, what is not a token does not hide one either.
    let cookies = vec![("coder_session_token", "junk"), ("coder_session_token", TOKEN)];
    let carried = Carried { cookies, ..Carried::default() };
    assert_eq!(carried.session_tokens(&names), Ok(vec![(Source::SessionCookie, token(TOKEN))]));
    let cookies = vec![("coder_session_token", "junk")];
    let carried = Carried { cookies, session_header: Some(TOKEN), ..Carried::default() };
    assert_eq!(carried.session_tokens(&names), Err(Error::InvalidSessionToken));
}

#[test]
fn only_secure_cookies_are_bound_to_their_host() {
    use AccessMethod::{Path, Subdomain, Terminal};
    let (plain, secure) = (names(), names().secure(true));
    for method in [Path, Subdomain, Terminal] {
        assert_eq!(plain.host_app_session(method), None);
        assert!(secure.host_app_session(method).unwrap().starts_with("__Host-"));
        assert_eq!(plain.signed_app_token(method), "coder_signed_app_token");
    }
    // The cookie of an app by path has the path of the app.
    assert_eq!(secure.signed_app_token(Path), "coder_signed_app_token");
    assert_eq!(secure.signed_app_token(Subdomain), "__Host-coder_signed_app_token");
    assert_eq!(plain.new_session(), "coder_session_token");
    assert_eq!(secure.new_session(), "__Host-coder_session_token");
    assert_eq!(plain.sign_in(), "authd_sign_in");
    assert_eq!(secure.sign_in(), "__Host-authd_sign_in");
}

proptest! {
    #[test]
    fn only_the_form_parses_and_nothing_panics(text in any::<String>(), near in "[a-z0-9-]{30,36}") {
        for text in [text, near] {
            let valid = text.len() == 33 && text.as_bytes()[10] == b'-'
                && text.bytes().enumerate().all(|(at, b)| at == 10 || b.is_ascii_alphanumeric());
            prop_assert_eq!(text.parse::<SessionToken>().is_ok(), valid);
            let carried = Carried { authorization: Some(&text), ..Carried::default() };
            let _ = carried.session_tokens(&names());
        }
    }
}
