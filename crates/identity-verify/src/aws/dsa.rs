use std::collections::BTreeSet;

use openssl::{
    hash::MessageDigest,
    pkey::{PKey, Public},
    sign::Verifier,
};

use crate::pem;

/// A DSA public key and the regions it signs for
///
/// ring knows no DSA, so this is OpenSSL's.
#[derive(Clone, Debug)]
pub(super) struct DsaKey {
    key: PKey<Public>,
    regions: BTreeSet<String>,
}

impl DsaKey {
    pub(super) fn read(block: &pem::Block<'_>) -> Option<Self> {
        let key = PKey::public_key_from_der(block.spki().ok()?).ok()?;
        Some(Self { key, regions: block.regions().map(str::to_owned).collect() })
    }

    /// Whether this key signed `message` with DSA and SHA-1 (FIPS 186-4, RFC 3370)
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        Verifier::new(MessageDigest::sha1(), &self.key)
            .and_then(|mut verifier| verifier.verify_oneshot(signature, message))
            .unwrap_or(false)
    }

    pub(super) const fn regions(&self) -> &BTreeSet<String> {
        &self.regions
    }
}
