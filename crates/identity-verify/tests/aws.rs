//! AWS documents signed by test regions, through the public API

use std::time::{Duration, SystemTime};

use identity_verify::{
    Claims, Cloud as CloudName, Error, Policy, Reason, VerifiedInstance,
    aws::{Keys, SignedDocument, TrustedKey, Verifier},
    test_util::{
        at,
        aws::{Cloud, Document},
    },
};
use proptest::prelude::*;

const ID: &str = "i-0123456789abcdef0";
const ACCOUNT: &str = "123456789012";
const STARTED: &str = "2026-01-01T12:00:00Z";

fn document(region: &str) -> Document {
    Document::new(ID, region, ACCOUNT, STARTED)
}

fn verify(verifier: &Verifier, document: &str, signature: &str) -> Result<VerifiedInstance, Error> {
    verify_at(verifier, document, signature, at(STARTED))
}

fn verify_at(
    verifier: &Verifier,
    document: &str,
    signature: &str,
    now: SystemTime,
) -> Result<VerifiedInstance, Error> {
    let proof = SignedDocument { document: document.as_bytes(), signature: signature.as_bytes() };
    verifier.verify(&proof, now)
}

/// Signs `document` in a region that the verifier trusts
fn signed_and_verified(policy: Policy, document: &str) -> Result<VerifiedInstance, Error> {
    let cloud = Cloud::generate("eu-test-1");
    verify(&Verifier::new(cloud.keys(), policy), document, &cloud.sign(document.as_bytes()))
}

#[track_caller]
fn assert_refused(result: Result<VerifiedInstance, Error>, reason: Reason) {
    assert_eq!(result.map_err(|error| error.reason()), Err(reason));
}

#[test]
fn a_genuine_document_names_its_instance() {
    let instance =
        signed_and_verified(Policy::default(), &document("eu-test-1").to_json()).unwrap();
    assert_eq!(instance.cloud(), CloudName::Aws);
    assert_eq!(instance.id().as_str(), ID);
    let Claims::Aws(claims) = instance.claims() else { panic!("{instance:?}") };
    assert_eq!(claims.account_id.as_deref(), Some(ACCOUNT));
    assert_eq!(claims.region, "eu-test-1");
    assert_eq!(claims.availability_zone.as_deref(), Some("eu-test-1a"));
    assert_eq!(claims.pending_time, Some(at(STARTED)));
}

