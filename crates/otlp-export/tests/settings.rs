//! Which variables are read, and what they mean

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use otlp_export::{Sampler, Settings};

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
    let value = |name: &'static str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Settings::read(value).map_err(|error| error.to_string())
}

fn settings(variables: &[(&str, &str)]) -> Settings {
    read(&[&[ENDPOINT], variables].concat()).unwrap().unwrap()
}

#[test]
fn without_an_endpoint_nothing_is_exported() {
    for variables in [
        &[][..],
        &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
        &[("OTEL_SERVICE_NAME", "edge"), ("OTEL_TRACES_SAMPLER", "no sampler")],
        &[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")],
    ] {
        assert!(read(variables).unwrap().is_none(), "{variables:?}");
    }
}

#[test]
fn the_endpoint_is_a_base_or_the_address_of_traces() {
    for (variables, endpoint) in [
        (&[ENDPOINT][..], "http://127.0.0.1:4318/v1/traces"),
        (
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example/otlp/")],
            "https://collector.example/otlp/v1/traces",
        ),
        (
            &[ENDPOINT, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://[::1]:9/own")],
            "http://[::1]:9/own",
        ),
    ] {
        assert_eq!(read(variables).unwrap().unwrap().endpoint.to_string(), endpoint);
    }
}

#[test]
fn headers_and_attributes_are_lists() {
    let settings = settings(&[
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret%20key, x-scope = a=b,"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,host.name=edge-1"),
        ("OTEL_SERVICE_NAME", "edge"),
    ]);
    let headers = settings.headers.iter();
    let headers: Vec<_> = headers.map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
    assert_eq!(headers, [("api-key", "secret key"), ("x-scope", "a=b")]);
    let resource = settings.resource.iter().map(|(name, value)| (&**name, &**value));
    let expected = [("host.name", "edge-1"), ("service.name", "edge")];
    assert_eq!(resource.collect::<Vec<_>>(), expected);
    assert!(!format!("{settings:?}").contains("secret"), "{settings:?}");
}

#[test]
fn the_service_is_called_authd_unless_something_else_is_said() {
    let name = |variables| settings(variables).resource;
    let own = |name: &str| vec![("service.name".to_owned(), name.to_owned())];
    assert_eq!(name(&[]), own("authd"));
    assert_eq!(name(&[("OTEL_RESOURCE_ATTRIBUTES", "service.name=b")]), own("b"));
}

#[test]
fn samplers_have_the_standard_names() {
    for (name, argument, follows_parent, ratio) in [
        ("parentbased_always_on", "", true, 1.0),
        ("always_on", "0.5", false, 1.0),
        ("always_off", "", false, 0.0),
        ("parentbased_always_off", "", true, 0.0),
        ("traceidratio", "0.25", false, 0.25),
        ("parentbased_traceidratio", "0", true, 0.0),
        ("parentbased_traceidratio", "", true, 1.0),
    ] {
        let variables = [("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", argument)];
        assert_eq!(settings(&variables).sampler, Sampler { follows_parent, ratio }, "{name}");
    }
    assert_eq!(settings(&[]).sampler, Sampler::default());
}

#[test]
fn a_variable_that_cannot_be_used_is_named_without_its_value() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "127.0.0.1:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://collector:4317"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://user:secret@collector:4318/v1/traces"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=secret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=secret%0A"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "=secret"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ("OTEL_RESOURCE_ATTRIBUTES", "secret"),
        ("OTEL_TRACES_SAMPLER", "secret"),
    ] {
        let error = read(&[ENDPOINT, (name, value)]).unwrap_err();
        assert!(error.starts_with(&format!("`{name}` is not ")), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    for ratio in ["1.1", "-0.1", "NaN", "x"] {
        let sampler = ("OTEL_TRACES_SAMPLER", "traceidratio");
        let variables = [ENDPOINT, sampler, ("OTEL_TRACES_SAMPLER_ARG", ratio)];
        let error = read(&variables).unwrap_err();
        assert_eq!(error, "`OTEL_TRACES_SAMPLER_ARG` is not a number from 0 to 1");
    }
}
