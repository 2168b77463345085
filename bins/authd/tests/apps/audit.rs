//! Every visit is recorded, even if it fails

use std::time::Duration;

use hyper::StatusCode;
use serde_json::Value;
use store::fleet::Transition;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use crate::log::Log;
use crate::world::{Plan, World, by_path, text};

const HOST: &str = "owner--agent--dev--alice.test.coder.com";

// scenario 289
#[tokio::test]
async fn a_visit_that_signs_in_leaves_two_rows() {
    let world = World::new().await;
    world.visit(HOST, "/", &[]).await;
    world.visit(HOST, "/", &[("coder-session-token", world.token("alice"))]).await;
    let mut rows: Vec<_> =
        world.rows().await.iter().map(|row| (row.status(), row.user())).collect();
    rows.sort();
    assert_eq!(rows, [(200, world.people["alice"].id), (303, Uuid::nil())]);
}

#[tokio::test]
async fn denials_in_different_workspaces_are_separate_rows() {
    let mut plan = Plan::new();
    let alice = plan.people["alice"].id;
    let second = plan.rows.workspace(alice, "off2");
    plan.rows.build(second, Transition::Stop);
    let world = plan.serve().await;
    let session = [("coder-session-token", world.token("alice"))];
    for (name, status) in [
        ("owner--main--off", 400),
        ("owner--main--off2", 400),
        ("nothing--agent--dev", 404),
        ("nothing--main--solo", 404),
    ] {
        for _ in 0..2 {
            let answer = world.visit(&format!("{name}--alice.test.coder.com"), "/", &session).await;
            assert_eq!(answer.status.as_u16(), status, "{name}");
        }
    }
    let rows = world.rows().await;
    let mut names: Vec<_> =
        rows.iter().map(|row| row.0["fields"]["workspace_name"].clone()).collect();
    names.sort_by_key(ToString::to_string);
    assert_eq!(names, ["dev", "off", "off2", "solo"]);
}

// scenario 279
#[tokio::test]
async fn a_wrong_clock_does_not_create_more_sessions() {
    let world = World::new().await;
    for seconds in [0, 7_200, -14_400] {
        world.move_clock(seconds);
        let answer = world.visit(HOST, "/", &[("coder-session-token", world.token("bob"))]).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        // Written before the next visit: one batch would merge them, regardless of the clock.
        world.rows().await;
    }
    assert_eq!(world.rows().await.len(), 1);
}

