use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, Integer, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::{Asked, Columns, NamedPlace};
use crate::pg::holders::{HOLDER, HOLDER_OF_KEY};
use crate::pg::places::PLACE;
use crate::pg::tables::push;

/// Places by the names or ids of owner and workspace, and holders, in one statement
///
/// An owner is found by the user name alone: an address is not a name, and one that is
/// empty would be everybody's. A deleted user is found by id, and a deleted workspace
/// not at all.
///
/// Of a build only the agents are listed, each with what the request can lead to: the
/// app of the slug, or the share of the port.
///
/// Nearly every request has names. Those alone take a statement that is faster to start,
/// as it does not look at each table twice.
pub(super) struct ByNames<'a, const IDS: bool> {
    text: &'a [String],
    owner_ids: Vec<Option<Uuid>>,
    owner_names: Vec<Option<&'a str>>,
    workspace_ids: Vec<Option<Uuid>>,
    workspace_names: Vec<Option<&'a str>>,
    slugs: Vec<Option<&'a str>>,
    ports: Vec<Option<i32>>,
    tokens: &'a [&'a str],
}

impl<'a, const IDS: bool> ByNames<'a, IDS> {
    pub(super) fn of(asked: &'a Asked<'a, NamedPlace>, text: &'a [String]) -> Self {
        let places = || asked.places.iter();
        let ids = |id: fn(&NamedPlace) -> Option<Uuid>| match IDS {
            true => places().map(|place| id(place)).collect(),
            false => Vec::new(),
        };
        Self {
            text,
            owner_ids: ids(|place| place.owner.id),
            owner_names: places().map(|place| place.owner.name.as_deref()).collect(),
            workspace_ids: ids(|place| place.workspace.id),
            workspace_names: places().map(|place| place.workspace.name.as_deref()).collect(),
            slugs: places().map(|place| place.slug.as_deref()).collect(),
            ports: places().map(|place| place.port.map(i32::from)).collect(),
            tokens: &asked.tokens,
        }
    }
}

impl<const IDS: bool> QueryFragment<Pg> for ByNames<'_, IDS> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut text = self.text.iter();
        for texts in [&self.owner_names, &self.workspace_names, &self.slugs] {
            push(&mut out, &mut text);
            out.push_bind_param::<Array<Nullable<Text>>, _>(texts)?;
        }
        push(&mut out, &mut text);
        out.push_bind_param::<Array<Nullable<Integer>>, _>(&self.ports)?;
        push(&mut out, &mut text);
        out.push_bind_param::<Array<Text>, _>(self.tokens)?;
        if IDS {
            for ids in [&self.owner_ids, &self.workspace_ids] {
                push(&mut out, &mut text);
                out.push_bind_param::<Array<Nullable<SqlUuid>>, _>(ids)?;
            }
        }
        push(&mut out, &mut text);
        Ok(())
    }
}

impl<const IDS: bool> QueryId for ByNames<'_, IDS> {
    type QueryId = ByNames<'static, IDS>;

    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<const IDS: bool> Query for ByNames<'_, IDS> {
    type SqlType = Columns;
}

/// The template of [`ByNames`] for names alone
pub(in crate::pg) fn by_name() -> String {
    named(
        "$1, $2, $3, $4, $5",
        "owner_name, workspace_name, slug, port, key_id",
        &format!(
            "owner.id AS asked_owner,\n{OF_PLACE}{OWNER_AND_WORKSPACE_OF_NAMES}{BUILD_AND_TEMPLATE}
    WHERE lower(owner.username) = lower(asked.owner_name) AND NOT owner.deleted"
        ),
    )
}

/// The template of [`ByNames`] where some are ids
pub(in crate::pg) fn by_id() -> String {
    named(
        "$1, $2, $3, $4, $5, $6, $7",
        "owner_name, workspace_name, slug, port, key_id, owner_id, workspace_id",
        &format!(
            "asked_owner.id AS asked_owner,\n{OF_PLACE}\
             {OWNER_AND_WORKSPACE_OF_IDS_OR_NAMES}{BUILD_AND_TEMPLATE}"
        ),
    )
}

fn named(parameters: &str, names: &str, place: &str) -> String {
    format!(
        "\
WITH asked AS (SELECT * FROM unnest({parameters}) WITH ORDINALITY AS asked ({names}, n))
SELECT asked.n,
       {PLACE},
       ARRAY(
           SELECT ROW(a.id, a.name, a.created_at, a.first_connected_at, a.last_connected_at,
                      a.disconnected_at, a.connection_timeout_seconds,
                      p.id, p.url, p.external, p.sharing_level, s.share_level)
           FROM workspace_resources r
           JOIN workspace_agents a ON a.resource_id = r.id AND NOT a.deleted
           LEFT JOIN workspace_apps p ON p.agent_id = a.id AND p.slug = asked.slug
           LEFT JOIN workspace_agent_port_share s
               ON s.workspace_id = place.id AND s.agent_name = a.name AND s.port = asked.port
           WHERE r.job_id = place.job_id
       ),
{HOLDER}
FROM asked
LEFT JOIN LATERAL (
    SELECT {place}
    OFFSET 0
) place ON true
LEFT JOIN {HOLDER_OF_KEY}
--guard
"
    )
}

