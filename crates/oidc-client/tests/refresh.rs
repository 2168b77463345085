//! New access tokens for refresh tokens

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::time::Duration;

use common::{CLIENT, Fake, Key, client, now};
use oidc_client::{
    Client, ClientSecret, EndpointUrl, ProviderError, RefreshError, Refreshed, Request,
    TokenEndpoint, UrlError,
};
use serde_json::json;

#[tokio::test]
async fn a_refresh_token_is_exchanged() {
    let fake = Fake::new(&[&Key::new("k", "ES256")]);
    fake.set(|state| {
        let answer = json!({
            "access_token": "new", "token_type": "Bearer", "expires_in": 300,
            "refresh_token": "next", "id_token": "not read",
        });
        state.tokens = Some(answer.to_string());
    });
    let provider = fake.provider();
    let refreshed = provider.refresh_tokens("old & gone", now()).await.unwrap();
    assert_eq!(refreshed.access_token, "new");
    assert_eq!(refreshed.refresh_token.as_deref(), Some("next"));
    assert_eq!(refreshed.expires_at, Some(now() + Duration::from_secs(300)));
    let debug = format!("{refreshed:?}");
    assert!(!debug.contains("new") && !debug.contains("next"), "{debug}");
    assert_eq!(fake.fetched(), ["openid-configuration", "keys", "token"]);
    let request = last(&fake);
    assert_eq!(request.form.unwrap(), "grant_type=refresh_token&refresh_token=old+%26+gone");
    assert!(request.takes_refusals && request.limit == 64 << 10);
    // `authd:se+cret%3A%26`, as in the exchange of a code.
    let basic = request.headers.iter().find(|(name, _)| *name == "authorization").unwrap();
    assert_eq!(basic.1, "Basic YXV0aGQ6c2UrY3JldCUzQSUyNg==");

    // The documents are known by now.
    provider.refresh_tokens("next", now()).await.unwrap();
    assert_eq!(fake.fetched()[3..], ["token"]);
}

#[tokio::test]
async fn clients_authenticate_as_the_provider_wants() {
    let asked = async |methods: serde_json::Value, client: Client| {
        let fake = Fake::new(&[&Key::new("k", "ES256")]);
        fake.set(|state| {
            state.discovery["token_endpoint_auth_methods_supported"] = methods;
            state.tokens = Some(r#"{"access_token":"a"}"#.to_owned());
        });
        let provider = oidc_client::Provider::new(client, fake.clone());
        provider.refresh_tokens("r", now()).await.map(|_| last(&fake).form.unwrap())
    };
    let form = asked(json!(["client_secret_post"]), client()).await.unwrap();
    assert!(form.ends_with("&client_id=authd&client_secret=se+cret%3A%26"), "{form}");
    let mut public = client();
    public.secret = None;
    let form = asked(json!(["none"]), public).await.unwrap();
    assert!(form.ends_with("&refresh_token=r&client_id=authd"), "{form}");
    let error = asked(json!(["private_key_jwt"]), client()).await.unwrap_err();
    assert!(matches!(error, RefreshError::Provider(ProviderError::Metadata(_))), "{error}");
}

#[tokio::test]
async fn answers_are_read_as_they_are_sent() {
    let cases = [
        (r#"{"access_token":"a","expires_in":"60","refresh_token":""}"#, Some(60)),
        (r#"{"access_token":"a","expires_in":0}"#, None),
        (r#"{"access_token":"a","expires_in":-5}"#, None),
        (r#"{"access_token":"a","expires_in":null}"#, None),
        (r#"{"access_token":"a"}"#, None),
        (r#"{"access_token":"a","expires_in":18446744073709551615}"#, Some(100 * 366 * 86_400)),
    ];
    for (answer, seconds) in cases {
        let refreshed = answered(answer).await.unwrap();
        let end = seconds.map(|seconds| now() + Duration::from_secs(seconds));
        assert_eq!((refreshed.expires_at, refreshed.refresh_token), (end, None), "{answer}");
    }
    let large = format!(r#"{{"access_token":"{}"}}"#, "a".repeat(64 << 10));
    for answer in ["", "[]", "{}", r#"{"access_token":""}"#, r#"{"access_token":1}"#, &large] {
        let error = answered(answer).await.unwrap_err();
        assert!(matches!(error, RefreshError::Provider(ProviderError::Answer { .. })), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_of_the_user_is_told_apart_from_one_of_the_client() {
    for error in ["invalid_grant", "bad_refresh_token"] {
        let refused = answered(&json!({ "error": error }).to_string()).await.unwrap_err();
        assert!(matches!(refused, RefreshError::Refused), "{refused}");
    }
    for error in ["invalid_client", "temporarily_unavailable", "incorrect_client_credentials"] {
        // A token beside an error does not count.
        let answer = json!({ "error": error, "access_token": "a" }).to_string();
        let refused = answered(&answer).await.unwrap_err();
        let message = format!("the provider does not take the request: `{error}`");
        assert_eq!(refused.to_string(), message);
    }
    let long = json!({ "error": format!("\n{}", "x".repeat(999)) }).to_string();
    let RefreshError::Request { error } = answered(&long).await.unwrap_err() else { panic!() };
    assert_eq!(error, "x".repeat(64));

    let fake = Fake::new(&[]);
    fake.set(|state| state.is_down = true);
    let down = fake.provider().refresh_tokens("r", now()).await.unwrap_err();
    assert!(matches!(down, RefreshError::Provider(ProviderError::Fetch { .. })), "{down}");
}

#[test]
fn an_endpoint_is_reached_over_https() {
    let parsed = |url: &str| url.parse::<EndpointUrl>();
    let own = "https://github.example/token";
    assert_eq!(parsed(own).unwrap().as_str(), own);
    parsed("http://127.0.0.1:1/token").unwrap();
    assert_eq!(parsed("http://github.example/token"), Err(UrlError::NotHttps));
}

/// The outcome at an endpoint without discovery, which gives this answer
async fn answered(answer: &str) -> Result<Refreshed, RefreshError> {
    let fake = Fake::default();
    fake.set(|state| state.tokens = Some(answer.to_owned()));
    let secret = Some(ClientSecret::new("s"));
    let url = "https://id.example/token".parse().unwrap();
    let endpoint = TokenEndpoint::new(url, CLIENT, secret, fake.clone());
    let outcome = endpoint.refresh_tokens("r", now()).await;
    let form = "grant_type=refresh_token&refresh_token=r&client_id=authd&client_secret=s";
    assert_eq!(last(&fake).form.unwrap(), form);
    outcome
}

fn last(fake: &Fake) -> Request {
    fake.set(|state| state.asked.last().unwrap().clone())
}
