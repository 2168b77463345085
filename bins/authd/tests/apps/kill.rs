//! The record of visits after a real authd is killed under load

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::HeaderName;
use hyper::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use store::{Options, PgStore};
use testkit::net::{Client, free_address};
use testkit::{Database, OwnServer};
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::command::{Scratch, on};
use crate::world::{DASHBOARD, ISSUE, Plan, by_path};

/// `authd serve` as shipped
struct Authd {
    process: Child,
    url: String,
}

impl Authd {
    async fn start(database: &Database) -> Self {
        Self::with(database, &[]).await
    }

    async fn with(database: &Database, more: &[&str]) -> Self {
        let free = free_address();
        let process = Command::new(env!("CARGO_BIN_EXE_authd"))
            .args(["serve", "--listen", &free.to_string(), "--database-url", database.url()])
            .args(["--access-url", DASHBOARD])
            // The agents were connected when the test began.
            .args(["--agent-inactive-timeout-seconds", "3600"])
            .args(more)
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let authd = Self { process, url: format!("http://{free}") };
        let ready = format!("{}/readyz", authd.url);
        for _ in 0..1_000 {
            match Client::new().get(&ready).await {
                Ok(answer) if answer.status == StatusCode::OK => return authd,
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
        panic!("authd did not start");
    }
}

/// A visitor who opens an app repeatedly, each time with another browser
#[derive(Clone)]
struct Visitor {
    client: Client,
    url: String,
    proxy: String,
    envelope: Value,
}

impl Visitor {
    fn new(authd: &Authd, plan: &Plan) -> Self {
        let session = plan.people["alice"].token.reveal();
        Self {
            client: Client::new(),
            url: format!("{}{ISSUE}", authd.url),
            proxy: plan.proxy.reveal(),
            envelope: by_path("alice", "dev", "agent", "owner", session),
        }
    }

    /// Whether the visit was answered
    async fn visit(&self, visit: u32) -> bool {
        let mut envelope = self.envelope.clone();
        envelope["user_agent"] = visit.to_string().into();
        let name = HeaderName::from_static("coder-external-proxy-token");
        let headers = [(name, &*self.proxy), (hyper::header::CONTENT_TYPE, "application/json")];
        let body = Bytes::from(envelope.to_string());
        match self.client.send(Method::POST, &self.url, &headers, body).await {
            Ok(answer) => {
                assert_eq!(answer.status, StatusCode::CREATED);
                true
            }
            Err(_) => false,
        }
    }
}

/// The number of rows of each visit
async fn rows(database: &Database) -> HashMap<u32, u32> {
    let rows =
        database.sql("SELECT user_agent, count(*) FROM authd_audit_log GROUP BY user_agent").await;
    let row = |row: String| {
        let (visit, rows) = row.split_once('|').unwrap();
        (visit.parse().unwrap(), rows.parse().unwrap())
    };
    rows.into_iter().map(row).collect()
}

// scenario 286
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_load_only_the_last_moment_is_lost() {
    let database = Database::new().await;
    let plan = Plan::new();
    let store = PgStore::connect(database.url(), &Options::default()).await.unwrap();
    store.load(&plan.rows).await.unwrap();
    let connected =
        "UPDATE workspace_agents SET first_connected_at = now(), last_connected_at = now()";
    database.sql(connected).await;

    let mut authd = Authd::start(&database).await;
    let begun = Arc::new(AtomicU32::new(0));
    let visitors: Vec<_> = (0..8)
        .map(|_| {
            let (visitor, begun) = (Visitor::new(&authd, &plan), Arc::clone(&begun));
            tokio::spawn(async move {
                let mut answered = Vec::new();
                loop {
                    let visit = begun.fetch_add(1, Ordering::Relaxed);
                    if !visitor.visit(visit).await {
                        return answered;
                    }
                    answered.push((visit, Instant::now()));
                    sleep(Duration::from_millis(10)).await;
                }
            })
        })
        .collect();
    sleep(Duration::from_secs(4)).await;
    let killed = Instant::now();
    authd.process.start_kill().unwrap();
    authd.process.wait().await.unwrap();
    let mut answered = Vec::new();
    for visitor in visitors {
        answered.extend(visitor.await.unwrap());
    }
    // The database still completes the statements that it had received.
    let working = "SELECT count(*) FROM pg_stat_activity \
                   WHERE datname = current_database() AND query LIKE '%authd_audit_%' \
                   AND pid <> pg_backend_pid()";
    for _ in 0..1_000 {
        if database.sql(working).await == ["0"] {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }

    let kept = rows(&database).await;
    let begun = begun.load(Ordering::Relaxed);
    assert!(kept.iter().all(|(visit, rows)| *visit < begun && *rows == 1), "{kept:?}");
    let (long_ago, lately): (Vec<_>, Vec<_>) =
        answered.into_iter().partition(|(_, at)| *at + WINDOW <= killed);
    assert!(long_ago.len() >= 50 && lately.len() >= 10, "{} {}", long_ago.len(), lately.len());
    let lost: Vec<_> = long_ago.iter().filter(|(visit, _)| !kept.contains_key(visit)).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), long_ago.len());

    // The same visitors and some others come again: a visit that has a row does not get a second.
    let again = Authd::start(&database).await;
    let visitor = Visitor::new(&again, &plan);
    let others = (begun..begun + 20).map(|visit| (visit, killed));
    let mut expected: HashMap<u32, u32> = kept.keys().map(|visit| (*visit, 1)).collect();
    for (visit, _) in lately.into_iter().chain(others) {
        assert!(visitor.visit(visit).await);
        expected.insert(visit, 1);
    }
    for _ in 0..500 {
        if rows(&database).await == expected {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(rows(&database).await, expected);
}

/// Visits that were answered within this time before the kill may be lost: `kill -9` loses events
/// that are not written yet. That is a matter of milliseconds, but test machines are slow.
const WINDOW: Duration = Duration::from_secs(1);

/// Each way in which the audit cannot be written when the server has to stop
#[derive(Clone, Copy, Debug)]
enum Obstacle {
    Locked,
    ReadOnly,
    Stopped,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_database_did_not_get_is_replayed_once() {
    for obstacle in [Obstacle::Locked, Obstacle::ReadOnly, Obstacle::Stopped] {
        let server = OwnServer::start().await;
        let database = server.database().await;
        let plan = Plan::new();
        database.store().await.load(&plan.rows).await.unwrap();
        let connected =
            "UPDATE workspace_agents SET first_connected_at = now(), last_connected_at = now()";
        database.sql(connected).await;
        let folder = Scratch::new();
        let file = folder.0.join("spool/audit.jsonl");
        let file = file.to_str().unwrap();
        let mut authd = Authd::with(&database, &["--audit-spool", file]).await;
        let visitor = Visitor::new(&authd, &plan);
        assert!(visitor.visit(0).await);
        while rows(&database).await.len() != 1 {
            sleep(Duration::from_millis(10)).await;
        }
        let held = match obstacle {
            // A server that stops could end the holder of a lock before the statement that waits for
            // it, which would then be carried out.
            Obstacle::ReadOnly | Obstacle::Stopped => {
                database.set_read_only(true).await;
                None
            }
            Obstacle::Locked => Some(database.hold("LOCK TABLE authd_audit_sessions").await),
        };
        for visit in 1..=40 {
            assert!(visitor.visit(visit).await, "{obstacle:?}");
        }
        if let Obstacle::Stopped = obstacle {
            server.pause().await;
        }
        let stopped = Instant::now();
        let id = i32::try_from(authd.process.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
        assert!(authd.process.wait().await.unwrap().success(), "{obstacle:?}");
        let took = stopped.elapsed();
        assert!((10..20).contains(&took.as_secs()), "{obstacle:?} {took:?}");

        match obstacle {
            Obstacle::Stopped => {
                server.resume().await;
                database.set_read_only(false).await;
            }
            Obstacle::ReadOnly => database.set_read_only(false).await,
            Obstacle::Locked => held.unwrap().commit().await,
        }
        // A statement that was under way is carried out after all, once the lock is released.
        let active = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'
                      AND datname = current_database() AND pid <> pg_backend_pid()";
        while database.sql(active).await != ["0"] {
            sleep(Duration::from_millis(10)).await;
        }
        let spooled = std::fs::read_to_string(file).unwrap().lines().count();
        let copy = folder.write("copy", std::fs::read(file).unwrap());
        let before = rows(&database).await.len();
        let is_as_expected = match obstacle {
            Obstacle::Locked => spooled == 40,
            Obstacle::ReadOnly | Obstacle::Stopped => (spooled, before) == (40, 1),
        };
        assert!(is_as_expected, "{obstacle:?}: {spooled} in the file, {before} rows");
        let missing = 41 - before;

        let (status, said, error) = on(&database, &["audit", "replay", file]).await;
        assert_eq!((status, &*error), (Some(0), ""), "{obstacle:?}");
        assert_eq!(
            said,
            format!("{spooled} events read, {missing} rows added; now {file}.replayed\n")
        );
        let state = "SELECT count(*), sum(visits) FROM authd_audit_sessions";
        let once = (rows(&database).await, database.sql(state).await);
        assert!(once.0.len() == 41 && once.0.values().all(|rows| *rows == 1), "{once:?}");
        assert_eq!(once.1, ["41|41"]);
        let (_, said, _) = on(&database, &["audit", "replay", &copy]).await;
        let nothing_new = format!("{spooled} events read, 0 rows added");
        assert!(said.starts_with(&nothing_new), "{said}");
        assert_eq!((rows(&database).await, database.sql(state).await), once);

        let broken = folder.write("broken", "{}\n");
        let (status, _, error) = on(&database, &["audit", "replay", &broken]).await;
        assert!(status == Some(2) && error.contains("line 1: missing field `version`"), "{error}");
    }
}
