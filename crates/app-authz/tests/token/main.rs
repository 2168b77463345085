//! App tokens and sealed session tokens, genuine and forged

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "../facts/mod.rs"]
mod facts;
mod forged;
mod options;
mod public_keys;
mod sealed;

use std::time::{Duration, SystemTime};

use app_authz::app::{CorsBehavior, Port, UncheckedRequest, Visitor};
use app_authz::rbac::{Role, Scope, Subject};
use app_authz::token::{
    AppToken, CryptoKey, Feature, Found, Hs512Key, KeyRing, LEEWAY, MAX_PRESENTED_TOKENS,
    PresentedTokens, Secret, TOKEN_LIFETIME, TokenError, TokenOptions, without_api_key,
};
use app_authz::{AgentId, AppRequest, Error, Rules, Target, UserId, WorkspaceId, decide, resolve};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jws::HS512;
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use self::facts::AGENT;
use self::sealed::{open, seals, session};

const SECRET: [u8; 64] = [7; 64];
const SEAL_SECRET: [u8; 32] = [9; 32];

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn key(feature: Feature, sequence: i32, secret: &[u8]) -> CryptoKey {
    CryptoKey::new(feature, sequence, Secret::new(secret), now() - seconds(3600))
}

fn ring() -> KeyRing<Hs512Key> {
    KeyRing::new(&[key(Feature::WorkspaceAppsToken, 3, &SECRET)]).unwrap()
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
    let name = request.agent().filter(|name| name.parse::<AgentId>().is_err()).unwrap_or("baz");
    let facts = facts::of_app(name, request.slug_or_port()).with_cors(CorsBehavior::Passthru);
    resolve(kept(request), Some(kept(facts)), Rules::default()).unwrap()
}

/// The facts of a target, leaked so that they live as long as the test
fn kept<T>(fact: T) -> &'static T {
    Box::leak(Box::new(fact))
}

/// A token that is signed for the request at that time
fn sign(request: AppRequest, at: SystemTime) -> String {
    sign_with(request, TokenOptions::default(), at)
}

