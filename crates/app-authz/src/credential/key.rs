use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::Error;
use crate::id::{GroupId, OrganizationId, UserId};
use crate::rbac::{
    AllowList, BuiltInRoles, OwnWorkspaces, Role, RoleName, Scope, ScopeName, Subject,
    WorkspaceSharing,
};

/// A stored key: what the database has of a session token
///
/// `Debug` prints the ids only.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
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
    /// A key of `user`, who signed in with a password, that may do all that the user may
    ///
    /// `id` is the public part of the token and `secret_digest` the SHA-256 digest of its
    /// secret part. Use does not extend the key, and when it was last used is not known, so that
    /// the first use is written.
    #[must_use]
    pub fn new(
        id: impl Into<String>,
        secret_digest: impl Into<Vec<u8>>,
        user: UserId,
        expires_at: SystemTime,
    ) -> Self {
        Self {
            id: id.into(),
            secret_digest: secret_digest.into(),
            user,
            login_type: LoginType::Password,
            last_used: SystemTime::UNIX_EPOCH,
            expires_at,
            lifetime: Duration::ZERO,
            scopes: vec![ScopeName::All],
            allow_list: AllowList::everything(),
            audience: None,
            is_prolonged: true,
        }
    }

    /// The same key, for a user who signed in this way
    #[must_use]
    pub const fn with_login_type(mut self, login_type: LoginType) -> Self {
        self.login_type = login_type;
        self
    }

    /// The same key, last used then
    #[must_use]
    pub const fn with_last_used(mut self, at: SystemTime) -> Self {
        self.last_used = at;
        self
    }

    /// The same key, which use extends by this
    #[must_use]
    pub const fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// The same key, which may do what any of these scopes permits; nothing without scopes
    #[must_use]
    pub fn with_scopes(mut self, scopes: impl IntoIterator<Item = ScopeName>) -> Self {
        self.scopes = scopes.into_iter().collect();
        self
    }

    /// The same key, which may touch these objects only; none if the list is empty
    #[must_use]
    pub fn with_allow_list(mut self, allow_list: AllowList) -> Self {
        self.allow_list = allow_list;
        self
    }

    /// The same key, for this server only; `None` for any
    #[must_use]
    pub fn with_audience(mut self, audience: impl Into<Option<String>>) -> Self {
        self.audience = audience.into();
        self
    }

    /// The same key, whose expiry use extends or not
    #[must_use]
    pub const fn with_prolonged(mut self, is_prolonged: bool) -> Self {
        self.is_prolonged = is_prolonged;
        self
    }

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

    /// Writes what its use changed, unless what is stored is newer
    ///
    /// It is what [`Sessions::update`](super::Sessions::update) demands, for a store that has its
    /// keys at hand.
    pub fn write(&mut self, update: KeyUpdate) {
        let KeyUpdate { last_used, expires_at } = update;
        self.last_used = self.last_used.max(last_used.unwrap_or(self.last_used));
        self.expires_at = self.expires_at.max(expires_at.unwrap_or(self.expires_at));
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
#[non_exhaustive]
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
    /// [`new`](Self::new) puts `member` first, which every user has. For every member of an
    /// organization the list must have `organization-member` there, or
    /// `organization-service-account` for a service account, even if that is not stored.
    pub roles: Vec<(RoleName, WorkspaceSharing)>,
    /// Those of the roles whose permissions are stored
    pub custom_roles: Vec<Arc<Role>>,
    /// The user's groups
    pub groups: Vec<GroupId>,
    /// Where users of the deployment may have workspaces of their own
    pub own_workspaces: OwnWorkspaces,
}

impl KeyHolder {
    /// The holder of the key, with the role `member` and no other
    #[must_use]
    pub fn new(key: ApiKey, status: UserStatus, username: impl Into<String>) -> Self {
        Self {
            key,
            status,
            username: username.into(),
            link: None,
            roles: vec![(RoleName::MEMBER, WorkspaceSharing::default())],
            custom_roles: Vec::new(),
            groups: Vec::new(),
            own_workspaces: OwnWorkspaces::default(),
        }
    }

    /// The same holder with these roles too, each with the sharing setting of its organization
    #[must_use]
    pub fn with_roles(
        mut self,
        roles: impl IntoIterator<Item = (RoleName, WorkspaceSharing)>,
    ) -> Self {
        let others = roles.into_iter().filter(|(name, _)| *name != RoleName::MEMBER);
        self.roles.extend(others);
        self
    }

    /// The same holder as a member of this organization, which shares workspaces so
    #[must_use]
    pub fn with_organization(
        self,
        organization: OrganizationId,
        sharing: WorkspaceSharing,
    ) -> Self {
        self.with_roles([(RoleName::organization_member(organization), sharing)])
    }

    /// The same holder with the permissions of those of the roles that are stored
    #[must_use]
    pub fn with_custom_roles(mut self, roles: impl IntoIterator<Item = Arc<Role>>) -> Self {
        self.custom_roles = roles.into_iter().collect();
        self
    }

    /// The same holder in these groups
    #[must_use]
    pub fn with_groups(mut self, groups: impl IntoIterator<Item = GroupId>) -> Self {
        self.groups = groups.into_iter().collect();
        self
    }

    /// The same holder with this link to the provider the user signed in with
    #[must_use]
    pub fn with_link(mut self, link: impl Into<Option<OauthLink>>) -> Self {
        self.link = link.into();
        self
    }

    /// The same holder in a deployment where users may have workspaces as `own` says
    #[must_use]
    pub const fn with_own_workspaces(mut self, own: OwnWorkspaces) -> Self {
        self.own_workspaces = own;
        self
    }

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
#[non_exhaustive]
pub struct OauthLink {
    /// When the provider's token expires; `None` if the provider did not say
    pub expires_at: Option<SystemTime>,
    /// Whether there is a refresh token
    pub can_refresh: bool,
}

impl OauthLink {
    /// A link whose token expires then and can be refreshed or not
    #[must_use]
    pub fn new(expires_at: impl Into<Option<SystemTime>>, can_refresh: bool) -> Self {
        Self { expires_at: expires_at.into(), can_refresh }
    }
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
