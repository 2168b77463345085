use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::{Map, Value};

use crate::error::{KeysError, TokenError};
use crate::fetch::LIMIT;
use crate::json::{self, text};
use crate::jws::{Algorithm, Jws, MAX_KID};

/// The keys with which a provider signs: a JSON Web Key Set (RFC 7517)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet(Vec<Key>);

/// A key, good for one algorithm, or for both of RSA
#[derive(Clone, PartialEq, Eq)]
struct Key {
    kid: Option<String>,
    /// The one algorithm that the key is for, if the set says so
    algorithm: Option<Algorithm>,
    public: Public,
}

#[derive(Clone, PartialEq, Eq)]
enum Public {
    /// Modulus and exponent
    Rsa(Vec<u8>, Vec<u8>),
    /// An uncompressed point
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl KeySet {
    /// The most keys that a set may have
    pub const MAX_KEYS: usize = 64;

    /// Reads a set, and keeps its keys for RS256, PS256, ES256 and EdDSA
    ///
    /// Other keys are skipped: those for encryption, symmetric ones, and RSA keys that do not have
    /// 2048 to 4096 bits and an exponent of at most three bytes. Nothing here says whose keys they
    /// are: the set has to come from the `jwks_uri` of the provider.
    ///
    /// # Errors
    ///
    /// [`KeysError`], if no key is kept, two have the same id, or the set is malformed or
    /// larger than 256 KiB.
    pub fn parse(set: &[u8]) -> Result<Self, KeysError> {
        if set.len() > LIMIT {
            return Err(KeysError::Malformed);
        }
        let set = json::object(set).ok_or(KeysError::Malformed)?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or(KeysError::Malformed)?;
        if keys.len() > Self::MAX_KEYS {
            return Err(KeysError::TooMany);
        }
        let mut kept: Vec<Key> = Vec::new();
        for key in keys.iter().filter_map(Value::as_object).filter_map(Key::of) {
            let is_same = |old: &Key| old.kid.is_some() && old.kid == key.kid && old.competes(&key);
            if kept.iter().any(is_same) {
                return Err(KeysError::Duplicate);
            }
            kept.push(key);
        }
        if kept.is_empty() {
            return Err(KeysError::NoKey);
        }
        Ok(Self(kept))
    }

    /// Verifies a token with the key that it names
    ///
    /// A token without the id of a key is verified only if the set has one key for its algorithm
    /// (OpenID Connect Core 1.0, section 10.1).
    pub(crate) fn verify(&self, jws: &Jws<'_>) -> Result<(), TokenError> {
        let mut good = self
            .0
            .iter()
            .filter(|key| key.is_for(jws.algorithm) && (jws.kid.is_none() || key.kid == jws.kid));
        match (good.next(), good.next()) {
            (Some(key), None) if key.verifies(jws) => Ok(()),
            (Some(_), None) => Err(TokenError::Signature),
            _ => Err(TokenError::UnknownKey),
        }
    }
}

impl Key {
    /// The key, if it can verify one of the known algorithms
    fn of(fields: &Map<String, Value>) -> Option<Self> {
        if text(fields, "use").is_some_and(|usage| usage != "sig") {
            return None;
        }
        // An algorithm that is not known: the key is not for this client.
        let algorithm = match text(fields, "alg") {
            Some(name) => Some(Algorithm::parse(name)?),
            None => None,
        };
        let kid = text(fields, "kid").filter(|kid| matches!(kid.len(), 1..=MAX_KID));
        let bytes = |name| URL_SAFE_NO_PAD.decode(text(fields, name)?).ok();
        let public = match (text(fields, "kty")?, text(fields, "crv")) {
            ("RSA", _) => {
                let (modulus, exponent) = (bytes("n")?, bytes("e")?);
                let unused = usize::try_from(modulus.first()?.leading_zeros()).ok()?;
                let bits = modulus.len() * 8 - unused;
                // Larger ones cost a verifier many times as much.
                if !(2048..=4096).contains(&bits) || exponent.len() > 3 {
                    return None;
                }
                Public::Rsa(modulus, exponent)
            }
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes("x")?, bytes("y")?);
                if (x.len(), y.len()) != (32, 32) {
                    return None;
                }
                Public::P256([&[4], &*x, &*y].concat())
            }
            ("OKP", Some("Ed25519")) => Public::Ed25519(bytes("x").filter(|x| x.len() == 32)?),
            _ => return None,
        };
        let key = Self { kid: kid.map(str::to_owned), algorithm, public };
        ALGORITHMS.iter().any(|algorithm| key.is_for(*algorithm)).then_some(key)
    }

    /// Whether a token of this algorithm may be verified with the key
    fn is_for(&self, algorithm: Algorithm) -> bool {
        let fits = match self.public {
            Public::Rsa(..) => matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256),
            Public::P256(_) => algorithm == Algorithm::Es256,
            Public::Ed25519(_) => algorithm == Algorithm::EdDsa,
        };
        fits && self.algorithm.is_none_or(|only| only == algorithm)
    }

    /// Whether both could verify the same token
    fn competes(&self, other: &Self) -> bool {
        ALGORITHMS.iter().any(|algorithm| self.is_for(*algorithm) && other.is_for(*algorithm))
    }

    fn verifies(&self, jws: &Jws<'_>) -> bool {
        let (message, signature) = (jws.signed, &*jws.signature);
        let verified = match &self.public {
            Public::Rsa(n, e) => {
                let algorithm = match jws.algorithm {
                    Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
                    _ => &RSA_PKCS1_2048_8192_SHA256,
                };
                RsaPublicKeyComponents { n, e }.verify(algorithm, message, signature)
            }
            Public::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Public::Ed25519(x) => UnparsedPublicKey::new(&ED25519, x).verify(message, signature),
        };
        verified.is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.public {
            Public::Rsa(..) => "RSA",
            Public::P256(_) => "P-256",
            Public::Ed25519(_) => "Ed25519",
        };
        write!(f, "Key({kind}, {:?})", self.kid)
    }
}

const ALGORITHMS: [Algorithm; 4] =
    [Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa];
