use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use agent_auth::Rules;
use clap::{Args, ValueEnum};
use identity_verify::Policy;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::outgoing::{KeyUrl, KeyUrlError};

/// Everything an operator may set, before defaults are filled in
///
/// One struct is read three times: from flags, from `AUTHD_*` environment
/// variables and from a TOML file whose keys are the fields' names. Flags are
/// stronger than the environment, which is stronger than the file.
#[derive(Args, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Address and port to serve on [default: 127.0.0.1:8080]
    #[arg(long, env = "AUTHD_LISTEN", value_name = "ADDR", help_heading = "Server")]
    listen: Option<SocketAddr>,
    /// Seconds a request may take, body included [default: 10]
    #[arg(long, env = "AUTHD_REQUEST_TIMEOUT_SECONDS", value_name = "N", help_heading = "Server",
          value_parser = clap::value_parser!(u64).range(1..=600))]
    request_timeout_seconds: Option<u64>,
    /// Seconds that answers under way may still take after SIGTERM [default: 20]
    #[arg(long, env = "AUTHD_DRAIN_TIMEOUT_SECONDS", value_name = "N", help_heading = "Server",
          value_parser = clap::value_parser!(u64).range(0..=3600))]
    drain_timeout_seconds: Option<u64>,
    /// Requests answered at a time; more get 503 with Retry-After [default: 1024]
    #[arg(long, env = "AUTHD_MAX_REQUESTS_IN_FLIGHT", value_name = "N", help_heading = "Server",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_requests_in_flight: Option<u32>,
    /// Connections open at a time; more wait to be accepted [default: 8192]
    #[arg(long, env = "AUTHD_MAX_CONNECTIONS", value_name = "N", help_heading = "Server",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max_connections: Option<u32>,

    /// Where the control plane's data is [default: postgres]
    #[arg(long, env = "AUTHD_STORE", help_heading = "Store")]
    store: Option<StoreKind>,
    /// PostgreSQL to use; without one, authd runs its own in the data directory
    #[arg(
        long,
        env = "AUTHD_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        help_heading = "Store"
    )]
    database_url: Option<DatabaseUrl>,
    /// Where authd's own PostgreSQL keeps its data [default: /var/lib/authd as root, else
    /// ~/.local/share/authd]
    #[arg(long, env = "AUTHD_DATA_DIR", value_name = "DIR", help_heading = "Store")]
    data_dir: Option<PathBuf>,
    /// Folder of `initdb` and `postgres` [default: the newest installed]
    #[arg(long, env = "AUTHD_POSTGRES_BIN", value_name = "DIR", help_heading = "Store")]
    postgres_bin: Option<PathBuf>,
    /// Connections shared by all reads [default: 4]
    #[arg(long, env = "AUTHD_READ_CONNECTIONS", value_name = "N", help_heading = "Store",
          value_parser = clap::value_parser!(u32).range(1..=64))]
    read_connections: Option<u32>,
    /// Connections for writes, at most [default: 8]
    #[arg(long, env = "AUTHD_WRITE_CONNECTIONS", value_name = "N", help_heading = "Store",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    write_connections: Option<u32>,

    /// Folder of keys and certificates to trust beside the built-in ones
    #[arg(long, env = "AUTHD_TRUST_DIR", value_name = "DIR", help_heading = "Trust")]
    trust_dir: Option<PathBuf>,
    /// Where Google's keys are fetched when a Google instance first signs in, or `off`
    /// [default: Google's own URL]
    #[arg(long, env = "AUTHD_FETCH_GOOGLE_KEYS", value_name = "URL", help_heading = "Trust")]
    fetch_google_keys: Option<String>,
    /// Fetch Azure issuers that are not built in, from Microsoft and DigiCert [default: false]
    #[arg(long, env = "AUTHD_FETCH_AZURE_ISSUERS", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Trust")]
    fetch_azure_issuers: Option<bool>,

    /// Seconds of clock difference to forgive [default: 60]
    #[arg(long, env = "AUTHD_LEEWAY_SECONDS", value_name = "N", help_heading = "Identity policy")]
    leeway_seconds: Option<u64>,
    /// Refuse AWS documents older than this, counted from the instance's last start
    #[arg(
        long,
        env = "AUTHD_AWS_MAX_DOCUMENT_AGE_SECONDS",
        value_name = "N",
        help_heading = "Identity policy"
    )]
    aws_max_document_age_seconds: Option<u64>,
    /// AWS accounts that may sign in, separated by commas [default: all]
    #[arg(
        long,
        env = "AUTHD_AWS_ALLOWED_ACCOUNTS",
        value_name = "ID",
        value_delimiter = ',',
        help_heading = "Identity policy"
    )]
    aws_allowed_accounts: Option<Vec<String>>,
    /// AWS regions that may sign in, separated by commas [default: all]
    #[arg(
        long,
        env = "AUTHD_AWS_ALLOWED_REGIONS",
        value_name = "REGION",
        value_delimiter = ',',
        help_heading = "Identity policy"
    )]
    aws_allowed_regions: Option<Vec<String>>,
    /// Accept AWS's classic document signature, which is RSA-1024 [default: true]
    #[arg(long, env = "AUTHD_AWS_ALLOW_RSA1024", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Identity policy")]
    aws_allow_rsa1024: Option<bool>,
    /// Accept AWS's legacy `/pkcs7`, which is DSA with SHA-1 [default: false]
    #[arg(long, env = "AUTHD_AWS_ALLOW_DSA_SHA1", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Identity policy")]
    aws_allow_dsa_sha1: Option<bool>,
    /// Refuse Azure's attested data after its end, six hours after it was made [default: true]
    #[arg(long, env = "AUTHD_AZURE_ENFORCE_EXPIRES_ON", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Identity policy")]
    azure_enforce_expires_on: Option<bool>,
    /// Nonce that Azure's attested data must answer
    #[arg(
        long,
        env = "AUTHD_AZURE_EXPECTED_NONCE",
        value_name = "TEXT",
        help_heading = "Identity policy"
    )]
    azure_expected_nonce: Option<String>,
    /// Azure subscriptions that may sign in, separated by commas [default: all]
    #[arg(
        long,
        env = "AUTHD_AZURE_ALLOWED_SUBSCRIPTIONS",
        value_name = "UUID",
        value_delimiter = ',',
        help_heading = "Identity policy"
    )]
    azure_allowed_subscriptions: Option<Vec<String>>,
    /// Azure clouds that may sign in: public, government, china, germany
    /// [default: all but germany]
    #[arg(
        long,
        env = "AUTHD_AZURE_CLOUDS",
        value_name = "CLOUD",
        value_delimiter = ',',
        help_heading = "Identity policy"
    )]
    azure_clouds: Option<Vec<String>>,
    /// Audience that Google's tokens must name, or `*` for any [default: coder]
    #[arg(
        long,
        env = "AUTHD_GOOGLE_AUDIENCE",
        value_name = "TEXT",
        help_heading = "Identity policy"
    )]
    google_audience: Option<String>,
    /// Google projects that may sign in, separated by commas [default: all]
    #[arg(
        long,
        env = "AUTHD_GOOGLE_ALLOWED_PROJECTS",
        value_name = "ID",
        value_delimiter = ',',
        help_heading = "Identity policy"
    )]
    google_allowed_projects: Option<Vec<String>>,
    /// Google service accounts that may sign in, separated by commas [default: all]
    #[arg(
        long,
        env = "AUTHD_GOOGLE_ALLOWED_SERVICE_ACCOUNTS",
        value_name = "EMAIL",
        value_delimiter = ',',
        help_heading = "Identity policy"
    )]
    google_allowed_service_accounts: Option<Vec<String>>,
    /// Refuse Google instances created longer ago than this
    #[arg(
        long,
        env = "AUTHD_GOOGLE_MAX_INSTANCE_AGE_SECONDS",
        value_name = "N",
        help_heading = "Identity policy"
    )]
    google_max_instance_age_seconds: Option<u64>,
    /// Refuse Google tokens issued for longer than this [default: 3900]
    #[arg(
        long,
        env = "AUTHD_GOOGLE_MAX_LIFETIME_SECONDS",
        value_name = "N",
        help_heading = "Identity policy"
    )]
    google_max_lifetime_seconds: Option<u64>,

    /// Select by name among the agents of all workspaces that claim an instance [default: false]
    #[arg(long, env = "AUTHD_ALLOW_INSTANCE_SHARED_BY_WORKSPACES", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Agent sign-in")]
    allow_instance_shared_by_workspaces: Option<bool>,
    /// Answer 404 instead of 400 where only agents of earlier builds exist [default: false]
    #[arg(long, env = "AUTHD_HIDE_STALE_INSTANCES", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Agent sign-in")]
    hide_stale_instances: Option<bool>,

    /// What to log: error, warn, info, debug, or a filter such as `info,store=debug`
    /// [default: info]
    #[arg(long, env = "AUTHD_LOG_LEVEL", value_name = "FILTER", help_heading = "Log")]
    log_level: Option<String>,
    /// Shape of the log's lines [default: text to a terminal, else json]
    #[arg(long, env = "AUTHD_LOG_FORMAT", help_heading = "Log")]
    log_format: Option<LogFormat>,
}

