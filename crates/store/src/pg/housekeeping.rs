use std::sync::LazyLock;

use diesel::data_types::PgInterval;
use diesel::sql_types::{BigInt, Bool, Interval};

use super::sql::Sql;
use super::tables::Need;

statement! {
    /// Deletes sessions that have ended, and writes their ends into the log: `end_visits.sql`
    pub(super) struct EndVisits<'a> {
        idle: PgInterval as Interval,
        at_most: i64 as BigInt,
        close: bool as Bool,
    } -> BigInt
}

statement! {
    /// Deletes the oldest rows of the log: `forget_visits.sql`
    pub(super) struct ForgetVisits<'a> {
        keep: PgInterval as Interval,
        at_most: i64 as BigInt,
    }
}

pub(super) static END_VISITS: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain(include_str!("sql/end_visits.sql")));

pub(super) static FORGET_VISITS: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain(include_str!("sql/forget_visits.sql")));

/// The rights that writing the ends of sessions needs, even if none has ended
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

/// The rights that [`EndVisits`] needs
pub(super) const VISIT_ENDS: &[Need] = &[
    Need::select("authd_audit_sessions", "key id started_at updated_at visits"),
    Need::delete("authd_audit_sessions"),
    Need::update("authd_audit_sessions", "visits"),
    CLOSED[0],
    CLOSED[1],
];

/// The rights that [`ForgetVisits`] needs
///
/// The statement locks rows, which needs the right to change one of their columns. This column
/// is harmless: a role with this right cannot forge visits.
pub(super) const FORGET: &[Need] = &[
    Need::select("authd_audit_log", "id time"),
    Need::delete("authd_audit_log"),
    Need::update("authd_audit_log", "resource_icon"),
];
