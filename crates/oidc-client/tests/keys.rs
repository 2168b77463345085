//! Key sets (RFC 7517)

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use common::*;
use oidc_client::{KeySet, KeysError};
use serde_json::{Value, json};

#[test]
fn keys_of_other_kinds_are_skipped_and_ids_are_unique() {
    let (rsa, ec, ed) = (Key::new("k", "RS256"), Key::new("k", "ES256"), Key::new("k", "EdDSA"));
    let parse = |keys: Value| KeySet::parse(json!({ "keys": keys }).to_string().as_bytes());
    // One id for keys of different kinds is not ambiguous.
    parse(json!([rsa.jwk(), ec.jwk(), ed.jwk()])).unwrap();
    assert_eq!(parse(json!([rsa.jwk(), rsa.jwk()])), Err(KeysError::Duplicate));
    let changed = |key: &Key, name: &str, value: Value| {
        let mut jwk = key.jwk();
        jwk[name] = value;
        jwk
    };
    for skipped in [
        json!({ "kty": "oct", "k": "AAAA", "alg": "HS256" }),
        changed(&rsa, "use", "enc".into()),
        changed(&rsa, "alg", "RSA-OAEP".into()),
        changed(&rsa, "alg", "ES256".into()),
        changed(&rsa, "n", "AQAB".into()),
        changed(&rsa, "n", "!".into()),
        changed(&rsa, "e", "AQAAAQ".into()),
        changed(&ec, "crv", "P-384".into()),
        changed(&ec, "x", "AAAA".into()),
        changed(&ed, "crv", "X25519".into()),
        json!("key"),
    ] {
        assert_eq!(parse(json!([skipped])), Err(KeysError::NoKey), "{skipped}");
        parse(json!([skipped, ed.jwk()])).unwrap();
    }
    assert_eq!(parse(json!([])), Err(KeysError::NoKey));
    assert_eq!(parse(json!(vec![1; 65])), Err(KeysError::TooMany));
    assert_eq!(KeySet::parse(b"{}"), Err(KeysError::Malformed));
    assert_eq!(KeySet::parse(&vec![b' '; 300 << 10]), Err(KeysError::Malformed));
}
