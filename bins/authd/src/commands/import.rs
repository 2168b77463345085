use std::io::Write;

use fleet_import::{Document, DocumentError, Warning};
use serde_json::Value;
use store::import::{Change, Difference, Import};

use super::acts::{ActKind, of_operator};
use super::database::with_store;
use super::error::CommandError;
use super::files::read;
use super::output::printable;
use crate::cli::ImportArgs;
use crate::clock::system_clock;

/// Imports a document into the database, and prints what differed
pub(super) async fn run(args: ImportArgs) -> Result<(), CommandError> {
    let invalid = |error| CommandError::Document { path: args.file.clone(), error };
    let text = String::from_utf8(read(&args.file, LARGEST_DOCUMENT)?);
    let text = text.map_err(|_| invalid(DocumentError::not_text()))?;
    let document = Document::parse(&text).map_err(invalid)?;
    let rows = document.rows(system_clock()().into()).map_err(invalid)?;
    warn(&document.warnings());
    let differences = with_store(args.config, async |store| {
        let act = Some(of_operator(ActKind::Import));
        Ok(store.import_recorded(&rows, args.dry_run, act).await?)
    })
    .await?;
    let out = std::io::stdout().lock();
    match args.json {
        true => print_json(out, &differences),
        false => print_text(out, &differences, rows.len(), args.dry_run),
    }
    .map_err(CommandError::Output)
}

/// Prints what is stored and can never work to standard error, apart from the differences
fn warn(warnings: &[Warning]) {
    let mut err = std::io::stderr().lock();
    for Warning { path, text, .. } in warnings {
        // If standard error is closed, the import is still right.
        let _ = writeln!(err, "warning: {path}: {}", printable(text));
    }
}

fn print_json(mut out: impl Write, differences: &[Difference]) -> std::io::Result<()> {
    for difference in differences {
        serde_json::to_writer(&mut out, difference)?;
        writeln!(out)?;
    }
    Ok(())
}

fn print_text(
    mut out: impl Write,
    differences: &[Difference],
    rows: usize,
    dry_run: bool,
) -> std::io::Result<()> {
    let (mut added, mut changed, mut removed) = (0, 0, 0);
    for difference in differences {
        let Difference { table, key, name, change, .. } = difference;
        let name =
            name.clone().unwrap_or_else(|| key.values().map(plain).collect::<Vec<_>>().join(" "));
        let name = printable(&name);
        match change {
            Change::Added => {
                added += 1;
                writeln!(out, "+ {table} {name}")?;
            }
            Change::Changed(columns) => {
                changed += 1;
                for column in columns {
                    let (from, to) = (&column.from, &column.to);
                    writeln!(out, "~ {table} {name}: {} {from} -> {to}", column.column)?;
                }
            }
            Change::Removed => {
                removed += 1;
                writeln!(out, "- {table} {name}")?;
            }
        }
    }
    let same = rows.saturating_sub(added + changed);
    let would = if dry_run { "would be " } else { "" };
    writeln!(
        out,
        "{would}added {added}, {would}changed {changed}, {would}removed {removed}, unchanged {same}"
    )
}

/// A value of a key without quotes
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

const LARGEST_DOCUMENT: u64 = 64 << 20;
