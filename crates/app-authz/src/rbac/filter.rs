use super::permission::{Pattern, Query, Vote};
use super::subject::Pooled;
use super::{Action, Object, ObjectId, OrgOwner, ResourceType, Subject};
use crate::id::{GroupId, OrganizationId, UserId};

impl Subject {
    /// The objects of this type that the subject may do `action` to, as a condition
    ///
    /// A [`Filter`] compares id, owner, organization and access lists of an object. To check a
    /// few objects, [`is_allowed`](Self::is_allowed) is cheaper.
    #[must_use]
    pub fn filter(&self, action: &Action, kind: &ResourceType) -> Filter {
        let query = Query::new(action, kind);
        let granted = Reach::of(&self.granted, &query);
        let scoped = Reach::of(&self.scoped, &query);
        let both = granted.narrowed(&scoped);

        let mut filter = Filter {
            kind: kind.clone(),
            action: action.clone(),
            user: self.id,
            groups: self.groups.clone(),
            ids: self.allowed_ids(kind),
            everything: both == Reach::Everything,
            own_without_organization: both.own(),
            organizations: Vec::new(),
            own_in_organizations: Vec::new(),
            shared_in_organizations: Vec::new(),
            own_shared_in_organizations: Vec::new(),
        };
        if filter.everything {
            return filter;
        }
        for (at, organization) in self.memberships.iter().enumerate() {
            match both.at(at) {
                // All objects are included already, so sharing adds none.
                Extent::All => {
                    filter.organizations.push(*organization);
                    continue;
                }
                Extent::Own => filter.own_in_organizations.push(*organization),
                Extent::Nothing => {}
            }
            match scoped.at(at) {
                Extent::All => filter.shared_in_organizations.push(*organization),
                // Own objects that are included already need not be shared.
                Extent::Own if both.at(at) == Extent::Nothing => {
                    filter.own_shared_in_organizations.push(*organization);
                }
                Extent::Own | Extent::Nothing => {}
            }
        }
        filter
    }

    fn allowed_ids(&self, kind: &ResourceType) -> Option<Vec<ObjectId>> {
        let mut ids = Vec::new();
        for entry in self.scope.allow_list.iter().filter(|entry| entry.kind().matches(kind)) {
            match entry.id() {
                Pattern::Any => return None,
                Pattern::Only(id) => ids.extend(id.clone()),
            }
        }
        ids.sort_unstable();
        ids.dedup();
        Some(ids)
    }
}

/// The objects of one type to which a subject may do an action, as a condition for a query
///
/// The filter includes an object if its id is one of [`ids`](Self::ids), unless that is
/// `None`, and if at least one of the other fields includes it. Each field compares one column
/// of the object, so that a store can turn it into a condition of its query.
///
/// A filter is for stored objects, which all have an id, not for objects
/// [in any organization](Object::any_organization).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// The type of the objects
    pub kind: ResourceType,
    /// The action, which an entry of an access list grants if it has the action or `*`
    pub action: Action,
    /// The subject's user: own objects are owned by this user, and in access lists of users
    /// the entry with this id counts
    pub user: UserId,
    /// The subject's groups: in access lists of groups the entries with these ids count, and
    /// the one with the id of the object's organization
    pub groups: Vec<GroupId>,
    /// The only objects that the credential may touch; `None` if it may touch all
    pub ids: Option<Vec<ObjectId>>,
    /// Includes all objects
    pub everything: bool,
    /// Includes own objects that do not belong to an organization
    pub own_without_organization: bool,
    /// Includes all objects of these organizations
    pub organizations: Vec<OrganizationId>,
    /// Includes own objects of these organizations
    pub own_in_organizations: Vec<OrganizationId>,
    /// Includes objects of these organizations whose access lists grant the action
    pub shared_in_organizations: Vec<OrganizationId>,
    /// Includes own objects of these organizations whose access lists grant the action
    pub own_shared_in_organizations: Vec<OrganizationId>,
}

impl Filter {
    /// Whether the filter includes no objects, so that a query is not needed
    #[must_use]
    pub fn is_never(&self) -> bool {
        self.ids.as_ref().is_some_and(Vec::is_empty)
            || !(self.everything
                || self.own_without_organization
                || !self.organizations.is_empty()
                || !self.own_in_organizations.is_empty()
                || !self.shared_in_organizations.is_empty()
                || !self.own_shared_in_organizations.is_empty())
    }

    /// Whether the filter includes all objects, so that the query needs no condition
    #[must_use]
    pub const fn is_always(&self) -> bool {
        self.everything && self.ids.is_none()
    }

    /// Whether the filter includes the object
    ///
    /// A query with this filter must return exactly the stored objects for which this is true.
    #[must_use]
    pub fn matches(&self, object: &Object<'_>) -> bool {
        let known = match (&self.ids, &object.id) {
            (None, _) => true,
            (Some(ids), Some(id)) => ids.contains(id),
            (Some(_), None) => false,
        };
        if object.kind != self.kind || !known {
            return false;
        }
        let own = object.owner == Some(self.user);
        let OrgOwner::Of(organization) = object.org_owner else {
            return self.everything
                || own && self.own_without_organization && object.org_owner == OrgOwner::None;
        };
        let within = |organizations: &[OrganizationId]| organizations.contains(&organization);
        let shared = || {
            object.acl.is_some_and(|acl| {
                acl.of_user(self.user, &self.action)
                    || acl.of_everyone(organization, &self.action)
                    || self.groups.iter().any(|group| acl.of_group(*group, &self.action))
            })
        };
        self.everything
            || within(&self.organizations)
            || own && within(&self.own_in_organizations)
            || within(&self.shared_in_organizations) && shared()
            || own && within(&self.own_shared_in_organizations) && shared()
    }
}

/// The objects that the permissions of one side, the roles or the scope, allow
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reach {
    Everything,
    Within {
        /// Own objects that do not belong to an organization
        own: bool,
        /// The extent in each organization, in the order of the subject's memberships
        organizations: Vec<Extent>,
    },
}

/// The objects of one organization that are allowed
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    Nothing,
    Own,
    All,
}

impl Reach {
    fn of(side: &Pooled, query: &Query<'_>) -> Self {
        let extent = |org, member| match (org, member) {
            (Vote::Grant, _) => Extent::All,
            (Vote::Abstain, Vote::Grant) => Extent::Own,
            _ => Extent::Nothing,
        };
        let (own, organizations) = match side.site.vote(query) {
            Vote::Grant => return Self::Everything,
            Vote::Deny => (false, vec![Extent::Nothing; side.organizations.len()]),
            Vote::Abstain => {
                let pools = side.organizations.iter();
                let extents = pools.map(|p| extent(p.org.vote(query), p.member.vote(query)));
                (side.user.vote(query) == Vote::Grant, extents.collect())
            }
        };
        Self::Within { own, organizations }
    }

    fn own(&self) -> bool {
        matches!(self, Self::Within { own: true, .. })
    }

    fn at(&self, membership: usize) -> Extent {
        match self {
            Self::Everything => Extent::All,
            Self::Within { organizations, .. } => organizations[membership],
        }
    }

    /// The objects that both sides allow: the smaller extent in each organization
    fn narrowed(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Everything, reach) | (reach, Self::Everything) => reach.clone(),
            (Self::Within { own, organizations }, Self::Within { own: too, .. }) => Self::Within {
                own: *own && *too,
                organizations: organizations
                    .iter()
                    .zip(0..)
                    .map(|(extent, at)| *extent.min(&other.at(at)))
                    .collect(),
            },
        }
    }
}
