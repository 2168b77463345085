mod agent_token;
mod audit;
mod check;
mod database;
mod grants;
mod import;
mod keys;
mod migrate;
mod policy;
mod serve;
mod token;
mod verify;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use thiserror::Error;

use crate::cli::{Cli, Command};
use crate::config::{ConfigError, unknown_environment};
use crate::trust::TrustError;
use authd_http::error_chain as chain;

/// Parses the command line, does what it says, and tells how it went
///
/// Exit status 0: done. 1: it failed, with one line on standard error that says why,
/// or `verify` rejects the proof. 2: the command line or what it names is not usable.
#[must_use]
pub fn run() -> ExitCode {
    let command = Cli::parse().command;
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CommandError::Runtime)
        .and_then(|runtime| {
            let is_agent_token = matches!(command, Command::AgentToken(_));
            let done = runtime.block_on(dispatch(command));
            // A name that does not resolve must not keep the process from ending. The
            // machine's side asks for one that most clouds do not have.
            let longest = if is_agent_token { Duration::ZERO } else { Duration::from_secs(1) };
            runtime.shutdown_timeout(longest);
            done
        });
    done.unwrap_or_else(|error| {
        complain(&error);
        error.exit_code()
    })
}

async fn dispatch(command: Command) -> Result<ExitCode, CommandError> {
    match command {
        Command::AgentToken(args) => agent_token::run(args).await?,
        Command::Audit(args) => return audit::run(args).await,
        Command::Check(args) => return check::run(args).await,
        Command::Grants(args) => grants::run(args).await?,
        Command::Import(args) => import::run(args).await?,
        Command::Keys(args) => keys::run(args).await?,
        Command::Migrate(args) => return migrate::run(args).await,
        Command::Policy(args) => return policy::run(&args),
        Command::Serve(args) => serve::run(args).await?,
        Command::Token(args) => token::run(args).await?,
        Command::Verify(args) => return verify::run(args).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn complain(error: &CommandError) {
    // Where nobody listens, the exit status still says it.
    let _ = writeln!(std::io::stderr(), "authd: {}", chain(error));
}

/// `text` as it may stand in a line for people
///
/// Visitors and users chose some of the texts, and shall not choose what a terminal does.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Says which settings of the environment were not understood
fn warn_of_unknown_environment() {
    for name in unknown_environment(&Cli::command()) {
        tracing::warn!(name, "this environment variable is no setting of authd");
    }
}

/// Why a command failed
#[derive(Debug, Error)]
pub(crate) enum CommandError {
    #[error("`{}`, line {line}", path.display())]
    Case {
        path: PathBuf,
        line: u64,
        #[source]
        error: app_authz::Error,
    },
    #[error("`{}` cannot be read", path.display())]
    CaseFile {
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
    /// The first line that matters of what was looked at
    #[error("{0}")]
    Check(String),
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("`{}` is not valid", path.display())]
    Document {
        path: PathBuf,
        #[source]
        error: fleet_import::DocumentError,
    },
    #[error("`{}` cannot be read", path.display())]
    DocumentFile {
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
    #[error("cannot listen on {address}")]
    Listen {
        address: std::net::SocketAddr,
        #[source]
        error: std::io::Error,
    },
    #[error("the system has no random bytes")]
    NoRandomness,
    #[error("`--store memory` keeps nothing that another command can reach")]
    NothingStored,
    #[error("`--store memory` has no tables to migrate")]
    NothingToMigrate,
    /// What a private database lacks can also be avoided
    #[error("{0}, name a database with `--database-url`, or use `--store memory`")]
    NotInstalled(private_postgres::Error),
    #[error("the answer cannot be written")]
    Output(#[source] std::io::Error),
    #[error("`{}` is not an identity policy", path.display())]
    PolicyFile {
        path: PathBuf,
        #[source]
        error: serde_json::Error,
    },
    #[error(transparent)]
    PrivateDatabase(private_postgres::Error),
    #[error("`{}` cannot be read", path.display())]
    ProofFile {
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
    #[error("the runtime cannot start")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    Setup(#[from] ::agent_token::SetupError),
    #[error(transparent)]
    SignIn(#[from] ::agent_token::SignInError),
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
    #[error("the store failed")]
    Store(#[from] store::Error),
    #[error("the token cannot be put at `{}`", path.display())]
    TokenFile {
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
    #[error("the trust folder is not usable")]
    Trust(#[from] TrustError),
    #[error("{0}")]
    Usage(String),
}

impl From<private_postgres::Error> for CommandError {
    fn from(error: private_postgres::Error) -> Self {
        match error {
            private_postgres::Error::NotInstalled { .. } => Self::NotInstalled(error),
            error => Self::PrivateDatabase(error),
        }
    }
}

impl CommandError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Case { .. }
            | Self::CaseFile { .. }
            | Self::Config(_)
            | Self::Document { .. }
            | Self::DocumentFile { .. }
            | Self::PolicyFile { .. }
            | Self::ProofFile { .. }
            | Self::Setup(_)
            | Self::Trust(_)
            | Self::Usage(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_database_server_is_named_with_every_remedy() {
        let missing = private_postgres::Error::NotInstalled { explicit: None };
        assert_eq!(
            chain(&CommandError::from(missing)),
            "no PostgreSQL server is installed; install one with `apt-get install -y postgresql`, \
             name a database with `--database-url`, or use `--store memory`"
        );
    }
}
