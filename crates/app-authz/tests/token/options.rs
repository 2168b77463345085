//! How long a token is good, and the session that it names

use app_authz::token::{LEEWAY, TOKEN_LIFETIME, TokenError, TokenOptions};
use serde_json::{Value, json};

use super::{HEADER, claims, mint, now, request, ring, seconds, sign, sign_with, verify};

/// The claims that a token is signed with
fn signed(token: &str) -> Value {
    use base64::Engine;
    let payload = token.split('.').nth(1).unwrap();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

#[test]
fn a_token_names_the_session_that_it_was_decided_for() {
    assert!(signed(&sign(request(), now())).get("sid").is_none());
    assert_eq!(verify(&sign(request(), now())).unwrap().session(), None);
    for (session, named) in [
        (Some("abcDEF0123"), Some("abcDEF0123")),
        (None, None),
        // These are not ids of session tokens.
        (Some(""), None),
        (Some("abcDEF012"), None),
        (Some("abcDEF01234"), None),
        (Some("abcDEF012\""), None),
        (Some("abcDEF01é"), None),
    ] {
        let options = TokenOptions::default().session(session);
        let token = sign_with(request(), options, now());
        assert_eq!(signed(&token)["sid"].as_str(), named, "{session:?}");
        assert_eq!(verify(&token).unwrap().session(), named, "{session:?}");
    }
}

#[test]
fn a_token_for_another_base_path_names_the_same_session() {
    let options = TokenOptions::default().session("abcDEF0123");
    let token = sign_with(request(), options, now());
    let rebased = ring().rebase(&token, "/other/", now(), LEEWAY).unwrap();
    assert_eq!(rebased.token().session(), Some("abcDEF0123"));
    assert_eq!(verify(rebased.reveal()).as_ref(), Ok(&**rebased.token()));
}

#[test]
fn a_token_that_names_no_session_token_is_refused() {
    for (sid, accepted) in [
        (json!("abcDEF0123"), true),
        (Value::Null, true),
        (json!(""), false),
        (json!("abcDEF012-"), false),
        (json!("a".repeat(4000)), false),
        (json!(1), false),
        (json!(["abcDEF0123"]), false),
    ] {
        let mut claims = claims();
        claims["sid"] = sid.clone();
        let verified = verify(&mint(HEADER, &claims.to_string()));
        match accepted {
            true => assert_eq!(verified.unwrap().session(), sid.as_str()),
            false => assert_eq!(verified, Err(TokenError::Claims), "{sid}"),
        }
    }
}

#[test]
fn a_token_is_good_for_as_long_as_asked_and_a_minute_at_most() {
    for (asked, lasts) in [(5, 5), (59, 59), (60, 60), (61, 60), (3600, 60)] {
        let options = TokenOptions::default().lifetime(seconds(asked));
        let token = verify(&sign_with(request(), options, now())).unwrap();
        assert_eq!(token.expires_at(), now() + seconds(lasts), "{asked}");
    }
    assert_eq!(TokenOptions::default().lifetime, TOKEN_LIFETIME);
}
