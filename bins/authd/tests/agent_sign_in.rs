//! Agents sign in over HTTP, against a real PostgreSQL

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};

use agent_auth::Rules;
use common::{Server, Setup, proof, status_and_message};
use identity_fetch::Identity;
use identity_verify::Policy;
use identity_verify::test_util::aws::Cloud;
use identity_verify::test_util::{at, azure, google};
use serde_json::json;
use store::fleet::{Fleet, JobType, Transition};
use store::{Options, PgStore, StatementCounter};
use testkit::net::Answer;
use testkit::{Database, OwnServer};
use uuid::Uuid;

const INSTANCE: &str = "i-0123456789abcdef0";

/// A fleet under construction, with one owner
struct Sample {
    rows: Fleet,
    organization: Uuid,
    owner: Uuid,
}

impl Sample {
    fn new() -> Self {
        let mut rows = Fleet::default();
        let organization = rows.organization("acme");
        let owner = rows.user("alice", organization);
        Self { rows, organization, owner }
    }

    /// Adds a build of `workspace` with these agents on the instance, and returns their tokens
    fn build(&mut self, workspace: Uuid, agents: &[&str]) -> Vec<String> {
        let build = self.rows.build(workspace, Transition::Start);
        let agents = agents.iter();
        agents
            .map(|name| self.rows.agent(build.resource, name, INSTANCE).auth_token.0.to_string())
            .collect()
    }

    /// Serves these rows
    async fn serve(self, rules: Rules) -> Running {
        self.serve_from(Database::new().await, rules).await
    }

    async fn serve_from(self, database: Database, rules: Rules) -> Running {
        let statements = StatementCounter::default();
        let options = Options::default().statements(statements.clone());
        let store = PgStore::connect(database.url(), &options).await.unwrap();
        store.load(&self.rows).await.unwrap();
        let cloud = Cloud::generate(common::REGION);
        let server = Setup::trusting(&cloud).rules(rules).start(store).await;
        Running { _database: database, statements, cloud, server }
    }
}

struct Running {
    _database: Database,
    statements: StatementCounter,
    cloud: Cloud,
    server: Server,
}

impl Running {
    async fn sign_in(&self, name: Option<&str>) -> (u16, String) {
        status_and_message(&self.server.sign_in(&self.cloud, INSTANCE, name).await)
    }

    /// Signs in, and counts the statements
    async fn counted(&self, name: Option<&str>) -> (u16, u64) {
        let before = self.statements.get();
        let (status, _) = self.sign_in(name).await;
        (status, self.statements.get() - before)
    }
}

#[tokio::test]
async fn one_agent_receives_its_token() {
    // scenario 255
    let mut sample = Sample::new();
    let workspace = sample.rows.workspace(sample.owner, "dev");
    let tokens = sample.build(workspace, &["main"]);
    let running = sample.serve(Rules::default()).await;
    assert_eq!(running.sign_in(None).await, (200, tokens[0].clone()));
}

#[tokio::test]
async fn two_agents_must_be_named() {
    // scenario 256, 258, 259, 271
    let mut sample = Sample::new();
    let workspace = sample.rows.workspace(sample.owner, "dev");
    let tokens = sample.build(workspace, &["beta", "alpha"]);
    let running = sample.serve(Rules::default()).await;

    let ambiguous = format!(
        "Multiple agents found with instance ID \"{INSTANCE}\". \
         Set CODER_AGENT_NAME to one of: alpha, beta"
    );
    for no_name in [None, Some(""), Some("   "), Some("\u{2003}\t")] {
        assert_eq!(running.sign_in(no_name).await, (409, ambiguous.clone()));
    }
    for alpha in ["alpha", " alpha "] {
        assert_eq!(running.sign_in(Some(alpha)).await, (200, tokens[1].clone()));
    }
    assert_eq!(running.sign_in(Some("beta")).await, (200, tokens[0].clone()));
    for (name, quoted) in [("Alpha", "Alpha"), ("gamma", "gamma"), (" a\"b\n", "a\\\"b")] {
        let message =
            format!("No agent found with instance ID \"{INSTANCE}\" and name \"{quoted}\".");
        assert_eq!(running.sign_in(Some(name)).await, (404, message));
    }
}

