//! AWS documents inside PKCS#7 messages of test regions, through the public API

use std::sync::LazyLock;

use identity_verify::{
    Error, Policy, Reason, VerifiedInstance,
    aws::{Keys, Pkcs7, Verifier},
    test_util::{
        Hash, at,
        aws::{Cloud, Document},
        azure::encode,
        cms::{self, Message},
    },
};
use proptest::prelude::*;

const ID: &str = "i-0123456789abcdef0";

fn document(region: &str) -> String {
    Document::new(ID, region, "123456789012", "2026-01-01T12:00:00Z").to_json()
}

fn verify(verifier: &Verifier, message: &str) -> Result<VerifiedInstance, Error> {
    let proof = Pkcs7 { pkcs7: message.as_bytes(), document: None };
    verifier.verify_pkcs7(&proof, at("2026-01-01T12:00:00Z"))
}

/// Keys take long to make, so most tests share this
static CLOUD: LazyLock<Cloud> = LazyLock::new(|| Cloud::generate_bits("eu-test-1", 2048));

/// A region with a key of 2048 bits, a verifier that trusts it, and its document
fn region() -> (&'static Cloud, Verifier, String) {
    let cloud = &*CLOUD;
    let verifier = Verifier::new(cloud.keys(), Policy::default());
    (cloud, verifier, document("eu-test-1"))
}

/// Verifies a message that was changed before it was signed
fn changed(change: impl FnOnce(&mut Message)) -> Result<VerifiedInstance, Error> {
    let (cloud, verifier, document) = region();
    let mut message = cloud.message(document.as_bytes());
    change(&mut message);
    verify(&verifier, &encode(&message.sign(cloud.key())))
}

#[track_caller]
fn assert_refused(result: Result<VerifiedInstance, Error>, reason: Reason) {
    assert_eq!(result.map_err(|error| error.reason()), Err(reason));
}

#[test]
fn a_genuine_message_names_its_instance() {
    let (cloud, verifier, document) = region();
    let instance = verify(&verifier, &cloud.sign_pkcs7(document.as_bytes())).unwrap();
    assert_eq!(instance.id().as_str(), ID);
}

#[test]
fn der_and_messages_without_attributes_are_accepted_too() {
    changed(|message| message.ber = false).unwrap();
    changed(|message| message.signed_attributes = false).unwrap();
    changed(|message| message.signature_algorithm = cms::RSA_ENCRYPTION.to_owned()).unwrap();
    changed(|message| {
        message.hash = Hash::Sha384;
        message.digest_algorithm = cms::SHA384.to_owned();
        message.signature_algorithm = cms::SHA384_WITH_RSA.to_owned();
    })
    .unwrap();
}

#[test]
fn certificates_that_come_along_count_for_nothing() {
    let (cloud, verifier, document) = region();
    let stranger = Cloud::generate_bits("eu-test-1", 2048);
    let mut message = cloud.message(document.as_bytes());
    message.certificates = vec![vec![0x30, 0]];
    verify(&verifier, &encode(&message.sign(cloud.key()))).unwrap();
    assert_refused(verify(&verifier, &encode(&message.sign(stranger.key()))), Reason::BadSignature);
}

#[test]
fn only_sha2_with_rsa_is_accepted() {
    for (hash, digest, signature) in [
        (Hash::Sha1, cms::SHA1, cms::RSA_ENCRYPTION),
        (Hash::Sha1, cms::SHA1, cms::SHA1_WITH_RSA),
        (Hash::Sha256, cms::MD5, cms::RSA_ENCRYPTION),
        (Hash::Sha256, cms::SHA256, cms::RSA_PSS),
        (Hash::Sha256, cms::SHA384, cms::SHA256_WITH_RSA),
        (Hash::Sha256, cms::SHA256, cms::SHA384_WITH_RSA),
        (Hash::Sha256, &[1], cms::RSA_ENCRYPTION),
        (Hash::Sha256, cms::SHA256, &[1]),
    ] {
        let result = changed(|message| {
            message.hash = hash;
            message.digest_algorithm = digest.to_owned();
            message.signature_algorithm = signature.to_owned();
        });
        assert_refused(result, Reason::AlgorithmNotAllowed);
    }
    // The identifiers lie about how it was signed.
    assert_refused(changed(|message| message.hash = Hash::Sha512), Reason::BadSignature);
}

