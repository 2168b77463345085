use std::fmt;

use crate::{Case, Finding, Goal, Setting, Unit};

/// Comparisons of one kind, which share their preparations
pub struct Suite {
    /// The name by which the report selects it
    pub id: &'static str,
    /// What it is about
    pub title: &'static str,
    /// The feature of this package without which it is left out
    pub feature: Option<&'static str>,
    /// The rows, in the order of the cases
    pub rows: &'static [Row],
    /// Prepares the cases of all rows; empty if they cannot be measured in this build
    pub prepare: fn(&Setting) -> Vec<Case>,
}

/// One row of the report, as far as it is known before anything is measured
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What is measured
    pub name: &'static str,
    /// What it is compared with; empty if with a limit alone
    pub floor: &'static str,
    /// The unit of the figures
    pub unit: Unit,
    /// What must be reached
    pub goal: Goal,
}

impl Row {
    /// A row of times whose goal is a ratio
    #[must_use]
    pub const fn new(name: &'static str, floor: &'static str, goal: Goal) -> Self {
        Self { name, floor, unit: Unit::Nanoseconds, goal }
    }

    /// A row whose goal is a limit
    #[must_use]
    pub const fn limit(name: &'static str, unit: Unit, goal: Goal) -> Self {
        Self { name, floor: "", unit, goal }
    }
}

impl Suite {
    /// The command that measures this suite alone
    #[must_use]
    pub fn command(&self) -> String {
        let feature = self.feature.map(|name| format!("--features {name} ")).unwrap_or_default();
        format!("cargo run --release -p authd-benches {feature}--bin report -- --only {}", self.id)
    }

    /// Measures all rows, and tells `found` of each as soon as it is known
    pub fn run(&self, setting: &Setting, found: &mut dyn FnMut(Finding)) {
        let cases = (self.prepare)(setting);
        assert!(cases.is_empty() || cases.len() == self.rows.len(), "{self:?}");
        for (row, mut case) in self.rows.iter().zip(cases) {
            let mut measured = case.measure(setting);
            let is_row = |other: &&Finding| other.suite == self.id && other.name == row.name;
            let counted = setting.counted.iter().find(is_row);
            measured.allocations =
                measured.allocations.or_else(|| counted.and_then(|row| row.allocations));
            found(Finding::of(self, row, measured, setting.effort));
        }
    }
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("id", &self.id).field("rows", &self.rows).finish()
    }
}
