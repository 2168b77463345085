use std::sync::Mutex;

use authd::machine::{Machine, Patience};
use identity_verify::Cloud;
use identity_verify::test_util::server::{Answer, Server};

use crate::world::{SHORT, World, complaint, first_request, page, sign_in_path, spoil};

#[tokio::test]
async fn a_swallowed_session_request_ends_with_its_address_and_the_hop_limit() {
    let world = World::of(Cloud::Aws);
    let (method, path) = first_request(Cloud::Aws);
    let late = Answer::ok("late").after(std::time::Duration::from_secs(60));
    let asked = spoil(&world.metadata, (method, path), usize::MAX, move |_| late.clone());
    world.metadata.on("GET", "/latest/meta-data/", |_| Answer::status(401));
    let machine = Machine { metadata_timeouts: SHORT, ..world.machine(Cloud::Aws) };
    // Long before the patience ends: others are answered, so this one never will be.
    let said = complaint(&machine).await;
    for part in [&*world.metadata.url(path), "hop limit", "answers other requests"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 3);

    // A service that is silent altogether may come to itself.
    world.metadata.on("GET", "/latest/meta-data/", |_| {
        Answer::ok("late").after(std::time::Duration::from_secs(60))
    });
    let machine = Machine { patience: Patience::Once, ..machine };
    let said = complaint(&machine).await;
    assert!(said.contains("hop limit") && !said.contains("answers other"), "{said}");
}

