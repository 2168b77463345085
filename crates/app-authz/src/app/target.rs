use std::borrow::Cow;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::app::{Agent, AppRequest, People, SharingLevel};
use crate::id::{AppId, OrganizationId, UserId, WorkspaceId};
use crate::rbac::{Acl, Object};

/// What a request leads to: one app, port or terminal of one agent
///
/// Borrows from the facts in which [`resolve`](crate::resolve) found it. Nothing else builds one:
///
/// ```compile_fail
/// fn forge<'a>(found: app_authz::Target<'a>, url: &'a str) -> app_authz::Target<'a> {
///     app_authz::Target { url: url.into(), ..found }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    pub(super) request: &'a AppRequest,
    pub(super) workspace: &'a Workspace,
    pub(super) agent: &'a Agent,
    pub(super) app: Option<AppId>,
    pub(super) url: Cow<'a, str>,
    pub(super) sharing: SharingLevel,
    pub(super) people: &'a People,
    /// The widest level that the template allows, if the rules apply it
    pub(super) widest: Option<SharingLevel>,
    pub(super) cors: CorsBehavior,
}

impl<'a> Target<'a> {
    /// The request that leads to the target
    #[must_use]
    pub const fn request(&self) -> &'a AppRequest {
        self.request
    }

    /// The workspace of the target
    #[must_use]
    pub const fn workspace(&self) -> &'a Workspace {
        self.workspace
    }

    /// The agent that serves the target
    #[must_use]
    pub const fn agent(&self) -> &'a Agent {
        self.agent
    }

    /// The app's id; `None` for a port or a terminal
    #[must_use]
    pub const fn app(&self) -> Option<AppId> {
        self.app
    }

    /// The address at which the agent serves the target; empty for a terminal
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The level at which the target is shared; always the owner's for a terminal
    #[must_use]
    pub const fn sharing(&self) -> SharingLevel {
        self.sharing
    }

    /// The users and groups with whom the target is shared beside its level; empty for a terminal,
    /// and if the template does not let its workspaces be shared
    #[must_use]
    pub fn people(&self) -> &'a People {
        match self.widest {
            Some(SharingLevel::Owner) => &NO_PEOPLE,
            _ => self.people,
        }
    }

    /// Which side answers cross-origin requests, as the template configures it
    #[must_use]
    pub const fn cors(&self) -> CorsBehavior {
        self.cors
    }

    /// The same target, shared at another level than the one that was found
    ///
    /// For a deployment with a policy of its own. The level is not compared with the one that the
    /// app or the port has, nor with the widest one that the template allows. The people with whom
    /// the target is shared stay the same.
    #[must_use]
    pub const fn with_sharing(mut self, level: SharingLevel) -> Self {
        self.sharing = level;
        self
    }
}

pub(super) static NO_PEOPLE: People = People::NONE;

/// Which side answers when a browser asks whether another origin may read an app
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CorsBehavior {
    /// The proxy answers, and the app's own headers are dropped
    #[default]
    Simple,
    /// The app answers
    Passthru,
}

impl CorsBehavior {
    /// The label in the database and in tokens
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Passthru => "passthru",
        }
    }
}

impl FromStr for CorsBehavior {
    type Err = Error;

    /// Parses the label in the database
    fn from_str(text: &str) -> Result<Self, Error> {
        let known = [Self::Simple, Self::Passthru].into_iter().find(|cors| cors.as_str() == text);
        known.ok_or_else(|| Error::UnknownCorsBehavior(text.to_owned()))
    }
}

/// The facts of a workspace that decisions depend on
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Workspace {
    /// The workspace's id
    pub id: WorkspaceId,
    /// The workspace's name
    pub name: String,
    /// The user who owns the workspace
    pub owner: UserId,
    /// The owner's user name
    pub owner_name: String,
    /// The organization that the workspace belongs to
    pub organization: OrganizationId,
    /// Whether the workspace is dormant after long disuse; built-in roles do not open it then
    pub dormant: bool,
    /// The users and groups with whom the workspace is shared
    pub acl: Acl,
}

impl Workspace {
    /// A workspace that is not dormant and not shared, with its id and name, and the id and name
    /// of its owner
    #[must_use]
    pub fn new(
        (id, name): (WorkspaceId, impl Into<String>),
        (owner, owner_name): (UserId, impl Into<String>),
        organization: OrganizationId,
    ) -> Self {
        Self {
            id,
            name: name.into(),
            owner,
            owner_name: owner_name.into(),
            organization,
            dormant: false,
            acl: Acl::NONE,
        }
    }

    /// The same workspace, dormant or not
    #[must_use]
    pub const fn with_dormant(mut self, dormant: bool) -> Self {
        self.dormant = dormant;
        self
    }

    /// The same workspace, shared with these users and groups
    #[must_use]
    pub fn with_acl(mut self, acl: Acl) -> Self {
        self.acl = acl;
        self
    }

    /// The workspace as the object of a role-based decision
    #[must_use]
    pub fn object(&self) -> Object<'_> {
        Object::workspace(self.id, self.owner, self.organization, &self.acl, self.dormant)
    }
}