/// Settings with where they come from: the arguments of every command that
/// touches the store
#[derive(Args)]
pub(crate) struct ConfigArgs {
    /// TOML file of settings, weaker than flags and environment
    #[arg(long, env = "AUTHD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

impl ConfigArgs {
    /// Reads the file, lays the stronger settings over it, and fills in defaults
    ///
    /// # Errors
    ///
    /// If the file cannot be read, has an unknown key or a wrong value, or if
    /// settings contradict each other.
    pub(crate) fn resolve(self) -> Result<Config, ConfigError> {
        let Some(path) = self.config else { return Config::new(self.settings) };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| ConfigError::Unreadable { path: path.clone(), error })?;
        // Parsed on its own first, so that an error names a line of the file.
        let malformed = |error| ConfigError::Malformed { path: path.clone(), error };
        let _: Settings = toml::from_str(&text).map_err(malformed)?;
        let mut merged: toml::Table = toml::from_str(&text).map_err(malformed)?;
        merged.extend(toml::Table::try_from(&self.settings).map_err(ConfigError::Merge)?);
        Config::new(merged.try_into().map_err(malformed)?)
    }
}

/// How authd runs: every question about configuration is answered here, once
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) limits: Limits,
    pub(crate) store: StoreConfig,
    pub(crate) identity: IdentityConfig,
    pub(crate) rules: Rules,
    pub(crate) log_level: String,
    pub(crate) log_format: Option<LogFormat>,
}

