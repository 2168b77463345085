use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{TokenError, VerifyingKey};
use crate::Error;

/// What a key is for, as the table of keys names it
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// Keys that sign app tokens
    WorkspaceAppsToken,
    /// Keys that seal session tokens on their way to an app's host
    WorkspaceAppsApiKey,
    /// Keys that sign the state of a change of login type; only the control plane uses them
    OidcConvert,
    /// Keys that sign tokens to resume a network connection; only the control plane uses them
    TailnetResume,
}

impl Feature {
    /// All features
    pub const ALL: &[Self] = &[
        Self::WorkspaceAppsToken,
        Self::WorkspaceAppsApiKey,
        Self::OidcConvert,
        Self::TailnetResume,
    ];

    /// The label in the database
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WorkspaceAppsToken => "workspace_apps_token",
            Self::WorkspaceAppsApiKey => "workspace_apps_api_key",
            Self::OidcConvert => "oidc_convert",
            Self::TailnetResume => "tailnet_resume",
        }
    }

    /// The length of a secret in bytes
    #[must_use]
    pub const fn secret_len(self) -> usize {
        match self {
            Self::WorkspaceAppsApiKey => 32,
            Self::WorkspaceAppsToken | Self::OidcConvert | Self::TailnetResume => 64,
        }
    }

    /// The longest lifetime of a token that a key of the feature signs
    #[must_use]
    pub const fn token_lifetime(self) -> Duration {
        match self {
            Self::WorkspaceAppsToken | Self::WorkspaceAppsApiKey => Duration::from_secs(60),
            Self::OidcConvert => Duration::from_secs(5 * 60),
            Self::TailnetResume => Duration::from_secs(24 * 60 * 60),
        }
    }
}

impl FromStr for Feature {
    type Err = Error;

    /// Parses the label in the database
    fn from_str(text: &str) -> Result<Self, Error> {
        let known = Self::ALL.iter().find(|feature| feature.as_str() == text);
        known.copied().ok_or_else(|| Error::UnknownFeature(text.to_owned()))
    }
}

/// A row of the table of keys
///
/// `Debug` does not print the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CryptoKey {
    /// What the key is for
    pub feature: Feature,
    /// The number of the key, which tokens name; never used for another key of the feature
    pub sequence: i32,
    /// The secret; `None` once the key is deleted, as the row stays
    pub secret: Option<Secret>,
    /// When the key starts to sign
    pub starts_at: SystemTime,
    /// When the key stops to verify; `None` until it has a successor
    pub deletes_at: Option<SystemTime>,
}

impl CryptoKey {
    /// The key with this number, without an end; the secret is `None` once the key is deleted
    #[must_use]
    pub fn new(
        feature: Feature,
        sequence: i32,
        secret: impl Into<Option<Secret>>,
        starts_at: SystemTime,
    ) -> Self {
        Self { feature, sequence, secret: secret.into(), starts_at, deletes_at: None }
    }

    /// The same key, which stops to verify then; `None` for a key without a successor
    #[must_use]
    pub fn with_deletes_at(mut self, at: impl Into<Option<SystemTime>>) -> Self {
        self.deletes_at = at.into();
        self
    }
}

/// The secret of a key, which `Debug` does not print
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Content);

#[derive(Clone, PartialEq, Eq)]
enum Content {
    Bytes(Box<[u8]>),
    Unreadable(Box<str>),
}

impl Secret {
    /// A secret of these bytes
    #[must_use]
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(Content::Bytes(bytes.into()))
    }

    /// A secret that is stored but cannot be read, and the reason
    ///
    /// For example, it is encrypted with a key that is missing. Without bytes it neither signs
    /// nor verifies, but its row still counts when keys are rotated.
    #[must_use]
    pub fn unreadable(reason: impl Into<Box<str>>) -> Self {
        Self(Content::Unreadable(reason.into()))
    }

    /// The reason why the secret cannot be read; `None` if it can
    #[must_use]
    pub const fn unreadable_reason(&self) -> Option<&str> {
        match &self.0 {
            Content::Bytes(_) => None,
            Content::Unreadable(reason) => Some(reason),
        }
    }

    /// Parses the hexadecimal form in the table of keys
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSecret`] if the text is not hexadecimal.
    pub fn from_hex(text: &str) -> Result<Self, Error> {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes = pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?));
        match bytes.collect::<Option<Box<[u8]>>>() {
            Some(bytes) if rest.is_empty() => Ok(Self::new(bytes)),
            _ => Err(Error::InvalidSecret),
        }
    }

    /// The hexadecimal form, only to store it; empty if the secret is unreadable
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.reveal().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The secret bytes, only to encrypt them; empty if the secret is unreadable
    #[must_use]
    pub const fn reveal(&self) -> &[u8] {
        match &self.0 {
            Content::Bytes(bytes) => bytes,
            Content::Unreadable(_) => &[],
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A key that is prepared for what its feature does
pub trait KeyMaterial: Sized + fmt::Debug + Send + Sync {
    /// The feature of the key
    const FEATURE: Feature;

    /// Prepares the key with that number
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSecret`] if the secret does not fit the feature.
    fn prepare(sequence: i32, secret: &Secret) -> Result<Self, Error>;
}

