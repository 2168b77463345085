use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::{Filter, Row};

/// Which rows of a log are new, for a reader that asks again and again
///
/// A row is written some time after the moment that it is about, so that rows of several servers do
/// not come in the order of their times. A reader therefore asks for the last minutes each time,
/// and this tells which rows it has not had.
#[derive(Clone, Debug)]
pub struct Tail {
    known: HashMap<Uuid, SystemTime>,
    /// Rows of before this existed already
    first: Option<SystemTime>,
    newest: Option<SystemTime>,
}

impl Tail {
    /// How late after its time a row may be written and still be found: the end of a session is
    /// written within about two minutes
    pub const LATE: Duration = Duration::from_secs(180);

    /// Begins with the newest rows of a log, the oldest of them first
    #[must_use]
    pub fn of(rows: &[Row]) -> Self {
        Self {
            known: rows.iter().map(|row| (row.id, row.time)).collect(),
            first: rows.first().map(|row| row.time),
            newest: rows.last().map(|row| row.time),
        }
    }

    /// Returns which rows to ask for, among those of `filter`
    #[must_use]
    pub fn filter(&self, filter: &Filter) -> Filter {
        Filter { from: filter.from.max(self.since()), ..filter.clone() }
    }

    /// Returns those of all rows that were [asked](Self::filter) for which are new, the oldest
    /// first
    #[must_use]
    pub fn fresh(&mut self, mut rows: Vec<Row>) -> Vec<Row> {
        rows.retain(|row| {
            !self.known.contains_key(&row.id) && self.first.is_none_or(|first| row.time >= first)
        });
        rows.sort_unstable_by_key(Row::cursor);
        self.known.extend(rows.iter().map(|row| (row.id, row.time)));
        self.newest = self.newest.max(rows.last().map(|row| row.time));
        let since = self.since();
        self.known.retain(|_, time| since.is_none_or(|since| *time >= since));
        rows
    }

    fn since(&self) -> Option<SystemTime> {
        self.newest?.checked_sub(Self::LATE)
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::Decision;

    fn row(id: u128, seconds: u64) -> Row {
        let time = UNIX_EPOCH + Duration::from_secs(1_795_219_200 + seconds);
        Row::new(Uuid::from_u128(id), time, Decision::Allow)
    }

    #[test]
    fn each_row_is_new_once() {
        let mut tail = Tail::of(&[row(1, 1000), row(2, 1001)]);
        let ids = |rows: Vec<Row>| rows.iter().map(|row| row.id.as_u128()).collect::<Vec<_>>();
        let asked = |tail: &Tail| tail.filter(&Filter::default()).from;
        assert_eq!(asked(&tail), Some(row(0, 821).time));
        // One of before the first existed already; one came late.
        let rows = vec![row(5, 1200), row(4, 1000), row(2, 1001), row(1, 1000), row(3, 999)];
        assert_eq!(ids(tail.fresh(rows)), [4, 5]);
        assert_eq!(asked(&tail), Some(row(0, 1020).time));
        assert_eq!(ids(tail.fresh(vec![row(5, 1200), row(6, 1020)])), [6]);
        assert_eq!(ids(tail.fresh(Vec::new())), []);
        assert_eq!(tail.known.len(), 2, "{tail:?}");

        // A narrower filter stays, and an empty log has no beginning.
        let late = Filter { from: Some(row(0, 1100).time), ..Filter::default() };
        assert_eq!(tail.filter(&late).from, late.from);
        let mut empty = Tail::of(&[]);
        assert_eq!(asked(&empty), None);
        assert_eq!(ids(empty.fresh(vec![row(2, 2), row(1, 1)])), [1, 2]);
        assert_eq!(ids(empty.fresh(vec![row(3, 0), row(2, 2), row(1, 1)])), [3]);
    }
}
