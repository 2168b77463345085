//! The whole flow, over a provider in memory

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use common::*;
use oidc_client::{
    Callback, Identity, Metadata, MetadataError, Provider, ProviderError, Refused, TokenError,
    UrlError,
};
use openssl::sha::{sha256, sha512};
use serde_json::{Value, json};

fn callback() -> Callback {
    Callback::parse(&format!("code=c-1&state={}", part(0))).unwrap()
}

async fn finish(provider: &Provider<Fake>) -> Result<Identity, ProviderError> {
    provider.finish(&flow(), &callback(), now()).await.map(Result::unwrap)
}

#[tokio::test]
async fn a_browser_signs_in() {
    for algorithm in ["RS256", "PS256", "ES256", "EdDSA"] {
        let key = Key::new("k-1", algorithm);
        let fake = Fake::new(&[&Key::new("k-0", "RS256"), &key]);
        let provider = fake.provider();
        let url = provider.begin(&flow(), now()).await.unwrap();
        let challenge = URL_SAFE_NO_PAD.encode(sha256(part(2).as_bytes()));
        assert_eq!(
            url,
            format!(
                "https://id.example/auth?x=1&response_type=code&client_id=authd\
                 &redirect_uri=https%3A%2F%2Fauthd.example%2Fcallback\
                 &scope=openid+profile+email&state={}&nonce={}\
                 &code_challenge={challenge}&code_challenge_method=S256",
                part(0),
                part(1)
            )
        );

        let mut with_hash = claims();
        let hash = match algorithm {
            "EdDSA" => sha512(ACCESS_TOKEN.as_bytes())[..32].to_vec(),
            _ => sha256(ACCESS_TOKEN.as_bytes())[..16].to_vec(),
        };
        with_hash["at_hash"] = URL_SAFE_NO_PAD.encode(hash).into();
        with_hash["realm"] = json!({ "roles": ["a", 1, "b"] });
        fake.set(|state| state.tokens = Some(tokens(&key.sign(&with_hash.to_string()))));
        let identity = finish(&provider).await.unwrap();
        assert_eq!((identity.issuer(), identity.subject()), (ISSUER, "u-1"));
        assert_eq!(identity.session(), Some("s-1"));
        assert_eq!(identity.list("realm.roles"), Some(vec!["a", "b"]));
        assert_eq!((identity.list("groups"), identity.text("email")), (None, None));
        // Documents are fetched once.
        assert_eq!(fake.fetched(), ["openid-configuration", "keys", "token"], "{algorithm}");
        let request = fake.set(|state| state.asked.pop()).unwrap();
        let form = request.form.clone().unwrap();
        assert_eq!(
            form,
            format!(
                "grant_type=authorization_code&code=c-1\
                 &redirect_uri=https%3A%2F%2Fauthd.example%2Fcallback&code_verifier={}",
                part(2)
            )
        );
        let basic = STANDARD.encode("authd:se+cret%3A%26");
        assert!(request.headers.contains(&("authorization", format!("Basic {basic}"))));
        let printed = format!("{request:?} {:?}", client());
        assert!(!printed.contains("se cret") && !printed.contains("Basic"), "{printed}");
    }
}

#[tokio::test]
async fn claims_of_the_userinfo_are_added_to_those_that_are_signed() {
    let key = Key::new("k-1", "ES256");
    let fake = Fake::new(&[&key]);
    let mut signed = claims();
    signed["email"] = "signed@example.com".into();
    fake.set(|state| {
        state.discovery["userinfo_endpoint"] = "https://id.example/me".into();
        state.discovery["token_endpoint_auth_methods_supported"] = json!(["client_secret_post"]);
        state.tokens = Some(tokens(&key.sign(&signed.to_string())));
    });
    let userinfo = |claims: Value| fake.set(|state| state.userinfo = Some(claims.to_string()));
    let provider = fake.provider();
    userinfo(json!({ "sub": "u-1", "email": "other@example.com", "groups": "one" }));
    let identity = finish(&provider).await.unwrap();
    assert_eq!(identity.text("email"), Some("signed@example.com"));
    assert_eq!(identity.list("groups"), Some(vec!["one"]));
    let asked = fake.set(|state| state.asked.clone());
    let form = asked.iter().find_map(|request| request.form.clone()).unwrap();
    assert!(form.ends_with("&client_id=authd&client_secret=se+cret%3A%26"), "{form}");
    let bearer = ("authorization", "Bearer access".to_owned());
    assert!(asked.last().unwrap().headers.contains(&bearer));

    userinfo(json!({ "sub": "u-2" }));
    assert!(matches!(finish(&provider).await, Err(ProviderError::OtherUser)));
    fake.set(|state| state.userinfo = None);
    let error = finish(&provider).await.unwrap_err();
    assert_eq!((error.class(), error.is_of_provider()), ("provider_unavailable", true));
}

