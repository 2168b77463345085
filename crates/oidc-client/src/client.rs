use std::fmt;
use std::time::Duration;

use crate::url::Issuer;

/// This program, as it is registered at a provider
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Client {
    /// The provider
    pub issuer: Issuer,
    /// The id under which the provider knows this program
    pub id: String,
    /// The secret that authenticates this program; `None` for a public client
    pub secret: Option<ClientSecret>,
    /// The URL of this program to which browsers return, as it is registered
    pub redirect_uri: String,
    /// What is asked for; `openid` is always part of it
    pub scopes: Vec<String>,
    /// How far the clocks of provider and program may differ
    pub leeway: Duration,
}

impl Client {
    /// A public client, which asks for `openid`, `profile` and `email`, with a leeway of a minute
    #[must_use]
    pub fn new(issuer: Issuer, id: &str, redirect_uri: &str) -> Self {
        Self {
            issuer,
            id: id.to_owned(),
            secret: None,
            redirect_uri: redirect_uri.to_owned(),
            scopes: ["openid", "profile", "email"].map(str::to_owned).to_vec(),
            leeway: Duration::from_secs(60),
        }
    }

    /// The same client, which authenticates with a secret
    #[must_use]
    pub fn secret(self, secret: ClientSecret) -> Self {
        Self { secret: Some(secret), ..self }
    }

    /// The same client, which asks for these scopes
    #[must_use]
    pub fn scopes(self, scopes: Vec<String>) -> Self {
        Self { scopes, ..self }
    }

    /// The scopes as a parameter, `openid` first
    pub(crate) fn scope(&self) -> String {
        let others = self.scopes.iter().map(String::as_str).filter(|scope| *scope != "openid");
        std::iter::once("openid").chain(others).collect::<Vec<_>>().join(" ")
    }
}

/// The secret of a client
///
/// `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSecret(String);

impl ClientSecret {
    /// Wraps the secret
    #[must_use]
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(..)")
    }
}
