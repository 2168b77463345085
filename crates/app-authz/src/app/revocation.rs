//! What was allowed and may not be any more, and which open connections that concerns

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Port, Visitor};
use crate::id::{AgentId, UserId, WorkspaceId};

/// Something that was allowed and may not be any more, with the connections that it concerns
///
/// It is not a decision: the carrier of a connection that [`matches`](Mask::matches) asks again
/// whether the visitor may open the app, or closes the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Revocation {
    /// What has happened
    pub reason: RevocationReason,
    /// The connections that are concerned
    #[serde(flatten)]
    pub mask: Mask,
}

impl Revocation {
    /// A revocation of what `mask` says
    #[must_use]
    pub const fn new(reason: RevocationReason, mask: Mask) -> Self {
        Self { reason, mask }
    }
}

/// What has happened
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RevocationReason {
    /// A session was ended or has expired, or the one that it was made from
    SessionEnded,
    /// A role, a membership, a group, an entry of a workspace's access lists or the workspace itself
    /// was taken from a user
    PermissionWithdrawn,
    /// An app or a port is not shared with a user, a group, or at a level any more
    ShareWithdrawn,
    /// A user is not active any more: suspended, dormant or deleted
    UserSuspended,
    /// A workspace has a newer build, which stops it or replaces its agents, or is deleted, or an
    /// agent of it is
    WorkspaceStopped,
    /// Something that this version does not know
    #[serde(other)]
    Other,
}

impl RevocationReason {
    /// All reasons that this version knows
    pub const ALL: [Self; 5] = [
        Self::SessionEnded,
        Self::PermissionWithdrawn,
        Self::ShareWithdrawn,
        Self::UserSuspended,
        Self::WorkspaceStopped,
    ];

    /// The reason in a word
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SessionEnded => "session_ended",
            Self::PermissionWithdrawn => "permission_withdrawn",
            Self::ShareWithdrawn => "share_withdrawn",
            Self::UserSuspended => "user_suspended",
            Self::WorkspaceStopped => "workspace_stopped",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RevocationReason {
    type Err = std::convert::Infallible;

    /// Parses the word of a reason; any other text is [`Other`](Self::Other)
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|reason| reason.as_str() == text);
        Ok(known.unwrap_or(Self::Other))
    }
}

/// Connections, by what they have in common
///
/// A field that is `None` stands for any value. A mask without fields concerns every connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Mask {
    /// The visitor
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// The workspace of the app
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<WorkspaceId>,
    /// The agent that serves the app
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// The slug of the app, or the number of the port
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The id of the visitor's session, which is the public part of a session token
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

impl Mask {
    /// Whether the mask concerns a connection
    ///
    /// A fact that the carrier does not know counts as equal, so that it rather asks once too often.
    /// A visitor who is not signed in has neither a user nor a session. Names of apps are compared
    /// without case, and ports by their number.
    #[must_use]
    pub fn matches(&self, connection: &Connection) -> bool {
        let is_signed_in = connection.visitor != Visitor::Anonymous;
        let user = match connection.visitor {
            Visitor::User(user) => Some(user),
            Visitor::Anonymous | Visitor::Unspecified => None,
        };
        (is_signed_in || self.user.is_none() && self.session.is_none())
            && agree(self.user.as_ref(), user.as_ref())
            && agree(self.workspace.as_ref(), connection.workspace.as_ref())
            && agree(self.agent.as_ref(), connection.agent.as_ref())
            && agree(self.session.as_deref(), connection.session.as_deref())
            && match (&self.app, &connection.app) {
                (Some(one), Some(other)) => is_same_app(one, other),
                _ => true,
            }
    }
}

/// Whether both are equal, or one of them stands for any or is not known
fn agree<T: PartialEq + ?Sized>(one: Option<&T>, other: Option<&T>) -> bool {
    one.zip(other).is_none_or(|(one, other)| one == other)
}

fn is_same_app(one: &str, other: &str) -> bool {
    match (Port::of(one), Port::of(other)) {
        (Some(one), Some(other)) => one.number() == other.number(),
        (None, None) => one.to_lowercase() == other.to_lowercase(),
        _ => false,
    }
}

/// What the carrier of an open connection knows about it; `None` for what it does not know
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connection {
    /// The visitor
    pub visitor: Visitor,
    /// The workspace of the app
    pub workspace: Option<WorkspaceId>,
    /// The agent that serves the app
    pub agent: Option<AgentId>,
    /// The app as the visitor named it: a slug or a port; `None` also for a terminal
    pub app: Option<String>,
    /// The id of the visitor's session
    pub session: Option<String>,
}

impl Connection {
    /// A connection of which only the visitor is known
    #[must_use]
    pub const fn of(visitor: Visitor) -> Self {
        Self { visitor, workspace: None, agent: None, app: None, session: None }
    }

    /// The same connection to this workspace
    #[must_use]
    pub const fn workspace(mut self, workspace: WorkspaceId) -> Self {
        self.workspace = Some(workspace);
        self
    }

    /// The same connection to this agent
    #[must_use]
    pub const fn agent(mut self, agent: AgentId) -> Self {
        self.agent = Some(agent);
        self
    }

    /// The same connection to this app or port
    #[must_use]
    pub fn app(mut self, app: impl Into<String>) -> Self {
        self.app = Some(app.into());
        self
    }

    /// The same connection, by a visitor with this session
    #[must_use]
    pub fn session(mut self, id: impl Into<String>) -> Self {
        self.session = Some(id.into());
        self
    }
}
