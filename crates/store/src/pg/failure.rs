use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as DieselError};

use super::connect::Connection;
use super::tables::Catalog;
use crate::Error;
use crate::error::InContext;

/// Why a statement failed
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The connection ended; the statement may have been executed or not
    Lost,
    /// The server does not accept writes: a standby, or a primary that was made read-only
    ReadOnly,
    /// The tables have changed since the connection read them; the statement did nothing
    TablesChanged,
    /// The statement timeout passed: the database is slow, or a table is locked
    TooSlow,
    /// The server refused the statement, which did nothing; the cause may lie in the statement or
    /// in another, as with a deadlock while the tables are changed
    Refused,
    /// The statement itself is at fault
    Statement,
}

impl Failure {
    /// Finds out why a statement failed after it `took` that long
    ///
    /// The last message on a connection that the server ends looks like the failure of a
    /// statement, and so does that of a missing column; both are in the language of the server.
    /// Therefore the catalog is read on the same connection. If that fails the connection is
    /// broken, and if the catalog differs the tables have changed. Which refusals are temporary
    /// is not known, as diesel passes on few error codes.
    pub(super) async fn of(connection: &Connection, error: &DieselError, took: Duration) -> Self {
        match error {
            // The watchdog closed it, as a pooler keeps the timeout from the server.
            _ if connection.is_overdue() => return Self::TooSlow,
            DieselError::DatabaseError(
                DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand,
                _,
            ) => return Self::Lost,
            DieselError::DatabaseError(DatabaseErrorKind::ReadOnlyTransaction, _) => {
                return Self::ReadOnly;
            }
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

    /// The error for a caller that does not try again
    pub(super) fn error(self, error: DieselError) -> Error {
        match self {
            Self::Lost => Error::unavailable(error),
            Self::ReadOnly => unavailable("the database accepts no writes", error),
            Self::TablesChanged => unavailable("the tables are being changed", error),
            Self::TooSlow => unavailable("the database gave up", error),
            Self::Refused | Self::Statement => error.into(),
        }
    }
}

fn unavailable(context: &str, source: DieselError) -> Error {
    Error::unavailable(InContext { context: context.to_owned(), source })
}
