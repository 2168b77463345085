mod answered;
mod authorize;
mod tower;

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agent_auth::Rules;
use arc_swap::ArcSwap;
use bytes::Bytes;
use fair_share::Source;
use futures_util::FutureExt;
use http::header::{CACHE_CONTROL, HeaderMap};
use http::{Request, Response, StatusCode};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use identity_fetch::{Clock, Identity};
use store::Store;

use self::tower::PeerOf;
pub use self::tower::PeerService;
use crate::acts::{ActAudit, Acts};
use crate::admission::{self, Admission, Attempt, Work};
use crate::agents::AgentService;
use crate::apps::{AppService, AppsConfig, Housekeeping, KeysError};
use crate::context::{Body, BodyError, Context};
use crate::error::{AccessError, BoxError, Error};
use crate::host::Host;
use crate::limits::Limits;
use crate::metrics::{Exposition, HostCounts, Metrics, Texts};
use crate::proxies::{Peer, TrustedProxies};
use crate::reply::{Branding, Layout, NO_STORE, Response as Answer, ResponseBody};
use crate::request_facts::{RequestFacts, RequestId};
use crate::request_span::{RequestSpan, SpanObserver};
use crate::router::{Probe, Route, Row, VISIT};
use crate::routes::{self, AppRoute, agent_sign_in, health};

/// Answers every request of authd: agent sign-in, app access, audit, health and metrics
///
/// It has no state that must not be lost. Any number of services may share one database, and
/// clones share everything.
pub struct Service<S> {
    agents: Arc<AgentService<S>>,
    /// `None` if app access is off
    apps: Option<Arc<AppService<S>>>,
    limits: Limits,
    metrics: Metrics,
    texts: Arc<Texts>,
    clock: Clock,
    admission: Arc<Admission>,
    acts: Arc<Acts>,
    host: Arc<Host>,
    /// Receives every answered request, if traces are exported
    spans: Option<SpanObserver>,
    layout: Arc<Layout>,
    /// Finds the peer of a request that has no [`Peer`] among its extensions
    peers: Option<Arc<PeerOf>>,
}

impl<S: Store> Service<S> {
    /// A service without app access
    ///
    /// `clock` is read once for each request.
    pub fn new(store: S, identity: Identity, rules: Rules, limits: Limits, clock: Clock) -> Self {
        let metrics = Metrics::new();
        let agents = AgentService {
            store: Arc::new(store),
            identity: ArcSwap::from_pointee(identity),
            rules,
            bounds: limits.body_bounds(),
            metrics: metrics.clone(),
        };
        Self {
            agents: Arc::new(agents),
            apps: None,
            limits,
            admission: Arc::new(Admission::new(&limits, metrics.clone())),
            acts: Arc::default(),
            metrics,
            texts: Arc::default(),
            clock,
            host: Arc::new(Host::new(HostCounts::default, false)),
            spans: None,
            layout: Arc::new(Layout::new(Branding::default(), None)),
            peers: None,
        }
    }

    /// The same service, whose metrics have what the program counts that it is part of
    ///
    /// `counts` is called whenever metrics are served. With `hides_metrics` only
    /// [`answer_operational`](Self::answer_operational) serves them.
    #[must_use]
    pub fn with_host(
        self,
        counts: impl Fn() -> HostCounts + Send + Sync + 'static,
        hides_metrics: bool,
    ) -> Self {
        Self { host: Arc::new(Host::new(counts, hides_metrics)), ..self }
    }

    /// The same service, which calls `observer` with every request that it has answered, except for
    /// those about health, readiness and metrics
    ///
    /// The observer must not block.
    #[must_use]
    pub fn with_spans(self, observer: impl Fn(RequestSpan) + Send + Sync + 'static) -> Self {
        Self { spans: Some(Arc::new(observer)), ..self }
    }

