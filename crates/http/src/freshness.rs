//! How fresh a machine's proof must be: nonces that it has to answer, and pins

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use app_authz::token::{Feature, KeyCache, KeyStore, NonceKey, Rotation, Want};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use identity_verify::{Cause, Challenge, ChallengeKey, Cloud, Reason, Rejection, VerifiedInstance};
use thiserror::Error;
use tracing::warn;

use crate::apps::{KeysError, rotate_feature};
use crate::error::chain;
use crate::port_error::PortError;

/// How fresh the proofs of machines must be
///
/// By default they may be as old as the policy of their verifier allows.
///
/// ```
/// use authd_http::Freshness;
/// use identity_verify::Cloud;
///
/// # fn main() -> Result<(), authd_http::NonceCloudError> {
/// let freshness = Freshness::default().require_nonce(Cloud::Azure)?.pins(true);
/// assert!(freshness.require_nonce(Cloud::Aws).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Freshness {
    /// The clouds whose machines have to answer a nonce
    nonces: BTreeSet<Cloud>,
    /// Whether a proof is refused if the instance has presented a newer one in the same build
    pub pins: bool,
    /// The most seconds that the clocks of two replicas may differ
    pub leeway_seconds: u64,
}

impl Default for Freshness {
    fn default() -> Self {
        Self { nonces: BTreeSet::new(), pins: false, leeway_seconds: 60 }
    }
}

impl Freshness {
    /// The same demands, and machines of `cloud` have to answer a nonce
    ///
    /// # Errors
    ///
    /// Fails for AWS, whose documents cannot have one.
    pub fn require_nonce(mut self, cloud: Cloud) -> Result<Self, NonceCloudError> {
        match cloud {
            Cloud::Azure | Cloud::Google => {
                self.nonces.insert(cloud);
                Ok(self)
            }
            Cloud::Aws => Err(NonceCloudError::NotSigned(cloud)),
        }
    }

    /// The same demands, and machines of the clouds with these names have to answer a nonce
    ///
    /// # Errors
    ///
    /// Fails for a name other than `azure` and `google`.
    pub fn require_nonces<'a>(
        self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, NonceCloudError> {
        names.into_iter().try_fold(self, |freshness, name| {
            let known = [Cloud::Aws, Cloud::Azure, Cloud::Google];
            match known.into_iter().find(|cloud| cloud.as_str() == name) {
                Some(cloud) => freshness.require_nonce(cloud),
                None => Err(NonceCloudError::Unknown(name.to_owned())),
            }
        })
    }

    /// The same demands, with or without pins
    #[must_use]
    pub const fn pins(mut self, pins: bool) -> Self {
        self.pins = pins;
        self
    }

    /// The same demands, with the most seconds that the clocks of two replicas may differ
    #[must_use]
    pub const fn leeway_seconds(mut self, seconds: u64) -> Self {
        self.leeway_seconds = seconds;
        self
    }

    /// The clouds whose machines have to answer a nonce
    #[must_use]
    pub const fn nonces(&self) -> &BTreeSet<Cloud> {
        &self.nonces
    }
}

/// Why no nonce can be demanded of a cloud
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NonceCloudError {
    /// The proofs of the cloud cannot have one
    #[error("machines of {0} cannot answer a nonce: the cloud signs none with its documents")]
    NotSigned(Cloud),
    /// It is not the name of a cloud
    #[error("{0:?} is not `azure` or `google`")]
    Unknown(String),
}

/// Nonces over some table of keys
pub(crate) trait AnyNonces: Send + Sync {
    /// The clouds whose machines have to answer a nonce
    fn clouds(&self) -> &BTreeSet<Cloud>;

    /// The nonce of `now`; `None` without a key
    fn issue(&self, now: SystemTime) -> BoxFuture<'_, Option<String>>;

    /// Returns the instance if its proof is fresh, or comes from a cloud of which no nonce is
    /// demanded
    fn demand(
        &self,
        instance: VerifiedInstance,
        now: SystemTime,
    ) -> BoxFuture<'_, Result<VerifiedInstance, Rejection>>;

    /// Fetches the keys if that is due; with `rotate` makes and rotates them first
    fn maintain(&self, rotate: bool, now: SystemTime) -> BoxFuture<'_, Result<(), KeysError>>;
}

