//! Proofs of test clouds that are shown again, through the public API

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{
    collections::BTreeMap,
    error::Error as _,
    num::NonZeroUsize,
    sync::{Arc, LazyLock},
    thread,
    time::{Duration, SystemTime},
};

use identity_verify::{
    DynPins, Error, MemoryPins, PinRule, Pins, PinsUnavailable, Policy, Reason, Sighting,
    VerifiedInstance, aws, azure, google,
    test_util::{self, at},
};
use proptest::prelude::*;

const AWS: &str = "i-0123456789abcdef0";
const AZURE: &str = "11111111-2222-4333-8444-55555555555a";
const GOOGLE: &str = "8087716956832600000";
const NOW: &str = "2026-01-01T12:00:00Z";
const BUILD: &str = "build 1";
const RULES: [PinRule; 2] = [PinRule::NotOlder, PinRule::Newer];
const SECOND: Duration = Duration::from_secs(1);

/// Keys take long to make, so all tests share these
static AWS_CLOUD: LazyLock<test_util::aws::Cloud> =
    LazyLock::new(|| test_util::aws::Cloud::generate("eu-test-1"));
static AZURE_CLOUD: LazyLock<test_util::azure::Cloud> =
    LazyLock::new(test_util::azure::Cloud::generate);
static GOOGLE_CLOUD: LazyLock<test_util::google::Cloud> =
    LazyLock::new(test_util::google::Cloud::generate);

/// An AWS instance that was last started at `pending_time`
fn aws(id: &str, pending_time: &str) -> VerifiedInstance {
    let json =
        test_util::aws::Document::new(id, "eu-test-1", "123456789012", pending_time).to_json();
    let signature = AWS_CLOUD.sign(json.as_bytes());
    let proof = aws::SignedDocument { document: json.as_bytes(), signature: signature.as_bytes() };
    aws::Verifier::new(AWS_CLOUD.keys(), Policy::default()).verify(&proof, at(NOW)).unwrap()
}

/// An Azure machine whose attested data was made at `created_on`, in Azure's form
fn azure(created_on: &str) -> VerifiedInstance {
    let (subscription, end) = ("99999999-0000-4000-8000-000000000000", "01/01/26 18:00:00 -0000");
    let document = test_util::azure::Document::new(AZURE, subscription, created_on, end);
    let signature = AZURE_CLOUD.sign(document.to_json().as_bytes());
    let proof = azure::AttestedData { signature: signature.as_bytes() };
    azure::Verifier::new(AZURE_CLOUD.trust(), Policy::default()).verify(&proof, at(NOW)).unwrap()
}

/// A Google instance whose token was made at `issued`
fn google(issued: SystemTime) -> VerifiedInstance {
    let claims = test_util::google::Claims::new(GOOGLE, "example-project", "coder", issued);
    let token = GOOGLE_CLOUD.sign(&claims.to_json());
    let proof = google::IdentityToken { token: token.as_bytes() };
    google::Verifier::default().verify(&proof, at(NOW), &GOOGLE_CLOUD.jwks()).unwrap()
}

/// An older and a newer proof of one instance of each cloud
fn older_and_newer() -> [[VerifiedInstance; 2]; 3] {
    [
        [aws(AWS, "2026-01-01T11:59:59Z"), aws(AWS, "2026-01-01T12:00:00Z")],
        [azure("01/01/26 11:59:59 -0000"), azure("01/01/26 12:00:00 -0000")],
        [google(at(NOW) - SECOND), google(at(NOW))],
    ]
}

fn pins(capacity: usize) -> MemoryPins {
    MemoryPins::new(NonZeroUsize::new(capacity).unwrap())
}

fn admit(rule: PinRule, pins: &impl Pins, instance: &VerifiedInstance) -> Result<(), Reason> {
    admit_for(BUILD, rule, pins, instance)
}

fn admit_for(
    purpose: &str,
    rule: PinRule,
    pins: &impl Pins,
    instance: &VerifiedInstance,
) -> Result<(), Reason> {
    let result = block_on(rule.admit(instance, purpose, at(NOW), pins));
    result.map_err(|error| error.reason())
}

#[test]
fn the_signed_moment_is_returned() {
    for [older, newer] in older_and_newer() {
        assert_eq!(older.signed_at(), Some(at(NOW) - SECOND));
        assert_eq!(newer.signed_at(), Some(at(NOW)));
    }
}

