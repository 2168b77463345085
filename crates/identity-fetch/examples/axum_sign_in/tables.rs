//! The control plane's tables, with keys that are numbers and tokens that are texts

use std::cmp::Reverse;
use std::convert::Infallible;
use std::time::SystemTime;

use agent_auth::{
    AgentId, AgentToken, BuildId, Candidate, Candidates, CandidatesOf, ProvenInstance, Standing,
    WorkspaceId,
};

/// One row for each agent; with SQL, the answer of one statement
#[derive(Clone, Debug, Default)]
pub(crate) struct Agents(pub(crate) Vec<AgentRow>);

#[derive(Clone, Debug)]
pub(crate) struct AgentRow {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) instance: String,
    pub(crate) token: String,
    pub(crate) build: i64,
    pub(crate) workspace: i64,
    pub(crate) standing: Standing,
    pub(crate) created_at: SystemTime,
}

impl Candidates for Agents {
    type Id = i64;
    type Token = String;
    type Error = Infallible;

    async fn by_instance(
        &self,
        instance: ProvenInstance<'_>,
    ) -> Result<CandidatesOf<Self>, Infallible> {
        let texts: Vec<String> = instance.spellings().collect();
        let mut rows: Vec<_> = self.0.iter().filter(|row| texts.contains(&row.instance)).collect();
        rows.sort_by_key(|row| (row.standing != Standing::Live, Reverse(row.created_at), row.id));
        rows.truncate(agent_auth::MAX_CANDIDATES + 1);
        let candidate = |row: &AgentRow| {
            Candidate::new(
                AgentId(row.id),
                row.name.clone(),
                AgentToken::new(row.token.clone()),
                BuildId(row.build),
                WorkspaceId(row.workspace),
                row.standing,
            )
        };
        Ok(rows.into_iter().map(candidate).collect())
    }
}
