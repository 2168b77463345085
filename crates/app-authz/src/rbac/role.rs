use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::Permissions;
use crate::Error;
use crate::id::{OrganizationId, parse_uuid};

/// What a role is called: `NAME` for the deployment, `NAME:ORGANIZATION-ID` within
/// one organization
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleName {
    name: Cow<'static, str>,
    organization: Option<OrganizationId>,
}

impl RoleName {
    /// The role that may do nearly everything
    pub const OWNER: Self = Self::built_in("owner");
    /// The role that every user holds
    pub(crate) const MEMBER: Self = Self::built_in("member");

    pub(super) const fn built_in(name: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), organization: None }
    }

    /// The name of a role of the deployment
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRoleName`] if `name` is empty or holds a colon.
    pub fn site(name: &str) -> Result<Self, Error> {
        if name.is_empty() || name.contains(':') {
            return Err(Error::InvalidRoleName(name.to_owned()));
        }
        Ok(Self { name: Cow::Owned(name.to_owned()), organization: None })
    }

    /// The name of a role within `organization`; the nil UUID means none
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRoleName`] if `name` is empty or holds a colon.
    pub fn in_organization(name: &str, organization: OrganizationId) -> Result<Self, Error> {
        let organization = Some(organization).filter(|id| !id.0.is_nil());
        Ok(Self { organization, ..Self::site(name)? })
    }

    /// The part before the colon
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The organization the role is confined to
    #[must_use]
    pub const fn organization(&self) -> Option<OrganizationId> {
        self.organization
    }
}

impl FromStr for RoleName {
    type Err = Error;

    /// Reads `NAME` or `NAME:ORGANIZATION-ID`
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
/// Built in ([`BuiltInRoles`](super::BuiltInRoles)), or from a deployment's stored lists. A
/// stored role is either one that people made, or a
/// [system role](Self::into_system), which the control plane itself writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub(super) name: RoleName,
    pub(super) levels: Levels,
    pub(super) is_system: bool,
}

impl Role {
    /// A role of that name and those permissions
    #[must_use]
    pub const fn new(name: RoleName, levels: Levels) -> Self {
        Self { name, levels, is_system: false }
    }

    /// The same role, as a system role
    ///
    /// The control plane keeps such a role in step with an organization's settings, and
    /// nobody else can make one. It replaces the built-in role of its name in its
    /// organization.
    #[must_use]
    pub const fn into_system(mut self) -> Self {
        self.is_system = true;
        self
    }

    /// Whether it is a [system role](Self::into_system)
    #[must_use]
    pub const fn is_system(&self) -> bool {
        self.is_system
    }

    /// What it is called
    #[must_use]
    pub const fn name(&self) -> &RoleName {
        &self.name
    }

    /// What it permits
    #[must_use]
    pub const fn levels(&self) -> &Levels {
        &self.levels
    }
}

/// Permissions by the level they hold at; all lists are empty by default
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// For every object
    pub site: Permissions,
    /// For objects the subject owns that belong to no organization
    pub user: Permissions,
    /// By organization; a role's entry makes its bearer a member, even when both
    /// lists are empty
    pub organizations: Vec<(OrganizationId, OrganizationLevels)>,
}

impl Levels {
    /// These permissions for every object, and no others
    #[must_use]
    pub fn site(permissions: Permissions) -> Self {
        Self { site: permissions, ..Self::default() }
    }

    /// The same levels, with an organization's lists set
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

/// Permissions within one organization
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrganizationLevels {
    /// For every object of the organization
    pub org: Permissions,
    /// For objects of the organization that the subject owns
    pub member: Permissions,
}
