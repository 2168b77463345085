use std::borrow::Cow;
use std::str::FromStr;

use thiserror::Error as ThisError;

use super::target::NO_PEOPLE;
use crate::Error;
use crate::address::HttpUrl;
use crate::app::{
    AccessMethod, Agent, AppRequest, CorsBehavior, People, PeopleShare, Port, Rules, SharingLevel,
    Target, Workspace,
};

use crate::id::{AgentId, AppId, UserId, parse_uuid};

/// Finds what a request leads to, among the facts that a directory has for it
///
/// `workspace` is `None` if the directory does not know the user, the workspace or the
/// agent of the request. Names are compared without the case of ASCII letters, since hosts have
/// none; a name in exactly the requested case is preferred. The sharing level of a port is capped if
/// [`Rules::enforce_max_port_sharing`] is set. Whether the visitor may open the target is not
/// checked: [`decide`](crate::decide) does that, and it refuses [reserved](Port::is_reserved) ports
/// to every visitor.
///
/// # Errors
///
/// A [`ResolveError`] if the request does not lead to an app, a port or a terminal.
pub fn resolve<'a>(
    request: &'a AppRequest,
    workspace: Option<&'a WorkspaceFacts>,
    rules: Rules,
) -> Result<Target<'a>, ResolveError> {
    let facts = workspace.ok_or(ResolveError::NoWorkspace)?;
    let widest = facts.widest(rules);
    let target = |agent, app, url, sharing, people| Target {
        request,
        workspace: &facts.workspace,
        agent,
        app,
        url,
        sharing,
        people,
        widest,
        cors: facts.cors,
    };
    if let Some(terminal) = request.terminal() {
        let agent = facts.agents.iter().find(|agent| agent.id == terminal);
        let agent = agent.ok_or(ResolveError::NoAgent)?;
        return Ok(target(agent, None, Cow::Borrowed(""), SharingLevel::Owner, &NO_PEOPLE));
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
    let port = request.port();
    if port.is_some() && request.method() == AccessMethod::Path {
        return Err(ResolveError::PortByPath);
    }
    let asked = match request.agent() {
        Some(name) => {
            let agent = find_agent(&facts.agents, name);
            Some(agent.ok_or(ResolveError::NoAgent)?)
        }
        None => None,
    };
    if let Some(port) = port {
        let ((Some(agent), _) | (None, [agent])) = (asked, &facts.agents[..]) else {
            return Err(ResolveError::AgentNeeded);
        };
        let url = Cow::Owned(port.url());
        let people = facts.people(agent, &port.number().to_string());
        return Ok(target(agent, None, url, facts.port_sharing(agent, port, widest), people));
    }

    let of_asked = |app: &&App| !app.external && asked.is_none_or(|agent| app.agent == agent.id);
    let apps = facts.apps.iter().filter(of_asked);
    let app = find_name(apps, |app| &app.slug, request.slug_or_port());
    let app = app.ok_or(ResolveError::NoApp)?;
    let agent = facts.agents.iter().find(|agent| agent.id == app.agent);
    let agent = agent.ok_or(ResolveError::NoApp)?;
    if app.url.is_empty() {
        return Err(ResolveError::NoUrl);
    }
    if HttpUrl::of_app(&app.url).is_err() {
        return Err(ResolveError::InvalidUrl);
    }
    let people = facts.people(agent, &app.slug);
    Ok(target(agent, Some(app.id), Cow::Borrowed(&app.url), app.sharing, people))
}

/// The agent with that id or name
fn find_agent<'a>(agents: &'a [Agent], name: &str) -> Option<&'a Agent> {
    match parse_uuid(name).map(AgentId) {
        Some(id) => agents.iter().find(|agent| agent.id == id),
        None => find_name(agents.iter(), |agent| &agent.name, name),
    }
}

/// The first item of exactly that name, or the first whose name differs only in case
fn find_name<'a, T>(
    items: impl Iterator<Item = &'a T> + Clone,
    name_of: impl Fn(&'a T) -> &'a str,
    name: &str,
) -> Option<&'a T> {
    let exact = items.clone().find(|item| name_of(item) == name);
    exact.or_else(|| items.clone().find(|item| name_of(item).eq_ignore_ascii_case(name)))
}

