//! Proofs captured from real clouds, and forgeries of them, over HTTP
//!
//! They are read from `../shared/vectors` beside the checkout and are no part of it.
//! Without them this says so and passes, unless `AUTHD_REQUIRE_VECTORS` is set.

#![allow(clippy::print_stderr, clippy::unwrap_used, reason = "a test may speak and fail")]

mod common;

use std::path::PathBuf;

use common::{Setup, told};
use identity_verify::test_util::at;
use identity_verify::{Policy, aws};
use serde_json::{Value, json};
use store::PgStore;
use store::fleet::{Fleet, Transition};
use testkit::Database;

/// The instance of the genuine document `aws-sig-us-east-1-2022-valid`
const GENUINE: &str = "i-076e9b91f7c420782";

fn folder() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("../../../shared/vectors/identity");
    if folder.is_dir() {
        return Some(folder);
    }
    assert!(
        std::env::var_os("AUTHD_REQUIRE_VECTORS").is_none(),
        "the captured proofs are required and missing: {}",
        folder.display()
    );
    eprintln!("!! RAN WITHOUT CAPTURED PROOFS: {} is missing", folder.display());
    None
}

#[tokio::test]
async fn every_captured_proof_gets_its_listed_answer() {
    let Some(folder) = folder() else { return };
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();

    // Every instance that a vector speaks of has an agent, so that an accepted
    // proof is a token and nothing else is.
    let mut rows = Fleet::default();
    let organization = rows.organization("acme");
    let owner = rows.user("alice", organization);
    let vectors = || {
        let all = manifest["vectors"].as_array().unwrap().iter();
        all.filter(|vector| vector["kind"] == "signature")
    };
    let mut tokens = std::collections::BTreeMap::new();
    for instance in vectors().filter_map(|vector| vector["expect"]["instance_id"].as_str()) {
        if !tokens.contains_key(instance) {
            let workspace = rows.workspace(owner, instance);
            let build = rows.build(workspace, Transition::Start);
            let agent = rows.agent(build.resource, "main", instance);
            tokens.insert(instance.to_owned(), agent.auth_token.0.to_string());
        }
    }
    assert!(tokens.contains_key(GENUINE));
    let database = Database::new().await;
    database.store().await.load(&rows).await.unwrap();

    let mut answered = 0;
    for vector in vectors() {
        let id = vector["id"].as_str().unwrap();
        let file = |name: &str| {
            let path = folder.join(vector["files"][name].as_str().unwrap());
            String::from_utf8(std::fs::read(path).unwrap()).unwrap()
        };
        let body = json!({ "document": file("document"), "signature": file("signature") });
        let policy: Policy = match &vector["policy"] {
            Value::Null => Policy::default(),
            policy => serde_json::from_value(policy.clone()).unwrap(),
        };
        let mut setup = Setup::with(aws::Verifier::new(aws::Keys::builtin(), policy));
        setup.now = at(vector["verify_at"].as_str().unwrap());
        let store = PgStore::connect(database.url(), &store::Options::default()).await.unwrap();
        let server = setup.start(store).await;

        let (status, text) = told(&server.post(body.to_string()).await);
        if vector["expect"]["outcome"] == "accept" {
            let instance = vector["expect"]["instance_id"].as_str().unwrap();
            assert_eq!((status, text), (200, tokens[instance].clone()), "{id}");
        } else if body["signature"] == "" {
            assert_eq!((status, text), (400, "Validation failed.".to_owned()), "{id}");
        } else {
            assert_eq!((status, text), (401, "Invalid AWS identity.".to_owned()), "{id}");
        }
        answered += 1;
    }
    assert!(answered >= 20, "only {answered} vectors");
}
