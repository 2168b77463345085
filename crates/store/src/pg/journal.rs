use std::collections::HashMap;
use std::time::{Duration, Instant};

use app_audit::{Answer, Count, Entry, Journal, Window};
use chrono::{DateTime, Utc};
use diesel::data_types::PgInterval;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::DatabaseErrorKind::UniqueViolation;
use diesel::result::Error::DatabaseError;
use diesel::serialize::ToSql;
use diesel::sql_types::{
    Array, BigInt, Bool, Bytea, Double, HasSqlType, Inet, Integer, Interval, Jsonb, Nullable,
    SqlType, Text, Timestamptz, Uuid as SqlUuid,
};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::PgStore;
use super::housekeeping::{CLOSE, CLOSED, EndSessions, Forget};
use super::mirror::Mirror;
use super::tables::Need;
use super::values::Address;
use crate::Error;
use crate::journal::Groups;

impl Journal for PgStore {
    type Error = Error;

    async fn note(&self, entries: &[Entry], window: Window) -> Result<Vec<Answer>, Error> {
        let groups = Groups::of(entries, window);
        if groups.rows().is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.audit.get().await?;
        let mirror = Mirror::of(&connection.tables()).filter(|_| self.mirror);
        let began = Instant::now();
        let careful = || Note::<true>::of(&groups, window, mirror);
        let noted = match window.closes() {
            false => {
                let note = Note::<false>::of(&groups, window, mirror);
                match note.load(&mut *connection).await {
                    Err(DatabaseError(UniqueViolation, _)) => {
                        careful().load(&mut *connection).await
                    }
                    noted => noted,
                }
            }
            true => careful().load(&mut *connection).await,
        };
        let rows: Vec<Row> = connection.judge(noted, began).await?;
        let kept: HashMap<_, _> = rows.into_iter().map(Row::kept).collect();
        Ok(groups.answers(|key| kept.get(key.as_bytes().as_slice()).copied()))
    }

    async fn count(&self, counts: &[Count]) -> Result<(), Error> {
        let mut sorted = counts.to_vec();
        sorted.sort_unstable_by_key(|count| (count.key, count.session));
        let mut more = More::default();
        for count in &sorted {
            more.keys.push(count.key.as_bytes());
            more.sessions.push(count.session);
            more.visits.push(bigint(count.visits));
        }
        self.audit.run(async |connection| more.execute(connection).await).await?;
        Ok(())
    }

    async fn end_sessions(&self, window: Window, at_most: u32) -> Result<u64, Error> {
        let end = EndSessions {
            idle: interval(window.forgotten_after()),
            close: window.closes(),
            at_most: at_most.into(),
        };
        let ended: i64 =
            self.audit.run(async |connection| end.get_result(connection).await).await?;
        Ok(u64::try_from(ended).unwrap_or_default())
    }

    async fn forget(&self, keep: Duration, at_most: u32) -> Result<u64, Error> {
        let forget = Forget { keep: interval(keep), at_most: at_most.into() };
        let rows = self.audit.run(async |connection| forget.execute(connection).await).await?;
        Ok(u64::try_from(rows).unwrap_or_default())
    }

    fn is_unavailable(error: &Error) -> bool {
        matches!(error, Error::Unavailable { .. })
    }
}

/// Notes visits, and writes records of the sessions they begin, in one statement
///
/// All times are the database's. The insert takes a lock on each session it meets, and
/// decides on what is then committed, so of any number of visits that come at once one
/// begins the session. Visits are in the order of their keys, so that two statements
/// never wait for each other.
///
/// A visit that was noted before, as happens when its connection breaks between the
/// commit and the answer, meets a session of its own id, and changes nothing. If that
/// session has given way since, the visit meets a row of its own id. That is so rare that
/// only the `CAREFUL` statement leaves such rows alone, which costs every row a search
/// and a record of its own. The other fails as a whole, and is followed by that one.
///
/// Only the careful one closes sessions.
pub(super) struct Note<'a, const CAREFUL: bool> {
    stale: PgInterval,
    touch: PgInterval,
    close: bool,
    rows: Rows<'a>,
    mirror: Option<Mirror>,
}

/// The visits, by columns
#[derive(Default)]
struct Rows<'a> {
    keys: Vec<&'a [u8]>,
    ids: Vec<Uuid>,
    agents: Vec<Uuid>,
    /// Of all visits with the key, or zero where another row has them
    visits: Vec<i64>,
    times: Vec<DateTime<Utc>>,
    users: Vec<Uuid>,
    organizations: Vec<Uuid>,
    workspaces: Vec<Uuid>,
    ips: Vec<Option<Address>>,
    user_agents: Vec<Option<&'a str>>,
    resource_types: Vec<&'a str>,
    resources: Vec<Uuid>,
    agent_names: Vec<Option<&'a str>>,
    targets: Vec<&'a str>,
    status_codes: Vec<i32>,
    decisions: Vec<&'a str>,
    reasons: Vec<&'a str>,
    additional_fields: Vec<&'a Value>,
    requests: Vec<Uuid>,
}

