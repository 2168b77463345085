use std::io::{Read, Write};
use std::path::Path;

use serde_json::Value;
use store::import::{Change, Difference, Import};

use super::database::with_store;
use super::{CommandError, printable};
use crate::cli::ImportArgs;
use crate::clock::system_clock;
use fleet_import::Document;

/// Brings the database to what a document says
pub(crate) async fn run(args: ImportArgs) -> Result<(), CommandError> {
    let invalid = |error| CommandError::Document { path: args.file.clone(), error };
    let document = Document::parse(&read(&args.file)?).map_err(invalid)?;
    let rows = document.rows(system_clock()().into()).map_err(invalid)?;
    let differences =
        with_store(args.config, async |store| Ok(store.import(&rows, args.dry_run).await?)).await?;
    let out = std::io::stdout().lock();
    match args.json {
        true => print_json(out, &differences),
        false => print_text(out, &differences, rows.len(), args.dry_run),
    }
    .map_err(CommandError::Output)
}

/// The document's text; `-` is standard input
fn read(path: &Path) -> Result<String, CommandError> {
    let unreadable = |error| CommandError::DocumentFile { path: path.to_owned(), error };
    let source: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(std::fs::File::open(path).map_err(unreadable)?),
    };
    let mut text = String::new();
    let read = source.take(MAX_DOCUMENT + 1).read_to_string(&mut text).map_err(unreadable)?;
    if u64::try_from(read).is_ok_and(|read| read > MAX_DOCUMENT) {
        return Err(unreadable(std::io::Error::other("it is larger than 64 MiB")));
    }
    Ok(text)
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
    let mood = if dry_run { "would be " } else { "" };
    writeln!(
        out,
        "{mood}added {added}, {mood}changed {changed}, {mood}removed {removed}, unchanged {same}"
    )
}

/// A value of a key as people write it
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

const MAX_DOCUMENT: u64 = 64 << 20;
