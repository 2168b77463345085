//! Reads on behalf of a subject: no row comes out that the subject may not read

use std::fmt;
use std::time::SystemTime;

use app_authz::rbac::{Action, Filter, ResourceType, Subject};
use app_authz::{
    JobDenial, JobId, Jobs, OrganizationId, ProvisionerJob, Workspace, WorkspaceId,
    authorize_provisioner_job,
};

use crate::Error;

/// A store as a subject sees it
///
/// Nothing tells a row that may not be read from one that is not there.
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
    /// What `subject` sees of `store`
    #[must_use]
    pub const fn new(store: &'a S, subject: &'a Subject) -> Self {
        Self { store, subject }
    }

    /// A workspace that is not deleted, if the subject may read it
    ///
    /// One statement.
    ///
    /// # Errors
    ///
    /// As the store's.
    pub async fn workspace(&self, id: WorkspaceId) -> Result<Option<Workspace>, Error> {
        let found = self.store.workspace(id).await?;
        Ok(found.filter(|workspace| self.may_read(workspace)))
    }

    /// Those workspaces that are not deleted and the subject may read, after the given
    /// one in the order of their ids
    ///
    /// One statement, and none for a subject that may read no workspace whatever. `limit`
    /// is cut to [`MAX_PAGE`].
    ///
    /// # Errors
    ///
    /// As the store's.
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
        // The last that was looked at, whatever becomes of it.
        let full = rows.len() >= usize::from(limit);
        let next = rows.last().map(|last| last.id).filter(|_| full);
        rows.retain(|workspace| self.may_read(workspace));
        Ok(Page { rows, next })
    }

    /// A job of a provisioner, if the subject may read what it was started for
    ///
    /// One statement for a subject that may read the system, and otherwise two.
    ///
    /// # Errors
    ///
    /// As the store's.
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

/// Rows in order, and where to go on
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<T, C> {
    /// At most as many as were asked for; fewer do not mean that these are the last
    pub rows: Vec<T>,
    /// What to ask for the next page with; nothing after the last
    pub next: Option<C>,
}

/// A job of a provisioner, as far as it went
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobRecord {
    /// The job
    pub job: ProvisionerJob,
    /// The organization it is done for
    pub organization: OrganizationId,
    /// When it ended, if it did
    pub completed_at: Option<SystemTime>,
    /// Why it failed, if it did
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

/// What a store reads for whoever asks: for [`Authorized`] alone, which hands it on with
/// care
pub trait Rows: Jobs<Error = Error> {
    /// The workspace, unless it is deleted
    fn workspace(
        &self,
        id: WorkspaceId,
    ) -> impl Future<Output = Result<Option<Workspace>, Error>> + Send;

    /// At least those that are readable and not deleted, in the order of their ids
    ///
    /// Others may be among them: where access lists are not as they should be, a database
    /// need not understand them as we do.
    fn workspaces(
        &self,
        readable: &Readable,
        after: Option<WorkspaceId>,
        limit: u16,
    ) -> impl Future<Output = Result<Vec<Workspace>, Error>> + Send;

    /// The job
    fn job(&self, id: JobId) -> impl Future<Output = Result<Option<JobRecord>, Error>> + Send;
}

/// Which workspaces a subject may read
#[derive(Debug)]
pub struct Readable {
    /// Of those in use
    pub active: Filter,
    /// Of those that are dormant, which are objects of another type
    pub dormant: Filter,
}

impl Readable {
    /// Whether the workspace is among them
    #[must_use]
    pub fn matches(&self, workspace: &Workspace) -> bool {
        let filter = if workspace.dormant { &self.dormant } else { &self.active };
        filter.matches(&workspace.object())
    }
}
