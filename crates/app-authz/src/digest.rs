use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

/// The SHA-256 digest (FIPS 180-4) of `bytes`
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut own = [0; 32];
    own.copy_from_slice(digest(&SHA256, bytes).as_ref());
    own
}

/// Whether the texts are equal; how long the answer takes depends on their lengths only
pub(crate) fn equal_in_constant_time(own: &[u8], other: &[u8]) -> bool {
    own.ct_eq(other).into()
}
