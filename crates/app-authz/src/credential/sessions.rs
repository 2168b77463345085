use std::error::Error;
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use super::{ApiKey, AppSession, KeyHolder, KeyUpdate, LoginType, SessionToken};
use crate::id::UserId;
use crate::port::port;
use crate::rbac::{Action, AllowList, Object, ResourceType, ScopeName, Subject};

/// Looks up session keys, creates and ends them, and records their use
///
/// Each method is one round trip. The answers must not come from a replica: a session that
/// was ended would be good again.
pub trait Sessions: Sync {
    /// Why a query failed
    type Error: Error + Send + Sync + 'static;

    /// Returns the key and its holder for each token whose id is known, in any order
    ///
    /// The secrets are not verified: [`authenticate`](super::authenticate) does that.
    fn holders(
        &self,
        tokens: &[SessionToken],
    ) -> impl Future<Output = Result<Vec<KeyHolder>, Self::Error>> + Send;

    /// Returns the name of the user, or `None` if the user is unknown or deleted
    ///
    /// By default all are unknown: no decision depends on it.
    fn username(
        &self,
        _user: UserId,
    ) -> impl Future<Output = Result<Option<String>, Self::Error>> + Send {
        std::future::ready(Ok(None))
    }

    /// Writes the columns of a key that its use changed, unless the stored ones are newer
    ///
    /// `ip` is the address that used the key; if it is unknown, the unspecified address is
    /// stored. The time at which the user was last seen is updated too.
    ///
    /// By default nothing is written, for a host that prolongs its sessions itself or not at all.
    fn update(
        &self,
        _key: &ApiKey,
        _update: KeyUpdate,
        _ip: Option<IpAddr>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        std::future::ready(Ok(()))
    }

