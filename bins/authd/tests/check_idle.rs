//! `authd check`: settings and files without effect

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::process::{Command, Output};

use identity_verify::test_util::{aws, google};
use serde_json::Value;

fn check(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
    command.arg("check").args(["--store", "memory"]).args(args).env_clear().output().unwrap()
}

#[test]
fn settings_and_files_without_effect_are_named() {
    let trust = std::env::temp_dir().join(format!("authd-check-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(trust.join("aws")).unwrap();
    let folder = trust.to_str().unwrap();
    let output = check(&["--trust-dir", folder, "--aws-allowed-regions", "us-east-1"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    std::fs::write(trust.join("issuer.pem"), "x").unwrap();
    std::fs::create_dir_all(trust.join("google")).unwrap();
    std::fs::write(trust.join("google/jwks.json"), google::Cloud::generate().jwks_json()).unwrap();
    let args = [
        "--trust-dir",
        folder,
        "--aws-allowed-accounts",
        "628783029487,628783029487,alice",
        "--aws-allowed-regions",
        "xx-future-1,us-east-1",
        "--fetch-google-keys",
        "https://keys.example.com/certs",
    ];
    let expected = [
        "`aws_allowed_accounts` has \"628783029487\" more than once",
        "`aws_allowed_accounts` has \"alice\", which is not an AWS account",
        "`aws_allowed_regions` has \"xx-future-1\", for which no key is known",
        "`fetch_google_keys` has no effect",
        "issuer.pem` in the trust folder is not read",
    ];
    let output = check(&[&args[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    for expected in expected {
        let found =
            findings.iter().find(|finding| finding["text"].as_str().unwrap().contains(expected));
        assert_eq!(found.expect(expected)["state"], "warning", "{report:#}");
    }

    // With a key, machines of the region can sign in.
    let key = aws::Cloud::generate("xx-future-1").public_key_pem();
    std::fs::write(trust.join("aws/xx-future-1.pem"), key).unwrap();
    let lines = String::from_utf8(check(&args).stdout).unwrap();
    assert!(!lines.contains("xx-future-1"), "{lines}");
    std::fs::remove_dir_all(trust).unwrap();
}

#[test]
fn an_unusable_trust_folder_is_an_error() {
    let output = check(&["--trust-dir", "/nowhere"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
