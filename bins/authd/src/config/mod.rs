//! Settings, from flags, environment and a TOML file, and the configuration that they make

mod apps;
mod error;
mod file;
mod identity;
mod listening;
mod oidc;
mod secret_file;
mod settings;
mod store;
mod value;

use std::path::PathBuf;
use std::time::Duration;

use ::store::Options;
use agent_auth::Rules;
use authd_http::{ActAudit, AppsConfig, AuditFail, Freshness, Limits, OidcConfig, RefreshConfig};
use authd_server::Limits as ServerLimits;
use clap::Args;

pub(crate) use self::error::ConfigError;
pub(crate) use self::identity::IdentityConfig;
use self::listening::Listening;
pub(crate) use self::listening::{ListenConfig, TlsFiles};
use self::oidc::Oidc;
use self::settings::Settings;
pub(crate) use self::store::StoreConfig;
use self::store::Stored;
pub(crate) use self::value::LogFormat;
use self::value::Within;

/// The settings and their file: arguments of every command that uses the store
#[derive(Args)]
pub(crate) struct ConfigArgs {
    /// TOML file of settings; flags and environment variables replace what it has
    #[arg(long, env = "AUTHD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    groups: Groups,
}

/// Everything that an operator can set, before defaults are filled in
///
/// The same structs are read from flags, from `AUTHD_*` environment variables, and from a TOML file
/// whose keys are the names of their fields. Flags replace environment variables, and these replace
/// the file.
#[derive(Args, Clone, Default)]
struct Groups {
    #[command(flatten)]
    listening: Listening,
    #[command(flatten)]
    stored: Stored,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    oidc: Oidc,
}

impl ConfigArgs {
    /// Reads the file, replaces what flags and environment set, and fills in defaults
    ///
    /// # Errors
    ///
    /// If the file cannot be read, has an unknown key or an invalid value, or if settings
    /// contradict each other.
    pub(crate) fn resolve(self) -> Result<Config, ConfigError> {
        match self.config {
            Some(path) => Config::new(file::read_under(&path, &self.groups)?),
            None => Config::new(self.groups),
        }
    }
}

/// How authd runs
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: ListenConfig,
    pub(crate) limits: Limits,
    pub(crate) server: ServerLimits,
    pub(crate) store: StoreConfig,
    /// How long `serve` waits for the database at its start
    pub(crate) database_wait: Duration,
    pub(crate) identity: IdentityConfig,
    pub(crate) rules: Rules,
    pub(crate) freshness: Freshness,
    /// How apps are reached, if app access is on
    pub(crate) apps: Option<AppsConfig>,
    /// How people sign in, if no control plane signs them in
    pub(crate) oidc: Option<OidcConfig>,
    pub(crate) refresh: RefreshConfig,
    /// Whether proxies and carriers are told what may not be allowed any more
    pub(crate) revocations: bool,
    pub(crate) act_audit: ActAudit,
    /// How long rows of the audit log are kept; `None` for ever
    pub(crate) audit_retention: Option<Duration>,
    /// Whether visits are also recorded in the control plane's own table
    pub(crate) mirror_audit: bool,
    /// Whether authd creates and rotates the keys that it signs with
    pub(crate) key_rotation: bool,
    /// Whether authd may change rows that belong to a control plane
    pub(crate) into_control_plane: bool,
    pub(crate) log_level: String,
    pub(crate) log_format: Option<LogFormat>,
}

/// Enough for a load balancer that checks every second
const LAME_DUCK: Duration = Duration::from_secs(1);

/// Without PostgreSQL's notices, such as that a table of a migration exists already
const DEFAULT_LOG_LEVEL: &str = "info,tokio_postgres=warn";

impl Config {
    /// How the store is used
    pub(crate) fn store_options(&self) -> Options {
        self.store
            .options()
            .identity_pins(self.freshness.pins)
            .app_access(self.apps.is_some())
            .mirror_audit(self.mirror_audit)
            .needs_writes(self.act_audit.is_required)
            .into_control_plane(self.into_control_plane)
    }

