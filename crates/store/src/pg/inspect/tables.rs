use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use diesel::result::{OptionalExtension, QueryResult};
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::inspection::{AuditMonths, Elsewhere, Index, Lack, Migration, Task};
use crate::pg::tables::{Catalog, Tables, Task as Known};

/// The schema of the tables, and the schemas of the search path
pub(super) async fn place(
    mut connection: &AsyncPgConnection,
) -> QueryResult<(Option<String>, Vec<String>)> {
    let row: Place = sql_query(
        "SELECT (SELECT relnamespace::regnamespace::text FROM pg_class
                 WHERE oid = to_regclass('workspace_agents')) AS schema,
                current_schemas(false)::text[] AS search_path",
    )
    .get_result(&mut connection)
    .await?;
    Ok((row.schema, row.search_path))
}

/// The state of the control plane's migrations, according to its own record
///
/// Other programs have a table of the same name, whose columns have other types.
pub(super) async fn migration(
    mut connection: &AsyncPgConnection,
) -> QueryResult<Option<Migration>> {
    let columns: Vec<Column> = sql_query(
        "SELECT attname::text AS name, has_column_privilege(attrelid, attnum, 'SELECT') AS reads
         FROM pg_attribute
         WHERE attrelid = to_regclass('schema_migrations') AND NOT attisdropped
           AND (attname, atttypid) IN (('version', 'bigint'::regtype), ('dirty', 'boolean'::regtype))",
    )
    .load(&mut connection)
    .await?;
    if columns.len() != 2 || columns.iter().any(|column| !column.reads) {
        return Ok(None);
    }
    let row: Option<Version> = sql_query("SELECT version, dirty FROM schema_migrations LIMIT 1")
        .get_result(&mut connection)
        .await
        .optional()?;
    Ok(row.map(|row| Migration { number: row.version, is_dirty: row.dirty }))
}

/// The months that have a table of the audit log
pub(super) async fn audit_months(
    mut connection: &AsyncPgConnection,
) -> QueryResult<Option<AuditMonths>> {
    let months: Option<Months> = sql_query(
        "SELECT max(ends) AS until,
                max(ends) >= date_trunc('month', now()) + interval '2 months' AS has_next
         FROM authd_audit_months() HAVING max(ends) IS NOT NULL",
    )
    .get_result(&mut connection)
    .await
    .optional()?;
    Ok(months.map(|Months { until, has_next }| AuditMonths { until, has_next }))
}

#[derive(QueryableByName)]
struct Months {
    #[diesel(sql_type = Timestamptz)]
    until: DateTime<Utc>,
    #[diesel(sql_type = Bool)]
    has_next: bool,
}

/// The other schemas that have the tables that tasks lack
pub(super) async fn elsewhere(
    tasks: &[Task],
    mut connection: &AsyncPgConnection,
) -> QueryResult<Vec<Elsewhere>> {
    let missing = tasks.iter().flat_map(|task| &task.lacks).filter_map(|lack| match lack {
        Lack::Table { table } => Some(*table),
        _ => None,
    });
    let missing: BTreeSet<&str> = missing.collect();
    let rows = sql_query(
        "SELECT relname::text AS name, nspname::text AS schema,
                has_schema_privilege(n.oid, 'USAGE') AS is_usable
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE relname = ANY ($1) AND relkind IN ('r', 'p', 'v') AND nspname !~ '^pg_'
         ORDER BY 1, 2",
    );
    let missing: Vec<&str> = missing.into_iter().collect();
    let rows: Vec<There> = rows.bind::<Array<Text>, _>(missing).load(&mut connection).await?;
    let there = |There { name, schema, is_usable }| Elsewhere { table: name, schema, is_usable };
    Ok(rows.into_iter().map(there).collect())
}

/// The tables in which row-level security may hide rows from this user
pub(super) async fn hidden_rows(
    tasks: &[&Known],
    known: &Tables,
    mut connection: &AsyncPgConnection,
) -> QueryResult<Vec<String>> {
    let tables = tasks
        .iter()
        .flat_map(|task| task.needs(known.catalog(), known.generation()))
        .map(|need| need.table);
    let tables: BTreeSet<&str> = tables.collect();
    let rows = sql_query(
        "SELECT asked.name FROM unnest($1) AS asked (name)
         WHERE row_security_active(to_regclass(asked.name)) ORDER BY 1",
    );
    let tables: Vec<&str> = tables.into_iter().collect();
    let rows: Vec<Name> = rows.bind::<Array<Text>, _>(tables).load(&mut connection).await?;
    Ok(rows.into_iter().map(|row| row.name).collect())
}

/// The index for looking up agents by instance; `None` if agents have no instances
pub(super) async fn index(
    catalog: &Catalog,
    mut connection: &AsyncPgConnection,
) -> QueryResult<Option<Index>> {
    if !catalog.has_column("workspace_agents", "auth_instance_id") {
        return Ok(None);
    }
    let found: Option<IndexRow> = sql_query(
        "SELECT c.relname::text AS name, i.indisvalid AND i.indisready AS is_valid
         FROM pg_index i
         JOIN pg_class c ON c.oid = i.indexrelid
         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
         WHERE i.indrelid = to_regclass('workspace_agents') AND a.attname = 'auth_instance_id'
         ORDER BY 2 DESC, 1 LIMIT 1",
    )
    .get_result(&mut connection)
    .await
    .optional()?;
    if let Some(IndexRow { name, is_valid }) = found {
        return Ok(Some(if is_valid { Index::Valid { name } } else { Index::Invalid { name } }));
    }
    let agents: Agents = sql_query(
        "SELECT greatest(reltuples, 0)::bigint AS agents, oid::regclass::text AS name
         FROM pg_class WHERE oid = to_regclass('workspace_agents')",
    )
    .get_result(&mut connection)
    .await?;
    let has = |column| catalog.has_column("workspace_agents", column);
    let live = if has("deleted") { " AND NOT deleted" } else { "" };
    let whole = if has("parent_id") { " AND parent_id IS NULL" } else { "" };
    let create = format!(
        "CREATE INDEX CONCURRENTLY workspace_agents_auth_instance_id_idx ON {} \
         (auth_instance_id, created_at DESC) WHERE auth_instance_id IS NOT NULL{live}{whole}",
        agents.name
    );
    let agents = u64::try_from(agents.agents).unwrap_or_default();
    Ok(Some(Index::Missing { agents, create }))
}

#[derive(QueryableByName)]
struct Place {
    #[diesel(sql_type = Nullable<Text>)]
    schema: Option<String>,
    #[diesel(sql_type = Array<Text>)]
    search_path: Vec<String>,
}

#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = Bool)]
    reads: bool,
}

#[derive(QueryableByName)]
struct Version {
    #[diesel(sql_type = BigInt)]
    version: i64,
    #[diesel(sql_type = Bool)]
    dirty: bool,
}

#[derive(QueryableByName)]
struct There {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    schema: String,
    #[diesel(sql_type = Bool)]
    is_usable: bool,
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct IndexRow {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Bool)]
    is_valid: bool,
}

#[derive(QueryableByName)]
struct Agents {
    #[diesel(sql_type = BigInt)]
    agents: i64,
    #[diesel(sql_type = Text)]
    name: String,
}
