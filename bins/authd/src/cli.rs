mod audit;
mod help;
mod share;

use std::path::PathBuf;

use agent_token::RetryTimeout;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use self::audit::{AuditArgs, AuditCommand, AuditDecision, AuditFilter, AuditReading};
pub(crate) use self::help::command;
pub(crate) use self::share::{ShareArgs, ShareChangeArgs, ShareCommand};
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
    /// Fetch the session token of the agent on this machine
    ///
    /// Exit status 0: success. 1: it failed, with a line on standard error that says why. 2: the
    /// command line, or what it names, is not usable.
    AgentToken(AgentTokenArgs),
    /// Read the audit log: who opened which app, and who was refused
    Audit(AuditArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Check settings, trust folder and database
    ///
    /// Run this first. It takes the settings of `serve`, changes nothing, and prints what is
    /// wrong and what to do about it. Exit status 0: no errors. 1: the first error is on standard
    /// error.
    Check(CheckArgs),
    /// Export users, workspaces, agents and apps as a JSON document for `import`
    ///
    /// An import of the document changes nothing, and one into an empty database makes the same
    /// deployment. Deleted entries, sessions and keys are left out.
    Export(ExportArgs),
    /// Print the SQL statements that grant a role the fewest rights that `serve` needs
    ///
    /// The rights are for the settings of `serve` and the tables as they are now, column by
    /// column. The owner of the tables runs the statements: `authd grants | psql`.
    Grants(GrantsArgs),
    /// Import users, workspaces, agents and apps from a file
    ///
    /// What the file has is added or changed, all or nothing. What it leaves out is unchanged.
    /// Exit status 0: success. 1: the database refused. 2: the file is not valid.
    Import(ImportArgs),
    /// List and rotate the keys that sign app tokens
    Keys(KeysArgs),
    /// Print the manual page, or write those of all commands
    Man {
        /// Folder to write all pages to, instead of printing the first
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Migrate the tables of the database to the newest version
    Migrate(MigrateArgs),
    /// Decide and explain cases of role-based access control from a file
    Policy(PolicyArgs),
    /// Start the server
    Serve(ServeArgs),
    /// Describe all settings, which are those of `serve`
    ///
    /// Other commands take them too, and use those that concern them.
    Settings(ServeArgs),
    /// List and change with whom apps and ports are shared by name
    Share(ShareArgs),
    /// Create, list and revoke session and proxy tokens
    Token(TokenArgs),
    /// Verify a proof of identity from files, and explain why it is rejected
    ///
    /// Prints one line of JSON. If the proof was changed on its way into the files, it says which
    /// change makes it valid. Exit status 0: it is valid. 1: it is rejected. 2: the command line,
    /// the policy or the trust folder is not usable.
    Verify(VerifyArgs),
}

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct ExportArgs {
    /// Write to this file, which only this user can read, instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Include the session tokens of agents
    #[arg(long, requires = "output")]
    pub(crate) with_secrets: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct GrantsArgs {
    /// Role with which authd connects
    #[arg(long, value_name = "NAME", default_value = "authd")]
    pub(crate) role: String,
    /// Include the rights of `authd token`, which needs app access
    #[arg(long)]
    pub(crate) commands: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct ImportArgs {
    /// JSON or TOML file; `-` is standard input
    pub(crate) file: PathBuf,
    /// Print what would change, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print each difference as a line of JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// List all keys, without their secrets
    List {
        /// Print lines of JSON instead of a table
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Rotate keys that are due
    ///
    /// `serve` does the same every ten minutes.
    Rotate {
        /// Create successors even if no key is due; they begin to sign in half an hour
        #[arg(long)]
        force: bool,
        /// Create successors that sign at once, and clear all other keys
        ///
        /// Earlier tokens become invalid once every running authd has fetched the keys again: within
        /// ten minutes, or when it is restarted.
        #[arg(long)]
        compromised: bool,
        /// Print each change as a line of JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

#[derive(Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    pub(crate) command: TokenCommand,
}

#[derive(Subcommand)]
pub(crate) enum TokenCommand {
    /// Create a token and print it, only this once
    Create(TokenCreateArgs),
    /// List sessions and tokens, without their secrets, the newest first
    List {
        /// List only those of this user
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// Print lines of JSON instead of a table
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Revoke a session or token
    Revoke {
        /// Id of the token: the part before the dash
        id: String,
        /// Print what has ended as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

#[derive(Args)]
#[command(group(ArgGroup::new("owner").required(true).args(["user", "proxy"])))]
pub(crate) struct TokenCreateArgs {
    /// User who owns the token
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Proxy that owns the token, instead of a user; its earlier token becomes invalid
    #[arg(long, value_name = "NAME", conflicts_with_all = ["scope", "lifetime_hours", "name"])]
    pub(crate) proxy: Option<String>,
    /// What the token may do
    #[arg(long, default_value = "all")]
    pub(crate) scope: TokenScope,
    /// How long the token is valid
    #[arg(long, value_name = "N", default_value = "168",
          value_parser = clap::value_parser!(u64).range(1..=876_600))]
    pub(crate) lifetime_hours: u64,
    /// Name of the token, unique among the user's tokens [default: its id]
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) name: String,
    /// Print JSON instead of the token alone
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum TokenScope {
    All,
    /// Opens apps, but no terminals
    ApplicationConnect,
}

#[derive(Args)]
pub(crate) struct MigrateArgs {
    /// Create only the tables that authd writes, beside the tables of a control plane
    #[arg(long)]
    pub(crate) owned_only: bool,
    /// Remove the tables that authd created beside a control plane, including the audit log
    #[arg(long, conflicts_with = "owned_only")]
    pub(crate) remove_owned: bool,
    /// Remove them, instead of only printing what `--remove-owned` would remove
    #[arg(long, requires = "remove_owned")]
    pub(crate) yes: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// Cloud of the machine
    pub(crate) cloud: VerifyCloud,
    /// AWS: the instance identity document [`-` instead of any FILE is standard input]
    #[arg(long, value_name = "FILE")]
    pub(crate) document: Option<PathBuf>,
    /// AWS: the signature of the document. Azure: the field `signature` of the attested data
    #[arg(long, value_name = "FILE")]
    pub(crate) signature: Option<PathBuf>,
    /// AWS: the PKCS#7 message of `/rsa2048`, instead of a signature or with one
    #[arg(long, value_name = "FILE")]
    pub(crate) pkcs7: Option<PathBuf>,
    /// Google: the identity token
    #[arg(long, value_name = "FILE")]
    pub(crate) token: Option<PathBuf>,
    /// Time to verify at, such as 2026-11-21T00:00:00Z [default: now]
    #[arg(long, value_name = "RFC3339")]
    pub(crate) at: Option<String>,
    /// Identity policy: a JSON object whose fields have the names of the settings of `serve`
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Folder with keys and certificates to trust in addition to the built-in ones
    #[arg(long, env = "AUTHD_TRUST_DIR", value_name = "DIR")]
    pub(crate) trust_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum VerifyCloud {
    Aws,
    Azure,
    #[value(alias = "gcp")]
    Google,
}

#[derive(Args)]
pub(crate) struct AgentTokenArgs {
    /// URL of authd, or of the control plane behind it
    ///
    /// It is reached through the proxy of HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, unless NO_PROXY
    /// lists the host. Redirects are not followed.
    #[arg(long, env = "AUTHD_URL", value_name = "URL")]
    pub(crate) url: String,
    /// Cloud whose metadata service is asked; `auto` asks all at once and uses the first proof
    #[arg(long, default_value = "auto")]
    pub(crate) cloud: MetadataCloud,
    /// URL of the metadata service, if it is not at the cloud's usual address
    #[arg(long, value_name = "URL")]
    pub(crate) metadata_url: Option<String>,
    /// Name of the agent, if the machine has several
    #[arg(long, env = "CODER_AGENT_NAME", value_name = "NAME")]
    pub(crate) agent_name: Option<String>,
    /// Audience of Google's token
    #[arg(long, default_value = "coder", value_name = "TEXT")]
    pub(crate) audience: String,
    /// How long to retry transient failures, such as 90s, 5m or `forever`; 0 tries once
    #[arg(long = "patience", env = "AUTHD_PATIENCE", value_name = "TIME", default_value = "5m")]
    pub(crate) retry_timeout: RetryTimeout,
    /// CA file: certificate authorities to trust in addition to the system's, in PEM
    ///
    /// SSL_CERT_FILE names a file that replaces the authorities of the system.
    #[arg(long, env = "AUTHD_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Write the token to this file, which only this user can read, instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum MetadataCloud {
    Auto,
    Aws,
    Azure,
    #[value(alias = "gcp")]
    Google,
}

#[derive(Args)]
pub(crate) struct PolicyArgs {
    #[command(subcommand)]
    pub(crate) command: PolicyCommand,
}

#[derive(Subcommand)]
pub(crate) enum PolicyCommand {
    /// Decide each case
    ///
    /// A case is a line of JSON with a subject, an action and an object. Exit status 0: every
    /// decision is the expected one. 1: some differ. 2: a line is not a case.
    Test {
        /// File of cases, one on each line; `-` is standard input
        file: PathBuf,
        /// Print only the decisions that differ from the expected ones, and their number
        #[arg(long)]
        expect: bool,
    },
    /// Print which level and permission decide each case
    Explain {
        /// File of cases, one on each line; `-` is standard input
        file: PathBuf,
        /// Explain only the case with this number
        #[arg(long = "case", value_name = "N")]
        number: Option<u64>,
    },
}
