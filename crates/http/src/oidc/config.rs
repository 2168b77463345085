use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use app_authz::address::HttpUrl;
use identity_fetch::{Fetcher, Reach, System};
use oidc_client::{Client, ClientSecret, Provider, UrlError};
use thiserror::Error;

use super::network::Network;
use crate::error::chain;

/// How people sign in at an OpenID provider
///
/// Start with [`new`](Self::new), and change what differs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OidcConfig {
    pub(super) client: Client,
    /// Asks the provider
    pub(super) fetcher: Fetcher,
    /// The domains of e-mail addresses that may sign in; all if it is empty
    pub email_domains: Vec<String>,
    /// The claim with the e-mail address
    pub email_field: String,
    /// The claim that a new user is named after
    pub username_field: String,
    /// The claim with the names of groups; `None` to leave the groups of users as they are
    pub group_field: Option<String>,
    /// Names in that claim, and the group that each stands for, as
    /// [`parse_groups`](Self::parse_groups) returns them; other names stand for themselves
    pub group_mapping: BTreeMap<String, String>,
    /// The claim with roles; `None` to leave the roles of users as they are
    pub user_role_field: Option<String>,
    /// Values of that claim, and the role that each stands for, as [`parse_role`](Self::parse_role)
    /// returns them; the names of roles stand for themselves
    pub user_role_mapping: Vec<(String, String)>,
    /// The organization that new users join
    pub organization: String,
    /// Whether a user who is not known is created
    pub allow_signups: bool,
    /// Whether an address counts that the provider has not verified
    pub ignore_email_verified: bool,
    /// The text of the button
    pub sign_in_text: String,
    /// Whether signing out here leads to the provider's page for signing out
    pub provider_logout: bool,
    /// Whether `/login` takes session tokens too
    pub session_tokens: bool,
}

impl OidcConfig {
    /// The path to which the provider sends browsers back, and where a sign-in begins
    pub const CALLBACK: &str = "/api/v2/users/oidc/callback";

    /// Signs people in at the provider `issuer`, as the client `id`, for the dashboard at
    /// `access_url`
    ///
    /// # Errors
    ///
    /// [`OidcConfigError`], if the issuer is not usable, or the id is empty, or TLS is not usable.
    pub fn new(issuer: &str, id: &str, access_url: &HttpUrl) -> Result<Self, OidcConfigError> {
        let issuer = issuer.parse().map_err(OidcConfigError::Issuer)?;
        if id.is_empty() {
            return Err(OidcConfigError::NoClientId);
        }
        let client = Client::new(issuer, id, &format!("{}{}", access_url.origin(), Self::CALLBACK));
        let fetcher = Fetcher::new(Arc::new(System), Reach::Anywhere).trusting_system();
        let fetcher = fetcher.map_err(|error| OidcConfigError::Tls(chain(&error)))?;
        Ok(Self {
            client,
            fetcher,
            email_domains: Vec::new(),
            email_field: "email".to_owned(),
            username_field: "preferred_username".to_owned(),
            group_field: None,
            group_mapping: BTreeMap::new(),
            user_role_field: None,
            user_role_mapping: Vec::new(),
            organization: "default".to_owned(),
            allow_signups: true,
            ignore_email_verified: false,
            sign_in_text: "Sign in with OpenID Connect".to_owned(),
            provider_logout: false,
            session_tokens: true,
        })
    }

    /// The same, with the secret of the client
    #[must_use]
    pub fn secret(mut self, secret: &str) -> Self {
        self.client = self.client.secret(ClientSecret::new(secret));
        self
    }

    /// The same, asking the provider with `fetcher`, which has to reach all of its endpoints
    ///
    /// By default it is asked wherever it is, with the certificate authorities of Mozilla and of this
    /// system.
    #[must_use]
    pub fn fetcher(self, fetcher: Fetcher) -> Self {
        Self { fetcher, ..self }
    }

    /// The same, asking for these scopes beside `openid`
    #[must_use]
    pub fn scopes(mut self, scopes: Vec<String>) -> Self {
        self.client = self.client.scopes(scopes);
        self
    }

    /// The issuer
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.client.issuer.as_str()
    }

    /// Fetches the provider's discovery document and keys, to check whether people can sign in
    ///
    /// # Errors
    ///
    /// Says why they cannot be fetched, or are not usable.
    pub async fn ask(&self, now: SystemTime) -> Result<(), String> {
        let provider = Provider::new(self.client.clone(), Network(self.fetcher.clone()));
        let fetched = provider.refresh(now).await;
        fetched.map(drop).map_err(|error| format!("{}: {}", self.issuer(), chain(&error)))
    }

    /// Reads `VALUE=ROLE`, an entry of [`user_role_mapping`](Self::user_role_mapping)
    ///
    /// # Errors
    ///
    /// [`OidcConfigError::Role`], if it is not such, or the role is not one of the deployment.
    pub fn parse_role(entry: &str) -> Result<(String, String), OidcConfigError> {
        let parsed = entry
            .rsplit_once('=')
            .filter(|(value, role)| !value.is_empty() && ROLES.contains(role));
        let parsed = parsed.map(|(value, role)| (value.to_owned(), role.to_owned()));
        parsed.ok_or_else(|| OidcConfigError::Role(entry.to_owned()))
    }

    /// Reads a [`group_mapping`](Self::group_mapping): a JSON object of names in the claim, each with
    /// the name of a group
    ///
    /// # Errors
    ///
    /// [`OidcConfigError::Groups`], if it is not such, has a name that is empty, or is too large.
    pub fn parse_groups(json: &str) -> Result<BTreeMap<String, String>, OidcConfigError> {
        let refused = |reason: String| OidcConfigError::Groups(reason);
        if json.len() > MAX_GROUP_MAPPING {
            return Err(refused(format!("it has more than {MAX_GROUP_MAPPING} bytes")));
        }
        let groups: BTreeMap<String, String> =
            serde_json::from_str(json).map_err(|error| refused(error.to_string()))?;
        if let Some((from, _)) = groups.iter().find(|(_, name)| name.trim().is_empty()) {
            return Err(refused(format!("the group of {from:?} has no name")));
        }
        if let Some((_, name)) = groups.iter().find(|(from, _)| from.is_empty()) {
            return Err(refused(format!("the name that stands for {name:?} is empty")));
        }
        Ok(groups)
    }

    /// The name of the group that a name in the claim stands for
    pub(super) fn group<'a>(&'a self, name: &'a str) -> &'a str {
        // Keycloak writes groups as paths.
        let own = name.trim_start_matches('/');
        let mapped = self.group_mapping.get(name).or_else(|| self.group_mapping.get(own));
        mapped.map_or(own, |group| &**group)
    }

    /// The roles that the values of a claim stand for, each once; others are left out
    pub(super) fn roles(&self, values: &[&str]) -> Vec<String> {
        let mut roles = Vec::new();
        for value in values {
            let mapped = self.user_role_mapping.iter().filter(|(from, _)| from == value);
            let own = ROLES.iter().copied().filter(|role| role == value);
            for role in mapped.map(|(_, role)| &**role).chain(own) {
                if !roles.iter().any(|known| known == role) {
                    roles.push(role.to_owned());
                }
            }
        }
        roles
    }
}

