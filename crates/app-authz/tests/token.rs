//! App tokens and sealed session tokens, and those who forge them

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::{Duration, SystemTime};

use app_authz::app::{
    Agent, Contact, CorsBehavior, SharingLevel, UncheckedRequest, Visitor, Workspace,
};
use app_authz::credential::SessionToken;
use app_authz::id::OrganizationId;
use app_authz::rbac::{Acl, Role, Scope, Subject};
use app_authz::token::{
    API_KEY_PARAMETER, AppToken, CryptoKey, EddsaKey, EddsaPublicKey, Feature, Found, Hs512Key,
    KeyRing, LEEWAY, PresentedTokens, SealKey, Secret, TOKEN_LIFETIME, TokenError, without_api_key,
};
use app_authz::{AgentId, AppRequest, Error, Rules, Target, UserId, WorkspaceId, decide};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwe::{A192GCMKW, A256GCMKW, Dir, JweContext, JweHeader};
use josekit::jws::{HS256, HS384, HS512, JwsSigner, RS256};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

const SECRET: [u8; 64] = [7; 64];
const SEAL_SECRET: [u8; 32] = [9; 32];
const AGENT: &str = "00000000-0000-0000-0000-000000000004";

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn key(feature: Feature, sequence: i32, secret: &[u8]) -> CryptoKey {
    CryptoKey {
        feature,
        sequence,
        secret: Some(Secret::new(secret)),
        starts_at: now() - seconds(3600),
        deletes_at: None,
    }
}

fn ring() -> KeyRing<Hs512Key> {
    KeyRing::new(&[key(Feature::WorkspaceAppsToken, 3, &SECRET)]).unwrap()
}

fn seals() -> KeyRing<SealKey> {
    KeyRing::new(&[key(Feature::WorkspaceAppsApiKey, 5, &SEAL_SECRET)]).unwrap()
}

fn fields() -> UncheckedRequest {
    UncheckedRequest {
        access_method: "path".to_owned(),
        base_path: "/app/".to_owned(),
        username_or_id: "foo".to_owned(),
        workspace_name_or_id: "bar".to_owned(),
        agent_name_or_id: "baz".to_owned(),
        app_slug_or_port: "qux".to_owned(),
        ..UncheckedRequest::default()
    }
}

fn changed(change: impl FnOnce(&mut UncheckedRequest)) -> AppRequest {
    let mut fields = fields();
    change(&mut fields);
    fields.try_into().unwrap()
}

fn request() -> AppRequest {
    changed(|_| {})
}

fn terminal() -> AppRequest {
    let fields = UncheckedRequest {
        access_method: "terminal".to_owned(),
        base_path: "/".to_owned(),
        agent_name_or_id: AGENT.to_owned(),
        ..UncheckedRequest::default()
    };
    fields.try_into().unwrap()
}

fn target(request: AppRequest) -> Target<'static> {
    let owner = UserId(Uuid::from_u128(1));
    Target {
        request: kept(request),
        workspace: kept(Workspace {
            id: WorkspaceId(Uuid::from_u128(2)),
            name: "bar".to_owned(),
            owner,
            owner_name: "foo".to_owned(),
            organization: OrganizationId(Uuid::from_u128(3)),
            dormant: false,
            acl: Acl::NONE,
        }),
        agent: kept(Agent {
            id: AgentId(AGENT.parse().unwrap()),
            name: "baz".to_owned(),
            contact: Contact {
                created_at: now(),
                first_connected_at: None,
                last_connected_at: None,
                disconnected_at: None,
                connection_timeout: Duration::ZERO,
            },
        }),
        app: None,
        url: "http://127.0.0.1:8080".into(),
        sharing: SharingLevel::Owner,
        cors: CorsBehavior::Passthru,
    }
}

/// A target's facts, kept for the rest of the test
fn kept<T>(fact: T) -> &'static T {
    Box::leak(Box::new(fact))
}

/// A token for the request, at the time
fn sign(request: AppRequest, at: SystemTime) -> String {
    let target = target(request);
    let everything = ["*:*".parse().unwrap()].into_iter().collect();
    let levels = app_authz::rbac::Levels::site(everything);
    let role = Role::new("all".parse().unwrap(), levels);
    let subject = Subject::new(target.workspace.owner, [role.into()], Scope::all());
    let permit = decide(&target, Some(&subject), Rules::default()).unwrap();
    let signed = ring().sign(&permit, at).unwrap();
    // What is signed is what verifying it answers.
    assert_eq!(ring().verify(signed.reveal(), at, LEEWAY).as_ref(), Ok(&**signed.token()));
    assert_eq!(*signed.token().grant(), permit.grant());
    signed.reveal().to_owned()
}

