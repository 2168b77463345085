use std::path::{Path, PathBuf};

use app_authz::address::HttpUrl;
use authd_http::{OidcConfig, OidcConfigError, RefreshConfig, RefreshConfigError};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::secret_file::of_setting;
use super::value::{SecretText, entry};

/// How people sign in at an OpenID provider, and which tokens of providers are refreshed
#[derive(Args, Clone, Default, Deserialize, Serialize)]
#[command(next_help_heading = "OpenID Connect")]
#[serde(default)]
pub(crate) struct Oidc {
    /// URL of the OpenID provider at which people sign in, exactly as its tokens name it; only where
    /// no control plane signs people in
    #[arg(long, env = "AUTHD_OIDC_ISSUER_URL", value_name = "URL")]
    oidc_issuer_url: Option<String>,
    /// Id under which the provider knows this deployment
    #[arg(long, env = "AUTHD_OIDC_CLIENT_ID", value_name = "ID")]
    oidc_client_id: Option<String>,
    /// Secret of that client; without one, the client is public
    #[arg(long, env = "AUTHD_OIDC_CLIENT_SECRET", hide_env_values = true, value_name = "TEXT")]
    oidc_client_secret: Option<SecretText>,
    /// File that has the secret of --oidc-client-secret
    #[arg(long, env = "AUTHD_OIDC_CLIENT_SECRET_FILE", value_name = "FILE")]
    oidc_client_secret_file: Option<PathBuf>,
    /// What to ask the provider for, separated by commas [default: openid,profile,email]
    #[arg(long, env = "AUTHD_OIDC_SCOPES", value_name = "SCOPE", value_delimiter = ',', value_parser = entry)]
    oidc_scopes: Option<Vec<String>>,
    /// Domains of e-mail addresses that may sign in, separated by commas [default: all]
    #[arg(long, env = "AUTHD_OIDC_EMAIL_DOMAIN", value_name = "DOMAIN", value_delimiter = ',', value_parser = entry)]
    oidc_email_domain: Option<Vec<String>>,
    /// Claim with the e-mail address [default: email]
    #[arg(long, env = "AUTHD_OIDC_EMAIL_FIELD", value_name = "CLAIM")]
    oidc_email_field: Option<String>,
    /// Accept addresses that the provider has not verified, also to find imported users
    /// [default: false]
    #[arg(long, env = "AUTHD_OIDC_IGNORE_EMAIL_VERIFIED", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    oidc_ignore_email_verified: Option<bool>,
    /// Claim that a new user is named after [default: preferred_username]
    #[arg(long, env = "AUTHD_OIDC_USERNAME_FIELD", value_name = "CLAIM")]
    oidc_username_field: Option<String>,
    /// Claim with the names of all groups of a user; without one, sign-ins change no groups
    #[arg(long, env = "AUTHD_OIDC_GROUP_FIELD", value_name = "CLAIM")]
    oidc_group_field: Option<String>,
    /// Groups that names in that claim stand for, as a JSON object, such as
    /// `{"6f1d0c3e": "designers"}`; other names stand for themselves
    #[arg(long, env = "AUTHD_OIDC_GROUP_MAPPING", value_name = "JSON")]
    oidc_group_mapping: Option<String>,
    /// Claim with all roles of a user; without one, sign-ins change no roles
    #[arg(long, env = "AUTHD_OIDC_USER_ROLE_FIELD", value_name = "CLAIM")]
    oidc_user_role_field: Option<String>,
    /// Roles of the values of that claim, such as `admins=owner`, separated by commas
    #[arg(long, env = "AUTHD_OIDC_USER_ROLE_MAPPING", value_name = "VALUE=ROLE", value_delimiter = ',', value_parser = entry)]
    oidc_user_role_mapping: Option<Vec<String>>,
    /// Organization that new users join, by name [default: default, or the only one]
    #[arg(long, env = "AUTHD_OIDC_ORGANIZATION", value_name = "NAME")]
    oidc_organization: Option<String>,
    /// Create users who are not known [default: true]
    #[arg(long, env = "AUTHD_OIDC_ALLOW_SIGNUPS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    oidc_allow_signups: Option<bool>,
    /// Text of the button [default: Sign in with OpenID Connect]
    #[arg(long, env = "AUTHD_OIDC_SIGN_IN_TEXT", value_name = "TEXT")]
    oidc_sign_in_text: Option<String>,
    /// Sign people out of the provider too, when they sign out here [default: false]
    #[arg(long, env = "AUTHD_OIDC_PROVIDER_LOGOUT", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    oidc_provider_logout: Option<bool>,
    /// Take session tokens at `/login` beside the provider [default: true]
    #[arg(long, env = "AUTHD_OIDC_SESSION_TOKENS", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    oidc_session_tokens: Option<bool>,
    /// URL of the OpenID provider at which a control plane signs people in: sessions whose token of it
    /// has ended are refreshed there
    #[arg(long, env = "AUTHD_REFRESH_OIDC_ISSUER_URL", value_name = "URL")]
    refresh_oidc_issuer_url: Option<String>,
    /// Id of the control plane's client there
    #[arg(long, env = "AUTHD_REFRESH_OIDC_CLIENT_ID", value_name = "ID")]
    refresh_oidc_client_id: Option<String>,
    /// Secret of the control plane's client there; without one, the client is public
    #[arg(
        long,
        env = "AUTHD_REFRESH_OIDC_CLIENT_SECRET",
        hide_env_values = true,
        value_name = "TEXT"
    )]
    refresh_oidc_client_secret: Option<SecretText>,
    /// File that has the secret of --refresh-oidc-client-secret
    #[arg(long, env = "AUTHD_REFRESH_OIDC_CLIENT_SECRET_FILE", value_name = "FILE")]
    refresh_oidc_client_secret_file: Option<PathBuf>,
    /// URL of GitHub, or of an organization's own GitHub server [default: https://github.com]
    #[arg(long, env = "AUTHD_REFRESH_GITHUB_URL", value_name = "URL")]
    refresh_github_url: Option<String>,
    /// Id of the control plane's client at GitHub: sessions whose token of GitHub has ended are
    /// refreshed there
    #[arg(long, env = "AUTHD_REFRESH_GITHUB_CLIENT_ID", value_name = "ID")]
    refresh_github_client_id: Option<String>,
    /// Secret of the control plane's client at GitHub
    #[arg(
        long,
        env = "AUTHD_REFRESH_GITHUB_CLIENT_SECRET",
        hide_env_values = true,
        value_name = "TEXT"
    )]
    refresh_github_client_secret: Option<SecretText>,
    /// File that has the secret of --refresh-github-client-secret
    #[arg(long, env = "AUTHD_REFRESH_GITHUB_CLIENT_SECRET_FILE", value_name = "FILE")]
    refresh_github_client_secret_file: Option<PathBuf>,
}