/// Why people cannot sign in at a provider with this configuration
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum OidcConfigError {
    /// The issuer is not usable
    #[error("is not the URL of a provider: {0}")]
    Issuer(UrlError),
    /// The id of the client is empty
    #[error("is missing")]
    NoClientId,
    /// An entry of the roles is not usable
    #[error(
        "`{0}` is not `VALUE=ROLE` with one of the roles owner, user-admin, template-admin, auditor"
    )]
    Role(String),
    /// The groups that names stand for are not usable
    #[error("is not a JSON object such as `{{\"name at the provider\": \"group\"}}`: {0}")]
    Groups(String),
    /// TLS is not usable
    #[error("cannot be asked: {0}")]
    Tls(String),
}

/// The roles of a deployment that a user can be given
const ROLES: [&str; 4] = ["owner", "user-admin", "template-admin", "auditor"];

/// The most bytes of the JSON of groups: more than a thousand of them
const MAX_GROUP_MAPPING: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_those_of_the_deployment() {
        let url = "https://a.example".parse().unwrap();
        let mut config = OidcConfig::new("https://id.example", "authd", &url).unwrap();
        let mapping =
            ["admins=owner", "a=b=auditor"].map(|text| OidcConfig::parse_role(text).unwrap());
        config.user_role_mapping = mapping.to_vec();
        assert_eq!(config.roles(&["admins", "owner", "a=b", "member", "x"]), ["owner", "auditor"]);
        for text in ["admins", "=owner", "admins=member", "admins=root"] {
            let error = OidcConfigError::Role(text.to_owned());
            assert_eq!(OidcConfig::parse_role(text), Err(error));
        }
        assert_eq!(config.client.redirect_uri, "https://a.example/api/v2/users/oidc/callback");
    }

    #[test]
    fn names_in_a_claim_stand_for_groups() {
        let url = "https://a.example".parse().unwrap();
        let mut config = OidcConfig::new("https://id.example", "authd", &url).unwrap();
        let mapping =
            r#"{"6f1d0c3e":"crew","/staff/eu":"europe","staff":"everyone","/it":"tools"}"#;
        config.group_mapping = OidcConfig::parse_groups(mapping).unwrap();
        for (name, group) in [
            ("6f1d0c3e", "crew"),
            ("6F1D0C3E", "6F1D0C3E"),
            ("crew", "crew"),
            ("/staff/eu", "europe"),
            ("staff/eu", "staff/eu"),
            ("staff", "everyone"),
            ("/staff", "everyone"),
            ("//staff", "everyone"),
            ("it", "it"),
            ("/it", "tools"),
            ("everyone", "everyone"),
            ("/", ""),
        ] {
            assert_eq!(config.group(name), group, "{name}");
        }
    }

    #[test]
    fn a_mapping_of_groups_is_a_json_object_of_texts() {
        assert!(OidcConfig::parse_groups("{}").unwrap().is_empty());
        let long = "x".repeat(MAX_GROUP_MAPPING + 1);
        for (mapping, reason) in [
            ("", "EOF while parsing"),
            ("crew", "expected value"),
            ("a=crew", "expected value"),
            ("[\"a\"]", "invalid type: sequence, expected a map"),
            ("{\"a\": [\"crew\"]}", "invalid type: sequence, expected a string"),
            ("{\"a\": null}", "invalid type: null, expected a string"),
            ("{\"a\": \"crew\"", "EOF while parsing"),
            ("{\"a\": \" \"}", "the group of \"a\" has no name"),
            ("{\"\": \"crew\"}", "the name that stands for \"crew\" is empty"),
            (&long, "it has more than 65536 bytes"),
        ] {
            let error = OidcConfig::parse_groups(mapping).unwrap_err().to_string();
            assert!(error.starts_with("is not a JSON object such as `{\"name"), "{error}");
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }

    #[test]
    fn a_provider_is_reached_over_https() {
        let new = |issuer, id| {
            OidcConfig::new(issuer, id, &"https://a.example".parse().unwrap()).map(drop)
        };
        assert_eq!(
            new("http://id.example", "authd"),
            Err(OidcConfigError::Issuer(UrlError::NotHttps))
        );
        assert_eq!(new("https://id.example", ""), Err(OidcConfigError::NoClientId));
    }
}
