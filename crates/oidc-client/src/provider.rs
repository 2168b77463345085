use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;

use crate::claims::Identity;
use crate::client::Client;
use crate::error::{Cause, ProviderError, TokenError};
use crate::fetch::{Fetch, Request};
use crate::flow::{Callback, Flow, Refused};
use crate::jwks::KeySet;
use crate::logout::{self, LogoutToken};
use crate::metadata::Metadata;
use crate::refresh::{self, RefreshError, Refreshed};
use crate::token::{self, Tokens};
use crate::{id_token, json};

/// A provider, as one client sees it, with what was fetched of it
///
/// The discovery document and the keys are fetched when they are first needed, and again after an
/// hour, or when a token names a key that is not known. At most one fetch is under way, and one
/// begins every ten seconds at most, whatever strangers send. If the provider does not answer, what
/// was fetched stays in use for a day.
///
/// Time is an argument. The futures should not be dropped while they fetch, as when a browser hangs
/// up: a code can be exchanged once.
#[derive(Debug)]
pub struct Provider<F> {
    client: Client,
    fetch: F,
    known: RwLock<Option<Arc<Known>>>,
    /// When a fetch was last begun; locked while one is under way
    tried: Mutex<Option<SystemTime>>,
}

/// What was fetched
#[derive(Debug)]
struct Known {
    metadata: Metadata,
    keys: KeySet,
    at: SystemTime,
}

/// Which documents are good enough
#[derive(Clone, Copy)]
enum Want {
    /// Those of the last hour
    Recent,
    /// Others than these, which lack a key
    OtherThan(SystemTime),
}

impl<F: Fetch> Provider<F> {
    /// A provider of which nothing has been fetched
    pub const fn new(client: Client, fetch: F) -> Self {
        Self { client, fetch, known: RwLock::new(None), tried: Mutex::const_new(None) }
    }

    /// The client
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Begins to sign a browser in: returns the address to which to send it
    ///
    /// # Errors
    ///
    /// [`ProviderError`], if the discovery document or the keys cannot be fetched.
    pub async fn begin(&self, flow: &Flow, now: SystemTime) -> Result<String, ProviderError> {
        let known = self.known(Want::Recent, now).await?;
        Ok(flow.url(&self.client, &known.metadata))
    }

    /// Ends the flow of a browser that has returned: returns who signed in
    ///
    /// Exchanges the code, verifies the ID token as OpenID Connect Core 1.0, section 3.1.3.7, says,
    /// and adds the claims of the userinfo endpoint if there is one. The caller has to see to it
    /// that a flow ends once.
    ///
    /// # Errors
    ///
    /// The inner error if the browser's answer is refused before anything is sent to the provider;
    /// otherwise [`ProviderError`].
    pub async fn finish(
        &self,
        flow: &Flow,
        callback: &Callback,
        now: SystemTime,
    ) -> Result<Result<Identity, Refused>, ProviderError> {
        let known = self.known(Want::Recent, now).await?;
        let code = match callback.code(flow, &self.client, &known.metadata) {
            Ok(code) => code,
            Err(refused) => return Ok(Err(refused)),
        };
        let request = token::request(&self.client, &known.metadata, flow, code)?;
        let answer = self.ask(ProviderError::TOKENS, request).await?;
        let tokens =
            Tokens::parse(&answer).ok_or(ProviderError::Answer { what: ProviderError::TOKENS })?;
        let verify =
            |known: &Known| id_token::verify(&self.client, &known.keys, flow, &tokens, now);
        let mut identity = match verify(&known) {
            Err(TokenError::UnknownKey) => {
                verify(&*self.known(Want::OtherThan(known.at), now).await?)?
            }
            verified => verified?,
        };
        if let (Some(url), Some(token)) = (&known.metadata.userinfo_endpoint, &tokens.access_token)
        {
            self.add_userinfo(&mut identity, url, token).await?;
        }
        Ok(Ok(identity))
    }

    /// Asks for a new access token of a user (RFC 6749, section 6)
    ///
    /// An ID token in the answer is not read. The refresh token may be used up by that, so the
    /// future should not be dropped.
    ///
    /// # Errors
    ///
    /// [`RefreshError::Refused`] if the user has to sign in again; others if the provider cannot be
    /// asked.
    pub async fn refresh_tokens(
        &self,
        refresh_token: &str,
        now: SystemTime,
    ) -> Result<Refreshed, RefreshError> {
        let known = self.known(Want::Recent, now).await?;
        let Metadata { token_endpoint, authentication, .. } = &known.metadata;
        let client = (&*self.client.id, self.client.secret.as_ref());
        let request = refresh::request(token_endpoint, *authentication, client, refresh_token);
        refresh::refreshed(&self.fetch, request.map_err(ProviderError::from)?, now).await
    }

