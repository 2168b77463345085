//! Logout tokens (OpenID Connect Back-Channel Logout 1.0, section 2.6)

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::time::Duration;

use common::*;
use oidc_client::{ProviderError, TokenError};
use serde_json::{Value, json};

#[tokio::test]
async fn a_logout_token_names_a_user_or_a_session() {
    let key = Key::new("k-1", "ES256");
    let provider = Fake::new(&[&key]).provider();
    let verify = async |change: fn(&mut Value)| {
        let mut claims = logout_claims();
        change(&mut claims);
        let header = json!({ "alg": "ES256", "kid": "k-1", "typ": "logout+jwt" });
        let token = key.sign_with(&header, &claims.to_string());
        provider.logout_token(&token, now()).await.unwrap()
    };
    let both = verify(|_| ()).await;
    assert_eq!((both.subject.as_deref(), both.session.as_deref()), (Some("u-1"), Some("s-1")));
    assert_eq!((&*both.id, both.issued_at), ("j-1", now()));
    assert_eq!(both.forget_at, now() + Duration::from_secs(900 + 120));
    let user = verify(|claims| drop(claims.as_object_mut().unwrap().remove("sid"))).await;
    assert_eq!((user.subject.as_deref(), user.session), (Some("u-1"), None));
    let session = verify(|claims| drop(claims.as_object_mut().unwrap().remove("sub"))).await;
    assert_eq!((session.subject, session.session.as_deref()), (None, Some("s-1")));
}

#[tokio::test]
async fn no_bad_logout_token_ends_a_session() {
    let (key, other) = (Key::new("k-1", "ES256"), Key::new("k-1", "ES256"));
    let provider = Fake::new(&[&key]).provider();
    let with = |name: &str, value: Value| {
        let mut claims = logout_claims();
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value,
        }
        key.sign(&claims.to_string())
    };
    let good = logout_claims().to_string();
    let neither = {
        let mut claims = logout_claims();
        claims.as_object_mut().unwrap().retain(|name, _| name != "sub" && name != "sid");
        key.sign(&claims.to_string())
    };
    let events = |value: Value| {
        with("events", json!({ "http://schemas.openid.net/event/backchannel-logout": value }))
    };
    use TokenError::*;
    for (what, token, expected) in [
        ("ID token", key.sign(&claims().to_string()), NotLogout),
        ("nonce", with("nonce", "n".into()), NotLogout),
        ("no events", with("events", Value::Null), NotLogout),
        ("other events", with("events", json!({ "x": {} })), NotLogout),
        ("event is not an object", events(json!([])), NotLogout),
        ("neither user nor session", neither, Missing { claim: "sub" }),
        ("no id", with("jti", Value::Null), Missing { claim: "jti" }),
        ("empty id", with("jti", "".into()), Missing { claim: "jti" }),
        ("session is not a text", with("sid", 1.into()), Missing { claim: "sid" }),
        ("issuer", with("iss", "https://evil.example".into()), Issuer),
        ("audience", with("aud", "other".into()), Audience),
        ("expired", with("exp", (NOW - 60).into()), Expired),
        ("no end", with("exp", Value::Null), Missing { claim: "exp" }),
        ("no time", with("iat", Value::Null), Missing { claim: "iat" }),
        ("from the future", with("iat", (NOW + 61).into()), NotYetValid),
        ("too old", with("iat", (NOW - 961).into()), TooOld),
        ("other key", other.sign(&good), Signature),
        ("HMAC with the public key", hmac_with_public_key(&key, &good), Algorithm),
    ] {
        match provider.logout_token(&token, now()).await {
            Err(ProviderError::Token(error)) => assert_eq!(error, expected, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    // Without the id of a key, the only key that fits is used.
    let token = key.sign_with(&json!({ "alg": "ES256" }), &good);
    provider.logout_token(&token, now()).await.unwrap();
}
