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

/// A stored key, of which a session token is the other half
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The token's public part
    pub id: String,
    /// The SHA-256 digest of the token's secret part
    pub secret_digest: Vec<u8>,
    /// Whom it stands for
    pub user: UserId,
    /// How the user signed in for it
    pub login_type: LoginType,
    /// When it was last used, give or take an hour
    pub last_used: SystemTime,
    /// When it ends; the instant itself still counts
    pub expires_at: SystemTime,
    /// How far use extends it
    pub lifetime: Duration,
    /// What it may do; nothing without any
    pub scopes: Vec<ScopeName>,
    /// What it may touch; nothing if it is empty
    pub allow_list: AllowList,
    /// The one server it was issued for, if it was issued for one
    pub audience: Option<String>,
    /// Whether use puts its end off by its lifetime, as it does for a session; since v2.35 of
    /// the control plane an API token keeps the end that its user chose
    pub is_prolonged: bool,
}

impl ApiKey {
    /// What use at `now` changes about the key, if anything
    ///
    /// Both times are written at most about once an hour, so that a busy session does
    /// not write with every request. A key that lives less than an hour is never
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

/// Columns of a key to be written; if any is, so is the time the user was last seen
///
/// Requests at once may all want it, so the statement should write only where the stored
/// time is still older.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyUpdate {
    /// The new time of last use
    pub last_used: Option<SystemTime>,
    /// The new end
    pub expires_at: Option<SystemTime>,
}

/// Who holds a key, and all that a decision needs of them
#[derive(Clone, Debug)]
pub struct KeyHolder {
    /// The key
    pub key: ApiKey,
    /// Whether the user may be here at all
    pub status: UserStatus,
    /// The link to the provider the user signed in with, for logins that have one
    pub link: Option<OauthLink>,
    /// The user's roles, each with the sharing setting of its organization
    ///
    /// Every user holds `member`. Every member of an organization holds
    /// `organization-member` there, or `organization-service-account` if the user is one,
    /// whether or not it is stored.
    pub roles: Vec<(RoleName, WorkspaceSharing)>,
    /// Those of the roles that are stored
    pub custom_roles: Vec<Arc<Role>>,
    /// The user's groups
    pub groups: Vec<GroupId>,
    /// Where the deployment's users may have workspaces of their own
    pub own_workspaces: OwnWorkspaces,
}

impl KeyHolder {
    /// The subject of decisions: the user's roles within the key's scope
    ///
    /// A key without any scope makes a subject that may do nothing.
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
    /// Not at all: the user made a token
    Token,
    /// Not at all: an account without sign-in
    None,
    /// Through an app that this deployment is the provider for
    Oauth2ProviderApp,
}

impl LoginType {
    /// The login type as it is stored
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

    /// Whether the login hangs on a provider's token
    #[must_use]
    pub const fn has_link(self) -> bool {
        matches!(self, Self::Github | Self::Oidc)
    }
}

impl FromStr for LoginType {
    type Err = Error;

    /// Reads the login type as it is stored
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

/// What is known of a provider's token
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OauthLink {
    /// When the provider's token ends; never, if the provider did not say
    pub expires_at: Option<SystemTime>,
    /// Whether there is a refresh token to get another with
    pub can_refresh: bool,
}

/// Whether a user may be here
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UserStatus {
    /// Yes
    Active,
    /// Not until an administrator says so
    Suspended,
    /// Away for long, and counted again once back
    Dormant,
}

impl UserStatus {
    /// The status as it is stored
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

    /// Reads the status as it is stored
    fn from_str(text: &str) -> Result<Self, Error> {
        let all = [Self::Active, Self::Suspended, Self::Dormant];
        let known = all.into_iter().find(|status| status.as_str() == text);
        known.ok_or_else(|| Error::UnknownUserStatus(text.to_owned()))
    }
}

/// How exactly the times of a key are kept
pub(super) const PRECISION: Duration = Duration::from_secs(60 * 60);
