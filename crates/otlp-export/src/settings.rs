use std::fmt;

use http::header::{HeaderName, HeaderValue};
use http::uri::{Scheme, Uri};
use percent_encoding::percent_decode_str;
use thiserror::Error;

use crate::sampler::Sampler;

/// Where spans go, and which
#[derive(Clone)]
pub struct Settings {
    /// The address that spans are posted to
    pub endpoint: Uri,
    /// Further headers, such as a key of the collector
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Attributes of this server
    pub resource: Vec<(String, String)>,
    /// Which requests are exported
    pub sampler: Sampler,
}

/// A variable that cannot be used; the value is left out, since headers may be secret
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("`{variable}` is not {expected}")]
pub struct SettingsError {
    /// The name of the variable
    pub variable: &'static str,
    expected: &'static str,
}

impl Settings {
    /// Reads the variables that OpenTelemetry defines
    ///
    /// Those are `OTEL_EXPORTER_OTLP_ENDPOINT` and `OTEL_EXPORTER_OTLP_HEADERS`, the same with
    /// `TRACES_` before the last word, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`,
    /// `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`, and `OTEL_SDK_DISABLED`. An empty
    /// variable counts as absent. `None` if no endpoint is set, or if the SDK is disabled.
    ///
    /// Source: <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>
    ///
    /// # Errors
    ///
    /// If a variable cannot be used, or asks for another protocol than `http/json`.
    pub fn read(
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Option<Self>, SettingsError> {
        let variable = |name| variable(name).filter(|value| !value.trim().is_empty());
        let is_disabled =
            variable(DISABLED).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
        let endpoint = match (variable(TRACES_ENDPOINT), variable(ENDPOINT)) {
            (Some(own), _) => (TRACES_ENDPOINT, own),
            (None, Some(base)) => (ENDPOINT, format!("{}/v1/traces", base.trim_end_matches('/'))),
            (None, None) => return Ok(None),
        };
        if is_disabled {
            return Ok(None);
        }
        let headers = first([TRACES_HEADERS, HEADERS], &variable);
        let headers = headers.map_or(Ok(Vec::new()), |(name, text)| headers_of(name, &text))?;
        for name in [TRACES_PROTOCOL, PROTOCOL] {
            if variable(name).is_some_and(|protocol| protocol.trim() != "http/json") {
                return Err(error(name, "`http/json`, the only protocol that authd speaks"));
            }
        }
        let mut resource = match variable(RESOURCE) {
            Some(text) => pairs(&text).ok_or_else(|| error(RESOURCE, A_LIST))?,
            None => Vec::new(),
        };
        if let Some(name) = variable(SERVICE_NAME) {
            resource.retain(|(key, _)| key != NAME);
            resource.push((NAME.to_owned(), name));
        } else if !resource.iter().any(|(key, _)| key == NAME) {
            resource.push((NAME.to_owned(), "authd".to_owned()));
        }
        let endpoint = url_of(endpoint.0, endpoint.1.trim())?;
        Ok(Some(Self { endpoint, headers, resource, sampler: sampler(&variable)? }))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Settings")
            .field("endpoint", &self.endpoint)
            .field("headers", &headers)
            .field("resource", &self.resource)
            .field("sampler", &self.sampler)
            .finish()
    }
}

fn url_of(name: &'static str, text: &str) -> Result<Uri, SettingsError> {
    let url: Option<Uri> = text.parse().ok();
    let url = url.filter(|url| {
        let is_http = [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&url.scheme());
        let has_user = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
        is_http && !has_user
    });
    url.ok_or_else(|| error(name, "the URL of a collector, such as `http://127.0.0.1:4318`"))
}

fn headers_of(
    name: &'static str,
    text: &str,
) -> Result<Vec<(HeaderName, HeaderValue)>, SettingsError> {
    let pairs = pairs(text).ok_or_else(|| error(name, A_LIST))?;
    let header = |(name, value): (String, String)| {
        let mut value = HeaderValue::from_str(&value).ok()?;
        value.set_sensitive(true);
        Some((name.parse().ok()?, value))
    };
    let headers: Option<Vec<_>> = pairs.into_iter().map(header).collect();
    headers.ok_or_else(|| error(name, "a list of headers"))
}

fn sampler(variable: &impl Fn(&'static str) -> Option<String>) -> Result<Sampler, SettingsError> {
    let Some(name) = variable(SAMPLER) else { return Ok(Sampler::default()) };
    let sampler: Sampler =
        name.trim().parse().map_err(|()| error(SAMPLER, "a sampler such as `always_on`"))?;
    match variable(SAMPLER_ARGUMENT).filter(|_| name.contains("traceidratio")) {
        Some(ratio) => sampler
            .with_ratio(&ratio)
            .ok_or_else(|| error(SAMPLER_ARGUMENT, "a number from 0 to 1")),
        None => Ok(sampler),
    }
}

/// The first of these variables that is set
fn first(
    names: [&'static str; 2],
    variable: &impl Fn(&'static str) -> Option<String>,
) -> Option<(&'static str, String)> {
    names.into_iter().find_map(|name| Some((name, variable(name)?)))
}

/// `name=value` pairs with commas between them, each percent-encoded
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let text =
            |part: &str| Some(percent_decode_str(part.trim()).decode_utf8().ok()?.into_owned());
        Some((text(name)?, text(value)?)).filter(|(name, _)| !name.is_empty())
    };
    text.split(',').filter(|pair| !pair.trim().is_empty()).map(pair).collect()
}

const fn error(variable: &'static str, expected: &'static str) -> SettingsError {
    SettingsError { variable, expected }
}

const A_LIST: &str = "a list such as `name=value,name=value`";
const NAME: &str = "service.name";

const DISABLED: &str = "OTEL_SDK_DISABLED";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const TRACES_HEADERS: &str = "OTEL_EXPORTER_OTLP_TRACES_HEADERS";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const TRACES_PROTOCOL: &str = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL";
const RESOURCE: &str = "OTEL_RESOURCE_ATTRIBUTES";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
