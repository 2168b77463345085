use std::fmt::{self, Write as _};

use crate::Release;
use crate::catalog::{Catalog, Column, Index, Key, Table};

mod upgrade;

pub(crate) use self::upgrade::upgrade;

/// The statements that create a release's types, tables, keys, indexes and triggers
pub(crate) fn statements(release: Release) -> String {
    let catalog = Catalog::get();
    let mut sql = String::new();
    for (name, labels) in catalog.enums(release) {
        add(&mut sql, create_enum(name, labels));
    }
    for (name, table) in catalog.tables(release) {
        add(&mut sql, create_table(name, table, release));
    }
    for part in parts(release) {
        add(&mut sql, part.create);
    }
    sql + TRIGGERS
}

/// A part of a table that can be added and dropped separately
#[derive(Debug, PartialEq)]
struct Part {
    create: String,
    drop: String,
}

impl Part {
    fn constraint(table: &str, name: &str, what: &str) -> Self {
        let table = format!("ALTER TABLE {table}");
        Self {
            create: format!("{table} ADD CONSTRAINT {name} {what}"),
            drop: format!("{table} DROP CONSTRAINT {name}"),
        }
    }
}

/// Unique constraints, indexes, references, checks, and the trigger that only some releases have
fn parts(release: Release) -> Vec<Part> {
    let catalog = Catalog::get();
    let mut parts = Vec::new();
    let tables = catalog.tables(release);
    for (name, table) in &tables {
        for key in table.unique(release) {
            let constraint = named(name, &key.columns, "key");
            let what = format!("UNIQUE ({})", quoted(&key.columns));
            parts.push(Part::constraint(name, &constraint, &what));
        }
        for index in table.indexes(release).filter(|index| !is_of_a_key(index, table, release)) {
            parts.push(create_index(name, index));
        }
        for check in CHECKS.iter().filter(|check| check.table == *name) {
            if table.column(check.column, release).is_some() {
                let constraint = format!("{name}_{}_check", check.column);
                parts.push(Part::constraint(name, &constraint, check.condition));
            }
        }
    }
    // After the keys that they reference.
    for (name, table) in &tables {
        for reference in table.references(release) {
            // Some reference tables that authd does not use.
            if catalog.has_table(&reference.table, release) {
                let constraint = named(name, &reference.columns, "fkey");
                let columns = quoted(&reference.columns);
                let what = format!("FOREIGN KEY ({columns}) {}", target(&reference.table));
                parts.push(Part::constraint(name, &constraint, &what));
            }
        }
    }
    if catalog.has_column("workspace_agents", "deleted", release) {
        parts.push(Part {
            create: AGENT_NAMES.to_owned(),
            drop: "DROP FUNCTION refuse_second_agent_of_a_name CASCADE".to_owned(),
        });
    }
    parts
}

fn create_enum<'a>(name: &str, labels: impl Iterator<Item = &'a str>) -> String {
    let labels: Vec<_> = labels.map(|label| format!("'{label}'")).collect();
    format!("CREATE TYPE {name} AS ENUM ({})", labels.join(", "))
}

/// Creates the table in which a control plane stores the number of its last migration
pub(crate) fn version(release: Release) -> String {
    format!(
        "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, dirty boolean NOT NULL);
         INSERT INTO schema_migrations VALUES ({}, false);",
        Catalog::get().migration(release),
    )
}

fn create_table(name: &str, table: &Table, release: Release) -> String {
    let mut parts: Vec<_> =
        table.columns(release).map(|column| define(name, column, release)).collect();
    if let Some(key) = table.primary_key(release) {
        parts.push(format!("PRIMARY KEY ({})", quoted(&key.columns)));
    }
    let unlogged = if table.unlogged { "UNLOGGED " } else { "" };
    format!("CREATE {unlogged}TABLE {name} ({})", parts.join(", "))
}

fn define(table: &str, column: &Column, release: Release) -> String {
    let Column { name, type_, .. } = column;
    if (table, &**name) == ("workspace_proxies", "region_id") {
        return format!("{name} serial");
    }
    let mut sql = format!("\"{name}\" {type_}");
    if column.generated {
        let _ = write!(sql, " GENERATED ALWAYS AS ({JOB_STATUS}) STORED");
    } else if column.default {
        let _ = write!(sql, " DEFAULT {}", default(table, column, release));
    }
    if column.not_null {
        sql.push_str(" NOT NULL");
    }
    sql
}

