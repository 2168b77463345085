//! What a workspace is shared for

use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

/// What a user or a group may do with a workspace that is shared with them
///
/// `use` opens and runs the workspace, `admin` does everything but delete it, as the control plane
/// defines them. A list of actions is stored as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Use,
    Admin,
    Actions(Vec<String>),
}

impl Access {
    /// The entry of an access list, as the control plane stores it
    pub(crate) fn stored(&self) -> Value {
        match self {
            Self::Use => json!({ "permissions": USE }),
            Self::Admin => json!({ "permissions": ADMIN }),
            Self::Actions(actions) => json!({ "permissions": actions }),
        }
    }

    /// Reads an entry of an access list; `None` if it is more than a list of actions
    pub(crate) fn of_stored(entry: &Value) -> Option<Self> {
        let object = entry.as_object().filter(|object| object.len() == 1)?;
        let actions = object.get("permissions")?.as_array()?;
        let actions: Option<Vec<_>> = actions.iter().map(Value::as_str).collect();
        let actions = actions?;
        Some(if actions == USE {
            Self::Use
        } else if actions == ADMIN {
            Self::Admin
        } else {
            Self::Actions(actions.into_iter().map(str::to_owned).collect())
        })
    }
}

impl Serialize for Access {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Use => serializer.serialize_str("use"),
            Self::Admin => serializer.serialize_str("admin"),
            Self::Actions(actions) => actions.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Access {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Access;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`use`, `admin` or a list of actions")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Access, E> {
                match text {
                    "use" => Ok(Access::Use),
                    "admin" => Ok(Access::Admin),
                    other => Err(E::unknown_variant(other, &["use", "admin"])),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Access, A::Error> {
                let mut actions = Vec::new();
                while let Some(action) = list.next_element::<String>()? {
                    if action.is_empty() {
                        return Err(A::Error::custom("an action must not be empty"));
                    }
                    actions.push(action);
                }
                Ok(Access::Actions(actions))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

const USE: &[&str] = &["application_connect", "read", "ssh", "start", "stop"];

const ADMIN: &[&str] = &[
    "application_connect",
    "create",
    "create_agent",
    "delete_agent",
    "read",
    "share",
    "ssh",
    "start",
    "stop",
    "update",
    "update_agent",
];
