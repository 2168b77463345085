//! A service as part of another server

use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body as HttpBody;

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

impl<B> tower_service::Service<Request<B>> for Service
where
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

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("limits", &self.limits)
            .field("routes", &self.served())
            .field("rules", &self.agents.as_ref().map(|agents| agents.rules()))
            .finish_non_exhaustive()
    }
}
