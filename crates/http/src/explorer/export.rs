use std::sync::Arc;

use app_audit::{
    ACTS_CSV_HEAD, CSV_HEAD, Cursor, Page, act_csv_line, act_json_line, csv_line, json_line,
};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::OwnedSemaphorePermit;

use super::form::Selection;
use super::rows::Rows;
use crate::error::chain;
use crate::port_error::ErasedPortError;
use crate::ports::AnyLog;
use crate::request_facts::{RequestFacts, log_request};

/// The form of an export
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    /// Comma-separated values, for spreadsheets
    Csv,
    /// An object on each line, for programs
    JsonLines,
}

impl Format {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::JsonLines => "application/jsonl; charset=utf-8",
        }
    }

    /// As what a browser keeps it
    pub(crate) const fn disposition(self) -> &'static str {
        match self {
            Self::Csv => "attachment; filename=\"audit.csv\"",
            Self::JsonLines => "attachment; filename=\"audit.jsonl\"",
        }
    }

    const fn head(self, selection: &Selection) -> &'static str {
        match (self, selection) {
            (Self::Csv, Selection::Visits(_)) => CSV_HEAD,
            (Self::Csv, Selection::Acts(_)) => ACTS_CSV_HEAD,
            (Self::JsonLines, _) => "",
        }
    }

    fn write(self, rows: &Rows) -> Bytes {
        let mut text = String::with_capacity(rows.len() * 512);
        match (rows, self) {
            (Rows::Visits(rows), Self::Csv) => rows.iter().for_each(|row| csv_line(row, &mut text)),
            (Rows::Visits(rows), Self::JsonLines) => {
                rows.iter().for_each(|row| json_line(row, &mut text));
            }
            (Rows::Acts(rows), Self::Csv) => {
                rows.iter().for_each(|row| act_csv_line(row, &mut text));
            }
            (Rows::Acts(rows), Self::JsonLines) => {
                rows.iter().for_each(|row| act_json_line(row, &mut text));
            }
        }
        text.into()
    }
}

/// All that a form selects, a page at a time, as the client takes it
///
/// Only one page is in memory. The permit is kept until the end. If the store fails, so does the
/// stream, and the client can see that the file is not complete.
pub(crate) fn export(
    log: Arc<dyn AnyLog>,
    selection: Selection,
    format: Format,
    facts: RequestFacts,
    permit: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes, ErasedPortError>> + Send {
    let state = State { log, selection, format, next: Next::Head, facts, _permit: permit };
    unfold(state, |mut state| async move {
        let piece = state.piece().await?;
        Some((piece, state))
    })
}

struct State {
    log: Arc<dyn AnyLog>,
    selection: Selection,
    format: Format,
    next: Next,
    facts: RequestFacts,
    _permit: OwnedSemaphorePermit,
}

enum Next {
    Head,
    Page(Option<Cursor>),
    End,
}

impl State {
    async fn piece(&mut self) -> Option<Result<Bytes, ErasedPortError>> {
        let after = match self.next {
            Next::End => return None,
            Next::Head => {
                self.next = Next::Page(None);
                match self.format.head(&self.selection) {
                    "" => None,
                    head => return Some(Ok(Bytes::from_static(head.as_bytes()))),
                }
            }
            Next::Page(after) => after,
        };
        let page = Page::first(ROWS);
        let page = after.map_or(page, |after| page.after(after));
        match Rows::load(&*self.log, &self.selection, page).await {
            Ok(rows) => {
                let is_full = u32::try_from(rows.len()).is_ok_and(|rows| rows == ROWS);
                let last = rows.last().filter(|_| is_full);
                self.next = last.map_or(Next::End, |last| Next::Page(Some(last)));
                (rows.len() > 0).then(|| Ok(self.format.write(&rows)))
            }
            Err(error) => {
                let chain = chain(&error);
                log_request!(
                    error,
                    &self.facts,
                    error = chain,
                    "an export of the audit was cut off"
                );
                self.next = Next::End;
                Some(Err(error))
            }
        }
    }
}

/// Rows of a page, some half a megabyte
const ROWS: u32 = 500;
