use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use thiserror::Error;

/// Why a store could not answer or be prepared
///
/// Neither `Display` nor `Debug` prints the password of a database URL or a value that was
/// bound to a statement. `Display` has the text of the source, which logs need not repeat.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The tables are a control plane's, and only it changes such rows
    #[error(
        "these tables are a control plane's, and this would change {changes}; \
         `--into-control-plane` lets authd do that"
    )]
    ControlPlane {
        /// What would be changed, by table
        changes: String,
    },
    /// A table of a control plane is there, and no migration of ours created it
    #[error(
        "the database has a table `{table}` that authd did not create; \
         beside a control plane, use `authd migrate --owned-only`"
    )]
    ForeignTables {
        /// One such table
        table: &'static str,
    },
    /// A key of those that the control plane encrypts with is not usable
    #[error("encryption key {number} of {of} {problem}")]
    InvalidEncryptionKey {
        /// The place in the list, from 1
        number: usize,
        /// How many keys the list has
        of: usize,
        /// What is wrong with it; nothing of the key itself
        problem: String,
    },
    /// A row holds what cannot be told from a grant of more than it should
    ///
    /// Such as a label that is not known, or a role's permissions that cannot be read.
    #[error("a row is not understood: {reason}")]
    InvalidRow {
        /// What is wrong with it
        #[source]
        reason: Cause,
    },
    /// The URL is not understood
    #[error("the database URL is not understood: {reason}")]
    InvalidUrl {
        /// Which parameter is wrong and what was expected, without any secret
        reason: String,
    },
    /// A migration failed, and with it all that would have followed
    #[error("migrating the database failed: {reason}")]
    Migration {
        /// What the database said
        #[source]
        reason: Cause,
    },
    /// The control plane encrypts with a key that is missing here
    #[error(
        "the control plane encrypts its keys (`crypto_keys`); the key with digest `{digest}` is \
         not among --external-token-encryption-keys"
    )]
    MissingEncryptionKey {
        /// The digest under which the control plane has the key
        digest: String,
    },
    /// The system has no random bytes
    #[error("the system has no random bytes")]
    NoRandomness,
    /// A pooler stands between authd and the database, and authd cannot work through it
    #[error("the pooler before the database cannot be used: {reason}")]
    Pooler {
        /// What it lacks
        reason: String,
    },
    /// The tables of users, workspaces and agents are authd's own
    #[error("authd stands alone in this database; there is no control plane to leave")]
    NoControlPlane,
    /// The database answered, with an error
    #[error("the database refused a statement: {reason}")]
    Query {
        /// What the database said
        #[source]
        reason: Cause,
    },
    /// The control plane's tables are not of a shape that is known
    ///
    /// They may be too old, or newer than this release of authd, or half-way between. The
    /// same call may succeed later, once an upgrade has ended.
    #[cfg(feature = "postgres")]
    #[error("the tables of the control plane do not fit: {0}")]
    Tables(Unfit),
    /// Connections cannot be secured as the URL asks
    #[error("TLS to the database is not usable: {reason}")]
    Tls {
        /// What is missing or unusable on this side
        #[source]
        reason: Cause,
    },
    /// The database cannot be reached, or did not answer in time
    ///
    /// The same call may succeed later.
    #[error("the database is unavailable: {reason}")]
    Unavailable {
        /// What was tried and why it failed
        #[source]
        reason: Cause,
    },
}

/// An error that a store met, or a fault that it found itself
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

/// An error, and what was found out about it or where it happened
#[cfg(feature = "postgres")]
#[derive(Debug, Error)]
#[error("{context}: {source}")]
pub(crate) struct InContext<E: StdError + 'static> {
    pub(crate) context: String,
    pub(crate) source: E,
}

/// What the tables lack for a statement
#[cfg(feature = "postgres")]
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{question} needs {missing}; the tables are otherwise those of {generation}")]
#[non_exhaustive]
pub struct Unfit {
    /// The question, in words
    pub question: &'static str,
    /// The table or column that is missing
    pub missing: String,
    /// The generation that the tables otherwise have
    pub generation: crate::Generation,
}

impl Error {
    /// Whether the same call may succeed later, without any change on this side
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            #[cfg(feature = "postgres")]
            Self::Tables(_) => true,
            Self::Unavailable { .. } => true,
            _ => false,
        }
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

#[cfg(feature = "postgres")]
impl From<diesel::result::Error> for Error {
    /// A connection that ended makes the database unavailable; any other failure is the
    /// statement's fault
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::DatabaseErrorKind::{ClosedConnection, UnableToSendCommand};
        use diesel::result::Error::{DatabaseError, DeserializationError, QueryBuilderError};

        match error {
            DatabaseError(ClosedConnection | UnableToSendCommand, _) => Self::unavailable(error),
            QueryBuilderError(error) => match error.downcast::<Unfit>() {
                Ok(unfit) => Self::Tables(*unfit),
                Err(error) => Self::query(QueryBuilderError(error)),
            },
            DeserializationError(error) => {
                // The outermost says which column, and the innermost what is wrong.
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
