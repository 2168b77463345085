//! `authd verify`: why can this machine not sign in?

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use common::command::{Scratch, text, verify as authd};
use common::vectors;
use identity_verify::test_util::aws;
use serde_json::{Value, json};

#[test]
fn every_proof_has_its_listed_outcome() {
    for vector in vectors::read() {
        let scratch = Scratch::new();
        let trust = scratch.0.join("trust");
        vector.write_trust(&trust);
        let cloud = if vector.cloud() == "gcp" { "google" } else { vector.cloud() };
        let mut args = vec![cloud.to_owned(), "--at".to_owned(), vector.verify_at().to_owned()];
        args.extend([
            "--policy".to_owned(),
            scratch.write("policy.json", vector.policy().to_string()),
        ]);
        args.extend(["--trust-dir".to_owned(), text(&trust)]);
        for (field, option) in [
            ("document", "--document"),
            ("signature", "--signature"),
            ("pkcs7", "--pkcs7"),
            ("jwt", "--token"),
        ] {
            args.extend(vector.path(field).iter().flat_map(|path| [option.to_owned(), text(path)]));
        }
        let args: Vec<_> = args.iter().map(String::as_str).collect();

        let output = authd(&args);
        let line: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}: {output:?}", vector.id()));
        if vector.is_optional() && line["outcome"] != vector.expected()["outcome"] {
            continue;
        }
        assert_eq!(output.status.code(), Some(i32::from(!vector.is_accepted())), "{}", vector.id());
        assert_eq!(line["outcome"], vector.expected()["outcome"], "{}: {line}", vector.id());
        if vector.is_accepted() {
            for field in ["instance_id", "account_id", "region", "subscription_id", "project_id"] {
                let expected = &vector.expected()[field];
                assert!(expected.is_null() || line[field] == *expected, "{}: {line}", vector.id());
            }
        } else {
            assert!(line["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
            for (end, part) in [
                ("-doc-trailing-newline", "line break at the end of the document"),
                ("-doc-minified", "JSON of the document"),
                ("-space-sig", "spaces in the signature"),
                ("-urlsafe", "standard Base64"),
                ("-nopad", "standard Base64"),
            ] {
                let repair = line["repair"].as_str().unwrap_or_default();
                assert!(!vector.id().ends_with(end) || repair.contains(part), "{line}");
            }
            // A forged proof cannot be repaired.
            let is_forged = ["-bitflip", "-other-instance", "-doc-of-other-token"];
            let is_forged = is_forged.iter().any(|end| vector.id().ends_with(end));
            assert!(!is_forged || line.get("repair").is_none(), "{line}");
        }
    }
}

#[test]
fn unusable_arguments_are_reported_with_status_2() {
    let scratch = Scratch::new();
    let proof = scratch.write("proof", "x");
    let policy = scratch.write("policy.json", r#"{"aws_allowed_acounts": []}"#);
    let nowhere = text(&scratch.0.join("nowhere"));
    std::fs::create_dir_all(scratch.0.join("trust/aws")).unwrap();
    scratch.write("trust/aws/eu-west-1.crt", "x");
    let trust = text(&scratch.0.join("trust"));
    for (args, part) in [
        (vec!["mars"], "mars"),
        (vec!["aws"], "--pkcs7"),
        (vec!["aws", "--document", &proof], "--signature"),
        (vec!["aws", "--token", &proof], "`aws` needs"),
        (vec!["google", "--signature", &proof], "`google` needs"),
        (vec!["azure", "--signature", &nowhere], "nowhere"),
        (vec!["azure", "--signature", &proof, "--at", "yesterday"], "yesterday"),
        (vec!["azure", "--signature", &proof, "--policy", &policy], "aws_allowed_acounts"),
        (vec!["azure", "--signature", &proof, "--trust-dir", &nowhere], "nowhere"),
        (vec!["azure", "--signature", &proof, "--trust-dir", &trust], "eu-west-1.crt"),
    ] {
        let answer = authd(&args);
        let stderr = String::from_utf8_lossy(&answer.stderr);
        assert_eq!(answer.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(part), "{args:?}: {stderr}");
        assert!(answer.stdout.is_empty());
    }
}

#[test]
fn the_trust_folder_may_be_a_mounted_volume() {
    let scratch = Scratch::new();
    let cloud = aws::Cloud::generate("eu-test-1");
    std::fs::create_dir_all(scratch.0.join("trust/aws/..2026_11_21")).unwrap();
    scratch.write("trust/aws/..2026_11_21/eu-test-1.pem", cloud.public_key_pem());
    let link = |to: &str, name: &str| {
        std::os::unix::fs::symlink(to, scratch.0.join("trust/aws").join(name)).unwrap();
    };
    link("..2026_11_21", "..data");
    link("..data/eu-test-1.pem", "eu-test-1.pem");

    let proof =
        aws::Document::new("i-0123abcd", "eu-test-1", "123456789012", "2026-01-01T00:00:00Z");
    let document = scratch.write("document", proof.to_json());
    let signature = scratch.write("signature", cloud.sign(proof.to_json().as_bytes()));
    let trust = text(&scratch.0.join("trust"));
    let proof = ["aws", "--document", &document, "--signature", &signature];
    let output = authd(&[&proof[..], &["--trust-dir", &trust]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn a_closed_standard_output_is_an_error_and_not_a_panic() {
    let scratch = Scratch::new();
    let proof = scratch.write("proof", "x");
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_authd"))
        .args(["verify", "azure", "--signature", &proof])
        .stdout(full)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.starts_with("authd: the output cannot be written: "), "{stderr}");
}

#[test]
fn a_rejection_is_explained_in_one_line() {
    let scratch = Scratch::new();
    let document = scratch.write("document", r#"{"region":"us-east-1"}"#);
    let signature = scratch.write("signature", "AAAA");
    let output = authd(&["aws", "--document", &document, "--signature", &signature]);
    assert_eq!(output.status.code(), Some(1));
    let line = String::from_utf8(output.stdout).unwrap();
    assert_eq!(line.lines().count(), 1);
    let detail = "no trusted key made this signature";
    let expected = json!({
        "outcome": "reject", "reason": "bad_signature", "detail": detail, "verified": false,
        "region": "us-east-1",
    });
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
}
