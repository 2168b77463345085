//! Whether a request may continue to its app: one flow for proxies, for hosts that carry apps
//! themselves, and for requests that no carrier checked

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use fair_share::Source;
use futures_util::FutureExt;
use http::Method;
use http::request::Parts;
use store::Store;

use crate::admission::{self, Work};
use crate::allowed::{Allowed, header};
use crate::apps::{Admitted, AppService, Upstream, admit};
use crate::context::Context;
use crate::error::{AccessError, Error};
use crate::proxies::Peer;
use crate::reply::{Problem, Reply, Response};
use crate::request_facts::RequestId;
use crate::router::{Row, VISIT};
use crate::routes;
use crate::service::Service;

impl<S: Store> Service<S> {
    /// Whether a request is for an app or a terminal, and so must be [authorized](Self::authorize)
    /// before anything answers it
    ///
    /// These are all requests for the hosts of apps, and those for the path of an app or a terminal
    /// on any other host: `/@USER/WORKSPACE/apps/…` and `/api/v2/workspaceagents/AGENT/pty`. Paths
    /// are read as they were written, without decoding them. Hosts of registered workspace proxies
    /// do not count: each serves its own. `false` if app access is off.
    pub fn is_for_app(&self, peer: impl Into<Peer>, request: &Parts) -> bool {
        let now = self.now();
        let cx = Context::new(request, peer.into(), self.trusted_proxies(), now, uuid::Uuid::nil());
        self.apps.as_ref().is_some_and(|apps| apps.is_for_app(&cx))
    }

    /// Whether a request is for one of the routes of the service
    pub(crate) fn has_route(&self, request: &Parts) -> bool {
        !matches!(Row::find(&request.method, request.uri.path()), Err(Error::RouteNotFound))
    }

    /// Decides whether a request may continue to its app
    ///
    /// Does all that a proxy's check does: it takes its turn, reads the credentials, decides,
    /// records the visit, issues an app token, and counts and logs the request. The host then
    /// carries the request to the app with what [`Allowed`] says. `peer` is the other end of the
    /// connection; what it forwards for somebody else is believed only from a trusted proxy.
    ///
    /// Ask it about requests for which [`is_for_app`](Self::is_for_app) is true. Any other request
    /// is answered with 404.
    ///
    /// # Errors
    ///
    /// Errs with the answer for the visitor in place of the app's: a redirect to sign in, a page or
    /// JSON with the reason, or the answer to a preflight request. Send it as it is.
    #[expect(clippy::result_large_err, reason = "the error is the answer to the request")]
    pub async fn authorize(
        &self,
        peer: impl Into<Peer>,
        request: &Parts,
    ) -> Result<Allowed, http::Response<crate::ResponseBody>> {
        let (peer, now) = (peer.into(), self.now());
        let _counted = self.metrics.request_started();
        let fresh = RequestId::fresh(now);
        let mut cx = Context::new(request, peer, self.trusted_proxies(), now, fresh);
        cx.facts.route = VISIT.label;
        let source = admission::source(&cx, peer);
        let visited = AssertUnwindSafe(self.visit(&cx, source)).catch_unwind().await;
        let response = match visited.unwrap_or(Err(Error::Panicked)) {
            Ok(Ok(admitted)) => {
                self.note_answered(200, &cx.facts, false, now);
                return Ok(Allowed::new(admitted, &cx, Arc::clone(&self.layout)));
            }
            Ok(Err(reply)) => reply.into_response(),
            Err(error) => {
                self.log(&error, &cx.facts, source);
                failed(&cx, error)
            }
        };
        Err(self.finish(response, &cx.facts, false, now))
    }

    async fn visit(
        &self,
        cx: &Context<'_>,
        source: Source,
    ) -> Result<Result<Admitted, Reply>, Error> {
        let apps = self.apps.as_ref().ok_or(AccessError::Off)?;
        let decided = async {
            let request = cx.facts.id.uuid();
            let _turn = self.admission.turn(Work::Visit, source, 0, request).await?;
            Ok(Box::pin(direct(apps, cx)).await)
        };
        let limited = tokio::time::timeout(self.limits.request, decided).await;
        limited.unwrap_or(Err(Error::DeadlineExceeded))
    }
}

/// Admits a visit whose request is at hand, and not a proxy's check about it
async fn direct<S: Store>(apps: &Arc<AppService<S>>, cx: &Context<'_>) -> Result<Admitted, Reply> {
    // A tunnel, and `OPTIONS *`, have no path that an app could be asked for.
    let has_path = cx.path.is_empty() || cx.path.starts_with('/');
    if cx.head.method == Method::CONNECT || !has_path {
        let detail = "Only a request for a path can be carried to an app.";
        let error = Error::from(AccessError::invalid("The request is not allowed.", detail));
        return Err(failure(cx, error.problem()));
    }
    let preflight = cx.head.method == Method::OPTIONS;
    admit_visitor(apps, cx, has_bare_mark(cx.head), Upstream::Apps, preflight).await
}

/// Whether the query is there, and empty
pub(crate) fn has_bare_mark(head: &Parts) -> bool {
    head.uri.query().is_some_and(str::is_empty)
}

/// Admits a visit whose carrier requests [`Admitted::uri`] from the app, or replies to the visitor
///
/// `visitor` has host, path, query and method of the visitor, also if a proxy asks. With
/// `has_bare_mark` the visitor's address ends with the question mark of an empty query, which
/// [`Admitted::uri`] then keeps: some apps distinguish `/x?` from `/x`. With `preflight` the carrier
/// can relay the answer to a preflight request.
pub(crate) async fn admit_visitor<S: Store>(
    apps: &Arc<AppService<S>>,
    visitor: &Context<'_>,
    has_bare_mark: bool,
    upstream: Upstream,
    preflight: bool,
) -> Result<Admitted, Reply> {
    if visitor.headers().keys().any(header::imitates_ours) {
        let detail = "A name that begins with `X-Authd-` must not be written with underscores.";
        let error = Error::from(AccessError::invalid("A header is not allowed.", detail));
        return Err(failure(visitor, error.problem()));
    }
    let mut admitted = admit(apps, visitor, upstream, preflight).await?;
    if has_bare_mark {
        admitted.uri.push('?');
    }
    Ok(admitted)
}

/// The reply about a problem to a visitor of an app
pub(crate) fn failure(visitor: &Context<'_>, problem: Problem<'_>) -> Reply {
    match visitor.purpose().is_shown_pages() {
        true => Reply::page(problem),
        false => Reply::json(&problem),
    }
}

/// The answer to a visit that failed
fn failed(cx: &Context<'_>, error: Error) -> Response {
    let problem = error.problem();
    if problem.status.is_server_error() {
        return failure(cx, problem.retry()).into_response();
    }
    routes::refused(cx, error)
}
