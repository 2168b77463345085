use std::net::IpAddr;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderMap};
use http::request::Parts;
use http_body_util::combinators::UnsyncBoxBody;
use thiserror::Error;
use uuid::Uuid;

use crate::error::BoxError;
use crate::proxies::{TrustedProxies, X_FORWARDED_HOST, first, own_host};

/// A request as its handler reads it: the head, and what is known about where it came from
///
/// Made once, when the request arrives. The body is apart, since a handler reads it only after
/// it has authenticated its caller.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) head: &'a Parts,
    /// Host and port as the client wrote them, or as a trusted proxy forwards them
    pub(crate) host: &'a str,
    /// The raw path
    pub(crate) path: &'a str,
    /// The raw query; empty if the request has none
    pub(crate) query: &'a str,
    /// The client's address, if it is known
    pub(crate) client: Option<IpAddr>,
    /// Whether a trusted proxy sent the request
    pub(crate) trusted: bool,
    pub(crate) now: SystemTime,
    pub(crate) request_id: Uuid,
}

/// The body of a request, with its original type erased
pub(crate) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// An error of a body, with its original type erased
#[derive(Debug, Error)]
#[error(transparent)]
pub(crate) struct BodyError(pub(crate) BoxError);

impl<'a> Context<'a> {
    /// `peer` is the other end of the connection
    pub(crate) fn new(
        head: &'a Parts,
        peer: Option<IpAddr>,
        proxies: &TrustedProxies,
        now: SystemTime,
        request_id: Uuid,
    ) -> Self {
        let peer = peer.map(|peer| peer.to_canonical());
        let trusted = peer.is_some_and(|peer| proxies.trust(peer));
        let forwarded = first(&head.headers, &X_FORWARDED_HOST).filter(|_| trusted);
        Self {
            head,
            host: forwarded.or_else(|| own_host(&head.uri, &head.headers)).unwrap_or_default(),
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            client: if trusted { proxies.client(&head.headers) } else { peer },
            trusted,
            now,
            request_id,
        }
    }

    pub(crate) const fn headers(&self) -> &'a HeaderMap {
        &self.head.headers
    }

    /// Whether the client can show a page
    ///
    /// A client that does not say what it accepts is taken for a browser, as the control plane
    /// does. Of weights only `q=0` counts (RFC 9110, section 12.4.2).
    pub(crate) fn accepts_html(&self) -> bool {
        accepts_html(self.headers())
    }
}

fn accepts_html(headers: &HeaderMap) -> bool {
    let mut is_given = false;
    for line in headers.get_all(ACCEPT) {
        for range in line.as_bytes().split(|byte| *byte == b',') {
            let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let media = parts.next().unwrap_or_default();
            is_given |= !media.is_empty();
            let html = [&b"*/*"[..], b"text/*", b"text/html"];
            if html.iter().any(|m| media.eq_ignore_ascii_case(m)) && !parts.any(is_zero_weight) {
                return true;
            }
        }
    }
    !is_given
}

/// Whether a parameter is `q=0`, with any number of zeros behind the point
fn is_zero_weight(parameter: &[u8]) -> bool {
    let weight = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="));
    weight.is_some_and(|w| w.starts_with(b"0") && w.iter().all(|b| matches!(b, b'0' | b'.')))
}
