//! What a service needs beside its requests, for as long as it runs

use std::time::Duration;

use tracing::error;

use crate::apps::{AbortOnDrop, Housekeeping};
use crate::error::chain;
use crate::service::Service;

/// How a service is maintained
///
/// ```
/// let settings = authd_http::MaintenanceSettings::default().keep_rows(None);
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MaintenanceSettings {
    /// Whether this process makes and rotates keys; `true` by default
    ///
    /// All replicas may: one of them rotates at a time. Not where the control plane makes them.
    pub rotate_keys: bool,
    /// How long rows of the audit are kept; for ever by default
    pub keep_rows: Option<Duration>,
}

impl Default for MaintenanceSettings {
    fn default() -> Self {
        Self { rotate_keys: true, keep_rows: None }
    }
}

impl MaintenanceSettings {
    /// The same settings, with or without the rotation of keys
    #[must_use]
    pub const fn rotate_keys(mut self, rotate_keys: bool) -> Self {
        self.rotate_keys = rotate_keys;
        self
    }

    /// The same settings, with rows of the audit that are kept for so long
    #[must_use]
    pub const fn keep_rows(mut self, keep_rows: Option<Duration>) -> Self {
        self.keep_rows = keep_rows;
        self
    }
}

/// The background work of a [`Service`], until this is dropped
///
/// [`finish`](Self::finish) also waits for what is being recorded.
#[derive(Debug)]
#[must_use]
pub struct Maintenance {
    service: Service,
    housekeeping: Option<Housekeeping>,
    tasks: Vec<AbortOnDrop>,
}

impl Service {
    /// Starts all background work of the service
    ///
    /// Makes and fetches the keys of app access before it returns, so call it before the first
    /// request; if that fails, it is logged and tried again within seconds, and visits are refused
    /// until it succeeds. From then on it
    ///
    /// - maintains the keys every ten minutes,
    /// - deletes old rows of the audit and sessions for apps that have ended,
    /// - logs a warning, now and every day, for each trusted certificate that expires soon.
    ///
    /// Call it once, within the tokio runtime of the service, and [`Maintenance::finish`] when no
    /// more requests are answered.
    pub async fn maintain(&self, settings: MaintenanceSettings) -> Maintenance {
        let rotate = settings.rotate_keys;
        let has_keys = try_maintain_keys(self, rotate).await;
        let keys = maintain_keys_regularly(self.clone(), rotate, has_keys);
        let expiry = watch_expiry(self.clone());
        Maintenance {
            service: self.clone(),
            housekeeping: self.start_housekeeping(settings.keep_rows),
            tasks: vec![AbortOnDrop(tokio::spawn(keys)), AbortOnDrop(tokio::spawn(expiry))],
        }
    }
}

impl Maintenance {
    /// Ends the background work, and waits until the visits and sign-ins answered so far are
    /// recorded, for ten seconds at most
    pub async fn finish(self) {
        drop(self.tasks);
        drop(self.housekeeping);
        self.service.drain_audit().await;
    }
}

/// Maintains the keys of app access every ten minutes, and within seconds after a failure
async fn maintain_keys_regularly(service: Service, rotate: bool, has_keys: bool) {
    let mut failures = u32::from(!has_keys);
    loop {
        let pause = match failures {
            0 => 10 * 60,
            failures => 1 << failures.min(4),
        };
        tokio::time::sleep(Duration::from_secs(pause)).await;
        failures = match try_maintain_keys(&service, rotate).await {
            true => 0,
            false => failures.saturating_add(1),
        };
    }
}

/// Creates, rotates and fetches the keys of app access; returns whether that succeeded
async fn try_maintain_keys(service: &Service, rotate: bool) -> bool {
    let maintained = service.maintain_keys(rotate).await;
    if let Err(error) = &maintained {
        error!(error = chain(error), "the keys of app access stay as they were");
    }
    maintained.is_ok()
}

/// Warns at the start and then every day of certificates that expire soon
async fn watch_expiry(service: Service) {
    let mut daily = tokio::time::interval(Duration::from_secs(86_400));
    loop {
        daily.tick().await;
        service.warn_of_expiry();
    }
}
