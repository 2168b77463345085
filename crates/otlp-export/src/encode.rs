//! Spans as JSON
//!
//! The form is that of `ExportTraceServiceRequest` in the
//! [JSON encoding](https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding) of OTLP: ids
//! in hexadecimal digits, and 64-bit numbers as texts.

use std::time::{Duration, SystemTime};

use authd_http::RequestSpan;
use serde_json::{Value, json};

/// A span, and the id that it was given
pub(crate) struct Identified {
    pub(crate) id: u64,
    pub(crate) span: RequestSpan,
}

/// The request that exports the spans
pub(crate) fn request(resource: &[(String, String)], spans: &[Identified]) -> Vec<u8> {
    let resource: Vec<Value> = resource.iter().map(|(key, value)| text(key, value)).collect();
    let spans: Vec<Value> = spans.iter().map(span).collect();
    let version = env!("CARGO_PKG_VERSION");
    let request = json!({
        "resourceSpans": [{
            "resource": { "attributes": resource },
            "scopeSpans": [{ "scope": { "name": "authd", "version": version }, "spans": spans }],
        }],
    });
    request.to_string().into_bytes()
}

fn span(Identified { id, span }: &Identified) -> Value {
    // The semantic conventions have these words for methods that are not registered.
    let (method, verb) = match span.method {
        "other" => ("_OTHER", "HTTP"),
        method => (method, method),
    };
    let mut attributes = vec![
        text("http.request.method", method),
        text("http.route", span.route),
        json!({
            "key": "http.response.status_code",
            "value": { "intValue": span.status.to_string() },
        }),
        text("authd.request_id", &span.request_id),
    ];
    attributes.extend(span.client.map(|client| text("client.address", &client.to_string())));
    let mut encoded = json!({
        "traceId": format!("{:032x}", span.trace_id),
        "spanId": format!("{id:016x}"),
        "name": format!("{verb} {}", span.route),
        "kind": SERVER,
        "startTimeUnixNano": nanoseconds(span.started),
        "endTimeUnixNano": nanoseconds(span.started + span.duration),
        "attributes": attributes,
    });
    if let Some(parent) = span.parent {
        encoded["parentSpanId"] = format!("{:016x}", parent.id).into();
    }
    if span.status >= 500 {
        encoded["status"] = json!({ "code": ERROR });
    }
    encoded
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn nanoseconds(time: SystemTime) -> String {
    let since: Duration = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().to_string()
}

/// `SPAN_KIND_SERVER`
const SERVER: u8 = 2;

/// `STATUS_CODE_ERROR`
const ERROR: u8 = 2;
