use std::time::Duration;

use app_audit::Stats;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::labels::{AuditLabels, KeyLabels};
use super::{Metrics, set};

impl Metrics {
    /// Sets the counts of visits and of acts, each if they are recorded
    ///
    /// Retries are the sum of both, and the longest wait is that of either.
    pub(crate) fn audited(&self, visits: Option<Stats>, acts: Option<Stats>) {
        for (stats, outcomes, queued) in [
            (visits, &self.audit_events, &self.audit_queued_events),
            (acts, &self.audit_acts, &self.audit_queued_acts),
        ] {
            let Some(stats) = stats else { continue };
            Self::set_outcomes(outcomes, stats);
            queued.set(i64::try_from(stats.queued).unwrap_or(i64::MAX));
        }
        let both = [visits, acts].map(Option::unwrap_or_default);
        set(&self.audit_retries, both.iter().map(|stats| stats.retried).sum());
        let oldest = both.iter().filter_map(|stats| stats.oldest).max();
        self.audit_oldest_queued.set(oldest.unwrap_or_default().as_secs_f64());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Exposition;

    #[test]
    fn retries_and_the_longest_wait_are_those_of_visits_and_acts() {
        let stats = |retried, oldest| {
            let mut stats = Stats::default();
            (stats.retried, stats.oldest) = (retried, Some(Duration::from_secs(oldest)));
            Some(stats)
        };
        for (visits, acts, retries, oldest) in [
            (stats(2, 5), stats(3, 70), 5, 70),
            (stats(2, 70), stats(3, 5), 5, 70),
            (stats(2, 5), None, 2, 5),
            (None, stats(3, 70), 3, 70),
            (None, None, 0, 0),
        ] {
            let metrics = Metrics::new();
            metrics.audited(visits, acts);
            let text = metrics.encode(Exposition::Text).unwrap();
            for line in [
                format!("authd_audit_retries_total {retries}\n"),
                format!("authd_audit_oldest_queued_seconds {oldest}.0\n"),
            ] {
                assert!(text.contains(&line), "{line}{text}");
            }
        }
    }
}
