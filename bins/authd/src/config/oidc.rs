use std::path::PathBuf;

use authd_http::{AppsConfig, OidcConfig, OidcConfigError};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::secret_file;
use super::value::{SecretText, entry};

/// How people sign in at an OpenID provider, where no control plane does that
#[derive(Args, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Oidc {
    /// URL of the OpenID provider at which people sign in, exactly as its tokens name it; only where
    /// no control plane signs people in
    #[arg(long, env = "AUTHD_OIDC_ISSUER_URL", value_name = "URL", help_heading = OIDC)]
    pub(super) oidc_issuer_url: Option<String>,
    /// Id under which the provider knows this deployment
    #[arg(long, env = "AUTHD_OIDC_CLIENT_ID", value_name = "ID", help_heading = OIDC)]
    pub(super) oidc_client_id: Option<String>,
    /// Secret of that client; without one, the client is public
    #[arg(long, env = "AUTHD_OIDC_CLIENT_SECRET", hide_env_values = true, value_name = "TEXT",
          help_heading = OIDC)]
    pub(super) oidc_client_secret: Option<SecretText>,
    /// File that has the secret of --oidc-client-secret
    #[arg(long, env = "AUTHD_OIDC_CLIENT_SECRET_FILE", value_name = "FILE", help_heading = OIDC)]
    pub(super) oidc_client_secret_file: Option<PathBuf>,
    /// What to ask the provider for, separated by commas [default: openid,profile,email]
    #[arg(long, env = "AUTHD_OIDC_SCOPES", value_name = "SCOPE", value_delimiter = ',',
          value_parser = entry, help_heading = OIDC)]
    pub(super) oidc_scopes: Option<Vec<String>>,
    /// Domains of e-mail addresses that may sign in, separated by commas [default: all]
    #[arg(long, env = "AUTHD_OIDC_EMAIL_DOMAIN", value_name = "DOMAIN", value_delimiter = ',',
          value_parser = entry, help_heading = OIDC)]
    pub(super) oidc_email_domain: Option<Vec<String>>,
    /// Claim with the e-mail address [default: email]
    #[arg(long, env = "AUTHD_OIDC_EMAIL_FIELD", value_name = "CLAIM", help_heading = OIDC)]
    pub(super) oidc_email_field: Option<String>,
    /// Accept addresses that the provider has not verified, also to find imported users
    /// [default: false]
    #[arg(long, env = "AUTHD_OIDC_IGNORE_EMAIL_VERIFIED", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = OIDC)]
    pub(super) oidc_ignore_email_verified: Option<bool>,
    /// Claim that a new user is named after [default: preferred_username]
    #[arg(long, env = "AUTHD_OIDC_USERNAME_FIELD", value_name = "CLAIM", help_heading = OIDC)]
    pub(super) oidc_username_field: Option<String>,
    /// Claim with the names of all groups of a user; without one, sign-ins change no groups
    #[arg(long, env = "AUTHD_OIDC_GROUP_FIELD", value_name = "CLAIM", help_heading = OIDC)]
    pub(super) oidc_group_field: Option<String>,
    /// Claim with all roles of a user; without one, sign-ins change no roles
    #[arg(long, env = "AUTHD_OIDC_USER_ROLE_FIELD", value_name = "CLAIM", help_heading = OIDC)]
    pub(super) oidc_user_role_field: Option<String>,
    /// Roles of the values of that claim, such as `admins=owner`, separated by commas
    #[arg(long, env = "AUTHD_OIDC_USER_ROLE_MAPPING", value_name = "VALUE=ROLE",
          value_delimiter = ',', value_parser = entry, help_heading = OIDC)]
    pub(super) oidc_user_role_mapping: Option<Vec<String>>,
    /// Organization that new users join, by name [default: default, or the only one]
    #[arg(long, env = "AUTHD_OIDC_ORGANIZATION", value_name = "NAME", help_heading = OIDC)]
    pub(super) oidc_organization: Option<String>,
    /// Create users who are not known [default: true]
    #[arg(long, env = "AUTHD_OIDC_ALLOW_SIGNUPS", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = OIDC)]
    pub(super) oidc_allow_signups: Option<bool>,
    /// Text of the button [default: Sign in with OpenID Connect]
    #[arg(long, env = "AUTHD_OIDC_SIGN_IN_TEXT", value_name = "TEXT", help_heading = OIDC)]
    pub(super) oidc_sign_in_text: Option<String>,
    /// Sign people out of the provider too, when they sign out here [default: false]
    #[arg(long, env = "AUTHD_OIDC_PROVIDER_LOGOUT", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = OIDC)]
    pub(super) oidc_provider_logout: Option<bool>,
    /// Take session tokens at `/login` beside the provider [default: true]
    #[arg(long, env = "AUTHD_OIDC_SESSION_TOKENS", value_name = "BOOL",
          num_args = 0..=1, default_missing_value = "true", help_heading = OIDC)]
    pub(super) oidc_session_tokens: Option<bool>,
}

