use std::borrow::Cow;
use std::str::FromStr;

use thiserror::Error as ThisError;

use crate::Error;
use crate::address::HttpUrl;
use crate::app::{
    AccessMethod, Agent, AppRequest, CorsBehavior, Port, Rules, SharingLevel, Target, Workspace,
};
use crate::id::{AgentId, AppId, UserId, parse_uuid};

/// Finds what a request leads to, among the facts that a directory has for it
///
/// `workspace` is `None` if the directory does not know the user, the workspace or the
/// agent of the request. Who may open the target is not checked here, but the level at which
/// a port is shared is capped here if `rules` [say so](Rules::enforce_max_port_sharing).
///
/// # Errors
///
/// An [`ResolveError`] with the reason.
pub fn resolve<'a>(
    request: &'a AppRequest,
    workspace: Option<&'a WorkspaceFacts>,
    rules: Rules,
) -> Result<Target<'a>, ResolveError> {
    let facts = workspace.ok_or(ResolveError::NoWorkspace)?;
    let target = |agent, app, url, sharing| Target {
        request,
        workspace: &facts.workspace,
        agent,
        app,
        url,
        sharing,
        cors: facts.cors,
    };
    if let Some(terminal) = request.terminal() {
        let agent = facts.agents.iter().find(|agent| agent.id == terminal);
        let agent = agent.ok_or(ResolveError::NoAgent)?;
        return Ok(target(agent, None, Cow::Borrowed(""), SharingLevel::Owner));
    }

    if facts.asked_owner != facts.workspace.owner {
        return Err(ResolveError::NotOwner);
    }
    if facts.transition == Transition::Stop {
        return Err(ResolveError::Stopped);
    }
    if facts.agents.is_empty() {
        return Err(ResolveError::NoAgent);
    }
    let port = request.slug_or_port().parse::<Port>().ok();
    if port.is_some() && request.method() == AccessMethod::Path {
        return Err(ResolveError::PortByPath);
    }
    let asked = match request.agent() {
        Some(name) => {
            let agent = find_agent(&facts.agents, name, request.is_of_host());
            Some(agent.ok_or(ResolveError::NoAgent)?)
        }
        None => None,
    };
    if let Some(port) = port {
        let ((Some(agent), _) | (None, [agent])) = (asked, &facts.agents[..]) else {
            return Err(ResolveError::AgentNeeded);
        };
        let url = Cow::Owned(port.url());
        return Ok(target(agent, None, url, facts.port_sharing(agent, port, rules)));
    }

    let of_asked = |app: &&App| asked.is_none_or(|agent| app.agent == agent.id);
    let app = facts
        .apps
        .iter()
        .filter(of_asked)
        .find(|app| app.slug == request.slug_or_port() && !app.external)
        .ok_or(ResolveError::NoApp)?;
    let agent = facts.agents.iter().find(|agent| agent.id == app.agent);
    let agent = agent.ok_or(ResolveError::NoApp)?;
    if app.url.is_empty() {
        return Err(ResolveError::NoUrl);
    }
    if HttpUrl::of_app(&app.url).is_err() {
        return Err(ResolveError::InvalidUrl);
    }
    Ok(target(agent, Some(app.id), Cow::Borrowed(&app.url), app.sharing))
}

/// The agent of that id or name; a name that was read from a host has no case
fn find_agent<'a>(agents: &'a [Agent], name: &str, is_of_host: bool) -> Option<&'a Agent> {
    if let Some(id) = parse_uuid(name).map(AgentId) {
        return agents.iter().find(|agent| agent.id == id);
    }
    let exact = agents.iter().find(|agent| agent.name == name);
    let alike = |agent: &&Agent| is_of_host && agent.name.eq_ignore_ascii_case(name);
    exact.or_else(|| agents.iter().find(alike))
}

