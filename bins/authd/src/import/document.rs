use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use store::fleet::{
    AppHealth, CorsBehavior, LoginType, PortShareProtocol, SharingLevel, Token, Transition,
    UserStatus,
};
use uuid::Uuid;

use super::object::read_from_objects;
use crate::malformed::{Malformed, from_toml, key};

/// A deployment as a person or a control plane writes it down
///
/// Things refer to each other by name, or by id where the other is not in the document.
/// What has no id gets one that follows from its name, the same in every import. Things
/// that are left out stay as they are; of a list that is given, what it no longer holds
/// is removed. Of a thing that is there, other fields that are left out have their defaults,
/// but for `email`, `token`, `connected` and `created_at`, which stay.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub(crate) struct Document {
    pub(super) organizations: Vec<Organization>,
    pub(super) users: Vec<User>,
    pub(super) groups: Vec<Group>,
    pub(super) roles: Vec<Role>,
    pub(super) templates: Vec<Template>,
    pub(super) workspaces: Vec<Workspace>,
    pub(super) proxies: Vec<Proxy>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(super) struct Organization {
    pub(super) id: Option<Uuid>,
    pub(super) name: String,
    #[serde(default)]
    pub(super) deleted: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(super) struct User {
    pub(super) id: Option<Uuid>,
    pub(super) username: String,
    #[serde(default)]
    pub(super) email: Option<String>,
    #[serde(default = "active")]
    pub(super) status: UserStatus,
    #[serde(default)]
    pub(super) deleted: bool,
    #[serde(default)]
    pub(super) login_type: LoginType,
    /// Roles of the deployment
    #[serde(default)]
    pub(super) roles: Vec<String>,
    /// The roles in each organization the user is a member of
    #[serde(default)]
    pub(super) organizations: Option<BTreeMap<String, Vec<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(super) struct Group {
    pub(super) id: Option<Uuid>,
    pub(super) name: String,
    pub(super) organization: String,
    #[serde(default)]
    pub(super) members: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(super) struct Role {
    pub(super) id: Option<Uuid>,
    pub(super) name: String,
    /// Confines the role; without one it is the deployment's
    #[serde(default)]
    pub(super) organization: Option<String>,
    #[serde(default)]
    pub(super) site_permissions: Vec<Permission>,
    #[serde(default)]
    pub(super) organization_permissions: Vec<Permission>,
    #[serde(default)]
    pub(super) user_permissions: Vec<Permission>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(super) struct Permission {
    #[serde(default)]
    pub(super) negate: bool,
    pub(super) resource_type: String,
    pub(super) action: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(super) struct Template {
    pub(super) id: Option<Uuid>,
    pub(super) name: String,
    pub(super) organization: String,
    #[serde(default)]
    pub(super) max_port_sharing_level: SharingLevel,
    #[serde(default)]
    pub(super) cors_behavior: CorsBehavior,
    #[serde(default)]
    pub(super) deleted: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(super) struct Workspace {
    pub(super) id: Option<Uuid>,
    pub(super) name: String,
    pub(super) owner: String,
    pub(super) organization: String,
    #[serde(default)]
    pub(super) template: Option<String>,
    #[serde(default)]
    pub(super) deleted: bool,
    #[serde(default)]
    pub(super) dormant_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(super) shared_with: SharedWith,
    #[serde(default)]
    pub(super) builds: Vec<Build>,
    #[serde(default)]
    pub(super) port_shares: Option<Vec<PortShare>>,
}

/// Whom a workspace is shared with by name, and how far
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub(super) struct SharedWith {
    pub(super) users: BTreeMap<String, Access>,
    pub(super) groups: BTreeMap<String, Access>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Access {
    Use,
    Admin,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(super) struct Build {
    pub(super) id: Option<Uuid>,
    pub(super) number: i32,
    #[serde(default)]
    pub(super) transition: Transition,
    #[serde(default)]
    pub(super) created_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(super) agents: Vec<Agent>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(super) struct Agent {
    pub(super) id: Option<Uuid>,
    pub(super) name: String,
    #[serde(default)]
    pub(super) instance_id: Option<String>,
    /// The session token; without one it gets a random one, and keeps it
    #[serde(default)]
    pub(super) token: Option<Token>,
    #[serde(default)]
    pub(super) parent: Option<Uuid>,
    /// Whether it counts as connected, until an import says otherwise; without a word
    /// on it, whoever else writes these times decides
    #[serde(default)]
    pub(super) connected: Option<bool>,
    #[serde(default)]
    pub(super) deleted: bool,
    #[serde(default)]
    pub(super) apps: Option<Vec<App>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(super) struct App {
    pub(super) id: Option<Uuid>,
    pub(super) slug: String,
    #[serde(default)]
    pub(super) display_name: Option<String>,
    #[serde(default)]
    pub(super) url: Option<String>,
    #[serde(default)]
    pub(super) command: Option<String>,
    #[serde(default)]
    pub(super) external: bool,
    #[serde(default)]
    pub(super) subdomain: bool,
    #[serde(default)]
    pub(super) sharing_level: SharingLevel,
    #[serde(default)]
    pub(super) health: AppHealth,
    #[serde(default)]
    pub(super) hidden: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(super) struct PortShare {
    pub(super) agent: String,
    pub(super) port: u16,
    pub(super) level: SharingLevel,
    #[serde(default)]
    pub(super) protocol: PortShareProtocol,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(super) struct Proxy {
    pub(super) id: Option<Uuid>,
    pub(super) name: String,
    pub(super) url: String,
    #[serde(default)]
    pub(super) wildcard_hostname: String,
    #[serde(default)]
    pub(super) deleted: bool,
}

read_from_objects!(
    Agent,
    App,
    Build,
    Document,
    Group,
    Organization,
    Permission,
    PortShare,
    Proxy,
    Role,
    SharedWith,
    Template,
    User,
    Workspace,
);

impl Document {
    /// Reads a document: JSON if it begins like an object, else TOML
    ///
    /// # Errors
    ///
    /// [`Invalid`], with the path of the first thing that is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        // Some editors begin every text with a mark of the byte order.
        let text = text.trim_start_matches('\u{feff}');
        if text.trim_start().starts_with('{') {
            return Self::from_json(text);
        }
        from_toml(text).map_err(|Malformed { key, reason }| Invalid { path: key, reason })
    }

    /// Reads a document that is JSON
    ///
    /// # Errors
    ///
    /// [`Invalid`], with the path of the first thing that is wrong.
    pub(crate) fn from_json(text: &str) -> Result<Self, Invalid> {
        let json = &mut serde_json::Deserializer::from_str(text);
        let document = serde_path_to_error::deserialize(&mut *json)
            .map_err(|error| Invalid::new(key(error.path()), error.into_inner()))?;
        json.end().map_err(|error| Invalid::new("", error))?;
        Ok(document)
    }
}

/// What is wrong with a document, and where
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}{reason}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub(crate) struct Invalid {
    /// Such as `workspaces[0].builds[1].number`; empty if it is the document as a whole
    pub(crate) path: String,
    pub(crate) reason: String,
}

impl Invalid {
    pub(crate) fn not_text() -> Self {
        Self::new("", "not UTF-8")
    }

    pub(super) fn new(path: impl Into<String>, reason: impl ToString) -> Self {
        Self { path: path.into(), reason: reason.to_string() }
    }
}

const fn active() -> UserStatus {
    UserStatus::Active
}
