//! Tokens for proxies: decisions and their record

use hyper::StatusCode;
use serde_json::{Value, json};
use testkit::OwnServer;
use uuid::Uuid;

use crate::world::{Plan, World, by_path, by_subdomain, claims, header, location, query, text};

// scenario 113, 115, 117, 123, 124
#[tokio::test]
async fn users_who_may_open_an_app_get_a_token() {
    let world = World::new().await;
    let owner = world.token("alice");
    let by_name = world.issue(by_path("alice", "dev", "agent", "owner", owner)).await;
    assert_eq!(by_name.status, StatusCode::CREATED, "{}", text(&by_name));
    let by_name = claims(&by_name);
    assert_eq!(by_name["user_id"], world.people["alice"].id.to_string());
    assert_eq!(by_name["workspace_id"], world.workspace.to_string());
    assert_eq!(by_name["agent_id"], world.agent.to_string());
    assert_eq!(by_name["app_url"], "http://127.0.0.1:8080");
    assert_eq!(by_name["request"]["base_path"], "/@alice/dev.agent/apps/owner/");

    let (workspace, agent) = (world.workspace.to_string(), world.agent.to_string());
    let by_id = world.issue(by_path("alice", &workspace, &agent, "owner", owner)).await;
    let by_id = claims(&by_id);
    for same in ["user_id", "workspace_id", "agent_id", "app_url"] {
        assert_eq!(by_id[same], by_name[same], "{same}");
    }
    let only_workspace = world.issue(by_path("alice", &workspace, "", "owner", owner)).await;
    assert_eq!(claims(&only_workspace)["agent_id"], world.agent.to_string());
    assert_eq!(world.rows().await.len(), 1);

    for slug in ["authed", "public"] {
        let other = world.issue(by_path("alice", "dev", "agent", slug, world.token("bob"))).await;
        assert_eq!(other.status, StatusCode::CREATED);
    }
    let rows = world.rows().await;
    assert_eq!(rows.len(), 3);
    let bobs = rows.iter().filter(|row| row.user() == world.people["bob"].id);
    assert_eq!(bobs.count(), 2);
    assert!(rows.iter().all(|row| row.status() == 200 && row.text("decision") == "allow"));
}

// scenario 114, 141, 144
#[tokio::test]
async fn a_session_of_visits_leaves_one_row() {
    let world = World::new().await;
    let visit = by_path("alice", "dev", "agent", "owner", world.token("alice"));
    for _ in 0..3 {
        assert_eq!(world.issue(visit.clone()).await.status, StatusCode::CREATED);
    }
    assert_eq!(world.rows().await.len(), 1);

    let mut other_browser = visit.clone();
    other_browser["user_agent"] = "browser/2".into();
    world.issue(other_browser).await;
    assert_eq!(world.rows().await.len(), 2);
    let mut other_address = visit.clone();
    other_address["client_ip"] = "198.51.100.5".into();
    world.issue(other_address).await;
    assert_eq!(world.rows().await.len(), 3);
    for port in ["8080", "8080s"] {
        let visit = by_subdomain("alice", "dev", "agent", port, world.token("alice"));
        world.issue(visit).await;
    }
    assert_eq!(world.rows().await.len(), 5);
    let mut refused = visit;
    refused["session_token"] = world.token("carol").into();
    world.issue(refused).await;
    assert_eq!(world.rows().await.len(), 6);
}

// scenario 142
#[tokio::test]
async fn a_timeout_of_zero_records_every_visit() {
    let mut plan = Plan::new();
    plan.config.audit_session_timeout = std::time::Duration::ZERO;
    let world = plan.serve().await;
    let visit = by_path("alice", "dev", "agent", "owner", world.token("alice"));
    for seen in 1..=3 {
        world.issue(visit.clone()).await;
        assert_eq!(world.rows().await.len(), seen);
    }
}