/// What is wrong with ID tokens; each is otherwise good
#[tokio::test]
async fn no_bad_id_token_signs_in() {
    let (key, other) = (Key::new("k-1", "RS256"), Key::new("k-1", "RS256"));
    let ecdsa = Key::new("k-2", "ES256");
    let fake = Fake::new(&[&key, &ecdsa]);
    let provider = fake.provider();
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value,
        }
        key.sign(&claims.to_string())
    };
    let good = claims().to_string();
    let header = |header: Value| key.sign_with(&header, &good);
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let twice = good.replacen('{', r#"{"sub":"u-0","#, 1);
    let tampered = {
        let signed = key.sign(&good);
        let (head, signature) = signed.rsplit_once('.').unwrap();
        let head = head.split_once('.').unwrap().0;
        format!("{head}.{}.{signature}", part(&good.replace("u-1", "u-2")))
    };
    use TokenError::*;
    let malformed = |error: &TokenError| matches!(error, Malformed(_));
    for (what, token, expected) in [
        ("alg none", format!("{}.{}.", part(r#"{"alg":"none"}"#), part(&good)), Algorithm),
        ("HMAC with the public key", hmac_with_public_key(&key, &good), Algorithm),
        ("RS512", header(json!({ "alg": "RS512", "kid": "k-1" })), Algorithm),
        ("PS256 of a key for RS256", header(json!({ "alg": "PS256", "kid": "k-1" })), UnknownKey),
        ("another kind of key", header(json!({ "alg": "ES256", "kid": "k-2" })), Signature),
        ("unknown key", header(json!({ "alg": "RS256", "kid": "k-9" })), UnknownKey),
        ("same id, other key", other.sign(&good), Signature),
        ("tampered", tampered, Signature),
        ("issuer", with("iss", "https://id.example/realms/main/".into()), Issuer),
        ("no issuer", with("iss", Value::Null), Missing { claim: "iss" }),
        ("audience", with("aud", "other".into()), Audience),
        ("further audience", with("aud", json!([CLIENT, "other"])), Audience),
        ("no audience in the list", with("aud", json!([])), Audience),
        ("no audience", with("aud", Value::Null), Missing { claim: "aud" }),
        ("client", with("azp", "other".into()), AuthorizedParty),
        ("expired", with("exp", (NOW - 60).into()), Expired),
        ("no end", with("exp", Value::Null), Missing { claim: "exp" }),
        ("end as a text", with("exp", "1800000300".into()), Missing { claim: "exp" }),
        ("not issued yet", with("iat", (NOW + 61).into()), NotYetValid),
        ("not valid yet", with("nbf", (NOW + 61).into()), NotYetValid),
        ("issued long ago", with("iat", (NOW - 661).into()), TooOld),
        ("no time", with("iat", Value::Null), Missing { claim: "iat" }),
        ("nonce", with("nonce", "n".into()), Nonce),
        ("no nonce", with("nonce", Value::Null), Missing { claim: "nonce" }),
        ("access token", with("at_hash", "AAAA".into()), AccessToken),
        ("hash is not a text", with("at_hash", 1.into()), AccessToken),
        ("no subject", with("sub", Value::Null), Missing { claim: "sub" }),
        ("empty subject", with("sub", "".into()), Missing { claim: "sub" }),
        ("long subject", with("sub", "s".repeat(256).into()), Missing { claim: "sub" }),
        ("subject with a null", with("sub", "u\0".into()), Missing { claim: "sub" }),
        (
            "logout token",
            {
                let mut claims = logout_claims();
                claims["iat"] = NOW.into();
                key.sign(&claims.to_string())
            },
            Missing { claim: "nonce" },
        ),
    ] {
        fake.set(|state| state.tokens = Some(tokens(&token)));
        match finish(&provider).await {
            Err(ProviderError::Token(error)) => assert_eq!(error, expected, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    for (what, token) in [
        ("empty", String::new() + "."),
        ("two segments", "e30.e30".to_owned()),
        ("crit", header(json!({ "alg": "RS256", "kid": "k-1", "crit": ["x"], "x": 1 }))),
        ("another type", header(json!({ "alg": "RS256", "kid": "k-1", "typ": "logout+jwt" }))),
        ("a number as the id of the key", header(json!({ "alg": "RS256", "kid": 1 }))),
        ("a claim twice", key.sign(&twice)),
        ("a list", key.sign("[]")),
        ("oversized", key.sign(&format!("{{\"x\":\"{}\"}}", "x".repeat(64 << 10)))),
        ("a date beyond all calendars", with("exp", json!(1e14))),
        ("padding", key.sign(&good) + "="),
    ] {
        fake.set(|state| state.tokens = Some(tokens(&token)));
        match finish(&provider).await {
            Err(ProviderError::Token(error)) => assert!(malformed(&error), "{what}: {error:?}"),
            other => panic!("{what}: {other:?}"),
        }
    }
    for answer in ["", "{}", "[]", r#"{"id_token":"a.b.c","token_type":"DPoP"}"#] {
        fake.set(|state| state.tokens = Some(answer.to_owned()));
        assert!(matches!(finish(&provider).await, Err(ProviderError::Answer { .. })), "{answer}");
    }
    // Times within the leeway, fractions, and the only audience of a list.
    for token in [
        with("exp", (NOW - 59).into()),
        with("iat", (NOW + 60).into()),
        with("iat", json!(1_800_000_000.5)),
        with("aud", json!([CLIENT])),
        with("azp", CLIENT.into()),
    ] {
        fake.set(|state| state.tokens = Some(tokens(&token)));
        finish(&provider).await.unwrap();
    }
}

#[tokio::test]
async fn keys_are_fetched_again_when_they_rotate_and_not_for_every_stranger() {
    let (old, new) = (Key::new("k-1", "ES256"), Key::new("k-2", "ES256"));
    let fake = Fake::new(&[&old]);
    let provider = fake.provider();
    let logout = async |key: &Key, seconds: u64| {
        let at = now() + Duration::from_secs(seconds);
        provider.logout_token(&key.sign(&logout_claims().to_string()), at).await
    };
    let unknown = |outcome: Result<_, ProviderError>| {
        matches!(outcome, Err(ProviderError::Token(TokenError::UnknownKey)))
    };
    logout(&old, 0).await.unwrap();
    assert!(unknown(logout(&new, 1).await) && unknown(logout(&new, 9).await));
    assert_eq!(fake.fetched().len(), 2, "not within ten seconds");
    fake.set(|state| state.keys = set(&[&new]));
    logout(&new, 10).await.unwrap();
    assert!(unknown(logout(&old, 11).await), "a key that was withdrawn");
    assert_eq!(fake.fetched().len(), 4);

    // While the provider is down, what was fetched stays in use for a day.
    fake.set(|state| state.is_down = true);
    let begin = async |seconds: u64| {
        provider.begin(&flow(), now() + Duration::from_secs(10 + seconds)).await.map(drop)
    };
    begin(3_599).await.unwrap();
    assert_eq!(fake.fetched().len(), 4);
    for seconds in [3_600, 86_399] {
        begin(seconds).await.unwrap();
    }
    assert_eq!(fake.fetched().len(), 6);
    let error = begin(86_400).await.unwrap_err();
    assert!(matches!(error, ProviderError::TriedBefore), "{error:?}");
    let error = begin(86_500).await.unwrap_err();
    assert!(matches!(error, ProviderError::Fetch { what: "discovery document", .. }), "{error:?}");
    assert!(error.is_of_provider());
}

#[tokio::test]
async fn callers_share_one_fetch() {
    let fake = Fake::new(&[&Key::new("k-1", "ES256")]);
    let provider = fake.provider();
    let flow = flow();
    let begin = || provider.begin(&flow, now());
    let (a, b, c) = tokio::join!(begin(), begin(), begin());
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(fake.fetched(), ["openid-configuration", "keys"]);
}

#[tokio::test]
async fn answers_of_other_browsers_and_issuers_are_refused_before_anything_is_sent() {
    let key = Key::new("k-1", "ES256");
    let fake = Fake::new(&[&key]);
    let provider = fake.provider();
    let state = part(0);
    let finish = async |query: &str| {
        let callback = Callback::parse(query).unwrap();
        provider.finish(&flow(), &callback, now()).await.unwrap().unwrap_err()
    };
    let by_provider = |error: &str| Refused::ByProvider { error: error.to_owned() };
    for (query, expected) in [
        ("code=c".to_owned(), Refused::OtherFlow),
        (format!("code=c&state={}", part(1)), Refused::OtherFlow),
        (format!("code=c&state={state}&iss=https://evil.example"), Refused::OtherIssuer),
        (format!("code=&state={state}"), Refused::NoCode),
        (format!("code={}&state={state}", "c".repeat(5_000)), Refused::NoCode),
        (format!("error=access_denied&state={state}"), by_provider("access_denied")),
        (format!("error=<b>Call 555!</b>&state={state}"), by_provider("")),
        ("error=access_denied&state=x".to_owned(), Refused::OtherFlow),
    ] {
        assert_eq!(finish(&query).await, expected, "{query}");
    }
    for query in ["", "state=x", "code=a&code=b", "code=a&state=x&state=y"] {
        assert_eq!(Callback::parse(query), None, "{query}");
    }
    assert_eq!(fake.fetched().len(), 2, "nothing was sent to the token endpoint");

    let provider = fake.provider();
    fake.set(|state| {
        state.discovery["authorization_response_iss_parameter_supported"] = true.into();
        state.tokens = Some(tokens(&key.sign(&claims().to_string())));
    });
    let finish = async |query: &str| {
        provider.finish(&flow(), &Callback::parse(query).unwrap(), now()).await.unwrap()
    };
    assert_eq!(finish(&format!("code=c&state={state}")).await, Err(Refused::OtherIssuer));
    finish(&format!("code=c&state={state}&iss={ISSUER}")).await.unwrap();
}

#[test]
fn a_discovery_document_names_this_issuer_and_safe_endpoints() {
    let parse = |name: &str, value: Value| {
        let mut document = discovery();
        document[name] = value;
        Metadata::parse(&ISSUER.parse().unwrap(), document.to_string().as_bytes())
    };
    parse("x", json!({})).unwrap();
    assert!(parse("end_session_endpoint", Value::Null).unwrap().end_session_endpoint.is_none());
    let error = parse("issuer", "https://id.example/realms/main/".into()).unwrap_err();
    assert!(matches!(error, MetadataError::Issuer { .. }), "{error:?}");
    for endpoint in ["authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"] {
        for url in ["http://id.example/x", "http://localhost/x", "javascript:x", "https://a@b/"] {
            let error = parse(endpoint, url.into()).unwrap_err();
            assert!(matches!(error, MetadataError::Endpoint { .. }), "{endpoint} {url}");
        }
    }
    let error = parse("token_endpoint", Value::Null).unwrap_err();
    assert!(matches!(error, MetadataError::Missing { field: "token_endpoint" }), "{error:?}");
    let issuer = ISSUER.parse().unwrap();
    let twice = discovery().to_string().replacen('{', r#"{"issuer":"x","#, 1);
    for document in ["", "[]", &twice, &" ".repeat(300 << 10)] {
        let error = Metadata::parse(&issuer, document.as_bytes()).unwrap_err();
        assert!(matches!(error, MetadataError::Malformed), "{error:?}");
    }
    assert_eq!("http://id.example".parse::<oidc_client::Issuer>(), Err(UrlError::NotHttps));
}

#[tokio::test]
async fn a_browser_signs_out_of_the_provider_too() {
    let fake = Fake::new(&[&Key::new("k-1", "ES256")]);
    let provider = fake.provider();
    assert_eq!(
        provider.logout_url("https://authd.example/", now()).await.unwrap(),
        "https://id.example/end?client_id=authd\
         &post_logout_redirect_uri=https%3A%2F%2Fauthd.example%2F"
    );
    fake.set(|state| drop(state.discovery.as_object_mut().unwrap().remove("end_session_endpoint")));
    provider.refresh(now()).await.unwrap();
    assert_eq!(provider.logout_url("https://authd.example/", now()).await, None);
}

#[test]
fn a_flow_is_kept_as_a_text() {
    let text = flow().reveal();
    assert_eq!((text.len(), text.parse()), (131, Ok(flow())));
    assert_eq!(format!("{:?}", flow()), "Flow(..)");
    for other in ["", "a.b.c", &text[1..], &format!("{text}.x"), &text.replace('.', "")] {
        assert_eq!(other.parse::<oidc_client::Flow>(), Err(()), "{other}");
    }
}
