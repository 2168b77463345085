//! Amazon EC2: the instance identity document and its signatures
//!
//! Formats: *EC2 User Guide*, "Instance identity documents for Amazon EC2
//! instances". A document does not expire and names no audience: whoever has once
//! seen it can present it for as long as the instance exists. Only the policy's
//! [`aws_max_document_age_seconds`] bounds that.
//!
//! [`aws_max_document_age_seconds`]: crate::Policy::aws_max_document_age_seconds

mod document;
mod keys;

use std::{fmt, time::SystemTime};

pub use document::Claims;
use document::Document;
pub use keys::{Keys, TrustedKey};

use crate::{Error, Policy, VerifiedInstance, base64};

/// A document and its detached signature, as a client sent them
///
/// Served by the metadata service at `/latest/dynamic/instance-identity/document`
/// and `…/signature`. Nothing of it is verified. `Debug` shows sizes only.
#[derive(Clone, Copy)]
pub struct SignedDocument<'a> {
    /// The document, byte for byte
    pub document: &'a [u8],
    /// The signature in base64, which may be broken into lines
    pub signature: &'a [u8],
}

impl fmt::Debug for SignedDocument<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedDocument")
            .field("document", &self.document.len())
            .field("signature", &self.signature.len())
            .finish()
    }
}

/// Decides whether AWS signed a proof, and for which instance
///
/// Immutable: to change keys or policy, build another.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: Keys,
    policy: Policy,
}

impl Verifier {
    /// A verifier that trusts `keys` and demands `policy`
    #[must_use]
    pub const fn new(keys: Keys, policy: Policy) -> Self {
        Self { keys, policy }
    }

    /// A verifier that trusts the [keys AWS publishes](Keys::builtin), with the
    /// default policy
    #[must_use]
    pub fn builtin() -> Self {
        Self::new(Keys::builtin(), Policy::default())
    }

    /// The keys it trusts
    #[must_use]
    pub const fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Verifies a document by its detached signature
    ///
    /// Proves that a key of the document's own region signed these exact bytes with
    /// RSASSA-PKCS1-v1_5 and SHA-256 (RFC 8017 section 8.2), and that the policy
    /// allows what they say. Not checked: whether the instance exists or runs now,
    /// whether the presenter is that instance, and, without
    /// `aws_max_document_age_seconds`, any date.
    ///
    /// # Errors
    ///
    /// The first of: a part too large, a signature that is not base64, one that no
    /// trusted key made, an algorithm the policy refuses, bytes that are no
    /// document, a key of another region, an account, region or age the policy
    /// refuses, and [`Error::InvalidInstanceId`].
    pub fn verify(
        &self,
        proof: &SignedDocument<'_>,
        now: SystemTime,
    ) -> Result<VerifiedInstance, Error> {
        bound("the document", proof.document, MAX_DOCUMENT)?;
        bound("the signature", proof.signature, MAX_SIGNATURE)?;
        let signature = base64::decode(proof.signature)
            .ok_or(Error::malformed("the signature is not standard base64"))?;

        let hint = document::region_hint(proof.document);
        let key = self.find_signer(proof.document, &signature, hint)?;
        let document = Document::parse(proof.document)?;
        if !key.speaks_for(document.region()) {
            let key = key.regions().next().unwrap_or_default().to_owned();
            return Err(Error::RegionMismatch { key });
        }
        document.check(&self.policy, now)
    }

    /// The key that signed, if the policy allows one of its size
    ///
    /// Every signature of a key is as long as its modulus, so only keys of that
    /// length are tried, each once.
    fn find_signer(
        &self,
        message: &[u8],
        signature: &[u8],
        region_hint: Option<&str>,
    ) -> Result<&TrustedKey, Error> {
        let signer = self
            .keys
            .starting_with(region_hint)
            .filter(|trusted| trusted.key().signature_len() == signature.len())
            .find(|trusted| trusted.key().verify(message, signature))
            .ok_or(Error::BadSignature)?;
        if signer.bits() < 2048 && !self.policy.aws_allow_rsa1024 {
            return Err(Error::AlgorithmNotAllowed {
                algorithm: "an AWS key of fewer than 2048 bits",
            });
        }
        Ok(signer)
    }
}

fn bound(part: &'static str, bytes: &[u8], limit: usize) -> Result<(), Error> {
    match bytes.len() {
        size if size > limit => Err(Error::OversizedProof { part, size, limit }),
        _ => Ok(()),
    }
}

/// Real documents have some 500 bytes
const MAX_DOCUMENT: usize = 16 << 10;

/// A signature by the largest key has 1368 digits, and line breaks
const MAX_SIGNATURE: usize = 4 << 10;
