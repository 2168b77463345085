//! Proofs of real clouds and of our own, and forgeries of them, over HTTP

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::collections::BTreeMap;

use common::vectors::{self, Vector};
use common::{Setup, status_and_message};
use identity_fetch::Identity;
use identity_verify::test_util::at;
use identity_verify::{Policy, aws, azure, google};
use serde_json::{Value, json};
use store::PgStore;
use store::fleet::{Fleet, Transition};
use testkit::Database;

#[tokio::test]
async fn every_proof_gets_its_listed_answer() {
    let vectors = vectors::read();

    // Every instance in the vectors has an agent, so that accepted proofs and no others get a
    // token.
    let mut rows = Fleet::default();
    let organization = rows.organization("acme");
    let owner = rows.user("alice", organization);
    let mut tokens = BTreeMap::new();
    for vector in &vectors {
        if let Some(instance) = vector.expected()["instance_id"].as_str() {
            tokens.entry(instance.to_lowercase()).or_insert_with_key(|instance| {
                let workspace = rows.workspace(owner, instance);
                let build = rows.build(workspace, Transition::Start);
                rows.agent(build.resource, "main", instance).auth_token.0.to_string()
            });
        }
    }
    assert!(tokens.len() >= 2, "{tokens:?}");
    let database = Database::new().await;
    database.store().await.load(&rows).await.unwrap();

    for vector in &vectors {
        let mut setup = Setup::with(identity(vector));
        setup.now = at(vector.verify_at());
        let options = store::Options::default().read_connections(1);
        let store = PgStore::connect(database.url(), &options).await.unwrap();
        let server = setup.start(store).await;
        let (route, body) = request(vector);

        let (status, text) = status_and_message(&server.post_to(&route, body.to_string()).await);
        let id = vector.id();
        if vector.is_optional() && vector.is_accepted() != (status == 200) {
            continue;
        }
        if vector.is_accepted() {
            let instance = vector.expected()["instance_id"].as_str().unwrap().to_lowercase();
            assert_eq!((status, text), (200, tokens[&instance].clone()), "{id}");
        } else {
            assert!(matches!(status, 400 | 401 | 404), "{id}: {status} {text}");
            let not_an_id = text == "Instance with id \"\" not found.";
            assert!(status != 404 || not_an_id, "{id}: {status} {text}");
            let no_claims = text == "Error decoding JWT claims.";
            assert!(status != 400 || no_claims || body_is_incomplete(&body), "{id}: {text}");
        }
    }
}

/// Verifiers with the policy and the trust of the vector
fn identity(vector: &Vector) -> Identity {
    let policy: Policy = serde_json::from_value(vector.policy()).unwrap();
    let folder = std::env::temp_dir().join(format!("authd-vectors-{}", uuid::Uuid::new_v4()));
    vector.write_trust(&folder);
    let read = |name: &str| std::fs::read(folder.join(name)).ok();
    let mut azure_trust = azure::Trust::builtin();
    if let Some(root) = read("azure/roots/root.pem") {
        azure_trust.add_root_pem(&root).unwrap();
        let intermediate = read("azure/intermediates/intermediate.pem").unwrap();
        azure_trust.add_intermediate_pem(&intermediate).unwrap();
    }
    let jwks = read("google/jwks.json").map(|json| google::Jwks::parse(&json).unwrap());
    std::fs::remove_dir_all(&folder).unwrap();
    Identity::builtin()
        .aws(aws::Verifier::new(aws::Keys::builtin(), policy.clone()))
        .azure(azure::Verifier::new(azure_trust, policy.clone()))
        .google(google::Verifier::new(policy))
        .google_keys(jwks.unwrap_or_default())
}

/// The route for the vector's cloud, and the body a machine would post there
fn request(vector: &Vector) -> (String, Value) {
    let file = |field| vector.file(field).map(|bytes| String::from_utf8(bytes).unwrap());
    let (cloud, body) = match vector.cloud() {
        "aws" => {
            let mut body = json!({});
            for field in ["document", "signature", "pkcs7"] {
                if let Some(text) = file(field) {
                    body[field] = text.into();
                }
            }
            ("aws", body)
        }
        "azure" => ("azure", json!({ "signature": file("signature"), "encoding": "pkcs7" })),
        _ => ("google", json!({ "json_web_token": file("jwt") })),
    };
    (format!("/api/v2/workspaceagents/{cloud}-instance-identity"), body)
}

fn body_is_incomplete(body: &Value) -> bool {
    body.as_object().unwrap().values().any(|value| value == "")
}
