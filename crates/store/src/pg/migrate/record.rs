//! The record of migrations, in a table of authd's own
//!
//! The table that diesel uses has a fixed name without authd's prefix, and belongs to the program
//! that creates it first.

use std::collections::BTreeSet;

use diesel::connection::{Connection, SimpleConnection};
use diesel::migration::{Migration, MigrationSource, Result};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Text};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::EmbeddedMigrations;

use super::{FormerRecord, Migrations};

/// A connection that migrations run on
pub(super) type Session = AsyncConnectionWrapper<AsyncPgConnection>;

/// Applies the migrations of `source` that are not recorded, the oldest first, and returns their
/// names
pub(super) fn apply(source: &EmbeddedMigrations, session: &mut Session) -> Result<Vec<String>> {
    let recorded = recorded(session)?;
    let mut names = Vec::new();
    for migration in sorted(source)? {
        let version = migration.name().version().to_string();
        if recorded.contains(&version) {
            continue;
        }
        session.transaction(|session| {
            set_up(session)?;
            migration.run(session)?;
            let record = "INSERT INTO authd_schema_migrations (version) SELECT unnest($1)";
            run(record, &[version], session)?;
            Result::Ok(())
        })?;
        names.push(migration.name().to_string());
    }
    Ok(names)
}

/// Reverts the migrations of `source` that are recorded, the newest first
pub(super) fn revert(source: &EmbeddedMigrations, session: &mut Session) -> Result<()> {
    let recorded = recorded(session)?;
    for migration in sorted(source)?.iter().rev() {
        let version = migration.name().version().to_string();
        if !recorded.contains(&version) {
            continue;
        }
        session.transaction(|session| {
            migration.revert(session)?;
            let forget = "DELETE FROM authd_schema_migrations WHERE version = ANY ($1)";
            run(forget, &[version], session)?;
            Result::Ok(())
        })?;
    }
    Ok(())
}

/// Drops the record if no migration is recorded
pub(super) fn drop_if_empty(session: &mut Session) -> Result<()> {
    if has_table(RECORD, session)? && count(RECORD, None, session)? == 0 {
        session.batch_execute("DROP TABLE authd_schema_migrations")?;
    }
    Ok(())
}

/// Moves what earlier releases of authd recorded elsewhere into the record
///
/// That table is dropped if it has no other rows and belongs to this user. If it has migrations of
/// another program, only authd's rows are deleted. Does nothing if the record exists, or if no
/// table of authd does: a row with the version of one of authd's migrations is then another
/// program's.
pub(super) fn take_over(session: &mut Session) -> Result<Option<FormerRecord>> {
    if has_table(RECORD, session)? || !has_table(FORMER_RECORD, session)? {
        return Ok(None);
    }
    let [owned, control_plane] = EARLY_TABLES;
    if !has_table(owned, session)? && !has_table(control_plane, session)? {
        return Ok(None);
    }
    let ours = Migrations::All.versions()?;
    session.transaction(|session| {
        let Rights { reads, deletes, owns } = Rights::load(session)?;
        let entries = if reads { count(FORMER_RECORD, Some(&ours), session)? } else { 0 };
        if entries == 0 {
            return Ok(None);
        }
        set_up(session)?;
        let copy = "INSERT INTO authd_schema_migrations (version, run_on)
                    SELECT version, run_on FROM __diesel_schema_migrations
                    WHERE version = ANY ($1) ON CONFLICT DO NOTHING";
        run(copy, &ours, session)?;
        if deletes {
            let delete = "DELETE FROM __diesel_schema_migrations WHERE version = ANY ($1)";
            run(delete, &ours, session)?;
        }
        let dropped = owns && count(FORMER_RECORD, None, session)? == 0;
        if dropped {
            session.batch_execute("DROP TABLE __diesel_schema_migrations")?;
        }
        Ok(Some(FormerRecord { entries, dropped }))
    })
}

/// The versions in the record
pub(super) fn recorded(session: &mut Session) -> Result<BTreeSet<String>> {
    if !has_table(RECORD, session)? {
        return Ok(BTreeSet::new());
    }
    #[expect(clippy::disallowed_methods, reason = "asked once in a migration")]
    let query = diesel::sql_query("SELECT version FROM authd_schema_migrations");
    let rows: Vec<Version> = query.load(session)?;
    Ok(rows.into_iter().map(|row| row.version).collect())
}

