use std::sync::Mutex;

use agent_token::{Cloud, Machine, RetryTimeout};
use identity_verify::test_util::server::{Answer, Server};

use crate::world::{SHORT, World, complaint, first_request, page, sign_in_path, spoil};

#[tokio::test]
async fn a_session_request_without_an_answer_is_reported_with_the_hop_limit() {
    let world = World::of(Cloud::Aws);
    let (method, path) = first_request(Cloud::Aws);
    let late = Answer::ok("late").after(std::time::Duration::from_secs(60));
    let asked = spoil(&world.metadata, (method, path), usize::MAX, move |_| late.clone());
    world.metadata.on("GET", "/latest/meta-data/", |_| Answer::status(401));
    let machine = Machine { metadata_timeouts: SHORT, ..world.machine(Cloud::Aws) };
    // Long before the retry timeout: other requests are answered, so this one never will be.
    let said = complaint(&machine).await;
    for part in [&*world.metadata.url(path), "hop limit", "answers other requests"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 3);

    // A service that answers nothing may recover.
    world.metadata.on("GET", "/latest/meta-data/", |_| {
        Answer::ok("late").after(std::time::Duration::from_secs(60))
    });
    let machine = Machine { retry_timeout: RetryTimeout::Once, ..machine };
    let said = complaint(&machine).await;
    assert!(said.contains("hop limit") && !said.contains("answers other"), "{said}");
}

#[tokio::test]
async fn a_refusal_of_a_metadata_service_is_reported_with_its_address_and_likely_reason() {
    for (cloud, status, part) in [
        (Cloud::Aws, 403, "may be turned off"),
        (Cloud::Azure, 404, "container groups"),
        (Cloud::Google, 404, "service account"),
    ] {
        let world = World::of(cloud);
        let (_, path) = first_request(cloud);
        spoil(&world.metadata, first_request(cloud), 9, move |_| Answer::status(status));
        let machine = Machine { retry_timeout: RetryTimeout::Once, ..world.machine(cloud) };
        let said = complaint(&machine).await;
        for part in [&*world.metadata.url(path), part, &status.to_string()] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_a_control_plane_is_reported_as_such() {
    let refusal = r#"{"message":"Instance with id \"x\" not found.","detail":"No agent."}"#;
    let html = |status| Answer { status, ..page() };
    let to = |status, target| Answer::status(status).with_header("Location", target);
    for (answer, parts) in [
        (page(), &["200 OK with an HTML page", "not a control plane"][..]),
        (Answer::ok(""), &["200 OK with an empty body", "not a control plane"]),
        (Answer::ok("ok"), &["200 OK with a body that is not JSON", "not a control plane"]),
        (Answer::ok("{}"), &["200 OK with a JSON body", "not a control plane"]),
        (Answer::ok("[]"), &["not a control plane"]),
        (Answer::ok(r#"{"session_token":null}"#), &["not a control plane"]),
        (Answer::ok(r#"{"session_token":"two words"}"#), &["not a control plane"]),
        (html(404), &["404 Not Found with an HTML page, not as a control plane does"]),
        (html(403), &["403 Forbidden with an HTML page"]),
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
async fn nothing_that_may_be_a_secret_is_printed() {
    let world = World::of(Cloud::Azure);
    let path = sign_in_path(Cloud::Azure);
    spoil(&world.control_plane, ("POST", &path), 1, |_| Answer::ok(r#"{"token":"hunter2"}"#));
    let said = complaint(&world.machine(Cloud::Azure)).await;
    assert!(!said.contains("hunter2"), "{said}");
    let token = world.machine(Cloud::Azure).sign_in().await.unwrap();
    assert_eq!(format!("{token:?}"), "SessionToken(..)");
}

#[tokio::test]
async fn a_long_or_unprintable_message_is_shortened_and_escaped() {
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
async fn an_address_on_which_nothing_listens_is_reported() {
    let world = World::of(Cloud::Azure);
    // A reserved port (RFC 6335), so the connection is refused.
    let machine = world.machine_at("http://127.0.0.1:1");
    let machine = Machine { metadata: world.machine_of_any_cloud().metadata, ..machine };
    let machine =
        Machine { retry_timeout: RetryTimeout::Once, cloud: Some(Cloud::Azure), ..machine };
    let said = complaint(&machine).await;
    assert!(said.contains("127.0.0.1:1/") && said.contains("no connection"), "{said}");

    let machine = world.machine_at("http://host.invalid");
    let machine = Machine { metadata: world.machine_of_any_cloud().metadata, ..machine };
    let machine =
        Machine { retry_timeout: RetryTimeout::Once, cloud: Some(Cloud::Azure), ..machine };
    let said = complaint(&machine).await;
    assert!(said.contains("http://host.invalid/") && said.contains("dns"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn an_operator_sees_what_a_sign_in_waits_for() {
    // Without a server: under paused time only an immediate failure can be waited for.
    let lines = std::sync::Arc::new(Mutex::new(Vec::new()));
    let world = World {
        metadata: Server::start(),
        control_plane: Server::start(),
        reported: std::sync::Arc::clone(&lines),
    };
    drop(world.metadata);
    let machine = Machine {
        metadata: Some(agent_token::BaseUrl::parse("http://127.0.0.1:1").unwrap()),
        cloud: Some(Cloud::Azure),
        retry_timeout: RetryTimeout::For(std::time::Duration::from_secs(150)),
        ..Machine::new(
            agent_token::BaseUrl::parse("http://127.0.0.1:1").unwrap(),
            agent_token::Backoff::new(std::sync::Arc::new(|| 0.5)),
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