#[test]
fn a_proof_can_be_shown_again_unless_each_moment_counts_once() {
    for [_, proof] in older_and_newer() {
        let pins = pins(1);
        for _ in 0..3 {
            admit(PinRule::NotOlder, &pins, &proof).unwrap();
        }
        assert_eq!(admit(PinRule::Newer, &pins, &proof), Err(Reason::Replayed));
    }
}

#[test]
fn a_newer_proof_moves_the_pin_and_an_older_one_is_a_replay() {
    for rule in RULES {
        for [older, newer] in older_and_newer() {
            let pins = pins(1);
            admit(rule, &pins, &older).unwrap();
            admit(rule, &pins, &newer).unwrap();
            assert_eq!(admit(rule, &pins, &older), Err(Reason::Replayed));
            // What is refused moves nothing.
            assert_eq!(admit(rule, &pins, &older), Err(Reason::Replayed));
            admit(PinRule::NotOlder, &pins, &newer).unwrap();
        }
    }
}

#[test]
fn moments_are_compared_to_the_last_digit() {
    let pins = pins(1);
    admit(PinRule::Newer, &pins, &aws(AWS, "2026-01-01T11:00:00.000000001Z")).unwrap();
    admit(PinRule::Newer, &pins, &aws(AWS, "2026-01-01T11:00:00.000000002Z")).unwrap();
    let older = aws(AWS, "2026-01-01T11:00:00.000000001Z");
    assert_eq!(admit(PinRule::NotOlder, &pins, &older), Err(Reason::Replayed));
    // The same moment in another zone
    let same = aws(AWS, "2026-01-01T13:00:00.000000002+02:00");
    admit(PinRule::NotOlder, &pins, &same).unwrap();
    assert_eq!(admit(PinRule::Newer, &pins, &same), Err(Reason::Replayed));
}

#[test]
fn instances_and_purposes_are_apart() {
    let pins = pins(8);
    let [older, newer] = [aws(AWS, "2026-01-01T11:00:00Z"), aws(AWS, NOW)];
    admit(PinRule::Newer, &pins, &newer).unwrap();
    admit(PinRule::Newer, &pins, &aws("i-0123456789abcdef1", "2026-01-01T11:00:00Z")).unwrap();
    admit(PinRule::Newer, &pins, &azure("01/01/26 11:00:00 -0000")).unwrap();
    admit(PinRule::Newer, &pins, &google(at(NOW) - 60 * SECOND)).unwrap();
    admit_for("build 2", PinRule::Newer, &pins, &older).unwrap();
    admit_for("", PinRule::Newer, &pins, &older).unwrap();
    assert_eq!(pins.count(), 6);
    assert_eq!(admit(PinRule::Newer, &pins, &older), Err(Reason::Replayed));
}

#[test]
fn a_proof_without_a_moment_is_refused() {
    for (instance, claim) in
        [(aws(AWS, "yesterday"), "pendingTime"), (azure("2026-01-01"), "createdOn")]
    {
        assert_eq!(instance.signed_at(), None);
        for rule in RULES {
            let pins = pins(1);
            let error = block_on(rule.admit(&instance, BUILD, at(NOW), &pins)).unwrap_err();
            assert_eq!(error, Error::MissingClaim { claim });
            assert_eq!(pins.count(), 0);
        }
    }
}

#[test]
fn of_proofs_at_once_each_moment_counts_once() {
    let (pins, proof) = (pins(4), aws(AWS, NOW));
    let admitted = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..16).map(|_| scope.spawn(|| admit(PinRule::Newer, &pins, &proof).is_ok())).collect();
        threads.into_iter().map(|t| t.join().unwrap()).filter(|ok| *ok).count()
    });
    assert_eq!(admitted, 1);
}

