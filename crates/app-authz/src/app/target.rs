use std::borrow::Cow;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::app::{Agent, AppRequest, SharingLevel};
use crate::id::{AppId, OrganizationId, UserId, WorkspaceId};
use crate::rbac::{Acl, Object};

/// What a request leads to: one app, port or terminal of one agent
///
/// Borrows from the facts in which [`resolve`](crate::resolve) found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The request that leads to the target
    pub request: &'a AppRequest,
    /// The workspace of the target
    pub workspace: &'a Workspace,
    /// The agent that serves the target
    pub agent: &'a Agent,
    /// The app's id; `None` for a port or a terminal
    pub app: Option<AppId>,
    /// The address at which the agent serves the target; empty for a terminal
    pub url: Cow<'a, str>,
    /// The level at which the target is shared; always the owner's for a terminal
    pub sharing: SharingLevel,
    /// Which side answers cross-origin requests, as the template configures it
    pub cors: CorsBehavior,
}

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
    /// The workspace as the object of a role-based decision
    #[must_use]
    pub fn object(&self) -> Object<'_> {
        Object::workspace(self.id, self.owner, self.organization, &self.acl, self.dormant)
    }
}
