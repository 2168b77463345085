use std::sync::Arc;

use agent_auth::Rules;
use arc_swap::ArcSwap;
use identity_fetch::Identity;

use crate::body::Bounds;
use crate::metrics::Metrics;

/// Everything that agent sign-in needs, for as long as the server runs
pub(crate) struct AgentService<S> {
    pub(crate) candidates: Arc<S>,
    pub(crate) identity: ArcSwap<Identity>,
    pub(crate) rules: Rules,
    pub(crate) bounds: Bounds,
    pub(crate) metrics: Metrics,
}