#[tokio::test]
async fn each_refusal_of_a_metadata_service_has_its_address_and_what_it_may_mean() {
    for (cloud, status, part) in [
        (Cloud::Aws, 403, "may be turned off"),
        (Cloud::Azure, 404, "container groups"),
        (Cloud::Google, 404, "service account"),
    ] {
        let world = World::of(cloud);
        let (_, path) = first_request(cloud);
        spoil(&world.metadata, first_request(cloud), 9, move |_| Answer::status(status));
        let machine = Machine { patience: Patience::Once, ..world.machine(cloud) };
        let said = complaint(&machine).await;
        for part in [&*world.metadata.url(path), part, &status.to_string()] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}

#[tokio::test]
async fn what_is_no_control_plane_is_told_from_one_that_refuses() {
    let refusal = r#"{"message":"Instance with id \"x\" not found.","detail":"No agent."}"#;
    let html = |status| Answer { status, ..page() };
    let to = |status, target| Answer::status(status).with_header("Location", target);
    for (answer, parts) in [
        (page(), &["200 OK with a page of HTML", "not a control plane"][..]),
        (Answer::ok(""), &["200 OK with an empty body", "not a control plane"]),
        (Answer::ok("ok"), &["200 OK with a body that is not JSON", "not a control plane"]),
        (Answer::ok("{}"), &["200 OK with a body of JSON", "not a control plane"]),
        (Answer::ok("[]"), &["not a control plane"]),
        (Answer::ok(r#"{"session_token":null}"#), &["not a control plane"]),
        (Answer::ok(r#"{"session_token":"two words"}"#), &["not a control plane"]),
        (html(404), &["404 Not Found with a page of HTML, not as a control plane does"]),
        (html(403), &["403 Forbidden with a page of HTML"]),
        (
            Answer { body: refusal.into(), ..Answer::status(404) }
                .with_header("X-Request-Id", "01a2"),
            &[r#"404 Not Found: Instance with id \"x\" not found. (No agent.) [request 01a2]"#],
        ),
        (
            to(301, "https://coder.example.com/x"),
            &["301", "`https://coder.example.com/x`", "not followed"],
        ),
        (to(307, "/elsewhere"), &["307", "`/elsewhere`", "not followed"]),
        (Answer::status(304), &["304"]),
    ] {
        let world = World::of(Cloud::Azure);
        let path = sign_in_path(Cloud::Azure);
        let status = answer.status;
        spoil(&world.control_plane, ("POST", &path), 9, move |_| answer.clone());
        let said = complaint(&world.machine(Cloud::Azure)).await;
        let asked = world.control_plane.url(&path);
        for part in parts.iter().chain([&&*asked]) {
            assert!(said.contains(part), "{status}, {part}: {said}");
        }
    }
}

#[tokio::test]
async fn nothing_that_could_be_a_secret_is_shown() {
    let world = World::of(Cloud::Azure);
    let path = sign_in_path(Cloud::Azure);
    spoil(&world.control_plane, ("POST", &path), 1, |_| Answer::ok(r#"{"token":"hunter2"}"#));
    let said = complaint(&world.machine(Cloud::Azure)).await;
    assert!(!said.contains("hunter2"), "{said}");
    let token = world.machine(Cloud::Azure).sign_in().await.unwrap();
    assert_eq!(format!("{token:?}"), "SessionToken(..)");
}

#[tokio::test]
async fn a_long_or_strange_message_of_others_is_cut_and_escaped() {
    let world = World::of(Cloud::Azure);
    let path = sign_in_path(Cloud::Azure);
    let message = format!("\u{1b}[31mred\n{}", "long ".repeat(200));
    let body = serde_json::json!({ "message": message }).to_string();
    spoil(&world.control_plane, ("POST", &path), 9, move |_| Answer {
        body: body.clone().into(),
        ..Answer::status(401)
    });
    let said = complaint(&world.machine(Cloud::Azure)).await;
    assert!(said.contains(r"\u{1b}[31mred\n") && said.contains('…'), "{said}");
    assert!(said.len() < 500 && !said.contains('\n'), "{said}");
}

#[tokio::test]
async fn where_nothing_listens_the_address_is_shown() {
    let world = World::of(Cloud::Azure);
    // Reserved, so that it is refused (RFC 6335 leaves port 1 to a service nobody runs).
    let machine = world.machine_at("http://127.0.0.1:1");
    let machine = Machine { metadata: world.machine_of_any_cloud().metadata, ..machine };
    let machine = Machine { patience: Patience::Once, cloud: Some(Cloud::Azure), ..machine };
    let said = complaint(&machine).await;
    assert!(said.contains("127.0.0.1:1/") && said.contains("no connection"), "{said}");

    let machine = world.machine_at("http://host.invalid");
    let machine = Machine { metadata: world.machine_of_any_cloud().metadata, ..machine };
    let machine = Machine { patience: Patience::Once, cloud: Some(Cloud::Azure), ..machine };
    let said = complaint(&machine).await;
    assert!(said.contains("http://host.invalid/") && said.contains("dns"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn an_operator_who_waits_is_shown_for_what() {
    // No server here: with paused time only what fails at once can be waited for.
    let lines = std::sync::Arc::new(Mutex::new(Vec::new()));
    let world = World {
        metadata: Server::start(),
        control_plane: Server::start(),
        reported: std::sync::Arc::clone(&lines),
    };
    drop(world.metadata);
    let machine = Machine {
        metadata: Some(authd::machine::BaseUrl::parse("http://127.0.0.1:1").unwrap()),
        cloud: Some(Cloud::Azure),
        patience: Patience::For(std::time::Duration::from_secs(150)),
        ..Machine::new(
            authd::machine::BaseUrl::parse("http://127.0.0.1:1").unwrap(),
            authd::machine::Pauses::new(std::sync::Arc::new(|| 0.5)),
            std::sync::Arc::new(|| identity_verify::test_util::at("2026-11-21T00:00:00Z")),
            std::sync::Arc::new(move |line: &str| lines.lock().unwrap().push(line.to_owned())),
        )
    };
    let said = complaint(&machine).await;
    assert!(said.contains("gave up after 150 s"), "{said}");
    let reported = world.reported.lock().unwrap().clone();
    let begins: Vec<_> = reported.iter().map(|line| line.split(':').next().unwrap()).collect();
    let expected =
        ["still waiting after 1 s", "still waiting after 61 s", "still waiting after 121 s"];
    assert_eq!(begins, expected);
    assert!(reported[0].contains("/metadata/attested/document`: no connection"), "{reported:?}");
}
