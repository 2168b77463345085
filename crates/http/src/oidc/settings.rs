//! The settings of an operator, for a program whose command line and file have them

use std::fmt;
use std::path::{Path, PathBuf};

use app_authz::address::HttpUrl;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::config::{OidcConfig, OidcConfigError};

/// A setting, as command lines, the environment and files have it
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OidcSetting {
    /// The name in a file: that of the field of [`OidcSettings`]
    pub name: &'static str,
    /// The name of the flag, without hyphens before it
    pub flag: &'static str,
    /// The environment variable
    pub variable: &'static str,
    /// What the value is called in the help
    pub value: &'static str,
    help: &'static str,
    /// The form of the value
    pub kind: OidcSettingKind,
}

impl OidcSetting {
    /// What it does, in a sentence without a full stop
    #[must_use]
    pub fn help(&self) -> &'static str {
        self.help.trim_start()
    }
}

/// The form of a value
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OidcSettingKind {
    /// Texts, separated by commas
    List,
    /// A text that must not be printed
    Secret,
    /// `true` or `false`; `true` if only the name is given
    Switch,
    /// A text, or the path of a file
    Text,
}

macro_rules! settings {
    ($(
        $(#[doc = $help:literal])+
        $name:ident: $type:ty = $kind:ident $flag:literal $variable:literal $value:literal;
    )+) => {
        /// How people sign in at an OpenID provider, and which tokens of providers are refreshed, as
        /// an operator sets it
        ///
        /// `Debug` prints the issuer alone, since the values have a secret.
        #[derive(Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(default)]
        #[non_exhaustive]
        pub struct OidcSettings {
            $($(#[doc = $help])+ pub $name: Option<$type>,)+
        }

        impl OidcSetting {
            /// All settings
            pub const ALL: &'static [Self] = &[$(Self {
                name: stringify!($name),
                flag: $flag,
                variable: $variable,
                value: $value,
                help: concat!($($help),+),
                kind: OidcSettingKind::$kind,
            }),+];
        }
    };
}

settings! {
    /// URL of the OpenID provider at which people sign in, exactly as its tokens name it; only where
    /// no control plane signs people in
    oidc_issuer_url: String = Text "oidc-issuer-url" "AUTHD_OIDC_ISSUER_URL" "URL";
    /// Id under which the provider knows this deployment
    oidc_client_id: String = Text "oidc-client-id" "AUTHD_OIDC_CLIENT_ID" "ID";
    /// Secret of that client; without one, the client is public
    oidc_client_secret: String = Secret "oidc-client-secret" "AUTHD_OIDC_CLIENT_SECRET" "TEXT";
    /// File that has the secret of --oidc-client-secret
    oidc_client_secret_file: PathBuf =
        Text "oidc-client-secret-file" "AUTHD_OIDC_CLIENT_SECRET_FILE" "FILE";
    /// What to ask the provider for, separated by commas [default: openid,profile,email]
    oidc_scopes: Vec<String> = List "oidc-scopes" "AUTHD_OIDC_SCOPES" "SCOPE";
    /// Domains of e-mail addresses that may sign in, separated by commas [default: all]
    oidc_email_domain: Vec<String> = List "oidc-email-domain" "AUTHD_OIDC_EMAIL_DOMAIN" "DOMAIN";
    /// Claim with the e-mail address [default: email]
    oidc_email_field: String = Text "oidc-email-field" "AUTHD_OIDC_EMAIL_FIELD" "CLAIM";
    /// Accept addresses that the provider has not verified, also to find imported users
    /// [default: false]
    oidc_ignore_email_verified: bool =
        Switch "oidc-ignore-email-verified" "AUTHD_OIDC_IGNORE_EMAIL_VERIFIED" "BOOL";
    /// Claim that a new user is named after [default: preferred_username]
    oidc_username_field: String = Text "oidc-username-field" "AUTHD_OIDC_USERNAME_FIELD" "CLAIM";
    /// Claim with the names of all groups of a user; without one, sign-ins change no groups
    oidc_group_field: String = Text "oidc-group-field" "AUTHD_OIDC_GROUP_FIELD" "CLAIM";
    /// Claim with all roles of a user; without one, sign-ins change no roles
    oidc_user_role_field: String = Text "oidc-user-role-field" "AUTHD_OIDC_USER_ROLE_FIELD" "CLAIM";
    /// Roles of the values of that claim, such as `admins=owner`, separated by commas
    oidc_user_role_mapping: Vec<String> =
        List "oidc-user-role-mapping" "AUTHD_OIDC_USER_ROLE_MAPPING" "VALUE=ROLE";
    /// Organization that new users join, by name [default: default, or the only one]
    oidc_organization: String = Text "oidc-organization" "AUTHD_OIDC_ORGANIZATION" "NAME";
    /// Create users who are not known [default: true]
    oidc_allow_signups: bool = Switch "oidc-allow-signups" "AUTHD_OIDC_ALLOW_SIGNUPS" "BOOL";
    /// Text of the button [default: Sign in with OpenID Connect]
    oidc_sign_in_text: String = Text "oidc-sign-in-text" "AUTHD_OIDC_SIGN_IN_TEXT" "TEXT";
    /// Sign people out of the provider too, when they sign out here [default: false]
    oidc_provider_logout: bool = Switch "oidc-provider-logout" "AUTHD_OIDC_PROVIDER_LOGOUT" "BOOL";
    /// Take session tokens at `/login` beside the provider [default: true]
    oidc_session_tokens: bool = Switch "oidc-session-tokens" "AUTHD_OIDC_SESSION_TOKENS" "BOOL";
    /// URL of the OpenID provider at which a control plane signs people in: sessions whose token of it
    /// has ended are refreshed there
    refresh_oidc_issuer_url: String =
        Text "refresh-oidc-issuer-url" "AUTHD_REFRESH_OIDC_ISSUER_URL" "URL";
    /// Id of the control plane's client there
    refresh_oidc_client_id: String =
        Text "refresh-oidc-client-id" "AUTHD_REFRESH_OIDC_CLIENT_ID" "ID";
    /// Secret of the control plane's client there; without one, the client is public
    refresh_oidc_client_secret: String =
        Secret "refresh-oidc-client-secret" "AUTHD_REFRESH_OIDC_CLIENT_SECRET" "TEXT";
    /// File that has the secret of --refresh-oidc-client-secret
    refresh_oidc_client_secret_file: PathBuf =
        Text "refresh-oidc-client-secret-file" "AUTHD_REFRESH_OIDC_CLIENT_SECRET_FILE" "FILE";
    /// Id of the control plane's client at GitHub: sessions whose token of GitHub has ended are
    /// refreshed there
    refresh_github_client_id: String =
        Text "refresh-github-client-id" "AUTHD_REFRESH_GITHUB_CLIENT_ID" "ID";
    /// Secret of the control plane's client at GitHub
    refresh_github_client_secret: String =
        Secret "refresh-github-client-secret" "AUTHD_REFRESH_GITHUB_CLIENT_SECRET" "TEXT";
    /// File that has the secret of --refresh-github-client-secret
    refresh_github_client_secret_file: PathBuf =
        Text "refresh-github-client-secret-file" "AUTHD_REFRESH_GITHUB_CLIENT_SECRET_FILE" "FILE";
}

