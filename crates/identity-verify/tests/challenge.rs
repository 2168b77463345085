//! Nonces that a test Azure signs into attested data, through the public API

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use identity_verify::{
    Error, Policy, Reason, VerifiedInstance,
    azure::{AttestedData, Challenge, ChallengeKey, FetchIssuer, IssuerUrl, Verifier},
    test_util::{
        at,
        azure::{Cloud, Document},
    },
};
use openssl::{hash::MessageDigest, pkey::PKey, sign::Signer};
use proptest::prelude::*;

const ID: &str = "11111111-2222-4333-8444-55555555555a";
const SUBSCRIPTION: &str = "99999999-0000-4000-8000-000000000000";
const NOW: &str = "2026-01-01T00:00:00Z";
const SECRET: [u8; 32] = [7; 32];
const LIFETIME: u64 = 300;
const SECOND: Duration = Duration::from_secs(1);

/// Keys take long to make, so all tests share these
static CLOUD: LazyLock<Cloud> = LazyLock::new(Cloud::generate);

fn challenge() -> Challenge {
    challenge_of(SECRET)
}

fn challenge_of(secret: [u8; 32]) -> Challenge {
    Challenge::new(ChallengeKey::new(&secret), LIFETIME)
}

/// Attested data that answers `nonce`
fn proof(nonce: &str) -> String {
    let (created, expires) = ("01/01/26 00:00:00 -0000", "01/01/26 06:00:00 -0000");
    let mut document = Document::new(ID, SUBSCRIPTION, created, expires);
    document.nonce = nonce.to_owned();
    CLOUD.sign(document.to_json().as_bytes())
}

fn verify_proof(
    challenge: Challenge,
    policy: &str,
    proof: &str,
    now: SystemTime,
) -> Result<VerifiedInstance, Error> {
    let policy = serde_json::from_str(policy).unwrap();
    let verifier = Verifier::new(CLOUD.trust(), policy).with_challenge(challenge);
    verifier.verify(&AttestedData { signature: proof.as_bytes() }, now)
}

/// Verifies attested data that answers `nonce`, with the default policy
fn verify(challenge: Challenge, nonce: &str, now: SystemTime) -> Result<VerifiedInstance, Error> {
    verify_proof(challenge, "{}", &proof(nonce), now)
}

#[track_caller]
fn assert_refused(result: Result<VerifiedInstance, Error>, reason: Reason) {
    assert_eq!(result.map_err(|error| error.reason()), Err(reason));
}

#[test]
fn an_issued_nonce_is_recognized() {
    let nonce = challenge().issue(at(NOW));
    assert_eq!(nonce.len(), 32);
    assert!(nonce.bytes().all(|b| b.is_ascii_alphanumeric()), "{nonce}");
    let instance = verify(challenge(), &nonce, at(NOW)).unwrap();
    assert_eq!(instance.id().as_str(), ID);
}

#[test]
fn a_nonce_is_the_second_and_half_of_a_mac() {
    let seconds = [0x69, 0x55, 0xb9, 0x00];
    let key = PKey::hmac(&SECRET).unwrap();
    let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
    signer.update(b"identity-verify azure nonce 1\0").unwrap();
    signer.update(&seconds).unwrap();
    let tag = signer.sign_to_vec().unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let expected = hex(&seconds) + &hex(&tag[..12]);
    assert_eq!(challenge().issue(at(NOW)), expected);
    assert_eq!(challenge().issue(at("2026-01-01T00:00:00.999Z")), expected);
    assert_ne!(challenge().issue(at("2026-01-01T00:00:01Z")), expected);
}

