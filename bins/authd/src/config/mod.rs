mod apps;
mod idle;
mod settings;
mod value;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use agent_auth::Rules;
use clap::Args;
use identity_verify::Policy;
use store::EncryptionKeys;
use thiserror::Error;

use self::idle::IdleSetting;
use self::settings::Settings;
pub(crate) use self::settings::{DatabaseUrl, LogFormat};
use self::value::Within;
use crate::server::ServerLimits;
use authd_http::{AppsConfig, Limits};
use fleet_import::{Malformed, from_toml};
use identity_fetch::{KeyUrl, KeyUrlError};

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
        let file: Settings = from_toml(&text).map_err(malformed)?;
        let mut merged = toml::Table::try_from(&file).map_err(ConfigError::Merge)?;
        merged.extend(toml::Table::try_from(&self.settings).map_err(ConfigError::Merge)?);
        Config::new(merged.try_into().map_err(ConfigError::Merged)?)
    }
}

/// How authd runs: every question about configuration is answered here, once
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) limits: Limits,
    pub(crate) server: ServerLimits,
    pub(crate) store: StoreConfig,
    pub(crate) identity: IdentityConfig,
    pub(crate) rules: Rules,
    /// How apps are reached, if at all
    pub(crate) apps: Option<AppsConfig>,
    /// For how long rows of the audit log are kept, if not for good
    pub(crate) audit_retention: Option<Duration>,
    /// Whether visits are also written where the control plane's own page looks for them
    pub(crate) mirror_audit: bool,
    /// Whether authd makes and rotates the keys it signs with
    pub(crate) key_rotation: bool,
    /// Whether a control plane's rows may be changed as only it changes them
    pub(crate) into_control_plane: bool,
    pub(crate) log_level: String,
    pub(crate) log_format: Option<LogFormat>,
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

#[derive(Clone, Debug)]
pub(crate) struct Connections {
    pub(crate) read: u32,
    pub(crate) write: u32,
    /// What the control plane encrypts some of its columns with
    pub(crate) encryption_keys: EncryptionKeys,
}

impl Connections {
    fn options(self) -> store::Options {
        store::Options::default()
            .read_connections(usize::try_from(self.read).unwrap_or(usize::MAX))
            .write_connections(self.write)
            .encryption_keys(self.encryption_keys)
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
    /// Settings that can do nothing
    idle: Vec<IdleSetting>,
    /// Whether a setting names the source of Google's keys
    fetches_keys_by_setting: bool,
}

/// Not reachable from elsewhere until somebody decides that it shall be
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// PostgreSQL's notices, such as a table that a migration found in place, are none of
/// an operator's business
const DEFAULT_LOG_LEVEL: &str = "info,tokio_postgres=warn";

impl Config {
    /// How the configured store is used
    pub(crate) fn store_options(&self) -> store::Options {
        let options = match &self.store {
            StoreConfig::Memory => store::Options::default(),
            StoreConfig::Postgres { connections, .. }
            | StoreConfig::Private { connections, .. } => connections.clone().options(),
        };
        options
            .app_access(self.apps.is_some())
            .mirror_audit(self.mirror_audit)
            .into_control_plane(self.into_control_plane)
    }

    /// The configuration that a file with this text makes, for tests
    #[cfg(test)]
    pub(crate) fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::new(toml::from_str(text).map_err(ConfigError::Merged)?)
    }

