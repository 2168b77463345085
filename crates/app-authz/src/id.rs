//! Primary keys of the control plane's tables

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::Error;

macro_rules! id {
    ($($(#[$doc:meta])+ $name:ident)*) => {$(
        $(#[$doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            /// Parses the hyphenated form, in either case
            fn from_str(text: &str) -> Result<Self, Error> {
                parse_uuid(text).map(Self).ok_or_else(|| Error::InvalidId(text.to_owned()))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            /// Accepts only the hyphenated form in formats that people read
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Hyphenated::deserialize(deserializer).map(|id| Self(id.into_uuid()))
            }
        }
    )*};
}

id! {
    /// Primary key of a user
    UserId
    /// Primary key of an organization
    OrganizationId
    /// Primary key of a group
    ///
    /// The group of everyone in an organization has the id of the organization.
    GroupId
    /// Primary key of a workspace
    WorkspaceId
    /// Primary key of an agent
    AgentId
    /// Primary key of an app
    AppId
    /// Primary key of a provisioner job
    JobId
    /// Primary key of a template
    TemplateId
    /// Primary key of a template version
    TemplateVersionId
}

impl From<OrganizationId> for GroupId {
    fn from(organization: OrganizationId) -> Self {
        Self(organization.0)
    }
}

/// How a request names a user, a workspace or an agent
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameOrId<'a> {
    /// By primary key: a UUID in its hyphenated form
    Id(Uuid),
    /// By name: any other text
    Name(&'a str),
}

impl<'a> From<&'a str> for NameOrId<'a> {
    fn from(text: &'a str) -> Self {
        parse_uuid(text).map_or(Self::Name(text), Self::Id)
    }
}

impl NameOrId<'_> {
    /// Whether a row with this id and this name is the one that is named
    ///
    /// Names are the same in upper and in lower case.
    #[must_use]
    pub fn is(self, id: impl Into<Uuid>, name: &str) -> bool {
        match self {
            Self::Id(asked) => asked == id.into(),
            Self::Name(asked) => asked.to_lowercase() == name.to_lowercase(),
        }
    }
}

/// Parses a UUID in its hyphenated form, in either case
///
/// The braced, URN and 32-digit forms are refused, so that an id has only one spelling.
pub(crate) fn parse_uuid(text: &str) -> Option<Uuid> {
    if text.len() != uuid::fmt::Hyphenated::LENGTH {
        return None;
    }
    Uuid::try_parse(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_form() {
        let id = Uuid::from_u128(0xabcd);
        assert_eq!(parse_uuid(&id.to_string()), Some(id));
        assert_eq!(NameOrId::from(&*id.to_string()), NameOrId::Id(id));
        assert_eq!(parse_uuid(&id.to_string().to_uppercase()), Some(id));
        let user = UserId::from(id);
        assert_eq!((user.to_string().parse(), Uuid::from(user)), (Ok(user), id));
        let written = serde_json::to_value(user).unwrap();
        assert_eq!(written, id.to_string());
        assert_eq!(serde_json::from_value::<UserId>(written).unwrap(), user);
        for other in [id.simple().to_string(), id.urn().to_string(), id.braced().to_string()] {
            assert_eq!(parse_uuid(&other), None, "{other}");
            assert_eq!(other.parse::<UserId>(), Err(Error::InvalidId(other.clone())));
            assert!(serde_json::from_value::<UserId>(other.clone().into()).is_err(), "{other}");
        }
        for bad in
            ["", "00000000_0000_0000_0000_00000000abcd", "00000000-0000-0000-0000-00000000abcg"]
        {
            assert_eq!(parse_uuid(bad), None, "{bad}");
            assert_eq!(NameOrId::from(bad), NameOrId::Name(bad));
        }
        let is = |asked: &str| NameOrId::from(asked).is(user, "Ann");
        assert!(["Ann", "ANN", "ann", &user.to_string().to_uppercase()].into_iter().all(is));
        let other = UserId(Uuid::from_u128(1)).to_string();
        assert!(!["An", "Ann ", "a%", "", &other].into_iter().any(is));
    }
}
