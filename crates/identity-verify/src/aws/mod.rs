//! Amazon EC2: the instance identity document and its signatures
//!
//! Formats: *EC2 User Guide*, "Instance identity documents for Amazon EC2
//! instances". A document does not expire and names no audience: everyone who has once
//! seen it can present it for as long as the instance exists. Only the policy's
//! [`aws_max_document_age_seconds`] bounds that.
//!
//! [`aws_max_document_age_seconds`]: crate::Policy::aws_max_document_age_seconds

mod document;
#[cfg(feature = "dsa")]
mod dsa;
mod keys;
mod region;

use std::{collections::BTreeSet, fmt, sync::Arc, time::SystemTime};

pub use document::Claims;
pub(crate) use document::{Document, region_hint};
pub use keys::{Keys, TrustedKey};
pub use region::is_region_name;

use crate::{
    Denied, Error, Policy, Rejection, VerifiedInstance,
    asn1::Rules,
    base64,
    cms::{Algorithm, SignedData},
    error::{bound, cut},
    rejection::Failed,
    rsa::Sha2,
};

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

/// A PKCS#7 message that holds a document, as a client sent it
///
/// Served by the metadata service at `/latest/dynamic/instance-identity/rsa2048`,
/// and in its legacy form at `…/pkcs7`. Nothing of it is verified. `Debug` shows
/// sizes only.
#[derive(Clone, Copy)]
pub struct Pkcs7<'a> {
    /// The message in base64 without PEM lines, which may be broken into lines
    pub pkcs7: &'a [u8],
    /// The document, if the client sent it beside the message that holds it
    pub document: Option<&'a [u8]>,
}

impl fmt::Debug for Pkcs7<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs7")
            .field("pkcs7", &self.pkcs7.len())
            .field("document", &self.document.map(<[u8]>::len))
            .finish()
    }
}

/// Decides whether AWS signed a proof, and for which instance
///
/// Immutable: to change keys or policy, build another. Several may share their
/// [`Keys`].
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: Arc<Keys>,
    policy: Policy,
}

impl Verifier {
    /// A verifier that trusts `keys` and demands `policy`
    #[must_use]
    pub fn new(keys: impl Into<Arc<Keys>>, policy: Policy) -> Self {
        Self { keys: keys.into(), policy }
    }

    /// A verifier that trusts the [keys AWS publishes](Keys::builtin), with the
    /// default policy
    #[must_use]
    pub fn builtin() -> Self {
        Self::new(Keys::builtin(), Policy::default())
    }

    /// The keys it trusts
    #[must_use]
    pub const fn keys(&self) -> &Arc<Keys> {
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
    /// trusted key made, an algorithm the policy refuses, bytes that are not a
    /// document, a key of another region, an account, region or age the policy
    /// refuses, and [`Error::InvalidInstanceId`].
    pub fn verify(
        &self,
        proof: &SignedDocument<'_>,
        now: SystemTime,
    ) -> Result<VerifiedInstance, Error> {
        self.examine(proof, now).map_err(Error::from)
    }

    /// As [`verify`](Self::verify), with a refusal that says more
    ///
    /// # Errors
    ///
    /// A [`Rejection`] with the error of [`verify`](Self::verify).
    pub fn examine(
        &self,
        proof: &SignedDocument<'_>,
        now: SystemTime,
    ) -> Result<VerifiedInstance, Rejection> {
        bound("the document", proof.document, MAX_DOCUMENT)?;
        self.decide(proof, now).map_err(|failed| rejection(failed, proof.document))
    }

    fn decide(
        &self,
        proof: &SignedDocument<'_>,
        now: SystemTime,
    ) -> Result<VerifiedInstance, Failed> {
        bound("the signature", proof.signature, MAX_SIGNATURE)?;
        let signature = base64::decode(proof.signature)
            .ok_or(Error::malformed("the signature is not standard base64"))?;

        let rsa = Algorithm::Rsa(Sha2::Sha256);
        let signer = self.find_signer(rsa, proof.document, &signature, proof.document)?;
        self.accept(proof.document, &signer, now)
    }

    /// Verifies a document inside a PKCS#7 message
    ///
    /// Proves that a key of the document's own region signed the message (RFC 5652)
    /// with RSASSA-PKCS1-v1_5 and a hash of the SHA-2 family, that the document is
    /// what was signed, and that the policy allows what it says. The message may be
    /// BER. Certificates in it are ignored: the keys are [`keys`](Self::keys). Not
    /// checked is what [`verify`](Self::verify) does not check either, and the
    /// signing time.
    ///
    /// With the feature `dsa`, a policy may allow DSA with SHA-1.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify), and [`Error::DocumentMismatch`] if a document
    /// beside the message is not, byte for byte, the one in it.
    pub fn verify_pkcs7(
        &self,
        proof: &Pkcs7<'_>,
        now: SystemTime,
    ) -> Result<VerifiedInstance, Error> {
        self.examine_pkcs7(proof, now).map_err(Error::from)
    }

    /// As [`verify_pkcs7`](Self::verify_pkcs7), with a refusal that says more
    ///
    /// # Errors
    ///
    /// A [`Rejection`] with the error of [`verify_pkcs7`](Self::verify_pkcs7).
    pub fn examine_pkcs7(
        &self,
        proof: &Pkcs7<'_>,
        now: SystemTime,
    ) -> Result<VerifiedInstance, Rejection> {
        let der = decode(proof)?;
        let message = SignedData::parse(&der, Rules::Ber)?;
        let decided = self.decide_message(&message, proof.document, now);
        decided.map_err(|failed| rejection(failed, message.content()))
    }

    fn decide_message(
        &self,
        message: &SignedData<'_>,
        beside: Option<&[u8]>,
        now: SystemTime,
    ) -> Result<VerifiedInstance, Failed> {
        let signed = message.signed_bytes()?;
        let (signer, document) = (message.signer(), message.content());
        let signer = self.find_signer(signer.algorithm, &signed, &signer.signature, document)?;
        if beside.is_some_and(|sent| sent != document) {
            return Err(Failed::genuine(Error::DocumentMismatch));
        }
        self.accept(document, &signer, now)
    }

    /// The key that signed
    ///
    /// Of the document, which is unverified, only the text that stands for its region is read,
    /// and only to choose the keys: those of that region. Any other key would be refused once
    /// the document is parsed, so a proof that lies about its region cannot gain by it. All keys
    /// of all regions would make a forged proof several times as expensive as a good one.
    fn find_signer(
        &self,
        algorithm: Algorithm,
        signed: &[u8],
        signature: &[u8],
        document: &[u8],
    ) -> Result<Signer<'_>, Error> {
        let region = region_hint(document).unwrap_or_default();
        let hash = match algorithm {
            Algorithm::Rsa(hash) => hash,
            Algorithm::DsaSha1 => return self.find_dsa_signer(region, signed, signature),
        };
        // Every signature of a key is as long as its modulus, so only keys of that
        // length are tried: one, unless an operator added others for the region.
        let signer = self
            .keys
            .of_region(region)
            .filter(|trusted| trusted.key().signature_len() == signature.len())
            .find(|trusted| trusted.key().verify(hash, signed, signature))
            .ok_or_else(|| self.no_signer(region, signature.len() * 8))?;
        Ok(Signer { regions: signer.region_set(), is_small: signer.bits() < 2048 })
    }

