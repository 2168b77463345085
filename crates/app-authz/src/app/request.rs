use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error as ThisError;

use super::Port;
use crate::Error;
use crate::address::{AgentInHost, AppName};
use crate::id::{AgentId, parse_uuid};
use crate::rbac::Action;

/// How an app is reached
///
/// Exhaustive on purpose: every caller treats the methods differently, so a new one is a
/// breaking change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessMethod {
    /// An app below a path of the dashboard's or a proxy's own host, which all apps share
    Path,
    /// An app or a port on a host of its own
    Subdomain,
    /// The web terminal of an agent
    Terminal,
}

impl AccessMethod {
    /// The action on the workspace that the method needs
    pub(super) const fn action(self) -> Action {
        match self {
            Self::Terminal => Action::Ssh,
            Self::Path | Self::Subdomain => Action::ApplicationConnect,
        }
    }

    /// The label that is sent and signed
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
/// Nothing is checked yet. [`normalize`](Self::normalize) and [`check`](Self::check) turn it
/// into an [`AppRequest`]. A server that reads the request from an address uses
/// [`AppRequest::of_host`] or [`of_path`](Self::of_path), which know what the fields are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct UncheckedRequest {
    /// `path`, `subdomain` or `terminal`
    #[serde(deserialize_with = "or_empty")]
    pub access_method: String,
    /// The part of the path before the app's own path, with a slash at its end
    ///
    /// `/` on a host of the app's own, `/@alice/dev.main/apps/code/` for an app by path, and
    /// `/api/v2/workspaceagents/AGENT/pty/` for a terminal.
    #[serde(deserialize_with = "or_empty")]
    pub base_path: String,
    /// The part of a subdomain before the name of the app, with its `---`: `tab1---`, or empty
    #[serde(deserialize_with = "or_empty")]
    pub app_prefix: String,
    /// The owner of the workspace, by name or UUID: `alice`; empty for a terminal
    #[serde(deserialize_with = "or_empty")]
    pub username_or_id: String,
    /// `WORKSPACE` or `WORKSPACE.AGENT` as one segment of a path: `dev.main`; never sent
    ///
    /// [`normalize`](Self::normalize) makes the next two fields of it.
    #[serde(skip)]
    pub workspace_and_agent: String,
    /// The workspace, by name or UUID: `dev`; empty for a terminal
    #[serde(deserialize_with = "or_empty")]
    pub workspace_name_or_id: String,
    /// The agent, by name or UUID: `main`; empty if the request does not name one
    ///
    /// Always a UUID for a terminal.
    #[serde(deserialize_with = "or_empty")]
    pub agent_name_or_id: String,
    /// The agent in the host of an app, `main` in `code--main--dev--alice`; never sent, as newer
    /// control planes ignore it
    #[serde(skip)]
    pub agent_in_host: String,
    /// The app's slug, or a port: `code`, `8080`, `8443s`; empty for a terminal
    #[serde(deserialize_with = "or_empty")]
    pub app_slug_or_port: String,
}

/// Reads a field that may be null: some servers write null for an empty field
fn or_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl From<AppName> for UncheckedRequest {
    /// The request for the root of the host with that name
    ///
    /// The agent is part of the request only for a port, as under [`AgentInHost::OfPorts`].
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
            agent_in_host,
            app_slug_or_port: name.slug_or_port,
        }
    }
}

impl UncheckedRequest {
    /// The same request in the form in which requests are compared
    ///
    /// Workspace and agent are split at the first dot, and the base path ends in a slash.
    /// Nothing is decoded, and case is kept. Normalising twice changes nothing.
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

    /// Accepts the request if it follows the rules
    ///
    /// Whether anything with these names exists is not checked.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRequest`] with the first rule that the request breaks.
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
            return Ok(AppRequest::new(method, None, self));
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

/// A request for an app, a port or a terminal that follows the rules
///
/// Requests are compared field by field, as texts: the name and the id of the same workspace
/// differ, and so do `8080` and `08080`, or `code` and `Code`. What a request leads to is found
/// without case ([`resolve`](crate::resolve)).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppRequest {
    method: AccessMethod,
    /// The agent of a terminal request
    terminal: Option<AgentId>,
    agent_in_host: String,
    /// The fields that are sent and signed; `agent_in_host` is not among them
    ///
    /// Shared, because each token that is signed for the request keeps them.
    fields: Arc<UncheckedRequest>,
}

impl AppRequest {
    fn new(method: AccessMethod, terminal: Option<AgentId>, mut fields: UncheckedRequest) -> Self {
        let agent_in_host = std::mem::take(&mut fields.agent_in_host);
        let fields = Arc::new(fields);
        Self { method, terminal, agent_in_host, fields }
    }

    /// How the app is reached
    #[must_use]
    pub const fn method(&self) -> AccessMethod {
        self.method
    }

