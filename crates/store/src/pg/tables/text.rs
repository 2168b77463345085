use diesel::pg::Pg;
use diesel::query_builder::AstPass;

use super::generation::{Generation, Mark};

/// A statement for one generation of the tables, cut where its parameters stand
#[derive(Debug)]
pub(super) struct Text {
    pieces: Vec<String>,
}

impl Text {
    /// Adapts `template` to `generation`
    ///
    /// A line that ends in `--since v2.26` is kept from that generation on, and one that ends
    /// in `--until v2.26` before it. The line `--guard` becomes a condition that fails, with
    /// an error, once a column is there that a dropped `--since` line would have read.
    /// Parameters stand as `$1`, `$2` and so on, each once and in this order.
    pub(super) fn new(template: &str, generation: Generation) -> Self {
        let mut text = String::with_capacity(template.len());
        for line in template.lines() {
            if line.trim() == GUARD {
                text.push_str(&guard(template, generation));
                continue;
            }
            let Some((sql, since, bound)) = marked(line) else {
                text.push_str(line);
                text.push('\n');
                continue;
            };
            if (generation >= bound) == since {
                text.push_str(sql.trim_end());
                text.push('\n');
            }
        }
        Self { pieces: cut(text.trim_end()) }
    }

    pub(super) fn pieces(&self) -> &[String] {
        &self.pieces
    }
}

/// Pushes the next piece of a text
pub(in crate::pg) fn push(out: &mut AstPass<'_, '_, Pg>, text: &mut std::slice::Iter<'_, String>) {
    if let Some(piece) = text.next() {
        out.push_sql(piece);
    }
}

/// The generations that lines of `template` are bound to
fn bounds(template: &str) -> impl Iterator<Item = Generation> {
    template.lines().filter_map(|line| marked(line).map(|(_, _, bound)| bound))
}

/// The SQL of a line that is bound to a generation, whether since or until it, and which
fn marked(line: &str) -> Option<(&str, bool, Generation)> {
    let (sql, mark) = line.rsplit_once("--")?;
    let (word, release) = mark.trim().split_once(' ')?;
    let since = match word {
        "since" => true,
        "until" => false,
        _ => return None,
    };
    Some((sql, since, Generation::of_release(release.trim())?))
}

/// The condition that no mark of a later generation is there, if `template` depends on any
///
/// It is evaluated once for a statement. Without this a connection would go on to answer
/// from the columns it knows: an agent would still sign in after the control plane has
/// learned to mark agents as deleted. Marks that the template does not mention count as
/// well: with them there, a column that it does mention may have come and gone again.
fn guard(template: &str, generation: Generation) -> String {
    if bounds(template).all(|bound| bound <= generation) {
        return String::new();
    }
    let (earlier, later): (Vec<_>, Vec<_>) =
        Generation::ALL.into_iter().partition(|other| *other <= generation);
    let is_known = |mark: &Mark| earlier.iter().any(|known| known.marks().contains(mark));
    let marks = later.into_iter().flat_map(Generation::marks).filter(|mark| !is_known(mark));
    let mut columns = Vec::new();
    let mut labels = Vec::new();
    for mark in marks {
        match *mark {
            Mark::Column { table, column } => columns.push(format!("('{table}', '{column}')")),
            // A label may be left from before a downgrade: it counts beside its column alone.
            Mark::Label { kind, label } if generation >= Generation::V2_27 => {
                labels.push(format!("('{kind}', '{label}')"));
            }
            Mark::Label { .. } => {}
        }
    }
    let columns = (!columns.is_empty()).then(|| {
        format!(
            "    SELECT FROM (VALUES {}) AS later (name, part)
    JOIN pg_attribute a ON a.attrelid = to_regclass(later.name)
        AND a.attname = later.part::name AND NOT a.attisdropped\n",
            columns.join(", ")
        )
    });
    let labels = (!labels.is_empty()).then(|| {
        format!(
            "    SELECT FROM (VALUES {}) AS later (name, part)
    JOIN pg_enum e ON e.enumtypid = to_regtype(later.name) AND e.enumlabel = later.part::name\n",
            labels.join(", ")
        )
    });
    let parts: Vec<String> = columns.into_iter().chain(labels).collect();
    // A division by zero is an error that no planner can foresee, as a count is not constant.
    format!(
        "WHERE (SELECT 1 / (count(*) = 0)::integer FROM (\n{}) AS come) = 1\n",
        parts.join("    UNION ALL\n")
    )
}

/// Cuts a text at its parameters
fn cut(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    for number in 1.. {
        let Some((before, after)) = rest.split_once(&format!("${number}")) else { break };
        pieces.push(before.to_owned());
        rest = after;
    }
    pieces.push(rest.to_owned());
    pieces
}

const GUARD: &str = "--guard";

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "\
SELECT id,
       deleted  --since v2.24
       false  --until v2.24
FROM workspace_agents
WHERE id = $1 AND name = $2  -- a comment of its own
  AND parent_id IS NULL  --since v2.22
";

    fn text(generation: Generation) -> String {
        Text::new(TEMPLATE, generation).pieces.join("?")
    }

    #[test]
    fn lines_follow_the_generation() {
        let newest = text(Generation::NEWEST);
        assert!(newest.contains("deleted\n") && !newest.contains("false"), "{newest}");
        assert!(newest.contains("id = ? AND name = ?  -- a comment of its own\n"), "{newest}");
        assert!(newest.ends_with("AND parent_id IS NULL"), "{newest}");
        let oldest = text(Generation::V2_20);
        assert!(oldest.contains("false\n") && !oldest.contains("deleted"), "{oldest}");
        assert!(!oldest.contains("parent_id"), "{oldest}");
        assert!(text(Generation::V2_22).contains("parent_id"));
    }

    #[test]
    fn a_guard_names_what_may_come() {
        let template = format!("{TEMPLATE}--guard\n");
        let guard = |generation| Text::new(&template, generation).pieces.concat();
        assert!(!guard(Generation::NEWEST).contains("WHERE (SELECT"));
        let oldest = guard(Generation::V2_20);
        assert!(
            oldest.contains("('workspace_agents', 'parent_id'), ('workspace_agents', 'deleted')")
        );
        let newer = guard(Generation::V2_22);
        assert!(!newer.contains("'parent_id'") && newer.contains("'deleted'"), "{newer}");
    }
}
