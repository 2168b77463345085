use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use fair_share::Source;
use futures_util::FutureExt;
use http::request::Parts;
use uuid::Uuid;

use super::Service;
use crate::admission::{self, Work};
use crate::allowed::{Allowed, failure};
use crate::apps::Admitted;
use crate::context::Context;
use crate::error::{AccessError, Error};
use crate::proxies::Peer;
use crate::reply::{Reply, Response, ResponseBody};
use crate::request_facts::RequestId;
use crate::revocations::RevocationListener;
use crate::router::{Row, VISIT};
use crate::routes;

impl Service {
    /// Whether a request is for an app or a terminal, and so must be [authorized](Self::authorize)
    /// before anything answers it
    ///
    /// These are all requests for the hosts of apps, and those for the path of an app or a terminal
    /// on any other host: `/@USER/WORKSPACE/apps/…` and `/api/v2/workspaceagents/AGENT/pty`. Paths
    /// are read as they were written, without decoding them. Hosts of registered workspace proxies
    /// do not count: each serves its own. `false` if app access is off.
    pub fn is_for_app(&self, peer: impl Into<Peer>, request: &Parts) -> bool {
        let now = self.now();
        let cx = Context::new(request, peer.into(), self.trusted_proxies(), now, Uuid::nil());
        self.apps.as_ref().is_some_and(|apps| apps.is_for_app(&cx))
    }

    /// Whether a request is for one of the routes of the service
    pub(crate) fn has_route(&self, request: &Parts) -> bool {
        let row = Row::find(self.served(), &request.method, request.uri.path());
        !matches!(row, Err(Error::RouteNotFound))
    }

    /// Decides whether a request may continue to its app
    ///
    /// Does all that a proxy's check does: it takes its turn, reads the credentials, decides,
    /// records the visit, issues an app token, and counts and logs the request. The host then
    /// carries the request to the app with what [`Allowed`] says. `peer` is the other end of the
    /// connection; the host and the client's address that it forwards count only if it is a
    /// trusted proxy.
    ///
    /// Ask it about requests for which [`is_for_app`](Self::is_for_app) is true. Any other request
    /// is answered with 404.
    ///
    /// # Errors
    ///
    /// Errs with the answer for the visitor in place of the app's: a redirect to sign in, a page or
    /// JSON with the reason, or the answer to a preflight request. Send it as it is.
    #[allow(clippy::result_large_err, reason = "the error is the answer to the request")]
    pub async fn authorize(
        &self,
        peer: impl Into<Peer>,
        request: &Parts,
    ) -> Result<Allowed, http::Response<ResponseBody>> {
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

    /// Listens to what was allowed and may not be any more, for a host that carries connections
    ///
    /// Listen before the first connection is authorized. For each [`Allowed`] of an open connection,
    /// [`Allowed::connection`] says which revocations concern it. The host then authorizes the request
    /// again, or closes the connection. Only what is found from now on is received.
    ///
    /// # Errors
    ///
    /// Errs with an answer that has the reason: the service has no
    /// [revocations](Self::with_revocations), 64 listen already, or the store fails.
    #[allow(clippy::result_large_err, reason = "the error is an answer to a request")]
    pub async fn revocations(&self) -> Result<RevocationListener, http::Response<ResponseBody>> {
        self.revocations.listen(None).await.map_err(Error::into_response)
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
            Ok(apps.admit_direct(cx).await)
        };
        let limited = tokio::time::timeout(self.limits.request, decided).await;
        limited.unwrap_or(Err(Error::DeadlineExceeded))
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
