//! Errors carry the values that they are about, and their messages show them

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{
    error::Error as _,
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use identity_verify::{
    Error, Policy, aws,
    azure::{self, PathError},
    google,
    test_util::{
        at, aws as test_aws, azure as test_azure, azure::LeafOptions, google as test_google,
    },
};
use serde_json::json;

const START: &str = "2026-01-01T00:00:00Z";

static AWS: LazyLock<test_aws::Cloud> = LazyLock::new(|| test_aws::Cloud::generate("eu-test-1"));
static AZURE: LazyLock<test_azure::Cloud> = LazyLock::new(test_azure::Cloud::generate);
static GOOGLE: LazyLock<test_google::Cloud> = LazyLock::new(test_google::Cloud::generate);

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn policy(text: &str) -> Policy {
    serde_json::from_str(text).unwrap()
}

/// What becomes of an AWS document of `START` that may be five minutes old
fn of_aws(now: SystemTime) -> Error {
    let document = test_aws::Document::new("i-0123abcd", "eu-test-1", "123456789012", START);
    let document = document.to_json();
    let signature = AWS.sign(document.as_bytes());
    let proof =
        aws::SignedDocument { document: document.as_bytes(), signature: signature.as_bytes() };
    let policy = policy(r#"{"aws_max_document_age_seconds": 300, "leeway_seconds": 30}"#);
    aws::Verifier::new(AWS.keys(), policy).verify(&proof, now).unwrap_err()
}

/// What becomes of attested data that a leaf with these options signed
fn of_azure(options: LeafOptions, now: SystemTime) -> Error {
    let key = Some(AZURE.leaf.key().clone());
    let leaf = AZURE.intermediate.issue_leaf(&LeafOptions { key, ..options });
    let proof = leaf.sign(b"{}");
    let proof = azure::AttestedData { signature: proof.as_bytes() };
    azure::Verifier::new(AZURE.trust(), Policy::default()).verify(&proof, now).unwrap_err()
}

/// What becomes of a Google token of `START` whose instance was created a day before
fn of_google(demanded: &str, claims: &[(&str, u64)], now: SystemTime) -> Error {
    let mut token = test_google::Claims::new("7", "example-project", "coder", at(START));
    for (pointer, value) in claims {
        token = token.with(pointer, json!(value));
    }
    let token = GOOGLE.sign(&token.to_json());
    let proof = google::IdentityToken { token: token.as_bytes() };
    google::Verifier::new(policy(demanded)).verify(&proof, now, &GOOGLE.jwks()).unwrap_err()
}

#[test]
fn a_proof_outside_of_its_time_says_which_time_and_by_how_much() {
    let (start, what) = (at(START), "the document");
    let late = start + seconds(331) + Duration::from_millis(250);
    let error = of_aws(late);
    let not_after = start + seconds(300);
    assert_eq!(error, Error::Expired { what, time: late, not_after });
    assert_eq!(
        error.to_string(),
        "the document is too old: it was valid until 2026-01-01T00:05:00Z, \
         and the time is 2026-01-01T00:05:31.250Z"
    );
    let early = start - seconds(31);
    let error = of_aws(early);
    assert_eq!(error, Error::NotYetValid { what, time: early, not_before: start });
    assert_eq!(
        error.to_string(),
        "the document lies in the future: it is valid from 2026-01-01T00:00:00Z, \
         and the time is 2025-12-31T23:59:29Z"
    );

    let end = start + seconds(3_600);
    let now = end + seconds(60);
    let error = of_google("{}", &[], now);
    assert_eq!(error, Error::Expired { what: "the token", time: now, not_after: end });
}

#[test]
fn a_certificate_outside_of_its_time_says_which_time() {
    let (begin, end) = (at(START), at(START) + seconds(3_600));
    let leaf = || LeafOptions {
        not_before: 1_767_225_600,
        not_after: 1_767_229_200,
        ..LeafOptions::default()
    };
    let what = "a certificate of the signer's path";
    let (early, late) = (begin - seconds(1), end + seconds(1));
    let not_yet_valid = Error::NotYetValid { what, time: early, not_before: begin };
    assert_eq!(of_azure(leaf(), early), not_yet_valid);
    assert_eq!(of_azure(leaf(), late), Error::Expired { what, time: late, not_after: end });

    let before_1970 = SystemTime::UNIX_EPOCH - seconds(1);
    let not_before = SystemTime::UNIX_EPOCH;
    let error = of_azure(leaf(), before_1970);
    assert_eq!(error, Error::NotYetValid { what, time: before_1970, not_before });
    let message = error.to_string();
    assert!(message.ends_with("from 1970-01-01T00:00:00Z, and the time is a time before 1970"));
}

#[test]
fn a_limit_that_is_exceeded_is_in_the_error() {
    let start = at(START);
    let limit = seconds(600);
    let error = of_google(r#"{"google_max_lifetime_seconds": 600}"#, &[], start);
    assert_eq!(error, Error::LifetimeTooLong { lifetime: seconds(3_600), limit });
    assert_eq!(
        error.to_string(),
        "the token's lifetime is too long: 3600 s, and the limit is 600 s"
    );

    let day_before = 1_767_225_600 - 86_400;
    let created = start - seconds(86_400);
    let error = of_google(
        r#"{"google_max_instance_age_seconds": 600}"#,
        &[("/google/compute_engine/instance_creation_timestamp", day_before)],
        start,
    );
    assert_eq!(error, Error::InstanceTooOld { created, time: start, limit });
    assert_eq!(
        error.to_string(),
        "the instance is too old: it was created at 2025-12-31T00:00:00Z, the time is \
         2026-01-01T00:00:00Z, and the limit is 600 s"
    );
}

#[test]
fn a_signer_that_is_not_the_cloud_s_is_named() {
    const COM: &str = "metadata.azure.com";
    let long = format!("{}.example.org", "a.".repeat(100));
    for (names, expected) in [
        (&["other.example"][..], "other.example"),
        (&[COM, "other.example"], "other.example"),
        (&[COM, "*.example.org"], "*.example.org"),
        (&[COM, &long], &long[..Error::MAX_ECHO]),
    ] {
        let error = of_azure(LeafOptions::named(COM, names), at(START));
        let Error::SignerNotAllowed { name, .. } = &error else { panic!("{error}") };
        assert_eq!(name.as_deref(), Some(expected));
        assert!(error.to_string().ends_with(&format!(": `{expected}`")), "{error}");
    }
    let error = of_azure(LeafOptions::named("evil\n.example", &[COM]), at(START));
    assert_eq!(
        error.to_string(),
        "the signer is not allowed: its common name is not an Azure cloud's: `evil\\n.example`"
    );
}

#[test]
fn an_untrusted_signer_keeps_what_path_validation_found() {
    let for_clients =
        LeafOptions { usages: vec!["clientAuth".to_owned()], ..LeafOptions::default() };
    let error = of_azure(for_clients, at(START));
    assert_eq!(
        error.to_string(),
        "the signer's certificate is not trusted: it must not identify servers"
    );
    let source = error.source().unwrap();
    assert!(source.downcast_ref::<PathError>().is_some() && !source.to_string().is_empty());

    let other = test_azure::Authority::root("Other Root").issue_leaf(&LeafOptions::default());
    let proof = other.sign(b"{}");
    let proof = azure::AttestedData { signature: proof.as_bytes() };
    let verifier = azure::Verifier::new(AZURE.trust(), Policy::default());
    let error = verifier.verify(&proof, at(START)).unwrap_err();
    assert!(matches!(error, Error::UnknownIssuer { .. }) && error.source().is_none(), "{error}");
}
