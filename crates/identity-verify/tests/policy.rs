//! Policies that are built, read and written

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use identity_verify::azure::Environment;
use identity_verify::{Audience, Policy};
use serde_json::json;

/// Every field with a value other than its default
fn built() -> Policy {
    Policy::default()
        .leeway_seconds(5)
        .aws_max_document_age_seconds(300)
        .aws_allowed_accounts(["123456789012"])
        .aws_allowed_regions(vec!["us-east-1".to_owned()])
        .aws_allow_rsa1024(false)
        .aws_allow_dsa_sha1(true)
        .azure_enforce_expires_on(false)
        .azure_expected_nonce("abc123")
        .azure_allowed_subscriptions(["11111111-2222-3333-4444-555555555555"])
        .azure_clouds([Environment::Public, Environment::China])
        .google_audience("my-control-plane")
        .google_allowed_projects(["a-project"])
        .google_allowed_service_accounts(["vm@a-project.iam.gserviceaccount.com"])
        .google_max_instance_age_seconds(86_400)
        .google_max_lifetime_seconds(None)
}

#[test]
fn a_policy_that_is_built_is_the_one_that_is_read() {
    let read = json!({
        "leeway_seconds": 5,
        "aws_max_document_age_seconds": 300,
        "aws_allowed_accounts": ["123456789012"],
        "aws_allowed_regions": ["us-east-1"],
        "aws_allow_rsa1024": false,
        "aws_allow_dsa_sha1": true,
        "azure_enforce_expires_on": false,
        "azure_expected_nonce": "abc123",
        "azure_allowed_subscriptions": ["11111111-2222-3333-4444-555555555555"],
        "azure_clouds": ["public", "china"],
        "google_audience": "my-control-plane",
        "google_allowed_projects": ["a-project"],
        "google_allowed_service_accounts": ["vm@a-project.iam.gserviceaccount.com"],
        "google_max_instance_age_seconds": 86_400,
        "google_max_lifetime_seconds": null,
    });
    assert_eq!(serde_json::to_value(built()).unwrap(), read);
    assert_eq!(serde_json::from_value::<Policy>(read).unwrap(), built());
}

#[test]
fn a_policy_that_is_written_reads_back_as_itself() {
    let any = built().any_google_audience();
    let lists =
        Policy::default().aws_allowed_accounts([""; 0]).azure_clouds([Environment::China; 0]);
    for policy in [Policy::default(), built(), any, lists] {
        let written = serde_json::to_string(&policy).unwrap();
        assert_eq!(serde_json::from_str::<Policy>(&written).unwrap(), policy, "{written}");
    }
    // Reading it would widen the policy to any audience.
    let star = Policy::default().google_audience("*");
    assert_eq!(star.google_audience, Audience::Is("*".to_owned()));
    assert!(serde_json::to_string(&star).is_err());
}
