use std::sync::Arc;

use app_authz::id::{OrganizationId, TemplateId};
use app_authz::jobs::{JobKind, JobOrigin, Jobs, ProvisionerJob};
use app_authz::rbac::Acl;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::Uuid as SqlUuid;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::connect::Connection;
use super::schema::{
    provisioner_jobs, template_versions, templates, users, workspace_builds, workspaces,
};
use super::values::Shared;
use super::workspaces::{AccessLists, WorkspaceRow, workspace};
use crate::Error;

impl Jobs for PgStore {
    type Error = Error;

    async fn origin(&self, job: ProvisionerJob) -> Result<Option<JobOrigin>, Error> {
        let id = job.id.0;
        match job.kind {
            JobKind::WorkspaceBuild => {
                let found = self.reads.run(async |connection| of_build(id, connection).await);
                Ok(found.await?.map(|row| JobOrigin::Workspace(workspace(row))))
            }
            JobKind::TemplateVersionImport => {
                let found = self.reads.run(async |connection| of_import(id, connection).await);
                Ok(found.await?.map(TemplateRow::origin))
            }
            JobKind::TemplateVersionDryRun => {
                let found = self.reads.run(async |connection| of_dry_run(id, connection).await);
                Ok(found.await?.map(TemplateRow::origin))
            }
            // There is no statement for a later kind, so its job may not be read.
            _ => Ok(None),
        }
    }
}

/// The workspace of a job's build, deleted or not
async fn of_build(
    job: Uuid,
    connection: Arc<Connection>,
) -> QueryResult<Option<(WorkspaceRow, AccessLists)>> {
    let query = workspace_builds::table
        .inner_join(workspaces::table.on(workspaces::id.eq(workspace_builds::workspace_id)))
        .inner_join(users::table.on(users::id.eq(workspaces::owner_id)))
        .filter(workspace_builds::job_id.eq(job));
    if connection.tables.have_access_lists() {
        let query = query.select(<(WorkspaceRow, AccessLists)>::as_select());
        query.get_result(&mut &connection.inner).await.optional()
    } else {
        let query = query.select(WorkspaceRow::as_select());
        let row = query.get_result(&mut &connection.inner).await.optional()?;
        Ok(row.map(|row| (row, AccessLists::default())))
    }
}

/// The template of the version that a job reads
async fn of_import(job: Uuid, connection: Arc<Connection>) -> QueryResult<Option<TemplateRow>> {
    template_versions::table
        .left_join(templates::table.on(templates::id.nullable().eq(template_versions::template_id)))
        .filter(template_versions::job_id.eq(job))
        .select(TemplateRow::as_select())
        .get_result(&mut &connection.inner)
        .await
        .optional()
}

/// The template of the version that a job tries, which the job's input names
async fn of_dry_run(job: Uuid, connection: Arc<Connection>) -> QueryResult<Option<TemplateRow>> {
    let version = provisioner_jobs::input
        .retrieve_as_text("template_version_id")
        .assume_not_null()
        .fallible_cast::<SqlUuid>();
    provisioner_jobs::table
        .inner_join(template_versions::table.on(template_versions::id.eq(version)))
        .left_join(templates::table.on(templates::id.nullable().eq(template_versions::template_id)))
        .filter(provisioner_jobs::id.eq(job))
        .select(TemplateRow::as_select())
        .get_result(&mut &connection.inner)
        .await
        .optional()
}

/// A version of a template, with the template's access lists if it belongs to one
#[derive(Queryable, Selectable)]
#[diesel(table_name = template_versions, check_for_backend(Pg))]
struct TemplateRow {
    template_id: Option<Uuid>,
    organization_id: Uuid,
    #[diesel(select_expression = templates::user_acl.nullable())]
    user_acl: Option<Shared>,
    #[diesel(select_expression = templates::group_acl.nullable())]
    group_acl: Option<Shared>,
}

impl TemplateRow {
    fn origin(self) -> JobOrigin {
        let list = |stored: Option<Shared>| stored.unwrap_or_default().0;
        JobOrigin::Template {
            id: self.template_id.map(TemplateId),
            organization: OrganizationId(self.organization_id),
            acl: Acl::new(list(self.user_acl), list(self.group_acl)),
        }
    }
}
