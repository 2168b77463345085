use std::fmt;

use ring::hmac;

use super::compact;
use super::keys::{Feature, KeyMaterial, Secret, fitting};
use crate::Error;

/// A key that verifies app tokens, with one fixed algorithm
///
/// Sealed: what a key verifies counts as a decision, so only this crate defines keys.
pub trait VerifyingKey: Sealed {
    /// The algorithm, as the header of a token names it
    const ALGORITHM: &'static str;

    /// The encoded header of every token that the key signs
    #[doc(hidden)]
    fn header(&self) -> &str;

    /// Whether `signature` is this key's for `message`
    #[doc(hidden)]
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool;
}

/// A key that signs app tokens
pub trait SigningKey: VerifyingKey {
    /// The key's signature for `message`
    #[doc(hidden)]
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error>;
}

pub trait Sealed {}

/// Signs and verifies with HMAC and SHA-512 (RFC 7518, section 3.2), as the control plane does
///
/// Verifying takes the same secret as signing, so each proxy that verifies could also sign.
pub struct Hs512Key {
    header: String,
    key: hmac::Key,
}

impl Sealed for Hs512Key {}

impl VerifyingKey for Hs512Key {
    const ALGORITHM: &'static str = "HS512";

    fn header(&self) -> &str {
        &self.header
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        // In constant time: the duration of the comparison would tell a forger how much of a
        // signature is right.
        hmac::verify(&self.key, message, signature).is_ok()
    }
}

impl SigningKey for Hs512Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(hmac::sign(&self.key, message).as_ref().to_vec())
    }
}

impl KeyMaterial for Hs512Key {
    const FEATURE: Feature = Feature::WorkspaceAppsToken;

    fn prepare(sequence: i32, secret: &Secret) -> Result<Self, Error> {
        let secret = fitting::<Self>(secret)?;
        Ok(Self {
            header: header(Self::ALGORITHM, sequence),
            key: hmac::Key::new(hmac::HMAC_SHA512, secret),
        })
    }
}

impl fmt::Debug for Hs512Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hs512Key(..)")
    }
}

/// The encoded header of every token that the key with that sequence signs
pub(super) fn header(algorithm: &str, sequence: i32) -> String {
    compact::encode(format!(r#"{{"alg":"{algorithm}","kid":"{sequence}"}}"#).as_bytes())
}
