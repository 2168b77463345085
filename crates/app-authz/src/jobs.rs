//! Whether a subject may read a provisioner job

use std::error::Error as StdError;
use std::str::FromStr;

use thiserror::Error as ThisError;

use crate::Error;
use crate::app::Workspace;
use crate::id::{JobId, OrganizationId, TemplateId};
use crate::rbac::{Acl, Action, Object, ResourceType, Subject};

/// Decides whether `subject` may read a provisioner job
///
/// A job is nobody's by itself: whoever may read what it was started for may read it.
/// The control plane's own subjects may read the system, and for them `jobs` is not
/// asked at all; that keeps a storm of agent sign-ins from asking for each job's build,
/// workspace and template.
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

/// Answers what a provisioner job was started for
pub trait Jobs: Sync {
    /// Why the question could not be answered
    type Error: StdError + Send + Sync + 'static;

    /// The workspace of the job's build, or the template of its template version
    ///
    /// One question, one round trip; nothing if the job has neither.
    fn origin(
        &self,
        job: ProvisionerJob,
    ) -> impl Future<Output = Result<Option<JobOrigin>, Self::Error>> + Send;
}

/// A job of a provisioner
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvisionerJob {
    /// Its id
    pub id: JobId,
    /// What it does
    pub kind: JobKind,
}

/// What a provisioner's job does
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobKind {
    /// Builds a workspace
    WorkspaceBuild,
    /// Reads a new version of a template
    TemplateVersionImport,
    /// Tries a version of a template
    TemplateVersionDryRun,
}

impl FromStr for JobKind {
    type Err = Error;

    /// Reads the type of a job as it is stored
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
    /// The workspace of its build
    Workspace(Workspace),
    /// The template of its version
    Template {
        /// The template; nothing while the version belongs to none yet
        id: Option<TemplateId>,
        /// The version's organization
        organization: OrganizationId,
        /// Whom the template is shared with by name
        acl: Acl,
    },
}

/// Why a subject may not read a job
#[derive(Clone, Debug, ThisError, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobDenial<E> {
    /// The job has no build and no template version, or not one of its kind
    #[error("the job belongs to no build and no template version")]
    NoOrigin,
    /// The subject may not read the workspace that the job builds
    #[error("the workspace of the job may not be read")]
    Workspace,
    /// The subject may not read the template of the job's version
    #[error("the template of the job may not be read")]
    Template,
    /// What the job was started for is not known for the reason given
    #[error("what the job was started for is unknown: {0}")]
    Unavailable(E),
}
