//! Changed, cut and re-dated proofs, some of them captured from real clouds
//!
//! A change that is accepted must leave the proof saying the same. Base64 has bits
//! and line breaks that mean nothing. AWS's keys have no names, so the name of their
//! message's signer means nothing. Nor does a certificate that is not on the path.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use common::{Proof, Vector, captured, vectors};
use identity_verify::{Claims, Error, Reason, VerifiedInstance, test_util::at};

/// Of a proof's bits one in this many is flipped, another selection for each proof
const SAMPLE: usize = 13;

#[test]
fn no_flipped_bit_makes_a_proof_say_something_else() {
    for (n, (vector, instance)) in distinct().into_iter().enumerate() {
        let verify = vector.verifier();
        let (bytes, rebuild) = raw(&vector.proof);
        let mut unnoticed = 0;
        for bit in (0..bytes.len() * 8).skip(n % SAMPLE).step_by(SAMPLE) {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = verify(&rebuild(changed), vector.now) {
                assert_eq!(other, instance, "{}: bit {bit}", vector.id);
                unnoticed += 1;
            }
        }
        // The signer's name has 105 bytes, an unused certificate some 1,400.
        let most = match vector.proof {
            Proof::AwsPkcs7 { .. } => 105 * 8,
            Proof::Azure { .. } if vector.id.contains("-bag-") => 1_400 * 8,
            _ => 0,
        };
        assert!(unnoticed <= most, "{}: {unnoticed} bits mean nothing", vector.id);
    }
}

#[test]
fn no_truncated_proof_is_accepted() {
    for (vector, _) in distinct() {
        let verify = vector.verifier();
        let (bytes, rebuild) = raw(&vector.proof);
        for len in 0..bytes.len() {
            let result = verify(&rebuild(bytes[..len].to_vec()), vector.now);
            assert!(result.is_err(), "{}: cut to {len}", vector.id);
        }
    }
}

#[test]
fn no_changed_text_makes_a_proof_say_something_else() {
    for (n, (vector, instance)) in distinct().into_iter().enumerate() {
        let verify = vector.verifier();
        for part in parts(&vector.proof) {
            for bit in (0..part.bytes.len() * 8).skip(n % 31).step_by(31) {
                let mut changed = part.bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                if let Ok(other) = verify(&(part.rebuild)(changed), vector.now) {
                    assert_eq!(other, instance, "{}: bit {bit} of the text", vector.id);
                }
            }
        }
    }
}

#[test]
fn attested_data_is_good_until_its_end_and_while_its_signer_is() {
    let second = Duration::from_secs(1);
    for (vector, instance) in accepted() {
        let Claims::Azure(claims) = instance.claims() else { continue };
        let (created, expires) = (claims.created_on.unwrap(), claims.expires_on.unwrap());
        let verify = |now| vector.verifier()(&vector.proof, now);
        assert_eq!(verify(created).unwrap(), instance);
        if vector.id.ends_with("compat") {
            verify(expires + 61 * second).unwrap();
            continue;
        }
        verify(expires + 60 * second).unwrap();
        assert_refused(verify(expires + 61 * second), Reason::Expired);
        assert_refused(verify(SystemTime::UNIX_EPOCH), Reason::NotYetValid);
    }
}

#[test]
fn the_signers_dates_are_those_of_its_certificate_to_the_second() {
    let Some(folder) = captured() else { return };
    let manifest = common::json(&folder.join("manifest.json"));
    let second = Duration::from_secs(1);
    let mut swept = 0;
    for vector in vectors().iter().filter(|vector| vector.id.ends_with("-compat")) {
        let entries = manifest["vectors"].as_array().unwrap();
        let of_same_token = vector.id.replace("after-expiresOn-compat", "valid");
        let entry = entries.iter().find(|entry| entry["id"] == *of_same_token);
        let Some(azure) = entry.and_then(|entry| entry.get("azure")) else { continue };
        let date = |name: &str| at(common::text(&azure[name]));
        let verify = |now| vector.verifier()(&vector.proof, now);
        assert_refused(verify(date("leaf_not_before") - second), Reason::NotYetValid);
        verify(date("leaf_not_before")).unwrap();
        verify(date("leaf_not_after")).unwrap();
        assert_refused(verify(date("leaf_not_after") + second), Reason::Expired);
        swept += 1;
    }
    assert_eq!(swept, 7);
}

