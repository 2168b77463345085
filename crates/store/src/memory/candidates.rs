use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::PoisonError;

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
        let mut found: Vec<_> = found.into_iter().map(|(_, candidate)| candidate).collect();
        self.pin(instance, &mut found);
        Ok(found)
    }

    async fn forget_pins(&self, at_most: u32) -> Result<u64, Error> {
        let tables = self.read();
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        let newest: HashSet<Uuid> = tables
            .newest_build
            .iter()
            .filter(|(workspace, _)| tables.workspaces.get(workspace).is_some_and(|w| !w.deleted))
            .filter_map(|(_, (_, job))| tables.build_by_job.get(job).map(|build| build.id))
            .collect();
        let past: Vec<_> = pins
            .keys()
            .filter(|(_, build)| !newest.contains(build))
            .take(usize::try_from(at_most).unwrap_or(usize::MAX))
            .cloned()
            .collect();
        for pin in &past {
            pins.remove(pin);
        }
        Ok(u64::try_from(past.len()).unwrap_or_default())
    }
}

impl MemoryStore {
    /// Moves the pins of an instance in the builds of its live candidates
    fn pin(&self, instance: ProvenInstance<'_>, found: &mut [Candidate]) {
        let (Some(moment), Some(id)) = (instance.moment(), instance.spellings().next()) else {
            return;
        };
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        for candidate in found.iter_mut().filter(|found| found.standing == Standing::Live) {
            let pin = pins.entry((id.clone(), candidate.build.0)).or_insert(moment);
            *pin = moment.max(*pin);
            candidate.pinned = Some(*pin);
        }
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
