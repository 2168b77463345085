use std::cmp::Reverse;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use agent_auth::{
    AgentId, AgentToken, BuildId, Candidate, Candidates, MAX_CANDIDATES, ProvenInstance, Standing,
    WorkspaceId,
};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::batches::BatchQuery;
use super::connect::Connection;
use super::sql::Sql;
use super::tables::{Need, Statement};
use super::values::Moment;
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
        self.candidates.ask(Asked::of(instance)).await
    }

    async fn forget_pins(&self, at_most: u32) -> Result<u64, Error> {
        let forget = ForgetPins { sql: &FORGET_PINS, at_most: at_most.into() };
        let deleted = async |connection: &mut _| forget.execute(connection).await;
        let rows = self.writes.ask(Question::Housekeeping, deleted).await?;
        Ok(u64::try_from(rows).unwrap_or_default())
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
        let pins = self.connector.options().identity_pins;
        let ask = async |connection: Arc<Connection>| match pins {
            false => plain(&[], &connection).await.map(drop),
            true => pinned(&[], &connection).await.map(drop),
        };
        self.sign_in.ask(Question::Candidates, ask).await
    }
}

/// The query for the candidates of one instance
pub(super) struct Asked {
    /// The texts under which the id may be stored; pins are kept under the first
    ids: Vec<String>,
    /// The moment to which pins are moved
    moment: Option<SystemTime>,
}

impl Asked {
    fn of(instance: ProvenInstance<'_>) -> Self {
        Self { ids: instance.spellings().collect(), moment: instance.moment() }
    }

    /// The text under which pins are kept
    fn pin(&self) -> &str {
        self.ids.as_slice().first().map_or("", String::as_str)
    }
}

impl BatchQuery for Asked {
    type Answer = Vec<Candidate>;

    const QUESTION: Question = Question::Candidates;

    async fn run(asked: &[Self], connection: Arc<Connection>) -> QueryResult<Vec<Vec<Candidate>>> {
        let texts: Vec<Spelling<'_>> = (0..)
            .zip(asked)
            .flat_map(|(asker, asked)| asked.ids.iter().map(move |text| (asker, text, asked)))
            .collect();
        let mut rows = match asked.iter().any(|asked| asked.moment.is_some()) {
            true => pinned(&texts, &connection).await?,
            false => {
                let rows = plain(&texts, &connection).await?;
                rows.into_iter().map(|row| (row, None)).collect()
            }
        };
        rows.sort_unstable_by_key(|(row, _)| (row.past, Reverse(row.created_at), row.agent));

        let mut answers = vec![Vec::new(); asked.len()];
        for (row, pin) in rows {
            let spelling = usize::try_from(row.asked - 1).ok().and_then(|n| texts.get(n));
            let answer = spelling.and_then(|&(asker, ..)| answers.get_mut(asker));
            if let Some(answer) = answer.filter(|answer| answer.len() <= MAX_CANDIDATES) {
                let pin = pin.map(|Moment(pin)| pin);
                answer.push(Candidate::from(row).with_pinned(pin));
            }
        }
        Ok(answers)
    }
}

/// The position of a query, one of the texts under which its id may be stored, and the query
type Spelling<'a> = (usize, &'a String, &'a Asked);

async fn plain(texts: &[Spelling<'_>], connection: &Connection) -> QueryResult<Vec<Row>> {
    let sql = connection.sql(Statement::Candidates)?;
    let ids: Vec<&str> = texts.iter().map(|(_, text, _)| &***text).collect();
    ByInstances { sql, ids: &ids }.load(&mut &connection.inner).await
}

async fn pinned(texts: &[Spelling<'_>], connection: &Connection) -> QueryResult<Vec<PinnedRow>> {
    let sql = connection.sql(Statement::PinnedCandidates)?;
    let ids: Vec<&str> = texts.iter().map(|(_, text, _)| &***text).collect();
    let of_pins: Vec<&str> = texts.iter().map(|(.., asked)| asked.pin()).collect();
    let moments: Vec<Option<Moment>> =
        texts.iter().map(|(.., asked)| asked.moment.map(Moment)).collect();
    let statement = PinnedByInstances { sql, ids: &ids, of_pins: &of_pins, moments: &moments };
    statement.load(&mut &connection.inner).await
}

statement! {
    /// The candidates of some instances: `candidates.sql`
    struct ByInstances<'a> {
        ids: &'a [&'a str] as Array<Text>,
    } -> Columns
}

statement! {
    /// The candidates and pins of some instances: `pinned_candidates.sql`
    struct PinnedByInstances<'a> {
        ids: &'a [&'a str] as Array<Text>,
        of_pins: &'a [&'a str] as Array<Text>,
        moments: &'a [Option<Moment>] as Array<Nullable<Timestamptz>>,
    } -> (Columns, Nullable<Timestamptz>)
}

statement! {
    /// Deletes pins that no sign-in needs: `forget_pins.sql`
    struct ForgetPins<'a> {
        at_most: i64 as BigInt,
    }
}

static FORGET_PINS: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain(include_str!("sql/forget_pins.sql")));

/// The rights that [`ForgetPins`] needs
///
/// The statement locks rows, which needs the right to change one of their columns.
pub(super) const FORGET: &[Need] = &[
    Need::select("authd_identity_pins", "instance_id build_id"),
    Need::update("authd_identity_pins", "signed_at"),
    Need::delete("authd_identity_pins"),
    Need::select("workspace_builds", "id workspace_id build_number"),
    Need::select("workspaces", "id deleted"),
];

type Columns = (BigInt, SqlUuid, Text, SqlUuid, Timestamptz, SqlUuid, SqlUuid, Bool, Bool);

/// A row, and the pin of its instance in its build
type PinnedRow = (Row, Option<Moment>);

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
    super::plans::Explain(ByInstances { sql, ids: &[instance] }).load(connection).await
}
