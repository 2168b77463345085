use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::Error;
use crate::id::{GroupId, UserId};
use crate::rbac::{
    AllowList, BuiltInRoles, OwnWorkspaces, Role, RoleName, Scope, ScopeName, Subject,
    WorkspaceSharing,
};

/// A stored key: what the database has of a session token
///
/// `Debug` prints the ids only.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The token's public part
    pub id: String,
    /// The SHA-256 digest of the token's secret part
    pub secret_digest: Vec<u8>,
    /// The user that the key authenticates
    pub user: UserId,
    /// How the user signed in to get the key
    pub login_type: LoginType,
    /// When the key was last used, to within an hour
    pub last_used: SystemTime,
    /// When the key expires; it is still good at this time
    pub expires_at: SystemTime,
    /// By how much use extends the key
    pub lifetime: Duration,
    /// What the key may do; nothing if empty
    pub scopes: Vec<ScopeName>,
    /// The objects that the key may touch; none if empty
    pub allow_list: AllowList,
    /// The only server that the key is for; `None` if it is for any
    pub audience: Option<String>,
    /// Whether use extends the key by its lifetime, as it extends a session
    ///
    /// Since v2.35 of the control plane an API token keeps the expiry that its user chose.
    pub is_prolonged: bool,
}

impl ApiKey {
    /// The columns that use at `now` changes, if any
    ///
    /// Each time is written about once an hour at most, so that a busy session does not cause
    /// a write with every request. A key with a lifetime of less than an hour is never
    /// extended.
    #[must_use]
    pub fn update(&self, now: SystemTime, refresh_expiry: bool) -> Option<KeyUpdate> {
        let idle = now.duration_since(self.last_used).unwrap_or_default();
        let left = self.expires_at.duration_since(now).unwrap_or_default();
        let due = self.lifetime.checked_sub(PRECISION).is_some_and(|due| left <= due);
        let update = KeyUpdate {
            last_used: (idle > PRECISION).then_some(now),
            expires_at: if refresh_expiry && self.is_prolonged && due {
                now.checked_add(self.lifetime)
            } else {
                None
            },
        };
        (update != KeyUpdate::default()).then_some(update)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("id", &self.id)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Columns of a key to write; the time at which the user was last seen is written with them
///
/// Concurrent requests may all ask for it, so the statement should write only if the stored
/// time is older.
///
/// Exhaustive on purpose: a store must write every column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyUpdate {
    /// The new time of last use, if it changes
    pub last_used: Option<SystemTime>,
    /// The new expiry, if it changes
    pub expires_at: Option<SystemTime>,
}

/// A key, and the facts about its user that decisions need
#[derive(Clone, Debug)]
pub struct KeyHolder {
    /// The key
    pub key: ApiKey,
    /// The status of the user's account
    pub status: UserStatus,
    /// The user's name, to show to the user
    pub username: String,
    /// The link to the provider the user signed in with, for logins that have one
    pub link: Option<OauthLink>,
    /// The user's roles, each with the sharing setting of its organization
    ///
    /// The list must have `member` for every user. For every member of an organization it must
    /// have `organization-member` there, or `organization-service-account` for a service
    /// account, even if that is not stored.
    pub roles: Vec<(RoleName, WorkspaceSharing)>,
    /// Those of the roles whose permissions are stored
    pub custom_roles: Vec<Arc<Role>>,
    /// The user's groups
    pub groups: Vec<GroupId>,
    /// Where users of the deployment may have workspaces of their own
    pub own_workspaces: OwnWorkspaces,
}

impl KeyHolder {
    /// The subject of decisions: the user's roles, limited to the key's scope
    ///
    /// With a key without scopes, the subject may do nothing.
    #[must_use]
    pub fn subject(&self, built_in: &BuiltInRoles) -> Subject {
        let scope = Scope::shared(&self.key.scopes, &self.key.allow_list);
        let names = self.roles.iter().map(|(name, sharing)| (name, *sharing));
        let mut roles = built_in.expand(names, &self.custom_roles);
        roles.extend(built_in.of_own_workspaces(self.own_workspaces));
        Subject::new(self.key.user, roles, scope)
            .with_groups(self.groups.iter().copied())
            .with_own_workspaces(self.own_workspaces)
    }
}

/// How a user signed in
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LoginType {
    /// With a password
    Password,
    /// With GitHub
    Github,
    /// With an OpenID Connect provider
    Oidc,
    /// With an API token that the user created
    Token,
    /// Not possible: the account has no sign-in
    None,
    /// Through an OAuth2 app for which this deployment is the provider
    Oauth2ProviderApp,
}

impl LoginType {
    /// The label in the database
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Github => "github",
            Self::Oidc => "oidc",
            Self::Token => "token",
            Self::None => "none",
            Self::Oauth2ProviderApp => "oauth2_provider_app",
        }
    }

    /// Whether the login depends on a token of a provider
    #[must_use]
    pub const fn has_link(self) -> bool {
        matches!(self, Self::Github | Self::Oidc)
    }
}

impl FromStr for LoginType {
    type Err = Error;

    /// Parses the label in the database
    fn from_str(text: &str) -> Result<Self, Error> {
        let all = [
            Self::Password,
            Self::Github,
            Self::Oidc,
            Self::Token,
            Self::None,
            Self::Oauth2ProviderApp,
        ];
        let known = all.into_iter().find(|login_type| login_type.as_str() == text);
        known.ok_or_else(|| Error::UnknownLoginType(text.to_owned()))
    }
}

/// What is known about the token of a provider
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OauthLink {
    /// When the provider's token expires; `None` if the provider did not say
    pub expires_at: Option<SystemTime>,
    /// Whether there is a refresh token
    pub can_refresh: bool,
}

/// The status of a user's account
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UserStatus {
    /// The account is active
    Active,
    /// An administrator suspended the account
    Suspended,
    /// The account was inactive for a long time; signing in activates it again
    Dormant,
}

impl UserStatus {
    /// The label in the database
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Dormant => "dormant",
        }
    }
}

impl FromStr for UserStatus {
    type Err = Error;

    /// Parses the label in the database
    fn from_str(text: &str) -> Result<Self, Error> {
        let all = [Self::Active, Self::Suspended, Self::Dormant];
        let known = all.into_iter().find(|status| status.as_str() == text);
        known.ok_or_else(|| Error::UnknownUserStatus(text.to_owned()))
    }
}

/// The precision to which the times of a key are stored
pub(super) const PRECISION: Duration = Duration::from_secs(60 * 60);
