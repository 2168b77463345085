use std::cmp::Reverse;
use std::sync::Arc;

use agent_auth::{
    AgentId, AgentToken, BuildId, Candidate, Candidates, MAX_CANDIDATES, ProvenInstance, Standing,
    WorkspaceId,
};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::batches::BatchQuery;
use super::connect::Connection;
use super::tables::Statement;
use crate::Error;
use crate::facts::Question;

impl Candidates for PgStore {
    type Id = Uuid;
    type Token = Uuid;
    type Error = Error;

    async fn by_instance(&self, instance: ProvenInstance<'_>) -> Result<Vec<Candidate>, Error> {
        if instance.as_str().contains('\0') {
            // No text in PostgreSQL holds this byte, and a query for it would be an error.
            return Ok(Vec::new());
        }
        self.candidates.ask(InstanceId(instance.spellings().collect())).await
    }
}

impl PgStore {
    /// Runs the statement of [`Candidates::by_instance`] for no instance at all
    ///
    /// Only running it shows for certain that the database accepts it.
    ///
    /// # Errors
    ///
    /// As [`Candidates::by_instance`].
    pub async fn check_candidates(&self) -> Result<(), Error> {
        let ask = async |connection| InstanceId::run(&[], connection).await;
        self.sign_in.ask(Question::Candidates, ask).await.map(drop)
    }
}

/// The query for the candidates of one instance, by the texts under which its id may be stored
pub(super) struct InstanceId(Vec<String>);

impl BatchQuery for InstanceId {
    type Answer = Vec<Candidate>;

    const QUESTION: Question = Question::Candidates;

    async fn run(ids: &[Self], connection: Arc<Connection>) -> QueryResult<Vec<Vec<Candidate>>> {
        let (askers, texts): (Vec<usize>, Vec<String>) = (0..)
            .zip(ids)
            .flat_map(|(asker, id)| id.0.iter().map(move |text| (asker, text.clone())))
            .unzip();
        let sql = connection.sql(Statement::Candidates)?;
        let statement = ByInstances { sql, ids: &texts };
        let mut rows: Vec<Row> = statement.load(&mut &connection.inner).await?;
        rows.sort_unstable_by_key(|row| (row.past, Reverse(row.created_at), row.agent));

        let mut answers = vec![Vec::new(); ids.len()];
        for row in rows {
            let asker = usize::try_from(row.asked - 1).ok().and_then(|n| askers.get(n));
            let answer = asker.and_then(|&asker| answers.get_mut(asker));
            if let Some(answer) = answer.filter(|answer| answer.len() <= MAX_CANDIDATES) {
                answer.push(row.into());
            }
        }
        Ok(answers)
    }
}

statement! {
    /// The candidates of some instances: `candidates.sql`
    struct ByInstances<'a> {
        ids: &'a [String] as Array<Text>,
    } -> (BigInt, SqlUuid, Text, SqlUuid, Timestamptz, SqlUuid, SqlUuid, Bool, Bool)
}

#[derive(Queryable)]
struct Row {
    /// The position of the instance id in the query, from 1
    asked: i64,
    agent: Uuid,
    name: String,
    token: Uuid,
    created_at: DateTime<Utc>,
    build: Uuid,
    workspace: Uuid,
    /// Whether the workspace is deleted
    deleted: bool,
    /// Whether the workspace is deleted or has a newer build
    past: bool,
}

impl From<Row> for Candidate {
    fn from(row: Row) -> Self {
        let standing = match (row.deleted, row.past) {
            (true, _) => Standing::Deleted,
            (false, true) => Standing::Stale,
            (false, false) => Standing::Live,
        };
        Self::new(
            AgentId(row.agent),
            row.name,
            AgentToken::new(row.token),
            BuildId(row.build),
            WorkspaceId(row.workspace),
            standing,
        )
    }
}

/// How the database executes the search for the candidates of one instance
#[cfg(test)]
pub(super) async fn explained(
    connection: &Connection,
    instance: &str,
) -> QueryResult<serde_json::Value> {
    let sql = connection.sql(Statement::Candidates)?;
    super::plans::Explain(ByInstances { sql, ids: &[instance.to_owned()] }).load(connection).await
}
