use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use serde_json::{Value, json};
use store::fleet::{self, Fleet};
use uuid::Uuid;

use super::{Lists, Secrets};
use crate::access::Access;
use crate::document::{
    Agent, App, Build, Group, Organization, Permission, PortShare, Proxy, Role, Share, SharedWith,
    Template, User, Workspace,
};
use crate::names::{Kind, Path, derived};
use crate::rows::FOREVER;
use crate::section::Section;
use crate::warnings::Warning;

/// Turns rows into entries, which refer to each other by name
pub(super) struct Writer {
    secrets: Secrets,
    organizations: HashMap<Uuid, String>,
    users: HashMap<Uuid, String>,
    /// Organization and name
    groups: HashMap<Uuid, (Uuid, String)>,
    templates: HashMap<Uuid, (Uuid, String)>,
}

/// The rows of workspaces, by what they belong to
struct Within {
    builds: HashMap<Uuid, Vec<fleet::WorkspaceBuild>>,
    resources: HashMap<Uuid, Vec<Uuid>>,
    agents: HashMap<Uuid, Vec<fleet::WorkspaceAgent>>,
    apps: HashMap<Uuid, Vec<fleet::WorkspaceApp>>,
    shares: HashMap<Uuid, Vec<fleet::WorkspaceAgentPortShare>>,
    people: HashMap<Uuid, Vec<fleet::Share>>,
}

impl Writer {
    pub(super) fn new(secrets: Secrets) -> Self {
        let (organizations, users) = (HashMap::new(), HashMap::new());
        let (groups, templates) = (HashMap::new(), HashMap::new());
        Self { secrets, organizations, users, groups, templates }
    }

    pub(super) fn write<W: Write>(
        &mut self,
        part: Fleet,
        lists: &mut Lists<W>,
        warnings: &mut Vec<Warning>,
    ) -> io::Result<()> {
        for row in part.organizations {
            let id = own(row.id, Path::new(Kind::Organization, None, &row.name));
            self.organizations.insert(row.id, row.name.clone());
            let entry = Organization { id, name: row.name, deleted: row.deleted };
            lists.entry(Section::Organizations, &entry)?;
        }
        let mut members = grouped(part.organization_members, |member| member.user_id);
        for row in part.users {
            let members = members.remove(&row.id).unwrap_or_default();
            lists.entry(Section::Users, &self.user(row, members))?;
        }
        let mut members = grouped(part.group_members, |member| member.group_id);
        for row in part.groups {
            let members = members.remove(&row.id).unwrap_or_default();
            lists.entry(Section::Groups, &self.group(row, members))?;
        }
        for row in part.custom_roles {
            let name = row.name.clone();
            match self.role(row) {
                Some(role) => lists.entry(Section::Roles, &role)?,
                None => warnings.push(left_out("roles", &name, "permissions")),
            }
        }
        for row in part.templates {
            lists.entry(Section::Templates, &self.template(row))?;
        }
        let mut within = Within {
            builds: grouped(part.workspace_builds, |build| build.workspace_id),
            resources: HashMap::new(),
            agents: grouped(part.workspace_agents, |agent| agent.resource_id),
            apps: grouped(part.workspace_apps, |app| app.agent_id),
            shares: grouped(part.workspace_agent_port_share, |share| share.workspace_id),
            people: grouped(part.authd_shares, |share| share.workspace_id),
        };
        for row in part.workspace_resources {
            within.resources.entry(row.job_id).or_default().push(row.id);
        }
        for row in part.workspaces {
            let name = format!("{}/{}", self.user_name(row.owner_id), row.name);
            match self.workspace(row, &mut within) {
                Some(workspace) => lists.entry(Section::Workspaces, &workspace)?,
                None => warnings.push(left_out("workspaces", &name, "access list")),
            }
        }
        for row in part.workspace_proxies {
            let name = row.name.to_lowercase();
            let entry = Proxy {
                id: own(row.id, Path::new(Kind::Proxy, None, &name)),
                name: row.name,
                url: row.url,
                wildcard_hostname: row.wildcard_hostname,
                deleted: row.deleted,
            };
            lists.entry(Section::Proxies, &entry)?;
        }
        Ok(())
    }

