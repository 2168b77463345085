//! App tokens compared with josekit's bare decoding of the same token under the same key

use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use app_authz::app::AccessMethod;
use app_authz::token::{
    CryptoKey, EddsaKey, Feature, Hs512Key, KeyMaterial, KeyRing, LEEWAY, Secret, SigningKey,
};
use app_authz::{Rules, decide};
use josekit::jwk::Jwk;
use josekit::jws::{EdDSA, HS512, JwsVerifier};
use josekit::jwt;
use serde_json::Value;

use super::corpus::target;
use crate::{Case, Duel, Goal, Row, Setting, Suite, repeat};

/// The verification of app tokens
pub static TOKENS: Suite = Suite {
    id: "tokens",
    title: "App tokens: against josekit's bare decode",
    feature: None,
    rows: &[
        Row::new("verified, HS512", "josekit's decode", Goal::AtMost(0.5)),
        Row::new("verified, EdDSA", "josekit's decode", Goal::AtMost(1.0)),
    ],
    prepare,
};

fn prepare(_: &Setting) -> Vec<Case> {
    vec![hs512(), eddsa()]
}

fn hs512() -> Case {
    case::<Hs512Key>(ring(), HS512.verifier_from_bytes(SECRET).unwrap())
}

fn eddsa() -> Case {
    let keys: KeyRing<EddsaKey> = ring();
    let set: Value = serde_json::from_str(&keys.jwks(now()).unwrap()).unwrap();
    let jwk = Jwk::from_map(set["keys"][0].as_object().unwrap().clone()).unwrap();
    case(keys, EdDSA.verifier_from_jwk(&jwk).unwrap())
}

/// The floor verifies the signature and parses the claims as JSON; it checks no claim and no time
fn case<K: SigningKey + 'static>(keys: KeyRing<K>, verifier: impl JwsVerifier + 'static) -> Case {
    let target = target(AccessMethod::Subdomain);
    let permit = decide(&target, None, Rules::default()).unwrap();
    let token = keys.sign(&permit, now()).unwrap().reveal().to_owned();
    let floor = {
        let token = token.clone();
        move || {
            black_box(jwt::decode_with_verifier(black_box(&token), &verifier).unwrap());
        }
    };
    let ours = Rc::new(move || {
        let verified = keys.verify(black_box(&token), now(), LEEWAY).unwrap();
        assert!(black_box(verified).matches(target.request()));
    });
    let once = Rc::clone(&ours);
    let duel = Duel::new(repeat(Box::new(floor)), repeat(Box::new(move || ours())));
    Case::Duel(duel.with_allocations(Box::new(move || once())))
}

fn ring<K: KeyMaterial>() -> KeyRing<K> {
    let key =
        CryptoKey::new(Feature::WorkspaceAppsToken, 1, Secret::new(SECRET), SystemTime::UNIX_EPOCH);
    KeyRing::new(&[key]).unwrap()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

const SECRET: &[u8] = &[7; 64];