impl Oidc {
    /// How people sign in, if a provider is set
    pub(super) fn config(
        self,
        apps: Option<&AppsConfig>,
    ) -> Result<Option<OidcConfig>, ConfigError> {
        let Some(issuer) = self.oidc_issuer_url.filter(|url| !url.is_empty()) else {
            let id = self.oidc_client_id.filter(|id| !id.is_empty());
            return id.map_or(Ok(None), |_| Err(wrong(ID, "needs `oidc_issuer_url` beside it")));
        };
        let apps = apps.ok_or_else(|| wrong(ISSUER, "needs `access_url` beside it"))?;
        let id = self.oidc_client_id.unwrap_or_default();
        let mut oidc =
            OidcConfig::new(&issuer, &id, &apps.access_url).map_err(|error| match error {
                OidcConfigError::NoClientId => wrong(ID, error.to_string()),
                _ => wrong(ISSUER, error.to_string()),
            })?;
        let secret = match (self.oidc_client_secret, self.oidc_client_secret_file) {
            (Some(_), Some(_)) => return Err(ConfigError::Twice { setting: "oidc_client_secret" }),
            (None, Some(path)) => Some(secret_file::read(&path)?),
            (secret, None) => secret.map(|secret| secret.as_ref().to_owned()),
        };
        oidc = secret.map_or(oidc.clone(), |secret| oidc.secret(&secret));
        oidc = self.oidc_scopes.map_or(oidc.clone(), |scopes| oidc.scopes(scopes));
        oidc.email_domains = self.oidc_email_domain.unwrap_or_default();
        oidc.email_field = self.oidc_email_field.unwrap_or(oidc.email_field);
        oidc.username_field = self.oidc_username_field.unwrap_or(oidc.username_field);
        oidc.group_field = self.oidc_group_field;
        oidc.user_role_field = self.oidc_user_role_field;
        let roles = self.oidc_user_role_mapping.iter().flatten();
        let roles = roles.map(|entry| OidcConfig::parse_role(entry)).collect::<Result<_, _>>();
        oidc.user_role_mapping =
            roles.map_err(|error| wrong("oidc_user_role_mapping", error.to_string()))?;
        oidc.organization = self.oidc_organization.unwrap_or(oidc.organization);
        oidc.allow_signups = self.oidc_allow_signups.unwrap_or(true);
        oidc.ignore_email_verified = self.oidc_ignore_email_verified.unwrap_or_default();
        oidc.sign_in_text = self.oidc_sign_in_text.unwrap_or(oidc.sign_in_text);
        oidc.provider_logout = self.oidc_provider_logout.unwrap_or_default();
        oidc.session_tokens = self.oidc_session_tokens.unwrap_or(true);
        Ok(Some(oidc))
    }
}

fn wrong(setting: &'static str, problem: impl Into<String>) -> ConfigError {
    ConfigError::Setting { setting, problem: problem.into() }
}

const ISSUER: &str = "oidc_issuer_url";
const ID: &str = "oidc_client_id";

/// The heading in the help
const OIDC: &str = "OpenID Connect";

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn settings_that_cannot_work_are_refused() {
        const URL: &str = "store = \"memory\"\naccess_url = \"https://a.example\"\n";
        const GOOD: &str = "oidc_issuer_url = \"https://id.example\"\noidc_client_id = \"authd\"\n";
        let config = |text: &str| Config::from_toml(text).map_err(|error| error.to_string());
        let oidc = config(&format!("{URL}{GOOD}oidc_client_secret = \"hunter2\"")).unwrap().oidc;
        assert!(!format!("{oidc:?}").contains("hunter2"), "{oidc:?}");
        assert!(config(URL).unwrap().oidc.is_none());
        for (text, problem) in [
            (format!("store = \"memory\"\n{GOOD}"), "`oidc_issuer_url` needs `access_url`"),
            (
                format!("{URL}oidc_client_id = \"authd\""),
                "`oidc_client_id` needs `oidc_issuer_url`",
            ),
            (format!("{URL}oidc_issuer_url = \"https://id.example\""), "`oidc_client_id` is empty"),
            (
                format!("{URL}{}", GOOD.replace("https", "http")),
                "`oidc_issuer_url` is not the URL of a provider: a provider is reached over https",
            ),
            (
                format!("{URL}{GOOD}oidc_user_role_mapping = [\"a=root\"]"),
                "`oidc_user_role_mapping` `a=root` is not `VALUE=ROLE`",
            ),
            (
                format!("{URL}{GOOD}oidc_client_secret = \"x\"\noidc_client_secret_file = \"x\""),
                "`oidc_client_secret` and `oidc_client_secret_file` exclude each other",
            ),
        ] {
            let error = config(&text).unwrap_err();
            assert!(error.starts_with(problem), "{error}");
        }
    }
}
