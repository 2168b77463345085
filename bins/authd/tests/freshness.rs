//! Sign-in with nonces and pins over HTTP, against a real PostgreSQL

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use app_audit::{ActFilter, ActLog, Page};
use app_authz::token::{Feature, Rotation, rotate};
use authd_http::{ActAudit, Freshness, Service};
use common::{REGION, Server, Setup, proof, signed, status_and_message};
use identity_fetch::Identity;
use identity_verify::test_util::{at, aws, azure, google};
use identity_verify::{Challenge, Cloud, Policy};
use serde_json::{Value, json};
use store::fleet::{Fleet, Transition};
use store::{Options, PgStore, StatementCounter};
use testkit::Database;
use testkit::net::Answer;
use uuid::Uuid;

const INSTANCE: &str = "i-0123456789abcdef0";
const VM: &str = "02aab8a4-74ef-476e-8182-f6d2ba4166a6";
const GOOGLE_INSTANCE: &str = "8087716956832600000";
const CHALLENGE: &str = "/api/v2/authd/instance-identity/challenge";
const NOW: &str = "2026-11-21T00:00:00Z";

/// Keys are costly to make
struct Clouds {
    aws: aws::Cloud,
    azure: azure::Cloud,
    google: google::Cloud,
}

static CLOUDS: LazyLock<Clouds> = LazyLock::new(|| Clouds {
    aws: aws::Cloud::generate(REGION),
    azure: azure::Cloud::generate(),
    google: google::Cloud::generate(),
});

fn identity() -> Identity {
    let policy = Policy::default();
    Identity::builtin()
        .aws(identity_verify::aws::Verifier::new(CLOUDS.aws.keys(), policy.clone()))
        .azure(identity_verify::azure::Verifier::new(CLOUDS.azure.trust(), policy))
        .google(identity_verify::google::Verifier::default())
        .google_keys(CLOUDS.google.jwks())
}

/// A database with an agent on a machine of each cloud, in one build of one workspace
struct World {
    database: Database,
    workspace: Uuid,
    builds: i32,
}

impl World {
    async fn new() -> Self {
        let mut fleet = Fleet::default();
        let organization = fleet.organization("acme");
        let owner = fleet.user("alice", organization);
        let workspace = fleet.workspace(owner, "dev");
        let database = Database::new().await;
        database.store().await.load(&fleet).await.unwrap();
        let mut world = Self { database, workspace, builds: 0 };
        world.build().await;
        world
    }

    /// Adds a build of the workspace
    async fn build(&mut self) {
        self.builds += 1;
        let mut rows = Fleet::default();
        let build = rows.build(self.workspace, Transition::Start);
        for (name, id) in [("aws", INSTANCE), ("azure", VM), ("google", GOOGLE_INSTANCE)] {
            rows.agent(build.resource, name, id);
        }
        rows.workspace_builds[0].build_number = self.builds;
        self.database.store().await.load(&rows).await.unwrap();
    }

    /// Makes or rotates the keys of nonces
    async fn rotate_keys(&self, now: SystemTime) -> usize {
        let feature = Feature::WorkspaceAppsToken;
        let random = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().to_be_bytes();
        let fill = |bytes: &mut [u8]| bytes[..8].copy_from_slice(&random);
        let store = self.database.store().await;
        store.rotate(feature, |rows| rotate(feature, rows, now, fill)).await.unwrap()
    }

    /// A replica whose clock stands still
    async fn replica(&self, freshness: Freshness, now: SystemTime) -> Replica {
        let statements = StatementCounter::default();
        let options =
            Options::default().statements(statements.clone()).identity_pins(freshness.pins);
        let store = PgStore::connect(self.database.url(), &options).await.unwrap();
        let setup = Setup { now, ..Setup::with(identity()) };
        Replica { server: setup.freshness(freshness).start(store).await, statements }
    }
}

struct Replica {
    server: Server,
    statements: StatementCounter,
}

impl Replica {
    async fn post(&self, cloud: &str, body: Value) -> (u16, String) {
        let path = format!("/api/v2/workspaceagents/{cloud}-instance-identity");
        let answer = self.server.post_to(&path, body.to_string()).await;
        detail(&answer)
    }

    /// Signs in with a document of AWS; `pending` is the last start of the instance
    async fn aws(&self, pending: &str) -> (u16, String) {
        let document = aws::Document::new(INSTANCE, REGION, common::ACCOUNT, pending).to_json();
        self.post("aws", signed(&CLOUDS.aws, &document, None)).await
    }

