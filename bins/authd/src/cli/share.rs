use clap::{ArgGroup, Args, Subcommand};

use crate::config::ConfigArgs;

#[derive(Args)]
pub(crate) struct ShareArgs {
    #[command(subcommand)]
    pub(crate) command: ShareCommand,
}

#[derive(Subcommand)]
pub(crate) enum ShareCommand {
    /// List with whom apps and ports are shared by name
    List {
        /// List only those of this workspace
        #[arg(value_name = "OWNER/WORKSPACE")]
        workspace: Option<String>,
        /// Print lines of JSON instead of a table
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Explain why a session opens an app or a port, or does not
    Explain {
        /// Owner and name of the workspace
        #[arg(value_name = "OWNER/WORKSPACE")]
        workspace: String,
        /// Slug of the app, or number of the port
        app: String,
        /// Id of the session, as `authd token list` prints it
        #[arg(long, value_name = "ID")]
        session: String,
        /// Name of the agent, if the workspace has several
        #[arg(long, value_name = "NAME")]
        agent: Option<String>,
        /// Print JSON instead of a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Share an app or a port of a running workspace with users and groups
    Add(ShareChangeArgs),
    /// Withdraw an app or a port from users and groups
    Remove(ShareChangeArgs),
}

#[derive(Args)]
#[command(group(ArgGroup::new("people").required(true).multiple(true).args(["users", "groups"])))]
pub(crate) struct ShareChangeArgs {
    /// Owner and name of the workspace
    #[arg(value_name = "OWNER/WORKSPACE")]
    pub(crate) workspace: String,
    /// Slug of the app, or number of the port
    pub(crate) app: String,
    /// Name of the agent, if the workspace has several
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: Option<String>,
    /// User, by name or id; may be repeated
    #[arg(long = "user", value_name = "NAME")]
    pub(crate) users: Vec<String>,
    /// Group of the workspace's organization by name, or any group by id; may be repeated
    #[arg(long = "group", value_name = "NAME")]
    pub(crate) groups: Vec<String>,
    /// Print what was changed as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}
