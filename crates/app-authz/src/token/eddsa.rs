use std::collections::HashSet;
use std::fmt;
use std::time::SystemTime;

use josekit::jwk::Jwk;
use josekit::jws::alg::eddsa::{EddsaJwsSigner, EddsaJwsVerifier};
use josekit::jws::{EdDSA, JwsSigner, JwsVerifier};
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey};
use openssl::sign::Signer;
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
    signer: EddsaJwsSigner,
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
        self.signer.sign(message).map_err(|_| Error::SigningFailed)
    }
}

impl KeyMaterial for EddsaKey {
    const FEATURE: Feature = Feature::WorkspaceAppsToken;

    fn prepare(sequence: i32, secret: &Secret) -> Result<Self, Error> {
        let (seed, x) = derive(fitting::<Self>(secret)?).ok_or(Error::InvalidSecret)?;
        let (seed, x) = (compact::encode(&seed), compact::encode(&x));
        let mut jwk = Jwk::new("OKP");
        for (name, value) in [("crv", CURVE), ("x", &x), ("d", &seed)] {
            let value = Some(serde_json::Value::String(value.to_owned()));
            jwk.set_parameter(name, value).map_err(|_| Error::InvalidSecret)?;
        }
        Ok(Self {
            signer: EdDSA.signer_from_jwk(&jwk).map_err(|_| Error::InvalidSecret)?,
            public: EddsaPublicKey::new(sequence, &x).ok_or(Error::InvalidSecret)?,
        })
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
    verifier: EddsaJwsVerifier,
}

impl EddsaPublicKey {
    fn new(sequence: i32, x: &str) -> Option<Self> {
        let mut jwk = Jwk::new("OKP");
        for (name, value) in [("crv", CURVE), ("x", x)] {
            let value = Some(serde_json::Value::String(value.to_owned()));
            jwk.set_parameter(name, value).ok()?;
        }
        if compact::decode(x).ok()?.len() != PUBLIC_LEN {
            return None;
        }
        Some(Self {
            header: header(EDDSA, sequence),
            x: x.to_owned(),
            verifier: EdDSA.verifier_from_jwk(&jwk).ok()?,
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
        self.verifier.verify(message, signature).is_ok()
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
            let key = jwk.x.as_deref().and_then(|x| EddsaPublicKey::new(sequence, x));
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

/// Derives the private and the public key from a secret
///
/// The label separates the seed from messages that the secret signs as an HMAC key.
fn derive(secret: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let key = PKey::hmac(secret).ok()?;
    let mut signer = Signer::new(MessageDigest::sha512(), &key).ok()?;
    let mut seed = signer.sign_oneshot_to_vec(b"authd app token ed25519 seed 1").ok()?;
    seed.truncate(SEED_LEN);
    let pair = PKey::private_key_from_raw_bytes(&seed, Id::ED25519).ok()?;
    let public = pair.raw_public_key().ok()?;
    Some((seed, public))
}

const EDDSA: &str = "EdDSA";
const CURVE: &str = "Ed25519";
const SEED_LEN: usize = 32;
const PUBLIC_LEN: usize = 32;

/// A hundred times the size of a set with the keys of a deployment
const MAX_JWKS_LEN: usize = 64 * 1024;
