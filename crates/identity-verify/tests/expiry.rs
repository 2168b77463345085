//! A reminder, well before a built-in certificate ends
//!
//! The one test that looks at the clock: it begins to fail 90 days before the end of
//! a certificate that is valid now. Then look for its successor at "Azure Certificate
//! Authority details", add it to `data/azure`, and let [`SUPERSEDED`] name the old one.

use std::time::{Duration, SystemTime};

use identity_verify::azure::Trust;

/// Common names of live certificates that may end, because others have taken over
const SUPERSEDED: &[&str] = &[];

#[test]
#[expect(clippy::disallowed_methods, reason = "the reminder is about today")]
fn no_built_in_certificate_ends_within_90_days() {
    let now = SystemTime::now();
    let soon = now + Duration::from_secs(90 * 86_400);
    let trust = Trust::builtin();
    let ending = |end: SystemTime| end >= now && end < soon;
    let names: Vec<_> = trust
        .certificates()
        .filter(|certificate| ending(certificate.not_after()))
        .map(|certificate| certificate.name())
        .filter(|name| !SUPERSEDED.contains(name))
        .collect();
    assert!(names.is_empty(), "these end within 90 days: {names:?}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the reminder is about today")]
fn there_are_live_issuers() {
    let now = SystemTime::now();
    let trust = Trust::builtin();
    let live = trust.certificates().filter(|certificate| certificate.not_after() >= now).count();
    assert!(live >= 12, "only {live} built-in certificates are still valid");
}
