use std::fmt;

use serde::Serialize;

use super::generation::Generation;

/// A right to a table or to some of its columns
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pg) struct Need {
    pub(in crate::pg) right: Right,
    pub(in crate::pg) table: &'static str,
    /// Separated by spaces; empty for [`Right::Delete`], which is a right to whole rows
    pub(super) columns: &'static str,
    pub(super) since: Generation,
    pub(super) until: Option<Generation>,
}

/// A right to a table, as a statement needs it
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Right {
    /// To read columns
    Select,
    /// To add rows, and to set columns of them
    Insert,
    /// To change columns; locking a row needs the right to change one of its columns
    Update,
    /// To delete rows
    Delete,
}

impl Need {
    pub(in crate::pg) const fn select(table: &'static str, columns: &'static str) -> Self {
        Self::of(Right::Select, table, columns)
    }

    pub(in crate::pg) const fn insert(table: &'static str, columns: &'static str) -> Self {
        Self::of(Right::Insert, table, columns)
    }

    pub(in crate::pg) const fn update(table: &'static str, columns: &'static str) -> Self {
        Self::of(Right::Update, table, columns)
    }

    pub(in crate::pg) const fn delete(table: &'static str) -> Self {
        Self::of(Right::Delete, table, "")
    }

    const fn of(right: Right, table: &'static str, columns: &'static str) -> Self {
        Self { right, table, columns, since: Generation::V2_20, until: None }
    }

    pub(in crate::pg) const fn since(mut self, generation: Generation) -> Self {
        self.since = generation;
        self
    }

    pub(in crate::pg) const fn until(mut self, generation: Generation) -> Self {
        self.until = Some(generation);
        self
    }

    /// Whether authd creates the table for itself
    pub(super) fn is_of_own_table(&self) -> bool {
        self.table.starts_with("authd_")
    }

    pub(in crate::pg) fn columns(self) -> impl Iterator<Item = &'static str> {
        self.columns.split_whitespace()
    }
}

/// The needs that exist in `generation`
pub(super) fn of_generation(needs: &[Need], generation: Generation) -> Vec<Need> {
    let is_there = |need: &&Need| {
        need.since <= generation && need.until.is_none_or(|until| generation < until)
    };
    needs.iter().filter(is_there).copied().collect()
}

impl Right {
    /// The name of the right in SQL
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
