use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::explorer::{app_of, workspace_of};
use crate::{Decision, Row, UserId};

/// The room that a [`Table`] has
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Lines of any length: nothing is cut
    Unlimited,
    /// Lines of at most so many characters
    Columns(usize),
}

/// Formats rows as lines of a table for a terminal
///
/// Control characters, with which a visitor could change what a terminal does, are replaced. With
/// a limited width, texts are cut, and the columns that matter least are left out if the width
/// does not suffice for all.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<(Column, Option<usize>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Time,
    User,
    Address,
    Workspace,
    App,
    What,
    Status,
    Request,
}

impl Table {
    /// Makes a table that fits the width
    #[must_use]
    pub fn new(width: Width) -> Self {
        let Width::Columns(width) = width else {
            return Self { columns: Column::ALL.map(|column| (column, None)).to_vec() };
        };
        let mut columns: Vec<Column> =
            Column::ALL.into_iter().filter(|column| *column != Column::Request).collect();
        let least = |columns: &[Column]| {
            columns.iter().map(|column| column.least() + GAP.len()).sum::<usize>() - GAP.len()
        };
        for unimportant in [Column::Address, Column::Status, Column::Workspace] {
            if least(&columns) > width {
                columns.retain(|column| *column != unimportant);
            }
        }
        // The rest is divided as the columns want more.
        let free = width.saturating_sub(least(&columns));
        let wanted: usize = columns.iter().map(|column| column.most() - column.least()).sum();
        let columns = columns.into_iter().map(|column| {
            let wants = column.most() - column.least();
            let more = if wanted <= free { wants } else { free * wants / wanted };
            (column, Some(column.least() + more))
        });
        Self { columns: columns.collect() }
    }

    /// Returns the line with the names of the columns
    #[must_use]
    pub fn head(&self) -> String {
        self.line(|column| column.name().to_owned())
    }

    /// Returns the line of a row; a user without a name in `names` is shown by id
    #[must_use]
    pub fn row(&self, row: &Row, names: &HashMap<UserId, String>) -> String {
        self.line(|column| match column {
            Column::Time => {
                let time = DateTime::<Utc>::from(row.time);
                time.to_rfc3339_opts(SecondsFormat::Millis, true)
            }
            Column::User if row.user_id.is_nil() => String::new(),
            Column::User => match names.get(&UserId(row.user_id)) {
                Some(name) => name.clone(),
                None => row.user_id.to_string(),
            },
            Column::Address => row.ip.map(|ip| ip.to_string()).unwrap_or_default(),
            Column::Workspace => workspace_of(row).unwrap_or_default(),
            Column::App => app_of(row),
            Column::What => match row.decision {
                Decision::Allow => row.action.clone(),
                Decision::Deny => format!("{} denied: {}", row.action, row.reason),
            },
            Column::Status => row.status_code.to_string(),
            Column::Request => row.request_id.to_string(),
        })
    }

    fn line(&self, cell: impl Fn(Column) -> String) -> String {
        let mut line = String::new();
        for (n, (column, width)) in self.columns.iter().enumerate() {
            if n > 0 {
                line.push_str(GAP);
            }
            let text = printable(&cell(*column));
            let (width, text) = match width {
                Some(width) => (*width, cut(text, *width)),
                None => (column.most(), text),
            };
            let length = text.chars().count();
            line.push_str(if text.is_empty() { "-" } else { &text });
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(length.max(1))));
        }
        line.truncate(line.trim_end().len());
        line
    }
}

impl Column {
    const ALL: [Self; 8] = [
        Self::Time,
        Self::User,
        Self::Address,
        Self::Workspace,
        Self::App,
        Self::What,
        Self::Status,
        Self::Request,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Time => "TIME",
            Self::User => "USER",
            Self::Address => "ADDRESS",
            Self::Workspace => "WORKSPACE",
            Self::App => "APP",
            Self::What => "WHAT",
            Self::Status => "STATUS",
            Self::Request => "REQUEST",
        }
    }

    /// The width below which the column is of no use
    const fn least(self) -> usize {
        match self {
            Self::Time => 24,
            Self::User => 8,
            Self::Address => 15,
            Self::Workspace => 12,
            Self::App => 6,
            Self::What => 16,
            Self::Status => 6,
            Self::Request => 36,
        }
    }

    /// The width beyond which few texts of the column go
    const fn most(self) -> usize {
        match self {
            Self::Time => 24,
            Self::User | Self::App => 20,
            Self::Address => 15,
            Self::Workspace | Self::What => 32,
            Self::Status => 6,
            Self::Request => 36,
        }
    }
}

/// Replaces characters with which a visitor could change how other text is shown: control
/// characters, and those that change the direction of text (Unicode Standard Annex 9, section 2)
#[must_use]
pub fn printable(text: &str) -> String {
    let is_misleading =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if is_misleading(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn cut(text: String, width: usize) -> String {
    if text.chars().count() <= width {
        return text;
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

const GAP: &str = "  ";
