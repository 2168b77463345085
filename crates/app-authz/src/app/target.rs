use std::borrow::Cow;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::app::{Agent, AppRequest, SharingLevel};
use crate::id::{AppId, OrganizationId, UserId, WorkspaceId};
use crate::rbac::{Acl, Object};

/// What a request leads to: one app, port or terminal of one agent
///
/// A view of the facts that it was found in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The request that led here
    pub request: &'a AppRequest,
    /// The workspace it is in
    pub workspace: &'a Workspace,
    /// The agent it runs on
    pub agent: &'a Agent,
    /// The app, unless it is a port or a terminal
    pub app: Option<AppId>,
    /// Where the agent serves it; empty for a terminal
    pub url: Cow<'a, str>,
    /// Whom it is shared with; nobody but the owner for a terminal
    pub sharing: SharingLevel,
    /// Who answers for its sharing across origins, as its template says
    pub cors: CorsBehavior,
}

/// Who answers when a browser asks whether another origin may read an app
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CorsBehavior {
    /// The proxy, and the app's own headers are dropped
    #[default]
    Simple,
    /// The app
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

/// A workspace as a decision sees it
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Its id
    pub id: WorkspaceId,
    /// Its name
    pub name: String,
    /// The user who owns it
    pub owner: UserId,
    /// The owner's user name
    pub owner_name: String,
    /// The organization it belongs to
    pub organization: OrganizationId,
    /// Whether it sleeps for want of use: then nobody enters it by role
    pub dormant: bool,
    /// Whom it is shared with by name
    pub acl: Acl,
}

impl Workspace {
    /// The workspace as an object of a role-based decision
    #[must_use]
    pub fn object(&self) -> Object<'_> {
        Object::workspace(self.id, self.owner, self.organization, &self.acl, self.dormant)
    }
}
