use std::sync::Arc;

use super::policy::{self, BuiltIn, Extent};
use super::role::{Levels, Role, RoleName};
use super::subject::OwnWorkspaces;

/// The built-in roles of a deployment, as its switches change them
///
/// Build it once and keep it: expanded roles share its permissions.
#[derive(Clone, Debug)]
pub struct BuiltInRoles {
    roles: Vec<BuiltIn>,
    /// The roles of members and of service accounts of an organization, by how it shares
    by_sharing: [[BuiltIn; 2]; 3],
    /// What `member` also grants where users have workspaces outside of organizations
    owner_outside: Arc<Role>,
}

impl BuiltInRoles {
    /// The built-in roles with these switches
    #[must_use]
    pub fn new(switches: Switches) -> Self {
        Self {
            roles: vec![
                policy::owner(switches),
                policy::member(switches),
                policy::auditor(),
                policy::template_admin(),
                policy::user_admin(),
                policy::organization_admin(),
                policy::organization_auditor(),
                policy::organization_user_admin(),
                policy::organization_template_admin(),
                policy::organization_workspace_creation_ban(),
                policy::organization_workspace_access(),
                policy::agents_access(),
            ],
            by_sharing: [
                WorkspaceSharing::Everyone,
                WorkspaceSharing::ServiceAccounts,
                WorkspaceSharing::None,
            ]
            .map(|sharing| {
                [
                    policy::organization_member(sharing),
                    policy::organization_service_account(sharing),
                ]
            }),
            owner_outside: Arc::new(policy::owner_outside()),
        }
    }

    /// The built-in role of that name, if there is one
    ///
    /// The name of an organization role must have an organization, and the name of a
    /// deployment role must not. `sharing` is the setting of the organization.
    #[must_use]
    pub fn role(&self, name: &RoleName, sharing: WorkspaceSharing) -> Option<Role> {
        let role = self.find(name.name(), sharing)?;
        let mut levels = Levels { user: role.user.clone(), ..Levels::site(role.site.clone()) };
        match (role.extent, name.organization()) {
            (Extent::Deployment, None) => {}
            (Extent::Organization, Some(organization)) => {
                levels =
                    levels.with_organization(organization, role.org.clone(), role.member.clone());
            }
            _ => return None,
        }
        Some(Role::new(name.clone(), levels))
    }

    /// The roles with these names, of which the stored ones are in `custom`
    ///
    /// Unknown names are skipped: a role may be deleted while it is assigned. A stored role
    /// replaces a built-in one of the same name only if it is a
    /// [system role](Role::into_system) of an organization. Releases that do not store such
    /// roles get the built-in ones.
    #[must_use]
    pub fn expand<'a>(
        &self,
        names: impl IntoIterator<Item = (&'a RoleName, WorkspaceSharing)>,
        custom: &[Arc<Role>],
    ) -> Vec<Arc<Role>> {
        let expand = |(name, sharing): (&RoleName, WorkspaceSharing)| {
            let mut stored = custom.iter().filter(|role| role.name() == name);
            let Some(built_in) = self.find(name.name(), sharing) else {
                return stored.next().cloned();
            };
            let of_organization =
                built_in.extent == Extent::Organization && name.organization().is_some();
            let system = stored.find(|role| of_organization && role.is_system());
            system.cloned().or_else(|| self.role(name, sharing).map(Arc::new))
        };
        names.into_iter().filter_map(expand).collect()
    }

    /// The role that every user has beside `member`, by where users may have workspaces
    pub(crate) fn of_own_workspaces(&self, own: OwnWorkspaces) -> Option<Arc<Role>> {
        match own {
            OwnWorkspaces::InOrganizations => None,
            OwnWorkspaces::Anywhere => Some(Arc::clone(&self.owner_outside)),
        }
    }

    /// Whether a user with the roles `held` may assign `role` to a user or remove it
    ///
    /// A role of an organization may only assign roles of that organization. A name that
    /// cannot be a role cannot be assigned, such as an organization role without its
    /// organization.
    #[must_use]
    pub fn can_assign<'a>(
        &self,
        held: impl IntoIterator<Item = &'a RoleName>,
        role: &RoleName,
    ) -> bool {
        const ORGANIZATION_MEMBER: &str = "organization-member";

        let sharing = WorkspaceSharing::default();
        let reserved = self.find(role.name(), sharing).is_some() || role.name() == policy::SYSTEM;
        if reserved && self.role(role, sharing).is_none() {
            return false;
        }
        held.into_iter().any(|held| match (held.name(), held.organization()) {
            ("owner" | policy::SYSTEM, None) => true,
            ("user-admin", None) => matches!(role.name(), "member" | ORGANIZATION_MEMBER),
            ("organization-admin", Some(own)) => role.organization() == Some(own),
            ("organization-user-admin", Some(own)) => {
                role.organization() == Some(own) && role.name() == ORGANIZATION_MEMBER
            }
            _ => false,
        })
    }

    /// The names of the built-in roles, those of the deployment before those of organizations
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let of = |extent| {
            let all = self.roles.iter().chain(&self.by_sharing[0]);
            all.filter(move |role| role.extent == extent).map(|role| role.name)
        };
        of(Extent::Deployment).chain(of(Extent::Organization))
    }

    fn find(&self, name: &str, sharing: WorkspaceSharing) -> Option<&BuiltIn> {
        let [everyone, service_accounts, none] = &self.by_sharing;
        let by_sharing = match sharing {
            WorkspaceSharing::Everyone => everyone,
            WorkspaceSharing::ServiceAccounts => service_accounts,
            WorkspaceSharing::None => none,
        };
        self.roles.iter().chain(by_sharing).find(|role| role.name == name)
    }
}

/// Settings of a deployment that change built-in roles; all are off by default
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Switches {
    /// `owner` does not grant access to terminals and apps of other users' workspaces
    pub disable_owner_workspace_access: bool,
    /// Users may not share workspaces
    ///
    /// The caller must then also leave the access lists out of objects
    /// ([`Rules::disable_workspace_sharing`](crate::Rules::disable_workspace_sharing) does).
    pub disable_workspace_sharing: bool,
}

impl Switches {
    /// The same switches, with
    /// [`disable_owner_workspace_access`](Self::disable_owner_workspace_access) as given
    #[must_use]
    pub const fn disable_owner_workspace_access(mut self, disable: bool) -> Self {
        self.disable_owner_workspace_access = disable;
        self
    }

    /// The same switches, with
    /// [`disable_workspace_sharing`](Self::disable_workspace_sharing) as given
    #[must_use]
    pub const fn disable_workspace_sharing(mut self, disable: bool) -> Self {
        self.disable_workspace_sharing = disable;
        self
    }
}

/// The owners who may share their workspaces in an organization
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkspaceSharing {
    /// All members
    #[default]
    Everyone,
    /// Service accounts, but not people
    ServiceAccounts,
    /// None
    None,
}
