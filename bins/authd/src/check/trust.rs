use std::collections::BTreeSet;
use std::time::SystemTime;

use authd_server::EXPIRY_WARNING;
use identity_fetch::{Expiry, WARNING_DAYS};
use identity_verify::aws;
use trust_folder::Trust;

use super::Finding;
use crate::config::IdentityConfig;

/// What of the trust expires soon, is missing, or has no effect
pub(crate) fn of_trust(trust: &Trust, config: &IdentityConfig, now: SystemTime) -> Vec<Finding> {
    let identity = trust.clone().into_identity(&config.policy);
    let mut findings = Vec::new();
    let (mut lasting, mut next) = (0_usize, i64::MAX);
    for Expiry { cloud, certificate, days_left, .. } in identity.expiries(now) {
        if days_left > WARNING_DAYS {
            lasting += 1;
            next = next.min(days_left);
        } else if days_left >= 0 {
            findings.push(Finding::warning(
                "trust",
                format!(
                    "a trusted certificate expires soon: `{}` ({cloud}, {}) in {days_left} days; \
                     put its successor into the trust folder, or upgrade authd",
                    certificate.name(),
                    certificate.fingerprint()
                ),
            ));
        }
    }
    findings.extend(missing_keys(trust, config));
    findings.extend(without_effect(trust, config, now));
    if findings.is_empty() {
        let keys = trust.aws().iter().len();
        let text = format!(
            "{keys} keys of AWS, {lasting} certificates of Azure, the first of which expires in \
             {next} days"
        );
        findings.push(Finding::ok("trust", text));
    }
    findings
}

/// When the certificate with which authd speaks TLS expires
pub(crate) fn of_tls(expires: SystemTime, now: SystemTime) -> Finding {
    const SUBJECT: &str = "tls_cert";
    let Ok(left) = expires.duration_since(now) else {
        return Finding::error(SUBJECT, "the certificate has expired: clients refuse it");
    };
    let text = format!("the certificate expires in {} days", left.as_secs() / 86_400);
    if left < EXPIRY_WARNING {
        return Finding::warning(SUBJECT, format!("{text}; replace the file, which is read again"));
    }
    Finding::ok(SUBJECT, text)
}

/// The identity settings and files of the trust folder that have no effect, or reject every machine
pub(crate) fn without_effect(
    trust: &Trust,
    config: &IdentityConfig,
    now: SystemTime,
) -> Vec<Finding> {
    let mut found = config.repeated.clone();
    found.extend(config.policy.warnings().iter().map(ToString::to_string));
    let regions = config.policy.aws_allowed_regions.iter().flatten();
    let without_key = regions.filter(|region| {
        aws::is_region_name(region) && !trust.aws().regions().any(|known| known == region.as_str())
    });
    found.extend(without_key.map(|region| {
        format!(
            "`aws_allowed_regions` has {region:?}, for which no key is known; put its certificate \
             at `aws/{region}.pem` in the trust folder"
        )
    }));
    let weak = weak_regions(trust);
    if !config.policy.aws_allow_rsa1024 && !weak.is_empty() {
        found.push(format!(
            "`aws_allow_rsa1024` is off, which rejects every machine of {}: no key of 2048 bits is \
             known there; put the certificate of `/rsa2048` at `aws/REGION.pem` in the trust folder",
            weak.join(", ")
        ));
    }
    if trust.google().is_some() && config.google_keys_set {
        found.push(
            "`fetch_google_keys` has no effect: `google/jwks.json` in the trust folder is used \
             instead"
                .to_owned(),
        );
    }
    found.extend(trust.idle_files(now).map(|file| file.to_string()));
    found.into_iter().map(|text| Finding::warning("trust", text)).collect()
}

/// The regions for which only keys of fewer than 2048 bits are known
fn weak_regions(trust: &Trust) -> Vec<&str> {
    let mut strong = BTreeSet::new();
    for key in trust.aws().iter().filter(|key| key.bits() >= 2048) {
        strong.extend(key.regions());
    }
    trust.aws().regions().filter(|region| !strong.contains(region)).collect()
}

/// A finding if there are no keys of Google, so that its machines cannot sign in
pub(crate) fn missing_keys(trust: &Trust, config: &IdentityConfig) -> Option<Finding> {
    (trust.google().is_none() && config.google_keys.is_none()).then(|| {
        Finding::warning(
            "fetch_google_keys",
            "machines of Google cannot sign in while it is off and the trust folder has no \
             `google/jwks.json`",
        )
    })
}