    /// The part of the path before the app's own path; ends in a slash once normalised
    #[must_use]
    pub fn base_path(&self) -> &str {
        &self.fields.base_path
    }

    /// The part of a subdomain before the name of the app, with its `---`; may be empty
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

    /// The agent in the host of an app, if the request itself does not name one
    pub(crate) fn agent_in_host(&self) -> Option<&str> {
        let is_named = self.signed_agent().is_empty() && !self.agent_in_host.is_empty();
        is_named.then_some(&*self.agent_in_host)
    }

    /// The agent as it is signed; empty if the request does not name one
    pub(crate) fn signed_agent(&self) -> &str {
        &self.fields.agent_name_or_id
    }

    /// The app's slug, or a port, as it was written; empty for a terminal
    #[must_use]
    pub fn slug_or_port(&self) -> &str {
        &self.fields.app_slug_or_port
    }

    /// The port that is requested; `None` for an app or a terminal
    #[must_use]
    pub fn port(&self) -> Option<Port> {
        Port::of(self.slug_or_port())
    }

    /// The name of the host of the requested app or port, with the parts as they were written
    ///
    /// `agent` is the name of the agent that was found, for a port: its host must have one.
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

    /// The same request as a control plane with that rule reads it from a host
    ///
    /// Requests are read from a host under [`AgentInHost::OfPorts`]. The rule does not change
    /// what the request leads to, but what is signed.
    #[must_use]
    pub fn under(mut self, rule: AgentInHost) -> Self {
        if rule == AgentInHost::OfAll && self.fields.agent_name_or_id.is_empty() {
            let fields = Arc::make_mut(&mut self.fields);
            fields.agent_name_or_id = std::mem::take(&mut self.agent_in_host);
        }
        self
    }

    /// The request as a token carries it: without the fields that are not signed
    pub(crate) fn to_signed(&self) -> Self {
        Self {
            method: self.method,
            terminal: self.terminal,
            agent_in_host: String::new(),
            fields: Arc::clone(&self.fields),
        }
    }

    /// The same request with another base path
    pub(crate) fn with_base_path(mut self, base_path: &str) -> Self {
        base_path.clone_into(&mut Arc::make_mut(&mut self.fields).base_path);
        self
    }

    /// Whether both requests are the same, as texts
    ///
    /// The last slash of the base path is ignored, and so is an agent in the host of an app.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.matches_beside_agent(other) && self.signed_agent() == other.signed_agent()
    }

    /// Whether both requests are the same but for their agents, as texts
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

    /// The fields of the request, to send or sign
    #[must_use]
    pub fn to_unchecked(&self) -> UncheckedRequest {
        UncheckedRequest {
            agent_in_host: self.agent_in_host.clone(),
            ..UncheckedRequest::clone(&self.fields)
        }
    }

    /// The agent of a terminal request; `None` for an app or a port
    #[must_use]
    pub const fn terminal(&self) -> Option<AgentId> {
        self.terminal
    }
}

impl TryFrom<UncheckedRequest> for AppRequest {
    type Error = Error;

    /// Normalises and checks the request
    fn try_from(request: UncheckedRequest) -> Result<Self, Error> {
        request.normalize().check()
    }
}

impl Serialize for AppRequest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.fields.serialize(serializer)
    }
}

/// The rule that an app request breaks
///
/// Requests are written by servers, so this is a mistake of a server. The messages are those
/// of the control plane, with the input as it prints it.
#[derive(Clone, Debug, ThisError, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The access method is not one of the three
    #[error("invalid access method: {0:?}")]
    AccessMethod(String),
    /// The base path is empty, which happens only to a request that was not normalised
    #[error("base path is required")]
    NoBasePath,
    /// Workspace and agent are still one segment
    #[error("workspace and agent are not split, the request was checked before it was normalised")]
    NotNormalized,
    /// A terminal request names more than its agent
    #[error(
        "cannot specify any fields other than access method, base path and agent for a terminal"
    )]
    TerminalFields,
    /// A terminal request does not name an agent
    #[error("agent name or ID is required")]
    NoAgent,
    /// The agent of a terminal request is not a hyphenated UUID
    #[error("invalid agent name or ID {0:?}, must be a UUID")]
    AgentId(String),
    /// The request does not name the owner of the workspace
    #[error("username or ID is required")]
    NoUser,
    /// `me` is relative to the caller, and a token must mean the same for every caller
    #[error("username cannot be \"me\" in app requests")]
    Me,
    /// The request does not name a workspace
    #[error("workspace name or ID is required")]
    NoWorkspace,
    /// The request names neither a slug nor a port
    #[error("app slug or port is required")]
    NoSlugOrPort,
    /// The request has a prefix but is not for a subdomain
    #[error("prefix is only valid for subdomain apps")]
    PrefixWithoutSubdomain,
    /// The prefix does not end in `---`
    #[error("prefix must have a trailing '---'")]
    PrefixWithoutHyphens,
}
