use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use app_audit::Stats;
use identity_fetch::{Expiry, IssuerCounts, KeyCounts, Online};
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The metrics that `GET /metrics` serves in the OpenMetrics text format
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    http_requests: Family<HttpLabels, Counter>,
    http_request_duration: Family<RouteLabel, Histogram, fn() -> Histogram>,
    http_requests_in_flight: Gauge,
    http_requests_waiting: Family<WorkLabel, Gauge>,
    http_requests_refused: Family<RefusalLabel, Counter>,
    identity_verifications: Family<VerificationLabels, Counter>,
    agent_sign_ins: Family<SignInLabels, Counter>,
    app_visits: Family<VisitLabels, Counter>,
    audit_events: Family<AuditLabels, Gauge>,
    audit_acts: Family<AuditLabels, Gauge>,
    certificate_days_left: Family<CertificateLabels, Gauge>,
    google_keys: Gauge,
    fetches: Family<FetchLabels, Gauge>,
    log_lines_dropped: Counter,
    connections: Gauge,
    connections_ended: Family<RefusalLabel, Counter>,
    answers_waiting: Gauge,
    session_checks: Family<CheckLabels, Counter>,
}

/// What the program that a service is part of counts; the metrics have it
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostCounts {
    /// Lines that the log has dropped since the start
    pub log_lines_dropped: u64,
    /// Connections that are open now
    pub connections: usize,
    /// Connections that were closed to make room for others, since the start
    pub connections_replaced: u64,
    /// Connections that were refused, since there was no room
    pub connections_refused: u64,
    /// Connections whose clients were too slow
    pub connections_overdue: u64,
    /// Bytes of answers that wait for their clients now
    pub waiting_answers: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpLabels {
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkLabel {
    work: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerificationLabels {
    cloud: &'static str,
    outcome: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SignInLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VisitLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AuditLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    cloud: &'static str,
    name: String,
    fingerprint: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FetchLabels {
    what: &'static str,
    outcome: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("authd");
        let http_requests = Family::default();
        registry.register("http_requests", "Requests answered", http_requests.clone());
        let http_request_duration =
            Family::<_, _, fn() -> _>::new_with_constructor(new_duration_histogram);
        registry.register_with_unit(
            "http_request_duration",
            "From the request's head to its answer",
            Unit::Seconds,
            http_request_duration.clone(),
        );
        let http_requests_in_flight = Gauge::default();
        registry.register(
            "http_requests_in_flight",
            "Requests being answered",
            http_requests_in_flight.clone(),
        );
        let http_requests_waiting = Family::default();
        registry.register(
            "http_requests_waiting",
            "Requests that wait for their turn, by kind of work",
            http_requests_waiting.clone(),
        );
        let http_requests_refused = Family::default();
        registry.register(
            "http_requests_refused",
            "Requests that were refused to protect others",
            http_requests_refused.clone(),
        );
        let identity_verifications = Family::default();
        registry.register(
            "identity_verifications",
            "Proofs of cloud identity, by outcome and class of reason",
            identity_verifications.clone(),
        );
        let agent_sign_ins = Family::default();
        registry.register(
            "agent_sign_ins",
            "Verified instances that asked for an agent token",
            agent_sign_ins.clone(),
        );
        let app_visits = Family::default();
        registry.register(
            "app_visits",
            "Visits to apps without a good app token, by what became of them",
            app_visits.clone(),
        );
        let audit_events = Family::default();
        registry.register(
            "audit_events",
            "What became of visits that were to be recorded",
            audit_events.clone(),
        );
        let audit_acts = Family::default();
        registry.register(
            "audit_acts",
            "What became of sign-ins and other acts that were to be recorded",
            audit_acts.clone(),
        );
        let certificate_days_left = Family::default();
        registry.register(
            "certificate_days_left",
            "Days until a trusted certificate ends",
            certificate_days_left.clone(),
        );
        let google_keys = Gauge::default();
        registry.register(
            "google_keys",
            "Keys of Google at hand that were fetched",
            google_keys.clone(),
        );
        let fetches = Family::default();
        registry.register("fetches", "What was fetched from others", fetches.clone());
        let log_lines_dropped = Counter::default();
        registry.register(
            "log_lines_dropped",
            "Lines of the log that were not written, because nothing read them",
            log_lines_dropped.clone(),
        );
        let connections = Gauge::default();
        registry.register("connections", "Connections that are open", connections.clone());
        let connections_ended = Family::default();
        registry.register(
            "connections_ended",
            "Connections that were ended to protect others",
            connections_ended.clone(),
        );
        let answers_waiting = Gauge::default();
        registry.register_with_unit(
            "answers_waiting",
            "Answers that their clients have not taken",
            Unit::Bytes,
            answers_waiting.clone(),
        );
        let session_checks = Family::default();
        registry.register(
            "session_checks",
            "Questions which sessions have ended, and sessions that were found to have ended",
            session_checks.clone(),
        );
        registry.register(
            "build",
            "The running version",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self {
            registry: Arc::new(registry),
            http_requests,
            http_request_duration,
            http_requests_in_flight,
            http_requests_waiting,
            http_requests_refused,
            identity_verifications,
            agent_sign_ins,
            app_visits,
            audit_events,
            audit_acts,
            certificate_days_left,
            google_keys,
            fetches,
            log_lines_dropped,
            connections,
            connections_ended,
            answers_waiting,
            session_checks,
        }
    }

    /// Counts a request as under way until the guard is dropped
    ///
    /// The guard is also dropped if the client hangs up.
    pub(crate) fn request_started(&self) -> InFlight<'_> {
        self.http_requests_in_flight.inc();
        InFlight(&self.http_requests_in_flight)
    }

    pub(crate) fn request_answered(&self, route: &'static str, status: u16, took: Duration) {
        self.http_requests.get_or_create(&HttpLabels { route, status }).inc();
        self.http_request_duration.get_or_create(&RouteLabel { route }).observe(took.as_secs_f64());
    }

    /// Counts a request that was refused to protect others
    pub(crate) fn request_refused(&self, reason: &'static str) {
        self.http_requests_refused.get_or_create(&RefusalLabel { reason }).inc();
    }

    /// Sets the number of requests that wait for their turn
    pub(crate) fn waiting(&self, work: &'static str, requests: usize) {
        let requests = i64::try_from(requests).unwrap_or(i64::MAX);
        self.http_requests_waiting.get_or_create(&WorkLabel { work }).set(requests);
    }

    /// Counts a proof; `reason` is the class of the rejection, if it was rejected
    pub(crate) fn identity_verified(&self, cloud: &'static str, reason: Option<&'static str>) {
        let outcome = if reason.is_none() { "accept" } else { "reject" };
        let reason = reason.unwrap_or_default();
        self.identity_verifications
            .get_or_create(&VerificationLabels { cloud, outcome, reason })
            .inc();
    }

    /// Counts the outcome of a verified instance's sign-in
    pub(crate) fn agent_signed_in(&self, outcome: &'static str) {
        self.agent_sign_ins.get_or_create(&SignInLabels { outcome }).inc();
    }

    /// Counts the outcome of a visit without a good app token
    pub(crate) fn visit_decided(&self, outcome: &'static str) {
        self.app_visits.get_or_create(&VisitLabels { outcome }).inc();
    }

    /// Counts a question which sessions have ended, or a session
    pub(crate) fn sessions_checked(&self, outcome: &'static str) {
        self.session_checks.get_or_create(&CheckLabels { outcome }).inc();
    }

    /// Sets the counts of audit events
    pub(crate) fn audited(&self, stats: Stats) {
        Self::set_stats(&self.audit_events, stats);
    }

    /// Sets the counts of acts
    pub(crate) fn acts_audited(&self, stats: Stats) {
        Self::set_stats(&self.audit_acts, stats);
    }

    fn set_stats(family: &Family<AuditLabels, Gauge>, stats: Stats) {
        let counts = [
            ("queued", u64::try_from(stats.queued).unwrap_or(u64::MAX)),
            ("written", stats.written),
            ("absorbed", stats.absorbed),
            ("retried", stats.retried),
            ("spooled", stats.spooled),
            ("lost", stats.lost),
            ("limited", stats.limited),
        ];
        for (outcome, count) in counts {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            family.get_or_create(&AuditLabels { outcome }).set(count);
        }
    }

    /// Sets the days that each trusted certificate remains valid
    pub(crate) fn certificates<'a>(&self, certificates: impl Iterator<Item = Expiry<'a>>) {
        // Certificates that were removed from the trust folder must disappear.
        self.certificate_days_left.clear();
        for Expiry { cloud, certificate, days_left } in certificates {
            let labels = CertificateLabels {
                cloud: cloud.as_str(),
                name: certificate.name().to_owned(),
                fingerprint: certificate.fingerprint().to_string(),
            };
            self.certificate_days_left.get_or_create(&labels).set(days_left);
        }
    }

    /// Sets the counts of fetches
    pub(crate) fn fetched(&self, online: &Online) {
        if let Some(counts) = online.key_counts() {
            self.google_keys(counts);
        }
        if let Some(counts) = online.issuer_counts() {
            self.azure_issuers(counts);
        }
    }

    /// Sets what the program counts that the service is part of
    pub(crate) fn host(&self, counts: HostCounts) {
        let set = |counter: &Counter, count| counter.inner().store(count, Ordering::Relaxed);
        set(&self.log_lines_dropped, counts.log_lines_dropped);
        for (reason, count) in [
            ("overdue", counts.connections_overdue),
            ("refused", counts.connections_refused),
            ("replaced", counts.connections_replaced),
        ] {
            set(&self.connections_ended.get_or_create(&RefusalLabel { reason }), count);
        }
        self.connections.set(i64::try_from(counts.connections).unwrap_or(i64::MAX));
        self.answers_waiting.set(i64::try_from(counts.waiting_answers).unwrap_or(i64::MAX));
    }

    fn google_keys(&self, counts: KeyCounts) {
        self.google_keys.set(i64::try_from(counts.keys).unwrap_or(i64::MAX));
        self.fetches("google_keys", "ok", counts.fetches.saturating_sub(counts.failures));
        self.fetches("google_keys", "failed", counts.failures);
    }

    fn azure_issuers(&self, counts: IssuerCounts) {
        self.fetches("azure_issuers", "ok", counts.fetched);
        self.fetches("azure_issuers", "failed", counts.failed);
        self.fetches("azure_issuers", "over_budget", counts.over_budget);
    }

    fn fetches(&self, what: &'static str, outcome: &'static str, count: u64) {
        let labels = FetchLabels { what, outcome };
        self.fetches.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// A request under way
pub(crate) struct InFlight<'a>(&'a Gauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// From half a millisecond, about one database statement, to ten seconds, the request deadline
fn new_duration_histogram() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0])
}