/// Nonces whose keys are derived from those of app tokens
pub(crate) struct Nonces<S> {
    store: Arc<S>,
    keys: KeyCache<NonceKey>,
    clouds: BTreeSet<Cloud>,
    leeway_seconds: u64,
}

impl<S> Nonces<S> {
    pub(crate) fn new(store: Arc<S>, freshness: &Freshness) -> Self {
        let Freshness { nonces, leeway_seconds, .. } = freshness;
        let (clouds, leeway_seconds) = (nonces.clone(), *leeway_seconds);
        Self { store, keys: KeyCache::new(), clouds, leeway_seconds }
    }

    /// The challenge of the keys at hand; `None` if none of them may issue a nonce
    ///
    /// A key verifies for an hour after its successor began, so the nonces of the former key are
    /// recognized until they expire. A key that was compromised is deleted at once.
    fn challenge(&self, now: SystemTime) -> Option<Challenge> {
        let ring = self.keys.ring();
        let (current, key) = ring.signing(now).ok()?;
        let challenge = Challenge::new(ChallengeKey::new(key.reveal()), NONCE_LIFETIME.as_secs());
        let others = ring.good(now).filter(|(sequence, _)| *sequence != current);
        let challenge = others.fold(challenge, |challenge, (_, key)| {
            challenge.also_accepting(ChallengeKey::new(key.reveal()))
        });
        Some(challenge.leeway_seconds(self.leeway_seconds))
    }
}

impl<S> AnyNonces for Nonces<S>
where
    S: KeyStore + Rotation<Error: PortError> + Send + 'static,
{
    fn clouds(&self) -> &BTreeSet<Cloud> {
        &self.clouds
    }

    fn issue(&self, now: SystemTime) -> BoxFuture<'_, Option<String>> {
        async move {
            if self.challenge(now).is_none() {
                self.fetch(now).await.ok()?;
            }
            self.challenge(now).map(|challenge| challenge.issue(now))
        }
        .boxed()
    }

    fn demand(
        &self,
        instance: VerifiedInstance,
        now: SystemTime,
    ) -> BoxFuture<'_, Result<VerifiedInstance, Rejection>> {
        async move {
            if !self.clouds.contains(&instance.cloud()) {
                return Ok(instance);
            }
            let demand = || Some(self.challenge(now)?.demand(instance.clone(), now));
            let mut outcome = demand();
            let lacks_key = match &outcome {
                Some(Err(rejection)) => rejection.reason() == Reason::NonceMismatch,
                outcome => outcome.is_none(),
            };
            // Another replica may have a key that this one has not fetched yet.
            if lacks_key {
                match self.fetch(now).await {
                    Ok(true) => outcome = demand(),
                    Err(error) if outcome.is_none() => return Err(unavailable(Some(error))),
                    Ok(false) | Err(_) => {}
                }
            }
            outcome.unwrap_or_else(|| Err(unavailable(None)))
        }
        .boxed()
    }

    fn maintain(&self, rotate: bool, now: SystemTime) -> BoxFuture<'_, Result<(), KeysError>> {
        async move {
            let rotated = match rotate {
                true => rotate_feature(Feature::WorkspaceAppsToken, &*self.store, now).await,
                false => Ok(0),
            };
            let refreshed = self.keys.fetch(&*self.store, Want::Refresh, now).await;
            for (sequence, reason) in self.keys.ring().unreadable() {
                warn!(sequence, reason, "a key cannot be read, and makes no nonces");
            }
            rotated?;
            refreshed.and_then(|_| self.keys.ring().signing(now).map(drop)).map_err(Into::into)
        }
        .boxed()
    }
}

impl<S: KeyStore> Nonces<S> {
    /// Fetches keys that are missing; returns whether it did
    async fn fetch(&self, now: SystemTime) -> Result<bool, app_authz::Error> {
        let fetched = self.keys.fetch(&*self.store, Want::Missing, now).await;
        fetched.inspect_err(|error| {
            warn!(error = chain(error), "the keys of nonces cannot be fetched");
        })
    }
}

fn unavailable(error: Option<app_authz::Error>) -> Rejection {
    let source = error.map(Cause::new);
    Rejection::from(identity_verify::Error::KeysUnavailable { source })
}

/// Enough for a machine that boots; agents that sign in later ask for another
pub(crate) const NONCE_LIFETIME: Duration = Duration::from_secs(300);
