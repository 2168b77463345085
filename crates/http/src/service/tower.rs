//! A service as part of another server

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Extensions, Request, Response};
use http_body::Body as HttpBody;

use super::Service;
use crate::error::BoxError;
use crate::proxies::Peer;
use crate::reply::ResponseBody;

/// Finds the peer of a request in what the host's server knows of it
pub(crate) type PeerOf = dyn Fn(&Extensions) -> Option<Peer> + Send + Sync;

impl Service {
    /// The same service, which asks `peer_of` for the peer of a request
    ///
    /// For a server that has its own type for the address of a connection. In axum:
    ///
    /// ```ignore
    /// authd.with_peers(|request| Some(request.get::<ConnectInfo<SocketAddr>>()?.0.into()))
    /// ```
    ///
    /// A request that has a [`Peer`] among its extensions has that one. The peer of any other
    /// request is [`Peer::Unknown`].
    #[must_use]
    pub fn with_peers(
        self,
        peer_of: impl Fn(&Extensions) -> Option<Peer> + Send + Sync + 'static,
    ) -> Self {
        Self { peers: Some(Arc::new(peer_of)), ..self }
    }

    /// The service for the requests of one connection, whose other end is `peer`
    ///
    /// For a server that makes a service for each connection, such as one of plain hyper.
    pub fn for_peer(&self, peer: impl Into<Peer>) -> PeerService {
        PeerService { service: self.clone(), peer: peer.into() }
    }

    /// The peer of a request with these extensions
    pub(crate) fn peer(&self, request: &Extensions) -> Peer {
        let stated = request.get::<Peer>().copied();
        let found = stated.or_else(|| self.peers.as_ref()?(request));
        found.unwrap_or(Peer::Unknown)
    }

    fn for_request(&self, request: &Extensions) -> PeerService {
        self.for_peer(self.peer(request))
    }
}

/// A [`Service`] for the requests of one connection
#[derive(Clone, Debug)]
pub struct PeerService {
    service: Service,
    peer: Peer,
}

impl PeerService {
    fn for_request(&self, _: &Extensions) -> Self {
        self.clone()
    }
}

/// Implements the `Service` of tower and that of hyper by the type's own `for_request`
macro_rules! services {
    ($($service:ident)+) => {$(
        impl<B> tower_service::Service<Request<B>> for $service
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
                hyper::service::Service::call(self, request)
            }
        }

        impl<B> hyper::service::Service<Request<B>> for $service
        where
            B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
        {
            type Response = Response<ResponseBody>;
            type Error = Infallible;
            type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

            fn call(&self, request: Request<B>) -> Self::Future {
                let PeerService { service, peer } = self.for_request(request.extensions());
                Box::pin(async move { Ok(service.answer_from(peer, request).await) })
            }
        }
    )+};
}

services! { Service PeerService }

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("limits", &self.limits)
            .field("routes", &self.served())
            .field("rules", &self.agents.as_ref().map(|agents| agents.rules()))
            .finish_non_exhaustive()
    }
}
