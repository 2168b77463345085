use app_authz::credential::SessionToken;
use app_authz::proxy::ProxyToken;
use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use super::rows::empty_object;
use super::{
    ApiKey, Digest, Fleet, Group, GroupMember, JobType, KeyScope, LifecycleState, LoginType,
    Organization, OrganizationMember, ProvisionerJob, SharingLevel, Template, Token, Transition,
    User, UserStatus, Workspace, WorkspaceAgent, WorkspaceApp, WorkspaceBuild, WorkspaceProxy,
    WorkspaceResource,
};

/// A build and the one resource it made
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewBuild {
    /// Primary key of the build
    pub id: Uuid,
    /// Primary key of its resource, which agents belong to
    pub resource: Uuid,
}

/// Methods that add rows: each row refers to what earlier calls returned, and each build is an
/// hour younger than the one before
///
/// Ids and tokens are random, so that several fleets fit into one store.
impl Fleet {
    /// Adds an organization
    pub fn organization(&mut self, name: &str) -> Uuid {
        let id = Uuid::new_v4();
        self.organizations.push(Organization {
            id,
            name: name.to_owned(),
            deleted: false,
            default_org_member_roles: Vec::new(),
        });
        id
    }

    /// Adds an active user who is a member of `organization`
    pub fn user(&mut self, name: &str, organization: Uuid) -> Uuid {
        let id = Uuid::new_v4();
        let now = self.now();
        self.users.push(User {
            id,
            username: name.to_owned(),
            email: format!("{name}@example.com"),
            status: UserStatus::Active,
            deleted: false,
            rbac_roles: Vec::new(),
            login_type: LoginType::Password,
            is_system: false,
            is_service_account: false,
            last_seen_at: now,
            created_at: now,
            updated_at: now,
        });
        let roles = Vec::new();
        self.organization_members.push(OrganizationMember {
            organization_id: organization,
            user_id: id,
            roles,
        });
        id
    }

    /// Adds a group of `organization` with these members
    pub fn group(&mut self, name: &str, organization: Uuid, members: &[Uuid]) -> Uuid {
        let id = Uuid::new_v4();
        self.groups.push(Group { id, name: name.to_owned(), organization_id: organization });
        let member = |user: &Uuid| GroupMember { user_id: *user, group_id: id };
        self.group_members.extend(members.iter().map(member));
        id
    }

    /// Adds a session of `user` that expires after a century, and returns its token
    ///
    /// Its row is the last of [`api_keys`](Self::api_keys), and may be changed further.
    pub fn session(&mut self, user: Uuid) -> SessionToken {
        let token = SessionToken::generate(fill);
        let now = self.now();
        self.api_keys.push(ApiKey {
            id: token.id().to_owned(),
            hashed_secret: Digest(token.secret_digest().to_vec()),
            user_id: user,
            last_used: now,
            expires_at: now + Duration::days(36_500),
            created_at: now,
            updated_at: now,
            login_type: LoginType::Password,
            lifetime_seconds: 86_400,
            token_name: String::new(),
            scopes: vec![KeyScope::all()],
            allow_list: vec!["*:*".to_owned()],
        });
        token
    }

    /// Adds a registered proxy, and returns its token
    pub fn proxy(&mut self, name: &str, url: &str, wildcard_hostname: &str) -> ProxyToken {
        let id = Uuid::new_v4();
        let token = ProxyToken::generate(id, fill);
        self.workspace_proxies.push(WorkspaceProxy {
            id,
            name: name.to_owned(),
            url: url.to_owned(),
            wildcard_hostname: wildcard_hostname.to_owned(),
            token_hashed_secret: Digest(token.secret_digest().to_vec()),
            deleted: false,
        });
        token
    }

    /// Adds a workspace of `owner` in the owner's organization, with a template of its own
    pub fn workspace(&mut self, owner: Uuid, name: &str) -> Uuid {
        let organization_id = self
            .organization_members
            .iter()
            .find(|member| member.user_id == owner)
            .map_or_else(Uuid::nil, |member| member.organization_id);
        let template_id = Uuid::new_v4();
        self.templates.push(Template {
            id: template_id,
            organization_id,
            // Names of templates are unique in an organization, those of workspaces are not.
            name: format!("{name}-{}", self.templates.len()),
            max_port_sharing_level: SharingLevel::Owner,
            cors_behavior: Default::default(),
            deleted: false,
            user_acl: empty_object(),
            group_acl: empty_object(),
        });
        let id = Uuid::new_v4();
        self.workspaces.push(Workspace {
            id,
            owner_id: owner,
            organization_id,
            template_id,
            name: name.to_owned(),
            deleted: false,
            dormant_at: None,
            user_acl: empty_object(),
            group_acl: empty_object(),
            last_used_at: self.now(),
        });
        id
    }