impl Oidc {
    /// How people sign in at the dashboard of `access_url`, if a provider is set
    pub(super) fn sign_in(
        &self,
        access_url: Option<&HttpUrl>,
    ) -> Result<Option<OidcConfig>, ConfigError> {
        let (own, file) = (&self.oidc_client_secret, &self.oidc_client_secret_file);
        let secret = secret("oidc_client_secret", own.as_ref(), file.as_deref())?;
        let id = self.oidc_client_id.as_deref().unwrap_or_default();
        let Some(issuer) = given(self.oidc_issuer_url.as_deref()) else {
            return match id {
                "" => Ok(None),
                _ => Err(ConfigError::setting(
                    "oidc_issuer_url",
                    "is missing, while `oidc_client_id` is set",
                )),
            };
        };
        let access_url = needs_access_url("oidc_issuer_url", access_url)?;
        let mut oidc = OidcConfig::new(issuer, id, access_url).map_err(refused_sign_in)?;
        if let Some(secret) = &secret {
            oidc = oidc.secret(secret);
        }
        if let Some(scopes) = &self.oidc_scopes {
            oidc = oidc.scopes(scopes.clone());
        }
        let roles = self.oidc_user_role_mapping.iter().flatten();
        let roles = roles.map(|entry| OidcConfig::parse_role(entry)).collect::<Result<_, _>>();
        oidc.user_role_mapping = roles.map_err(refused_sign_in)?;
        if let Some(mapping) = given(self.oidc_group_mapping.as_deref()) {
            oidc.group_mapping = OidcConfig::parse_groups(mapping).map_err(refused_sign_in)?;
        }
        let text = |text: &Option<String>, default| text.clone().unwrap_or(default);
        let claim = |text: &Option<String>| given(text.as_deref()).map(str::to_owned);
        oidc.email_domains = self.oidc_email_domain.clone().unwrap_or_default();
        oidc.email_field = text(&self.oidc_email_field, oidc.email_field);
        oidc.username_field = text(&self.oidc_username_field, oidc.username_field);
        oidc.group_field = claim(&self.oidc_group_field);
        if oidc.group_field.is_none() && !oidc.group_mapping.is_empty() {
            let problem = "is missing, while `oidc_group_mapping` is set";
            return Err(ConfigError::setting("oidc_group_field", problem));
        }
        oidc.user_role_field = claim(&self.oidc_user_role_field);
        oidc.organization = text(&self.oidc_organization, oidc.organization);
        oidc.allow_signups = self.oidc_allow_signups.unwrap_or(oidc.allow_signups);
        oidc.ignore_email_verified = self.oidc_ignore_email_verified.unwrap_or_default();
        oidc.sign_in_text = text(&self.oidc_sign_in_text, oidc.sign_in_text);
        oidc.provider_logout = self.oidc_provider_logout.unwrap_or_default();
        oidc.session_tokens = self.oidc_session_tokens.unwrap_or(oidc.session_tokens);
        Ok(Some(oidc))
    }

