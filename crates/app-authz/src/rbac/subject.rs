use std::ops::Range;
use std::sync::Arc;

use uuid::Uuid;

use super::permission::{Pool, Query, Vote};
use super::{
    Action, BuiltInRoles, Levels, Object, OrgOwner, ResourceType, Role, RoleName, Scope,
    WorkspaceSharing, policy,
};
use crate::id::{GroupId, OrganizationId, UserId};

/// The subject of decisions: a user's roles and groups, limited to the scope of a credential
///
/// Building one prepares it, so that a decision is a few tests of bit masks and a lookup,
/// without an allocation.
#[derive(Clone, Debug)]
pub struct Subject {
    pub(super) id: UserId,
    pub(super) groups: Vec<GroupId>,
    pub(super) roles: Vec<Arc<Role>>,
    pub(super) scope: Arc<Scope>,
    /// The organizations for which a role has an entry, in ascending order
    pub(super) memberships: Vec<OrganizationId>,
    pub(super) granted: Pooled,
    pub(super) scoped: Pooled,
    own_workspaces: OwnWorkspaces,
}

impl Subject {
    /// The user `id` with these roles, limited to `scope`, without groups
    #[must_use]
    pub fn new(
        id: UserId,
        roles: impl IntoIterator<Item = Arc<Role>>,
        scope: impl Into<Arc<Scope>>,
    ) -> Self {
        let roles: Vec<Arc<Role>> = roles.into_iter().collect();
        let scope = scope.into();

        let keys = roles.iter().flat_map(|role| &role.levels.organizations).map(|(id, _)| *id);
        let mut memberships: Vec<OrganizationId> = keys.collect();
        memberships.sort_unstable();
        memberships.dedup();

        let granted = Pooled::of(roles.iter().map(|role| &role.levels), &memberships);
        let scoped = Pooled::of([&scope.levels], &memberships);
        Self {
            id,
            groups: Vec::new(),
            roles,
            scope,
            memberships,
            granted,
            scoped,
            own_workspaces: OwnWorkspaces::default(),
        }
    }

