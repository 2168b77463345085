//! A private PostgreSQL server, started from installed binaries
//!
//! The server listens on a Unix socket in a folder that only its account may
//! enter, and on nothing else, so it needs no password. A [`Persistent`] one keeps
//! what it stores; an [`Ephemeral`] one is gone with the process that started it,
//! however that process ends.
//!
//! Everything here blocks, for most of a second at the first start. Call it from
//! `spawn_blocking`, never on a reactor.

mod account;
mod binaries;
mod ephemeral;
mod persistent;
mod postmaster;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, io};

use thiserror::Error;
use uuid::Uuid;

use self::account::Account;
pub use self::ephemeral::Ephemeral;
pub use self::persistent::Persistent;

/// How a private server is started
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Settings {
    /// The folder of `initdb` and `postgres`
    ///
    /// Otherwise they are looked for in `PATH`, then in Debian's
    /// `/usr/lib/postgresql/*/bin`, the newest first.
    pub binaries: Option<PathBuf>,
}

impl Settings {
    /// The same settings, with [`binaries`](Self::binaries) as given
    #[must_use]
    pub fn binaries(mut self, folder: impl Into<PathBuf>) -> Self {
        self.binaries = Some(folder.into());
        self
    }
}

/// Why a private server could not be started or stopped
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The data was written by a version that is not installed
    #[error(
        "`{}` was written by PostgreSQL {wanted}, and no server of that version was found; \
         install one with `apt-get install -y postgresql-{wanted}`",
        data.display()
    )]
    DifferentVersion {
        /// Where the data is
        data: PathBuf,
        /// The major version that wrote it
        wanted: String,
    },
    /// The server or `initdb` gave up, and this is what it said
    #[error("the private PostgreSQL server did not start: {log}")]
    Failed {
        /// The last lines of its log
        log: String,
    },
    /// A file or process operation failed
    #[error("{doing} `{}`: {source}", path.display())]
    Io {
        /// What was attempted
        doing: &'static str,
        /// On what
        path: PathBuf,
        /// Why it failed
        source: io::Error,
    },
    /// A folder for a new server's data holds something else
    #[error("`{}` holds other files; choose a data folder that is empty or new", path.display())]
    NotEmpty {
        /// The folder
        path: PathBuf,
    },
    /// No server is installed
    #[error(
        "no PostgreSQL server is installed{}; install one with `apt-get install -y postgresql`, \
         name a database with `--database-url`, or use `--store memory`",
        explicit.as_ref().map(|dir| format!(" in `{}`", dir.display())).unwrap_or_default()
    )]
    NotInstalled {
        /// The only folder that was looked at, if one was named
        explicit: Option<PathBuf>,
    },
    /// A folder on the way may not be entered by the server's account
    #[error(
        "`{}` may not be entered by the account `{account}`, which the server runs as; \
         choose another data folder", path.display()
    )]
    OutOfReach {
        /// The folder that is closed
        path: PathBuf,
        /// Who would have to enter it
        account: String,
    },
    /// The server neither became ready nor gave up, or did not stop, in time
    #[error("the private PostgreSQL server did not {verb} within {} s", PATIENCE.as_secs())]
    TimedOut {
        /// What it was asked to do
        verb: &'static str,
    },
}

impl Error {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}

/// The URL of `database` on the server whose socket is in `folder`
fn url(folder: &Path, database: &str) -> String {
    format!("postgresql:///{database}?host={}&user={SUPERUSER}", percent_encoded(folder))
}

fn percent_encoded(path: &Path) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;

    let mut encoded = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// A new folder with a short path that only `account` may enter
fn temporary_folder(account: &Account) -> Result<PathBuf, Error> {
    let name = format!("authd-{}", &Uuid::new_v4().simple().to_string()[..12]);
    let folder = Some(env::temp_dir().join(&name))
        .filter(|folder| fits_a_socket(folder))
        .unwrap_or_else(|| Path::new("/tmp").join(&name));
    account.reaches(&folder)?;
    // Fails if the name is taken, so nobody can have prepared it for us.
    DirBuilder::new().mode(0o700).create(&folder).map_err(Error::io("creating", &folder))?;
    account.own(&folder)?;
    Ok(folder)
}

/// Whether a socket in `folder` has a path that the system accepts
fn fits_a_socket(folder: &Path) -> bool {
    folder.join(SOCKET).as_os_str().len() <= MAX_SOCKET_PATH
}

/// How often a file that the server writes is looked at
const POLL: Duration = Duration::from_millis(5);
/// How long a server may take to start (it may have to recover) or to stop
const PATIENCE: Duration = Duration::from_secs(60);
const SUPERUSER: &str = "authd";
const SOCKET: &str = ".s.PGSQL.5432";
/// `sockaddr_un.sun_path` less its closing NUL on macOS; Linux has four bytes more
const MAX_SOCKET_PATH: usize = 103;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_any_bytes_becomes_a_url() {
        let url = url(Path::new("/tmp/a b&c?ä"), "postgres");
        assert_eq!(url, "postgresql:///postgres?host=/tmp/a%20b%26c%3F%C3%A4&user=authd");
        let config: tokio_postgres::Config = url.parse().unwrap();
        let host = tokio_postgres::config::Host::Unix("/tmp/a b&c?ä".into());
        assert_eq!(config.get_hosts(), [host]);
    }

    #[test]
    fn every_way_out_is_named() {
        let error = Error::NotInstalled { explicit: None }.to_string();
        for way in ["apt-get install -y postgresql", "--database-url", "--store memory"] {
            assert!(error.contains(way), "{error}");
        }
    }
}
