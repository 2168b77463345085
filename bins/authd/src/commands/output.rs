use std::io::Write;

pub(super) use app_audit::printable;
use serde::Serialize;

use super::error::CommandError;
use crate::log;

/// Prints the error with its causes to standard error
pub(super) fn report_error(error: &CommandError) {
    log::print(&format!("authd: {}", authd_http::error_chain(error)));
}

/// Warns on standard error if a list has as many rows as a list can have
pub(super) fn report_cut(rows: usize) {
    if rows >= store::MAX_LISTED {
        log::print(&format!("authd: only the first {} rows are listed", store::MAX_LISTED));
    }
}

/// Prints lines to standard output
pub(super) fn print(lines: &[String]) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{line}")).map_err(CommandError::Output)
}

/// Prints each value as a line of JSON to standard output
pub(super) fn print_json(
    values: impl IntoIterator<Item = impl Serialize>,
) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    for value in values {
        let line = serde_json::to_string(&value).map_err(std::io::Error::from);
        line.and_then(|line| writeln!(out, "{line}")).map_err(CommandError::Output)?;
    }
    Ok(())
}
