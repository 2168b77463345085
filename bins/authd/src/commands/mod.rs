mod demo;
mod migrate;
mod serve;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use thiserror::Error;

use crate::cli::{Cli, Command};
use crate::config::{ConfigError, unknown_environment};
use crate::error::chain;
use crate::trust::TrustError;

/// Parses the command line, does what it says, and tells how it went
///
/// Exit status 0: done. 1: it failed, with one line on standard error that says why.
/// 2: the command line is not valid.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CommandError::Runtime)
        .and_then(|runtime| {
            runtime.block_on(async {
                match cli.command {
                    Command::Demo(args) => demo::run(args).await,
                    Command::Migrate(args) => migrate::run(args).await,
                    Command::Serve(args) => serve::run(args).await,
                }
            })
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "a command tells its user why it failed")]
fn complain(error: &CommandError) {
    eprintln!("authd: {}", chain(error));
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
    #[error(transparent)]
    Cluster(#[from] store::cluster::Error),
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{failed} of {all} answers were not the expected ones")]
    Demo { failed: usize, all: usize },
    #[error("a file of the demonstration cannot be written")]
    DemoFile(#[source] std::io::Error),
    #[error("the demonstration got no answer")]
    DemoRequest(#[from] crate::client::ClientError),
    #[error("cannot listen on {address}")]
    Listen {
        address: std::net::SocketAddr,
        #[source]
        error: std::io::Error,
    },
    #[error("the database does not hold the tables authd reads; run `authd migrate`")]
    NoTables(#[source] store::Error),
    #[error("`--store memory` has no tables to migrate")]
    NothingToMigrate,
    #[error("the runtime cannot start")]
    Runtime(#[source] std::io::Error),
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
    #[error("the store failed")]
    Store(#[from] store::Error),
    #[error("the trust folder is not usable")]
    Trust(#[from] TrustError),
}
