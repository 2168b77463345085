//! `authd verify` with altered files or an incomplete trust folder

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use base64::Engine as _;
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

fn utf16(text: &str, big: bool, mark: bool) -> Vec<u8> {
    let mark = if mark { "\u{feff}" } else { "" };
    let units = mark.encode_utf16().chain(text.encode_utf16());
    units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

#[test]
fn the_repair_of_an_altered_document_is_named() {
    let lab = Lab::new();
    let document = lab.document.as_str();
    let json: Value = serde_json::from_str(document).unwrap();
    let compact = document.replace(['\n', ' '], "");
    let sorted = serde_json::to_string_pretty(&json).unwrap();
    let python = compact.replace("\":", "\": ").replace(",\"", ", \"");
    let marked = [b"\xef\xbb\xbf", document.as_bytes()].concat();
    let marked_windows =
        [b"\xef\xbb\xbf", document.replace('\n', "\r\n").as_bytes(), b"\r\n"].concat();
    for (what, changed, parts) in [
        (
            "a line break",
            format!("{document}\n").into_bytes(),
            &["line break at the end of the document is taken off"][..],
        ),
        ("two line breaks", format!("{document}\n\n").into_bytes(), &["line break at the end"]),
        ("CRLF", document.replace('\n', "\r\n").into_bytes(), &["CRLF line ends of the document"]),
        (
            "CRLF at the end too",
            format!("{}\r\n", document.replace('\n', "\r\n")).into_bytes(),
            &["CRLF", "line break at the end"],
        ),
        ("a mark", marked, &["byte order mark of the document"]),
        ("a mark and CRLF", marked_windows, &["byte order mark", "CRLF"]),
        ("UTF-16", utf16(document, false, true), &["UTF-16", "byte order mark"][..1]),
        ("UTF-16, big-endian", utf16(document, true, true), &["UTF-16"]),
        ("UTF-16 without a mark", utf16(document, false, false), &["UTF-16"]),
        ("without white space", compact.into_bytes(), &["JSON of the document"]),
        ("as Python writes it", python.into_bytes(), &["JSON of the document"]),
        ("sorted and indented", sorted.clone().into_bytes(), &["JSON of the document"]),
        ("sorted, CRLF", sorted.replace('\n', "\r\n").into_bytes(), &["JSON of the document"]),
        (
            "a JSON string",
            json!(document).to_string().into_bytes(),
            &["what the JSON string around it spells"],
        ),
        (
            "the body of a sign-in",
            json!({ "document": document, "signature": lab.signature }).to_string().into_bytes(),
            &["taken out of the JSON around it"],
        ),
        (
            "base64",
            base64::engine::general_purpose::STANDARD.encode(document).into_bytes(),
            &["decoded from base64"],
        ),
        ("four blanks", sorted.replace("  ", "    ").into_bytes(), &["JSON of the document"]),
    ] {
        let files = [("document", &*changed), ("signature", lab.signature.as_bytes())];
        let (status, line) = lab.verify("aws", &files);
        assert_eq!((status, &line["outcome"]), (Some(1), &json!("reject")), "{what}: {line}");
        let repair = line["repair"].as_str().unwrap_or_else(|| panic!("{what}: {line}"));
        for part in parts.iter().chain(&["byte for byte"]) {
            assert!(repair.contains(part), "{what}: {repair}");
        }
    }
    // A document with other content cannot be repaired.
    let forged = document.replace("i-0123abcd", "i-0123abce");
    let files = [("document", forged.as_bytes()), ("signature", lab.signature.as_bytes())];
    let (status, line) = lab.verify("aws", &files);
    assert_eq!((status, line.get("repair")), (Some(1), None), "{line}");
}

#[test]
fn the_repair_of_an_altered_signature_message_or_token_is_named() {
    let lab = Lab::new();
    let mark = |text: &str| [b"\xef\xbb\xbf", text.as_bytes()].concat();
    let answer = |field: &str, text: &str| json!({ "encoding": "pkcs7", field: text }).to_string();
    let url_safe = |text: &str| text.replace('\n', "").replace('+', "-").replace('/', "_");
    let unpadded = |text: &str| text.replace('\n', "").trim_end_matches('=').to_owned();
    let document = ("document", lab.document.as_bytes());
    for (option, good, cloud) in [
        ("signature", &lab.signature, "aws"),
        ("pkcs7", &lab.pkcs7, "aws"),
        ("signature", &lab.attested, "azure"),
        ("token", &lab.token, "google"),
    ] {
        let field = if option == "token" { "json_web_token" } else { option };
        let mut rows = vec![
            ("a mark", mark(good), "byte order mark"),
            ("UTF-16", utf16(good, false, true), "UTF-16"),
            ("UTF-16, CRLF", utf16(&format!("{good}\r\n"), true, true), "UTF-16"),
            ("quotes", format!("\"{good}\"").into_bytes(), "quotes around"),
            ("the whole answer", answer(field, good).into_bytes(), "JSON around it"),
            ("the whole answer with a mark", mark(&answer(field, good)), "JSON around it"),
        ];
        if cloud == "google" {
            rows.push(("Bearer", format!("Bearer {good}").into_bytes(), "word in front"));
            rows.push(("a line break", format!("{good}\n").into_bytes(), "line break at the end"));
        } else {
            let in_lines: Vec<_> = good.as_bytes().chunks(60).collect();
            let lines = in_lines.join(&b"\n"[..]);
            let blanks = in_lines.join(&b" "[..]);
            let escaped = in_lines.join(&b"\\n"[..]);
            let armor =
                [b"-----BEGIN PKCS7-----\n", &lines[..], b"\n-----END PKCS7-----\n"].concat();
            rows.push(("blanks", blanks, "blanks in"));
            rows.push(("a tab at the end", format!("{good}\t").into_bytes(), "blanks in"));
            rows.push(("\\n", escaped, "\\n in"));
            if option != "pkcs7" {
                rows.push(("PEM lines", armor, "PEM lines around"));
            }
            for (what, changed) in [("URL-safe", url_safe(good)), ("no padding", unpadded(good))] {
                if changed != good.replace('\n', "") {
                    rows.push((what, changed.into_bytes(), "standard base64"));
                }
            }
        }
        for (what, changed, part) in rows {
            let mut files = vec![(option, &*changed)];
            if (cloud, option) == ("aws", "signature") {
                files.push(document);
            }
            let (status, line) = lab.verify(cloud, &files);
            assert_eq!(status, Some(1), "{cloud} {option}, {what}: {line}");
            let repair = line["repair"].as_str().unwrap_or_default();
            assert!(repair.contains(part), "{cloud} {option}, {what}: {line}");
        }
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
fn a_signature_of_the_wrong_kind_is_reported() {
    let lab = Lab::new();
    let document = ("document", lab.document.as_bytes());
    for (files, part) in [
        (vec![document, ("signature", lab.pkcs7.as_bytes())], "is a PKCS#7 message"),
        (vec![document, ("pkcs7", lab.signature.as_bytes())], "is a signature as `/signature`"),
        (vec![("pkcs7", lab.signature.as_bytes())], "holds a bare signature as `/signature`"),
        (
            vec![("pkcs7", lab.pkcs7.as_bytes()), ("document", b"{}")],
            "left out or is the signed one",
        ),
    ] {
        let (status, line) = lab.verify("aws", &files);
        assert_eq!(status, Some(1), "{line}");
        assert!(line["repair"].as_str().unwrap_or_default().contains(part), "{part}: {line}");
    }
    let file = lab.write("message", &lab.pkcs7);
    let output = authd(&["aws", "--signature", &file]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("give it as `--pkcs7`"));
}

#[test]
fn a_repair_that_leads_to_another_refusal_says_so() {
    let lab = Lab::new();
    let policy = lab.write("policy.json", r#"{"aws_allowed_regions": ["us-east-1"]}"#);
    let document = lab.write("document", format!("{}\n", lab.document));
    let signature = lab.write("signature", &lab.signature);
    let output = authd(&[
        "aws",
        "--document",
        &document,
        "--signature",
        &signature,
        "--trust-dir",
        &lab.trust,
        "--policy",
        &policy,
    ]);
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    let repair = line["repair"].as_str().unwrap();
    assert!(repair.contains("line break") && repair.contains("region is not allowed"), "{repair}");
}

#[test]
fn the_three_files_of_aws_form_one_proof() {
    let lab = Lab::new();
    let good = |option: &'static str| match option {
        "document" => (option, lab.document.as_bytes()),
        "signature" => (option, lab.signature.as_bytes()),
        _ => (option, lab.pkcs7.as_bytes()),
    };
    let all = ["document", "signature", "pkcs7"].map(good);
    assert_eq!(lab.verify("aws", &all).0, Some(0));
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
        ("aws/govcloud.pem", lab_key(), "no region has a name like that"),
        ("azure/intermediates/again.pem", issuer, "is trusted already"),
        ("azure/intermediates/leaf.pem", leaf.into_bytes(), "are not authorities"),
        ("azure/intermediates/ended.pem", ended.as_authority().pem().into_bytes(), "have ended"),
        ("azure/roots/ended.pem", ended.as_authority().pem().into_bytes(), "have ended"),
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