#[tokio::test]
async fn agents_that_are_not_candidates_are_ignored() {
    // scenario 261, 268
    let mut sample = Sample::new();
    let workspace = sample.rows.workspace(sample.owner, "dev");
    let build = sample.rows.build(workspace, Transition::Start);
    let root = sample.rows.agent(build.resource, "main", INSTANCE);
    let (root_id, token) = (root.id, root.auth_token.0.to_string());
    sample.rows.agent(build.resource, "child", INSTANCE).parent_id = Some(root_id);
    sample.rows.agent(build.resource, "gone", INSTANCE).deleted = true;
    for job in [JobType::TemplateVersionImport, JobType::TemplateVersionDryRun] {
        let resource = sample.rows.bare_job(job, sample.organization);
        sample.rows.agent(resource, "imported", INSTANCE);
    }
    let running = sample.serve(Rules::default()).await;
    assert_eq!(running.sign_in(None).await, (200, token));
}

#[tokio::test]
async fn a_rebuilt_workspace_signs_in_with_its_newest_agent() {
    // scenario 262
    let mut sample = Sample::new();
    let workspace = sample.rows.workspace(sample.owner, "dev");
    let mut token = String::new();
    for _ in 0..10 {
        token = sample.build(workspace, &["main"]).remove(0);
        sample.rows.build(workspace, Transition::Stop);
    }
    // The last build is a stop: neither its agents nor earlier ones may sign in.
    let stopped = sample.serve(Rules::default()).await;
    let stale = format!(
        "Resource found for id \"{INSTANCE}\", but isn't registered on the latest history."
    );
    assert_eq!(stopped.sign_in(None).await, (400, stale.clone()));
    assert_eq!(stopped.sign_in(Some("main")).await, (400, stale));
    assert_ne!(token, "");

    let mut sample = Sample::new();
    let workspace = sample.rows.workspace(sample.owner, "dev");
    for _ in 0..10 {
        sample.rows.build(workspace, Transition::Stop);
        token = sample.build(workspace, &["main"]).remove(0);
    }
    let started = sample.serve(Rules::default()).await;
    assert_eq!(started.sign_in(None).await, (200, token.clone()));
    assert_eq!(started.sign_in(Some("main")).await, (200, token));
}

#[tokio::test]
async fn stale_instances_can_be_hidden() {
    let mut sample = Sample::new();
    let workspace = sample.rows.workspace(sample.owner, "dev");
    sample.build(workspace, &["main"]);
    sample.rows.build(workspace, Transition::Start);
    let running = sample.serve(Rules::default().hide_stale(true)).await;
    let not_found = format!("Instance with id \"{INSTANCE}\" not found.");
    assert_eq!(running.sign_in(None).await, (404, not_found));
}

#[tokio::test]
async fn a_deleted_workspace_has_no_agents() {
    // scenario 270
    let mut sample = Sample::new();
    let workspace = sample.rows.workspace(sample.owner, "dev");
    sample.build(workspace, &["main"]);
    sample.rows.workspaces[0].deleted = true;
    let running = sample.serve(Rules::default()).await;
    let not_found = format!("Instance with id \"{INSTANCE}\" not found.");
    assert_eq!(running.sign_in(None).await, (404, not_found));
}

/// Two owners in two organizations whose newest builds claim the instance
fn recycled() -> (Sample, Vec<String>) {
    let mut sample = Sample::new();
    let globex = sample.rows.organization("globex");
    let bob = sample.rows.user("bob", globex);
    let mut tokens = Vec::new();
    for (owner, agent) in [(sample.owner, "alices"), (bob, "bobs")] {
        let workspace = sample.rows.workspace(owner, "dev");
        tokens.extend(sample.build(workspace, &[agent]));
    }
    (sample, tokens)
}

