use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use identity_verify::Policy;
use serde::{Deserialize, Serialize};

use super::value::{SecretText, Within, encryption_keys, entry, secrets};
use super::{ConfigError, Connections, StoreConfig};

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
    pub(super) listen: Option<SocketAddr>,
    /// Seconds a request may take, body included [default: 10]
    #[arg(long, env = "AUTHD_REQUEST_TIMEOUT_SECONDS", value_name = "N", help_heading = "Server")]
    pub(super) request_timeout_seconds: Option<Within<1, 600>>,
    /// Seconds that answers under way may still take after SIGTERM [default: 20]
    #[arg(long, env = "AUTHD_DRAIN_TIMEOUT_SECONDS", value_name = "N", help_heading = "Server")]
    pub(super) drain_timeout_seconds: Option<Within<0, 3600>>,
    /// Requests answered at a time; more get 503 with Retry-After [default: 1024]
    #[arg(long, env = "AUTHD_MAX_REQUESTS_IN_FLIGHT", value_name = "N", help_heading = "Server")]
    pub(super) max_requests_in_flight: Option<Within<1, 1_000_000>>,
    /// Connections open at a time; more wait to be accepted [default: 8192]
    #[arg(long, env = "AUTHD_MAX_CONNECTIONS", value_name = "N", help_heading = "Server")]
    pub(super) max_connections: Option<Within<1, 1_000_000>>,

    /// Where the control plane's data is [default: postgres]
    #[arg(long, env = "AUTHD_STORE", help_heading = "Store")]
    pub(super) store: Option<StoreKind>,
    /// PostgreSQL to use, as a URL or a list of NAME=VALUE with libpq's parameters, such as
    /// search_path, sslmode, sslcert, options, several hosts; without one, authd runs its own
    /// in the data directory
    #[arg(
        long,
        env = "AUTHD_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL",
        help_heading = "Store"
    )]
    pub(super) database_url: Option<DatabaseUrl>,
    /// Where authd's own PostgreSQL keeps its data [default: /var/lib/authd as root, else
    /// ~/.local/share/authd]
    #[arg(long, env = "AUTHD_DATA_DIR", value_name = "DIR", help_heading = "Store")]
    pub(super) data_dir: Option<PathBuf>,
    /// Folder of `initdb` and `postgres` [default: the newest installed]
    #[arg(long, env = "AUTHD_POSTGRES_BIN", value_name = "DIR", help_heading = "Store")]
    pub(super) postgres_bin: Option<PathBuf>,
    /// Connections shared by all reads; callers share statements, so that few suffice
    /// [default: 2]
    #[arg(long, env = "AUTHD_READ_CONNECTIONS", value_name = "N", help_heading = "Store")]
    pub(super) read_connections: Option<Within<1, 64>>,
    /// Connections for writes, at most [default: 8]
    #[arg(long, env = "AUTHD_WRITE_CONNECTIONS", value_name = "N", help_heading = "Store")]
    pub(super) write_connections: Option<Within<1, 1000>>,

    /// Keys that the control plane encrypts with, in base64, separated by commas: the first
    /// encrypts, all decrypt
    #[serde(deserialize_with = "secrets")]
    #[arg(
        long,
        env = "AUTHD_EXTERNAL_TOKEN_ENCRYPTION_KEYS",
        hide_env_values = true,
        value_name = "KEY",
        value_delimiter = ',',
        help_heading = "Store"
    )]
    pub(super) external_token_encryption_keys: Option<Vec<SecretText>>,
    /// Let imports, new tokens of proxies and replaced keys change the rows of a control plane
    /// [default: false]
    #[arg(long, env = "AUTHD_INTO_CONTROL_PLANE", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Store")]
    pub(super) into_control_plane: Option<bool>,

    /// Folder of keys and certificates to trust beside the built-in ones
    #[arg(long, env = "AUTHD_TRUST_DIR", value_name = "DIR", help_heading = "Trust")]
    pub(super) trust_dir: Option<PathBuf>,
    /// Where Google's keys are fetched when a Google instance first signs in, or `off`
    /// [default: Google's own URL]
    #[arg(long, env = "AUTHD_FETCH_GOOGLE_KEYS", value_name = "URL", help_heading = "Trust")]
    pub(super) fetch_google_keys: Option<String>,
    /// Fetch Azure issuers that are not built in, from Microsoft and DigiCert [default: false]
    #[arg(long, env = "AUTHD_FETCH_AZURE_ISSUERS", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Trust")]
    pub(super) fetch_azure_issuers: Option<bool>,

    /// Seconds of clock difference to forgive [default: 60]
    #[arg(long, env = "AUTHD_LEEWAY_SECONDS", value_name = "N", help_heading = "Identity policy")]
    pub(super) leeway_seconds: Option<u64>,
    /// Refuse AWS documents older than this, counted from the instance's last start
    #[arg(
        long,
        env = "AUTHD_AWS_MAX_DOCUMENT_AGE_SECONDS",
        value_name = "N",
        help_heading = "Identity policy"
    )]
    pub(super) aws_max_document_age_seconds: Option<u64>,
    /// AWS accounts that may sign in, separated by commas [default: all]
    #[arg(
        long,
        env = "AUTHD_AWS_ALLOWED_ACCOUNTS",
        value_name = "ID",
        value_delimiter = ',',
        value_parser = entry,
        help_heading = "Identity policy"
    )]
    pub(super) aws_allowed_accounts: Option<Vec<String>>,
    /// AWS regions that may sign in, separated by commas [default: all]
    #[arg(
        long,
        env = "AUTHD_AWS_ALLOWED_REGIONS",
        value_name = "REGION",
        value_delimiter = ',',
        value_parser = entry,
        help_heading = "Identity policy"
    )]
    pub(super) aws_allowed_regions: Option<Vec<String>>,
    /// Accept AWS's classic document signature, which is RSA-1024 [default: true]
    #[arg(long, env = "AUTHD_AWS_ALLOW_RSA1024", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Identity policy")]
    pub(super) aws_allow_rsa1024: Option<bool>,
    /// Accept AWS's legacy `/pkcs7`, which is DSA with SHA-1 [default: false]
    #[arg(long, env = "AUTHD_AWS_ALLOW_DSA_SHA1", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Identity policy")]
    pub(super) aws_allow_dsa_sha1: Option<bool>,
    /// Refuse Azure's attested data after its end, six hours after it was made [default: true]
    #[arg(long, env = "AUTHD_AZURE_ENFORCE_EXPIRES_ON", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Identity policy")]
    pub(super) azure_enforce_expires_on: Option<bool>,
    /// Nonce that Azure's attested data must answer
    #[arg(
        long,
        env = "AUTHD_AZURE_EXPECTED_NONCE",
        value_name = "TEXT",
        help_heading = "Identity policy"
    )]
    pub(super) azure_expected_nonce: Option<String>,
    /// Azure subscriptions that may sign in, separated by commas [default: all]
    #[arg(
        long,
        env = "AUTHD_AZURE_ALLOWED_SUBSCRIPTIONS",
        value_name = "UUID",
        value_delimiter = ',',
        value_parser = entry,
        help_heading = "Identity policy"
    )]
    pub(super) azure_allowed_subscriptions: Option<Vec<String>>,
    /// Azure clouds that may sign in: public, government, china, germany
    /// [default: all but germany]
    #[arg(
        long,
        env = "AUTHD_AZURE_CLOUDS",
        value_name = "CLOUD",
        value_delimiter = ',',
        value_parser = entry,
        help_heading = "Identity policy"
    )]
    pub(super) azure_clouds: Option<Vec<String>>,
    /// Audience that Google's tokens must name, or `*` for any [default: coder]
    #[serde(alias = "gcp_audience")]
    #[arg(
        long,
        env = "AUTHD_GOOGLE_AUDIENCE",
        value_name = "TEXT",
        help_heading = "Identity policy"
    )]
    pub(super) google_audience: Option<String>,
    /// Google projects that may sign in, separated by commas [default: all]
    #[serde(alias = "gcp_allowed_projects")]
    #[arg(
        long,
        env = "AUTHD_GOOGLE_ALLOWED_PROJECTS",
        value_name = "ID",
        value_delimiter = ',',
        value_parser = entry,
        help_heading = "Identity policy"
    )]
    pub(super) google_allowed_projects: Option<Vec<String>>,
    /// Google service accounts that may sign in, separated by commas [default: all]
    #[serde(alias = "gcp_allowed_service_accounts")]
    #[arg(
        long,
        env = "AUTHD_GOOGLE_ALLOWED_SERVICE_ACCOUNTS",
        value_name = "EMAIL",
        value_delimiter = ',',
        value_parser = entry,
        help_heading = "Identity policy"
    )]
    pub(super) google_allowed_service_accounts: Option<Vec<String>>,
    /// Refuse Google instances created longer ago than this
    #[serde(alias = "gcp_max_instance_age_seconds")]
    #[arg(
        long,
        env = "AUTHD_GOOGLE_MAX_INSTANCE_AGE_SECONDS",
        value_name = "N",
        help_heading = "Identity policy"
    )]
    pub(super) google_max_instance_age_seconds: Option<u64>,
    /// Refuse Google tokens issued for longer than this [default: 3900]
    #[serde(alias = "gcp_max_lifetime_seconds")]
    #[arg(
        long,
        env = "AUTHD_GOOGLE_MAX_LIFETIME_SECONDS",
        value_name = "N",
        help_heading = "Identity policy"
    )]
    pub(super) google_max_lifetime_seconds: Option<u64>,

    /// Select by name among the agents of all workspaces that claim an instance [default: false]
    #[arg(long, env = "AUTHD_ALLOW_INSTANCE_SHARED_BY_WORKSPACES", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Agent sign-in")]
    pub(super) allow_instance_shared_by_workspaces: Option<bool>,
    /// Answer 404 instead of 400 where only agents of earlier builds exist [default: false]
    #[arg(long, env = "AUTHD_HIDE_STALE_INSTANCES", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Agent sign-in")]
    pub(super) hide_stale_instances: Option<bool>,

    /// URL of the dashboard; without one, app access is off
    #[arg(long, env = "AUTHD_ACCESS_URL", value_name = "URL", help_heading = "App access")]
    pub(super) access_url: Option<String>,
    /// Pattern of the hosts of apps, such as `*.apps.example.com`; without one, apps are reached
    /// by path alone; a port only where apps are on another than the access URL
    #[arg(
        long,
        env = "AUTHD_WILDCARD_ACCESS_URL",
        value_name = "PATTERN",
        help_heading = "App access"
    )]
    pub(super) wildcard_access_url: Option<String>,
    /// Refuse apps that are reached by path [default: false]
    #[arg(long, env = "AUTHD_DISABLE_PATH_APPS", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "App access")]
    pub(super) disable_path_apps: Option<bool>,
    /// Let apps that are reached by path be shared: they run on the dashboard's host and can act
    /// as their visitor [default: false]
    #[arg(long, env = "AUTHD_DANGEROUS_ALLOW_PATH_APP_SHARING", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "App access")]
    pub(super) dangerous_allow_path_app_sharing: Option<bool>,
    /// Let roles and access lists open other people's apps by path [default: false]
    #[arg(long, env = "AUTHD_DANGEROUS_ALLOW_PATH_APP_SITE_OWNER_ACCESS", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "App access")]
    pub(super) dangerous_allow_path_app_site_owner_access: Option<bool>,
    /// Take apps and terminals of other people from the role `owner` [default: false]
    #[arg(long, env = "AUTHD_DISABLE_OWNER_WORKSPACE_ACCESS", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "App access")]
    pub(super) disable_owner_workspace_access: Option<bool>,
    /// Leave the access lists of workspaces aside [default: false]
    #[arg(long, env = "AUTHD_DISABLE_WORKSPACE_SHARING", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "App access")]
    pub(super) disable_workspace_sharing: Option<bool>,
    /// Let a template's widest level narrow ports that were shared before [default: false]
    #[arg(long, env = "AUTHD_ENFORCE_MAX_PORT_SHARING_LEVEL", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "App access")]
    pub(super) enforce_max_port_sharing_level: Option<bool>,
    /// Seconds a connected agent may be silent [default: 30]
    #[arg(
        long,
        env = "AUTHD_AGENT_INACTIVE_TIMEOUT_SECONDS",
        value_name = "N",
        help_heading = "App access"
    )]
    pub(super) agent_inactive_timeout_seconds: Option<Within<2, 3600>>,
    /// How app tokens are signed: hs512, as the control plane does, or eddsa, so that proxies
    /// verify without a secret [default: hs512]
    #[arg(
        long,
        env = "AUTHD_APP_TOKEN_SIGNING",
        value_name = "ALGORITHM",
        help_heading = "App access"
    )]
    pub(super) app_token_signing: Option<TokenSigning>,
    /// Make and rotate the keys of app tokens; off where the control plane does [default: true]
    #[arg(long, env = "AUTHD_KEY_ROTATION", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "App access")]
    pub(super) key_rotation: Option<bool>,
    /// Seconds an app session lasts at most [default: 86400]
    #[arg(
        long,
        env = "AUTHD_SESSION_DURATION_SECONDS",
        value_name = "N",
        help_heading = "Sessions and cookies"
    )]
    pub(super) session_duration_seconds: Option<Within<60, 31_536_000>>,
    /// Never extend a session by its use [default: false]
    #[arg(long, env = "AUTHD_DISABLE_SESSION_EXPIRY_REFRESH", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Sessions and cookies")]
    pub(super) disable_session_expiry_refresh: Option<bool>,
    /// Never extend an API token by its use; a control plane before v2.35 does [default: false]
    #[arg(long, env = "AUTHD_DISABLE_TOKEN_EXPIRY_REFRESH", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Sessions and cookies")]
    pub(super) disable_token_expiry_refresh: Option<bool>,
    /// Send cookies over TLS alone [default: false]
    #[arg(long, env = "AUTHD_SECURE_AUTH_COOKIE", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Sessions and cookies")]
    pub(super) secure_auth_cookie: Option<bool>,
    /// Whether other sites' pages send the cookies: lax or none [default: lax]
    #[arg(
        long,
        env = "AUTHD_SAMESITE_AUTH_COOKIE",
        value_name = "MODE",
        help_heading = "Sessions and cookies"
    )]
    pub(super) samesite_auth_cookie: Option<CookieSameSite>,
    /// Keep cookies apart for each site that embeds an app [default: false]
    #[arg(long, env = "AUTHD_PARTITIONED_AUTH_COOKIE", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Sessions and cookies")]
    pub(super) partitioned_auth_cookie: Option<bool>,
    /// What stands before the name of every cookie
    #[arg(
        long,
        env = "AUTHD_COOKIE_PREFIX",
        value_name = "TEXT",
        help_heading = "Sessions and cookies"
    )]
    pub(super) cookie_prefix: Option<String>,
    /// Networks of proxies whose word on clients and hosts is taken, separated by commas
    #[arg(
        long,
        env = "AUTHD_PROXY_TRUSTED_ORIGINS",
        value_name = "CIDR",
        value_delimiter = ',',
        value_parser = entry,
        help_heading = "Proxies in front"
    )]
    pub(super) proxy_trusted_origins: Option<Vec<String>>,
    /// Headers in which they tell the client's address, separated by commas, the most telling
    /// first
    #[arg(
        long,
        env = "AUTHD_PROXY_TRUSTED_HEADERS",
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = entry,
        help_heading = "Proxies in front"
    )]
    pub(super) proxy_trusted_headers: Option<Vec<String>>,
    /// Seconds without a visit after which the next is recorded anew; 0 records every visit
    /// [default: 3600]
    #[arg(
        long,
        env = "AUTHD_AUDIT_SESSION_TIMEOUT_SECONDS",
        value_name = "N",
        help_heading = "Audit"
    )]
    pub(super) audit_session_timeout_seconds: Option<Within<0, 31_536_000>>,
    /// Days that rows of the audit log are kept; 0 keeps them for good [default: 0]
    #[arg(long, env = "AUTHD_AUDIT_RETENTION_DAYS", value_name = "N", help_heading = "Audit")]
    pub(super) audit_retention_days: Option<Within<0, 36_500>>,
    /// Record the end of a session too, with its first and last visit and how many there
    /// were [default: false]
    #[arg(long, env = "AUTHD_AUDIT_CLOSE_ROWS", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Audit")]
    pub(super) audit_close_rows: Option<bool>,
    /// Record visits a second time where the control plane's own dashboard shows them:
    /// `connection_logs`, or `audit_logs` before v2.25 [default: false]
    #[arg(long, env = "AUTHD_MIRROR_AUDIT", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Audit")]
    pub(super) mirror_audit: Option<bool>,
    /// What becomes of a visit that cannot be recorded: open lets it go on, closed refuses it
    /// [default: open]
    #[arg(long, env = "AUTHD_AUDIT_FAIL", value_name = "MODE", help_heading = "Audit")]
    pub(super) audit_fail: Option<AuditMode>,

    /// What to log: error, warn, info, debug, or a filter such as `info,store=debug`
    /// [default: info]
    #[arg(long, env = "AUTHD_LOG_LEVEL", value_name = "FILTER", help_heading = "Log")]
    pub(super) log_level: Option<String>,
    /// Shape of the log's lines [default: text to a terminal, else json]
    #[arg(long, env = "AUTHD_LOG_FORMAT", help_heading = "Log")]
    pub(super) log_format: Option<LogFormat>,
}

impl Settings {
    /// The identity policy, whose keys bear the names of ours
    pub(super) fn policy(&self) -> Result<Policy, ConfigError> {
        let wrong = |key: String, error| ConfigError::Policy { key, error };
        let mut keys = serde_json::to_value(self).map_err(|error| wrong(String::new(), error))?;
        if let Some(keys) = keys.as_object_mut() {
            keys.retain(|key, value| {
                let ours = ["aws_", "azure_", "google_", "leeway_"];
                !value.is_null() && ours.iter().any(|prefix| key.starts_with(prefix))
            });
        }
        serde_path_to_error::deserialize(keys)
            .map_err(|error| wrong(error.path().to_string(), error.into_inner()))
    }

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

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TokenSigning {
    Hs512,
    Eddsa,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CookieSameSite {
    Lax,
    None,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AuditMode {
    Open,
    Closed,
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
