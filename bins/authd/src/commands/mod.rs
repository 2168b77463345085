//! The commands, one module each

mod acts;
mod agent_token;
mod audit;
mod check;
mod database;
mod error;
mod files;
mod grants;
mod help;
mod import;
mod keys;
mod migrate;
mod output;
mod policy;
mod retention;
mod serve;
mod share;
mod token;
mod verify;

use std::process::ExitCode;
use std::time::Duration;

use clap::FromArgMatches;

use self::error::CommandError;
use crate::cli::{self, Cli, Command};
use crate::log;

/// Parses the command line and runs the command
///
/// Exit status 0: success. 1: it failed, with one line on standard error that says why, or `verify`
/// rejected the proof. 2: the command line, or what it names, is not usable.
#[must_use]
pub fn run() -> ExitCode {
    let matches = cli::command().get_matches();
    let command = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command;
    let done = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CommandError::Runtime)
        .and_then(|runtime| {
            let is_agent_token = matches!(command, Command::AgentToken(_));
            let done = runtime.block_on(dispatch(command));
            // A name that is still being resolved must not delay the exit. `agent-token` resolves
            // a name that most clouds do not have.
            let timeout = if is_agent_token { Duration::ZERO } else { Duration::from_secs(1) };
            runtime.shutdown_timeout(timeout);
            done
        });
    let status = done.unwrap_or_else(|error| {
        output::report_error(&error);
        error.exit_code()
    });
    log::flush();
    status
}

async fn dispatch(command: Command) -> Result<ExitCode, CommandError> {
    match command {
        Command::AgentToken(args) => agent_token::run(args).await?,
        Command::Audit(args) => audit::run(args).await?,
        Command::Check(args) => return check::run(args).await,
        Command::Completions { shell } => help::print_completions(shell)?,
        Command::Export(args) => import::export(args).await?,
        Command::Grants(args) => grants::run(args).await?,
        Command::Import(args) => import::run(args).await?,
        Command::Keys(args) => keys::run(args).await?,
        Command::Man { dir } => help::write_manual(dir)?,
        Command::Migrate(args) => migrate::run(args).await?,
        Command::Policy(args) => return policy::run(&args),
        Command::Serve(args) => serve::run(args).await?,
        Command::Share(args) => share::run(args).await?,
        Command::Settings(_) => help::print_settings()?,
        Command::Token(args) => token::run(args).await?,
        Command::Verify(args) => return verify::run(args).await,
    }
    Ok(ExitCode::SUCCESS)
}
