//! What every line of the log says about its request

use std::fmt;
use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use uuid::{NoContext, Timestamp, Uuid};

/// The facts about a request that each of its lines in the log has
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestFacts {
    pub(crate) id: RequestId,
    /// The span of a trusted proxy that the request is part of
    pub(crate) parent: Option<TraceParent>,
    /// The client's address, if it is known
    pub(crate) client: Option<IpAddr>,
    /// The client's method, also if a proxy asks; `other` for a method that is not standard
    pub(crate) method: &'static str,
    /// The label of the route: never the path, which may have a secret in it
    pub(crate) route: &'static str,
    pub(crate) started: Instant,
}

impl RequestFacts {
    /// The same, for the method of a visitor for whom a proxy asks
    pub(crate) fn with_method(self, method: &str) -> Self {
        Self { method: known_method(method), ..self }
    }

    /// Milliseconds since the request arrived, to the microsecond
    pub(crate) fn duration_ms(&self) -> f64 {
        (self.started.elapsed().as_secs_f64() * 1e6).round() / 1e3
    }
}

/// Writes a line about a request, with its facts and further fields
///
/// `tracing` leaves out fields without a value.
macro_rules! log_request {
    ($level:ident, $facts:expr, $($rest:tt)+) => {{
        let facts: &$crate::request_facts::RequestFacts = $facts;
        tracing::$level!(
            request_id = %facts.id,
            trace_id = facts.parent.map(|parent| tracing::field::display(parent.trace_id())),
            client = facts.client.map(tracing::field::display),
            method = facts.method,
            route = facts.route,
            duration_ms = facts.duration_ms(),
            $($rest)+
        );
    }};
}

pub(crate) use log_request;

/// The id of a request, displayed in the form in which it came
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestId {
    id: Uuid,
    is_hyphenated: bool,
}

impl RequestId {
    pub(crate) const fn new(id: Uuid) -> Self {
        Self { id, is_hyphenated: true }
    }

    /// Makes an id of version 7, so that ids sort by time in the log
    ///
    /// Without a counter, which all requests would share.
    pub(crate) fn fresh(now: SystemTime) -> Uuid {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Uuid::new_v7(Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos()))
    }

    /// Reads the id that a trusted proxy gave to the request
    ///
    /// Returns `None` for anything but one UUID, with hyphens or without: the audit log has no
    /// room for another id.
    pub(crate) fn of_proxy(headers: &HeaderMap) -> Option<Self> {
        Self::parse(only(headers, &X_REQUEST_ID)?)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_hyphenated = match text.len() {
            32 => false,
            36 => true,
            _ => return None,
        };
        let id = Uuid::try_parse(text).ok().filter(|id| !id.is_nil())?;
        Some(Self { id, is_hyphenated })
    }

    pub(crate) const fn uuid(self) -> Uuid {
        self.id
    }

    /// The id as the value of a header
    pub(crate) fn to_header(self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.encode(&mut Uuid::encode_buffer())).ok()
    }

    fn encode(self, buffer: &mut [u8]) -> &str {
        match self.is_hyphenated {
            true => self.id.as_hyphenated().encode_lower(buffer),
            false => self.id.as_simple().encode_lower(buffer),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.encode(&mut Uuid::encode_buffer()))
    }
}

/// The span that a request is part of, as `traceparent` has it
///
/// The format is that of [W3C Trace Context](https://www.w3.org/TR/trace-context/#traceparent-header).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceParent {
    pub(crate) trace: u128,
    pub(crate) span: u64,
    flags: u8,
}

impl TraceParent {
    /// Reads the span of a trusted proxy; `None` if the header is not valid or comes twice
    pub(crate) fn of_proxy(headers: &HeaderMap) -> Option<Self> {
        Self::parse(only(headers, &TRACEPARENT)?)
    }

    fn parse(text: &str) -> Option<Self> {
        // A later version may append fields.
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let mut fields = known.split('-');
        let mut hex = |digits: usize| {
            let field = fields.next().filter(|field| field.len() == digits)?;
            let is_hex = field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            u128::from_str_radix(field, 16).ok().filter(|_| is_hex)
        };
        let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let is_whole = rest.is_empty() || version != 0 && rest.starts_with('-');
        let is_valid = is_whole && version != 0xff && trace != 0 && span != 0;
        is_valid.then_some(Self {
            trace,
            span: u64::try_from(span).ok()?,
            flags: u8::try_from(flags).ok()?,
        })
    }

    /// Whether the caller may have recorded its span
    pub(crate) const fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }

    /// The id of the trace, in hexadecimal digits
    pub(crate) fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }
}

/// The value of a header that occurs once, if it is text
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok()
}

/// A method as a label: one of the registered ones that clients use, or `other`
pub(crate) fn known_method(method: &str) -> &'static str {
    METHODS.into_iter().find(|known| *known == method).unwrap_or("other")
}

const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// The length of a `traceparent` of version 0
const LENGTH: usize = 55;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_proxy_is_a_uuid_and_keeps_its_form() {
        for id in ["0190a8c3-52d0-7c1e-8a46-0b6dd5f6a1b2", "0190a8c352d07c1e8a460b6dd5f6a1b2"] {
            let parsed = RequestId::parse(id).unwrap();
            assert_eq!(parsed.to_string(), id);
            assert_eq!(parsed.to_header().unwrap(), id);
        }
        for other in [
            "",
            "7",
            "req-0190a8c3-52d0-7c1e-8a46-0b6dd5f6a1b2",
            "{0190a8c3-52d0-7c1e-8a46-0b6dd5f6a1b2}",
            "urn:uuid:0190a8c3-52d0-7c1e-8a46-0b6dd5f6a1b2",
            "0190a8c3-52d0-7c1e-8a46-0b6dd5f6a1bg",
            "0190a8c352d07c1e8a460b6dd5f6a1b",
            "00000000000000000000000000000000",
            "0190a8c352d07c1e8a460b6dd5f6a1b2, 0190a8c352d07c1e8a460b6dd5f6a1b2",
            "<script>alert(1)</script><script",
        ] {
            assert_eq!(RequestId::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_header_that_comes_twice_is_not_believed() {
        let id = HeaderValue::from_static("0190a8c3-52d0-7c1e-8a46-0b6dd5f6a1b2");
        let mut headers = HeaderMap::new();
        assert_eq!(RequestId::of_proxy(&headers), None);
        headers.append(X_REQUEST_ID, id.clone());
        assert!(RequestId::of_proxy(&headers).is_some());
        headers.append(X_REQUEST_ID, id);
        assert_eq!(RequestId::of_proxy(&headers), None);
    }

    #[test]
    fn a_traceparent_is_that_of_the_standard() {
        let example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceParent::parse(example).unwrap();
        assert_eq!(parent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((parent.span, parent.is_sampled()), (0x00f0_67aa_0ba9_02b7, true));
        let other = TraceParent::parse(&example.replace("-01", "-02")).unwrap();
        assert!(!other.is_sampled());
        for good in [
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes-later",
        ] {
            assert!(TraceParent::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47-3600f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0é",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn methods_that_clients_make_up_are_one_label() {
        for (method, label) in
            [("GET", "GET"), ("PATCH", "PATCH"), ("get", "other"), ("X", "other")]
        {
            assert_eq!(known_method(method), label);
        }
    }
}
