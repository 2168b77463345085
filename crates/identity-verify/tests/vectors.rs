//! Proofs of every kind, and what becomes of each

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::{collections::BTreeMap, fs};

use common::{captured, json, text, vectors};
use identity_verify::{Claims, VerifiedInstance, aws::Keys};
use serde_json::Value;

#[test]
fn every_vector_has_its_listed_outcome() {
    let vectors = vectors();
    assert_eq!(vectors.len(), if captured().is_some() { 165 } else { 71 });
    for vector in vectors {
        let id = &vector.id;
        match vector.verifier()(&vector.proof, vector.now) {
            Ok(instance) if vector.accepted() => compare_claims(id, &vector.expect, &instance),
            Err(error) if !vector.accepted() => println!("{id}: {}: {error}", error.reason()),
            other if vector.optional => println!("{id}: the other outcome: {}", other.is_ok()),
            other => panic!("{id}: got {other:?}"),
        }
    }
}

#[test]
fn every_region_has_its_published_keys() {
    let Some(folder) = captured() else { return };
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
    let Some(folder) = captured() else { return };
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
