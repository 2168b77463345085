use std::sync::Arc;

use app_authz::id::{OrganizationId, TemplateId};
use app_authz::jobs::{JobKind, JobOrigin, Jobs, ProvisionerJob};
use app_authz::rbac::Acl;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Jsonb, Nullable, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::connect::Connection;
use super::values::Shared;
use super::workspaces::{WORKSPACE, WorkspaceColumns, WorkspaceRow, workspace};
use crate::Error;

impl Jobs for PgStore {
    type Error = Error;

    async fn origin(&self, job: ProvisionerJob) -> Result<Option<JobOrigin>, Error> {
        let id = job.id.0;
        let template = match job.kind {
            JobKind::WorkspaceBuild => {
                let found = self.reads.run(async |connection: Arc<Connection>| {
                    let workspaces = connection.tables.workspaces();
                    let row = OfBuild { id, workspaces }
                        .get_result::<WorkspaceRow>(&mut &connection.inner);
                    row.await.optional()
                });
                return Ok(found.await?.map(|row| JobOrigin::Workspace(workspace(row))));
            }
            JobKind::TemplateVersionImport => {
                let found = self.reads.run(async |connection: Arc<Connection>| {
                    OfImport(id).get_result::<TemplateRow>(&mut &connection.inner).await.optional()
                });
                found.await?
            }
            JobKind::TemplateVersionDryRun => {
                let found = self.reads.run(async |connection: Arc<Connection>| {
                    OfDryRun(id).get_result::<TemplateRow>(&mut &connection.inner).await.optional()
                });
                found.await?
            }
            // A kind that no statement is known for has no origin, and so may not be read.
            _ => None,
        };
        Ok(template.map(|(id, organization, users, groups)| {
            let list = |stored: Option<Shared>| stored.map_or_else(Default::default, |s| s.0);
            JobOrigin::Template {
                id: id.map(TemplateId),
                organization: OrganizationId(organization),
                acl: Acl::new(list(users), list(groups)),
            }
        }))
    }
}

type TemplateRow = (Option<Uuid>, Uuid, Option<Shared>, Option<Shared>);
type TemplateColumns = (Nullable<SqlUuid>, SqlUuid, Nullable<Jsonb>, Nullable<Jsonb>);

/// The workspace of a job's build, deleted or not
struct OfBuild {
    id: Uuid,
    workspaces: &'static str,
}

prepared_once!(OfBuild);

impl QueryFragment<Pg> for OfBuild {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        out.push_sql(WORKSPACE);
        out.push_sql(
            "
FROM workspace_builds b
JOIN ",
        );
        out.push_sql(self.workspaces);
        out.push_sql(
            " w ON w.id = b.workspace_id
JOIN users owner ON owner.id = w.owner_id
WHERE b.job_id = ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.id)
    }
}

impl Query for OfBuild {
    type SqlType = WorkspaceColumns;
}

/// The template of the version that a job reads
#[derive(QueryId)]
struct OfImport(Uuid);

impl QueryFragment<Pg> for OfImport {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "\
SELECT v.template_id, v.organization_id, t.user_acl, t.group_acl
FROM template_versions v
LEFT JOIN templates t ON t.id = v.template_id
WHERE v.job_id = ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.0)
    }
}

impl Query for OfImport {
    type SqlType = TemplateColumns;
}

/// The template of the version that a job tries, which the job's input names
#[derive(QueryId)]
struct OfDryRun(Uuid);

impl QueryFragment<Pg> for OfDryRun {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "\
SELECT v.template_id, v.organization_id, t.user_acl, t.group_acl
FROM provisioner_jobs j
JOIN template_versions v ON v.id = (j.input ->> 'template_version_id')::uuid
LEFT JOIN templates t ON t.id = v.template_id
WHERE j.id = ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.0)
    }
}

impl Query for OfDryRun {
    type SqlType = TemplateColumns;
}
