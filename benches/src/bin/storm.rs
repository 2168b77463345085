//! `storm`: see the module of the same name

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

use authd_benches::storm::{self, Options, Report};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

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
    let options = Args::parse().options;
    let ran = match announce(&options).and_then(|()| interruption()) {
        Ok(interruption) => tokio::select! {
            ran = storm::run(&options) => ran,
            // The processes of authd and PostgreSQL end with this one.
            () = interruption => return ExitCode::FAILURE,
        },
        Err(error) => return failed(&error),
    };
    match ran {
        Ok(report) => match print(&report) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        },
        Err(error) => failed(&error),
    }
}

fn announce(options: &Options) -> io::Result<()> {
    let Options { agents, builds, .. } = options;
    writeln!(
        io::stderr(),
        "writing a fleet of {agents} workspaces with {builds} builds each, and minting proofs\n"
    )
}

/// Resolves at SIGINT or SIGTERM
fn interruption() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    })
}

fn print(report: &Report) -> io::Result<()> {
    write!(io::stderr(), "{report}")?;
    let mut stdout = io::stdout().lock();
    serde_json::to_writer_pretty(&mut stdout, report)?;
    writeln!(stdout)
}

fn failed(error: &dyn Error) -> ExitCode {
    // If standard error cannot be written, the status has to suffice.
    let _ = writeln!(io::stderr(), "error: {}", chain(error));
    ExitCode::FAILURE
}

/// The error with its causes
fn chain(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
