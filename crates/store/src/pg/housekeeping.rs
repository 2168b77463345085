use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};
use diesel::data_types::PgInterval;
use diesel::sql_types::{BigInt, Bool, Interval, Nullable, Timestamptz};

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
        from: DateTime<Utc> as Timestamptz,
        keep: PgInterval as Interval,
        before: Option<DateTime<Utc>> as Nullable<Timestamptz>,
        at_most: i64 as BigInt,
    } -> (BigInt, Nullable<Timestamptz>)
}

statement! {
    /// Drops the tables of old months, if the log has a table for each month
    ///
    /// Returns how many rows they had, and the time before which rows are deleted one by one.
    pub(super) struct DropMonths<'a> {
        keep: PgInterval as Interval,
    } -> (BigInt, Nullable<Timestamptz>)
}

/// Where the next batch of a deletion begins
///
/// Indexes have deleted rows until the table is vacuumed. If each batch began at the oldest, it would
/// step over all that those before it deleted, and after millions take longer than a statement may.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    /// In microseconds since 1970, the earliest time of a row
    until: AtomicI64,
}

impl Forgotten {
    pub(super) fn until(&self) -> DateTime<Utc> {
        let until = self.until.load(Ordering::Relaxed);
        DateTime::from_timestamp_micros(until).unwrap_or(DateTime::UNIX_EPOCH)
    }

    /// Notes a batch, and returns how many rows it deleted
    ///
    /// After the last batch the next one begins at the oldest row again: earlier rows may have come.
    pub(super) fn note(&self, (rows, newest): (i64, Option<DateTime<Utc>>), at_most: u32) -> u64 {
        let newest = newest.filter(|_| rows >= i64::from(at_most));
        self.until.store(newest.map_or(0, |time| time.timestamp_micros()), Ordering::Relaxed);
        u64::try_from(rows).unwrap_or_default()
    }
}

pub(super) static END_VISITS: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain(include_str!("sql/end_visits.sql")));

pub(super) static FORGET_VISITS: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain(include_str!("sql/forget_visits.sql")));

pub(super) static DROP_MONTHS: LazyLock<Sql> =
    LazyLock::new(|| Sql::plain("SELECT dropped, one_by_one FROM authd_drop_audit_months($1)"));

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