    /// Which tokens of identity providers are refreshed
    pub(super) fn refresh(
        &self,
        access_url: Option<&HttpUrl>,
    ) -> Result<RefreshConfig, ConfigError> {
        let (own, file) = (&self.refresh_oidc_client_secret, &self.refresh_oidc_client_secret_file);
        let of_oidc = secret("refresh_oidc_client_secret", own.as_ref(), file.as_deref())?;
        let (own, file) =
            (&self.refresh_github_client_secret, &self.refresh_github_client_secret_file);
        let of_github = secret("refresh_github_client_secret", own.as_ref(), file.as_deref())?;
        let mut config = RefreshConfig::default();
        let id = given(self.refresh_oidc_client_id.as_deref());
        match (given(self.refresh_oidc_issuer_url.as_deref()), id) {
            (Some(issuer), id) => {
                needs_access_url("refresh_oidc_issuer_url", access_url)?;
                let oidc = config.oidc(issuer, id.unwrap_or_default(), of_oidc.as_deref());
                config = oidc.map_err(refused_refresh)?;
            }
            (None, Some(_)) => {
                let problem = "is missing, while `refresh_oidc_client_id` is set";
                return Err(ConfigError::setting("refresh_oidc_issuer_url", problem));
            }
            (None, None) => {}
        }
        let url = given(self.refresh_github_url.as_deref());
        match (given(self.refresh_github_client_id.as_deref()), url) {
            (Some(id), url) => {
                needs_access_url("refresh_github_client_id", access_url)?;
                let github = match url {
                    Some(url) => config.github_at(url, id, of_github.as_deref()),
                    None => config.github(id, of_github.as_deref()),
                };
                config = github.map_err(refused_refresh)?;
            }
            (None, Some(_)) => {
                let problem = "is missing, while `refresh_github_url` is set";
                return Err(ConfigError::setting("refresh_github_client_id", problem));
            }
            (None, None) => {}
        }
        Ok(config)
    }
}

