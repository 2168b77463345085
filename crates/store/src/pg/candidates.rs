use std::sync::Arc;

use agent_auth::{
    AgentId, AgentToken, BuildId, Candidate, Candidates, MAX_CANDIDATES, Standing, WorkspaceId,
};
use diesel::dsl::{exists, not};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::connect::Connection;
use super::schema::{workspace_agents, workspace_builds, workspace_resources, workspaces};
use crate::Error;

impl Candidates for PgStore {
    type Error = Error;

    async fn by_instance(&self, instance_id: &str) -> Result<Vec<Candidate>, Error> {
        if instance_id.contains('\0') {
            // No text in PostgreSQL holds this byte, and asking would be an error.
            return Ok(Vec::new());
        }
        let rows = self.reads.run(|connection| load(connection, instance_id)).await?;
        Ok(rows.into_iter().map(candidate).collect())
    }
}

/// Agent, name, token, build, workspace, whether the workspace is deleted, whether
/// that or a newer build makes the agent one of the past
type Row = (Uuid, String, Uuid, Uuid, Uuid, bool, bool);

async fn load(connection: Arc<Connection>, instance_id: &str) -> QueryResult<Vec<Row>> {
    let newer = diesel::alias!(workspace_builds as newer);
    let superseded = exists(
        newer
            .filter(newer.field(workspace_builds::workspace_id).eq(workspace_builds::workspace_id))
            .filter(newer.field(workspace_builds::build_number).gt(workspace_builds::build_number))
            .select(newer.field(workspace_builds::id)),
    );
    // Selected and sorted by the very same expression, so that it is computed once
    // per row.
    let past = workspaces::deleted.or(superseded);
    let limit = i64::try_from(MAX_CANDIDATES + 1).unwrap_or(i64::MAX);

    workspace_agents::table
        .inner_join(
            workspace_resources::table
                .on(workspace_resources::id.eq(workspace_agents::resource_id)),
        )
        // Only a build's job is in this table, so joining it leaves template imports
        // and dry runs out.
        .inner_join(
            workspace_builds::table.on(workspace_builds::job_id.eq(workspace_resources::job_id)),
        )
        .inner_join(workspaces::table.on(workspaces::id.eq(workspace_builds::workspace_id)))
        .filter(workspace_agents::auth_instance_id.eq(instance_id))
        // Not `eq(false)`: the partial index fits a condition, not a bound value.
        .filter(not(workspace_agents::deleted))
        .filter(workspace_agents::parent_id.is_null())
        .order((past.asc(), workspace_agents::created_at.desc(), workspace_agents::id.asc()))
        .limit(limit)
        .select((
            workspace_agents::id,
            workspace_agents::name,
            workspace_agents::auth_token,
            workspace_builds::id,
            workspace_builds::workspace_id,
            workspaces::deleted,
            past,
        ))
        .load(&mut &connection.inner)
        .await
}

fn candidate((agent, name, token, build, workspace, deleted, past): Row) -> Candidate {
    Candidate {
        agent: AgentId(agent),
        name,
        token: AgentToken::new(token),
        build: BuildId(build),
        workspace: WorkspaceId(workspace),
        standing: match (deleted, past) {
            (true, _) => Standing::Deleted,
            (false, true) => Standing::Stale,
            (false, false) => Standing::Live,
        },
    }
}
