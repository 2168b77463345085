use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a storm could not be set up
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StormError {
    /// The binary to drive does not exist
    #[error(
        "authd was not found at {path}: build it with `{build}`, or give its path with `--authd`"
    )]
    NoBinary {
        /// Where it was looked for
        path: PathBuf,
        /// The command that builds it there
        build: &'static str,
    },
    /// The options contradict each other
    #[error("{0}")]
    Options(&'static str),
    /// A file or a process failed
    #[error("{doing}")]
    Io {
        /// What failed
        doing: String,
        /// The system's error
        source: io::Error,
    },
    /// The private PostgreSQL server did not start or stop
    #[error("the private PostgreSQL server failed")]
    Postgres(#[from] private_postgres::Error),
    /// A statement failed
    #[error("{doing}")]
    Sql {
        /// What failed
        doing: &'static str,
        /// The database's error
        source: tokio_postgres::Error,
    },
    /// authd ended or did not become ready
    #[error("authd {what}; its log ends with:\n{log}")]
    Server {
        /// What it did
        what: String,
        /// The end of its log
        log: String,
    },
    /// A task panicked
    #[error("a task of the storm failed")]
    Task(#[from] tokio::task::JoinError),
}

impl StormError {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    pub(crate) const fn sql(doing: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Sql { doing, source }
    }
}
