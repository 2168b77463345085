use std::path::PathBuf;

use store::EncryptionKeys;

use super::error::ConfigError;
use super::settings::Settings;
use super::value::{DatabaseUrl, SecretText, StoreKind, Within};

/// The store that answers
#[derive(Debug)]
pub(crate) enum StoreConfig {
    Memory,
    /// A PostgreSQL server that is already there
    Postgres {
        url: DatabaseUrl,
        connections: Connections,
    },
    /// A PostgreSQL server that authd starts itself
    Private {
        data_dir: PathBuf,
        postgres_bin: Option<PathBuf>,
        connections: Connections,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Connections {
    pub(crate) read: u32,
    pub(crate) write: u32,
    /// The keys with which the control plane encrypts some of its columns
    pub(crate) encryption_keys: EncryptionKeys,
}

impl StoreConfig {
    /// How the store is used
    pub(super) fn options(&self) -> store::Options {
        let options = store::Options::default();
        let (Self::Postgres { connections, .. } | Self::Private { connections, .. }) = self else {
            return options;
        };
        options
            .read_connections(usize::try_from(connections.read).unwrap_or(usize::MAX))
            .write_connections(connections.write)
            .encryption_keys(connections.encryption_keys.clone())
    }
}

impl Settings {
    pub(super) fn store(self) -> Result<StoreConfig, ConfigError> {
        let connections = Connections {
            read: self.read_connections.map_or(2, Within::get),
            write: self.write_connections.map_or(8, Within::get),
            encryption_keys: encryption_keys(self.external_token_encryption_keys.as_deref())?,
        };
        match (self.store.unwrap_or(StoreKind::Postgres), self.database_url) {
            (StoreKind::Memory, Some(_)) => Err(ConfigError::MemoryWithUrl),
            (StoreKind::Memory, None) => Ok(StoreConfig::Memory),
            (StoreKind::Postgres, Some(url)) => Ok(StoreConfig::Postgres { url, connections }),
            (StoreKind::Postgres, None) => Ok(StoreConfig::Private {
                data_dir: match self.data_dir {
                    Some(dir) => dir,
                    None => default_data_dir()?,
                },
                postgres_bin: self.postgres_bin,
                connections,
            }),
        }
    }
}

impl Settings {
    /// The file for audit events that the database did not get
    pub(super) fn audit_spool(&self) -> Option<PathBuf> {
        match &self.audit_spool {
            Some(file) => Some(file.clone()).filter(|file| !file.as_os_str().is_empty()),
            None if self.store == Some(StoreKind::Memory) => None,
            None => {
                let folder = self.data_dir.clone().or_else(|| default_data_dir().ok());
                folder.map(|folder| folder.join("audit-spool.jsonl"))
            }
        }
    }
}

/// The keys of the setting; none if its text is empty, as an environment variable may be
fn encryption_keys(setting: Option<&[SecretText]>) -> Result<EncryptionKeys, ConfigError> {
    let keys = match setting {
        Some([only]) if only.as_ref().trim().is_empty() => &[],
        keys => keys.unwrap_or_default(),
    };
    EncryptionKeys::from_base64(keys).map_err(ConfigError::EncryptionKeys)
}

/// The folder that the freedesktop.org base directories name, or a system folder for root, whose
/// home the account that runs PostgreSQL could not enter
fn default_data_dir() -> Result<PathBuf, ConfigError> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/authd"));
    }
    let dir = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|d| d.is_absolute());
    dir("XDG_DATA_HOME")
        .or_else(|| dir("HOME").map(|home| home.join(".local/share")))
        .map(|share| share.join("authd"))
        .ok_or(ConfigError::NoDataDir)
}
