use app_authz::id::{OrganizationId, TemplateId};
use app_authz::jobs::{JobKind, JobOrigin, Jobs, ProvisionerJob};
use uuid::Uuid;

use super::MemoryStore;
use super::app_access::acl;
use super::tables::Tables;
use crate::Error;

impl Jobs for MemoryStore {
    type Error = Error;

    async fn origin(&self, job: ProvisionerJob) -> Result<Option<JobOrigin>, Error> {
        let tables = self.read();
        Ok(match job.kind {
            JobKind::WorkspaceBuild => tables.workspace_of(job.id.0),
            JobKind::TemplateVersionImport => {
                tables.version_by_job.get(&job.id.0).and_then(|id| tables.template_of(*id))
            }
            JobKind::TemplateVersionDryRun => tables.tried_version(job.id.0)?,
            // A kind that no statement is known for has no origin, and so may not be read.
            _ => None,
        })
    }
}

impl Tables {
    fn workspace_of(&self, job: Uuid) -> Option<JobOrigin> {
        let build = self.build_by_job.get(&job)?;
        let workspace = self.describe(self.workspaces.get(&build.workspace_id)?)?;
        Some(JobOrigin::Workspace(workspace))
    }

    fn tried_version(&self, job: Uuid) -> Result<Option<JobOrigin>, Error> {
        let job = self.jobs.get(&job);
        let version = job.and_then(|job| job.input.get("template_version_id")?.as_str());
        let version = version.map(Uuid::try_parse).transpose().map_err(Error::query)?;
        Ok(version.and_then(|version| self.template_of(version)))
    }

    fn template_of(&self, version: Uuid) -> Option<JobOrigin> {
        let version = self.template_versions.get(&version)?;
        let template = version.template_id.and_then(|id| self.templates.get(&id));
        let acl = template.map(|template| acl(&template.user_acl, &template.group_acl));
        Some(JobOrigin::Template {
            id: version.template_id.map(TemplateId),
            organization: OrganizationId(version.organization_id),
            acl: acl.unwrap_or_default(),
        })
    }
}
