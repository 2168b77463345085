use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use store::fleet::{self, Digest, JobType, LifecycleState, Token};
use store::import::Rows;
use uuid::Uuid;

use super::check;
use super::document::{
    Access, Agent, App, Build, Document, DocumentError, Group, Permission, PortShare, Proxy, Role,
    SharedWith, Template, User, Workspace,
};
use super::names::{Kind, Names, derived};

impl Document {
    /// The rows that the document describes; new rows are dated `now`
    ///
    /// # Errors
    ///
    /// [`DocumentError`] if a name is empty, is not unique, or refers to an unknown entry, or if
    /// a value is not usable.
    pub fn rows(&self, now: DateTime<Utc>) -> Result<Rows, DocumentError> {
        let mut writer = Writer { rows: Rows::default(), names: Names::default(), now };
        writer.document(self)?;
        Ok(writer.rows)
    }
}

struct Writer {
    rows: Rows,
    names: Names,
    now: DateTime<Utc>,
}

impl Writer {
    fn document(&mut self, document: &Document) -> Result<(), DocumentError> {
        // Names first, since entries may refer to later ones.
        for (n, organization) in document.organizations.iter().enumerate() {
            let path = format!("organizations[{n}].name");
            self.names.define(Kind::Organization, &path, &[&organization.name], organization.id)?;
        }
        for (n, user) in document.users.iter().enumerate() {
            let path = format!("users[{n}].username");
            let name = user.username.to_lowercase();
            self.names.define(Kind::User, &path, &[&name], user.id)?;
        }
        for (n, group) in document.groups.iter().enumerate() {
            let path = format!("groups[{n}]");
            let organization = self.organization(&path, &group.organization)?.to_string();
            let name = [organization.as_str(), &group.name];
            self.names.define(Kind::Group, &format!("{path}.name"), &name, group.id)?;
        }
        for (n, template) in document.templates.iter().enumerate() {
            let path = format!("templates[{n}]");
            let organization = self.organization(&path, &template.organization)?.to_string();
            let name = [organization.as_str(), &template.name];
            self.names.define(Kind::Template, &format!("{path}.name"), &name, template.id)?;
        }

        for (n, organization) in document.organizations.iter().enumerate() {
            let path = format!("organizations[{n}]");
            let id = self.organization(&path, &organization.name)?;
            let row = fleet::Organization {
                id,
                name: organization.name.clone(),
                deleted: organization.deleted,
                default_org_member_roles: Vec::new(),
            };
            self.rows.want(&row, &["default_org_member_roles"]);
        }
        for (n, user) in document.users.iter().enumerate() {
            self.user(&format!("users[{n}]"), user)?;
        }
        for (n, group) in document.groups.iter().enumerate() {
            self.group(&format!("groups[{n}]"), group)?;
        }
        for (n, role) in document.roles.iter().enumerate() {
            self.role(&format!("roles[{n}]"), role)?;
        }
        for (n, template) in document.templates.iter().enumerate() {
            self.template(&format!("templates[{n}]"), template)?;
        }
        for (n, workspace) in document.workspaces.iter().enumerate() {
            self.workspace(&format!("workspaces[{n}]"), workspace)?;
        }
        for (n, proxy) in document.proxies.iter().enumerate() {
            self.proxy(&format!("proxies[{n}]"), proxy)?;
        }
        Ok(())
    }

    fn user(&mut self, path: &str, user: &User) -> Result<(), DocumentError> {
        let id = self.user_id(&format!("{path}.username"), &user.username)?;
        check::roles(&format!("{path}.roles"), &user.roles)?;
        let row = fleet::User {
            id,
            username: user.username.clone(),
            // The column is unique, so only one user could have an empty address.
            email: user.email.clone().unwrap_or_else(|| format!("{}@localhost", user.username)),
            status: user.status,
            deleted: user.deleted,
            rbac_roles: user.roles.clone(),
            login_type: user.login_type,
            is_system: false,
            is_service_account: false,
            last_seen_at: self.now,
            created_at: self.now,
            updated_at: self.now,
        };
        let mut kept =
            vec!["is_system", "is_service_account", "last_seen_at", "created_at", "updated_at"];
        if user.email.is_none() {
            kept.push("email");
        }
        self.rows.want(&row, &kept);
        if user.organizations.is_some() {
            self.rows.exactly::<fleet::OrganizationMember>("user_id", id);
        }
        for (organization, roles) in user.organizations.iter().flatten() {
            let path = format!("{path}.organizations.{organization}");
            check::roles(&path, roles)?;
            let row = fleet::OrganizationMember {
                organization_id: self.organization(&path, organization)?,
                user_id: id,
                roles: roles.clone(),
            };
            self.rows.want(&row, &[]);
        }
        Ok(())
    }

