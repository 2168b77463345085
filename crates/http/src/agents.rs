use std::sync::Arc;
use std::time::SystemTime;

use agent_auth::Rules;
use arc_swap::ArcSwap;
use identity_fetch::Identity;

use crate::body::Bounds;
use crate::metrics::Metrics;

/// Everything that agent sign-in needs, for as long as the server runs
pub(crate) struct AgentService<S> {
    pub(crate) store: Arc<S>,
    pub(crate) identity: ArcSwap<Identity>,
    pub(crate) rules: Rules,
    pub(crate) bounds: Bounds,
    pub(crate) metrics: Metrics,
}

impl<S> AgentService<S> {
    /// Sets the metrics that are computed when they are read
    pub(crate) fn observe(&self, now: SystemTime) {
        let identity = self.identity.load();
        self.metrics.certificates(identity.expiries(now));
        self.metrics.fetched(identity.fetchers());
    }
}
