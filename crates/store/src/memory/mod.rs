mod journal;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use agent_auth::{
    AgentId, AgentToken, BuildId, Candidate, Candidates, MAX_CANDIDATES, Standing, WorkspaceId,
};
use uuid::Uuid;

use crate::fleet::{Fleet, Workspace, WorkspaceAgent, WorkspaceBuild};
use crate::{Error, Store};

/// A store that forgets: for embedding, tests, and a first look
///
/// Answers what [`PgStore`](crate::PgStore) answers for the same rows.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: RwLock<Tables>,
    log: journal::Log,
}

/// The rows, by the keys they are asked for
#[derive(Debug, Default)]
struct Tables {
    agents_by_instance: HashMap<String, Vec<WorkspaceAgent>>,
    job_by_resource: HashMap<Uuid, Uuid>,
    build_by_job: HashMap<Uuid, WorkspaceBuild>,
    newest_build: HashMap<Uuid, i32>,
    workspaces: HashMap<Uuid, Workspace>,
}

impl MemoryStore {
    /// Adds all rows of `fleet`
    ///
    /// Rows with the key of an earlier one replace it, where a database would
    /// refuse them.
    pub fn load(&self, fleet: &Fleet) {
        // A poisoned lock only says that a panic interrupted an earlier load.
        let mut guard = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let tables = &mut *guard;

        let root_agents = fleet.workspace_agents.iter().filter(|agent| agent.parent_id.is_none());
        for agent in root_agents.filter(|agent| !agent.deleted) {
            if let Some(instance_id) = &agent.auth_instance_id {
                let agents = tables.agents_by_instance.entry(instance_id.clone()).or_default();
                agents.push(agent.clone());
            }
        }
        for resource in &fleet.workspace_resources {
            tables.job_by_resource.insert(resource.id, resource.job_id);
        }
        for build in &fleet.workspace_builds {
            let newest =
                tables.newest_build.entry(build.workspace_id).or_insert(build.build_number);
            *newest = build.build_number.max(*newest);
            tables.build_by_job.insert(build.job_id, build.clone());
        }
        for workspace in &fleet.workspaces {
            tables.workspaces.insert(workspace.id, workspace.clone());
        }
    }
}

impl Candidates for MemoryStore {
    type Error = Error;

    async fn by_instance(&self, instance_id: &str) -> Result<Vec<Candidate>, Error> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let agents = tables.agents_by_instance.get(instance_id).map_or(&[][..], Vec::as_slice);
        let mut found: Vec<_> = agents
            .iter()
            .filter_map(|agent| {
                let candidate = tables.candidate(agent)?;
                let past = candidate.standing != Standing::Live;
                Some(((past, Reverse(agent.created_at), agent.id), candidate))
            })
            .collect();
        found.sort_unstable_by_key(|(order, _)| *order);
        found.truncate(MAX_CANDIDATES + 1);
        Ok(found.into_iter().map(|(_, candidate)| candidate).collect())
    }
}

impl Store for MemoryStore {
    async fn ping(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl Tables {
    /// The candidate that a root agent is, if it belongs to a build of a workspace
    fn candidate(&self, agent: &WorkspaceAgent) -> Option<Candidate> {
        let build = self.build_by_job.get(self.job_by_resource.get(&agent.resource_id)?)?;
        let workspace = self.workspaces.get(&build.workspace_id)?;
        let newest = self.newest_build.get(&workspace.id)?;
        Some(Candidate {
            agent: AgentId(agent.id),
            name: agent.name.clone(),
            token: AgentToken::new(agent.auth_token.0),
            build: BuildId(build.id),
            workspace: WorkspaceId(workspace.id),
            standing: match (workspace.deleted, build.build_number == *newest) {
                (true, _) => Standing::Deleted,
                (false, true) => Standing::Live,
                (false, false) => Standing::Stale,
            },
        })
    }
}