#[test]
fn a_key_speaks_for_its_own_regions_only() {
    let (here, there) = (Cloud::generate("eu-test-1"), Cloud::generate("us-test-1"));
    let mut keys = Keys::builtin();
    for cloud in [&here, &there] {
        keys.add_pem(cloud.region(), cloud.public_key_pem().as_bytes()).unwrap();
    }
    let verifier = Verifier::new(keys, Policy::default());

    let document_here = document("eu-test-1").to_json();
    verify(&verifier, &document_here, &here.sign(document_here.as_bytes())).unwrap();
    let by_the_other = verify(&verifier, &document_here, &there.sign(document_here.as_bytes()));
    assert_eq!(by_the_other, Err(Error::BadSignature));

    for region in ["us-east-1", "EU-TEST-1", "eu-test-1 ", "", "nowhere"] {
        let document = document(region).to_json();
        let result = verify(&verifier, &document, &here.sign(document.as_bytes()));
        assert_refused(result, Reason::BadSignature);
    }
    let no_region = format!(r#"{{"instanceId":"{ID}"}}"#);
    let result = verify(&verifier, &no_region, &here.sign(no_region.as_bytes()));
    assert_refused(result, Reason::BadSignature);
}

#[test]
fn the_region_that_counts_is_the_parsed_one() {
    let (here, there) = (Cloud::generate("eu-test-1"), Cloud::generate("us-test-1"));
    let mut keys = here.keys();
    keys.add_pem("us-test-1", there.public_key_pem().as_bytes()).unwrap();
    let verifier = Verifier::new(keys, Policy::default());

    // The last text that looks like a region chooses the keys, and no more than that.
    let inner = r#""tags":{"region":"us-test-1"}"#;
    let before = format!(r#"{{{inner},"instanceId":"{ID}","region":"eu-test-1"}}"#);
    verify(&verifier, &before, &here.sign(before.as_bytes())).unwrap();
    let result = verify(&verifier, &before, &there.sign(before.as_bytes()));
    assert_refused(result, Reason::BadSignature);

    let after = format!(r#"{{"region":"eu-test-1","instanceId":"{ID}",{inner}}}"#);
    let result = verify(&verifier, &after, &there.sign(after.as_bytes()));
    assert_eq!(result, Err(Error::RegionMismatch { key: "us-test-1".to_owned() }));
    let result = verify(&verifier, &after, &here.sign(after.as_bytes()));
    assert_refused(result, Reason::BadSignature);
}

#[test]
fn a_region_has_one_built_in_key_of_each_size() {
    // Each key of the size of a signature is tried, so more would make forged proofs dear.
    let keys = Keys::builtin();
    for region in keys.regions() {
        let of_region = keys.iter().filter(|key| key.regions().any(|other| other == region));
        let mut sizes: Vec<_> = of_region.map(TrustedKey::bits).collect();
        sizes.sort_unstable();
        let all = sizes.clone();
        sizes.dedup();
        assert_eq!(sizes, all, "{region}");
    }
}

#[test]
fn every_key_of_the_region_is_tried() {
    let clouds = [0; 3].map(|_| Cloud::generate("eu-test-1"));
    let mut keys = Keys::builtin();
    for cloud in &clouds {
        keys.add_pem("eu-test-1", cloud.public_key_pem().as_bytes()).unwrap();
    }
    let verifier = Verifier::new(keys, Policy::default());
    let document = document("eu-test-1").to_json();
    for cloud in &clouds {
        verify(&verifier, &document, &cloud.sign(document.as_bytes())).unwrap();
    }
}

#[test]
fn one_key_may_speak_for_several_regions() {
    let cloud = Cloud::generate("eu-test-1");
    let mut keys = cloud.keys();
    keys.add_pem("eu-test-2", cloud.certificate_pem().as_bytes()).unwrap();
    assert_eq!(keys.iter().len(), 1);
    assert_eq!(keys.regions().collect::<Vec<_>>(), ["eu-test-1", "eu-test-2"]);
    let verifier = Verifier::new(keys, Policy::default());
    for region in ["eu-test-1", "eu-test-2"] {
        let document = document(region).to_json();
        verify(&verifier, &document, &cloud.sign(document.as_bytes())).unwrap();
    }
}

#[test]
fn an_added_key_joins_the_published_ones() {
    let cloud = Cloud::generate("us-east-1");
    let before = Keys::builtin().iter().len();
    let mut keys = Keys::builtin();
    keys.add_pem("us-east-1", cloud.certificate_pem().as_bytes()).unwrap();
    assert_eq!(keys.iter().len(), before + 1);
    let document = document("us-east-1").to_json();
    let verifier = Verifier::new(keys, Policy::default());
    verify(&verifier, &document, &cloud.sign(document.as_bytes())).unwrap();
}

#[test]
fn an_unknown_key_signs_nothing() {
    let stranger = Cloud::generate("us-east-1");
    let document = document("us-east-1").to_json();
    let signature = stranger.sign(document.as_bytes());
    assert_refused(verify(&Verifier::builtin(), &document, &signature), Reason::BadSignature);
    let none = Verifier::new(Keys::none(), Policy::default());
    assert_refused(verify(&none, &document, &signature), Reason::BadSignature);
}

#[test]
fn the_published_keys_are_all_there() {
    let keys = Keys::builtin();
    assert_eq!(keys.regions().len(), 39);
    let bits: Vec<usize> = keys.iter().map(|key| key.bits()).collect();
    assert_eq!(bits.iter().filter(|&&bits| bits == 1024).count(), 21);
    assert_eq!(bits.iter().filter(|&&bits| bits == 2048).count(), 39);
    assert_eq!(bits.len(), 60);
}

#[test]
fn every_key_has_the_fingerprint_that_stands_beside_it() {
    let mut listed: Vec<&str> =
        [include_str!("../data/aws/rsa1024.pem"), include_str!("../data/aws/rsa2048.pem")]
            .iter()
            .flat_map(|file| file.lines())
            .filter_map(|line| line.strip_prefix("SHA-256: "))
            .collect();
    let keys = Keys::builtin();
    let mut ours: Vec<String> = keys.iter().map(|key| key.fingerprint().to_string()).collect();
    listed.sort_unstable();
    ours.sort_unstable();
    assert_eq!(ours, listed);
}

#[test]
fn small_keys_can_be_refused() {
    let mut policy = Policy::default();
    policy.aws_allow_rsa1024 = false;
    let json = document("eu-test-1").to_json();
    assert_refused(signed_and_verified(policy.clone(), &json), Reason::AlgorithmNotAllowed);

    for (bits, allowed) in [(1024, false), (2040, false), (2048, true), (3072, true)] {
        let cloud = Cloud::generate_bits("eu-test-1", bits);
        let verifier = Verifier::new(cloud.keys(), policy.clone());
        let result = verify(&verifier, &json, &cloud.sign(json.as_bytes()));
        assert_eq!(result.is_ok(), allowed, "{bits}: {result:?}");
    }
}

#[test]
fn an_account_and_a_region_must_be_listed_if_any_is() {
    let json = document("eu-test-1").to_json();
    let with = |text: &str| signed_and_verified(serde_json::from_str(text).unwrap(), &json);

    with(r#"{"aws_allowed_accounts":["000000000000","123456789012"]}"#).unwrap();
    for list in [r#"[]"#, r#"["000000000000"]"#, r#"["12345678901"]"#, r#"["123456789012 "]"#] {
        let result = with(&format!(r#"{{"aws_allowed_accounts":{list}}}"#));
        assert_refused(result, Reason::AccountNotAllowed);
    }
    with(r#"{"aws_allowed_regions":["eu-test-1"]}"#).unwrap();
    for list in [r#"[]"#, r#"["eu-test-2"]"#, r#"["EU-TEST-1"]"#] {
        let result = with(&format!(r#"{{"aws_allowed_regions":{list}}}"#));
        assert_refused(result, Reason::RegionNotAllowed);
    }
    let anonymous = format!(r#"{{"instanceId":"{ID}","region":"eu-test-1"}}"#);
    let policy = serde_json::from_str(r#"{"aws_allowed_accounts":[""]}"#).unwrap();
    assert_refused(signed_and_verified(policy, &anonymous), Reason::AccountNotAllowed);
}

#[test]
fn the_age_of_a_document_is_limited_both_ways_if_at_all() {
    let cloud = Cloud::generate("eu-test-1");
    let json = document("eu-test-1").to_json();
    let signature = cloud.sign(json.as_bytes());
    let second = Duration::from_secs(1);
    let started = at(STARTED);

    let unlimited = Verifier::new(cloud.keys(), Policy::default());
    for now in [SystemTime::UNIX_EPOCH, started, started + 1_000_000_000 * second] {
        verify_at(&unlimited, &json, &signature, now).unwrap();
    }

    let mut policy = Policy::default();
    policy.aws_max_document_age_seconds = Some(300);
    policy.leeway_seconds = 30;
    let limited = Verifier::new(cloud.keys(), policy);
    let verify = |now| verify_at(&limited, &json, &signature, now);
    assert_refused(verify(SystemTime::UNIX_EPOCH), Reason::NotYetValid);
    assert_refused(verify(started - 31 * second), Reason::NotYetValid);
    verify(started - 30 * second).unwrap();
    verify(started + 330 * second).unwrap();
    assert_refused(verify(started + 331 * second), Reason::Expired);
}

#[test]
fn limits_of_any_size_are_taken_as_they_are() {
    let json = document("eu-test-1").to_json();
    for seconds in [0, 1 << 40, u64::MAX] {
        let mut policy = Policy::default();
        policy.aws_max_document_age_seconds = Some(seconds);
        policy.leeway_seconds = seconds;
        signed_and_verified(policy, &json).unwrap();
    }
}

#[test]
fn an_age_limit_needs_a_date() {
    let mut policy = Policy::default();
    policy.aws_max_document_age_seconds = Some(300);
    for date in ["", "yesterday", "2026-01-01", "2026-01-01 12:00:00Z"] {
        let json = Document::new(ID, "eu-test-1", ACCOUNT, date).to_json();
        assert_refused(signed_and_verified(policy.clone(), &json), Reason::MalformedProof);
        signed_and_verified(Policy::default(), &json).unwrap();
    }
}

#[test]
fn a_genuine_document_may_name_no_instance() {
    for id in ["", "i-", "i-0123456789ABCDEF0", "\"\u{7}\n'", "7", "i-0123456789abcdef0\n"] {
        let json = Document::new(id, "eu-test-1", ACCOUNT, STARTED).to_json();
        let error = signed_and_verified(Policy::default(), &json).unwrap_err();
        assert_eq!(error.reason(), Reason::InvalidInstanceId);
        assert_eq!(error.instance_id(), Some(id));
    }
    for json in [
        r#"{"region":"eu-test-1"}"#,
        r#"{"region":"eu-test-1","instanceId":null}"#,
        r#"{"region":"eu-test-1","InstanceId":"i-0123456789abcdef0"}"#,
    ] {
        let error = signed_and_verified(Policy::default(), json).unwrap_err();
        assert_eq!(error.instance_id(), Some(""));
    }
}

#[test]
fn an_escaped_id_is_the_id_it_spells() {
    let json = r#"{"region":"eu-test-1","instanceId":"i-0123\u0061bcd"}"#;
    let instance = signed_and_verified(Policy::default(), json).unwrap();
    assert_eq!(instance.id().as_str(), "i-0123abcd");
}

#[test]
fn signed_bytes_that_are_not_a_document_are_refused() {
    for json in [
        r#""region":"eu-test-1""#,
        r#"["region", {"region":"eu-test-1"}]"#,
        r#"{"region":"eu-test-1","instanceId":7}"#,
        r#"{"region":"eu-test-1","instanceId":"i-0123abcd","instanceId":"i-0123abcd"}"#,
        r#"{"region":"eu-test-1","instanceId":"i-0123abcd","region":"eu-test-1"}"#,
        r#"{"region":"eu-test-1","instanceId":"i-0123abcd"}{}"#,
        r#"{"region":"eu-test-1","instanceId":"i-0123abcd""#,
        r#"{"region":["eu-test-1"],"tags":{"region":"eu-test-1"}}"#,
    ] {
        assert_refused(signed_and_verified(Policy::default(), json), Reason::MalformedProof);
    }
    // No key is tried for what names no region.
    for json in ["", "null", "1", r#"["123456789012"]"#, r#"{"region":["eu-test-1"]}"#] {
        assert_refused(signed_and_verified(Policy::default(), json), Reason::BadSignature);
    }
}

#[test]
fn sizes_are_capped_before_anything_is_read() {
    let verifier = Verifier::builtin();
    let large = " ".repeat(1 << 20);
    assert_refused(verify(&verifier, &large, "AAAA"), Reason::OversizedProof);
    assert_refused(verify(&verifier, "{}", &large), Reason::OversizedProof);
}

#[test]
fn a_signature_is_standard_base64_in_lines() {
    let cloud = Cloud::generate("eu-test-1");
    let verifier = Verifier::new(cloud.keys(), Policy::default());
    let json = document("eu-test-1").to_json();
    let lines = cloud.sign(json.as_bytes());
    assert_eq!(lines.lines().map(str::len).collect::<Vec<_>>(), [76, 76, 20]);
    for same in [lines.replace('\n', ""), lines.replace('\n', "\r\n"), format!("\n{lines}\r")] {
        verify(&verifier, &json, &same).unwrap();
    }
    for broken in [
        lines.replace('\n', " "),
        lines.replace('\n', "\t"),
        lines.replace('=', ""),
        format!("{lines}="),
        format!("{lines}AAAA"),
        format!(" {lines}"),
    ] {
        assert_refused(verify(&verifier, &json, &broken), Reason::MalformedProof);
    }
    for other in ["", "AAAA", "AA=="] {
        assert_refused(verify(&verifier, &json, other), Reason::BadSignature);
    }
}

#[test]
fn files_without_a_usable_key_are_refused_whole() {
    let good = Cloud::generate("eu-test-1").public_key_pem();
    let small = Cloud::generate_bits("eu-test-1", 1016).public_key_pem();
    let broken = good.replacen('M', "!", 1);
    for pem in [
        "",
        "no PEM at all",
        "-----BEGIN PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        &small,
        &broken,
        &format!("{good}{small}"),
        &good[..good.len() - 10],
    ] {
        let mut keys = Keys::none();
        let error = keys.add_pem("eu-test-1", pem.as_bytes()).unwrap_err();
        assert_eq!(error.reason(), Reason::InvalidTrust, "{pem}");
        assert_eq!(keys.iter().len(), 0);
    }
    for region in ["", "EU-TEST-1", "eu_test", "../x", &"x".repeat(65)] {
        Keys::none().add_pem(region, good.as_bytes()).unwrap_err();
    }
}

#[test]
fn several_keys_may_stand_in_one_file_with_text_around_them() {
    let (one, two) = (Cloud::generate("eu-test-1"), Cloud::generate("eu-test-1"));
    let pem = format!("one\r\n{}two\n{}end", one.certificate_pem(), two.public_key_pem());
    let mut keys = Keys::none();
    keys.add_pem("eu-test-1", pem.replace('\n', "\r\n").as_bytes()).unwrap();
    assert_eq!(keys.iter().len(), 2);
}

#[test]
fn debug_output_shows_nothing_of_a_proof() {
    let proof = SignedDocument { document: b"secret", signature: b"secret" };
    assert_eq!(format!("{proof:?}"), "SignedDocument { document: 6, signature: 6 }");
}

#[test]
fn misspelt_policies_are_refused() {
    for text in [r#"{"aws_allowed_account":["1"]}"#, r#"{"leeway":1}"#, r#"{"leeway_seconds":-1}"#]
    {
        serde_json::from_str::<Policy>(text).unwrap_err();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_answer_is_what_was_signed(id in "i-([0-9a-f]{8}|[0-9a-f]{17})", account in "[0-9]{12}") {
        let json = Document::new(&id, "eu-test-1", &account, STARTED).to_json();
        let instance = signed_and_verified(Policy::default(), &json).unwrap();
        prop_assert_eq!(instance.id().as_str(), id);
        let Claims::Aws(claims) = instance.claims() else { panic!("{instance:?}") };
        prop_assert_eq!(claims.account_id.as_deref(), Some(&*account));
    }

    #[test]
    fn any_other_document_is_refused(at_byte in any::<prop::sample::Index>(), flip in 1..=255_u8) {
        let cloud = Cloud::generate("eu-test-1");
        let json = document("eu-test-1").to_json();
        let signature = cloud.sign(json.as_bytes());
        let mut changed = json.into_bytes();
        let at_byte = at_byte.index(changed.len());
        changed[at_byte] ^= flip;
        let proof = SignedDocument { document: &changed, signature: signature.as_bytes() };
        let result = Verifier::new(cloud.keys(), Policy::default()).verify(&proof, at(STARTED));
        assert_refused(result, Reason::BadSignature);
    }

    #[test]
    fn arbitrary_bytes_are_refused(document in prop::collection::vec(any::<u8>(), 0..2000), signature in ".{0,300}") {
        let proof = SignedDocument { document: &document, signature: signature.as_bytes() };
        Verifier::builtin().verify(&proof, at(STARTED)).unwrap_err();
    }

    #[test]
    fn arbitrary_pem_never_panics(pem in "(-----BEGIN (CERTIFICATE|PUBLIC KEY)-----\n[A-Za-z0-9+/]{0,80}=?\n-----END (CERTIFICATE|PUBLIC KEY)-----\n?){0,3}") {
        Keys::none().add_pem("eu-test-1", pem.as_bytes()).unwrap_err();
    }
}
