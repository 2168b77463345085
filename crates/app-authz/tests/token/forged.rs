//! Tokens that must not be accepted

use app_authz::token::TokenError;
use josekit::jws::{HS256, HS384, HS512, JwsSigner, RS256};
use serde_json::json;

use super::{AGENT, HEADER, SECRET, claims, encode, mint, verify};

// scenario 51, 54
#[test]
fn only_a_token_signed_with_the_key_is_accepted() {
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
        // No signature, in all spellings of `none`.
        (format!("{}.", none("none")), TokenError::Algorithm),
        (format!("{}.{signature}", none("None")), TokenError::Algorithm),
        (format!("{}.", none("HS512")), TokenError::Forged),
        (format!("{header}.{payload}."), TokenError::Forged),
        // Another algorithm, with its own name and with ours.
        (signed_by("HS256", &hs256), TokenError::Algorithm),
        (signed_by("HS384", &hs384), TokenError::Algorithm),
        (signed_by("hs512", &other), TokenError::Algorithm),
        (signed_by("RS256", &rs256), TokenError::Algorithm),
        (signed_by("HS512", &hs256), TokenError::Forged),
        (signed_by("HS512", &hs384), TokenError::Forged),
        (signed_by("HS512", &rs256), TokenError::Forged),
        // Another key with the sequence of ours.
        (signed_by("HS512", &other), TokenError::Forged),
        // Without `kid`, or with a malformed one.
        (mint(r#"{"alg":"HS512"}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":3}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":""}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":"+3"}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":"03"}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":"3\u0000"}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":"99999999999"}"#, &payload_text), TokenError::Malformed),
        (mint(r#"{"alg":"HS512","kid":"4"}"#, &payload_text), TokenError::UnknownKey(4)),
        (mint(r#"{"alg":"HS512","kid":"-3"}"#, &payload_text), TokenError::UnknownKey(-3)),
        // Header fields that ask for something, and fields that occur twice.
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
fn an_authentic_token_with_other_claims_is_not_accepted() {
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
