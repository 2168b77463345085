//! Everything that is asked of ring

use ring::{
    digest,
    signature::{RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RsaPublicKeyComponents},
};

use crate::{
    Error,
    asn1::{BIT_STRING, INTEGER, Malformed, NULL, OBJECT_IDENTIFIER, Reader, Rules, SEQUENCE},
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
        let (modulus, exponent) = rsa_of_spki(der)
            .and_then(components)
            .map_err(|Malformed| Error::trust("a public key is not an RSA key"))?;
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
        let small = exponent.len() <= 4 && !matches!(exponent, [] | [0, ..] | [1]);
        if !(odd(modulus) && odd(exponent) && small) {
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

    /// Whether this key signed `message` with RSASSA-PKCS1-v1_5 and SHA-256
    ///
    /// RFC 8017 section 8.2.2. RSA-1024 is accepted on purpose: AWS signs its
    /// documents with nothing better at `/signature`. Where a larger key is due,
    /// the caller compares [`bits`](Self::bits).
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        RsaPublicKeyComponents { n: &self.modulus, e: &self.exponent }
            .verify(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, message, signature)
            .is_ok()
    }
}

/// SHA-256 (FIPS 180-4)
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    for (to, from) in sum.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()) {
        *to = *from;
    }
    sum
}

/// The RSAPublicKey in a SubjectPublicKeyInfo
fn rsa_of_spki(der: &[u8]) -> Result<&[u8], Malformed> {
    let mut outer = Reader::new(der, Rules::Der);
    let mut spki = outer.read(SEQUENCE)?.open()?;
    outer.finish()?;
    let mut algorithm = spki.read(SEQUENCE)?.open()?;
    if algorithm.read(OBJECT_IDENTIFIER)?.body != RSA_ENCRYPTION {
        return Err(Malformed);
    }
    // RFC 3279 section 2.3.1 demands NULL; some writers leave it out.
    algorithm.optional(NULL)?;
    algorithm.finish()?;
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

const MIN_BITS: usize = 1024;
const MAX_BITS: usize = 8192;

/// 1.2.840.113549.1.1.1 (RFC 8017, appendix C)
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
