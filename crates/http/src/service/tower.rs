//! A service as part of another server

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body as HttpBody;
use store::Store;

use super::Service;
use crate::error::BoxError;
use crate::proxies::Origin;
use crate::reply::ResponseBody;

/// The address of a request's peer, as an extension of the request
///
/// A host that mounts [`Service`] as a tower service adds it, so that clients are known by
/// address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

impl<S, B> tower_service::Service<Request<B>> for Service<S>
where
    S: Store + 'static,
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let peer = request.extensions().get::<Peer>();
            let peer = peer.map_or(Origin::Unknown, |Peer(address)| Origin::Address(*address));
            Ok(service.answer_from(peer, request).await)
        })
    }
}

impl<S> Clone for Service<S> {
    fn clone(&self) -> Self {
        Self {
            agents: Arc::clone(&self.agents),
            apps: self.apps.clone(),
            limits: self.limits,
            metrics: self.metrics.clone(),
            texts: Arc::clone(&self.texts),
            clock: Arc::clone(&self.clock),
            admission: Arc::clone(&self.admission),
            acts: Arc::clone(&self.acts),
            host: Arc::clone(&self.host),
            spans: self.spans.clone(),
            layout: Arc::clone(&self.layout),
        }
    }
}

impl<S> fmt::Debug for Service<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("limits", &self.limits)
            .field("rules", &self.agents.rules)
            .finish_non_exhaustive()
    }
}