    /// Verifies a logout token that was posted to this client
    ///
    /// # Errors
    ///
    /// [`ProviderError::Token`] if it is refused; others if the keys cannot be fetched.
    pub async fn logout_token(
        &self,
        token: &str,
        now: SystemTime,
    ) -> Result<LogoutToken, ProviderError> {
        let known = self.known(Want::Recent, now).await?;
        let verify = |known: &Known| logout::verify(&self.client, &known.keys, token, now);
        Ok(match verify(&known) {
            Err(TokenError::UnknownKey) => {
                verify(&*self.known(Want::OtherThan(known.at), now).await?)?
            }
            verified => verified?,
        })
    }

    /// Where a browser signs out of the provider too, and is then sent to `back`
    ///
    /// `None` if the provider has no such page, or cannot be reached. The provider has to know
    /// `back`: it is registered there.
    pub async fn logout_url(&self, back: &str, now: SystemTime) -> Option<String> {
        let known = self.known(Want::Recent, now).await.ok()?;
        logout::url(&self.client, &known.metadata, back)
    }

    /// Fetches the discovery document and the keys, and keeps them
    ///
    /// # Errors
    ///
    /// [`ProviderError`], if they cannot be fetched or are not usable.
    pub async fn refresh(&self, now: SystemTime) -> Result<Metadata, ProviderError> {
        let known = Arc::new(self.fetch_all(now).await?);
        let metadata = known.metadata.clone();
        self.keep(known);
        Ok(metadata)
    }

    /// The documents at hand, or fetched ones
    async fn known(&self, want: Want, now: SystemTime) -> Result<Arc<Known>, ProviderError> {
        if let Some(known) = self.current().filter(|known| known.is_good(want, now)) {
            return Ok(known);
        }
        let mut tried = self.tried.lock().await;
        // Another caller may have fetched them meanwhile.
        if let Some(known) = self.current().filter(|known| known.is_good(want, now)) {
            return Ok(known);
        }
        let usable = self.current().filter(|known| age(known.at, now) < USABLE);
        if tried.is_some_and(|at| age(at, now) < BETWEEN_FETCHES) {
            return usable.ok_or(ProviderError::TriedBefore);
        }
        *tried = Some(now);
        match self.fetch_all(now).await {
            Ok(known) => {
                let known = Arc::new(known);
                self.keep(Arc::clone(&known));
                Ok(known)
            }
            Err(error) => usable.ok_or(error),
        }
    }

    async fn fetch_all(&self, now: SystemTime) -> Result<Known, ProviderError> {
        let issuer = &self.client.issuer;
        let document = self.ask("discovery document", Request::get(&issuer.discovery_url()));
        let metadata = Metadata::parse(issuer, &document.await?)?;
        let keys = self.ask("key set", Request::get(&metadata.jwks_uri)).await?;
        Ok(Known { keys: KeySet::parse(&keys)?, metadata, at: now })
    }

    /// Adds the claims of the userinfo endpoint (OpenID Connect Core 1.0, section 5.3)
    ///
    /// Those of the ID token, which are signed, are kept.
    async fn add_userinfo(
        &self,
        identity: &mut Identity,
        url: &str,
        access_token: &str,
    ) -> Result<(), ProviderError> {
        const WHAT: &str = "userinfo";
        let request = Request::get(url).authorization(format!("Bearer {access_token}"));
        let answer = self.ask(WHAT, request).await?;
        let claims = json::object(&answer).ok_or(ProviderError::Answer { what: WHAT })?;
        // An access token of another user could have been put in place of this one.
        if json::text(&claims, "sub") != Some(identity.subject()) {
            return Err(ProviderError::OtherUser);
        }
        identity.add(claims);
        Ok(())
    }

    async fn ask(&self, what: &'static str, request: Request) -> Result<Vec<u8>, ProviderError> {
        let limit = request.limit;
        let failed = |source: Cause| ProviderError::Fetch { what, source };
        let answer = self.fetch.fetch(request).await.map_err(failed)?;
        match answer.len() <= limit {
            true => Ok(answer),
            false => Err(ProviderError::Answer { what }),
        }
    }

    fn current(&self) -> Option<Arc<Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, known: Arc<Known>) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }
}

impl Known {
    fn is_good(&self, want: Want, now: SystemTime) -> bool {
        match want {
            Want::Recent => age(self.at, now) < RECENT,
            Want::OtherThan(at) => self.at != at,
        }
    }
}

/// Zero if the clock was set back
fn age(at: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(at).unwrap_or_default()
}

const RECENT: Duration = Duration::from_secs(3_600);

/// How long documents stay in use while the provider does not answer
const USABLE: Duration = Duration::from_secs(86_400);

/// Tokens of strangers may name any key
const BETWEEN_FETCHES: Duration = Duration::from_secs(10);
