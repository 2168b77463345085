//! Decides whether a subject may read a provisioner job

use std::error::Error as StdError;
use std::str::FromStr;

use thiserror::Error as ThisError;

use crate::Error;
use crate::app::Workspace;
use crate::id::{JobId, OrganizationId, TemplateId};
use crate::port::port;
use crate::rbac::{Acl, Action, Object, ResourceType, Subject};

/// Decides whether `subject` may read a provisioner job
///
/// A job has no owner of its own: a subject may read it who may read the workspace or the
/// template that it was started for. For a subject that may read the system, as those of the
/// control plane may, `jobs` is not queried. That saves queries for build, workspace and
/// template when many agents sign in at once.
///
/// # Errors
///
/// A [`JobDenial`] with the reason.
pub async fn authorize_provisioner_job<J: Jobs>(
    subject: &Subject,
    job: ProvisionerJob,
    jobs: &J,
) -> Result<(), JobDenial<J::Error>> {
    if subject.is_allowed(&Action::Read, &Object::new(ResourceType::System)) {
        return Ok(());
    }
    let origin = jobs.origin(job).await.map_err(JobDenial::Unavailable)?;
    match (job.kind, origin) {
        (JobKind::WorkspaceBuild, Some(JobOrigin::Workspace(workspace))) => {
            match subject.is_allowed(&Action::Read, &workspace.object()) {
                true => Ok(()),
                false => Err(JobDenial::Workspace),
            }
        }
        (
            JobKind::TemplateVersionImport | JobKind::TemplateVersionDryRun,
            Some(JobOrigin::Template { id, organization, acl }),
        ) => {
            let object = Object::new(ResourceType::Template).organization(organization).acl(&acl);
            let object = match id {
                Some(id) => object.id(id.0),
                None => object,
            };
            match subject.is_allowed(&Action::Read, &object) {
                true => Ok(()),
                false => Err(JobDenial::Template),
            }
        }
        _ => Err(JobDenial::NoOrigin),
    }
}

/// Looks up what a provisioner job was started for
pub trait Jobs: Sync {
    /// Why the query failed
    type Error: StdError + Send + Sync + 'static;

    /// Returns the workspace of the job's build, or the template of its template version
    ///
    /// `None` if the job has neither. One query, one round trip. Unless this is implemented, no
    /// job is known, and only a subject that may read the system may read one.
    fn origin(
        &self,
        _job: ProvisionerJob,
    ) -> impl Future<Output = Result<Option<JobOrigin>, Self::Error>> + Send {
        std::future::ready(Ok(None))
    }
}

port! {
    DynJobs of Jobs
    fn origin as dyn_origin([], job: ProvisionerJob) -> Option<JobOrigin>;
}

/// A job of a provisioner, by id and kind
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProvisionerJob {
    /// The job's id
    pub id: JobId,
    /// What the job does
    pub kind: JobKind,
}

impl ProvisionerJob {
    /// The job with this id, which does this
    #[must_use]
    pub const fn new(id: JobId, kind: JobKind) -> Self {
        Self { id, kind }
    }
}

/// What a provisioner's job does
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobKind {
    /// The job builds a workspace
    WorkspaceBuild,
    /// The job imports a new version of a template
    TemplateVersionImport,
    /// The job plans a template version without building a workspace
    TemplateVersionDryRun,
}

impl FromStr for JobKind {
    type Err = Error;

    /// Parses the label in the database
    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(match text {
            "workspace_build" => Self::WorkspaceBuild,
            "template_version_import" => Self::TemplateVersionImport,
            "template_version_dry_run" => Self::TemplateVersionDryRun,
            _ => return Err(Error::UnknownJobKind(text.to_owned())),
        })
    }
}

/// What a job was started for
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobOrigin {
    /// The workspace of the build
    Workspace(Workspace),
    /// The template of the template version
    Template {
        /// The template's id; `None` while the version does not belong to a template yet
        id: Option<TemplateId>,
        /// The organization of the template version
        organization: OrganizationId,
        /// The users and groups with whom the template is shared
        acl: Acl,
    },
}

/// Why a subject may not read a job
#[derive(Clone, Debug, ThisError, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobDenial<E> {
    /// The job has neither a build nor a template version, or not the one its kind requires
    #[error("the job belongs to no build and no template version")]
    NoOrigin,
    /// The subject may not read the workspace that the job builds
    #[error("the workspace of the job may not be read")]
    Workspace,
    /// The subject may not read the template of the job's version
    #[error("the template of the job may not be read")]
    Template,
    /// The query for what the job was started for failed
    #[error("what the job was started for is unknown")]
    Unavailable(#[source] E),
}
