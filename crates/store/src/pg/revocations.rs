//! The rows of `authd_watched_grants` and `authd_revocations`

use std::sync::LazyLock;
use std::time::SystemTime;

use app_authz::app::{Mask, Revocation, RevocationReason};
use app_authz::{AgentId, UserId, WorkspaceId};
use diesel::prelude::*;
use diesel::sql_types::{Array, Integer, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::PgStore;
use super::listener::Waiting;
use super::sql::Sql;
use super::tables::{Need, Statement, Tables};
use super::values::Moment;
use crate::Error;
use crate::facts::Question;
use crate::revocations::{Entry, Logged, REFRESH, Revocations, Slice, WATCHED, WatchedGrant};

impl Revocations for PgStore {
    async fn watch_grants(&self, grants: &[WatchedGrant], now: SystemTime) -> Result<(), Error> {
        if grants.is_empty() {
            return Ok(());
        }
        let session = |grant: &WatchedGrant| grant.session.clone().unzip();
        let (users, keys): (Vec<_>, Vec<_>) = grants.iter().map(session).unzip();
        let keys: Vec<_> = keys.iter().map(|key| key.as_deref().unwrap_or_default()).collect();
        let watch = WatchGrants {
            sql: &WATCH_GRANTS,
            now: Moment(now),
            until: Moment(now + WATCHED),
            keys: &keys,
            users: users.into_iter().map(|user| user.map(|UserId(id)| id)).collect(),
            workspaces: grants.iter().map(|grant| grant.workspace.0).collect(),
            agents: grants.iter().map(|grant| grant.agent.0).collect(),
            before: Moment(now + WATCHED - REFRESH),
        };
        let watched = async |connection: &mut _| watch.execute(connection).await;
        self.writes.ask(Question::WatchGrants, watched).await.map(drop)
    }

    async fn revocations(
        &self,
        since: Option<SystemTime>,
        slice: Slice,
        now: SystemTime,
    ) -> Result<Logged, Error> {
        let poll = async |connection: &mut _, tables: &Tables| {
            let poll = PollRevocations {
                sql: tables.sql(Statement::Ended)?,
                now: Moment(now),
                parts: slice.parts().into(),
                part: slice.part().into(),
                slices: slice.of().into(),
                slice: slice.number().into(),
                since: since.map(Moment),
            };
            poll.load::<Row>(connection).await
        };
        let rows = self.writes.ask_by_tables(Question::Revocations, poll).await?;
        let mut logged = Logged { at: now, entries: Vec::with_capacity(rows.len()) };
        for row in rows {
            let at = row.at.0;
            match row.entry() {
                Some(entry) => logged.entries.push(entry),
                None => logged.at = at,
            }
        }
        Ok(logged)
    }

    async fn changed(&self) -> Result<(), Error> {
        self.listener.heard(&self.connector, Waiting::Grants).await
    }
}

#[derive(Queryable)]
struct Row {
    id: Option<Uuid>,
    at: Moment,
    reason: Option<String>,
    user: Option<Uuid>,
    workspace: Option<Uuid>,
    agent: Option<Uuid>,
    app: Option<String>,
    session: Option<String>,
}

impl Row {
    /// The entry; `None` for the row that has the time alone
    fn entry(self) -> Option<Entry> {
        let Ok(reason) = self.reason?.parse::<RevocationReason>();
        let mut mask = Mask::default();
        mask.user = self.user.map(UserId);
        mask.workspace = self.workspace.map(WorkspaceId);
        mask.agent = self.agent.map(AgentId);
        (mask.app, mask.session) = (self.app, self.session);
        Some(Entry { id: self.id?, at: self.at.0, revocation: Revocation::new(reason, mask) })
    }
}

statement! {
    /// Watches grants: `watch_grants.sql`
    struct WatchGrants<'a> {
        now: Moment as Timestamptz,
        until: Moment as Timestamptz,
        keys: &'a [&'a str] as Array<Text>,
        users: Vec<Option<Uuid>> as Array<Nullable<SqlUuid>>,
        workspaces: Vec<Uuid> as Array<SqlUuid>,
        agents: Vec<Uuid> as Array<SqlUuid>,
        before: Moment as Timestamptz,
    }
}

statement! {
    /// What has ended: `poll_revocations.sql`
    struct PollRevocations<'a> {
        now: Moment as Timestamptz,
        parts: i32 as Integer,
        part: i32 as Integer,
        slices: i32 as Integer,
        slice: i32 as Integer,
        since: Option<Moment> as Nullable<Timestamptz>,
    } -> (
        Nullable<SqlUuid>,
        Timestamptz,
        Nullable<Text>,
        Nullable<SqlUuid>,
        Nullable<SqlUuid>,
        Nullable<SqlUuid>,
        Nullable<Text>,
        Nullable<Text>,
    )
}

static WATCH_GRANTS: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain(include_str!("sql/watch_grants.sql")));

/// The rights that [`WatchGrants`] needs
///
/// The statement locks rows, which needs the right to change one of their columns.
pub(super) const WATCH: &[Need] = &[
    Need::select("workspace_agents", "id resource_id"),
    Need::select("workspace_resources", "id job_id"),
    Need::select("workspace_builds", "job_id build_number"),
    Need::select("authd_watched_grants", "key_id agent_id until"),
    Need::insert("authd_watched_grants", "key_id user_id workspace_id agent_id build_number until"),
    Need::update("authd_watched_grants", "until"),
    Need::delete("authd_watched_grants"),
];

/// How the database executes the question what has ended
#[cfg(test)]
pub(super) async fn explained(
    connection: &mut super::writes::Lent<'_>,
    parts: i32,
    now: SystemTime,
) -> QueryResult<serde_json::Value> {
    let (tables, since) = (connection.tables(), Some(Moment(now)));
    let (sql, now) = (tables.sql(Statement::Ended)?, Moment(now));
    let poll = PollRevocations { sql, now, slices: 1, slice: 0, parts, part: 0, since };
    super::plans::Explain(poll).get_result(&mut **connection).await
}
