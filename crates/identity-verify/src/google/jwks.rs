use std::{collections::BTreeMap, fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::token::MAX_KID;
use crate::{Error, json, rsa::PublicKey};

/// The keys with which Google signs, by their ids
///
/// A JSON Web Key Set (RFC 7517), as Google publishes it at
/// `https://www.googleapis.com/oauth2/v3/certs`. Google replaces keys every few
/// days, so a set is good for hours only.
#[derive(Clone, Debug, Default)]
pub struct Jwks {
    keys: BTreeMap<String, VerifyingKey>,
}

impl Jwks {
    /// The most bytes a set may have
    pub const MAX_BYTES: usize = 256 << 10;

    /// The most keys a set may have
    pub const MAX_KEYS: usize = 32;

    /// No key: nothing verifies
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads a set, keeping its RSA keys that are for RS256, of 2048 to 4096 bits and
    /// with the exponent 65537
    ///
    /// Other keys are skipped, so that a set with new kinds of keys still serves.
    /// The source must be beyond doubt: nothing here says that the set is Google's.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidTrust`] if `json` is not a set, is too large, has no key to keep, or
    /// has two keys with the same id.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        if json.len() > Self::MAX_BYTES {
            return Err(Error::trust("a JWKS is larger than 256 KiB"));
        }
        let set: Set = json::object(json).ok_or(Error::trust("a JWKS is malformed"))?;
        if set.keys.len() > Self::MAX_KEYS {
            return Err(Error::trust("a JWKS has more than 32 keys"));
        }
        let mut keys = BTreeMap::new();
        for (kid, key) in set.keys.iter().filter_map(Jwk::usable) {
            if keys.insert(kid.to_owned(), key).is_some() {
                return Err(Error::trust("a JWKS has two keys of one id"));
            }
        }
        if keys.is_empty() {
            return Err(Error::trust("a JWKS has no RSA key for RS256"));
        }
        Ok(Self { keys })
    }

    /// The key of that id
    #[must_use]
    pub fn get(&self, kid: &str) -> Option<&VerifyingKey> {
        self.keys.get(kid)
    }

    /// The ids of its keys, in alphabetical order
    pub fn ids(&self) -> impl ExactSizeIterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }
}

/// An RSA public key that verifies RS256; cheap to clone
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey(Arc<PublicKey>);

impl VerifyingKey {
    pub(super) fn key(&self) -> &PublicKey {
        &self.0
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey(RSA, {} bits)", self.0.bits())
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl Jwk {
    /// The id and key, if it is for RS256 (RFC 7518, 6.3.1)
    fn usable(&self) -> Option<(&str, VerifyingKey)> {
        let allows =
            |field: &Option<String>, value: &str| field.as_ref().is_none_or(|f| f == value);
        if self.kty != "RSA" || !allows(&self.alg, "RS256") || !allows(&self.usage, "sig") {
            return None;
        }
        let kid = self.kid.as_deref().filter(|kid| matches!(kid.len(), 1..=MAX_KID))?;
        let number = |text: Option<&String>| URL_SAFE_NO_PAD.decode(text?).ok();
        let modulus = number(self.n.as_ref())?;
        let exponent = number(self.e.as_ref()).filter(|exponent| *exponent == EXPONENT)?;
        let key = PublicKey::from_components(&modulus, &exponent).ok()?;
        (key.bits() >= 2048 && key.is_cheap()).then(|| (kid, VerifyingKey(Arc::new(key))))
    }
}

/// 65537, big-endian: what Google uses, and every key of today
const EXPONENT: [u8; 3] = [1, 0, 1];
