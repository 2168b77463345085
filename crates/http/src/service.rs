use std::fmt;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use agent_auth::Rules;
use app_audit::Housekeeping;
use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::Full;
use store::Store;
use tokio::sync::Semaphore;
use tracing::{error, info, warn};
use uuid::{NoContext, Timestamp, Uuid};

use crate::apps::{self, Apps, AppsConfig, KeysError, keys};
use crate::error::{AccessFailure, Failure, MachineFacts};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::router::Route;
use crate::routes::instance_identity::{AwsSignIn, AzureSignIn, GoogleSignIn, sign_in};
use crate::routes::{self, app_tokens, applications, crypto_keys, forward_auth, logout};
use identity_fetch::Identity;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// The application behind the sockets: what a request may ask and what answers it
///
/// Holds no state that matters. Any number of them may share one database.
pub struct Service<S> {
    pub(crate) store: Arc<S>,
    /// What app access needs, where there is any
    pub(crate) apps: Option<Arc<Apps<S>>>,
    pub(crate) identity: ArcSwap<Identity>,
    pub(crate) rules: Rules,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    clock: Clock,
    in_flight: Semaphore,
}

/// Where the time comes from: the system, or a test
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

impl<S: Store> Service<S> {
    /// Puts the parts together, without app access
    pub fn new(store: S, identity: Identity, rules: Rules, limits: Limits, clock: Clock) -> Self {
        Self {
            store: Arc::new(store),
            apps: None,
            identity: ArcSwap::from_pointee(identity),
            rules,
            limits,
            metrics: Metrics::new(),
            clock,
            in_flight: Semaphore::new(limits.requests_in_flight),
        }
    }

    /// The same application, with app access
    ///
    /// To be called within the tokio runtime on which visits are to be recorded.
    #[must_use]
    pub fn with_apps(mut self, config: AppsConfig) -> Self {
        let (store, metrics) = (Arc::clone(&self.store), self.metrics.clone());
        let visits = self.limits.requests_in_flight;
        self.apps = Some(Arc::new(Apps::start(store, config, metrics, visits)));
        self
    }

    /// Fetches the keys of app access where that is due; with `rotate` it first makes and
    /// rotates them where that is
    ///
    /// To be called now and then, by any number of replicas: one of them rotates.
    ///
    /// # Errors
    ///
    /// If the store fails, or the system has no random bytes; the keys at hand stay good.
    pub async fn keep_keys(&self, rotate: bool) -> Result<(), KeysError> {
        let Some(apps) = &self.apps else { return Ok(()) };
        let now = self.now();
        // A replica that cannot rotate still needs the keys that another made.
        let rotated = if rotate { keys::rotate(&*apps.store, now).await } else { Ok(()) };
        let refreshed = apps.keys.refresh(&*apps.store, now).await;
        rotated.and_then(|()| refreshed.map_err(Into::into))
    }

    /// Keeps the audit from growing for ever, until what is returned is dropped
    ///
    /// Rows of the log are kept for `keep_rows`, or for good. To be called within a tokio
    /// runtime; nothing where there is no app access.
    pub fn keep_house(&self, keep_rows: Option<Duration>) -> Option<Housekeeping> {
        let apps = self.apps.as_ref()?;
        let store = Arc::clone(&self.store);
        Some(Housekeeping::start(store, apps.audit_window(), keep_rows, apps::audit_observer()))
    }

    /// Waits until what visits left to be written is written, if not for long
    ///
    /// To be called once no request is answered any more.
    pub async fn finish(&self) {
        let Some(apps) = &self.apps else { return };
        let drained = apps.recorder.drain(apps::AUDIT_DRAIN).await;
        info!(written = drained.written, lost = drained.lost, "audit drained");
    }

    /// What proofs are verified with
    pub fn identity(&self) -> Arc<Identity> {
        self.identity.load_full()
    }

    /// Replaces what proofs are verified with; requests under way finish with what they began with
    pub fn set_identity(&self, identity: Identity) {
        self.identity.store(Arc::new(identity));
    }

    /// Logs a warning for every trusted certificate that expires soon
    pub fn warn_of_expiry(&self) {
        self.identity.load_full().warn_of_expiry(self.now());
    }

    /// The time, read once per request
    pub(crate) fn now(&self) -> SystemTime {
        (self.clock)()
    }

