use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use josekit::jwe::A256GCMKW;
use josekit::jwe::alg::aesgcmkw::{AesgcmkwJweDecrypter, AesgcmkwJweEncrypter};

use super::{TokenError, VerifyingKey};
use crate::Error;

/// What a key is for, as the table of keys calls it
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// Signs app tokens
    WorkspaceAppsToken,
    /// Seals session tokens on their way to an app's host
    WorkspaceAppsApiKey,
    /// Signs the state of a change of login; the control plane's own
    OidcConvert,
    /// Signs tokens to resume a network connection; the control plane's own
    TailnetResume,
}

impl Feature {
    /// Every feature
    pub const ALL: [Self; 4] = [
        Self::WorkspaceAppsToken,
        Self::WorkspaceAppsApiKey,
        Self::OidcConvert,
        Self::TailnetResume,
    ];

    /// The feature as it is stored
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WorkspaceAppsToken => "workspace_apps_token",
            Self::WorkspaceAppsApiKey => "workspace_apps_api_key",
            Self::OidcConvert => "oidc_convert",
            Self::TailnetResume => "tailnet_resume",
        }
    }

    /// The bytes of a secret
    #[must_use]
    pub const fn secret_len(self) -> usize {
        match self {
            Self::WorkspaceAppsApiKey => 32,
            Self::WorkspaceAppsToken | Self::OidcConvert | Self::TailnetResume => 64,
        }
    }

    /// How long what a key signed may be good
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

    /// Reads the feature as it is stored
    fn from_str(text: &str) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|feature| feature.as_str() == text);
        known.ok_or_else(|| Error::UnknownFeature(text.to_owned()))
    }
}

/// A row of the table of keys
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CryptoKey {
    /// What it is for
    pub feature: Feature,
    /// Its number, which tokens name and which is never used again
    pub sequence: i32,
    /// The secret; gone once the key is deleted, while the row stays
    pub secret: Option<Secret>,
    /// From when on it signs
    pub starts_at: SystemTime,
    /// From when on it is good for nothing; open until a successor exists
    pub deletes_at: Option<SystemTime>,
}

/// Secret bytes, which `Debug` does not print
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Content);

#[derive(Clone, PartialEq, Eq)]
enum Content {
    Bytes(Box<[u8]>),
    Unreadable(Box<str>),
}

impl Secret {
    /// Takes the bytes
    #[must_use]
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(Content::Bytes(bytes.into()))
    }

    /// A secret that is stored and cannot be read, for the reason given
    ///
    /// Such as one that is encrypted with a key that is missing. It has no bytes, so that it
    /// neither signs nor verifies, and its row still counts where keys are rotated.
    #[must_use]
    pub fn unreadable(reason: impl Into<Box<str>>) -> Self {
        Self(Content::Unreadable(reason.into()))
    }

    /// Why the secret cannot be read, if it cannot
    #[must_use]
    pub const fn unreadable_reason(&self) -> Option<&str> {
        match &self.0 {
            Content::Bytes(_) => None,
            Content::Unreadable(reason) => Some(reason),
        }
    }

    /// Reads the hexadecimal form in which the table keeps it
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSecret`] if it is none.
    pub fn from_hex(text: &str) -> Result<Self, Error> {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes = pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?));
        match bytes.collect::<Option<Box<[u8]>>>() {
            Some(bytes) if rest.is_empty() => Ok(Self::new(bytes)),
            _ => Err(Error::InvalidSecret),
        }
    }

    /// The hexadecimal form, for the table and nothing else; empty if unreadable
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.reveal().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The bytes, for a cipher and nothing else; empty if unreadable
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

/// A key made ready for what its feature does
pub trait KeyMaterial: Sized + fmt::Debug + Send + Sync {
    /// The feature
    const FEATURE: Feature;

    /// Makes the key of that number ready
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSecret`] if the secret does not fit the feature.
    fn prepare(sequence: i32, secret: &Secret) -> Result<Self, Error>;
}

/// Seals session tokens, and opens them again
pub struct SealKey {
    pub(super) encrypter: AesgcmkwJweEncrypter,
    pub(super) decrypter: AesgcmkwJweDecrypter,
}

impl KeyMaterial for SealKey {
    const FEATURE: Feature = Feature::WorkspaceAppsApiKey;

    fn prepare(_sequence: i32, secret: &Secret) -> Result<Self, Error> {
        let secret = fitting::<Self>(secret)?;
        Ok(Self {
            encrypter: A256GCMKW.encrypter_from_bytes(secret).map_err(|_| Error::InvalidSecret)?,
            decrypter: A256GCMKW.decrypter_from_bytes(secret).map_err(|_| Error::InvalidSecret)?,
        })
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(..)")
    }
}

pub(super) fn fitting<K: KeyMaterial>(secret: &Secret) -> Result<&[u8], Error> {
    let bytes = secret.reveal();
    if bytes.len() == K::FEATURE.secret_len() { Ok(bytes) } else { Err(Error::InvalidSecret) }
}

/// The keys of one feature at one moment, made ready
#[derive(Clone, Debug)]
pub struct KeyRing<K> {
    /// Highest sequence first
    pub(super) keys: Vec<Arc<Entry<K>>>,
    /// Sequences and reasons
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
    /// Makes those of `rows` ready that are of the feature and not deleted
    ///
    /// Rows whose secret [cannot be read](Secret::unreadable) are passed over, and listed in
    /// [`unreadable`](Self::unreadable).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidSecret`] if one of them does not fit the feature.
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
    /// No key at all
    pub const EMPTY: Self = Self { keys: Vec::new(), unreadable: Vec::new() };

    pub(super) fn of(keys: Vec<Entry<K>>) -> Self {
        let mut keys: Vec<Arc<Entry<K>>> = keys.into_iter().map(Arc::new).collect();
        keys.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.sequence));
        Self { keys, unreadable: Vec::new() }
    }

    /// The sequences of the keys that were passed over, each with the reason
    pub fn unreadable(&self) -> impl Iterator<Item = (i32, &str)> {
        self.unreadable.iter().map(|(sequence, reason)| (*sequence, &**reason))
    }

    /// The key that signs at `now`, and its sequence: the highest that may
    ///
    /// # Errors
    ///
    /// [`Error::NoSigningKey`] if none may.
    pub fn signing(&self, now: SystemTime) -> Result<(i32, &K), Error> {
        let started = |entry: &&Arc<Entry<K>>| entry.starts_at <= now && entry.is_good(now);
        let entry = self.keys.iter().find(started).ok_or(Error::NoSigningKey)?;
        Ok((entry.sequence, &entry.material))
    }

    /// The key of that sequence, if it may verify at `now`
    ///
    /// It may before it starts: the clock of the replica that signed may be ahead.
    ///
    /// # Errors
    ///
    /// [`TokenError::UnknownKey`] if there is none, or its time is over.
    pub fn verifying(&self, sequence: i32, now: SystemTime) -> Result<&K, TokenError> {
        let entry = self.keys.iter().find(|entry| entry.sequence == sequence);
        let good = entry.filter(|entry| entry.is_good(now));
        good.map(|entry| &entry.material).ok_or(TokenError::UnknownKey(sequence))
    }

    /// Whether there is a key of that sequence, good or not
    #[must_use]
    pub fn knows(&self, sequence: i32) -> bool {
        self.keys.iter().any(|entry| entry.sequence == sequence)
    }
}

impl<K: VerifyingKey> KeyRing<K> {
    /// The sequence of the key that writes this header
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
