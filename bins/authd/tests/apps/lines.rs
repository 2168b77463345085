//! What a line of the log says about its request, and which id the request has

use serde_json::{Value, json};

use crate::log::Log;
use crate::world::{World, header};

const HOST: &str = "owner--agent--dev--alice.test.coder.com";
const NGINX: &str = "/api/v2/forward-auth/nginx";
const FRESH: &str = "0190a8c3-52d0-7c1e-8a46-0b6dd5f6a1b2";
const SIMPLE: &str = "5d41402abc4b2a76b9719d911017c592";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The one line with that message
fn line(log: &Log, message: &str) -> Value {
    let mut lines = log.lines();
    lines.retain(|line| line["message"] == message);
    let [line] = &lines[..] else { panic!("{message}: {lines:?}") };
    line.clone()
}

/// Checks the fields that each line about a request has
fn assert_fields(line: &Value, fields: &[(&str, &str)]) {
    for (field, expected) in fields {
        assert_eq!(line[field], *expected, "{field}: {line}");
    }
    assert_eq!(line["client"], "203.0.113.7", "{line}");
    assert!(line["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0 && ms < 60_000.0), "{line}");
}

#[tokio::test]
async fn a_line_names_client_method_route_duration_and_ids() {
    let world = World::new().await;
    let log = Log::begin();
    let alice = ("coder-session-token", world.token("alice"));
    let ids = [("x-request-id", SIMPLE), ("traceparent", PARENT)];
    let answer = world.visit(HOST, "/?secret=1", &[alice, ids[0], ids[1]]).await;
    assert_eq!((answer.status.as_u16(), header(&answer, "x-request-id")), (200, SIMPLE));
    let decided = line(&log, "app visit decided");
    assert_fields(
        &decided,
        &[
            ("method", "GET"),
            ("route", "forward-auth-traefik"),
            ("request_id", SIMPLE),
            ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
            ("access", "subdomain"),
        ],
    );
    assert!(!decided.to_string().contains("secret"), "{decided}");
    let row = &world.rows().await[0];
    assert_eq!(row.text("request").replace('-', ""), SIMPLE);

    let forwarded = ("x-forwarded-for", "203.0.113.7");
    world.send("POST", "/api/v2/audit?secret=1", &[forwarded], "").await;
    let refused = line(&log, "request refused");
    let fields = [("method", "POST"), ("route", "unmatched"), ("class", "method_not_allowed")];
    assert_fields(&refused, &fields);
    assert!(!refused.to_string().contains("secret"), "{refused}");
}

#[tokio::test]
async fn an_id_that_is_not_a_uuid_is_replaced() {
    let world = World::new().await;
    for (ids, is_taken) in [
        (&[FRESH][..], true),
        (&[SIMPLE], true),
        (&[], false),
        (&[FRESH, SIMPLE], false),
        (&["req-1"], false),
        (&["00000000-0000-0000-0000-000000000000"], false),
        (&["<script>alert(1)</script>"], false),
        (&["0190a8c3-52d0-7c1e-8a46-0b6dd5f6a1b2 "], true),
    ] {
        let headers: Vec<_> = ids.iter().map(|id| ("x-request-id", *id)).collect();
        let answer = world.send("GET", "/login", &headers, "").await;
        let own = header(&answer, "x-request-id");
        own.parse::<uuid::Uuid>().unwrap();
        assert_eq!(ids.first().is_some_and(|id| id.trim() == own), is_taken, "{ids:?}: {own}");
    }
}

#[tokio::test]
async fn log_ins_have_lines_without_tokens() {
    let world = World::new().await;
    let log = Log::begin();
    let alice = world.token("alice");
    let key = alice.split('-').next().unwrap();
    for (token, status, message) in [
        (alice, 303, "logged in"),
        ("abcdefghij-0123456789012345678901", 401, "log-in refused"),
        ("secret", 401, "log-in refused"),
    ] {
        let headers = [("x-forwarded-for", "203.0.113.7")];
        let answer = world.send("POST", "/login", &headers, &format!("token={token}")).await;
        assert_eq!(answer.status, status, "{token}");
        let line = line(&log, message);
        assert_fields(&line, &[("method", "POST"), ("route", "login")]);
        assert_eq!(line["status"], json!(status), "{line}");
        assert!(!line.to_string().contains(token), "{line}");
        let expected = (status == 303).then_some(key);
        assert_eq!(
            (line["key"].as_str(), line["user"].is_string()),
            (expected, expected.is_some())
        );
    }
}

#[tokio::test]
async fn the_answer_that_nginx_fetches_has_the_id_of_the_check() {
    let world = World::new().await;
    let visit = [("x-forwarded-host", HOST), ("x-forwarded-uri", "/"), ("accept", "text/html")];
    let checked = world.send("GET", NGINX, &visit, "").await;
    assert_eq!(checked.status, 401);
    let id = header(&checked, "x-request-id");
    for other in [&[][..], &[("x-request-id", SIMPLE)]] {
        let handed = [&[("x-authd-answer", header(&checked, "x-authd-answer"))], other].concat();
        let given = world.send("GET", &format!("{NGINX}/answer"), &handed, "").await;
        assert_eq!((given.status.as_u16(), header(&given, "x-request-id")), (303, id));
        assert_eq!(given.headers.get_all("x-request-id").iter().count(), 1);
    }
}
