mod agent_sign_in;
mod answered;
mod app_access;
mod authorize;
mod operational;
mod parts;
mod tower;

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fair_share::Source;
use futures_util::FutureExt;
use http::{Request, Response, StatusCode};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt, Empty};
use identity_fetch::{Clock, Identity};

use self::agent_sign_in::{AgentSignIn, Demands};
use self::app_access::AppAccess;
use self::tower::PeerOf;
pub use self::tower::PeerService;
use crate::acts::Acts;
use crate::admission::{self, Admission, Attempt, Work};
use crate::apps::{Housekeeping, KeysError};
use crate::context::{Body, BodyError, Context};
use crate::error::{AccessError, BoxError, Error};
use crate::freshness::AnyNonces;
use crate::host::Host;
use crate::limits::Limits;
use crate::metrics::{Metrics, Texts};
use crate::ports::Parts;
use crate::proxies::{Peer, TrustedProxies};
use crate::refresh::Refreshes;
use crate::reply::{Layout, Response as Answer, ResponseBody};
use crate::request_facts::{RequestFacts, RequestId};
use crate::request_span::SpanObserver;
use crate::revocations::Revocations;
use crate::router::{Route, Row, VISIT};
use crate::routes::{self, AppRoute, challenge};

/// Answers every request of authd: agent sign-in, app access, audit, health and metrics
///
/// It begins with health and metrics alone, and has the parts that are added to it; a path of an
/// absent part is not found. It has no state that must not be lost. Any number of services may share
/// one database, and clones share everything.
#[derive(Clone)]
pub struct Service {
    /// `None` if agent sign-in is off
    agents: Option<Arc<dyn AgentSignIn>>,
    /// `None` if no machine has to answer a nonce
    nonces: Option<Arc<dyn AnyNonces>>,
    /// Whether sign-in pins the moments of proofs
    pins: bool,
    /// `None` if app access is off
    apps: Option<Arc<dyn AppAccess>>,
    parts: Parts,
    limits: Limits,
    metrics: Metrics,
    texts: Arc<Texts>,
    clock: Clock,
    admission: Arc<Admission>,
    acts: Arc<Acts>,
    refreshes: Arc<Refreshes>,
    revocations: Arc<Revocations>,
    host: Arc<Host>,
    /// Receives every answered request, if traces are exported
    spans: Option<SpanObserver>,
    layout: Arc<Layout>,
    /// Finds the peer of a request that has no [`Peer`] among its extensions
    peers: Option<Arc<PeerOf>>,
}

impl Service {
    /// Refreshes the keys of app access and of nonces if that is due
    ///
    /// With `rotate` it first makes and rotates them if that is due. Call it every few minutes,
    /// on any number of replicas: one of them rotates. Does nothing without app access and nonces.
    ///
    /// # Errors
    ///
    /// If the store fails, or the system has no random bytes; the fetched keys stay in use.
    pub async fn maintain_keys(&self, rotate: bool) -> Result<(), KeysError> {
        let of_apps = match &self.apps {
            Some(apps) => apps.maintain_keys(rotate, self.now()).await,
            None => Ok(()),
        };
        let of_nonces = match &self.nonces {
            // App access has rotated the same keys.
            Some(nonces) => nonces.maintain(rotate && self.apps.is_none(), self.now()).await,
            None => Ok(()),
        };
        of_apps.and(of_nonces)
    }

    /// Starts to delete old rows of the audit, sessions for apps that have ended and pins of builds
    /// that are superseded, until the returned value is dropped
    ///
    /// Rows of the log are kept for `keep_rows`, or for ever. Call it within a tokio runtime.
    /// `None` if the service has no rows to delete: app access and pins are off, and acts are not
    /// recorded, or kept for ever.
    pub fn start_housekeeping(&self, keep_rows: Option<Duration>) -> Option<Housekeeping> {
        let clock = || Arc::clone(&self.clock);
        let apps = self.apps.as_ref().map(|apps| apps.start_housekeeping(keep_rows, clock()));
        let pins = self.agents.as_ref().filter(|_| self.pins).map(|agents| agents.old_pins());
        let all = match pins {
            Some(pins) => Some(Housekeeping::with_pins(apps, pins)),
            None => apps,
        };
        match (self.acts.old(), keep_rows) {
            (Some(acts), Some(keep)) => Some(Housekeeping::with_acts(all, acts, keep)),
            _ => all,
        }
    }

    /// Waits until the visits and sign-ins answered so far are recorded, for ten seconds at most
    ///
    /// Also for the outcome of refreshes of providers' tokens that are under way.
    ///
    /// Call it once no more requests are answered.
    pub async fn drain_audit(&self) {
        self.admission.report();
        let visits = async {
            if let Some(apps) = &self.apps {
                apps.drain_audit().await;
            }
        };
        tokio::join!(visits, self.acts.drain(), self.refreshes.drain());
    }

