use std::sync::Arc;

use app_authz::WorkspaceId;
use app_authz::app::Workspace;
use app_authz::id::{JobId, OrganizationId};
use app_authz::jobs::{JobKind, ProvisionerJob};
use app_authz::rbac::Filter;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::connect::Connection;
use super::values::{Label, Moment};
use super::workspaces::{WORKSPACE, WorkspaceColumns, WorkspaceRow, workspace};
use crate::Error;
use crate::authorized::{JobRecord, Readable, Rows, uuids};

impl Rows for PgStore {
    async fn workspace(&self, id: WorkspaceId) -> Result<Option<Workspace>, Error> {
        let found = self.reads.run(async |connection: Arc<Connection>| {
            let workspaces = connection.tables.workspaces();
            ById { id: id.0, workspaces }
                .get_result::<WorkspaceRow>(&mut &connection.inner)
                .await
                .optional()
        });
        Ok(found.await?.map(workspace))
    }

    async fn workspaces(
        &self,
        readable: &Readable,
        after: Option<WorkspaceId>,
        limit: u16,
    ) -> Result<Vec<Workspace>, Error> {
        // For a subject that may read few of many, this walks far: too far to keep those
        // waiting who share a connection.
        let mut connection = self.writes.get().await?;
        let list = List {
            workspaces: connection.tables().workspaces(),
            after: after.map_or_else(Uuid::nil, |id| id.0),
            active: (&readable.active).into(),
            dormant: (&readable.dormant).into(),
            limit: limit.into(),
        };
        let rows: Vec<WorkspaceRow> = list.load(&mut *connection).await?;
        Ok(rows.into_iter().map(workspace).collect())
    }

    async fn job(&self, id: JobId) -> Result<Option<JobRecord>, Error> {
        let found = self.reads.run(async |connection: Arc<Connection>| {
            Job(id.0).get_result::<JobRow>(&mut &connection.inner).await.optional()
        });
        let found = found.await?;
        Ok(found.map(|(Label(kind), organization, completed_at, error)| JobRecord {
            job: ProvisionerJob { id, kind },
            organization: OrganizationId(organization),
            completed_at: completed_at.map(|Moment(time)| time),
            error,
        }))
    }
}

type JobRow = (Label<JobKind>, Uuid, Option<Moment>, Option<String>);

/// A workspace by its id
struct ById {
    id: Uuid,
    workspaces: &'static str,
}

impl QueryFragment<Pg> for ById {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        out.push_sql(WORKSPACE);
        from(self.workspaces, &mut out);
        out.push_sql(" AND w.id = ");
        out.push_bind_param::<SqlUuid, _>(&self.id)
    }
}

impl Query for ById {
    type SqlType = WorkspaceColumns;
}

/// A job by its id
#[derive(QueryId)]
struct Job(Uuid);

impl QueryFragment<Pg> for Job {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "\
SELECT type::text, organization_id, completed_at, error FROM provisioner_jobs WHERE id = ",
        );
        out.push_bind_param::<SqlUuid, _>(&self.0)
    }
}

impl Query for Job {
    type SqlType = (Text, SqlUuid, Nullable<Timestamptz>, Nullable<Text>);
}

/// A page of the workspaces that two filters take in: one for those in use, and one for
/// those that are dormant
///
/// The filters are parameters and the text is always the same. A workspace has an
/// organization, so what a filter says of objects without one is left out; and a dormant
/// one has no access list.
struct List {
    workspaces: &'static str,
    after: Uuid,
    active: Condition,
    dormant: Condition,
    limit: i64,
}

/// A filter as parameters
struct Condition {
    user: Uuid,
    ids: Option<Vec<Uuid>>,
    everything: bool,
    organizations: Vec<Uuid>,
    own: Vec<Uuid>,
    shared: Vec<Uuid>,
    own_shared: Vec<Uuid>,
    /// What an entry of an access list must hold one of
    actions: [String; 2],
    /// The keys of such entries: the user's, and the groups'
    user_key: String,
    group_keys: Vec<String>,
}

impl From<&Filter> for Condition {
    fn from(filter: &Filter) -> Self {
        let ids = |organizations: &[OrganizationId]| organizations.iter().map(|id| id.0).collect();
        Self {
            user: filter.user.0,
            ids: filter.ids.as_deref().map(uuids),
            everything: filter.everything,
            organizations: ids(&filter.organizations),
            own: ids(&filter.own_in_organizations),
            shared: ids(&filter.shared_in_organizations),
            own_shared: ids(&filter.own_shared_in_organizations),
            actions: [filter.action.to_string(), "*".to_owned()],
            user_key: filter.user.to_string(),
            group_keys: filter.groups.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Condition {
    /// What both kinds of workspace are asked
    fn of_any<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("coalesce(w.id = ANY (");
        out.push_bind_param::<Nullable<Array<SqlUuid>>, _>(&self.ids)?;
        out.push_sql("), true) AND (");
        out.push_bind_param::<Bool, _>(&self.everything)?;
        out.push_sql("\n        OR w.organization_id = ANY (");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.organizations)?;
        out.push_sql(")\n        OR w.owner_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.user)?;
        out.push_sql(" AND w.organization_id = ANY (");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.own)?;
        out.push_sql(")");
        Ok(())
    }

    /// What only those are asked that have access lists
    ///
    /// An entry is a list of actions, or an object with such a list.
    fn of_shared<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("\n        OR (w.organization_id = ANY (");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.shared)?;
        out.push_sql(")\n            OR w.owner_id = ");
        out.push_bind_param::<SqlUuid, _>(&self.user)?;
        out.push_sql(" AND w.organization_id = ANY (");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.own_shared)?;
        out.push_sql(
            "))\n            AND EXISTS (\n                SELECT FROM (SELECT w.user_acl -> ",
        );
        out.push_bind_param::<Text, _>(&self.user_key)?;
        out.push_sql(
            " UNION ALL\n                    SELECT w.group_acl -> id FROM unnest(w.organization_id::text || ",
        );
        out.push_bind_param::<Array<Text>, _>(&self.group_keys)?;
        out.push_sql(") id) entry (granted)\n                WHERE granted ?| ");
        out.push_bind_param::<Array<Text>, _>(&self.actions[..])?;
        out.push_sql(" OR granted -> 'permissions' ?| ");
        out.push_bind_param::<Array<Text>, _>(&self.actions[..])?;
        out.push_sql("\n            )");
        Ok(())
    }
}

impl QueryFragment<Pg> for List {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        out.push_sql(WORKSPACE);
        from(self.workspaces, &mut out);
        out.push_sql(" AND w.id > ");
        out.push_bind_param::<SqlUuid, _>(&self.after)?;
        out.push_sql("\n    AND CASE WHEN w.dormant_at IS NULL THEN ");
        self.active.of_any(&mut out)?;
        self.active.of_shared(&mut out)?;
        out.push_sql(")\n    ELSE ");
        self.dormant.of_any(&mut out)?;
        out.push_sql(") END\nORDER BY w.id\nLIMIT ");
        out.push_bind_param::<BigInt, _>(&self.limit)
    }
}

impl Query for List {
    type SqlType = WorkspaceColumns;
}

fn from(workspaces: &str, out: &mut AstPass<'_, '_, Pg>) {
    out.push_sql("\nFROM ");
    out.push_sql(workspaces);
    out.push_sql(" w\nJOIN users owner ON owner.id = w.owner_id\nWHERE NOT w.deleted");
}

prepared_once!(ById);
prepared_once!(List);
