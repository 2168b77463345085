use std::sync::Arc;
use std::time::SystemTime;

use app_authz::token::{
    self, AppToken, EddsaKey, Feature, Hs512Key, KeyCache, KeyMaterial, KeyStore, LEEWAY,
    PresentedTokens, Rotation, SealKey, SignedToken, TokenOptions, Want,
};
use app_authz::{AppRequest, Error, Permit};

use thiserror::Error as ThisError;
use tracing::warn;

use super::config::Signing;
use crate::port_error::{ErasedPortError, PortError};
use crate::random::with_random;

/// The keys that app access needs, as of the last fetch
#[derive(Debug)]
pub(crate) struct Keys {
    tokens: TokenKeys,
    /// Seal session tokens on their way to an app's host
    pub(crate) seals: KeyCache<SealKey>,
}

/// The keys of app tokens, for the algorithm of the deployment
#[derive(Debug)]
enum TokenKeys {
    Hs512(KeyCache<Hs512Key>),
    Eddsa(KeyCache<EddsaKey>),
}

impl Keys {
    pub(crate) fn new(signing: Signing) -> Self {
        let tokens = match signing {
            Signing::Hs512 => TokenKeys::Hs512(KeyCache::new()),
            Signing::Eddsa => TokenKeys::Eddsa(KeyCache::new()),
        };
        Self { tokens, seals: KeyCache::new() }
    }

    pub(crate) async fn sign<S: KeyStore>(
        &self,
        store: &S,
        permit: &Permit<'_>,
        options: TokenOptions<'_>,
        now: SystemTime,
    ) -> Result<SignedToken, Error> {
        match &self.tokens {
            TokenKeys::Hs512(keys) => keys.sign_with(store, permit, options, now).await,
            TokenKeys::Eddsa(keys) => keys.sign_with(store, permit, options, now).await,
        }
    }

    /// Finds a good token for the request among the candidates
    ///
    /// Returns `None` if the keys cannot be fetched: the request is then decided anew.
    pub(crate) async fn find<S: KeyStore>(
        &self,
        store: &S,
        candidates: &PresentedTokens<'_>,
        request: &AppRequest,
        now: SystemTime,
    ) -> Option<Arc<AppToken>> {
        let found = match &self.tokens {
            TokenKeys::Hs512(keys) => keys.find(store, candidates, request, now, LEEWAY).await,
            TokenKeys::Eddsa(keys) => keys.find(store, candidates, request, now, LEEWAY).await,
        };
        found.unwrap_or_default()
    }

    /// The text of the token that [`find`](Self::find) found among the candidates
    ///
    /// Tries the candidates one by one, which is cheap: verified tokens are cached.
    pub(crate) async fn find_text<'a, S: KeyStore>(
        &self,
        store: &S,
        candidates: &PresentedTokens<'a>,
        request: &AppRequest,
        now: SystemTime,
    ) -> Option<&'a str> {
        let query = candidates.query.map(|text| (text, Some(text), Vec::new()));
        let cookies = candidates.cookies.iter().map(|text| (*text, None, vec![*text]));
        for (text, query, cookies) in query.into_iter().chain(cookies) {
            let alone = PresentedTokens { query, cookies };
            if self.find(store, &alone, request, now).await.is_some() {
                return Some(text);
            }
        }
        None
    }

    /// Signs the token again for the base path that the control plane reads from the same path
    pub(crate) async fn rebase<S: KeyStore>(
        &self,
        store: &S,
        token: (&str, &str),
        now: SystemTime,
    ) -> Result<SignedToken, Error> {
        match &self.tokens {
            TokenKeys::Hs512(keys) => keys.rebase(store, token, now, LEEWAY).await,
            TokenKeys::Eddsa(keys) => keys.rebase(store, token, now, LEEWAY).await,
        }
    }

    /// Whether app tokens and seals can be made
    pub(crate) fn can_sign(&self, now: SystemTime) -> bool {
        let can_sign_tokens = match &self.tokens {
            TokenKeys::Hs512(keys) => keys.ring().signing(now).is_ok(),
            TokenKeys::Eddsa(keys) => keys.ring().signing(now).is_ok(),
        };
        can_sign_tokens && self.seals.ring().signing(now).is_ok()
    }

    /// Since when the keys that sign have been signing, by feature; `None` where no key can sign
    pub(crate) fn signing_since(&self, now: SystemTime) -> [(&'static str, Option<SystemTime>); 2] {
        let tokens = match &self.tokens {
            TokenKeys::Hs512(keys) => keys.ring().signing_since(now),
            TokenKeys::Eddsa(keys) => keys.ring().signing_since(now),
        };
        let seals = self.seals.ring().signing_since(now);
        [
            (Feature::WorkspaceAppsToken.as_str(), tokens),
            (Feature::WorkspaceAppsApiKey.as_str(), seals),
        ]
    }

    /// Fetches the keys that are due to be refreshed
    ///
    /// # Errors
    ///
    /// [`Error::KeysUnavailable`]; the fetched keys stay in use. [`Error::NoSigningKey`] if none of them
    /// may sign.
    pub(crate) async fn refresh<S: KeyStore>(
        &self,
        store: &S,
        now: SystemTime,
    ) -> Result<(), Error> {
        // Both are fetched even if the first fails: app tokens do not depend on seals.
        let tokens = match &self.tokens {
            TokenKeys::Hs512(keys) => refresh(keys, store, now).await,
            TokenKeys::Eddsa(keys) => refresh(keys, store, now).await,
        };
        let seals = refresh(&self.seals, store, now).await;
        tokens.and(seals)
    }

    /// The public keys that verify app tokens; `None` if tokens are signed with shared secrets
    pub(crate) async fn jwks<S: KeyStore>(
        &self,
        store: &S,
        now: SystemTime,
    ) -> Option<Result<String, Error>> {
        match &self.tokens {
            TokenKeys::Hs512(_) => None,
            TokenKeys::Eddsa(keys) => Some(match keys.fetch(store, Want::Refresh, now).await {
                Ok(_) => keys.ring().jwks(now),
                Err(error) => Err(error),
            }),
        }
    }

    /// Whether the keys that verify app tokens can also sign them
    pub(crate) const fn are_shared_secrets(&self) -> bool {
        matches!(self.tokens, TokenKeys::Hs512(_))
    }
}