    fn new(settings: Settings) -> Result<Self, ConfigError> {
        let (limits, server) = (Limits::default(), ServerLimits::default());
        let request = settings.request_timeout_seconds.map_or(limits.request, seconds);
        let limits = Limits {
            request,
            requests_in_flight: count(settings.max_requests_in_flight, limits.requests_in_flight),
            ..limits
        };
        let server = ServerLimits {
            connections: count(settings.max_connections, server.connections),
            head: request,
            drain: settings.drain_timeout_seconds.map_or(server.drain, seconds),
            ..server
        };
        let rules = Rules::default()
            .allow_instance_shared_by_workspaces(
                settings.allow_instance_shared_by_workspaces.unwrap_or_default(),
            )
            .hide_stale(settings.hide_stale_instances.unwrap_or_default());
        Ok(Self {
            listen: settings.listen.unwrap_or(DEFAULT_LISTEN),
            limits,
            server,
            rules,
            apps: settings.apps()?,
            audit_retention: settings
                .audit_retention_days
                .filter(|days| days.get() > 0)
                .map(|days| Duration::from_secs(u64::from(days) * 86_400)),
            mirror_audit: settings.mirror_audit.unwrap_or_default(),
            key_rotation: settings.key_rotation.unwrap_or(true),
            into_control_plane: settings.into_control_plane.unwrap_or_default(),
            identity: IdentityConfig {
                policy: settings.policy()?,
                trust_dir: settings.trust_dir.clone(),
                google_keys: match settings.fetch_google_keys.as_deref() {
                    Some("off") => None,
                    Some(url) => Some(url.parse().map_err(ConfigError::KeyUrl)?),
                    None => Some(KeyUrl::default()),
                },
                fetch_azure_issuers: settings.fetch_azure_issuers.unwrap_or_default(),
                idle: settings.idle(),
                fetches_keys_by_setting: settings
                    .fetch_google_keys
                    .as_deref()
                    .is_some_and(|url| url != "off"),
            },
            log_level: settings.log_level.clone().unwrap_or_else(|| DEFAULT_LOG_LEVEL.to_owned()),
            log_format: settings.log_format,
            store: settings.store()?,
        })
    }
}

fn seconds<const MIN: u32, const MAX: u32>(setting: Within<MIN, MAX>) -> Duration {
    Duration::from_secs(setting.into())
}

