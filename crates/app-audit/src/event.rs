use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use uuid::Uuid;

use crate::{Record, SessionKey};

/// One visit: somebody asked for an app, and was answered
///
/// Taken before the answer is sent, so that a visitor who hangs up is recorded too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When the request began
    pub time: SystemTime,
    /// The request, as the log knows it
    pub request: Uuid,
    /// Who asked; nobody if nobody is signed in
    pub user: Option<UserId>,
    /// Where the request came from; an unknown address never loses an event
    pub ip: Option<IpAddr>,
    /// The browser's own account of itself, whatever bytes it is
    pub user_agent: Vec<u8>,
    /// What was asked for
    pub resource: Resource,
    /// The agent it runs on, by id and name; nothing if the request led nowhere
    pub agent: Option<(AgentId, String)>,
    /// The workspace it is in; nothing if the request led nowhere
    pub workspace: Option<Workspace>,
    /// The status of the answer
    pub status: u16,
    /// Why it was refused, in a stable word; nothing if it was not
    pub reason: Option<&'static str>,
}

impl Event {
    /// Which visits this one belongs together with
    #[must_use]
    pub fn key(&self) -> SessionKey {
        SessionKey::of(self)
    }

    /// What is written down if this visit begins the session `session`
    #[must_use]
    pub fn record(&self, session: Uuid) -> Record {
        Record::of(self, session)
    }
}

/// What a visitor asked for
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// An app, with its slug
    App(AppId, String),
    /// A port, as it was asked for: `8080` and `8080s` differ
    Port(String),
    /// The web terminal of an agent
    Terminal,
    /// A slug or port that led nowhere
    Unknown(String),
}

impl Resource {
    pub(crate) const fn app(&self) -> Option<AppId> {
        match self {
            Self::App(id, _) => Some(*id),
            Self::Port(_) | Self::Terminal | Self::Unknown(_) => None,
        }
    }

    /// What tells resources of one agent apart that have no id of their own
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
pub struct Workspace {
    /// Its id
    pub id: WorkspaceId,
    /// Its name
    pub name: String,
    /// The user name of its owner
    pub owner: String,
    /// The organization it belongs to
    pub organization: OrganizationId,
}

macro_rules! id {
    ($($(#[$doc:meta])+ $name:ident)*) => {$(
        $(#[$doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
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
