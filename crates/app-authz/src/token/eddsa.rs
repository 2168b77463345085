use std::collections::HashSet;
use std::fmt;
use std::time::SystemTime;

use ring::hmac;
use ring::signature::{
    ED25519, ED25519_PUBLIC_KEY_LEN, Ed25519KeyPair, KeyPair, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};

use super::algorithm::{Sealed, SigningKey, VerifyingKey, header};
use super::compact;
use super::keys::{Entry, Feature, KeyMaterial, KeyRing, Secret, fitting};
use crate::Error;

/// Signs and verifies with EdDSA and Ed25519 (RFC 8037)
///
/// The key pair is derived from the secret that HMAC would use, so replicas share it without
/// another table. Proxies verify with the public key and have no secret.
pub struct EddsaKey {
    pair: Ed25519KeyPair,
    public: EddsaPublicKey,
}

impl Sealed for EddsaKey {}

impl VerifyingKey for EddsaKey {
    const ALGORITHM: &'static str = EDDSA;

    fn header(&self) -> &str {
        self.public.header()
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public.verifies(message, signature)
    }
}

impl SigningKey for EddsaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.pair.sign(message).as_ref().to_vec())
    }
}

impl KeyMaterial for EddsaKey {
    const FEATURE: Feature = Feature::WorkspaceAppsToken;

    fn prepare(sequence: i32, secret: &Secret) -> Result<Self, Error> {
        let pair = derive(fitting::<Self>(secret)?).ok_or(Error::InvalidSecret)?;
        let public = EddsaPublicKey::new(sequence, pair.public_key().as_ref());
        Ok(Self { public: public.ok_or(Error::InvalidSecret)?, pair })
    }
}

impl fmt::Debug for EddsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EddsaKey(..)")
    }
}

impl KeyRing<EddsaKey> {
    /// The public keys that may verify at `now`, as a JWK set (RFC 7517)
    ///
    /// Includes keys that do not sign yet, so that proxies have them in time.
    ///
    /// # Errors
    ///
    /// [`Error::SigningFailed`] if the set cannot be serialised.
    pub fn jwks(&self, now: SystemTime) -> Result<String, Error> {
        let keys = self.keys.iter().filter(|entry| entry.is_good(now));
        let keys = keys.map(|entry| PublicJwk {
            kty: "OKP".to_owned(),
            crv: Some(CURVE.to_owned()),
            x: Some(entry.material.public.x.clone()),
            kid: Some(entry.sequence.to_string()),
            usage: Some("sig".to_owned()),
            alg: Some(EDDSA.to_owned()),
        });
        let set = JwkSet { keys: keys.collect() };
        serde_json::to_string(&set).map_err(|_| Error::SigningFailed)
    }
}

/// The public key of an [`EddsaKey`], which only verifies
pub struct EddsaPublicKey {
    header: String,
    x: String,
    key: UnparsedPublicKey<[u8; ED25519_PUBLIC_KEY_LEN]>,
}

impl EddsaPublicKey {
    /// `None` if the key does not have the length of one; whether it is a point of the curve is
    /// checked with each signature
    fn new(sequence: i32, key: &[u8]) -> Option<Self> {
        let key: [u8; ED25519_PUBLIC_KEY_LEN] = key.try_into().ok()?;
        Some(Self {
            header: header(EDDSA, sequence),
            x: compact::encode(&key),
            key: UnparsedPublicKey::new(&ED25519, key),
        })
    }
}

impl Sealed for EddsaPublicKey {}

impl VerifyingKey for EddsaPublicKey {
    const ALGORITHM: &'static str = EDDSA;

    fn header(&self) -> &str {
        &self.header
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify(message, signature).is_ok()
    }
}

impl fmt::Debug for EddsaPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EddsaPublicKey({})", self.x)
    }
}

impl KeyRing<EddsaPublicKey> {
    /// Parses a JWK set as [`jwks`](KeyRing::jwks) writes it
    ///
    /// The set must come from the deployment itself; that is not checked. Keys of other types
    /// and for other uses are skipped, as a set may have any.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidJwks`] if the text is not a JWK set, if one of our keys in it is broken,
    /// or if two have the same id.
    pub fn from_jwks(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_JWKS_LEN {
            return Err(Error::InvalidJwks);
        }
        let set: JwkSet = serde_json::from_str(text).map_err(|_| Error::InvalidJwks)?;
        let mut seen = HashSet::new();
        let mut keys = Vec::new();
        for jwk in set.keys.into_iter().filter(PublicJwk::is_ours) {
            let sequence = jwk.kid.as_deref().and_then(|kid| compact::key_id(kid).ok());
            let sequence = sequence.ok_or(Error::InvalidJwks)?;
            let key = jwk.x.as_deref().and_then(|x| compact::decode(x).ok());
            let key = key.and_then(|key| EddsaPublicKey::new(sequence, &key));
            let material = key.ok_or(Error::InvalidJwks)?;
            if !seen.insert(sequence) {
                return Err(Error::InvalidJwks);
            }
            // A public key verifies as long as it is in the set. It does not sign, so its start
            // does not matter.
            let starts_at = SystemTime::UNIX_EPOCH;
            keys.push(Entry { sequence, starts_at, deletes_at: None, material });
        }
        Ok(Self::of(keys))
    }
}

#[derive(Serialize, Deserialize)]
struct JwkSet {
    keys: Vec<PublicJwk>,
}

#[derive(Serialize, Deserialize)]
struct PublicJwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    alg: Option<String>,
}

impl PublicJwk {
    fn is_ours(&self) -> bool {
        let is = |field: &Option<String>, value| field.as_deref().is_none_or(|text| text == value);
        self.kty == "OKP"
            && self.crv.as_deref() == Some(CURVE)
            && is(&self.usage, "sig")
            && is(&self.alg, EDDSA)
    }
}

/// Derives the key pair from a secret
///
/// The label separates the seed from messages that the secret signs as an HMAC key.
fn derive(secret: &[u8]) -> Option<Ed25519KeyPair> {
    let key = hmac::Key::new(hmac::HMAC_SHA512, secret);
    let seed = hmac::sign(&key, b"authd app token ed25519 seed 1");
    Ed25519KeyPair::from_seed_unchecked(seed.as_ref().get(..SEED_LEN)?).ok()
}

const EDDSA: &str = "EdDSA";
const CURVE: &str = "Ed25519";
const SEED_LEN: usize = 32;

/// A hundred times the size of a set with the keys of a deployment
const MAX_JWKS_LEN: usize = 64 * 1024;
