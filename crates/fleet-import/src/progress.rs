use std::fmt;

/// How far an import or an export is
///
/// `Display` writes a line for a log, and its alternate form `{:#}` one for a terminal, with a bar:
/// at most 79 characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is being done
    pub step: Step,
    /// How much of it is done: bytes if the document is being read, else rows
    pub done: u64,
    /// How much there is to do; 0 if that is not known
    pub of: u64,
    /// The number of rows so far
    pub rows: u64,
}

/// A step of an import or an export
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The document is being read
    Reading,
    /// Rows are being compared with those in the database, and changed
    Comparing,
    /// The document is being written
    Writing,
}

impl Progress {
    pub(crate) const fn reading(done: u64, of: u64, rows: u64) -> Self {
        Self { step: Step::Reading, done, of, rows }
    }

    pub(crate) const fn comparing(rows: u64, of: u64) -> Self {
        Self { step: Step::Comparing, done: rows, of, rows }
    }

    pub(crate) const fn writing(rows: u64) -> Self {
        Self { step: Step::Writing, done: rows, of: 0, rows }
    }

    /// The part of the step that is done, in percent; `None` if the end is not known
    #[must_use]
    pub fn percent(&self) -> Option<u64> {
        let percent = u128::from(self.done.min(self.of)) * 100;
        percent.checked_div(self.of.into()).and_then(|percent| percent.try_into().ok())
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            Step::Reading => "reading",
            Step::Comparing => "comparing",
            Step::Writing => "writing",
        };
        let rows = self.rows;
        match self.percent() {
            Some(percent) if f.alternate() => {
                let full = usize::try_from(percent / 5).unwrap_or_default();
                write!(f, "{step:<9} [{:<20}] {percent:>3} %, {rows} rows", "#".repeat(full))
            }
            Some(percent) => write!(f, "{step}: {percent} %, {rows} rows"),
            None => write!(f, "{step}: {rows} rows"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_the_part_that_is_done() {
        for (progress, expected) in [
            (Progress::reading(0, 10, 0), "reading   [                    ]   0 %, 0 rows"),
            (Progress::reading(5, 10, 700), "reading   [##########          ]  50 %, 700 rows"),
            (Progress::comparing(70, 70), "comparing [####################] 100 %, 70 rows"),
            (Progress::reading(7, 0, 3), "reading: 3 rows"),
            (Progress::writing(12), "writing: 12 rows"),
            (
                Progress::reading(u64::MAX, u64::MAX, u64::MAX),
                "reading   [####################] 100 %, 18446744073709551615 rows",
            ),
        ] {
            assert_eq!(format!("{progress:#}"), expected);
            assert!(expected.len() < 80);
        }
    }

    #[test]
    fn a_log_has_no_bar() {
        assert_eq!(Progress::reading(5, 10, 700).to_string(), "reading: 50 %, 700 rows");
    }
}
