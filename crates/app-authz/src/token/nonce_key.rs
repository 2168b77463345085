use std::fmt;
use std::time::SystemTime;

use ring::hmac;

use super::keys::fitting;
use super::{Feature, KeyMaterial, KeyRing, Secret};
use crate::Error;

/// The secret behind the nonces that machines put into their proofs of identity
///
/// It is derived from a key that signs app tokens, which all replicas share, so that nonces need no
/// table of their own. The key itself cannot be computed from it, and nothing that it makes can be
/// an app token.
pub struct NonceKey([u8; 32]);

impl NonceKey {
    /// The secret bytes
    #[must_use]
    pub const fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
}

impl KeyMaterial for NonceKey {
    const FEATURE: Feature = Feature::WorkspaceAppsToken;

    fn prepare(_sequence: i32, secret: &Secret) -> Result<Self, Error> {
        // Another hash function than that of app tokens, and a label that none of them begins with.
        let key = hmac::Key::new(hmac::HMAC_SHA256, fitting::<Self>(secret)?);
        let derived = hmac::sign(&key, b"authd instance identity nonce 1");
        derived.as_ref().try_into().map(Self).map_err(|_| Error::InvalidSecret)
    }
}

impl fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceKey(..)")
    }
}

impl<K> KeyRing<K> {
    /// The keys that may verify at `now`, the highest sequence first
    pub fn good(&self, now: SystemTime) -> impl Iterator<Item = (i32, &K)> {
        let good = self.keys.iter().filter(move |entry| entry.is_good(now));
        good.map(|entry| (entry.sequence, &entry.material))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::CryptoKey;

    #[test]
    fn each_key_has_a_nonce_key_of_its_own_that_does_not_show_it() {
        let secrets = [[1; 64], [2; 64]];
        let keys = secrets.map(|secret| NonceKey::prepare(1, &Secret::new(secret)).unwrap());
        assert_ne!(keys[0].reveal(), keys[1].reveal());
        assert_ne!(keys[0].reveal()[..], secrets[0][..32]);
        assert_eq!(format!("{:?}", keys[0]), "NonceKey(..)");
        assert!(NonceKey::prepare(1, &Secret::new([1; 32])).is_err());
    }

    #[test]
    fn the_derivation_is_that_of_earlier_releases() {
        // Replicas of two releases must recognize each other's nonces. Computed with
        // `printf 'authd instance identity nonce 1' | openssl dgst -sha256 -mac HMAC
        // -macopt hexkey:0101…`.
        let key = NonceKey::prepare(1, &Secret::new([1; 64])).unwrap();
        let hex: String = key.reveal().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "063e04525347d65078e9d733be2ac5d11d4cc3ad789106726788c4734a6a789f");
    }

    #[test]
    fn a_key_is_good_until_it_ends_and_before_it_starts() {
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let key = |sequence, starts_at| {
            let secret = Secret::new([1; 64]);
            CryptoKey::new(Feature::WorkspaceAppsToken, sequence, secret, at(starts_at))
        };
        let rows = [key(1, 10).with_deletes_at(at(30)), key(2, 20)];
        let ring = KeyRing::<NonceKey>::new(&rows).unwrap();
        let good = |now| ring.good(at(now)).map(|(sequence, _)| sequence).collect::<Vec<_>>();
        assert_eq!((good(15), good(29), good(30)), (vec![2, 1], vec![2, 1], vec![2]));
    }
}
