//! Nonces that the control plane demands in proofs

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agent_token::Cloud;
use identity_verify::test_util::server::{Answer, Request};
use serde_json::{Value, json};

use crate::world::{CLOUDS, TOKEN, World, complaint, first_request, page, sign_in_path, spoil};

const CHALLENGE: &str = "/api/v2/authd/instance-identity/challenge";

/// Issues the nonces `nonce1`, `nonce2` and so on for `clouds`; returns how many it issued
fn issue(world: &World, clouds: &[&str]) -> Arc<AtomicUsize> {
    let issued = Arc::<AtomicUsize>::default();
    let (counted, clouds) = (Arc::clone(&issued), json!(clouds));
    world.control_plane.on("POST", CHALLENGE, move |_| {
        let nonce = format!("nonce{}", counted.fetch_add(1, Ordering::SeqCst) + 1);
        let body = json!({ "nonce": nonce, "lifetime_seconds": 300, "clouds": clouds });
        Answer::ok(&body.to_string())
    });
    issued
}

/// The requests for proofs, the newest last
fn proofs(world: &World, cloud: Cloud) -> Vec<Request> {
    let (_, path) = first_request(cloud);
    world.metadata.requests().into_iter().filter(|request| request.path == path).collect()
}

/// The nonces in the requests for proofs
fn nonces(world: &World, cloud: Cloud) -> Vec<Option<String>> {
    let nonce = |request: &Request| match cloud {
        Cloud::Google => {
            let audience = request.query("audience").unwrap();
            let nonce = audience.strip_prefix("coder").unwrap();
            (!nonce.is_empty()).then(|| nonce.strip_prefix("?nonce=").unwrap().to_owned())
        }
        _ => request.query("nonce"),
    };
    proofs(world, cloud).iter().map(nonce).collect()
}

fn refusal(detail: &str) -> Answer {
    let body = json!({ "message": "Invalid identity.", "detail": detail }).to_string();
    Answer { body: body.into_bytes(), ..Answer::status(401) }
}

#[tokio::test]
async fn a_nonce_is_passed_to_the_metadata_services_of_the_clouds_that_have_one() {
    for cloud in [Cloud::Azure, Cloud::Google] {
        for auto in [false, true] {
            let world = World::of(cloud);
            issue(&world, &["azure", "google"]);
            let machine = if auto { world.machine_of_any_cloud() } else { world.machine(cloud) };
            assert_eq!(machine.sign_in().await.unwrap().reveal(), TOKEN);
            assert_eq!(nonces(&world, cloud).pop(), Some(Some("nonce1".to_owned())), "{cloud}");
        }
    }
    let world = World::of(Cloud::Aws);
    let issued = issue(&world, &["azure", "google"]);
    world.machine(Cloud::Aws).sign_in().await.unwrap();
    assert_eq!(issued.load(Ordering::SeqCst), 0, "its documents have no nonce");
}

#[tokio::test]
async fn a_nonce_is_for_the_clouds_that_are_named() {
    for (cloud, other) in [(Cloud::Azure, "google"), (Cloud::Google, "azure")] {
        let world = World::of(cloud);
        issue(&world, &[other, "Azure", "GOOGLE"]);
        world.machine(cloud).sign_in().await.unwrap();
        assert_eq!(nonces(&world, cloud), [None], "{cloud}");
    }
}

