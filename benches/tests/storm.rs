//! Small storms, with each option at least once
//!
//! These drive the real binary. What is asserted holds on a busy machine too: counts, and no times.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::process::{Command, Output};

use authd_benches::report::build_authd;
use authd_benches::storm::{self, Options, Outcome, Report};
use clap::Parser;
use serde_json::Value;

#[derive(Parser)]
#[command(args_override_self = true)]
struct Args {
    #[command(flatten)]
    options: Options,
}

/// Runs a storm of 60 agents, whose retries do not take long
async fn storm(args: &str) -> Report {
    build_authd();
    let args = args.split_whitespace();
    let args = ["storm"].into_iter().chain(SMALL).chain(args);
    let report = storm::run(&Args::parse_from(args).options).await.unwrap();
    assert_eq!(report.warnings, [""; 0]);
    assert_eq!(report.honest.agents, 60, "{report}");
    assert_eq!(report.honest.signed_in, 60, "{report}");
    assert_eq!(report.honest.not_in, 0, "{report}");
    // A wrong token would be another agent's.
    assert_eq!(report.honest.answers.of(Outcome::Status(200)), 60, "{report}");
    assert_eq!(report.honest.answers.of(Outcome::WrongToken), 0, "{report}");
    assert_eq!(report.honest.answers.of(Outcome::Status(500)), 0, "{report}");
    assert_eq!(report.honest.without_retry_after, 0, "{report}");
    for server in &report.servers {
        assert_eq!(server.ended, "exit status: 0", "{report}");
        assert!(server.resident_peak_mib >= server.resident_before_mib, "{report}");
        assert!(server.resident_before_mib > 0.0, "{report}");
    }
    report
}

const SMALL: [&str; 8] = [
    "--agents=60",
    "--window-ms=500",
    "--builds=4",
    "--retry-seconds=0.2",
    "--attack-lead-ms=1000",
    "--comeback-ms=100",
    "--deadline-seconds=60",
    "--seed=7",
];

#[test]
fn the_program_prints_a_report_and_a_table() {
    let output = program(&["--clouds=google,aws", "--recycled-share=100", "--keep-connections"]);
    let table = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{table}");
    assert!(table.contains("60 of 60 in, 60 (100 %) at the first try"), "{table}");

    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let honest = &report["honest"];
    assert_eq!(honest["answers"], serde_json::json!({ "200": 60 }));
    for time in ["p50", "p95", "p99", "max"] {
        assert!(honest["attempt_ms"][time].as_f64().unwrap() > 0.0, "{honest}");
    }
    assert!(honest["last_in_ms"].as_f64().unwrap() > 0.0, "{honest}");
    assert_eq!(report["options"]["clouds"], serde_json::json!(["google", "aws"]));
    assert!(report["database"]["transactions"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["servers"].as_array().unwrap().len(), 1);
    let log = &report["log"];
    assert!(log["lines"]["INFO"].as_u64().unwrap() >= 60, "{log}");
    assert_eq!(log["panics"], 0);
    assert!(report["health"]["answers"]["200"].as_u64().unwrap() > 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_proofs_get_no_token_and_take_none_away() {
    let report = storm("--forged-percent=40 --flood=3 --clients-per-address=2").await;
    assert_eq!(report.forged.forgers, 40);
    let forged = [&report.forged.answers, &report.attacks[0].answers];
    for answers in forged {
        assert!(answers.of(Outcome::Status(401)) > 0, "{report}");
        assert_eq!(answers.statuses(200, 300) + answers.of(Outcome::Status(500)), 0, "{report}");
    }
    assert_eq!(report.attacks[0].kind, "flood");
    assert_eq!(report.attacks[0].connections, 3, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_silent_clients_are_there_from_the_start() {
    let report = storm(
        "--slow-heads=8 --silent=7 --http1-slow-bodies=6 --slow-bodies=2x16 --pings=5 \
         --closed-windows=2",
    )
    .await;
    let attacks: Vec<_> = report
        .attacks
        .iter()
        .map(|attack| (attack.kind, attack.connections, attack.open_at_start))
        .collect();
    assert_eq!(
        attacks,
        [
            ("slow heads", 8, 8),
            ("silent", 7, 7),
            ("HTTP/2 slow bodies", 2, 2),
            ("HTTP/1 slow bodies", 6, 6),
            ("pings", 5, 5),
            ("closed windows", 2, 2),
        ]
    );
    // The heads of the answers came; the bodies are not taken.
    assert!(report.attacks[5].answers.of(Outcome::Status(200)) > 0, "{report}");
}

/// The request timeout ends slow bodies, and their clients begin again
#[tokio::test(flavor = "multi_thread")]
async fn ended_attackers_come_back_and_are_counted() {
    let report = storm(
        "--slow-bodies=1x4 --http1-slow-bodies=3 --attack-lead-ms=4000 \
         --server-arg=--request-timeout-seconds=1",
    )
    .await;
    for attack in &report.attacks {
        let ended = u64::try_from(attack.connections).unwrap();
        assert!(attack.answers.all() >= ended, "{report}");
        assert_eq!(attack.answers.statuses(200, 300), 0, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_database_delays_agents_and_loses_none() {
    let report =
        storm("--window-ms=5000 --restart-database-at-ms=500 --terminate-backends-at-ms=4500,4000")
            .await;
    let database = &report.database;
    let stopped = database.stopped_at_ms.unwrap();
    assert!(stopped >= 500.0 && database.back_at_ms.unwrap() > stopped, "{report}");
    assert!(database.last_in_after_ms.is_some(), "{report}");
    assert_eq!(database.terminated.len(), 2, "{report}");
    assert!(database.terminated[1].at_ms >= 4_500.0, "{report}");
    assert!(database.terminated.iter().any(|event| event.sessions > 0), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_replaced_one_after_the_other() {
    let report = storm("--replicas=2 --rolling-restart --window-ms=4000").await;
    let restarted: Vec<_> = report.servers.iter().map(|server| server.restarted).collect();
    assert_eq!(restarted, [true, true, false, false], "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_can_be_discarded_or_never_read() {
    let never = storm("--log=never-read --server-arg=--log-level=debug").await;
    assert_eq!(never.log, None);
    let null = storm("--log=null").await;
    assert_eq!(null.log, None);
}

#[test]
fn a_failed_setup_is_explained() {
    let cases: [(&[&str], i32, &str); 5] = [
        (
            &["--authd=/nowhere/authd"],
            1,
            "authd was not found at /nowhere/authd: build it with `cargo build",
        ),
        (&["--agents=0"], 1, "`--agents` must be at least 1"),
        (&["--postgres-bin=/nowhere"], 1, "/nowhere"),
        (&["--server-arg=--no-such-option"], 1, "--no-such-option"),
        (&["--slow-bodies=many"], 2, "expected connections and streams such as `9x128`"),
    ];
    for (args, status, message) in cases {
        let output = program(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{args:?}: {stderr}");
        assert!(stderr.contains(message), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

fn program(args: &[&str]) -> Output {
    build_authd();
    let mut program = Command::new(env!("CARGO_BIN_EXE_storm"));
    program.args(SMALL).args(args).output().unwrap()
}
