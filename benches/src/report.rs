use std::fmt;

use crate::Result;

/// A table of comparisons and their goals
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: String,
    result: Result,
    goal: Goal,
}

#[derive(Debug)]
enum Goal {
    /// Ours is at least this many times as fast
    Faster(f64),
    /// Ours takes at most this many times as long
    AtMost(f64),
}

impl Report {
    /// Adds a comparison in which ours should be at least `times` as fast
    pub fn faster(&mut self, name: impl Into<String>, result: Result, times: f64) {
        self.rows.push(Row { name: name.into(), result, goal: Goal::Faster(times) });
    }

    /// Adds a comparison with a floor, of whose time ours should take at most `times`
    pub fn at_most(&mut self, name: impl Into<String>, result: Result, times: f64) {
        self.rows.push(Row { name: name.into(), result, goal: Goal::AtMost(times) });
    }
}

impl Row {
    fn ratios(&self) -> (f64, f64) {
        let Result { floor, ours, median_ratio } = self.result;
        match self.goal {
            Goal::Faster(_) => (floor / ours, median_ratio),
            Goal::AtMost(_) => (ours / floor, 1.0 / median_ratio),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        writeln!(
            f,
            "{:name$}  {:>10}  {:>10}  {:>7}  {:>7}  goal",
            "", "floor", "ours", "ratio", "median"
        )?;
        for row in &self.rows {
            let (ratio, median) = row.ratios();
            let (sign, goal, met) = match row.goal {
                Goal::Faster(goal) => ('≥', goal, ratio >= goal),
                Goal::AtMost(goal) => ('≤', goal, ratio <= goal),
            };
            let goal = format!("{goal:.2}");
            let goal = goal.trim_end_matches('0').trim_end_matches('.');
            writeln!(
                f,
                "{:name$}  {:>10}  {:>10}  {ratio:>6.2}×  {median:>6.2}×  {sign} {goal}×  {}",
                row.name,
                time(row.result.floor),
                time(row.result.ours),
                if met { "met" } else { "missed" },
            )?;
        }
        Ok(())
    }
}

fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
        ns => format!("{:.2} ms", ns / 1e6),
    }
}