    /// The configuration of a file with this text
    #[cfg(test)]
    pub(crate) fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::new(file::parse(text).unwrap())
    }

    fn new(groups: Groups) -> Result<Self, ConfigError> {
        let Groups { listening, stored, settings, oidc } = groups;
        let listen = listening.listen()?;
        let spool = settings.audit_spool.clone().or_else(|| stored.audit_spool());
        let spool = spool.filter(|file| !file.as_os_str().is_empty());
        let (limits, server) = (Limits::default(), ServerLimits::default());
        let request = settings.request_timeout_seconds.map_or(limits.request, Within::seconds);
        let limits = Limits {
            request,
            requests_in_flight: settings
                .max_requests_in_flight
                .map_or(limits.requests_in_flight, Within::count),
            longest_wait: settings
                .longest_wait_seconds
                .map_or(limits.longest_wait, Within::seconds)
                .min(request),
            failed_proofs_per_minute: settings
                .failed_proofs_per_minute
                .map_or(limits.failed_proofs_per_minute, Within::get),
            failed_log_ins_per_minute: settings
                .failed_log_ins_per_minute
                .map_or(limits.failed_log_ins_per_minute, Within::get),
            ..limits
        };
        let server = ServerLimits {
            connections: settings.max_connections.map_or(server.connections, Within::count),
            head: request,
            lame_duck: settings.lame_duck_seconds.map_or(LAME_DUCK, Within::seconds),
            drain: settings.drain_timeout_seconds.map_or(server.drain, Within::seconds),
            ..server
        };
        let rules = Rules::default()
            .allow_instance_shared_by_workspaces(
                settings.allow_instance_shared_by_workspaces.unwrap_or_default(),
            )
            .hide_stale(settings.hide_stale_instances.unwrap_or_default());
        let identity = settings.identity()?;
        let apps = settings.apps(spool.clone())?;
        let url = apps.as_ref().map(|apps| &apps.access_url);
        let (refresh, oidc) = (oidc.refresh(url)?, oidc.sign_in(url)?);
        Ok(Self {
            limits,
            server,
            rules,
            oidc,
            refresh,
            apps,
            listen,
            revocations: settings.revocations.unwrap_or_default() && settings.access_url.is_some(),
            act_audit: ActAudit::new(settings.audit_fail == Some(AuditFail::Closed), spool),
            audit_retention: settings
                .audit_retention_days
                .filter(|days| days.get() > 0)
                .map(|days| Duration::from_secs(u64::from(days) * 86_400)),
            mirror_audit: settings.mirror_audit.unwrap_or_default(),
            key_rotation: settings.key_rotation.unwrap_or(true),
            into_control_plane: stored.into_control_plane.unwrap_or_default(),
            freshness: settings.freshness(&identity.policy)?,
            identity,
            log_level: match &settings.log_level {
                Some(filter) => value::log_filter(filter)?,
                None => DEFAULT_LOG_LEVEL.to_owned(),
            },
            log_format: settings.log_format,
            database_wait: stored.wait(),
            store: stored.store()?,
        })
    }
}

