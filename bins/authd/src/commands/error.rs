use std::path::PathBuf;
use std::process::ExitCode;

use authd_server::{ListenAddress, TlsError};
use thiserror::Error;
use trust_folder::TrustError;

use crate::config::ConfigError;
use crate::random::NoRandomness;

/// Why a command failed
#[derive(Debug, Error)]
pub(crate) enum CommandError {
    #[error("`{}`, line {line}", path.display())]
    Case {
        path: PathBuf,
        line: u64,
        #[source]
        error: app_authz::Error,
    },
    /// The first finding that is an error
    #[error("{0}")]
    Check(String),
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("`{}` is not valid", path.display())]
    Document {
        path: PathBuf,
        #[source]
        error: fleet_import::DocumentError,
    },
    #[error("`{}` cannot be read", path.display())]
    File {
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
    #[error("`{}` cannot be written to", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
    #[error("systemd's sockets cannot be used")]
    Sockets(#[source] std::io::Error),
    #[error("cannot listen on {address}")]
    Listen {
        address: ListenAddress,
        #[source]
        error: std::io::Error,
    },
    /// Only `serve` creates a database
    #[error(
        "{0}; name a database with `--database-url`, or the folder in which `authd serve` keeps its \
         own with `--data-dir`"
    )]
    NoDatabase(private_postgres::Error),
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    #[error("`--store memory` stores nothing that another command can reach")]
    NothingStored,
    #[error("`--store memory` has no tables to migrate")]
    NothingToMigrate,
    /// An operator without a PostgreSQL server has other choices too
    #[error("{0}, name a database with `--database-url`, or use `--store memory`")]
    NotInstalled(private_postgres::Error),
    #[error("the output cannot be written")]
    Output(#[source] std::io::Error),
    #[error("`{}` is not an identity policy", path.display())]
    PolicyFile {
        path: PathBuf,
        #[source]
        error: serde_json::Error,
    },
    #[error(transparent)]
    PrivateDatabase(private_postgres::Error),
    #[error("the runtime cannot start")]
    Runtime(#[source] std::io::Error),
    #[error(transparent)]
    Setup(#[from] agent_token::SetupError),
    #[error(transparent)]
    SignIn(#[from] agent_token::SignInError),
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
    #[error(transparent)]
    Spool(#[from] app_audit::SpoolError),
    #[error("the store failed")]
    Store(#[from] store::Error),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the token cannot be written to `{}`", path.display())]
    TokenFile {
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
    #[error("the trust folder is not usable")]
    Trust(#[from] TrustError),
    #[error("{0}")]
    Usage(String),
}

impl From<private_postgres::Error> for CommandError {
    fn from(error: private_postgres::Error) -> Self {
        match error {
            private_postgres::Error::NoData { .. } => Self::NoDatabase(error),
            private_postgres::Error::NotInstalled { .. } => Self::NotInstalled(error),
            error => Self::PrivateDatabase(error),
        }
    }
}

impl CommandError {
    /// 2 if the command line, or what it names, is not usable; else 1
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Case { .. }
            | Self::Config(_)
            | Self::Document { .. }
            | Self::File { .. }
            | Self::NoDatabase(_)
            | Self::PolicyFile { .. }
            | Self::Setup(_)
            | Self::Spool(_)
            | Self::Store(store::Error::InvalidUrl { .. })
            | Self::Tls(_)
            | Self::Trust(_)
            | Self::Usage(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_database_server_is_reported_with_every_remedy() {
        let missing = private_postgres::Error::NotInstalled { explicit: None };
        assert_eq!(
            authd_http::error_chain(&CommandError::from(missing)),
            "no PostgreSQL server is installed; install one with `apt-get install -y postgresql`, \
             name a database with `--database-url`, or use `--store memory`"
        );
    }
}
