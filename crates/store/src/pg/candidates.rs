use std::cmp::Reverse;
use std::sync::Arc;

use agent_auth::{
    AgentId, AgentToken, BuildId, Candidate, Candidates, MAX_CANDIDATES, ProvenInstance, Standing,
    WorkspaceId,
};
use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment};
use diesel::sql_types::{Array, BigInt, Bool, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::batches::{self, Question as _};
use super::connect::Connection;
use super::tables::{Question, push};
use crate::Error;
use crate::domain::spellings;

impl Candidates for PgStore {
    type Error = Error;

    async fn by_instance(&self, instance: ProvenInstance<'_>) -> Result<Vec<Candidate>, Error> {
        let id = instance.as_str();
        if id.contains('\0') {
            // No text in PostgreSQL holds this byte, and asking would be an error.
            return Ok(Vec::new());
        }
        self.candidates.ask(InstanceId(id.to_owned())).await
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
        let ask = async |connection| InstanceId::ask(&[], connection).await;
        self.sign_in.run(ask).await.map(drop)
    }
}

/// The instance whose candidates are asked for
pub(super) struct InstanceId(String);

impl batches::Question for InstanceId {
    type Answer = Vec<Candidate>;

    async fn ask(ids: &[Self], connection: Arc<Connection>) -> QueryResult<Vec<Vec<Candidate>>> {
        let (askers, texts): (Vec<usize>, Vec<String>) = (0..)
            .zip(ids)
            .flat_map(|(asker, id)| spellings(&id.0).map(move |text| (asker, text)))
            .unzip();
        let text = connection.text(Question::Candidates)?;
        let statement = ByInstances { text, ids: &texts };
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

/// The candidates of some instances, in one statement
///
/// Written out and not put together by diesel, which does that anew for every call.
/// Each step looks a row up only once, however many of the step before lead to it,
/// which a plain join would not: ten builds of two agents each are twenty `carriers`
/// of the id, ten `origins` and one `claim`. The rows are put in order by us, because
/// to sort twenty of them costs PostgreSQL as much as to find them.
///
/// The newest 1,024 carriers of an id are looked at, which the index delivers in that
/// order: a bound on work, four times the candidates that are ever refused for being
/// too many.
///
/// Only a build's job is in `workspace_builds`: joining it leaves the resources of template
/// imports and dry runs out.
pub(super) const TEMPLATE: &str = "\
WITH carriers AS MATERIALIZED (
    SELECT n, a.*
    FROM unnest($1) WITH ORDINALITY AS asked (instance_id, n)
    CROSS JOIN LATERAL (
        SELECT id, name, auth_token, created_at, resource_id
        FROM workspace_agents
        WHERE auth_instance_id = asked.instance_id
          AND NOT deleted  --since v2.24
          AND parent_id IS NULL  --since v2.22
        ORDER BY created_at DESC
        LIMIT 1024
    ) a
), origins AS MATERIALIZED (
    SELECT r.id, b.id AS build_id, b.build_number, b.workspace_id
    FROM workspace_resources r
    JOIN workspace_builds b ON b.job_id = r.job_id
    WHERE r.id = ANY (ARRAY(SELECT resource_id FROM carriers))
), claims AS MATERIALIZED (
    SELECT w.id, w.deleted,
           (SELECT max(build_number) FROM workspace_builds WHERE workspace_id = w.id) AS newest
    FROM workspaces w
    WHERE w.id = ANY (ARRAY(SELECT workspace_id FROM origins))
)
SELECT n, c.id, c.name, c.auth_token, c.created_at, o.build_id, w.id,
       w.deleted, w.deleted OR o.build_number < w.newest
FROM carriers c
JOIN origins o ON o.id = c.resource_id
JOIN claims w ON w.id = o.workspace_id
--guard
";

struct ByInstances<'a> {
    text: &'a [String],
    ids: &'a [String],
}

impl QueryFragment<Pg> for ByInstances<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut text = self.text.iter();
        push(&mut out, &mut text);
        out.push_bind_param::<Array<Text>, _>(self.ids)?;
        push(&mut out, &mut text);
        Ok(())
    }
}

prepared_once!(ByInstances<'_>);

impl Query for ByInstances<'_> {
    type SqlType = (BigInt, SqlUuid, Text, SqlUuid, Timestamptz, SqlUuid, SqlUuid, Bool, Bool);
}

#[derive(Queryable)]
struct Row {
    /// Which id this is about, counted from one
    asked: i64,
    agent: Uuid,
    name: String,
    token: Uuid,
    created_at: DateTime<Utc>,
    build: Uuid,
    workspace: Uuid,
    /// Whether the workspace is deleted
    deleted: bool,
    /// Whether that or a newer build makes the agent one of the past
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

/// How the database finds the candidates of one instance
#[cfg(test)]
pub(super) async fn explained(
    connection: &Connection,
    instance: &str,
) -> QueryResult<serde_json::Value> {
    let text = connection.text(Question::Candidates)?;
    super::plans::Explain(ByInstances { text, ids: &[instance.to_owned()] }).load(connection).await
}