    fn user(&mut self, row: fleet::User, members: Vec<fleet::OrganizationMember>) -> User {
        let name = row.username.to_lowercase();
        self.users.insert(row.id, row.username.clone());
        let is_default = row.email == format!("{}@localhost", row.username);
        let organizations = members
            .into_iter()
            .map(|member| (self.organization(member.organization_id), member.roles));
        User {
            id: own(row.id, Path::new(Kind::User, None, &name)),
            organizations: Some(organizations.collect()),
            email: (!is_default).then_some(row.email),
            username: row.username,
            status: row.status,
            deleted: row.deleted,
            login_type: row.login_type,
            roles: row.rbac_roles,
        }
    }

    fn group(&mut self, row: fleet::Group, members: Vec<fleet::GroupMember>) -> Group {
        let of = (row.organization_id, row.name.clone());
        self.groups.insert(row.id, of);
        let mut members: Vec<_> =
            members.iter().map(|member| self.user_name(member.user_id)).collect();
        members.sort_unstable();
        Group {
            id: own(row.id, Path::new(Kind::Group, Some(row.organization_id), &row.name)),
            organization: self.organization(row.organization_id),
            name: row.name,
            members: Some(members),
        }
    }

    fn role(&self, row: fleet::CustomRole) -> Option<Role> {
        let owner = row.organization_id.unwrap_or_default();
        Some(Role {
            id: own(row.id, Path::new(Kind::Role, Some(owner), &row.name)),
            organization: row.organization_id.map(|id| self.organization(id)),
            site_permissions: permissions(row.site_permissions)?,
            organization_permissions: permissions(row.org_permissions)?,
            user_permissions: permissions(row.user_permissions)?,
            name: row.name,
        })
    }

    fn template(&mut self, row: fleet::Template) -> Template {
        self.templates.insert(row.id, (row.organization_id, row.name.clone()));
        Template {
            id: own(row.id, Path::new(Kind::Template, Some(row.organization_id), &row.name)),
            organization: self.organization(row.organization_id),
            name: row.name,
            max_port_sharing_level: row.max_port_sharing_level,
            cors_behavior: row.cors_behavior,
            deleted: row.deleted,
        }
    }

    /// The entry of a workspace; `None` if an access list is more than lists of actions
    fn workspace(&self, row: fleet::Workspace, within: &mut Within) -> Option<Workspace> {
        let organization = row.organization_id;
        let shared_with = SharedWith {
            users: acl(&row.user_acl, |id| self.user_name(id))?,
            groups: acl(&row.group_acl, |id| within_organization(&self.groups, organization, id))?,
        };
        let mut builds = within.builds.remove(&row.id).unwrap_or_default();
        builds.sort_by_key(|build| build.build_number);
        let builds = builds.into_iter().map(|build| self.build(build, within)).collect();
        let mut shares = within.shares.remove(&row.id).unwrap_or_default();
        shares.sort_by(|a, b| (&a.agent_name, a.port).cmp(&(&b.agent_name, b.port)));
        let share = |share: fleet::WorkspaceAgentPortShare| {
            Some(PortShare {
                agent: share.agent_name,
                port: u16::try_from(share.port).ok()?,
                level: share.share_level,
                protocol: share.protocol,
            })
        };
        let people = within.people.remove(&row.id).unwrap_or_default();
        let name = row.name.to_lowercase();
        let template = Some(row.template_id).filter(|id| !id.is_nil());
        Some(Workspace {
            id: own(row.id, Path::new(Kind::Workspace, Some(row.owner_id), &name)),
            name: row.name,
            owner: self.user_name(row.owner_id),
            organization: self.organization(organization),
            template: template.map(|id| within_organization(&self.templates, organization, id)),
            deleted: row.deleted,
            dormant_at: row.dormant_at,
            shared_with,
            builds,
            port_shares: Some(shares.into_iter().filter_map(share).collect()),
            shares: Some(self.shares(organization, people)),
        })
    }

    fn shares(&self, organization: Uuid, rows: Vec<fleet::Share>) -> Vec<Share> {
        let mut shares: BTreeMap<(String, String), Share> = BTreeMap::new();
        for row in rows {
            let key = (row.agent_name.clone(), row.slug_or_port.clone());
            let share = shares.entry(key).or_insert_with(|| Share {
                agent: row.agent_name,
                app: row.slug_or_port,
                users: Vec::new(),
                groups: Vec::new(),
            });
            match row.is_group {
                true => {
                    share.groups.push(within_organization(
                        &self.groups,
                        organization,
                        row.person_id,
                    ));
                }
                false => share.users.push(self.user_name(row.person_id)),
            }
        }
        let sorted = shares.into_values().map(|mut share| {
            share.users.sort_unstable();
            share.groups.sort_unstable();
            share
        });
        sorted.collect()
    }

