//! App tokens that are verified with public keys

use app_authz::rbac::{Scope, Subject};
use app_authz::token::{
    CryptoKey, EddsaKey, EddsaPublicKey, Feature, KeyRing, LEEWAY, Secret, TOKEN_LIFETIME,
    TokenError,
};
use app_authz::{Error, Rules, decide, decide_with};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwk::Jwk;
use josekit::jws::{EdDSA, HS512};
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey};
use openssl::sign::Signer;
use serde_json::{Value, json};

use super::{SECRET, claims, encode, key, now, request, seconds, sign, target, verify};

#[test]
fn proxies_verify_with_public_keys_only() {
    let rows = [
        key(Feature::WorkspaceAppsToken, 3, &SECRET),
        key(Feature::WorkspaceAppsToken, 2, &[1; 64]).with_deletes_at(now()),
        CryptoKey::new(Feature::WorkspaceAppsToken, 4, Secret::new([2; 64]), now() + seconds(60)),
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
    let subject = Subject::new(target.workspace().owner, owner.map(Into::into), Scope::all());
    let permit = decide(&target, Some(&subject), Rules::default()).unwrap();
    let token = private.sign(&permit, now()).unwrap();
    assert_eq!(format!("{token:?}"), "SignedToken(..)");
    assert_eq!(token.expires_at(), now() + TOKEN_LIFETIME);
    let public = KeyRing::<EddsaPublicKey>::from_jwks(&jwks).unwrap();
    let seen = public.verify(token.reveal(), now(), LEEWAY).unwrap();
    assert!(seen.matches(&request()));
    assert_eq!(private.verify(token.reveal(), now(), LEEWAY), Ok(seen));

    // Neither algorithm is accepted for the other, nor the public key as an HMAC secret.
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

/// The key pair and the signatures are those that OpenSSL makes of the same secret.
#[test]
fn openssl_agrees_on_keys_and_signatures() {
    let hmac = PKey::hmac(&SECRET).unwrap();
    let mut seed = Signer::new(MessageDigest::sha512(), &hmac)
        .and_then(|mut signer| signer.sign_oneshot_to_vec(b"authd app token ed25519 seed 1"))
        .unwrap();
    seed.truncate(32);
    let pair = PKey::private_key_from_raw_bytes(&seed, Id::ED25519).unwrap();

    let ring = KeyRing::<EddsaKey>::new(&[key(Feature::WorkspaceAppsToken, 3, &SECRET)]).unwrap();
    let set: Value = serde_json::from_str(&ring.jwks(now()).unwrap()).unwrap();
    assert_eq!(set["keys"][0]["x"], encode(pair.raw_public_key().unwrap()));

    let text =
        format!("{}.{}", encode(r#"{"alg":"EdDSA","kid":"3"}"#), encode(claims().to_string()));
    let signature = Signer::new_without_digest(&pair)
        .and_then(|mut signer| signer.sign_oneshot_to_vec(text.as_bytes()))
        .unwrap();
    let theirs = format!("{text}.{}", encode(signature));
    let token = ring.verify(&theirs, now(), LEEWAY).unwrap();

    let jwk = Jwk::from_map(set["keys"][0].as_object().unwrap().clone()).unwrap();
    let verifier = EdDSA.verifier_from_jwk(&jwk).unwrap();
    let target = target(token.request().clone());
    let permit = decide_with(&target, None, |_| true).unwrap();
    let ours = ring.sign(&permit, now()).unwrap();
    assert!(josekit::jws::deserialize_compact(ours.reveal(), &verifier).is_ok());
}

#[test]
fn a_set_of_keys_is_parsed_strictly_and_foreign_keys_are_skipped() {
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
