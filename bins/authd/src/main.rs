//! The `authd` command

use std::process::ExitCode;

fn main() -> ExitCode {
    authd::run()
}
