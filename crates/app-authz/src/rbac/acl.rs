use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use uuid::Uuid;

use super::{Action, ActionSet};
use crate::id::{GroupId, OrganizationId, UserId};

/// The access lists of an object: the users and groups with whom it is shared
///
/// An entry counts only for members of the object's organization, and only within the scope
/// of the credential in use. A denial in a role does not override it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    users: AccessList,
    groups: AccessList,
}

impl Acl {
    /// Not shared
    pub const NONE: Self = Self { users: AccessList::EMPTY, groups: AccessList::EMPTY };

    /// The access lists for users and for groups
    #[must_use]
    pub const fn new(users: AccessList, groups: AccessList) -> Self {
        Self { users, groups }
    }

    pub(super) fn of_user(&self, user: UserId, action: &Action) -> bool {
        self.users.grants(user.0, action)
    }

    pub(super) fn of_group(&self, group: GroupId, action: &Action) -> bool {
        self.groups.grants(group.0, action)
    }

    /// Whether the list grants it to everyone in the organization, whose group has its id
    pub(super) fn of_everyone(&self, organization: OrganizationId, action: &Action) -> bool {
        self.groups.grants(organization.0, action)
    }
}

/// The actions that users or groups are granted, by their ids
///
/// Deserializes from both forms in which a control plane stores such a list:
/// `{"ID": ["read", …]}` and `{"ID": {"permissions": ["read", …]}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessList(Vec<(Uuid, Grant)>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Grant {
    actions: ActionSet,
    /// The actions that the set cannot hold
    unlisted: Box<[Action]>,
}

impl AccessList {
    /// A list without entries, which grants nothing
    pub const EMPTY: Self = Self(Vec::new());

    fn grants(&self, id: Uuid, action: &Action) -> bool {
        let Ok(at) = self.0.binary_search_by_key(&id, |(id, _)| *id) else { return false };
        let grant = &self.0[at].1;
        grant.actions.contains(action) || grant.unlisted.contains(action)
    }
}

/// From pairs of an id and the names of actions, where `*` stands for all
///
/// Of several entries with the same id, the last counts.
impl<Names> FromIterator<(Uuid, Names)> for AccessList
where
    Names: IntoIterator<Item: AsRef<str>>,
{
    fn from_iter<I: IntoIterator<Item = (Uuid, Names)>>(entries: I) -> Self {
        let by_id: BTreeMap<Uuid, Grant> =
            entries.into_iter().map(|(id, names)| (id, Grant::of(names))).collect();
        Self(by_id.into_iter().collect())
    }
}

impl Grant {
    fn of(names: impl IntoIterator<Item: AsRef<str>>) -> Self {
        let mut actions = ActionSet::NONE;
        let mut unlisted = Vec::new();
        for name in names {
            match name.as_ref() {
                "*" => actions = ActionSet::ALL,
                name => match Action::from(name) {
                    action @ Action::Other(_) => unlisted.push(action),
                    action => actions = actions.union(ActionSet::of(&[action])),
                },
            }
        }
        Self { actions, unlisted: unlisted.into() }
    }
}

impl<'de> Deserialize<'de> for AccessList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Entry {
            Actions(Vec<String>),
            Permissions { permissions: Vec<String> },
        }

        let entries = BTreeMap::<Uuid, Entry>::deserialize(deserializer)?;
        Ok(entries
            .into_iter()
            .map(|(id, entry)| match entry {
                Entry::Actions(actions) | Entry::Permissions { permissions: actions } => {
                    (id, actions)
                }
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    #[test]
    fn both_stored_forms_are_read() {
        for stored in [
            format!(r#"{{"{ID}": ["read", "later"]}}"#),
            format!(r#"{{"{ID}": {{"permissions": ["read", "later"]}}}}"#),
        ] {
            let list: AccessList = serde_json::from_str(&stored).unwrap();
            assert!(list.grants(ID, &Action::Read));
            assert!(list.grants(ID, &Action::from("later")));
            assert!(!list.grants(ID, &Action::from("earlier")));
            assert!(!list.grants(ID, &Action::Ssh));
            assert!(!list.grants(Uuid::nil(), &Action::Read));
        }
    }

    #[test]
    fn a_wildcard_grants_every_action_and_a_broken_list_is_an_error() {
        let list: AccessList = serde_json::from_str(&format!(r#"{{"{ID}": ["*"]}}"#)).unwrap();
        assert!(list.grants(ID, &Action::Ssh) && list.grants(ID, &Action::from("later")));
        for broken in [r#"{"me": ["read"]}"#, r#"[]"#, &format!(r#"{{"{ID}": "read"}}"#)] {
            assert!(serde_json::from_str::<AccessList>(broken).is_err(), "{broken}");
        }
    }
}