fn count<const MIN: u32, const MAX: u32>(
    setting: Option<Within<MIN, MAX>>,
    default: usize,
) -> usize {
    setting.and_then(|n| usize::try_from(n.get()).ok()).unwrap_or(default)
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
    #[error("`{setting}` {problem}")]
    Apps { setting: &'static str, problem: String },
    #[error("`external_token_encryption_keys` is not usable")]
    EncryptionKeys(#[source] store::Error),
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
        error: Malformed,
    },
    #[error("`--store memory` and a database URL exclude each other")]
    MemoryWithUrl,
    #[error("settings cannot be merged")]
    Merge(#[source] toml::ser::Error),
    #[error("settings contradict each other")]
    Merged(#[source] toml::de::Error),
    #[error("no home directory to keep a database in; set `--data-dir` or `--database-url`")]
    NoDataDir,
    #[error("`{key}` is not valid")]
    Policy {
        key: String,
        #[source]
        error: serde_json::Error,
    },
    #[error("`{}` cannot be read", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD as STANDARD;
    use identity_verify::Audience;

    use super::value::SecretText;
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
        let told = authd_http::error_chain(&error);
        assert!(told.contains("azure_clouds[0]") && told.contains("mars"), "{told}");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = resolve("listen_on = \"x\"", Settings::default()).unwrap_err();
        assert!(authd_http::error_chain(&error).contains("listen_on"), "{error:?}");
    }

    #[test]
    fn a_number_that_no_flag_may_have_no_file_may_have() {
        for (key, number) in [
            ("request_timeout_seconds", "0"),
            ("drain_timeout_seconds", "3601"),
            ("max_requests_in_flight", "0"),
            ("max_connections", "5000000000"),
            ("read_connections", "65"),
            ("write_connections", "0"),
            ("agent_inactive_timeout_seconds", "1"),
            ("session_duration_seconds", "59"),
            ("audit_session_timeout_seconds", "9223372036854775807"),
            ("audit_retention_days", "999999999999999999"),
        ] {
            let error = resolve(&format!("{key} = {number}"), Settings::default()).unwrap_err();
            let told = authd_http::error_chain(&error);
            assert!(told.contains(&format!("`{key}`: line 1: {number} is not in ")), "{told}");
        }
        let config = resolve("audit_retention_days = 36500", Settings::default()).unwrap();
        assert_eq!(config.audit_retention, Some(Duration::from_secs(36_500 * 86_400)));
    }

    #[test]
    fn no_line_of_a_malformed_file_is_printed() {
        for file in [
            "database_url = \"postgres://u:hunter2@db/x",
            "database_url = \"postgres://u:hunter2@db/x\" x",
            "database_url = [\"postgres://u:hunter2@db/x\"]",
            "databse_url = \"postgres://u:hunter2@db/x\"",
            "listen = 1 # hunter2",
            "external_token_encryption_keys = [[\"hunter2\"]]",
            "external_token_encryption_keys = { key = \"hunter2\" }",
            "external_token_encryption_keys = [\"hunter2\", 5]",
        ] {
            let error = resolve(&format!("\n{file}"), Settings::default()).unwrap_err();
            let told = authd_http::error_chain(&error);
            assert!(told.contains("line 2: ") && !told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn google_has_two_names_in_the_file() {
        let flags = || Settings { google_audience: Some("flag".to_owned()), ..Settings::default() };
        let audience =
            |file: &str, settings| resolve(file, settings).unwrap().identity.policy.google_audience;
        for key in ["google_audience", "gcp_audience"] {
            let file = format!("store = \"memory\"\n{key} = \"file\"");
            let is = |text: &str| Audience::Is(text.to_owned());
            assert_eq!(audience(&file, Settings::default()), is("file"), "{key}");
            assert_eq!(audience(&file, flags()), is("flag"), "{key}");
        }
        let twice = "google_audience = \"a\"\ngcp_audience = \"b\"";
        assert!(resolve(twice, Settings::default()).is_err());
    }

    #[test]
    fn encryption_keys_are_read_from_flags_and_file_and_never_printed() {
        let [first, second] = [[1; 32], [2; 32]].map(|key| STANDARD.encode(key));
        let known = |config: Config| {
            assert!(!format!("{config:?}").contains(&first));
            let StoreConfig::Postgres { connections, .. } = config.store else { panic!() };
            ["39d228e", "8da534f"].map(|digest| connections.encryption_keys.contains(digest))
        };
        for (keys, expected) in [
            (format!("[\"{first}\", \" {second}\"]"), [true, true]),
            (format!("\"{first}, {second}\""), [true, true]),
            (format!("[\"{second}\"]"), [false, true]),
            ("[]".to_owned(), [false, false]),
            ("\"\"".to_owned(), [false, false]),
        ] {
            let file = format!("database_url = \"x\"\nexternal_token_encryption_keys = {keys}");
            let flag = Settings {
                external_token_encryption_keys: Some(vec![SecretText::from(&*first)]),
                ..Settings::default()
            };
            assert_eq!(known(resolve(&file, flag).unwrap()), [true, false]);
            assert_eq!(known(resolve(&file, Settings::default()).unwrap()), expected, "{keys}");
        }
        for (keys, problem) in [
            (format!("[\"{first}\", \"hunter2\"]"), "encryption key 2 of 2 is not base64"),
            ("[\"aHVudGVyMg==\"]".to_owned(), "encryption key 1 of 1 has 7 bytes instead of 32"),
            (format!("[\"{first}\", \"\"]"), "encryption key 2 of 2 has 0 bytes instead of 32"),
            (format!("\"{first},{first}\""), "encryption key 2 of 2 is the same as key 1"),
        ] {
            let file = format!("external_token_encryption_keys = {keys}");
            let error = resolve(&file, Settings::default()).unwrap_err();
            let told = authd_http::error_chain(&error);
            let setting = "`external_token_encryption_keys` is not usable: ";
            assert_eq!(told, format!("{setting}{problem}"));
        }
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
