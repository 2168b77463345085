use std::error::Error;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::{ApiKey, KeyHolder, KeyUpdate, LoginType, SessionToken};
use crate::UserId;
use crate::rbac::ScopeName;

/// Answers who holds a session, and keeps the books of sessions
///
/// One question, one round trip each. Not from a replica: a session that was ended must
/// not come back.
pub trait Sessions: Sync {
    /// Why the question could not be answered
    type Error: Error + Send + Sync + 'static;

    /// For each token whose id is known, the key and its holder, in any order
    ///
    /// Nothing is verified yet: that is [`authenticate`](super::authenticate).
    fn holders(
        &self,
        tokens: &[SessionToken],
    ) -> impl Future<Output = Result<Vec<KeyHolder>, Self::Error>> + Send;

    /// What the user is called, unless unknown or deleted
    fn username(
        &self,
        user: UserId,
    ) -> impl Future<Output = Result<Option<String>, Self::Error>> + Send;

    /// Writes back what the use of a key changed, unless somebody else just has
    ///
    /// `ip` is where the key was used from; the unspecified address if that is unknown.
    /// The user counts as seen.
    fn update(
        &self,
        key: &ApiKey,
        update: KeyUpdate,
        ip: Option<IpAddr>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Stores a new key
    ///
    /// An error if the user is unknown or deleted, or the id is taken.
    fn insert(&self, key: &NewKey<'_>) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Ends the session of `key`, and with it every session its holder was given for
    /// apps alone
    ///
    /// No error if it had ended.
    fn log_out(&self, key: &ApiKey) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// A key that is to be stored
///
/// `Debug` prints its id alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey<'a> {
    /// The token whose other half it is
    pub token: &'a SessionToken,
    /// Whom it stands for
    pub user: UserId,
    /// How the user signed in for it
    pub login_type: LoginType,
    /// What it may do: a scope that the table of keys can hold
    pub scope: ScopeName,
    /// When it is made
    pub created_at: SystemTime,
    /// When it ends
    pub expires_at: SystemTime,
    /// How far use extends it
    pub lifetime: Duration,
    /// Where it was asked for from, where that is known
    pub ip: Option<IpAddr>,
    /// What its user calls it; unique among the user's keys of login type `token`
    pub name: &'a str,
}

impl<'a> NewKey<'a> {
    /// A session that is good for apps alone, made at `now` in the session of `key`
    ///
    /// It ends when `key` does, and use extends it as far as it extends `key`, but neither
    /// goes beyond `longest`. What is made with an API token is never extended: such a
    /// token may have a fixed end, which its sessions must not outlive.
    #[must_use]
    pub fn for_apps(
        token: &'a SessionToken,
        key: &ApiKey,
        ip: Option<IpAddr>,
        longest: Duration,
        now: SystemTime,
    ) -> Self {
        let left = key.expires_at.duration_since(now).unwrap_or_default().min(longest);
        let lifetime = match key.login_type {
            LoginType::Token => left.min(NEVER_EXTENDED),
            _ => key.lifetime.min(longest),
        };
        Self {
            token,
            user: key.user,
            login_type: LoginType::Password,
            scope: ScopeName::ApplicationConnect,
            created_at: now,
            expires_at: now + left,
            // The control plane takes zero for a day.
            lifetime: lifetime.max(Duration::from_secs(1)),
            ip,
            name: "",
        }
    }
}

/// The longest lifetime with which a key is [never extended](ApiKey::update)
const NEVER_EXTENDED: Duration = Duration::from_secs(60 * 60);
