use std::collections::{BTreeMap, HashMap};
use std::mem;

use app_authz::app::Revocation;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::import::{All, rows_of};
use super::provider::OfProvider;
use super::refresh::Attempt;
use super::revocations::Watched;
use crate::Error;
use crate::fleet::{
    ApiKey, CryptoKey, CustomRole, Fleet, Group, LoginType, OrganizationMember, ProvisionerJob,
    Share, SharingLevel, Template, TemplateVersion, User, UserLink, Workspace, WorkspaceAgent,
    WorkspaceApp, WorkspaceBuild, WorkspaceProxy,
};
use crate::revocations::Entry;

/// The rows, by the keys of their look-ups
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) users: HashMap<Uuid, User>,
    /// By lower-case name, without deleted users
    pub(super) user_by_name: HashMap<String, Uuid>,
    pub(super) memberships: HashMap<Uuid, Vec<OrganizationMember>>,
    /// The roles that each member of an organization holds beside their own
    pub(super) default_roles: HashMap<Uuid, Vec<String>>,
    pub(super) groups: HashMap<Uuid, Vec<Uuid>>,
    pub(super) custom_roles: HashMap<(Option<Uuid>, String), CustomRole>,
    /// The users of identities at providers, by their links
    pub(super) identities: HashMap<String, Uuid>,
    /// The sign-ins at providers that sessions came from, by key
    pub(super) of_provider: HashMap<String, OfProvider>,
    /// Attempts to refresh the links
    pub(super) refreshes: HashMap<(Uuid, LoginType), Attempt>,
    pub(super) links: HashMap<(Uuid, LoginType), UserLink>,
    pub(super) keys: HashMap<String, ApiKey>,
    /// What keys were made from, by the id of the key
    pub(super) made: HashMap<String, Made>,
    /// The audiences of tokens of OAuth2 apps, by the key that each was issued with and by id
    pub(super) app_tokens: HashMap<String, BTreeMap<Uuid, Option<String>>>,
    pub(super) templates: HashMap<Uuid, Template>,
    pub(super) template_versions: HashMap<Uuid, TemplateVersion>,
    pub(super) version_by_job: HashMap<Uuid, Uuid>,
    pub(super) jobs: HashMap<Uuid, ProvisionerJob>,
    pub(super) workspaces: BTreeMap<Uuid, Workspace>,
    /// By owner and lower-case name, without deleted workspaces
    pub(super) workspace_by_name: HashMap<(Uuid, String), Uuid>,
    pub(super) build_by_job: HashMap<Uuid, WorkspaceBuild>,
    /// Build number and job
    pub(super) newest_build: HashMap<Uuid, (i32, Uuid)>,
    pub(super) job_by_resource: HashMap<Uuid, Uuid>,
    pub(super) resources_by_job: HashMap<Uuid, Vec<Uuid>>,
    pub(super) agents: HashMap<Uuid, WorkspaceAgent>,
    pub(super) agents_by_resource: HashMap<Uuid, Vec<Uuid>>,
    pub(super) agents_by_instance: HashMap<String, Vec<WorkspaceAgent>>,
    /// By agent and slug
    pub(super) apps: HashMap<Uuid, BTreeMap<String, WorkspaceApp>>,
    /// By workspace, number and agent name
    pub(super) port_shares: HashMap<(Uuid, i32), BTreeMap<String, SharingLevel>>,
    /// The users and groups with whom apps and ports are shared, by workspace
    pub(super) shares: BTreeMap<Uuid, Vec<Share>>,
    /// What visitors were let into
    pub(super) watched: Vec<Watched>,
    /// The shares that were withdrawn since the last question what has ended
    pub(super) withdrawn: Vec<Revocation>,
    /// What has ended, as it was found out
    pub(super) log: Vec<Entry>,
    /// By name
    pub(super) proxies: BTreeMap<String, WorkspaceProxy>,
    pub(super) crypto_keys: Vec<CryptoKey>,
    /// All rows as they were loaded; only API keys, crypto keys and shares change otherwise
    loaded: Fleet,
}

