//! Sign-ins and what operators do are recorded, against a real PostgreSQL

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_auth::Rules;
use app_audit::{ActFilter, ActKind, ActRow, Page};
use authd_http::{ActAudit, Limits, Service};
use bytes::Bytes;
use common::command::{Scratch, on, text};
use common::{REGION, SIGN_IN, proof};
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode};
use identity_fetch::Identity;
use identity_verify::test_util::at;
use identity_verify::test_util::aws::Cloud;
use identity_verify::{Policy, aws};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use store::fleet::{Fleet, Transition};
use store::{MemoryStore, Options, PgStore, StatementCounter, Store};
use testkit::Database;
use testkit::net::{Client, free_address};

/// A user, `alice`, whose workspaces have an agent each, on an instance of the same number
fn fleet(workspaces: u32) -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    for n in 0..workspaces {
        let workspace = fleet.workspace(alice, &format!("dev-{n}"));
        let build = fleet.build(workspace, Transition::Start);
        fleet.agent(build.resource, "main", &instance(n));
    }
    fleet
}

fn instance(n: u32) -> String {
    format!("i-{n:017x}")
}

/// A replica that records acts
struct Replica {
    service: Arc<Service>,
    cloud: Cloud,
}

impl Replica {
    fn start<S: Store>(store: S, cloud: &Cloud, audit: ActAudit) -> Self {
        let mut keys = aws::Keys::builtin();
        keys.add_pem(cloud.region(), cloud.public_key_pem().as_bytes()).unwrap();
        let identity = Identity::builtin().aws(aws::Verifier::new(keys, Policy::default()));
        let now = at("2026-11-21T00:10:00Z");
        let limits = Limits { failed_proofs_per_minute: 1_000_000, ..Limits::default() };
        let store = Arc::new(store);
        let service =
            Service::over(&store, identity, Rules::default(), limits, Arc::new(move || now))
                .with_act_audit(store, audit);
        Self { service: Arc::new(service), cloud: cloud.clone() }
    }

