use std::collections::{BTreeMap, BTreeSet};

use app_authz::app::Port;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use store::fleet::{self, JobType, LifecycleState, Token};
use store::sharing::MAX_PEOPLE;
use uuid::Uuid;

use super::{Entry, Writer, organization, user};
use crate::access::Access;
use crate::document::{Agent, App, Build, Document, PortShare, Share, Workspace};
use crate::document_error::DocumentError;
use crate::names::{Kind, Names, Path, Unknown, derived};
use crate::section::Section;
use crate::warnings::Warning;

impl Entry for Workspace {
    const SECTION: Section = Section::Workspaces;

    fn list(document: &mut Document) -> &mut Vec<Self> {
        &mut document.workspaces
    }

    fn ask(&self, names: &Names, unknown: &mut Unknown) {
        names.ask(user(&self.owner.to_lowercase()), unknown);
        names.ask(organization(&self.organization), unknown);
        for name in self.shared_with.users.keys() {
            names.ask(user(&name.to_lowercase()), unknown);
        }
        for name in self.shares.iter().flatten().flat_map(|share| &share.users) {
            names.ask(user(&name.to_lowercase()), unknown);
        }
    }

    fn ask_within(&self, names: &Names, unknown: &mut Unknown) {
        let organization = names.get(organization(&self.organization));
        if organization.is_none() {
            return;
        }
        if let Some(template) = &self.template {
            names.ask(Path::new(Kind::Template, organization, template), unknown);
        }
        let of_shares = self.shares.iter().flatten().flat_map(|share| &share.groups);
        for group in self.shared_with.groups.keys().chain(of_shares) {
            names.ask(Path::new(Kind::Group, organization, group), unknown);
        }
    }

    fn write(&self, n: u32, writer: &mut Writer) -> Result<(), DocumentError> {
        writer.rows.set_entry(n);
        writer.workspace(&format!("workspaces[{n}]"), self)
    }

    fn warn(&self, n: u32, warnings: &mut Vec<Warning>) {
        self.warnings(n, warnings);
    }
}

/// A build whose rows are being written
struct OfBuild<'a> {
    id: Uuid,
    job: Uuid,
    resource: Uuid,
    created_at: DateTime<Utc>,
    build: &'a Build,
    workspace: &'a fleet::Workspace,
}

impl Writer {
    fn workspace(&mut self, path: &str, workspace: &Workspace) -> Result<(), DocumentError> {
        let owner_id = self.user_id(&format!("{path}.owner"), &workspace.owner)?;
        let organization_id = self.organization(path, &workspace.organization)?;
        let template_id = match &workspace.template {
            Some(name) => {
                let name = Path::new(Kind::Template, Some(organization_id), name);
                self.names.find(&format!("{path}.template"), name)?
            }
            None => Uuid::nil(),
        };
        // Only the names within a workspace are kept: the database compares those of others.
        let mut within = Names::default();
        let name = workspace.name.to_lowercase();
        let name = Path::new(Kind::Workspace, Some(owner_id), &name);
        let row = fleet::Workspace {
            id: within.define(&format!("{path}.name"), name, workspace.id)?,
            owner_id,
            organization_id,
            template_id,
            name: workspace.name.clone(),
            deleted: workspace.deleted,
            dormant_at: workspace.dormant_at,
            user_acl: self.user_acl(path, workspace)?,
            group_acl: self.group_acl(path, organization_id, workspace)?,
            last_used_at: self.now,
        };
        self.rows.want(&row, &["last_used_at"]);
        for (n, build) in workspace.builds.iter().enumerate() {
            self.build(&format!("{path}.builds[{n}]"), build, &row, &mut within)?;
        }
        self.port_shares(path, workspace, row.id)?;
        self.shares(path, workspace, &row)
    }

    fn port_shares(
        &mut self,
        path: &str,
        workspace: &Workspace,
        id: Uuid,
    ) -> Result<(), DocumentError> {
        if workspace.port_shares.is_some() {
            self.rows.exactly::<fleet::WorkspaceAgentPortShare>("workspace_id", id);
        }
        let mut shared = BTreeSet::new();
        for (n, share) in workspace.port_shares.iter().flatten().enumerate() {
            if !shared.insert((&share.agent, share.port)) {
                let reason = format!("port {} is shared already", share.port);
                return Err(DocumentError::new(format!("{path}.port_shares[{n}].port"), reason));
            }
            let PortShare { agent, port, level, protocol } = share;
            let row = fleet::WorkspaceAgentPortShare {
                workspace_id: id,
                agent_name: agent.clone(),
                port: i32::from(*port),
                share_level: *level,
                protocol: *protocol,
            };
            self.rows.want(&row, &[]);
        }
        Ok(())
    }

