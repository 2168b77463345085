use std::fmt;
use std::time::{Duration, SystemTime};

use form_urlencoded::Serializer;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::client::ClientSecret;
use crate::error::{Cause, MetadataError, ProviderError};
use crate::fetch::{Fetch, Request};
use crate::metadata::Authentication;
use crate::url::EndpointUrl;
use crate::{json, token};

/// What a provider has given for a refresh token
///
/// `Debug` does not print the tokens.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refreshed {
    /// The new access token
    pub access_token: String,
    /// The refresh token for the next time; `None` if the one that was used stays good
    pub refresh_token: Option<String>,
    /// When the access token expires, by the clock of the caller; `None` if the provider did not
    /// say
    pub expires_at: Option<SystemTime>,
}

impl fmt::Debug for Refreshed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refreshed").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// Why there is not a new access token
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// The provider does not take the refresh token any more: the user has to sign in again
    #[error("the provider does not take the refresh token any more")]
    Refused,
    /// The provider does not take the request, such as with a wrong secret of the client
    ///
    /// This says nothing about the user.
    #[error("the provider does not take the request: `{error}`")]
    Request {
        /// The provider's name of the error, cut to 64 characters
        error: String,
    },
    /// The provider could not be asked, or its answer is not what RFC 6749 says
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

/// A token endpoint without a discovery document, such as that of GitHub
///
/// It authenticates the client by `client_id` and `client_secret` in the form.
#[derive(Debug)]
pub struct TokenEndpoint<F> {
    url: EndpointUrl,
    id: String,
    secret: Option<ClientSecret>,
    fetch: F,
}

impl<F: Fetch> TokenEndpoint<F> {
    /// The endpoint at `url`, as the client `id` sees it
    #[must_use]
    pub fn new(url: EndpointUrl, id: &str, secret: Option<ClientSecret>, fetch: F) -> Self {
        Self { url, id: id.to_owned(), secret, fetch }
    }

    /// Asks for a new access token (RFC 6749, section 6)
    ///
    /// The refresh token may be used up by that, so the future should not be dropped.
    ///
    /// # Errors
    ///
    /// [`RefreshError`].
    pub async fn refresh_tokens(
        &self,
        refresh_token: &str,
        now: SystemTime,
    ) -> Result<Refreshed, RefreshError> {
        let client = (&*self.id, self.secret.as_ref());
        let request = request(self.url.as_str(), Authentication::Post, client, refresh_token);
        refreshed(&self.fetch, request.map_err(ProviderError::from)?, now).await
    }
}

/// The request for a new access token (RFC 6749, section 6)
pub(crate) fn request(
    url: &str,
    authentication: Authentication,
    client: (&str, Option<&ClientSecret>),
    refresh_token: &str,
) -> Result<Request, MetadataError> {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", refresh_token);
    let request = token::authenticated(url, authentication, client, form)?;
    Ok(Request { limit: LIMIT, takes_refusals: true, ..request })
}

/// Sends the request, and reads the answer
pub(crate) async fn refreshed(
    fetch: &impl Fetch,
    request: Request,
    now: SystemTime,
) -> Result<Refreshed, RefreshError> {
    const WHAT: &str = ProviderError::TOKENS;
    let malformed = || ProviderError::Answer { what: WHAT };
    let failed = |source: Cause| ProviderError::Fetch { what: WHAT, source };
    let answer = fetch.fetch(request).await.map_err(failed)?;
    if answer.len() > LIMIT {
        return Err(malformed().into());
    }
    let fields = json::object(&answer).ok_or_else(malformed)?;
    // GitHub answers an error with status 200.
    match json::text(&fields, "error") {
        // The second is GitHub's.
        Some("invalid_grant" | "bad_refresh_token") => return Err(RefreshError::Refused),
        Some(error) => {
            let printed = error.chars().filter(|c| !c.is_control()).take(64);
            return Err(RefreshError::Request { error: printed.collect() });
        }
        None => {}
    }
    let text = |name| json::text(&fields, name).filter(|text| !text.is_empty());
    Ok(Refreshed {
        access_token: text("access_token").ok_or_else(malformed)?.to_owned(),
        refresh_token: text("refresh_token").map(str::to_owned),
        expires_at: lifetime(&fields).and_then(|lifetime| now.checked_add(lifetime)),
    })
}

/// How long the access token is good; `None` if the provider does not say
fn lifetime(fields: &Map<String, Value>) -> Option<Duration> {
    let seconds = match fields.get("expires_in")? {
        Value::Number(number) => number.as_u64()?,
        // Some providers write it as a text.
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    (seconds > 0).then(|| Duration::from_secs(seconds.min(LONGEST)))
}

/// More than an answer with three tokens of large providers has
const LIMIT: usize = 64 << 10;

/// A century, in seconds: a database does not have to keep later times
const LONGEST: u64 = 100 * 366 * 86_400;
