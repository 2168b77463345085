use std::error::Error;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::{ApiKey, AppSession, KeyHolder, KeyUpdate, LoginType, SessionToken};
use crate::id::UserId;
use crate::rbac::{Action, AllowList, Object, ResourceType, ScopeName, Subject};

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
    /// An error if the user is unknown or deleted, if the id is taken, or if the table of
    /// keys cannot hold its limits: a key is stored with all of them or not at all.
    fn insert(&self, key: &NewKey<'_>) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Ends the session of `key`, and others of its user's as told
    ///
    /// No error if it had ended.
    fn log_out(
        &self,
        key: &ApiKey,
        others: OtherSessions,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Which other sessions of its user end with a session
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherSessions {
    /// None
    Keep,
    /// Those that the user was given for apps alone
    EndOfApps,
}

impl OtherSessions {
    /// Which of them `holder`, who is `subject`, ends by logging out
    ///
    /// A credential that may neither delete its user's keys nor open every app of theirs
    /// ends itself alone.
    #[must_use]
    pub fn ended_by(holder: &KeyHolder, subject: &Subject) -> Self {
        let key = &holder.key;
        let own_keys = Object::new(ResourceType::ApiKey).owner(key.user);
        let for_apps =
            key.scopes.contains(&ScopeName::ApplicationConnect) && key.allow_list.is_everything();
        if for_apps || subject.is_allowed(&Action::Delete, &own_keys) {
            Self::EndOfApps
        } else {
            Self::Keep
        }
    }
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
    /// What it may touch: not nothing, and everything where the table of keys holds no lists
    pub allow_list: &'a AllowList,
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
    /// The key of a session that is good for apps alone, made at `now` for `user`
    #[must_use]
    pub const fn for_apps(
        token: &'a SessionToken,
        user: UserId,
        session: &'a AppSession,
        ip: Option<IpAddr>,
        now: SystemTime,
    ) -> Self {
        Self {
            token,
            user,
            login_type: LoginType::Password,
            scope: ScopeName::ApplicationConnect,
            allow_list: &session.allow_list,
            created_at: now,
            expires_at: session.expires_at,
            lifetime: session.lifetime,
            ip,
            name: "",
        }
    }
}