/// The environment variables that begin with `AUTHD_` and are not settings
///
/// This is not an error: an orchestrator that runs a service called `authd` sets
/// `AUTHD_SERVICE_HOST` and others in every container.
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

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD as STANDARD;
    use identity_verify::Audience;

    use identity_verify::Policy;

    use super::value::{DatabaseUrl, SecretText};
    use super::*;

    fn resolve(file: &str, groups: Groups) -> Result<Config, ConfigError> {
        let path = std::env::temp_dir().join(format!("authd-config-{}", uuid::Uuid::new_v4()));
        std::fs::write(&path, file).unwrap();
        let config = ConfigArgs { config: Some(path.clone()), groups }.resolve();
        std::fs::remove_file(path).unwrap();
        config
    }

    #[test]
    fn flags_replace_settings_of_the_file() {
        let file = "listen = \"127.0.0.1:1\"\nstore = \"memory\"\nhide_stale_instances = true\n\
                    aws_allowed_regions = [\"eu-west-3\"]";
        let listen = Some(vec!["127.0.0.1:2".to_owned()]);
        let flags =
            Groups { listening: Listening { listen, ..Listening::default() }, ..Groups::default() };
        let config = resolve(file, flags).unwrap();
        assert_eq!(config.listen.addresses[0].to_string(), "127.0.0.1:2");
        assert!(config.rules.hide_stale);
        assert!(matches!(config.store, StoreConfig::Memory));
        assert_eq!(
            config.identity.policy.aws_allowed_regions,
            Some(["eu-west-3".to_owned()].into())
        );
    }

    #[test]
    fn the_policy_is_made_of_the_settings_with_the_same_names() {
        let file = "store = \"memory\"\nazure_clouds = [\"china\"]\ngoogle_audience = \"*\"\n\
                    leeway_seconds = 5";
        let policy = resolve(file, Groups::default()).unwrap().identity.policy;
        assert_eq!(policy.azure_clouds, Some([identity_verify::azure::Environment::China].into()));
        assert_eq!(policy.google_audience, identity_verify::Audience::Any);
        assert_eq!(policy.leeway_seconds, 5);
        assert_eq!(
            policy.google_max_lifetime_seconds,
            Policy::default().google_max_lifetime_seconds
        );
        let error = resolve("azure_clouds = [\"mars\"]", Groups::default()).unwrap_err();
        let printed = authd_http::error_chain(&error);
        assert!(printed.contains("azure_clouds[0]") && printed.contains("mars"), "{printed}");
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = resolve("listen_on = \"x\"", Groups::default()).unwrap_err();
        assert!(authd_http::error_chain(&error).contains("listen_on"), "{error:?}");
    }

    #[test]
    fn a_number_outside_its_range_is_refused_in_a_file() {
        for (key, number) in [
            ("request_timeout_seconds", "0"),
            ("drain_timeout_seconds", "3601"),
            ("max_requests_in_flight", "0"),
            ("longest_wait_seconds", "0"),
            ("max_connections", "5000000000"),
            ("read_connections", "65"),
            ("write_connections", "0"),
            ("agent_inactive_timeout_seconds", "1"),
            ("session_duration_seconds", "59"),
            ("audit_session_timeout_seconds", "9223372036854775807"),
            ("audit_retention_days", "999999999999999999"),
        ] {
            let error = resolve(&format!("{key} = {number}"), Groups::default()).unwrap_err();
            let printed = authd_http::error_chain(&error);
            assert!(
                printed.contains(&format!("`{key}`: line 1: {number} is not in ")),
                "{printed}"
            );
        }
        let config = resolve("audit_retention_days = 36500", Groups::default()).unwrap();
        assert_eq!(config.audit_retention, Some(Duration::from_secs(36_500 * 86_400)));
    }

    #[test]
    fn sign_ins_and_visits_that_are_not_recorded_are_kept_in_one_file() {
        for (settings, expected) in [
            ("data_dir = \"/d\"", Some("/d/audit-spool.jsonl")),
            ("data_dir = \"/d\"\naudit_spool = \"/s\"", Some("/s")),
            ("data_dir = \"/d\"\naudit_spool = \"\"", None),
            ("store = \"memory\"\naudit_spool = \"/s\"", Some("/s")),
            ("store = \"memory\"", None),
        ] {
            let file = format!("access_url = \"https://a.example\"\n{settings}");
            let config = resolve(&file, Groups::default()).unwrap();
            let expected = expected.map(PathBuf::from);
            assert_eq!(config.act_audit.spool, expected, "{settings}");
            assert_eq!(config.apps.unwrap().audit_spool, expected, "{settings}");
        }
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
            let error = resolve(&format!("\n{file}"), Groups::default()).unwrap_err();
            let printed = authd_http::error_chain(&error);
            assert!(printed.contains("line 2: ") && !printed.contains("hunter2"), "{printed}");
        }
    }

    #[test]
    fn settings_of_google_have_two_names_in_the_file() {
        let google_audience = || Some("flag".to_owned());
        let settings = || Settings { google_audience: google_audience(), ..Settings::default() };
        let flags = || Groups { settings: settings(), ..Groups::default() };
        let audience =
            |file: &str, groups| resolve(file, groups).unwrap().identity.policy.google_audience;
        for key in ["google_audience", "gcp_audience"] {
            let file = format!("store = \"memory\"\n{key} = \"file\"");
            let is = |text: &str| Audience::Is(text.to_owned());
            assert_eq!(audience(&file, Groups::default()), is("file"), "{key}");
            assert_eq!(audience(&file, flags()), is("flag"), "{key}");
        }
        let twice = "google_audience = \"a\"\ngcp_audience = \"b\"";
        assert!(resolve(twice, Groups::default()).is_err());
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
            let keys_of_flag = Some(vec![SecretText::from(&*first)]);
            let stored =
                Stored { external_token_encryption_keys: keys_of_flag, ..Stored::default() };
            let flag = Groups { stored, ..Groups::default() };
            assert_eq!(known(resolve(&file, flag).unwrap()), [true, false]);
            assert_eq!(known(resolve(&file, Groups::default()).unwrap()), expected, "{keys}");
        }
        for (keys, problem) in [
            (format!("[\"{first}\", \"hunter2\"]"), "encryption key 2 of 2 is not base64"),
            ("[\"aHVudGVyMg==\"]".to_owned(), "encryption key 1 of 1 has 7 bytes instead of 32"),
            (format!("[\"{first}\", \"\"]"), "encryption key 2 of 2 has 0 bytes instead of 32"),
            (format!("\"{first},{first}\""), "encryption key 2 of 2 is the same as key 1"),
        ] {
            let file = format!("external_token_encryption_keys = {keys}");
            let error = resolve(&file, Groups::default()).unwrap_err();
            let printed = authd_http::error_chain(&error);
            let setting = "`external_token_encryption_keys` is not usable: ";
            assert_eq!(printed, format!("{setting}{problem}"));
        }
    }

    #[test]
    fn a_database_url_is_never_printed() {
        let url = Some(DatabaseUrl::from("postgres://u:hunter2@db/x"));
        let stored = Stored { database_url: url, ..Stored::default() };
        let config = Config::new(Groups { stored, ..Groups::default() }).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
