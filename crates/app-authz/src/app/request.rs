use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error as ThisError;

use crate::Error;
use crate::address::{AgentInHost, AppName};
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
    /// Whether names were read from a host, and so have no case; never sent
    #[serde(skip)]
    pub is_of_host: bool,
    /// The agent that the host of an app names; never sent, as newer control planes pass
    /// over it
    #[serde(skip)]
    pub agent_in_host: String,
    /// The app's slug or a port
    #[serde(deserialize_with = "or_empty")]
    pub app_slug_or_port: String,
}

/// Reads a field that may be null, as whoever knows no value for it writes
fn or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl From<AppName> for UncheckedRequest {
    /// The request for the root of the host of that name
    ///
    /// The agent is part of it where it is a port's, as under [`AgentInHost::OfPorts`].
    fn from(name: AppName) -> Self {
        let is_port = name.is_port();
        let agent = name.agent.unwrap_or_default();
        let (agent_name_or_id, agent_in_host) =
            if is_port { (agent, String::new()) } else { (String::new(), agent) };
        Self {
            access_method: AccessMethod::Subdomain.as_str().to_owned(),
            base_path: "/".to_owned(),
            app_prefix: name.prefix,
            username_or_id: name.user,
            workspace_and_agent: String::new(),
            workspace_name_or_id: name.workspace,
            agent_name_or_id,
            is_of_host: true,
            agent_in_host,
            app_slug_or_port: name.slug_or_port,
        }
    }
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
            _ => return Err(RequestError::AccessMethod(self.access_method).into()),
        };
        if self.base_path.is_empty() {
            return Err(RequestError::NoBasePath.into());
        }
        if !self.workspace_and_agent.is_empty() {
            return Err(RequestError::NotNormalized.into());
        }
        if method == AccessMethod::Terminal {
            return self.check_terminal();
        }

        let fault = if self.username_or_id.is_empty() {
            RequestError::NoUser
        } else if self.username_or_id == "me" {
            RequestError::Me
        } else if self.workspace_name_or_id.is_empty() {
            RequestError::NoWorkspace
        } else if self.app_slug_or_port.is_empty() {
            RequestError::NoSlugOrPort
        } else if !self.app_prefix.is_empty() && method != AccessMethod::Subdomain {
            RequestError::PrefixWithoutSubdomain
        } else if !self.app_prefix.is_empty() && !self.app_prefix.ends_with("---") {
            RequestError::PrefixWithoutHyphens
        } else {
            let slug = &self.app_slug_or_port;
            // Slugs are in lower case.
            let is_lowered = self.is_of_host && slug.bytes().any(|byte| byte.is_ascii_uppercase());
            let slug = is_lowered.then(|| slug.to_ascii_lowercase());
            return Ok(AppRequest { slug, ..AppRequest::new(method, None, self) });
        };
        Err(fault.into())
    }

    fn check_terminal(self) -> Result<AppRequest, Error> {
        let others = [&self.username_or_id, &self.workspace_name_or_id, &self.app_slug_or_port];
        if others.into_iter().any(|field| !field.is_empty()) {
            return Err(RequestError::TerminalFields.into());
        }
        if self.agent_name_or_id.is_empty() {
            return Err(RequestError::NoAgent.into());
        }
        let agent = parse_uuid(&self.agent_name_or_id)
            .ok_or_else(|| RequestError::AgentId(self.agent_name_or_id.clone()))?;
        Ok(AppRequest::new(AccessMethod::Terminal, Some(AgentId(agent)), self))
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
    /// The slug or port to look for, where the one that was written differs
    slug: Option<String>,
    is_of_host: bool,
    agent_in_host: String,
    /// What is sent and signed: without `is_of_host` and `agent_in_host`
    ///
    /// Shared, as a request is part of every token that is signed for it.
    fields: Arc<UncheckedRequest>,
}

