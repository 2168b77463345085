//! The example of a control plane with agent sign-in does what it says, and keeps the rules of
//! its port

#![allow(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../examples/axum_sign_in/main.rs"]
#[allow(dead_code, reason = "the test does not call `main`")]
mod example;

use std::net::SocketAddr;
use std::time::SystemTime;

use agent_auth::Standing;
use agent_auth::conformance::Rows;
use example::routes;
use example::tables::{AgentRow, Agents};
use identity_fetch::Identity;
use identity_verify::test_util::aws::{Cloud, Document};
use identity_verify::{Policy, aws};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The tables of the example, with the rows of a rule
async fn make(rows: &Rows) -> Agents {
    let mut agents = Agents::default();
    for (workspace, build, agent) in rows.agents() {
        // The example's tables have no sub-agents, and no agents that are soft-deleted.
        if agent.is_sub_agent || agent.is_deleted {
            continue;
        }
        let is_newest = workspace.builds.last().unwrap().number == build.number;
        let key = i64::try_from(rows.workspaces.iter().position(|w| w == workspace).unwrap());
        let key = key.unwrap();
        agents.0.push(AgentRow {
            id: i64::try_from(agents.0.len()).unwrap(),
            name: agent.name.clone(),
            instance: agent.instance.clone(),
            token: agent.token.to_string(),
            build: 1_000 * key + i64::from(build.number),
            workspace: key,
            standing: match (workspace.is_deleted, is_newest) {
                (true, _) => Standing::Deleted,
                (false, true) => Standing::Live,
                (false, false) => Standing::Stale,
            },
            created_at: agent.created_at,
        });
    }
    agents
}

mod tables {
    agent_auth::candidates_conformance!(super::make);
}

fn agent(name: &str, instance: &str) -> AgentRow {
    AgentRow {
        id: 7,
        name: name.to_owned(),
        instance: instance.to_owned(),
        token: format!("token of {name}"),
        build: 1,
        workspace: 1,
        standing: Standing::Live,
        created_at: SystemTime::UNIX_EPOCH,
    }
}

#[tokio::test]
async fn a_machine_receives_the_token_of_its_agent() {
    let cloud = Cloud::generate("eu-west-1");
    let identity = Identity::builtin().aws(aws::Verifier::new(cloud.keys(), Policy::default()));
    let old = AgentRow { standing: Standing::Stale, ..agent("old", OLD) };
    let rows = vec![agent("main", ONE), agent("alpha", TWO), agent("beta", TWO), old];
    let app = routes(identity, Agents(rows));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });

    let signed = |instance: &str| {
        let document =
            Document::new(instance, "eu-west-1", "123456789012", "2026-11-20T10:00:00Z").to_json();
        serde_json::json!({ "signature": cloud.sign(document.as_bytes()), "document": document })
    };
    let mut beta = signed(TWO);
    beta["agent_name"] = "beta".into();
    let mut forged = signed(ONE);
    forged["document"] = forged["document"].as_str().unwrap().replace(ONE, TWO).into();
    for (body, answer) in [
        (signed(ONE), (200, r#"{"session_token":"token of main"}"#)),
        (beta, (200, r#"{"session_token":"token of beta"}"#)),
        (signed(TWO), (409, "several live agents carry this instance id: alpha, beta")),
        (signed(OLD), (400, "only agents of earlier builds carry this instance id")),
        (signed("i-0123456789abcdef9"), (404, "no live agent carries this instance id")),
        (forged, (401, "bad_signature")),
        (serde_json::json!({}), (400, "required: signature, document")),
    ] {
        let (status, text) = send(address, "aws-instance-identity", &body.to_string()).await;
        assert_eq!((status, &*text), answer, "{body}");
    }
    let token = serde_json::json!({ "json_web_token": "a.b.c" }).to_string();
    assert_eq!(send(address, "google-instance-identity", &token).await.0, 401);
    assert_eq!(send(address, "oracle-instance-identity", &token).await.0, 400);
    serving.abort();
}

/// Returns the status and the body of the answer
async fn send(address: SocketAddr, kind: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /api/v2/workspaceagents/{kind} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn the_host_beside_its_tables_takes_at_most_60_lines() {
    let host = include_str!("../examples/axum_sign_in/main.rs");
    let (_, code) = host.split_once("mod tables;").unwrap();
    let counts = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    let lines = code.lines().filter(counts).count();
    assert!((40..=60).contains(&lines), "{lines}");
}

const ONE: &str = "i-0123456789abcdef1";
const TWO: &str = "i-0123456789abcdef2";
const OLD: &str = "i-0123456789abcdef3";
