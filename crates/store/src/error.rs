use thiserror::Error;

/// Why a store could not answer or be prepared
///
/// Nothing here prints the password of a database URL or a value that was bound
/// to a statement.
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
        reason: String,
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
        reason: String,
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
        reason: String,
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
        reason: String,
    },
    /// The database cannot be reached, or did not answer in time
    ///
    /// The same call may succeed later.
    #[error("the database is unavailable: {reason}")]
    Unavailable {
        /// What was tried and why it failed
        reason: String,
    },
}

/// What the tables lack for a question
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

    pub(crate) fn invalid_row(reason: impl std::fmt::Display) -> Self {
        Self::InvalidRow { reason: reason.to_string() }
    }

    pub(crate) fn query(reason: impl std::fmt::Display) -> Self {
        Self::Query { reason: reason.to_string() }
    }
}

#[cfg(feature = "postgres")]
impl Error {
    pub(crate) fn unavailable(reason: impl std::fmt::Display) -> Self {
        Self::Unavailable { reason: reason.to_string() }
    }

    pub(crate) fn migration(reason: impl std::fmt::Display) -> Self {
        Self::Migration { reason: reason.to_string() }
    }
}

#[cfg(feature = "postgres")]
impl From<diesel::result::Error> for Error {
    /// A connection that ended makes the database unavailable; whatever else goes
    /// wrong is the statement's fault
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::DatabaseErrorKind::{ClosedConnection, UnableToSendCommand};
        use diesel::result::Error::{DatabaseError, DeserializationError, QueryBuilderError};

        match &error {
            DatabaseError(ClosedConnection | UnableToSendCommand, _) => Self::unavailable(error),
            QueryBuilderError(error) if error.is::<Unfit>() => {
                error.downcast_ref().cloned().map_or_else(|| Self::query(error), Self::Tables)
            }
            DeserializationError(error) => {
                // The outermost says which column, and the innermost what is wrong.
                let mut cause: &dyn std::error::Error = &**error;
                while let Some(source) = cause.source() {
                    cause = source;
                }
                Self::invalid_row(cause)
            }
            _ => Self::query(error),
        }
    }
}
