//! `storm`: see the module of the same name

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

use authd_benches::storm::{self, Options};
use clap::Parser;

/// Lets a fleet sign in at once, beside clients that want to prevent it
///
/// Starts a private PostgreSQL server and authd on this machine, with the defaults of `authd serve`,
/// and prints what happened: JSON on standard output, and a table on standard error. Exit status
/// 0: the storm took place, however it went. 1: it could not be set up. 2: the options are not valid.
#[derive(Parser)]
#[command(name = "storm", args_override_self = true)]
struct Args {
    #[command(flatten)]
    options: Options,
}

#[tokio::main]
async fn main() -> ExitCode {
    let printed = match storm::run(&Args::parse().options).await {
        Ok(report) => write!(std::io::stderr(), "{report}").and_then(|()| {
            let mut stdout = std::io::stdout().lock();
            serde_json::to_writer_pretty(&mut stdout, &report)?;
            writeln!(stdout).map(|()| ExitCode::SUCCESS)
        }),
        Err(error) => {
            writeln!(std::io::stderr(), "error: {}", chain(&error)).map(|()| ExitCode::FAILURE)
        }
    };
    printed.unwrap_or(ExitCode::FAILURE)
}

/// The error with its causes
fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