    /// A user whom the embedding host has signed in by its own means, with these built-in roles
    /// beside `member`, limited to `scope`
    ///
    /// For hosts without [session tokens](crate::credential::SessionToken). The caller answers for
    /// the user: that the account exists and is active, and that the roles are the user's. That is
    /// not checked here. For a member of an organization the roles must have
    /// [`organization-member`](RoleName::organization_member) there, or the user does not count
    /// as a member. Names that are not built in are skipped; for stored roles, expand all names
    /// with [`BuiltInRoles::expand`] and call [`new`](Self::new).
    ///
    /// Such a host calls [`Directory::app_access`](crate::Directory::app_access) without tokens,
    /// [`resolve`](crate::resolve) with the workspace that it answers, and
    /// [`decide`](crate::decide) with this subject:
    ///
    /// ```
    /// use app_authz::rbac::{BuiltInRoles, RoleName, Scope, Subject};
    /// use app_authz::id::OrganizationId;
    /// use app_authz::{AppRequest, Directory, Permit, Rules, UserId, decide, resolve};
    ///
    /// async fn open<D: Directory>(
    ///     directory: &D,
    ///     roles: &BuiltInRoles,
    ///     request: &AppRequest,
    ///     (user, organization): (UserId, OrganizationId),
    /// ) -> Result<(), Box<dyn std::error::Error>> {
    ///     let facts = directory.app_access(request, &[]).await?;
    ///     let held = [RoleName::organization_member(organization)];
    ///     let subject = Subject::assume_signed_in(user, &held, roles, Scope::all());
    ///     let rules = Rules::default();
    ///     let target = resolve(request, facts.workspace.as_deref(), rules)?;
    ///     let permit: Permit<'_> = decide(&target, Some(&subject), rules)?;
    ///     println!("open {}", permit.target().url());
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn assume_signed_in<'a>(
        user: UserId,
        roles: impl IntoIterator<Item = &'a RoleName>,
        built_in: &BuiltInRoles,
        scope: impl Into<Arc<Scope>>,
    ) -> Self {
        static MEMBER: RoleName = RoleName::MEMBER;

        let others = roles.into_iter().filter(|name| **name != MEMBER);
        let names = std::iter::once(&MEMBER).chain(others);
        let names = names.map(|name| (name, WorkspaceSharing::default()));
        Self::new(user, built_in.expand(names, &[]), scope)
    }

    /// The system itself, for actions that are not on behalf of a user
    ///
    /// It may read everything and write what the control plane maintains, but may not open
    /// apps. Its id is the nil UUID, and its role cannot be assigned to users.
    #[must_use]
    pub fn system_restricted() -> Self {
        Self::new(UserId(Uuid::nil()), [Arc::new(policy::system())], Scope::all())
    }

    /// The same subject with these groups
    #[must_use]
    pub fn with_groups(mut self, groups: impl IntoIterator<Item = GroupId>) -> Self {
        self.groups = groups.into_iter().collect();
        self
    }

    /// The same subject in a deployment where users may have workspaces as `own` says
    #[must_use]
    pub const fn with_own_workspaces(mut self, own: OwnWorkspaces) -> Self {
        self.own_workspaces = own;
        self
    }

    /// The id of the user
    #[must_use]
    pub const fn id(&self) -> UserId {
        self.id
    }

    /// The expanded roles of the user
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.iter().map(|role| &**role)
    }

    /// Whether one of the roles has this name
    #[must_use]
    pub fn holds(&self, role: &RoleName) -> bool {
        self.roles().any(|held| held.name() == role)
    }

    /// Whether the user is a member of the organization; entries of the scope do not count
    #[must_use]
    pub fn is_member_of(&self, organization: OrganizationId) -> bool {
        self.membership(organization).is_some()
    }

    /// Whether the user is in the group
    pub(crate) fn is_in(&self, group: GroupId) -> bool {
        self.groups.contains(&group)
    }

    /// A hypothetical workspace that the subject owns
    ///
    /// It does not have an id, so a scope that is limited to ids does not permit it.
    pub(crate) fn hypothetical_workspace(&self) -> Object<'static> {
        let own = Object::new(ResourceType::Workspace).owner(self.id);
        match self.own_workspaces {
            OwnWorkspaces::InOrganizations => own.any_organization(),
            OwnWorkspaces::Anywhere => own,
        }
    }

    /// Whether the scope permits nothing at all
    pub(crate) fn may_nothing(&self) -> bool {
        self.scope.is_nothing()
    }

    /// Whether the scope grants `action` at the site level on objects of the type
    ///
    /// The allow list of the scope is not checked.
    pub(crate) fn scope_grants(&self, action: &Action, kind: &ResourceType) -> bool {
        self.scoped.site.vote(&Query::new(action, kind)) == Vote::Grant
    }

    /// Whether the subject may do `action` to `object`
    ///
    /// [`explain`](Self::explain) says why.
    #[must_use]
    pub fn is_allowed(&self, action: &Action, object: &Object<'_>) -> bool {
        let query = Query::new(action, &object.kind);
        self.scope.allow_list.fits(object)
            && self.verdict(&self.scoped, &query, object).allowed
            && (self.verdict(&self.granted, &query, object).allowed
                || self.access(action, object).is_some())
    }

    /// The verdict of one side, the roles or the scope: the first level with an opinion decides
    pub(super) fn verdict(&self, side: &Pooled, query: &Query<'_>, object: &Object<'_>) -> Verdict {
        match side.site.vote(query) {
            Vote::Grant => return Verdict::allowed(Level::Site, None),
            Vote::Deny => return Verdict::denied(Level::Site, None),
            Vote::Abstain => {}
        }
        let owned = object.owner == Some(self.id);
        match object.org_owner {
            OrgOwner::None if owned => match side.user.vote(query) {
                Vote::Grant => Verdict::allowed(Level::User, None),
                Vote::Deny => Verdict::denied(Level::User, None),
                Vote::Abstain => Verdict::UNDECIDED,
            },
            OrgOwner::None => Verdict::UNDECIDED,
            OrgOwner::Of(organization) => match self.membership(organization) {
                Some(at) => side.in_organizations(query, owned, &self.memberships, at..at + 1),
                None => Verdict::UNDECIDED,
            },
            OrgOwner::Any => {
                let all = 0..self.memberships.len();
                side.in_organizations(query, owned, &self.memberships, all)
            }
        }
    }

    /// The entry of the object's access lists that grants the action, if one does
    pub(super) fn access(&self, action: &Action, object: &Object<'_>) -> Option<Access> {
        let acl = object.acl?;
        let organization = match object.org_owner {
            OrgOwner::None => return None,
            OrgOwner::Of(organization) => {
                self.membership(organization)?;
                Some(organization)
            }
            OrgOwner::Any if self.memberships.is_empty() => return None,
            OrgOwner::Any => None,
        };
        if acl.of_user(self.id, action) {
            return Some(Access::User(self.id));
        }
        if let Some(group) = self.groups.iter().find(|group| acl.of_group(**group, action)) {
            return Some(Access::Group(*group));
        }
        organization.filter(|id| acl.of_everyone(*id, action)).map(Access::Everyone)
    }

    pub(super) fn membership(&self, organization: OrganizationId) -> Option<usize> {
        self.memberships.binary_search(&organization).ok()
    }
}

