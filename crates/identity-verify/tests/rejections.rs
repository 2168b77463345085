//! What a refusal says to operators: the machine, and which setting refused which value

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::LazyLock;

use identity_verify::{
    Policy, Reason, Rejection,
    aws::{self, Pkcs7, SignedDocument},
    azure::{self, AttestedData},
    google::{self, IdentityToken},
    test_util::{at, aws as test_aws, azure as test_azure, google as test_google},
};
use serde_json::{Value, json};

const INSTANCE: &str = "i-0123456789abcdef0";
const VM: &str = "11111111-2222-4333-8444-55555555555a";
const SUBSCRIPTION: &str = "99999999-0000-4000-8000-000000000000";
const NOW: &str = "2026-01-01T01:00:00Z";

static REGION: LazyLock<test_aws::Cloud> = LazyLock::new(|| test_aws::Cloud::generate("eu-test-1"));
static AZURE: LazyLock<test_azure::Cloud> = LazyLock::new(test_azure::Cloud::generate);
static GOOGLE: LazyLock<test_google::Cloud> = LazyLock::new(test_google::Cloud::generate);

fn policy(policy: Value) -> Policy {
    serde_json::from_value(policy).unwrap()
}

/// Reason, setting and value
type Summary<'a> = (Reason, Option<&'a str>, Option<&'a str>);

fn summary(rejection: &Rejection) -> Summary<'_> {
    let denied = rejection.denied();
    (rejection.reason(), denied.map(|d| d.setting()), denied.and_then(|d| d.value()))
}

#[test]
fn aws_by_either_form() {
    let document = |started: &str| {
        test_aws::Document::new(INSTANCE, "eu-test-1", "123456789012", started).to_json()
    };
    let started = "2026-01-01T00:00:00Z";
    for (demanded, started, expected) in [
        (
            json!({"aws_allowed_accounts": ["210987654321"]}),
            started,
            (Reason::AccountNotAllowed, Some("aws_allowed_accounts"), Some("123456789012")),
        ),
        (
            json!({"aws_allowed_regions": ["us-test-1"]}),
            started,
            (Reason::RegionNotAllowed, Some("aws_allowed_regions"), Some("eu-test-1")),
        ),
        (
            json!({"aws_max_document_age_seconds": 60}),
            started,
            (Reason::Expired, Some("aws_max_document_age_seconds"), Some(started)),
        ),
        (
            json!({"aws_max_document_age_seconds": 60}),
            "2026-01-02T00:00:00Z",
            (
                Reason::NotYetValid,
                Some("aws_max_document_age_seconds"),
                Some("2026-01-02T00:00:00Z"),
            ),
        ),
        (
            json!({"aws_max_document_age_seconds": 60}),
            "yesterday",
            (Reason::MalformedProof, Some("aws_max_document_age_seconds"), Some("yesterday")),
        ),
        (
            json!({"aws_allow_rsa1024": false}),
            started,
            (Reason::AlgorithmNotAllowed, Some("aws_allow_rsa1024"), Some("RSA-1024")),
        ),
    ] {
        let document = document(started);
        let verifier = aws::Verifier::new(REGION.keys(), policy(demanded.clone()));
        let signature = REGION.sign(document.as_bytes());
        let proof =
            SignedDocument { document: document.as_bytes(), signature: signature.as_bytes() };
        let by_signature = verifier.examine(&proof, at(NOW)).unwrap_err();
        let message = REGION.sign_pkcs7(document.as_bytes());
        let proof = Pkcs7 { pkcs7: message.as_bytes(), document: None };
        let by_message = verifier.examine_pkcs7(&proof, at(NOW)).unwrap_err();
        for rejection in [by_signature, by_message] {
            assert_eq!(summary(&rejection), expected, "{demanded}");
            assert!(rejection.is_genuine(), "{demanded}");
            let claimed = rejection.claimed();
            assert_eq!(claimed.instance_id(), Some(INSTANCE), "{demanded}");
            assert_eq!(claimed.get("account_id"), Some("123456789012"));
            assert_eq!(claimed.get("region"), Some("eu-test-1"));
        }
    }
}

