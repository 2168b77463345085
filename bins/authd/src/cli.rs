use clap::{Args, Parser, Subcommand};

use crate::config::ConfigArgs;

/// Authentication and authorization edge of a control plane that runs workspaces
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show the whole path on this machine: private database, sample fleet, test cloud, sign-ins
    Demo(DemoArgs),
    /// Bring a database's tables up to date
    Migrate(MigrateArgs),
    /// Answer requests
    Serve(ServeArgs),
}

#[derive(Args)]
pub(crate) struct DemoArgs {
    /// Keep the server running and print `curl` lines that work
    #[arg(long)]
    pub(crate) serve: bool,
    /// Folder of `initdb` and `postgres` [default: the newest installed]
    #[arg(long, env = "AUTHD_POSTGRES_BIN", value_name = "DIR")]
    pub(crate) postgres_bin: Option<std::path::PathBuf>,
}

#[derive(Args)]
pub(crate) struct MigrateArgs {
    /// Create only the tables that authd writes, beside a control plane that has its own
    #[arg(long)]
    pub(crate) owned_only: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}
