use std::collections::BTreeMap;
use std::time::SystemTime;

use app_authz::app::{
    Agent, App, AppFacts, Contact, People, PeopleShare, Port, PortShare, Workspace, WorkspaceFacts,
};
use app_authz::credential::SessionToken;
use app_authz::id::{AppId, GroupId, NameOrId, OrganizationId};
use app_authz::rbac::{AccessList, Acl};
use app_authz::{AgentId, AppRequest, Directory, UserId, WorkspaceId};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::MemoryStore;
use super::tables::Tables;
use crate::fleet::{self, WorkspaceAgent, WorkspaceBuild};
use crate::{Error, domain};

impl Directory for MemoryStore {
    type Error = Error;

    async fn app_access(
        &self,
        request: &AppRequest,
        tokens: &[SessionToken],
    ) -> Result<AppFacts, Error> {
        let tables = self.read();
        let place = match request.terminal() {
            Some(agent) => tables.of_agent(agent),
            None => tables.named(request),
        };
        let holders = tables.holders(tokens)?;
        let facts = AppFacts::default().with_holders(holders);
        Ok(match place {
            Some(place) => facts.with_workspace(place),
            None => facts,
        })
    }
}

impl Tables {
    fn of_agent(&self, id: AgentId) -> Option<WorkspaceFacts> {
        let agent = self.agents.get(&id.0).filter(|agent| !agent.deleted)?;
        let build = self.build_of(agent).filter(|build| self.is_newest(build))?;
        let workspace = self.workspaces.get(&build.workspace_id).filter(|w| !w.deleted)?;
        let place = self.place(workspace.owner_id, workspace, build)?;
        Some(place.with_agents([describe(agent)]))
    }

    fn named(&self, request: &AppRequest) -> Option<WorkspaceFacts> {
        let owner = match NameOrId::from(request.user()) {
            NameOrId::Id(id) => self.users.get(&id)?.id,
            NameOrId::Name(name) => *self.user_by_name.get(&name.to_lowercase())?,
        };
        let workspace = match NameOrId::from(request.workspace()) {
            NameOrId::Id(id) => id,
            NameOrId::Name(name) => *self.workspace_by_name.get(&(owner, name.to_lowercase()))?,
        };
        let workspace = self.workspaces.get(&workspace).filter(|w| !w.deleted)?;
        let (_, job) = self.newest_build.get(&workspace.id)?;
        let build = self.build_by_job.get(job)?;
        let place = self.place(owner, workspace, build)?;
        Some(self.with_agents(place, job, request.slug_or_port()))
    }

    /// The place, without agents, apps and shared ports
    fn place(
        &self,
        asked_owner: Uuid,
        workspace: &fleet::Workspace,
        build: &WorkspaceBuild,
    ) -> Option<WorkspaceFacts> {
        let described = self.describe(workspace)?;
        let template = self.templates.get(&workspace.template_id);
        let max_port_sharing = template.map(|template| template.max_port_sharing_level.into());
        let cors = template.map(|template| template.cors_behavior.into()).unwrap_or_default();
        let widest = domain::max_port_sharing(max_port_sharing);
        let (owner, transition) = (UserId(asked_owner), build.transition.into());
        Some(WorkspaceFacts::new(owner, described, transition, Some(widest)).with_cors(cors))
    }

    /// The workspace, if its owner is known
    pub(super) fn describe(&self, workspace: &fleet::Workspace) -> Option<Workspace> {
        let owner = self.users.get(&workspace.owner_id)?;
        let described = Workspace::new(
            (WorkspaceId(workspace.id), &*workspace.name),
            (UserId(owner.id), &*owner.username),
            OrganizationId(workspace.organization_id),
        );
        let described = described.with_dormant(workspace.dormant_at.is_some());
        Some(described.with_acl(acl(&workspace.user_acl, &workspace.group_acl)))
    }