    fn shares(
        &mut self,
        path: &str,
        workspace: &Workspace,
        row: &fleet::Workspace,
    ) -> Result<(), DocumentError> {
        if workspace.shares.is_some() {
            self.rows.exactly::<fleet::Share>("workspace_id", row.id);
        }
        let mut shared = BTreeSet::new();
        for (n, share) in workspace.shares.iter().flatten().enumerate() {
            let path = format!("{path}.shares[{n}]");
            let app = shared_app(&path, share)?;
            if !shared.insert((&share.agent, app.clone())) {
                let reason = format!("there is another share of `{app}`");
                return Err(DocumentError::new(format!("{path}.app"), reason));
            }
            let mut people = BTreeSet::new();
            for (n, name) in share.users.iter().enumerate() {
                people.insert((false, self.user_id(&format!("{path}.users[{n}]"), name)?));
            }
            for (n, name) in share.groups.iter().enumerate() {
                let group = Path::new(Kind::Group, Some(row.organization_id), name);
                people.insert((true, self.names.find(&format!("{path}.groups[{n}]"), group)?));
            }
            if people.len() > MAX_PEOPLE {
                let reason = format!("it is shared with more than {MAX_PEOPLE} users and groups");
                return Err(DocumentError::new(path, reason));
            }
            for (is_group, person_id) in people {
                let row = fleet::Share {
                    workspace_id: row.id,
                    agent_name: share.agent.clone(),
                    slug_or_port: app.clone(),
                    is_group,
                    person_id,
                    created_at: self.now,
                    created_by: None,
                };
                self.rows.want(&row, &["created_at", "created_by"]);
            }
        }
        Ok(())
    }

    fn user_acl(&self, path: &str, workspace: &Workspace) -> Result<Value, DocumentError> {
        let path = format!("{path}.shared_with.users");
        acl(&path, &workspace.shared_with.users, |path, name| self.user_id(path, name))
    }

    fn group_acl(
        &self,
        path: &str,
        organization: Uuid,
        workspace: &Workspace,
    ) -> Result<Value, DocumentError> {
        let path = format!("{path}.shared_with.groups");
        acl(&path, &workspace.shared_with.groups, |path, name| {
            self.names.find(path, Path::new(Kind::Group, Some(organization), name))
        })
    }

    fn build(
        &mut self,
        path: &str,
        build: &Build,
        workspace: &fleet::Workspace,
        within: &mut Names,
    ) -> Result<(), DocumentError> {
        if build.number < 1 {
            return Err(DocumentError::new(format!("{path}.number"), "builds are counted from 1"));
        }
        let number = build.number.to_string();
        let name = Path::new(Kind::Build, Some(workspace.id), &number);
        let id = within.define(&format!("{path}.number"), name, build.id)?;
        let of_build = [&*id.to_string()];
        let of = OfBuild {
            id,
            job: build.job.unwrap_or_else(|| derived(Kind::Job, &of_build)),
            resource: derived(Kind::Resource, &of_build),
            created_at: build.created_at.unwrap_or(self.now),
            build,
            workspace,
        };
        self.job_and_build(&of);
        // The job of a control plane has resources of its own.
        let mut resources = BTreeSet::new();
        if build.job.is_none() || build.agents.iter().any(|agent| agent.resource.is_none()) {
            self.resource(&of, of.resource, &[]);
            resources.insert(of.resource);
        }
        for (n, agent) in build.agents.iter().enumerate() {
            if let Some(resource) = agent.resource.filter(|id| resources.insert(*id)) {
                self.resource(&of, resource, &["job_id", "transition", "type_", "name"]);
            }
            self.agent(&format!("{path}.agents[{n}]"), agent, &of, within)?;
        }
        Ok(())
    }

    fn job_and_build(&mut self, of: &OfBuild<'_>) {
        let job = fleet::ProvisionerJob {
            id: of.job,
            type_: JobType::WorkspaceBuild,
            organization_id: of.workspace.organization_id,
            input: json!({ "workspace_build_id": of.id }),
            completed_at: Some(of.created_at),
            error: None,
        };
        let row = fleet::WorkspaceBuild {
            id: of.id,
            workspace_id: of.workspace.id,
            build_number: of.build.number,
            transition: of.build.transition,
            job_id: of.job,
            template_version_id: Uuid::nil(),
            initiator_id: of.workspace.owner_id,
            created_at: of.created_at,
        };
        let of_job: &[_] = match of.build.job {
            // The job of a control plane says more.
            Some(_) => &["type_", "organization_id", "input", "completed_at", "error"],
            None => &["completed_at"],
        };
        let mut kept = vec!["template_version_id", "initiator_id"];
        if of.build.created_at.is_none() {
            kept.push("created_at");
        }
        self.rows.want(&job, of_job);
        self.rows.want(&row, &kept);
    }

