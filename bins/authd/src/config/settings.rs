use std::path::PathBuf;

use authd_http::{AuditFail, SameSite, Signing};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::value::{LogFormat, Within, entry, one_of};

/// What an operator can set, apart from [`Listening`](super::Listening) and
/// [`Stored`](super::Stored)
#[derive(Args, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Settings {
    /// Seconds a request may take, body included [default: 10]
    #[arg(long, env = "AUTHD_REQUEST_TIMEOUT_SECONDS", value_name = "N", help_heading = "Server")]
    pub(super) request_timeout_seconds: Option<Within<1, 600>>,
    /// Seconds that requests in progress may still take after SIGTERM [default: 20]
    #[arg(long, env = "AUTHD_DRAIN_TIMEOUT_SECONDS", value_name = "N", help_heading = "Server")]
    pub(super) drain_timeout_seconds: Option<Within<0, 3600>>,
    /// Seconds after SIGTERM during which new connections are accepted, while `/readyz` answers 503
    /// [default: 1]
    #[arg(long, env = "AUTHD_LAME_DUCK_SECONDS", value_name = "N", help_heading = "Server")]
    pub(super) lame_duck_seconds: Option<Within<0, 600>>,
    /// Requests of each kind in progress at a time; more wait for their turn [default: 1024]
    #[arg(long, env = "AUTHD_MAX_REQUESTS_IN_FLIGHT", value_name = "N", help_heading = "Server")]
    pub(super) max_requests_in_flight: Option<Within<1, 1_000_000>>,
    /// Seconds that a request may wait for its turn; if it would wait longer, it gets 503 at once
    /// [default: 5]
    #[arg(long, env = "AUTHD_LONGEST_WAIT_SECONDS", value_name = "N", help_heading = "Server")]
    pub(super) longest_wait_seconds: Option<Within<1, 600>>,
    /// Proofs that may fail from one address in a minute before it gets 429 [default: 3000]
    #[arg(long, env = "AUTHD_FAILED_PROOFS_PER_MINUTE", value_name = "N", help_heading = "Server")]
    pub(super) failed_proofs_per_minute: Option<Within<1, 1_000_000>>,
    /// Wrong tokens at `/login` from one address in a minute before it gets 429 [default: 60]
    #[arg(
        long,
        env = "AUTHD_FAILED_LOG_INS_PER_MINUTE",
        value_name = "N",
        help_heading = "Server"
    )]
    pub(super) failed_log_ins_per_minute: Option<Within<1, 1_000_000>>,
    /// Connections open at a time; a new one then replaces an idle one [default: 8192]
    #[arg(long, env = "AUTHD_MAX_CONNECTIONS", value_name = "N", help_heading = "Server")]
    pub(super) max_connections: Option<Within<1, 1_000_000>>,

    /// Folder with keys and certificates to trust in addition to the built-in ones
    #[arg(long, env = "AUTHD_TRUST_DIR", value_name = "DIR", help_heading = "Trust")]
    pub(super) trust_dir: Option<PathBuf>,
    /// URL of Google's keys, fetched when a Google instance first signs in, or `off`
    /// [default: Google's own URL]
    #[arg(long, env = "AUTHD_FETCH_GOOGLE_KEYS", value_name = "URL", help_heading = "Trust")]
    pub(super) fetch_google_keys: Option<String>,
    /// Fetch Azure issuers that are not built in, from Microsoft and DigiCert [default: false]
    #[arg(long, env = "AUTHD_FETCH_AZURE_ISSUERS", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Trust")]
    pub(super) fetch_azure_issuers: Option<bool>,

    /// Seconds of clock difference to tolerate [default: 60]
    #[arg(long, env = "AUTHD_LEEWAY_SECONDS", value_name = "N", help_heading = "Identity policy")]
    pub(super) leeway_seconds: Option<u64>,
    /// Refuse AWS documents that are older, in seconds since the last start of the instance
    #[arg(
        long,
        env = "AUTHD_AWS_MAX_DOCUMENT_AGE_SECONDS",
        value_name = "N",
        help_heading = "Identity policy"
    )]
    pub(super) aws_max_document_age_seconds: Option<u64>,
    /// AWS accounts whose instances may sign in, separated by commas [default: all]
    #[arg(
        long,
        env = "AUTHD_AWS_ALLOWED_ACCOUNTS",
        value_name = "ID",
        value_delimiter = ',',
        value_parser = entry,
        help_heading = "Identity policy"
    )]
    pub(super) aws_allowed_accounts: Option<Vec<String>>,
    /// AWS regions whose instances may sign in, separated by commas [default: all]
    #[arg(
        long,
        env = "AUTHD_AWS_ALLOWED_REGIONS",
        value_name = "REGION",
        value_delimiter = ',',
        value_parser = entry,
        help_heading = "Identity policy"
    )]
    pub(super) aws_allowed_regions: Option<Vec<String>>,
    /// Accept the original signature of AWS documents, which is RSA-1024 [default: true]
    #[arg(long, env = "AUTHD_AWS_ALLOW_RSA1024", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Identity policy")]
    pub(super) aws_allow_rsa1024: Option<bool>,
    /// Accept AWS's legacy `/pkcs7`, which is DSA with SHA-1 [default: false]
    #[arg(long, env = "AUTHD_AWS_ALLOW_DSA_SHA1", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Identity policy")]
    pub(super) aws_allow_dsa_sha1: Option<bool>,
    /// Refuse Azure's attested data once it has expired, after six hours [default: true]
    #[arg(long, env = "AUTHD_AZURE_ENFORCE_EXPIRES_ON", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Identity policy")]
    pub(super) azure_enforce_expires_on: Option<bool>,
    /// Nonce that Azure's attested data must have
    #[arg(
        long,
        env = "AUTHD_AZURE_EXPECTED_NONCE",
        value_name = "TEXT",
        help_heading = "Identity policy"
    )]
    pub(super) azure_expected_nonce: Option<String>,
    /// Azure subscriptions whose machines may sign in, separated by commas [default: all]
    #[arg(
        long,
        env = "AUTHD_AZURE_ALLOWED_SUBSCRIPTIONS",
        value_name = "UUID",
        value_delimiter = ',',
        value_parser = entry,
        help_heading = "Identity policy"
    )]
    pub(super) azure_allowed_subscriptions: Option<Vec<String>>,
    /// Azure clouds whose machines may sign in: public, government, china, germany
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
    /// Audience that Google's tokens must have, or `*` for any [default: coder]
    #[serde(alias = "gcp_audience")]
    #[arg(
        long,
        env = "AUTHD_GOOGLE_AUDIENCE",
        value_name = "TEXT",
        help_heading = "Identity policy"
    )]
    pub(super) google_audience: Option<String>,
    /// Google projects whose instances may sign in, separated by commas [default: all]
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
    /// Google service accounts whose instances may sign in, separated by commas [default: all]
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
    /// Refuse Google instances that were created earlier, in seconds before now
    #[serde(alias = "gcp_max_instance_age_seconds")]
    #[arg(
        long,
        env = "AUTHD_GOOGLE_MAX_INSTANCE_AGE_SECONDS",
        value_name = "N",
        help_heading = "Identity policy"
    )]
    pub(super) google_max_instance_age_seconds: Option<u64>,
    /// Refuse Google tokens that are valid for longer, in seconds [default: 3900]
    #[serde(alias = "gcp_max_lifetime_seconds")]
    #[arg(
        long,
        env = "AUTHD_GOOGLE_MAX_LIFETIME_SECONDS",
        value_name = "N",
        help_heading = "Identity policy"
    )]
    pub(super) google_max_lifetime_seconds: Option<u64>,

    /// Clouds whose machines have to answer a nonce: azure, google; separated by commas
    /// [default: none]
    #[arg(long, env = "AUTHD_REQUIRE_NONCE", value_name = "CLOUD", value_delimiter = ',',
          value_parser = entry, help_heading = "Agent sign-in")]
    pub(super) require_nonce: Option<Vec<String>>,
    /// Refuse proofs that are older than one that the instance has presented in the same build
    /// [default: false]
    #[arg(long, env = "AUTHD_IDENTITY_PINS", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Agent sign-in")]
    pub(super) identity_pins: Option<bool>,
    /// Select an agent by name among all workspaces that claim an instance [default: false]
    #[arg(long, env = "AUTHD_ALLOW_INSTANCE_SHARED_BY_WORKSPACES", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Agent sign-in")]
    pub(super) allow_instance_shared_by_workspaces: Option<bool>,
    /// Answer 404 instead of 400 if an instance only has agents of earlier builds [default: false]
    #[arg(long, env = "AUTHD_HIDE_STALE_INSTANCES", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Agent sign-in")]
    pub(super) hide_stale_instances: Option<bool>,

    /// URL of the dashboard; without one, app access is off
    #[arg(long, env = "AUTHD_ACCESS_URL", value_name = "URL", help_heading = "App access")]
    pub(super) access_url: Option<String>,
    /// Pattern of the hosts of apps, such as `*.apps.example.com`; without one, apps are reached
    /// by path only; it needs a port only if that differs from the port of the access URL
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
    /// Allow sharing of apps that are reached by path, which run on the dashboard's host and can
    /// act as their visitors [default: false]
    #[arg(long, env = "AUTHD_DANGEROUS_ALLOW_PATH_APP_SHARING", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "App access")]
    pub(super) dangerous_allow_path_app_sharing: Option<bool>,
    /// Let roles and access lists open apps of other users by path [default: false]
    #[arg(long, env = "AUTHD_DANGEROUS_ALLOW_PATH_APP_SITE_OWNER_ACCESS", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "App access")]
    pub(super) dangerous_allow_path_app_site_owner_access: Option<bool>,
    /// Deny the role `owner` the apps and terminals of other users [default: false]
    #[arg(long, env = "AUTHD_DISABLE_OWNER_WORKSPACE_ACCESS", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "App access")]
    pub(super) disable_owner_workspace_access: Option<bool>,
    /// Ignore the access lists of workspaces, and shares of apps with people [default: false]
    #[arg(long, env = "AUTHD_DISABLE_WORKSPACE_SHARING", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "App access")]
    pub(super) disable_workspace_sharing: Option<bool>,
    /// Apply a template's widest sharing level also to ports that are already shared
    /// [default: false]
    #[arg(long, env = "AUTHD_ENFORCE_MAX_PORT_SHARING_LEVEL", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "App access")]
    pub(super) enforce_max_port_sharing_level: Option<bool>,
    /// Seconds without a message after which an agent counts as disconnected [default: 30]
    #[arg(
        long,
        env = "AUTHD_AGENT_INACTIVE_TIMEOUT_SECONDS",
        value_name = "N",
        help_heading = "App access"
    )]
    pub(super) agent_inactive_timeout_seconds: Option<Within<2, 3600>>,
    /// Tell proxies and carriers when something that was allowed may not be any more, so that they
    /// close its connections; this watches each session and agent for a day, in the database
    /// [default: false]
    #[arg(long, env = "AUTHD_REVOCATIONS", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "App access")]
    pub(super) revocations: Option<bool>,
    /// How app tokens are signed: hs512, like the control plane, or eddsa, so that proxies verify
    /// them without a secret [default: hs512]
    #[arg(
        long,
        env = "AUTHD_APP_TOKEN_SIGNING",
        value_name = "ALGORITHM",
        value_parser = one_of::<Signing>(&Signing::ALL.map(Signing::as_str)),
        help_heading = "App access"
    )]
    pub(super) app_token_signing: Option<Signing>,
    /// How long an app token is good, in seconds; a shorter time costs more statements
    /// [default: 60]
    #[arg(
        long,
        env = "AUTHD_APP_TOKEN_LIFETIME_SECONDS",
        value_name = "N",
        help_heading = "App access"
    )]
    pub(super) app_token_lifetime_seconds: Option<Within<5, 60>>,
    /// Create and rotate the keys of app tokens; turn it off if the control plane does
    /// [default: true]
    #[arg(long, env = "AUTHD_KEY_ROTATION", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "App access")]
    pub(super) key_rotation: Option<bool>,
    /// Longest duration of an app session, in seconds [default: 86400]
    #[arg(
        long,
        env = "AUTHD_SESSION_DURATION_SECONDS",
        value_name = "N",
        help_heading = "Sessions and cookies"
    )]
    pub(super) session_duration_seconds: Option<Within<60, 31_536_000>>,
    /// Do not extend sessions when they are used [default: false]
    #[arg(long, env = "AUTHD_DISABLE_SESSION_EXPIRY_REFRESH", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Sessions and cookies")]
    pub(super) disable_session_expiry_refresh: Option<bool>,
    /// Do not extend API tokens when they are used; a control plane before v2.35 does
    /// [default: false]
    #[arg(long, env = "AUTHD_DISABLE_TOKEN_EXPIRY_REFRESH", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Sessions and cookies")]
    pub(super) disable_token_expiry_refresh: Option<bool>,
    /// Send cookies over TLS only [default: true if the access URL begins with https]
    #[arg(long, env = "AUTHD_SECURE_AUTH_COOKIE", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Sessions and cookies")]
    pub(super) secure_auth_cookie: Option<bool>,
    /// SameSite attribute of cookies: lax or none [default: lax]
    #[arg(
        long,
        env = "AUTHD_SAMESITE_AUTH_COOKIE",
        value_name = "MODE",
        value_parser = one_of::<SameSite>(&SameSite::ALL.map(SameSite::as_str)),
        help_heading = "Sessions and cookies"
    )]
    pub(super) samesite_auth_cookie: Option<SameSite>,
    /// Partition cookies by the site that embeds an app [default: false]
    #[arg(long, env = "AUTHD_PARTITIONED_AUTH_COOKIE", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Sessions and cookies")]
    pub(super) partitioned_auth_cookie: Option<bool>,
    /// Prefix of the name of every cookie
    #[arg(
        long,
        env = "AUTHD_COOKIE_PREFIX",
        value_name = "TEXT",
        help_heading = "Sessions and cookies"
    )]
    pub(super) cookie_prefix: Option<String>,
    /// Name of the deployment, as pages show it [default: the host of the access URL]
    #[arg(long, env = "AUTHD_DEPLOYMENT_NAME", value_name = "TEXT", help_heading = "Pages")]
    pub(super) deployment_name: Option<String>,
    /// Logo on pages: an `http` or `https` URL, or a PNG, JPEG, WebP or SVG file of at most 32 KiB
    #[arg(long, env = "AUTHD_DEPLOYMENT_LOGO", value_name = "URL|FILE", help_heading = "Pages")]
    pub(super) deployment_logo: Option<String>,
    /// Where pages say to ask for help: a URL, or an address such as `mailto:help@example.com`
    #[arg(long, env = "AUTHD_SUPPORT_CONTACT", value_name = "URL", help_heading = "Pages")]
    pub(super) support_contact: Option<String>,
    /// Other sites whose pages may open terminals, beside the dashboard, separated by commas
    #[arg(
        long,
        env = "AUTHD_TERMINAL_ORIGINS",
        value_name = "URL",
        value_delimiter = ',',
        value_parser = entry,
        help_heading = "App access"
    )]
    pub(super) terminal_origins: Option<Vec<String>>,
    /// Networks of the proxies whose headers about clients and hosts are trusted, separated by
    /// commas; `unix` trusts the peers of Unix sockets
    #[arg(
        long,
        env = "AUTHD_PROXY_TRUSTED_ORIGINS",
        value_name = "CIDR",
        value_delimiter = ',',
        value_parser = entry,
        help_heading = "Proxies in front"
    )]
    pub(super) proxy_trusted_origins: Option<Vec<String>>,
    /// Headers in which these proxies send the client's address, separated by commas, the
    /// preferred one first
    #[arg(
        long,
        env = "AUTHD_PROXY_TRUSTED_HEADERS",
        value_name = "NAME",
        value_delimiter = ',',
        value_parser = entry,
        help_heading = "Proxies in front"
    )]
    pub(super) proxy_trusted_headers: Option<Vec<String>>,
    /// Seconds without a visit after which the next visit is recorded again; 0 records every
    /// visit [default: 3600]
    #[arg(
        long,
        env = "AUTHD_AUDIT_SESSION_TIMEOUT_SECONDS",
        value_name = "N",
        help_heading = "Audit"
    )]
    pub(super) audit_session_timeout_seconds: Option<Within<0, 31_536_000>>,
    /// Days that rows of the audit log are kept; 0 keeps them for ever [default: 0]
    #[arg(long, env = "AUTHD_AUDIT_RETENTION_DAYS", value_name = "N", help_heading = "Audit")]
    pub(super) audit_retention_days: Option<Within<0, 36_500>>,
    /// Also record the end of a session, with its first and last visit and their number
    /// [default: false]
    #[arg(long, env = "AUTHD_AUDIT_CLOSE_ROWS", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Audit")]
    pub(super) audit_close_rows: Option<bool>,
    /// Also record visits in the table that the control plane's dashboard shows:
    /// `connection_logs`, or `audit_logs` before v2.25 [default: false]
    #[arg(long, env = "AUTHD_MIRROR_AUDIT", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = "Audit")]
    pub(super) mirror_audit: Option<bool>,
    /// What happens to a visit that cannot be recorded: open allows it, closed refuses it
    /// [default: open]
    #[arg(long, env = "AUTHD_AUDIT_FAIL", value_name = "MODE", help_heading = "Audit",
          value_parser = one_of::<AuditFail>(&AuditFail::ALL.map(AuditFail::as_str)))]
    pub(super) audit_fail: Option<AuditFail>,
    /// File for audit events that the database did not get; if it is empty, they are logged
    /// [default: audit-spool.jsonl in the folder of --data-dir]
    #[arg(long, env = "AUTHD_AUDIT_SPOOL", value_name = "FILE", help_heading = "Audit")]
    pub(super) audit_spool: Option<PathBuf>,

    /// What to log: error, warn, info, debug, or a filter such as `info,store=debug`
    /// [default: info]
    #[arg(long, env = "AUTHD_LOG_LEVEL", value_name = "FILTER", help_heading = "Log")]
    pub(super) log_level: Option<String>,
    /// Format of the log [default: text on a terminal, else json]
    #[arg(long, env = "AUTHD_LOG_FORMAT", help_heading = "Log")]
    pub(super) log_format: Option<LogFormat>,
}
