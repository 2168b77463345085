use std::fmt;
use std::str::FromStr;

use crate::Error;

/// With whom an app or a port is shared; levels are ordered from the narrowest to the widest
///
/// Sharing with named users and groups is not a level: the workspace's access list does
/// that for the whole workspace, and [`People`](crate::app::People) for one app or port, at every
/// level.
///
/// Non-exhaustive, as the control plane adds levels: `organization` came with v2.24.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SharingLevel {
    /// The owner of the workspace, and users whom roles or the access list allow
    #[default]
    Owner,
    /// The members of the workspace's organization
    Organization,
    /// All users who are signed in
    Authenticated,
    /// All visitors, signed in or not
    Public,
}

impl SharingLevel {
    /// All levels, the narrowest first
    pub const ALL: &[Self] = &[Self::Owner, Self::Organization, Self::Authenticated, Self::Public];

    /// The label in the database
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

    /// Parses the label in the database; an empty text is [`Owner`](Self::Owner)
    fn from_str(level: &str) -> Result<Self, Error> {
        if level.is_empty() {
            return Ok(Self::Owner);
        }
        let known = Self::ALL.iter().find(|known| known.as_str() == level);
        known.copied().ok_or_else(|| Error::UnknownSharingLevel(level.to_owned()))
    }
}

impl fmt::Display for SharingLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
