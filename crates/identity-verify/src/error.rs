use std::{
    fmt,
    time::{Duration, SystemTime},
};

use thiserror::Error;

use crate::{Cause, Cloud, asn1::Malformed, azure::PathError, time::Rfc3339};

/// Why a proof was refused, or why trust material was
///
/// Messages are for logs: they name what is wrong and where. Those of
/// [`InvalidInstanceId`], [`SignerNotAllowed`], [`UnknownIssuer`] and [`UnknownRegion`]
/// quote the proof, cut and with control characters escaped; the others hold no text of a
/// document, token or signature. A caller on the network gets the [`Reason`] alone.
///
/// [`InvalidInstanceId`]: Self::InvalidInstanceId
/// [`SignerNotAllowed`]: Self::SignerNotAllowed
/// [`UnknownIssuer`]: Self::UnknownIssuer
/// [`UnknownRegion`]: Self::UnknownRegion
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The proof is larger than any real one; nothing of it was read
    #[error("{part} has {size} bytes, the limit is {limit}")]
    OversizedProof {
        /// Which part of the proof
        part: &'static str,
        /// The size of the part in bytes
        size: usize,
        /// The most bytes that the part may have
        limit: usize,
    },
    /// The proof does not have the form of its kind
    #[error("malformed proof: {what}")]
    MalformedProof {
        /// What is wrong with it
        what: &'static str,
    },
    /// Google signed this token, but its claims about a machine cannot be decoded
    #[error("the signed claims do not describe an instance")]
    MalformedClaims,
    /// No trusted key made the signature over these bytes
    #[error("no trusted key made this signature")]
    BadSignature,
    /// No trusted key made the signature, and none is known that could have
    ///
    /// The region is what the unverified document claims: a real machine of a region whose
    /// key is missing, or a forgery that names such a region.
    #[error(
        "no trusted key made this signature; {} is known for the region `{}`, which the document \
         claims",
        match bits { Some(bits) => format!("no key of {bits} bits"), None => "no key".to_owned() },
        region.escape_debug()
    )]
    UnknownRegion {
        /// The claimed region, cut to [`MAX_ECHO`](Self::MAX_ECHO) bytes
        region: String,
        /// The size of the missing key, where the region has keys of another size
        bits: Option<usize>,
    },
    /// The signature may be genuine, but the policy refuses its kind
    #[error("{algorithm} is not allowed")]
    AlgorithmNotAllowed {
        /// The refused kind of signature or key
        algorithm: &'static str,
    },
    /// The key that signed does not belong to the region the proof claims
    #[error("signed by the key of `{key}`, which does not speak for the claimed region")]
    RegionMismatch {
        /// A region of the key that signed
        key: String,
    },
    /// The document sent beside a message is not the one signed in it
    #[error("the document beside the message is not the signed one")]
    DocumentMismatch,
    /// The proof, or something that it rests on, is too old
    #[error(
        "{what} is too old: it was valid until {}, and the time is {}",
        Rfc3339(*not_after),
        Rfc3339(*time)
    )]
    Expired {
        /// What is too old
        what: &'static str,
        /// The time for which the proof was verified
        time: SystemTime,
        /// When `what` ended, without the leeway of the policy
        not_after: SystemTime,
    },
    /// The proof, or something that it rests on, begins in the future
    #[error(
        "{what} lies in the future: it is valid from {}, and the time is {}",
        Rfc3339(*not_before),
        Rfc3339(*time)
    )]
    NotYetValid {
        /// What lies in the future
        what: &'static str,
        /// The time for which the proof was verified
        time: SystemTime,
        /// When `what` begins, without the leeway of the policy
        not_before: SystemTime,
    },
    /// The policy does not list the account
    #[error("account is not allowed")]
    AccountNotAllowed,
    /// The policy does not list the region
    #[error("region is not allowed")]
    RegionNotAllowed,
    /// A required claim is missing
    #[error("the claim `{claim}` is missing")]
    MissingClaim {
        /// The name of the claim
        claim: &'static str,
    },
    /// The certificate that signed does not lead to a trusted root
    #[error("the signer's certificate is not trusted: {why}")]
    UntrustedSigner {
        /// Why the certificate is not trusted
        why: &'static str,
        /// What path validation found, if it came that far
        #[source]
        source: Option<PathError>,
    },
    /// The certificate that signed may lead to a trusted root, but an issuer on the way is
    /// not known
    ///
    /// Name and addresses are those that the last known certificate of the path gives.
    #[error(
        "the signer's certificate is not trusted: no path leads to a trusted root, because the \
         issuer `{}` is missing; {}",
        issuer.escape_debug(),
        match urls.as_slice() {
            [] => "the certificate below it does not say where to fetch it".to_owned(),
            urls => format!(
                "the certificate below it says that it can be fetched from {}",
                urls.join(" or ").escape_debug()
            ),
        }
    )]
    UnknownIssuer {
        /// The issuer's common name, cut to [`MAX_ECHO`](Self::MAX_ECHO) bytes
        issuer: String,
        /// The URLs of the issuer's certificate, at most three, each cut to twice as much
        urls: Vec<String>,
    },
    /// The certificate that signed may be genuine, but it is not the cloud's
    #[error(
        "the signer is not allowed: {why}{}",
        name.as_ref().map(|name| format!(": `{}`", name.escape_debug())).unwrap_or_default()
    )]
    SignerNotAllowed {
        /// Why the signer is not allowed
        why: &'static str,
        /// The name in the certificate that is not the cloud's, cut to
        /// [`MAX_ECHO`](Self::MAX_ECHO) bytes
        name: Option<String>,
    },
    /// The proof answers no nonce, and a nonce is demanded
    #[error("the proof has no nonce")]
    NonceMissing {
        /// The cloud that signed
        cloud: Cloud,
    },
    /// The proof does not answer the nonce that was asked for
    #[error("the nonce is not the expected one")]
    NonceMismatch,
    /// The proof answers a nonce that was issued too long ago
    #[error(
        "the nonce is too old: it was issued at {}, the time is {}, and the limit is {} s",
        Rfc3339(*issued),
        Rfc3339(*time),
        lifetime.as_secs()
    )]
    NonceExpired {
        /// When the nonce was issued
        issued: SystemTime,
        /// The time for which the proof was verified
        time: SystemTime,
        /// The lifetime of a nonce, without the leeway
        lifetime: Duration,
    },
    /// The instance has shown a newer proof for this purpose, or this very one
    #[error("the proof was shown before, or is older than one that was")]
    Replayed,
    /// Pins could not be read or written; not the fault of the proof
    #[error("the pins are unavailable")]
    PinsUnavailable {
        /// Why, if the [`Pins`](crate::Pins) said so
        #[source]
        source: Option<Cause>,
    },
    /// The policy does not list the subscription
    #[error("subscription is not allowed")]
    SubscriptionNotAllowed,
    /// No key has the id that the token names
    #[error("no key has the id the token names")]
    UnknownKey,
    /// No key set is available to verify with; not the fault of the proof
    #[error("the cloud's keys are unavailable")]
    KeysUnavailable {
        /// Why, if the [`FindKey`](crate::google::FindKey) said so
        #[source]
        source: Option<Cause>,
    },
    /// Someone else issued the token
    #[error("the token's issuer is not the cloud")]
    IssuerMismatch,
    /// The token is meant for someone else
    #[error("the token is for another audience")]
    AudienceMismatch,
    /// The token was issued for longer than the policy allows
    #[error(
        "the token's lifetime is too long: {} s, and the limit is {} s",
        lifetime.as_secs(),
        limit.as_secs()
    )]
    LifetimeTooLong {
        /// The time between `iat` and `exp`
        lifetime: Duration,
        /// The longest lifetime that the policy allows
        limit: Duration,
    },
    /// The policy does not list the project
    #[error("project is not allowed")]
    ProjectNotAllowed,
    /// The policy does not list the service account
    #[error("service account is not allowed")]
    ServiceAccountNotAllowed,
    /// The instance was created longer ago than the policy allows
    #[error(
        "the instance is too old: it was created at {}, the time is {}, and the limit is {} s",
        Rfc3339(*created),
        Rfc3339(*time),
        limit.as_secs()
    )]
    InstanceTooOld {
        /// When the instance was created
        created: SystemTime,
        /// The time for which the token was verified
        time: SystemTime,
        /// The greatest age that the policy allows, without its leeway
        limit: Duration,
    },
    /// The proof is genuine and allowed, but the id that it names is not of the cloud's form
    #[error("`{}` is not an instance id of {cloud}", id.escape_debug())]
    InvalidInstanceId {
        /// The cloud that signed
        cloud: Cloud,
        /// The id, cut to [`MAX_ECHO`](Self::MAX_ECHO) bytes
        id: String,
    },
    /// A key or certificate that was to be trusted is unusable
    #[error("trust material is unusable: {what}")]
    InvalidTrust {
        /// What is wrong with it
        what: &'static str,
    },
}