/// What a directory knows about the workspace that a request names
///
/// The workspace is found by id, or by owner and name; a deleted one is not found. The agents
/// are those of its newest build that are not deleted. For a terminal it is the workspace of
/// the agent, if the agent is one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkspaceFacts {
    /// The user that the request names; for a terminal, the owner
    ///
    /// By id, deleted or not, or by name without case, among users that are not deleted.
    pub asked_owner: UserId,
    /// The workspace itself
    pub workspace: Workspace,
    /// What the newest build does
    pub transition: Transition,
    /// The agents of the newest build
    pub agents: Vec<Agent>,
    /// The apps of these agents, sorted by slug
    pub apps: Vec<App>,
    /// The shared ports of the workspace
    pub port_shares: Vec<PortShare>,
    /// The apps and ports that are shared with named users and groups
    pub people_shares: Vec<PeopleShare>,
    /// Which side answers cross-origin requests, as the template configures it
    pub cors: CorsBehavior,
    /// The widest level at which the template lets ports be shared, and ports and apps be shared
    /// with people; `None` if it allows every level
    ///
    /// Only [`Rules::enforce_max_port_sharing`] applies it.
    pub max_port_sharing: Option<SharingLevel>,
}

impl WorkspaceFacts {
    /// The facts of a workspace whose newest build does this, without agents, apps and shared
    /// ports
    ///
    /// `max_port_sharing` is the widest level at which its template lets ports be shared: with `None`
    /// a port can be shared with everyone.
    ///
    /// `asked_owner` is the user that the request names, by id or name, and the owner for a
    /// terminal. A workspace that is requested by id may belong to another user.
    #[must_use]
    pub const fn new(
        asked_owner: UserId,
        workspace: Workspace,
        transition: Transition,
        max_port_sharing: Option<SharingLevel>,
    ) -> Self {
        Self {
            asked_owner,
            workspace,
            transition,
            agents: Vec::new(),
            apps: Vec::new(),
            port_shares: Vec::new(),
            people_shares: Vec::new(),
            cors: CorsBehavior::Simple,
            max_port_sharing,
        }
    }

    /// The same facts with these agents: those of the newest build that are not deleted
    #[must_use]
    pub fn with_agents(mut self, agents: impl IntoIterator<Item = Agent>) -> Self {
        self.agents = agents.into_iter().collect();
        self
    }

    /// The same facts with these apps of the agents, sorted by slug
    #[must_use]
    pub fn with_apps(mut self, apps: impl IntoIterator<Item = App>) -> Self {
        self.apps = apps.into_iter().collect();
        self
    }

    /// The same facts with these shared ports
    #[must_use]
    pub fn with_port_shares(mut self, shares: impl IntoIterator<Item = PortShare>) -> Self {
        self.port_shares = shares.into_iter().collect();
        self
    }

    /// The same facts with these apps and ports that are shared with people
    #[must_use]
    pub fn with_people_shares(mut self, shares: impl IntoIterator<Item = PeopleShare>) -> Self {
        self.people_shares = shares.into_iter().collect();
        self
    }

    /// The same facts for a template with this behavior
    #[must_use]
    pub const fn with_cors(mut self, cors: CorsBehavior) -> Self {
        self.cors = cors;
        self
    }

    fn widest(&self, rules: Rules) -> Option<SharingLevel> {
        self.max_port_sharing.filter(|_| rules.enforce_max_port_sharing)
    }

    fn people(&self, agent: &Agent, slug_or_port: &str) -> &People {
        let is_of = |share: &&PeopleShare| {
            share.slug_or_port == slug_or_port && share.agent_name == agent.name
        };
        let share = self.people_shares.iter().find(is_of);
        share.map_or(&NO_PEOPLE, |share| &share.people)
    }