// scenario 118, 151, 234
#[tokio::test]
async fn anonymous_visitors_are_sent_to_sign_in() {
    let world = World::new().await;
    for slug in ["owner", "authed", "org"] {
        let answer = world.issue(by_path("alice", "dev", "agent", slug, "")).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        let redirect = location(&answer);
        assert_eq!(redirect.host(), "coder.test");
        assert_eq!(redirect.path(), "/api/v2/applications/auth-redirect");
        // The final slash is kept, unlike in the reference.
        let back = format!("https://sydney.coder.com/@alice/dev.agent/apps/{slug}/some/path/?a=1");
        assert_eq!(query(&redirect)["redirect_uri"], back);
    }
    let subdomain = world.issue(by_subdomain("alice", "dev", "agent", "owner", "")).await;
    let back = "https://owner--agent--dev--alice.sydney.coder.com/some/path/?a=1";
    assert_eq!(query(&location(&subdomain))["redirect_uri"], back);

    let rows = world.rows().await;
    assert_eq!(rows.len(), 3, "the subdomain's visit is of the first one's session");
    assert!(rows.iter().all(|row| row.user().is_nil() && row.status() == 303));
    assert!(rows.iter().all(|row| row.text("reason") == "not_signed_in"));
    assert_eq!(
        world.issue(by_path("alice", "dev", "agent", "public", "")).await.status,
        StatusCode::CREATED
    );
}

