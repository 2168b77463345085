//! What an operator wants to know of a database before authd uses it

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use app_authz::token::Feature;
use serde::Serialize;

use crate::pg::{ActiveKey, Generation, Owner, Pooling, Right};

/// A part of authd that may be on or off
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// Agents sign in
    SignIn,
    /// Apps are opened, and visits are recorded
    Apps,
    /// Keys of app tokens are made and replaced
    KeyRotation,
    /// Old rows of the audit log are deleted
    AuditRetention,
    /// Visits are also written where the control plane's own page looks for them
    AuditMirror,
    /// An operator lists, makes and ends tokens with `authd token`
    Commands,
}

/// The parts of authd that are on
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked(BTreeSet<Part>);

impl Asked {
    /// Sign-in, which is always on, and `parts`
    #[must_use]
    pub fn with(parts: impl IntoIterator<Item = Part>) -> Self {
        Self(parts.into_iter().chain([Part::SignIn]).collect())
    }

    /// The same parts, and this one
    #[must_use]
    pub fn and(mut self, part: Part) -> Self {
        self.0.insert(part);
        self
    }

    /// Whether the part is on
    #[must_use]
    pub fn has(&self, part: Part) -> bool {
        self.0.contains(&part)
    }
}

/// What was found in a database
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The server, and how it is reached
    pub server: Server,
    /// The tables of users, workspaces and agents
    pub tables: Tables,
    /// What authd will ask and change, each with what it lacks
    pub tasks: Vec<Task>,
    /// The index that sign-in needs; nothing if there is no table of agents
    pub sign_in_index: Option<Index>,
    /// The keys of app access, by feature; none where they were not asked for or may not be
    /// read
    pub keys: Vec<Keys>,
    /// How the control plane encrypts; nothing where that was not asked for or may not be read
    pub encryption: Option<Encryption>,
}

/// A database server, and the session that looked at it
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Server {
    /// Such as `15.18 (Debian 15.18-0+deb12u1)`
    pub version: String,
    /// The database's name
    pub database: String,
    /// The role that authd is there
    pub user: String,
    /// What the session calls itself
    pub application_name: String,
    /// Whether it follows another server, and takes no writes
    pub is_standby: bool,
    /// Whether transactions of this role take no writes
    pub is_read_only: bool,
    /// How far its clock is ahead of the one that was given, in seconds, give or take
    /// [`clock_precision`](Self::clock_precision)
    pub clock_ahead: f64,
    /// Half of the time that asking for the clock took
    pub clock_precision: Duration,
    /// What stands between authd and the server
    pub pooling: Pooling,
    /// Settings of the session that change how authd's statements run
    pub settings: Vec<Setting>,
    /// How many connections authd opens at most
    pub connections: u32,
    /// How many this role may open, if there is a limit of its own or of the database's
    pub connection_limit: Option<u32>,
}

/// A setting of the server as the session has it
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Setting {
    /// Its name, such as `jit`
    pub name: String,
    /// Its value in its unit, such as `off` or `3000`
    pub value: String,
    /// What authd set it to; nothing if authd leaves it to the server
    pub wanted: Option<String>,
}

/// The tables of users, workspaces and agents
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Tables {
    /// Whose they are
    pub owner: Owner,
    /// The schema in which they were found
    pub schema: Option<String>,
    /// The schemas in which tables are looked for
    pub search_path: Vec<String>,
    /// Their shape
    pub generation: Generation,
    /// The number of the control plane's last migration, if it keeps one and this user may
    /// read it
    pub migration: Option<Migration>,
    /// Tables that are missing and are there in another schema, or in one that this user may
    /// not use
    pub elsewhere: Vec<Elsewhere>,
    /// Tables of which row-level security may hide rows from this user
    pub hidden_rows: Vec<String>,
    /// How many of authd's own migrations are not applied; nothing if that cannot be known
    pub pending: Option<usize>,
}

/// The state of a control plane's migrations
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Migration {
    /// The number of the last one
    pub number: i64,
    /// Whether it is under way or has failed
    pub is_dirty: bool,
}

/// A table that is not where it is looked for
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Elsewhere {
    /// The table
    pub table: String,
    /// The schema that it is in
    pub schema: String,
    /// Whether this user may use that schema
    pub is_usable: bool,
}

/// Something that authd does with the database
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Task {
    /// What it is, such as `the agents of an instance`
    pub name: &'static str,
    /// The part of authd that does it
    pub part: Part,
    /// What it lacks, if it cannot be done
    pub lacks: Vec<Lack>,
}

/// What is missing for a task
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "missing")]
#[non_exhaustive]
pub enum Lack {
    /// A table, or the right to see that it is there
    Table {
        /// Its name
        table: &'static str,
    },
    /// A column of a table that is there
    Column {
        /// The table's name
        table: &'static str,
        /// The column's name
        column: &'static str,
    },
    /// Something else that came with a generation, such as the label of a type
    Mark {
        /// What it is
        mark: String,
    },
    /// A right to columns of a table, or to its rows
    Right {
        /// The right
        right: Right,
        /// The table's name
        table: &'static str,
        /// The columns; none where it is a right to rows
        columns: Vec<&'static str>,
    },
}

impl Lack {
    /// The table that it is about, if it is about one
    #[must_use]
    pub const fn table(&self) -> Option<&'static str> {
        match self {
            Self::Table { table } | Self::Column { table, .. } | Self::Right { table, .. } => {
                Some(table)
            }
            Self::Mark { .. } => None,
        }
    }

    /// Whether it is about a table that authd makes for itself
    #[must_use]
    pub fn is_of_own_table(&self) -> bool {
        self.table().is_some_and(|table| table.starts_with("authd_"))
    }
}

impl fmt::Display for Lack {
    /// Such as `SELECT on workspaces (user_acl, group_acl)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table { table } => write!(f, "table {table}"),
            Self::Column { table, column } => write!(f, "column {table}.{column}"),
            Self::Mark { mark } => f.write_str(mark),
            Self::Right { right, table, columns } if columns.is_empty() => {
                write!(f, "{right} on {table}")
            }
            Self::Right { right, table, columns } => {
                write!(f, "{right} on {table} ({})", columns.join(", "))
            }
        }
    }
}

/// The index by which agents of an instance are found
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
#[non_exhaustive]
pub enum Index {
    /// It is there
    Valid {
        /// Its name
        name: String,
    },
    /// It is there and not used, as building it has not ended or failed
    Invalid {
        /// Its name
        name: String,
    },
    /// Each sign-in reads all agents
    Missing {
        /// How many agents there are, as far as the server has counted
        agents: u64,
        /// The statement that makes it
        create: String,
    },
}

/// The keys of a feature
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Keys {
    /// The feature, such as `workspace_apps_token`
    #[serde(serialize_with = "name_of")]
    pub feature: Feature,
    /// How many can be read
    pub readable: usize,
    /// Why others cannot, without a secret; they are passed over as long as one can be read
    pub problem: Option<String>,
}

/// How a control plane encrypts its keys
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Encryption {
    /// The keys it encrypts with, the newest first; none if it does not encrypt
    pub active: Vec<ActiveKey>,
    /// Whether authd was given keys to decrypt with
    pub has_keys: bool,
}

fn name_of<S: serde::Serializer>(feature: &Feature, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(feature.as_str())
}
