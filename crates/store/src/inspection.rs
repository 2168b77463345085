//! Results of checking a database before authd uses it

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use app_authz::token::Feature;
use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::pg::{ActiveKey, Generation, Owner, Pooling, Right};

/// A part of authd that can be on or off
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// Sign-in of agents
    SignIn,
    /// Pins of instances, which refuse older proofs
    IdentityPins,
    /// Nonces that machines have to answer, whose keys are derived from those of app tokens
    IdentityNonces,
    /// The record of sign-ins, and of what operators do
    SignInAudit,
    /// App access, and the record of visits
    Apps,
    /// Sign-in of people at an OpenID provider
    Oidc,
    /// Refresh of the tokens of identity providers
    TokenRefresh,
    /// What carriers of connections are told when something that was allowed may not be any more
    Revocations,
    /// Creation and rotation of the keys of app tokens
    KeyRotation,
    /// Deletion of old rows of the audit log
    AuditRetention,
    /// Visits also in the table that the control plane's own page reads
    AuditMirror,
    /// The command `authd token`, which lists, creates and revokes tokens
    Commands,
}

/// The parts of authd that are on
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked(BTreeSet<Part>);

impl Asked {
    /// `parts` and sign-in with its record, which are always on
    #[must_use]
    pub fn with(parts: impl IntoIterator<Item = Part>) -> Self {
        Self(parts.into_iter().chain([Part::SignIn, Part::SignInAudit]).collect())
    }

    /// The same parts and this one
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

/// The result of checking a database
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The server, and the connection to it
    pub server: Server,
    /// The tables of users, workspaces and agents
    pub tables: Tables,
    /// What authd will read and change, each with what it lacks
    pub tasks: Vec<Task>,
    /// The index that sign-in needs; `None` without a table of agents
    pub sign_in_index: Option<Index>,
    /// The keys of app access, by feature; empty if app access is off or the keys may not be
    /// read
    pub keys: Vec<Keys>,
    /// How the control plane encrypts; `None` if key rotation is off or that may not be read
    pub encryption: Option<Encryption>,
}

/// A database server, and the session that examined it
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Server {
    /// The version, such as `15.18 (Debian 15.18-0+deb12u1)`
    pub version: String,
    /// The name of the database
    pub database: String,
    /// The role of authd's session
    pub user: String,
    /// The application name of the session
    pub application_name: String,
    /// Whether the server is a standby, which accepts no writes
    pub is_standby: bool,
    /// Whether transactions of this role accept no writes
    pub is_read_only: bool,
    /// How many seconds the server's clock is ahead of the given one, to within
    /// [`clock_precision`](Self::clock_precision)
    pub clock_ahead: f64,
    /// Half of the time that reading the server's clock took
    pub clock_precision: Duration,
    /// The kind of pooler between authd and the server
    pub pooling: Pooling,
    /// Settings of the session that change how authd's statements run
    pub settings: Vec<Setting>,
    /// The most connections that authd opens
    pub connections: u32,
    /// The most connections that this role or this database allows, if there is a limit
    pub connection_limit: Option<u32>,
}

/// A setting of the server as the session has it
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Setting {
    /// The name, such as `jit`
    pub name: String,
    /// The value, in the unit of the setting, such as `off` or `3000`
    pub value: String,
    /// The value that authd asked for; `None` if authd leaves it to the server
    pub wanted: Option<String>,
}

/// The tables of users, workspaces and agents
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Tables {
    /// The owner of the tables
    pub owner: Owner,
    /// The schema in which the tables were found
    pub schema: Option<String>,
    /// The schemas of the search path
    pub search_path: Vec<String>,
    /// The shape of the tables
    pub generation: Generation,
    /// The state of the control plane's migrations, if it records them and this user may read
    /// that
    pub migration: Option<Migration>,
    /// Missing tables that exist in another schema, or in one that this user may not use
    pub elsewhere: Vec<Elsewhere>,
    /// Tables in which row-level security may hide rows from this user
    pub hidden_rows: Vec<String>,
    /// The number of authd's own migrations that are not applied; `None` if that is not known
    pub pending: Option<usize>,
    /// The months of the audit log, if it has a table for each
    pub audit_months: Option<AuditMonths>,
}

