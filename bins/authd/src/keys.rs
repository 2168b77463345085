//! The keys that app tokens are signed and sealed with: how they stay fresh

use std::sync::Arc;
use std::time::Duration;

use app_authz::token::{Feature, Rotation, rotate};
use tracing::{error, info};

use crate::app::Clock;
use crate::error::chain;

/// The features whose keys authd keeps; others are the control plane's
pub(crate) const FEATURES: [Feature; 2] =
    [Feature::WorkspaceAppsToken, Feature::WorkspaceAppsApiKey];

/// Rotates keys that are due, now and every ten minutes
///
/// Any number of replicas may do this: the store lets one at a time.
pub(crate) async fn keep_rotating<S: Rotation>(store: Arc<S>, clock: Clock) {
    let mut round = tokio::time::interval(ROUND);
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        round.tick().await;
        rotate_once(&*store, &clock).await;
    }
}

/// Rotates keys that are due; a failure is logged, and the next round tries again
pub(crate) async fn rotate_once<S: Rotation>(store: &S, clock: &Clock) {
    for feature in FEATURES {
        let now = clock();
        let name = feature.as_str();
        match store.rotate(feature, |rows| rotate(feature, rows, now, fill)).await {
            Ok(0) => {}
            Ok(changes) => info!(feature = name, changes, "keys rotated"),
            Err(error) => error!(feature = name, error = chain(&error), "keys not rotated"),
        }
    }
}

/// Random bytes fit for a secret
///
/// # Panics
///
/// If the operating system has none, in which case no secret may be made.
pub(crate) fn fill(bytes: &mut [u8]) {
    #[expect(clippy::expect_used, reason = "going on with a secret that is none is worse")]
    openssl::rand::rand_priv_bytes(bytes).expect("the system has random bytes");
}

const ROUND: Duration = Duration::from_secs(600);
