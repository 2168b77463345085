use std::sync::Arc;
use std::time::{Duration, SystemTime};

use app_audit::Stats;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use identity_fetch::Clock;

use super::keys::{Keys, KeysError};
use super::{Admitted, AppService, Housekeeping, Upstream, admit};
use crate::body::Bounds;
use crate::context::{Body, Context};
use crate::error::Error;
use crate::ports::{AppPorts, Parts};
use crate::proxies::TrustedProxies;
use crate::reply::{Reply, Response};
use crate::routes::{self, AppRoute};

/// An [`AppService`] over some tables
pub(crate) trait AppAccess: Send + Sync {
    /// Answers a request for one of the routes
    fn answer<'a>(
        &'a self,
        parts: &'a Parts,
        route: AppRoute,
        cx: &'a Context<'_>,
        body: Body,
    ) -> BoxFuture<'a, Result<Response, Error>>;

    /// Admits a visit to its app, or replies to the visitor instead
    ///
    /// See [`admit`].
    #[allow(dead_code, reason = "checks of proxies admit within `answer`")]
    fn admit<'a>(
        &'a self,
        cx: &'a Context<'_>,
        upstream: Upstream,
        preflight: bool,
    ) -> BoxFuture<'a, Result<Admitted, Reply>>;

    /// Whether a request for a path that is not a route is for an app, by host or path
    fn is_visited_by(&self, cx: &Context<'_>) -> bool;

    fn trusted_proxies(&self) -> &TrustedProxies;

    /// The limits of a body
    fn bounds(&self) -> Bounds;

    fn keys(&self) -> &Keys;

    /// Refreshes the keys if that is due; with `rotate` first makes and rotates them if due
    fn maintain_keys(&self, rotate: bool, now: SystemTime) -> BoxFuture<'_, Result<(), KeysError>>;

    /// Starts to delete what is not needed any more
    fn start_housekeeping(&self, keep_rows: Option<Duration>, clock: Clock) -> Housekeeping;

    /// Waits until queued audit events are written, for ten seconds at most
    fn drain_audit(&self) -> BoxFuture<'_, ()>;

    /// Counts of audit events
    fn audit_stats(&self) -> Stats;
}

/// For a shared service, since a decision continues if its visitor hangs up
impl<S: AppPorts> AppAccess for Arc<AppService<S>> {
    fn answer<'a>(
        &'a self,
        parts: &'a Parts,
        route: AppRoute,
        cx: &'a Context<'_>,
        body: Body,
    ) -> BoxFuture<'a, Result<Response, Error>> {
        routes::answer(self, parts, route, cx, body).boxed()
    }

    fn admit<'a>(
        &'a self,
        cx: &'a Context<'_>,
        upstream: Upstream,
        preflight: bool,
    ) -> BoxFuture<'a, Result<Admitted, Reply>> {
        admit(self, cx, upstream, preflight).boxed()
    }

    fn is_visited_by(&self, cx: &Context<'_>) -> bool {
        AppService::is_visited_by(self, cx)
    }

    fn trusted_proxies(&self) -> &TrustedProxies {
        &self.config.trusted
    }

    fn bounds(&self) -> Bounds {
        self.bounds
    }

    fn keys(&self) -> &Keys {
        &self.keys
    }

    fn maintain_keys(&self, rotate: bool, now: SystemTime) -> BoxFuture<'_, Result<(), KeysError>> {
        AppService::maintain_keys(self, rotate, now).boxed()
    }

    fn start_housekeeping(&self, keep_rows: Option<Duration>, clock: Clock) -> Housekeeping {
        AppService::start_housekeeping(self, keep_rows, clock)
    }

    fn drain_audit(&self) -> BoxFuture<'_, ()> {
        AppService::drain_audit(self).boxed()
    }

    fn audit_stats(&self) -> Stats {
        AppService::audit_stats(self)
    }
}
