use ring::digest::{SHA256, digest};
use subtle::{Choice, ConstantTimeEq};

/// The SHA-256 digest (FIPS 180-4) of `bytes`
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut own = [0; 32];
    own.copy_from_slice(digest(&SHA256, bytes).as_ref());
    own
}

/// Whether the texts are equal; how long the answer takes depends on their lengths only
///
/// Eight bytes are compared at a time, as numbers.
pub(crate) fn equal_in_constant_time(own: &[u8], other: &[u8]) -> bool {
    if own.len() != other.len() {
        return false;
    }
    let (own, own_rest) = own.as_chunks();
    let (other, other_rest) = other.as_chunks();
    let words = own.iter().zip(other).fold(Choice::from(1), |equal, (own, other)| {
        equal & u64::from_ne_bytes(*own).ct_eq(&u64::from_ne_bytes(*other))
    });
    (words & own_rest.ct_eq(other_rest)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_length_are_compared_whole() {
        let text: Vec<u8> = (0..40).collect();
        for len in 0..=text.len() {
            let own = &text[..len];
            assert!(equal_in_constant_time(own, own));
            assert!(!equal_in_constant_time(own, &[own, b"x"].concat()));
            for at in 0..len {
                let mut other = own.to_vec();
                other[at] ^= 1;
                assert!(!equal_in_constant_time(own, &other), "{at} of {len}");
            }
        }
    }
}