/// What a directory knows about the workspace a request names
///
/// The workspace is found by id, or by owner and name, and a deleted one is not found; the
/// agents are those of its newest build that are not deleted. For a terminal it is the
/// workspace of that agent, if the agent is one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceFacts {
    /// The user the request names: by id, deleted or not, or by name among those not
    /// deleted, in any case. For a terminal, the owner.
    pub asked_owner: UserId,
    /// The workspace
    pub workspace: Workspace,
    /// What its newest build does
    pub transition: Transition,
    /// The agents of that build
    pub agents: Vec<Agent>,
    /// The apps of those agents, in the order of their slugs
    pub apps: Vec<App>,
    /// Shares of the workspace's ports
    pub port_shares: Vec<PortShare>,
    /// Who answers for sharing across origins, as the template says
    pub cors: CorsBehavior,
    /// The widest level at which the template lets ports be shared, if it sets one
    ///
    /// It counts under [`Rules::enforce_max_port_sharing`].
    pub max_port_sharing: Option<SharingLevel>,
}

impl WorkspaceFacts {
    fn port_sharing(&self, agent: &Agent, port: Port, rules: Rules) -> SharingLevel {
        let share = self
            .port_shares
            .iter()
            .find(|share| share.port == port.number() && share.agent_name == agent.name);
        let sharing = share.map_or(SharingLevel::Owner, |share| share.sharing);
        let widest = self.max_port_sharing.filter(|_| rules.enforce_max_port_sharing);
        widest.map_or(sharing, |widest| sharing.min(widest))
    }
}

/// What a build does to its workspace
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transition {
    /// Starts it
    Start,
    /// Stops it
    Stop,
    /// Deletes it
    Delete,
}

impl FromStr for Transition {
    type Err = Error;

    /// Reads the transition as it is stored
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "start" => Ok(Self::Start),
            "stop" => Ok(Self::Stop),
            "delete" => Ok(Self::Delete),
            _ => Err(Error::UnknownTransition(text.to_owned())),
        }
    }
}

/// An app of an agent
///
/// Whether it is healthy or hidden, and whether it wants a subdomain, does not matter to
/// who may open it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Its id
    pub id: AppId,
    /// The agent it runs on
    pub agent: AgentId,
    /// Its slug, unique among the apps of one agent
    pub slug: String,
    /// Where the agent serves it; empty for a command
    pub url: String,
    /// Whether it is a mere link to somewhere else
    pub external: bool,
    /// Whom it is shared with
    pub sharing: SharingLevel,
}

/// A port shared by its number, over TLS and without
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortShare {
    /// The agent, by its name: builds come and go, and names stay
    pub agent_name: String,
    /// The number
    pub port: u16,
    /// Whom it is shared with
    pub sharing: SharingLevel,
}

/// Why a request leads nowhere
#[derive(Clone, Copy, Debug, ThisError, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResolveError {
    /// No such user or workspace
    #[error("no such user or workspace")]
    NoWorkspace,
    /// The workspace was named by its id, under a user who does not own it
    #[error("the workspace belongs to another user than the one named")]
    NotOwner,
    /// The newest build stops the workspace
    #[error("the workspace is stopped")]
    Stopped,
    /// The newest build has no agent, or none of that name or id
    #[error("no such agent")]
    NoAgent,
    /// A port was asked for by path, where it would run on the dashboard's host
    #[error("ports are not reached by path")]
    PortByPath,
    /// A port was asked for without an agent, and there is not just one
    #[error("a port needs an agent, as the workspace has several")]
    AgentNeeded,
    /// No app of that slug, or one that is served elsewhere
    #[error("no such app")]
    NoApp,
    /// The app is a command and serves nothing
    #[error("the app has no url")]
    NoUrl,
    /// The app's URL is none
    #[error("the url of the app is not valid")]
    InvalidUrl,
}

impl ResolveError {
    /// Whether the visitor is to be told that nothing is there
    ///
    /// The others speak of a workspace that exists; only [`Stopped`](Self::Stopped) is
    /// told to everybody.
    #[must_use]
    pub const fn is_not_found(self) -> bool {
        matches!(self, Self::NoWorkspace | Self::NotOwner | Self::NoAgent | Self::NoApp)
    }
}
