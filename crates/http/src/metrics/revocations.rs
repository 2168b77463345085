use app_authz::app::RevocationReason;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Metrics;
use super::labels::{CheckLabels, RefusalLabel};

/// The metrics of revocations
#[derive(Clone, Debug, Default)]
pub(super) struct OfRevocations {
    listeners: Gauge,
    asked: Family<CheckLabels, Counter>,
    found: Family<RefusalLabel, Counter>,
    grants: Family<CheckLabels, Counter>,
}

impl OfRevocations {
    /// All at zero, since alerts on an increase miss the first one if the series begins with it
    pub(super) fn new() -> Self {
        let new = Self::default();
        for outcome in ["ok", "failed"] {
            drop(new.asked.get_or_create(&CheckLabels { outcome }));
        }
        for outcome in ["watched", "dropped"] {
            drop(new.grants.get_or_create(&CheckLabels { outcome }));
        }
        for reason in RevocationReason::ALL {
            drop(new.found.get_or_create(&RefusalLabel { reason: reason.as_str() }));
        }
        new
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "revocation_listeners",
            "Listeners to what was allowed and may not be any more",
            self.listeners.clone(),
        );
        registry.register(
            "revocation_polls",
            "Questions what has ended of what was allowed",
            self.asked.clone(),
        );
        registry.register(
            "revocations",
            "What listeners were told, by what has happened",
            self.found.clone(),
        );
        registry.register(
            "watched_grants",
            "Grants that were to be watched for their end, by what became of that",
            self.grants.clone(),
        );
    }
}

/// A listener, which is counted until this is dropped
pub(crate) struct Listening(Gauge);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Counts a listener until the result is dropped
    pub(crate) fn listening(&self) -> Listening {
        self.revocations.listeners.inc();
        Listening(self.revocations.listeners.clone())
    }

    /// Counts a question what has ended
    pub(crate) fn revocations_asked(&self, outcome: &'static str) {
        self.revocations.asked.get_or_create(&CheckLabels { outcome }).inc();
    }

    /// Counts something that listeners were told
    pub(crate) fn revoked(&self, reason: &'static str) {
        self.revocations.found.get_or_create(&RefusalLabel { reason }).inc();
    }

    /// Counts grants that were to be watched
    pub(crate) fn grants_watched(&self, outcome: &'static str, grants: usize) {
        let grants = u64::try_from(grants).unwrap_or(u64::MAX);
        self.revocations.grants.get_or_create(&CheckLabels { outcome }).inc_by(grants);
    }
}
