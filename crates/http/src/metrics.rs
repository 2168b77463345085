mod audit;
mod collected;
mod exposition;
mod host;
mod labels;
mod registration;
mod revocations;
mod texts;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use identity_fetch::{Expiry, IssuerCounts, KeyCounts, Online};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use store::facts::Facts;

use self::collected::Last;
pub use self::exposition::Exposition;
pub use self::host::{HostCounts, ProcessFacts};
use self::labels::{
    AuditLabels, CertificateLabels, CheckLabels, FetchLabels, HttpLabels, KeyLabels, LogInLabels,
    RefreshLabels, RefusalLabel, RouteLabel, SignInLabels, VerificationLabels, VisitLabels,
    WorkLabel,
};
pub(crate) use self::revocations::Listening;
use self::revocations::OfRevocations;
pub(crate) use self::texts::Texts;

/// The metrics that `GET /metrics` serves
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
    log_ins: Family<LogInLabels, Counter>,
    audit_events: Family<AuditLabels, Counter>,
    audit_acts: Family<AuditLabels, Counter>,
    audit_retries: Counter,
    audit_queued_events: Gauge,
    audit_queued_acts: Gauge,
    audit_oldest_queued: Seconds,
    signing_key_age: Family<KeyLabels, Seconds>,
    certificate_expiration: Family<CertificateLabels, Gauge>,
    google_keys: Gauge,
    fetches: Family<FetchLabels, Counter>,
    log_lines_dropped: Counter,
    connections: Gauge,
    connections_ended: Family<RefusalLabel, Counter>,
    answers_waiting: Gauge,
    /// Without a value unless the server speaks TLS itself
    tls_certificate_expiration: Family<NoLabels, Gauge>,
    tls_handshakes_failed: Counter,
    session_checks: Family<CheckLabels, Counter>,
    token_refreshes: Family<RefreshLabels, Counter>,
    revocations: OfRevocations,
    /// Absent unless the service knows its database
    database_up: Arc<Last<bool>>,
    ready: Gauge,
    store: Arc<Last<Facts>>,
    process: Arc<Last<ProcessFacts>>,
}

/// The labels of a metric that is absent until it has a value
type NoLabels = [(&'static str, &'static str); 0];

/// A gauge of seconds, with fractions
type Seconds = Gauge<f64, AtomicU64>;

impl Metrics {
    pub(crate) fn new() -> Self {
        let new = Self {
            registry: Arc::default(),
            http_requests: Family::default(),
            http_request_duration: Family::new_with_constructor(new_duration_histogram),
            http_requests_in_flight: Gauge::default(),
            http_requests_waiting: Family::default(),
            http_requests_refused: Family::default(),
            identity_verifications: Family::default(),
            agent_sign_ins: Family::default(),
            app_visits: Family::default(),
            log_ins: Family::default(),
            audit_events: Family::default(),
            audit_acts: Family::default(),
            audit_retries: Counter::default(),
            audit_queued_events: Gauge::default(),
            audit_queued_acts: Gauge::default(),
            audit_oldest_queued: Seconds::default(),
            signing_key_age: Family::default(),
            certificate_expiration: Family::default(),
            google_keys: Gauge::default(),
            fetches: Family::default(),
            log_lines_dropped: Counter::default(),
            connections: Gauge::default(),
            connections_ended: Family::default(),
            answers_waiting: Gauge::default(),
            tls_certificate_expiration: Family::default(),
            tls_handshakes_failed: Counter::default(),
            session_checks: Family::default(),
            token_refreshes: Family::default(),
            revocations: OfRevocations::new(),
            database_up: Arc::default(),
            ready: Gauge::default(),
            store: Arc::default(),
            process: Arc::default(),
        };
        // Alerts on an increase miss the first one if the series begins with it.
        for reason in [OVERLOADED, TOO_MANY_FAILURES] {
            drop(new.http_requests_refused.get_or_create(&RefusalLabel { reason }));
        }
        for outcome in ["ok", "failed", "ended", "unwatched"] {
            drop(new.session_checks.get_or_create(&CheckLabels { outcome }));
        }
        for provider in ["oidc", "github"] {
            for outcome in ["refreshed", "refused", "failed", "lost"] {
                drop(new.token_refreshes.get_or_create(&RefreshLabels { provider, outcome }));
            }
        }
        for outcome in [LOG_IN_OK, LOG_IN_FAILED] {
            drop(new.log_ins.get_or_create(&LogInLabels { outcome }));
        }
        let mut registry = Registry::default();
        new.register(&mut registry);
        Self { registry: Arc::new(registry), ..new }
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

    /// Counts an attempt to refresh a token of an identity provider
    pub(crate) fn token_refreshed(&self, provider: &'static str, outcome: &'static str) {
        self.token_refreshes.get_or_create(&RefreshLabels { provider, outcome }).inc();
    }

    /// Counts a session token that was tried at `/login`
    pub(crate) fn logged_in(&self, succeeded: bool) {
        let outcome = if succeeded { LOG_IN_OK } else { LOG_IN_FAILED };
        self.log_ins.get_or_create(&LogInLabels { outcome }).inc();
    }

    /// Sets whether the database answers, if that is known, and whether the server is ready
    pub(crate) fn probed(&self, database_up: Option<bool>, ready: bool) {
        self.database_up.set(database_up);
        self.ready.set(ready.into());
    }

    /// Sets the facts of the store
    pub(crate) fn stored(&self, facts: Facts) {
        self.store.set(Some(facts));
    }

    /// Sets when each trusted certificate expires
    pub(crate) fn certificates<'a>(&self, certificates: impl Iterator<Item = Expiry<'a>>) {
        // Certificates that were removed from the trust folder must disappear.
        self.certificate_expiration.clear();
        for Expiry { cloud, certificate, .. } in certificates {
            let labels = CertificateLabels {
                cloud: cloud.as_str(),
                name: certificate.name().to_owned(),
                fingerprint: certificate.fingerprint().to_string(),
            };
            let end = timestamp(certificate.not_after());
            self.certificate_expiration.get_or_create(&labels).set(end);
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

    /// Sets the counts of the program that the service is part of
    pub(crate) fn host(&self, counts: HostCounts) {
        self.process.set(counts.process);
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
        set(&self.tls_handshakes_failed, counts.tls_failed_handshakes);
        if let Some(expires) = counts.tls_expires {
            self.tls_certificate_expiration.get_or_create(&[]).set(timestamp(expires));
        }
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
        set(&self.fetches.get_or_create(&FetchLabels { what, outcome }), count);
    }

    /// All metrics as a text in this format
    pub(crate) fn encode(&self, exposition: Exposition) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(exposition.of(text))
    }
}

/// A request under way
pub(crate) struct InFlight<'a>(&'a Gauge);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Sets a counter to what was counted elsewhere
fn set(counter: &Counter, count: u64) {
    counter.inner().store(count, Ordering::Relaxed);
}

/// Seconds since the epoch
fn timestamp(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// From half a millisecond, about one database statement, to ten seconds, the request deadline
fn new_duration_histogram() -> Histogram {
    Histogram::new([
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0,
        7.5, 10.0,
    ])
}

/// Why a request is refused to protect others
pub(crate) const OVERLOADED: &str = "overloaded";
pub(crate) const TOO_MANY_FAILURES: &str = "too_many_failures";

const LOG_IN_OK: &str = "ok";
const LOG_IN_FAILED: &str = "failed";
