use std::fmt;

#[cfg(doc)]
use crate::app::SharingLevel;
use crate::id::{GroupId, OrganizationId, UserId};
use crate::rbac::Subject;

/// The users and groups with whom an app or a port is shared, beside its level
///
/// A share with people lets a visitor in at a level: that of the
/// [organization](SharingLevel::Organization) for a member of the workspace's organization, and
/// that of [all signed-in users](SharingLevel::Authenticated) for any other user. The template's
/// [widest level](crate::app::WorkspaceFacts::max_port_sharing) limits it, as it limits the levels
/// of ports. It limits these shares of apps as well: the level of an app is the template's own, but
/// its shares are the owner's.
///
/// A group whose id is that of an organization has all members of that organization.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct People {
    users: Vec<UserId>,
    groups: Vec<GroupId>,
}

impl People {
    /// Not shared with anybody by name
    pub const NONE: Self = Self { users: Vec::new(), groups: Vec::new() };

    /// These users, and the members of these groups
    #[must_use]
    pub fn new(
        users: impl IntoIterator<Item = UserId>,
        groups: impl IntoIterator<Item = GroupId>,
    ) -> Self {
        Self { users: users.into_iter().collect(), groups: groups.into_iter().collect() }
    }

    /// The users
    #[must_use]
    pub fn users(&self) -> &[UserId] {
        &self.users
    }

    /// The groups
    #[must_use]
    pub fn groups(&self) -> &[GroupId] {
        &self.groups
    }

    /// Whether there are neither users nor groups
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }

    /// The entry that has the subject, if there is one; that of the user is preferred
    pub(super) fn entry_of(&self, subject: &Subject) -> Option<Person> {
        if self.users.contains(&subject.id()) {
            return Some(Person::User(subject.id()));
        }
        let has = |group: &&GroupId| {
            subject.is_in(**group) || subject.is_member_of(OrganizationId(group.0))
        };
        self.groups.iter().find(has).copied().map(Person::Group)
    }
}

/// A user or a group with whom an app or a port is shared
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Person {
    /// A user
    User(UserId),
    /// The members of a group
    Group(GroupId),
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user {id}"),
            Self::Group(id) => write!(f, "group {id}"),
        }
    }
}

/// That an app or a port of a workspace is shared with people
///
/// Agents and apps are named, since each build has new ids of them, and names stay.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeopleShare {
    /// The name of the agent, exactly
    pub agent_name: String,
    /// The slug of the app, exactly, or the number of the port in decimal digits, which stands
    /// for the port with and without TLS
    pub slug_or_port: String,
    /// With whom it is shared
    pub people: People,
}

impl PeopleShare {
    /// The app or the port of the agents with that name, shared with these people
    #[must_use]
    pub fn new(
        agent_name: impl Into<String>,
        slug_or_port: impl Into<String>,
        people: People,
    ) -> Self {
        Self { agent_name: agent_name.into(), slug_or_port: slug_or_port.into(), people }
    }
}