    async fn post(&self, from: IpAddr, body: String) -> (StatusCode, Value) {
        let request = Request::post(SIGN_IN)
            .header("content-type", "application/json")
            .header("user-agent", "agent/1")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let answer = self.service.answer_to(from, request).await;
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn sign_in(&self, from: IpAddr, instance: &str) -> (StatusCode, Value) {
        self.post(from, proof(&self.cloud, instance, None).to_string()).await
    }

    /// Signs in with a signature over another document
    async fn forge(&self, from: IpAddr, instance: &str) -> (StatusCode, Value) {
        let mut body = proof(&self.cloud, instance, None);
        body["signature"] = self.cloud.sign(b"another").into();
        self.post(from, body.to_string()).await
    }

    async fn metrics(&self) -> String {
        let request = Request::get("/metrics").body(Full::new(Bytes::new())).unwrap();
        let body = self.service.answer_to(HOME, request).await.into_body();
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }
}

/// The line of the metrics about so many acts that were written
fn written(acts: u64) -> String {
    format!("authd_audit_acts_total{{outcome=\"written\"}} {acts}")
}

async fn postgres(database: &Database) -> PgStore {
    PgStore::connect(database.url(), &Options::default()).await.unwrap()
}

async fn rows(store: &impl Store) -> Vec<ActRow> {
    store.list_acts(&ActFilter::default(), Page::first(Page::MAX)).await.unwrap()
}

async fn count(database: &Database) -> u64 {
    database.sql("SELECT count(*) FROM authd_acts").await[0].parse().unwrap()
}

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

#[tokio::test]
async fn who_got_which_token_and_who_was_refused_is_recorded() {
    let (database, cloud) = (Database::new().await, Cloud::generate(REGION));
    let store = postgres(&database).await;
    let mut fleet = fleet(2);
    let agent = fleet.workspace_agents[0].clone();
    let resource = fleet.workspace_agents[1].resource_id;
    fleet.agent(resource, "other", &instance(1));
    let workspace = fleet.workspaces[0].id;
    store.load(&fleet).await.unwrap();
    let replica = Replica::start(postgres(&database).await, &cloud, ActAudit::default());

    let (status, answer) = replica.sign_in(HOME, &instance(0)).await;
    assert_eq!(status, StatusCode::OK);
    let token = answer["session_token"].as_str().unwrap().to_owned();
    assert_eq!(replica.sign_in(HOME, &instance(1)).await.0, StatusCode::CONFLICT);
    assert_eq!(replica.sign_in(HOME, &instance(9)).await.0, StatusCode::NOT_FOUND);
    let forged = replica.forge(HOME, &instance(0)).await;
    assert_eq!(forged.0, StatusCode::UNAUTHORIZED);
    // Not a proof at all.
    assert_eq!(replica.post(HOME, "{}".to_owned()).await.0, StatusCode::BAD_REQUEST);
    replica.service.drain_audit().await;

    let rows = rows(&store).await;
    let mut found: Vec<_> = rows
        .iter()
        .map(|row| {
            let subject = (row.subject_type.as_deref().unwrap(), row.subject.as_deref().unwrap());
            (row.reason.as_str(), subject.0, subject.1.to_owned())
        })
        .collect();
    found.sort_unstable();
    let expected = [
        ("", "instance", instance(0)),
        ("ambiguous", "instance", instance(1)),
        ("bad_signature", "claimed_instance", instance(0)),
        ("not_found", "instance", instance(9)),
    ];
    assert_eq!(found, expected);
    for row in &rows {
        assert_eq!((row.kind.as_str(), row.ip), ("agent_sign_in", Some(HOME)));
        assert_eq!((row.proof.as_deref(), row.times), (Some("aws"), 1));
        assert_eq!(row.user_agent.as_deref(), Some("agent/1"));
        assert!(row.request_id.is_some());
    }
    let allowed = rows.iter().find(|row| row.reason.is_empty()).unwrap();
    assert_eq!((allowed.agent_id, allowed.workspace_id), (Some(agent.id), Some(workspace)));
    assert_eq!(allowed.workspace_name.as_deref(), Some("dev-0"));
    assert_eq!(allowed.workspace_owner.as_deref(), Some("alice"));
    assert_eq!(allowed.detail["agent_name"], "main");

    // No secret, and nothing of a proof, is in any column.
    let body = proof(&cloud, &instance(0), None);
    for secret in [&token, body["signature"].as_str().unwrap(), body["document"].as_str().unwrap()]
    {
        let secret = secret.replace('\'', "''");
        let holding = database
            .sql(&format!(
                "SELECT count(*) FROM authd_acts a WHERE position('{secret}' in a::text) > 0"
            ))
            .await;
        assert_eq!(holding, ["0"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_costs_no_statement_for_each_row() {
    const AGENTS: u32 = 1_500;
    let (database, cloud) = (Database::new().await, Cloud::generate(REGION));
    postgres(&database).await.load(&fleet(AGENTS)).await.unwrap();
    let statements = StatementCounter::default();
    let options = Options::default().statements(statements.clone());
    let store = PgStore::connect(database.url(), &options).await.unwrap();
    let replica = Arc::new(Replica::start(store, &cloud, ActAudit::default()));

    // One sign-in is one statement, and one that records it.
    let before = statements.get();
    replica.sign_in(HOME, &instance(0)).await;
    while count(&database).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(statements.get() - before, 2);
    let before = statements.get();

    // All behind one address, so that no agent has a share of its own by that.
    let machines: Vec<_> = (0..32)
        .map(|first| {
            let replica = Arc::clone(&replica);
            tokio::spawn(async move {
                for n in (first..AGENTS).step_by(32) {
                    for _ in 0..2 {
                        assert_eq!(replica.sign_in(HOME, &instance(n)).await.0, StatusCode::OK);
                    }
                }
            })
        })
        .collect();
    for machine in machines {
        machine.await.unwrap();
    }
    replica.service.drain_audit().await;
    assert_eq!(count(&database).await, u64::from(AGENTS), "a row for each agent");
    let times = database.sql("SELECT sum(times) FROM authd_acts").await;
    assert_eq!(times, [(2 * AGENTS + 1).to_string()]);
    // Look-ups are shared as well, so all statements together are fewer than sign-ins.
    let cost = statements.get() - before;
    assert!(cost < u64::from(2 * AGENTS), "{cost} statements");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_write_one_row() {
    let (database, cloud) = (Database::new().await, Cloud::generate(REGION));
    postgres(&database).await.load(&fleet(1)).await.unwrap();
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let store = postgres(&database).await;
        replicas.push(Arc::new(Replica::start(store, &cloud, ActAudit::default())));
    }
    let machines: Vec<_> = (0..8)
        .map(|n| {
            let replica = Arc::clone(&replicas[n % 2]);
            tokio::spawn(async move {
                for _ in 0..10 {
                    assert_eq!(replica.sign_in(HOME, &instance(0)).await.0, StatusCode::OK);
                }
            })
        })
        .collect();
    for machine in machines {
        machine.await.unwrap();
    }
    for replica in &replicas {
        replica.service.drain_audit().await;
    }
    assert_eq!(database.sql("SELECT times FROM authd_acts").await, ["80"]);
}

/// Makes the database refuse all acts
const REFUSE: &str = "
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'not now'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON authd_acts EXECUTE FUNCTION refuse()";

#[tokio::test]
async fn what_the_database_did_not_get_is_replayed_from_the_spool() {
    let (database, cloud) = (Database::new().await, Cloud::generate(REGION));
    postgres(&database).await.load(&fleet(5)).await.unwrap();
    let scratch = Scratch::new();
    let spool: PathBuf = scratch.0.join("spool.jsonl");
    let audit = ActAudit::new(false, Some(spool.clone()));
    let replica = Replica::start(postgres(&database).await, &cloud, audit);
    database.sql(REFUSE).await;
    for n in 0..5 {
        assert_eq!(replica.sign_in(HOME, &instance(n)).await.0, StatusCode::OK);
    }
    replica.service.drain_audit().await;
    assert_eq!(count(&database).await, 0);
    let lines = std::fs::read_to_string(&spool).unwrap();
    assert_eq!(lines.lines().count(), 5, "{lines}");

    database.sql("DROP TRIGGER refuse ON authd_acts").await;
    let again = scratch.write("again.jsonl", &lines);
    for (file, added) in [(text(&spool), 5), (again, 0)] {
        let (status, printed, stderr) = on(&database, &["audit", "replay", &file]).await;
        assert_eq!(status, Some(0), "{stderr}");
        assert!(printed.starts_with(&format!("5 events read, {added} rows added")), "{printed}");
    }
    let store = postgres(&database).await;
    let mut subjects: Vec<_> =
        rows(&store).await.into_iter().map(|row| row.subject.unwrap()).collect();
    subjects.sort_unstable();
    assert_eq!(subjects, (0..5).map(instance).collect::<Vec<_>>());
}

#[tokio::test]
async fn where_sign_ins_must_be_recorded_no_token_is_given_before() {
    let (database, cloud) = (Database::new().await, Cloud::generate(REGION));
    postgres(&database).await.load(&fleet(1)).await.unwrap();
    let audit = ActAudit::new(true, None);
    let replica = Replica::start(postgres(&database).await, &cloud, audit);
    database.sql(REFUSE).await;
    let (status, answer) = replica.sign_in(HOME, &instance(0)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer["message"], "The sign-in cannot be recorded now.");
    // A refusal is answered as it is.
    assert_eq!(replica.forge(HOME, &instance(0)).await.0, StatusCode::UNAUTHORIZED);
    database.sql("DROP TRIGGER refuse ON authd_acts").await;
    assert_eq!(replica.sign_in(HOME, &instance(0)).await.0, StatusCode::OK);
    let allowed = "SELECT count(*) FROM authd_acts WHERE decision = 'allow'";
    assert_eq!(database.sql(allowed).await, ["1"], "the row exists once the token is given");
}

#[tokio::test]
async fn a_flood_of_forged_proofs_is_bounded_and_an_honest_sign_in_is_recorded() {
    let (database, cloud) = (Database::new().await, Cloud::generate(REGION));
    let store = postgres(&database).await;
    store.load(&fleet(1)).await.unwrap();
    let replica = Replica::start(postgres(&database).await, &cloud, ActAudit::default());
    let attacker = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
    for n in 0..300 {
        // Each names another instance, so that none is a repetition.
        assert_eq!(replica.forge(attacker, &instance(n)).await.0, StatusCode::UNAUTHORIZED);
        if n == 250 {
            assert_eq!(replica.sign_in(HOME, &instance(0)).await.0, StatusCode::OK);
            assert_eq!(replica.forge(HOME, &instance(7)).await.0, StatusCode::UNAUTHORIZED);
        }
    }
    let metrics = replica.metrics().await;
    let limited = metrics
        .lines()
        .find_map(|line| line.strip_prefix("authd_audit_acts_total{outcome=\"limited\"} "))
        .unwrap();
    replica.service.drain_audit().await;
    let rows = rows(&store).await;
    let of = |ip| rows.iter().filter(|row| row.ip == Some(ip)).count();
    // A few more if the machine is so slow that the minute goes on.
    assert!((60..=70).contains(&of(attacker)), "{}", of(attacker));
    assert_eq!(of(attacker) + limited.parse::<usize>().unwrap(), 300, "the rest is counted");
    assert_eq!(of(HOME), 2, "others are recorded");
}

#[tokio::test]
async fn sign_ins_work_where_the_table_is_missing() {
    let (database, cloud) = (Database::new().await, Cloud::generate(REGION));
    postgres(&database).await.load(&fleet(1)).await.unwrap();
    database.sql("DROP TABLE authd_acts").await;
    let scratch = Scratch::new();
    let spool = scratch.0.join("spool.jsonl");
    let audit = ActAudit::new(false, Some(spool.clone()));
    let replica = Replica::start(postgres(&database).await, &cloud, audit);
    for _ in 0..5 {
        assert_eq!(replica.sign_in(HOME, &instance(0)).await.0, StatusCode::OK);
    }
    replica.service.drain_audit().await;
    assert!(!spool.exists(), "nothing is kept for a table that does not exist");
    assert!(replica.metrics().await.lines().any(|line| line == written(0)));
    // Where they must be recorded, none is given.
    let audit = ActAudit::new(true, None);
    let replica = Replica::start(postgres(&database).await, &cloud, audit);
    let (status, _) = replica.sign_in(HOME, &instance(0)).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_store_in_memory_records_them_too() {
    let cloud = Cloud::generate(REGION);
    let store = MemoryStore::default();
    store.load(&fleet(1));
    let replica = Replica::start(store, &cloud, ActAudit::new(true, None));
    assert_eq!(replica.sign_in(HOME, &instance(0)).await.0, StatusCode::OK);
    replica.service.drain_audit().await;
    assert!(replica.metrics().await.lines().any(|line| line == written(1)));
}

#[tokio::test]
async fn what_operators_do_with_commands_is_recorded() {
    let database = Database::new().await;
    let store = postgres(&database).await;
    let mut fleet = fleet(1);
    fleet.proxy("sydney", "https://sydney.example.com", "");
    store.load(&fleet).await.unwrap();
    let run = async |args: &[&str]| {
        let (status, printed, stderr) = on(&database, args).await;
        assert_eq!(status, Some(0), "{args:?}: {stderr}");
        printed
    };
    let token = run(&["token", "create", "--user", "alice"]).await;
    let (id, secret) = token.trim().split_once('-').unwrap();
    let proxy = run(&["token", "create", "--proxy", "Sydney"]).await;
    run(&["token", "revoke", id]).await;
    // Twice: the second time nothing is due, so there is nothing to record.
    run(&["keys", "rotate"]).await;
    run(&["keys", "rotate"]).await;
    let scratch = Scratch::new();
    let document =
        scratch.write("fleet.json", json!({ "organizations": [{ "name": "beta" }] }).to_string());
    for flags in [&["--dry-run"][..], &[], &[]] {
        run(&[&["import", &document], flags].concat()).await;
    }
    let (status, ..) = on(&database, &["token", "revoke", "no-such"]).await;
    assert_ne!(status, Some(0));

    let rows = rows(&store).await;
    let kinds = |kind: ActKind| rows.iter().filter(|row| row.kind == kind.as_str()).count();
    assert_eq!(
        [ActKind::TokenCreate, ActKind::TokenRevoke, ActKind::KeysRotate, ActKind::Import]
            .map(kinds),
        [2, 1, 2, 1],
        "{rows:#?}"
    );
    for row in &rows {
        assert_eq!((row.detail["operator_is_verified"].as_bool(), row.ip), (Some(false), None));
        assert!(row.detail["operator_uid"].is_u64(), "{row:?}");
    }
    let created = rows.iter().find(|row| row.subject.as_deref() == Some(id)).unwrap();
    assert_eq!(created.subject_type.as_deref(), Some("token"));
    let import = rows.iter().find(|row| row.kind == "import").unwrap();
    assert_eq!(import.detail["added"], 1);
    for secret in [secret, proxy.trim().split_once(':').unwrap().1] {
        let holding = format!("SELECT count(*) FROM authd_acts a WHERE a::text LIKE '%{secret}%'");
        assert_eq!(database.sql(&holding).await, ["0"]);
    }

    let printed = run(&["audit", "acts"]).await;
    assert_eq!(printed.lines().count(), rows.len());
    assert!(printed.contains("token_create   allowed  user alice"), "{printed}");
    let printed = run(&["audit", "acts", "--json", "--kind", "import", "--limit", "5"]).await;
    let line: Value = serde_json::from_str(printed.trim()).unwrap();
    assert_eq!((line["kind"].as_str(), line["times"].as_u64()), (Some("import"), Some(1)));
    let (status, _, stderr) = on(&database, &["audit", "acts", "--kind", "nonsense"]).await;
    assert_eq!(status, Some(2));
    assert!(stderr.contains("agent_sign_in, log_in"), "{stderr}");
}

#[tokio::test]
async fn each_sign_in_before_sigterm_is_recorded_once() {
    let (database, cloud) = (Database::new().await, Cloud::generate(REGION));
    postgres(&database).await.load(&fleet(40)).await.unwrap();
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.0.join("aws")).unwrap();
    scratch.write(&format!("aws/{REGION}.pem"), cloud.public_key_pem());
    let free = free_address();
    let mut process = tokio::process::Command::new(env!("CARGO_BIN_EXE_authd"))
        .args(["serve", "--listen", &free.to_string(), "--database-url", database.url()])
        .args(["--lame-duck-seconds", "0", "--trust-dir", &text(&scratch.0)])
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let client = Client::new();
    while client.get(&format!("http://{free}/readyz")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let url = format!("http://{free}{SIGN_IN}");
    let mut signed_in = 0;
    for n in 0..40 {
        let body = proof(&cloud, &instance(n), None).to_string();
        signed_in += u64::from(client.post_json(&url, body).await.unwrap().status.is_success());
    }
    let id = i32::try_from(process.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
    assert!(process.wait().await.unwrap().success());
    assert_eq!((signed_in, count(&database).await), (40, 40));
    assert_eq!(database.sql("SELECT max(times) FROM authd_acts").await, ["1"]);
}
