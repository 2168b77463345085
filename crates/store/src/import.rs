//! Rows as they should be, and what that changes

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::Error;
use crate::fleet::with_tables;

/// Brings rows of the control plane's tables to where they should be
pub trait Import: Sync {
    /// Adds the rows that are missing and changes those that differ, all or none
    ///
    /// Rows that are not mentioned stay as they are, but for those of
    /// [`Rows::exactly`]. Answers with every row that was added, changed or removed, in
    /// the order of the tables; with `dry_run`, with those that would be.
    ///
    /// # Errors
    ///
    /// [`Error::Query`] if the rows contradict each other or others, such as two users
    /// of one name; [`Error::Unavailable`].
    fn import(
        &self,
        rows: &Rows,
        dry_run: bool,
    ) -> impl Future<Output = Result<Vec<Difference>, Error>> + Send;
}

/// Rows as they should be
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) exactly: BTreeMap<(Table, &'static str), Vec<Uuid>>,
}

/// One row as it should be
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) table: Table,
    /// All columns
    pub(crate) row: Map<String, Value>,
    /// Columns that a row keeps if it is there already
    pub(crate) keep: Vec<&'static str>,
}

impl Rows {
    /// Adds a row, which keeps its columns `keep` if it is there already
    pub fn want<R: Row>(&mut self, row: &R, keep: &[&'static str]) {
        if let Ok(Value::Object(columns)) = serde_json::to_value(row) {
            self.wanted.push(Wanted { table: R::TABLE, row: columns, keep: keep.to_vec() });
        }
    }

    /// Has rows of `R` whose column `column` is `owner` removed if they are not wanted
    pub fn exactly<R: Row>(&mut self, column: &'static str, owner: Uuid) {
        self.exactly.entry((R::TABLE, column)).or_default().push(owner);
    }

    /// How many rows there are
    #[must_use]
    pub const fn len(&self) -> usize {
        self.wanted.len()
    }

    /// Whether there is none
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }
}

/// The columns may hold tokens
impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wanted").field("table", &self.table).finish_non_exhaustive()
    }
}

/// A row of a [`Fleet`](crate::fleet::Fleet), which is what can be imported
pub trait Row: Serialize {
    /// Its table
    const TABLE: Table;
}

/// A row that is not as it should be, or was not
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The table
    pub table: &'static str,
    /// The columns of its primary key
    pub key: Map<String, Value>,
    /// What people call it, if the table has such a column
    pub name: Option<String>,
    /// What becomes of it
    pub change: Change,
}

/// What becomes of a row
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was missing
    Added,
    /// These columns differ
    Changed(Vec<ColumnChange>),
    /// It was not wanted
    Removed,
}

/// A column whose value changes
///
/// Values of columns that hold secrets are left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ColumnChange {
    /// Its name
    pub column: String,
    /// What it was
    pub from: Value,
    /// What it becomes
    pub to: Value,
}

impl Difference {
    /// What is different between a row as it is, if it is, and as it should be
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
        /// A table of the control plane's, in the order in which rows refer to each other
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