fn sign_with(request: AppRequest, options: TokenOptions<'_>, at: SystemTime) -> String {
    let target = target(request);
    let everything = ["*:*".parse().unwrap()].into_iter().collect();
    let levels = app_authz::rbac::Levels::site(everything);
    let role = Role::new("all".parse().unwrap(), levels);
    let subject = Subject::new(target.workspace().owner, [role.into()], Scope::all());
    let permit = decide(&target, Some(&subject), Rules::default()).unwrap();
    let signed = ring().sign_with(&permit, options, at).unwrap();
    // Signing returns the token that verifying the text returns.
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

/// Signs any header and payload with the real secret and HS512
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
fn a_token_carries_what_was_decided() {
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
    // The only claim that the control plane does not have.
    expected["visitor"] = json!(Uuid::from_u128(1));
    assert_eq!(payload, expected);

    // A token of a control plane with fewer claims, and with others.
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
fn a_token_is_good_between_its_times() {
    let token = sign(request(), now());
    let at = |offset: Duration| ring().verify(&token, now() + offset, LEEWAY);
    let expired = Err(TokenError::Expired { exp: 1_800_000_060 });
    assert!(at(Duration::ZERO).is_ok() && at(TOKEN_LIFETIME + LEEWAY).is_ok());
    assert_eq!(at(TOKEN_LIFETIME + LEEWAY + seconds(1)), expired);
    assert_eq!(at(TOKEN_LIFETIME + Duration::from_millis(5001)), expired);
    assert_eq!(at(TOKEN_LIFETIME + seconds(180)), expired);
    let strict = ring().verify(&token, now() + TOKEN_LIFETIME + seconds(1), Duration::ZERO);
    assert_eq!(strict, expired);

    let with = |claim: &str, value: Value| {
        let mut claims = claims();
        claims[claim] = value;
        verify(&mint(HEADER, &claims.to_string()))
    };
    assert!(with("nbf", json!(1_800_000_005_u64)).is_ok());
    assert_eq!(
        with("nbf", json!(1_800_000_006_u64)),
        Err(TokenError::NotYetValid { nbf: 1_800_000_006 })
    );
    assert!(with("iat", json!(1_800_000_005_u64)).is_ok());
    assert_eq!(
        with("iat", json!(1_800_000_180_u64)),
        Err(TokenError::IssuedInFuture { iat: 1_800_000_180 })
    );
    assert_eq!(with("nbf", json!(u64::MAX)), Err(TokenError::NotYetValid { nbf: u64::MAX }));
    assert!(with("exp", json!(u64::MAX)).is_ok());
    for odd in [json!(null), json!("1800000030"), json!(1.8e9), json!(-1), json!(true)] {
        assert_eq!(with("exp", odd), Err(TokenError::Claims));
    }
}

#[test]
fn the_token_of_a_control_plane_does_not_open_a_reserved_port() {
    for (port, opens) in [("8", false), ("1s", false), ("9", true), ("code", true)] {
        let fields = UncheckedRequest {
            access_method: "subdomain".to_owned(),
            base_path: "/".to_owned(),
            app_slug_or_port: port.to_owned(),
            ..fields()
        };
        let mut claims = claims();
        claims["request"] = serde_json::to_value(&fields).unwrap();
        let token = mint(HEADER, &claims.to_string());
        let request: AppRequest = fields.try_into().unwrap();
        assert_eq!(verify(&token).unwrap().matches(&request), opens, "{port}");
        assert_eq!(is_found(None, &[&token], &request), opens, "{port}");
    }
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
fn the_first_matching_token_is_found() {
    let good = sign(request(), now());
    let expired = sign(request(), now() - seconds(600));
    let other = sign(changed(|r| r.app_slug_or_port = "other".to_owned()), now());
    assert!(is_found(None, &["garbage", &expired, &good], &request()));
    assert!(is_found(None, &["a", "b", "c", &good], &request()));
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
    assert!(is_found(Some("garbage"), &["b", "c", "d", &shell], &terminal()));

    let unknown = mint(r#"{"alg":"HS512","kid":"9"}"#, "{}");
    assert_eq!(find(None, &["x", &unknown], &request()), Found::Nothing { missing: Some(9) });
    assert!(is_found(None, &[&unknown, &good], &request()));
    // A key that the ring has, but that has ended, is not missing.
    let ended = key(Feature::WorkspaceAppsToken, 3, &SECRET).with_deletes_at(now());
    let ended = KeyRing::<Hs512Key>::new(&[ended]).unwrap();
    let candidates = PresentedTokens { query: None, cookies: vec![&good] };
    let nothing = Found::Nothing { missing: None };
    assert_eq!(ended.find(&candidates, &request(), now(), LEEWAY), nothing);
    assert_eq!(find(None, &["x"], &request()), Found::Nothing { missing: None });
}

/// Sibling hosts can set cookies before the good one, and each could cost a signature
#[test]
fn junk_does_not_hide_a_token_and_costs_a_bounded_number_of_signatures() {
    let good = sign(request(), now());
    let (head, signature) = good.rsplit_once('.').unwrap();
    let forged: Vec<String> =
        (0..100).map(|n| format!("{head}.{n:03}{}", &signature[3..])).collect();
    // What does not name a key of the ring costs no signature, so that any number is skipped.
    let unknown = mint(r#"{"alg":"HS512","kid":"9"}"#, "{}");
    let none = mint(r#"{"alg":"none","kid":"1"}"#, "{}");
    let long = format!("{head}.{}", "x".repeat(100_000));
    let mut cheap: Vec<&str> = ["x", "a.b.c", &unknown, &none, &long].repeat(40);
    cheap.push(&good);
    assert!(is_found(None, &cheap, &request()));

    let after = |junk: usize| {
        let forged = forged.iter().map(|token| &**token).take(junk);
        forged.chain([&*good]).collect::<Vec<_>>()
    };
    assert!(is_found(None, &after(4), &request()));
    assert!(is_found(None, &after(MAX_PRESENTED_TOKENS - 1), &request()));
    assert!(!is_found(None, &after(MAX_PRESENTED_TOKENS), &request()));
    // A good token of another app costs a signature too.
    let other = sign(changed(|r| r.app_slug_or_port = "other".to_owned()), now());
    let mut others = vec![&*other; MAX_PRESENTED_TOKENS];
    others.push(&good);
    assert!(!is_found(None, &others, &request()));
}

#[test]
fn a_token_for_another_base_path_opens_nothing_else_and_expires_no_later() {
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

    // Claims of other servers are kept.
    let mut foreign = claims();
    foreign["newer"] = json!({ "kept": true });
    let minted = mint(r#"{"alg":"HS512","kid":"3"}"#, &foreign.to_string());
    let new = ring().rebase(&minted, "/b/", now(), LEEWAY).unwrap();
    let payload = new.reveal().split('.').nth(1).unwrap();
    assert_eq!(**new.token(), verify(new.reveal()).unwrap());
    let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    foreign["request"]["base_path"] = "/b/".into();
    assert_eq!(payload, foreign);

    let refused = |token: &str, at| ring().rebase(token, "/b/", at, LEEWAY).unwrap_err();
    for (token, at, fault) in [
        (
            &*old,
            now() + TOKEN_LIFETIME + LEEWAY + seconds(1),
            TokenError::Expired { exp: 1_800_000_060 },
        ),
        (&*format!("{old}A"), now(), TokenError::Forged),
        (&*sign(terminal(), now()), now(), TokenError::Claims),
    ] {
        assert_eq!(refused(token, at), Error::InvalidToken(fault));
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
    fn no_changed_token_is_accepted(at in any::<prop::sample::Index>(), flip in 1..128_u8) {
        let sealed = seals().seal(&session().into(), now()).unwrap();
        let signed = sign(request(), now());
        for (text, is_signed) in [(signed, true), (sealed, false)] {
            let mut bytes = text.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            // A token is ASCII, and so is the result of the flip.
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
    fn a_signed_token_matches_its_request(
        base in "/[a-z@%/]{0,10}",
        parts in prop::array::uniform4("[a-zA-Z0-9é\"\\\\-]{1,12}"),
    ) {
        let [user, workspace, agent, slug] = parts;
        // A port is not reached by path.
        prop_assume!(user != "me" && slug.parse::<Port>().is_err());
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