#[test]
fn full_memory_forgets_what_was_admitted_longest_ago() {
    let pins = pins(2);
    let [a, b, c] = ["i-0000000a", "i-0000000b", "i-0000000c"].map(|id| aws(id, NOW));
    let old_a = aws("i-0000000a", "2026-01-01T11:00:00Z");
    let admit = |rule: PinRule, instance: &VerifiedInstance, after: u32| {
        let now = at(NOW) + SECOND * after;
        block_on(rule.admit(instance, BUILD, now, &pins)).map_err(|error| error.reason())
    };
    admit(PinRule::NotOlder, &a, 0).unwrap();
    admit(PinRule::NotOlder, &b, 1).unwrap();
    admit(PinRule::NotOlder, &a, 2).unwrap();
    // A refusal is not an admission: `b` is still the oldest.
    assert_eq!(admit(PinRule::Newer, &b, 3), Err(Reason::Replayed));
    admit(PinRule::NotOlder, &c, 4).unwrap();
    assert_eq!(pins.count(), 2);
    assert_eq!(admit(PinRule::NotOlder, &old_a, 5), Err(Reason::Replayed));
    admit(PinRule::Newer, &b, 6).unwrap();
    assert_eq!(pins.count(), 2);
    // Now `a` was the oldest.
    admit(PinRule::NotOlder, &old_a, 7).unwrap();
    assert_eq!(format!("{pins:?}"), "MemoryPins { capacity: 2, count: 2 }");
}

#[test]
fn storage_of_the_callers_own_sees_what_was_verified_and_may_fail() {
    #[derive(Debug, thiserror::Error)]
    #[error("the disk is full")]
    struct Full;
    struct Own(bool);
    impl Pins for Own {
        async fn renew(
            &self,
            sighting: &Sighting<'_>,
            rule: PinRule,
            now: SystemTime,
        ) -> Result<bool, PinsUnavailable> {
            assert_eq!((sighting.instance.as_str(), sighting.purpose), (AWS, BUILD));
            assert_eq!(sighting.signed_at, at("2026-01-01T11:00:00Z"));
            assert_eq!((rule, now), (PinRule::NotOlder, at(NOW)));
            if self.0 { Ok(true) } else { Err(PinsUnavailable::because(Full)) }
        }
    }
    let proof = aws(AWS, "2026-01-01T11:00:00Z");
    admit(PinRule::NotOlder, &Own(true), &proof).unwrap();
    let refused = admit(PinRule::NotOlder, &Own(false), &proof);
    assert_eq!(refused, Err(Reason::PinsUnavailable));

    // The reason is the source, also through a reference, an `Arc` and a trait object.
    let own: Arc<dyn DynPins> = Arc::new(Own(false));
    for refused in [
        block_on(PinRule::NotOlder.admit(&proof, BUILD, at(NOW), &&Own(false))),
        block_on(PinRule::NotOlder.admit(&proof, BUILD, at(NOW), &Arc::new(Own(false)))),
        block_on(PinRule::NotOlder.admit(&proof, BUILD, at(NOW), &own)),
        block_on(PinRule::NotOlder.admit(&proof, BUILD, at(NOW), &*own)),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.to_string(), "the pins are unavailable");
        assert_eq!(error.source().unwrap().to_string(), "the disk is full");
        let Error::PinsUnavailable { source: Some(cause) } = error else { panic!("{error:?}") };
        assert!(cause.get().is::<Full>());
    }
    let sighting = Sighting::new(proof.id(), BUILD, at("2026-01-01T11:00:00Z"));
    assert!(block_on(own.renew_boxed(&sighting, PinRule::NotOlder, at(NOW))).is_err());
}

/// Runs a future that never waits, and that may move between threads
fn block_on<T>(future: impl Future<Output = T> + Send) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("the future waits"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_admitted_is_never_older_than_what_was(
        shown in prop::collection::vec((0..3_usize, 0..6_u64, any::<bool>()), 1..40),
    ) {
        let proofs = &*PROOFS;
        let pins = pins(3);
        let mut newest = BTreeMap::new();
        for (instance, second, once) in shown {
            let rule = if once { PinRule::Newer } else { PinRule::NotOlder };
            let expected = match newest.get(&instance) {
                None => true,
                Some(&pin) => if once { second > pin } else { second >= pin },
            };
            let result = admit(rule, &pins, &proofs[&(instance, second)]);
            prop_assert_eq!(result, if expected { Ok(()) } else { Err(Reason::Replayed) });
            if expected {
                newest.insert(instance, second);
            }
        }
    }
}

/// Proofs of three instances, each at six seconds
static PROOFS: LazyLock<BTreeMap<(usize, u64), VerifiedInstance>> = LazyLock::new(|| {
    let all = (0..3).flat_map(|instance| (0..6).map(move |second| (instance, second)));
    all.map(|(instance, second)| {
        let proof = aws(&format!("i-0000000{instance}"), &format!("2026-01-01T11:00:0{second}Z"));
        ((instance, second), proof)
    })
    .collect()
});
