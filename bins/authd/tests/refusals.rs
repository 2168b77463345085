//! A refused machine can be identified from the log, but not from the answer

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;
#[path = "common/log.rs"]
mod log;

use common::{Setup, status_and_message};
use identity_fetch::Identity;
use identity_verify::test_util::{at, aws, azure, google};
use identity_verify::{Policy, aws as on_aws, azure as on_azure, google as on_google};
use log::Log;
use serde_json::{Value, json};
use store::fleet::{Fleet, Transition};
use store::{MemoryStore, Options, PgStore};
use testkit::Database;

const INSTANCE: &str = "i-0123456789abcdef0";
const VM: &str = "02aab8a4-74ef-476e-8182-f6d2ba4166a6";
const FIRMWARE: &str = "a4b8aa02-ef74-6e47-8182-f6d2ba4166a6";
const SUBSCRIPTION: &str = "8d10da13-8125-4ba9-a717-bf7490507b3d";
const GOOGLE_INSTANCE: &str = "8087716956832600000";
const ACCOUNT: &str = "123456789012";

/// The single line about a refusal since the last call
fn refusal(log: &Log) -> Value {
    single(log, "request refused")
}

/// The single line with this message since the last call
fn single(log: &Log, message: &str) -> Value {
    let lines = log.lines();
    let mut found = lines.iter().filter(|line| line["message"] == message);
    let refusal = found.next().unwrap_or_else(|| panic!("no refusal: {lines:?}"));
    assert!(found.next().is_none(), "{lines:?}");
    refusal.clone()
}

struct Clouds {
    aws: aws::Cloud,
    azure: azure::Cloud,
    google: google::Cloud,
}

impl Clouds {
    fn generate() -> Self {
        Self {
            aws: aws::Cloud::generate(common::REGION),
            azure: azure::Cloud::generate(),
            google: google::Cloud::generate(),
        }
    }

    fn identity(&self, policy: &Value) -> Identity {
        let policy: Policy = serde_json::from_value(policy.clone()).unwrap();
        Identity::builtin()
            .aws(on_aws::Verifier::new(self.aws.keys(), policy.clone()))
            .azure(on_azure::Verifier::new(self.azure.trust(), policy.clone()))
            .google(on_google::Verifier::new(policy))
            .google_keys(self.google.jwks())
    }

    /// The body that a machine of the cloud posts
    fn proof(&self, cloud: &str) -> Value {
        match cloud {
            "aws" | "aws-pkcs7" => {
                let started = "2026-11-20T00:00:00Z";
                let document = aws::Document::new(INSTANCE, common::REGION, ACCOUNT, started);
                let document = document.to_json();
                match cloud {
                    "aws" => json!({
                        "document": document, "signature": self.aws.sign(document.as_bytes()),
                    }),
                    _ => json!({ "pkcs7": self.aws.sign_pkcs7(document.as_bytes()) }),
                }
            }
            "azure" => {
                let (from, to) = ("11/20/26 23:00:00 -0000", "11/21/26 05:00:00 -0000");
                let document = azure::Document::new(VM, SUBSCRIPTION, from, to).to_json();
                let signature = self.azure.leaf.sign(document.as_bytes());
                json!({ "signature": signature, "encoding": "pkcs7" })
            }
            _ => {
                let issued = at("2026-11-20T23:59:00Z");
                let claims = google::Claims::new(GOOGLE_INSTANCE, "project-a", "coder", issued);
                json!({ "json_web_token": self.google.sign(&claims.to_json()) })
            }
        }
    }
}

fn path(cloud: &str) -> String {
    let cloud = cloud.split('-').next().unwrap();
    format!("/api/v2/workspaceagents/{cloud}-instance-identity")
}