impl OidcSettings {
    /// The settings whose flags or environment variables have these texts, by name
    ///
    /// # Errors
    ///
    /// What is wrong with a value, in a sentence that quotes no secret.
    pub fn of_texts(texts: impl Fn(&str) -> Option<Vec<String>>) -> Result<Self, String> {
        let mut given = Map::new();
        for OidcSetting { name, flag, kind, .. } in OidcSetting::ALL {
            let Some(texts) = texts(name) else { continue };
            let value = match (kind, &*texts) {
                (OidcSettingKind::List, texts) => {
                    let entries = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
                    let entries: Vec<&str> = entries.collect();
                    if entries.contains(&"") {
                        return Err(format!("an entry of the list of '--{flag}' is empty"));
                    }
                    entries.into()
                }
                (OidcSettingKind::Switch, [text]) => match text.parse::<bool>() {
                    Ok(value) => value.into(),
                    Err(_) => return Err(format!("'--{flag}' is neither true nor false")),
                },
                (_, [text]) => text.as_str().into(),
                _ => return Err(format!("'--{flag}' cannot be used multiple times")),
            };
            given.insert((*name).to_owned(), value);
        }
        serde_json::from_value(Value::Object(given)).map_err(|error| error.to_string())
    }

    /// The same, with the secrets that `read` reads out of their files, if they are in some
    ///
    /// # Errors
    ///
    /// That of `read`.
    pub fn with_secret<E>(mut self, read: impl Fn(&Path) -> Result<String, E>) -> Result<Self, E> {
        let secrets = [
            (&mut self.oidc_client_secret, &mut self.oidc_client_secret_file),
            (&mut self.refresh_oidc_client_secret, &mut self.refresh_oidc_client_secret_file),
            (&mut self.refresh_github_client_secret, &mut self.refresh_github_client_secret_file),
        ];
        for (secret, file) in secrets {
            if let (None, Some(path)) = (&secret, &file) {
                *secret = Some(read(path)?);
                *file = None;
            }
        }
        Ok(self)
    }

