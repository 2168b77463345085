//! Apps and ports that are shared with users and groups by name, over HTTP

use hyper::StatusCode;
use serde_json::{Value, json};
use testkit::{Database, Release};

use crate::world::{DASHBOARD, Plan, World};

const SHARES: &str = "/api/v2/authd/shares";
const APP: &str = "owner--agent--dev--alice.test.coder.com";
const PORT: &str = "8080--agent--dev--alice.test.coder.com";

/// The list of an app or a port of Alice's workspace
fn list(app: &str, users: &[&str], groups: &[&str]) -> Value {
    json!({
        "workspace": "alice/dev", "agent": "agent", "app": app, "users": users, "groups": groups,
    })
}

impl World {
    async fn put(&self, token: &str, body: &Value) -> (StatusCode, Value) {
        let headers = [("coder-session-token", token), ("content-type", "application/json")];
        let answer = self.send("PUT", SHARES, &headers, &body.to_string()).await;
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
    }

    async fn opens(&self, host: &str, token: &str) -> u16 {
        let session = [("coder-session-token", token), ("accept", "application/json")];
        self.visit(host, "/", &session).await.status.as_u16()
    }
}

#[tokio::test]
async fn an_owner_shares_an_app_and_a_port_and_withdraws_them() {
    let mut plan = Plan::new();
    let acme = plan.rows.organizations[0].id;
    let bob = plan.people["bob"].id;
    plan.rows.group("crew", acme, &[bob]);
    let world = plan.serve().await;
    let (alice, bob, carol) = (world.token("alice"), world.token("bob"), world.token("carol"));
    assert_eq!([world.opens(APP, bob).await, world.opens(PORT, bob).await], [404, 404]);

    let (status, answer) = world.put(alice, &list("owner", &["Bob"], &[])).await;
    assert_eq!(
        (status, &answer["added"], &answer["removed"]),
        (StatusCode::OK, &1.into(), &0.into())
    );
    assert_eq!(answer["shares"][0]["name"], "bob");
    let (_, again) = world.put(alice, &list("owner", &["bob"], &[])).await;
    assert_eq!((&again["added"], &again["shares"]), (&0.into(), &answer["shares"]));
    let (status, _) = world.put(alice, &list("8080", &[], &["crew"])).await;
    assert_eq!(status, StatusCode::OK);

    // One statement decides, with shares as without, and one records the visit.
    let (opened, statements) = world.counted(world.opens(APP, bob)).await;
    assert_eq!((opened, statements), (200, 2));
    assert_eq!(world.opens(PORT, bob).await, 200);
    assert_eq!(world.opens(APP, world.scoped("bob")).await, 200, "a scope that opens apps");
    assert_eq!([world.opens(APP, carol).await, world.opens(PORT, carol).await], [404, 404]);
    let other_app = "app-ends-in-s--agent--dev--alice.test.coder.com";
    assert_eq!(world.opens(other_app, bob).await, 404, "another app");
    assert_eq!(world.opens("8081--agent--dev--alice.test.coder.com", bob).await, 404);

    let (_, none) = world.put(alice, &list("owner", &[], &[])).await;
    assert_eq!((&none["removed"], &none["shares"]), (&1.into(), &json!([])));
    let query = format!("{SHARES}?workspace=alice/dev");
    let session = [("coder-session-token", alice)];
    let answer = world.send("GET", &query, &session, "").await;
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let shares = answer["shares"].as_array().unwrap();
    assert_eq!(shares.len(), 1);
    assert_eq!(
        (&shares[0]["app"], &shares[0]["name"], &shares[0]["is_group"]),
        (&"8080".into(), &"crew".into(), &true.into())
    );
    assert_eq!([world.opens(APP, bob).await, world.opens(PORT, bob).await], [404, 200]);
}

#[tokio::test]
async fn each_change_is_an_act() {
    let world = World::new().await;
    let alice = world.token("alice");
    for users in [&["bob"][..], &["bob"], &["carol"], &[]] {
        let (status, answer) = world.put(alice, &list("owner", users, &[])).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }
    let acts = world
        .database
        .sql(
            "SELECT subject_type, subject, workspace_id, user_id, ip IS NULL, request_id IS NULL,
                    detail->'added', detail->'removed'
             FROM authd_acts WHERE kind = 'share_change' ORDER BY time, id",
        )
        .await;
    let [bob, carol] = ["bob", "carol"].map(|name| format!("[\"user {}\"]", world.people[name].id));
    // These requests come without an address.
    let by = format!("app|agent/owner|{}|{}|t|f", world.workspace, world.people["alice"].id);
    // The clock stands still, so they come in any order.
    let mut expected =
        [format!("{by}|{bob}|[]"), format!("{by}|{carol}|{bob}"), format!("{by}|[]|{carol}")];
    let mut acts = acts;
    acts.sort();
    expected.sort();
    assert_eq!(acts, expected);
}

