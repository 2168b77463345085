//! Captured proofs that were changed on their way into a file

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity_fetch::Identity;
use identity_verify::test_util::{at, aws, azure, google};
use identity_verify::{Cloud, Policy};
use proof_repair::{CapturedProof, Repair};
use serde_json::{Value, json};

/// A proof of each cloud, and an identity that trusts their test clouds
struct Lab {
    aws: aws::Cloud,
    azure: azure::Cloud,
    google: google::Cloud,
    document: String,
    signature: String,
    pkcs7: String,
    attested: String,
    token: String,
}

const NOW: &str = "2026-01-01T01:00:00Z";

impl Lab {
    fn new() -> Self {
        let (aws, azure, google) = (
            aws::Cloud::generate("eu-test-1"),
            azure::Cloud::generate(),
            google::Cloud::generate(),
        );
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
        Self { aws, azure, google, document, signature, pkcs7, attested, token }
    }

    fn identity(&self, policy: &Policy) -> Identity {
        Identity::with_policy(policy)
            .aws(identity_verify::aws::Verifier::new(self.aws.keys(), policy.clone()))
            .azure(identity_verify::azure::Verifier::new(self.azure.trust(), policy.clone()))
            .google_keys(self.google.jwks())
    }

    /// The repair of texts that make up a proof, which has to be rejected as it is
    async fn repair(&self, cloud: Cloud, texts: &[(&str, &[u8])]) -> Option<Repair> {
        self.repair_under(&Policy::default(), cloud, texts).await
    }

    async fn repair_under(
        &self,
        policy: &Policy,
        cloud: Cloud,
        texts: &[(&str, &[u8])],
    ) -> Option<Repair> {
        let captured = captured(texts);
        let identity = self.identity(policy);
        let proof = captured.proof(cloud).unwrap();
        let rejection = identity.verify(&proof, at(NOW)).await.unwrap_err();
        captured.repair(cloud, &identity, &rejection, at(NOW)).await
    }
}

fn captured(texts: &[(&str, &[u8])]) -> CapturedProof {
    let mut captured = CapturedProof::default();
    for (field, text) in texts {
        let text = Some(text.to_vec());
        match *field {
            "document" => captured.document = text,
            "signature" => captured.signature = text,
            "pkcs7" => captured.pkcs7 = text,
            "token" => captured.token = text,
            other => panic!("{other} is not a text of a proof"),
        }
    }
    captured
}

fn printed(repair: Option<&Repair>) -> String {
    repair.map(ToString::to_string).unwrap_or_default()
}

fn utf16(text: &str, big: bool, mark: bool) -> Vec<u8> {
    let mark = if mark { "\u{feff}" } else { "" };
    let units = mark.encode_utf16().chain(text.encode_utf16());
    units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

#[tokio::test]
async fn a_changed_document_is_repaired() {
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
            &["line break at the end of the document is removed"][..],
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
            &["decoded from the JSON string around it"],
        ),
        (
            "the body of a sign-in",
            json!({ "document": document, "signature": lab.signature }).to_string().into_bytes(),
            &["taken out of the JSON around it"],
        ),
        ("base64", STANDARD.encode(document).into_bytes(), &["decoded from Base64"]),
        ("four spaces", sorted.replace("  ", "    ").into_bytes(), &["JSON of the document"]),
        (
            "escaped, without quotes",
            json!(document).to_string().trim_matches('"').replace('/', "\\/").into_bytes(),
            &["decoded from the JSON string around it"],
        ),
        (
            "UTF-16, in Base64",
            STANDARD.encode(utf16(document, true, true)).into_bytes(),
            &["decoded from Base64, and the document is written in UTF-8"],
        ),
        (
            "single quotes and a line break",
            format!("'{document}'\n").into_bytes(),
            &["decoded from the JSON string around it"],
        ),
        (
            "the body of a sign-in in UTF-16 with CRLF",
            utf16(&(json!({ "document": document }).to_string() + "\r\n"), false, true),
            &["UTF-16", "taken out of the JSON around it"],
        ),
        (
            "sorted, UTF-16, big-endian, CRLF",
            utf16(&sorted.replace('\n', "\r\n"), true, true),
            &["UTF-16", "CRLF", "JSON of the document"],
        ),
    ] {
        let files = [("document", &*changed), ("signature", lab.signature.as_bytes())];
        let repair = printed(lab.repair(Cloud::Aws, &files).await.as_ref());
        for part in parts.iter().chain(&["byte for byte"]) {
            assert!(repair.contains(part), "{what}: {repair}");
        }
    }
    // A forgery has no repair.
    let forged = document.replace("i-0123abcd", "i-0123abce");
    let files = [("document", forged.as_bytes()), ("signature", lab.signature.as_bytes())];
    assert!(lab.repair(Cloud::Aws, &files).await.is_none());
}

