//! What a collector gets

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use authd_http::{ParentSpan, RequestSpan};
use identity_fetch::{Fetcher, Reach, System};
use otlp_export::{Exporter, Sampler, Settings};
use serde_json::{Value, json};
use testkit::net::Collector;

const TRACE: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;

fn span() -> RequestSpan {
    RequestSpan {
        trace_id: TRACE,
        parent: None,
        request_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
        route: "login",
        method: "POST",
        status: 303,
        client: Some([203, 0, 113, 7].into()),
        started: SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_250),
        duration: Duration::from_micros(1_500),
    }
}

fn exporter(collector: &Collector, sampler: Sampler) -> Exporter {
    let settings = Settings {
        endpoint: format!("{}/v1/traces", collector.url).parse().unwrap(),
        headers: vec![("api-key".parse().unwrap(), "secret".parse().unwrap())],
        resource: vec![("service.name".to_owned(), "edge".to_owned())],
        sampler,
    };
    Exporter::start(settings, Fetcher::new(Arc::new(System), Reach::Anywhere))
}

async fn flush(exporter: &Exporter) {
    exporter.flush(Duration::from_secs(30)).await;
}

#[tokio::test]
async fn a_request_is_a_span_of_a_server() {
    let collector = Collector::start().await;
    let exporter = exporter(&collector, Sampler::default());
    let parent = Some(ParentSpan { id: 0x00f0_67aa_0ba9_02b7, is_sampled: true });
    exporter.export(RequestSpan { parent, status: 503, client: None, ..span() });
    exporter.export(span());
    flush(&exporter).await;

    let [request] = &collector.received()[..] else { panic!("{:?}", collector.received()) };
    let head = request.head.to_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    assert!(head.contains("api-key: secret\r\n"), "{head}");
    let resource = &request.body["resourceSpans"][0]["resource"]["attributes"];
    assert_eq!(*resource, json!([{ "key": "service.name", "value": { "stringValue": "edge" } }]));

    let spans = collector.spans();
    let [first, second] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(first["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!((&first["status"], second.get("status")), (&json!({ "code": 2 }), None));
    assert_eq!(second.get("parentSpanId"), None);
    assert_ne!(first["spanId"], second["spanId"]);
    for (field, expected) in [
        ("traceId", json!("4bf92f3577b34da6a3ce929d0e0e4736")),
        ("name", json!("POST login")),
        ("kind", json!(2)),
        ("startTimeUnixNano", json!("1800000000250000000")),
        ("endTimeUnixNano", json!("1800000000251500000")),
    ] {
        assert_eq!(second[field], expected, "{field}");
    }
    let id = second["spanId"].as_str().unwrap();
    assert!(id.len() == 16 && u64::from_str_radix(id, 16).unwrap() != 0, "{id}");
    assert_eq!(attribute(second, "http.response.status_code")["intValue"], "303");
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "login"),
        ("client.address", "203.0.113.7"),
        ("authd.request_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
    ] {
        assert_eq!(attribute(second, key)["stringValue"], value);
    }
    assert_eq!(attribute(first, "client.address"), Value::Null);
}

#[tokio::test]
async fn a_method_that_is_not_registered_has_the_standard_words() {
    let collector = Collector::start().await;
    let exporter = exporter(&collector, Sampler::default());
    exporter.export(RequestSpan { method: "other", ..span() });
    flush(&exporter).await;
    let spans = collector.spans();
    assert_eq!(spans[0]["name"], "HTTP login");
    assert_eq!(attribute(&spans[0], "http.request.method")["stringValue"], "_OTHER");
}

fn attribute(span: &Value, key: &str) -> Value {
    let mut attributes = span["attributes"].as_array().unwrap().iter();
    let found = attributes.find(|attribute| attribute["key"] == key);
    found.map_or(Value::Null, |attribute| attribute["value"].clone())
}

#[tokio::test]
async fn a_busy_collector_is_asked_again_and_a_refusal_is_final() {
    let collector = Collector::start().await;
    let exporter = exporter(&collector, Sampler::default());
    for (refusals, taken) in [(&[503, 429][..], 1), (&[400], 0), (&[503, 503, 503], 0)] {
        collector.refuse(refusals);
        let before = collector.spans().len();
        exporter.export(span());
        flush(&exporter).await;
        assert_eq!(collector.spans().len() - before, taken, "{refusals:?}");
    }
}

#[tokio::test]
async fn the_caller_decides_about_its_trace() {
    let parent = |is_sampled| Some(ParentSpan { id: 1, is_sampled });
    // An id counts with the precision of a floating-point number.
    let half = 1 << 55;
    for (sampler, trace_id, parent, is_exported) in [
        (Sampler::default(), TRACE, None, true),
        (Sampler::default(), TRACE, parent(true), true),
        (Sampler::default(), TRACE, parent(false), false),
        (Sampler { follows_parent: true, ratio: 0.0 }, TRACE, parent(true), true),
        (Sampler { follows_parent: true, ratio: 0.0 }, 1 << 56, None, false),
        (Sampler { follows_parent: false, ratio: 1.0 }, TRACE, parent(false), true),
        (Sampler { follows_parent: false, ratio: 0.5 }, half - (1 << 10), None, true),
        (Sampler { follows_parent: false, ratio: 0.5 }, half, None, false),
        (Sampler { follows_parent: false, ratio: 1.0 }, u128::MAX, None, true),
    ] {
        let span = RequestSpan { trace_id, parent, ..span() };
        assert_eq!(sampler.samples(&span), is_exported, "{sampler:?} {trace_id:x} {parent:?}");
    }
    let collector = Collector::start().await;
    let exporter = exporter(&collector, Sampler::default());
    exporter.export(RequestSpan { parent: parent(false), ..span() });
    exporter.export(RequestSpan { parent: parent(true), ..span() });
    flush(&exporter).await;
    assert_eq!(collector.spans().len(), 1);
}
