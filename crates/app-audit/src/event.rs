use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Record, SessionKey};

/// One visit: a request for an app, and how it was answered
///
/// Make it before the answer is sent, so that a visitor who hangs up is recorded too.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// When the request began
    pub time: SystemTime,
    /// The request id that the server's log has
    pub request: Uuid,
    /// The signed-in user; `None` if the visitor is not signed in
    pub user: Option<UserId>,
    /// The client's address; `None` if it is unknown, which does not keep the event from
    /// being recorded
    pub ip: Option<IpAddr>,
    /// The bytes of the `User-Agent` header, which need not be UTF-8
    pub user_agent: Vec<u8>,
    /// The app, port or terminal that was requested
    pub resource: Resource,
    /// The id and name of the agent that runs the resource; `None` if it was not found
    pub agent: Option<(AgentId, String)>,
    /// The workspace of the resource; `None` if it was not found
    pub workspace: Option<Workspace>,
    /// The HTTP status of the answer
    pub status: u16,
    /// Why the visit was denied, as a stable word; `None` if it was allowed
    pub reason: Option<&'static str>,
}

impl Event {
    /// Returns a visit at this time that was allowed, by a visitor of whom nothing is known
    ///
    /// `request` is the request id that the server's log has.
    #[must_use]
    pub const fn new(time: SystemTime, request: Uuid, resource: Resource, status: u16) -> Self {
        Self {
            time,
            request,
            user: None,
            ip: None,
            user_agent: Vec::new(),
            resource,
            agent: None,
            workspace: None,
            status,
            reason: None,
        }
    }

    /// Returns the same visit by a signed-in user
    #[must_use]
    pub fn user(mut self, user: impl Into<UserId>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Returns the same visit from an address and a device
    #[must_use]
    pub fn client(mut self, ip: Option<IpAddr>, user_agent: &[u8]) -> Self {
        self.ip = ip;
        self.user_agent = user_agent.to_vec();
        self
    }

    /// Returns the same visit to a resource that this agent runs
    #[must_use]
    pub fn agent(mut self, agent: impl Into<AgentId>, name: &str) -> Self {
        self.agent = Some((agent.into(), name.to_owned()));
        self
    }

    /// Returns the same visit to a resource of this workspace
    #[must_use]
    pub fn workspace(mut self, workspace: Workspace) -> Self {
        self.workspace = Some(workspace);
        self
    }

    /// Returns the same visit, denied for a reason that is a stable word
    #[must_use]
    pub const fn denied(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Returns the key of the session that this visit belongs to
    #[must_use]
    pub fn key(&self) -> SessionKey {
        SessionKey::of(self)
    }

    /// Returns the row to write if this visit begins the session `session`
    #[must_use]
    pub fn record(&self, session: Uuid) -> Record {
        Record::of(self, session)
    }
}

/// What a visitor requested
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resource {
    /// An app, by its id and slug
    App(AppId, String),
    /// A port, as the visitor wrote it: `8080` and `8080s` differ
    Port(String),
    /// The web terminal of an agent
    Terminal,
    /// A slug or port that was not found
    Unknown(String),
}

impl Resource {
    pub(crate) const fn app(&self) -> Option<AppId> {
        match self {
            Self::App(id, _) => Some(*id),
            Self::Port(_) | Self::Terminal | Self::Unknown(_) => None,
        }
    }

    /// Distinguishes the resources of one agent that have no id of their own
    pub(crate) fn slug_or_port(&self) -> &str {
        match self {
            Self::App(..) => "",
            Self::Port(text) | Self::Unknown(text) => text,
            Self::Terminal => "terminal",
        }
    }
}

/// A workspace as a record names it
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Workspace {
    /// The workspace's id
    pub id: WorkspaceId,
    /// The workspace's name
    pub name: String,
    /// The user name of the workspace's owner
    pub owner: String,
    /// The organization that the workspace belongs to
    pub organization: OrganizationId,
}

impl Workspace {
    /// Returns the workspace with these fields
    #[must_use]
    pub fn new(
        id: impl Into<WorkspaceId>,
        name: &str,
        owner: &str,
        organization: impl Into<OrganizationId>,
    ) -> Self {
        Self {
            id: id.into(),
            name: name.to_owned(),
            owner: owner.to_owned(),
            organization: organization.into(),
        }
    }
}

macro_rules! id {
    ($($(#[$doc:meta])+ $name:ident)*) => {$(
        $(#[$doc])+
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )*};
}

id! {
    /// Primary key of an agent
    AgentId
    /// Primary key of an app
    AppId
    /// Primary key of an organization
    OrganizationId
    /// Primary key of a user
    UserId
    /// Primary key of a workspace
    WorkspaceId
}
