//! Whether authd can work with its settings, its trust folder and its database
//!
//! `authd check` prints all findings. `authd serve` checks the same at its start, and logs the
//! findings that are not as they should be.

mod settings;
mod trust;

use authd_http::Signing;
use database_check::Expected;
pub(crate) use database_check::{Finding, State, log};
use store::inspection::{Asked, Inspection, Part};
use store::{Error, PgStore};

pub(crate) use self::settings::of_settings;
pub(crate) use self::trust::{missing_keys, of_tls, of_trust, without_effect};
use crate::clock::system_clock;
use crate::config::Config;

/// Checks the database of a server with this configuration, and changes nothing
///
/// # Errors
///
/// If the database cannot be reached.
pub(crate) async fn of_database(
    store: &PgStore,
    config: &Config,
) -> Result<(Vec<Finding>, Inspection), Error> {
    let signs_with_eddsa = config.apps.as_ref().is_some_and(|apps| apps.signing == Signing::Eddsa);
    let expected = Expected { asked: asked(config), signs_with_eddsa };
    database_check::of_database(store, &expected, &*system_clock()).await
}

/// The parts of authd that the configuration turns on
pub(crate) fn asked(config: &Config) -> Asked {
    let (apps, nonces) = (config.apps.is_some(), !config.freshness.nonces().is_empty());
    let parts = [
        (Part::Apps, apps),
        (Part::Oidc, config.oidc.is_some()),
        (Part::TokenRefresh, !config.refresh.is_empty()),
        (Part::IdentityPins, config.freshness.pins),
        (Part::IdentityNonces, nonces),
        (Part::Revocations, config.revocations),
        (Part::KeyRotation, config.key_rotation && (apps || nonces)),
        (Part::AuditRetention, config.audit_retention.is_some() && apps),
        (Part::AuditMirror, config.mirror_audit && apps),
    ];
    Asked::with(parts.into_iter().filter(|(_, is_on)| *is_on).map(|(part, _)| part))
}
