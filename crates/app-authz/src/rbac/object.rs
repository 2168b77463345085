use std::fmt;

use uuid::Uuid;

use super::{Acl, ResourceType};
use crate::id::{OrganizationId, TemplateId, UserId, WorkspaceId, parse_uuid};

/// The object of an action
///
/// Only the type is always present: an object that is to be created does not have an id, a
/// template does not have an owner, and a user does not have an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object<'a> {
    pub(super) kind: ResourceType,
    pub(super) id: Option<ObjectId>,
    pub(super) owner: Option<UserId>,
    pub(super) org_owner: OrgOwner,
    pub(super) acl: Option<&'a Acl>,
}

impl<'a> Object<'a> {
    /// An object of the type `kind`, without id, owner, organization and access lists
    #[must_use]
    pub const fn new(kind: ResourceType) -> Self {
        Self { kind, id: None, owner: None, org_owner: OrgOwner::None, acl: None }
    }

    /// A workspace; a dormant one has a type of its own and its access lists do not count
    #[must_use]
    pub fn workspace(
        id: WorkspaceId,
        owner: UserId,
        organization: OrganizationId,
        acl: &'a Acl,
        dormant: bool,
    ) -> Self {
        let kind = if dormant { ResourceType::WorkspaceDormant } else { ResourceType::Workspace };
        let acl = if dormant { None } else { Some(acl) };
        Self { acl, ..Self::new(kind).id(id.0).owner(owner).organization(organization) }
    }

    /// A template, which belongs to an organization and does not have an owner
    #[must_use]
    pub fn template(id: TemplateId, organization: OrganizationId, acl: &'a Acl) -> Self {
        Self::new(ResourceType::Template).id(id.0).organization(organization).acl(acl)
    }

    /// A user, as an object that the user owns
    #[must_use]
    pub fn user(id: UserId) -> Self {
        Self::new(ResourceType::User).id(id.0).owner(id)
    }

    /// The key of a session token, by its id and its user
    #[must_use]
    pub fn api_key(id: &str, owner: UserId) -> Self {
        Self::new(ResourceType::ApiKey).id(id).owner(owner)
    }

    /// The same object with this id
    #[must_use]
    pub fn id(mut self, id: impl Into<ObjectId>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The same object with this owner
    #[must_use]
    pub const fn owner(mut self, owner: UserId) -> Self {
        self.owner = Some(owner);
        self
    }

    /// The same object in this organization
    #[must_use]
    pub const fn organization(mut self, organization: OrganizationId) -> Self {
        self.org_owner = OrgOwner::Of(organization);
        self
    }

    /// The same object in any organization: allowed if one of them allows it
    #[must_use]
    pub const fn any_organization(mut self) -> Self {
        self.org_owner = OrgOwner::Any;
        self
    }

    /// The same object with these access lists
    #[must_use]
    pub const fn acl(mut self, acl: &'a Acl) -> Self {
        self.acl = Some(acl);
        self
    }

    /// The same object without access lists
    #[must_use]
    pub const fn without_acl(mut self) -> Self {
        self.acl = None;
        self
    }
}

/// The organization that an object belongs to
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrgOwner {
    /// No organization: the object belongs to the deployment, or only to a user
    None,
    /// This organization; the nil UUID has no special meaning
    Of(OrganizationId),
    /// Any organization: whether the subject may act in at least one
    Any,
}

/// The id of an object
///
/// Almost all ids are UUIDs, which need no allocation. Keys of session tokens have texts as
/// ids. Ids are compared as texts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(Repr);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Repr {
    Uuid(Uuid),
    Text(Box<str>),
}

impl From<Uuid> for ObjectId {
    fn from(id: Uuid) -> Self {
        Self(Repr::Uuid(id))
    }
}

impl From<&str> for ObjectId {
    fn from(id: &str) -> Self {
        match parse_uuid(id) {
            // With capitals it is not the text of the UUID, and ids are compared as texts.
            Some(uuid) if !id.contains(|c: char| c.is_ascii_uppercase()) => Self(Repr::Uuid(uuid)),
            _ => Self(Repr::Text(id.into())),
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Uuid(id) => id.fmt(f),
            Repr::Text(id) => id.fmt(f),
        }
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_compare_as_the_texts_they_are() {
        let id = Uuid::from_u128(0xabcd);
        assert_eq!(ObjectId::from(id), ObjectId::from(&*id.to_string()));
        assert_ne!(ObjectId::from(id), ObjectId::from(&*id.to_string().to_uppercase()));
        assert_ne!(ObjectId::from(id), ObjectId::from(&*id.simple().to_string()));
        assert_eq!(ObjectId::from("aBcD").to_string(), "aBcD");
        assert_eq!(format!("{:?}", ObjectId::from("aBcD")), "aBcD");
    }
}
