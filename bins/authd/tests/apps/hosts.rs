//! Hosts of apps and of ports in both forms, and the tokens that they accept

use std::collections::BTreeSet;

use hyper::StatusCode;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::{Value, json};
use store::fleet::SharingLevel;

use crate::world::{Plan, World, by_subdomain, claims, claims_of, header, set_cookies, text};

fn host(label: &str) -> String {
    format!("{label}.test.coder.com")
}

// scenario 247
#[tokio::test]
async fn apps_are_reached_with_and_without_their_agent() {
    let world = World::new().await;
    let session = [("coder-session-token", world.token("alice"))];
    for (label, status, signed) in [
        ("owner--dev--alice", 200, Some(("owner", ""))),
        ("owner--agent--dev--alice", 200, Some(("owner", ""))),
        ("OWNER--Agent--Dev--Alice", 200, Some(("OWNER", ""))),
        ("pre---owner--dev--alice", 200, Some(("owner", ""))),
        ("9090--agent--dev--alice", 200, Some(("9090", "agent"))),
        ("9090s--agent--dev--alice", 200, Some(("9090s", "agent"))),
        // With fewer than four digits, the control plane reads the label as an app's.
        ("909--agent--dev--alice", 200, Some(("909", ""))),
        ("909--main--solo--alice", 200, Some(("909", ""))),
        ("909--solo--alice", 200, Some(("909", ""))),
        // The address names the agent of the app.
        ("owner--slow--dev--alice", 404, None),
        ("owner--gone--dev--alice", 404, None),
        ("gone--dev--alice", 404, None),
        ("owner--dev--bob", 404, None),
        ("9090--gone--dev--alice", 404, None),
        ("9090--dev--alice", 400, None),
        ("9090s--solo--alice", 400, None),
        ("owner--dev", 400, None),
        ("x--owner--agent--dev--alice", 400, None),
    ] {
        let answer = world.visit(&host(label), "/", &session).await;
        assert_eq!(answer.status.as_u16(), status, "{label}: {}", text(&answer));
        let cookies = set_cookies(&answer);
        let Some((slug, agent)) = signed else {
            assert!(cookies.is_empty(), "{label}");
            continue;
        };
        let request = &claims_of(&cookies[0].1)["request"];
        assert_eq!(
            (&request["app_slug_or_port"], &request["agent_name_or_id"]),
            (&json!(slug), &json!(agent)),
            "{label}"
        );
    }
    // The log has the requested names.
    let rows = world.rows().await;
    let slugs: BTreeSet<&str> = rows
        .iter()
        .filter(|row| row.status() == 200)
        .map(|row| row.0["fields"]["slug_or_port"].as_str().unwrap_or_else(|| row.text("target")))
        .collect();
    assert_eq!(slugs, BTreeSet::from(["909", "9090", "9090s", "owner"]));
}

/// Two agents of `dev` have an app `code`: a public one on `agent`, the owner's on `slow`
fn twins() -> Plan {
    let mut plan = Plan::new();
    let agent = |plan: &Plan, name: &str| {
        let mut agents = plan.rows.workspace_agents.iter();
        agents.find(|row| row.name == name).unwrap().id
    };
    let (first, second) = (agent(&plan, "agent"), agent(&plan, "slow"));
    plan.rows.app(first, "code").sharing_level = SharingLevel::Public;
    plan.rows.app(second, "code").sharing_level = SharingLevel::Owner;
    for row in &mut plan.rows.workspace_agents {
        row.first_connected_at = Some(plan.now.into());
        row.last_connected_at = Some(plan.now.into());
    }
    plan
}

#[tokio::test]
async fn a_token_for_the_app_of_one_agent_does_not_open_that_of_another() {
    let world = twins().serve().await;
    let (first, second) = (host("code--agent--dev--alice"), host("code--slow--dev--alice"));
    let public = world.visit(&first, "/", &[]).await;
    assert_eq!(public.status, StatusCode::OK);
    let (name, token, _) = &set_cookies(&public)[0];
    let cookie = format!("{name}={token}");
    let agent = header(&public, "x-authd-agent-id").to_owned();

    let own = world.counted(world.visit(&first, "/", &[("cookie", &cookie)])).await;
    assert_eq!((own.0.status, own.1), (StatusCode::OK, 0));
    let other = world.visit(&second, "/", &[("cookie", &cookie)]).await;
    assert_eq!(other.status, StatusCode::SEE_OTHER);

    // The owner's token for the second app also opens only that app.
    let owner = world.visit(&second, "/", &[("coder-session-token", world.token("alice"))]).await;
    assert_eq!(owner.status, StatusCode::OK);
    assert_ne!(header(&owner, "x-authd-agent-id"), agent);
    let cookie = format!("{name}={}", set_cookies(&owner)[0].1);
    let crossed = world.visit(&first, "/", &[("cookie", &cookie)]).await;
    assert_eq!(crossed.status, StatusCode::OK);
    assert_eq!(header(&crossed, "x-authd-agent-id"), agent);

    // A proxy leaves out the agent, and the token names the one that was found.
    let issued = world.issue(by_subdomain("alice", "dev", "", "code", world.token("alice"))).await;
    let claims = claims(&issued);
    assert_eq!(claims["request"]["agent_name_or_id"], "");
    let body: Value = serde_json::from_slice(&issued.body).unwrap();
    let cookie = format!("{name}={}", body["signed_token_str"].as_str().unwrap());
    for (label, found) in
        [("agent", claims["agent_name"] == "agent"), ("slow", claims["agent_name"] == "slow")]
    {
        let host = host(&format!("code--{label}--dev--alice"));
        let headers = [("cookie", &*cookie)];
        let (answer, statements) = world.counted(world.visit(&host, "/", &headers)).await;
        assert_eq!(statements == 0, found, "{label}: {}", answer.status);
    }
}

