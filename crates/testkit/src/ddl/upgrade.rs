use std::collections::BTreeSet;

use super::{add, create_enum, create_table, default, define, parts};
use crate::Release;
use crate::catalog::{Catalog, Column, Table};

/// The statements that migrate the tables of one release to those of another, newer or older
///
/// Obsolete labels and enumerations stay: a database cannot remove labels.
pub(crate) fn upgrade(from: Release, to: Release) -> String {
    let catalog = Catalog::get();
    let mut sql = enums(from, to);
    let (old, new) = (parts(from), parts(to));
    // In reverse, since later parts may depend on earlier ones.
    for part in old.iter().rev().filter(|part| !new.contains(part)) {
        add(&mut sql, &part.drop);
    }
    let mut gone = Vec::new();
    for (name, table) in catalog.tables(to) {
        match catalog.table(name, from) {
            None => add(&mut sql, create_table(name, table, to)),
            Some(old) => gone.extend(columns(&mut sql, name, old, table, [from, to])),
        }
    }
    sql.push_str(&keys(from, to));
    gone.iter().for_each(|statement| add(&mut sql, statement));
    let tables = catalog.tables(from).into_iter().rev();
    for (name, _) in tables.filter(|(name, _)| !catalog.has_table(name, to)) {
        add(&mut sql, format_args!("DROP TABLE {name}"));
    }
    for part in new.iter().filter(|part| !old.contains(part)) {
        add(&mut sql, &part.create);
    }
    let version = catalog.migration(to);
    let at = "IF to_regclass('schema_migrations') IS NOT NULL THEN";
    let set = format!("UPDATE schema_migrations SET version = {version}; END IF;");
    add(&mut sql, format_args!("DO $$ BEGIN {at} {set} END $$"));
    sql
}

fn enums(from: Release, to: Release) -> String {
    let catalog = Catalog::get();
    let mut sql = String::new();
    for (name, labels) in catalog.enums(to) {
        let Some(old) = catalog.labels(name, from) else {
            let exists = format!("IF to_regtype('{name}') IS NULL THEN");
            let create = create_enum(name, labels);
            add(&mut sql, format_args!("DO $$ BEGIN {exists} {create}; END IF; END $$"));
            continue;
        };
        let mut known: BTreeSet<_> = old.collect();
        let labels: BTreeSet<_> = labels.collect();
        for (old, new) in crate::rows::RENAMED {
            for (old, new) in [(old, new), (new, old)] {
                if labels.contains(new) && !labels.contains(old) && known.remove(old) {
                    known.insert(new);
                    add(
                        &mut sql,
                        format_args!("ALTER TYPE {name} RENAME VALUE '{old}' TO '{new}'"),
                    );
                }
            }
        }
        for label in labels.difference(&known) {
            add(&mut sql, format_args!("ALTER TYPE {name} ADD VALUE IF NOT EXISTS '{label}'"));
        }
    }
    sql
}

/// Adds and changes columns, and returns the statements that drop obsolete ones
fn columns(
    sql: &mut String,
    name: &str,
    old: &Table,
    new: &Table,
    [from, to]: [Release; 2],
) -> Vec<String> {
    let change = |what: &str, column: &str| format!("ALTER TABLE {name} {what} \"{column}\"");
    for column in new.columns(to) {
        match old.column(&column.name, from) {
            None if column.not_null && !column.default => {
                let value = value(name, column, to);
                let Column { name: column, type_, .. } = column;
                add(sql, format_args!("ALTER TABLE {name} ADD \"{column}\" {type_}"));
                add(sql, format_args!("UPDATE {name} SET \"{column}\" = {value}"));
                add(sql, change("ALTER", column) + " SET NOT NULL");
            }
            None => add(sql, format_args!("ALTER TABLE {name} ADD {}", define(name, column, to))),
            Some(old) if old.not_null != column.not_null => {
                let what = if column.not_null { " SET NOT NULL" } else { " DROP NOT NULL" };
                add(sql, change("ALTER", &column.name) + what);
            }
            Some(old) => assert_eq!(old.type_, column.type_, "{name}.{}", column.name),
        }
    }
    let gone = old.columns(from).filter(|column| new.column(&column.name, to).is_none());
    gone.map(|column| change("DROP", &column.name)).collect()
}

/// The value of existing rows in a new column without a default
fn value(table: &str, column: &Column, to: Release) -> String {
    match (table, &*column.name) {
        ("api_keys", "scopes") => "ARRAY[scope]".to_owned(),
        ("api_keys", "allow_list") => "'{*:*}'".to_owned(),
        ("oauth2_provider_app_tokens", "user_id") => {
            "(SELECT user_id FROM api_keys WHERE id = api_key_id)".to_owned()
        }
        _ => default(table, column, to),
    }
}

/// Sets the one scope of each key: older releases have no labels for other scopes
fn keys(from: Release, to: Release) -> String {
    let catalog = Catalog::get();
    let has = |release| catalog.has_column("api_keys", "scope", release);
    match has(to) && !has(from) {
        true => "UPDATE api_keys SET scope = scopes[1];\n".to_owned(),
        false => String::new(),
    }
}