#[test]
fn a_nonce_is_valid_to_the_second_give_or_take_the_leeway() {
    let nonce = challenge().issue(at(NOW));
    let proof = proof(&nonce);
    for (policy, leeway) in [("{}", 60 * SECOND), (r#"{"leeway_seconds":0}"#, Duration::ZERO)] {
        let verify = |now| verify_proof(challenge(), policy, &proof, now);
        let (begin, end) = (at(NOW) - leeway, at(NOW) + Duration::from_secs(LIFETIME) + leeway);
        verify(begin).unwrap();
        assert_refused(verify(begin - SECOND), Reason::NotYetValid);
        verify(end).unwrap();
        assert_refused(verify(end + Duration::from_nanos(1)), Reason::Expired);
        assert_refused(verify(end + SECOND), Reason::Expired);
    }
}

#[test]
fn what_was_not_issued_is_refused() {
    let nonce = challenge().issue(at(NOW));
    let long = format!("{nonce}0");
    let signed = format!("+{}", &nonce[1..]);
    for other in [
        "",
        "6955b900",
        // Azure's own, where none was asked for
        "20260101-060000",
        "00000000000000000000000000000000",
        "ffffffffffffffffffffffffffffffff",
        "ééééééééé",
        &nonce[..31],
        &nonce[1..],
        &nonce.to_ascii_uppercase(),
        &long,
        &signed,
        &challenge_of([8; 32]).issue(at(NOW)),
    ] {
        assert_refused(verify(challenge(), other, at(NOW)), Reason::NonceMismatch);
    }
    let json =
        format!(r#"{{"vmId":"{ID}","timeStamp":{{"expiresOn":"01/01/26 06:00:00 -0000"}}}}"#);
    let without = CLOUD.sign(json.as_bytes());
    assert_refused(verify_proof(challenge(), "{}", &without, at(NOW)), Reason::NonceMismatch);
}

#[test]
fn a_replaced_key_is_accepted_as_long_as_it_is_named() {
    let [old, new, other] = [[1; 32], [2; 32], [3; 32]];
    let rotated = || challenge_of(new).also_accepting(ChallengeKey::new(&old));
    assert_eq!(rotated().issue(at(NOW)), challenge_of(new).issue(at(NOW)));
    for (secret, known) in [(old, true), (new, true), (other, false)] {
        let result = verify(rotated(), &challenge_of(secret).issue(at(NOW)), at(NOW));
        if known {
            result.unwrap();
        } else {
            assert_refused(result, Reason::NonceMismatch);
        }
    }
    let former = challenge_of(old).issue(at(NOW));
    assert_refused(verify(challenge_of(new), &former, at(NOW)), Reason::NonceMismatch);
}

#[test]
fn times_that_a_nonce_cannot_tell_are_refused() {
    let before = SystemTime::UNIX_EPOCH - SECOND;
    for time in [before, SystemTime::UNIX_EPOCH, at("2106-02-07T06:28:16Z")] {
        let nonce = challenge().issue(time);
        assert_refused(verify(challenge(), &nonce, at(NOW)), Reason::NonceMismatch);
    }
    let last = challenge().issue(at("2106-02-07T06:28:15Z"));
    assert_refused(verify(challenge(), &last, at(NOW)), Reason::NotYetValid);
}

#[test]
fn the_policys_nonce_is_demanded_as_well() {
    let nonce = challenge().issue(at(NOW));
    let policy = |expected: &str| format!(r#"{{"azure_expected_nonce":"{expected}"}}"#);
    let verify =
        |expected: &str| verify_proof(challenge(), &policy(expected), &proof(&nonce), at(NOW));
    verify(&nonce).unwrap();
    assert_refused(verify("a1B2"), Reason::NonceMismatch);
    let result = verify_proof(challenge(), &policy("a1B2"), &proof("a1B2"), at(NOW));
    assert_refused(result, Reason::NonceMismatch);
}

#[test]
fn it_is_demanded_where_issuers_are_fetched_too() {
    struct Nothing;
    impl FetchIssuer for Nothing {
        async fn fetch(&self, _: &IssuerUrl, _: SystemTime) -> Option<Vec<u8>> {
            None
        }
    }
    let verifier = Verifier::new(CLOUD.trust(), Policy::default()).with_challenge(challenge());
    let verify = |nonce: &str| {
        let proof = proof(nonce);
        let proof = AttestedData { signature: proof.as_bytes() };
        block_on(verifier.verify_with(&proof, at(NOW), &Nothing))
    };
    verify(&challenge().issue(at(NOW))).unwrap();
    assert_refused(verify("a1B2"), Reason::NonceMismatch);
}

#[test]
fn a_bad_signature_is_reported_before_a_bad_nonce() {
    let other = Cloud::generate();
    let verifier = Verifier::new(other.trust(), Policy::default()).with_challenge(challenge());
    let proof = proof("a1B2");
    let result = verifier.verify(&AttestedData { signature: proof.as_bytes() }, at(NOW));
    assert_refused(result, Reason::UntrustedSigner);
}

#[test]
fn debug_output_shows_nothing_of_a_key() {
    let text = format!("{:?}", challenge().also_accepting(ChallengeKey::new(&[9; 32])));
    let expected = "Challenge { key: ChallengeKey { .. }, former_keys: [ChallengeKey { .. }], \
                    lifetime_seconds: 300 }";
    assert_eq!(text, expected);
}

/// Runs a future that never waits
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the future waits"),
    }
}

/// What Azure accepts in a nonce
const ALPHABET: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_issued_nonce_is_accepted_while_it_is_valid(secret: [u8; 32], age in 0..=LIFETIME) {
        let issued = at(NOW) + Duration::from_secs(3_600 - age);
        let nonce = challenge_of(secret).issue(issued);
        verify(challenge_of(secret), &nonce, at(NOW) + 3_600 * SECOND).unwrap();
    }

    #[test]
    fn no_changed_nonce_is_accepted(at_digit in 0..32_usize, steps in 1..ALPHABET.len()) {
        let mut nonce = challenge().issue(at(NOW));
        let digit = ALPHABET.find(&nonce[at_digit..=at_digit]).unwrap();
        let other = (digit + steps) % ALPHABET.len();
        nonce.replace_range(at_digit..=at_digit, &ALPHABET[other..=other]);
        assert_refused(verify(challenge(), &nonce, at(NOW)), Reason::NonceMismatch);
    }

    #[test]
    fn no_other_text_is_accepted(nonce in "(6955b9[0-9a-f]{26}|[0-9A-Za-z]{0,33}|.{0,40})") {
        assert_refused(verify(challenge(), &nonce, at(NOW)), Reason::NonceMismatch);
    }
}