#[tokio::test]
async fn a_host_whose_name_was_read_before_asks_for_the_same() {
    let mut plan = Plan::new();
    plan.rows.proxy("oslo", "https://oslo.coder.com:9443", "*.oslo.coder.com:9443");
    let world = plan.serve().await;
    for (host, folder) in [
        ("owner--dev--alice.test.coder.com", ""),
        ("pre---OWNER--agent--Dev--Alice.test.coder.com", ""),
        ("9090--agent--dev--alice.test.coder.com", ""),
        ("owner--dev--alice.oslo.coder.com", ""),
        ("coder.test", "/@alice/dev.agent/apps/owner"),
        ("oslo.coder.com", "/@alice/dev.agent/apps/owner"),
    ] {
        let session = ("coder-session-token", world.token("alice"));
        let first = world.visit(host, &format!("{folder}/"), &[session]).await;
        assert_eq!(first.status, StatusCode::OK, "{host}: {}", text(&first));
        let (name, token, _) = &set_cookies(&first)[0];
        let cookie = format!("{name}={token}");
        let (own, other) = (format!("https://{host}"), "https://owner--dev--bob.test.coder.com");
        let requests = [
            vec![],
            vec![("cookie", "a=b")],
            vec![("coder-session-token", world.token("bob"))],
            vec![session],
            vec![session, ("origin", &own), ("upgrade", "websocket")],
            vec![session, ("origin", other), ("upgrade", "websocket")],
            vec![("cookie", &cookie), ("origin", other), ("upgrade", "websocket")],
            vec![("cookie", &cookie)],
        ];
        let answers = async || {
            let mut answers = Vec::new();
            for path in ["", "/", "/x?y=1"] {
                for request in &requests {
                    let uri = format!("{folder}{path}");
                    let mut answer = world.visit(host, &uri, request).await;
                    // New each time, as the nonce in the address of the dashboard.
                    answer.headers.remove("x-request-id");
                    answer.headers.remove("date");
                    answer.headers.remove("set-cookie");
                    if answer.status == StatusCode::SEE_OTHER {
                        answer.headers.remove("location");
                    }
                    answers.push((answer.status, answer.headers));
                }
            }
            answers
        };
        let read = answers().await;
        let statuses: BTreeSet<u16> = read.iter().map(|(status, _)| status.as_u16()).collect();
        assert_eq!(statuses, BTreeSet::from([200, 303, 307, 403, 404]), "{host}");
        let known = answers().await;
        assert_eq!(read, known, "{host}");
    }
}

/// A token as the control plane itself signs it
async fn sign_as_control_plane(world: &World, slug: &str, agent: &str, now: u64) -> String {
    let key = world
        .database
        .sql("select sequence || ' ' || secret from crypto_keys where feature = 'workspace_apps_token'")
        .await;
    let (sequence, secret) = key[0].split_once(' ').unwrap();
    let workspace = world.workspace;
    let secret: Vec<u8> = (0..secret.len() / 2)
        .map(|at| u8::from_str_radix(&secret[at * 2..at * 2 + 2], 16).unwrap())
        .collect();
    let claims = json!({
        "exp": now + 60,
        "request": {
            "access_method": "subdomain", "base_path": "/", "app_prefix": "",
            "username_or_id": "alice", "workspace_name_or_id": "dev",
            "agent_name_or_id": agent, "app_slug_or_port": slug,
        },
        "user_id": world.people["alice"].id, "workspace_id": workspace, "agent_id": world.agent,
        "app_url": "http://127.0.0.1:7777", "cors_behavior": "simple",
    });
    let encode = |bytes: &[u8]| {
        let text = openssl::base64::encode_block(bytes);
        text.replace('+', "-").replace('/', "_").trim_end_matches('=').to_owned()
    };
    let header = json!({"alg": "HS512", "kid": sequence}).to_string();
    let text = format!("{}.{}", encode(header.as_bytes()), encode(claims.to_string().as_bytes()));
    let key = PKey::hmac(&secret).unwrap();
    let mut signer = Signer::new(MessageDigest::sha512(), &key).unwrap();
    let signature = signer.sign_oneshot_to_vec(text.as_bytes()).unwrap();
    format!("{text}.{}", encode(&signature))
}

#[tokio::test]
async fn tokens_of_every_release_of_the_control_plane_are_accepted() {
    let plan = Plan::new();
    let now = plan.now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let world = plan.serve().await;
    for (slug, agent, label, status) in [
        ("owner", "", "owner--dev--alice", 200),
        ("owner", "", "owner--agent--dev--alice", 200),
        ("owner", "agent", "owner--agent--dev--alice", 200),
        ("owner", "agent", "owner--dev--alice", 303),
        ("owner", "slow", "owner--agent--dev--alice", 303),
        ("owner", "", "authed--dev--alice", 303),
        ("9090", "agent", "9090--agent--dev--alice", 200),
        ("9090", "", "9090--agent--dev--alice", 303),
        ("9090", "agent", "9090--slow--dev--alice", 303),
    ] {
        let token = sign_as_control_plane(&world, slug, agent, now).await;
        let cookie = format!("coder_signed_app_token={token}");
        let answer = world.visit(&host(label), "/", &[("cookie", &cookie)]).await;
        assert_eq!(answer.status.as_u16(), status, "{slug} of `{agent}` at {label}");
        if status == 200 {
            assert_eq!(header(&answer, "x-authd-app-url"), "http://127.0.0.1:7777");
        }
    }
}
