use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use store::fleet::{
    AppHealth, CorsBehavior, LoginType, PortShareProtocol, SharingLevel, Token, Transition,
    UserStatus,
};
use uuid::Uuid;

use super::access::Access;
use super::document_error::DocumentError;
use super::object::read_from_objects;

/// A description of a deployment, written by a person or a control plane
///
/// Entries refer to each other by name. An entry that is only in the database is referred to by
/// id. An entry without an id gets one that is derived from its name, the same in every import.
///
/// Entries that the document leaves out stay unchanged. If it contains a list, rows that are no
/// longer in this list are removed. Fields that an entry leaves out get their defaults, except
/// `email`, `token`, `connected` and `created_at`, which stay unchanged.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub struct Document {
    pub(crate) organizations: Vec<Organization>,
    pub(crate) users: Vec<User>,
    pub(crate) groups: Vec<Group>,
    pub(crate) roles: Vec<Role>,
    pub(crate) templates: Vec<Template>,
    pub(crate) workspaces: Vec<Workspace>,
    pub(crate) proxies: Vec<Proxy>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct Organization {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) id: Option<Uuid>,
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) deleted: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct User {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) id: Option<Uuid>,
    pub(crate) username: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) email: Option<String>,
    #[serde(default = "active", skip_serializing_if = "is_active")]
    pub(crate) status: UserStatus,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) deleted: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) login_type: LoginType,
    /// Deployment-wide roles
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) roles: Vec<String>,
    /// The roles in each organization the user is a member of
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) organizations: Option<BTreeMap<String, Vec<String>>>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct Group {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) id: Option<Uuid>,
    pub(crate) name: String,
    pub(crate) organization: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) members: Option<Vec<String>>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct Role {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) id: Option<Uuid>,
    pub(crate) name: String,
    /// The organization to which the role belongs; `None` for a deployment-wide role
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) organization: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) site_permissions: Vec<Permission>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) organization_permissions: Vec<Permission>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) user_permissions: Vec<Permission>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct Permission {
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) negate: bool,
    pub(crate) resource_type: String,
    pub(crate) action: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct Template {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) id: Option<Uuid>,
    pub(crate) name: String,
    pub(crate) organization: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) max_port_sharing_level: SharingLevel,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) cors_behavior: CorsBehavior,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) deleted: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct Workspace {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) id: Option<Uuid>,
    pub(crate) name: String,
    pub(crate) owner: String,
    pub(crate) organization: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) template: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) deleted: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) dormant_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) shared_with: SharedWith,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) builds: Vec<Build>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) port_shares: Option<Vec<PortShare>>,
    /// The apps and ports that are shared with users and groups by name
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shares: Option<Vec<Share>>,
}

/// The users and groups that a workspace is shared with, by name
#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub(crate) struct SharedWith {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) users: BTreeMap<String, Access>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) groups: BTreeMap<String, Access>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct Build {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) id: Option<Uuid>,
    pub(crate) number: i32,
    /// The job that made the build; if left out, one of its own
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) job: Option<Uuid>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) transition: Transition,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) created_at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) agents: Vec<Agent>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct Agent {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) id: Option<Uuid>,
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) instance_id: Option<String>,
    /// The agent's session token; if left out, a random one is made once and kept
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) token: Option<Token>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) parent: Option<Uuid>,
    /// The resource of the build's job that the agent runs on; if left out, one for all agents
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) resource: Option<Uuid>,
    /// Whether the agent counts as connected until the next import that sets this; if left out,
    /// the stored times decide
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) connected: Option<bool>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) deleted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) apps: Option<Vec<App>>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct App {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) id: Option<Uuid>,
    pub(crate) slug: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) display_name: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) url: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) command: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) external: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) subdomain: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) sharing_level: SharingLevel,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) health: AppHealth,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) hidden: bool,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct PortShare {
    pub(crate) agent: String,
    pub(crate) port: u16,
    pub(crate) level: SharingLevel,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) protocol: PortShareProtocol,
}

/// With whom an app or a port is shared by name
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct Share {
    pub(crate) agent: String,
    /// The slug of an app, or the number of a port
    pub(crate) app: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) users: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) groups: Vec<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct Proxy {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) id: Option<Uuid>,
    pub(crate) name: String,
    pub(crate) url: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) wildcard_hostname: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) deleted: bool,
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
    Share,
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
    /// [`DocumentError`], with the path of the first error.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        // Some editors begin a file with a byte order mark.
        let text = text.trim_start_matches('\u{feff}');
        match text.trim_start().starts_with('{') {
            true => Self::from_json(text),
            false => Self::from_toml(text),
        }
    }

    /// Reads a document that is JSON
    ///
    /// # Errors
    ///
    /// [`DocumentError`], with the path of the first error.
    pub fn from_json(text: &str) -> Result<Self, DocumentError> {
        let json = &mut serde_json::Deserializer::from_str(text);
        let document = serde_path_to_error::deserialize(&mut *json)
            .map_err(|error| DocumentError::new(written(error.path()), error.into_inner()))?;
        json.end().map_err(|error| DocumentError::new("", error))?;
        Ok(document)
    }

    fn from_toml(text: &str) -> Result<Self, DocumentError> {
        // The error's own text quotes a line of the document.
        let at_line = |error: &toml::de::Error| match error.span() {
            Some(span) => {
                let line = 1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count();
                format!("line {line}: {}", error.message())
            }
            None => error.message().to_owned(),
        };
        let toml = toml::Deserializer::parse(text)
            .map_err(|error| DocumentError::new("", at_line(&error)))?;
        serde_path_to_error::deserialize(toml)
            .map_err(|error| DocumentError::new(written(error.path()), at_line(error.inner())))
    }
}

/// The path in text form; empty if it is the document as a whole, or not known
fn written(path: &serde_path_to_error::Path) -> String {
    match path.to_string() {
        path if matches!(&*path, "." | "?") => String::new(),
        path => path,
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_active(status: &UserStatus) -> bool {
    *status == active()
}

const fn active() -> UserStatus {
    UserStatus::Active
}
