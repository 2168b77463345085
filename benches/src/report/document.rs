use std::fmt::Write as _;

use super::Report;
use crate::{Finding, Row, Suite, suites};

/// `docs/performance.md` with the figures of a report
///
/// The prose is that of a template, in which a line `{{rows ID}}` stands for the command and the
/// table of a suite, and `{{machine}}` for where the figures come from. A row that was not measured
/// has a dash.
///
/// # Errors
///
/// Fails if the template does not name each suite once.
pub fn document(report: &Report) -> Result<String, String> {
    let mut missing: Vec<&Suite> = suites::ALL.to_vec();
    let mut text = String::new();
    for line in TEMPLATE.lines() {
        let place = line.strip_prefix("{{").and_then(|line| line.strip_suffix("}}"));
        match place.map(|place| place.strip_prefix("rows ").ok_or(place)) {
            None => text += line,
            Some(Err("machine")) => text += &wrapped(&format!("{}.", report.machine)),
            Some(Err(place)) => return Err(format!("the template has an unknown `{place}`")),
            Some(Ok(id)) => {
                let place = missing.iter().position(|suite| suite.id == id);
                let place = place.ok_or_else(|| format!("`{id}` is not a suite, or is twice"))?;
                text += &section(missing.remove(place), report);
            }
        }
        text += "\n";
    }
    match missing.first() {
        Some(suite) => Err(format!("the template lacks `{{{{rows {}}}}}`", suite.id)),
        None => Ok(text),
    }
}

/// The command and the table of a suite
fn section(suite: &Suite, report: &Report) -> String {
    let mut text = format!("```console\n{}\n```\n\n{HEAD}", suite.command());
    let mut notes = Vec::new();
    for row in suite.rows {
        let is_row = |found: &&Finding| found.suite == suite.id && found.name == row.name;
        let found = report.rows.iter().find(is_row);
        let _ = write!(text, "\n{}", table_row(row, found));
        notes.extend(found.and_then(|found| Some((row.name, found.note.as_deref()?))));
    }
    // Rows of one suite often have the same note.
    notes.dedup_by(|next, last| next.1 == last.1);
    if !notes.is_empty() {
        text += "\n";
    }
    for (name, note) in notes {
        let _ = write!(text, "\n{NOTE}{name}”: {note}.");
    }
    text
}

fn table_row(row: &Row, found: Option<&Finding>) -> String {
    let floor_is = if row.floor.is_empty() { "" } else { row.floor };
    let goal = row.goal_text();
    let Some(found) = found else {
        return format!("| {} | {floor_is} | - | - | - | {goal} |", row.name);
    };
    let floor = found.floor.map(|figure| found.unit.show(figure)).unwrap_or_default();
    let ours = found.unit.show(found.ours);
    let missed = if found.met == Some(false) { ", **missed**" } else { "" };
    let judged = found.judged();
    format!("| {} | {floor_is} | {floor} | {ours} | {judged} | {goal}{missed} |", row.name)
}

/// The text in lines of at most 100 characters
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// A document with an empty cell for each figure, without notes and without the machine, to compare
/// what is left
#[must_use]
pub fn without_figures(document: &str) -> String {
    let mut text = String::new();
    let mut is_skipped = false;
    for line in document.lines() {
        let cells: Vec<&str> = line.split(" | ").collect();
        if let [name, floor, _, _, _, goal] = cells[..]
            && !line.starts_with("| what |")
        {
            let goal = goal.replace(", **missed**", "");
            let _ = writeln!(text, "{name} | {floor} | | | | {goal}");
            continue;
        }
        // The machine begins with a day. Both end with an empty line.
        let is_day = line.len() > 11 && line.is_char_boundary(10) && is_date(&line[..10]);
        is_skipped = line.starts_with(NOTE) || is_day || is_skipped && !line.is_empty();
        // What is skipped leaves its empty lines.
        let is_second_empty = line.is_empty() && text.ends_with("\n\n");
        if !is_skipped && !is_second_empty {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

fn is_date(text: &str) -> bool {
    text.bytes().enumerate().all(|(n, byte)| match n {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    })
}

const TEMPLATE: &str = include_str!("performance.md");
const HEAD: &str = "| what | floor | floor takes | ours | ratio | goal |
| --- | --- | --- | --- | --- | --- |";
/// How a note under a table begins
const NOTE: &str = "- “";
/// In characters
const WIDTH: usize = 100;
