use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use app_audit::{Answer, Count, Entry, Groups, Journal, Window};
use chrono::{DateTime, Utc};
use diesel::data_types::PgInterval;
use diesel::prelude::*;
use diesel::result::DatabaseErrorKind::UniqueViolation;
use diesel::result::Error::DatabaseError;
use diesel::sql_types::{
    Array, BigInt, Bool, Bytea, Double, Inet, Integer, Interval, Jsonb, Nullable, Text,
    Timestamptz, Uuid as SqlUuid,
};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::PgStore;
use super::housekeeping::{
    CLOSED, DROP_MONTHS, DropMonths, END_VISITS, EndVisits, FORGET_VISITS, ForgetVisits,
};
use super::sql::Sql;
use super::tables::Need;
use super::values::Address;
use super::writes::Lent;
use crate::Error;
use crate::facts::Question;

impl Journal for PgStore {
    type Error = Error;

    async fn note(&self, entries: &[Entry], window: Window) -> Result<Vec<Answer>, Error> {
        let groups = Groups::of(entries, window);
        if groups.rows().is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.audit.get_for(Question::NoteVisits).await?;
        let tables = connection.tables();
        let began = Instant::now();
        let statement =
            |careful| NoteVisits::of(&groups, window, tables.note_visits(careful, self.mirror));
        let mut noted = statement(window.closes()).load(&mut *connection).await;
        if let (false, Err(DatabaseError(UniqueViolation, _))) = (window.closes(), &noted) {
            noted = statement(true).load(&mut *connection).await;
        }
        let rows: Vec<Row> = connection.judge(noted, began).await?;
        Ok(answers(&groups, rows))
    }

    async fn count(&self, counts: &[Count]) -> Result<(), Error> {
        let mut sorted = counts.to_vec();
        sorted.sort_unstable_by_key(|count| (count.key, count.session));
        // A row that is joined twice is updated once.
        sorted.dedup_by(|more, count| {
            let is_same = (more.key, more.session) == (count.key, count.session);
            if is_same {
                count.visits = count.visits.saturating_add(more.visits);
            }
            is_same
        });
        let statement = CountVisits {
            sql: &COUNT_VISITS,
            keys: sorted.iter().map(|count| count.key.as_bytes().as_slice()).collect(),
            sessions: sorted.iter().map(|count| count.session).collect(),
            visits: sorted.iter().map(|count| bigint(count.visits)).collect(),
        };
        let counted = async |connection: &mut _| statement.execute(connection).await;
        self.audit.ask(Question::CountVisits, counted).await?;
        Ok(())
    }

    async fn end_sessions(&self, window: Window, at_most: u32) -> Result<u64, Error> {
        let end = EndVisits {
            sql: &END_VISITS,
            idle: interval(window.forgotten_after()),
            close: window.closes(),
            at_most: at_most.into(),
        };
        let ended = async |connection: &mut _| end.get_result(connection).await;
        let ended: i64 = self.audit.ask(Question::Housekeeping, ended).await?;
        Ok(u64::try_from(ended).unwrap_or_default())
    }

    async fn prepare(&self) -> Result<(), Error> {
        let mut connection = self.audit.get_for(Question::Housekeeping).await?;
        if connection.tables().catalog().has_audit_months() {
            let began = Instant::now();
            let add = diesel::select(authd_add_audit_months());
            let added: QueryResult<i64> = add.get_result(&mut *connection).await;
            connection.judge(added, began).await?;
        }
        Ok(())
    }

    async fn forget(&self, keep: Duration, at_most: u32) -> Result<u64, Error> {
        let keep = interval(keep);
        let mut connection = self.audit.get_for(Question::Housekeeping).await?;
        let (dropped, before) = drop_months(&mut connection, keep).await?;
        let forget = ForgetVisits {
            sql: &FORGET_VISITS,
            from: self.visits_forgotten.until(),
            keep,
            before,
            at_most: at_most.into(),
        };
        let began = Instant::now();
        let deleted = forget.get_result(&mut *connection).await;
        let deleted = connection.judge(deleted, began).await?;
        let deleted = self.visits_forgotten.note(deleted, at_most);
        Ok(deleted + u64::try_from(dropped).unwrap_or_default())
    }

    fn is_unavailable(error: &Error) -> bool {
        error.is_unavailable()
    }
}

/// Drops old months, and returns how many rows they had, and before which time rows are deleted one
/// by one
async fn drop_months(
    connection: &mut Lent<'_>,
    keep: PgInterval,
) -> Result<(i64, Option<DateTime<Utc>>), Error> {
    if !connection.tables().catalog().has_audit_months() {
        return Ok((0, None));
    }
    let began = Instant::now();
    let drop = DropMonths { sql: &DROP_MONTHS, keep };
    let dropped = drop.get_result(&mut **connection).await;
    connection.judge(dropped, began).await
}

#[diesel::declare_sql_function]
extern "SQL" {
    /// Adds tables for the months to come, if the log has a table for each month, and returns how
    /// many it added
    fn authd_add_audit_months() -> BigInt;
}

