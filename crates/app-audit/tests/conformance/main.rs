//! The checks pass what keeps the rules, and fail each implementation that breaks one

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod acts;
mod visits;

#[path = "../../examples/own_journal.rs"]
#[allow(dead_code, reason = "the test does not call `main`")]
mod example;

use app_audit::conformance::Broken;

/// Asserts that a check found the rule broken
fn broken(checked: Result<(), Broken>, rule: &str, mistake: &str) {
    let Err(broken) = checked else { panic!("{mistake} does not break `{rule}`") };
    assert_eq!(broken.rule(), rule);
    assert!(broken.to_string().starts_with(&format!("the rule `{rule}` is broken: ")), "{broken}");
}