/// The permissions of one side by level: all roles, or the scope alone
#[derive(Clone, Debug)]
pub(super) struct Pooled {
    pub(super) site: Pool,
    pub(super) user: Pool,
    /// Permissions in organizations, in the order of the subject's memberships
    pub(super) organizations: Vec<OrganizationPools>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct OrganizationPools {
    pub(super) org: Pool,
    pub(super) member: Pool,
}

impl Pooled {
    fn of<'a>(
        levels: impl IntoIterator<Item = &'a Levels>,
        memberships: &[OrganizationId],
    ) -> Self {
        let organizations = vec![OrganizationPools::default(); memberships.len()];
        let mut pooled = Self { site: Pool::Empty, user: Pool::Empty, organizations };
        for levels in levels {
            pooled.site.add(&levels.site);
            pooled.user.add(&levels.user);
            for (organization, permissions) in &levels.organizations {
                if let Ok(at) = memberships.binary_search(organization) {
                    pooled.organizations[at].org.add(&permissions.org);
                    pooled.organizations[at].member.add(&permissions.member);
                }
            }
        }
        pooled
    }

    /// The best vote of the organizations in `asked`, at organization level and then, for an
    /// owned object, at member level
    ///
    /// Of several organizations the best vote counts at each level, so the two votes may come
    /// from different organizations.
    fn in_organizations(
        &self,
        query: &Query<'_>,
        owned: bool,
        memberships: &[OrganizationId],
        asked: Range<usize>,
    ) -> Verdict {
        let best = |pool: fn(&OrganizationPools) -> &Pool| {
            let pools = self.organizations[asked.clone()].iter().map(pool);
            pools.map(|pool| pool.vote(query)).zip(&memberships[asked.clone()]).max()
        };
        match best(|pools| &pools.org) {
            Some((Vote::Grant, id)) => return Verdict::allowed(Level::Organization, Some(*id)),
            Some((Vote::Deny, id)) => return Verdict::denied(Level::Organization, Some(*id)),
            Some((Vote::Abstain, _)) | None => {}
        }
        match best(|pools| &pools.member) {
            Some((Vote::Grant, id)) if owned => Verdict::allowed(Level::Member, Some(*id)),
            Some((Vote::Deny, id)) if owned => Verdict::denied(Level::Member, Some(*id)),
            _ => Verdict::UNDECIDED,
        }
    }
}

/// What the permissions of one side, the roles or the scope, say
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// Whether this side allows the action
    pub allowed: bool,
    /// The level that decided; `None` if no permission was about the action
    pub level: Option<Level>,
    /// The organization whose permissions decided
    pub organization: Option<OrganizationId>,
}

impl Verdict {
    const UNDECIDED: Self = Self { allowed: false, level: None, organization: None };

    const fn allowed(level: Level, organization: Option<OrganizationId>) -> Self {
        Self { allowed: true, level: Some(level), organization }
    }

    const fn denied(level: Level, organization: Option<OrganizationId>) -> Self {
        Self { allowed: false, level: Some(level), organization }
    }
}

/// The level of a permission, in the order in which levels decide
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// All objects
    Site,
    /// Objects that the subject owns and that do not belong to an organization
    User,
    /// All objects of an organization
    Organization,
    /// Objects of an organization that the subject owns
    Member,
}

/// Where the users of a deployment may have workspaces of their own
///
/// An app that is shared with all signed-in users opens only for users who could open an app
/// of their own. So this decides what a user without an organization may open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OwnWorkspaces {
    /// Only in organizations they belong to, since v2.28 of the control plane
    #[default]
    InOrganizations,
    /// Outside of organizations too, up to v2.27
    Anywhere,
}

/// The entry of an access list that grants an action to a subject
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The entry of the user
    User(UserId),
    /// The entry of one of the user's groups
    Group(GroupId),
    /// The entry of everyone in the organization
    Everyone(OrganizationId),
}