/// A text that is not empty
fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

/// The secret of a client, from its setting or out of its file
fn secret(
    setting: &'static str,
    own: Option<&SecretText>,
    file: Option<&Path>,
) -> Result<Option<String>, ConfigError> {
    let read = of_setting(setting, own.is_some(), file)?;
    Ok(read.or_else(|| own.map(|secret| secret.as_ref().to_owned())))
}

fn needs_access_url<'a>(
    setting: &'static str,
    access_url: Option<&'a HttpUrl>,
) -> Result<&'a HttpUrl, ConfigError> {
    access_url.ok_or_else(|| ConfigError::setting(setting, "needs `access_url` beside it"))
}

fn refused_sign_in(error: OidcConfigError) -> ConfigError {
    let setting = match error {
        OidcConfigError::NoClientId => "oidc_client_id",
        OidcConfigError::Groups(_) => "oidc_group_mapping",
        OidcConfigError::Role(_) => "oidc_user_role_mapping",
        _ => "oidc_issuer_url",
    };
    ConfigError::setting(setting, error.to_string())
}

fn refused_refresh(error: RefreshConfigError) -> ConfigError {
    let setting = match error {
        RefreshConfigError::NoClientId => "refresh_oidc_client_id",
        RefreshConfigError::Github(_) => "refresh_github_url",
        _ => "refresh_oidc_issuer_url",
    };
    ConfigError::setting(setting, error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    fn of(flags: &[&str]) -> Result<Oidc, clap::Error> {
        let command = Oidc::augment_args(Command::new("authd"));
        let matches = command.try_get_matches_from(["authd"].iter().chain(flags))?;
        Oidc::from_arg_matches(&matches)
    }

    fn url() -> HttpUrl {
        "https://a.example".parse().unwrap()
    }

    #[test]
    fn flags_and_variables_are_spelled_like_the_keys_of_the_file() {
        let command = Oidc::augment_args(Command::new("authd"));
        let mut secrets = 0;
        for arg in command.get_arguments() {
            let id = arg.get_id().as_str();
            assert_eq!(arg.get_long(), Some(&*id.replace('_', "-")));
            let variable = format!("AUTHD_{}", id.to_uppercase());
            assert_eq!(arg.get_env(), Some(variable.as_ref()));
            secrets += usize::from(arg.is_hide_env_values_set());
            assert_eq!(arg.is_hide_env_values_set(), id.ends_with("_secret"), "{id}");
        }
        assert_eq!(secrets, 3);
    }

    #[test]
    fn settings_become_the_configuration_of_a_sign_in() {
        let flags = [
            "--oidc-issuer-url=https://id.example",
            "--oidc-client-id=a,b",
            "--oidc-client-secret=hunter2",
            "--oidc-email-domain=example.com, example.org",
            "--oidc-group-field=groups",
            r#"--oidc-group-mapping={"a,b": "crew"}"#,
            "--oidc-user-role-mapping=admins=owner",
            "--oidc-allow-signups=false",
            "--oidc-provider-logout",
        ];
        let settings = of(&flags).unwrap();
        let config = settings.sign_in(Some(&url())).unwrap().unwrap();
        assert_eq!(config.email_domains, ["example.com", "example.org"]);
        assert_eq!(config.group_field.as_deref(), Some("groups"));
        assert_eq!(config.group_mapping["a,b"], "crew");
        assert_eq!(config.user_role_mapping, [("admins".to_owned(), "owner".to_owned())]);
        assert!(!config.allow_signups && config.provider_logout && config.session_tokens);
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
        assert!(of(&["--oidc-issuer-url="]).unwrap().sign_in(None).unwrap().is_none());

        let path = std::env::temp_dir().join(format!("authd-oidc-{}", std::process::id()));
        std::fs::write(&path, "hunter3\n").unwrap();
        let file = format!("--oidc-client-secret-file={}", path.display());
        let read = of(&[flags[0], flags[1], &file]).unwrap().sign_in(Some(&url()));
        std::fs::remove_file(path).unwrap();
        read.unwrap().unwrap();
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let good = ["--oidc-issuer-url=https://id.example", "--oidc-client-id=authd"];
        let both = ["--oidc-client-secret=x", "--oidc-client-secret-file=/s"];
        let [refresh, id] =
            ["--refresh-oidc-issuer-url=https://id.example", "--refresh-oidc-client-id=coder"];
        let github = "--refresh-github-client-id=Iv1";
        let elsewhere = "--refresh-github-url=https://github.example.com/api/v3/";
        let url = url();
        for (flags, at, setting) in [
            (&good[..], None, "oidc_issuer_url"),
            (&good[1..], Some(&url), "oidc_issuer_url"),
            (&good[..1], Some(&url), "oidc_client_id"),
            (&["--oidc-issuer-url=http://id.example", good[1]], Some(&url), "oidc_issuer_url"),
            (
                &[good[0], good[1], "--oidc-user-role-mapping=a=root"],
                Some(&url),
                "oidc_user_role_mapping",
            ),
            (
                &[good[0], good[1], "--oidc-group-field=g", "--oidc-group-mapping=a=crew"],
                Some(&url),
                "oidc_group_mapping",
            ),
            (
                &[good[0], good[1], r#"--oidc-group-mapping={"a":"crew"}"#],
                Some(&url),
                "oidc_group_field",
            ),
            (&[good[0], good[1], both[0], both[1]], Some(&url), "oidc_client_secret"),
            (&[refresh, id], None, "refresh_oidc_issuer_url"),
            (&[github], None, "refresh_github_client_id"),
            (&[github, elsewhere], None, "refresh_github_client_id"),
            (&[elsewhere], Some(&url), "refresh_github_client_id"),
            (
                &[github, "--refresh-github-url=http://github.example.com"],
                Some(&url),
                "refresh_github_url",
            ),
            (&[github, "--refresh-github-url=github.com"], Some(&url), "refresh_github_url"),
            (&[id], Some(&url), "refresh_oidc_issuer_url"),
            (&[refresh], Some(&url), "refresh_oidc_client_id"),
            (
                &["--refresh-oidc-issuer-url=http://id.example", id],
                Some(&url),
                "refresh_oidc_issuer_url",
            ),
            (
                &[
                    github,
                    "--refresh-github-client-secret=x",
                    "--refresh-github-client-secret-file=/s",
                ],
                Some(&url),
                "refresh_github_client_secret",
            ),
        ] {
            let settings = of(flags).unwrap();
            let read = settings.sign_in(at).and_then(|_| settings.refresh(at));
            let error = read.map(drop).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{setting}` ")), "{flags:?}: {error}");
            assert!(!error.contains("/s\"") && !error.contains("`x`"), "{error}");
        }
        for flags in [&["--oidc-scopes=a,"][..], &["--oidc-allow-signups=yes"], &[good[1], good[1]]]
        {
            assert!(of(flags).is_err(), "{flags:?}");
        }
        let settings = of(&[refresh, id, github]).unwrap();
        assert!(!settings.refresh(Some(&url)).unwrap().is_empty());
        assert!(of(&[]).unwrap().refresh(None).unwrap().is_empty());
        for (flags, host) in [
            (&[github][..], "github.com"),
            (&[github, "--refresh-github-url="], "github.com"),
            (&[github, elsewhere], "github.example.com"),
        ] {
            let config = of(flags).unwrap().refresh(Some(&url)).unwrap();
            let endpoint = format!("\"https://{host}/login/oauth/access_token\"");
            assert!(format!("{config:?}").contains(&endpoint), "{flags:?}: {config:?}");
        }
    }
}