// scenario 280
#[tokio::test]
async fn a_visitor_who_hangs_up_is_recorded() {
    let world = World::new().await;
    let address = world.url.strip_prefix("http://").unwrap();
    for visitor in 0..20 {
        let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET {} HTTP/1.1\r\nhost: x\r\nx-forwarded-host: {HOST}\r\nx-forwarded-uri: /\r\n\
             user-agent: {visitor}\r\ncoder-session-token: {}\r\n\r\n",
            crate::world::TRAEFIK,
            world.token("alice")
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        // Usually long enough for the head to be read, and too short for an answer.
        tokio::time::sleep(Duration::from_micros(200 * visitor)).await;
        drop(connection);
    }
    for _ in 0..200 {
        if world.rows().await.len() == 20 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("only {} of 20 rows", world.rows().await.len());
}

#[tokio::test]
async fn in_closed_mode_no_visit_is_admitted_unrecorded() {
    for (mode, status) in [(authd_http::AuditFail::Open, 201), (authd_http::AuditFail::Closed, 503)]
    {
        let mut plan = Plan::new();
        plan.config.audit_fail = mode;
        let world = plan.serve().await;
        let visit = by_path("alice", "dev", "agent", "owner", world.token("alice"));
        assert_eq!(world.issue(visit.clone()).await.status, StatusCode::CREATED);
        assert_eq!(world.rows().await.len(), 1);
        world.database.sql("alter table authd_audit_sessions rename to gone").await;
        let mut other = visit;
        other["user_agent"] = "other".into();
        let answer = world.issue(other).await;
        assert_eq!(answer.status.as_u16(), status, "{}", text(&answer));
    }
}

/// What a stranger makes up is bounded in the table and in the log, and users' visits are not
#[tokio::test]
async fn a_stranger_fills_neither_the_audit_nor_the_log() {
    for (mode, beyond) in [(authd_http::AuditFail::Open, 201), (authd_http::AuditFail::Closed, 503)]
    {
        let log = Log::begin();
        let mut plan = Plan::new();
        plan.config.audit_fail = mode;
        plan.limits.log_lines_per_minute = 60;
        let world = plan.serve().await;
        let mut statuses = Vec::new();
        for n in 0..100 {
            let mut visit = by_path("alice", "dev", "agent", "public", "");
            visit["user_agent"] = format!("stranger {n}").into();
            statuses.push(world.issue(visit).await.status.as_u16());
            let mut visit = by_path("alice", "dev", "agent", "owner", world.token("alice"));
            visit["user_agent"] = format!("alice {n}").into();
            assert_eq!(world.issue(visit).await.status, StatusCode::CREATED);
        }
        assert!(statuses[..60].iter().all(|status| *status == 201), "{statuses:?}");
        // A place is earned every second.
        let refused = statuses.iter().filter(|status| **status == 503).count();
        let left_out = if beyond == 503 { refused } else { 0 };
        assert!(beyond == 201 && refused == 0 || refused > 0, "{statuses:?}");

        let rows = world.rows().await;
        let of = |user: Uuid| rows.iter().filter(|row| row.user() == user).count();
        assert_eq!(of(world.people["alice"].id), 100);
        let strangers = of(Uuid::nil());
        assert!((60..100).contains(&strangers), "{strangers}");
        assert!(beyond == 201 || strangers == 100 - left_out);
        let lines = log.lines();
        let decided = lines.iter().filter(|line| line["message"] == "app visit decided");
        let (alice, others): (Vec<_>, Vec<_>) = decided.partition(|line| !line["user"].is_null());
        assert_eq!(alice.len(), 100, "{} lines, such as {:?}", lines.len(), lines.last());
        assert!((60..100).contains(&others.len()), "{}", others.len());
    }
}

#[tokio::test]
async fn auditors_read_the_log_page_by_page() {
    let world = World::new().await;
    for slug in ["owner", "authed", "public"] {
        world.issue(by_path("alice", "dev", "agent", slug, world.token("bob"))).await;
    }
    world.rows().await;
    let ask = async |query: &str, who: &str| {
        let headers = [("coder-session-token", world.token(who))];
        let answer = world.send("GET", &format!("/api/v2/audit{query}"), &headers, "").await;
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.status.as_u16(), body)
    };
    let (status, all) = ask("", "root").await;
    assert_eq!(status, 200);
    let all = all["audit_logs"].as_array().unwrap().clone();
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|row| row["user_id"] == world.people["bob"].id.to_string()));

    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let (_, page) = ask(&format!("?limit=1{after}"), "root").await;
        paged.extend(page["audit_logs"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(paged, all);

    let (_, denied) = ask("?decision=deny", "root").await;
    assert_eq!(denied["audit_logs"].as_array().unwrap().len(), 1);
    let workspace = world.workspace;
    let (_, none) = ask(&format!("?workspace={workspace}&app=nothing"), "root").await;
    assert!(none["audit_logs"].as_array().unwrap().is_empty());
    for bad in [
        "?decision=maybe",
        "?limit=x",
        "?after=x",
        "?user=bob",
        "?from=yesterday",
        "?unknown=1",
        "?limit=1&limit=2",
        "?app=a&app_id=b",
    ] {
        assert_eq!(ask(bad, "root").await.0, 400, "{bad}");
    }
    for who in ["alice", "carol"] {
        assert_eq!(ask("", who).await.0, 403, "{who}");
    }
}
