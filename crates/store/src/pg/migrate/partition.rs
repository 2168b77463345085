use std::fmt;
use std::thread::sleep;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::connection::{Connection, SimpleConnection};
use diesel::migration::Result;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable, Text, Timestamptz};
use serde::Serialize;

use super::record::Session;
use crate::Error;
use crate::pg::PgStore;

/// A table of the audit log, if the log has a table for each month
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName, Serialize)]
#[non_exhaustive]
pub struct AuditMonth {
    /// The name, such as `authd_audit_log_2027_01`
    #[diesel(sql_type = Text)]
    pub table: String,
    /// Its rows are of before this time, and of no table that ends earlier; `None` for the table of
    /// all other rows
    #[diesel(sql_type = Nullable<Timestamptz>)]
    pub ends: Option<DateTime<Utc>>,
}

impl fmt::Display for AuditMonth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<32} ", self.table)?;
        match self.ends {
            Some(ends) => write!(f, "until {}", ends.format("%Y-%m-%d")),
            None => f.write_str("all other rows"),
        }
    }
}

impl PgStore {
    /// Gives the audit log a table for each month, so that old rows can be dropped with their
    /// table, and returns the tables
    ///
    /// The existing table becomes the first one, with all rows of this month, of earlier ones and of
    /// the next. If the log has such tables already, those of the months to come are added. Rights
    /// to the log are kept.
    ///
    /// Visits may be recorded meanwhile. An index is built, which takes about as long as reading the
    /// table. Afterwards the primary key is a row's id and time, so that statements which expect
    /// one of the id alone fail.
    ///
    /// # Errors
    ///
    /// [`Error::Migration`] if the user does not own the table, or if the table was in use for a
    /// minute. The log is then as before, unless the error says that an index or a check is left,
    /// because the table was still in use. [`Error::Unavailable`].
    pub async fn partition_audit_log(&self) -> std::result::Result<Vec<AuditMonth>, Error> {
        let partitioned = self.with_session(|session| {
            if !has_months(session)? {
                partition(session).map_err(|error| match undo(session) {
                    Ok(()) => error,
                    Err(_) => format!("{error}; {LEFT}").into(),
                })?;
            }
            session.batch_execute("SELECT authd_add_audit_months()")?;
            months(session)
        });
        partitioned.await
    }
}

fn partition(session: &mut Session) -> Result<()> {
    // Of a try that was interrupted.
    undo(session)?;
    session.batch_execute(
        "CREATE UNIQUE INDEX CONCURRENTLY authd_audit_log_by_id_and_time \
             ON authd_audit_log (id, \"time\")",
    )?;
    patiently(LIMIT, is_limited, session)?;
    session
        .batch_execute("ALTER TABLE authd_audit_log VALIDATE CONSTRAINT authd_audit_log_ends")?;
    patiently(include_str!("partition.sql"), has_months, session)
}

fn undo(session: &mut Session) -> Result<()> {
    if is_limited(session)? {
        patiently(UNLIMIT, |session| Ok(!is_limited(session)?), session)?;
    }
    Ok(session.batch_execute(DROP_INDEX)?)
}

/// Repeats a statement that does nothing while the log is in use, until it is done
///
/// Other statements wait behind one that waits for a table. So each try is short.
fn patiently(
    statement: &str,
    is_done: impl Fn(&mut Session) -> QueryResult<bool>,
    session: &mut Session,
) -> Result<()> {
    for _ in 0..TRIES {
        session.transaction(|session| {
            // Times are read as they are printed.
            session.batch_execute("SET LOCAL lock_timeout = '1s'; SET LOCAL datestyle = 'ISO'")?;
            session.batch_execute(statement)
        })?;
        if is_done(session)? {
            return Ok(());
        }
        sleep(PAUSE);
    }
    Err("authd_audit_log was used by long statements or transactions all the time".into())
}

fn has_months(session: &mut Session) -> QueryResult<bool> {
    is(
        "SELECT relkind = 'p' AS yes FROM pg_class WHERE oid = to_regclass('authd_audit_log')",
        session,
    )
}

fn is_limited(session: &mut Session) -> QueryResult<bool> {
    is(
        "SELECT EXISTS (SELECT FROM pg_constraint
                        WHERE conrelid = to_regclass('authd_audit_log')
                            AND conname = 'authd_audit_log_ends') AS yes",
        session,
    )
}

#[expect(clippy::disallowed_methods, reason = "asked a few times in a migration")]
fn is(question: &str, session: &mut Session) -> QueryResult<bool> {
    let answer: Option<Answer> = diesel::sql_query(question).get_result(session).optional()?;
    Ok(answer.is_some_and(|answer| answer.yes))
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    yes: bool,
}

#[expect(clippy::disallowed_methods, reason = "asked once in a migration")]
fn months(session: &mut Session) -> Result<Vec<AuditMonth>> {
    let months = diesel::sql_query(
        "SELECT c.relname::text AS \"table\", m.ends
         FROM authd_audit_months() m JOIN pg_class c ON c.oid = m.month
         ORDER BY m.ends",
    );
    Ok(months.load(session)?)
}

/// Removes the index of the new primary key, if it was built for that
const DROP_INDEX: &str = "DROP INDEX CONCURRENTLY IF EXISTS authd_audit_log_by_id_and_time";

/// Limits the time of rows, so that the table need not be read again for it
///
/// This holds for a month at least, so that new rows keep to it even if the rest is not done soon.
const LIMIT: &str = "DO $$
BEGIN
    LOCK TABLE authd_audit_log;
    EXECUTE format(
        'ALTER TABLE authd_audit_log ADD CONSTRAINT authd_audit_log_ends CHECK (\"time\" < %L) NOT VALID',
        date_trunc('month', greatest(now(), (SELECT max(\"time\") FROM authd_audit_log)))
            + interval '2 months');
EXCEPTION
    WHEN lock_not_available THEN NULL;
END $$";

const UNLIMIT: &str = "DO $$
BEGIN
    LOCK TABLE authd_audit_log;
    ALTER TABLE authd_audit_log DROP CONSTRAINT authd_audit_log_ends;
EXCEPTION
    WHEN lock_not_available THEN NULL;
END $$";

const LEFT: &str = "the index `authd_audit_log_by_id_and_time`, or the check `authd_audit_log_ends` of \
                    the time of rows, is left until this runs again";

const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_secs(1);