    fn port_sharing(
        &self,
        agent: &Agent,
        port: Port,
        widest: Option<SharingLevel>,
    ) -> SharingLevel {
        // A name that differs in case may be exactly that of another agent, whose ports it shares.
        let is_of_other = |share: &PortShare| {
            let is_of = |other: &Agent| other.id != agent.id && other.name == share.agent_name;
            share.agent_name != agent.name && self.agents.iter().any(is_of)
        };
        let of_port = |share: &&PortShare| share.port == port.number() && !is_of_other(share);
        let shares = self.port_shares.iter().filter(of_port);
        let share = find_name(shares, |share| &share.agent_name, &agent.name);
        let sharing = share.map_or(SharingLevel::Owner, |share| share.sharing);
        widest.map_or(sharing, |widest| sharing.min(widest))
    }
}

/// What a build does to its workspace
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transition {
    /// The build starts the workspace
    Start,
    /// The build stops the workspace
    Stop,
    /// The build deletes the workspace
    Delete,
}

impl FromStr for Transition {
    type Err = Error;

    /// Parses the label in the database
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
/// Health, visibility and the wish for a subdomain are left out: they do not change who may
/// open the app.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct App {
    /// The app's id
    pub id: AppId,
    /// The agent that runs the app
    pub agent: AgentId,
    /// The app's slug, unique among the apps of one agent
    pub slug: String,
    /// The address at which the agent serves the app; empty for a command
    pub url: String,
    /// Whether the app is only a link to an address elsewhere
    pub external: bool,
    /// The level at which the app is shared
    pub sharing: SharingLevel,
}

impl App {
    /// An app that the agent serves at `url` and that is not shared
    #[must_use]
    pub fn new(id: AppId, agent: AgentId, slug: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            id,
            agent,
            slug: slug.into(),
            url: url.into(),
            external: false,
            sharing: SharingLevel::Owner,
        }
    }

    /// The same app, shared at this level
    #[must_use]
    pub const fn with_sharing(mut self, level: SharingLevel) -> Self {
        self.sharing = level;
        self
    }

    /// The same app, only a link to an address elsewhere or not
    #[must_use]
    pub const fn with_external(mut self, external: bool) -> Self {
        self.external = external;
        self
    }
}

/// A port that is shared by its number, with and without TLS
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortShare {
    /// The name of the agent: each build has new agent ids, and names stay
    pub agent_name: String,
    /// The port number
    pub port: u16,
    /// The level at which the port is shared
    pub sharing: SharingLevel,
}

impl PortShare {
    /// The port of the agents with that name, shared at this level
    #[must_use]
    pub fn new(agent_name: impl Into<String>, port: u16, sharing: SharingLevel) -> Self {
        Self { agent_name: agent_name.into(), port, sharing }
    }
}

/// Why a request does not lead to an app, a port or a terminal
#[derive(Clone, Copy, Debug, ThisError, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResolveError {
    /// The user or the workspace does not exist
    #[error("no such user or workspace")]
    NoWorkspace,
    /// The request names the workspace by id, and a user who does not own it
    #[error("the workspace belongs to another user than the one named")]
    NotOwner,
    /// The newest build stops the workspace
    #[error("the workspace is stopped")]
    Stopped,
    /// The newest build has no agents, or none with that name or id
    #[error("no such agent")]
    NoAgent,
    /// The request is for a port by path, which would be served on the dashboard's host
    #[error("ports are not reached by path")]
    PortByPath,
    /// The request is for a port without an agent, and the workspace has several agents
    #[error("a port needs an agent, as the workspace has several")]
    AgentNeeded,
    /// No app has that slug, or it is served elsewhere
    #[error("no such app")]
    NoApp,
    /// The app is a command, which has no URL
    #[error("the app has no url")]
    NoUrl,
    /// The app's URL is not valid
    #[error("the url of the app is not valid")]
    InvalidUrl,
}

impl ResolveError {
    /// Whether to answer that nothing was found
    ///
    /// The other variants reveal that the workspace exists.
    #[must_use]
    pub const fn is_not_found(self) -> bool {
        matches!(self, Self::NoWorkspace | Self::NotOwner | Self::NoAgent | Self::NoApp)
    }
}
