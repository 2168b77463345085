use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::Permissions;
use crate::Error;
use crate::id::{OrganizationId, parse_uuid};

/// The name of a role: `NAME` in the deployment, `NAME:ORGANIZATION-ID` in an organization
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleName {
    name: Cow<'static, str>,
    organization: Option<OrganizationId>,
}

impl RoleName {
    /// The name of the role that may do nearly everything
    pub const OWNER: Self = Self::built_in("owner");
    /// The name of the role that every user has
    pub const MEMBER: Self = Self::built_in("member");

    /// The name of the role that every member of `organization` has, except service accounts
    #[must_use]
    pub fn organization_member(organization: OrganizationId) -> Self {
        let organization = Some(organization).filter(|id| !id.0.is_nil());
        Self { organization, ..Self::built_in("organization-member") }
    }

    pub(super) const fn built_in(name: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), organization: None }
    }

    /// The name of a role of the deployment
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRoleName`] if `name` is empty or contains a colon.
    pub fn site(name: &str) -> Result<Self, Error> {
        if name.is_empty() || name.contains(':') {
            return Err(Error::InvalidRoleName(name.to_owned()));
        }
        Ok(Self { name: Cow::Owned(name.to_owned()), organization: None })
    }

    /// The name of a role in `organization`; the nil UUID stands for the deployment
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRoleName`] if `name` is empty or contains a colon.
    pub fn in_organization(name: &str, organization: OrganizationId) -> Result<Self, Error> {
        let organization = Some(organization).filter(|id| !id.0.is_nil());
        Ok(Self { organization, ..Self::site(name)? })
    }

    /// The name without the organization
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The organization of the role; `None` for a role of the deployment
    #[must_use]
    pub const fn organization(&self) -> Option<OrganizationId> {
        self.organization
    }
}

impl FromStr for RoleName {
    type Err = Error;

    /// Parses `NAME` or `NAME:ORGANIZATION-ID`
    fn from_str(text: &str) -> Result<Self, Error> {
        let Some((name, organization)) = text.split_once(':') else { return Self::site(text) };
        parse_uuid(organization)
            .and_then(|id| Self::in_organization(name, OrganizationId(id)).ok())
            .ok_or_else(|| Error::InvalidRoleName(text.to_owned()))
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.organization {
            Some(organization) => write!(f, ":{organization}"),
            None => Ok(()),
        }
    }
}

/// A named set of permissions at four levels
///
/// A role is built in ([`BuiltInRoles`](super::BuiltInRoles)) or stored. A stored role was
/// created by an administrator, or is a [system role](Self::into_system), which the control
/// plane writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub(super) name: RoleName,
    pub(super) levels: Levels,
    pub(super) is_system: bool,
}

impl Role {
    /// A role with this name and these permissions
    #[must_use]
    pub const fn new(name: RoleName, levels: Levels) -> Self {
        Self { name, levels, is_system: false }
    }

    /// The same role as a system role
    ///
    /// Only the control plane creates system roles, and it updates them with the settings of
    /// an organization. A system role replaces the built-in role of the same name in its
    /// organization.
    #[must_use]
    pub const fn into_system(mut self) -> Self {
        self.is_system = true;
        self
    }

    /// Whether the role is a [system role](Self::into_system)
    #[must_use]
    pub const fn is_system(&self) -> bool {
        self.is_system
    }

    /// The name of the role
    #[must_use]
    pub const fn name(&self) -> &RoleName {
        &self.name
    }

    /// The permissions of the role
    #[must_use]
    pub const fn levels(&self) -> &Levels {
        &self.levels
    }
}

/// Permissions by level; all lists are empty by default
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Permissions on all objects
    pub site: Permissions,
    /// Permissions on objects that the subject owns and that do not belong to an organization
    pub user: Permissions,
    /// Permissions in organizations
    ///
    /// An entry in a role makes the user a member of the organization, even if both lists are
    /// empty.
    pub organizations: Vec<(OrganizationId, OrganizationLevels)>,
}

impl Levels {
    /// These permissions on all objects, and no others
    #[must_use]
    pub fn site(permissions: Permissions) -> Self {
        Self { site: permissions, ..Self::default() }
    }

    /// The same levels with an entry for an organization
    #[must_use]
    pub fn with_organization(
        mut self,
        organization: OrganizationId,
        org: Permissions,
        member: Permissions,
    ) -> Self {
        self.organizations.push((organization, OrganizationLevels { org, member }));
        self
    }
}

/// Permissions in one organization
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrganizationLevels {
    /// Permissions on all objects of the organization
    pub org: Permissions,
    /// Permissions on objects of the organization that the subject owns
    pub member: Permissions,
}