fn verify(token: &str) -> Result<AppToken, TokenError> {
    ring().verify(token, now(), LEEWAY)
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn claims() -> Value {
    json!({
        "exp": 1_800_000_030_u64,
        "request": {
            "access_method": "path", "base_path": "/app/", "app_prefix": "",
            "username_or_id": "foo", "workspace_name_or_id": "bar", "agent_name_or_id": "baz",
            "app_slug_or_port": "qux",
        },
        "user_id": Uuid::from_u128(1), "workspace_id": Uuid::from_u128(2), "agent_id": AGENT,
        "app_url": "http://127.0.0.1:8080",
    })
}

/// Any header and payload, signed with the real secret under HS512
fn mint(header: &str, payload: &str) -> String {
    let text = format!("{}.{}", encode(header), encode(payload));
    let signer = HS512.signer_from_bytes(SECRET).unwrap();
    format!("{text}.{}", encode(signer.sign(text.as_bytes()).unwrap()))
}

const HEADER: &str = r#"{"alg":"HS512","kid":"3"}"#;

// scenario 27, 28, 30, 31, 33, 34, 36, 37
#[test]
fn a_token_is_for_one_request() {
    let matches = |signed: AppRequest, asked: &AppRequest| {
        verify(&sign(signed, now())).unwrap().matches(asked)
    };
    assert!(matches(request(), &request()));

    let unpadded = UncheckedRequest { base_path: "/app".to_owned(), ..fields() }.check().unwrap();
    assert!(matches(request(), &unpadded));
    let mut bare = claims();
    bare["request"]["base_path"] = json!("/app");
    assert!(verify(&mint(HEADER, &bare.to_string())).unwrap().matches(&request()));

    for other in [
        changed(|r| r.access_method = "subdomain".to_owned()),
        changed(|r| r.base_path = "/other/".to_owned()),
        changed(|r| r.base_path = "/app//".to_owned()),
        changed(|r| r.username_or_id = "bar".to_owned()),
        changed(|r| r.username_or_id = "Foo".to_owned()),
        changed(|r| r.workspace_name_or_id = "baz".to_owned()),
        changed(|r| r.agent_name_or_id = "qux".to_owned()),
        changed(|r| r.agent_name_or_id = AGENT.to_owned()),
        changed(|r| r.agent_name_or_id.clear()),
        changed(|r| r.app_slug_or_port = "quux".to_owned()),
        terminal(),
    ] {
        assert!(!matches(request(), &other), "{other:?}");
        assert!(!matches(other.clone(), &request()) || other == request());
    }

    let subdomain = |prefix: &str, slug: &str| {
        changed(|r| {
            r.access_method = "subdomain".to_owned();
            r.app_prefix = prefix.to_owned();
            r.app_slug_or_port = slug.to_owned();
        })
    };
    let long = "dean-was--here---";
    assert!(!matches(subdomain(long, "qux"), &subdomain("dean--was--here---", "qux")));
    assert!(!matches(subdomain(long, "qux"), &subdomain(long, "quux")));
    for port in ["8080", "8080s"] {
        assert!(matches(subdomain(long, port), &subdomain(long, port)));
        assert!(!matches(subdomain(long, port), &subdomain(long, "08080")));
    }
    assert!(!matches(subdomain("", "8080"), &subdomain("", "8080s")));
}

// scenario 52
#[test]
fn a_token_says_what_was_decided() {
    let token = verify(&sign(request(), now())).unwrap();
    let grant = token.grant();
    assert_eq!(grant.visitor, Visitor::User(UserId(Uuid::from_u128(1))));
    assert_eq!(grant.owner, UserId(Uuid::from_u128(1)));
    assert_eq!(grant.workspace, WorkspaceId(Uuid::from_u128(2)));
    assert_eq!(grant.agent, AgentId(AGENT.parse().unwrap()));
    assert_eq!((&*grant.url, grant.cors), ("http://127.0.0.1:8080", CorsBehavior::Passthru));
    assert_eq!(token.request(), &request());
    assert_eq!(token.expires_at(), now() + TOKEN_LIFETIME);

    let text = sign(request(), now());
    let [header, payload] = [0, 1].map(|part| {
        let part = text.split('.').nth(part).unwrap();
        serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    });
    assert_eq!(header, json!({"alg": "HS512", "kid": "3"}));
    let mut expected = claims();
    expected["exp"] = json!(1_800_000_060_u64);
    expected["cors_behavior"] = json!("passthru");
    // The one claim that is not the control plane's.
    expected["visitor"] = json!(Uuid::from_u128(1));
    assert_eq!(payload, expected);

    // A token of a control plane that says less, or more.
    let mut other = claims();
    other["newer"] = json!({"claim": 1});
    let other = verify(&mint(HEADER, &other.to_string())).unwrap();
    assert_eq!(other.grant().cors, CorsBehavior::Simple);
    assert_eq!(other.grant().visitor, Visitor::Unspecified);
    let typed = r#"{"typ":"JWT","kid":"3","alg":"HS512"}"#;
    assert!(verify(&mint(typed, &claims().to_string())).is_ok());
}

// scenario 48, 49
#[test]
fn a_token_has_its_time() {
    let token = sign(request(), now());
    let at = |offset: Duration| ring().verify(&token, now() + offset, LEEWAY);
    assert!(at(Duration::ZERO).is_ok() && at(TOKEN_LIFETIME + LEEWAY).is_ok());
    assert_eq!(at(TOKEN_LIFETIME + LEEWAY + seconds(1)), Err(TokenError::Expired));
    assert_eq!(at(TOKEN_LIFETIME + Duration::from_millis(5001)), Err(TokenError::Expired));
    assert_eq!(at(TOKEN_LIFETIME + seconds(180)), Err(TokenError::Expired));
    let strict = ring().verify(&token, now() + TOKEN_LIFETIME + seconds(1), Duration::ZERO);
    assert_eq!(strict, Err(TokenError::Expired));

    let with = |claim: &str, value: Value| {
        let mut claims = claims();
        claims[claim] = value;
        verify(&mint(HEADER, &claims.to_string()))
    };
    assert!(with("nbf", json!(1_800_000_005_u64)).is_ok());
    assert_eq!(with("nbf", json!(1_800_000_006_u64)), Err(TokenError::NotYetValid));
    assert!(with("iat", json!(1_800_000_005_u64)).is_ok());
    assert_eq!(with("iat", json!(1_800_000_180_u64)), Err(TokenError::IssuedInFuture));
    assert_eq!(with("nbf", json!(u64::MAX)), Err(TokenError::NotYetValid));
    assert!(with("exp", json!(u64::MAX)).is_ok());
    for odd in [json!(null), json!("1800000030"), json!(1.8e9), json!(-1), json!(true)] {
        assert_eq!(with("exp", odd), Err(TokenError::Claims));
    }
}

// scenario 51, 54
#[test]
fn nobody_but_the_key_makes_a_token() {
    let good = mint(HEADER, &claims().to_string());
    assert!(verify(&good).is_ok());
    let [header, payload, signature] =
        [0, 1, 2].map(|part| good.split('.').nth(part).unwrap().to_owned());
    let payload_text = claims().to_string();

    let signed_by = |alg: &str, signer: &dyn JwsSigner| {
        let text = format!("{}.{payload}", encode(format!(r#"{{"alg":"{alg}","kid":"3"}}"#)));
        format!("{text}.{}", encode(signer.sign(text.as_bytes()).unwrap()))
    };
    let hs256 = HS256.signer_from_bytes(SECRET).unwrap();
    let hs384 = HS384.signer_from_bytes(SECRET).unwrap();
    let other = HS512.signer_from_bytes([8; 64]).unwrap();
    let pair =
        josekit::jws::alg::rsassa::RsassaJwsAlgorithm::Rs256.generate_key_pair(2048).unwrap();
    let rs256 = RS256.signer_from_pem(pair.to_pem_private_key()).unwrap();
    let none =
        |alg: &str| format!("{}.{payload}", encode(format!(r#"{{"alg":"{alg}","kid":"3"}}"#)));

    let forgeries = [
        // No signature, however "none" is spelled.
        (format!("{}.", none("none")), TokenError::Algorithm),
        (format!("{}.{signature}", none("None")), TokenError::Algorithm),
        (format!("{}.", none("HS512")), TokenError::Forged),
        (format!("{header}.{payload}."), TokenError::Forged),
        // Another algorithm, under its own name and under ours.
        (signed_by("HS256", &hs256), TokenError::Algorithm),
        (signed_by("HS384", &hs384), TokenError::Algorithm),
        (signed_by("hs512", &other), TokenError::Algorithm),
        (signed_by("RS256", &rs256), TokenError::Algorithm),
        (signed_by("HS512", &hs256), TokenError::Forged),
        (signed_by("HS512", &hs384), TokenError::Forged),
        (signed_by("HS512", &rs256), TokenError::Forged),
        // Another key, under the sequence of ours.
        (signed_by("HS512", &other), TokenError::Forged),
        // No `kid`, or an odd one.
        (mint(r#"{"alg":"HS512"}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":3}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":""}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":"+3"}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":"03"}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":"3\u0000"}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":"99999999999"}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":"4"}"#, &payload_text), TokenError::UnknownKey(4)),
        (mint(r#"{"alg":"HS512","kid":"-3"}"#, &payload_text), TokenError::UnknownKey(-3)),
        // Headers that would have us do something, and fields that occur twice.
        (mint(r#"{"alg":"HS512","kid":"3","crit":["exp"],"exp":1}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":"3","crit":[]}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":"3","b64":false}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":"3","jku":"https://evil"}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":"3","jwk":{"kty":"oct","k":"AA"}}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":"3","typ":"JWE"}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"none","alg":"HS512","kid":"3"}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":"4","kid":"3"}"#, &payload_text), TokenError::Malformed),
        (mint(r#"[]"#, &payload_text), TokenError::Malformed),
        (mint("", &payload_text), TokenError::Malformed),
        // Other forms: parts missing or too many, the JSON forms, padding, white space.
        (String::new(), TokenError::Malformed),
        (format!("{header}.{payload}"), TokenError::Malformed),
        (format!("{good}."), TokenError::Malformed),
        (format!("{good}.{signature}"), TokenError::Malformed),
        (json!({"payload": payload, "signatures": [
            {"protected": header, "signature": signature}, {"protected": header, "signature": signature},
        ]}).to_string(), TokenError::Malformed),
        (format!("{good}=="), TokenError::Malformed),
        (format!(" {good}"), TokenError::Malformed),
        (format!("{good}\n"), TokenError::Malformed),
        (format!("{header}.{payload}.{}", encode([0; 65])), TokenError::Forged),
        (format!("{header}.{}.{signature}", encode("{}")), TokenError::Forged),
        ("a".repeat(8192), TokenError::Malformed),
        ("a".repeat(8193), TokenError::Oversize),
        (format!("{good}{}", ".".repeat(9000)), TokenError::Oversize),
    ];
    for (forgery, fault) in forgeries {
        assert_eq!(verify(&forgery), Err(fault), "{forgery}");
    }
}

#[test]
fn an_authentic_token_with_other_claims_is_none_of_ours() {
    let text = claims().to_string();
    for odd in [
        "",
        "[]",
        "{}",
        "null",
        &text[..text.len() - 1],
        &format!("{text}{text}"),
        &format!("{text} x"),
        &text.replacen('{', r#"{"exp":1,"#, 1),
        &text.replacen('{', r#"{"user_id":"00000000-0000-0000-0000-000000000009","#, 1),
        &text.replace(r#""request":{"#, r#""request":{"base_path":"/evil/","#),
        &text.replace(AGENT, "not-an-id"),
        &text.replace(r#""app_url":"http://127.0.0.1:8080""#, r#""app_url":null"#),
    ] {
        assert_eq!(verify(&mint(HEADER, odd)), Err(TokenError::Claims), "{odd}");
    }
    for missing in ["exp", "request", "user_id", "workspace_id", "agent_id", "app_url"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(missing);
        assert_eq!(
            verify(&mint(HEADER, &claims.to_string())),
            Err(TokenError::Claims),
            "{missing}"
        );
    }
    for unsound in [r#""access_method":"""#, r#""access_method":"Path""#] {
        let odd = text.replace(r#""access_method":"path""#, unsound);
        assert!(matches!(verify(&mint(HEADER, &odd)), Err(TokenError::Request(_))));
    }
    let me = text.replace(r#""username_or_id":"foo""#, r#""username_or_id":"me""#);
    assert!(matches!(verify(&mint(HEADER, &me)), Err(TokenError::Request(_))));
}

fn find(query: Option<&str>, cookies: &[&str], request: &AppRequest) -> Found {
    let candidates = PresentedTokens { query, cookies: cookies.to_vec() };
    ring().find(&candidates, request, now(), LEEWAY)
}

fn is_found(query: Option<&str>, cookies: &[&str], request: &AppRequest) -> bool {
    matches!(find(query, cookies, request), Found::Token(_))
}

// scenario 39, 40, 42, 43
#[test]
fn the_first_matching_token_of_four_is_taken() {
    let good = sign(request(), now());
    let expired = sign(request(), now() - seconds(600));
    let other = sign(changed(|r| r.app_slug_or_port = "other".to_owned()), now());
    assert!(is_found(None, &["garbage", &expired, &good], &request()));
    assert!(is_found(None, &["a", "b", "c", &good], &request()));
    assert!(!is_found(None, &["a", "b", "c", "d", &good], &request()));
    assert!(!is_found(None, &["a", "b", "c", "d", "e", &good], &request()));
    assert!(is_found(None, &[&other, &good], &request()));
    assert!(!is_found(None, &[&other], &request()));
    assert!(!is_found(None, &[], &request()));

    let shell = sign(terminal(), now());
    assert!(!is_found(Some("garbage"), &[&good], &request()));
    assert!(!is_found(Some(&good), &[], &request()));
    assert!(!is_found(Some(""), &[&good], &request()));
    assert!(is_found(Some(&shell), &[], &terminal()));
    assert!(is_found(Some("garbage"), &[&shell], &terminal()));
    assert!(!is_found(Some(&good), &[], &terminal()));
    assert!(!is_found(Some("garbage"), &["b", "c", "d", &shell], &terminal()));

    let unknown = mint(r#"{"alg":"HS512","kid":"9"}"#, "{}");
    assert_eq!(find(None, &["x", &unknown], &request()), Found::Nothing { missing: Some(9) });
    assert!(is_found(None, &[&unknown, &good], &request()));
    // A key that is known to be over is not missing.
    let ended =
        CryptoKey { deletes_at: Some(now()), ..key(Feature::WorkspaceAppsToken, 3, &SECRET) };
    let ended = KeyRing::<Hs512Key>::new(&[ended]).unwrap();
    let candidates = PresentedTokens { query: None, cookies: vec![&good] };
    let nothing = Found::Nothing { missing: None };
    assert_eq!(ended.find(&candidates, &request(), now(), LEEWAY), nothing);
    assert_eq!(find(None, &["x"], &request()), Found::Nothing { missing: None });
}

#[test]
fn a_token_for_another_base_path_opens_nothing_else_and_no_longer() {
    let old = sign(request(), now());
    let later = now() + seconds(50);
    let new = ring().rebase(&old, "/app/a (1)/", later, LEEWAY).unwrap();
    let (was, is) = (verify(&old).unwrap(), verify(new.reveal()).unwrap());
    assert!(is.matches(&changed(|fields| fields.base_path = "/app/a (1)".to_owned())));
    assert!(!is.matches(&request()));
    assert_eq!((is.expires_at(), new.expires_at()), (was.expires_at(), was.expires_at()));
    let fields = UncheckedRequest {
        base_path: was.request().base_path().to_owned(),
        ..is.request().to_unchecked()
    };
    assert_eq!(fields, was.request().to_unchecked());
    assert_eq!(is.grant(), was.grant());
    assert_eq!(**new.token(), is);

    // Claims of other servers stay, too.
    let mut foreign = claims();
    foreign["newer"] = json!({ "kept": true });
    let minted = mint(r#"{"alg":"HS512","kid":"3"}"#, &foreign.to_string());
    let new = ring().rebase(&minted, "/b/", now(), LEEWAY).unwrap();
    let payload = new.reveal().split('.').nth(1).unwrap();
    assert_eq!(**new.token(), verify(new.reveal()).unwrap());
    let told: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    foreign["request"]["base_path"] = "/b/".into();
    assert_eq!(told, foreign);

    let refused = |token: &str, at| ring().rebase(token, "/b/", at, LEEWAY).unwrap_err();
    for (token, at, fault) in [
        (&*old, now() + TOKEN_LIFETIME + LEEWAY + seconds(1), TokenError::Expired),
        (&*format!("{old}A"), now(), TokenError::Forged),
        (&*sign(terminal(), now()), now(), TokenError::Claims),
    ] {
        assert_eq!(refused(token, at), Error::InvalidToken(fault));
    }
}

fn session() -> SessionToken {
    "0123456789-abcdefghijklmnopqrstuv".parse().unwrap()
}

fn open(sealed: &str) -> Result<SessionToken, TokenError> {
    seals().open(sealed, now(), LEEWAY)
}

fn sealed_claims() -> Value {
    json!({
        "iss": "coderd", "aud": ["wsproxy"], "exp": 1_800_000_060_u64, "nbf": 1_799_999_940_u64,
        "api_key": session().reveal(),
    })
}

fn seal(payload: &str, change: impl FnOnce(&mut JweHeader)) -> String {
    let mut header = JweHeader::new();
    header.set_content_encryption("A256GCM");
    header.set_key_id("5");
    change(&mut header);
    let encrypter = A256GCMKW.encrypter_from_bytes(SEAL_SECRET).unwrap();
    JweContext::new().serialize_compact(payload.as_bytes(), &header, &encrypter).unwrap()
}

// scenario 57
#[test]
fn a_sealed_session_token_is_opened_again() {
    let sealed = seals().seal(&session(), now()).unwrap();
    assert!(!sealed.contains(session().id()));
    assert_eq!(open(&sealed), Ok(session()));
    let header = URL_SAFE_NO_PAD.decode(sealed.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    let fields = ["alg", "enc", "zip", "kid"].map(|name| header[name].as_str().unwrap().to_owned());
    assert_eq!(fields, ["A256GCMKW", "A256GCM", "DEF", "5"]);

    let at = |time| seals().open(&sealed, time, LEEWAY);
    assert!(at(now() + seconds(65)).is_ok() && at(now() - seconds(65)).is_ok());
    assert_eq!(at(now() + seconds(66)), Err(TokenError::Expired));
    assert_eq!(at(now() - seconds(66)), Err(TokenError::NotYetValid));

    // Without compression, and for one audience: as another library may write it.
    let mut claims = sealed_claims();
    claims["aud"] = json!("wsproxy");
    assert_eq!(open(&seal(&claims.to_string(), |_| {})), Ok(session()));
    let typed = seal(&claims.to_string(), |header| {
        header.set_token_type("JWT");
        header.set_content_type("JWT");
    });
    assert_eq!(open(&typed), Ok(session()));
}

// scenario 45, 46, 55
#[test]
fn a_seal_is_ours_whole_and_complete() {
    let text = sealed_claims().to_string();
    let with = |claim: &str, value: Value| {
        let mut claims = sealed_claims();
        claims[claim] = value;
        open(&seal(&claims.to_string(), |_| {}))
    };
    assert_eq!(with("iss", json!("coder2")), Err(TokenError::Issuer));
    assert_eq!(with("aud", json!(["other"])), Err(TokenError::Audience));
    assert_eq!(with("aud", json!([])), Err(TokenError::Audience));
    assert_eq!(with("iat", json!(1_800_000_180_u64)), Err(TokenError::IssuedInFuture));
    assert_eq!(with("api_key", json!("nonsense")), Err(TokenError::Claims));
    for required in ["iss", "aud", "exp", "nbf", "api_key"] {
        let mut claims = sealed_claims();
        claims.as_object_mut().unwrap().remove(required);
        let opened = open(&seal(&claims.to_string(), |_| {}));
        assert_eq!(opened, Err(TokenError::Claims), "{required}");
    }
    let twice = text.replacen('{', r#"{"iss":"coderd","#, 1);
    assert_eq!(open(&seal(&twice, |_| {})), Err(TokenError::Claims));

    let by = |change: fn(&mut JweHeader)| open(&seal(&text, change));
    assert_eq!(by(|header| header.set_key_id("6")), Err(TokenError::UnknownKey(6)));
    assert_eq!(by(|header| header.set_content_encryption("A128GCM")), Err(TokenError::Algorithm));
    assert_eq!(
        by(|header| header.set_content_encryption("A256CBC-HS512")),
        Err(TokenError::Algorithm)
    );
    assert_eq!(by(|header| header.set_critical(&vec!["exp"])), Err(TokenError::Malformed));
    assert_eq!(by(|header| header.set_jwk_set_url("https://evil")), Err(TokenError::Malformed));

    let mut header = JweHeader::new();
    header.set_content_encryption("A256GCM");
    header.set_key_id("5");
    let context = JweContext::new();
    let direct = Dir.encrypter_from_bytes(SEAL_SECRET).unwrap();
    let direct = context.serialize_compact(text.as_bytes(), &header, &direct).unwrap();
    assert_eq!(open(&direct), Err(TokenError::Malformed));
    let narrow = A192GCMKW.encrypter_from_bytes(&SEAL_SECRET[..24]).unwrap();
    let narrow = context.serialize_compact(text.as_bytes(), &header, &narrow).unwrap();
    assert_eq!(open(&narrow), Err(TokenError::Algorithm));
    let foreign = A256GCMKW.encrypter_from_bytes([8; 32]).unwrap();
    let foreign = context.serialize_compact(text.as_bytes(), &header, &foreign).unwrap();
    assert_eq!(open(&foreign), Err(TokenError::Forged));
}

#[test]
fn a_seal_with_a_short_tag_is_not_tried() {
    let sealed = seal(&sealed_claims().to_string(), |_| {});
    let parts: Vec<&str> = sealed.split('.').collect();
    let tag = URL_SAFE_NO_PAD.decode(parts[4]).unwrap();
    for length in 0..16 {
        let short = [parts[0], parts[1], parts[2], parts[3], &encode(&tag[..length])].join(".");
        assert_eq!(open(&short), Err(TokenError::Malformed), "{length}");
    }
    let header = URL_SAFE_NO_PAD.decode(parts[0]).unwrap();
    let mut header: Value = serde_json::from_slice(&header).unwrap();
    let wrap_tag = URL_SAFE_NO_PAD.decode(header["tag"].as_str().unwrap()).unwrap();
    for length in [0, 4, 12, 15] {
        header["tag"] = json!(encode(&wrap_tag[..length]));
        let short = [&encode(header.to_string()), parts[1], parts[2], parts[3], parts[4]].join(".");
        assert_eq!(open(&short), Err(TokenError::Malformed), "{length}");
    }
}

#[test]
fn the_header_of_a_seal_is_read_strictly() {
    let sealed = seal(&sealed_claims().to_string(), |_| {});
    let (header, rest) = sealed.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    let with = |field: &str, value: &str| {
        let mut header = header.clone();
        header[field] = json!(value);
        open(&format!("{}.{rest}", encode(header.to_string())))
    };
    // The header is sealed too, so whatever passes for one of ours is still forged.
    assert_eq!(with("typ", "jwt"), Err(TokenError::Forged));
    assert_eq!(with("cty", "jwt"), Err(TokenError::Forged));
    for (field, value, fault) in [
        ("alg", "A192GCMKW", TokenError::Algorithm),
        ("enc", "A128GCM", TokenError::Algorithm),
        ("zip", "GZIP", TokenError::Algorithm),
        ("typ", "JWE", TokenError::Malformed),
        ("cty", "JWE", TokenError::Malformed),
        ("iv", "AAAAAAAAAAA", TokenError::Malformed),
        ("tag", "AAAAAAAAAAA", TokenError::Malformed),
        ("kid", "05", TokenError::Malformed),
    ] {
        assert_eq!(with(field, value), Err(fault), "{field} {value}");
    }
}

#[test]
fn the_sealed_token_leaves_the_address_and_the_address_stays_here() {
    let clean =
        |path: &str, query: &str| without_api_key(path, &query.replace("KEY", API_KEY_PARAMETER));
    assert_eq!(clean("/a/b%2Fc/", "x=1&KEY=secret&y=%20"), "/a/b%2Fc/?x=1&y=%20");
    assert_eq!(clean("/", "KEY=secret"), "/");
    assert_eq!(clean("/", "KEY"), "/");
    assert_eq!(clean("/", "KEY=a&KEY=b&z"), "/?z");
    assert_eq!(clean("/", "coder%5Fapplication%5fconnect_api_key_35e783=secret&a"), "/?a");
    assert_eq!(clean("/", "&&a&&"), "/?a");
    assert_eq!(clean("", ""), "/");
    for path in ["//evil.com/x", "/\\evil.com/x", "\\/evil.com/x", "///evil.com/x"] {
        assert_eq!(clean(path, "KEY=s"), "/evil.com/x");
    }
    for odd in ["%", "%4", "%zz", "%+1"] {
        assert_eq!(clean("/", odd), format!("/?{odd}"));
    }
}

#[test]
fn proxies_verify_with_public_keys_alone() {
    let rows = [
        key(Feature::WorkspaceAppsToken, 3, &SECRET),
        CryptoKey { deletes_at: Some(now()), ..key(Feature::WorkspaceAppsToken, 2, &[1; 64]) },
        CryptoKey {
            starts_at: now() + seconds(60),
            ..key(Feature::WorkspaceAppsToken, 4, &[2; 64])
        },
    ];
    let private = KeyRing::<EddsaKey>::new(&rows).unwrap();
    let jwks = private.jwks(now()).unwrap();
    let set: Value = serde_json::from_str(&jwks).unwrap();
    let kids: Vec<&str> =
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
    assert_eq!(kids, ["4", "3"]);
    for field in ["d", "k"] {
        assert!(set["keys"][0].get(field).is_none());
    }

    let target = target(request());
    let owner = app_authz::rbac::BuiltInRoles::new(Default::default())
        .role(&app_authz::rbac::RoleName::OWNER, Default::default());
    let subject = Subject::new(target.workspace.owner, owner.map(Into::into), Scope::all());
    let permit = decide(&target, Some(&subject), Rules::default()).unwrap();
    let token = private.sign(&permit, now()).unwrap();
    assert_eq!(format!("{token:?}"), "SignedToken(..)");
    assert_eq!(token.expires_at(), now() + TOKEN_LIFETIME);
    let public = KeyRing::<EddsaPublicKey>::from_jwks(&jwks).unwrap();
    let seen = public.verify(token.reveal(), now(), LEEWAY).unwrap();
    assert!(seen.matches(&request()));
    assert_eq!(private.verify(token.reveal(), now(), LEEWAY), Ok(seen));

    // Neither algorithm is taken for the other, not even with the public key as a secret.
    assert_eq!(verify(token.reveal()), Err(TokenError::Algorithm));
    let hmac = sign(request(), now());
    assert_eq!(public.verify(&hmac, now(), LEEWAY), Err(TokenError::Algorithm));
    let x = URL_SAFE_NO_PAD.decode(set["keys"][1]["x"].as_str().unwrap()).unwrap();
    for alg in ["HS512", "EdDSA"] {
        let text = format!(
            "{}.{}",
            encode(format!(r#"{{"alg":"{alg}","kid":"3"}}"#)),
            encode(claims().to_string())
        );
        let signature =
            HS512.signer_from_bytes(x.repeat(2)).unwrap().sign(text.as_bytes()).unwrap();
        assert!(public.verify(&format!("{text}.{}", encode(signature)), now(), LEEWAY).is_err());
    }
    let mut bytes = token.reveal().as_bytes().to_vec();
    let last = bytes.len() - 10;
    bytes[last] = if bytes[last] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(bytes).unwrap();
    assert_eq!(public.verify(&changed, now(), LEEWAY), Err(TokenError::Forged));
    assert_eq!(private.verify(&changed, now(), LEEWAY), Err(TokenError::Forged));

    let x = set["keys"][1]["x"].as_str().unwrap();
    assert!(format!("{public:?}").contains(&format!("material: EddsaPublicKey({x})")));
    let printed = format!("{private:?}");
    assert!(printed.contains("material: EddsaKey(..)") && !printed.contains(x), "{printed}");
}

#[test]
fn a_set_of_keys_is_read_strictly_and_foreign_keys_are_passed_over() {
    let ring = KeyRing::<EddsaKey>::new(&[key(Feature::WorkspaceAppsToken, 3, &SECRET)]).unwrap();
    let good: Value = serde_json::from_str(&ring.jwks(now()).unwrap()).unwrap();
    let own = &good["keys"][0];
    let with =
        |keys: Vec<Value>| KeyRing::<EddsaPublicKey>::from_jwks(&json!({"keys": keys}).to_string());
    let changed = |name: &str, value: Value| {
        let mut key = own.clone();
        key[name] = value;
        key
    };
    assert!(with(vec![own.clone()]).unwrap().knows(3));
    let foreign = vec![
        json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "x"}),
        changed("crv", json!("X25519")),
        changed("use", json!("enc")),
        changed("alg", json!("RS256")),
    ];
    assert!(!with(foreign).unwrap().knows(3));
    for broken in [
        vec![own.clone(), own.clone()],
        vec![changed("kid", json!(null))],
        vec![changed("kid", json!("03"))],
        vec![changed("x", json!(null))],
        vec![changed("x", json!("AAAA"))],
        vec![changed("x", json!("not base64!"))],
        vec![json!({})],
    ] {
        assert_eq!(with(broken).unwrap_err(), Error::InvalidJwks);
    }
    let good = good.to_string();
    let padded = |length: usize| format!("{}{good}", " ".repeat(length - good.len()));
    assert!(KeyRing::<EddsaPublicKey>::from_jwks(&padded(65_536)).is_ok());
    for text in ["", "{}", "[]", &padded(65_537)] {
        assert_eq!(KeyRing::<EddsaPublicKey>::from_jwks(text).unwrap_err(), Error::InvalidJwks);
    }
}

#[test]
fn secrets_and_tokens_are_not_printed() {
    let key = key(Feature::WorkspaceAppsToken, 3, &SECRET);
    let printed = format!("{key:?} {:?} {:?} {:?}", ring(), seals(), session());
    assert!(!printed.contains("7, 7") && !printed.contains("0707") && !printed.contains("abcdef"));
    for blank in ["secret: Some(Secret(..))", "material: Hs512Key(..)", "material: SealKey(..)"] {
        assert!(printed.contains(blank), "{printed}");
    }
    let target = target(request());
    let permit = decide(&target, None, Rules::default());
    assert!(permit.is_err());
    assert_eq!(ring().signing(now() - seconds(3601)).unwrap_err(), Error::NoSigningKey);
}

proptest! {
    #[test]
    fn no_changed_token_is_taken(at in any::<prop::sample::Index>(), flip in 1..128_u8) {
        let sealed = seals().seal(&session(), now()).unwrap();
        let signed = sign(request(), now());
        for (text, is_signed) in [(signed, true), (sealed, false)] {
            let mut bytes = text.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            // A token is ASCII, and so is what the flip makes of it.
            let other = String::from_utf8(bytes).unwrap();
            let is_refused = |text: &str| match is_signed {
                true => verify(text).is_err(),
                false => open(text).is_err(),
            };
            prop_assert!(is_refused(&other), "{}", other);
            prop_assert!(is_refused(&text[..at]));
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>(), dotted in "[A-Za-z0-9_-]{0,40}(\\.[A-Za-z0-9_-]{0,40}){0,6}") {
        for text in [text, dotted] {
            prop_assert!(verify(&text).is_err());
            prop_assert!(open(&text).is_err());
            prop_assert!(without_api_key(&text, &text).starts_with('/'));
        }
    }

    #[test]
    fn any_request_is_signed_and_verified_alike(
        base in "/[a-z@%/]{0,10}",
        parts in prop::array::uniform4("[a-zA-Z0-9é\"\\\\-]{1,12}"),
    ) {
        let [user, workspace, agent, slug] = parts;
        prop_assume!(user != "me");
        let request = changed(|r| {
            r.base_path = base;
            r.username_or_id = user;
            r.workspace_name_or_id = workspace;
            r.agent_name_or_id = agent;
            r.app_slug_or_port = slug;
        });
        let token = verify(&sign(request.clone(), now())).unwrap();
        prop_assert!(token.matches(&request));
        prop_assert_eq!(token.request(), &request);
    }
}
