use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

/// Why a private server could not be started or stopped
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The PostgreSQL version that wrote the data is not installed
    #[error(
        "`{}` was written by PostgreSQL {wanted}, and no server of that version was found; \
         install one with `apt-get install -y postgresql-{wanted}`",
        data.display()
    )]
    DifferentVersion {
        /// The folder of the data
        data: PathBuf,
        /// The major version that wrote the data
        wanted: String,
    },
    /// The server or `initdb` ended with an error
    #[error("the private PostgreSQL server did not start: {log}")]
    Failed {
        /// The last lines of the server's log
        log: String,
    },
    /// A file or process operation failed
    #[error("{doing} `{}` failed", path.display())]
    Io {
        /// The operation, such as `creating`
        doing: &'static str,
        /// The file, folder or program concerned
        path: PathBuf,
        /// The system's error
        source: io::Error,
    },
    /// The folder does not hold the data of a server
    #[error("`{}` does not contain a database", home.display())]
    NoData {
        /// The folder
        home: PathBuf,
    },
    /// The folder for a new server's data holds other files
    #[error("`{}` holds other files; choose a data folder that is empty or new", path.display())]
    NotEmpty {
        /// The folder
        path: PathBuf,
    },
    /// No PostgreSQL server is installed
    #[error(
        "no PostgreSQL server is installed{}; install one with `apt-get install -y postgresql`",
        explicit.as_ref().map(|dir| format!(" in `{}`", dir.display())).unwrap_or_default()
    )]
    NotInstalled {
        /// The folder of [`Settings::binaries`](crate::Settings::binaries), if it was set
        explicit: Option<PathBuf>,
    },
    /// The server's account may not enter a folder above the data
    #[error(
        "`{}` may not be entered by the account `{account}`, which the server runs as; \
         choose another data folder", path.display()
    )]
    OutOfReach {
        /// The folder that the account may not enter
        path: PathBuf,
        /// The account's name, or its number for data that exists
        account: String,
    },
    /// The server neither became ready nor ended, or did not stop, in time
    #[error("the private PostgreSQL server did not {verb} within {} s", after.as_secs())]
    TimedOut {
        /// The requested operation: `start` or `stop`
        verb: &'static str,
        /// The time after which waiting ended
        after: Duration,
    },
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}
