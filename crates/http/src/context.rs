use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::Method;
use http::header::HeaderMap;
use http::request::Parts;
use http_body_util::combinators::UnsyncBoxBody;
use thiserror::Error;
use uuid::Uuid;

use crate::error::BoxError;
use crate::proxies::{Peer, TrustedProxies, X_FORWARDED_HOST, first, own_host};
use crate::purpose::{Purpose, prefers_pages};
use crate::request_facts::{RequestFacts, RequestId, TraceParent, known_method};

/// A request as its handler reads it: the head, and what is known about where it came from
///
/// Made once, when the request arrives. The body is apart, since a handler reads it only after
/// it has authenticated its caller.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) head: &'a Parts,
    /// The method of the client, also if a proxy asks
    pub(crate) method: &'a str,
    /// Host and port as the client wrote them, or as a trusted proxy forwards them
    pub(crate) host: &'a str,
    /// Host and port as a trusted proxy forwards them, if it does
    pub(crate) forwarded_host: Option<&'a str>,
    /// The raw path
    pub(crate) path: &'a str,
    /// The raw query; empty if the request has none
    pub(crate) query: &'a str,
    /// The client's address, if it is known
    pub(crate) client: Option<IpAddr>,
    /// Whether a trusted proxy sent the request
    pub(crate) trusted: bool,
    pub(crate) now: SystemTime,
    /// What lines of the log say about the request
    pub(crate) facts: RequestFacts,
}

/// The body of a request, with its original type erased
pub(crate) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// An error of a body, with its original type erased
#[derive(Debug, Error)]
#[error(transparent)]
pub(crate) struct BodyError(pub(crate) BoxError);

impl<'a> Context<'a> {
    /// `peer` is the other end of the connection, and `fresh` the id of a request without one
    ///
    /// A trusted proxy may have given the request an id, and a span that it is part of.
    pub(crate) fn new(
        head: &'a Parts,
        peer: Peer,
        proxies: &TrustedProxies,
        now: SystemTime,
        fresh: Uuid,
    ) -> Self {
        let trusted = proxies.trust(peer);
        let forwarded_host = trusted.then(|| first(&head.headers, &X_FORWARDED_HOST)).flatten();
        let client = if trusted { proxies.client(&head.headers) } else { peer.address() };
        let given = trusted.then(|| RequestId::of_proxy(&head.headers)).flatten();
        let facts = RequestFacts {
            id: given.unwrap_or_else(|| RequestId::new(fresh)),
            parent: trusted.then(|| TraceParent::of_proxy(&head.headers)).flatten(),
            client,
            method: known_method(head.method.as_str()),
            route: "unmatched",
            started: Instant::now(),
        };
        Self {
            head,
            method: head.method.as_str(),
            host: forwarded_host.or_else(|| own_host(&head.uri, &head.headers)).unwrap_or_default(),
            forwarded_host,
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            client,
            trusted,
            now,
            facts,
        }
    }

    pub(crate) const fn headers(&self) -> &'a HeaderMap {
        &self.head.headers
    }

    /// Whether a redirect within the app reaches the client, and loses nothing
    pub(crate) fn may_be_redirected(&self) -> bool {
        let reads = self.method == Method::GET || self.method == Method::HEAD;
        reads && self.purpose() != Purpose::Program
    }

    /// Whether a person sees the answer, and so gets a page and never JSON
    pub(crate) fn is_of_person(&self) -> bool {
        prefers_pages(self.method, self.headers())
    }

    /// What the request is for
    pub(crate) fn purpose(&self) -> Purpose {
        Purpose::of(self.method, self.headers())
    }
}
