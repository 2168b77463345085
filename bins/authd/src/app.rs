use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use agent_auth::Rules;
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Request, Response};
use store::Store;
use tokio::sync::Semaphore;
use tracing::{error, info, warn};
use uuid::Uuid;

use crate::config::Limits;
use crate::error::Failure;
use crate::identity::Identity;
use crate::router::Route;
use crate::routes::{
    self,
    instance_identity::{AwsSignIn, AzureSignIn, GoogleSignIn, sign_in},
};
use crate::telemetry::Metrics;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The application behind the sockets: what a request may ask and what answers it
///
/// Holds no state that matters. Any number of them may share one database.
pub struct App<S> {
    pub(crate) store: S,
    pub(crate) identity: ArcSwap<Identity>,
    pub(crate) rules: Rules,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    clock: Clock,
    in_flight: Semaphore,
}

/// Where the time comes from: the system, or a test
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The system's clock
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the binary is where the clock is read")]
pub fn system_clock() -> Clock {
    Arc::new(SystemTime::now)
}

impl<S: Store> App<S> {
    /// Puts the parts together
    pub fn new(store: S, identity: Identity, rules: Rules, limits: Limits, clock: Clock) -> Self {
        Self {
            store,
            identity: ArcSwap::from_pointee(identity),
            rules,
            limits,
            metrics: Metrics::new(),
            clock,
            in_flight: Semaphore::new(limits.requests_in_flight),
        }
    }

    /// The time, read once per request
    pub(crate) fn now(&self) -> SystemTime {
        (self.clock)()
    }

    /// Answers a request, whatever it holds
    ///
    /// Every answer carries its request id, and every failure leaves one line in
    /// the log under that id. A handler that panics costs one answer, not the
    /// process.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let started = Instant::now();
        // Version 7, so that ids sort by time in whatever keeps the log.
        let request_id = Uuid::now_v7();
        let _counted = self.metrics.request_started();

        let route = Route::find(request.method(), request.uri().path());
        let name = route.as_ref().map_or("unmatched", |route| route.name());
        let outcome = match route {
            Ok(route) => {
                let answer = AssertUnwindSafe(self.dispatch(route, request, request_id));
                answer.catch_unwind().await.unwrap_or(Err(Failure::Panicked))
            }
            Err(failure) => Err(failure),
        };
        let mut response = outcome.unwrap_or_else(|failure| {
            log_failure(&failure, name, request_id);
            failure.into_response()
        });

        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Ok(id) = HeaderValue::from_str(
            request_id.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()),
        ) {
            headers.insert(X_REQUEST_ID, id);
        }
        self.metrics.request_answered(name, response.status().as_u16(), started.elapsed());
        response
    }

    async fn dispatch<B>(
        &self,
        route: Route,
        request: Request<B>,
        request_id: Uuid,
    ) -> Result<Response<Full<Bytes>>, Failure>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let _permit = if route.is_operational() {
            None
        } else {
            Some(self.in_flight.try_acquire().map_err(|_| Failure::Overloaded)?)
        };
        let answer = async {
            match route {
                Route::AwsInstanceIdentity => {
                    sign_in::<AwsSignIn, _, _>(self, request, request_id).await
                }
                Route::AzureInstanceIdentity => {
                    sign_in::<AzureSignIn, _, _>(self, request, request_id).await
                }
                Route::GoogleInstanceIdentity => {
                    sign_in::<GoogleSignIn, _, _>(self, request, request_id).await
                }
                Route::Healthz => Ok(routes::health::live()),
                Route::Metrics => Ok(routes::health::metrics(self)),
                Route::Readyz => routes::health::ready(&self.store).await,
            }
        };
        tokio::time::timeout(self.limits.request, answer)
            .await
            .unwrap_or(Err(Failure::DeadlineExceeded))
    }
}

impl<S> fmt::Debug for App<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("limits", &self.limits)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

/// The one line that a failure leaves
fn log_failure(failure: &Failure, route: &'static str, request_id: Uuid) {
    let class = failure.class();
    let status = failure.status().as_u16();
    let detail = failure.log_detail();
    let instance_id = failure.instance_id();
    if failure.status().is_server_error() {
        error!(%request_id, route, status, class, instance_id, detail, "request failed");
    } else if instance_id.is_some() || status == 401 {
        warn!(%request_id, route, status, class, instance_id, detail, "request refused");
    } else {
        info!(%request_id, route, status, class, detail, "request refused");
    }
}