#[tokio::test]
async fn without_a_challenge_a_machine_signs_in_as_before() {
    let with_nonce = |nonce: Value| {
        Answer::ok(&json!({ "nonce": nonce, "clouds": ["azure", "google"] }).to_string())
    };
    for cloud in CLOUDS {
        for (what, answer) in [
            ("not found", Answer::status(404)),
            ("another method", Answer::status(405)),
            ("not signed in", Answer::status(401)),
            ("a redirect", Answer::status(307).with_header("Location", "https://elsewhere.test")),
            ("broken", Answer::status(500)),
            ("busy", Answer::status(503).with_header("Retry-After", "3600")),
            ("a page", page()),
            ("nothing", Answer::ok("")),
            ("no nonce", Answer::ok("{}")),
            ("a list", Answer::ok("[]")),
            ("a number", with_nonce(7.into())),
            ("an empty nonce", with_nonce("".into())),
            ("a long nonce", with_nonce("a".repeat(33).into())),
            ("another parameter", with_nonce("a&api-version=2018".into())),
            ("a line", with_nonce("a\r\nHost: b".into())),
            ("no list of clouds", Answer::ok(r#"{"nonce":"a1"}"#)),
        ] {
            let world = World::of(cloud);
            world.control_plane.on("POST", CHALLENGE, move |_| answer.clone());
            let token = world.machine(cloud).sign_in().await;
            assert_eq!(token.unwrap().reveal(), TOKEN, "{cloud}: {what}");
            if cloud != Cloud::Aws {
                assert_eq!(nonces(&world, cloud), [None], "{cloud}: {what}");
            }
        }
    }
}

#[tokio::test]
async fn a_nonce_that_is_refused_is_replaced() {
    for cloud in [Cloud::Azure, Cloud::Google] {
        for detail in ["nonce_missing", "nonce_mismatch", "nonce_expired"] {
            let world = World::of(cloud);
            issue(&world, &["azure", "google"]);
            let sign_in = sign_in_path(cloud);
            spoil(&world.control_plane, ("POST", &sign_in), 2, move |_| refusal(detail));
            world.machine(cloud).sign_in().await.unwrap();
            let expected = ["nonce1", "nonce2", "nonce3"].map(|nonce| Some(nonce.to_owned()));
            assert_eq!(nonces(&world, cloud), expected, "{cloud}: {detail}");
        }
    }
}

#[tokio::test]
async fn other_refusals_are_final() {
    for detail in ["expired", "nonce", ""] {
        let world = World::of(Cloud::Azure);
        let issued = issue(&world, &["azure"]);
        let sign_in = sign_in_path(Cloud::Azure);
        spoil(&world.control_plane, ("POST", &sign_in), usize::MAX, move |_| refusal(detail));
        let complaint = complaint(&world.machine(Cloud::Azure)).await;
        assert!(complaint.contains("401"), "{complaint}");
        assert_eq!(issued.load(Ordering::SeqCst), 1, "{detail}");
    }
}

/// Another agent of the machine may have presented a newer proof meanwhile
#[tokio::test]
async fn a_proof_that_is_too_old_is_fetched_again_once_there_is_a_newer_one() {
    let world = World::of(Cloud::Azure);
    let sign_in = sign_in_path(Cloud::Azure);
    spoil(&world.control_plane, ("POST", &sign_in), 1, |_| refusal("replayed"));
    world.machine(Cloud::Azure).sign_in().await.unwrap();
    assert_eq!(proofs(&world, Cloud::Azure).len(), 2);

    for cloud in [Cloud::Aws, Cloud::Azure] {
        let world = World::of(cloud);
        let sign_in = sign_in_path(cloud);
        spoil(&world.control_plane, ("POST", &sign_in), usize::MAX, |_| refusal("replayed"));
        let complaint = complaint(&world.machine(cloud)).await;
        assert!(complaint.contains("401") && complaint.contains("(replayed)"), "{complaint}");
        assert_eq!(world.sign_ins().len(), 2, "{cloud}: the second proof is the same");
    }
}

#[tokio::test]
async fn a_control_plane_that_demands_a_nonce_and_issues_none_is_named() {
    let world = World::of(Cloud::Azure);
    let sign_in = sign_in_path(Cloud::Azure);
    spoil(&world.control_plane, ("POST", &sign_in), 9, move |_| refusal("nonce_missing"));
    let complaint = complaint(&world.machine(Cloud::Azure)).await;
    let expected = format!(
        "no session token: `{}` answered 404 Not Found; a nonce is demanded, and issued there",
        world.control_plane.url(CHALLENGE)
    );
    assert_eq!(complaint, expected);
}

/// A control plane that starts later than the machine is asked before the proof is sent
#[tokio::test]
async fn a_control_plane_that_starts_later_gets_a_proof_with_a_nonce_at_once() {
    let world = World::of(Cloud::Azure);
    issue(&world, &["azure"]);
    spoil(&world.control_plane, ("POST", CHALLENGE), 2, |_| Answer::ok("").broken());
    world.machine(Cloud::Azure).sign_in().await.unwrap();
    assert_eq!(nonces(&world, Cloud::Azure), [None, Some("nonce1".to_owned())]);
    assert_eq!(world.sign_ins().len(), 1, "no proof without a nonce was sent");
}
