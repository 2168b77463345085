//! The command `authd`

use std::process::ExitCode;

fn main() -> ExitCode {
    authd::run()
}
