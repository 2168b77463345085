//! App tokens compared with josekit's bare decoding of the same token under the same key

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use app_authz::app::AccessMethod;
use app_authz::token::{
    CryptoKey, EddsaKey, Feature, Hs512Key, KeyRing, LEEWAY, Secret, SigningKey,
};
use app_authz::{Rules, decide};
use josekit::jwk::Jwk;
use josekit::jws::{EdDSA, HS512, JwsVerifier};
use josekit::jwt;
use serde_json::Value;

use crate::corpus::target;

/// A token: its verification, and the minimum of decoding it
pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) floor: Box<dyn Fn()>,
    pub(crate) ours: Box<dyn Fn()>,
}

pub(crate) fn hs512() -> Side {
    let verifier = HS512.verifier_from_bytes(SECRET).unwrap();
    side::<Hs512Key>("app token, HS512", ring(), verifier)
}

pub(crate) fn eddsa() -> Side {
    let keys: KeyRing<EddsaKey> = ring();
    let set: Value = serde_json::from_str(&keys.jwks(now()).unwrap()).unwrap();
    let jwk = Jwk::from_map(set["keys"][0].as_object().unwrap().clone()).unwrap();
    side("app token, EdDSA", keys, EdDSA.verifier_from_jwk(&jwk).unwrap())
}

/// The floor verifies the signature and parses the claims as JSON; it checks no claim and no time
fn side<K: SigningKey + 'static>(
    name: &'static str,
    keys: KeyRing<K>,
    verifier: impl JwsVerifier + 'static,
) -> Side {
    let target = target(AccessMethod::Subdomain);
    let permit = decide(&target, None, Rules::default()).unwrap();
    let token = keys.sign(&permit, now()).unwrap().reveal().to_owned();
    Side {
        name,
        floor: Box::new({
            let token = token.clone();
            move || {
                black_box(jwt::decode_with_verifier(black_box(&token), &verifier).unwrap());
            }
        }),
        ours: Box::new(move || {
            let verified = keys.verify(black_box(&token), now(), LEEWAY).unwrap();
            assert!(black_box(verified).matches(target.request()));
        }),
    }
}

fn ring<K: app_authz::token::KeyMaterial>() -> KeyRing<K> {
    let key =
        CryptoKey::new(Feature::WorkspaceAppsToken, 1, Secret::new(SECRET), SystemTime::UNIX_EPOCH);
    KeyRing::new(&[key]).unwrap()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

const SECRET: &[u8] = &[7; 64];