/// That a key was made from a session
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) parent: String,
    pub(super) user: Uuid,
    pub(super) at: DateTime<Utc>,
    /// Whether its browser has it
    pub(super) is_given: bool,
}

impl Tables {
    /// Replaces all rows that an import can have, and nothing that authd has noted beside them
    pub(super) fn replace(&mut self, fleet: &Fleet) {
        let before = mem::take(self);
        let Self { identities, of_provider, refreshes, made, watched, withdrawn, log, .. } = before;
        let noted = Self { watched, withdrawn, log, ..Self::default() };
        *self = Self { identities, of_provider, refreshes, made, ..noted };
        self.load(fleet);
        let remains = |share: &&Share| fleet.authd_shares.iter().any(|now| is_same(now, share));
        self.note_withdrawn(before.shares.values().flatten().filter(|share| !remains(share)));
    }

    pub(super) fn load(&mut self, fleet: &Fleet) {
        self.loaded.extend(fleet);
        self.load_people(fleet);
        self.load_workspaces(fleet);
        self.load_agents(fleet);
        for proxy in fleet.workspace_proxies.iter().filter(|proxy| !proxy.deleted) {
            self.proxies.insert(proxy.name.clone(), proxy.clone());
        }
        for key in &fleet.crypto_keys {
            self.crypto_keys
                .retain(|old| (old.feature, old.sequence) != (key.feature, key.sequence));
            self.crypto_keys.push(key.clone());
        }
    }

    fn load_people(&mut self, fleet: &Fleet) {
        for user in &fleet.users {
            if !user.deleted {
                self.user_by_name.insert(user.username.to_lowercase(), user.id);
            }
            self.users.insert(user.id, user.clone());
        }
        for organization in &fleet.organizations {
            let roles = organization.default_org_member_roles.clone();
            self.default_roles.insert(organization.id, roles);
        }
        for member in &fleet.organization_members {
            let memberships = self.memberships.entry(member.user_id).or_default();
            memberships.retain(|old| old.organization_id != member.organization_id);
            memberships.push(member.clone());
        }
        for member in &fleet.group_members {
            let groups = self.groups.entry(member.user_id).or_default();
            groups.retain(|old| *old != member.group_id);
            groups.push(member.group_id);
        }
        for role in &fleet.custom_roles {
            self.custom_roles.insert((role.organization_id, role.name.clone()), role.clone());
        }
        for link in &fleet.user_links {
            self.links.insert((link.user_id, link.login_type), link.clone());
        }
        for key in &fleet.api_keys {
            self.keys.insert(key.id.clone(), key.clone());
        }
        for token in &fleet.oauth2_provider_app_tokens {
            let tokens = self.app_tokens.entry(token.api_key_id.clone()).or_default();
            tokens.insert(token.id, token.audience.clone());
        }
    }

    fn load_workspaces(&mut self, fleet: &Fleet) {
        for template in &fleet.templates {
            self.templates.insert(template.id, template.clone());
        }
        for version in &fleet.template_versions {
            self.version_by_job.insert(version.job_id, version.id);
            self.template_versions.insert(version.id, version.clone());
        }
        for job in &fleet.provisioner_jobs {
            self.jobs.insert(job.id, job.clone());
        }
        for workspace in &fleet.workspaces {
            if !workspace.deleted {
                let name = (workspace.owner_id, workspace.name.to_lowercase());
                self.workspace_by_name.insert(name, workspace.id);
            }
            self.workspaces.insert(workspace.id, workspace.clone());
        }
        for build in &fleet.workspace_builds {
            let newest = (build.build_number, build.job_id);
            let known = self.newest_build.entry(build.workspace_id).or_insert(newest);
            if known.0 <= build.build_number {
                *known = newest;
            }
            self.build_by_job.insert(build.job_id, build.clone());
        }
        for resource in &fleet.workspace_resources {
            self.job_by_resource.insert(resource.id, resource.job_id);
            let resources = self.resources_by_job.entry(resource.job_id).or_default();
            resources.retain(|old| *old != resource.id);
            resources.push(resource.id);
        }
    }

