use app_authz::app::Workspace;
use app_authz::id::OrganizationId;
use app_authz::rbac::Acl;
use app_authz::{UserId, WorkspaceId};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Jsonb, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::schema::{users, workspaces};
use super::values::Shared;

/// A workspace with its owner's name
#[derive(Queryable, Selectable)]
#[diesel(table_name = workspaces, check_for_backend(Pg))]
pub(super) struct WorkspaceRow {
    id: Uuid,
    name: String,
    owner_id: Uuid,
    organization_id: Uuid,
    #[diesel(select_expression = workspaces::dormant_at.is_not_null())]
    dormant: bool,
    #[diesel(select_expression = users::username)]
    owner_name: String,
}

/// The access lists of a workspace, which are empty before v2.26
#[derive(Default, Queryable, Selectable)]
#[diesel(table_name = workspaces, check_for_backend(Pg))]
pub(super) struct AccessLists {
    user_acl: Shared,
    group_acl: Shared,
}

/// The columns of both, as `workspaces_page.sql` selects them
pub(super) type Columns = ((SqlUuid, Text, SqlUuid, SqlUuid, Bool, Text), (Jsonb, Jsonb));

pub(super) fn workspace((row, lists): (WorkspaceRow, AccessLists)) -> Workspace {
    Workspace::new(
        (WorkspaceId(row.id), row.name),
        (UserId(row.owner_id), row.owner_name),
        OrganizationId(row.organization_id),
    )
    .with_dormant(row.dormant)
    .with_acl(Acl::new(lists.user_acl.0, lists.group_acl.0))
}