impl AppRequest {
    fn new(method: AccessMethod, terminal: Option<AgentId>, mut fields: UncheckedRequest) -> Self {
        let agent_in_host = std::mem::take(&mut fields.agent_in_host);
        let is_of_host = std::mem::take(&mut fields.is_of_host);
        let fields = Arc::new(fields);
        Self { method, terminal, slug: None, is_of_host, agent_in_host, fields }
    }

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

    /// The agent, by name or id, if the request or the host of its app names one
    #[must_use]
    pub fn agent(&self) -> Option<&str> {
        let named = [&self.fields.agent_name_or_id, &self.agent_in_host];
        named.into_iter().map(|agent| &**agent).find(|agent| !agent.is_empty())
    }

    /// The agent that the host of an app names and the request does not
    pub(crate) fn agent_in_host(&self) -> Option<&str> {
        let is_named = self.signed_agent().is_empty() && !self.agent_in_host.is_empty();
        is_named.then_some(&*self.agent_in_host)
    }

    /// Whether names were read from a host, which has no case
    pub(crate) const fn is_of_host(&self) -> bool {
        self.is_of_host
    }

    /// The agent as it is signed; empty if it is left out
    pub(crate) fn signed_agent(&self) -> &str {
        &self.fields.agent_name_or_id
    }

    /// The app's slug or a port; empty for a terminal
    ///
    /// In lower case if it was read from a host, which has no case. What is sent and signed
    /// is as it was written.
    #[must_use]
    pub fn slug_or_port(&self) -> &str {
        self.slug.as_ref().unwrap_or(&self.fields.app_slug_or_port)
    }

    /// The host of the requested app or port, with the parts as they were written
    ///
    /// `agent` is the name of the agent that was found: the host of a port must name it.
    pub(crate) fn host_name(&self, agent: &str) -> AppName {
        let named = self.agent().map(str::to_owned);
        let name = AppName {
            prefix: self.fields.app_prefix.clone(),
            slug_or_port: self.fields.app_slug_or_port.clone(),
            agent: named,
            workspace: self.fields.workspace_name_or_id.clone(),
            user: self.fields.username_or_id.clone(),
        };
        match name.agent {
            None if name.is_port() => AppName { agent: Some(agent.to_owned()), ..name },
            _ => name,
        }
    }

    /// The same request as a control plane with that rule reads it from the host of an app
    ///
    /// A request from a host is one under [`AgentInHost::OfPorts`] at first. What it leads
    /// to does not depend on the rule, but what is signed does.
    #[must_use]
    pub fn under(mut self, rule: AgentInHost) -> Self {
        if rule == AgentInHost::OfAll && self.fields.agent_name_or_id.is_empty() {
            let fields = Arc::make_mut(&mut self.fields);
            fields.agent_name_or_id = std::mem::take(&mut self.agent_in_host);
        }
        self
    }

    /// The request as a token carries it: without what is never signed
    pub(crate) fn to_signed(&self) -> Self {
        Self {
            method: self.method,
            terminal: self.terminal,
            slug: None,
            is_of_host: false,
            agent_in_host: String::new(),
            fields: Arc::clone(&self.fields),
        }
    }

    /// The same request with another base path
    pub(crate) fn with_base_path(mut self, base_path: &str) -> Self {
        base_path.clone_into(&mut Arc::make_mut(&mut self.fields).base_path);
        self
    }

    /// Whether both are the same request, as texts
    ///
    /// A base path with and without its last slash is the same, and an agent in the host
    /// of an app does not count.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.matches_beside_agent(other) && self.signed_agent() == other.signed_agent()
    }

    /// Whether both are the same request, as texts, whatever their agents are
    pub(crate) fn matches_beside_agent(&self, other: &Self) -> bool {
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
            && own.app_slug_or_port == others.app_slug_or_port
    }

    /// The request field by field, to be sent or signed
    #[must_use]
    pub fn to_unchecked(&self) -> UncheckedRequest {
        UncheckedRequest {
            is_of_host: self.is_of_host,
            agent_in_host: self.agent_in_host.clone(),
            ..UncheckedRequest::clone(&self.fields)
        }
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
pub enum RequestError {
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
