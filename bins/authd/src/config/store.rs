use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use store::EncryptionKeys;

use super::error::ConfigError;
use super::secret_file::of_setting;
use super::value::{DatabaseUrl, SecretText, StoreKind, Within, list};

/// The settings of the store
#[derive(Args, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Stored {
    /// Where the data of the control plane is [default: postgres]
    #[arg(long, env = "AUTHD_STORE", help_heading = "Store")]
    pub(super) store: Option<StoreKind>,
    /// PostgreSQL database, as a URL or a list of NAME=VALUE with libpq's parameters, such as
    /// search_path, sslmode, sslcert, options, several hosts [default: a server that authd starts
    /// itself in the data directory]
    #[arg(
        long,
        env = "AUTHD_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        help_heading = "Store"
    )]
    pub(super) database_url: Option<DatabaseUrl>,
    /// File that has the URL of --database-url
    #[arg(long, env = "AUTHD_DATABASE_URL_FILE", value_name = "FILE", help_heading = "Store")]
    pub(super) database_url_file: Option<PathBuf>,
    /// Seconds that `serve` waits at its start for a database that cannot be reached [default: 60]
    #[arg(long, env = "AUTHD_DATABASE_WAIT_SECONDS", value_name = "N", help_heading = "Store")]
    pub(super) database_wait_seconds: Option<Within<0, 86_400>>,
    /// Where PostgreSQL keeps its data if authd starts it [default: /var/lib/authd as root, else
    /// ~/.local/share/authd]
    #[arg(long, env = "AUTHD_DATA_DIR", value_name = "DIR", help_heading = "Store")]
    pub(super) data_dir: Option<PathBuf>,
    /// Folder with the programs `initdb` and `postgres` [default: the newest installed]
    #[arg(long, env = "AUTHD_POSTGRES_BIN", value_name = "DIR", help_heading = "Store")]
    pub(super) postgres_bin: Option<PathBuf>,
    /// Connections for reads; requests share statements, so that few are enough [default: 2]
    #[arg(long, env = "AUTHD_READ_CONNECTIONS", value_name = "N", help_heading = "Store")]
    pub(super) read_connections: Option<Within<1, 64>>,
    /// Most connections for writes [default: 8]
    #[arg(long, env = "AUTHD_WRITE_CONNECTIONS", value_name = "N", help_heading = "Store")]
    pub(super) write_connections: Option<Within<1, 1000>>,

    /// Keys with which the control plane encrypts, in Base64, separated by commas: the first
    /// encrypts, all decrypt
    #[serde(deserialize_with = "list")]
    #[arg(
        long,
        env = "AUTHD_EXTERNAL_TOKEN_ENCRYPTION_KEYS",
        hide_env_values = true,
        value_name = "KEY",
        value_delimiter = ',',
        help_heading = "Store"
    )]
    pub(super) external_token_encryption_keys: Option<Vec<SecretText>>,
    /// File that has the keys of --external-token-encryption-keys
    #[arg(
        long,
        env = "AUTHD_EXTERNAL_TOKEN_ENCRYPTION_KEYS_FILE",
        value_name = "FILE",
        help_heading = "Store"
    )]
    pub(super) external_token_encryption_keys_file: Option<PathBuf>,
    /// Let imports, new tokens of proxies and replaced keys change rows of a control plane
    /// [default: false]
    #[arg(long, env = "AUTHD_INTO_CONTROL_PLANE", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Store")]
    pub(super) into_control_plane: Option<bool>,
}

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

impl Stored {
    pub(super) fn store(self) -> Result<StoreConfig, ConfigError> {
        let connections = Connections {
            read: self.read_connections.map_or(2, Within::get),
            write: self.write_connections.map_or(8, Within::get),
            encryption_keys: self.encryption_keys()?,
        };
        match (self.store.unwrap_or(StoreKind::Postgres), self.url()?) {
            (StoreKind::Memory, Some(_)) => Err(ConfigError::MemoryWithUrl),
            (StoreKind::Memory, None) => Ok(StoreConfig::Memory),
            (StoreKind::Postgres, Some(url)) => Ok(StoreConfig::Postgres { url, connections }),
            (StoreKind::Postgres, None) => Ok(StoreConfig::Private {
                data_dir: self.data_dir()?,
                postgres_bin: self.postgres_bin,
                connections,
            }),
        }
    }

    /// The file for audit events that the database did not get, if it is not set
    pub(super) fn audit_spool(&self) -> Option<PathBuf> {
        if self.store == Some(StoreKind::Memory) {
            return None;
        }
        Some(self.data_dir().ok()?.join("audit-spool.jsonl"))
    }

    /// How long `serve` waits for the database at its start
    pub(super) fn wait(&self) -> Duration {
        self.database_wait_seconds.map_or(Duration::from_mins(1), Within::seconds)
    }

    fn url(&self) -> Result<Option<DatabaseUrl>, ConfigError> {
        let file = self.database_url_file.as_deref();
        let text = of_setting("database_url", self.database_url.is_some(), file)?;
        Ok(text.map(|text| DatabaseUrl::from(&*text)).or_else(|| self.database_url.clone()))
    }

    /// The keys of the setting; none if its text is empty, as an environment variable may be
    fn encryption_keys(&self) -> Result<EncryptionKeys, ConfigError> {
        let set = self.external_token_encryption_keys.as_deref();
        let file = self.external_token_encryption_keys_file.as_deref();
        let text = of_setting("external_token_encryption_keys", set.is_some(), file)?;
        let of_file: Option<Vec<SecretText>> =
            text.map(|text| text.split([',', '\n']).map(SecretText::from).collect());
        let keys = match of_file.as_deref().or(set) {
            Some([only]) if only.as_ref().trim().is_empty() => &[],
            keys => keys.unwrap_or_default(),
        };
        EncryptionKeys::from_base64(keys).map_err(ConfigError::EncryptionKeys)
    }

    fn data_dir(&self) -> Result<PathBuf, ConfigError> {
        self.data_dir.clone().map_or_else(default_data_dir, Ok)
    }
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
