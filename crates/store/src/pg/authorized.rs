use std::sync::Arc;

use app_authz::WorkspaceId;
use app_authz::app::Workspace;
use app_authz::id::{JobId, OrganizationId};
use app_authz::jobs::{JobKind, ProvisionerJob};
use diesel::dsl::not;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::connect::Connection;
use super::listing::{organizations, uuids};
use super::schema::{provisioner_jobs, users, workspaces};
use super::values::{Label, Moment};
use super::workspaces::{AccessLists, Columns, WorkspaceRow, workspace};
use crate::Error;
use crate::authorized::{JobRecord, Readable, Rows};

impl Rows for PgStore {
    async fn workspace(&self, id: WorkspaceId) -> Result<Option<Workspace>, Error> {
        let found = self.reads.run(async |connection: Arc<Connection>| {
            let query = workspaces::table
                .inner_join(users::table.on(users::id.eq(workspaces::owner_id)))
                .filter(not(workspaces::deleted).and(workspaces::id.eq(id.0)));
            if connection.tables.have_access_lists() {
                let query = query.select(<(WorkspaceRow, AccessLists)>::as_select());
                query.get_result(&mut &connection.inner).await.optional()
            } else {
                let query = query.select(WorkspaceRow::as_select());
                let row = query.get_result(&mut &connection.inner).await.optional()?;
                Ok(row.map(|row| (row, AccessLists::default())))
            }
        });
        Ok(found.await?.map(workspace))
    }

    async fn workspaces(
        &self,
        readable: &Readable,
        after: Option<WorkspaceId>,
        limit: u16,
    ) -> Result<Vec<Workspace>, Error> {
        // For a subject that may read few workspaces of many, this reads a lot, which would
        // delay other users of a shared connection.
        let mut connection = self.writes.get().await?;
        let tables = connection.tables();
        let Readable { active, dormant } = readable;
        let page = WorkspacesPage {
            sql: tables.workspaces_page(),
            after: after.map_or_else(Uuid::nil, |id| id.0),
            ids: active.ids.as_deref().map(uuids),
            everything: active.everything,
            organizations: organizations(&active.organizations),
            user: active.user.0,
            own: organizations(&active.own_in_organizations),
            shared: organizations(&active.shared_in_organizations),
            own_shared: organizations(&active.own_shared_in_organizations),
            user_key: active.user.to_string(),
            group_keys: active.groups.iter().map(ToString::to_string).collect(),
            actions: vec![active.action.to_string(), "*".to_owned()],
            dormant_ids: dormant.ids.as_deref().map(uuids),
            dormant_everything: dormant.everything,
            dormant_organizations: organizations(&dormant.organizations),
            dormant_user: dormant.user.0,
            dormant_own: organizations(&dormant.own_in_organizations),
            limit: limit.into(),
        };
        let rows: Vec<(WorkspaceRow, AccessLists)> = page.load(&mut *connection).await?;
        Ok(rows.into_iter().map(workspace).collect())
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, Error> {
        let found = self.reads.run(async |connection: Arc<Connection>| {
            provisioner_jobs::table
                .find(id.0)
                .select((
                    provisioner_jobs::type_.cast::<Text>(),
                    provisioner_jobs::organization_id,
                    provisioner_jobs::completed_at,
                    provisioner_jobs::error,
                ))
                .get_result::<JobRow>(&mut &connection.inner)
                .await
                .optional()
        });
        Ok(found.await?.map(|JobRow { kind: Label(kind), organization, completed_at, error }| {
            JobRecord {
                job: ProvisionerJob::new(id, kind),
                organization: OrganizationId(organization),
                completed_at: completed_at.map(|Moment(time)| time),
                error,
            }
        }))
    }
}

#[derive(Queryable)]
struct JobRow {
    kind: Label<JobKind>,
    organization: Uuid,
    completed_at: Option<Moment>,
    error: Option<String>,
}

statement! {
    /// A page of the workspaces that two filters match: `workspaces_page.sql`
    struct WorkspacesPage<'a> {
        after: Uuid as SqlUuid,
        ids: Option<Vec<Uuid>> as Nullable<Array<SqlUuid>>,
        everything: bool as Bool,
        organizations: Vec<Uuid> as Array<SqlUuid>,
        user: Uuid as SqlUuid,
        own: Vec<Uuid> as Array<SqlUuid>,
        shared: Vec<Uuid> as Array<SqlUuid>,
        own_shared: Vec<Uuid> as Array<SqlUuid>,
        user_key: String as Text,
        group_keys: Vec<String> as Array<Text>,
        actions: Vec<String> as Array<Text>,
        dormant_ids: Option<Vec<Uuid>> as Nullable<Array<SqlUuid>>,
        dormant_everything: bool as Bool,
        dormant_organizations: Vec<Uuid> as Array<SqlUuid>,
        dormant_user: Uuid as SqlUuid,
        dormant_own: Vec<Uuid> as Array<SqlUuid>,
        limit: i64 as BigInt,
    } -> Columns
}