fn sorted(source: &EmbeddedMigrations) -> Result<Vec<Box<dyn Migration<Pg>>>> {
    let mut migrations = MigrationSource::<Pg>::migrations(source)?;
    migrations.sort_by(|a, b| a.name().version().cmp(&b.name().version()));
    Ok(migrations)
}

/// Creates the record, unless it exists
fn set_up(session: &mut Session) -> Result<()> {
    if !has_table(RECORD, session)? {
        session.batch_execute(
            "CREATE TABLE authd_schema_migrations (
                 version text PRIMARY KEY,
                 run_on timestamptz NOT NULL DEFAULT now()
             )",
        )?;
    }
    Ok(())
}

pub(super) fn has_table(table: &str, session: &mut Session) -> QueryResult<bool> {
    diesel::select(to_regclass(table).is_not_null()).get_result(session)
}

/// The tables in the schemas that are searched, but for the record itself
pub(super) fn tables(session: &mut Session) -> QueryResult<Vec<String>> {
    #[expect(clippy::disallowed_methods, reason = "asked twice in a migration")]
    let query = diesel::sql_query(
        "SELECT relname::text AS name FROM pg_class
         WHERE relkind IN ('r', 'p') AND NOT relispartition AND pg_table_is_visible(oid)
             AND relnamespace <> 'pg_catalog'::regnamespace AND relname <> $1
         ORDER BY relname",
    );
    let rows: Vec<Table> = query.bind::<Text, _>(RECORD).load(session)?;
    Ok(rows.into_iter().map(|row| row.name).collect())
}

#[derive(QueryableByName)]
struct Table {
    #[diesel(sql_type = Text)]
    name: String,
}

/// The rights of this user to the former record
#[derive(QueryableByName)]
struct Rights {
    #[diesel(sql_type = Bool)]
    reads: bool,
    #[diesel(sql_type = Bool)]
    deletes: bool,
    #[diesel(sql_type = Bool)]
    owns: bool,
}

impl Rights {
    #[expect(clippy::disallowed_methods, reason = "asked once in a migration")]
    fn load(session: &mut Session) -> QueryResult<Self> {
        diesel::sql_query(
            "SELECT has_table_privilege(oid, 'SELECT') AS reads,
                    has_table_privilege(oid, 'DELETE') AS deletes,
                    pg_has_role(relowner, 'USAGE') AS owns
             FROM pg_class WHERE oid = to_regclass('__diesel_schema_migrations')",
        )
        .get_result(session)
    }
}

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = Text)]
    version: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// The number of rows of a table, with these versions or in total
#[expect(clippy::disallowed_methods, reason = "asked once in a migration")]
pub(super) fn count(
    table: &str,
    versions: Option<&[String]>,
    session: &mut Session,
) -> QueryResult<usize> {
    let statement = format!("SELECT count(*) FROM {table}");
    let Count { count } = match versions {
        Some(versions) => diesel::sql_query(format!("{statement} WHERE version = ANY ($1)"))
            .bind::<Array<Text>, _>(versions)
            .get_result(session)?,
        None => diesel::sql_query(statement).get_result(session)?,
    };
    Ok(usize::try_from(count).unwrap_or_default())
}

#[expect(clippy::disallowed_methods, reason = "as above")]
fn run(statement: &str, versions: &[String], session: &mut Session) -> QueryResult<()> {
    diesel::sql_query(statement).bind::<Array<Text>, _>(versions).execute(session)?;
    Ok(())
}

#[diesel::declare_sql_function]
extern "SQL" {
    /// The object id of a table, if it is on the search path
    fn to_regclass(name: Text) -> Nullable<Oid>;
}

/// The table in which migrations are recorded
pub(super) const RECORD: &str = "authd_schema_migrations";
/// The table in which earlier releases of authd recorded them, as diesel does
pub(super) const FORMER_RECORD: &str = "__diesel_schema_migrations";
/// Tables that each earlier release created: one of its own, and one of a control plane's
const EARLY_TABLES: [&str; 2] = ["authd_audit_sessions", "workspace_agents"];
