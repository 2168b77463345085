use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use store::fleet::{
    AppHealth, CorsBehavior, LoginType, PortShareProtocol, SharingLevel, Token, Transition,
    UserStatus,
};
use uuid::Uuid;

use super::object::read_from_objects;

/// A deployment as a person or a control plane writes it down
///
/// Things refer to each other by name, or by id where the other is not in the document.
/// What has no id gets one that follows from its name, the same in every import. Things
/// that are left out stay as they are; of a list that is given, what it no longer holds
/// is removed. Of a thing that is there, other fields that are left out have their defaults,
/// but for `email`, `token`, `connected` and `created_at`, which stay.
#[derive(Debug, Default, Deserialize)]
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct Organization {
    pub(crate) id: Option<Uuid>,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) deleted: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct User {
    pub(crate) id: Option<Uuid>,
    pub(crate) username: String,
    #[serde(default)]
    pub(crate) email: Option<String>,
    #[serde(default = "active")]
    pub(crate) status: UserStatus,
    #[serde(default)]
    pub(crate) deleted: bool,
    #[serde(default)]
    pub(crate) login_type: LoginType,
    /// Roles of the deployment
    #[serde(default)]
    pub(crate) roles: Vec<String>,
    /// The roles in each organization the user is a member of
    #[serde(default)]
    pub(crate) organizations: Option<BTreeMap<String, Vec<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct Group {
    pub(crate) id: Option<Uuid>,
    pub(crate) name: String,
    pub(crate) organization: String,
    #[serde(default)]
    pub(crate) members: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct Role {
    pub(crate) id: Option<Uuid>,
    pub(crate) name: String,
    /// Confines the role; without one it is the deployment's
    #[serde(default)]
    pub(crate) organization: Option<String>,
    #[serde(default)]
    pub(crate) site_permissions: Vec<Permission>,
    #[serde(default)]
    pub(crate) organization_permissions: Vec<Permission>,
    #[serde(default)]
    pub(crate) user_permissions: Vec<Permission>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct Permission {
    #[serde(default)]
    pub(crate) negate: bool,
    pub(crate) resource_type: String,
    pub(crate) action: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct Template {
    pub(crate) id: Option<Uuid>,
    pub(crate) name: String,
    pub(crate) organization: String,
    #[serde(default)]
    pub(crate) max_port_sharing_level: SharingLevel,
    #[serde(default)]
    pub(crate) cors_behavior: CorsBehavior,
    #[serde(default)]
    pub(crate) deleted: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct Workspace {
    pub(crate) id: Option<Uuid>,
    pub(crate) name: String,
    pub(crate) owner: String,
    pub(crate) organization: String,
    #[serde(default)]
    pub(crate) template: Option<String>,
    #[serde(default)]
    pub(crate) deleted: bool,
    #[serde(default)]
    pub(crate) dormant_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(crate) shared_with: SharedWith,
    #[serde(default)]
    pub(crate) builds: Vec<Build>,
    #[serde(default)]
    pub(crate) port_shares: Option<Vec<PortShare>>,
}

/// Whom a workspace is shared with by name, and how far
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, remote = "Self")]
pub(crate) struct SharedWith {
    pub(crate) users: BTreeMap<String, Access>,
    pub(crate) groups: BTreeMap<String, Access>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Access {
    Use,
    Admin,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct Build {
    pub(crate) id: Option<Uuid>,
    pub(crate) number: i32,
    #[serde(default)]
    pub(crate) transition: Transition,
    #[serde(default)]
    pub(crate) created_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(crate) agents: Vec<Agent>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct Agent {
    pub(crate) id: Option<Uuid>,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) instance_id: Option<String>,
    /// The session token; without one it gets a random one, and keeps it
    #[serde(default)]
    pub(crate) token: Option<Token>,
    #[serde(default)]
    pub(crate) parent: Option<Uuid>,
    /// Whether it counts as connected, until an import says otherwise; without a word
    /// on it, whoever else writes these times decides
    #[serde(default)]
    pub(crate) connected: Option<bool>,
    #[serde(default)]
    pub(crate) deleted: bool,
    #[serde(default)]
    pub(crate) apps: Option<Vec<App>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct App {
    pub(crate) id: Option<Uuid>,
    pub(crate) slug: String,
    #[serde(default)]
    pub(crate) display_name: Option<String>,
    #[serde(default)]
    pub(crate) url: Option<String>,
    #[serde(default)]
    pub(crate) command: Option<String>,
    #[serde(default)]
    pub(crate) external: bool,
    #[serde(default)]
    pub(crate) subdomain: bool,
    #[serde(default)]
    pub(crate) sharing_level: SharingLevel,
    #[serde(default)]
    pub(crate) health: AppHealth,
    #[serde(default)]
    pub(crate) hidden: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct PortShare {
    pub(crate) agent: String,
    pub(crate) port: u16,
    pub(crate) level: SharingLevel,
    #[serde(default)]
    pub(crate) protocol: PortShareProtocol,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, remote = "Self")]
pub(crate) struct Proxy {
    pub(crate) id: Option<Uuid>,
    pub(crate) name: String,
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) wildcard_hostname: String,
    #[serde(default)]
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
    /// [`DocumentError`], with the path of the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        // Some editors put a byte order mark at the start of a file.
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
    /// [`DocumentError`], with the path of the first thing that is wrong.
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

/// What is wrong with a document, and where
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}{reason}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct DocumentError {
    /// Such as `workspaces[0].builds[1].number`; empty if it is the document as a whole
    pub path: String,
    /// What is wrong there; does not quote the document
    pub reason: String,
}

impl DocumentError {
    /// The document is not text at all
    pub fn not_text() -> Self {
        Self::new("", "not UTF-8")
    }

    pub(crate) fn new(path: impl Into<String>, reason: impl ToString) -> Self {
        Self { path: path.into(), reason: reason.to_string() }
    }
}

const fn active() -> UserStatus {
    UserStatus::Active
}
