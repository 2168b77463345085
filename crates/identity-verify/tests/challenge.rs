//! Nonces that test clouds sign into their proofs, through the public API

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use identity_verify::{
    Challenge, ChallengeKey, Policy, Reason, Rejection, VerifiedInstance,
    aws::{self, SignedDocument},
    azure::{AttestedData, Verifier},
    google::{self, IdentityToken},
    test_util::{
        at, aws as test_aws,
        azure::{Cloud, Document},
        google as test_google,
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
static GOOGLE: LazyLock<test_google::Cloud> = LazyLock::new(test_google::Cloud::generate);

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
    challenge: &Challenge,
    policy: Policy,
    proof: &str,
    now: SystemTime,
) -> Result<VerifiedInstance, Rejection> {
    // The data itself is good at any time.
    let verifier = Verifier::new(CLOUD.trust(), policy.azure_enforce_expires_on(false));
    let instance = verifier.examine(&AttestedData { signature: proof.as_bytes() }, at(NOW))?;
    challenge.demand(instance, now)
}

/// Verifies attested data that answers `nonce`, with the default policy
fn verify(
    challenge: Challenge,
    nonce: &str,
    now: SystemTime,
) -> Result<VerifiedInstance, Rejection> {
    verify_proof(&challenge, Policy::default(), &proof(nonce), now)
}

/// Verifies an identity token with this audience, where `demanded` is the policy's
fn verify_audience(
    demanded: &str,
    audience: &serde_json::Value,
    now: SystemTime,
) -> Result<VerifiedInstance, Rejection> {
    let claims = test_google::Claims::new("7", "project", "", at(NOW));
    let token = GOOGLE.sign(&claims.with("/aud", audience.clone()).to_json());
    let policy = serde_json::from_value(serde_json::json!({ "google_audience": demanded }));
    let verifier = google::Verifier::new(policy.unwrap());
    let proof = IdentityToken { token: token.as_bytes() };
    challenge().demand(verifier.examine(&proof, now, &GOOGLE.jwks())?, now)
}

#[track_caller]
fn assert_refused(result: Result<VerifiedInstance, Rejection>, reason: Reason) {
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
    signer.update(b"identity-verify nonce 1\0").unwrap();
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
    for (challenge, leeway) in
        [(challenge(), 60 * SECOND), (challenge().leeway_seconds(0), Duration::ZERO)]
    {
        let verify = |now| verify_proof(&challenge, Policy::default(), &proof, now);
        let (begin, end) = (at(NOW) - leeway, at(NOW) + Duration::from_secs(LIFETIME) + leeway);
        verify(begin).unwrap();
        assert_refused(verify(begin - SECOND), Reason::NotYetValid);
        verify(end).unwrap();
        assert_refused(verify(end + Duration::from_nanos(1)), Reason::NonceExpired);
        assert_refused(verify(end + SECOND), Reason::NonceExpired);
    }
}

#[test]
fn what_was_not_issued_is_refused() {
    let nonce = challenge().issue(at(NOW));
    let long = format!("{nonce}0");
    let signed = format!("+{}", &nonce[1..]);
    for other in [
        "6955b900",
        "20260101-0600001",
        "00000000000000000000000000000000",
        "ffffffffffffffffffffffffffffffff",
        "ééééééééé",
        &nonce[..31],
        &nonce[1..],
        &nonce.to_ascii_uppercase(),
        &signed,
        &challenge_of([8; 32]).issue(at(NOW)),
    ] {
        assert_refused(verify(challenge(), other, at(NOW)), Reason::NonceMismatch);
    }
    let json =
        format!(r#"{{"vmId":"{ID}","timeStamp":{{"expiresOn":"01/01/26 06:00:00 -0000"}}}}"#);
    let without = CLOUD.sign(json.as_bytes());
    let result = verify_proof(&challenge(), Policy::default(), &without, at(NOW));
    assert_refused(result, Reason::NonceMissing);
    // The second is Azure's own, where none was asked for.
    for none in ["", "20260101-060000", &long] {
        assert_refused(verify(challenge(), none, at(NOW)), Reason::NonceMissing);
    }
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
    let policy = |expected: &str| Policy::default().azure_expected_nonce(expected);
    let verify =
        |expected: &str| verify_proof(&challenge(), policy(expected), &proof(&nonce), at(NOW));
    verify(&nonce).unwrap();
    assert_refused(verify("a1B2"), Reason::NonceMismatch);
    let result = verify_proof(&challenge(), policy("a1B2"), &proof("a1B2"), at(NOW));
    assert_refused(result, Reason::NonceMismatch);
}

#[test]
fn the_nonce_of_a_google_token_stands_behind_the_exact_audience() {
    let nonce = challenge().issue(at(NOW));
    let other = challenge_of([8; 32]).issue(at(NOW));
    let with = |audience: &str, nonce: &str| Challenge::audience(audience, nonce);
    let url = "https://coder.example/a?b=c";
    assert_eq!(with("coder", "1f"), "coder?nonce=1f");
    for demanded in ["coder", url] {
        for (audience, expected) in [
            (with(demanded, &nonce), Ok(())),
            (with(demanded, &other), Err(Reason::NonceMismatch)),
            (with(demanded, "a1B2"), Err(Reason::NonceMismatch)),
            (demanded.to_owned(), Err(Reason::NonceMissing)),
            (with(demanded, ""), Err(Reason::AudienceMismatch)),
            (with("another", &nonce), Err(Reason::AudienceMismatch)),
            (with(&with(demanded, &nonce), &nonce), Err(Reason::AudienceMismatch)),
            (with(demanded, &format!("{nonce}0")), Err(Reason::AudienceMismatch)),
            (with(demanded, &format!("{nonce} ")), Err(Reason::AudienceMismatch)),
            (format!("{demanded}?nonce{nonce}"), Err(Reason::AudienceMismatch)),
            (format!("{demanded}&nonce={nonce}"), Err(Reason::AudienceMismatch)),
            (format!("{demanded} ?nonce={nonce}"), Err(Reason::AudienceMismatch)),
            (format!("x{demanded}?nonce={nonce}"), Err(Reason::AudienceMismatch)),
        ] {
            let result = verify_audience(demanded, &audience.clone().into(), at(NOW));
            let found = result.map(drop).map_err(|rejection| rejection.reason());
            assert_eq!(found, expected, "{audience}");
            let any = verify_audience("*", &audience.clone().into(), at(NOW));
            let is_answer = audience.ends_with(&format!("?nonce={nonce}"));
            assert_eq!(any.is_ok(), is_answer, "{audience}");
        }
    }
    let list = serde_json::json!(["another", with("coder", &nonce)]);
    verify_audience("coder", &list, at(NOW)).unwrap();
    let late = at(NOW) + Duration::from_secs(LIFETIME + 61);
    let result = verify_audience("coder", &with("coder", &nonce).into(), late);
    assert_refused(result, Reason::NonceExpired);
}

#[test]
fn an_audience_of_ours_that_looks_like_an_answer_has_no_nonce() {
    let nonce = challenge().issue(at(NOW));
    let demanded = Challenge::audience("coder", &nonce);
    let result = verify_audience(&demanded, &demanded.clone().into(), at(NOW));
    assert_refused(result, Reason::NonceMissing);
}

#[test]
fn documents_of_aws_never_answer() {
    let cloud = test_aws::Cloud::generate("eu-test-1");
    let document = test_aws::Document::new("i-0123abcd", "eu-test-1", "123456789012", NOW);
    let document = document.to_json();
    let signature = cloud.sign(document.as_bytes());
    let proof = SignedDocument { document: document.as_bytes(), signature: signature.as_bytes() };
    let verifier = aws::Verifier::new(cloud.keys(), Policy::default());
    let instance = verifier.verify(&proof, at(NOW)).unwrap();
    assert_eq!(instance.nonce(), None);
    let rejection = challenge().demand(instance, at(NOW)).unwrap_err();
    assert_eq!(rejection.to_string(), "the proof has no nonce");
    assert_eq!(rejection.claimed().instance_id(), Some("i-0123abcd"));
    assert_eq!(rejection.denied().unwrap().setting(), "require_nonce");
    assert!(rejection.is_genuine());
}

#[test]
fn debug_output_shows_nothing_of_a_key() {
    let text = format!("{:?}", challenge().also_accepting(ChallengeKey::new(&[9; 32])));
    let expected = "Challenge { key: ChallengeKey { .. }, other_keys: [ChallengeKey { .. }], \
                    lifetime_seconds: 300, leeway_seconds: 60 }";
    assert_eq!(text, expected);
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
        let reason = verify(challenge(), &nonce, at(NOW)).unwrap_err().reason();
        prop_assert!(matches!(reason, Reason::NonceMismatch | Reason::NonceMissing));
    }
}
