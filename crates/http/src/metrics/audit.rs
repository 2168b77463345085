use std::time::Duration;

use app_audit::Stats;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::labels::{AuditLabels, KeyLabels};
use super::{Metrics, set};

impl Metrics {
    /// Sets the counts of audit events
    pub(crate) fn audited(&self, stats: Stats) {
        Self::set_outcomes(&self.audit_events, stats);
        set(&self.audit_retries, stats.retried);
        self.audit_queued_events.set(i64::try_from(stats.queued).unwrap_or(i64::MAX));
        self.audit_oldest_queued.set(stats.oldest.unwrap_or_default().as_secs_f64());
    }

    /// Sets the counts of acts
    pub(crate) fn acts_audited(&self, stats: Stats) {
        Self::set_outcomes(&self.audit_acts, stats);
        self.audit_queued_acts.set(i64::try_from(stats.queued).unwrap_or(i64::MAX));
    }

    fn set_outcomes(family: &Family<AuditLabels, Counter>, stats: Stats) {
        for (outcome, count) in [
            ("written", stats.written),
            ("absorbed", stats.absorbed),
            ("spooled", stats.spooled),
            ("lost", stats.lost),
            ("limited", stats.limited),
        ] {
            set(&family.get_or_create(&AuditLabels { outcome }), count);
        }
    }

    /// Sets the age of a key that signs; `None` if no key of `feature` can sign
    pub(crate) fn key_age(&self, feature: &'static str, age: Option<Duration>) {
        let labels = KeyLabels { feature };
        match age {
            Some(age) => {
                self.signing_key_age.get_or_create(&labels).set(age.as_secs_f64());
            }
            None => {
                self.signing_key_age.remove(&labels);
            }
        }
    }
}