    fn build(&self, row: fleet::WorkspaceBuild, within: &mut Within) -> Build {
        let number = row.build_number.to_string();
        let of_build = [&*row.id.to_string()];
        let resources = within.resources.remove(&row.job_id).unwrap_or_default();
        let of_resource = |id| within.agents.remove(id).unwrap_or_default();
        let mut agents: Vec<_> = resources.iter().flat_map(of_resource).collect();
        agents.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        let resource = derived(Kind::Resource, &of_build);
        let agents = agents.into_iter().map(|agent| Agent {
            resource: Some(agent.resource_id).filter(|id| *id != resource),
            ..self.agent(agent, row.id, within)
        });
        Build {
            id: own(row.id, Path::new(Kind::Build, Some(row.workspace_id), &number)),
            number: row.build_number,
            job: Some(row.job_id).filter(|job| *job != derived(Kind::Job, &of_build)),
            transition: row.transition,
            created_at: Some(row.created_at),
            agents: agents.collect(),
        }
    }

    fn agent(&self, row: fleet::WorkspaceAgent, build: Uuid, within: &mut Within) -> Agent {
        let times = [row.first_connected_at, row.last_connected_at];
        let is_connected = times == [Some(FOREVER); 2] && row.disconnected_at.is_none();
        let mut apps = within.apps.remove(&row.id).unwrap_or_default();
        apps.sort_by(|a, b| a.slug.cmp(&b.slug));
        Agent {
            id: own(row.id, Path::new(Kind::Agent, Some(build), &row.name)),
            instance_id: row.auth_instance_id,
            token: (self.secrets == Secrets::Write).then_some(row.auth_token),
            parent: row.parent_id,
            resource: None,
            connected: is_connected.then_some(true),
            deleted: row.deleted,
            apps: Some(apps.into_iter().map(app).collect()),
            name: row.name,
        }
    }

    fn organization(&self, id: Uuid) -> String {
        self.organizations.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    fn user_name(&self, id: Uuid) -> String {
        self.users.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }
}

fn app(row: fleet::WorkspaceApp) -> App {
    App {
        id: own(row.id, Path::new(Kind::App, Some(row.agent_id), &row.slug)),
        display_name: (row.display_name != row.slug).then_some(row.display_name),
        slug: row.slug,
        url: row.url,
        command: row.command,
        external: row.external,
        subdomain: row.subdomain,
        sharing_level: row.sharing_level,
        health: row.health,
        hidden: row.hidden,
    }
}

/// The id of an entry, unless an import derives it from the name
fn own(id: Uuid, name: Path<'_>) -> Option<Uuid> {
    Some(id).filter(|id| *id != name.derived())
}

/// A name that is unique within an organization, or the id if it belongs to another one
fn within_organization(
    names: &HashMap<Uuid, (Uuid, String)>,
    organization: Uuid,
    id: Uuid,
) -> String {
    match names.get(&id) {
        Some((of, name)) if *of == organization => name.clone(),
        _ => id.to_string(),
    }
}

/// The permissions of a role; `None` if an import would store them in another form
fn permissions(stored: Value) -> Option<Vec<Permission>> {
    let permissions: Vec<Permission> = serde_json::from_value(stored.clone()).ok()?;
    let again: Vec<_> = permissions
        .iter()
        .map(|Permission { negate, resource_type, action }| {
            json!({ "negate": negate, "resource_type": resource_type, "action": action })
        })
        .collect();
    (Value::Array(again) == stored).then_some(permissions)
}

fn acl(stored: &Value, name: impl Fn(Uuid) -> String) -> Option<BTreeMap<String, Access>> {
    let entry = |(id, entry): (&String, &Value)| {
        let parsed = Uuid::try_parse(id).ok().filter(|parsed| parsed.to_string() == *id)?;
        Some((name(parsed), Access::of_stored(entry)?))
    };
    stored.as_object()?.iter().map(entry).collect()
}

fn left_out(list: &str, name: &str, what: &str) -> Warning {
    let text =
        format!("`{}` is left out: a document cannot describe its {what}", name.escape_debug());
    Warning { path: list.to_owned(), text }
}

fn grouped<R>(rows: Vec<R>, of: impl Fn(&R) -> Uuid) -> HashMap<Uuid, Vec<R>> {
    let mut groups: HashMap<Uuid, Vec<R>> = HashMap::new();
    rows.into_iter().for_each(|row| groups.entry(of(&row)).or_default().push(row));
    groups
}