#[tokio::test]
async fn only_those_who_may_share_the_workspace_change_the_list() {
    let world = World::new().await;
    let body = list("owner", &["bob"], &[]);
    for (who, token, status) in [
        ("a stranger", world.token("carol"), 404),
        ("a colleague", world.token("bob"), 404),
        ("a suspended user", world.token("sue"), 401),
        ("a session for apps of the owner", world.scoped("alice"), 404),
        ("the site's owner", world.token("root"), 200),
        ("the owner", world.token("alice"), 200),
    ] {
        let (found, answer) = world.put(token, &body).await;
        assert_eq!(found, status, "{who}: {answer}");
        if status != 200 {
            let count = world.database.sql("SELECT count(*) FROM authd_shares").await;
            assert_eq!(count, ["0"], "{who}");
        }
    }
    // Reading the workspace is not enough, and what is shared is not shared on.
    let acl = format!(
        "UPDATE workspaces SET user_acl = '{{\"{}\": [\"read\", \"application_connect\"]}}'",
        world.people["bob"].id
    );
    world.database.sql(&acl).await;
    let (status, _) = world.put(world.token("bob"), &list("owner", &["carol"], &[])).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing() {
    let world = World::new().await;
    let cookie = format!("coder_session_token={}", world.token("alice"));
    let body = list("owner", &["bob"], &[]).to_string();
    for (origin, status) in [
        (Some("https://owner--agent--dev--alice.test.coder.com"), 403),
        (Some("https://evil.example"), 403),
        (Some("null"), 403),
        (Some(DASHBOARD), 200),
    ] {
        let mut headers = vec![("cookie", &*cookie), ("content-type", "application/json")];
        headers.extend(origin.map(|origin| ("origin", origin)));
        let answer = world.send("PUT", SHARES, &headers, &body).await;
        assert_eq!(answer.status.as_u16(), status, "{origin:?}");
    }
}

#[tokio::test]
async fn bodies_that_are_not_usable_say_why() {
    let world = World::new().await;
    let alice = world.token("alice");
    let with = |name: &str, value: Value| {
        let mut body = list("owner", &["bob"], &[]);
        body[name] = value;
        body
    };
    let crowd: Vec<_> = (0..101).map(|n| format!("user-{n}")).collect();
    for (body, status, detail) in [
        (with("users", json!(["ghost"])), 400, "the user `ghost` does not exist"),
        (
            with("groups", json!(["none"])),
            400,
            "the group `none` does not exist in the workspace's organization",
        ),
        (with("users", json!(crowd)), 400, "at most 100"),
        (with("app", json!("none")), 400, "no such app"),
        (with("app", json!("")), 400, "the agent or the app"),
        (with("app", json!("8")), 400, "ports below 9"),
        (with("agent", json!("none")), 400, "no such agent"),
        (with("agent", json!(null)), 200, ""),
        (with("workspace", json!("dev")), 400, "OWNER/WORKSPACE"),
        (with("workspace", json!("alice/none")), 404, ""),
        (with("workspace", json!("alice/off")), 400, "the workspace is stopped"),
        (with("user", json!(["bob"])), 400, ""),
        (with("users", json!("bob")), 400, "users"),
        (json!({"workspace": "alice/dev", "app": "owner"}), 400, ""),
        (json!([]), 400, ""),
    ] {
        let (found, answer) = world.put(alice, &body).await;
        assert_eq!(found, status, "{body}: {answer}");
        let said = answer["detail"].as_str().unwrap_or_default();
        assert!(said.contains(detail), "{body}: {answer}");
        assert!(status == 200 || answer["message"].is_string(), "{answer}");
    }
    let huge = format!("{{\"workspace\": \"{}\"}}", "x".repeat(70_000));
    let headers = [("coder-session-token", alice), ("content-type", "application/json")];
    let answer = world.send("PUT", SHARES, &headers, &huge).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn the_templates_maximum_holds_when_it_is_enforced() {
    let mut plan = Plan::new();
    plan.config.rules = plan.config.rules.enforce_max_port_sharing(true);
    let world = plan.serve().await;
    let alice = world.token("alice");
    let (status, answer) = world.put(alice, &list("owner", &["bob"], &[])).await;
    let detail = answer["detail"].as_str().unwrap();
    assert_eq!(
        (status.as_u16(), detail),
        (400, "the template allows sharing at the level `owner` at most")
    );

    let maximum = async |level: &str| {
        world
            .database
            .sql(&format!("UPDATE templates SET max_port_sharing_level = '{level}'"))
            .await
    };
    maximum("organization").await;
    assert_eq!(world.put(alice, &list("owner", &["bob"], &[])).await.0, StatusCode::OK);
    let (status, answer) = world.put(alice, &list("owner", &["bob", "carol"], &[])).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("`carol` is not a member"), "{answer}");
    assert_eq!(world.opens(APP, world.token("bob")).await, 200);

    // A narrower maximum counts for what is shared already, and the audit says so.
    maximum("owner").await;
    assert_eq!(world.opens(APP, world.token("bob")).await, 404);
    let reasons = world
        .database
        .sql("SELECT count(*) FROM authd_audit_log WHERE reason = 'share_over_maximum'");
    world.rows().await;
    assert_eq!(reasons.await, ["1"]);
}

#[tokio::test]
async fn shares_count_beside_every_release() {
    for release in [Release::FIRST_WITH_APPS, Release::NEWEST] {
        let world = Plan::new().serve_from(Database::of_release(release).await).await;
        let (alice, bob) = (world.token("alice"), world.token("bob"));
        assert_eq!(world.opens(APP, bob).await, 404, "{release}");
        let (status, answer) = world.put(alice, &list("owner", &["bob"], &[])).await;
        assert_eq!(status, StatusCode::OK, "{release}: {answer}");
        let (opened, statements) = world.counted(world.opens(APP, bob)).await;
        assert_eq!((opened, statements), (200, 2), "{release}");
    }
}
