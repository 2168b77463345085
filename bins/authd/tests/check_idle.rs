//! `authd check`: settings and files that can do nothing

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::process::{Command, Output};

use identity_verify::test_util::{aws, google};
use serde_json::Value;

fn check(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
    command.arg("check").args(["--store", "memory"]).args(args).env_clear().output().unwrap()
}

#[test]
fn what_can_do_nothing_is_named() {
    let trust = std::env::temp_dir().join(format!("authd-check-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(trust.join("aws")).unwrap();
    let folder = trust.to_str().unwrap();
    let said = check(&["--trust-dir", folder, "--aws-allowed-regions", "us-east-1"]);
    assert_eq!(said.status.code(), Some(0), "{said:?}");

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
    let said = check(&[&args[..], &["--json"]].concat());
    assert_eq!(said.status.code(), Some(0), "{said:?}");
    let report: Value = serde_json::from_slice(&said.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    for expected in expected {
        let found =
            findings.iter().find(|finding| finding["text"].as_str().unwrap().contains(expected));
        assert_eq!(found.expect(expected)["state"], "warning", "{report:#}");
    }

    // A key makes the region one that can sign in.
    let key = aws::Cloud::generate("xx-future-1").public_key_pem();
    std::fs::write(trust.join("aws/xx-future-1.pem"), key).unwrap();
    let lines = String::from_utf8(check(&args).stdout).unwrap();
    assert!(!lines.contains("xx-future-1"), "{lines}");
    std::fs::remove_dir_all(trust).unwrap();
}

#[test]
fn what_is_not_usable_is_an_error() {
    let said = check(&["--trust-dir", "/nowhere"]);
    assert_eq!(said.status.code(), Some(1), "{said:?}");
}