    fn resource(&mut self, of: &OfBuild<'_>, id: Uuid, kept: &[&'static str]) {
        let row = fleet::WorkspaceResource {
            id,
            job_id: of.job,
            transition: of.build.transition,
            type_: "imported".to_owned(),
            name: of.workspace.name.clone(),
        };
        self.rows.want(&row, kept);
    }

    fn agent(
        &mut self,
        path: &str,
        agent: &Agent,
        of: &OfBuild<'_>,
        within: &mut Names,
    ) -> Result<(), DocumentError> {
        let name = Path::new(Kind::Agent, Some(of.id), &agent.name);
        let id = within.define(&format!("{path}.name"), name, agent.id)?;
        let connected = agent.connected == Some(true);
        let row = fleet::WorkspaceAgent {
            id,
            parent_id: agent.parent,
            resource_id: agent.resource.unwrap_or(of.resource),
            name: agent.name.clone(),
            auth_token: agent.token.unwrap_or_else(|| Token(Uuid::new_v4())),
            auth_instance_id: agent.instance_id.clone(),
            created_at: of.created_at,
            first_connected_at: connected.then_some(FOREVER),
            last_connected_at: connected.then_some(FOREVER),
            disconnected_at: None,
            connection_timeout_seconds: 120,
            lifecycle_state: LifecycleState::Ready,
            deleted: agent.deleted,
        };
        let mut kept = vec!["created_at", "connection_timeout_seconds", "lifecycle_state"];
        if agent.token.is_none() {
            kept.push("auth_token");
        }
        if agent.connected.is_none() {
            kept.extend(["first_connected_at", "last_connected_at", "disconnected_at"]);
        }
        self.rows.want(&row, &kept);
        if agent.apps.is_some() {
            self.rows.exactly::<fleet::WorkspaceApp>("agent_id", id);
        }
        for (n, app) in agent.apps.iter().flatten().enumerate() {
            self.app(&format!("{path}.apps[{n}]"), app, id, within)?;
        }
        Ok(())
    }

    fn app(
        &mut self,
        path: &str,
        app: &App,
        agent_id: Uuid,
        within: &mut Names,
    ) -> Result<(), DocumentError> {
        app.check(path)?;
        let name = Path::new(Kind::App, Some(agent_id), &app.slug);
        let row = fleet::WorkspaceApp {
            id: within.define(&format!("{path}.slug"), name, app.id)?,
            agent_id,
            slug: app.slug.clone(),
            display_name: app.display_name.clone().unwrap_or_else(|| app.slug.clone()),
            url: app.url.clone(),
            command: app.command.clone(),
            external: app.external,
            subdomain: app.subdomain,
            sharing_level: app.sharing_level,
            health: app.health,
            hidden: app.hidden,
        };
        self.rows.want(&row, &[]);
        Ok(())
    }
}

/// The slug or the number of the port, as rows have it
fn shared_app(path: &str, share: &Share) -> Result<String, DocumentError> {
    let invalid = |field: &str, reason: &str| {
        Err(DocumentError::new(format!("{path}.{field}"), reason.to_owned()))
    };
    let is_name = |name: &str| !name.is_empty() && !name.contains('\0');
    if !is_name(&share.agent) {
        return invalid("agent", "a name must not be empty or hold a NUL");
    }
    match share.app.parse::<Port>() {
        Ok(port) if port.is_reserved() => invalid("app", "the port is reserved and never opens"),
        Ok(port) => Ok(port.number().to_string()),
        Err(_) if is_name(&share.app) => Ok(share.app.clone()),
        Err(_) => invalid("app", "a name must not be empty or hold a NUL"),
    }
}

/// An access list as the control plane stores it
fn acl(
    path: &str,
    entries: &BTreeMap<String, Access>,
    find: impl Fn(&str, &str) -> Result<Uuid, DocumentError>,
) -> Result<Value, DocumentError> {
    let mut list = Map::new();
    for (name, access) in entries {
        let id = find(&format!("{path}.{name}"), name)?;
        list.insert(id.to_string(), access.stored());
    }
    Ok(Value::Object(list))
}

/// 9999-12-31T00:00:00Z: an agent with this time of last contact counts as connected at all times
pub(crate) const FOREVER: DateTime<Utc> = match DateTime::from_timestamp(253_402_214_400, 0) {
    Some(time) => time,
    None => DateTime::<Utc>::MAX_UTC,
};