// scenario 120, 126, 127, 129, 136, 145, 147, 232
#[tokio::test]
async fn malformed_requests_and_unknown_targets_are_refused_and_not_recorded() {
    let world = World::new().await;
    let owner = world.token("alice").to_owned();
    let mut invalid_method = by_path("alice", "dev", "agent", "owner", &owner);
    invalid_method["app_request"]["access_method"] = "invalid".into();
    let mut no_base = by_subdomain("alice", "dev", "agent", "owner", &owner);
    no_base["app_request"]["app_prefix"] = "no-hyphens".into();
    for (visit, status) in [
        (json!({}), 500),
        (invalid_method, 500),
        (no_base, 500),
        (by_path("alice", "", "", "owner", &owner), 500),
        (by_path("me", "dev", "agent", "owner", &owner), 500),
        (by_path("alice", "ws/agent", "", "owner", &owner), 404),
        (by_path("unknown", "dev", "agent", "owner", &owner), 404),
        (by_path("alice", "nothing", "agent", "owner", &owner), 404),
        (by_path("alice", "dev", "agent", "8080", &owner), 500),
        (by_subdomain("alice", "dev", "", "8080", &owner), 500),
        (by_path("alice", "dev", "agent", "command", &owner), 500),
    ] {
        let answer = world.issue(visit.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{visit}");
        assert_eq!(header(&answer, "content-type"), "text/html; charset=utf-8");
        assert_eq!(header(&answer, "cache-control"), "no-store");
    }
    assert!(world.rows().await.is_empty());
}

// scenario 121, 130, 132, 133, 139
#[tokio::test]
async fn slugs_and_ports_are_distinguished() {
    let world = World::new().await;
    let owner = world.token("alice").to_owned();
    let by_slug = claims(&world.issue(by_path("alice", "dev", "", "owner", &owner)).await);
    assert_eq!(by_slug["agent_id"], world.agent.to_string());
    assert_eq!(by_slug["request"]["agent_name_or_id"], "");
    for slug in ["app-ends-in-s", "initializing"] {
        let answer = world.issue(by_path("alice", "dev", "agent", slug, &owner)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{slug}");
    }
    for (port, url) in [
        ("9090", "http://127.0.0.1:9090"),
        ("9090s", "https://127.0.0.1:9090"),
        ("08080", "http://127.0.0.1:8080"),
    ] {
        let answer = world.issue(by_subdomain("alice", "dev", "agent", port, &owner)).await;
        assert_eq!(claims(&answer)["app_url"], url);
        assert_eq!(claims(&answer)["request"]["app_slug_or_port"], port);
    }
    let rows = world.rows().await;
    let row = rows.iter().find(|row| row.0["fields"]["slug_or_port"] == "9090").unwrap();
    assert_eq!(row.text("type"), "workspace_agent");
    assert_eq!(row.text("id"), world.agent.to_string());
    for slug in ["+80", "65536", "s", "9090ss"] {
        let answer = world.issue(by_subdomain("alice", "dev", "agent", slug, &owner)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{slug}");
    }
    let solo = world.issue(by_subdomain("alice", "solo", "", "8080", &owner)).await;
    assert_eq!(solo.status, StatusCode::CREATED);
}

// scenario 135, 138, 147, 148
#[tokio::test]
async fn refusals_are_recorded_with_their_reason() {
    let world = World::new().await;
    let (alice, bob) = (world.people["alice"].id, world.people["bob"].id);
    let anonymous = Uuid::nil();
    let mut seen = Vec::new();
    for (visit, status, user, reason) in [
        (("dev", "agent", "owner", "bob"), 404, bob, "not_shared"),
        (("dev", "slow", "slow-app", "alice"), 502, alice, "agent_not_connected"),
        (("dev", "slow", "slow-app", "bob"), 404, bob, "not_shared"),
        (("dev", "slow", "slow-app", ""), 303, anonymous, "not_signed_in"),
        (("dev", "agent", "nothing", "alice"), 404, alice, "no_app"),
        (("dev", "agent", "slow-app", "alice"), 404, alice, "no_app"),
        (("dev", "agent", "external", "alice"), 404, alice, "no_app"),
        (("dev", "unknown", "owner", "alice"), 404, alice, "no_agent"),
        (("off", "main", "owner", "alice"), 400, alice, "workspace_stopped"),
        (("off", "main", "owner", ""), 400, anonymous, "workspace_stopped"),
        (("asleep", "main", "owner", "alice"), 404, alice, "not_shared"),
        (("dev", "agent", "org", "carol"), 404, world.people["carol"].id, "not_member"),
    ] {
        let (workspace, agent, slug, visitor) = visit;
        let token = if visitor.is_empty() { "" } else { world.token(visitor) };
        let answer = world.issue(by_subdomain("alice", workspace, agent, slug, token)).await;
        assert_eq!(answer.status.as_u16(), status, "{visit:?}");
        seen.push((user, u64::from(answer.status.as_u16()), reason.to_owned()));
        match status {
            502 => {
                assert!(text(&answer).contains("The workspace did not start"));
                assert!(text(&answer).contains(">Retry<"));
            }
            400 => assert!(text(&answer).contains("This workspace is stopped")),
            404 => assert!(text(&answer).contains("Application Not Found")),
            _ => {}
        }
    }
    let rows = world.rows().await;
    let mut written: Vec<_> =
        rows.iter().map(|row| (row.user(), row.status(), row.text("reason").to_owned())).collect();
    written.sort();
    seen.sort();
    assert_eq!(written, seen);
    assert!(rows.iter().all(|row| row.text("decision") == "deny"));
}

// scenario 235
#[tokio::test]
async fn a_row_names_the_visitors_own_address_and_browser() {
    let world = World::new().await;
    let owner = world.token("alice").to_owned();
    let mut visit = by_path("alice", "dev", "agent", "owner", &owner);
    visit["client_ip"] = "::ffff:203.0.113.9".into();
    world.issue(visit.clone()).await;
    visit["client_ip"] = "nonsense".into();
    visit["user_agent"] = "other".into();
    world.issue(visit).await;
    let mut rows = world.rows().await;
    rows.sort_by_key(|row| row.text("agent").to_owned());
    assert_eq!((rows[0].text("ip"), rows[0].text("agent")), ("203.0.113.9", "browser/1"));
    assert_eq!((&rows[1].0["ip"], rows[1].text("agent")), (&Value::Null, "other"));
    assert_eq!(rows[0].text("type"), "workspace_app");
    assert_eq!(rows[0].text("target"), "owner");
    let fields = &rows[0].0["fields"];
    assert_eq!(fields["workspace_name"], "dev");
    assert_eq!(fields["workspace_owner"], "alice");
}

// scenario 111
#[tokio::test]
async fn without_a_database_visitors_do_not_count_as_anonymous() {
    let postgres = OwnServer::start().await;
    let world = Plan::new().serve_from(postgres.database().await).await;
    let visit = by_path("alice", "dev", "agent", "public", world.token("alice"));
    assert_eq!(world.issue(visit.clone()).await.status, StatusCode::CREATED);
    world.database.sql("alter table api_keys rename to gone").await;
    let broken = world.issue(visit.clone()).await;
    assert_eq!(broken.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(header(&broken, "retry-after"), "1");
    world.database.sql("alter table gone rename to api_keys").await;
    assert_eq!(world.issue(visit.clone()).await.status, StatusCode::CREATED);

    postgres.pause().await;
    let away = world.issue(visit.clone()).await;
    assert_eq!(away.status, StatusCode::SERVICE_UNAVAILABLE, "{}", text(&away));
    assert_eq!(header(&away, "retry-after"), "1");
    postgres.resume().await;
    assert_eq!(world.issue(visit).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn one_statement_decides_and_one_records() {
    let mut plan = Plan::new();
    plan.config.audit_session_timeout = std::time::Duration::ZERO;
    let world = plan.serve().await;
    for (visitor, status) in [("alice", 201), ("bob", 404), ("", 303)] {
        let token = if visitor.is_empty() { "" } else { world.token(visitor) };
        let visit = by_path("alice", "dev", "agent", "owner", token);
        let (answer, statements) = world.counted(world.issue(visit)).await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(statements, 2, "{visitor}");
    }
}

#[tokio::test]
async fn only_registered_proxies_may_request_tokens() {
    let world = World::new().await;
    let id = world.proxy.id();
    let forged = format!("{id}:{}", "a".repeat(64));
    for token in ["", "nonsense", &forged, &format!("{}:{}", Uuid::nil(), "a".repeat(64))] {
        let headers = [("coder-external-proxy-token", token), ("content-type", "application/json")];
        let answer = world.send("POST", crate::world::ISSUE, &headers, "{}").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{token}");
        assert!(text(&answer).starts_with("{\"message\""));
    }
    let mut envelope = by_path("alice", "dev", "agent", "owner", world.token("alice"));
    let request = envelope["app_request"].as_object().unwrap().values().cloned().collect();
    envelope["app_request"] = Value::Array(request);
    for array in [json!([]), json!({ "app_request": [] }), envelope] {
        assert_eq!(world.issue(array).await.status, StatusCode::BAD_REQUEST);
    }
}

// scenario 232
#[tokio::test]
async fn optional_fields_of_an_envelope_may_be_missing() {
    let world = World::new().await;
    let full = by_subdomain("alice", "dev", "agent", "owner", world.token("alice"));
    for (field, status) in [
        ("/path_app_base_url", 201),
        ("/app_hostname", 201),
        ("/app_path", 201),
        ("/app_query", 201),
        ("/client_ip", 201),
        ("/user_agent", 201),
        ("/session_token", 303),
        ("/app_request/base_path", 201),
        ("/app_request/app_prefix", 201),
        ("/app_request/agent_name_or_id", 201),
        ("/app_request/access_method", 500),
        ("/app_request/username_or_id", 500),
        ("/app_request", 500),
    ] {
        let (parent, name) = field.rsplit_once('/').unwrap();
        let with = |value: Option<Value>| {
            let mut envelope = full.clone();
            let fields = envelope.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            fields.remove(name);
            fields.extend(value.map(|value| (name.to_owned(), value)));
            envelope
        };
        assert_eq!(world.issue(with(None)).await.status.as_u16(), status, "no {field}");
        let null = world.issue(with(Some(Value::Null))).await;
        assert_eq!(null.status.as_u16(), status, "null {field}");
        let number = world.issue(with(Some(json!(1)))).await;
        assert_eq!(number.status, StatusCode::BAD_REQUEST, "1 {field}");
    }
}

#[tokio::test]
async fn a_suspended_user_is_refused_even_at_a_public_app() {
    let world = World::new().await;
    for slug in ["owner", "public"] {
        let answer = world.issue(by_path("alice", "dev", "agent", slug, world.token("sue"))).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(header(&answer, "www-authenticate").starts_with("Bearer realm=\"coder\""));
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(body["message"].as_str().unwrap().starts_with("User is not active"));
    }
    let rows = world.rows().await;
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.user() == world.people["sue"].id));
    assert!(rows.iter().all(|row| row.text("reason") == "user_suspended"));
}
