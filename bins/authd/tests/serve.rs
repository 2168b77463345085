//! `authd serve` as a process: signals, and changes while it runs

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use common::{SIGN_IN, proof, status_and_message};
use identity_verify::test_util::aws::Cloud;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::net::{Client, free_address};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A server with an empty store, and a trust folder
struct Serving {
    process: Child,
    url: String,
    trust: PathBuf,
}

impl Serving {
    async fn start() -> Self {
        Self::logging_to(Stdio::null()).await
    }

    async fn logging_to(stderr: Stdio) -> Self {
        let trust = std::env::temp_dir().join(format!("authd-serve-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(trust.join("aws")).unwrap();
        let address = free_address();
        let process = Command::new(env!("CARGO_BIN_EXE_authd"))
            .args(["serve", "--store", "memory", "--listen", &address.to_string()])
            .arg("--trust-dir")
            .arg(&trust)
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let serving = Self { process, url: format!("http://{address}"), trust };
        let client = Client::new();
        serving
            .eventually(async || client.get(&format!("{}/readyz", serving.url)).await.is_ok())
            .await;
        serving
    }

    /// Waits until `holds` returns true, even on a slow machine
    async fn eventually(&self, holds: impl AsyncFn() -> bool) {
        for _ in 0..1_000 {
            if holds().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the condition did not become true");
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.process.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// 404 for a machine that is verified and unknown, 401 for one that is not verified
    async fn status_for(&self, cloud: &Cloud) -> u16 {
        let body = proof(cloud, "i-0123456789abcdef0", None).to_string();
        status_and_message(
            &Client::new().post_json(&format!("{}{SIGN_IN}", self.url), body).await.unwrap(),
        )
        .0
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.trust);
    }
}

#[tokio::test]
async fn the_trust_folder_is_reloaded_on_sighup() {
    let serving = Serving::start().await;
    let cloud = Cloud::generate(common::REGION);
    assert_eq!(serving.status_for(&cloud).await, 401);

    let key = serving.trust.join(format!("aws/{}.pem", common::REGION));
    std::fs::write(&key, cloud.public_key_pem()).unwrap();
    assert_eq!(serving.status_for(&cloud).await, 401);
    serving.signal(Signal::HUP);
    serving.eventually(async || serving.status_for(&cloud).await == 404).await;

    // A folder that is not usable changes nothing.
    let other = Cloud::generate("test-region-2");
    std::fs::write(serving.trust.join("aws/test-region-2.pem"), other.public_key_pem()).unwrap();
    std::fs::write(serving.trust.join("aws/test-region-3.pem"), "no key").unwrap();
    serving.signal(Signal::HUP);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((serving.status_for(&cloud).await, serving.status_for(&other).await), (404, 401));
    std::fs::remove_file(serving.trust.join("aws/test-region-3.pem")).unwrap();
    serving.signal(Signal::HUP);
    serving.eventually(async || serving.status_for(&other).await == 404).await;
}

#[tokio::test]
async fn a_missing_table_is_reported_at_the_start() {
    let database = testkit::Database::new().await;
    for (table, apps) in [
        ("authd_audit_log", true),
        ("authd_audit_sessions", true),
        ("authd_shares", true),
        ("crypto_keys", true),
        ("workspace_proxies", true),
        ("workspace_apps", true),
        ("api_keys", true),
        ("workspace_agents", false),
    ] {
        database.sql(&format!("ALTER TABLE {table} RENAME TO elsewhere")).await;
        let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--database-url", database.url()])
            .args(apps.then_some(["--access-url", "http://a.example"]).into_iter().flatten())
            .kill_on_drop(true);
        let ended = tokio::time::timeout(Duration::from_secs(60), command.output());
        let output = ended.await.expect(table).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{table}: {stderr}");
        assert!(stderr.contains("`authd migrate`") && stderr.contains(table), "{table}: {stderr}");
        database.sql(&format!("ALTER TABLE elsewhere RENAME TO {table}")).await;
    }
}

/// Posts genuine proofs of an id that AWS never gives, each of which leaves a line of 1 kB
async fn leave_lines(serving: &Serving, cloud: &Cloud, requests: usize) {
    let body = Arc::new(proof(cloud, &"\u{1}".repeat(128), None).to_string());
    let url = format!("{}{SIGN_IN}", serving.url);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (body, url) = (Arc::clone(&body), url.clone());
        clients.spawn(async move {
            let client = Client::new();
            for _ in 0..requests / CLIENTS {
                let answer = client.post_json(&url, String::clone(&body));
                let answer = timeout(Duration::from_secs(60), answer).await.unwrap();
                assert_eq!(status_and_message(&answer.unwrap()).0, 404);
            }
        });
    }
    clients.join_all().await;
}

const CLIENTS: usize = 8;

#[tokio::test]
async fn a_log_that_is_not_read_stops_nothing() {
    let mut serving = Serving::logging_to(Stdio::piped()).await;
    let cloud = Cloud::generate(common::REGION);
    let key = serving.trust.join(format!("aws/{}.pem", common::REGION));
    std::fs::write(&key, cloud.public_key_pem()).unwrap();
    serving.signal(Signal::HUP);
    serving.eventually(async || serving.status_for(&cloud).await == 404).await;
    let mut unread = serving.process.stderr.take().unwrap();

    // More lines than the pipe and the queue hold together.
    leave_lines(&serving, &cloud, 6_000).await;
    let client = Client::new();
    let get = async |path: &str| client.get(&format!("{}{path}", serving.url)).await.unwrap();
    assert!(get("/healthz").await.status.is_success());
    let metrics = String::from_utf8(get("/metrics").await.body.to_vec()).unwrap();
    let name = "authd_log_lines_dropped_total ";
    let dropped = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let dropped: u64 = dropped.parse().unwrap();
    assert!(dropped > 0, "{metrics}");

    // Once it is read again, the gap is reported, and the last lines are there.
    let reading = tokio::spawn(async move {
        let mut log = String::new();
        unread.read_to_string(&mut log).await.map(|_| log)
    });
    serving.signal(Signal::TERM);
    assert_eq!(serving.process.wait().await.unwrap().code(), Some(0));
    let log = reading.await.unwrap().unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let gaps = lines.iter().filter_map(|line| line["lines"].as_u64());
    assert_eq!(gaps.sum::<u64>(), dropped);
    let refused = lines.iter().filter(|line| line["message"] == "request refused").count();
    assert!(refused > 3_000, "{refused}");
    assert!(lines.iter().any(|line| line["message"] == "stopped"));
}

#[tokio::test]
async fn it_exits_even_if_its_log_is_never_read() {
    let mut serving = Serving::logging_to(Stdio::piped()).await;
    let cloud = Cloud::generate(common::REGION);
    std::fs::write(serving.trust.join("aws/test-region-1.pem"), cloud.public_key_pem()).unwrap();
    serving.signal(Signal::HUP);
    serving.eventually(async || serving.status_for(&cloud).await == 404).await;
    // More lines than the pipe holds.
    leave_lines(&serving, &cloud, 400).await;
    serving.signal(Signal::TERM);
    let ended = timeout(Duration::from_secs(60), serving.process.wait()).await;
    assert_eq!(ended.expect("it hangs").unwrap().code(), Some(0));
}

#[tokio::test]
async fn it_exits_successfully_on_sigterm_and_sigint() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut serving = Serving::start().await;
        serving.signal(signal);
        assert_eq!(serving.process.wait().await.unwrap().code(), Some(0), "{signal:?}");
    }
}
