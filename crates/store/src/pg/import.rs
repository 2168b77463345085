use std::collections::{BTreeMap, BTreeSet};

use app_audit::Act;
use diesel::result::QueryResult;
use diesel::sql_types::{Array, Jsonb, Nullable, Uuid as SqlUuid};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{PgStore, acts};
use crate::Error;
use crate::acts::of_import;
use crate::import::{Change, Difference, Import, Rows, Table, Wanted};

impl Import for PgStore {
    async fn import_recorded(
        &self,
        rows: &Rows,
        dry_run: bool,
        act: Option<Act>,
    ) -> Result<Vec<Difference>, Error> {
        let may_change = dry_run || self.may_change_rows().await?;
        let dry_run = dry_run || !may_change;
        let mut connection = self.writes.get().await?;
        let tables = connection.tables();
        let outcome = connection
            .transaction(async |connection| {
                let differences = import(rows, connection).await?;
                if let Some(act) = act.and_then(|act| of_import(act, &differences)) {
                    acts::note_in(&act, &tables, connection).await?;
                }
                // A dry run is executed and rolled back, so that it fails where the import
                // would.
                if dry_run { Err(Outcome::DryRun(differences)) } else { Ok(differences) }
            })
            .await;
        match outcome {
            Err(Outcome::DryRun(differences)) if !may_change && !differences.is_empty() => {
                Err(Error::ControlPlane { changes: summary(&differences) })
            }
            Ok(differences) | Err(Outcome::DryRun(differences)) => Ok(differences),
            // The rows are not known, only the tables that the import would have changed.
            Err(Outcome::Failed(_)) if !may_change => {
                let tables: BTreeSet<&str> = rows.wanted.iter().map(|w| w.table.name()).collect();
                let tables: Vec<&str> = tables.into_iter().collect();
                Err(Error::ControlPlane { changes: format!("rows of {}", tables.join(", ")) })
            }
            Err(Outcome::Failed(error)) => Err(error.into()),
        }
    }
}

/// The number of rows that differ, by table, with a few names
fn summary(differences: &[Difference]) -> String {
    let mut tables: BTreeMap<&str, Vec<&Difference>> = BTreeMap::new();
    for difference in differences {
        tables.entry(difference.table).or_default().push(difference);
    }
    let table = |(table, differences): (&&str, &Vec<&Difference>)| {
        let named = differences.iter().filter_map(|difference| difference.name.as_deref());
        let mut names: Vec<String> = named.take(NAMES).map(printable).collect();
        let count = differences.len();
        if count > names.len() && !names.is_empty() {
            names.push("…".to_owned());
        }
        let rows = if count == 1 { "row" } else { "rows" };
        match names.is_empty() {
            true => format!("{count} {rows} of {table}"),
            false => format!("{count} {rows} of {table} ({})", names.join(", ")),
        }
    };
    tables.iter().map(table).collect::<Vec<_>>().join(", ")
}

