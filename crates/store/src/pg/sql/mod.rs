//! Statements that are written by hand, each whole in a file of this folder
//!
//! A file begins with comments: the question it answers, its parameters, what it returns, and
//! why it is written as it is. Parameters stand as `$1`, `$2` and so on, and are first used in
//! this order.
//!
//! Marks at the end of a line say when the line is part of the statement. Several marks must
//! all hold. A line of marks that ends in `{` does the same for the lines up to `--}`.
//!
//! | mark | the line is there |
//! | --- | --- |
//! | `--since v2.26` | from this generation of the tables on |
//! | `--until v2.26` | before this generation |
//! | `--if careful` | in the variant `careful` of the statement |
//! | `--unless careful` | in all other variants |
//!
//! The line `--guard` becomes a condition that fails, with an error, once the tables have a
//! column of a later generation that the statement depends on. Without it a connection would
//! go on to answer from the columns it knows: an agent would still sign in after the control
//! plane has learned to mark agents as deleted.
//!
//! All marks are comments of SQL, so CONTRIBUTING.md needs one command to make the text for
//! `psql` out of a file.

use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::result::QueryResult;
use diesel::serialize::ToSql;
use diesel::sql_types::HasSqlType;

use super::tables::{Generation, Mark};

/// Declares a statement: what it binds, in the order of its parameters, and what it returns
///
/// Its field `sql` is its text. A statement is prepared once per connection: on one connection
/// the text is always the same, as it depends on the generation of the tables and on nothing
/// else. A statement `of several texts` is prepared once for each of them.
macro_rules! statement {
    (
        $(#[$attr:meta])*
        $vis:vis struct $name:ident<$life:lifetime> {
            $($field:ident: $type:ty as $sql_type:ty,)*
        } $(-> $columns:ty)?
    ) => {
        statement! {
            @declare
            $(#[$attr])*
            $vis struct $name<$life> { $($field: $type as $sql_type,)* } $(-> $columns)?
        }

        impl<$life> diesel::query_builder::QueryId for $name<$life> {
            type QueryId = $name<'static>;

            const HAS_STATIC_QUERY_ID: bool = true;
        }
    };
    (
        $(#[$attr:meta])*
        $vis:vis struct $name:ident<$life:lifetime> of several texts {
            $($field:ident: $type:ty as $sql_type:ty,)*
        } $(-> $columns:ty)?
    ) => {
        statement! {
            @declare
            $(#[$attr])*
            $vis struct $name<$life> { $($field: $type as $sql_type,)* } $(-> $columns)?
        }

        impl<$life> diesel::query_builder::QueryId for $name<$life> {
            type QueryId = ();

            const HAS_STATIC_QUERY_ID: bool = false;
        }
    };
    (
        @declare
        $(#[$attr:meta])*
        $vis:vis struct $name:ident<$life:lifetime> {
            $($field:ident: $type:ty as $sql_type:ty,)*
        } $(-> $columns:ty)?
    ) => {
        $(#[$attr])*
        $vis struct $name<$life> {
            $vis sql: &$life $crate::pg::sql::Sql,
            $($vis $field: $type,)*
        }

        impl<$life> diesel::query_builder::QueryFragment<diesel::pg::Pg> for $name<$life> {
            fn walk_ast<'b>(
                &'b self,
                out: diesel::query_builder::AstPass<'_, 'b, diesel::pg::Pg>,
            ) -> diesel::result::QueryResult<()> {
                let mut writer = self.sql.write_to(out);
                $(writer.bind::<$sql_type, _>(&self.$field)?;)*
                writer.end()
            }
        }

        $(impl<$life> diesel::query_builder::Query for $name<$life> {
            type SqlType = $columns;
        })?
    };
}

/// The text of a statement, cut where its parameters first stand
#[derive(Debug)]
pub(in crate::pg) struct Sql {
    pieces: Vec<String>,
}

impl Sql {
    /// A text that is the same for all tables
    pub(in crate::pg) fn plain(file: &str) -> Self {
        Self::plain_with(file, &[])
    }

    /// A text with these variants that is the same for all tables
    pub(in crate::pg) fn plain_with(file: &str, variants: &[&str]) -> Self {
        Self::new(file, Generation::NEWEST, variants)
    }

    /// The text of a file for one generation of the tables, with these variants
    pub(in crate::pg) fn new(file: &str, generation: Generation, variants: &[&str]) -> Self {
        let holds = |condition: &Condition<'_>| match *condition {
            Condition::Since(bound) => generation >= bound,
            Condition::Until(bound) => generation < bound,
            Condition::If(variant) => variants.contains(&variant),
            Condition::Unless(variant) => !variants.contains(&variant),
        };
        let mut text = String::with_capacity(file.len());
        let mut is_in_block = true;
        for line in file.lines() {
            let (sql, conditions) = split(line);
            match sql.trim_start() {
                BEGIN => is_in_block = conditions.iter().all(holds),
                END => is_in_block = true,
                GUARD => text.push_str(&guard(file, generation)),
                comment if comment.starts_with("--") => {}
                _ if is_in_block && conditions.iter().all(holds) => {
                    text.push_str(sql);
                    text.push('\n');
                }
                _ => {}
            }
        }
        Self { pieces: cut(text.trim_end()) }
    }

    /// Begins to write the text where diesel collects it, and its binds
    pub(in crate::pg) fn write_to<'a, 'b>(&'b self, out: AstPass<'a, 'b, Pg>) -> Writer<'a, 'b> {
        Writer { pieces: self.pieces.iter(), out }
    }
}

/// Writes a statement piece by piece
pub(in crate::pg) struct Writer<'a, 'b> {
    pieces: std::slice::Iter<'b, String>,
    out: AstPass<'a, 'b, Pg>,
}

impl<'b> Writer<'_, 'b> {
    /// Writes the text up to the next parameter, and binds that
    pub(in crate::pg) fn bind<T, U>(&mut self, value: &'b U) -> QueryResult<()>
    where
        Pg: HasSqlType<T>,
        U: ToSql<T, Pg>,
    {
        self.piece()?;
        self.out.push_bind_param::<T, U>(value)
    }

    /// Writes the text after the last parameter
    pub(in crate::pg) fn end(mut self) -> QueryResult<()> {
        self.piece()?;
        match self.pieces.next() {
            None => Ok(()),
            Some(_) => Err(mismatch()),
        }
    }

    fn piece(&mut self) -> QueryResult<()> {
        self.out.push_sql(self.pieces.next().ok_or_else(mismatch)?);
        Ok(())
    }
}

fn mismatch() -> diesel::result::Error {
    diesel::result::Error::QueryBuilderError(
        "a statement binds other parameters than it has".into(),
    )
}

/// When a line is part of a statement
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition<'a> {
    Since(Generation),
    Until(Generation),
    If(&'a str),
    Unless(&'a str),
}

impl<'a> Condition<'a> {
    fn parse(mark: &'a str) -> Option<Self> {
        let (word, bound) = mark.trim_end().split_once(' ')?;
        match word {
            "since" => Generation::of_release(bound).map(Self::Since),
            "until" => Generation::of_release(bound).map(Self::Until),
            "if" => Some(Self::If(bound)),
            "unless" => Some(Self::Unless(bound)),
            _ => None,
        }
    }

    fn generation(self) -> Option<Generation> {
        match self {
            Self::Since(bound) | Self::Until(bound) => Some(bound),
            Self::If(_) | Self::Unless(_) => None,
        }
    }
}

/// The SQL of a line, or [`BEGIN`], and the conditions that it is marked with
fn split(line: &str) -> (&str, Vec<Condition<'_>>) {
    let (mut sql, begins) = match line.strip_suffix(BEGIN) {
        Some(marks) if marks.starts_with("--") => (marks, true),
        _ => (line, false),
    };
    let mut conditions = Vec::new();
    while let Some((before, mark)) = sql.rsplit_once("--")
        && let Some(condition) = Condition::parse(mark)
    {
        conditions.push(condition);
        sql = before;
    }
    (if begins { BEGIN } else { sql.trim_end() }, conditions)
}

/// The condition that the tables have no mark of a later generation, if the file depends on any
///
/// It is evaluated once for a statement. Marks that the file does not mention count as well:
/// with them there, a column that it does mention may have come and gone again.
fn guard(file: &str, generation: Generation) -> String {
    let mut bounds = file.lines().flat_map(|line| split(line).1).filter_map(Condition::generation);
    if bounds.all(|bound| bound <= generation) {
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
            // A label may be left from before a downgrade, so it counts only beside its column.
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
    // The planner cannot foresee this division by zero, as a count is not constant.
    format!(
        "WHERE (SELECT 1 / (count(*) = 0)::integer FROM (\n{}) AS come) = 1\n",
        parts.join("    UNION ALL\n")
    )
}

/// Cuts a text where its parameters first stand
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

const BEGIN: &str = "{";
const END: &str = "--}";
const GUARD: &str = "--guard";

#[cfg(test)]
mod tests;