#[tokio::test]
async fn a_changed_signature_message_or_token_is_repaired() {
    let lab = Lab::new();
    let mark = |text: &str| [b"\xef\xbb\xbf", text.as_bytes()].concat();
    let answer = |field: &str, text: &str| json!({ "encoding": "pkcs7", field: text }).to_string();
    let url_safe = |text: &str| text.replace('\n', "").replace('+', "-").replace('/', "_");
    let unpadded = |text: &str| text.replace('\n', "").trim_end_matches('=').to_owned();
    let document = ("document", lab.document.as_bytes());
    for (option, good, cloud) in [
        ("signature", &lab.signature, Cloud::Aws),
        ("pkcs7", &lab.pkcs7, Cloud::Aws),
        ("signature", &lab.attested, Cloud::Azure),
        ("token", &lab.token, Cloud::Google),
    ] {
        let field = if option == "token" { "json_web_token" } else { option };
        let windows = |text: &str| text.replace('\n', "\r\n") + "\r\n";
        let mut rows = vec![
            ("a mark", mark(good), "byte order mark"),
            ("a mark and CRLF", mark(&windows(good)), "byte order mark"),
            (
                "the whole answer in a JSON string",
                json!(answer(field, good)).to_string().into(),
                "the quotes around",
            ),
            ("UTF-16, whole answer", utf16(&answer(field, good), false, true), "JSON around it"),
            ("a JSON string", json!(good).to_string().replace('+', "\\u002b").into(), "quotes"),
            ("UTF-16", utf16(good, false, true), "UTF-16"),
            ("UTF-16, CRLF", utf16(&format!("{good}\r\n"), true, true), "UTF-16"),
            ("quotes", format!("\"{good}\"").into_bytes(), "quotes around"),
            ("the whole answer", answer(field, good).into_bytes(), "JSON around it"),
            ("the whole answer with a mark", mark(&answer(field, good)), "JSON around it"),
        ];
        if cloud == Cloud::Google {
            rows.push(("Bearer", format!("Bearer {good}").into_bytes(), "word before"));
            let lines = good.as_bytes().chunks(76).collect::<Vec<_>>().join(&b"\r\n"[..]);
            rows.push(("lines", lines, "line breaks in the token"));
            // A line break after a token needs no repair.
            rows.push(("Bearer, CRLF", format!("Bearer {good}\r\n").into_bytes(), "word before"));
        } else {
            let in_lines: Vec<_> = good.as_bytes().chunks(60).collect();
            let lines = in_lines.join(&b"\n"[..]);
            let spaces = in_lines.join(&b" "[..]);
            let escaped = in_lines.join(&b"\\n"[..]);
            let armor =
                [b"-----BEGIN PKCS7-----\n", &lines[..], b"\n-----END PKCS7-----\n"].concat();
            rows.push(("spaces", spaces, "spaces in"));
            rows.push(("a tab at the end", format!("{good}\t").into_bytes(), "spaces in"));
            rows.push(("\\n", escaped, "\\n in"));
            let bytes = STANDARD.decode(good.replace('\n', "")).unwrap();
            rows.push(("bytes", bytes, "encoded in Base64"));
            if option != "pkcs7" {
                let armored = String::from_utf8(armor.clone()).unwrap();
                rows.push((
                    "PEM lines in UTF-16",
                    utf16(&armored, false, true),
                    "PEM lines around",
                ));
                rows.push((
                    "PEM lines, CRLF, a mark",
                    mark(&windows(&armored)),
                    "PEM lines around",
                ));
                let marked = armored.replacen("-\n", "-\n\u{feff}", 1).into_bytes();
                rows.push(("PEM lines around a mark", marked, "byte order mark"));
                let quoted = json!(armored).to_string().into_bytes();
                rows.push(("PEM lines in a JSON string", quoted, "PEM lines around"));
                let in_answer = answer(field, &armored);
                rows.push(("PEM lines in an answer", in_answer.into(), "PEM lines around"));
                rows.push(("PEM lines", armor, "PEM lines around"));
            }
            for (what, changed) in [("URL-safe", url_safe(good)), ("no padding", unpadded(good))] {
                if changed != good.replace('\n', "") {
                    rows.push((what, changed.into_bytes(), "standard Base64"));
                }
            }
        }
        for (what, changed, part) in rows {
            let mut files = vec![(option, &*changed)];
            if (cloud, option) == (Cloud::Aws, "signature") {
                files.push(document);
            }
            let repair = printed(lab.repair(cloud, &files).await.as_ref());
            assert!(repair.contains(part), "{cloud} {option}, {what}: {repair}");
        }
    }
}

