//! Proofs captured from real clouds, and negatives made from them
//!
//! They are read from `../shared/vectors/identity` beside the checkout. Without the
//! folder these tests prove nothing and say so; with `AUTHD_REQUIRE_VECTORS=1`, as
//! in CI, they fail.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use identity_verify::{
    Claims, Error, Policy, VerifiedInstance,
    aws::{self, Keys, SignedDocument, Verifier},
    azure, google,
    test_util::at,
};
use serde_json::Value;

#[test]
fn every_vector_has_its_listed_outcome() {
    let Some(folder) = folder() else { return };
    let manifest = json(&folder.join("manifest.json"));
    let mut counted = 0;
    for vector in manifest["vectors"].as_array().unwrap() {
        let outcome = verify(&folder, vector);
        counted += 1;
        let (id, expected) = (text(&vector["id"]), &vector["expect"]);
        match (text(&expected["outcome"]), &outcome) {
            ("accept", Ok(instance)) => compare_claims(id, expected, instance),
            ("reject", Err(error)) => println!("{id}: {}: {error}", error.reason()),
            (outcome, other) => panic!("{id}: expected {outcome}, got {other:?}"),
        }
    }
    assert_eq!(counted, 165);
}

#[test]
fn every_region_has_its_published_keys() {
    let Some(folder) = folder() else { return };
    let regions = json(&folder.join("aws/regions.json"));
    let regions = regions.as_object().unwrap();
    let builtin = Keys::builtin();
    assert_eq!(
        builtin.regions().collect::<Vec<_>>(),
        regions.keys().map(String::as_str).collect::<Vec<_>>()
    );
    for (region, published) in regions {
        for (bits, field) in [(1024, "rsa1024_spki_sha256"), (2048, "rsa2048_spki_sha256")] {
            let ours: Vec<String> = builtin
                .iter()
                .filter(|key| key.bits() == bits && key.regions().any(|r| r == region))
                .map(|key| key.fingerprint().to_string())
                .collect();
            assert_eq!(ours, [text(&published[field])], "{region} {bits}");
        }
    }
}

#[test]
fn every_published_rsa_certificate_can_be_added_as_a_file() {
    let Some(folder) = folder() else { return };
    for certificate in json(&folder.join("aws/certs.json")).as_array().unwrap() {
        let file = text(&certificate["file"]);
        let mut keys = Keys::none();
        let added = keys.add_pem("test-region-1", &fs::read(folder.join(file)).unwrap());
        if file.contains("/dsa/") {
            added.unwrap_err();
            continue;
        }
        added.unwrap();
        let fingerprints: Vec<_> = keys.iter().map(|key| key.fingerprint().to_string()).collect();
        assert_eq!(fingerprints, [text(&certificate["spki_sha256"])], "{file}");
    }
}

#[test]
fn no_flipped_bit_and_no_truncation_of_a_captured_document_is_accepted() {
    let Some(folder) = folder() else { return };
    let document = fs::read(folder.join("tokens/aws/us-east-1-2022.document")).unwrap();
    let signature = fs::read(folder.join("tokens/aws/us-east-1-2022.signature")).unwrap();
    let now = at("2022-03-25T20:08:00Z");
    let verifier = Verifier::builtin();
    let verify = |document: &[u8], signature: &[u8]| {
        verifier.verify(&SignedDocument { document, signature }, now)
    };
    verify(&document, &signature).unwrap();

    for at in 0..document.len() {
        let mut changed = document.clone();
        changed[at] ^= 1 << (at % 8);
        verify(&changed, &signature).unwrap_err();
        verify(&document[..at], &signature).unwrap_err();
    }
    for at in 0..signature.len() {
        verify(&document, &signature[..at]).unwrap_err();
        for bit in 0..8 {
            let mut changed = signature.clone();
            changed[at] ^= 1 << bit;
            // A changed text may still be the same signature: a line break may
            // become another, and the last digit has unused bits.
            if let Ok(instance) = verify(&document, &changed) {
                let same_signature =
                    signature[at].is_ascii_whitespace() || signature[at + 1] == b'=';
                assert!(same_signature, "byte {at} bit {bit}");
                assert_eq!(instance.id().as_str(), "i-076e9b91f7c420782");
            }
        }
    }
}

fn verify(folder: &Path, vector: &Value) -> Result<VerifiedInstance, Error> {
    let now = at(text(&vector["verify_at"]));
    let policy: Policy = match &vector["policy"] {
        Value::Null => Policy::default(),
        policy => serde_json::from_value(policy.clone()).unwrap(),
    };
    let file = |name: &str| fs::read(folder.join(text(&vector["files"][name]))).unwrap();
    match text(&vector["kind"]) {
        "signature" => {
            let (document, signature) = (file("document"), file("signature"));
            let proof = aws::SignedDocument { document: &document, signature: &signature };
            aws::Verifier::new(aws::Keys::builtin(), policy).verify(&proof, now)
        }
        "pkcs7-rsa2048" | "pkcs7-dsa-sha1" => {
            let document = vector["files"].get("document").map(|_| file("document"));
            let proof = aws::Pkcs7 { pkcs7: &file("pkcs7"), document: document.as_deref() };
            aws::Verifier::new(aws::Keys::builtin(), policy).verify_pkcs7(&proof, now)
        }
        "attested-data" => {
            let proof = azure::AttestedData { signature: &file("signature") };
            azure::Verifier::new(azure_trust(folder, vector), policy).verify(&proof, now)
        }
        "identity-jwt" => {
            let proof = google::IdentityToken { token: &file("jwt") };
            let jwks = fs::read(folder.join(text(&vector["trust"]))).unwrap();
            let jwks = google::Jwks::parse(&jwks).unwrap();
            google::Verifier::new(policy).verify(&proof, now, &jwks)
        }
        kind => panic!("unknown kind of proof: {kind}"),
    }
}

fn azure_trust(folder: &Path, vector: &Value) -> azure::Trust {
    match text(&vector["trust"]) {
        "production" => azure::Trust::builtin(),
        minted => {
            let mut trust = azure::Trust::none();
            let file = |name| fs::read(folder.join(minted).join(name)).unwrap();
            trust.add_root_pem(&file("root.pem")).unwrap();
            trust.add_intermediate_pem(&file("intermediate.pem")).unwrap();
            trust
        }
    }
}

fn compare_claims(id: &str, expected: &Value, instance: &VerifiedInstance) {
    let mut actual = BTreeMap::from([("instance_id", Some(instance.id().as_str()))]);
    match instance.claims() {
        Claims::Aws(claims) => {
            actual.insert("account_id", claims.account_id.as_deref());
            actual.insert("region", Some(&claims.region));
        }
        Claims::Azure(claims) => {
            actual.insert("subscription_id", claims.subscription_id.as_deref());
        }
        Claims::Google(claims) => {
            actual.insert("project_id", claims.project_id.as_deref());
        }
        other => panic!("{id}: {other:?}"),
    }
    for (field, value) in expected.as_object().unwrap() {
        if !["outcome", "key"].contains(&&**field) {
            assert_eq!(actual.get(&**field), Some(&value.as_str()), "{id}: {field}");
        }
    }
}

fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/identity");
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var_os("AUTHD_REQUIRE_VECTORS").is_some_and(|value| value == "1");
    assert!(!required, "captured proofs are required, but {} is absent", folder.display());
    // Not a print macro, which is silent in a test that passes.
    let warning = format!("WARNING: no {}: NO CAPTURED PROOF WAS TESTED\n", folder.display());
    std::io::stderr().write_all(warning.as_bytes()).unwrap();
    None
}

fn json(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
