//! Identity tokens of a test Google, through the public API

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{
    error::Error as _,
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, SystemTime},
};

use identity_verify::{
    Audience, Claims as Verified, Cloud as CloudName, Error, Policy, Reason, VerifiedInstance,
    google::{DynFindKey, FindKey, IdentityToken, Jwks, Unavailable, Verifier, VerifyingKey},
    test_util::{
        at,
        google::{Claims, Cloud, encode},
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};

const ID: &str = "8087716956832600000";
const PROJECT: &str = "example-project";
const ISSUED: &str = "2026-01-01T00:00:00Z";
const EXPIRES: &str = "2026-01-01T01:00:00Z";
const SECOND: Duration = Duration::from_secs(1);

/// Keys take long to make, so most tests share this
static CLOUD: LazyLock<Cloud> = LazyLock::new(Cloud::generate);

fn claims() -> Claims {
    Claims::new(ID, PROJECT, "coder", at(ISSUED))
}

fn verify_at(policy: &Policy, token: &str, now: SystemTime) -> Result<VerifiedInstance, Error> {
    let proof = IdentityToken { token: token.as_bytes() };
    Verifier::new(policy.clone()).verify(&proof, now, &CLOUD.jwks())
}

fn verify_token(token: &str) -> Result<VerifiedInstance, Error> {
    verify_at(&Policy::default(), token, at(ISSUED))
}

fn verify(claims: &Claims) -> Result<VerifiedInstance, Error> {
    verify_token(&CLOUD.sign(&claims.to_json()))
}

fn verify_with_policy(policy: &str, claims: &Claims) -> Result<VerifiedInstance, Error> {
    let policy = serde_json::from_str(policy).unwrap();
    verify_at(&policy, &CLOUD.sign(&claims.to_json()), at(ISSUED))
}

#[track_caller]
fn assert_refused(result: Result<VerifiedInstance, Error>, reason: Reason) {
    assert_eq!(result.map_err(|error| error.reason()), Err(reason));
}

#[test]
fn a_genuine_token_names_its_instance() {
    let instance = verify(&claims()).unwrap();
    assert_eq!(instance.cloud(), CloudName::Google);
    assert_eq!(instance.id().as_str(), ID);
    let Verified::Google(claims) = instance.claims() else { panic!("{instance:?}") };
    assert_eq!(claims.project_id.as_deref(), Some(PROJECT));
    assert_eq!(claims.project_number, Some(739_419_398_126));
    assert_eq!(claims.zone.as_deref(), Some("us-west1-a"));
    assert_eq!(claims.instance_name.as_deref(), Some("vm-1"));
    assert_eq!(claims.created, Some(at("2025-12-31T00:00:00Z")));
    assert_eq!(
        claims.service_account.as_deref(),
        Some("vm@example-project.iam.gserviceaccount.com")
    );
    assert_eq!(claims.expires, at(EXPIRES));
}

#[test]
fn unknown_claims_are_ignored_and_confidentiality_is_returned() {
    let claims = claims()
        .with("/google/compute_engine/instance_confidentiality", json!(1))
        .with("/google/compute_engine/license_id", json!(["1", "2"]))
        .with("/tenant", json!({"a": [null]}));
    let instance = verify(&claims).unwrap();
    let Verified::Google(claims) = instance.claims() else { panic!("{instance:?}") };
    assert_eq!(claims.instance_confidentiality, Some(1));
}

#[test]
fn only_rs256_is_accepted() {
    let payload = claims().to_json();
    for alg in ["none", "None", "HS256", "RS384", "RS512", "PS256", "ES256", "EdDSA", "rs256", ""] {
        let header = json!({"alg": alg, "kid": "test-key-1", "typ": "JWT"}).to_string();
        let token = CLOUD.sign_with_header(&header, &payload);
        assert_refused(verify_token(&token), Reason::AlgorithmNotAllowed);
    }
    let signed = CLOUD.sign(&payload);
    let (signed, _) = signed.rsplit_once('.').unwrap();
    let pss = format!("{signed}.{}", encode(&CLOUD.key().sign_pss(signed.as_bytes())));
    assert_refused(verify_token(&pss), Reason::BadSignature);
    assert_refused(verify_token(&format!("{signed}.")), Reason::BadSignature);
}

#[test]
fn headers_that_say_too_little_or_too_much_are_refused() {
    let payload = claims().to_json();
    let verify = |header: &str| verify_token(&CLOUD.sign_with_header(header, &payload));
    verify(r#"{"alg":"RS256","kid":"test-key-1"}"#).unwrap();
    verify(r#"{"alg":"RS256","kid":"test-key-1","typ":"jwt","x5u":"http://x","jwk":{}}"#).unwrap();
    for header in [
        "",
        "[]",
        "{}",
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"RS256","kid":null}"#,
        r#"{"alg":"RS256","kid":""}"#,
        r#"{"alg":"RS256","kid":7}"#,
        r#"{"kid":"test-key-1"}"#,
        r#"{"alg":"RS256","kid":"test-key-1","kid":"test-key-1"}"#,
        r#"{"alg":"RS256","alg":"RS256","kid":"test-key-1"}"#,
        r#"{"alg":"RS256","kid":"test-key-1","crit":["exp"]}"#,
        r#"{"alg":"RS256","kid":"test-key-1","crit":null}"#,
        r#"{"alg":"RS256","kid":"test-key-1","b64":false}"#,
        r#"{"alg":"RS256","kid":"test-key-1","b64":true}"#,
        r#"{"alg":"RS256","kid":"test-key-1","typ":"at+jwt"}"#,
        r#"{"alg":"RS256","kid":"test-key-1"} {}"#,
    ] {
        assert_refused(verify(header), Reason::MalformedProof);
    }
    let long = json!({"alg": "RS256", "kid": "x".repeat(257)}).to_string();
    assert_refused(verify(&long), Reason::MalformedProof);
}

#[test]
fn the_form_is_exactly_three_segments_of_base64url() {
    let token = CLOUD.sign(&claims().to_json());
    verify_token(&token).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    for broken in [
        "",
        ".",
        "..",
        "...",
        signed,
        &format!("{token}."),
        &format!(".{token}"),
        &format!("{token}.{signature}"),
        &format!("{header}..{payload}.{signature}"),
        &format!("{header}.{payload}.{signature}="),
        &format!("{header}=.{payload}.{signature}"),
        &format!("{header}.{payload}\n.{signature}"),
        &format!("{header}. {payload}.{signature}"),
        &format!("{token}\u{a0}"),
        &format!("{token}\0"),
        &format!("{header}.{payload}.{signature}+"),
        &token.replace(['-', '_'], "+"),
    ] {
        assert_refused(verify_token(broken), Reason::MalformedProof);
    }
    assert_refused(verify_token(&"a".repeat(20_000)), Reason::OversizedProof);
    let padded = format!("{token}{}", " ".repeat(20_000));
    assert_refused(verify_token(&padded), Reason::OversizedProof);
}

#[test]
fn ascii_whitespace_around_a_token_is_not_part_of_it() {
    let token = CLOUD.sign(&claims().to_json());
    for (before, after) in
        [("", "\n"), ("", "\r\n"), ("", "\n\n"), ("", " "), ("\t", "\t"), ("\r\n ", "\x0c")]
    {
        verify_token(&format!("{before}{token}{after}")).unwrap();
    }
}

#[test]
fn the_named_key_must_be_known_and_must_have_signed() {
    let other = Cloud::generate_bits("test-key-2", 2048);
    let payload = claims().to_json();
    assert_refused(verify_token(&other.sign(&payload)), Reason::UnknownKey);
    let header = r#"{"alg":"RS256","kid":"test-key-1"}"#;
    assert_refused(verify_token(&other.sign_with_header(header, &payload)), Reason::BadSignature);
    for kid in ["TEST-KEY-1", "test-key-1 ", "test-key"] {
        let header = json!({"alg": "RS256", "kid": kid}).to_string();
        let token = CLOUD.sign_with_header(&header, &payload);
        assert_refused(verify_token(&token), Reason::UnknownKey);
    }
}

#[test]
fn both_spellings_of_the_issuer_are_googles() {
    verify(&claims().with("/iss", json!("accounts.google.com"))).unwrap();
    for issuer in ["", "https://accounts.google.com/", "http://accounts.google.com", "x"] {
        assert_refused(verify(&claims().with("/iss", json!(issuer))), Reason::IssuerMismatch);
    }
    assert_refused(verify(&claims().without("/iss")), Reason::MissingClaim);
}

#[test]
fn the_audience_is_coder_unless_the_policy_says_otherwise() {
    let for_audience = |audience: Value| claims().with("/aud", audience);
    verify(&for_audience(json!(["x", "coder"]))).unwrap();
    for other in [json!(""), json!("Coder"), json!("coder "), json!(["x"]), json!([])] {
        assert_refused(verify(&for_audience(other)), Reason::AudienceMismatch);
    }
    for odd in [json!(7), json!({"coder": 1}), json!([7]), json!(["coder", null])] {
        assert_refused(verify(&for_audience(odd)), Reason::MalformedProof);
    }
    assert_refused(verify(&claims().without("/aud")), Reason::MissingClaim);

    let own = r#"{"google_audience":"https://authd.example"}"#;
    verify_with_policy(own, &for_audience(json!("https://authd.example"))).unwrap();
    assert_refused(verify_with_policy(own, &claims()), Reason::AudienceMismatch);
    for any in
        [r#"{"google_audience":null}"#, r#"{"gcp_audience":null}"#, r#"{"gcp_audience":"*"}"#]
    {
        verify_with_policy(any, &for_audience(json!("x"))).unwrap();
        verify_with_policy(any, &claims().without("/aud")).unwrap();
    }
}

#[test]
fn dates_hold_to_the_second_with_leeway() {
    let token = CLOUD.sign(&claims().with("/nbf", json!(1_767_225_600)).to_json());
    for leeway in [0, 60] {
        let mut policy = Policy::default();
        policy.leeway_seconds = leeway;
        let verify = |now| verify_at(&policy, &token, now);
        let leeway = Duration::from_secs(leeway);
        assert_refused(verify(at(ISSUED) - leeway - SECOND), Reason::NotYetValid);
        verify(at(ISSUED) - leeway).unwrap();
        verify(at(EXPIRES) + leeway - SECOND).unwrap();
        assert_refused(verify(at(EXPIRES) + leeway), Reason::Expired);
    }
}

#[test]
fn a_token_may_begin_later_than_it_was_issued() {
    let later = claims().with("/nbf", json!(1_767_225_600 + 61));
    assert_refused(verify(&later), Reason::NotYetValid);
}

#[test]
fn dates_must_be_there_and_be_whole_seconds() {
    for claim in ["exp", "iat"] {
        let pointer = format!("/{claim}");
        assert_refused(verify(&claims().without(&pointer)), Reason::MissingClaim);
        assert_refused(verify(&claims().with(&pointer, json!(null))), Reason::MissingClaim);
        for odd in
            [json!("1767229200"), json!(-1), json!(1.5), json!(true), json!([1]), json!(1e30)]
        {
            assert_refused(verify(&claims().with(&pointer, odd)), Reason::MalformedProof);
        }
        let far = claims().with(&pointer, json!(u64::MAX));
        assert_refused(verify(&far), Reason::MalformedProof);
    }
}

#[test]
fn a_lifetime_is_limited() {
    let lasting = |seconds: u64| claims().with("/exp", json!(1_767_225_600 + seconds));
    verify(&lasting(3_900)).unwrap();
    assert_refused(verify(&lasting(3_901)), Reason::LifetimeTooLong);
    let longer = r#"{"gcp_max_lifetime_seconds":86400}"#;
    verify_with_policy(longer, &lasting(86_400)).unwrap();
    assert_refused(verify_with_policy(longer, &lasting(86_401)), Reason::LifetimeTooLong);
    verify_with_policy(r#"{"google_max_lifetime_seconds":null}"#, &lasting(1 << 32)).unwrap();
}

#[test]
fn projects_and_service_accounts_must_be_listed_if_any_is() {
    let project = |list: &str| format!(r#"{{"google_allowed_projects":{list}}}"#);
    verify_with_policy(&project(r#"["x","example-project"]"#), &claims()).unwrap();
    for list in ["[]", r#"["x"]"#, r#"["Example-Project"]"#] {
        assert_refused(verify_with_policy(&project(list), &claims()), Reason::ProjectNotAllowed);
    }
    let nowhere = claims().without("/google/compute_engine/project_id");
    assert_refused(verify_with_policy(&project(r#"[""]"#), &nowhere), Reason::ProjectNotAllowed);

    let own = r#"{"gcp_allowed_service_accounts":["vm@example-project.iam.gserviceaccount.com"]}"#;
    verify_with_policy(own, &claims()).unwrap();
    for claims in [
        claims().with("/email", json!("other@example-project.iam.gserviceaccount.com")),
        claims().with("/email_verified", json!(false)),
        claims().without("/email_verified"),
        claims().without("/email"),
    ] {
        verify(&claims).unwrap();
        assert_refused(verify_with_policy(own, &claims), Reason::ServiceAccountNotAllowed);
    }
}

#[test]
fn the_age_of_an_instance_is_limited_if_the_policy_does() {
    let created = |ago: i64| {
        let pointer = "/google/compute_engine/instance_creation_timestamp";
        claims().with(pointer, json!(1_767_225_600 - ago))
    };
    let hour = r#"{"google_max_instance_age_seconds":3600}"#;
    for ago in [-60, 0, 3_660] {
        verify_with_policy(hour, &created(ago)).unwrap();
    }
    assert_refused(verify_with_policy(hour, &created(3_661)), Reason::InstanceTooOld);
    assert_refused(verify_with_policy(hour, &created(-61)), Reason::NotYetValid);
    let undated = claims().without("/google/compute_engine/instance_creation_timestamp");
    assert_refused(verify_with_policy(hour, &undated), Reason::MissingClaim);
    verify(&undated).unwrap();
}

#[test]
fn a_token_without_an_instance_names_none() {
    for claims in [claims().without("/google"), claims().without("/google/compute_engine")] {
        assert_refused(verify(&claims), Reason::MissingClaim);
    }
    let pointer = "/google/compute_engine/instance_id";
    for id in ["", "-1", "vm-1", "123456789012345678901", "i-0123abcd"] {
        let error = verify(&claims().with(pointer, json!(id))).unwrap_err();
        assert_eq!(error.instance_id(), Some(id));
    }
    assert_eq!(verify(&claims().without(pointer)).unwrap_err().instance_id(), Some(""));
    assert_refused(verify(&claims().with(pointer, json!(7))), Reason::MalformedClaims);
}

#[test]
fn duplicate_and_misshapen_claims_are_refused() {
    let json = claims().to_json();
    for (once, twice, reason) in [
        (r#""aud":"coder""#, r#""aud":"coder","aud":"coder""#, Reason::MalformedProof),
        (r#""iss":"#, r#""iss":"x","iss":"#, Reason::MalformedProof),
        (r#""google":"#, r#""google":{},"google":"#, Reason::MalformedProof),
        (r#""instance_id":"#, r#""instance_id":"7","instance_id":"#, Reason::MalformedClaims),
    ] {
        let token = CLOUD.sign(&json.replacen(once, twice, 1));
        assert_refused(verify_token(&token), reason);
    }
    for pointer in ["/google", "/google/compute_engine"] {
        let array = json!([[], "vm-1", "p", 7, "z", 7, 7]);
        assert_refused(verify(&claims().with(pointer, array)), Reason::MalformedClaims);
    }
    for payload in ["", "[]", "null", "{", &format!("{json}{json}")] {
        assert_refused(verify_token(&CLOUD.sign(payload)), Reason::MalformedProof);
    }
}

#[test]
fn key_sets_keep_the_keys_for_rs256_and_skip_others() {
    let key = CLOUD.jwk();
    let with = |name: &str, value: Value| {
        let mut key = CLOUD.jwk();
        key[name] = value;
        key
    };
    let small = Cloud::generate_bits("small", 1024).jwk();
    let set = json!({"keys": [
        key,
        small,
        with("kid", json!(null)),
        with("kid", json!("")),
        {"kty": "EC", "kid": "ec", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "oct", "kid": "hmac", "k": "AA"},
        {"kty": "RSA", "kid": "empty"},
        {"kty": "RSA", "kid": "even", "n": "AA", "e": "AA"},
        {"kty": "RSA", "kid": "other-alg", "alg": "RS512", "n": key["n"], "e": key["e"]},
        {"kty": "RSA", "kid": "other-use", "use": "enc", "n": key["n"], "e": key["e"]},
        {"kty": "RSA", "kid": "padded", "n": format!("{}==", key["n"].as_str().unwrap()), "e": key["e"]},
        {"kty": "RSA", "kid": "slow", "n": key["n"], "e": "_____w"},
        {"kty": "RSA", "kid": "exponent-3", "n": key["n"], "e": "Aw"},
        {"kty": "RSA", "kid": "plain", "n": key["n"], "e": key["e"]},
    ]});
    let jwks = Jwks::parse(set.to_string().as_bytes()).unwrap();
    assert_eq!(jwks.ids().collect::<Vec<_>>(), ["plain", "test-key-1"]);
    assert_eq!(format!("{:?}", jwks.get("plain").unwrap()), "VerifyingKey(RSA, 2048 bits)");
}

#[test]
fn texts_that_are_not_a_key_set_are_refused() {
    let key = CLOUD.jwk();
    for set in [
        String::new(),
        "{}".to_owned(),
        "[]".to_owned(),
        json!({"keys": []}).to_string(),
        json!({"keys": {}}).to_string(),
        json!({"keys": [{}]}).to_string(),
        json!({"keys": [key, key]}).to_string(),
        json!({"keys": vec![key; 33]}).to_string(),
        format!("{}x", CLOUD.jwks_json()),
        " ".repeat(300_000),
    ] {
        let error = Jwks::parse(set.as_bytes()).unwrap_err();
        assert_eq!(error.reason(), Reason::InvalidTrust);
    }
}

/// Counts what it is asked for
struct Source(Result<Jwks, Unavailable>, Mutex<Vec<String>>);

impl FindKey for Source {
    async fn find_key(
        &self,
        kid: &str,
        now: SystemTime,
    ) -> Result<Option<VerifyingKey>, Unavailable> {
        self.1.lock().unwrap().push(kid.to_owned());
        match &self.0 {
            Ok(jwks) => jwks.find_key(kid, now).await,
            Err(down) => Err(down.clone()),
        }
    }
}

#[test]
fn a_source_of_keys_is_asked_once_and_only_for_tokens_that_could_be_good() {
    let verify = |source: &Source, token: &str| {
        let proof = IdentityToken { token: token.as_bytes() };
        let verifier = Verifier::new(Policy::default());
        block_on(verifier.verify_with(&proof, at(ISSUED), source))
    };
    let token = CLOUD.sign(&claims().to_json());
    let source = Source(Ok(CLOUD.jwks()), Mutex::default());
    verify(&source, &token).unwrap();
    assert_refused(verify(&source, "a.b.c"), Reason::MalformedProof);
    let none = CLOUD.sign_with_header(r#"{"alg":"none","kid":"x"}"#, "{}");
    assert_refused(verify(&source, &none), Reason::AlgorithmNotAllowed);
    assert_eq!(*source.1.lock().unwrap(), ["test-key-1"]);

    assert_refused(verify(&Source(Ok(Jwks::none()), Mutex::default()), &token), Reason::UnknownKey);
    let down = Source(Err(Unavailable::new()), Mutex::default());
    assert_refused(verify(&down, &token), Reason::KeysUnavailable);
}

#[test]
fn why_keys_are_unavailable_is_the_source_of_the_error() {
    let why = Unavailable::because(std::io::Error::other("the proxy is down"));
    let source = || Source(Err(why.clone()), Mutex::default());
    let shared: Arc<dyn DynFindKey> = Arc::new(source());
    let token = CLOUD.sign(&claims().to_json());
    let proof = IdentityToken { token: token.as_bytes() };
    let (verifier, now) = (Verifier::default(), at(ISSUED));
    for refused in [
        block_on(verifier.verify_with(&proof, now, &source())),
        block_on(verifier.verify_with(&proof, now, &&source())),
        block_on(verifier.verify_with(&proof, now, &Arc::new(source()))),
        block_on(verifier.verify_with(&proof, now, &shared)),
        block_on(verifier.verify_with(&proof, now, &*shared)),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.source().unwrap().to_string(), "the proxy is down");
        let Error::KeysUnavailable { source: Some(cause) } = error else { panic!("{error:?}") };
        assert!(cause.get().is::<std::io::Error>());
    }
    assert_eq!(Error::from(Unavailable::new()), Error::KeysUnavailable { source: None });
    assert_eq!(why, why.clone());
    assert_ne!(why, Unavailable::because(std::io::Error::other("the proxy is down")));
}

#[test]
fn policies_name_google_in_two_ways_but_not_twice() {
    let policy = |text: &str| serde_json::from_str::<Policy>(text);
    assert_eq!(Policy::default().google_audience, Audience::Is("coder".to_owned()));
    for field in [
        "audience",
        "allowed_projects",
        "allowed_service_accounts",
        "max_instance_age_seconds",
        "max_lifetime_seconds",
    ] {
        let (long, short) = (format!(r#""google_{field}":null"#), format!(r#""gcp_{field}":null"#));
        assert_eq!(
            policy(&format!("{{{long}}}")).unwrap(),
            policy(&format!("{{{short}}}")).unwrap()
        );
        policy(&format!("{{{long},{short}}}")).unwrap_err();
    }
    policy(r#"{"google_audience":["coder"]}"#).unwrap_err();
}

#[test]
fn debug_output_shows_nothing_of_a_proof() {
    assert_eq!(format!("{:?}", IdentityToken { token: b"secret" }), "IdentityToken { token: 6 }");
}

/// Runs a future that never waits
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the future waits"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_answer_is_what_was_signed(id in "[0-9]{1,20}", project in "[a-z-]{6,30}") {
        let claims = Claims::new(&id, &project, "coder", at(ISSUED));
        let instance = verify(&claims).unwrap();
        prop_assert_eq!(instance.id().as_str(), id);
        let Verified::Google(claims) = instance.claims() else { panic!("{instance:?}") };
        prop_assert_eq!(claims.project_id.as_deref(), Some(&*project));
    }

    #[test]
    fn no_changed_token_is_accepted(byte in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let mut token = CLOUD.sign(&claims().to_json()).into_bytes();
        let byte = byte.index(token.len());
        token[byte] ^= flip;
        let result = Verifier::default().verify(&IdentityToken { token: &token }, at(ISSUED), &CLOUD.jwks());
        result.unwrap_err();
    }

    #[test]
    fn changed_claims_are_refused(byte in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let token = CLOUD.sign(&claims().to_json());
        let parts: Vec<&str> = token.split('.').collect();
        let mut payload = claims().to_json().into_bytes();
        let byte = byte.index(payload.len());
        payload[byte] ^= flip;
        let token = format!("{}.{}.{}", parts[0], encode(&payload), parts[2]);
        assert_refused(verify_token(&token), Reason::BadSignature);
    }
}