#[test]
fn azure() {
    let document = test_azure::Document::new(
        VM,
        SUBSCRIPTION,
        "01/01/26 00:00:00 -0000",
        "01/01/26 06:00:00 -0000",
    );
    let proof = AZURE.sign(document.to_json().as_bytes());
    for (demanded, now, expected) in [
        (
            json!({"azure_allowed_subscriptions": [VM]}),
            NOW,
            (
                Reason::SubscriptionNotAllowed,
                Some("azure_allowed_subscriptions"),
                Some(SUBSCRIPTION),
            ),
        ),
        (
            json!({}),
            "2026-01-01T07:00:00Z",
            (Reason::Expired, Some("azure_enforce_expires_on"), Some("01/01/26 06:00:00 -0000")),
        ),
        (
            json!({"azure_clouds": ["china"]}),
            NOW,
            (Reason::SignerNotAllowed, Some("azure_clouds"), Some("public")),
        ),
        (
            json!({"azure_expected_nonce": "abc"}),
            NOW,
            (Reason::NonceMismatch, Some("azure_expected_nonce"), Some(&*document.nonce)),
        ),
    ] {
        let verifier = azure::Verifier::new(AZURE.trust(), policy(demanded.clone()));
        let proof = AttestedData { signature: proof.as_bytes() };
        let rejection = verifier.examine(&proof, at(now)).unwrap_err();
        assert_eq!(summary(&rejection), expected, "{demanded}");
        assert!(rejection.is_genuine(), "{demanded}");
        assert_eq!(rejection.claimed().instance_id(), Some(VM));
        assert_eq!(rejection.claimed().get("subscription_id"), Some(SUBSCRIPTION));
    }
}

#[test]
fn google() {
    let claims = test_google::Claims::new("8087716956832600000", "project-a", "coder", at(NOW));
    let account = "vm@project-a.iam.gserviceaccount.com";
    let unverified = claims.clone().with("/email_verified", json!(false));
    let two = claims.clone().with("/aud", json!(["a", "b"]));
    let none = claims.clone().without("/aud");
    let later = claims.clone().with("/nbf", json!(1_767_232_800));
    let created = "/google/compute_engine/instance_creation_timestamp";
    let ageless = claims.clone().without(created);
    let unborn = claims.clone().with(created, json!(1_767_232_800));
    for (demanded, claims, now, expected) in [
        (
            json!({"google_allowed_projects": ["other"]}),
            &claims,
            NOW,
            (Reason::ProjectNotAllowed, Some("google_allowed_projects"), Some("project-a")),
        ),
        (
            json!({"google_allowed_service_accounts": ["other"]}),
            &claims,
            NOW,
            (
                Reason::ServiceAccountNotAllowed,
                Some("google_allowed_service_accounts"),
                Some(account),
            ),
        ),
        (
            json!({"google_allowed_service_accounts": [account]}),
            &unverified,
            NOW,
            (Reason::ServiceAccountNotAllowed, Some("google_allowed_service_accounts"), None),
        ),
        (
            json!({"google_audience": "authd"}),
            &claims,
            NOW,
            (Reason::AudienceMismatch, Some("google_audience"), Some("coder")),
        ),
        (
            json!({"google_audience": "authd"}),
            &two,
            NOW,
            (Reason::AudienceMismatch, Some("google_audience"), Some("a, b")),
        ),
        (
            json!({"google_max_lifetime_seconds": 60}),
            &claims,
            NOW,
            (Reason::LifetimeTooLong, Some("google_max_lifetime_seconds"), Some("3600")),
        ),
        (
            json!({"google_max_instance_age_seconds": 60}),
            &claims,
            NOW,
            (Reason::InstanceTooOld, Some("google_max_instance_age_seconds"), Some("1767142800")),
        ),
        (
            json!({"google_max_instance_age_seconds": 60}),
            &ageless,
            NOW,
            (Reason::MissingClaim, Some("google_max_instance_age_seconds"), None),
        ),
        (
            json!({"google_max_instance_age_seconds": 60}),
            &unborn,
            NOW,
            (Reason::NotYetValid, Some("google_max_instance_age_seconds"), Some("1767232800")),
        ),
        (
            json!({"google_audience": "authd"}),
            &none,
            NOW,
            (Reason::MissingClaim, Some("google_audience"), None),
        ),
        (json!({}), &later, NOW, (Reason::NotYetValid, Some("leeway_seconds"), Some("1767232800"))),
        (
            json!({}),
            &claims,
            "2026-01-01T03:00:00Z",
            (Reason::Expired, Some("leeway_seconds"), Some("1767232800")),
        ),
        (
            json!({}),
            &claims,
            "2026-01-01T00:00:00Z",
            (Reason::NotYetValid, Some("leeway_seconds"), Some("1767229200")),
        ),
    ] {
        let verifier = google::Verifier::new(policy(demanded.clone()));
        let token = GOOGLE.sign(&claims.to_json());
        let proof = IdentityToken { token: token.as_bytes() };
        let rejection = verifier.examine(&proof, at(now), &GOOGLE.jwks()).unwrap_err();
        assert_eq!(summary(&rejection), expected, "{demanded}");
        assert!(rejection.is_genuine(), "{demanded}");
        assert_eq!(rejection.claimed().instance_id(), Some("8087716956832600000"));
        assert_eq!(rejection.claimed().get("project_id"), Some("project-a"));
        assert_eq!(rejection.claimed().get("zone"), Some("us-west1-a"));
    }
}