    /// Distinguishes a missing key from a wrong signature
    fn no_signer(&self, region: &str, bits: usize) -> Error {
        // A key of another size could not be added.
        if region.is_empty() || !(1024..=8192).contains(&bits) {
            return Error::BadSignature;
        }
        let mut keys = self.keys.of_region(region).peekable();
        let is_unknown = keys.peek().is_none();
        if keys.any(|key| key.bits().div_ceil(8) * 8 == bits) {
            return Error::BadSignature;
        }
        let bits = (!is_unknown).then_some(bits);
        Error::UnknownRegion { region: cut(region, Error::MAX_ECHO), bits }
    }

    #[cfg_attr(not(feature = "dsa"), expect(unused_variables))]
    fn find_dsa_signer(
        &self,
        region: &str,
        signed: &[u8],
        signature: &[u8],
    ) -> Result<Signer<'_>, Error> {
        #[cfg(feature = "dsa")]
        if self.policy.aws_allow_dsa_sha1 {
            let key = self.keys.dsa().filter(|key| key.regions().contains(region));
            let key = key.filter(|key| key.verify(signed, signature));
            let regions = key.map(dsa::DsaKey::regions).ok_or(Error::BadSignature)?;
            return Ok(Signer { regions, is_small: false });
        }
        Err(DSA)
    }

    /// Parses a document that `signer` signed
    fn accept(
        &self,
        document: &[u8],
        signer: &Signer<'_>,
        now: SystemTime,
    ) -> Result<VerifiedInstance, Failed> {
        if signer.is_small && !self.policy.aws_allow_rsa1024 {
            return Err(Failed::genuine(SMALL_KEY));
        }
        let document = Document::parse(document).map_err(Failed::genuine)?;
        if !signer.regions.contains(document.region()) {
            let key = signer.regions.first().cloned().unwrap_or_default();
            // Signed, but by a key that has no say about this machine.
            return Err(Error::RegionMismatch { key }.into());
        }
        document.check(&self.policy, now).map_err(Failed::genuine)
    }
}

/// What there is to know of the key that signed
struct Signer<'a> {
    regions: &'a BTreeSet<String>,
    /// Fewer than 2048 bits of RSA
    is_small: bool,
}

/// The DER or BER of a message
fn decode(proof: &Pkcs7<'_>) -> Result<Vec<u8>, Error> {
    bound("the message", proof.pkcs7, MAX_PKCS7)?;
    base64::decode(proof.pkcs7).ok_or(Error::malformed("the message is not standard base64"))
}

/// What a refused document says of its machine
fn rejection(failed: Failed, document: &[u8]) -> Rejection {
    let document = failed.readable(document).and_then(|document| Document::parse(document).ok());
    let claimed = document.as_ref().map(Document::claimed).unwrap_or_default();
    let denied = match &failed.error {
        error if *error == SMALL_KEY => Some(Denied::new("aws_allow_rsa1024", Some("RSA-1024"))),
        // Without the feature no setting allows it.
        error if *error == DSA && cfg!(feature = "dsa") => {
            Some(Denied::new("aws_allow_dsa_sha1", Some("DSA with SHA-1")))
        }
        error => document.and_then(|document| document.denied(error)),
    };
    Rejection::new(failed, claimed, denied)
}

const SMALL_KEY: Error =
    Error::AlgorithmNotAllowed { algorithm: "an AWS key of fewer than 2048 bits" };

const DSA: Error = Error::AlgorithmNotAllowed { algorithm: "DSA with SHA-1" };

/// Real documents have some 500 bytes
const MAX_DOCUMENT: usize = 4 << 10;

/// Real messages have some 1,500 bytes
const MAX_PKCS7: usize = 6 << 10;

/// A signature by the largest key has 1368 digits, and line breaks
const MAX_SIGNATURE: usize = 4 << 10;
