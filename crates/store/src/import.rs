//! Import of rows, and the differences it makes

use std::collections::BTreeMap;
use std::fmt;

use app_audit::{Act, printable};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::Error;
use crate::fleet::{self, with_tables};

/// Imports rows into the control plane's tables
pub trait Import: Sync + 'static {
    /// An import that is under way
    type Session<'a>: Session
    where
        Self: 'a;

    /// Begins an import; a `dry_run` changes nothing
    ///
    /// Imports into one database take turns.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], also if another import does not end within a minute.
    fn begin_import(
        &self,
        dry_run: bool,
    ) -> impl Future<Output = Result<Self::Session<'_>, Error>> + Send;

    /// Imports rows that are in memory
    ///
    /// Returns every row that was added, changed or removed, in the order of the tables; with
    /// `dry_run`, every row that would be.
    ///
    /// # Errors
    ///
    /// As [`Session::apply`].
    fn import(
        &self,
        rows: &Rows,
        dry_run: bool,
    ) -> impl Future<Output = Result<Vec<Difference>, Error>> + Send {
        async move {
            let mut session = self.begin_import(dry_run).await?;
            session.stage(rows).await?;
            session.apply(Details::All, |_| {}).await?;
            let mut differences = Vec::new();
            loop {
                let mut page = session.differences().await?;
                if page.is_empty() {
                    break;
                }
                differences.append(&mut page);
            }
            session.finish(None).await?;
            Ok(differences)
        }
    }
}

