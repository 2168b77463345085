use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error as ThisError;

use crate::Error;
use crate::id::{AgentId, parse_uuid};

/// How an app is reached
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessMethod {
    /// Below a path of the dashboard's or a proxy's own host, which all apps share
    Path,
    /// On a host of its own
    Subdomain,
    /// The web terminal of an agent
    Terminal,
}

impl AccessMethod {
    /// The method as it is sent and signed
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Subdomain => "subdomain",
            Self::Terminal => "terminal",
        }
    }
}

impl fmt::Display for AccessMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An app request as a server or a proxy wrote it, field by field
///
/// Nothing here is known to be sound. [`normalize`](Self::normalize) and then
/// [`check`](Self::check) make an [`AppRequest`] of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UncheckedRequest {
    /// `path`, `subdomain` or `terminal`
    #[serde(deserialize_with = "or_empty")]
    pub access_method: String,
    /// What precedes the app's own path
    #[serde(deserialize_with = "or_empty")]
    pub base_path: String,
    /// What precedes the app in a subdomain, with its `---`
    #[serde(deserialize_with = "or_empty")]
    pub app_prefix: String,
    /// The owner of the workspace
    #[serde(deserialize_with = "or_empty")]
    pub username_or_id: String,
    /// `WORKSPACE.AGENT` as one piece of a path; never sent
    #[serde(skip)]
    pub workspace_and_agent: String,
    /// The workspace
    #[serde(deserialize_with = "or_empty")]
    pub workspace_name_or_id: String,
    /// The agent, which may be left out
    #[serde(deserialize_with = "or_empty")]
    pub agent_name_or_id: String,
    /// The app's slug or a port
    #[serde(deserialize_with = "or_empty")]
    pub app_slug_or_port: String,
}

/// Reads a field that may be null, as whoever knows no value for it writes
fn or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl UncheckedRequest {
    /// The same request in the form in which requests are compared
    ///
    /// Workspace and agent are parted at the first dot, and the base path ends in a
    /// slash. Nothing is decoded or changed in case. Doing it twice changes nothing.
    #[must_use]
    pub fn normalize(mut self) -> Self {
        if !self.workspace_and_agent.is_empty() {
            let joined = std::mem::take(&mut self.workspace_and_agent);
            match joined.split_once('.') {
                Some((workspace, agent)) => {
                    self.workspace_name_or_id = workspace.to_owned();
                    self.agent_name_or_id = agent.to_owned();
                }
                None => self.workspace_name_or_id = joined,
            }
        }
        if !self.base_path.ends_with('/') {
            self.base_path.push('/');
        }
        self
    }

    /// Takes the request if it is sound
    ///
    /// This looks at the request alone: whether anything of that name exists is not
    /// asked here.
    ///
    /// # Errors
    ///
    /// The first rule it breaks, as [`Error::InvalidRequest`].
    pub fn check(self) -> Result<AppRequest, Error> {
        let method = match &*self.access_method {
            "path" => AccessMethod::Path,
            "subdomain" => AccessMethod::Subdomain,
            "terminal" => AccessMethod::Terminal,
            _ => return Err(RequestFault::AccessMethod(self.access_method).into()),
        };
        if self.base_path.is_empty() {
            return Err(RequestFault::NoBasePath.into());
        }
        if !self.workspace_and_agent.is_empty() {
            return Err(RequestFault::NotNormalized.into());
        }
        if method == AccessMethod::Terminal {
            return self.check_terminal();
        }

        let fault = if self.username_or_id.is_empty() {
            RequestFault::NoUser
        } else if self.username_or_id == "me" {
            RequestFault::Me
        } else if self.workspace_name_or_id.is_empty() {
            RequestFault::NoWorkspace
        } else if self.app_slug_or_port.is_empty() {
            RequestFault::NoSlugOrPort
        } else if !self.app_prefix.is_empty() && method != AccessMethod::Subdomain {
            RequestFault::PrefixWithoutSubdomain
        } else if !self.app_prefix.is_empty() && !self.app_prefix.ends_with("---") {
            RequestFault::PrefixWithoutHyphens
        } else {
            return Ok(AppRequest { method, terminal: None, fields: self });
        };
        Err(fault.into())
    }

    fn check_terminal(self) -> Result<AppRequest, Error> {
        let others = [&self.username_or_id, &self.workspace_name_or_id, &self.app_slug_or_port];
        if others.into_iter().any(|field| !field.is_empty()) {
            return Err(RequestFault::TerminalFields.into());
        }
        if self.agent_name_or_id.is_empty() {
            return Err(RequestFault::NoAgent.into());
        }
        let agent = parse_uuid(&self.agent_name_or_id)
            .ok_or_else(|| RequestFault::AgentId(self.agent_name_or_id.clone()))?;
        let terminal = Some(AgentId(agent));
        Ok(AppRequest { method: AccessMethod::Terminal, terminal, fields: self })
    }
}