impl<'a, const CAREFUL: bool> Note<'a, CAREFUL> {
    pub(super) fn of(groups: &Groups<'a>, window: Window, mirror: Option<Mirror>) -> Self {
        let mut rows = Rows::default();
        for &(Entry { key, agent_id, record, .. }, visits) in groups.rows() {
            rows.keys.push(key.as_bytes());
            rows.ids.push(record.session);
            rows.agents.push(*agent_id);
            rows.visits.push(bigint(visits));
            rows.times.push(record.time.into());
            rows.users.push(record.user_id);
            rows.organizations.push(record.organization_id);
            rows.workspaces.push(record.workspace_id);
            rows.ips.push(record.ip.map(Address));
            rows.user_agents.push(record.user_agent.as_deref());
            rows.resource_types.push(record.resource_type);
            rows.resources.push(record.resource_id);
            rows.agent_names.push(record.agent_name.as_deref());
            rows.targets.push(&record.resource_target);
            rows.status_codes.push(record.status_code.into());
            rows.decisions.push(record.decision.as_str());
            rows.reasons.push(record.reason.unwrap_or_default());
            rows.additional_fields.push(&record.additional_fields);
            rows.requests.push(record.request_id);
        }
        Self {
            stale: interval(window.stale),
            touch: interval(window.touch),
            close: window.closes(),
            rows,
            mirror,
        }
    }
}

impl<const CAREFUL: bool> QueryFragment<Pg> for Note<'_, CAREFUL> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Self { stale, touch, close, rows, mirror } = self;
        out.push_sql("WITH span AS (SELECT ");
        out.push_bind_param::<Interval, _>(stale)?;
        out.push_sql(" AS stale, ");
        out.push_bind_param::<Interval, _>(touch)?;
        out.push_sql(" AS touch, ");
        out.push_bind_param::<Bool, _>(close)?;
        out.push_sql(" AS close), visit AS NOT MATERIALIZED (\n    SELECT ");
        column::<Bytea, _>(&mut out, &rows.keys, "key")?;
        column::<SqlUuid, _>(&mut out, &rows.ids, "id")?;
        column::<SqlUuid, _>(&mut out, &rows.agents, "agent_id")?;
        column::<BigInt, _>(&mut out, &rows.visits, "visits")?;
        column::<Timestamptz, _>(&mut out, &rows.times, "\"time\"")?;
        column::<SqlUuid, _>(&mut out, &rows.users, "user_id")?;
        column::<SqlUuid, _>(&mut out, &rows.organizations, "organization_id")?;
        column::<SqlUuid, _>(&mut out, &rows.workspaces, "workspace_id")?;
        column::<Nullable<Inet>, _>(&mut out, &rows.ips, "ip")?;
        column::<Nullable<Text>, _>(&mut out, &rows.user_agents, "user_agent")?;
        column::<Text, _>(&mut out, &rows.resource_types, "resource_type")?;
        column::<SqlUuid, _>(&mut out, &rows.resources, "resource_id")?;
        column::<Text, _>(&mut out, &rows.targets, "resource_target")?;
        column::<Integer, _>(&mut out, &rows.status_codes, "status_code")?;
        column::<Text, _>(&mut out, &rows.decisions, "decision")?;
        column::<Text, _>(&mut out, &rows.reasons, "reason")?;
        column::<Jsonb, _>(&mut out, &rows.additional_fields, "additional_fields")?;
        column::<SqlUuid, _>(&mut out, &rows.requests, "request_id")?;
        if mirror.is_some() {
            column::<Nullable<Text>, _>(&mut out, &rows.agent_names, "agent_name")?;
        }
        out.push_sql(NOTE);
        if CAREFUL {
            out.push_sql(LEAVE_ALONE);
        }
        match mirror {
            Some(mirror) => {
                out.push_sql("\n    RETURNING id\n)");
                mirror.push_to(&mut out);
            }
            None => out.push_sql("\n)"),
        }
        if CAREFUL {
            out.push_sql(ENDED);
            out.push_sql(CLOSE);
        }
        out.push_sql(NOTED);
        Ok(())
    }
}

/// The `n`th of an array as a column
///
/// `unnest` would first put every array into a table of its own.
fn column<'b, T, U>(
    out: &mut AstPass<'_, 'b, Pg>,
    values: &'b Vec<U>,
    name: &str,
) -> QueryResult<()>
where
    Pg: HasSqlType<Array<T>>,
    Array<T>: SqlType,
    Vec<U>: ToSql<Array<T>, Pg>,
{
    out.push_sql("(");
    out.push_bind_param::<Array<T>, _>(values)?;
    out.push_sql(")[n] AS ");
    out.push_sql(name);
    out.push_sql(", ");
    Ok(())
}

