use crate::Finding;

/// The head of the table of one suite
#[must_use]
pub fn head(title: &str) -> String {
    format!(
        "\n{title}\n{:46} {:>10} {:>10}  {:24} {:>7} {:>6}  goal",
        "", "floor", "ours", "ratio or range", "stmts", "allocs"
    )
}

/// One row of the table
#[must_use]
pub fn line(row: &Finding) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut line = format!(
        "{:46} {:>10} {:>10}  {:24} {:>7} {:>6}  {}: {}",
        row.name,
        or_dash(row.floor.map(|figure| row.unit.show(figure))),
        row.unit.show(row.ours),
        row.judged(),
        or_dash(row.statements.map(|count| format!("{count:.2}"))),
        or_dash(row.allocations.map(|count| format!("{count:.1}"))),
        row.goal,
        row.verdict(),
    );
    if let Some(note) = &row.note {
        line += &format!("\n    ({note})");
    }
    line
}
