use std::sync::Arc;
use std::time::{Duration, SystemTime};

use app_audit::Stats;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use identity_fetch::Clock;

use crate::allowed::admit_direct;
use crate::apps::{Admitted, AppService, Housekeeping, Keys, KeysError};
use crate::body::Bounds;
use crate::context::{Body, Context};
use crate::error::Error;
use crate::ports::{AppPorts, Parts};
use crate::proxies::TrustedProxies;
use crate::reply::{Reply, Response};
use crate::routes::{self, AppRoute};

/// An [`AppService`] over some tables
pub(super) trait AppAccess: Send + Sync {
    /// Answers a request for one of the routes
    fn answer<'a>(
        &'a self,
        parts: &'a Parts,
        route: AppRoute,
        cx: &'a Context<'_>,
        body: Body,
    ) -> BoxFuture<'a, Result<Response, Error>>;

    /// Admits a visit that its host carries, or replies to the visitor instead
    fn admit_direct<'a>(&'a self, cx: &'a Context<'_>) -> BoxFuture<'a, Result<Admitted, Reply>>;

    /// Whether a request is for an app or a terminal, by host or path
    fn is_for_app(&self, cx: &Context<'_>) -> bool;

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
        routes::answer(self, parts, route, cx, body)
    }

    fn admit_direct<'a>(&'a self, cx: &'a Context<'_>) -> BoxFuture<'a, Result<Admitted, Reply>> {
        admit_direct(self, cx).boxed()
    }

    fn is_for_app(&self, cx: &Context<'_>) -> bool {
        AppService::is_for_app(self, cx)
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