    /// How people sign in at the dashboard of `access_url`, if a provider is set
    ///
    /// A secret that is in a file has to be [read](Self::with_secret) before.
    ///
    /// # Errors
    ///
    /// [`OidcConfigError`], whose [`setting`](OidcConfigError::setting) is the one to change.
    pub fn config(
        self,
        access_url: Option<&HttpUrl>,
    ) -> Result<Option<OidcConfig>, OidcConfigError> {
        if self.oidc_client_secret_file.is_some() {
            return Err(OidcConfigError::TwoSecrets);
        }
        let id = self.oidc_client_id.unwrap_or_default();
        let Some(issuer) = self.oidc_issuer_url.filter(|url| !url.is_empty()) else {
            return if id.is_empty() { Ok(None) } else { Err(OidcConfigError::NoIssuer) };
        };
        let access_url = access_url.ok_or(OidcConfigError::NoAccessUrl)?;
        let mut oidc = OidcConfig::new(&issuer, &id, access_url)?;
        if let Some(secret) = &self.oidc_client_secret {
            oidc = oidc.secret(secret);
        }
        if let Some(scopes) = self.oidc_scopes {
            oidc = oidc.scopes(scopes);
        }
        let roles = self.oidc_user_role_mapping.iter().flatten();
        oidc.user_role_mapping =
            roles.map(|entry| OidcConfig::parse_role(entry)).collect::<Result<_, _>>()?;
        oidc.email_domains = self.oidc_email_domain.unwrap_or_default();
        oidc.email_field = self.oidc_email_field.unwrap_or(oidc.email_field);
        oidc.username_field = self.oidc_username_field.unwrap_or(oidc.username_field);
        oidc.group_field = self.oidc_group_field.filter(|field| !field.is_empty());
        oidc.user_role_field = self.oidc_user_role_field.filter(|field| !field.is_empty());
        oidc.organization = self.oidc_organization.unwrap_or(oidc.organization);
        oidc.allow_signups = self.oidc_allow_signups.unwrap_or(true);
        oidc.ignore_email_verified = self.oidc_ignore_email_verified.unwrap_or_default();
        oidc.sign_in_text = self.oidc_sign_in_text.unwrap_or(oidc.sign_in_text);
        oidc.provider_logout = self.oidc_provider_logout.unwrap_or_default();
        oidc.session_tokens = self.oidc_session_tokens.unwrap_or(true);
        Ok(Some(oidc))
    }
}

impl fmt::Debug for OidcSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcSettings")
            .field("oidc_issuer_url", &self.oidc_issuer_url)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_setting_are_spelled_alike() {
        for setting in OidcSetting::ALL {
            let name = setting.name;
            assert_eq!(setting.flag, name.replace('_', "-"));
            assert_eq!(setting.variable, format!("AUTHD_{}", name.to_uppercase()));
            assert!(!setting.help().ends_with('.') && setting.help().len() > 20, "{name}");
        }
    }

    #[test]
    fn flags_are_read_by_their_kind() {
        let read = |given: &[(&str, &str)]| {
            OidcSettings::of_texts(|name| {
                let texts = given.iter().filter(|(known, _)| *known == name);
                let texts: Vec<_> = texts.map(|(_, text)| (*text).to_owned()).collect();
                Some(texts).filter(|texts| !texts.is_empty())
            })
        };
        let given = [
            ("oidc_client_id", "a,b"),
            ("oidc_scopes", "openid, email"),
            ("oidc_scopes", "groups"),
            ("oidc_allow_signups", "false"),
            ("oidc_client_secret_file", "/s"),
        ];
        let settings = read(&given).unwrap();
        assert_eq!(settings.oidc_client_id.as_deref(), Some("a,b"));
        let scopes = ["openid", "email", "groups"].map(str::to_owned).to_vec();
        assert_eq!(
            (settings.oidc_scopes.as_ref(), settings.oidc_allow_signups),
            (Some(&scopes), Some(false))
        );
        let read_secret = |path: &Path| Ok::<_, ()>(format!("of {}", path.display()));
        let settings = settings.with_secret(read_secret).unwrap();
        assert_eq!(settings.oidc_client_secret.as_deref(), Some("of /s"));
        for (given, wrong) in [
            (&[("oidc_scopes", "a,")][..], "'--oidc-scopes' is empty"),
            (&[("oidc_allow_signups", "yes")], "neither true nor false"),
            (&[("oidc_client_id", "a"), ("oidc_client_id", "b")], "multiple times"),
        ] {
            let error = read(given).unwrap_err();
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let url: HttpUrl = "https://a.example".parse().unwrap();
        let settings = |issuer: &str, id: &str| OidcSettings {
            oidc_issuer_url: Some(issuer.to_owned()),
            oidc_client_id: Some(id.to_owned()),
            oidc_client_secret: Some("hunter2".to_owned()),
            ..OidcSettings::default()
        };
        let good = || settings("https://id.example", "authd");
        assert!(!format!("{:?}", good()).contains("hunter2"));
        let config = good().config(Some(&url)).unwrap().unwrap();
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
        assert!(config.allow_signups && config.session_tokens && !config.provider_logout);
        assert!(settings("", "").config(None).unwrap().is_none());
        let mapping = Some(vec!["a=root".to_owned()]);
        let file = Some("/etc/secret".into());
        for (settings, at, setting) in [
            (good(), None, "oidc_issuer_url"),
            (settings("", "authd"), Some(&url), "oidc_issuer_url"),
            (settings("https://id.example", ""), Some(&url), "oidc_client_id"),
            (settings("http://id.example", "authd"), Some(&url), "oidc_issuer_url"),
            (
                OidcSettings { oidc_user_role_mapping: mapping, ..good() },
                Some(&url),
                "oidc_user_role_mapping",
            ),
            (
                OidcSettings { oidc_client_secret_file: file, ..good() },
                Some(&url),
                "oidc_client_secret",
            ),
        ] {
            assert_eq!(settings.config(at).unwrap_err().setting(), setting);
        }
    }
}
