use diesel::pg::Pg;
use diesel::query_builder::AstPass;

use super::tables::{Generation, Tables};

/// Where the control plane's own page looks for visits
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mirror {
    /// `audit_logs`, before v2.25
    AuditLogs,
    /// `connection_logs`, since v2.25
    ConnectionLogs {
        /// What stands for an unknown address: none may be missing before v2.27
        unknown_address: &'static str,
    },
}

impl Mirror {
    /// Where to write visits a second time; nothing where the table is missing
    pub(super) fn of(tables: &Tables) -> Option<Self> {
        let (mirror, table) = match tables.generation() < Generation::V2_25 {
            true => (Self::AuditLogs, "audit_logs"),
            false => {
                let may_be_null = tables.generation() >= Generation::V2_27;
                let unknown_address = if may_be_null { "NULL" } else { "'0.0.0.0'" };
                (Self::ConnectionLogs { unknown_address }, "connection_logs")
            }
        };
        tables.catalog().has_table(table).then_some(mirror)
    }

    /// What follows `logged`, which returns the ids of the rows that it inserted
    ///
    /// Only visits that led to an agent are written, as the control plane does. The id is
    /// that of the row in authd's own log, so a visit is in both tables or in neither.
    pub(super) fn push_to(self, out: &mut AstPass<'_, '_, Pg>) {
        match self {
            Self::AuditLogs => out.push_sql(AUDIT_LOGS),
            Self::ConnectionLogs { unknown_address } => {
                let [before, after] = CONNECTION_LOGS;
                out.push_sql(before);
                out.push_sql(unknown_address);
                out.push_sql(after);
            }
        }
    }
}

/// Of v2.24: an app is what was opened, or else the agent
const AUDIT_LOGS: &str = "\
, mirrored AS (
    INSERT INTO audit_logs (id, \"time\", user_id, organization_id, ip, user_agent, resource_type,
                            resource_id, resource_target, action, diff, status_code,
                            additional_fields, request_id, resource_icon)
    SELECT id, \"time\", user_id, organization_id, ip, user_agent, resource_type::resource_type,
           resource_id, resource_target, 'open', '{}', status_code, additional_fields, request_id,
           ''
    FROM visit
    WHERE id IN (SELECT id FROM logged) AND agent_name IS NOT NULL
      AND resource_id <> '00000000-0000-0000-0000-000000000000'
    ON CONFLICT (id) DO NOTHING
)";

/// A terminal counts as an app, and a port is a type of its own. The gap is for what stands
/// for an unknown address.
const CONNECTION_LOGS: [&str; 2] = ["\
, mirrored AS (
    INSERT INTO connection_logs (id, connect_time, organization_id, workspace_owner_id,
                                 workspace_id, workspace_name, agent_name, type, ip, code,
                                 user_agent, user_id, slug_or_port)
    SELECT visit.id, visit.\"time\", w.organization_id, w.owner_id, w.id, w.name, visit.agent_name,
           CASE WHEN resource_type = 'workspace_app' OR additional_fields ->> 'slug_or_port' = 'terminal'
                THEN 'workspace_app'::connection_type
                ELSE 'port_forwarding'::connection_type END,
           coalesce(visit.ip, ", "), status_code, user_agent,
           nullif(user_id, '00000000-0000-0000-0000-000000000000'),
           CASE resource_type WHEN 'workspace_app' THEN resource_target
                ELSE additional_fields ->> 'slug_or_port' END
    FROM visit JOIN workspaces w ON w.id = visit.workspace_id
    WHERE visit.id IN (SELECT id FROM logged) AND visit.agent_name IS NOT NULL
      AND resource_id <> '00000000-0000-0000-0000-000000000000'
    ON CONFLICT (id) DO NOTHING
)"];