pub(super) fn fitting<K: KeyMaterial>(secret: &Secret) -> Result<&[u8], Error> {
    let bytes = secret.reveal();
    if bytes.len() == K::FEATURE.secret_len() { Ok(bytes) } else { Err(Error::InvalidSecret) }
}

/// The keys of one feature at one time, prepared for use
#[derive(Clone, Debug)]
pub struct KeyRing<K> {
    /// Highest sequence first
    pub(super) keys: Vec<Arc<Entry<K>>>,
    /// The sequences of unreadable keys, and the reasons
    unreadable: Vec<(i32, Box<str>)>,
}

#[derive(Debug)]
pub(super) struct Entry<K> {
    pub(super) sequence: i32,
    pub(super) starts_at: SystemTime,
    pub(super) deletes_at: Option<SystemTime>,
    pub(super) material: K,
}

impl<K: KeyMaterial> KeyRing<K> {
    /// Prepares the keys in `rows` that are for the feature and not deleted
    ///
    /// Rows whose secret [cannot be read](Secret::unreadable) are skipped and listed in
    /// [`unreadable`](Self::unreadable).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSecret`] if a secret does not fit the feature.
    pub fn new(rows: &[CryptoKey]) -> Result<Self, Error> {
        let (mut keys, mut unreadable) = (Vec::new(), Vec::new());
        for row in rows.iter().filter(|row| row.feature == K::FEATURE) {
            let Some(secret) = &row.secret else { continue };
            if let Some(reason) = secret.unreadable_reason() {
                unreadable.push((row.sequence, reason.into()));
                continue;
            }
            keys.push(Entry {
                sequence: row.sequence,
                starts_at: row.starts_at,
                deletes_at: row.deletes_at,
                material: K::prepare(row.sequence, secret)?,
            });
        }
        Ok(Self { unreadable, ..Self::of(keys) })
    }
}

impl<K> KeyRing<K> {
    /// A ring without keys
    pub const EMPTY: Self = Self { keys: Vec::new(), unreadable: Vec::new() };

    pub(super) fn of(keys: Vec<Entry<K>>) -> Self {
        let mut keys: Vec<Arc<Entry<K>>> = keys.into_iter().map(Arc::new).collect();
        keys.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.sequence));
        Self { keys, unreadable: Vec::new() }
    }

    /// The sequences of the keys that could not be read, each with the reason
    pub fn unreadable(&self) -> impl Iterator<Item = (i32, &str)> {
        self.unreadable.iter().map(|(sequence, reason)| (*sequence, &**reason))
    }

    /// The sequence and the key that signs at `now`: of those that may, the highest sequence
    ///
    /// # Errors
    ///
    /// [`Error::NoSigningKey`] if no key may sign.
    pub fn signing(&self, now: SystemTime) -> Result<(i32, &K), Error> {
        let entry = self.signer(now).ok_or(Error::NoSigningKey)?;
        Ok((entry.sequence, &entry.material))
    }

    /// When the key that signs at `now` began to sign; `None` if no key may sign
    #[must_use]
    pub fn signing_since(&self, now: SystemTime) -> Option<SystemTime> {
        self.signer(now).map(|entry| entry.starts_at)
    }

    fn signer(&self, now: SystemTime) -> Option<&Entry<K>> {
        let started = |entry: &&Arc<Entry<K>>| entry.starts_at <= now && entry.is_good(now);
        self.keys.iter().find(started).map(|entry| &**entry)
    }

    /// The key with that sequence, if it may verify at `now`
    ///
    /// A key may verify before it starts to sign: the clock of the replica that signed may be
    /// ahead.
    ///
    /// # Errors
    ///
    /// [`TokenError::UnknownKey`] if the ring does not have the key, or it no longer verifies.
    pub fn verifying(&self, sequence: i32, now: SystemTime) -> Result<&K, TokenError> {
        let entry = self.keys.iter().find(|entry| entry.sequence == sequence);
        let good = entry.filter(|entry| entry.is_good(now));
        good.map(|entry| &entry.material).ok_or(TokenError::UnknownKey(sequence))
    }

    /// Whether the ring has a key with that sequence, even one that no longer verifies
    #[must_use]
    pub fn knows(&self, sequence: i32) -> bool {
        self.keys.iter().any(|entry| entry.sequence == sequence)
    }
}

impl<K: VerifyingKey> KeyRing<K> {
    /// The sequence of the key whose tokens have this header
    pub(super) fn with_header(&self, header: &str) -> Option<i32> {
        let entry = self.keys.iter().find(|entry| entry.material.header() == header);
        entry.map(|entry| entry.sequence)
    }
}

impl<K> Entry<K> {
    pub(super) fn is_good(&self, now: SystemTime) -> bool {
        self.deletes_at.is_none_or(|end| now < end)
    }
}
