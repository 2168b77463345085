use ring::digest::{SHA256, digest};

/// The SHA-256 digest (FIPS 180-4) of `bytes`
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut own = [0; 32];
    own.copy_from_slice(digest(&SHA256, bytes).as_ref());
    own
}
