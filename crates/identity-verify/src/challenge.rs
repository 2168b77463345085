use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    Cloud, Denied, Error, Policy, Rejection, VerifiedInstance,
    rejection::{Claimed, Failed},
    rsa::{MacKey, Sha2},
};

/// Issues nonces for proofs, and recognizes them without storing them
///
/// A nonce is 32 digits: the second it was issued, and 96 bits of an HMAC-SHA-256 over that (RFC
/// 2104), both in lower-case hexadecimal. A proof that answers it was made after the nonce was
/// issued. So a stolen proof is good for the lifetime of its nonce at most.
///
/// - A machine of Azure passes the nonce to its metadata service, in the parameter `nonce` of
///   `/metadata/attested/document`. Microsoft defines it as up to 32 alphanumeric characters
///   (azure-rest-api-specs, `imds`, parameter `nonce`), of which its manual shows ten digits. The
///   service may return the nonce of an earlier request, which it has cached ("Azure Instance
///   Metadata Service", section "Attested data"); the machine has to ask again then.
/// - A machine of Google asks for a token whose audience is [the usual one](Self::audience) with
///   the nonce behind it.
/// - The documents of AWS cannot have a nonce.
///
/// A nonce is neither for one machine nor for one use: all requests in the same second get
/// the same nonce, and an answer can be presented again while the nonce is valid.
///
/// ```
/// # use std::time::SystemTime;
/// # use identity_verify::{Challenge, ChallengeKey, Rejection, VerifiedInstance};
/// # fn example(
/// #     secret: &[u8; 32], instance: VerifiedInstance, now: SystemTime,
/// # ) -> Result<VerifiedInstance, Rejection> {
/// let challenge = Challenge::new(ChallengeKey::new(secret), 300);
/// let nonce = challenge.issue(now); // for `/metadata/attested/document?nonce=…`
/// // Later, once a verifier has verified the machine's proof:
/// challenge.demand(instance, now)
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Challenge {
    key: ChallengeKey,
    other_keys: Vec<ChallengeKey>,
    lifetime_seconds: u64,
    leeway_seconds: u64,
}

impl Challenge {
    /// A challenge by `key` that must be answered within `lifetime_seconds`
    ///
    /// The leeway comes on top, as one server may issue and another verify: that of the default
    /// [`Policy`].
    #[must_use]
    pub fn new(key: ChallengeKey, lifetime_seconds: u64) -> Self {
        let leeway_seconds = Policy::default().leeway_seconds;
        Self { key, other_keys: Vec::new(), lifetime_seconds, leeway_seconds }
    }

    /// Returns the same challenge, which also recognizes nonces of `key` but issues none
    ///
    /// For the lifetime after a key was replaced, and on every server before it is.
    #[must_use]
    pub fn also_accepting(mut self, key: ChallengeKey) -> Self {
        self.other_keys.push(key);
        self
    }

    /// Returns the same challenge, with the most seconds that the clocks of two servers may differ
    #[must_use]
    pub fn leeway_seconds(self, seconds: u64) -> Self {
        Self { leeway_seconds: seconds, ..self }
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

    /// The audience that a machine of Google asks for to answer `nonce`, where `audience` is the
    /// one it asks for without a nonce
    #[must_use]
    pub fn audience(audience: &str, nonce: &str) -> String {
        format!("{audience}{AUDIENCE_SEPARATOR}{nonce}")
    }

    /// Returns `instance` if its proof answers a nonce of this challenge that is still valid
    ///
    /// # Errors
    ///
    /// A [`Rejection`] with the first of: [`Error::NonceMissing`], always for AWS;
    /// [`Error::NonceMismatch`], also for the nonce of a key that is not known any more;
    /// [`Error::NotYetValid`], and [`Error::NonceExpired`].
    pub fn demand(
        &self,
        instance: VerifiedInstance,
        now: SystemTime,
    ) -> Result<VerifiedInstance, Rejection> {
        match self.check(instance.nonce(), instance.cloud(), now) {
            Ok(()) => Ok(instance),
            Err(error) => {
                let denied = Denied::new(SETTING, instance.nonce());
                let claimed = Claimed::of(&instance);
                Err(Rejection::new(Failed::genuine(error), claimed, Some(denied)))
            }
        }
    }

    fn check(&self, nonce: Option<&str>, cloud: Cloud, now: SystemTime) -> Result<(), Error> {
        let nonce = nonce.ok_or(Error::NonceMissing { cloud })?;
        let seconds = nonce.get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let seconds = seconds.filter(|&seconds| seconds > 0).ok_or(Error::NonceMismatch)?;
        // The whole text is issued again and compared, so that no other way to write
        // the time is accepted, and no time at all before the tag is good.
        let mut keys = std::iter::once(&self.key).chain(&self.other_keys);
        if !keys.any(|key| is_same(nonce, &key.nonce(seconds))) {
            return Err(Error::NonceMismatch);
        }
        let issued = UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds.into()))
            .ok_or(Error::NonceMismatch)?;
        let leeway = Duration::from_secs(self.leeway_seconds);
        let lifetime = Duration::from_secs(self.lifetime_seconds);
        match now.duration_since(issued) {
            Ok(age) if age > lifetime.saturating_add(leeway) => {
                Err(Error::NonceExpired { issued, time: now, lifetime })
            }
            Err(ahead) if ahead.duration() > leeway => {
                Err(Error::NotYetValid { what: "the nonce", time: now, not_before: issued })
            }
            _ => Ok(()),
        }
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

/// Whether a text has the form of a nonce that a machine of Azure may ask for
pub(crate) fn is_nonce(text: &str) -> bool {
    matches!(text.len(), 1..=32) && !text.contains(|c: char| c.is_control() || c.is_whitespace())
}

/// Compares digests, so that timing reveals nothing about the expected nonce
pub(crate) fn is_same(nonce: &str, expected: &str) -> bool {
    let digest = |text: &str| Sha2::Sha256.digest(text.as_bytes());
    digest(nonce).as_ref() == digest(expected).as_ref()
}

/// What stands between the audience and the nonce in an audience that answers one
pub(crate) const AUDIENCE_SEPARATOR: &str = "?nonce=";

/// The setting that the log names for a proof without a good nonce
const SETTING: &str = "require_nonce";

/// Keeps tags that the same key makes for other purposes from being nonces
const PURPOSE: &[u8] = b"identity-verify nonce 1\0";

/// What the time leaves of the 16 bytes
const TAG_BYTES: usize = 12;
