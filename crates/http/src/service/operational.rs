//! Health, readiness and metrics

use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, HeaderMap};
use http::{Request, Response};
use prometheus_client::registry::Registry;

use super::Service;
use crate::error::Error;
use crate::metrics::Exposition;
use crate::port_error::ErasedPortError;
use crate::reply::{NO_STORE, Response as Answer, ResponseBody};
use crate::route_groups::{RouteGroup, Routes};
use crate::router::{Probe, Route, Row};
use crate::routes::health;

impl Service {
    /// Answers a request about the server itself: health, readiness and metrics
    ///
    /// For a listener that only operators reach: it answers these whether or not the service has
    /// their [`RouteGroup`]s. All other paths are not found.
    pub async fn answer_operational<B>(&self, request: Request<B>) -> Response<ResponseBody> {
        let row = Row::find(OPERATIONAL, request.method(), request.uri().path());
        let answer = match row.map(|row| row.route) {
            Ok(Route::Operational(probe)) => {
                let answer = self.operational(probe, request.headers(), self.now());
                let limited = tokio::time::timeout(self.limits.request, answer).await;
                limited.unwrap_or(Err(Error::DeadlineExceeded))
            }
            Ok(_) => Err(Error::RouteNotFound),
            Err(error) => Err(error),
        };
        let mut response = answer.unwrap_or_else(Error::into_response);
        response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
        response
    }

    /// Returns all metrics as a text, for a host that serves `/metrics` itself
    ///
    /// Callers that ask at the same time share a text. The next one is begun ten milliseconds after
    /// it at the earliest, and up to a second if many shared it.
    ///
    /// # Errors
    ///
    /// Fails if a metric cannot be written, which is a mistake of this crate.
    pub async fn metrics_text(&self, exposition: Exposition) -> Result<Bytes, fmt::Error> {
        self.text(exposition, self.now()).await
    }

    /// Registers the metrics in a registry of the host, below the prefix `authd`
    ///
    /// Most change while requests are answered. Call
    /// [`refresh_metrics`](Self::refresh_metrics) before the registry is encoded, for those that are
    /// computed when they are read:
    ///
    /// ```
    /// use prometheus_client::{encoding::text::encode, registry::Registry};
    ///
    /// # async fn serve(service: authd_http::Service) -> Result<String, std::fmt::Error> {
    /// let mut registry = Registry::default();
    /// service.register_metrics(&mut registry);
    /// // Then, for each request for the host's metrics:
    /// service.refresh_metrics().await;
    /// let mut text = String::new();
    /// encode(&mut text, &registry)?;
    /// # Ok(text)
    /// # }
    /// ```
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// Sets the metrics that are computed when they are read, such as whether the database answers
    ///
    /// Asks the [`Health`](crate::Health) of the service, and nothing else that takes time.
    pub async fn refresh_metrics(&self) {
        self.observe(self.now()).await;
    }

    async fn text(&self, exposition: Exposition, now: SystemTime) -> Result<Bytes, fmt::Error> {
        let made = self.texts.get(exposition, async || {
            self.observe(now).await;
            self.metrics.encode(exposition).map(Bytes::from)
        });
        made.await
    }

    pub(super) async fn operational(
        &self,
        probe: Probe,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Answer, Error> {
        match probe {
            Probe::Live => Ok(health::live()),
            Probe::Ready if self.host.is_stopping() => Err(Error::Stopping),
            Probe::Ready => {
                let pinged = match &self.parts.health {
                    Some(health) => health.ping().await,
                    None => Ok(()),
                };
                self.ready(pinged, now)
            }
            Probe::Metrics => {
                let exposition = Exposition::accepted_by(headers);
                let text = self.text(exposition, now).await.map_err(|_| Error::Panicked)?;
                Ok(health::metrics(exposition, text))
            }
        }
    }

    fn ready(&self, pinged: Result<(), ErasedPortError>, now: SystemTime) -> Result<Answer, Error> {
        health::ready(pinged, self.apps.as_ref().map(|apps| apps.keys()), now)
    }

    /// Sets the metrics that are computed when they are read
    async fn observe(&self, now: SystemTime) {
        let (mut database_up, mut probed) = (None, Ok(()));
        if let Some(health) = &self.parts.health {
            probed = health.probe().await;
            self.metrics.stored(health.facts());
            // Tables that do not fit are those of a database that answers.
            let is_down =
                |error: &ErasedPortError| error.is_unavailable() && error.unfit().is_none();
            database_up = Some(!probed.as_ref().is_err_and(is_down));
        }
        let is_ready = self.ready(probed, now).is_ok() && !self.host.is_stopping();
        self.metrics.probed(database_up, is_ready);
        if let Some(identity) = self.identity() {
            self.metrics.certificates(identity.expiries(now));
            self.metrics.fetched(identity.fetchers());
        }
        self.metrics.host((self.host.counts)());
        self.admission.observe();
        let visits = self.apps.as_ref().map(|apps| apps.audit_stats());
        self.metrics.audited(visits, self.acts.stats());
        if let Some(apps) = &self.apps {
            for (feature, since) in apps.keys().signing_since(now) {
                let age = since.map(|since| now.duration_since(since).unwrap_or_default());
                self.metrics.key_age(feature, age);
            }
        }
    }
}

/// What [`Service::answer_operational`] answers
const OPERATIONAL: Routes = Routes::none().with(RouteGroup::Health).with(RouteGroup::Metrics);