/// An import that is under way: rows are staged in parts, and applied at once
///
/// Nothing changes until [`finish`](Self::finish). A session that is dropped changes nothing.
pub trait Session: Send {
    /// The ids that the database has for names, in the order of the names
    ///
    /// A deleted entry is found only `with_deleted`, and only if no other one has the name.
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`].
    fn find(
        &mut self,
        kind: Named,
        names: &[Name],
        with_deleted: bool,
    ) -> impl Future<Output = Result<Vec<Option<Uuid>>, Error>> + Send;

    /// Hands rows to the database, which does not compare them yet
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`].
    fn stage(&mut self, rows: &Rows) -> impl Future<Output = Result<(), Error>> + Send;

    /// Adds rows that are missing and changes rows that differ, all or none
    ///
    /// Rows that were not staged stay as they are, except for those of [`Rows::exactly`].
    /// `progress` gets the number of staged rows that have been compared so far.
    ///
    /// # Errors
    ///
    /// [`Error::RepeatedRow`]; [`Error::Query`] if rows contradict each other or existing rows,
    /// such as two users of the same name; [`Error::ControlPlane`]; [`Error::Unavailable`].
    fn apply(
        &mut self,
        details: Details,
        progress: impl FnMut(u64) + Send,
    ) -> impl Future<Output = Result<Outcome, Error>> + Send;

    /// The next differences that [`apply`](Self::apply) found, at most a thousand; empty at the end
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`].
    fn differences(&mut self) -> impl Future<Output = Result<Vec<Difference>, Error>> + Send;

    /// Ends the import: makes its changes permanent, or undoes them if it is a dry run
    ///
    /// An import is recorded as `act` in the same transaction, with the numbers of its rows. One
    /// that changes nothing is not, and neither is one in a database without a table of acts.
    ///
    /// # Errors
    ///
    /// [`Error::Query`], also if the act may not be written: nothing is changed.
    /// [`Error::Unavailable`]: if the connection ended with the transaction, the changes may be
    /// permanent.
    fn finish(self, act: Option<Act>) -> impl Future<Output = Result<(), Error>> + Send;
}

/// How many differences of each table are kept for [`Session::differences`]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Details {
    /// All of them
    All,
    /// At most this many rows of each table that are added, as many that are changed, and as many
    /// that are removed
    First(u32),
}

/// The kinds of entries that are found by name
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Named {
    /// An organization, by its name
    Organization,
    /// A user, by the user name in lower case
    User,
    /// A group, by organization and name
    Group,
    /// A template, by organization and name
    Template,
}

/// A name of an entry, unique within its parent
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The organization of a group or a template; nil for other kinds
    pub parent: Uuid,
    /// The name
    pub name: String,
}

/// The number of rows of each table that an import adds, changes, removes and leaves unchanged
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub(crate) tables: BTreeMap<Table, Counts>,
}

/// Numbers of rows
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Rows that were missing
    pub added: u64,
    /// Rows that differed
    pub changed: u64,
    /// Rows that were not imported
    pub removed: u64,
    /// Rows that were already as imported
    pub unchanged: u64,
}

impl Outcome {
    /// The tables that have imported or removed rows, in the order in which rows refer to each
    /// other
    pub fn tables(&self) -> impl Iterator<Item = (&'static str, Counts)> {
        self.tables.iter().map(|(table, counts)| (table.name(), *counts))
    }

    /// The sum over all tables
    #[must_use]
    pub fn total(&self) -> Counts {
        self.tables.values().fold(Counts::default(), |sum, counts| Counts {
            added: sum.added + counts.added,
            changed: sum.changed + counts.changed,
            removed: sum.removed + counts.removed,
            unchanged: sum.unchanged + counts.unchanged,
        })
    }
}

impl Counts {
    /// The number of rows that differ
    #[must_use]
    pub const fn differences(&self) -> u64 {
        self.added + self.changed + self.removed
    }
}

/// One row to import
#[derive(Clone, Debug)]
pub(crate) struct Wanted<R> {
    pub(crate) row: R,
    /// Bit `n` is set if column `n` keeps its value where the row exists
    pub(crate) keep: u32,
    /// The number of the entry that the row is from
    pub(crate) entry: u32,
}

macro_rules! rows {
    ($($table:ident: $row:ident as $variant:ident by $($key:literal)+;)*) => {
        /// Rows to import
        #[derive(Clone, Debug, Default)]
        pub struct Rows {
            $(pub(crate) $table: Vec<Wanted<fleet::$row>>,)*
            pub(crate) exactly: BTreeMap<(Table, &'static str), Vec<Uuid>>,
            entry: u32,
        }

        impl Rows {
            /// The number of rows
            #[must_use]
            pub const fn len(&self) -> usize {
                0 $(+ self.$table.len())*
            }
        }

        $(impl Row for fleet::$row {
            const TABLE: Table = Table::$variant;
            const COLUMNS: &'static [&'static str] = Self::FIELDS;

            fn add_to(&self, rows: &mut Rows, keep: u32) {
                let entry = rows.entry;
                rows.$table.push(Wanted { row: self.clone(), keep, entry });
            }
        })*

        impl Table {
            /// The columns of the rows, with `type_` for `type`
            pub(crate) const fn fields(self) -> &'static [&'static str] {
                match self { $(Self::$variant => fleet::$row::FIELDS,)* }
            }
        }
    };
}

with_tables!(rows);

impl Rows {
    /// Says which entry of its list in a document the next rows are from, for error messages
    pub const fn set_entry(&mut self, entry: u32) {
        self.entry = entry;
    }

    /// Adds a row; if it exists, its columns `keep` keep their values
    pub fn want<R: Row>(&mut self, row: &R, keep: &[&'static str]) {
        let bits = R::COLUMNS.iter().enumerate().filter(|(_, column)| keep.contains(column));
        row.add_to(self, bits.fold(0, |bits, (n, _)| bits | 1 << n));
    }

    /// Removes rows of `R` whose column `column` is `owner` and that are not imported
    pub fn exactly<R: Row>(&mut self, column: &'static str, owner: Uuid) {
        self.exactly.entry((R::TABLE, column)).or_default().push(owner);
    }

    /// Whether there are no rows
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A row of a [`Fleet`](crate::fleet::Fleet), which can be imported
pub trait Row: Serialize {
    /// The table that the row belongs to
    const TABLE: Table;
    #[doc(hidden)]
    const COLUMNS: &'static [&'static str];
    #[doc(hidden)]
    fn add_to(&self, rows: &mut Rows, keep: u32);
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
    /// What the row is about, in names: `alice/dev build 1 main/code` for an app
    pub label: String,
    /// How the row changes
    pub change: Change,
}

/// Lines of text, one for each column that changes, without a line break at the end
///
/// Users choose names and other values, and a line may be shown on a terminal, so it is
/// [`printable`].
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (table, label) = (self.table, printable(&self.label));
        match &self.change {
            Change::Added => write!(f, "+ {table} {label}"),
            Change::Removed => write!(f, "- {table} {label}"),
            Change::Changed(columns) => {
                for (n, ColumnChange { column, from, to }) in columns.iter().enumerate() {
                    let end = if n == 0 { "" } else { "\n" };
                    let (from, to) = (printable(&from.to_string()), printable(&to.to_string()));
                    write!(f, "{end}~ {table} {label}: {column} {from} -> {to}")?;
                }
                Ok(())
            }
        }
    }
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
    ///
    /// The columns of `should` whose bit is not in `keep` are compared.
    pub(crate) fn between(
        table: Table,
        keep: u32,
        is: Option<&Map<String, Value>>,
        should: &Map<String, Value>,
    ) -> Option<Self> {
        let change = match is {
            None => Change::Added,
            Some(is) => {
                let fields = table.fields().iter().enumerate();
                let compared = fields.filter(|(n, _)| keep & 1 << n == 0);
                let changes: Vec<ColumnChange> = compared
                    .filter_map(|(_, field)| {
                        let column = column(field);
                        let to = should.get(column)?;
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
        let key: Map<_, _> =
            table.key().iter().map(|name| ((*name).to_owned(), column(name))).collect();
        let names = ["name", "username", "slug"].iter().filter_map(|name| row.get(*name)?.as_str());
        let name = names.into_iter().find(|name| !name.is_empty()).map(str::to_owned);
        let label = name.clone().unwrap_or_else(|| {
            let plain =
                |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            key.values().map(plain).collect::<Vec<_>>().join(" ")
        });
        Self { table: table.name(), key, name, label, change }
    }

    /// The same difference, with a label if there is one
    pub(crate) fn labelled(mut self, label: Option<String>) -> Self {
        if let Some(label) = label {
            self.label = label;
        }
        self
    }
}

/// The column of a field of a row, which cannot be called `type`
pub(crate) fn column(field: &str) -> &str {
    field.trim_end_matches('_')
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
