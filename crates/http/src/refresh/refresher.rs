use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use app_authz::credential::LoginType;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use identity_fetch::Clock;
use oidc_client::{Provider, RefreshError, Refreshed, TokenEndpoint};
use store::refresh::{BegunRefresh, LinkId, LinkTokens, RefreshEnd, RefreshTurn};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tracing::{error, info, warn};
use uuid::{NoContext, Timestamp, Uuid};

use super::config::GithubClient;
use super::{AnyRefresher, RefreshConfig};
use crate::error::{NotRefreshed, chain};
use crate::metrics::Metrics;
use crate::oidc::Network;

/// Refreshes the links of some tables
pub(super) struct Refresher<S> {
    tables: Arc<S>,
    oidc: Option<Provider<Network>>,
    github: Option<TokenEndpoint<Network>>,
    clock: Clock,
    metrics: Metrics,
    running: Mutex<HashMap<LinkId, watch::Receiver<Option<Outcome>>>>,
    /// When the last try for a link has failed
    failed: Mutex<HashMap<LinkId, Instant>>,
    places: Arc<Semaphore>,
    waiting: Semaphore,
}

type Outcome = Result<(), NotRefreshed>;

impl<S> Refresher<S> {
    pub(super) fn new(
        tables: Arc<S>,
        config: RefreshConfig,
        (clock, metrics): (Clock, Metrics),
    ) -> Self {
        let RefreshConfig { oidc, github } = config;
        Self {
            tables,
            oidc: oidc.map(|(client, fetcher)| Provider::new(client, Network(fetcher))),
            github: github.map(|(GithubClient { endpoint, id, secret }, fetcher)| {
                TokenEndpoint::new(endpoint, &id, secret, Network(fetcher))
            }),
            clock,
            metrics,
            running: Mutex::default(),
            failed: Mutex::default(),
            places: Arc::new(Semaphore::new(PLACES)),
            waiting: Semaphore::new(WAITING),
        }
    }
}

impl<S: LinkTokens + Send + 'static> AnyRefresher for Arc<Refresher<S>> {
    fn is_for(&self, login_type: LoginType) -> bool {
        match login_type {
            LoginType::Oidc => self.oidc.is_some(),
            LoginType::Github => self.github.is_some(),
            _ => false,
        }
    }

    fn refresh(&self, link: LinkId) -> BoxFuture<'_, Result<(), NotRefreshed>> {
        async move {
            let _waiting = self.waiting.try_acquire().map_err(|_| NotRefreshed::Busy)?;
            let mut outcome = self.join(link)?;
            let outcome = timeout(PATIENCE, outcome.wait_for(Option::is_some)).await;
            match outcome.map_err(|_| NotRefreshed::TooSlow)? {
                Ok(outcome) => outcome.clone().unwrap_or(Err(NotRefreshed::TooSlow)),
                Err(_) => Err(NotRefreshed::Failed("it broke off".to_owned())),
            }
        }
        .boxed()
    }

    fn drain(&self) -> BoxFuture<'_, ()> {
        async move {
            let all = u32::try_from(PLACES).unwrap_or(u32::MAX);
            let _ = timeout(DRAIN, self.places.acquire_many(all)).await;
        }
        .boxed()
    }
}

