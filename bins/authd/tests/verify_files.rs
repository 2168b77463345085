//! `authd verify` with altered files or an incomplete trust folder

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use common::command::{Scratch, text, verify as authd};
use identity_verify::test_util::{at, aws, azure, google};
use serde_json::{Value, json};

#[test]
fn the_setting_that_refuses_a_genuine_proof_is_named() {
    let lab = Lab::new();
    let policy = lab.scratch.write("policy.json", r#"{"aws_allowed_accounts": ["210987654321"]}"#);
    let output = authd(&[
        "aws",
        "--document",
        &lab.write("document", &lab.document),
        "--signature",
        &lab.write("signature", &lab.signature),
        "--trust-dir",
        &lab.trust,
        "--policy",
        &policy,
    ]);
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let expected = json!({
        "outcome": "reject", "reason": "account_not_allowed", "detail": "account is not allowed",
        "verified": true, "instance_id": "i-0123abcd", "account_id": "123456789012",
        "region": "eu-test-1", "setting": "aws_allowed_accounts", "value": "123456789012",
    });
    assert_eq!(line, expected);
}

/// A proof of each cloud, and a folder that trusts their test clouds
struct Lab {
    scratch: Scratch,
    trust: String,
    document: String,
    signature: String,
    pkcs7: String,
    attested: String,
    token: String,
}

const NOW: &str = "2026-01-01T01:00:00Z";

impl Lab {
    fn new() -> Self {
        let scratch = Scratch::new();
        let (aws, azure, google) = (
            aws::Cloud::generate("eu-test-1"),
            azure::Cloud::generate(),
            google::Cloud::generate(),
        );
        for (file, content) in [
            ("aws/eu-test-1.pem", aws.public_key_pem()),
            ("azure/roots/root.pem", azure.root.pem()),
            ("azure/intermediates/issuer.pem", azure.intermediate.pem()),
            ("google/jwks.json", google.jwks_json()),
        ] {
            let path = scratch.0.join("trust").join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let trust = text(&scratch.0.join("trust"));
        let document = aws::Document::new("i-0123abcd", "eu-test-1", "123456789012", NOW).to_json();
        let (signature, pkcs7) =
            (aws.sign(document.as_bytes()), aws.sign_pkcs7(document.as_bytes()));
        let subscription = "8d10da13-8125-4ba9-a717-bf7490507b3d";
        let (from, to) = ("01/01/26 00:00:00 -0000", "01/01/26 06:00:00 -0000");
        let vm = "02aab8a4-74ef-476e-8182-f6d2ba4166a6";
        let attested = azure::Document::new(vm, subscription, from, to).to_json();
        let attested = azure.leaf.sign(attested.as_bytes());
        let claims = google::Claims::new("8087716956832600000", "project", "coder", at(NOW));
        let token = google.sign(&claims.to_json());
        Self { scratch, trust, document, signature, pkcs7, attested, token }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        self.scratch.write(name, content)
    }

    /// Exit status and line for files by their options
    fn verify(&self, cloud: &str, files: &[(&str, &[u8])]) -> (Option<i32>, Value) {
        let mut args = vec![cloud.to_owned(), "--at".to_owned(), NOW.to_owned()];
        args.extend(["--trust-dir".to_owned(), self.trust.clone()]);
        for (option, content) in files {
            args.extend([format!("--{option}"), self.write(option, content)]);
        }
        let output = authd(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let line =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{cloud} {output:?}"));
        (output.status.code(), line)
    }
}

#[test]
fn a_line_break_after_a_token_needs_no_repair() {
    let lab = Lab::new();
    for end in ["", "\n", "\r\n", " \n"] {
        let token = format!("{}{end}", lab.token);
        let (status, line) = lab.verify("google", &[("token", token.as_bytes())]);
        assert_eq!((status, &line["outcome"]), (Some(0), &json!("accept")), "{end:?}: {line}");
        assert!(line.get("note").is_none() && line.get("repair").is_none(), "{end:?}: {line}");
    }
}

#[test]
fn pem_lines_around_an_aws_message_are_ignored() {
    let lab = Lab::new();
    for label in ["PKCS7", "CMS"] {
        for line_break in ["\n", "\r\n"] {
            let armor = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lab.pkcs7);
            let armor = armor.replace('\n', line_break);
            let (status, line) = lab.verify("aws", &[("pkcs7", armor.as_bytes())]);
            assert_eq!(status, Some(0), "{line}");
            assert!(line["note"].as_str().unwrap().contains("PEM lines"), "{line}");
        }
    }
}

#[test]
fn a_change_that_makes_the_proof_valid_is_named() {
    let lab = Lab::new();
    let policy = lab.write("policy.json", r#"{"aws_allowed_regions": ["us-east-1"]}"#);
    let document = lab.write("document", format!("{}\n", lab.document));
    let signature = lab.write("signature", &lab.signature);
    let proof = ["aws", "--document", &document, "--signature", &signature];
    let proof = [&proof[..], &["--trust-dir", &lab.trust]].concat();
    let repair = |more: &[&str]| {
        let said = authd(&[&proof[..], more].concat());
        let line: Value = serde_json::from_slice(&said.stdout).unwrap();
        assert_eq!((said.status.code(), &line["outcome"]), (Some(1), &json!("reject")), "{line}");
        line["repair"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        repair(&[]),
        "the proof is valid once the line break at the end of the document is removed; it has to \
         be sent as it was served, byte for byte"
    );
    assert!(
        repair(&["--policy", &policy]).ends_with("(and is then rejected: region is not allowed)")
    );
}

#[test]
fn a_message_that_is_given_as_a_signature_is_recognized() {
    let lab = Lab::new();
    let file = lab.write("message", &lab.pkcs7);
    let output = authd(&["aws", "--signature", &file]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("give it as `--pkcs7`"));
}

#[test]
fn the_files_of_each_cloud_are_one_proof() {
    let lab = Lab::new();
    let good = |option: &'static str| match option {
        "document" => (option, lab.document.as_bytes()),
        "signature" => (option, lab.signature.as_bytes()),
        _ => (option, lab.pkcs7.as_bytes()),
    };
    let all = ["document", "signature", "pkcs7"].map(good);
    assert_eq!(lab.verify("aws", &all).0, Some(0));
    for option in ["signature", "pkcs7"] {
        assert_eq!(lab.verify("azure", &[(option, lab.attested.as_bytes())]).0, Some(0));
    }
    assert_eq!(lab.verify("google", &[("token", lab.token.as_bytes())]).0, Some(0));
}

#[test]
fn files_of_the_trust_folder_without_effect_are_named() {
    let lab = Lab::new();
    let issuer = std::fs::read(lab.scratch.0.join("trust/azure/intermediates/issuer.pem")).unwrap();
    let ended = azure::Authority::root("Ended").issue_leaf(&azure::LeafOptions {
        authority: true,
        not_before: 0,
        not_after: 86_400,
        ..azure::LeafOptions::default()
    });
    let leaf = azure::Cloud::generate().leaf.as_authority().pem();
    for (file, content, why) in [
        ("us-gov-west-1.pem", issuer.clone(), "is not read"),
        ("README", b"x".to_vec(), "is not read"),
        ("gcp/jwks.json", b"{}".to_vec(), "is not read"),
        ("azure/issuer.pem", issuer.clone(), "is not read"),
        ("azure/intermediate/issuer.pem", issuer.clone(), "is not read"),
        ("azure/intermediates/.issuer.pem.swp", b"x".to_vec(), "is not read"),
        ("google/keys.json", b"{}".to_vec(), "is not read"),
        ("aws/govcloud.pem", lab_key(), "no region has a name of this form"),
        ("azure/intermediates/again.pem", issuer, "is already trusted"),
        (
            "azure/intermediates/root.pem",
            azure::Authority::root("Own").pem().into_bytes(),
            "roots are only trusted in `azure/roots`",
        ),
        ("azure/intermediates/leaf.pem", leaf.into_bytes(), "are not authorities"),
        ("azure/intermediates/ended.pem", ended.as_authority().pem().into_bytes(), "have expired"),
        ("azure/roots/ended.pem", ended.as_authority().pem().into_bytes(), "have expired"),
    ] {
        let path = lab.scratch.0.join("trust").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        let proof = lab.write("attested", &lab.attested);
        let args = ["azure", "--signature", &proof, "--at", NOW, "--trust-dir", &lab.trust];
        let output = authd(&args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{file}: {stderr}");
        let name = file.split('/').take(if file.starts_with("azure") { 2 } else { 1 });
        let name = name.collect::<Vec<_>>().join("/");
        assert!(stderr.contains(&name) && stderr.contains(why), "{file}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        std::fs::remove_file(&path).unwrap();
        let _ = std::fs::remove_dir(path.parent().unwrap());
    }
    let proof = lab.write("attested", &lab.attested);
    let output = authd(&["azure", "--signature", &proof, "--at", NOW, "--trust-dir", &lab.trust]);
    assert!(output.stderr.is_empty(), "{output:?}");
}

fn lab_key() -> Vec<u8> {
    aws::Cloud::generate("eu-test-1").public_key_pem().into_bytes()
}
