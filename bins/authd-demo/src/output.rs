#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a demonstration prints")]

use std::time::Duration;

use crate::error::DemoError;

/// Prints a line, or several
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Prints what was prepared, and how
pub(crate) fn say_step(what: &str, how: &str) {
    say(&format!("  {what:<9} {how}"));
}

/// Prints an error with its causes
pub(crate) fn print_error(error: &DemoError) {
    eprintln!("authd-demo: {}", authd_http::error_chain(error));
}

pub(crate) fn milliseconds(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}