#[test]
fn dsa_is_refused_unless_the_policy_allows_it() {
    let dsa: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x03];
    let change = |message: &mut Message| {
        message.hash = Hash::Sha1;
        message.digest_algorithm = cms::SHA1.to_owned();
        message.signature_algorithm = dsa.to_owned();
    };
    assert_refused(changed(change), Reason::AlgorithmNotAllowed);
    // The operator finds the machine and the setting, although nothing was verified.
    let cloud = Cloud::generate_bits("us-east-1", 2048);
    let mut message = cloud.message(document("us-east-1").as_bytes());
    change(&mut message);
    let message = encode(&message.sign(cloud.key()));
    let proof = Pkcs7 { pkcs7: message.as_bytes(), document: None };
    let rejection = Verifier::new(cloud.keys(), Policy::default())
        .examine_pkcs7(&proof, at("2026-01-01T00:00:00Z"))
        .unwrap_err();
    let denied = rejection.denied().unwrap();
    assert_eq!((denied.setting(), denied.value()), ("aws_allow_dsa_sha1", Some("DSA with SHA-1")));
    assert!(!rejection.is_genuine() && rejection.claimed().instance_id().is_some());

    let mut policy = Policy::default();
    policy.aws_allow_dsa_sha1 = true;
    let cloud = Cloud::generate_bits("us-east-1", 2048);
    let mut message = cloud.message(document("us-east-1").as_bytes());
    change(&mut message);
    let message = encode(&message.sign(cloud.key()));
    for keys in [Keys::none(), cloud.keys(), Keys::builtin()] {
        let verifier = Verifier::new(keys, policy.clone());
        assert_refused(verify(&verifier, &message), Reason::BadSignature);
    }
}

#[test]
fn exactly_one_signer_is_demanded() {
    for signers in [0, 2, 3] {
        assert_refused(changed(|message| message.signers = signers), Reason::MalformedProof);
    }
}

#[test]
fn detached_content_is_refused() {
    assert_refused(changed(|message| message.content = None), Reason::MalformedProof);
}

#[test]
fn attributes_must_speak_of_the_content() {
    let (cloud, verifier, document) = region();
    let message = cloud.message(document.as_bytes());
    let signed = |attributes: &[u8]| {
        let signature = cloud.key().sign(&cms::tlv(0x31, &[attributes]));
        verify(&verifier, &encode(&message.with_signature(Some(attributes), &signature)))
    };
    let good = message.attributes(document.as_bytes());
    signed(&good).unwrap();
    assert_refused(signed(&message.attributes(b"{}")), Reason::BadSignature);

    let kind = cms::attribute(cms::CONTENT_TYPE, &cms::tlv(6, &[cms::ID_DATA]));
    let other_kind = cms::attribute(cms::CONTENT_TYPE, &cms::tlv(6, &[cms::SHA1]));
    let digest = good.split_at(good.len() - 49).1.to_owned();
    signed(&[&*kind, &digest].concat()).unwrap();
    for broken in [
        &[][..],
        &kind,
        &digest,
        &[&*other_kind, &digest].concat(),
        &[&*kind, &kind, &digest].concat(),
        &[&*kind, &digest, &digest].concat(),
        &[&*good, &cms::attribute(cms::ALGORITHM_PROTECTION, &cms::tlv(0x30, &[]))].concat(),
        &[&*kind, &digest, &cms::attribute(cms::ALGORITHM_PROTECTION, &cms::tlv(0x30, &[]))]
            .concat(),
        &[&*good, &[0]].concat(),
    ] {
        assert_refused(signed(broken), Reason::MalformedProof);
    }
}