#[test]
fn unsigned_claims_are_marked_and_no_setting_denies_them() {
    // The policy would refuse it as well, were it genuine.
    let demanded = policy(json!({
        "aws_allowed_accounts": [], "azure_allowed_subscriptions": [], "google_allowed_projects": [],
    }));
    let stranger = test_aws::Cloud::generate("eu-test-1");
    let document =
        test_aws::Document::new(INSTANCE, "eu-test-1", "123456789012", "2026-01-01T00:00:00Z");
    let document = document.to_json();
    let (signature, message) =
        (stranger.sign(document.as_bytes()), stranger.sign_pkcs7(document.as_bytes()));
    let verifier = aws::Verifier::new(REGION.keys(), demanded.clone());
    let proof = SignedDocument { document: document.as_bytes(), signature: signature.as_bytes() };
    let by_signature = verifier.examine(&proof, at(NOW)).unwrap_err();
    let proof = Pkcs7 { pkcs7: message.as_bytes(), document: None };
    let by_message = verifier.examine_pkcs7(&proof, at(NOW)).unwrap_err();

    let elsewhere = test_azure::Cloud::generate();
    let attested = test_azure::Document::new(
        VM,
        SUBSCRIPTION,
        "01/01/26 00:00:00 -0000",
        "01/01/26 06:00:00 -0000",
    );
    let attested = elsewhere.sign(attested.to_json().as_bytes());
    let verifier = azure::Verifier::new(AZURE.trust(), demanded.clone());
    let by_azure =
        verifier.examine(&AttestedData { signature: attested.as_bytes() }, at(NOW)).unwrap_err();

    let claims = test_google::Claims::new("8087716956832600000", "project-a", "coder", at(NOW));
    let token = test_google::Cloud::generate().sign(&claims.to_json());
    let verifier = google::Verifier::new(demanded);
    let proof = IdentityToken { token: token.as_bytes() };
    let by_google = verifier.examine(&proof, at(NOW), &GOOGLE.jwks()).unwrap_err();

    for (rejection, id, reason) in [
        (by_signature, INSTANCE, Reason::BadSignature),
        (by_message, INSTANCE, Reason::BadSignature),
        (by_azure, VM, Reason::UntrustedSigner),
        (by_google, "8087716956832600000", Reason::BadSignature),
    ] {
        assert_eq!(summary(&rejection), (reason, None, None));
        assert!(!rejection.is_genuine(), "{rejection}");
        assert_eq!(rejection.claimed().instance_id(), Some(id));
    }
}

