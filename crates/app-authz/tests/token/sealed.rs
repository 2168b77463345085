//! Sealed session tokens

use app_authz::credential::SessionToken;
use app_authz::token::{
    API_KEY_PARAMETER, Feature, KeyRing, LEEWAY, Nonce, SealKey, SealedSession, TokenError,
    without_api_key,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwe::{A192GCMKW, A256GCMKW, Dir, JweContext, JweHeader};
use serde_json::{Value, json};

use super::{SEAL_SECRET, encode, key, now, seconds};

pub(crate) fn seals() -> KeyRing<SealKey> {
    KeyRing::new(&[key(Feature::WorkspaceAppsApiKey, 5, &SEAL_SECRET)]).unwrap()
}

pub(crate) fn session() -> SessionToken {
    "0123456789-abcdefghijklmnopqrstuv".parse().unwrap()
}

pub(crate) fn open(sealed: &str) -> Result<SessionToken, TokenError> {
    seals().open(sealed, now(), LEEWAY).map(|sealed| sealed.token)
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
fn a_sealed_session_token_can_be_opened() {
    let sealed = seals().seal(&session().into(), now()).unwrap();
    assert!(!sealed.contains(session().id()));
    assert_eq!(open(&sealed), Ok(session()));
    let header = URL_SAFE_NO_PAD.decode(sealed.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    let fields = ["alg", "enc", "zip", "kid"].map(|name| header[name].as_str().unwrap().to_owned());
    assert_eq!(fields, ["A256GCMKW", "A256GCM", "DEF", "5"]);

    let at = |time| seals().open(&sealed, time, LEEWAY);
    assert!(at(now() + seconds(65)).is_ok() && at(now() - seconds(65)).is_ok());
    assert_eq!(at(now() + seconds(66)), Err(TokenError::Expired { exp: 1_800_000_060 }));
    assert_eq!(at(now() - seconds(66)), Err(TokenError::NotYetValid { nbf: 1_799_999_940 }));

    // Without compression and with a single audience, as another library may write it.
    let mut claims = sealed_claims();
    claims["aud"] = json!("wsproxy");
    assert_eq!(open(&seal(&claims.to_string(), |_| {})), Ok(session()));
    let typed = seal(&claims.to_string(), |header| {
        header.set_token_type("JWT");
        header.set_content_type("JWT");
    });
    assert_eq!(open(&typed), Ok(session()));
}

#[test]
fn a_sealed_session_can_be_for_one_host_and_one_browser() {
    let nonce = Nonce::generate(|bytes| bytes.copy_from_slice(b"0123456789abcdef"));
    let session = SealedSession::from(session())
        .with_nonce(nonce.clone())
        .with_host("App.example.com")
        .with_program(true);
    let sealed = seals().seal(&session, now()).unwrap();
    let opened = seals().open(&sealed, now(), LEEWAY).unwrap();
    assert_eq!(opened, session);
    // Host names are compared without case, and whole.
    for (host, is_for) in [
        ("app.example.com", true),
        ("APP.EXAMPLE.COM", true),
        ("other.example.com", false),
        ("x.app.example.com", false),
        ("app.example.com.evil.example", false),
        ("example.com", false),
        ("", false),
    ] {
        assert_eq!(opened.is_for_host(host), is_for, "{host}");
        assert!(!SealedSession::from(opened.token.clone()).is_for_host(host), "{host}");
    }

    // The session in a cookie is for one host too, and neither is taken for the other.
    let token = opened.token;
    let at = now();
    let cookie = seals().seal_cookie((&token, "app.example.com"), at).unwrap();
    let open_cookie = |text: &str, host: &str, at| seals().open_cookie((text, host), at, LEEWAY);
    assert_eq!(open_cookie(&cookie, "APP.example.com", at), Ok(token));
    assert_eq!(open_cookie(&cookie, "x.example.com", at), Err(TokenError::Audience));
    assert_eq!(open_cookie(&sealed, "app.example.com", at), Err(TokenError::Audience));
    assert_eq!(seals().open(&cookie, at, LEEWAY), Err(TokenError::Audience));
    assert_eq!(open_cookie(&cookie[1..], "app.example.com", at), Err(TokenError::Malformed));

    for nonce in [nonce.clone(), nonce.clone().again()] {
        assert_eq!(nonce.to_string().parse(), Ok(nonce));
    }
    assert!(nonce.has_value_of(&nonce.clone().again()) && !nonce.is_again());
    let upper = nonce.to_string().replace('6', "A");
    for bad in ["", "6", "61 ", &nonce.to_string()[1..], &format!("{nonce}0"), &upper] {
        assert!(bad.parse::<Nonce>().is_err(), "{bad}");
        let mut claims = sealed_claims();
        claims["nonce"] = json!(bad);
        assert_eq!(open(&seal(&claims.to_string(), |_| {})), Err(TokenError::Claims), "{bad}");
    }
}

// scenario 45, 46, 55
#[test]
fn a_sealed_token_must_be_complete_and_authentic() {
    let text = sealed_claims().to_string();
    let with = |claim: &str, value: Value| {
        let mut claims = sealed_claims();
        claims[claim] = value;
        open(&seal(&claims.to_string(), |_| {}))
    };
    assert_eq!(with("iss", json!("coder2")), Err(TokenError::Issuer));
    assert_eq!(with("aud", json!(["other"])), Err(TokenError::Audience));
    assert_eq!(with("aud", json!([])), Err(TokenError::Audience));
    assert_eq!(
        with("iat", json!(1_800_000_180_u64)),
        Err(TokenError::IssuedInFuture { iat: 1_800_000_180 })
    );
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
fn a_sealed_token_with_a_short_tag_is_refused() {
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
fn the_header_of_a_sealed_token_is_parsed_strictly() {
    let sealed = seal(&sealed_claims().to_string(), |_| {});
    let (header, rest) = sealed.split_once('.').unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    let with = |field: &str, value: &str| {
        let mut header = header.clone();
        header[field] = json!(value);
        open(&format!("{}.{rest}", encode(header.to_string())))
    };
    // The header is authenticated too, so one with our fields is still forged.
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
fn the_sealed_token_is_removed_from_the_address_and_the_host_is_kept() {
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
