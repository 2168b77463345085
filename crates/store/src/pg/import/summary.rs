use std::fmt::Write;

use app_audit::printable;

use crate::import::{Difference, Outcome};

/// The number of rows that differ, by table, with a few names
pub(super) fn of(outcome: &Outcome, examples: &[Difference]) -> String {
    let tables = outcome.tables().filter(|(_, counts)| counts.differences() > 0);
    let table = |(table, counts): (&str, crate::import::Counts)| {
        let count = counts.differences();
        let named = examples.iter().filter(|difference| difference.table == table);
        let limit = usize::try_from(NAMES).unwrap_or(usize::MAX);
        let mut names: Vec<String> =
            named.take(limit).map(|difference| short(&difference.label)).collect();
        if count > names.len().try_into().unwrap_or(u64::MAX) && !names.is_empty() {
            names.push("…".to_owned());
        }
        let rows = if count == 1 { "row" } else { "rows" };
        let mut text = format!("{count} {rows} of {table}");
        if !names.is_empty() {
            // Writing to a `String` never fails.
            let _ = write!(text, " ({})", names.join(", "));
        }
        text
    };
    tables.map(table).collect::<Vec<_>>().join(", ")
}

/// The beginning of a name, which a user chose
fn short(name: &str) -> String {
    printable(&name.chars().take(64).collect::<String>())
}

/// The most names of rows in a summary of a table
pub(super) const NAMES: u32 = 3;
