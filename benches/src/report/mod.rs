//! The report: all suites, as a table, as JSON and as a document

mod binary;
mod document;
mod machine;
mod table;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::binary::{build_authd, count_allocations};
pub use self::document::{document, without_figures};
pub use self::machine::Machine;
pub use self::table::{head, line};
use crate::{Finding, Setting, Suite};

/// What a run has found
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Report {
    /// Where and when it ran
    pub machine: Machine,
    /// The rows that were measured, in order
    pub rows: Vec<Finding>,
}

impl Report {
    /// Runs suites in turn, and tells `found` of each row as soon as it is known
    pub fn run(
        suites: &[&Suite],
        setting: &Setting,
        mut found: impl FnMut(&Suite, &Finding),
    ) -> Self {
        let mut machine = Machine::here();
        let mut rows = Vec::new();
        for suite in suites {
            suite.run(setting, &mut |finding| {
                found(suite, &finding);
                rows.push(finding);
            });
        }
        machine.ended();
        Self { machine, rows }
    }

    /// Reads reports that were written as JSON, and joins them: of a row that several have, the last
    /// one counts, and the machine is that of the last
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read or is not a report.
    pub fn read(files: &[impl AsRef<Path>]) -> std::io::Result<Option<Self>> {
        let mut joined: Option<Self> = None;
        for file in files {
            let text = std::fs::read_to_string(file)?;
            let mut report: Self = serde_json::from_str(&text)?;
            if let Some(former) = joined {
                let is_same = |a: &Finding, b: &Finding| a.suite == b.suite && a.name == b.name;
                let others = former.rows.into_iter();
                let others = others.filter(|row| !report.rows.iter().any(|new| is_same(new, row)));
                report.rows.extend(others.collect::<Vec<_>>());
            }
            joined = Some(report);
        }
        Ok(joined)
    }

    /// The rows that miss their goals
    pub fn missed(&self) -> impl Iterator<Item = &Finding> {
        self.rows.iter().filter(|row| row.met == Some(false))
    }
}
