use std::time::{Duration, Instant};

use agent_token::{Cloud, Machine, RetryTimeout, Timeouts};
use identity_verify::test_util::server::Answer;

use crate::world::{
    CLOUDS, TOKEN, World, complaint, first_request, page, serve, sign_in_path, spoil,
};

/// Answers that a machine may get at the addresses of other clouds
fn elsewhere() -> Vec<(&'static str, Answer)> {
    vec![
        ("404", Answer::status(404)),
        ("403", Answer::status(403)),
        ("a page", page()),
        ("a page without a media type", Answer::ok("<!DOCTYPE html>")),
        ("nothing", Answer::ok("")),
        ("JSON of an error", Answer::ok(r#"{"error":"bad"}"#)),
        ("text", Answer::ok("not found")),
        ("text of three segments", Answer::ok("not.found.here")),
        ("a token without Google's name", Answer::ok("e30.e30.e30")),
        (
            "attested data without its encoding",
            Answer::ok(&format!(r#"{{"signature":"{}"}}"#, "MIIA".repeat(40))),
        ),
        ("a redirect", Answer::status(302).with_header("Location", "http://127.0.0.1:9/")),
        ("silence", Answer::ok("late").after(Duration::from_secs(60))),
    ]
}

#[tokio::test]
async fn the_machine_finds_its_cloud_whatever_the_other_addresses_answer() {
    for own in CLOUDS {
        for (what, answer) in elsewhere() {
            let world = World::of(own);
            for other in CLOUDS.into_iter().filter(|other| *other != own) {
                let (method, path) = first_request(other);
                let answer = answer.clone();
                world.metadata.on(method, path, move |_| answer.clone());
            }
            // An address that is silent must not delay the sign-in.
            let began = Instant::now();
            let machine = world.machine_of_any_cloud();
            let machine = Machine { metadata_timeouts: long(), ..machine };
            assert_eq!(machine.sign_in().await.unwrap().reveal(), TOKEN, "{own}: {what}");
            assert!(began.elapsed() < Duration::from_secs(20), "{own}: {what}");
            let sent = world.control_plane.requests().pop().unwrap();
            assert_eq!(sent.path, sign_in_path(own), "{what}");
        }
    }
}

fn long() -> Timeouts {
    let minute = Duration::from_secs(60);
    Timeouts { connect: minute, answer: minute }
}

#[tokio::test]
async fn the_metadata_service_of_the_cloud_may_be_late() {
    for own in CLOUDS {
        let world = World::of(own);
        for other in CLOUDS.into_iter().filter(|other| *other != own) {
            let (method, path) = first_request(other);
            world.metadata.on(method, path, |_| page());
        }
        spoil(&world.metadata, first_request(own), 3, |_| Answer::status(503));
        let token = world.machine_of_any_cloud().sign_in().await;
        assert_eq!(token.unwrap().reveal(), TOKEN, "{own}");
    }
}

#[tokio::test]
async fn one_proof_is_sent_if_several_clouds_answer() {
    let world = World::of(Cloud::Aws);
    serve(&world.metadata, Cloud::Azure);
    serve(&world.metadata, Cloud::Google);
    assert_eq!(world.machine_of_any_cloud().sign_in().await.unwrap().reveal(), TOKEN);
    assert_eq!(world.sign_ins().len(), 1);
}

#[tokio::test]
async fn the_failure_of_each_cloud_is_reported_if_none_answers() {
    let world = World::of(Cloud::Aws);
    world.metadata.on("PUT", first_request(Cloud::Aws).1, |_| Answer::status(403));
    world.metadata.on("GET", first_request(Cloud::Azure).1, |_| Answer::status(404));
    world.metadata.on("GET", first_request(Cloud::Google).1, |_| page());
    for retry_timeout in [RetryTimeout::Once, RetryTimeout::For(Duration::from_millis(20))] {
        let machine = Machine { retry_timeout, ..world.machine_of_any_cloud() };
        let said = complaint(&machine).await;
        for part in [
            "aws: `http://127.0.0.1",
            "/latest/api/token` answered 403",
            "azure: ",
            "/metadata/attested/document` answered 404",
            "google: ",
            "an HTML page",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    // No proof was sent.
    assert!(world.sign_ins().is_empty());
}

#[tokio::test]
async fn a_google_token_needs_no_header_if_the_cloud_is_named() {
    let world = World::of(Cloud::Google);
    let (method, path) = first_request(Cloud::Google);
    let good = world.metadata.handler(method, path).unwrap();
    world.metadata.on(method, path, move |request| Answer { headers: Vec::new(), ..good(request) });
    assert_eq!(world.machine(Cloud::Google).sign_in().await.unwrap().reveal(), TOKEN);
    let machine = Machine { retry_timeout: RetryTimeout::Once, ..world.machine_of_any_cloud() };
    assert!(complaint(&machine).await.contains("instead of an identity token"));
}

#[tokio::test]
async fn a_sign_in_can_be_spawned() {
    let world = World::of(Cloud::Google);
    let machine = world.machine_of_any_cloud();
    let token = tokio::spawn(async move { machine.sign_in().await }).await.unwrap();
    assert_eq!(token.unwrap().reveal(), TOKEN);
}
