use std::time::SystemTime;

use super::Finding;
use crate::config::IdentityConfig;
use crate::trust::Trust;
use identity_fetch::{Expiry, WARNING_DAYS};

/// What of the trust ends soon or is missing
pub(crate) fn findings(trust: &Trust, config: &IdentityConfig, now: SystemTime) -> Vec<Finding> {
    let identity = trust.clone().into_identity(&config.policy);
    let mut findings = Vec::new();
    let (mut lasting, mut next) = (0_usize, i64::MAX);
    for Expiry { cloud, certificate, days_left } in identity.expiries(now) {
        if days_left > WARNING_DAYS {
            lasting += 1;
            next = next.min(days_left);
        } else if days_left >= 0 {
            findings.push(Finding::warning(
                "trust",
                format!(
                    "a trusted certificate ends soon: `{}` ({cloud}, {}) in {days_left} days; put \
                     its successor into the trust folder, or upgrade authd",
                    certificate.name(),
                    certificate.fingerprint()
                ),
            ));
        }
    }
    findings.extend(missing(trust, config));
    findings.extend(idle(trust, config, now));
    if findings.is_empty() {
        let keys = trust.aws.iter().len();
        let text = format!(
            "{keys} keys of AWS, {lasting} certificates of Azure, the first of which ends in {next} \
             days"
        );
        findings.push(Finding::ok("trust", text));
    }
    findings
}

/// Settings and files of the trust folder that can do nothing
pub(crate) fn idle(trust: &Trust, config: &IdentityConfig, now: SystemTime) -> Vec<Finding> {
    let settings = config.idle_beside(trust).map(|idle| idle.to_string());
    let files = trust.idle_files(now).map(|idle| idle.to_string());
    settings.chain(files).map(|idle| Finding::warning("trust", idle)).collect()
}

/// A cloud whose machines can never sign in
pub(crate) fn missing(trust: &Trust, config: &IdentityConfig) -> Option<Finding> {
    (trust.google.is_none() && config.google_keys.is_none()).then(|| {
        Finding::warning(
            "fetch_google_keys",
            "machines of Google cannot sign in while it is off and the trust folder has no \
             `google/jwks.json`",
        )
    })
}
