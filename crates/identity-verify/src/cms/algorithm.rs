use crate::{
    Error,
    asn1::AlgorithmIdentifier,
    rsa::{RSA_ENCRYPTION, Sha2, sha1},
};

/// How a SignerInfo was signed
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// RSASSA-PKCS1-v1_5
    Rsa(Sha2),
    /// DSA with SHA-1, which callers accept only if a policy allows it
    DsaSha1,
}

impl Algorithm {
    /// The one algorithm that a digest and a signature algorithm name together
    ///
    /// RFC 5754 sections 2 and 3.2. Azure writes a signature's identifier where the
    /// digest's belongs, which is understood as the hash it contains.
    pub(super) fn of(
        digest: AlgorithmIdentifier<'_>,
        signature: AlgorithmIdentifier<'_>,
    ) -> Result<Self, Error> {
        if !(digest.plain && signature.plain) {
            return Err(Error::AlgorithmNotAllowed { algorithm: "an algorithm with parameters" });
        }
        if digest.oid == SHA1 && signature.oid == DSA_WITH_SHA1 {
            return Ok(Self::DsaSha1);
        }
        let (hash, with_rsa) = sha2(digest)
            .ok_or(Error::AlgorithmNotAllowed { algorithm: "a digest other than SHA-2" })?;
        if signature.oid == RSA_ENCRYPTION || signature.oid == with_rsa {
            return Ok(Self::Rsa(hash));
        }
        Err(Error::AlgorithmNotAllowed {
            algorithm: "a signature other than RSA PKCS#1 v1.5 over the named digest",
        })
    }

    /// Whether `digest` names the hash of this algorithm, in either way to name it
    pub(super) fn hashes_with(self, digest: AlgorithmIdentifier<'_>) -> bool {
        digest.plain
            && match self {
                Self::Rsa(hash) => sha2(digest).is_some_and(|(named, _)| named == hash),
                Self::DsaSha1 => digest.oid == SHA1,
            }
    }

    /// Whether `digest` is that of `bytes` under the hash of this algorithm
    pub(super) fn digests(self, bytes: &[u8], digest: &[u8]) -> bool {
        match self {
            Self::Rsa(hash) => hash.digest(bytes).as_ref() == digest,
            Self::DsaSha1 => sha1(bytes).as_ref() == digest,
        }
    }
}

/// The hash that `digest` names by its own identifier or that of RSA with it, and the
/// latter
fn sha2(digest: AlgorithmIdentifier<'_>) -> Option<(Sha2, &'static [u8])> {
    let named =
        |(_, plain, with_rsa): &&(_, &[u8], &[u8])| [*plain, *with_rsa].contains(&digest.oid);
    SHA2.iter().find(named).map(|&(hash, _, with_rsa)| (hash, with_rsa))
}

/// Hash, its identifier, and that of RSA with it (RFC 5754 section 2, RFC 8017 C)
const SHA2: [(Sha2, &[u8], &[u8]); 3] = [
    (
        Sha2::Sha256,
        &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01],
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b],
    ),
    (
        Sha2::Sha384,
        &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02],
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c],
    ),
    (
        Sha2::Sha512,
        &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03],
        &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d],
    ),
];

/// 1.3.14.3.2.26 (RFC 3370 section 2.1)
const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];

/// 1.2.840.10040.4.3 (RFC 3370 section 3.1)
const DSA_WITH_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x03];
