use std::collections::BTreeMap;
use std::io::{self, Write};

use store::import::{Counts, Difference, Outcome};

/// Writes the differences of an import: lines of text and a total, or lines of JSON
#[derive(Debug)]
pub struct Listing<W> {
    out: W,
    json: bool,
    /// The number of differences of each table that were written
    listed: BTreeMap<&'static str, u64>,
    written: io::Result<()>,
}

impl<W: Write> Listing<W> {
    /// Begins a listing
    pub const fn new(out: W, json: bool) -> Self {
        Self { out, json, listed: BTreeMap::new(), written: Ok(()) }
    }

    /// Writes a difference; [`end`](Self::end) returns the error if that fails
    pub fn add(&mut self, difference: &Difference) {
        *self.listed.entry(difference.table).or_default() += 1;
        if self.written.is_ok() {
            self.written = self.write(difference);
        }
    }

    fn write(&mut self, difference: &Difference) -> io::Result<()> {
        match self.json {
            true => {
                serde_json::to_writer(&mut self.out, difference)?;
                writeln!(self.out)
            }
            false => writeln!(self.out, "{difference}"),
        }
    }

    /// Writes how many differences were not listed, and the total; returns the writer
    ///
    /// # Errors
    ///
    /// Fails if something could not be written.
    pub fn end(mut self, outcome: &Outcome, dry_run: bool) -> io::Result<W> {
        self.written?;
        if !self.json {
            for (table, counts) in outcome.tables() {
                let listed = self.listed.get(table).copied().unwrap_or_default();
                let more = counts.differences().saturating_sub(listed);
                if more > 0 {
                    writeln!(self.out, "… and {more} more rows of {table}")?;
                }
            }
            let Counts { added, changed, removed, unchanged, .. } = outcome.total();
            let would = if dry_run { "would be " } else { "" };
            writeln!(
                self.out,
                "{would}added {added}, {would}changed {changed}, {would}removed {removed}, \
                 unchanged {unchanged}"
            )?;
        }
        self.out.flush()?;
        Ok(self.out)
    }
}
