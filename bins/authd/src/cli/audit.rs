use std::net::IpAddr;
use std::path::PathBuf;

use app_audit::{ActKind, Age};
use clap::{Args, Subcommand, ValueEnum};
use uuid::Uuid;

use crate::config::ConfigArgs;

#[derive(Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    pub(crate) command: AuditCommand,
}

#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Print rows, the newest first
    List {
        /// Most rows to print
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: u32,
        #[command(flatten)]
        reading: AuditReading,
    },
    /// Print the last rows, and then new ones as they are written
    Tail {
        /// Number of existing rows to print first
        #[arg(long, default_value_t = 10, value_name = "N",
              value_parser = clap::value_parser!(u32).range(0..=1000))]
        lines: u32,
        #[command(flatten)]
        reading: AuditReading,
    },
    /// Delete old rows, also while servers run; they do it themselves with --audit-retention-days
    Prune {
        /// Age from which rows are deleted, such as 400d or 52w
        #[arg(long, value_name = "AGE")]
        older_than: Age,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Give the log a table for each month, so that old rows are dropped by the month
    ///
    /// Servers go on writing. Needs the owner of the tables, once: servers add the months to come.
    Partition {
        /// Print lines of JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Print sign-ins, and what operators did, the newest first
    Acts {
        /// Most rows to print, up to 1000
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: u32,
        /// Print lines of JSON
        #[arg(long)]
        json: bool,
        /// Only this kind, such as `agent_sign_in`
        #[arg(long)]
        kind: Option<ActKind>,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Record the events of a spool file, and rename it
    ///
    /// Events that are recorded already are left out.
    Replay {
        /// The file of --audit-spool
        file: PathBuf,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

#[derive(Args)]
pub(crate) struct AuditReading {
    /// Print lines of JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// Do not cut the table to the width of the terminal, and print request ids
    #[arg(long)]
    pub(crate) wide: bool,
    #[command(flatten)]
    pub(crate) filter: AuditFilter,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// Rows match if they match every given option
#[derive(Args)]
#[command(next_help_heading = "Filter")]
pub(crate) struct AuditFilter {
    /// At or after this time: RFC 3339, or without an offset in UTC, or a day such as 2026-11-21
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// Visitor; `-` for visitors who were not signed in
    #[arg(long, value_name = "NAME|UUID", allow_hyphen_values = true)]
    pub(crate) user: Option<String>,
    /// Organization of the workspace
    #[arg(long, value_name = "UUID")]
    pub(crate) organization: Option<Uuid>,
    /// Workspace, as OWNER/WORKSPACE or by id
    #[arg(long, value_name = "NAME|UUID")]
    pub(crate) workspace: Option<String>,
    /// App; for ports and terminals, the agent
    #[arg(long, value_name = "UUID|SLUG")]
    pub(crate) app: Option<String>,
    /// Decision
    #[arg(long)]
    pub(crate) decision: Option<AuditDecision>,
    /// Reason of a denial, such as not_shared
    #[arg(long, value_name = "WORD")]
    pub(crate) reason: Option<String>,
    /// Client's address
    #[arg(long, value_name = "IP")]
    pub(crate) address: Option<IpAddr>,
    /// Request
    #[arg(long, value_name = "UUID")]
    pub(crate) request: Option<Uuid>,
    /// Session: the row of its start, and the row of its end if there is one
    #[arg(long, value_name = "UUID")]
    pub(crate) session: Option<Uuid>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum AuditDecision {
    Allow,
    Deny,
}