#[test]
fn protected_algorithms_must_be_the_ones_used() {
    let (cloud, verifier, document) = region();
    let mut message = cloud.message(document.as_bytes());
    let attributes = message.attributes(document.as_bytes());
    let signature = cloud.key().sign(&cms::tlv(0x31, &[&attributes]));
    // The unsigned identifier is changed after signing to another that verifies.
    message.signature_algorithm = cms::RSA_ENCRYPTION.to_owned();
    let result = verify(&verifier, &encode(&message.with_signature(Some(&attributes), &signature)));
    assert_refused(result, Reason::MalformedProof);
}

#[test]
fn attributes_are_not_content() {
    let (cloud, verifier, document) = region();
    let mut message = cloud.message(document.as_bytes());
    let attributes = cms::tlv(0x31, &[&message.attributes(document.as_bytes())]);
    let signature = cloud.key().sign(&attributes);
    message.content = Some(attributes);
    let result = verify(&verifier, &encode(&message.with_signature(None, &signature)));
    assert_refused(result, Reason::MalformedProof);
}

#[test]
fn a_document_beside_the_message_must_be_the_signed_one() {
    let (cloud, verifier, document) = region();
    let message = cloud.sign_pkcs7(document.as_bytes());
    let verify = |document: &str| {
        let document = Some(document.as_bytes());
        let proof = Pkcs7 { pkcs7: message.as_bytes(), document };
        verifier.verify_pkcs7(&proof, at("2026-01-01T12:00:00Z"))
    };
    verify(&document).unwrap();
    for other in ["", "{}", &format!("{document}\n"), &document.replace(ID, "i-0123abcd")] {
        assert_refused(verify(other), Reason::DocumentMismatch);
    }
}

#[test]
fn a_key_speaks_for_its_own_region_only() {
    let (cloud, verifier, _) = region();
    let message = cloud.sign_pkcs7(document("us-east-1").as_bytes());
    assert_refused(verify(&verifier, &message), Reason::BadSignature);
}

#[test]
fn small_keys_can_be_refused() {
    let cloud = Cloud::generate("eu-test-1");
    let message = cloud.sign_pkcs7(document("eu-test-1").as_bytes());
    let mut policy = Policy::default();
    verify(&Verifier::new(cloud.keys(), policy.clone()), &message).unwrap();
    policy.aws_allow_rsa1024 = false;
    let verifier = Verifier::new(cloud.keys(), policy);
    assert_refused(verify(&verifier, &message), Reason::AlgorithmNotAllowed);
}

#[test]
fn bytes_that_are_not_a_message_are_refused() {
    let verifier = Verifier::builtin();
    for text in ["", "AAAA", "MIAGCSqGSIb3DQEHAqCA", "-----BEGIN PKCS7-----", "MAA=", "M=="] {
        assert_refused(verify(&verifier, text), Reason::MalformedProof);
    }
    assert_refused(verify(&verifier, &"A".repeat(70_000)), Reason::OversizedProof);
    let deep = [[0x30, 0x80].repeat(2_000), vec![0; 100]].concat();
    assert_refused(verify(&verifier, &encode(&deep)), Reason::MalformedProof);
}

#[test]
fn debug_output_shows_nothing_of_a_proof() {
    let proof = Pkcs7 { pkcs7: b"secret", document: Some(b"secret") };
    assert_eq!(format!("{proof:?}"), "Pkcs7 { pkcs7: 6, document: Some(6) }");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Not "is refused": some bytes are not signed, such as the name of the signer
    #[test]
    fn a_changed_message_is_refused_or_says_the_same(
        byte in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let (cloud, verifier, document) = region();
        let mut message = cloud.message(document.as_bytes()).sign(cloud.key());
        let original = verify(&verifier, &encode(&message)).unwrap();
        let byte = byte.index(message.len());
        message[byte] ^= flip;
        if let Ok(instance) = verify(&verifier, &encode(&message)) {
            prop_assert_eq!(instance, original);
        }
    }

    #[test]
    fn no_truncated_message_is_accepted(len in any::<prop::sample::Index>()) {
        let (cloud, verifier, document) = region();
        let message = cloud.message(document.as_bytes()).sign(cloud.key());
        let result = verify(&verifier, &encode(&message[..len.index(message.len())]));
        assert_refused(result, Reason::MalformedProof);
    }
}