    /// Signs in with attested data
    async fn azure(&self, created: &str, nonce: Option<&str>) -> (u16, String) {
        let subscription = "8d10da13-8125-4ba9-a717-bf7490507b3d";
        let mut document =
            azure::Document::new(VM, subscription, created, "11/21/26 05:00:00 -0000");
        if let Some(nonce) = nonce {
            document.nonce = nonce.to_owned();
        }
        let signature = CLOUDS.azure.sign(document.to_json().as_bytes());
        self.post("azure", json!({ "signature": signature, "encoding": "pkcs7" })).await
    }

    /// Signs in with an identity token
    async fn google(&self, issued: &str, audience: &str) -> (u16, String) {
        let claims = google::Claims::new(GOOGLE_INSTANCE, "project", audience, at(issued));
        let token = CLOUDS.google.sign(&claims.to_json());
        self.post("google", json!({ "json_web_token": token })).await
    }

    async fn nonce(&self) -> String {
        let answer = self.server.post_to(CHALLENGE, "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        body["nonce"].as_str().unwrap().to_owned()
    }

    /// Signs in on Azure now
    async fn azure_now(&self, nonce: Option<&str>) -> (u16, String) {
        self.azure("11/20/26 23:59:00 -0000", nonce).await
    }
}

/// The status of an answer, with its detail if it is a refusal
fn detail(answer: &Answer) -> (u16, String) {
    let (status, _) = status_and_message(answer);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    (status, body["detail"].as_str().unwrap_or_default().to_owned())
}

fn refused(detail: &str) -> (u16, String) {
    (401, detail.to_owned())
}

fn admitted() -> (u16, String) {
    (200, String::new())
}

fn nonces(clouds: &[Cloud]) -> Freshness {
    clouds.iter().fold(Freshness::default(), |all, cloud| all.require_nonce(*cloud).unwrap())
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[tokio::test]
async fn without_the_setting_there_is_no_challenge_and_any_nonce_is_accepted() {
    let world = World::new().await;
    let replica = world.replica(Freshness::default(), at(NOW)).await;
    let answer = replica.server.post_to(CHALLENGE, "").await;
    assert_eq!(status_and_message(&answer), (404, "No nonce is demanded.".to_owned()));
    assert_eq!(replica.azure_now(None).await, admitted());
    assert_eq!(replica.azure_now(Some("a1B2")).await, admitted());
    // A machine that knows a nonce from elsewhere has the same audience.
    for audience in ["coder", "coder?nonce=a1B2"] {
        assert_eq!(replica.google("2026-11-20T23:59:00Z", audience).await, admitted());
    }
    let other = replica.google("2026-11-20T23:59:00Z", "other?nonce=a1B2").await;
    assert_eq!(other, refused("audience_mismatch"));
}

#[tokio::test]
async fn a_required_nonce_is_checked_and_costs_no_statement() {
    let world = World::new().await;
    world.rotate_keys(at(NOW)).await;
    let replica = world.replica(nonces(&[Cloud::Azure, Cloud::Google]), at(NOW)).await;
    let answer = replica.server.post_to(CHALLENGE, "").await;
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(body["clouds"], json!(["azure", "google"]));
    assert_eq!(body["lifetime_seconds"], 300);
    assert_eq!(answer.headers["cache-control"], "no-store");

    let nonce = replica.nonce().await;
    assert_eq!(nonce.len(), 32, "what Azure takes at most");
    assert!(nonce.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let audience = Challenge::audience("coder", &nonce);
    let issued = "2026-11-20T23:59:00Z";

    let before = replica.statements.get();
    assert_eq!(replica.nonce().await, nonce, "of the same second");
    assert_eq!(replica.azure_now(None).await, refused("nonce_missing"));
    assert_eq!(replica.google(issued, "coder").await, refused("nonce_missing"));
    assert_eq!(replica.statements.get(), before, "refusals and challenges ask nothing");
    assert_eq!(replica.azure_now(Some(&nonce)).await, admitted());
    assert_eq!(replica.google(issued, &audience).await, admitted());
    assert_eq!(replica.aws("2026-11-20T00:00:00Z").await, admitted(), "nothing is demanded there");
    assert_eq!(replica.statements.get() - before, 3, "one statement for each sign-in");

    // The keys are fetched again once, in case another replica has a new one.
    assert_eq!(replica.azure_now(Some(&"0".repeat(32))).await, refused("nonce_mismatch"));
    let google = replica.google(issued, "coder?nonce=a1B2").await;
    assert_eq!(google, refused("nonce_mismatch"));
    assert_eq!(replica.statements.get() - before, 4);

    // A signature is checked first.
    let body = json!({ "signature": CLOUDS.aws.sign(b"x"), "encoding": "pkcs7" });
    assert_eq!(replica.post("azure", body).await, refused("malformed_proof"));
}

#[tokio::test]
async fn each_cloud_has_its_own_demand() {
    let world = World::new().await;
    world.rotate_keys(at(NOW)).await;
    let replica = world.replica(nonces(&[Cloud::Google]), at(NOW)).await;
    assert_eq!(replica.azure_now(None).await, admitted());
    let google = replica.google("2026-11-20T23:59:00Z", "coder").await;
    assert_eq!(google, refused("nonce_missing"));
    let error = Freshness::default().require_nonce(Cloud::Aws).unwrap_err();
    let expected = "machines of aws cannot answer a nonce: the cloud signs none with its documents";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn replicas_recognize_the_nonces_of_each_other_while_they_are_valid() {
    let world = World::new().await;
    world.rotate_keys(at(NOW) - seconds(86_400)).await;
    let nonce = world.replica(nonces(&[Cloud::Azure]), at(NOW)).await.nonce().await;
    // A minute of leeway comes on top of five minutes.
    for (offset, expected) in [
        (-61, refused("not_yet_valid")),
        (-60, admitted()),
        (0, admitted()),
        (300, admitted()),
        (360, admitted()),
        (361, refused("nonce_expired")),
    ] {
        let now = at(NOW) - seconds(100) + seconds(u64::try_from(100 + offset).unwrap());
        let other = world.replica(nonces(&[Cloud::Azure]), now).await;
        assert_eq!(other.azure_now(Some(&nonce)).await, expected, "{offset} s later");
    }
    let strict = nonces(&[Cloud::Azure]).leeway_seconds(0);
    let other = world.replica(strict, at(NOW) + seconds(301)).await;
    assert_eq!(other.azure_now(Some(&nonce)).await, refused("nonce_expired"));
}

#[tokio::test]
async fn nonces_outlive_a_rotation_of_their_key() {
    let world = World::new().await;
    let (month, switch) = (seconds(30 * 86_400), at(NOW));
    world.rotate_keys(switch - month).await;
    // This replica has the former key alone.
    let old = world.replica(nonces(&[Cloud::Azure]), switch - seconds(1)).await;
    let last = old.nonce().await;
    // The successor is made within the last hour, and signs from `switch` on.
    assert!(world.rotate_keys(switch - seconds(1_800)).await > 0);
    let new = world.replica(nonces(&[Cloud::Azure]), switch + seconds(20)).await;
    assert_eq!(new.azure_now(Some(&last)).await, admitted(), "of the former key");
    let first = new.nonce().await;
    assert_eq!(new.azure_now(Some(&first)).await, admitted());
    // The clock of this replica is behind, and it fetches the key that it lacks.
    assert_eq!(old.azure_now(Some(&first)).await, admitted(), "of the successor");
    let later = world.replica(nonces(&[Cloud::Azure]), switch + seconds(299)).await;
    assert_eq!(later.azure_now(Some(&last)).await, admitted(), "until it expires");
}

#[tokio::test]
async fn without_keys_machines_are_asked_to_retry() {
    let world = World::new().await;
    let replica = world.replica(nonces(&[Cloud::Azure]), at(NOW)).await;
    let answer = replica.server.post_to(CHALLENGE, "").await;
    assert_eq!(status_and_message(&answer).0, 503);
    assert_eq!(replica.azure_now(Some("a1B2")).await, (503, "keys_unavailable".to_owned()));
    assert_eq!(replica.aws("2026-11-20T00:00:00Z").await, admitted());
}

#[tokio::test]
async fn an_older_proof_than_the_pinned_one_is_a_replay() {
    let mut world = World::new().await;
    let pins = Freshness::default().pins(true);
    let replica = world.replica(pins.clone(), at(NOW)).await;
    let other = world.replica(pins, at(NOW)).await;
    let before = (replica.statements.get(), other.statements.get());

    // AWS signs the last start of the instance, and the same until the next.
    let (first, reboot) = ("2026-11-20T00:00:00Z", "2026-11-20T12:00:00Z");
    assert_eq!(replica.aws(first).await, admitted());
    assert_eq!(other.aws(first).await, admitted(), "the same document, at any replica");
    assert_eq!(replica.aws(reboot).await, admitted());
    assert_eq!(other.aws(first).await, refused("replayed"));

    let (first, second) = ("11/20/26 23:50:00 -0000", "11/20/26 23:55:00 -0000");
    assert_eq!(replica.azure(second, None).await, admitted());
    assert_eq!(other.azure(first, None).await, refused("replayed"));
    assert_eq!(other.azure(second, None).await, admitted());

    let (first, second) = ("2026-11-20T23:50:00Z", "2026-11-20T23:55:00Z");
    assert_eq!(replica.google(second, "coder").await, admitted());
    assert_eq!(other.google(first, "coder").await, refused("replayed"));
    assert_eq!(replica.google("2026-11-20T23:56:00Z", "coder").await, admitted());

    let counted = (replica.statements.get() - before.0, other.statements.get() - before.1);
    assert_eq!(counted, (5, 5), "one statement for each sign-in");

    // A proof without a moment cannot be pinned.
    assert_eq!(replica.azure("yesterday", None).await, refused("missing_claim"));

    // In a new build each instance has no pin yet.
    world.build().await;
    assert_eq!(other.aws("2026-11-20T00:00:00Z").await, admitted());
}

#[tokio::test]
async fn without_pins_older_proofs_are_accepted_and_nothing_is_written() {
    let world = World::new().await;
    let replica = world.replica(Freshness::default(), at(NOW)).await;
    for pending in ["2026-11-20T12:00:00Z", "2026-11-20T00:00:00Z"] {
        assert_eq!(replica.aws(pending).await, admitted());
    }
    let rows = world.database.sql("SELECT count(*) FROM authd_identity_pins").await;
    assert_eq!(rows, ["0"]);
}

#[tokio::test]
async fn refusals_are_recorded_with_their_class() {
    let world = World::new().await;
    world.rotate_keys(at(NOW)).await;
    let store = Arc::new(world.database.store().await);
    let freshness = nonces(&[Cloud::Azure]).pins(true);
    let clock: authd_http::Clock = Arc::new(|| at(NOW));
    let service = Service::over(
        &store,
        identity(),
        agent_auth::Rules::default(),
        authd_http::Limits::default(),
        clock,
    )
    .with_freshness(Arc::clone(&store), &freshness)
    .with_act_audit(Arc::clone(&store), ActAudit::new(true, None));
    let post = async |cloud: &str, body: Value| {
        let request =
            hyper::Request::post(format!("/api/v2/workspaceagents/{cloud}-instance-identity"))
                .header("content-type", "application/json")
                .body(http_body_util::Full::new(bytes::Bytes::from(body.to_string())))
                .unwrap();
        service.answer(request).await.status().as_u16()
    };
    let newer = aws::Document::new(INSTANCE, REGION, common::ACCOUNT, "2026-11-20T12:00:00Z");
    assert_eq!(post("aws", signed(&CLOUDS.aws, &newer.to_json(), None)).await, 200);
    assert_eq!(post("aws", proof(&CLOUDS.aws, INSTANCE, None)).await, 401);
    let document =
        azure::Document::new(VM, "s", "11/20/26 23:59:00 -0000", "11/21/26 05:00:00 -0000");
    let signature = CLOUDS.azure.sign(document.to_json().as_bytes());
    let body = json!({ "signature": signature, "encoding": "pkcs7" });
    assert_eq!(post("azure", body).await, 401);
    service.drain_audit().await;
    let rows = store.list_acts(&ActFilter::default(), Page::first(Page::MAX)).await.unwrap();
    let printed = serde_json::to_string(&rows).unwrap();
    for part in
        ["\"replayed\"", "\"nonce_missing\"", INSTANCE, VM, "identity_pins", "require_nonce"]
    {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    assert_eq!(rows.len(), 3);
}

/// Pins of superseded builds go, and those of the newest stay
#[tokio::test]
async fn maintenance_removes_the_pins_of_builds_that_are_superseded() {
    let mut world = World::new().await;
    let replica = world.replica(Freshness::default().pins(true), at(NOW)).await;
    assert_eq!(replica.aws("2026-11-20T12:00:00Z").await, admitted());
    world.build().await;
    assert_eq!(replica.aws("2026-11-20T12:00:00Z").await, admitted());
    let count = async || world.database.sql("SELECT count(*) FROM authd_identity_pins").await;
    assert_eq!(count().await, ["2"]);

    let store = Arc::new(world.database.store().await);
    let clock: authd_http::Clock = Arc::new(|| at(NOW));
    let (rules, limits) = (agent_auth::Rules::default(), authd_http::Limits::default());
    let service = Service::over(&store, identity(), rules, limits, clock)
        .with_freshness(store, &Freshness::default().pins(true));
    let housekeeping = service.start_housekeeping(None).unwrap();
    let deleted = async {
        while count().await != ["1"] {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(seconds(30), deleted).await.unwrap();
    drop(housekeeping);
    assert_eq!(replica.aws("2026-11-20T00:00:00Z").await, refused("replayed"));
}