/// The months that have a table of the audit log
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AuditMonths {
    /// When the last of them ends
    pub until: DateTime<Utc>,
    /// Whether the next month is one of them
    pub has_next: bool,
}

/// The state of a control plane's migrations
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Migration {
    /// The number of the last migration
    pub number: i64,
    /// Whether that migration is running or has failed
    pub is_dirty: bool,
}

/// A table that is not on the search path
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Elsewhere {
    /// The name of the table
    pub table: String,
    /// The schema of the table
    pub schema: String,
    /// Whether this user may use that schema
    pub is_usable: bool,
}

/// Something that authd does with the database
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Task {
    /// A description, such as `the agents of an instance`
    pub name: &'static str,
    /// The part of authd that does it
    pub part: Part,
    /// What is missing for the task; empty if nothing is
    pub lacks: Vec<Lack>,
}

/// What is missing for a task
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "missing")]
#[non_exhaustive]
pub enum Lack {
    /// A table, or the right to see that it exists
    Table {
        /// The name of the table
        table: &'static str,
    },
    /// A column of a table that exists
    Column {
        /// The name of the table
        table: &'static str,
        /// The name of the column
        column: &'static str,
    },
    /// Another mark of a generation, such as a label of an enumeration
    Mark {
        /// A description of the mark
        mark: String,
    },
    /// A right to columns of a table, or to its rows
    Right {
        /// The right
        right: Right,
        /// The name of the table
        table: &'static str,
        /// The columns; empty for a right to rows
        columns: Vec<&'static str>,
    },
}

impl Lack {
    /// The table that is concerned, if any
    #[must_use]
    pub const fn table(&self) -> Option<&'static str> {
        match self {
            Self::Table { table } | Self::Column { table, .. } | Self::Right { table, .. } => {
                Some(table)
            }
            Self::Mark { .. } => None,
        }
    }

    /// Whether it concerns the table of the keys of app tokens
    pub(crate) fn is_of_keys(&self) -> bool {
        matches!(self.table(), Some("crypto_keys" | "authd_crypto_keys"))
    }

    /// Whether it concerns a table that authd creates for itself
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

/// The state of the index for looking up agents by instance
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
#[non_exhaustive]
pub enum Index {
    /// The index exists and is used
    Valid {
        /// The name of the index
        name: String,
    },
    /// The index exists and is not used, as building it has not ended or has failed
    Invalid {
        /// The name of the index
        name: String,
    },
    /// There is no index: each sign-in reads all agents
    Missing {
        /// The number of agents, as the server estimates it
        agents: u64,
        /// The statement that creates the index
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
    /// The number of keys that can be read
    pub readable: usize,
    /// Why other keys cannot be read, without secrets; they are skipped while one can be read
    pub problem: Option<String>,
}

/// How a control plane encrypts its keys
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Encryption {
    /// The keys with which it encrypts, the newest first; empty if it does not encrypt
    pub active: Vec<ActiveKey>,
    /// Whether authd has keys for decryption
    pub has_keys: bool,
}

/// Names in the newest builds of some workspaces that are not deleted
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveNames {
    /// The agents with an instance
    pub instances: Vec<LiveInstance>,
    /// The apps with a URL, without links to other sites
    pub apps: Vec<LiveApp>,
}

/// An agent with an instance
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveInstance {
    /// The agent's name
    pub agent: String,
    /// The instance id as it is stored
    pub instance_id: String,
}

/// An app with a URL
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LiveApp {
    /// The user name of the workspace's owner
    pub user: String,
    /// The workspace's name
    pub workspace: String,
    /// The agent's name
    pub agent: String,
    /// The app's slug
    pub slug: String,
    /// The address at which the agent serves the app
    pub url: String,
    /// Whether the app is to be on a host of its own; false if that may not be read
    pub subdomain: bool,
}

fn name_of<S: serde::Serializer>(feature: &Feature, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(feature.as_str())
}
