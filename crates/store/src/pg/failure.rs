use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use super::connect::Connection;
use super::tables::Catalog;
use crate::Error;
use crate::error::InContext;

/// What a statement failed of
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The connection ended, and the statement may have been carried out or not
    Lost,
    /// The tables are not what the connection took them for; the statement did nothing
    TablesChanged,
    /// The database gave up after the statement timeout: it is slow, or a table is locked
    TooSlow,
    /// The server refused the statement, which did nothing: for its own sake, or because of
    /// others, such as a deadlock with someone who changes the tables
    Refused,
    /// The statement itself
    Statement,
}

impl Failure {
    /// Finds out why a statement failed after it `took` that long
    ///
    /// The server's last word on a connection it ends looks like any statement's failure,
    /// and so does the loss of a column, and both come in the language of the server. So the
    /// connection is asked for the catalog: if it cannot say it is broken, and if it says
    /// something new the tables have changed. Which refusals will pass is not known, as diesel
    /// passes on the code of few errors.
    pub(super) async fn of(connection: &Connection, error: &DieselError, took: Duration) -> Self {
        match error {
            // Given up on this side, where a pooler keeps the server from doing so.
            _ if connection.is_overdue() => return Self::TooSlow,
            DieselError::DatabaseError(
                DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand,
                _,
            ) => return Self::Lost,
            DieselError::DatabaseError(..) | DieselError::QueryBuilderError(_) => {}
            _ => return Self::Statement,
        }
        match Catalog::read(&connection.inner).await {
            Err(_) => Self::Lost,
            Ok(catalog) if catalog != *connection.tables.catalog() => Self::TablesChanged,
            Ok(_) if took >= connection.statement_timeout => Self::TooSlow,
            Ok(_) => match error {
                DieselError::DatabaseError(
                    DatabaseErrorKind::SerializationFailure | DatabaseErrorKind::Unknown,
                    _,
                ) => Self::Refused,
                _ => Self::Statement,
            },
        }
    }

    /// What a caller gets who will not try again
    pub(super) fn error(self, error: DieselError) -> Error {
        match self {
            Self::Lost => Error::unavailable(error),
            Self::TablesChanged => unavailable("the tables are being changed", error),
            Self::TooSlow => unavailable("the database gave up", error),
            Self::Refused | Self::Statement => error.into(),
        }
    }
}

fn unavailable(context: &str, source: DieselError) -> Error {
    Error::unavailable(InContext { context: context.to_owned(), source })
}
