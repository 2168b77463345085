use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use thiserror::Error;

/// Why a store could not answer or be prepared
///
/// Neither `Display` nor `Debug` prints the password of a database URL, or a value that was bound
/// to a statement. `Display` includes the text of the source, so logs need not repeat it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The tables belong to a control plane, and only that may change such rows
    #[error(
        "these tables are a control plane's, and this would change {changes}; \
         `--into-control-plane` lets authd do that"
    )]
    ControlPlane {
        /// The rows that would be changed, by table
        changes: String,
    },
    /// A table of a control plane exists that no migration of authd created
    #[error(
        "the database has a table `{table}` that authd did not create; \
         beside a control plane, use `authd migrate --owned-only`"
    )]
    ForeignTables {
        /// One such table
        table: &'static str,
    },
    /// One of the keys with which the control plane encrypts is not usable
    #[error("encryption key {number} of {of} {problem}")]
    InvalidEncryptionKey {
        /// The position of the key in the list, from 1
        number: usize,
        /// The number of keys in the list
        of: usize,
        /// What is wrong with the key, without any part of it
        problem: String,
    },
    /// A row has a value that is not known, and that may grant or deny something
    ///
    /// For example an unknown label, or permissions of a role that cannot be parsed.
    #[error("a row is not understood: {reason}")]
    InvalidRow {
        /// What is wrong with the row
        #[source]
        reason: Cause,
    },
    /// The database URL is invalid
    #[error("the database URL is not understood: {reason}")]
    InvalidUrl {
        /// The parameter that is wrong and what was expected, without secrets
        reason: String,
    },
    /// A migration failed; those after it were not applied
    #[error("migrating the database failed: {reason}")]
    Migration {
        /// The error of the database
        #[source]
        reason: Cause,
    },
    /// The control plane encrypts with a key that authd does not have
    #[error(
        "the control plane encrypts its keys (`crypto_keys`); the key with digest `{digest}` is \
         not among --external-token-encryption-keys"
    )]
    MissingEncryptionKey {
        /// The digest under which the control plane lists the key
        digest: String,
    },
    /// The system's random number generator failed
    #[error("the system has no random bytes")]
    NoRandomness,
    /// authd cannot work through the pooler in front of the database
    #[error("the pooler before the database cannot be used: {reason}")]
    Pooler {
        /// What the pooler lacks
        reason: String,
    },
    /// The tables of users, workspaces and agents are authd's own
    #[error("authd stands alone in this database; there is no control plane to leave")]
    NoControlPlane,
    /// The database answered with an error
    #[error("the database refused a statement: {reason}")]
    Query {
        /// The error of the database
        #[source]
        reason: Cause,
    },
    /// The control plane's tables do not have a known shape, or one of authd's is missing
    ///
    /// They may be too old, newer than this release of authd, or in the middle of an upgrade.
    /// The same call may succeed once an upgrade or a migration has ended.
    #[cfg(feature = "postgres")]
    #[error("the tables of {owner} do not fit: {0}", owner = .0.owner())]
    Tables(Unfit),
    /// Two rows of an import have the same key
    #[error("an import has two rows of {table} with the key {key}")]
    RepeatedRow {
        /// The table
        table: &'static str,
        /// The values of the key
        key: String,
        /// The number of the entry that the later row is from
        entry: u32,
    },
    /// TLS cannot be set up as the URL demands
    #[error("TLS to the database is not usable: {reason}")]
    Tls {
        /// What is missing or not usable on this side
        #[source]
        reason: Cause,
    },
    /// The database cannot be reached, or did not answer in time
    ///
    /// The same call may succeed later.
    #[error("the database is unavailable: {reason}")]
    Unavailable {
        /// What was tried, and why it failed
        #[source]
        reason: Cause,
    },
}

/// The error that made an operation fail, or a description of the fault
///
/// Two causes are equal if their texts are.
#[derive(Clone)]
pub struct Cause(Arc<dyn StdError + Send + Sync>);

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for Cause {
    fn from(error: E) -> Self {
        Self(Arc::from(error.into()))
    }
}

impl Deref for Cause {
    type Target = dyn StdError + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The text alone: the `Debug` of a driver's error may print rows
impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

impl PartialEq for Cause {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Cause {}

/// An error with its context, such as the file that could not be read
#[cfg(feature = "postgres")]
#[derive(Debug, Error)]
#[error("{context}: {source}")]
pub(crate) struct InContext<E: StdError + 'static> {
    pub(crate) context: String,
    pub(crate) source: E,
}

/// Attempts to open a session that failed
///
/// Its text includes those of the sources.
#[cfg(feature = "postgres")]
#[derive(Debug)]
pub(crate) struct Failed {
    text: String,
    /// The error of the last attempt that has one
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[cfg(feature = "postgres")]
impl Failed {
    pub(crate) fn of(error: Box<dyn StdError + Send + Sync>) -> Self {
        let mut text = error.to_string();
        for cause in chain(&*error).skip(1) {
            let more = cause.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
        }
        Self { text, source: Some(error) }
    }

    /// Several attempts, each with its place
    pub(crate) fn all(attempts: Vec<(String, Self)>) -> Self {
        let texts = attempts.iter().map(|(place, failed)| format!("{place}: {}", failed.text));
        let text = texts.collect::<Vec<_>>().join("; ");
        Self { text, source: attempts.into_iter().rev().find_map(|(_, failed)| failed.source) }
    }

