use std::path::PathBuf;

use agent_token::RetryTimeout;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use uuid::Uuid;

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
    /// Print the session token of this machine's agent: the machine's side of a sign-in
    ///
    /// Exit status 0: done. 1: it failed, with a line on standard error that says why. 2: the
    /// command line, or what it names, is not usable.
    AgentToken(AgentTokenArgs),
    /// Read the audit log: who opened what, and who was refused
    Audit(AuditArgs),
    /// Look whether authd can work as it is set up: settings, trust, database
    ///
    /// Run this first. It takes the settings of `serve`, changes nothing, and says what it
    /// found, where, and what to do. Exit status 0: no errors. 1: the first error is on
    /// standard error.
    Check(CheckArgs),
    /// Print the statements that give a role the fewest rights that `serve` needs
    ///
    /// For the settings of `serve` and the tables as they are now, column by column. To be run
    /// by the owner of the tables: `authd grants | psql`.
    Grants(GrantsArgs),
    /// Bring users, workspaces, agents and apps to what a document says
    ///
    /// What the document has is added or changed, all or nothing. What it leaves out stays
    /// as it is. Exit status 0: done. 1: the database refused. 2: the document is not valid.
    Import(ImportArgs),
    /// Show and replace the keys that app tokens are signed with
    Keys(KeysArgs),
    /// Bring a database's tables up to date
    Migrate(MigrateArgs),
    /// Decide written cases of role-based access control, and explain them
    Policy(PolicyArgs),
    /// Answer requests
    Serve(ServeArgs),
    /// Make, show and end what users and proxies prove themselves with
    Token(TokenArgs),
    /// Say whether a proof in files holds, and if not, why
    ///
    /// Prints one line of JSON; of a proof that was changed on its way into the files it
    /// says which change makes it hold. Exit status 0: it holds. 1: it does not. 2: the command
    /// line, the policy or the trust folder is not usable.
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
pub(crate) struct GrantsArgs {
    /// The role that authd connects as
    #[arg(long, value_name = "NAME", default_value = "authd")]
    pub(crate) role: String,
    /// Also what `authd token` needs, which needs app access too
    #[arg(long)]
    pub(crate) commands: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Args)]