    /// Stores a new key
    ///
    /// Fails if the user is unknown or deleted, if the id is taken, if the session that the key
    /// is made from has ended, or if the table of keys cannot hold the scope or the allow list: a
    /// key is never stored with fewer limits.
    ///
    /// A key that is made from a session counts only while that session does, and expires with
    /// it at the latest. At most [`MAX_MADE`] such keys of one session are kept, and
    /// [`MAX_MADE_FOR_USER`] of one user: the oldest ones end.
    fn insert(&self, key: &NewKey<'_>) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Notes that the key `id`, which was made from a session, is given to its browser at `now`
    ///
    /// Returns whether the key exists and was not given before. Of calls at the same time, on any
    /// replica, one gets `true`.
    ///
    /// By default each key counts as not given, and replicas do not know of each other what they have
    /// given.
    fn give(
        &self,
        _id: &str,
        _now: SystemTime,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send {
        std::future::ready(Ok(true))
    }

    /// Ends the session of `key`, those that were made from it, and `others` of the same user
    ///
    /// Returns the ids of the keys that were deleted: none if the session has already ended.
    fn log_out(
        &self,
        key: &ApiKey,
        others: OtherSessions,
    ) -> impl Future<Output = Result<Vec<String>, Self::Error>> + Send;

    /// Returns those of the keys `ids` that do not count at `now`, in any order
    ///
    /// A key does not count if it does not exist or has expired, if its user is not active, or
    /// if the session that it was made from has ended. Nothing else about it is checked.
    fn ended(
        &self,
        ids: &[&str],
        now: SystemTime,
    ) -> impl Future<Output = Result<Vec<String>, Self::Error>> + Send;

    /// Waits until a session may have ended since the last call, so that it is time to ask
    ///
    /// Not every end has to be noticed: the question is asked from time to time in any case. A store
    /// that notices none waits forever, as this method does. The future may be dropped and called
    /// again; one is awaited at a time.
    ///
    /// # Errors
    ///
    /// Fails if nothing is noticed until the next call.
    fn next_end(&self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        std::future::pending()
    }

    /// Deletes keys that were made from a session and do not count any more at `now`
    ///
    /// Returns how many were deleted; there may be more if it is `at_most`. Keys that were not
    /// made from a session are the control plane's to delete. Unless this is implemented, none
    /// is deleted.
    fn forget_ended(
        &self,
        _now: SystemTime,
        _at_most: u32,
    ) -> impl Future<Output = Result<u64, Self::Error>> + Send {
        std::future::ready(Ok(0))
    }
}

port! {
    DynSessions of Sessions
    fn holders as dyn_holders([tokens: [SessionToken]]) -> Vec<KeyHolder>;
    fn username as dyn_username([], user: UserId) -> Option<String>;
    fn update as dyn_update([key: ApiKey], update: KeyUpdate, ip: Option<IpAddr>) -> ();
    fn insert as dyn_insert([key: NewKey<'_>]) -> ();
    fn give as dyn_give([id: str], now: SystemTime) -> bool;
    fn log_out as dyn_log_out([key: ApiKey], others: OtherSessions) -> Vec<String>;
    fn ended as dyn_ended([ids: [&str]], now: SystemTime) -> Vec<String>;
    fn next_end as dyn_next_end([]) -> ();
    fn forget_ended as dyn_forget_ended([], now: SystemTime, at_most: u32) -> u64;
}

static EVERYTHING: LazyLock<AllowList> = LazyLock::new(AllowList::everything);

/// The most keys that are kept of those that were made from one session
pub const MAX_MADE: usize = 100;

/// The most keys that are kept of those that were made from the sessions of one user
pub const MAX_MADE_FOR_USER: usize = 400;

/// Which other sessions of the same user end with a session
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherSessions {
    /// No others
    Keep,
    /// Sessions that are for apps only
    ///
    /// Those that were made from the same session, if the session itself was made from one.
    /// Otherwise those of the user of which the store does not know what they were made from:
    /// the control plane makes such, and they may be of this browser or of another.
    EndOfApps,
}

impl OtherSessions {
    /// The other sessions that end when `holder` logs out, with `subject` made of `holder`
    ///
    /// They are kept if the credential may neither delete its user's keys nor open all of the
    /// user's apps.
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

/// A key to store
///
/// `Debug` does not print the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewKey<'a> {
    /// The token that the key is for; its id and digest are stored
    pub token: &'a SessionToken,
    /// The user that the key authenticates
    pub user: UserId,
    /// How the user signed in to get the key
    pub login_type: LoginType,
    /// What the key may do: a scope that the table of keys can hold
    pub scope: ScopeName,
    /// The objects that the key may touch: at least one, and all of them if the table of keys
    /// has no lists
    pub allow_list: &'a AllowList,
    /// When the key was created
    pub created_at: SystemTime,
    /// When the key expires
    pub expires_at: SystemTime,
    /// By how much use extends the key
    pub lifetime: Duration,
    /// The address that asked for the key, if known
    pub ip: Option<IpAddr>,
    /// The name the user gave the key; unique among the user's keys of login type `token`
    pub name: &'a str,
    /// The id of the key of the session that the key is made from, and ends with
    ///
    /// It must be a session of the same user that was not made from another itself.
    pub parent: Option<&'a str>,
}

impl<'a> NewKey<'a> {
    /// The key of a session of `user`, who signed in with a password at `created_at`, that may do
    /// all that the user may
    ///
    /// Use extends it by as long as it lasts at first.
    #[must_use]
    pub fn new(
        token: &'a SessionToken,
        user: UserId,
        created_at: SystemTime,
        expires_at: SystemTime,
    ) -> Self {
        Self {
            token,
            user,
            login_type: LoginType::Password,
            scope: ScopeName::All,
            allow_list: &EVERYTHING,
            created_at,
            expires_at,
            lifetime: expires_at.duration_since(created_at).unwrap_or_default(),
            ip: None,
            name: "",
            parent: None,
        }
    }

    /// The key of an API token that `user` creates at `created_at`, named after its id
    ///
    /// Otherwise as [`new`](Self::new).
    #[must_use]
    pub fn of_api_token(
        token: &'a SessionToken,
        user: UserId,
        created_at: SystemTime,
        expires_at: SystemTime,
    ) -> Self {
        // Names are unique among the tokens of a user, and so is the id.
        Self::new(token, user, created_at, expires_at)
            .with_login_type(LoginType::Token)
            .with_name(token.id())
    }

    /// The same key for a user who signed in this way
    #[must_use]
    pub const fn with_login_type(mut self, login_type: LoginType) -> Self {
        self.login_type = login_type;
        self
    }

    /// The same key, which may do what the scope permits
    #[must_use]
    pub fn with_scope(mut self, scope: ScopeName) -> Self {
        self.scope = scope;
        self
    }

    /// The same key, which may touch these objects only
    #[must_use]
    pub const fn with_allow_list(mut self, allow_list: &'a AllowList) -> Self {
        self.allow_list = allow_list;
        self
    }

    /// The same key, which use extends by this
    #[must_use]
    pub const fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// The same key, for which that address asked
    #[must_use]
    pub fn with_ip(mut self, ip: impl Into<Option<IpAddr>>) -> Self {
        self.ip = ip.into();
        self
    }

    /// The same key with this name
    #[must_use]
    pub const fn with_name(mut self, name: &'a str) -> Self {
        self.name = name;
        self
    }

    /// The same key, made from the session whose key has this id
    #[must_use]
    pub const fn with_parent(mut self, parent: &'a str) -> Self {
        self.parent = Some(parent);
        self
    }

    /// The key as a store has to return it: with all limits, and without the secret
    ///
    /// Use does not extend an API token, which ends when its user wanted it to.
    #[must_use]
    pub fn stored(&self) -> ApiKey {
        let (id, digest) = (self.token.id(), self.token.secret_digest());
        ApiKey::new(id, digest, self.user, self.expires_at)
            .with_login_type(self.login_type)
            .with_last_used(self.created_at)
            .with_lifetime(self.lifetime)
            .with_scopes([self.scope.clone()])
            .with_allow_list(self.allow_list.clone())
            .with_prolonged(self.login_type != LoginType::Token)
    }

    /// The key of a session for apps only, created at `now` from the session of `parent`
    #[must_use]
    pub fn for_apps(
        token: &'a SessionToken,
        parent: &'a ApiKey,
        session: &'a AppSession,
        ip: Option<IpAddr>,
        now: SystemTime,
    ) -> Self {
        Self {
            token,
            user: parent.user,
            login_type: LoginType::Password,
            scope: ScopeName::ApplicationConnect,
            allow_list: &session.allow_list,
            created_at: now,
            expires_at: session.expires_at,
            lifetime: session.lifetime,
            ip,
            name: "",
            parent: Some(&parent.id),
        }
    }
}
