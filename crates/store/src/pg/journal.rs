use std::collections::HashMap;
use std::time::Duration;

use app_audit::{Answer, Count, Entry, Journal, Window};
use chrono::{DateTime, Utc};
use diesel::data_types::PgInterval;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{
    Array, BigInt, Bool, Bytea, Double, Integer, Interval, Jsonb, Nullable, Text, Timestamptz,
    Uuid as SqlUuid,
};
use diesel_async::RunQueryDsl;
use serde_json::Value;
use uuid::Uuid;

use super::PgStore;
use super::housekeeping::{CLOSE, EndSessions, Forget};
use crate::Error;
use crate::journal::Groups;

impl Journal for PgStore {
    type Error = Error;

    async fn note(&self, entries: &[Entry], window: Window) -> Result<Vec<Answer>, Error> {
        let groups = Groups::of(entries, window);
        if groups.rows().is_empty() {
            return Ok(Vec::new());
        }
        let note = Note::of(&groups, window);
        let rows: Vec<Row> = self.audit.run(async |connection| note.load(connection).await).await?;
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
/// commit and the answer, meets a session of its own id, or else a row of its own id,
/// and changes neither.
pub(super) struct Note<'a> {
    stale: PgInterval,
    touch: PgInterval,
    close: bool,
    rows: Rows<'a>,
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
    ips: Vec<Option<String>>,
    user_agents: Vec<Option<&'a str>>,
    resource_types: Vec<&'a str>,
    resources: Vec<Uuid>,
    targets: Vec<&'a str>,
    actions: Vec<&'a str>,
    status_codes: Vec<i32>,
    decisions: Vec<&'a str>,
    reasons: Vec<&'a str>,
    additional_fields: Vec<&'a Value>,
    requests: Vec<Uuid>,
}

impl<'a> Note<'a> {
    pub(super) fn of(groups: &Groups<'a>, window: Window) -> Self {
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
            rows.ips.push(record.ip.map(|ip| ip.to_string()));
            rows.user_agents.push(record.user_agent.as_deref());
            rows.resource_types.push(record.resource_type);
            rows.resources.push(record.resource_id);
            rows.targets.push(&record.resource_target);
            rows.actions.push(record.action);
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
        }
    }
}

impl QueryFragment<Pg> for Note<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let Self { stale, touch, close, rows } = self;
        out.push_sql("WITH span AS (SELECT ");
        out.push_bind_param::<Interval, _>(stale)?;
        out.push_sql(" AS stale, ");
        out.push_bind_param::<Interval, _>(touch)?;
        out.push_sql(" AS touch, ");
        out.push_bind_param::<Bool, _>(close)?;
        out.push_sql(" AS close), asked AS (\n    SELECT * FROM unnest(");
        out.push_bind_param::<Array<Bytea>, _>(&rows.keys)?;
        for ids in [&rows.ids, &rows.agents] {
            out.push_sql(", ");
            out.push_bind_param::<Array<SqlUuid>, _>(ids)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&rows.visits)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&rows.times)?;
        for ids in [&rows.users, &rows.organizations, &rows.workspaces] {
            out.push_sql(", ");
            out.push_bind_param::<Array<SqlUuid>, _>(ids)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&rows.ips)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&rows.user_agents)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&rows.resource_types)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlUuid>, _>(&rows.resources)?;
        for texts in [&rows.targets, &rows.actions] {
            out.push_sql(", ");
            out.push_bind_param::<Array<Text>, _>(texts)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(&rows.status_codes)?;
        for texts in [&rows.decisions, &rows.reasons] {
            out.push_sql(", ");
            out.push_bind_param::<Array<Text>, _>(texts)?;
        }
        out.push_sql(", ");
        out.push_bind_param::<Array<Jsonb>, _>(&rows.additional_fields)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlUuid>, _>(&rows.requests)?;
        out.push_sql(NOTE);
        out.push_sql(CLOSE);
        out.push_sql(NOTED);
        Ok(())
    }
}

/// What follows the visits: `$1` is how long a session lasts without any, and `$2` how
/// exactly its last is known
///
/// A session that is not stale is one that a visit continues. With `$1` zero there is no
/// such session, whatever another statement has written since this one began. If `$3`, a
/// session that gave way is closed: what is read of it is how it was before.
const NOTE: &str = "\
) AS visit (key, id, agent_id, visits, \"time\", user_id, organization_id, workspace_id, ip,
                     user_agent, resource_type, resource_id, resource_target, action,
                     status_code, decision, reason, additional_fields, request_id)
), noted AS (
    INSERT INTO authd_audit_sessions AS last (key, id, agent_id, started_at, updated_at, visits)
    SELECT key, id, agent_id, now(), now(), visits FROM asked WHERE visits > 0
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
    SELECT id, id, \"time\", user_id, organization_id, workspace_id, ip::inet, user_agent,
           resource_type::authd_resource_type, resource_id, resource_target,
           action::authd_audit_action, status_code, decision::authd_audit_decision, reason,
           additional_fields, request_id
    FROM asked, span
    WHERE (key, id) IN (SELECT key, id FROM noted)
       OR stale = '0' AND key IN (SELECT key FROM noted)
    ON CONFLICT (id) DO NOTHING
), ended AS (
    SELECT last.id, last.started_at, last.updated_at, last.visits
    FROM noted JOIN authd_audit_sessions last USING (key)
    WHERE $3 AND last.id <> noted.id
)";

const NOTED: &str = "
SELECT key, id, extract(epoch FROM now() - updated_at)::double precision FROM noted";

impl QueryId for Note<'_> {
    type QueryId = Note<'static>;

    // The text is always the same, so it is prepared once per connection.
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl Query for Note<'_> {
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

impl QueryId for More<'_> {
    type QueryId = More<'static>;

    const HAS_STATIC_QUERY_ID: bool = true;
}

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