    fn group(&mut self, path: &str, group: &Group) -> Result<(), DocumentError> {
        let organization_id = self.organization(path, &group.organization)?;
        let name = [&*organization_id.to_string(), &group.name];
        let id = self.names.find(Kind::Group, path, &name)?;
        self.rows.want(&fleet::Group { id, name: group.name.clone(), organization_id }, &[]);
        if group.members.is_some() {
            self.rows.exactly::<fleet::GroupMember>("group_id", id);
        }
        let mut members = BTreeSet::new();
        for (n, member) in group.members.iter().flatten().enumerate() {
            let path = format!("{path}.members[{n}]");
            let user_id = self.user_id(&path, member)?;
            if !members.insert(user_id) {
                return Err(DocumentError::new(
                    path,
                    format_args!("`{member}` is a member already"),
                ));
            }
            self.rows.want(&fleet::GroupMember { user_id, group_id: id }, &[]);
        }
        Ok(())
    }

    fn role(&mut self, path: &str, role: &Role) -> Result<(), DocumentError> {
        let organization_id = match &role.organization {
            Some(organization) => Some(self.organization(path, organization)?),
            None => None,
        };
        let owner = organization_id.unwrap_or_default().to_string();
        let name = [owner.as_str(), &role.name];
        let id = self.names.define(Kind::Role, &format!("{path}.name"), &name, role.id)?;
        check::role(&format!("{path}.name"), &role.name)?;
        let list = |field: &str, permissions: &[Permission]| {
            let permission = |(n, permission): (usize, &Permission)| {
                permission.check(&format!("{path}.{field}[{n}]"))?;
                let Permission { negate, resource_type, action } = permission;
                Ok(json!({ "negate": negate, "resource_type": resource_type, "action": action }))
            };
            permissions.iter().enumerate().map(permission).collect::<Result<_, DocumentError>>()
        };
        let row = fleet::CustomRole {
            id,
            name: role.name.clone(),
            organization_id,
            site_permissions: list("site_permissions", &role.site_permissions)?,
            org_permissions: list("organization_permissions", &role.organization_permissions)?,
            user_permissions: list("user_permissions", &role.user_permissions)?,
            member_permissions: json!([]),
            is_system: false,
        };
        self.rows.want(&row, &["member_permissions", "is_system"]);
        Ok(())
    }

    fn template(&mut self, path: &str, template: &Template) -> Result<(), DocumentError> {
        let organization_id = self.organization(path, &template.organization)?;
        let name = [&*organization_id.to_string(), &template.name];
        let row = fleet::Template {
            id: self.names.find(Kind::Template, path, &name)?,
            organization_id,
            name: template.name.clone(),
            max_port_sharing_level: template.max_port_sharing_level,
            cors_behavior: template.cors_behavior,
            deleted: template.deleted,
            user_acl: json!({}),
            group_acl: json!({}),
        };
        self.rows.want(&row, &["user_acl", "group_acl"]);
        Ok(())
    }