pub(crate) struct ImportArgs {
    /// JSON or TOML; `-` is standard input
    pub(crate) file: PathBuf,
    /// Only show what would change
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
    /// Print all keys, without their secrets
    List {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Do what is due, as `serve` does every ten minutes
    Rotate {
        /// Make successors even if none is due; they sign in half an hour
        #[arg(long)]
        force: bool,
        /// Make successors that sign now, and clear all others
        ///
        /// What was signed before no longer counts once each running authd has fetched keys
        /// again: within ten minutes, or when it is restarted.
        #[arg(long)]
        compromised: bool,
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
    /// Make a token and print it; it is shown this once
    Create(TokenCreateArgs),
    /// Print sessions and tokens, without their secrets, the newest first
    List {
        /// Only those of this user
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// End a session or token
    Revoke {
        /// The part before the dash
        id: String,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

#[derive(Args)]
#[command(group(ArgGroup::new("whose").required(true).args(["user", "proxy"])))]
pub(crate) struct TokenCreateArgs {
    /// Whom it stands for
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// The proxy that is to prove itself with it from now on, instead of a user
    #[arg(long, value_name = "NAME", conflicts_with_all = ["scope", "lifetime_hours", "name"])]
    pub(crate) proxy: Option<String>,
    /// What it may do
    #[arg(long, default_value = "all")]
    pub(crate) scope: TokenScope,
    /// How long it lasts
    #[arg(long, value_name = "N", default_value = "168",
          value_parser = clap::value_parser!(u64).range(1..=876_600))]
    pub(crate) lifetime_hours: u64,
    /// What to call it, unlike the user's other tokens [default: its id]
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum TokenScope {
    All,
    /// Opens apps, and never a terminal
    ApplicationConnect,
}

#[derive(Args)]
pub(crate) struct MigrateArgs {
    /// Create only the tables that authd writes, beside a control plane that has its own
    #[arg(long)]
    pub(crate) owned_only: bool,
    /// Take away what authd made beside a control plane, the audit log included
    #[arg(long, conflicts_with = "owned_only")]
    pub(crate) remove_owned: bool,
    /// Do not only print what `--remove-owned` would take away
    #[arg(long, requires = "remove_owned")]
    pub(crate) yes: bool,
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
    /// Whose proof it is
    pub(crate) cloud: VerifyCloud,
    /// AWS: the instance identity document [`-` in place of any FILE is standard input]
    #[arg(long, value_name = "FILE")]
    pub(crate) document: Option<PathBuf>,
    /// AWS: the document's signature. Azure: the field `signature` of the attested data
    #[arg(long, value_name = "FILE")]
    pub(crate) signature: Option<PathBuf>,
    /// AWS: the PKCS#7 message of `/rsa2048`, instead of a signature or beside it
    #[arg(long, value_name = "FILE")]
    pub(crate) pkcs7: Option<PathBuf>,
    /// Google: the identity token
    #[arg(long, value_name = "FILE")]
    pub(crate) token: Option<PathBuf>,
    /// The moment to verify for, such as 2026-11-21T00:00:00Z [default: now]
    #[arg(long, value_name = "RFC3339")]
    pub(crate) at: Option<String>,
    /// Identity policy as a JSON object, under the names of the settings of `serve`
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// Folder of keys and certificates to trust beside the built-in ones
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
    /// Where authd, or the control plane behind it, is served
    ///
    /// Reached through the proxy of HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, unless NO_PROXY
    /// lists the host. Redirects are not followed.
    #[arg(long, env = "AUTHD_URL", value_name = "URL")]
    pub(crate) url: String,
    /// Whose metadata service to ask; `auto` asks all at once, and the first proof counts
    #[arg(long, default_value = "auto")]
    pub(crate) cloud: MetadataCloud,
    /// The metadata service, if it is not at the cloud's usual address
    #[arg(long, value_name = "URL")]
    pub(crate) metadata_url: Option<String>,
    /// Which agent this is, where a machine has several
    #[arg(long, env = "CODER_AGENT_NAME", value_name = "NAME")]
    pub(crate) agent_name: Option<String>,
    /// The audience to ask Google for
    #[arg(long, default_value = "coder", value_name = "TEXT")]
    pub(crate) audience: String,
    /// How long to retry transient failures, such as 90s, 5m or `forever`; 0 tries once
    #[arg(long, env = "AUTHD_RETRY_TIMEOUT", value_name = "TIME", default_value = "5m")]
    pub(crate) retry_timeout: RetryTimeout,
    /// Certificate authorities to trust beside the system's, in PEM
    ///
    /// SSL_CERT_FILE names a file that stands in the place of the system's.
    #[arg(long, env = "AUTHD_CA_FILE", value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Write the token to this file, readable by this user alone, and print nothing
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
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    pub(crate) command: AuditCommand,
}

#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Print rows, the newest first
    List {
        /// How many rows at most
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: u32,
        #[command(flatten)]
        reading: AuditReading,
    },
    /// Print the last rows, and then new ones as they are written
    Tail {
        /// How many rows of before
        #[arg(long, default_value_t = 10, value_name = "N",
              value_parser = clap::value_parser!(u32).range(0..=1000))]
        lines: u32,
        #[command(flatten)]
        reading: AuditReading,
    },
}

#[derive(Args)]
pub(crate) struct AuditReading {
    /// Print lines of JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) filter: AuditFilter,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// Which rows: those that agree with everything that is given
#[derive(Args)]
#[command(next_help_heading = "Filter")]
pub(crate) struct AuditFilter {
    /// Not before this, such as 2026-11-21T00:00:00Z
    #[arg(long, value_name = "RFC3339")]
    pub(crate) from: Option<String>,
    /// Before this
    #[arg(long, value_name = "RFC3339")]
    pub(crate) to: Option<String>,
    /// Who asked; the nil id for nobody
    #[arg(long, value_name = "UUID")]
    pub(crate) user: Option<Uuid>,
    /// The workspace's organization
    #[arg(long, value_name = "UUID")]
    pub(crate) organization: Option<Uuid>,
    /// The workspace
    #[arg(long, value_name = "UUID")]
    pub(crate) workspace: Option<Uuid>,
    /// The app; ports and terminals are found by their agent
    #[arg(long, value_name = "UUID|SLUG")]
    pub(crate) app: Option<String>,
    /// What was decided
    #[arg(long)]
    pub(crate) decision: Option<AuditDecision>,
    /// The request
    #[arg(long, value_name = "UUID")]
    pub(crate) request: Option<Uuid>,
    /// The session: its beginning, and its end where that is written
    #[arg(long, value_name = "UUID")]
    pub(crate) session: Option<Uuid>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum AuditDecision {
    Allow,
    Deny,
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
    /// A case is a line of JSON with a subject, an action and an object. Exit status 0:
    /// done, and every expected answer agrees. 1: some do not. 2: a line is no case.
    Test {
        /// Cases, one a line; `-` is standard input
        file: PathBuf,
        /// Print only where the decision is not the expected one, and how often
        #[arg(long)]
        expect: bool,
    },
    /// Say which level and permission decide each case
    Explain {
        /// Cases, one a line; `-` is standard input
        file: PathBuf,
        /// Only the case of this number
        #[arg(long = "case", value_name = "N")]
        number: Option<u64>,
    },
}
