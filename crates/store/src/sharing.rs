//! Apps and ports that are shared with users and groups by name

mod explain;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use app_audit::{Act, SubjectKind};
use app_authz::app::{
    AccessMethod, Person, Port, ResolveError, SharingLevel, UncheckedRequest, WorkspaceFacts,
};
use app_authz::id::{GroupId, NameOrId, OrganizationId};
use app_authz::{AppRequest, Directory, Rules, UserId, WorkspaceId, resolve};
use chrono::{DateTime, Utc};
use serde::Serialize;
use thiserror::Error as ThisError;
use uuid::Uuid;

pub use self::explain::{Explanation, explain};
use crate::Error;

/// Reads and writes the rows of `authd_shares`
///
/// Who may change them is not checked here. [`change`] checks what may be shared.
pub trait Sharing: Sync {
    /// Returns the people with these names or ids, in the order of the names
    ///
    /// The name of a user is not case-sensitive; a deleted user is not found. A group is found by
    /// name within `organization`, and by id in any. One statement.
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`].
    fn find_people(
        &self,
        organization: OrganizationId,
        users: &[String],
        groups: &[String],
    ) -> impl Future<Output = Result<FoundPeople, Error>> + Send;

    /// Returns the shares of a workspace, or of all, by workspace, agent, app and name
    ///
    /// Returns at most [`MAX_LISTED`](crate::MAX_LISTED). One statement.
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`].
    fn shares(
        &self,
        workspace: Option<WorkspaceId>,
    ) -> impl Future<Output = Result<Vec<ShareRow>, Error>> + Send;

    /// Writes a change, and records it as `act` in the same transaction if it changes something
    ///
    /// Changes of one workspace take turns. Where the database has channels, `authd_shares` is
    /// notified with the id of the workspace.
    ///
    /// Returns `None`, and changes nothing, if the app or port would have more than
    /// [`MAX_PEOPLE`] shares.
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`].
    fn write_shares(
        &self,
        change: &ShareChange,
        act: &Act,
    ) -> impl Future<Output = Result<Option<Changed>, Error>> + Send;
}

/// The people that names stand for; `None` for an unknown name
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundPeople {
    /// The users, and whether each is a member of the organization
    pub users: Vec<Option<(UserId, bool)>>,
    /// The groups
    pub groups: Vec<Option<GroupId>>,
}

/// A row of `authd_shares`, with names
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "postgres", derive(diesel::Queryable))]
#[non_exhaustive]
pub struct ShareRow {
    /// The workspace
    pub workspace_id: Uuid,
    /// Owner and name of the workspace, such as `ann/dev`; `None` if it is deleted
    pub workspace: Option<String>,
    /// The name of the agent
    pub agent: String,
    /// The slug of the app, or the number of the port
    pub app: String,
    /// Whether it is shared with a group
    pub is_group: bool,
    /// The id of the user or the group
    pub id: Uuid,
    /// The name of the user or the group; `None` if it does not exist any more
    pub name: Option<String>,
    /// When it was shared
    pub created_at: DateTime<Utc>,
    /// The user who has shared it; `None` for an operator or an import
    pub created_by: Option<Uuid>,
}

impl ShareRow {
    /// The heading of a table of such rows
    #[must_use]
    pub fn heading() -> String {
        line("WORKSPACE", "AGENT", "APP", "KIND", "NAME")
    }
}

fn line(workspace: &str, agent: &str, app: &str, kind: &str, name: &str) -> String {
    format!("{workspace:<30} {agent:<16} {app:<20} {kind:<6} {name}")
}

/// The row as a line of a table
impl fmt::Display for ShareRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (workspace, id) = (self.workspace_id.to_string(), self.id.to_string());
        let workspace = self.workspace.as_deref().unwrap_or(&workspace);
        let kind = if self.is_group { "group" } else { "user" };
        let name = self.name.as_deref().unwrap_or(&id);
        f.write_str(&line(workspace, &self.agent, &self.app, kind, name))
    }
}

/// A change to the people with whom an app or a port is shared
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShareChange {
    /// The workspace
    pub workspace: WorkspaceId,
    /// The name of the agent
    pub agent: String,
    /// The slug of the app, or the number of the port
    pub slug_or_port: String,
    /// How the list changes
    pub edit: Edit,
    /// The people, each once
    pub people: BTreeSet<Person>,
    /// The user who changes it; `None` for an operator
    pub by: Option<UserId>,
    /// When
    pub at: SystemTime,
}

/// How the people of a change relate to those with whom an app or a port is shared
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// They are all
    Set,
    /// They are further ones
    Add,
    /// They are withdrawn
    Remove,
}

/// What a change has done
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed {
    /// The people with whom it was not shared before
    pub added: Vec<Person>,
    /// The people with whom it is not shared any more
    pub removed: Vec<Person>,
}

impl Changed {
    /// Whether nothing was changed
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    /// The act of this change
    pub(crate) fn of_act(&self, act: &Act, change: &ShareChange) -> Act {
        let ids = |people: &[Person]| people.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut act = act.clone();
        act.workspace = Some(app_audit::WorkspaceId(change.workspace.0));
        act.subject(SubjectKind::App, &format!("{}/{}", change.agent, change.slug_or_port))
            .detail_value("added", ids(&self.added).into())
            .detail_value("removed", ids(&self.removed).into())
    }
}

/// What is to be shared with whom, as a user or an operator names it
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShareRequest {
    /// The owner of the workspace, by name or id
    pub owner: String,
    /// The workspace, by name or id
    pub workspace: String,
    /// The agent, by name or id; may be left out if the workspace has one
    pub agent: Option<String>,
    /// The slug of the app, or the number of the port
    pub slug_or_port: String,
    /// How the list changes
    pub edit: Edit,
    /// The users, by name or id
    pub users: Vec<String>,
    /// The groups: by id, or by name within the workspace's organization
    pub groups: Vec<String>,
}

impl ShareRequest {
    /// Asks to replace the list of an app or a port of `OWNER/WORKSPACE` by an empty one
    ///
    /// # Errors
    ///
    /// [`ShareError::WorkspaceName`] unless there is exactly one `/`.
    pub fn of(workspace: &str, slug_or_port: &str) -> Result<Self, ShareError> {
        let (owner, workspace) = workspace
            .split_once('/')
            .filter(|(owner, name)| {
                !owner.is_empty() && !name.is_empty() && !name.contains(['/', '\0'])
            })
            .ok_or(ShareError::WorkspaceName)?;
        Ok(Self {
            owner: owner.to_owned(),
            workspace: workspace.to_owned(),
            agent: None,
            slug_or_port: slug_or_port.to_owned(),
            edit: Edit::Set,
            users: Vec::new(),
            groups: Vec::new(),
        })
    }

    /// The request with which a directory is asked for the workspace
    ///
    /// # Errors
    ///
    /// [`ShareError::App`] if the name of the app, or of the agent, is not one.
    pub fn request(&self) -> Result<AppRequest, ShareError> {
        let request = UncheckedRequest {
            access_method: AccessMethod::Subdomain.to_string(),
            username_or_id: self.owner.clone(),
            workspace_name_or_id: self.workspace.clone(),
            agent_name_or_id: self.agent.clone().unwrap_or_default(),
            app_slug_or_port: self.slug_or_port.clone(),
            ..UncheckedRequest::default()
        };
        request.try_into().map_err(|_| ShareError::App)
    }
}

/// Returns the facts of the workspace that is asked for, in one statement
///
/// # Errors
///
/// [`ShareError::NoWorkspace`], [`ShareError::App`]; [`ShareError::Store`].
pub async fn find_workspace<S: Directory<Error = Error>>(
    store: &S,
    asked: &ShareRequest,
) -> Result<Arc<WorkspaceFacts>, ShareError> {
    let facts = store.app_access(&asked.request()?, &[]).await?.workspace;
    facts.ok_or_else(|| ShareError::NoWorkspace(format!("{}/{}", asked.owner, asked.workspace)))
}

/// Changes with whom an app or a port of a workspace is shared
///
/// `facts` are those that a [`Directory`] has for [`ShareRequest::request`]. The
/// caller has checked that the change is allowed. People are only added to an app or port of a
/// workspace that runs, and whose template allows it; they can be removed in any state. At most two
/// statements besides those of the transaction.
///
/// # Errors
///
/// A [`ShareError`], and then nothing is changed.
pub async fn change<S: Sharing>(
    store: &S,
    facts: &WorkspaceFacts,
    asked: &ShareRequest,
    rules: Rules,
    (by, at): (Option<UserId>, SystemTime),
    act: &Act,
) -> Result<(ShareChange, Changed), ShareError> {
    let (users, groups) = (&asked.users, &asked.groups);
    if users.len() + groups.len() > MAX_PEOPLE {
        return Err(ShareError::TooMany);
    }
    if facts.asked_owner != facts.workspace.owner {
        return Err(ShareError::NotOpenable(ResolveError::NotOwner));
    }
    let is_empty = users.is_empty() && groups.is_empty();
    let adds = !is_empty && asked.edit != Edit::Remove;
    let (agent, slug_or_port) = place(facts, asked, rules, adds)?;
    let workspace = &facts.workspace;
    let people = match is_empty {
        true => BTreeSet::new(),
        false => {
            let found = store.find_people(workspace.organization, users, groups).await?;
            let widest = facts.max_port_sharing.filter(|_| adds && rules.enforce_max_port_sharing);
            people(asked, &found, workspace.organization, widest)?
        }
    };
    let (edit, workspace) = (asked.edit, workspace.id);
    let change = ShareChange { workspace, agent, slug_or_port, edit, people, by, at };
    let changed = store.write_shares(&change, act).await?.ok_or(ShareError::TooMany)?;
    Ok((change, changed))
}

/// The agent and the app or port, as rows name them
fn place(
    facts: &WorkspaceFacts,
    asked: &ShareRequest,
    rules: Rules,
    adds: bool,
) -> Result<(String, String), ShareError> {
    let request = asked.request()?;
    let port = request.port();
    if adds && rules.disable_workspace_sharing {
        return Err(ShareError::SharingOff);
    }
    if adds && port.is_some_and(Port::is_reserved) {
        return Err(ShareError::ReservedPort);
    }
    let named = port.map_or_else(|| asked.slug_or_port.clone(), |port| port.number().to_string());
    match resolve(&request, Some(facts), rules) {
        Ok(target) => {
            let is_of = |app: &&app_authz::app::App| Some(app.id) == target.app();
            let slug = facts.apps.iter().find(is_of).map(|app| app.slug.clone());
            Ok((target.agent().name.clone(), slug.unwrap_or(named)))
        }
        Err(error) if adds => Err(ShareError::NotOpenable(error)),
        // What does not run any more can still be withdrawn, by the names that it had.
        Err(_) => match (&asked.agent, &*facts.agents) {
            (Some(agent), _) => Ok((agent.clone(), named)),
            (None, [agent]) => Ok((agent.name.clone(), named)),
            (None, _) => Err(ShareError::AgentNeeded),
        },
    }
}

/// The person of these columns of `authd_shares`
pub(crate) const fn person(is_group: bool, id: Uuid) -> Person {
    match is_group {
        true => Person::Group(GroupId(id)),
        false => Person::User(UserId(id)),
    }
}

/// The columns `is_group` and `person_id` of a person
pub(crate) const fn columns_of(person: Person) -> (bool, Uuid) {
    match person {
        Person::User(UserId(id)) => (false, id),
        Person::Group(GroupId(id)) => (true, id),
    }
}

fn people(
    asked: &ShareRequest,
    found: &FoundPeople,
    organization: OrganizationId,
    widest: Option<SharingLevel>,
) -> Result<BTreeSet<Person>, ShareError> {
    let mut people = BTreeSet::new();
    if widest == Some(SharingLevel::Owner) {
        return Err(ShareError::OverMaximum { widest: SharingLevel::Owner, user: None });
    }
    for (name, user) in asked.users.iter().zip(&found.users) {
        // A user who was deleted can be removed by id.
        let id = match (user, NameOrId::from(&**name)) {
            (Some((id, is_member)), _) => {
                if let Some(widest) = widest
                    && widest < SharingLevel::Authenticated
                    && !is_member
                {
                    return Err(ShareError::OverMaximum { widest, user: Some(name.clone()) });
                }
                *id
            }
            (None, NameOrId::Id(id)) if asked.edit == Edit::Remove => UserId(id),
            _ => return Err(ShareError::UnknownUser(name.clone())),
        };
        people.insert(Person::User(id));
    }
    for (name, group) in asked.groups.iter().zip(&found.groups) {
        let id = match (group, NameOrId::from(&**name)) {
            (Some(id), _) => *id,
            (None, NameOrId::Id(id)) if asked.edit == Edit::Remove || id == organization.0 => {
                GroupId(id)
            }
            _ => return Err(ShareError::UnknownGroup(name.clone())),
        };
        people.insert(Person::Group(id));
    }
    Ok(people)
}

/// Why something is not shared as asked
#[derive(Clone, Debug, ThisError)]
#[non_exhaustive]
pub enum ShareError {
    /// The workspace is not given as `OWNER/WORKSPACE`
    #[error("a workspace is given as `OWNER/WORKSPACE`")]
    WorkspaceName,
    /// The text is neither a slug nor a port
    #[error("the agent or the app is not given by a name, or the port is not a number")]
    App,
    /// The port is reserved
    #[error("ports below 9 are reserved and never open")]
    ReservedPort,
    /// The workspace has several agents, or none, and the request does not name one
    #[error("the agent has to be named")]
    AgentNeeded,
    /// Nothing with these names can be opened now
    #[error("{0}")]
    NotOpenable(ResolveError),
    /// The deployment ignores what users share with people
    #[error("the deployment does not let users share with people")]
    SharingOff,
    /// The template does not allow it
    #[error("the template allows sharing at the level `{widest}` at most{}", of_user(user.as_deref()))]
    OverMaximum {
        /// The widest level that it allows
        widest: SharingLevel,
        /// The user who would be let in at a wider one
        user: Option<String>,
    },
    /// A user does not exist
    #[error("the user `{0}` does not exist")]
    UnknownUser(String),
    /// A group does not exist in the workspace's organization
    #[error("the group `{0}` does not exist in the workspace's organization")]
    UnknownGroup(String),
    /// The workspace does not exist
    #[error("the workspace `{0}` does not exist")]
    NoWorkspace(String),
    /// The session does not exist
    #[error("the session `{0}` does not exist")]
    UnknownSession(String),
    /// The list is too long
    #[error("an app or a port is shared with at most {MAX_PEOPLE} users and groups")]
    TooMany,
    /// The store fails
    #[error(transparent)]
    Store(#[from] Error),
}

fn of_user(name: Option<&str>) -> String {
    match name {
        Some(name) => format!(", and `{name}` is not a member of the workspace's organization"),
        None => String::new(),
    }
}

/// The most users and groups with whom an app or a port is shared by name
pub const MAX_PEOPLE: usize = 100;
