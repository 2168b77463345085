use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use identity_fetch::{Fetcher, Reach, System};
use oidc_client::{Client, ClientSecret, EndpointUrl, Provider, UrlError};
use thiserror::Error;

use crate::error::chain;
use crate::oidc::Network;

/// The clients with which a control plane signs people in at identity providers
///
/// Start with `RefreshConfig::default()`, which refreshes nothing.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RefreshConfig {
    pub(super) oidc: Option<(Client, Fetcher)>,
    pub(super) github: Option<(GithubClient, Fetcher)>,
}

/// An application of GitHub
#[derive(Clone)]
pub(super) struct GithubClient {
    pub(super) endpoint: EndpointUrl,
    pub(super) id: String,
    pub(super) secret: Option<ClientSecret>,
}

impl fmt::Debug for GithubClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GithubClient")
            .field("endpoint", &self.endpoint)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl RefreshConfig {
    /// The same, which refreshes tokens of the OpenID provider `issuer`, as its client `id`
    ///
    /// # Errors
    ///
    /// [`RefreshConfigError`].
    pub fn oidc(
        mut self,
        issuer: &str,
        id: &str,
        secret: Option<&str>,
    ) -> Result<Self, RefreshConfigError> {
        let issuer = issuer.parse().map_err(RefreshConfigError::Issuer)?;
        if id.is_empty() {
            return Err(RefreshConfigError::NoClientId);
        }
        // Browsers do not return to this program.
        let mut client = Client::new(issuer, id, "");
        client.secret = secret.map(ClientSecret::new);
        self.oidc = Some((client, fetcher()?));
        Ok(self)
    }

    /// The same, which refreshes tokens of GitHub, as its client `id`
    ///
    /// # Errors
    ///
    /// [`RefreshConfigError`].
    pub fn github(self, id: &str, secret: Option<&str>) -> Result<Self, RefreshConfigError> {
        self.github_at(EndpointUrl::GITHUB, id, secret)
    }

    /// The same for the GitHub at `url`, such as the server of an organization
    ///
    /// The path of the URL does not count.
    ///
    /// # Errors
    ///
    /// [`RefreshConfigError`].
    pub fn github_at(
        mut self,
        url: &str,
        id: &str,
        secret: Option<&str>,
    ) -> Result<Self, RefreshConfigError> {
        let endpoint = EndpointUrl::of_github(url).map_err(RefreshConfigError::Github)?;
        let secret = secret.map(ClientSecret::new);
        self.github = Some((GithubClient { endpoint, id: id.to_owned(), secret }, fetcher()?));
        Ok(self)
    }

    /// Whether nothing is refreshed
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.oidc.is_none() && self.github.is_none()
    }

    /// Fetches the discovery document and keys of the OpenID provider, to check whether it can be
    /// asked
    ///
    /// Asks nothing if only tokens of GitHub are refreshed. The clients' secrets are not checked.
    ///
    /// # Errors
    ///
    /// Says why they cannot be fetched, or are not usable.
    pub async fn ask(&self, now: SystemTime) -> Result<(), String> {
        let Some((client, fetcher)) = self.oidc.clone() else { return Ok(()) };
        let issuer = client.issuer.clone();
        let fetched = Provider::new(client, Network(fetcher)).refresh(now).await;
        fetched.map(drop).map_err(|error| format!("{issuer}: {}", chain(&error)))
    }
}

/// Asks a provider wherever it is, with the certificate authorities of Mozilla and of this system
fn fetcher() -> Result<Fetcher, RefreshConfigError> {
    let fetcher = Fetcher::new(Arc::new(System), Reach::Anywhere).trusting_system();
    fetcher.map_err(|error| RefreshConfigError::Tls(chain(&error)))
}

/// Why tokens of providers cannot be refreshed with this configuration
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefreshConfigError {
    /// The URL of GitHub is not usable
    #[error("is not the URL of a GitHub server: {0}")]
    Github(UrlError),
    /// The issuer is not usable
    #[error("is not the URL of a provider: {0}")]
    Issuer(UrlError),
    /// The id of the client is empty
    #[error("is missing")]
    NoClientId,
    /// TLS is not usable
    #[error("cannot be asked: {0}")]
    Tls(String),
}