    fn load_agents(&mut self, fleet: &Fleet) {
        for agent in &fleet.workspace_agents {
            if agent.parent_id.is_none()
                && !agent.deleted
                && let Some(instance_id) = &agent.auth_instance_id
            {
                let agents = self.agents_by_instance.entry(instance_id.clone()).or_default();
                agents.push(agent.clone());
            }
            let agents = self.agents_by_resource.entry(agent.resource_id).or_default();
            agents.retain(|old| *old != agent.id);
            agents.push(agent.id);
            self.agents.insert(agent.id, agent.clone());
        }
        for app in &fleet.workspace_apps {
            let apps = self.apps.entry(app.agent_id).or_default();
            apps.insert(app.slug.clone(), app.clone());
        }
        for share in &fleet.workspace_agent_port_share {
            let shares = self.port_shares.entry((share.workspace_id, share.port)).or_default();
            shares.insert(share.agent_name.clone(), share.share_level);
        }
        for share in &fleet.authd_shares {
            self.add_share(share.clone());
        }
    }

    pub(super) fn all_groups(&self) -> impl Iterator<Item = &Group> {
        self.loaded.groups.iter()
    }

    /// The organizations that a new user joins: that of the name, or the only one
    pub(super) fn homes(&self, name: &str) -> Vec<Uuid> {
        let there: BTreeMap<Uuid, &str> = self
            .loaded
            .organizations
            .iter()
            .filter(|organization| !organization.deleted)
            .map(|organization| (organization.id, &*organization.name))
            .collect();
        let is_home = |known: &str| known == name || there.len() == 1;
        there.iter().filter(|(_, known)| is_home(known)).map(|(id, _)| *id).collect()
    }

    /// Removes a user from groups
    pub(super) fn leave_groups(&mut self, user: Uuid, left: &[Uuid]) {
        if let Some(groups) = self.groups.get_mut(&user) {
            groups.retain(|group| !left.contains(group));
        }
        let members = &mut self.loaded.group_members;
        members.retain(|member| member.user_id != user || !left.contains(&member.group_id));
    }

    /// Adds a share, unless it exists
    fn add_share(&mut self, share: Share) {
        let shares = self.shares.entry(share.workspace_id).or_default();
        if shares.iter().all(|old| !is_same(old, &share)) {
            shares.push(share);
        }
    }

    /// The name of a user who is not deleted
    pub(super) fn username(&self, id: Uuid) -> Option<String> {
        let user = self.users.get(&id).filter(|user| !user.deleted);
        user.map(|user| user.username.clone())
    }

    /// All rows, by table and key
    pub(super) fn rows(&self) -> Result<All, Error> {
        let mut fleet = self.loaded.clone();
        fleet.api_keys = self.keys.values().cloned().collect();
        fleet.crypto_keys.clone_from(&self.crypto_keys);
        fleet.authd_shares = self.shares.values().flatten().cloned().collect();
        rows_of(&fleet)
    }

    pub(super) fn build_of(&self, agent: &WorkspaceAgent) -> Option<&WorkspaceBuild> {
        self.build_by_job.get(self.job_by_resource.get(&agent.resource_id)?)
    }

    pub(super) fn is_newest(&self, build: &WorkspaceBuild) -> bool {
        let newest = self.newest_build.get(&build.workspace_id);
        newest.is_some_and(|(number, _)| *number == build.build_number)
    }
}

/// Whether two rows have one key
fn is_same(one: &Share, other: &Share) -> bool {
    (one.workspace_id, &one.agent_name, &one.slug_or_port, one.is_group, one.person_id)
        == (
            other.workspace_id,
            &other.agent_name,
            &other.slug_or_port,
            other.is_group,
            other.person_id,
        )
}