/// What one client, and all of them together, may take
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request's body
    pub body: usize,
    /// From the head of a request to its answer
    pub request: Duration,
    /// From the signal to stop to the end of the last answer
    pub drain: Duration,
    /// Requests being answered
    pub requests_in_flight: usize,
    /// Open connections
    pub connections: usize,
    /// A connection on which nothing moves is closed
    pub idle: Duration,
}

impl Limits {
    /// For the body alone: it is cut off before the request as a whole is, so that a
    /// slow client is told apart from a slow server
    pub(crate) fn body_patience(&self) -> Duration {
        self.request.mul_f32(0.9)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 64 * 1024,
            request: Duration::from_secs(10),
            drain: Duration::from_secs(20),
            requests_in_flight: 1024,
            connections: 8192,
            idle: Duration::from_secs(75),
        }
    }
}

/// Which store answers
#[derive(Debug)]
pub(crate) enum StoreConfig {
    Memory,
    /// Somebody else's PostgreSQL
    Postgres {
        url: DatabaseUrl,
        connections: Connections,
    },
    /// A PostgreSQL of our own
    Private {
        data_dir: PathBuf,
        postgres_bin: Option<PathBuf>,
        connections: Connections,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Connections {
    pub(crate) read: u32,
    pub(crate) write: u32,
}

impl Connections {
    pub(crate) fn options(self) -> store::Options {
        store::Options::default()
            .read_connections(usize::try_from(self.read).unwrap_or(usize::MAX))
            .write_connections(self.write)
    }
}

/// Whom to believe
#[derive(Debug, Default)]
pub(crate) struct IdentityConfig {
    pub(crate) policy: Policy,
    pub(crate) trust_dir: Option<PathBuf>,
    /// Where Google's keys are fetched, if at all
    pub(crate) google_keys: Option<KeyUrl>,
    pub(crate) fetch_azure_issuers: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StoreKind {
    /// Forgotten at exit
    Memory,
    Postgres,
}

/// A connection URL: it may carry a password, so it is never printed
#[derive(Clone, Deserialize, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The URL itself, to connect with
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for DatabaseUrl {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(..)")
    }
}

/// Not reachable from elsewhere until somebody decides that it shall be
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// PostgreSQL's notices, such as a table that a migration found in place, are none of
/// an operator's business
const DEFAULT_LOG_LEVEL: &str = "info,tokio_postgres=warn";

impl Config {
    fn new(settings: Settings) -> Result<Self, ConfigError> {
        let default = Limits::default();
        let limits = Limits {
            request: settings.request_timeout_seconds.map_or(default.request, Duration::from_secs),
            drain: settings.drain_timeout_seconds.map_or(default.drain, Duration::from_secs),
            requests_in_flight: count(settings.max_requests_in_flight, default.requests_in_flight),
            connections: count(settings.max_connections, default.connections),
            ..default
        };
        let rules = Rules::default()
            .allow_instance_shared_by_workspaces(
                settings.allow_instance_shared_by_workspaces.unwrap_or_default(),
            )
            .hide_stale(settings.hide_stale_instances.unwrap_or_default());
        Ok(Self {
            listen: settings.listen.unwrap_or(DEFAULT_LISTEN),
            limits,
            rules,
            identity: IdentityConfig {
                policy: settings.policy()?,
                trust_dir: settings.trust_dir.clone(),
                google_keys: match settings.fetch_google_keys.as_deref() {
                    Some("off") => None,
                    Some(url) => Some(url.parse().map_err(ConfigError::KeyUrl)?),
                    None => Some(KeyUrl::default()),
                },
                fetch_azure_issuers: settings.fetch_azure_issuers.unwrap_or_default(),
            },
            log_level: settings.log_level.clone().unwrap_or_else(|| DEFAULT_LOG_LEVEL.to_owned()),
            log_format: settings.log_format,
            store: settings.store()?,
        })
    }
}

impl Settings {
    /// The identity policy, whose keys bear the names of ours
    fn policy(&self) -> Result<Policy, ConfigError> {
        let mut keys = serde_json::to_value(self).map_err(ConfigError::Policy)?;
        if let Some(keys) = keys.as_object_mut() {
            keys.retain(|key, value| {
                let ours = ["aws_", "azure_", "google_", "leeway_"];
                !value.is_null() && ours.iter().any(|prefix| key.starts_with(prefix))
            });
        }
        serde_json::from_value(keys).map_err(ConfigError::Policy)
    }

    fn store(self) -> Result<StoreConfig, ConfigError> {
        let connections = Connections {
            read: self.read_connections.unwrap_or(4),
            write: self.write_connections.unwrap_or(8),
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

fn count(setting: Option<u32>, default: usize) -> usize {
    setting.and_then(|n| usize::try_from(n).ok()).unwrap_or(default)
}

/// Where the freedesktop.org base directories put it, or a system folder for root,
/// whose home the account that runs PostgreSQL could not enter
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

/// Environment variables that look like settings and are none
///
/// Not an error: an orchestrator that runs a service called `authd` sets
/// `AUTHD_SERVICE_HOST` and the like for every container.
pub(crate) fn unknown_environment(command: &clap::Command) -> Vec<String> {
    let known: Vec<_> = command
        .get_subcommands()
        .flat_map(clap::Command::get_arguments)
        .filter_map(|arg| arg.get_env())
        .collect();
    std::env::vars_os()
        .map(|(name, _)| name)
        .filter(|name| name.to_string_lossy().starts_with("AUTHD_"))
        .filter(|name| !known.contains(&name.as_os_str()))
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// Why the configuration is not usable
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    #[error("`fetch_google_keys` is neither `off` nor a URL of keys")]
    KeyUrl(#[source] KeyUrlError),
    #[error("`{level}` is not a log filter")]
    LogLevel {
        level: String,
        #[source]
        error: tracing_subscriber::filter::ParseError,
    },
    #[error("`{}` is not a valid configuration", path.display())]
    Malformed {
        path: PathBuf,
        #[source]
        error: toml::de::Error,
    },
    #[error("`--store memory` and a database URL exclude each other")]
    MemoryWithUrl,
    #[error("settings cannot be merged")]
    Merge(#[source] toml::ser::Error),
    #[error("no home directory to keep a database in; set `--data-dir` or `--database-url`")]
    NoDataDir,
    #[error("the identity policy is not valid")]
    Policy(#[source] serde_json::Error),
    #[error("`{}` cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(file: &str, settings: Settings) -> Result<Config, ConfigError> {
        let path = std::env::temp_dir().join(format!("authd-config-{}", uuid::Uuid::new_v4()));
        std::fs::write(&path, file).unwrap();
        let config = ConfigArgs { config: Some(path.clone()), settings }.resolve();
        std::fs::remove_file(path).unwrap();
        config
    }

    #[test]
    fn flags_are_stronger_than_the_file() {
        let file = "listen = \"127.0.0.1:1\"\nstore = \"memory\"\nhide_stale_instances = true\n\
                    aws_allowed_regions = [\"eu-west-3\"]";
        let flags = Settings { listen: Some(([127, 0, 0, 1], 2).into()), ..Settings::default() };
        let config = resolve(file, flags).unwrap();
        assert_eq!(config.listen.port(), 2);
        assert!(config.rules.hide_stale);
        assert!(matches!(config.store, StoreConfig::Memory));
        assert_eq!(
            config.identity.policy.aws_allowed_regions,
            Some(["eu-west-3".to_owned()].into())
        );
    }

    #[test]
    fn the_policy_is_built_from_settings_of_the_same_names() {
        let file = "store = \"memory\"\nazure_clouds = [\"china\"]\ngoogle_audience = \"*\"\n\
                    leeway_seconds = 5";
        let policy = resolve(file, Settings::default()).unwrap().identity.policy;
        assert_eq!(policy.azure_clouds, Some([identity_verify::azure::Environment::China].into()));
        assert_eq!(policy.google_audience, identity_verify::Audience::Any);
        assert_eq!(policy.leeway_seconds, 5);
        assert_eq!(
            policy.google_max_lifetime_seconds,
            Policy::default().google_max_lifetime_seconds
        );
        let error = resolve("azure_clouds = [\"mars\"]", Settings::default()).unwrap_err();
        assert!(crate::error::chain(&error).contains("mars"), "{error:?}");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = resolve("listen_on = \"x\"", Settings::default()).unwrap_err();
        assert!(crate::error::chain(&error).contains("listen_on"), "{error:?}");
    }

    #[test]
    fn a_database_url_is_never_printed() {
        let settings = Settings {
            database_url: Some(DatabaseUrl::from("postgres://u:hunter2@db/x")),
            ..Settings::default()
        };
        let config = Config::new(settings).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
