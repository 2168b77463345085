//! Sessions whose provider's access token has ended, and is refreshed
//!
//! Where the operator has set the control plane's clients. A refresh is a task of its own, so that it
//! does not end with the request that began it: a provider may give each refresh token one answer.
//! Requests of one user share a refresh, and replicas take turns at it (`store::refresh`).

mod config;
mod refresher;

use std::sync::{Arc, OnceLock};

use app_authz::credential::LoginType;
use futures_util::future::BoxFuture;
use identity_fetch::Clock;
use store::refresh::{LinkId, LinkTokens};

pub use self::config::{RefreshConfig, RefreshConfigError};
use self::refresher::Refresher;
use crate::error::NotRefreshed;
use crate::metrics::Metrics;

/// Refreshes links, once it was started
#[derive(Default)]
pub(crate) struct Refreshes(OnceLock<Arc<dyn AnyRefresher>>);

impl Refreshes {
    /// Refreshes links of these tables from now on, unless it was started before
    pub(crate) fn start<S: LinkTokens + Send + 'static>(
        &self,
        tables: Arc<S>,
        config: RefreshConfig,
        (clock, metrics): (Clock, Metrics),
    ) {
        if !config.is_empty() {
            let refresher = Refresher::new(tables, config, (clock, metrics));
            self.0.get_or_init(|| Arc::new(Arc::new(refresher)));
        }
    }

    /// Whether any link is refreshed
    pub(crate) fn is_on(&self) -> bool {
        self.0.get().is_some()
    }

    /// Waits until a link is refreshed, or its provider refuses that
    ///
    /// Returns whether the link may have changed.
    pub(crate) async fn refresh(&self, link: LinkId) -> Result<bool, NotRefreshed> {
        match self.0.get().filter(|refresher| refresher.is_for(link.login_type)) {
            Some(refresher) => refresher.refresh(link).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Waits until refreshes under way are over, for ten seconds at most
    pub(crate) async fn drain(&self) {
        if let Some(refresher) = self.0.get() {
            refresher.drain().await;
        }
    }
}

/// A [`Refresher`] over some tables
trait AnyRefresher: Send + Sync {
    fn is_for(&self, login_type: LoginType) -> bool;
    fn refresh(&self, link: LinkId) -> BoxFuture<'_, Result<(), NotRefreshed>>;
    fn drain(&self) -> BoxFuture<'_, ()>;
}
