use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use diesel::QueryResult;
use diesel::sql_types::{Array, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::generation::Mark;
use super::task;
use crate::pg::sql::Sql;

/// The columns of the tables that authd uses, as the database lists them
///
/// Under equal catalogs a prepared statement means the same: they have the same columns of the
/// same types, and the same labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Catalog {
    /// The types of the columns of each table on the search path
    tables: BTreeMap<String, BTreeMap<String, String>>,
    /// The labels of each enumeration of [`KINDS`]
    labels: BTreeMap<String, BTreeSet<String>>,
    /// Those of [`FUNCTIONS`] that exist
    functions: BTreeSet<String>,
}

impl Catalog {
    /// Reads the catalog of the database, in one statement
    ///
    /// Takes no lock on any table, and needs no right except to connect.
    pub(crate) async fn read(mut connection: &AsyncPgConnection) -> QueryResult<Self> {
        let tables = task::tables();
        let read = Read { sql: &READ, tables: &tables, kinds: &KINDS, functions: &FUNCTIONS };
        let rows: Vec<(String, String, String, String)> = read.load(&mut connection).await?;
        let mut catalog = Self::default();
        for (what, of, name, column_type) in rows {
            match &*what {
                "column" => {
                    catalog.tables.entry(of).or_default().insert(name, column_type);
                }
                "label" => {
                    catalog.labels.entry(of).or_default().insert(name);
                }
                _ => {
                    catalog.functions.insert(of);
                }
            }
        }
        Ok(catalog)
    }

    pub(crate) fn has(&self, mark: Mark) -> bool {
        match mark {
            Mark::Column { table, column } => self.has_column(table, column),
            Mark::Label { kind, label } => self.has_label(kind, label),
        }
    }

    pub(crate) fn has_table(&self, table: &str) -> bool {
        self.tables.contains_key(table)
    }

    /// Whether the keys of app tokens are in authd's own table, as the control plane's does not
    /// exist
    pub(crate) fn has_own_keys(&self) -> bool {
        self.has_table(OWN_KEYS) && !self.has_table(KEYS)
    }

    pub(crate) fn has_column(&self, table: &str, column: &str) -> bool {
        self.tables.get(table).is_some_and(|columns| columns.contains_key(column))
    }

    pub(crate) fn type_of(&self, table: &str, column: &str) -> Option<&str> {
        self.tables.get(table)?.get(column).map(String::as_str)
    }

    /// Whether the audit log may have a table for each month: the migration for that is applied
    pub(crate) fn has_audit_months(&self) -> bool {
        self.functions.contains(AUDIT_MONTHS)
    }

    pub(crate) fn has_label(&self, kind: &str, label: &str) -> bool {
        self.labels.get(kind).is_some_and(|labels| labels.contains(label))
    }
}

statement! {
    struct Read<'a> {
        tables: &'a [&'static str] as Array<Text>,
        kinds: &'a [&'static str] as Array<Text>,
        functions: &'a [&'static str] as Array<Text>,
    } -> (Text, Text, Text, Text)
}

static READ: LazyLock<Sql> = LazyLock::new(|| Sql::plain(include_str!("../sql/catalog.sql")));

/// The control plane's table of keys
pub(super) const KEYS: &str = "crypto_keys";
/// authd's own, in databases without the control plane's
pub(super) const OWN_KEYS: &str = "authd_crypto_keys";

/// The functions that a migration adds, and whose lack changes nothing else
const FUNCTIONS: [&str; 1] = [AUDIT_MONTHS];
const AUDIT_MONTHS: &str = "authd_audit_months";

/// The enumerations whose labels distinguish generations or spellings
const KINDS: [&str; 1] = ["api_key_scope"];
