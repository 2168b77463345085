use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::attested::answers;
use crate::{Error, Policy, rsa::MacKey};

/// Issues nonces for attested data, and recognizes them without storing them
///
/// A nonce is 32 digits, as many as Azure takes: the second it was issued, and 96
/// bits of an HMAC-SHA-256 over that (RFC 2104), both in lower-case hexadecimal. It
/// proves that the attested data was made after the nonce was issued, and so bounds
/// how long a stolen document is good.
///
/// A nonce is neither for one machine nor for one use: all requests in the same second get
/// the same nonce, and an answer can be presented again while the nonce is valid. A
/// [pin](crate::PinRule::Newer) refuses that.
///
/// ```
/// # use std::time::SystemTime;
/// # use identity_verify::{Policy, azure::{Challenge, ChallengeKey, Trust, Verifier}};
/// # fn example(secret: &[u8; 32], now: SystemTime) {
/// let challenge = Challenge::new(ChallengeKey::new(secret), 300);
/// let nonce = challenge.issue(now); // for `/metadata/attested/document?nonce=…`
/// let verifier = Verifier::new(Trust::builtin(), Policy::default()).with_challenge(challenge);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Challenge {
    key: ChallengeKey,
    former_keys: Vec<ChallengeKey>,
    lifetime_seconds: u64,
}

impl Challenge {
    /// A challenge by `key` that must be answered within `lifetime_seconds`
    ///
    /// The [leeway](Policy::leeway_seconds) of the verifier's policy comes on top, as
    /// one server may issue and another verify.
    #[must_use]
    pub const fn new(key: ChallengeKey, lifetime_seconds: u64) -> Self {
        Self { key, former_keys: Vec::new(), lifetime_seconds }
    }

    /// Returns the same challenge, which also recognizes nonces of `key` but issues none
    ///
    /// For the lifetime after a key was replaced, and on every server before it is.
    #[must_use]
    pub fn also_accepting(mut self, key: ChallengeKey) -> Self {
        self.former_keys.push(key);
        self
    }

    /// The nonce of the second that `now` lies in
    ///
    /// 32 lower-case hexadecimal digits. Times before 1970 and after February 2106 cannot
    /// be represented: a nonce issued then is refused.
    #[must_use]
    pub fn issue(&self, now: SystemTime) -> String {
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.key.nonce(u32::try_from(seconds).unwrap_or(0))
    }

    /// Demands that `nonce` is one of ours and that its time has not run out
    pub(super) fn check(&self, nonce: &str, policy: &Policy, now: SystemTime) -> Result<(), Error> {
        const NONCE: &str = "the nonce";
        let seconds = nonce.get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let seconds = seconds.filter(|&seconds| seconds > 0).ok_or(Error::NonceMismatch)?;
        // The whole text is issued again and compared, so that no other way to write
        // the time is accepted, and no time at all before the tag is good.
        let mut keys = std::iter::once(&self.key).chain(&self.former_keys);
        if !keys.any(|key| answers(nonce, &key.nonce(seconds))) {
            return Err(Error::NonceMismatch);
        }
        let issued = UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds.into()))
            .ok_or(Error::NonceMismatch)?;
        policy.check_begun(NONCE, issued, now)?;
        policy.check_age(NONCE, issued, self.lifetime_seconds, now)
    }
}

/// The secret behind the nonces of a [`Challenge`]
///
/// Servers that verify one another's nonces share it. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct ChallengeKey(MacKey);

impl ChallengeKey {
    /// Takes 32 random bytes
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(MacKey::new(secret))
    }

    fn nonce(&self, seconds: u32) -> String {
        let time = seconds.to_be_bytes();
        let tag = self.0.tag(&[PURPOSE, &time].concat());
        let bytes = time.iter().chain(tag.as_ref().iter().take(TAG_BYTES));
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for ChallengeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChallengeKey").finish_non_exhaustive()
    }
}

/// Keeps tags that the same key makes for other purposes from being nonces
const PURPOSE: &[u8] = b"identity-verify azure nonce 1\0";

/// What the time leaves of the 16 bytes
const TAG_BYTES: usize = 12;
