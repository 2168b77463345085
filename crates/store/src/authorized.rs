//! Reads on behalf of a subject, which return only rows that the subject may read

use std::fmt;
use std::time::SystemTime;

use app_authz::WorkspaceId;
use app_authz::app::Workspace;
use app_authz::id::{JobId, OrganizationId};
use app_authz::jobs::{JobDenial, Jobs, ProvisionerJob, authorize_provisioner_job};
use app_authz::rbac::{Action, Filter, ResourceType, Subject};

use crate::Error;

/// A store as a subject sees it
///
/// A row that may not be read looks the same as one that does not exist.
///
/// ```
/// use app_authz::rbac::Subject;
/// use store::MemoryStore;
/// use store::authorized::Authorized;
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let (store, system) = (MemoryStore::default(), Subject::system_restricted());
/// let page = Authorized::new(&store, &system).workspaces(None, 50).await?;
/// assert!(page.rows.is_empty() && page.next.is_none());
/// # Ok::<_, store::Error>(())
/// # })?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Authorized<'a, S> {
    store: &'a S,
    subject: &'a Subject,
}

impl<'a, S: Rows> Authorized<'a, S> {
    /// The view that `subject` has of `store`
    #[must_use]
    pub const fn new(store: &'a S, subject: &'a Subject) -> Self {
        Self { store, subject }
    }

    /// Returns a workspace that is not deleted, if the subject may read it
    ///
    /// One statement.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn workspace(&self, id: WorkspaceId) -> Result<Option<Workspace>, Error> {
        let found = self.store.workspace(id).await?;
        Ok(found.filter(|workspace| self.may_read(workspace)))
    }

    /// Returns a page of the workspaces that the subject may read, by id
    ///
    /// The page begins after the workspace `after`. Deleted workspaces are left out. One
    /// statement; none for a subject that can read no workspace at all. `limit` is capped at
    /// [`MAX_PAGE`].
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn workspaces(
        &self,
        after: Option<WorkspaceId>,
        limit: u16,
    ) -> Result<Page<Workspace, WorkspaceId>, Error> {
        let filter = |kind| self.subject.filter(&Action::Read, &kind);
        let readable = Readable {
            active: filter(ResourceType::Workspace),
            dormant: filter(ResourceType::WorkspaceDormant),
        };
        if readable.active.is_never() && readable.dormant.is_never() {
            return Ok(Page { rows: Vec::new(), next: None });
        }
        let limit = limit.min(MAX_PAGE);
        let mut rows = self.store.workspaces(&readable, after, limit).await?;
        // Of all rows that were read, also those that are left out next.
        let full = rows.len() >= usize::from(limit);
        let next = rows.last().map(|last| last.id).filter(|_| full);
        rows.retain(|workspace| self.may_read(workspace));
        Ok(Page { rows, next })
    }

    /// Returns a provisioner job, if the subject may read what the job was started for
    ///
    /// One statement for a subject that may read the system, otherwise two.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn provisioner_job(&self, id: JobId) -> Result<Option<JobRecord>, Error> {
        let Some(record) = self.store.job(id).await? else { return Ok(None) };
        match authorize_provisioner_job(self.subject, record.job, self.store).await {
            Ok(()) => Ok(Some(record)),
            Err(JobDenial::Unavailable(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    fn may_read(&self, workspace: &Workspace) -> bool {
        self.subject.is_allowed(&Action::Read, &workspace.object())
    }
}

impl<S> fmt::Debug for Authorized<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorized").field("subject", &self.subject.id()).finish_non_exhaustive()
    }
}

/// A page of rows, and where the next one begins
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<T, C> {
    /// At most as many rows as were asked for; fewer rows do not mean that this is the last page
    pub rows: Vec<T>,
    /// The cursor of the next page; `None` after the last page
    pub next: Option<C>,
}

/// A provisioner job and its state
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobRecord {
    /// Id and kind of the job
    pub job: ProvisionerJob,
    /// The organization that the job belongs to
    pub organization: OrganizationId,
    /// When the job ended; `None` while it runs
    pub completed_at: Option<SystemTime>,
    /// Why the job failed; `None` if it has not
    pub error: Option<String>,
}

impl JobRecord {
    /// A job that has not ended
    #[must_use]
    pub const fn new(job: ProvisionerJob, organization: OrganizationId) -> Self {
        Self { job, organization, completed_at: None, error: None }
    }
}

/// The most rows of a page
pub const MAX_PAGE: u16 = 500;

/// Reads that check no rights
///
/// For [`Authorized`] alone, which checks what they return.
pub trait Rows: Jobs<Error = Error> {
    /// Returns a workspace, unless it is deleted
    fn workspace(
        &self,
        id: WorkspaceId,
    ) -> impl Future<Output = Result<Option<Workspace>, Error>> + Send;

    /// Returns a page of the workspaces that are readable and not deleted, by id
    ///
    /// Other workspaces may be among them: a database may read a malformed access list in
    /// another way than this program.
    fn workspaces(
        &self,
        readable: &Readable,
        after: Option<WorkspaceId>,
        limit: u16,
    ) -> impl Future<Output = Result<Vec<Workspace>, Error>> + Send;

    /// Returns a provisioner job
    fn job(&self, id: JobId) -> impl Future<Output = Result<Option<JobRecord>, Error>> + Send;
}

/// Which workspaces a subject may read
#[derive(Debug)]
pub struct Readable {
    /// Filter for workspaces that are in use
    pub active: Filter,
    /// Filter for dormant workspaces, which are objects of another type
    pub dormant: Filter,
}

impl Readable {
    /// Whether the workspace is one of these
    #[must_use]
    pub fn matches(&self, workspace: &Workspace) -> bool {
        let filter = if workspace.dormant { &self.dormant } else { &self.active };
        filter.matches(&workspace.object())
    }
}