/// Fetches the keys of one feature if that is due, and logs a warning for each unreadable one
async fn refresh<S: KeyStore, K: KeyMaterial>(
    keys: &KeyCache<K>,
    store: &S,
    now: SystemTime,
) -> Result<(), Error> {
    if keys.fetch(store, Want::Refresh, now).await? {
        for (sequence, reason) in keys.ring().unreadable() {
            let feature = K::FEATURE.as_str();
            warn!(feature, sequence, reason, "a key cannot be read and is skipped");
        }
    }
    keys.ring().signing(now).map(drop)
}

/// Creates and rotates the keys of app access if that is due
///
/// Calls `rotated` with the number of changes of each feature whose keys were changed.
///
/// # Errors
///
/// Fails if the keys of a feature could not be changed; those of the other are rotated all the
/// same.
pub(crate) async fn rotate<S>(
    store: &S,
    now: SystemTime,
    rotated: impl Fn(Feature, usize),
) -> Result<(), KeysError>
where
    S: Rotation<Error: PortError>,
{
    let mut outcome = Ok(());
    for feature in [Feature::WorkspaceAppsToken, Feature::WorkspaceAppsApiKey] {
        match rotate_feature(feature, store, now).await {
            Ok(0) => {}
            Ok(changes) => rotated(feature, changes),
            Err(error) => outcome = outcome.and(Err(error)),
        }
    }
    outcome
}

/// Creates and rotates the keys of one feature if that is due; returns the number of changes
pub(crate) async fn rotate_feature<S>(
    feature: Feature,
    store: &S,
    now: SystemTime,
) -> Result<usize, KeysError>
where
    S: Rotation<Error: PortError>,
{
    // Drawn before anything is changed: a key without random bytes could be guessed.
    let random = |fill: &mut dyn FnMut(&mut [u8])| {
        let mut secret = vec![0; feature.secret_len()];
        fill(&mut secret);
        secret
    };
    let secret = with_random(random).map_err(|_| KeysError::NoRandomness)?;
    let fill = |bytes: &mut [u8]| bytes.copy_from_slice(&secret);
    let rotated = store.rotate(feature, |rows| token::rotate(feature, rows, now, fill)).await;
    rotated.map_err(|error| KeysError::Store(error.into()))
}

/// Why keys could not be created or fetched
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum KeysError {
    /// The store's keys cannot be fetched, or are not usable
    #[error(transparent)]
    Fetch(#[from] Error),
    /// The system has no random bytes for a new key
    #[error("there are no random bytes")]
    NoRandomness,
    /// The store fails
    #[error(transparent)]
    Store(#[from] ErasedPortError),
}