#[track_caller]
fn assert_refused(result: Result<VerifiedInstance, Error>, reason: Reason) {
    assert_eq!(result.map_err(|error| error.reason()), Err(reason));
}

/// Accepted vectors, each proof once, however many policies accept it
fn distinct() -> Vec<(Vector, VerifiedInstance)> {
    let mut seen = BTreeSet::new();
    accepted().into_iter().filter(|(vector, _)| seen.insert(raw(&vector.proof).0)).collect()
}

fn accepted() -> Vec<(Vector, VerifiedInstance)> {
    let accepted = vectors().into_iter().filter(Vector::accepted);
    accepted
        .map(|vector| {
            let instance = vector.verifier()(&vector.proof, vector.now).unwrap();
            (vector, instance)
        })
        .collect()
}

/// The part of a proof that carries its signature, decoded, and the way back
fn raw(proof: &Proof) -> (Vec<u8>, impl Fn(Vec<u8>) -> Proof) {
    let decode = |text: &[u8]| {
        STANDARD
            .decode(text.iter().filter(|b| !b.is_ascii_whitespace()).copied().collect::<Vec<_>>())
    };
    let bytes = match proof {
        Proof::AwsSignature { signature, .. } => decode(signature).unwrap(),
        Proof::AwsPkcs7 { pkcs7, .. } => decode(pkcs7).unwrap(),
        Proof::Azure { signature } => decode(signature).unwrap(),
        Proof::Google { token } => token.clone(),
    };
    let proof = proof.clone();
    let rebuild = move |bytes: Vec<u8>| {
        let mut proof = proof.clone();
        match &mut proof {
            Proof::AwsSignature { signature, .. } | Proof::Azure { signature } => {
                *signature = STANDARD.encode(bytes).into_bytes();
            }
            Proof::AwsPkcs7 { pkcs7, .. } => *pkcs7 = STANDARD.encode(bytes).into_bytes(),
            Proof::Google { token } => *token = bytes,
        }
        proof
    };
    (bytes, rebuild)
}

struct Part {
    bytes: Vec<u8>,
    rebuild: Box<dyn Fn(Vec<u8>) -> Proof>,
}

/// Each field of a proof as it is sent, and the way back
fn parts(proof: &Proof) -> Vec<Part> {
    let part = |bytes: &[u8], rebuild: Box<dyn Fn(Vec<u8>) -> Proof>| Part {
        bytes: bytes.to_owned(),
        rebuild,
    };
    match proof.clone() {
        Proof::AwsSignature { document, signature } => {
            let (d, s) = (document.clone(), signature.clone());
            vec![
                part(
                    &document,
                    Box::new(move |document| Proof::AwsSignature {
                        document,
                        signature: s.clone(),
                    }),
                ),
                part(
                    &signature,
                    Box::new(move |signature| Proof::AwsSignature {
                        document: d.clone(),
                        signature,
                    }),
                ),
            ]
        }
        Proof::AwsPkcs7 { pkcs7, document } => {
            vec![part(
                &pkcs7,
                Box::new(move |pkcs7| Proof::AwsPkcs7 { pkcs7, document: document.clone() }),
            )]
        }
        Proof::Azure { signature } => {
            vec![part(&signature, Box::new(|signature| Proof::Azure { signature }))]
        }
        Proof::Google { token } => vec![part(&token, Box::new(|token| Proof::Google { token }))],
    }
}