impl Error {
    /// The most bytes of a text of the proof, such as an
    /// [invalid instance id](Self::InvalidInstanceId), that an error keeps
    pub const MAX_ECHO: usize = 128;

    /// The stable class of this error
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::OversizedProof { .. } => Reason::OversizedProof,
            Self::MalformedProof { .. } => Reason::MalformedProof,
            Self::MalformedClaims => Reason::MalformedClaims,
            Self::BadSignature | Self::UnknownRegion { .. } => Reason::BadSignature,
            Self::AlgorithmNotAllowed { .. } => Reason::AlgorithmNotAllowed,
            Self::RegionMismatch { .. } => Reason::RegionMismatch,
            Self::DocumentMismatch => Reason::DocumentMismatch,
            Self::Expired { .. } => Reason::Expired,
            Self::NotYetValid { .. } => Reason::NotYetValid,
            Self::AccountNotAllowed => Reason::AccountNotAllowed,
            Self::RegionNotAllowed => Reason::RegionNotAllowed,
            Self::MissingClaim { .. } => Reason::MissingClaim,
            Self::UntrustedSigner { .. } | Self::UnknownIssuer { .. } => Reason::UntrustedSigner,
            Self::SignerNotAllowed { .. } => Reason::SignerNotAllowed,
            Self::NonceMissing { .. } => Reason::NonceMissing,
            Self::NonceMismatch => Reason::NonceMismatch,
            Self::NonceExpired { .. } => Reason::NonceExpired,
            Self::Replayed => Reason::Replayed,
            Self::PinsUnavailable { .. } => Reason::PinsUnavailable,
            Self::SubscriptionNotAllowed => Reason::SubscriptionNotAllowed,
            Self::UnknownKey => Reason::UnknownKey,
            Self::KeysUnavailable { .. } => Reason::KeysUnavailable,
            Self::IssuerMismatch => Reason::IssuerMismatch,
            Self::AudienceMismatch => Reason::AudienceMismatch,
            Self::LifetimeTooLong { .. } => Reason::LifetimeTooLong,
            Self::ProjectNotAllowed => Reason::ProjectNotAllowed,
            Self::ServiceAccountNotAllowed => Reason::ServiceAccountNotAllowed,
            Self::InstanceTooOld { .. } => Reason::InstanceTooOld,
            Self::InvalidInstanceId { .. } => Reason::InvalidInstanceId,
            Self::InvalidTrust { .. } => Reason::InvalidTrust,
        }
    }

    /// The id of a genuine proof that names no instance, as the cloud signed it
    ///
    /// At most [`MAX_ECHO`](Self::MAX_ECHO) bytes of any text, control characters
    /// and quotes included. `None` for every other error.
    #[must_use]
    pub fn instance_id(&self) -> Option<&str> {
        match self {
            Self::InvalidInstanceId { id, .. } => Some(id),
            _ => None,
        }
    }

    pub(crate) const fn malformed(what: &'static str) -> Self {
        Self::MalformedProof { what }
    }

    pub(crate) const fn missing(claim: &'static str) -> Self {
        Self::MissingClaim { claim }
    }

    pub(crate) const fn signer_not_allowed(why: &'static str, name: Option<String>) -> Self {
        Self::SignerNotAllowed { why, name }
    }

    pub(crate) const fn trust(what: &'static str) -> Self {
        Self::InvalidTrust { what }
    }
}

