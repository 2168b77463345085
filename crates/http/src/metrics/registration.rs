use std::sync::Arc;

use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::Metrics;
use super::collected::{DatabaseCollector, ProcessCollector, StoreCollector};

impl Metrics {
    /// Registers every metric, with the prefix `authd` and, for those of the process, none
    pub(crate) fn register(&self, all: &mut Registry) {
        all.register_collector(Box::new(ProcessCollector(Arc::clone(&self.process))));
        let registry = all.sub_registry_with_prefix("authd");
        registry.register_collector(Box::new(StoreCollector(Arc::clone(&self.store))));
        registry.register_collector(Box::new(DatabaseCollector(Arc::clone(&self.database_up))));
        registry.register(
            "ready",
            "Whether /readyz answers that the server is ready",
            self.ready.clone(),
        );
        registry.register("http_requests", "Requests answered", self.http_requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "From the request's head to its answer",
            Unit::Seconds,
            self.http_request_duration.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "Requests being answered",
            self.http_requests_in_flight.clone(),
        );
        registry.register(
            "http_requests_waiting",
            "Requests that wait for their turn, by kind of work",
            self.http_requests_waiting.clone(),
        );
        registry.register(
            "http_requests_refused",
            "Requests that were refused to protect others",
            self.http_requests_refused.clone(),
        );
        registry.register(
            "identity_verifications",
            "Proofs of cloud identity, by outcome and class of reason",
            self.identity_verifications.clone(),
        );
        registry.register(
            "agent_sign_ins",
            "Verified instances that asked for an agent token",
            self.agent_sign_ins.clone(),
        );
        registry.register(
            "app_visits",
            "Visits to apps without a good app token, by what became of them",
            self.app_visits.clone(),
        );
        registry.register(
            "log_ins",
            "Session tokens that were tried at /login",
            self.log_ins.clone(),
        );
        registry.register(
            "audit_events",
            "What became of visits that were to be recorded",
            self.audit_events.clone(),
        );
        registry.register(
            "audit_acts",
            "What became of sign-ins and other acts that were to be recorded",
            self.audit_acts.clone(),
        );
        registry.register(
            "audit_queued_acts",
            "Sign-ins and other acts that wait to be written",
            self.audit_queued_acts.clone(),
        );
        registry.register(
            "audit_retries",
            "Statements of the audit that failed and were sent again",
            self.audit_retries.clone(),
        );
        registry.register(
            "audit_queued_events",
            "Visits that wait to be written",
            self.audit_queued_events.clone(),
        );
        registry.register_with_unit(
            "audit_oldest_queued",
            "How long the oldest visit or act has waited to be written, 0 if none waits",
            Unit::Seconds,
            self.audit_oldest_queued.clone(),
        );
        registry.register_with_unit(
            "signing_key_age",
            "How long the key that signs has been signing, by what it signs",
            Unit::Seconds,
            self.signing_key_age.clone(),
        );
        registry.register_with_unit(
            "certificate_expiration_timestamp",
            "When a trusted certificate expires, since the epoch",
            Unit::Seconds,
            self.certificate_expiration.clone(),
        );
        registry.register(
            "google_keys",
            "Keys of Google at hand that were fetched",
            self.google_keys.clone(),
        );
        registry.register("fetches", "What was fetched from others", self.fetches.clone());
        registry.register(
            "log_lines_dropped",
            "Lines of the log that were not written, because nothing read them",
            self.log_lines_dropped.clone(),
        );
        registry.register("connections", "Connections that are open", self.connections.clone());
        registry.register(
            "connections_ended",
            "Connections that were ended to protect others",
            self.connections_ended.clone(),
        );
        registry.register_with_unit(
            "answers_waiting",
            "Answers that their clients have not taken",
            Unit::Bytes,
            self.answers_waiting.clone(),
        );
        registry.register_with_unit(
            "tls_certificate_expiration_timestamp",
            "When the certificate of this server expires, since the epoch",
            Unit::Seconds,
            self.tls_certificate_expiration.clone(),
        );
        registry.register(
            "tls_handshakes_failed",
            "Connections whose clients did not set up TLS",
            self.tls_handshakes_failed.clone(),
        );
        registry.register(
            "session_checks",
            "Questions which sessions have ended, and sessions that were found to have ended",
            self.session_checks.clone(),
        );
        self.revocations.register(registry);
        registry.register(
            "token_refreshes",
            "Tokens of identity providers that were to be refreshed, by what became of them",
            self.token_refreshes.clone(),
        );
        registry.register(
            "build",
            "The running version",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
    }
}
