use std::cmp::Reverse;

use agent_auth::{
    AgentId, AgentToken, BuildId, Candidate, Candidates, MAX_CANDIDATES, ProvenInstance, Standing,
    WorkspaceId,
};
use uuid::Uuid;

use super::MemoryStore;
use super::tables::Tables;
use crate::Error;
use crate::fleet::WorkspaceAgent;

impl Candidates for MemoryStore {
    type Id = Uuid;
    type Token = Uuid;
    type Error = Error;

    async fn by_instance(&self, instance: ProvenInstance<'_>) -> Result<Vec<Candidate>, Error> {
        let tables = self.read();
        let mut found: Vec<_> = instance
            .spellings()
            .filter_map(|text| tables.agents_by_instance.get(&text))
            .flatten()
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

impl Tables {
    /// The candidate of a root agent, if the agent belongs to a build of a workspace
    fn candidate(&self, agent: &WorkspaceAgent) -> Option<Candidate> {
        let build = self.build_of(agent)?;
        let workspace = self.workspaces.get(&build.workspace_id)?;
        let standing = match (workspace.deleted, self.is_newest(build)) {
            (true, _) => Standing::Deleted,
            (false, true) => Standing::Live,
            (false, false) => Standing::Stale,
        };
        Some(Candidate::new(
            AgentId(agent.id),
            agent.name.clone(),
            AgentToken::new(agent.auth_token.0),
            BuildId(build.id),
            WorkspaceId(workspace.id),
            standing,
        ))
    }
}