#[tokio::test]
async fn a_recycled_id_is_refused_without_names() {
    // scenario 274
    let running = recycled().0.serve(Rules::default()).await;
    for name in [None, Some("alices"), Some("bobs"), Some("unknown")] {
        let answer = running.server.sign_in(&running.cloud, INSTANCE, name).await;
        assert_eq!(answer.status, 409);
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        assert!(!body.contains("alices") && !body.contains("bobs"), "{body}");
    }
}

#[tokio::test]
async fn deployments_that_share_machines_select_by_name() {
    let (sample, tokens) = recycled();
    let running = sample.serve(Rules::default().allow_instance_shared_by_workspaces(true)).await;
    assert_eq!(running.sign_in(Some("bobs")).await, (200, tokens[1].clone()));
    let (status, message) = running.sign_in(None).await;
    assert_eq!(status, 409);
    assert!(message.ends_with("one of: alices, bobs"), "{message}");
}

#[tokio::test]
async fn a_sign_in_is_one_statement_and_a_failed_proof_none() {
    // scenario 273
    for candidates in [1, 2, 20] {
        let mut sample = Sample::new();
        let workspace = sample.rows.workspace(sample.owner, "dev");
        for _ in 0..candidates {
            sample.build(workspace, &["main"]);
        }
        let running = sample.serve(Rules::default()).await;
        // The first call opens a connection and prepares the statement, which are
        // counted, nor ever repeated.
        for _ in 0..3 {
            assert_eq!(running.counted(None).await, (200, 1), "{candidates} candidates");
        }

        let before = running.statements.get();
        let mut forged = proof(&running.cloud, INSTANCE, None);
        forged["document"] = forged["document"].as_str().unwrap().replace('5', "6").into();
        assert_eq!(status_and_message(&running.server.post(forged.to_string()).await).0, 401);
        for odd in ["", "i-1\"\u{1}'; --", "I-0123456789ABCDEF0", "0123456789"] {
            let answer = running.server.sign_in(&running.cloud, odd, None).await;
            assert_eq!(status_and_message(&answer).0, 404, "{odd}");
        }
        for bad in ["", "{", "[]", "{}", r#"{"document":"x"}"#] {
            assert_eq!(status_and_message(&running.server.post(bad).await).0, 400, "{bad}");
        }
        assert_eq!(running.statements.get(), before);
    }
}

#[tokio::test]
async fn an_outage_is_answered_with_503_and_recovery_needs_no_restart() {
    let mut sample = Sample::new();
    let workspace = sample.rows.workspace(sample.owner, "dev");
    let tokens = sample.build(workspace, &["main"]);
    let postgres = OwnServer::start().await;
    let running = sample.serve_from(postgres.database().await, Rules::default()).await;
    assert_eq!(running.server.get("/readyz").await.status, 200);

    postgres.pause().await;
    let message = "Internal error fetching provisioner job agent.".to_owned();
    assert_eq!(running.sign_in(None).await, (503, message));
    let answer = running.server.get("/readyz").await;
    assert_eq!(status_and_message(&answer), (503, "The database is not reachable.".to_owned()));
    assert_eq!(running.server.get("/healthz").await.status, 200);

    postgres.resume().await;
    assert_eq!(running.sign_in(None).await, (200, tokens[0].clone()));
    assert_eq!(running.server.get("/readyz").await.status, 200);
}