    /// Answers a request from nobody knows where, whatever it holds
    ///
    /// Otherwise like [`answer_to`](Self::answer_to).
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.answer_from(None, request).await
    }

    /// Answers a request that came over a connection with `peer`, whatever it holds
    ///
    /// Every answer carries its request id, and every failure leaves one line in
    /// the log under that id. A handler that panics costs one answer, not the
    /// process.
    pub async fn answer_to<B>(&self, peer: IpAddr, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.answer_from(Some(peer), request).await
    }

    async fn answer_from<B>(
        &self,
        peer: Option<IpAddr>,
        request: Request<B>,
    ) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let started = Instant::now();
        // Version 7, so that ids sort by time in whatever keeps the log; to the millisecond
        // is enough, and needs no lock that all requests would share.
        let request_id = Uuid::new_v7(Timestamp::now(NoContext));
        let _counted = self.metrics.request_started();

        let route = Route::find(request.method(), request.uri().path());
        // An app's own `/` is never ours.
        let is_open = matches!(route, Err(Failure::RouteNotFound)) || request.uri().path() == "/";
        let route = match &self.apps {
            Some(apps) if is_open && apps.is_visited_by(&request, peer) => Ok(Route::Visit),
            _ => route,
        };
        let name = route.as_ref().map_or("unmatched", |route| route.name());
        let outcome = match route {
            Ok(route) => {
                let answer = AssertUnwindSafe(self.dispatch(route, peer, request, request_id));
                answer.catch_unwind().await.unwrap_or(Err(Failure::Panicked))
            }
            Err(failure) => Err(failure),
        };
        let mut response = outcome.unwrap_or_else(|failure| {
            log_failure(&failure, name, request_id);
            failure.into_response()
        });

        let has_content = !response.body().is_end_stream();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, NO_STORE);
        if has_content {
            headers.insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
        }
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
        peer: Option<IpAddr>,
        request: Request<B>,
        request_id: Uuid,
    ) -> Result<Response<Full<Bytes>>, Failure>
    where
        B: Body<Data = Bytes> + Send,
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
                Route::Readyz => routes::health::ready(&*self.store).await,
                _ => self.dispatch_access(route, peer, request, request_id).await,
            }
        };
        tokio::time::timeout(self.limits.request, answer)
            .await
            .unwrap_or(Err(Failure::DeadlineExceeded))
    }

    /// The routes that there are while app access is on
    async fn dispatch_access<B>(
        &self,
        route: Route,
        peer: Option<IpAddr>,
        request: Request<B>,
        request_id: Uuid,
    ) -> Result<Response<Full<Bytes>>, Failure>
    where
        B: Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let apps = self.apps.as_ref().ok_or(AccessFailure::Off)?;
        let (now, bounds) = (self.now(), self.limits.body_bounds());
        let request = match route {
            Route::IssueAppToken => {
                return app_tokens::issue_for_proxy(apps, request, bounds, now, request_id).await;
            }
            Route::IssueTerminalToken => {
                let client = apps.asked_of(&request, peer).client;
                return app_tokens::issue_for_terminal(
                    apps, request, bounds, client, now, request_id,
                )
                .await;
            }
            Route::Import => {
                let client = apps.asked_of(&request, peer).client;
                // On the heap, as every connection has room for what is not.
                let import = routes::import::import(apps, request, bounds, client, now);
                return Box::pin(import).await;
            }
            Route::SignIn if request.method() == Method::POST => {
                let client = apps.asked_of(&request, peer).client;
                return routes::login::sign_in(apps, request, bounds, client, now).await;
            }
            _ => request.into_parts().0,
        };
        let (headers, path) = (&request.headers, request.uri.path());
        let query = request.uri.query().unwrap_or_default();
        let asked = apps.asked(&request.uri, headers, peer);
        let client = asked.client;
        match route {
            Route::AppHost => applications::host(apps, headers, query, client, now).await,
            Route::AppUnreachable => forward_auth::unreachable(apps, headers, &asked),
            Route::Audit => routes::audit::list(apps, headers, query, client, now).await,
            Route::AuthRedirect => {
                applications::auth_redirect(apps, headers, (path, query), client, now).await
            }
            Route::CryptoKeys => crypto_keys::for_proxy(apps, headers, query, now).await,
            Route::ForwardAuth(carrier, upstream) => {
                let asker = (carrier, upstream);
                forward_auth::check(apps, asker, &request, &asked, now, request_id).await
            }
            Route::ForwardAuthAnswer => forward_auth::answer(apps, headers, &asked),
            Route::Home => routes::home::page(apps, headers, query, client, now).await,
            Route::Jwks => crypto_keys::public(apps, now).await,
            Route::LogOut => logout::log_out(apps, headers, query, client, now).await,
            Route::LogOutPage => logout::from_page(apps, headers, query, client, now).await,
            Route::SignIn => Ok(routes::login::page(query)),
            Route::Visit => Ok(routes::visit::direct(apps, &request, asked, now, request_id).await),
            _ => Err(Failure::RouteNotFound),
        }
    }
}

impl<S> fmt::Debug for Service<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
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
    let machine = failure.machine();
    let is_refused = machine.is_some() || status == 401;
    // Fields that have no value are left out.
    let MachineFacts { instance_id, cloud, verified, setting, value, claims } =
        machine.unwrap_or_default();
    let claims = claims.as_deref();
    if failure.status().is_server_error() {
        error!(
            %request_id, route, status, class, instance_id, cloud, verified, setting, value, claims,
            detail, "request failed"
        );
    } else if is_refused {
        warn!(
            %request_id, route, status, class, instance_id, cloud, verified, setting, value, claims,
            detail, "request refused"
        );
    } else {
        info!(%request_id, route, status, class, detail, "request refused");
    }
}