    pub(crate) fn within(self, context: &str) -> Self {
        Self { text: format!("{context}: {}", self.text), ..self }
    }
}

#[cfg(feature = "postgres")]
impl From<String> for Failed {
    fn from(text: String) -> Self {
        Self { text, source: None }
    }
}

#[cfg(feature = "postgres")]
impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(feature = "postgres")]
impl StdError for Failed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|error| -> &(dyn StdError + 'static) { error })
    }
}

/// The server's answer in an error, or in one of its sources
#[cfg(feature = "postgres")]
pub(crate) fn database_error<'a>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a tokio_postgres::error::DbError> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// An error and its sources, the outermost first
#[cfg(feature = "postgres")]
fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// What the tables lack for a statement
#[cfg(feature = "postgres")]
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{question} needs {missing}; {hint}", hint = self.hint())]
#[non_exhaustive]
pub struct Unfit {
    /// The purpose of the statement, in words
    pub question: &'static str,
    /// The table or column that is missing
    pub missing: String,
    /// The generation that the tables have otherwise
    pub generation: crate::Generation,
}

#[cfg(feature = "postgres")]
impl Unfit {
    /// Whether authd's own migrations create what is missing
    fn is_own(&self) -> bool {
        self.missing.split([' ', '.']).any(|word| word.starts_with("authd_"))
    }

    fn owner(&self) -> &'static str {
        if self.is_own() { "authd" } else { "the control plane" }
    }

    fn hint(&self) -> String {
        match self.is_own() {
            true => "the migrations of authd create it".to_owned(),
            false => format!("the tables are otherwise those of {}", self.generation),
        }
    }
}

impl Error {
    /// Whether the same call may succeed later without a change on this side
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        match self {
            #[cfg(feature = "postgres")]
            Self::Tables(_) => true,
            Self::Unavailable { .. } => true,
            _ => false,
        }
    }

    /// Returns what the tables lack, of the control plane or of authd; `None` for any error other
    /// than `Error::Tables`
    #[must_use]
    pub fn unfit(&self) -> Option<String> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Tables(unfit) => Some(unfit.to_string()),
            _ => None,
        }
    }

    /// Returns the SQLSTATE of PostgreSQL's answer, such as `23505`, as far as it is known
    ///
    /// | answer | code |
    /// | --- | --- |
    /// | a connection is refused | known |
    /// | a constraint is violated (class 23) | known |
    /// | the transaction is read-only (`25006`), or cannot be serialized (`40001`) | known |
    /// | any other error of a statement, such as `42501` or `57014` | `None` |
    /// | an error that is not an answer of the server | `None` |
    ///
    /// The reason for `None` is in diesel 2.3 and diesel-async 0.9. They turn the driver's error
    /// into a `DatabaseErrorInformation`, which has the message, the detail and the hint, but not the
    /// code. The type behind it is private and not `Any`, an `Instrumentation` sees the same error,
    /// and a connection does not lend the driver's client. The message is in the language of the
    /// server, so it does not stand for a code. Do not wait for one to find out whether a call
    /// may succeed later: [`is_unavailable`](Self::is_unavailable) knows timeouts, lost connections
    /// and standbys.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        if let Some(answer) = database_error(self) {
            return Some(answer.code().code());
        }
        chain(self).find_map(|error| match error.downcast_ref()? {
            diesel::result::Error::DatabaseError(kind, _) => code_of(kind),
            _ => None,
        })
    }

    pub(crate) fn invalid_row(reason: impl Into<Cause>) -> Self {
        Self::InvalidRow { reason: reason.into() }
    }

    pub(crate) fn query(reason: impl Into<Cause>) -> Self {
        Self::Query { reason: reason.into() }
    }
}

#[cfg(feature = "postgres")]
impl Error {
    pub(crate) fn unavailable(reason: impl Into<Cause>) -> Self {
        Self::Unavailable { reason: reason.into() }
    }

    pub(crate) fn migration(reason: impl Into<Cause>) -> Self {
        Self::Migration { reason: reason.into() }
    }
}

/// The code that diesel has replaced with a kind (PostgreSQL, appendix A)
#[cfg(feature = "postgres")]
const fn code_of(kind: &diesel::result::DatabaseErrorKind) -> Option<&'static str> {
    use diesel::result::DatabaseErrorKind as Kind;

    match kind {
        Kind::UniqueViolation => Some("23505"),
        Kind::ForeignKeyViolation => Some("23503"),
        Kind::NotNullViolation => Some("23502"),
        Kind::CheckViolation => Some("23514"),
        Kind::RestrictViolation => Some("23001"),
        Kind::ExclusionViolation => Some("23P01"),
        Kind::SerializationFailure => Some("40001"),
        Kind::ReadOnlyTransaction => Some("25006"),
        _ => None,
    }
}

#[cfg(feature = "postgres")]
impl From<diesel::result::Error> for Error {
    /// A connection that ended or cannot write makes the database unavailable; any other failure
    /// is the statement's fault
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::DatabaseErrorKind::{
            ClosedConnection, ReadOnlyTransaction, UnableToSendCommand,
        };
        use diesel::result::Error::{DatabaseError, DeserializationError, QueryBuilderError};

        match error {
            DatabaseError(ClosedConnection | UnableToSendCommand | ReadOnlyTransaction, _) => {
                Self::unavailable(error)
            }
            QueryBuilderError(error) => match error.downcast::<Unfit>() {
                Ok(unfit) => Self::Tables(*unfit),
                Err(error) => Self::query(QueryBuilderError(error)),
            },
            DeserializationError(error) => {
                // The outermost error names the column, and the innermost says what is wrong.
                let mut cause: &dyn StdError = &*error;
                while let Some(source) = cause.source() {
                    cause = source;
                }
                Self::invalid_row(cause.to_string())
            }
            error => Self::query(error),
        }
    }
}
