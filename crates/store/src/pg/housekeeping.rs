use diesel::data_types::PgInterval;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment};
use diesel::sql_types::{BigInt, Bool, Interval};

use super::tables::Need;

/// Forgets sessions that have ended, and closes them, in one statement
///
/// The longest ended go first. Those that another replica is forgetting, or a visit is
/// just waking, are left to them.
pub(super) struct EndSessions {
    pub(super) idle: PgInterval,
    pub(super) close: bool,
    pub(super) at_most: i64,
}

impl QueryFragment<Pg> for EndSessions {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "\
WITH over AS (
    SELECT key FROM authd_audit_sessions
    WHERE updated_at < now() - ",
        );
        out.push_bind_param::<Interval, _>(&self.idle)?;
        out.push_sql("\n    ORDER BY updated_at LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.at_most)?;
        out.push_sql(
            "
    FOR UPDATE SKIP LOCKED
), forgotten AS (
    DELETE FROM authd_audit_sessions last
    WHERE key = ANY (ARRAY(SELECT key FROM over))
    RETURNING id, started_at, updated_at, visits
), ended AS (
    SELECT * FROM forgotten WHERE ",
        );
        out.push_bind_param::<Bool, _>(&self.close)?;
        out.push_sql("\n)");
        out.push_sql(CLOSE);
        out.push_sql("\nSELECT count(*) FROM forgotten");
        Ok(())
    }
}

/// Writes the end of each session in `ended`, as its beginning was written
///
/// The id is made of the session's: whoever closes a session, it is closed once.
pub(super) const CLOSE: &str = "\
, closed AS (
    INSERT INTO authd_audit_log (id, session_id, \"time\", user_id, organization_id, workspace_id,
                                 ip, user_agent, resource_type, resource_id, resource_target,
                                 action, status_code, decision, reason, additional_fields,
                                 request_id, resource_icon)
    SELECT md5('close ' || ended.id)::uuid, ended.id, now(), o.user_id, o.organization_id,
           o.workspace_id, o.ip, o.user_agent, o.resource_type, o.resource_id, o.resource_target,
           'close', o.status_code, o.decision, o.reason,
           o.additional_fields || jsonb_build_object(
               'first_seen', to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
               'last_seen', to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
               'visits', visits),
           o.request_id, o.resource_icon
    FROM ended JOIN authd_audit_log o ON o.id = ended.id
    ON CONFLICT (id) DO NOTHING
)";

prepared_once!(EndSessions);

impl Query for EndSessions {
    type SqlType = BigInt;
}

/// Forgets the oldest rows of the log
pub(super) struct Forget {
    pub(super) keep: PgInterval,
    pub(super) at_most: i64,
}

impl QueryFragment<Pg> for Forget {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "\
WITH old AS (
    SELECT id FROM authd_audit_log
    WHERE \"time\" < now() - ",
        );
        out.push_bind_param::<Interval, _>(&self.keep)?;
        out.push_sql("\n    ORDER BY \"time\", id LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.at_most)?;
        out.push_sql(
            "
    FOR UPDATE SKIP LOCKED
)
DELETE FROM authd_audit_log WHERE id = ANY (ARRAY(SELECT id FROM old))",
        );
        Ok(())
    }
}

prepared_once!(Forget);

/// The rights that [`CLOSE`] takes, also where it closes nothing
pub(super) const CLOSED: [Need; 2] = [
    Need::select(
        "authd_audit_log",
        "id user_id organization_id workspace_id ip user_agent resource_type resource_id \
         resource_target status_code decision reason additional_fields request_id resource_icon",
    ),
    Need::insert(
        "authd_audit_log",
        "id session_id time user_id organization_id workspace_id ip user_agent resource_type \
         resource_id resource_target action status_code decision reason additional_fields \
         request_id resource_icon",
    ),
];

/// The rights that [`EndSessions`] takes
pub(super) const END_VISITS: &[Need] = &[
    Need::select("authd_audit_sessions", "key id started_at updated_at visits"),
    Need::delete("authd_audit_sessions"),
    Need::update("authd_audit_sessions", "visits"),
    CLOSED[0],
    CLOSED[1],
];

/// The rights that [`Forget`] takes
///
/// It locks rows, which takes the right to change one of their columns. This one has no
/// meaning: a role that may delete rows cannot forge them.
pub(super) const FORGET: &[Need] = &[
    Need::select("authd_audit_log", "id time"),
    Need::delete("authd_audit_log"),
    Need::update("authd_audit_log", "resource_icon"),
];