statement! {
    /// Notes visits, and writes records of the sessions they begin: `note_visits.sql`
    pub(super) struct NoteVisits<'a> of several texts {
        stale: PgInterval as Interval,
        touch: PgInterval as Interval,
        close: bool as Bool,
        keys: Vec<&'a [u8]> as Array<Bytea>,
        ids: Vec<Uuid> as Array<SqlUuid>,
        agents: Vec<Uuid> as Array<SqlUuid>,
        visits: Vec<i64> as Array<BigInt>,
        times: Vec<DateTime<Utc>> as Array<Timestamptz>,
        users: Vec<Uuid> as Array<SqlUuid>,
        organizations: Vec<Uuid> as Array<SqlUuid>,
        workspaces: Vec<Uuid> as Array<SqlUuid>,
        ips: Vec<Option<Address>> as Array<Nullable<Inet>>,
        user_agents: Vec<Option<&'a str>> as Array<Nullable<Text>>,
        resource_types: Vec<&'a str> as Array<Text>,
        resources: Vec<Uuid> as Array<SqlUuid>,
        targets: Vec<&'a str> as Array<Text>,
        status_codes: Vec<i32> as Array<Integer>,
        decisions: Vec<&'a str> as Array<Text>,
        reasons: Vec<&'a str> as Array<Text>,
        additional_fields: Vec<&'a Value> as Array<Jsonb>,
        requests: Vec<Uuid> as Array<SqlUuid>,
        agent_names: Vec<Option<&'a str>> as Array<Nullable<Text>>,
    } -> (Bytea, SqlUuid, Double)
}

impl<'a> NoteVisits<'a> {
    pub(super) fn of(groups: &Groups<'a>, window: Window, sql: &'a Sql) -> Self {
        Self {
            sql,
            stale: interval(window.stale),
            touch: interval(window.touch),
            close: window.closes(),
            keys: column(groups, |entry| &entry.key.as_bytes()[..]),
            ids: column(groups, |entry| entry.record.session),
            agents: column(groups, |entry| entry.agent_id),
            visits: groups.rows().iter().map(|&(_, visits)| bigint(visits)).collect(),
            times: column(groups, |entry| entry.record.time.into()),
            users: column(groups, |entry| entry.record.user_id),
            organizations: column(groups, |entry| entry.record.organization_id),
            workspaces: column(groups, |entry| entry.record.workspace_id),
            ips: column(groups, |entry| entry.record.ip.map(Address)),
            user_agents: column(groups, |entry| entry.record.user_agent.as_deref()),
            resource_types: column(groups, |entry| entry.record.resource_type),
            resources: column(groups, |entry| entry.record.resource_id),
            targets: column(groups, |entry| &*entry.record.resource_target),
            status_codes: column(groups, |entry| entry.record.status_code.into()),
            decisions: column(groups, |entry| entry.record.decision.as_str()),
            reasons: column(groups, |entry| entry.record.reason.as_deref().unwrap_or_default()),
            additional_fields: column(groups, |entry| &entry.record.additional_fields),
            requests: column(groups, |entry| entry.record.request_id),
            agent_names: column(groups, |entry| entry.record.agent_name.as_deref()),
        }
    }
}

/// A value of the entry of each row
fn column<'a, T>(groups: &Groups<'a>, value: impl Fn(&'a Entry) -> T) -> Vec<T> {
    groups.rows().iter().map(|&(entry, _)| value(entry)).collect()
}

/// What the rows of [`NoteVisits`] answer to each entry
pub(super) fn answers(groups: &Groups<'_>, rows: Vec<Row>) -> Vec<Answer> {
    let kept: HashMap<_, _> = rows.into_iter().map(Row::kept).collect();
    groups.answers(|key| kept.get(key.as_bytes().as_slice()).copied())
}

#[derive(Queryable)]
pub(super) struct Row {
    key: Vec<u8>,
    session: Uuid,
    idle_seconds: f64,
}

impl Row {
    fn kept(self) -> (Vec<u8>, (Uuid, Duration)) {
        // The last visit may have been written a moment after this statement began.
        let idle = Duration::try_from_secs_f64(self.idle_seconds).unwrap_or_default();
        (self.key, (self.session, idle))
    }
}

statement! {
    /// Adds visits to sessions: `count_visits.sql`
    pub(super) struct CountVisits<'a> {
        keys: Vec<&'a [u8]> as Array<Bytea>,
        sessions: Vec<Uuid> as Array<SqlUuid>,
        visits: Vec<i64> as Array<BigInt>,
    }
}

pub(super) static COUNT_VISITS: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain(include_str!("sql/count_visits.sql")));

/// An interval of at most a thousand years, which PostgreSQL can add to any time of today
pub(super) fn interval(duration: Duration) -> PgInterval {
    let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval::from_microseconds(micros.min(MAX_INTERVAL_MICROS))
}

pub(super) fn bigint(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

const MAX_INTERVAL_MICROS: i64 = 1_000 * 365 * 86_400 * 1_000_000;

/// The rights that [`NoteVisits`] and [`CountVisits`] need
pub(super) const NOTE_VISITS: &[Need] = &[
    Need::select("authd_audit_sessions", "key id started_at updated_at visits"),
    Need::insert("authd_audit_sessions", "key id agent_id started_at updated_at visits"),
    Need::update("authd_audit_sessions", "id started_at updated_at visits"),
    CLOSED[0],
    CLOSED[1],
];