/// What follows the visits, of which `$4` are the keys: `$1` is how long a session lasts
/// without any, and `$2` how exactly its last is known
///
/// A session that is not stale is one that a visit continues. With `$1` zero there is no
/// such session, whatever another statement has written since this one began.
///
/// The words of an enum are compared rather than cast: a cast looks each of them up. A
/// word that is not known becomes null, which is refused.
const NOTE: &str = "\
n
    FROM generate_series(1, cardinality($4)) n
), noted AS (
    INSERT INTO authd_audit_sessions AS last (key, id, agent_id, started_at, updated_at, visits)
    SELECT key, id, agent_id, now(), now(), visits FROM visit WHERE visits > 0
    ON CONFLICT (key) DO UPDATE SET
        id = CASE WHEN $1 > '0' AND last.updated_at > now() - $1
                  THEN last.id ELSE excluded.id END,
        started_at = CASE WHEN $1 > '0' AND last.updated_at > now() - $1
                          THEN last.started_at ELSE excluded.started_at END,
        visits = CASE WHEN $1 > '0' AND last.updated_at > now() - $1
                      THEN last.visits ELSE 0 END + excluded.visits,
        updated_at = CASE WHEN last.updated_at > now() - $1 AND last.updated_at >= now() - $2
                          THEN last.updated_at
                          ELSE greatest(last.updated_at, excluded.updated_at) END
    WHERE last.id <> excluded.id
    RETURNING key, id, updated_at
), logged AS (
    INSERT INTO authd_audit_log (id, session_id, \"time\", user_id, organization_id, workspace_id,
                                 ip, user_agent, resource_type, resource_id, resource_target,
                                 action, status_code, decision, reason, additional_fields,
                                 request_id)
    SELECT id, id, \"time\", user_id, organization_id, workspace_id, ip, user_agent,
           CASE resource_type
               WHEN 'workspace_agent' THEN 'workspace_agent'::authd_resource_type
               WHEN 'workspace_app' THEN 'workspace_app'::authd_resource_type END,
           resource_id, resource_target, 'open', status_code,
           CASE decision WHEN 'allow' THEN 'allow'::authd_audit_decision
                         WHEN 'deny' THEN 'deny'::authd_audit_decision END,
           reason, additional_fields, request_id
    FROM visit
    WHERE id IN (SELECT id FROM noted) OR $1 = '0' AND key IN (SELECT key FROM noted)";

const LEAVE_ALONE: &str = "\n    ON CONFLICT (id) DO NOTHING";

/// If `$3`, the sessions that gave way: what is read of them is how they were before
const ENDED: &str = "\
, ended AS (
    SELECT last.id, last.started_at, last.updated_at, last.visits
    FROM noted JOIN authd_audit_sessions last USING (key)
    WHERE $3 AND last.id <> noted.id
)";

const NOTED: &str = "
SELECT key, id, extract(epoch FROM now() - updated_at)::double precision FROM noted";

impl<const CAREFUL: bool> QueryId for Note<'_, CAREFUL> {
    type QueryId = Note<'static, CAREFUL>;

    // A connection has one text of each: what it mirrors depends on its tables alone.
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<const CAREFUL: bool> Query for Note<'_, CAREFUL> {
    type SqlType = (Bytea, SqlUuid, Double);
}

#[derive(Queryable)]
struct Row {
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

/// Adds visits to sessions
///
/// The sessions are locked in the order of their keys, for the same reason as above.
#[derive(Default)]
pub(super) struct More<'a> {
    keys: Vec<&'a [u8]>,
    sessions: Vec<Uuid>,
    visits: Vec<i64>,
}

impl QueryFragment<Pg> for More<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH more AS (\n    SELECT last.key, more.visits\n    FROM unnest(");
        out.push_bind_param::<Array<Bytea>, _>(&self.keys)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.sessions)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.visits)?;
        out.push_sql(
            "\
) AS more (key, id, visits)
    JOIN authd_audit_sessions last ON last.key = more.key AND last.id = more.id
    ORDER BY last.key
    FOR UPDATE OF last
)
UPDATE authd_audit_sessions last SET visits = last.visits + more.visits
FROM more WHERE last.key = more.key",
        );
        Ok(())
    }
}

prepared_once!(More<'_>);

/// At most the longest that PostgreSQL can count from any time of today
pub(super) fn interval(duration: Duration) -> PgInterval {
    let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval::from_microseconds(micros.min(MAX_INTERVAL_MICROS))
}

fn bigint(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A thousand years
const MAX_INTERVAL_MICROS: i64 = 1_000 * 365 * 86_400 * 1_000_000;

/// The rights that [`Note`] and [`More`] take
pub(super) const NOTE_VISITS: &[Need] = &[
    Need::select("authd_audit_sessions", "key id started_at updated_at visits"),
    Need::insert("authd_audit_sessions", "key id agent_id started_at updated_at visits"),
    Need::update("authd_audit_sessions", "id started_at updated_at visits"),
    CLOSED[0],
    CLOSED[1],
];
