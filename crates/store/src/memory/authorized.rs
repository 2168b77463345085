use std::ops::Bound;

use app_authz::WorkspaceId;
use app_authz::app::Workspace;
use app_authz::id::{JobId, OrganizationId};
use app_authz::jobs::ProvisionerJob;

use super::MemoryStore;
use crate::Error;
use crate::authorized::{JobRecord, Readable, Rows};

impl Rows for MemoryStore {
    async fn workspace(&self, id: WorkspaceId) -> Result<Option<Workspace>, Error> {
        let tables = self.read();
        let workspace = tables.workspaces.get(&id.0).filter(|workspace| !workspace.deleted);
        Ok(workspace.and_then(|workspace| tables.describe(workspace)))
    }

    async fn workspaces(
        &self,
        readable: &Readable,
        after: Option<WorkspaceId>,
        limit: u16,
    ) -> Result<Vec<Workspace>, Error> {
        let tables = self.read();
        let after = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.0));
        let rows = tables.workspaces.range((after, Bound::Unbounded));
        let found = rows
            .filter(|(_, workspace)| !workspace.deleted)
            .filter_map(|(_, workspace)| tables.describe(workspace))
            .filter(|workspace| readable.matches(workspace));
        Ok(found.take(limit.into()).collect())
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, Error> {
        let tables = self.read();
        Ok(tables.jobs.get(&id.0).map(|row| JobRecord {
            job: ProvisionerJob::new(id, row.type_.into()),
            organization: OrganizationId(row.organization_id),
            completed_at: row.completed_at.map(Into::into),
            error: row.error.clone(),
        }))
    }
}
