use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Effort, Row, Suite};

/// What a row must reach
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// The floor takes at least this many times as long as ours
    AtLeast(f64),
    /// Ours takes at most this many times as long as the floor
    AtMost(f64),
    /// Ours is below this, in the unit of the row
    Below(f64),
    /// Ours is below this, in the unit of the row, and allocates nothing
    BelowWithoutAllocation(f64),
}

impl Goal {
    /// The figure that is judged, of one round
    fn judged(self, floor: Option<f64>, ours: f64) -> f64 {
        match (self, floor) {
            (Self::AtLeast(_), Some(floor)) => floor / ours,
            (Self::AtMost(_), Some(floor)) => ours / floor,
            _ => ours,
        }
    }

    /// Whether the figure is a ratio of both sides
    const fn is_ratio(self) -> bool {
        matches!(self, Self::AtLeast(_) | Self::AtMost(_))
    }

    fn is_met(self, judged: f64, allocations: Option<f64>) -> bool {
        match self {
            Self::AtLeast(goal) => judged >= goal,
            Self::AtMost(goal) => judged <= goal,
            Self::Below(goal) => judged < goal,
            Self::BelowWithoutAllocation(goal) => {
                judged < goal && allocations.is_none_or(|count| count == 0.0)
            }
        }
    }

    /// The goal in words
    fn text(self, unit: Unit) -> String {
        match self {
            Self::AtLeast(goal) => format!("≥ {goal}"),
            Self::AtMost(goal) => format!("≤ {goal}"),
            Self::Below(goal) => format!("< {}", unit.goal(goal)),
            Self::BelowWithoutAllocation(goal) => {
                format!("< {}, without an allocation", unit.goal(goal))
            }
        }
    }
}

/// The unit of the figures of a row
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Of one operation
    Nanoseconds,
    /// Resident memory, in units of a million bytes
    Megabytes,
    /// How many times as long the same takes in a larger deployment
    Growth,
}

impl Unit {
    /// A figure with its unit, as tables show it
    #[must_use]
    pub fn show(self, figure: f64) -> String {
        match self {
            Self::Nanoseconds if figure < 1e3 => format!("{figure:.0} ns"),
            Self::Nanoseconds if figure < 1e6 => format!("{:.2} µs", figure / 1e3),
            Self::Nanoseconds => format!("{:.2} ms", figure / 1e6),
            Self::Megabytes => format!("{figure:.1} MB"),
            Self::Growth => format!("× {figure:.2}"),
        }
    }

    fn goal(self, goal: f64) -> String {
        match self {
            Self::Nanoseconds => format!("{goal} ns"),
            Self::Megabytes => format!("{goal} MB"),
            Self::Growth => format!("× {goal}"),
        }
    }
}

/// What was measured for one row
#[derive(Clone, Debug)]
pub struct Measurement {
    /// The figures of each round: those of the floor, if there is one, and ours
    pub rounds: Vec<(Option<f64>, f64)>,
    /// Our statements for one operation
    pub statements: Option<f64>,
    /// Our allocations for one operation
    pub allocations: Option<f64>,
    /// What a reader has to know about these figures
    pub note: Option<String>,
}

impl Measurement {
    /// Figures of rounds without a count of anything
    #[must_use]
    pub const fn of(rounds: Vec<(Option<f64>, f64)>) -> Self {
        Self { rounds, statements: None, allocations: None, note: None }
    }

    /// The same with a note
    #[must_use]
    pub fn with_note(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }
}

/// A figure over all rounds
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Range {
    /// In the round in which it was smallest
    pub min: f64,
    /// In the round in the middle
    pub median: f64,
    /// In the round in which it was largest
    pub max: f64,
}

impl Range {
    fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_unstable_by(f64::total_cmp);
        let at = |place: usize| figures.get(place).copied().unwrap_or(f64::NAN);
        let last = figures.len().saturating_sub(1);
        Self { min: at(0), median: at(figures.len() / 2), max: at(last) }
    }
}

/// A row of the report with its figures
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Finding {
    /// The suite of the row
    pub suite: String,
    /// What is measured
    pub name: String,
    /// What it is compared with; empty if with a limit alone
    pub floor_is: String,
    /// The unit of `floor` and `ours`
    pub unit: Unit,
    /// The median of the floor
    pub floor: Option<f64>,
    /// Our median
    pub ours: f64,
    /// The median over the rounds of the ratio that is judged; `None` if the goal is not a ratio
    pub ratio: Option<f64>,
    /// The figure that is judged, over all rounds
    pub spread: Range,
    /// The number of rounds
    pub rounds: usize,
    /// Our statements for one operation
    pub statements: Option<f64>,
    /// Our allocations for one operation
    pub allocations: Option<f64>,
    /// What must be reached
    pub goal: String,
    /// Whether it is; `None` if nothing is judged
    pub met: Option<bool>,
    /// What a reader has to know about these figures
    pub note: Option<String>,
}

impl Finding {
    /// Judges what was measured for a row
    #[must_use]
    pub fn of(suite: &Suite, row: &Row, measured: Measurement, effort: Effort) -> Self {
        let Measurement { rounds, statements, allocations, note } = measured;
        let goal = row.goal;
        let spread = Range::of(rounds.iter().map(|&(floor, ours)| goal.judged(floor, ours)));
        let floors: Vec<f64> = rounds.iter().filter_map(|(floor, _)| *floor).collect();
        Self {
            suite: suite.id.to_owned(),
            name: row.name.to_owned(),
            floor_is: row.floor.to_owned(),
            unit: row.unit,
            floor: (!floors.is_empty()).then(|| Range::of(floors.into_iter()).median),
            ours: Range::of(rounds.iter().map(|(_, ours)| *ours)).median,
            ratio: goal.is_ratio().then_some(spread.median),
            spread,
            rounds: rounds.len(),
            statements,
            allocations,
            goal: row.goal_text(),
            met: (effort != Effort::Check).then(|| goal.is_met(spread.median, allocations)),
            note,
        }
    }

    /// The judged figure and its range, as tables show them
    #[must_use]
    pub fn judged(&self) -> String {
        let Range { min, median, max } = self.spread;
        // A ratio that misses its goal by little would look as if it met it.
        let digits = if self.met == Some(false) { 3 } else { 2 };
        match self.ratio {
            Some(_) => format!("{median:.digits$} ({min:.2} to {max:.2})"),
            None => format!("({} to {})", self.unit.show(min), self.unit.show(max)),
        }
    }

    /// `met`, `missed`, or that it was not judged
    #[must_use]
    pub const fn verdict(&self) -> &'static str {
        match self.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "not judged",
        }
    }
}

impl Row {
    /// The goal in words
    #[must_use]
    pub fn goal_text(&self) -> String {
        self.goal.text(self.unit)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.median, self.min, self.max)
    }
}
