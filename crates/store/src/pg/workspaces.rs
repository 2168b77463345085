use app_authz::app::Workspace;
use app_authz::id::OrganizationId;
use app_authz::rbac::Acl;
use app_authz::{UserId, WorkspaceId};
use diesel::sql_types::{Bool, Jsonb, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::values::Shared;

/// The columns of a [`WorkspaceRow`], of `workspaces w` and `users owner`
pub(super) const WORKSPACE: &str = "\
w.id, w.name, w.owner_id, owner.username, w.organization_id, w.dormant_at IS NOT NULL,
       w.user_acl, w.group_acl";

pub(super) type WorkspaceColumns = (SqlUuid, Text, SqlUuid, Text, SqlUuid, Bool, Jsonb, Jsonb);

/// A workspace with its owner's name
pub(super) type WorkspaceRow = (Uuid, String, Uuid, String, Uuid, bool, Shared, Shared);

pub(super) fn workspace(row: WorkspaceRow) -> Workspace {
    let (id, name, owner, owner_name, organization, dormant, users, groups) = row;
    Workspace {
        id: WorkspaceId(id),
        name,
        owner: UserId(owner),
        owner_name,
        organization: OrganizationId(organization),
        dormant,
        acl: Acl::new(users.0, groups.0),
    }
}
