//! Authorization as middleware of a host that carries apps itself

use std::fmt;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body as HttpBody;
use tower_layer::Layer;

use crate::allowed::Allowed;
use crate::error::BoxError;
use crate::reply::ResponseBody;
use crate::service::Service;

/// Keeps requests for apps from the services of a host, and lets the host carry those that are
/// allowed
///
/// | request | goes to |
/// | --- | --- |
/// | for an app or a terminal, allowed | the function of the host that carries it |
/// | for an app or a terminal, any other | authd, which answers the visitor |
/// | for a route of authd, after [`with_routes`](Self::with_routes) | authd |
/// | any other | the inner service, unchanged |
///
/// [`Service::is_for_app`] says which requests are for apps. Put the layer around everything that
/// answers requests: on the host of an app each path is the app's, also one that the host has a
/// route for. In axum that is the layer which is added last.
///
/// Trusted proxies and clients are known by the peer of a request: see [`Service::with_peers`].
#[derive(Clone)]
pub struct AuthorizeLayer<C> {
    authd: Service,
    carry: C,
    with_routes: bool,
}

impl<C> AuthorizeLayer<C> {
    /// The layer of a host that carries an allowed request with `carry`
    ///
    /// `carry` is a function of [`Allowed`] and the request, with all of its body, that returns the
    /// answer.
    pub fn new(authd: Service, carry: C) -> Self {
        Self { authd, carry, with_routes: false }
    }

    /// The same layer, which lets authd answer requests for its own routes, too
    ///
    /// It then answers those paths on every host that is not an app's, and the inner service never
    /// receives them. Without this the host mounts the [`Service`] where it likes.
    #[must_use]
    pub fn with_routes(self) -> Self {
        Self { with_routes: true, ..self }
    }
}

impl<C: Clone, I> Layer<I> for AuthorizeLayer<C> {
    type Service = Authorize<C, I>;

    fn layer(&self, inner: I) -> Self::Service {
        Authorize { layer: self.clone(), inner }
    }
}

/// The service that [`AuthorizeLayer`] makes
#[derive(Clone, Debug)]
pub struct Authorize<C, I> {
    layer: AuthorizeLayer<C>,
    inner: I,
}

impl<C, I, B, F, Carried, Inner> tower_service::Service<Request<B>> for Authorize<C, I>
where
    C: Fn(Allowed, Request<B>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Carried>> + Send,
    I: tower_service::Service<Request<B>, Response = Response<Inner>> + Clone + Send + 'static,
    I::Future: Send,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    Carried: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    Inner: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = I::Error;
    type Future = BoxFuture<'static, Result<Self::Response, I::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), I::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The clone has not been asked whether it is ready.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let AuthorizeLayer { authd, carry, with_routes } = self.layer.clone();
        let peer = authd.peer(request.extensions());
        Box::pin(async move {
            let (head, body) = request.into_parts();
            if authd.is_for_app(peer, &head) {
                let allowed = match authd.authorize(peer, &head).await {
                    Ok(allowed) => allowed,
                    Err(answer) => return Ok(answer),
                };
                let carried = carry(allowed, Request::from_parts(head, body)).await;
                return Ok(carried.map(ResponseBody::new));
            }
            let is_of_authd = with_routes && authd.has_route(&head);
            let request = Request::from_parts(head, body);
            if is_of_authd {
                return Ok(authd.answer_from(peer, request).await);
            }
            Ok(inner.call(request).await?.map(ResponseBody::new))
        })
    }
}

impl<C> fmt::Debug for AuthorizeLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizeLayer")
            .field("with_routes", &self.with_routes)
            .finish_non_exhaustive()
    }
}