    /// The same service, with app access
    ///
    /// Call it within the tokio runtime on which visits are to be recorded.
    #[must_use]
    pub fn with_apps(self, config: AppsConfig) -> Self {
        let layout = Layout::new(config.branding.clone(), Some(&config.access_url));
        let mut apps = AppService::start(
            Arc::clone(&self.agents.store),
            config,
            self.metrics.clone(),
            self.limits.body_bounds(),
            Arc::clone(&self.admission),
            Arc::clone(&self.clock),
        );
        apps.acts = Arc::clone(&self.acts);
        Self { apps: Some(Arc::new(apps)), layout: Arc::new(layout), ..self }
    }

    /// The same service, which records sign-ins and what operators do
    ///
    /// Where the store has no table for acts, or may not write to it, nothing is recorded. Call it
    /// within the tokio runtime on which acts are to be recorded.
    #[must_use]
    pub fn with_act_audit(self, audit: ActAudit) -> Self {
        self.acts.start(Arc::clone(&self.agents.store), audit);
        self
    }

    /// Refreshes the keys of app access if that is due
    ///
    /// With `rotate` it first makes and rotates them if that is due. Call it every few minutes,
    /// on any number of replicas: one of them rotates. Does nothing if app access is off.
    ///
    /// # Errors
    ///
    /// If the store fails, or the system has no random bytes; the fetched keys stay in use.
    pub async fn maintain_keys(&self, rotate: bool) -> Result<(), KeysError> {
        match &self.apps {
            Some(apps) => apps.maintain_keys(rotate, self.now()).await,
            None => Ok(()),
        }
    }

    /// Starts to delete old rows of the audit and sessions for apps that have ended, until the
    /// returned value is dropped
    ///
    /// Rows of the log are kept for `keep_rows`, or for ever. Call it within a tokio runtime.
    /// `None` if there is nothing to delete: app access is off, and rows are kept for ever.
    pub fn start_housekeeping(&self, keep_rows: Option<Duration>) -> Option<Housekeeping> {
        match &self.apps {
            Some(apps) => Some(apps.start_housekeeping(keep_rows, Arc::clone(&self.clock))),
            None => {
                keep_rows.map(|keep| Housekeeping::of_acts(Arc::clone(&self.agents.store), keep))
            }
        }
    }

    /// Waits until the visits and sign-ins answered so far are recorded, for ten seconds at most
    ///
    /// Call it once no more requests are answered.
    pub async fn drain_audit(&self) {
        self.admission.report();
        let visits = async {
            if let Some(apps) = &self.apps {
                apps.drain_audit().await;
            }
        };
        tokio::join!(visits, self.acts.drain());
    }

    /// What proofs are verified with
    pub fn identity(&self) -> Arc<Identity> {
        self.agents.identity.load_full()
    }

    /// Replaces what proofs are verified with
    ///
    /// Requests under way finish with the value that they began with.
    pub fn set_identity(&self, identity: Identity) {
        self.agents.identity.store(Arc::new(identity));
    }

    /// Logs a warning for every trusted certificate that expires soon
    pub fn warn_of_expiry(&self) {
        self.identity().warn_of_expiry(self.now());
    }

    fn now(&self) -> SystemTime {
        (self.clock)()
    }

