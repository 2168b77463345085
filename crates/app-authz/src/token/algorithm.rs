use std::fmt;

use ring::hmac;

use super::compact;
use super::keys::{Feature, KeyMaterial, Secret, fitting};
use crate::Error;

/// A key that app tokens are verified with, under one algorithm and no other
///
/// The crate's own keys are the only ones: what a key verifies is taken for a decision.
pub trait VerifyingKey: Sealed {
    /// The algorithm, as a header names it
    const ALGORITHM: &'static str;

    /// The first part of every token that the key signs
    #[doc(hidden)]
    fn header(&self) -> &str;

    /// Whether the signature is this key's for the message
    #[doc(hidden)]
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool;
}

/// A key that app tokens are signed with
pub trait SigningKey: VerifyingKey {
    /// Its signature for the message
    #[doc(hidden)]
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error>;
}

pub trait Sealed {}

/// Signs and verifies under HMAC with SHA-512 (RFC 7518, section 3.2), as the control
/// plane does
///
/// Whoever can verify can sign too, so each proxy that verifies holds the secret.
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
        // In constant time, which josekit's verifier does not take: how long it compares
        // tells a forger how much of a signature was right.
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

/// The header of every token that the key of that sequence signs
pub(super) fn header(algorithm: &str, sequence: i32) -> String {
    compact::encode(format!(r#"{{"alg":"{algorithm}","kid":"{sequence}"}}"#).as_bytes())
}
