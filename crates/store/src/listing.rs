//! Lists of workspaces and apps, for a page on which a user chooses one

use app_authz::app::WorkspaceFacts;
use app_authz::id::AppId;
use app_authz::rbac::{Action, Filter, ResourceType, Subject};

use crate::Error;

/// Finds the workspaces in which a user may be able to open apps
pub trait Listing: Sync {
    /// Returns a page of workspaces that are neither deleted nor dormant: own ones first, then by
    /// owner and name
    ///
    /// Returns more than may be opened. [`decide`](app_authz::decide) has to be asked about each
    /// app, and [`Subject::is_allowed`] about a workspace that has none. One statement.
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`].
    fn listed(
        &self,
        asked: &ListQuery,
    ) -> impl Future<Output = Result<Vec<ListedWorkspace>, Error>> + Send;
}

/// Which workspaces are listed
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListQuery {
    /// The workspaces whose apps the user's roles, and access lists, open
    ///
    /// Those with a shared app are listed too.
    pub openable: Filter,
    /// A part of the name of the owner, the workspace or an app, in lower case; empty for all
    pub search: String,
    /// The page begins after this workspace
    pub after: Option<ListPosition>,
    /// The most workspaces that are returned
    pub limit: u16,
}

impl ListQuery {
    /// Asks for the first `limit` workspaces, [`MAX_LISTED`] at most, whose names contain `search`
    ///
    /// Capitals do not count. Names have no null character, which is left out.
    #[must_use]
    pub fn new(subject: &Subject, search: &str, limit: u16) -> Self {
        Self {
            openable: subject.filter(&Action::ApplicationConnect, &ResourceType::Workspace),
            search: search.trim().to_lowercase().replace('\0', ""),
            after: None,
            limit: limit.min(MAX_LISTED),
        }
    }
}

/// A place in the list
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPosition {
    /// Whether it is among the workspaces of others
    pub is_of_other: bool,
    /// The name of the owner
    pub owner: String,
    /// The name of the workspace
    pub workspace: String,
}

/// A workspace, its agents and the apps that are shown
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedWorkspace {
    /// The workspace with all agents, and all apps that are not hidden; without shared ports
    pub facts: WorkspaceFacts,
    /// What is shown of each of these apps
    pub apps: Vec<ListedApp>,
}

/// What is shown of an app
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedApp {
    /// The app
    pub id: AppId,
    /// The name to show; empty if the app has none but its slug
    pub display_name: String,
    /// Whether the app's template wants it on a host of its own
    pub is_on_own_host: bool,
    /// How the app answers the checks of its health
    pub health: Health,
}

/// How an app answers the checks of its health
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// The app is not checked, or in a way that is not known here
    Unknown,
    /// The app has not answered yet
    Initializing,
    /// The app answers
    Healthy,
    /// The app does not answer
    Unhealthy,
}

#[cfg(feature = "postgres")]
impl Health {
    /// The meaning of a label of `workspace_apps.health`
    pub(crate) fn of(label: &str) -> Self {
        match label {
            "initializing" => Self::Initializing,
            "healthy" => Self::Healthy,
            "unhealthy" => Self::Unhealthy,
            _ => Self::Unknown,
        }
    }
}

/// The most workspaces of one page
pub const MAX_LISTED: u16 = 100;