    /// Answers a request whose peer address is unknown
    ///
    /// Otherwise like [`answer_to`](Self::answer_to).
    pub async fn answer<B>(&self, request: Request<B>) -> Response<ResponseBody>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        self.answer_from(Peer::Unknown, request).await
    }

    /// Answers a request that came over a connection with `peer`
    ///
    /// Every answer has a request id, and every failure leaves one line with this id in the log.
    /// A handler that panics costs one answer, and not the process.
    pub async fn answer_to<B>(&self, peer: IpAddr, request: Request<B>) -> Response<ResponseBody>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        self.answer_from(Peer::Address(peer), request).await
    }

    /// Answers a request that came over a Unix socket
    ///
    /// Its client has no address, unless [`TrustedProxies::unix_sockets`] lets it name one. Otherwise
    /// like [`answer_to`](Self::answer_to).
    pub async fn answer_to_socket<B>(&self, request: Request<B>) -> Response<ResponseBody>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        self.answer_from(Peer::UnixSocket, request).await
    }

    /// Makes `/readyz` answer that the server is about to stop
    ///
    /// Load balancers then send requests elsewhere. All other requests are answered as before.
    pub fn set_stopping(&self) {
        self.host.set_stopping();
    }

    /// Answers a request about the server itself: health, readiness and metrics
    ///
    /// For a listener that only operators reach. All other paths are not found.
    pub async fn answer_operational<B>(&self, request: Request<B>) -> Response<ResponseBody> {
        let row = Row::find(request.method(), request.uri().path());
        let answer = match row.map(|row| row.route) {
            Ok(Route::Operational(probe)) => {
                let answer = self.operational(probe, request.headers(), self.now());
                let limited = tokio::time::timeout(self.limits.request, answer).await;
                limited.unwrap_or(Err(Error::DeadlineExceeded))
            }
            Ok(_) => Err(Error::RouteNotFound),
            Err(error) => Err(error),
        };
        let mut response = answer.unwrap_or_else(Error::into_response);
        response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
        response
    }

    async fn operational(
        &self,
        probe: Probe,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Answer, Error> {
        match probe {
            Probe::Live => Ok(health::live()),
            Probe::Ready if self.host.is_stopping() => Err(Error::Stopping),
            Probe::Ready => self.ready(self.agents.store.ping().await, now),
            Probe::Metrics => {
                let exposition = Exposition::accepted_by(headers);
                let text = self.texts.get(exposition, async || {
                    self.observe(now).await;
                    self.metrics.encode(exposition).map(Bytes::from)
                });
                let text = text.await.map_err(|_| Error::Panicked)?;
                Ok(health::metrics(exposition, text))
            }
        }
    }

    fn ready(&self, pinged: Result<(), store::Error>, now: SystemTime) -> Result<Answer, Error> {
        health::ready(pinged, self.apps.as_deref(), now)
    }

    /// Sets the metrics that are computed when they are read
    async fn observe(&self, now: SystemTime) {
        let ready = self.ready(self.agents.store.probe().await, now);
        let is_down = matches!(ready, Err(Error::NotReady(store::Error::Unavailable { .. })));
        self.metrics.probed(!is_down, ready.is_ok() && !self.host.is_stopping());
        self.metrics.stored(self.agents.store.facts());
        self.agents.observe(now);
        self.metrics.host((self.host.counts)());
        self.admission.observe();
        let visits = self.apps.as_ref().map(|apps| apps.audit_stats());
        self.metrics.audited(visits, self.acts.stats());
        if let Some(apps) = &self.apps {
            for (feature, since) in apps.keys.signing_since(now) {
                let age = since.map(|since| now.duration_since(since).unwrap_or_default());
                self.metrics.key_age(feature, age);
            }
        }
    }

    pub(crate) async fn answer_from<B>(
        &self,
        peer: Peer,
        request: Request<B>,
    ) -> Response<ResponseBody>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let now = self.now();
        let fresh = RequestId::fresh(now);
        let _counted = self.metrics.request_started();

        let (head, body) = request.into_parts();
        let body = body.map_err(|error| BodyError(error.into())).boxed_unsync();
        let mut cx = Context::new(&head, peer, self.trusted_proxies(), now, fresh);
        let row = self.find(&cx);
        if let Ok(row) = &row {
            cx.facts.route = row.label;
        }
        let facts = cx.facts;
        let route = row.as_ref().ok().map(|row| row.route);
        let source = admission::source(&cx, peer);
        let outcome = match row {
            Ok(row) => {
                let answer = AssertUnwindSafe(self.handle(row.route, &cx, source, body));
                answer.catch_unwind().await.unwrap_or(Err(Error::Panicked))
            }
            Err(error) => Err(error),
        };
        let response = outcome.unwrap_or_else(|error| {
            self.log(&error, &facts, source);
            match route {
                Some(Route::Apps(route)) => routes::failed(route, &cx, error),
                // Its callers are programs, whatever they say they accept.
                Some(Route::SignIn(_)) => error.into_response(),
                _ => routes::refused(&cx, error),
            }
        });
        // Probes come every few seconds, and would hide all else.
        let is_probe = matches!(route, Some(Route::Operational(_)));
        self.finish(response, &facts, is_probe, now)
    }

    fn trusted_proxies(&self) -> &TrustedProxies {
        self.apps.as_ref().map_or(&NO_PROXIES, |apps| &apps.config.trusted)
    }

    /// The row of a request: a route of ours, or a visit to an app
    fn find(&self, cx: &Context<'_>) -> Result<&'static Row, Error> {
        let row = Row::find(&cx.head.method, cx.path);
        // On an app's host these paths are the app's, and never ours.
        let is_open = matches!(row, Err(Error::RouteNotFound)) || PAGES.contains(&cx.path);
        match &self.apps {
            Some(apps) if is_open && apps.is_visited_by(cx) => Ok(&VISIT),
            _ => row,
        }
    }

    async fn handle(
        &self,
        route: Route,
        cx: &Context<'_>,
        source: Source,
        body: Body,
    ) -> Result<Answer, Error> {
        let (admission, request) = (&*self.admission, cx.facts.id.uuid());
        let answer = async {
            match route {
                Route::Operational(Probe::Metrics) if self.host.hides_metrics => {
                    Err(Error::RouteNotFound)
                }
                // These need no turn: a probe must be able to tell a busy server from a dead one.
                Route::Operational(probe) => {
                    Box::pin(self.operational(probe, cx.headers(), cx.now)).await
                }
                Route::SignIn(cloud) => {
                    admission.check(Attempt::Proof, source)?;
                    let bounds = self.agents.bounds;
                    let (size, body) = admission.receive(source, body, bounds, request).await?;
                    let _turn = admission.turn(Work::SignIn, source, size, request).await?;
                    // Boxed once it has its turn, since thousands of requests wait for theirs.
                    let answer = agent_sign_in::sign_in(&self.agents, &self.acts, cloud, cx, body);
                    Box::pin(answer).await.inspect_err(|error| {
                        admission.failed(Attempt::Proof, source, admission::cost(error));
                    })
                }
                Route::Apps(route) => {
                    let apps = self.apps.as_ref().ok_or(AccessError::Off)?;
                    // This asks nothing, and the answer may be that the server is busy.
                    if route == AppRoute::ForwardAuthAnswer {
                        return Box::pin(routes::answer(apps, route, cx, body)).await;
                    }
                    if route == AppRoute::LogIn {
                        admission.check(Attempt::LogIn, source)?;
                    }
                    let (size, body) = match route.has_small_body() {
                        true => admission.receive(source, body, apps.bounds, request).await?,
                        false => (0, body),
                    };
                    let _turn = admission.turn(route.work(), source, size, request).await?;
                    let answer = Box::pin(routes::answer(apps, route, cx, body)).await?;
                    if route == AppRoute::LogIn && answer.status() == StatusCode::UNAUTHORIZED {
                        admission.failed(Attempt::LogIn, source, 1);
                    }
                    Ok(answer)
                }
            }
        };
        tokio::time::timeout(self.limits.request, answer)
            .await
            .unwrap_or(Err(Error::DeadlineExceeded))
    }

    /// Writes the one line that an error leaves in the log, unless its kind is counted instead
    fn log(&self, error: &Error, facts: &RequestFacts, source: Source) {
        let is_of_server = error.problem().status.is_server_error() && !error.is_of_clients();
        let is_verified = error.machine().is_some_and(|machine| machine.verified == Some(true));
        let is_logged = is_of_server || is_verified;
        if !error.is_summed() && (is_logged || self.admission.logs(source)) {
            error.log(facts);
        }
    }
}

/// Paths that are short enough for an app to have them too
const PAGES: [&str; 4] = ["/", "/audit", "/audit/export.csv", "/audit/export.jsonl"];

static NO_PROXIES: TrustedProxies = TrustedProxies::NONE;