/// Machines that sign in meanwhile wait a moment, and none is sent away
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_database_is_not_noticed_by_machines() {
    let mut sample = Sample::new();
    let workspace = sample.rows.workspace(sample.owner, "dev");
    let tokens = sample.build(workspace, &["main"]);
    let postgres = OwnServer::start().await;
    let running = sample.serve_from(postgres.database().await, Rules::default()).await;
    let is_over = AtomicBool::new(false);
    let machine = async || {
        let mut signed_in = 0;
        while !is_over.load(Ordering::Relaxed) {
            assert_eq!(running.sign_in(None).await, (200, tokens[0].clone()));
            signed_in += 1;
        }
        signed_in
    };
    let restarts = async {
        for _ in 0..2 {
            postgres.pause().await;
            postgres.resume().await;
            assert_eq!(running.sign_in(None).await, (200, tokens[0].clone()));
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let (one, two, three, ()) = tokio::join!(machine(), machine(), machine(), restarts);
    assert!(one > 0 && two > 0 && three > 0);
}

const VM: &str = "02aab8a4-74ef-476e-8182-f6d2ba4166a6";
const GOOGLE_INSTANCE: &str = "8087716956832600000";

/// A server with an agent on an Azure machine, and two agents on a Google machine
struct OtherClouds {
    database: Database,
    server: Server,
    azure: azure::Cloud,
    google: google::Cloud,
    /// The tokens of the agent on the Azure machine, then of `alpha` and `beta` on Google's
    tokens: Vec<String>,
}

impl OtherClouds {
    async fn start() -> Self {
        Self::start_with(Database::new().await).await
    }

    async fn start_with(database: Database) -> Self {
        let mut sample = Sample::new();
        let workspace = sample.rows.workspace(sample.owner, "dev");
        let build = sample.rows.build(workspace, Transition::Start);
        let tokens = [("main", VM), ("alpha", GOOGLE_INSTANCE), ("beta", GOOGLE_INSTANCE)]
            .map(|(name, id)| sample.rows.agent(build.resource, name, id).auth_token.0.to_string());
        let store = database.store().await;
        store.load(&sample.rows).await.unwrap();

        let azure = azure::Cloud::generate();
        let google = google::Cloud::generate();
        let identity = Identity::builtin()
            .azure(identity_verify::azure::Verifier::new(azure.trust(), Policy::default()))
            .google(identity_verify::google::Verifier::default())
            .google_keys(google.jwks());
        let server = Setup::with(identity).start(store).await;
        Self { database, server, azure, google, tokens: tokens.into() }
    }

    async fn azure(&self, vm_id: &str, expires_on: &str) -> (u16, String) {
        status_and_message(&self.answer_azure(vm_id, expires_on).await)
    }

    async fn answer_azure(&self, vm_id: &str, expires_on: &str) -> Answer {
        let subscription = "8d10da13-8125-4ba9-a717-bf7490507b3d";
        let document =
            azure::Document::new(vm_id, subscription, "11/20/26 23:00:00 -0000", expires_on);
        let signature = self.azure.sign(document.to_json().as_bytes());
        let body = json!({ "signature": signature, "encoding": "pkcs7" });
        let path = "/api/v2/workspaceagents/azure-instance-identity";
        self.server.post_to(path, body.to_string()).await
    }

    async fn google(&self, instance: &str, issued: &str, name: Option<&str>) -> (u16, String) {
        let claims = google::Claims::new(instance, "project", "coder", at(issued));
        let mut body = json!({ "json_web_token": self.google.sign(&claims.to_json()) });
        if let Some(name) = name {
            body["agent_name"] = name.into();
        }
        let path = "/api/v2/workspaceagents/google-instance-identity";
        status_and_message(&self.server.post_to(path, body.to_string()).await)
    }
}

#[tokio::test]
async fn azure_machines_sign_in() {
    // scenario 253
    let clouds = OtherClouds::start().await;
    let end = "11/21/26 05:00:00 -0000";
    assert_eq!(clouds.azure(VM, end).await, (200, clouds.tokens[0].clone()));
    let upper = VM.to_uppercase();
    assert_eq!(clouds.azure(&upper, end).await, (200, clouds.tokens[0].clone()));
    let expired = clouds.azure(VM, "11/20/26 23:30:00 -0000").await;
    assert_eq!(expired, (401, "Invalid Azure identity.".to_owned()));
    // Google's id, signed by Azure, is not found.
    let not_found = format!("Instance with id \"{GOOGLE_INSTANCE}\" not found.");
    assert_eq!(clouds.azure(GOOGLE_INSTANCE, end).await, (404, not_found));
    for (body, missing) in [
        (json!({"encoding": "pkcs7"}), "signature"),
        (json!({"signature": "x", "encoding": ""}), "encoding"),
    ] {
        let path = "/api/v2/workspaceagents/azure-instance-identity";
        let answer = clouds.server.post_to(path, body.to_string()).await;
        assert_eq!(status_and_message(&answer), (400, "Validation failed.".to_owned()));
        assert!(String::from_utf8_lossy(&answer.body).contains(missing));
    }
}

#[tokio::test]
async fn every_outage_is_503_with_a_time_to_try_again() {
    let server = OwnServer::start().await;
    let (database, other) = (server.database().await, server.database().await);
    let name = database.sql("SELECT current_database()").await.remove(0);
    let clouds = OtherClouds::start_with(database).await;
    let sign_in = async || clouds.answer_azure(VM, "11/21/26 05:00:00 -0000").await;
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    );
    let closed = |open: bool| format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {open}");
    let expect_outage = async |kind: &str| {
        let answer = sign_in().await;
        let again = answer.headers.get("retry-after");
        assert_eq!((answer.status.as_u16(), again.is_some()), (503, true), "{kind}");
    };
    assert_eq!(sign_in().await.status, 200);

    let locked = clouds.database.hold("LOCK TABLE workspace_agents").await;
    expect_outage("locked").await;
    drop(locked);
    other.sql(&end).await;
    assert_eq!(sign_in().await.status, 200);

    other.sql(&closed(false)).await;
    other.sql(&end).await;
    expect_outage("closed").await;
    other.sql(&closed(true)).await;
    assert_eq!(sign_in().await.status, 200);

    server.pause().await;
    expect_outage("stopped").await;
    server.resume().await;
    assert_eq!(sign_in().await.status, 200);
}

#[tokio::test]
async fn google_machines_sign_in() {
    // scenario 264, 265, 267
    let clouds = OtherClouds::start().await;
    let now = "2026-11-20T23:59:00Z";
    let expired = clouds.google(GOOGLE_INSTANCE, "2026-11-20T22:00:00Z", Some("alpha")).await;
    assert_eq!(expired, (401, "Invalid GCP identity.".to_owned()));
    let not_found = "Instance with id \"7\" not found.".to_owned();
    assert_eq!(clouds.google("7", now, None).await, (404, not_found));
    let alpha = clouds.google(GOOGLE_INSTANCE, now, Some("alpha")).await;
    assert_eq!(alpha, (200, clouds.tokens[1].clone()));
    let ambiguous = clouds.google(GOOGLE_INSTANCE, now, None).await;
    assert_eq!(ambiguous.0, 409);
    assert!(ambiguous.1.ends_with("one of: alpha, beta"), "{}", ambiguous.1);
}

#[tokio::test]
async fn without_keys_google_machines_are_asked_to_retry() {
    let server = Setup::with(Identity::builtin()).start(store::MemoryStore::default()).await;
    let google = google::Cloud::generate();
    let claims = google::Claims::new("7", "project", "coder", at("2026-11-20T23:59:00Z"));
    let body = json!({ "json_web_token": google.sign(&claims.to_json()) });
    let path = "/api/v2/workspaceagents/google-instance-identity";
    let (status, message) = status_and_message(&server.post_to(path, body.to_string()).await);
    assert_eq!((status, message.contains("keys")), (503, true), "{message}");
}