/// A request for an app, a port or a terminal that is sound in itself
///
/// Two requests are the same if all their fields are, as texts: an id and the name of
/// the same thing differ, and so do `8080` and `08080`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppRequest {
    method: AccessMethod,
    /// The agent of a terminal request
    terminal: Option<AgentId>,
    fields: UncheckedRequest,
}

impl AppRequest {
    /// How the app is reached
    #[must_use]
    pub const fn method(&self) -> AccessMethod {
        self.method
    }

    /// What precedes the app's own path; ends in a slash once normalised
    #[must_use]
    pub fn base_path(&self) -> &str {
        &self.fields.base_path
    }

    /// What precedes the app in a subdomain, with its `---`, or nothing
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.fields.app_prefix
    }

    /// The owner of the workspace, by name or id; empty for a terminal
    #[must_use]
    pub fn user(&self) -> &str {
        &self.fields.username_or_id
    }

    /// The workspace, by name or id; empty for a terminal
    #[must_use]
    pub fn workspace(&self) -> &str {
        &self.fields.workspace_name_or_id
    }

    /// The agent, by name or id, if the request names one
    #[must_use]
    pub fn agent(&self) -> Option<&str> {
        Some(&*self.fields.agent_name_or_id).filter(|agent| !agent.is_empty())
    }

    /// The app's slug or a port; empty for a terminal
    #[must_use]
    pub fn slug_or_port(&self) -> &str {
        &self.fields.app_slug_or_port
    }

    /// Whether both are the same request, as texts
    ///
    /// A base path with and without its last slash is the same.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        let base = |request: &Self| match request.base_path().strip_suffix('/') {
            Some(base) => base.len(),
            None => request.base_path().len(),
        };
        let (own, others) = (&self.fields, &other.fields);
        self.method == other.method
            && own.base_path[..base(self)] == others.base_path[..base(other)]
            && own.app_prefix == others.app_prefix
            && own.username_or_id == others.username_or_id
            && own.workspace_name_or_id == others.workspace_name_or_id
            && own.agent_name_or_id == others.agent_name_or_id
            && own.app_slug_or_port == others.app_slug_or_port
    }

    /// The request field by field, to be sent or signed
    #[must_use]
    pub fn to_unchecked(&self) -> UncheckedRequest {
        self.fields.clone()
    }

    /// The agent of a terminal
    #[must_use]
    pub const fn terminal(&self) -> Option<AgentId> {
        self.terminal
    }
}

impl TryFrom<UncheckedRequest> for AppRequest {
    type Error = Error;

    /// Normalises and then checks
    fn try_from(request: UncheckedRequest) -> Result<Self, Error> {
        request.normalize().check()
    }
}

impl Serialize for AppRequest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.fields.serialize(serializer)
    }
}

/// The rule a request breaks; a server wrote it, so it is the server's fault
///
/// The messages are those of the control plane, with the input as it prints it.
#[derive(Clone, Debug, ThisError, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestFault {
    /// Not one of the three methods
    #[error("invalid access method: {0:?}")]
    AccessMethod(String),
    /// No base path, which only a request that was never normalised lacks
    #[error("base path is required")]
    NoBasePath,
    /// Workspace and agent are still in one piece
    #[error("workspace and agent are not parted, the request was checked before it was normalised")]
    NotNormalized,
    /// A terminal is named by its agent alone
    #[error(
        "cannot specify any fields other than access method, base path and agent for a terminal"
    )]
    TerminalFields,
    /// A terminal without an agent
    #[error("agent name or ID is required")]
    NoAgent,
    /// A terminal is named by the agent's id, in its hyphenated form
    #[error("invalid agent name or ID {0:?}, must be a UUID")]
    AgentId(String),
    /// No owner
    #[error("username or ID is required")]
    NoUser,
    /// Whoever `me` is differs from caller to caller, and tokens are not compared by
    /// caller
    #[error("username cannot be \"me\" in app requests")]
    Me,
    /// No workspace
    #[error("workspace name or ID is required")]
    NoWorkspace,
    /// Neither slug nor port
    #[error("app slug or port is required")]
    NoSlugOrPort,
    /// A prefix belongs to a subdomain
    #[error("prefix is only valid for subdomain apps")]
    PrefixWithoutSubdomain,
    /// A prefix ends where the app begins
    #[error("prefix must have a trailing '---'")]
    PrefixWithoutHyphens,
}