    fn workspace(&mut self, path: &str, workspace: &Workspace) -> Result<(), DocumentError> {
        let owner_id = self.user_id(&format!("{path}.owner"), &workspace.owner)?;
        let organization_id = self.organization(path, &workspace.organization)?;
        let template_id = match &workspace.template {
            Some(name) => {
                let path = format!("{path}.template");
                let name = [&*organization_id.to_string(), name];
                self.names.find(Kind::Template, &path, &name)?
            }
            None => Uuid::nil(),
        };
        let name = [&*owner_id.to_string(), &*workspace.name.to_lowercase()];
        let id =
            self.names.define(Kind::Workspace, &format!("{path}.name"), &name, workspace.id)?;
        let row = fleet::Workspace {
            id,
            owner_id,
            organization_id,
            template_id,
            name: workspace.name.clone(),
            deleted: workspace.deleted,
            dormant_at: workspace.dormant_at,
            user_acl: self.user_acl(path, &workspace.shared_with)?,
            group_acl: self.group_acl(path, organization_id, &workspace.shared_with)?,
            last_used_at: self.now,
        };
        self.rows.want(&row, &["last_used_at"]);
        for (n, build) in workspace.builds.iter().enumerate() {
            self.build(&format!("{path}.builds[{n}]"), build, &row)?;
        }
        if workspace.port_shares.is_some() {
            self.rows.exactly::<fleet::WorkspaceAgentPortShare>("workspace_id", id);
        }
        let mut shared = BTreeSet::new();
        for (n, share) in workspace.port_shares.iter().flatten().enumerate() {
            if !shared.insert((&share.agent, share.port)) {
                let reason = format_args!("port {} is shared already", share.port);
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

    fn user_acl(&self, path: &str, shared: &SharedWith) -> Result<Value, DocumentError> {
        let entries = shared.users.iter().map(|(name, access)| {
            let path = format!("{path}.shared_with.users.{name}");
            Ok((self.user_id(&path, name)?, *access))
        });
        acl(entries)
    }

    fn group_acl(
        &self,
        path: &str,
        organization: Uuid,
        shared: &SharedWith,
    ) -> Result<Value, DocumentError> {
        let organization = organization.to_string();
        let entries = shared.groups.iter().map(|(name, access)| {
            let path = format!("{path}.shared_with.groups.{name}");
            Ok((self.names.find(Kind::Group, &path, &[&organization, name])?, *access))
        });
        acl(entries)
    }

    fn build(
        &mut self,
        path: &str,
        build: &Build,
        workspace: &fleet::Workspace,
    ) -> Result<(), DocumentError> {
        if build.number < 1 {
            return Err(DocumentError::new(format!("{path}.number"), "builds are counted from 1"));
        }
        let name = [&*workspace.id.to_string(), &*build.number.to_string()];
        let id = self.names.define(Kind::Build, &format!("{path}.number"), &name, build.id)?;
        let created_at = build.created_at.unwrap_or(self.now);
        let of_build = [&*id.to_string()];
        let job = fleet::ProvisionerJob {
            id: derived(Kind::Job, &of_build),
            type_: JobType::WorkspaceBuild,
            organization_id: workspace.organization_id,
            input: json!({ "workspace_build_id": id }),
            completed_at: Some(created_at),
            error: None,
        };
        let row = fleet::WorkspaceBuild {
            id,
            workspace_id: workspace.id,
            build_number: build.number,
            transition: build.transition,
            job_id: job.id,
            template_version_id: Uuid::nil(),
            initiator_id: workspace.owner_id,
            created_at,
        };
        let resource = fleet::WorkspaceResource {
            id: derived(Kind::Resource, &of_build),
            job_id: job.id,
            transition: build.transition,
            type_: "imported".to_owned(),
            name: workspace.name.clone(),
        };
        let kept: &[_] = if build.created_at.is_some() { &[] } else { &["created_at"] };
        self.rows.want(&job, &["completed_at"]);
        self.rows.want(&row, kept);
        self.rows.want(&resource, &[]);
        for (n, agent) in build.agents.iter().enumerate() {
            self.agent(&format!("{path}.agents[{n}]"), agent, &row, resource.id)?;
        }
        Ok(())
    }

    fn agent(
        &mut self,
        path: &str,
        agent: &Agent,
        build: &fleet::WorkspaceBuild,
        resource_id: Uuid,
    ) -> Result<(), DocumentError> {
        let name = [&*build.id.to_string(), &*agent.name];
        let id = self.names.define(Kind::Agent, &format!("{path}.name"), &name, agent.id)?;
        let connected = agent.connected == Some(true);
        let row = fleet::WorkspaceAgent {
            id,
            parent_id: agent.parent,
            resource_id,
            name: agent.name.clone(),
            auth_token: agent.token.unwrap_or_else(|| Token(Uuid::new_v4())),
            auth_instance_id: agent.instance_id.clone(),
            created_at: build.created_at,
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
            self.app(&format!("{path}.apps[{n}]"), app, id)?;
        }
        Ok(())
    }

    fn app(&mut self, path: &str, app: &App, agent_id: Uuid) -> Result<(), DocumentError> {
        app.check(path)?;
        let name = [&*agent_id.to_string(), &*app.slug];
        let row = fleet::WorkspaceApp {
            id: self.names.define(Kind::App, &format!("{path}.slug"), &name, app.id)?,
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

    fn proxy(&mut self, path: &str, proxy: &Proxy) -> Result<(), DocumentError> {
        proxy.check(path)?;
        let name = proxy.name.to_lowercase();
        let row = fleet::WorkspaceProxy {
            id: self.names.define(Kind::Proxy, &format!("{path}.name"), &[&name], proxy.id)?,
            name: proxy.name.clone(),
            url: proxy.url.clone(),
            wildcard_hostname: proxy.wildcard_hostname.clone(),
            // No token has this digest; `authd token create --proxy` stores that of a new token.
            token_hashed_secret: Digest(Vec::new()),
            deleted: proxy.deleted,
        };
        self.rows.want(&row, &["token_hashed_secret"]);
        Ok(())
    }

    fn organization(&self, path: &str, name: &str) -> Result<Uuid, DocumentError> {
        self.names.find(Kind::Organization, &format!("{path}.organization"), &[name])
    }

    fn user_id(&self, path: &str, name: &str) -> Result<Uuid, DocumentError> {
        self.names.find(Kind::User, path, &[&name.to_lowercase()])
    }
}

/// An access list as the control plane stores it
///
/// The control plane defines the permissions of each kind of access: `use` opens and runs the
/// workspace, `admin` does everything but delete it.
fn acl(
    entries: impl Iterator<Item = Result<(Uuid, Access), DocumentError>>,
) -> Result<Value, DocumentError> {
    let mut list = serde_json::Map::new();
    for entry in entries {
        let (id, access) = entry?;
        let actions: &[&str] = match access {
            Access::Use => &["application_connect", "read", "ssh", "start", "stop"],
            Access::Admin => &[
                "application_connect",
                "create",
                "create_agent",
                "delete_agent",
                "read",
                "share",
                "ssh",
                "start",
                "stop",
                "update",
                "update_agent",
            ],
        };
        list.insert(id.to_string(), json!({ "permissions": actions }));
    }
    Ok(Value::Object(list))
}

/// 9999-12-31T00:00:00Z: an agent with this time of last contact counts as connected at all times
const FOREVER: DateTime<Utc> = match DateTime::from_timestamp(253_402_214_400, 0) {
    Some(time) => time,
    None => DateTime::<Utc>::MAX_UTC,
};