/// A name that is safe to print: users choose names
fn printable(name: &str) -> String {
    name.chars().take(64).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Why a transaction is rolled back
enum Outcome {
    DryRun(Vec<Difference>),
    Failed(diesel::result::Error),
}

impl From<diesel::result::Error> for Outcome {
    fn from(error: diesel::result::Error) -> Self {
        Self::Failed(error)
    }
}

/// A row as it is and as it should be, both as the database spells values
#[derive(QueryableByName)]
struct Pair {
    #[diesel(sql_type = Nullable<Jsonb>)]
    is: Option<Value>,
    #[diesel(sql_type = Jsonb)]
    should: Value,
}

async fn import(rows: &Rows, connection: &mut AsyncPgConnection) -> QueryResult<Vec<Difference>> {
    // Two concurrent imports would find the same rows missing.
    connection.batch_execute(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
    let mut by_table: BTreeMap<Table, Vec<&Wanted>> = BTreeMap::new();
    for wanted in &rows.wanted {
        by_table.entry(wanted.table).or_default().push(wanted);
    }
    let mut differences = Vec::new();
    for ((table, column), owners) in &rows.exactly {
        let wanted = by_table.get(table).map_or(&[][..], Vec::as_slice);
        differences.append(&mut remove_others(*table, column, owners, wanted, connection).await?);
    }
    for (table, wanted) in by_table {
        for wanted in wanted.chunks(ROWS_PER_STATEMENT) {
            differences.append(&mut import_table(table, wanted, connection).await?);
        }
    }
    Ok(differences)
}

#[expect(clippy::disallowed_methods, reason = "an import is rare, and its rows differ")]
async fn import_table(
    table: Table,
    wanted: &[&Wanted],
    connection: &mut AsyncPgConnection,
) -> QueryResult<Vec<Difference>> {
    let name = table.name();
    let on = join(table.key(), " AND ", |column| format!("t.{column} = r.{column}"));
    let compare = format!(
        "SELECT to_jsonb(t) AS is, to_jsonb(r) AS should
         FROM ROWS FROM (jsonb_populate_recordset(NULL::{name}, $1)) WITH ORDINALITY AS r
         LEFT JOIN {name} t ON {on} ORDER BY r.ordinality"
    );
    let documents = wanted.iter().map(|wanted| Value::Object(wanted.row.clone())).collect();
    let pairs: Vec<Pair> =
        sql_query(compare).bind::<Jsonb, _>(Value::Array(documents)).load(connection).await?;

    let mut differences = Vec::new();
    // Rows that set the same columns share a statement.
    let mut inserts: BTreeMap<BTreeSet<&str>, Vec<&Map<String, Value>>> = BTreeMap::new();
    let mut updates: BTreeMap<BTreeSet<&str>, Vec<&Map<String, Value>>> = BTreeMap::new();
    for (wanted, pair) in wanted.iter().zip(&pairs) {
        let Value::Object(should) = &pair.should else { continue };
        let is = pair.is.as_ref().and_then(Value::as_object);
        let Some(difference) = Difference::between(wanted, is, should) else { continue };
        let columns = wanted.row.keys().map(String::as_str);
        if is.is_none() {
            inserts.entry(columns.collect()).or_default().push(&wanted.row);
        } else {
            let kept = |column: &&str| wanted.keep.contains(column) || table.key().contains(column);
            let columns = columns.filter(|column| !kept(column)).collect();
            updates.entry(columns).or_default().push(&wanted.row);
        }
        differences.push(difference);
    }

    for (columns, rows) in inserts {
        let columns = join(&columns, ", ", |column| format!("\"{column}\""));
        let insert = format!(
            "INSERT INTO {name} ({columns})
             SELECT {columns} FROM jsonb_populate_recordset(NULL::{name}, $1)"
        );
        run(insert, rows, connection).await?;
    }
    for (columns, rows) in updates {
        let sets = join(&columns, ", ", |column| format!("\"{column}\" = r.\"{column}\""));
        let update = format!(
            "UPDATE {name} t SET {sets}
             FROM jsonb_populate_recordset(NULL::{name}, $1) r WHERE {on}"
        );
        run(update, rows, connection).await?;
    }
    Ok(differences)
}

/// A row that was removed
#[derive(QueryableByName)]
struct Removed {
    #[diesel(sql_type = Jsonb)]
    removed: Value,
}

#[expect(clippy::disallowed_methods, reason = "an import is rare, and its rows differ")]
async fn remove_others(
    table: Table,
    column: &str,
    owners: &[Uuid],
    wanted: &[&Wanted],
    connection: &mut AsyncPgConnection,
) -> QueryResult<Vec<Difference>> {
    let name = table.name();
    let on = join(table.key(), " AND ", |column| format!("t.{column} = r.{column}"));
    let delete = format!(
        "DELETE FROM {name} t WHERE {column} = ANY ($1) AND NOT EXISTS (
             SELECT FROM jsonb_populate_recordset(NULL::{name}, $2) r WHERE {on}
         ) RETURNING to_jsonb(t) AS removed"
    );
    let documents = wanted.iter().map(|wanted| Value::Object(wanted.row.clone())).collect();
    let removed: Vec<Removed> = sql_query(delete)
        .bind::<Array<SqlUuid>, _>(owners)
        .bind::<Jsonb, _>(Value::Array(documents))
        .load(connection)
        .await?;
    let row = |row: &Removed| row.removed.as_object().cloned().unwrap_or_default();
    Ok(removed.iter().map(|r| Difference::of(table, &row(r), Change::Removed)).collect())
}

#[expect(clippy::disallowed_methods, reason = "as above")]
async fn run(
    statement: String,
    rows: Vec<&Map<String, Value>>,
    connection: &mut AsyncPgConnection,
) -> QueryResult<()> {
    let rows = rows.into_iter().cloned().map(Value::Object).collect();
    sql_query(statement).bind::<Jsonb, _>(Value::Array(rows)).execute(connection).await?;
    Ok(())
}

/// Joins names of columns and tables, which are constants and never come from a document
fn join<'a, C: AsRef<str> + 'a + ?Sized>(
    columns: impl IntoIterator<Item = &'a C>,
    separator: &str,
    each: impl Fn(&str) -> String,
) -> String {
    columns.into_iter().map(|column| each(column.as_ref())).collect::<Vec<_>>().join(separator)
}

/// The most names of rows in a summary of a table
const NAMES: usize = 3;

const ROWS_PER_STATEMENT: usize = 1_000;

/// Key of an advisory lock; "authmp" in ASCII
const LOCK: i64 = 0x6175_7468_6d70;