#[test]
fn a_key_of_another_region_makes_nothing_genuine() {
    let document =
        test_aws::Document::new(INSTANCE, "us-test-1", "123456789012", "2026-01-01T00:00:00Z");
    let document = document.to_json();
    let signature = REGION.sign(document.as_bytes());
    let proof = SignedDocument { document: document.as_bytes(), signature: signature.as_bytes() };
    let verifier = aws::Verifier::new(REGION.keys(), Policy::default());
    let rejection = verifier.examine(&proof, at(NOW)).unwrap_err();
    assert_eq!(rejection.reason(), Reason::BadSignature);
    assert!(!rejection.is_genuine());
}

#[test]
fn a_region_without_a_key_is_named() {
    let verifier = aws::Verifier::new(REGION.keys(), Policy::default());
    let refused = |cloud: &test_aws::Cloud, region: &str| {
        let document =
            test_aws::Document::new(INSTANCE, region, "123456789012", "2026-01-01T00:00:00Z");
        let document = document.to_json();
        let signature = cloud.sign(document.as_bytes());
        let proof =
            SignedDocument { document: document.as_bytes(), signature: signature.as_bytes() };
        verifier.examine(&proof, at(NOW)).unwrap_err().to_string()
    };
    let small = test_aws::Cloud::generate("xx-future-1");
    let said = refused(&small, "xx-future-1");
    assert!(said.contains("no key is known for the region `xx-future-1`"), "{said}");
    // The one key of the region is of 1024 bits.
    let large = test_aws::Cloud::generate_bits("eu-test-1", 2048);
    let said = refused(&large, "eu-test-1");
    assert!(said.contains("no key of 2048 bits is known for the region `eu-test-1`"), "{said}");
    // A key of that size is there, and it did not sign.
    assert_eq!(refused(&small, "eu-test-1"), "no trusted key made this signature");
}

#[test]
fn text_of_a_proof_is_cut_and_never_breaks_a_line() {
    let long = format!("evil\u{1b}[31m\n{}", "x".repeat(140));
    let document =
        test_aws::Document::new(&long, &long, "123456789012", "2026-01-01T00:00:00Z").to_json();
    let signature = REGION.sign(b"something else");
    let proof = SignedDocument { document: document.as_bytes(), signature: signature.as_bytes() };
    let verifier = aws::Verifier::new(REGION.keys(), Policy::default());
    let rejection = verifier.examine(&proof, at(NOW)).unwrap_err();
    assert_eq!(rejection.claimed().instance_id().unwrap().len(), 128);
    let said = rejection.to_string();
    assert!(said.len() < 300 && !said.contains(['\n', '\u{1b}']), "{said:?}");
}

/// Reading what a proof claims must not cost more than verifying it did
#[test]
fn a_proof_larger_than_real_ones_is_read_once_it_is_genuine() {
    for (length, is_read) in [(200, true), (1_000, false)] {
        let tags = "x".repeat(length);
        let document = format!(
            r#"{{"tags":"{tags}","instanceId":"{INSTANCE}","accountId":"1","region":"eu-test-1"}}"#
        );
        let claimed = |signature: String, policy| {
            let (document, signature) = (document.as_bytes(), signature.as_bytes());
            let verifier = aws::Verifier::new(REGION.keys(), policy);
            let refused = verifier.examine(&SignedDocument { document, signature }, at(NOW));
            refused.unwrap_err().claimed().instance_id().map(str::to_owned)
        };
        let forged = claimed(REGION.sign(b"something else"), Policy::default());
        assert_eq!(forged.is_some(), is_read);
        let mut policy = Policy::default();
        policy.aws_allowed_accounts = Some(["2".to_owned()].into());
        let genuine = claimed(REGION.sign(document.as_bytes()), policy);
        assert_eq!(genuine.as_deref(), Some(INSTANCE));
    }
}