#[tokio::test]
async fn one_kind_of_signature_instead_of_the_other_is_recognized() {
    let lab = Lab::new();
    let document = ("document", lab.document.as_bytes());
    let windows = format!("{}\r\n", lab.document);
    for (texts, part) in [
        (vec![document, ("signature", lab.pkcs7.as_bytes())], "is a PKCS#7 message"),
        (vec![document, ("pkcs7", lab.signature.as_bytes())], "is a signature as `/signature`"),
        (vec![("pkcs7", lab.signature.as_bytes())], "is a bare signature as `/signature`"),
        (
            vec![("document", lab.signature.as_bytes()), ("signature", windows.as_bytes())],
            "document and signature are exchanged, and the line break at the end of the document",
        ),
        (
            vec![("pkcs7", lab.pkcs7.as_bytes()), ("document", b"{}")],
            "left out or is the signed one",
        ),
    ] {
        let repair = printed(lab.repair(Cloud::Aws, &texts).await.as_ref());
        assert!(repair.contains(part), "{part}: {repair}");
    }
    assert!(proof_repair::is_pkcs7(lab.pkcs7.as_bytes()));
    assert!(!proof_repair::is_pkcs7(lab.signature.as_bytes()));
}

#[tokio::test]
async fn each_of_several_texts_may_have_been_changed() {
    let lab = Lab::new();
    let windows = |text: &str| text.replace('\n', "\r\n") + "\r\n";
    let document = utf16(&windows(&lab.document), false, true);
    let signature = utf16(&windows(&lab.signature), false, true);
    let in_lines = lab.pkcs7.as_bytes().chunks(64).collect::<Vec<_>>().join(&b" "[..]);
    let attested = json!({ "encoding": "pkcs7", "signature": lab.signature }).to_string();
    for (texts, parts) in [
        (
            vec![("document", &*document), ("signature", &*signature)],
            &["the document is written in UTF-8", "CRLF", "the signature is written in ASCII"][..],
        ),
        (
            vec![("document", &*document), ("signature", attested.as_bytes())],
            &["the document is written in UTF-8", "the signature is taken out of the JSON"],
        ),
        (
            vec![("document", &*document), ("pkcs7", &*in_lines)],
            &["the spaces in the message are removed", "left out or is the signed one"],
        ),
    ] {
        let repair = printed(lab.repair(Cloud::Aws, &texts).await.as_ref());
        for part in parts.iter().chain(&["byte for byte"]) {
            assert!(repair.contains(part), "{part}: {repair}");
        }
    }
}

#[tokio::test]
async fn a_repaired_proof_may_be_rejected_for_another_reason() {
    let lab = Lab::new();
    let policy: Policy = serde_json::from_str(r#"{"aws_allowed_regions": ["us-east-1"]}"#).unwrap();
    let document = format!("{}\n", lab.document);
    let texts = [("document", document.as_bytes()), ("signature", lab.signature.as_bytes())];
    let repair = lab.repair_under(&policy, Cloud::Aws, &texts).await;
    let Some(Repair::Changes { changes, then: Some(rejection) }) = &repair else {
        panic!("{repair:?}");
    };
    assert_eq!(changes, &["the line break at the end of the document is removed"]);
    assert_eq!(rejection.to_string(), "region is not allowed");
    assert!(printed(repair.as_ref()).ends_with("(and is then rejected: region is not allowed)"));

    // A genuine proof was not changed.
    let texts = [("document", lab.document.as_bytes()), texts[1]];
    assert!(lab.repair_under(&policy, Cloud::Aws, &texts).await.is_none());
}

#[test]
fn texts_that_are_not_those_of_a_proof_make_none() {
    for (cloud, texts) in [
        (Cloud::Aws, &["document"][..]),
        (Cloud::Aws, &["signature"]),
        (Cloud::Aws, &["document", "signature", "token"]),
        (Cloud::Azure, &["document", "signature"]),
        (Cloud::Azure, &["signature", "pkcs7"]),
        (Cloud::Google, &["signature"]),
        (Cloud::Google, &[]),
    ] {
        let texts: Vec<_> = texts.iter().map(|field| (*field, &b"x"[..])).collect();
        assert!(captured(&texts).proof(cloud).is_none(), "{cloud}: {texts:?}");
    }
    let printed = format!("{:?}", captured(&[("token", b"hunter2")]));
    assert!(!printed.contains("hunter2"), "{printed}");
}