    /// The workspace with all agents of its newest build, and those of their apps that are not
    /// hidden
    pub(super) fn all_apps(
        &self,
        workspace: &fleet::Workspace,
    ) -> Option<(WorkspaceFacts, Vec<&fleet::WorkspaceApp>)> {
        let (_, job) = self.newest_build.get(&workspace.id)?;
        let build = self.build_by_job.get(job)?;
        let mut place = self.place(workspace.owner_id, workspace, build)?;
        let resources = self.resources_by_job.get(job).into_iter().flatten();
        let agents = resources.filter_map(|id| self.agents_by_resource.get(id)).flatten();
        let mut shown = Vec::new();
        for agent in agents.filter_map(|id| self.agents.get(id)).filter(|agent| !agent.deleted) {
            let apps = self.apps.get(&agent.id).into_iter().flat_map(BTreeMap::values);
            shown.extend(apps.filter(|app| !app.hidden));
            place.agents.push(describe(agent));
        }
        place.apps = shown.iter().map(|app| describe_app(app)).collect();
        for (agent, app) in
            shown.iter().filter_map(|app| Some((self.agents.get(&app.agent_id)?, app)))
        {
            self.add_people(&mut place, &agent.name, &app.slug);
        }
        domain::put_in_order(&mut place);
        Some((place, shown))
    }

    /// Adds the people with whom an app or a port is shared, if there are any
    fn add_people(&self, place: &mut WorkspaceFacts, agent: &str, slug_or_port: &str) {
        let shares = self.shares.get(&place.workspace.id.0).into_iter().flatten();
        let of_app =
            shares.filter(|share| share.agent_name == agent && share.slug_or_port == slug_or_port);
        let (groups, users): (Vec<_>, Vec<_>) = of_app.partition(|share| share.is_group);
        let people = People::new(
            users.into_iter().map(|share| UserId(share.person_id)),
            groups.into_iter().map(|share| GroupId(share.person_id)),
        );
        if !people.is_empty() {
            place.people_shares.push(PeopleShare::new(agent, slug_or_port, people));
        }
    }

    fn with_agents(&self, mut place: WorkspaceFacts, job: &Uuid, asked: &str) -> WorkspaceFacts {
        let port = asked.parse::<Port>().ok();
        let resources = self.resources_by_job.get(job).into_iter().flatten();
        let agents = resources.filter_map(|id| self.agents_by_resource.get(id)).flatten();
        for agent in agents.filter_map(|id| self.agents.get(id)).filter(|agent| !agent.deleted) {
            if let Some(port) = port {
                let shares = self.port_shares.get(&(place.workspace.id.0, port.number().into()));
                let share = shares.and_then(|shares| of_name(shares, &agent.name));
                if let Some((agent_name, level)) = share {
                    let share = PortShare::new(&**agent_name, port.number(), (*level).into());
                    place.port_shares.push(share);
                }
                self.add_people(&mut place, &agent.name, &port.number().to_string());
            } else if let Some((_, app)) =
                self.apps.get(&agent.id).and_then(|apps| of_name(apps, asked))
            {
                place.apps.push(describe_app(app));
                self.add_people(&mut place, &agent.name, &app.slug);
            }
            place.agents.push(describe(agent));
        }
        domain::put_in_order(&mut place);
        place
    }
}

/// The entry of exactly that name, or the first whose name differs only in case
fn of_name<'a, T>(named: &'a BTreeMap<String, T>, name: &str) -> Option<(&'a String, &'a T)> {
    let lowered = name.to_lowercase();
    let alike = |(known, _): &(&String, &T)| known.to_lowercase() == lowered;
    named.get_key_value(name).or_else(|| named.iter().find(alike))
}

fn describe_app(app: &fleet::WorkspaceApp) -> App {
    let url = app.url.as_deref().unwrap_or_default();
    App::new(AppId(app.id), AgentId(app.agent_id), &*app.slug, url)
        .with_external(app.external)
        .with_sharing(app.sharing_level.into())
}

fn describe(agent: &WorkspaceAgent) -> Agent {
    let time = |at: Option<DateTime<Utc>>| at.map(SystemTime::from);
    let contact = Contact::new(agent.created_at.into())
        .with_connected(time(agent.first_connected_at), time(agent.last_connected_at))
        .with_disconnected(time(agent.disconnected_at))
        .with_connection_timeout(domain::seconds(agent.connection_timeout_seconds.into()));
    Agent::new(AgentId(agent.id), &*agent.name, contact)
}

/// The access lists in two columns
pub(super) fn acl(users: &Value, groups: &Value) -> Acl {
    let list = |stored| AccessList::deserialize(stored).unwrap_or_default();
    Acl::new(list(users), list(groups))
}
