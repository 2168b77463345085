//! Requests as spans, for a collector of OpenTelemetry

use std::sync::Arc;
use std::time::Duration;

use authd_http::Service;
use identity_fetch::{Fetcher, Reach, System};
use otlp_export::{Exporter, Settings, SettingsError};
use tracing::info;

/// Starts to export the requests of `service` if the environment names a collector
///
/// # Errors
///
/// If a variable of OpenTelemetry cannot be used.
pub(crate) fn start(service: Service) -> Result<(Service, Option<Exporter>), SettingsError> {
    let settings = Settings::read(|name| std::env::var(name).ok())?;
    let Some(settings) = settings else { return Ok((service, None)) };
    info!(endpoint = %settings.endpoint, "exporting traces");
    let exporter = Exporter::start(settings, Fetcher::new(Arc::new(System), Reach::Anywhere));
    let spans = exporter.clone();
    Ok((service.with_spans(move |span| spans.export(span)), Some(exporter)))
}

/// Waits until the last spans are sent, for two seconds at most
pub(crate) async fn finish(exporter: Option<Exporter>) {
    if let Some(exporter) = exporter {
        exporter.flush(Duration::from_secs(2)).await;
    }
}