/// The columns of a place: of the workspace `w`, its `owner`, its build `b` and its
/// template `t`
///
/// Nobody but its owner and roles opens a workspace of a release without access lists.
const OF_PLACE: &str = "           \
w.id, w.name, w.owner_id, owner.username AS owner_name, w.organization_id,
           w.dormant_at IS NOT NULL AS dormant, b.job_id, b.transition::text,
           w.user_acl, w.group_acl, t.cors_behavior::text,  --since v2.26
           '{}'::jsonb AS user_acl, '{}'::jsonb AS group_acl, 'simple' AS cors_behavior,  --until v2.26
           t.max_port_sharing_level::text";

/// The names of owner and workspace as they were `asked`
const OWNER_AND_WORKSPACE_OF_NAMES: &str = "
    FROM users owner
    CROSS JOIN LATERAL (
        SELECT id, name, owner_id, organization_id, template_id, dormant_at
               , user_acl, group_acl  --since v2.26
        FROM workspaces
        WHERE owner_id = owner.id AND lower(name) = lower(asked.workspace_name) AND NOT deleted
        OFFSET 0
    ) w";

/// The names or ids of owner and workspace as they were `asked`
const OWNER_AND_WORKSPACE_OF_IDS_OR_NAMES: &str = "
    FROM (
        SELECT id FROM users WHERE id = asked.owner_id
        UNION ALL
        SELECT id FROM users WHERE lower(username) = lower(asked.owner_name) AND NOT deleted
    ) asked_owner
    CROSS JOIN LATERAL (
        SELECT id, name, owner_id, organization_id, template_id, dormant_at
               , user_acl, group_acl  --since v2.26
        FROM workspaces
        WHERE id = asked.workspace_id AND NOT deleted
        UNION ALL
        SELECT id, name, owner_id, organization_id, template_id, dormant_at
               , user_acl, group_acl  --since v2.26
        FROM workspaces
        WHERE owner_id = asked_owner.id AND lower(name) = lower(asked.workspace_name)
          AND NOT deleted
    ) w
    JOIN users owner ON owner.id = w.owner_id";

const BUILD_AND_TEMPLATE: &str = "
    CROSS JOIN LATERAL (
        SELECT job_id, transition
        FROM workspace_builds
        WHERE workspace_id = w.id
        ORDER BY build_number DESC
        LIMIT 1
    ) b
    LEFT JOIN templates t ON t.id = w.template_id";

/// Places by their agents, and holders, in one statement
///
/// The agent is found only if its build is the newest of a workspace that is not
/// deleted: one of the past has no machine to open a terminal on.
pub(super) struct ByAgents<'a> {
    pub(super) text: &'a [String],
    pub(super) agents: &'a [Uuid],
    pub(super) tokens: &'a [&'a str],
}

impl QueryFragment<Pg> for ByAgents<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut text = self.text.iter();
        push(&mut out, &mut text);
        out.push_bind_param::<Array<SqlUuid>, _>(self.agents)?;
        push(&mut out, &mut text);
        out.push_bind_param::<Array<Text>, _>(self.tokens)?;
        push(&mut out, &mut text);
        Ok(())
    }
}

/// The template of [`ByAgents`]
pub(in crate::pg) fn by_agent() -> String {
    format!(
        "\
SELECT asked.n,
       {PLACE}, place.agents,
{HOLDER}
FROM unnest($1, $2) WITH ORDINALITY AS asked (agent_id, key_id, n)
LEFT JOIN LATERAL (
    SELECT w.owner_id AS asked_owner,
{OF_PLACE},
           ARRAY[ROW(a.id, a.name, a.created_at, a.first_connected_at, a.last_connected_at,
                     a.disconnected_at, a.connection_timeout_seconds,
                     NULL, NULL, NULL, NULL, NULL)] AS agents
    FROM workspace_agents a
    JOIN workspace_resources r ON r.id = a.resource_id
    JOIN workspace_builds b ON b.job_id = r.job_id
    JOIN workspaces w ON w.id = b.workspace_id AND NOT w.deleted
    JOIN users owner ON owner.id = w.owner_id
    LEFT JOIN templates t ON t.id = w.template_id
    WHERE a.id = asked.agent_id AND NOT a.deleted
      AND b.build_number = (
          SELECT max(build_number) FROM workspace_builds WHERE workspace_id = w.id
      )
    OFFSET 0
) place ON true
LEFT JOIN {HOLDER_OF_KEY}
--guard
"
    )
}

prepared_once!(ByAgents<'_>);

impl Query for ByAgents<'_> {
    type SqlType = Columns;
}
