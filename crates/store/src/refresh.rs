//! Links to identity providers whose access token has ended, and is refreshed

use std::fmt;
use std::time::SystemTime;

use app_authz::UserId;
use app_authz::credential::LoginType;
use uuid::Uuid;

use crate::Error;

/// Reads and writes the tokens of users' links to identity providers
///
/// Replicas take turns, so that a refresh token is used once: a provider may give each only one
/// answer.
pub trait LinkTokens: Sync {
    /// Begins to refresh the access token of a link that has ended by `now`
    ///
    /// Until `until`, or until [`end_refresh`](Self::end_refresh), others do not begin. Nothing is
    /// locked meanwhile. `attempt` is an id that no other attempt has. One statement.
    ///
    /// # Errors
    ///
    /// [`Error::MissingEncryptionKey`] if the refresh token cannot be read, or new tokens could not be
    /// stored as the control plane demands. [`Error::Query`], [`Error::Unavailable`].
    fn begin_refresh(
        &self,
        link: LinkId,
        attempt: Uuid,
        now: SystemTime,
        until: SystemTime,
    ) -> impl Future<Output = Result<RefreshTurn, Error>> + Send;

    /// Ends an attempt, and stores the tokens that the provider has given
    ///
    /// Returns whether tokens were stored. They are encrypted where the control plane encrypts. If
    /// the link has changed since the attempt began, it is left as it is. One statement.
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`]: the attempt can be ended again.
    fn end_refresh(
        &self,
        begun: &BegunRefresh,
        end: RefreshEnd<'_>,
    ) -> impl Future<Output = Result<bool, Error>> + Send;
}

/// The link of a user to the provider of a login type
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LinkId {
    /// The user
    pub user: UserId,
    /// `oidc` or `github`
    pub login_type: LoginType,
}

impl LinkId {
    /// The link of `user` for `login_type`
    #[must_use]
    pub const fn new(user: UserId, login_type: LoginType) -> Self {
        Self { user, login_type }
    }
}

/// What an attempt to refresh a link has to do
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefreshTurn {
    /// It has begun, and has to be ended
    Begun(BegunRefresh),
    /// Another attempt is under way
    Other,
    /// Nothing is to be done: the link has not ended, cannot be refreshed, or was refused
    Over,
}

/// An attempt to refresh a link that has begun
///
/// `Debug` does not print the tokens.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BegunRefresh {
    /// The link
    pub link: LinkId,
    /// The refresh token
    pub refresh_token: String,
    pub(crate) attempt: Uuid,
    /// The end of the access token
    pub(crate) expiry: SystemTime,
    /// The refresh token as it is stored
    pub(crate) stored: String,
    /// The digest of the key that encrypts new tokens
    pub(crate) key: Option<String>,
}

impl fmt::Debug for BegunRefresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BegunRefresh").field("link", &self.link).finish_non_exhaustive()
    }
}

/// How an attempt to refresh a link has ended
///
/// `Debug` does not print the tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefreshEnd<'a> {
    /// The provider has given new tokens
    Refreshed {
        /// The new access token
        access_token: &'a str,
        /// The refresh token for the next time; `None` to keep the one that was used
        refresh_token: Option<&'a str>,
        /// When the access token ends; `None` if it does not
        expires_at: Option<SystemTime>,
    },
    /// The provider refuses the refresh token, so it is not tried again
    Refused,
    /// The provider could not be asked
    Failed,
}

impl fmt::Debug for RefreshEnd<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refreshed { .. } => "Refreshed",
            Self::Refused => "Refused",
            Self::Failed => "Failed",
        })
    }
}