    /// Adds the next build of `workspace`, with its job and one resource
    ///
    /// A [`Transition::Delete`] also marks the workspace as deleted.
    pub fn build(&mut self, workspace: Uuid, transition: Transition) -> NewBuild {
        let mut organization_id = Uuid::nil();
        let mut initiator_id = Uuid::nil();
        if let Some(workspace) = self.workspaces.iter_mut().find(|w| w.id == workspace) {
            workspace.deleted |= transition == Transition::Delete;
            organization_id = workspace.organization_id;
            initiator_id = workspace.owner_id;
        }
        let build_number = self
            .workspace_builds
            .iter()
            .filter(|build| build.workspace_id == workspace)
            .map(|build| build.build_number)
            .max()
            .map_or(1, |last| last + 1);
        let created_at = self.now() + Duration::hours(1);
        let id = Uuid::new_v4();
        let (job_id, resource) = self.job(JobType::WorkspaceBuild, organization_id, transition);
        self.workspace_builds.push(WorkspaceBuild {
            id,
            workspace_id: workspace,
            build_number,
            transition,
            job_id,
            template_version_id: Uuid::new_v4(),
            initiator_id,
            created_at,
        });
        NewBuild { id, resource }
    }

    /// Adds a job that is not a build, such as a template import, and returns its resource
    pub fn bare_job(&mut self, type_: JobType, organization: Uuid) -> Uuid {
        self.job(type_, organization, Transition::Start).1
    }

    /// Adds an agent of a resource; the returned row may be changed further
    ///
    /// The agent has never connected.
    pub fn agent(&mut self, resource: Uuid, name: &str, instance_id: &str) -> &mut WorkspaceAgent {
        let created_at = self.now();
        let agent = WorkspaceAgent {
            id: Uuid::new_v4(),
            parent_id: None,
            resource_id: resource,
            name: name.to_owned(),
            auth_token: Token(Uuid::new_v4()),
            auth_instance_id: Some(instance_id.to_owned()),
            created_at,
            first_connected_at: None,
            last_connected_at: None,
            disconnected_at: None,
            connection_timeout_seconds: 120,
            lifecycle_state: LifecycleState::Created,
            deleted: false,
        };
        self.workspace_agents.push(agent);
        let last = self.workspace_agents.len() - 1;
        &mut self.workspace_agents[last]
    }

    /// Adds an app of an agent; the returned row may be changed further
    pub fn app(&mut self, agent: Uuid, slug: &str) -> &mut WorkspaceApp {
        self.workspace_apps.push(WorkspaceApp {
            id: Uuid::new_v4(),
            agent_id: agent,
            slug: slug.to_owned(),
            display_name: slug.to_owned(),
            url: Some("http://127.0.0.1:8080".to_owned()),
            command: None,
            external: false,
            subdomain: false,
            sharing_level: SharingLevel::Owner,
            health: Default::default(),
            hidden: false,
        });
        let last = self.workspace_apps.len() - 1;
        &mut self.workspace_apps[last]
    }

    fn job(
        &mut self,
        type_: JobType,
        organization_id: Uuid,
        transition: Transition,
    ) -> (Uuid, Uuid) {
        let id = Uuid::new_v4();
        let completed_at = Some(self.now());
        self.provisioner_jobs.push(ProvisionerJob {
            id,
            type_,
            organization_id,
            input: empty_object(),
            completed_at,
            error: None,
        });
        let resource = Uuid::new_v4();
        self.workspace_resources.push(WorkspaceResource {
            id: resource,
            job_id: id,
            transition,
            type_: "virtual_machine".to_owned(),
            name: "main".to_owned(),
        });
        (id, resource)
    }

    /// When the newest build was created
    ///
    /// Not the clock's time: libraries read no clock.
    fn now(&self) -> DateTime<Utc> {
        self.workspace_builds.last().map_or(EPOCH, |build| build.created_at)
    }
}

/// Fills `bytes` from the same source as random ids
fn fill(bytes: &mut [u8]) {
    for chunk in bytes.chunks_mut(4) {
        // The first four bytes of an id are fully random.
        chunk.copy_from_slice(&Uuid::new_v4().as_bytes()[..chunk.len()]);
    }
}

/// 2025-01-01T00:00:00Z
const EPOCH: DateTime<Utc> = match DateTime::from_timestamp(1_735_689_600, 0) {
    Some(epoch) => epoch,
    None => DateTime::<Utc>::UNIX_EPOCH,
};
