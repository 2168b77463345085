//! Settings of a policy that are valid but cannot have been meant

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use identity_verify::Policy;
use serde_json::{Value, json};

fn warnings(policy: &Value) -> Vec<String> {
    let policy: Policy = serde_json::from_value(policy.clone()).unwrap();
    policy.warnings().iter().map(ToString::to_string).collect()
}

#[test]
fn values_that_a_cloud_can_sign_are_accepted() {
    let policy = json!({
        "aws_allowed_accounts": ["628783029487", "000000000001"],
        "aws_allowed_regions": ["us-east-1", "us-gov-west-1", "eusc-de-east-1", "us-isob-east-1"],
        "azure_allowed_subscriptions": ["8D10DA13-8125-4ba9-a717-bf7490507b3d"],
        "azure_clouds": ["public", "china"],
        "azure_expected_nonce": "abc-DEF_123",
        "google_allowed_projects": ["example-project", "example.com:project-1", "abc123"],
        "google_allowed_service_accounts": [
            "vm@example-project.iam.gserviceaccount.com",
            "739419398126-compute@developer.gserviceaccount.com",
        ],
        "google_audience": "*",
        "google_max_lifetime_seconds": 3_600,
    });
    assert_eq!(warnings(&policy), [""; 0]);
    assert_eq!(warnings(&json!({})), [""; 0]);
}

#[test]
fn values_that_no_cloud_signs_are_named() {
    for (setting, values) in [
        (
            "aws_allowed_accounts",
            &[
                "6287-8302-9487",
                "62878302948",
                "6287830294870",
                "alice",
                "arn:aws:iam::628783029487:root",
                "628783029487 ",
                "*",
                "",
            ][..],
        ),
        (
            "aws_allowed_regions",
            &[
                "us-east-1a",
                "US-EAST-1",
                "useast1",
                "us_east_1",
                "Oregon",
                "us-west-2-lax-1a",
                "eu",
                "us-east-1 ",
                "eu-*",
            ],
        ),
        (
            "azure_allowed_subscriptions",
            &[
                "8d10da1381254ba9a717bf7490507b3d",
                "{8d10da13-8125-4ba9-a717-bf7490507b3d}",
                "production",
                "/subscriptions/8d10da13-8125-4ba9-a717-bf7490507b3d",
            ],
        ),
        (
            "google_allowed_projects",
            &["739419398126", "Example", "ab", "projects/example-project", "ends-with-", "*"],
        ),
        (
            "google_allowed_service_accounts",
            &[
                "vm",
                "vm@",
                "Vm@example-project.iam.gserviceaccount.com",
                "113774264463038321964",
                "*@example-project.iam.gserviceaccount.com",
                "serviceAccount:vm@example-project.iam.gserviceaccount.com",
                "alice@example.com",
            ],
        ),
    ] {
        for value in values {
            let found = warnings(&json!({ setting: [value] }));
            assert_eq!(found.len(), 1, "{value}: {found:?}");
            assert!(found[0].starts_with(&format!("`{setting}` has {value:?}")), "{found:?}");
        }
    }
}

#[test]
fn settings_that_cannot_have_been_meant_are_named() {
    for (policy, setting) in [
        (json!({ "aws_allowed_accounts": [] }), "aws_allowed_accounts"),
        (json!({ "aws_allowed_regions": [] }), "aws_allowed_regions"),
        (json!({ "azure_allowed_subscriptions": [] }), "azure_allowed_subscriptions"),
        (json!({ "azure_clouds": [] }), "azure_clouds"),
        (json!({ "azure_clouds": ["public", "germany"] }), "azure_clouds"),
        (json!({ "google_allowed_projects": [] }), "google_allowed_projects"),
        (json!({ "google_allowed_service_accounts": [] }), "google_allowed_service_accounts"),
        (json!({ "google_max_lifetime_seconds": 600 }), "google_max_lifetime_seconds"),
        (json!({ "azure_expected_nonce": "a b" }), "azure_expected_nonce"),
        (json!({ "azure_expected_nonce": "" }), "azure_expected_nonce"),
        (json!({ "azure_expected_nonce": "20220419-072721" }), "azure_expected_nonce"),
        (json!({ "azure_expected_nonce": "x".repeat(33) }), "azure_expected_nonce"),
        (json!({ "google_audience": "" }), "google_audience"),
        (json!({ "google_audience": "coder " }), "google_audience"),
    ] {
        let found: Policy = serde_json::from_value(policy.clone()).unwrap();
        let found = found.warnings();
        assert_eq!(found.len(), 1, "{policy}: {found:?}");
        assert_eq!(found[0].setting(), setting, "{policy}");
    }
}