impl<S: LinkTokens + Send + 'static> Refresher<S> {
    /// The refresh of the link that is under way, or a new one
    fn join(
        self: &Arc<Self>,
        link: LinkId,
    ) -> Result<watch::Receiver<Option<Outcome>>, NotRefreshed> {
        let mut running = lock(&self.running);
        if let Some(outcome) = running.get(&link) {
            return Ok(outcome.clone());
        }
        if lock(&self.failed).get(&link).is_some_and(|at| at.elapsed() < PAUSE) {
            return Err(NotRefreshed::TriedBefore);
        }
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| NotRefreshed::Busy)?;
        let (sender, receiver) = watch::channel(None);
        running.insert(link, receiver.clone());
        let running = Running { refresher: Arc::clone(self), link };
        tokio::spawn(async move {
            let _place = place;
            let outcome = running.refresher.run(link).await;
            running.refresher.note(link, outcome.is_err());
            // Requests from now on look at the link again.
            drop(running);
            sender.send_replace(Some(outcome));
        });
        Ok(receiver)
    }

    /// Refreshes a link in turn with other replicas
    async fn run(&self, link: LinkId) -> Outcome {
        let begun = Instant::now();
        loop {
            let now = (self.clock)();
            let until = now.checked_add(LEASE).unwrap_or(now);
            let turn = self.tables.begin_refresh(link, attempt(now), now, until).await;
            match turn {
                Ok(RefreshTurn::Begun(begun)) => return self.ask(&begun, now).await,
                Ok(RefreshTurn::Over) => return Ok(()),
                Ok(_) if begun.elapsed() > PATIENCE => return Err(NotRefreshed::TooSlow),
                Ok(_) => sleep(STEP).await,
                Err(error) => {
                    let error = chain(&error);
                    warn!(user = %link.user, error, "a provider's token could not be refreshed");
                    self.count(link, "failed");
                    return Err(NotRefreshed::Failed(error));
                }
            }
        }
    }

    /// Asks the provider, and stores what it answers
    async fn ask(&self, begun: &BegunRefresh, now: SystemTime) -> Outcome {
        let link = begun.link;
        let (user, provider) = (link.user, link.login_type.as_str());
        match self.exchange(begun, now).await {
            Ok(new) => {
                let end = RefreshEnd::Refreshed {
                    access_token: &new.access_token,
                    refresh_token: new.refresh_token.as_deref(),
                    expires_at: new.expires_at,
                };
                let stored =
                    self.end(begun, end).await.inspect_err(|_| self.count(link, "lost"))?;
                self.count(link, "refreshed");
                info!(%user, provider, stored, "a provider's token was refreshed");
                Ok(())
            }
            Err(RefreshError::Refused) => {
                self.end(begun, RefreshEnd::Refused).await?;
                self.count(link, "refused");
                info!(%user, provider, "a provider refuses to refresh a token");
                Ok(())
            }
            Err(error) => {
                let error = chain(&error);
                warn!(%user, provider, error, "a provider's token could not be refreshed");
                self.count(link, "failed");
                self.end(begun, RefreshEnd::Failed).await?;
                Err(NotRefreshed::Failed(error))
            }
        }
    }

    async fn exchange(
        &self,
        begun: &BegunRefresh,
        now: SystemTime,
    ) -> Result<Refreshed, RefreshError> {
        let token = &*begun.refresh_token;
        match (begun.link.login_type, &self.oidc, &self.github) {
            // An encrypted token may turn out to be empty.
            _ if token.is_empty() => Err(RefreshError::Refused),
            (LoginType::Oidc, Some(oidc), _) => oidc.refresh_tokens(token, now).await,
            (LoginType::Github, _, Some(github)) => github.refresh_tokens(token, now).await,
            _ => Err(RefreshError::Refused),
        }
    }

    /// Ends an attempt; tries again for a while, since the provider may not repeat its answer
    async fn end(&self, begun: &BegunRefresh, end: RefreshEnd<'_>) -> Result<bool, NotRefreshed> {
        let mut tries = 0;
        loop {
            match self.tables.end_refresh(begun, end).await {
                Ok(stored) => return Ok(stored),
                Err(store::Error::Unavailable { .. }) if tries < TRIES => tries += 1,
                Err(error) => {
                    let error = chain(&error);
                    error!(
                        user = %begun.link.user, outcome = ?end, error,
                        "the outcome of refreshing a provider's token was not stored"
                    );
                    return Err(NotRefreshed::Failed(error));
                }
            }
            sleep(AGAIN).await;
        }
    }

    fn note(&self, link: LinkId, has_failed: bool) {
        let mut failed = lock(&self.failed);
        match has_failed {
            true => {
                failed.retain(|_, at| at.elapsed() < PAUSE);
                failed.insert(link, Instant::now());
            }
            false => drop(failed.remove(&link)),
        }
    }

    fn count(&self, link: LinkId, outcome: &'static str) {
        self.metrics.token_refreshed(link.login_type.as_str(), outcome);
    }
}

/// A refresh that is under way
struct Running<S> {
    refresher: Arc<Refresher<S>>,
    link: LinkId,
}

impl<S> Drop for Running<S> {
    fn drop(&mut self) {
        lock(&self.refresher.running).remove(&self.link);
    }
}

/// The id of a new attempt
fn attempt(now: SystemTime) -> Uuid {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Uuid::new_v7(Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Refreshes of one replica that may be under way at the same time
const PLACES: usize = 32;

/// Requests of one replica that may wait for refreshes, which are a part of those that are answered
const WAITING: usize = 256;

/// How long a request waits for a refresh
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a replica keeps others from refreshing a link: three exchanges with a provider, and the
/// time in which their outcome is stored
const LEASE: Duration = Duration::from_secs(30);

/// How long the server waits for refreshes when it stops
const DRAIN: Duration = Duration::from_secs(10);

/// Between looks at a link that another replica refreshes
const STEP: Duration = Duration::from_millis(100);

/// Before a refresh that has failed is tried again
const PAUSE: Duration = Duration::from_secs(2);

/// How often, and after which time, it is tried again to store an outcome
const TRIES: usize = 10;
const AGAIN: Duration = Duration::from_secs(1);