/// The beginning of a text, at most `most` bytes
pub(crate) fn cut(text: &str, most: usize) -> String {
    // Each character of UTF-8 begins within four bytes.
    let mut ends = (0..=most.min(text.len())).rev().take(4);
    ends.find_map(|end| text.get(..end)).unwrap_or_default().to_owned()
}

/// Refuses a part of a proof that is larger than any real one
pub(crate) const fn bound(part: &'static str, bytes: &[u8], limit: usize) -> Result<(), Error> {
    match bytes.len() {
        size if size > limit => Err(Error::OversizedProof { part, size, limit }),
        _ => Ok(()),
    }
}

impl From<Malformed> for Error {
    fn from(_: Malformed) -> Self {
        Self::malformed("an ASN.1 structure is not what it should be")
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)*) => {
        /// The class of an [`Error`](enum@Error), for answers to callers and for metrics
        ///
        /// The texts are stable. New classes may come.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every class
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The class as stable `snake_case` text
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// A part of the proof exceeds its size limit
    OversizedProof => "oversized_proof",
    /// Encoding, structure or fields are not those of the kind of proof
    MalformedProof => "malformed_proof",
    /// Google signed it, but its claims about a machine have wrong types or occur twice
    MalformedClaims => "malformed_claims",
    /// No trusted key made the signature
    BadSignature => "bad_signature",
    /// A kind of signature the policy refuses
    AlgorithmNotAllowed => "algorithm_not_allowed",
    /// The key that signed does not speak for the claimed region
    RegionMismatch => "region_mismatch",
    /// The document sent beside a message is not the signed one
    DocumentMismatch => "document_mismatch",
    /// Too old
    Expired => "expired",
    /// From the future
    NotYetValid => "not_yet_valid",
    /// The policy does not list the account
    AccountNotAllowed => "account_not_allowed",
    /// The policy does not list the region
    RegionNotAllowed => "region_not_allowed",
    /// A required claim is missing
    MissingClaim => "missing_claim",
    /// The certificate that signed does not lead to a trusted root
    UntrustedSigner => "untrusted_signer",
    /// The certificate that signed is not the cloud's
    SignerNotAllowed => "signer_not_allowed",
    /// No nonce, where one is demanded
    NonceMissing => "nonce_missing",
    /// Another nonce than was asked for
    NonceMismatch => "nonce_mismatch",
    /// A nonce that was issued too long ago
    NonceExpired => "nonce_expired",
    /// Older than a proof the instance has shown, or shown before
    Replayed => "replayed",
    /// Not about the proof: pins could not be read or written
    PinsUnavailable => "pins_unavailable",
    /// The policy does not list the subscription
    SubscriptionNotAllowed => "subscription_not_allowed",
    /// No key has the id that the token names
    UnknownKey => "unknown_key",
    /// Not about the proof: no key set is available to verify with
    KeysUnavailable => "keys_unavailable",
    /// Someone else issued the token
    IssuerMismatch => "issuer_mismatch",
    /// Meant for someone else
    AudienceMismatch => "audience_mismatch",
    /// Issued for longer than the policy allows
    LifetimeTooLong => "lifetime_too_long",
    /// The policy does not list the project
    ProjectNotAllowed => "project_not_allowed",
    /// The policy does not list the service account
    ServiceAccountNotAllowed => "service_account_not_allowed",
    /// The instance was created longer ago than the policy allows
    InstanceTooOld => "instance_too_old",
    /// Genuine, but naming no instance
    InvalidInstanceId => "invalid_instance_id",
    /// Not about a proof: a key or certificate that was to be trusted is unusable
    InvalidTrust => "invalid_trust",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