    /// What proofs are verified with; `None` if agent sign-in is off
    pub fn identity(&self) -> Option<Arc<Identity>> {
        self.agents.as_ref().map(|agents| agents.identity().load_full())
    }

    /// Replaces what proofs are verified with
    ///
    /// Requests under way finish with the value that they began with. Does nothing if agent sign-in
    /// is off.
    pub fn set_identity(&self, identity: Identity) {
        if let Some(agents) = &self.agents {
            agents.identity().store(Arc::new(identity));
        }
    }

    /// Logs a warning for every trusted certificate that expires soon
    pub fn warn_of_expiry(&self) {
        if let Some(identity) = self.identity() {
            identity.warn_of_expiry(self.now());
        }
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
    /// Load balancers then send requests elsewhere. Listeners to revocations are ended, and all other
    /// requests are answered as before.
    pub fn set_stopping(&self) {
        self.host.set_stopping();
        self.revocations.stop();
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
        let body = match body.is_end_stream() {
            // This is not on the heap.
            true => Empty::new().map_err(|never| match never {}).boxed_unsync(),
            false => body.map_err(|error| BodyError(error.into())).boxed_unsync(),
        };
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
                // Pinned where it is made: it is large, and each wrapper would move it.
                let answer = pin!(self.handle(row.route, &cx, source, body));
                let answered = AssertUnwindSafe(answer).catch_unwind().await;
                answered.unwrap_or(Err(Error::Panicked))
            }
            Err(error) => Err(error),
        };
        let response = outcome.unwrap_or_else(|error| {
            self.log(&error, &facts, source);
            match route {
                Some(Route::Apps(route)) => routes::failed(&self.parts, route, &cx, error),
                // Its callers are programs, whatever they say they accept.
                Some(Route::SignIn(_) | Route::Challenge) => error.into_response(),
                _ => routes::refused(&cx, error),
            }
        });
        // Probes come every few seconds, and would hide all else.
        let is_probe = matches!(route, Some(Route::Operational(_)));
        self.finish(response, &facts, is_probe, now)
    }

    fn trusted_proxies(&self) -> &TrustedProxies {
        self.apps.as_ref().map_or(&NO_PROXIES, |apps| apps.trusted_proxies())
    }

    /// The row of a request: a route of ours, or a visit to an app
    fn find(&self, cx: &Context<'_>) -> Result<&'static Row, Error> {
        let served = self.served();
        let row = Row::find(served, &cx.head.method, cx.path);
        // On an app's host these paths are the app's, and never ours.
        let is_open = matches!(row, Err(Error::RouteNotFound)) || PAGES.contains(&cx.path);
        match &self.apps {
            Some(apps) if is_open && served.contains(VISIT.group) && apps.is_visited_by(cx) => {
                Ok(&VISIT)
            }
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
        let answer = pin!(async {
            match route {
                // These need no turn: a probe must be able to tell a busy server from a dead one.
                Route::Operational(probe) => {
                    Box::pin(self.operational(probe, cx.headers(), cx.now)).await
                }
                Route::SignIn(cloud) => {
                    let agents = self.agents.as_ref().ok_or(Error::RouteNotFound)?;
                    admission.check(Attempt::Proof, source)?;
                    let (size, body) =
                        admission.receive(source, body, agents.bounds(), request).await?;
                    let _turn = admission.turn(Work::SignIn, source, size, request).await?;
                    // Boxed once it has its turn, since thousands of requests wait for theirs.
                    let demands = Demands { nonces: self.nonces.as_deref(), pins: self.pins };
                    let answer = agents.answer((&self.acts, demands), cloud, cx, body);
                    answer.await.inspect_err(|error| {
                        admission.failed(Attempt::Proof, source, admission::cost(error));
                    })
                }
                Route::Challenge => {
                    let nonces = self.nonces.as_deref().ok_or(Error::NoChallenge)?;
                    let _turn = admission.turn(Work::SignIn, source, 0, request).await?;
                    challenge::issue(nonces, cx.now).await
                }
                Route::Apps(route) => {
                    let apps = self.apps.as_ref().ok_or(AccessError::Off)?;
                    // This asks nothing, and the answer may be that the server is busy.
                    if route == AppRoute::ForwardAuthAnswer {
                        return apps.answer(&self.parts, route, cx, body).await;
                    }
                    if route.is_log_in() {
                        admission.check(Attempt::LogIn, source)?;
                    }
                    let (size, body) = match route.has_small_body() {
                        true => admission.receive(source, body, apps.bounds(), request).await?,
                        false => (0, body),
                    };
                    let _turn = admission.turn(route.work(), source, size, request).await?;
                    let answer = apps.answer(&self.parts, route, cx, body).await?;
                    let status = answer.status();
                    let is_refused = [StatusCode::UNAUTHORIZED, StatusCode::BAD_REQUEST];
                    if route.is_log_in() && is_refused.contains(&status) {
                        admission.failed(Attempt::LogIn, source, 1);
                    }
                    Ok(answer)
                }
            }
        });
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
