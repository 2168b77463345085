use app_audit::{ActRow, Cursor, Listed, Page};

use super::form::Selection;
use crate::port_error::ErasedPortError;
use crate::ports::AnyLog;

/// A page of what a form selects, the newest first
#[derive(Debug)]
pub(crate) enum Rows {
    Visits(Vec<Listed>),
    Acts(Vec<ActRow>),
}

impl Rows {
    pub(crate) async fn load(
        log: &dyn AnyLog,
        selection: &Selection,
        page: Page,
    ) -> Result<Self, ErasedPortError> {
        match selection {
            Selection::Visits(filter) => log.explore(filter, page).await.map(Self::Visits),
            Selection::Acts(filter) => log.list_acts(filter, page).await.map(Self::Acts),
        }
    }

    /// Leaves so many rows; returns where the next page begins, if there are more
    pub(crate) fn cut(&mut self, rows: u32) -> Option<Cursor> {
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        let is_full = self.len() > rows;
        match self {
            Self::Visits(visits) => visits.truncate(rows),
            Self::Acts(acts) => acts.truncate(rows),
        }
        self.last().filter(|_| is_full)
    }

    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Visits(visits) => visits.len(),
            Self::Acts(acts) => acts.len(),
        }
    }

    pub(super) fn last(&self) -> Option<Cursor> {
        match self {
            Self::Visits(visits) => visits.last().map(|visit| visit.row.cursor()),
            Self::Acts(acts) => acts.last().map(ActRow::cursor),
        }
    }
}