/// The default of a column
///
/// The facts only say that the column has a default. It is chosen by the column if the reference's
/// choice matters, and otherwise by the type.
fn default(table: &str, column: &Column, release: Release) -> String {
    let name = &*column.name;
    let known = DEFAULTS.iter().find(|(of, column, _)| (*of, *column) == (table, name));
    if let Some((_, _, value)) = known {
        return (*value).to_owned();
    }
    if column.element().is_some() {
        return "'{}'".to_owned();
    }
    if let Some(mut labels) = Catalog::get().labels(&column.type_, release) {
        return format!("'{}'", labels.next().unwrap_or_default());
    }
    match &*column.type_ {
        "boolean" => "false",
        "smallint" | "integer" | "bigint" => "0",
        "jsonb" if name.ends_with("_permissions") => "'[]'",
        "jsonb" => "'{}'",
        "uuid" => "gen_random_uuid()",
        "inet" => "'0.0.0.0'",
        type_ if type_.starts_with("timestamp") => match name {
            "created_at" | "updated_at" => "now()",
            _ => "'0001-01-01 00:00:00+00'",
        },
        type_ if type_ == "text" || type_.starts_with("character varying") => "''",
        type_ => panic!("no default is known for the type {type_}"),
    }
    .to_owned()
}

/// Whether a key creates the index anyway
fn is_of_a_key(index: &Index, table: &Table, release: Release) -> bool {
    let same = |key: &Key| key.columns == index.columns;
    index.unique
        && !index.partial
        && (table.primary_key(release).is_some_and(same) || table.unique(release).any(same))
}

fn create_index(table: &str, index: &Index) -> Part {
    let unique = if index.unique { "UNIQUE " } else { "" };
    let name = named(table, &index.columns, "idx");
    let parts = index
        .columns
        .iter()
        .map(|part| if part.contains('(') { format!("({part})") } else { part.clone() });
    let columns = parts.collect::<Vec<_>>().join(", ");
    let mut create = format!("CREATE {unique}INDEX {name} ON {table} ({columns})");
    if index.partial {
        let known =
            PARTIAL.iter().find(|(of, first, _)| (*of, *first) == (table, &*index.columns[0]));
        let condition = known.map_or("deleted = false", |(_, _, condition)| condition);
        let _ = write!(create, " WHERE {condition}");
    }
    Part { create, drop: format!("DROP INDEX {name}") }
}

/// A name made of table and columns, which must be unique in its first 60 letters
fn named(table: &str, columns: &[String], kind: &str) -> String {
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    let columns: String = columns.join("_").chars().map(letter).take(40).collect();
    let name: String = format!("{table}_{columns}").chars().take(55).collect();
    format!("{name}_{kind}")
}

/// The target of a reference: the facts name only the table
fn target(table: &str) -> String {
    match table {
        // Deleting a session also deletes what depends on it.
        "api_keys" => "REFERENCES api_keys ON DELETE CASCADE".to_owned(),
        "dbcrypt_keys" => "REFERENCES dbcrypt_keys (active_key_digest)".to_owned(),
        table => format!("REFERENCES {table}"),
    }
}

fn quoted(columns: &[String]) -> String {
    let columns: Vec<_> = columns.iter().map(|column| format!("\"{column}\"")).collect();
    columns.join(", ")
}

fn add(sql: &mut String, statement: impl fmt::Display) {
    let _ = writeln!(sql, "{statement};");
}

struct Check {
    table: &'static str,
    column: &'static str,
    condition: &'static str,
}

/// Constraints that the facts do not contain
const CHECKS: &[Check] = &[Check {
    table: "api_keys",
    column: "allow_list",
    condition: "CHECK (array_length(allow_list, 1) > 0)",
}];

/// Defaults of columns whose type does not decide them
const DEFAULTS: &[(&str, &str, &str)] = &[
    ("api_keys", "lifetime_seconds", "86400"),
    ("templates", "allow_user_autostart", "true"),
    ("templates", "allow_user_autostop", "true"),
    ("templates", "allow_user_cancel_workspace_jobs", "true"),
    ("templates", "default_ttl", "604800000000000"),
    ("users", "status", "'dormant'"),
    ("workspace_apps", "open_in", "'slim-window'"),
    ("workspace_proxies", "derp_enabled", "true"),
    ("workspaces", "automatic_updates", "'never'"),
];

/// The conditions of partial indexes, by table and first column; all others index the rows that
/// are not deleted
const PARTIAL: &[(&str, &str, &str)] = &[
    ("api_keys", "user_id", "login_type = 'token'"),
    ("organizations", "is_default", "is_default"),
    ("provisioner_jobs", "started_at", "started_at IS NULL"),
    ("user_links", "linked_id", "linked_id <> ''"),
];

const JOB_STATUS: &str = "CASE
    WHEN completed_at IS NOT NULL AND error <> '' THEN 'failed'::provisioner_job_status
    WHEN completed_at IS NOT NULL AND canceled_at IS NOT NULL THEN 'canceled'
    WHEN completed_at IS NOT NULL THEN 'succeeded'
    WHEN error <> '' THEN 'failed'
    WHEN canceled_at IS NOT NULL THEN 'canceling'
    WHEN started_at IS NULL THEN 'pending'
    ELSE 'running'
END";

/// The control plane's triggers that affect authd: the facts only count them
const TRIGGERS: &str = include_str!("triggers.sql");

/// Exists since agents are soft-deleted
const AGENT_NAMES: &str = include_str!("agent_names.sql");
