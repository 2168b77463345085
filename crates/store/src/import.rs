//! Import of rows, and the differences it makes

use std::collections::BTreeMap;
use std::fmt;

use app_audit::Act;
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::Error;
use crate::fleet::with_tables;

/// Imports rows into the control plane's tables
pub trait Import: Sync {
    /// Adds rows that are missing and changes rows that differ, all or none
    ///
    /// Rows that are not mentioned stay as they are, except for those of [`Rows::exactly`].
    /// Returns every row that was added, changed or removed, in the order of the tables; with
    /// `dry_run`, every row that would be.
    ///
    /// # Errors
    ///
    /// [`Error::Query`] if rows contradict each other or existing rows, such as two users of
    /// the same name; [`Error::Unavailable`].
    fn import(
        &self,
        rows: &Rows,
        dry_run: bool,
    ) -> impl Future<Output = Result<Vec<Difference>, Error>> + Send {
        self.import_recorded(rows, dry_run, None)
    }

    /// Does the same, and records it in the same transaction as this act, with the number of rows
    ///
    /// An import that changes nothing is not recorded, and neither is one beside a control plane
    /// whose database has no table of acts.
    ///
    /// # Errors
    ///
    /// Those of [`import`](Self::import).
    fn import_recorded(
        &self,
        rows: &Rows,
        dry_run: bool,
        act: Option<Act>,
    ) -> impl Future<Output = Result<Vec<Difference>, Error>> + Send;
}

/// The rows to import
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) exactly: BTreeMap<(Table, &'static str), Vec<Uuid>>,
}

/// One row to import
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) table: Table,
    /// All columns
    pub(crate) row: Map<String, Value>,
    /// Columns that keep their values if the row exists
    pub(crate) keep: Vec<&'static str>,
}

impl Rows {
    /// Adds a row; if it exists, its columns `keep` keep their values
    pub fn want<R: Row>(&mut self, row: &R, keep: &[&'static str]) {
        if let Ok(Value::Object(columns)) = serde_json::to_value(row) {
            self.wanted.push(Wanted { table: R::TABLE, row: columns, keep: keep.to_vec() });
        }
    }

    /// Removes rows of `R` whose column `column` is `owner` and that are not imported
    pub fn exactly<R: Row>(&mut self, column: &'static str, owner: Uuid) {
        self.exactly.entry((R::TABLE, column)).or_default().push(owner);
    }

    /// The number of rows
    #[must_use]
    pub const fn len(&self) -> usize {
        self.wanted.len()
    }

    /// Whether there are no rows
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }
}

/// Without the columns, which may hold tokens
impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wanted").field("table", &self.table).finish_non_exhaustive()
    }
}

/// A row of a [`Fleet`](crate::fleet::Fleet), which can be imported
pub trait Row: Serialize {
    /// The table that the row belongs to
    const TABLE: Table;
}

/// A row that an import changes
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The name of the table
    pub table: &'static str,
    /// The columns of the primary key
    pub key: Map<String, Value>,
    /// The name of the row, if the table has such a column
    pub name: Option<String>,
    /// How the row changes
    pub change: Change,
}

/// How a row changes
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The row was missing
    Added,
    /// These columns differ
    Changed(Vec<ColumnChange>),
    /// The row was not imported, and is removed
    Removed,
}

/// A column whose value changes
///
/// The values of columns that hold secrets are left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ColumnChange {
    /// The name of the column
    pub column: String,
    /// The value before
    pub from: Value,
    /// The value after
    pub to: Value,
}

impl Difference {
    /// The difference between an existing row, if there is one, and the row to import
    pub(crate) fn between(
        wanted: &Wanted,
        is: Option<&Map<String, Value>>,
        should: &Map<String, Value>,
    ) -> Option<Self> {
        let table = wanted.table;
        let change = match is {
            None => Change::Added,
            Some(is) => {
                let kept = |column: &str| wanted.keep.contains(&column);
                let changes: Vec<ColumnChange> = should
                    .iter()
                    .filter(|(column, _)| wanted.row.contains_key(*column) && !kept(column))
                    .filter_map(|(column, to)| {
                        let from = is.get(column).unwrap_or(&Value::Null);
                        (from != to).then(|| table.change(column, from, to))
                    })
                    .collect();
                if changes.is_empty() {
                    return None;
                }
                Change::Changed(changes)
            }
        };
        Some(Self::of(table, should, change))
    }

    pub(crate) fn of(table: Table, row: &Map<String, Value>, change: Change) -> Self {
        let column = |column: &&str| row.get(*column).cloned().unwrap_or_default();
        let key = table.key().iter().map(|name| ((*name).to_owned(), column(name))).collect();
        let names = ["name", "username", "slug"].iter().filter_map(|name| row.get(*name)?.as_str());
        let name = names.into_iter().find(|name| !name.is_empty()).map(str::to_owned);
        Self { table: table.name(), key, name, change }
    }
}

macro_rules! tables {
    ($($table:ident: $row:ident as $variant:ident by $($key:literal)+;)*) => {
        /// A table of the control plane, in the order in which rows refer to each other
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[allow(missing_docs)] // named like the tables
        pub enum Table {
            $($variant,)*
        }

        impl Table {
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name of the table
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($table),)* }
            }

            /// The columns of its primary key
            pub(crate) const fn key(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($key),+],)* }
            }
        }
    };
}

with_tables!(tables);

impl Table {
    fn change(self, column: &str, from: &Value, to: &Value) -> ColumnChange {
        let (from, to) = match SECRET_COLUMNS.contains(&column) {
            true => (Value::Null, Value::from("(secret)")),
            false => (from.clone(), to.clone()),
        };
        ColumnChange { column: column.to_owned(), from, to }
    }
}

const SECRET_COLUMNS: [&str; 6] = [
    "auth_token",
    "hashed_secret",
    "oauth_access_token",
    "oauth_refresh_token",
    "secret",
    "token_hashed_secret",
];
