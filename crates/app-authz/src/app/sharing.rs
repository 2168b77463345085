use std::fmt;
use std::str::FromStr;

use crate::Error;

/// Whom an app or port is shared with; the levels are ordered, narrowest first
///
/// Sharing with named users and groups is not a level: that is the workspace's access
/// list, and counts at every level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SharingLevel {
    /// The owner of the workspace, and whom roles or the access list let in
    #[default]
    Owner,
    /// Members of the workspace's organization
    Organization,
    /// Everybody who is signed in
    Authenticated,
    /// Everybody
    Public,
}

impl SharingLevel {
    /// Every level, narrowest first
    pub const ALL: [Self; 4] = [Self::Owner, Self::Organization, Self::Authenticated, Self::Public];

    /// The level as it is stored
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Organization => "organization",
            Self::Authenticated => "authenticated",
            Self::Public => "public",
        }
    }
}

impl FromStr for SharingLevel {
    type Err = Error;

    /// Reads a stored level; an empty one is the owner's
    fn from_str(level: &str) -> Result<Self, Error> {
        if level.is_empty() {
            return Ok(Self::Owner);
        }
        let known = Self::ALL.into_iter().find(|known| known.as_str() == level);
        known.ok_or_else(|| Error::UnknownSharingLevel(level.to_owned()))
    }
}

impl fmt::Display for SharingLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