#[tokio::test]
async fn a_genuine_proof_that_the_policy_refuses_is_found_by_machine_setting_and_value() {
    let clouds = Clouds::generate();
    let log = Log::begin();
    for (cloud, id, policy, value) in [
        ("aws", INSTANCE, json!({"aws_allowed_accounts": ["210987654321"]}), ACCOUNT),
        ("aws-pkcs7", INSTANCE, json!({"aws_allowed_accounts": ["210987654321"]}), ACCOUNT),
        ("aws", INSTANCE, json!({"aws_allowed_regions": ["us-east-1"]}), common::REGION),
        ("aws", INSTANCE, json!({"aws_max_document_age_seconds": 60}), "2026-11-20T00:00:00Z"),
        ("aws", INSTANCE, json!({"aws_allow_rsa1024": false}), "RSA-1024"),
        ("azure", VM, json!({"azure_allowed_subscriptions": [VM]}), SUBSCRIPTION),
        ("azure", VM, json!({"azure_clouds": ["china"]}), "public"),
        ("google", GOOGLE_INSTANCE, json!({"google_allowed_projects": ["other"]}), "project-a"),
        ("google", GOOGLE_INSTANCE, json!({"google_audience": "authd"}), "coder"),
        ("google", GOOGLE_INSTANCE, json!({"google_max_lifetime_seconds": 60}), "3600"),
        ("google", GOOGLE_INSTANCE, json!({"google_max_instance_age_seconds": 60}), "1795132740"),
        (
            "google",
            GOOGLE_INSTANCE,
            json!({"google_allowed_service_accounts": ["other"]}),
            "vm@project-a.iam.gserviceaccount.com",
        ),
    ] {
        let server = Setup::with(clouds.identity(&policy)).start(MemoryStore::default()).await;
        let answer = server.post_to(&path(cloud), clouds.proof(cloud).to_string()).await;
        assert_eq!(status_and_message(&answer).0, 401, "{policy}");
        let line = refusal(&log);
        let (setting, _) = policy.as_object().unwrap().iter().next().unwrap();
        for (field, expected) in [
            ("instance_id", json!(id)),
            ("cloud", json!(cloud.split('-').next().unwrap())),
            ("verified", json!(true)),
            ("setting", json!(setting)),
            ("value", json!(value)),
            ("status", json!(401)),
        ] {
            assert_eq!(line[field], expected, "{policy}: {line}");
        }
        // The answer contains none of this.
        let said = String::from_utf8(answer.body.to_vec()).unwrap();
        for secret in [id, value, setting] {
            assert!(!said.contains(secret), "{policy}: {said}");
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn the_claims_of_an_invalid_proof_are_marked_as_unverified() {
    let (clouds, strangers) = (Clouds::generate(), Clouds::generate());
    let server = Setup::with(clouds.identity(&json!({}))).start(MemoryStore::default()).await;
    let log = Log::begin();
    for (cloud, id, claims) in [
        ("aws", INSTANCE, "account_id=\"123456789012\" region=\"test-region-1\""),
        ("aws-pkcs7", INSTANCE, "account_id=\"123456789012\" region=\"test-region-1\""),
        ("azure", VM, "subscription_id=\"8d10da13-8125-4ba9-a717-bf7490507b3d\""),
        ("google", GOOGLE_INSTANCE, "project_id=\"project-a\""),
    ] {
        let answer = server.post_to(&path(cloud), strangers.proof(cloud).to_string()).await;
        assert_eq!(status_and_message(&answer).0, 401);
        let line = refusal(&log);
        assert_eq!(
            (&line["instance_id_unverified"], &line["verified"]),
            (&json!(id), &json!(false)),
            "{line}"
        );
        assert_eq!(
            (line.get("instance_id"), &line["client"]),
            (None, &json!("127.0.0.1")),
            "{line}"
        );
        assert!(line["duration_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{line}");
        assert!(line["claims"].as_str().unwrap().contains(claims), "{line}");
        assert_eq!((line.get("setting"), line.get("value")), (None, None), "{line}");
        assert!(!String::from_utf8(answer.body.to_vec()).unwrap().contains(id));
    }
    // A proof that does not parse.
    let answer = server.post(json!({ "document": "x", "signature": "AAAA" }).to_string()).await;
    assert_eq!(status_and_message(&answer).0, 401);
    let line = refusal(&log);
    assert_eq!(line.get("instance_id_unverified"), None, "{line}");
    assert_eq!((line.get("instance_id"), &line["verified"]), (None, &json!(false)), "{line}");
    server.stop().await;
}

#[tokio::test]
async fn missing_trust_is_named_in_the_log_only() {
    let (clouds, strangers) = (Clouds::generate(), Clouds::generate());
    let server = Setup::with(clouds.identity(&json!({}))).start(MemoryStore::default()).await;
    let log = Log::begin();
    let document =
        aws::Document::new(INSTANCE, "xx-future-1", ACCOUNT, "2026-11-20T00:00:00Z").to_json();
    let signature = strangers.aws.sign(document.as_bytes());
    let body = json!({ "document": document, "signature": signature });
    let answer = server.post(body.to_string()).await;
    assert!(refusal(&log)["detail"].as_str().unwrap().contains("`xx-future-1`"));
    assert!(!String::from_utf8(answer.body.to_vec()).unwrap().contains("xx-future-1"));

    let url = "http://www.microsoft.com/pkiops/certs/Missing.crt";
    let issuer = clouds.azure.root.issue("Missing CA 09", &[]);
    let leaf = issuer.issue_leaf(&azure::LeafOptions {
        issuer_urls: vec![url.to_owned()],
        ..azure::LeafOptions::default()
    });
    let (from, to) = ("11/20/26 23:00:00 -0000", "11/21/26 05:00:00 -0000");
    let document = azure::Document::new(VM, SUBSCRIPTION, from, to).to_json();
    let body = json!({ "signature": leaf.sign(document.as_bytes()), "encoding": "pkcs7" });
    let answer = server.post_to(&path("azure"), body.to_string()).await;
    let detail = refusal(&log)["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("`Missing CA 09`") && detail.contains(url), "{detail}");
    let said: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(said["detail"], "untrusted_signer");
    server.stop().await;
}

#[tokio::test]
async fn an_azure_id_in_the_firmwares_byte_order_is_reported() {
    let clouds = Clouds::generate();
    let mut rows = Fleet::default();
    let organization = rows.organization("acme");
    let owner = rows.user("alice", organization);
    let workspace = rows.workspace(owner, "dev");
    let build = rows.build(workspace, Transition::Start);
    rows.agent(build.resource, "main", FIRMWARE);
    let store = MemoryStore::default();
    store.load(&rows);
    let server = Setup::with(clouds.identity(&json!({}))).start(store).await;
    let log = Log::begin();
    let answer = server.post_to(&path("azure"), clouds.proof("azure").to_string()).await;
    assert_eq!(status_and_message(&answer).0, 404);
    let line = refusal(&log);
    let detail = line["detail"].as_str().unwrap();
    assert!(detail.contains(FIRMWARE) && detail.contains("firmware's order of bytes"), "{line}");
    assert_eq!((&line["cloud"], &line["verified"]), (&json!("azure"), &json!(true)), "{line}");
    assert!(!String::from_utf8(answer.body.to_vec()).unwrap().contains(FIRMWARE));
    server.stop().await;
}

/// The texts that templates store for a machine of Google, and whether they stand for this one
#[tokio::test]
async fn a_name_that_is_stored_instead_of_a_number_is_reported() {
    let clouds = Clouds::generate();
    let log = Log::begin();
    let path_of = "projects/project-a/zones/us-west1-a/instances/vm-1";
    let link = format!("https://www.googleapis.com/compute/v1/{path_of}");
    for (stored, is_found) in
        [("vm-1", true), (path_of, true), (&link, true), ("other", false), ("VM-1", false)]
    {
        let mut rows = Fleet::default();
        let organization = rows.organization("acme");
        let owner = rows.user("alice", organization);
        let workspace = rows.workspace(owner, "dev");
        let build = rows.build(workspace, Transition::Start);
        rows.agent(build.resource, "main", stored);
        let store = MemoryStore::default();
        store.load(&rows);
        let server = Setup::with(clouds.identity(&json!({}))).start(store).await;
        let answer = server.post_to(&path("google"), clouds.proof("google").to_string()).await;
        assert_eq!(status_and_message(&answer).0, 404, "{stored}");
        let line = refusal(&log);
        let detail = line["detail"].as_str().unwrap();
        let expected = match is_found {
            true => format!("agents are stored under \"{stored}\", which is the name"),
            false => "`authd check` prints stored ids that no cloud gives".to_owned(),
        };
        assert!(detail.contains(&expected), "{stored}: {detail}");
        server.stop().await;
    }
}

#[tokio::test]
async fn a_verified_machine_without_an_agent_has_its_cloud_in_the_log() {
    let clouds = Clouds::generate();
    let server = Setup::with(clouds.identity(&json!({}))).start(MemoryStore::default()).await;
    let log = Log::begin();
    for (cloud, id) in [("aws", INSTANCE), ("azure", VM), ("google", GOOGLE_INSTANCE)] {
        let answer = server.post_to(&path(cloud), clouds.proof(cloud).to_string()).await;
        assert_eq!(status_and_message(&answer).0, 404);
        let line = refusal(&log);
        let expected = (&json!(id), &json!(cloud), &json!(true));
        assert_eq!((&line["instance_id"], &line["cloud"], &line["verified"]), expected, "{line}");
    }
    server.stop().await;
}

#[tokio::test]
async fn workspaces_that_share_an_instance_are_in_the_log() {
    let clouds = Clouds::generate();
    let mut rows = Fleet::default();
    let organization = rows.organization("acme");
    let owner = rows.user("alice", organization);
    let mut workspaces = Vec::new();
    for name in ["one", "two"] {
        let workspace = rows.workspace(owner, name);
        let build = rows.build(workspace, Transition::Start);
        rows.agent(build.resource, "main", INSTANCE);
        workspaces.push(workspace.to_string());
    }
    workspaces.sort();
    let store = MemoryStore::default();
    store.load(&rows);
    let server = Setup::with(clouds.identity(&json!({}))).start(store).await;
    let log = Log::begin();
    let answer = server.post_to(&path("aws"), clouds.proof("aws").to_string()).await;
    assert_eq!(status_and_message(&answer).0, 409);
    let line = refusal(&log);
    for (field, expected) in [
        ("instance_id", INSTANCE),
        ("setting", "allow_instance_shared_by_workspaces"),
        ("value", &workspaces.join(", ")),
    ] {
        assert_eq!(line[field], expected, "{line}");
    }
    assert!(!String::from_utf8(answer.body.to_vec()).unwrap().contains(&workspaces[0]));
    server.stop().await;
}

#[tokio::test]
async fn a_machine_whose_agents_cannot_be_looked_up_is_in_the_log() {
    let clouds = Clouds::generate();
    let database = Database::new().await;
    let store = PgStore::connect(database.url(), &Options::default()).await.unwrap();
    let server = Setup::with(clouds.identity(&json!({}))).start(store).await;
    database.sql("DROP TABLE workspace_agents CASCADE").await;
    let log = Log::begin();
    for (cloud, id) in [("aws", INSTANCE), ("azure", VM), ("google", GOOGLE_INSTANCE)] {
        let answer = server.post_to(&path(cloud), clouds.proof(cloud).to_string()).await;
        assert!(status_and_message(&answer).0 >= 500);
        let line = single(&log, "request failed");
        let expected = (&json!(id), &json!(cloud), &json!(true));
        assert_eq!((&line["instance_id"], &line["cloud"], &line["verified"]), expected, "{line}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_proof_in_both_forms_of_aws_holds_if_either_does() {
    let (small, large) =
        (aws::Cloud::generate(common::REGION), aws::Cloud::generate_bits(common::REGION, 2048));
    let document = aws::Document::new(INSTANCE, common::REGION, ACCOUNT, "2026-11-20T00:00:00Z");
    let document = document.to_json();
    let other = document.replace(INSTANCE, "i-0fedcba9876543210");
    let (weak, strong) = (small.sign(document.as_bytes()), large.sign_pkcs7(document.as_bytes()));
    let body = |pkcs7: &str, document: &str, signature: &str| {
        json!({ "pkcs7": pkcs7, "document": document, "signature": signature }).to_string()
    };
    // The keys of the deployment, whether it allows RSA-1024, and the expected status.
    for (trusted, allowed, believed) in [
        (&[&small, &large][..], true, true),
        (&[&large], true, true),
        (&[&small], true, true),
        (&[&small, &large], false, true),
        (&[&small], false, false),
        (&[], true, false),
    ] {
        let mut keys = on_aws::Keys::none();
        for cloud in trusted {
            keys.add_pem(common::REGION, cloud.public_key_pem().as_bytes()).unwrap();
        }
        let policy = json!({ "aws_allow_rsa1024": allowed });
        let verifier = on_aws::Verifier::new(keys, serde_json::from_value(policy).unwrap());
        let identity = Identity::builtin().aws(verifier);
        let server = Setup::with(identity).start(MemoryStore::default()).await;
        // 404: the machine is verified, and unknown.
        let expected = if believed { 404 } else { 401 };
        let answer = server.post(body(&strong, &document, &weak)).await;
        assert_eq!(
            status_and_message(&answer).0,
            expected,
            "{} keys, RSA-1024 {allowed}",
            trusted.len()
        );
        // The document beside the message must equal the signed one.
        assert_eq!(status_and_message(&server.post(body(&strong, &other, &weak)).await).0, 401);
        // A field that does not contain a message is not ignored.
        assert_eq!(status_and_message(&server.post(body("AAAA", &document, &weak)).await).0, 401);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_line_break_after_a_proof_is_not_part_of_it() {
    let clouds = Clouds::generate();
    let server = Setup::with(clouds.identity(&json!({}))).start(MemoryStore::default()).await;
    for (cloud, field) in [
        ("aws", "signature"),
        ("aws-pkcs7", "pkcs7"),
        ("azure", "signature"),
        ("google", "json_web_token"),
    ] {
        for end in ["\n", "\r\n", "\n\n"] {
            let mut body = clouds.proof(cloud);
            body[field] = format!("{}{end}", body[field].as_str().unwrap()).into();
            let answer = server.post_to(&path(cloud), body.to_string()).await;
            // The machine is verified, and unknown.
            assert_eq!(status_and_message(&answer).0, 404, "{cloud} {end:?}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_field_of_the_wrong_type_is_named() {
    let clouds = Clouds::generate();
    let server = Setup::with(clouds.identity(&json!({}))).start(MemoryStore::default()).await;
    for (cloud, body, part) in [
        ("aws", r#"{"document": {"a": 1}, "signature": "x"}"#, "`document` has the wrong type"),
        ("aws", r#"{"document": "x", "signature": 7}"#, "`signature` has the wrong type"),
        ("aws", r#"{"pkcs7": ["x"]}"#, "`pkcs7` has the wrong type"),
        ("aws", r#"{"pkcs7": "x", "agent_name": {}}"#, "`agent_name` has the wrong type"),
        ("azure", r#"{"signature": "x", "encoding": true}"#, "`encoding` has the wrong type"),
        ("google", r#"{"json_web_token": 1.5}"#, "`json_web_token` has the wrong type"),
        ("aws", r#"{"document": "x", "document": "y"}"#, "`document` occurs twice"),
        ("aws", r#"["x"]"#, "not a JSON object"),
        ("aws", r#"{"document": "x""#, "ends too early"),
        ("aws", r#"{"document": hunter2}"#, "not well-formed"),
    ] {
        let answer = server.post_to(&path(cloud), body).await;
        let said: Value = serde_json::from_slice(&answer.body).unwrap();
        let detail = said["detail"].as_str().unwrap();
        assert_eq!(status_and_message(&answer).0, 400, "{body}");
        assert!(detail.contains(part) && !detail.contains("hunter2"), "{body}: {detail}");
    }
    server.stop().await;
}
