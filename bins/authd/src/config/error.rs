use std::path::PathBuf;

use identity_fetch::KeyUrlError;
use thiserror::Error;

/// Why the configuration is not usable
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error("`external_token_encryption_keys` is not usable")]
    EncryptionKeys(#[source] store::Error),
    #[error("`fetch_google_keys` is neither `off` nor the URL of a key set")]
    KeyUrl(#[source] KeyUrlError),
    #[error("no thread can be started for the log")]
    Log(#[source] std::io::Error),
    #[error(
        "`{word}` is not a log filter; use `error`, `warn`, `info`, `debug`, `trace` or `off`, with \
         `MODULE=LEVEL` for single modules, such as `info,store=debug`"
    )]
    LogFilter { word: String },
    /// `reason` quotes nothing of the file
    #[error("`{}` is not a valid configuration: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error("`--store memory` and a database URL exclude each other")]
    MemoryWithUrl,
    #[error("settings cannot be merged")]
    Merge(#[source] toml::ser::Error),
    #[error("settings contradict each other")]
    Merged(#[source] toml::de::Error),
    #[error("there is no home directory for the database; set `--data-dir` or `--database-url`")]
    NoDataDir,
    #[error("`{key}` is not valid")]
    Policy {
        key: String,
        #[source]
        error: serde_json::Error,
    },
    #[error("`{setting}` {problem}")]
    Setting { setting: &'static str, problem: String },
    #[error("`{setting}` and `{setting}_file` exclude each other")]
    Twice { setting: &'static str },
    #[error("`{}` cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
}

impl ConfigError {
    pub(super) fn setting(setting: &'static str, problem: impl Into<String>) -> Self {
        Self::Setting { setting, problem: problem.into() }
    }
}
