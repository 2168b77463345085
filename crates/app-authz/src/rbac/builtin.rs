use std::sync::Arc;

use super::policy::{self, BuiltIn, Extent};
use super::role::{Levels, Role, RoleName};
use super::subject::OwnWorkspaces;

/// The roles every deployment has, as its switches leave them
///
/// Made once and kept: an expanded role shares the permissions held here.
#[derive(Clone, Debug)]
pub struct BuiltInRoles {
    roles: Vec<BuiltIn>,
    /// What members and service accounts of an organization hold, which depends on how it
    /// shares
    by_sharing: [[BuiltIn; 2]; 3],
    /// What `member` also holds where users have workspaces outside of organizations
    owner_outside: Arc<Role>,
}

impl BuiltInRoles {
    /// The roles under the given switches
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
                WorkspaceSharing::Nobody,
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

    /// The role of that name, or nothing
    ///
    /// A role of an organization needs one, a role of the deployment must have none;
    /// otherwise it is not found. `sharing` is the setting of the named organization.
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

    /// The roles behind `names`, the stored ones taken from `custom`
    ///
    /// A name that stands for nothing is dropped: a role may have been deleted while
    /// it was assigned. A stored role takes the name of a built-in one only if it is a
    /// [system role](Role::into_system) of an organization. Without such a role the built-in
    /// one counts, as it does where a release does not store it.
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

    /// What every user holds beside `member`, by where they have workspaces of their own
    pub(crate) fn of_own_workspaces(&self, own: OwnWorkspaces) -> Option<Arc<Role>> {
        match own {
            OwnWorkspaces::InOrganizations => None,
            OwnWorkspaces::Anywhere => Some(Arc::clone(&self.owner_outside)),
        }
    }

    /// Whether a bearer of the roles `held` may give `role` to somebody, or take it
    ///
    /// A role of an organization gives roles of that organization alone. What is not a
    /// role, such as an organization's without its id, nobody gives.
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

    /// The built-in names, those of the deployment and then those of organizations
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let of = |extent| {
            let all = self.roles.iter().chain(&self.by_sharing[0]);
            all.filter(move |role| role.extent == extent).map(|role| role.name)
        };
        of(Extent::Deployment).chain(of(Extent::Organization))
    }

    fn find(&self, name: &str, sharing: WorkspaceSharing) -> Option<&BuiltIn> {
        let [everyone, service_accounts, nobody] = &self.by_sharing;
        let by_sharing = match sharing {
            WorkspaceSharing::Everyone => everyone,
            WorkspaceSharing::ServiceAccounts => service_accounts,
            WorkspaceSharing::Nobody => nobody,
        };
        self.roles.iter().chain(by_sharing).find(|role| role.name == name)
    }
}

/// Deployment switches that change built-in roles; all are off by default
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Switches {
    /// Takes terminals and apps of other people's workspaces from `owner`
    pub disable_owner_workspace_access: bool,
    /// Denies everyone to share workspaces; their access lists must then be left out
    /// of the objects asked about
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

/// Whose workspaces an organization lets be shared
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkspaceSharing {
    /// Every member's
    #[default]
    Everyone,
    /// Those of service accounts, not of people
    ServiceAccounts,
    /// Nobody's
    Nobody,
}
