//! `authd audit`: the log on a terminal

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::Database;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

fn audit(database: &Database, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
    command.arg("audit").args(args).args(["--database-url", database.url()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn lines(database: &Database, args: &[&str]) -> Vec<String> {
    let output = audit(database, args).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Adds a row for each second; every fifth is a denial
async fn fill(database: &Database, from: u32, to: u32) {
    database
        .sql(&format!(
            "INSERT INTO authd_audit_log (id, session_id, time, user_id, organization_id,
                                          resource_type, resource_id, resource_target, action,
                                          status_code, request_id, decision, reason,
                                          additional_fields)
             SELECT md5(n::text)::uuid, md5(n::text)::uuid,
                    '2026-11-21Z'::timestamptz + n * interval '1 s', md5((n % 2)::text)::uuid,
                    gen_random_uuid(), 'workspace_app', gen_random_uuid(), 'app-' || n || e'\\x1b[31m',
                    'open', CASE n % 5 WHEN 0 THEN 404 ELSE 200 END, gen_random_uuid(),
                    CASE n % 5 WHEN 0 THEN 'deny' ELSE 'allow' END::authd_audit_decision,
                    CASE n % 5 WHEN 0 THEN 'not_found' ELSE '' END,
                    '{{\"workspace_name\": \"dev\", \"workspace_owner\": \"ann\"}}'
             FROM generate_series({from}, {to}) n"
        ))
        .await;
}

#[tokio::test]
async fn rows_are_listed_as_a_table_and_as_json() {
    let database = Database::new().await;
    fill(&database, 1, 1_200).await;
    let table = lines(&database, &["list", "--limit", "3"]).await;
    assert_eq!(table.len(), 4);
    assert!(table[0].starts_with("TIME"), "{}", table[0]);
    for part in ["2026-11-21T00:20:00.000Z", "ann/dev", "app-1200", "open denied: not_found", "404"]
    {
        assert!(table[1].contains(part), "{part} in {}", table[1]);
    }
    assert!(!table[1].contains('\x1b'), "escape sequences of a visitor are removed");

    // More rows than a page has.
    let all = lines(&database, &["list", "--limit", "5000", "--json"]).await;
    assert_eq!(all.len(), 1_200);
    let newest: Value = serde_json::from_str(&all[0]).unwrap();
    assert_eq!(newest["time"], "2026-11-21T00:20:00.000000Z");
    assert_eq!((&newest["decision"], &newest["status_code"]), (&"deny".into(), &404.into()));
}

#[tokio::test]
async fn flags_filter_what_is_listed() {
    let database = Database::new().await;
    fill(&database, 1, 100).await;
    let id = database.sql("SELECT md5('50')::uuid").await.remove(0);
    let user = database.sql("SELECT md5('1')::uuid").await.remove(0);
    for (flags, rows) in [
        (vec!["--decision", "deny"], 20),
        (vec!["--decision", "deny", "--user", &user], 10),
        (vec!["--session", &id], 1),
        (vec!["--app", "app-7\x1b[31m"], 1),
        (vec!["--app", &id], 0),
        (vec!["--from", "2026-11-21T00:01:00Z", "--to", "2026-11-21T01:01:10+01:00"], 10),
        (vec!["--from", "2026-11-21T00:01", "--to", "2026-11-21 00:01:10"], 10),
        (vec!["--from", "2026-11-21", "--to", "2026-11-22"], 100),
    ] {
        let listed =
            lines(&database, &[&["list", "--json", "--limit", "100"], &flags[..]].concat()).await;
        assert_eq!(listed.len(), rows, "{flags:?}");
    }
    for (flag, value, problem) in [
        ("--from", "yesterday", "`yesterday` is not a time such as"),
        ("--from", "9999-01-01", "`--to` must be later than `--from`"),
        ("--app", "app-7", "the audit log has no app or agent `app-7`"),
        ("--user", "nobody", "the user `nobody` does not exist"),
        ("--workspace", "ann/none", "the workspace `ann/none` does not exist"),
        ("--workspace", "dev", "`dev` is not `OWNER/WORKSPACE` or an id"),
    ] {
        for command in ["list", "tail"] {
            let wrong = audit(&database, &[command, flag, value, "--to", "2026-11-22"])
                .output()
                .await
                .unwrap();
            let error = String::from_utf8(wrong.stderr).unwrap();
            assert!(error.contains(problem), "{command} {flag} {value}: {error}");
            assert_eq!(wrong.status.code(), Some(2), "{command} {flag} {value}");
        }
    }
    let memory = Command::new(env!("CARGO_BIN_EXE_authd"))
        .args(["audit", "list", "--store", "memory"])
        .output()
        .await
        .unwrap();
    assert_eq!(memory.status.code(), Some(1));
}

#[tokio::test]
async fn names_are_shown_and_taken_and_the_table_fits() {
    let database = Database::new().await;
    let mut fleet = store::fleet::Fleet::default();
    let acme = fleet.organization("acme");
    let ann = fleet.user("ann", acme);
    let dev = fleet.workspace(ann, "dev");
    database.store().await.load(&fleet).await.unwrap();
    fill(&database, 1, 20).await;
    database
        .sql(&format!(
            "UPDATE authd_audit_log SET user_id = '{ann}', workspace_id = '{dev}', ip = '192.0.2.7'
             WHERE user_id = md5('1')::uuid;
             UPDATE authd_audit_log SET user_id = '00000000-0000-0000-0000-000000000000'
             WHERE user_id = md5('0')::uuid"
        ))
        .await;
    for (flags, rows) in [
        (vec!["--user", "ANN"], 10),
        (vec!["--user", "-"], 10),
        (vec!["--user", "ann", "--workspace", "Ann/Dev", "--address", "192.0.2.7"], 10),
        (vec!["--user", "ann", "--reason", "not_found"], 2),
        (vec!["--address", "192.0.2.8"], 0),
    ] {
        let listed = lines(&database, &[&["list"], &flags[..]].concat()).await;
        assert_eq!(listed.len(), 1 + rows, "{flags:?}");
    }
    let listed = lines(&database, &["list", "--user", "ann", "--limit", "1"]).await;
    assert!(listed[1].contains("  ann  "), "{}", listed[1]);
    for (columns, flags, fits) in [
        ("80", vec!["list"], true),
        ("120", vec!["list"], true),
        ("80", vec!["list", "--wide"], false),
    ] {
        let output = audit(&database, &flags).env("COLUMNS", columns).output().await.unwrap();
        let table = String::from_utf8(output.stdout).unwrap();
        assert_eq!(table.lines().count(), 21);
        let width = table.lines().map(|line| line.chars().count()).max().unwrap();
        assert_eq!(width <= columns.parse().unwrap(), fits, "{columns} {flags:?}: {table}");
    }
}

#[tokio::test]
async fn a_tail_follows_new_rows() {
    let database = Database::new().await;
    fill(&database, 1, 20).await;
    let mut tail = audit(&database, &["tail", "--json", "--lines", "2"]).spawn().unwrap();
    let mut out = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = tokio::time::timeout(Duration::from_secs(20), out.next_line()).await;
        let row: Value = serde_json::from_str(&line.unwrap().unwrap().unwrap()).unwrap();
        row["time"].as_str().unwrap()[11..19].to_owned()
    };
    assert_eq!([next().await, next().await], ["00:00:19", "00:00:20"]);
    fill(&database, 30, 31).await;
    assert_eq!([next().await, next().await], ["00:00:30", "00:00:31"]);
    // A row that is written after a later one is shown too, and no row is shown twice.
    fill(&database, 25, 25).await;
    assert_eq!(next().await, "00:00:25");
    fill(&database, 40, 40).await;
    assert_eq!(next().await, "00:00:40");
    // Exits in order, so that a private database server would be stopped too.
    let id = i32::try_from(tail.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
    assert_eq!(tail.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn old_rows_are_deleted_and_the_others_stay() {
    let database = Database::new().await;
    // More than a batch, of which the newest 50 are of today.
    fill(&database, 1, 5_100).await;
    database
        .sql(
            "UPDATE authd_audit_log SET time = now() - CASE
                 WHEN time > '2026-11-21Z'::timestamptz + 5050 * interval '1 s' THEN interval '399 days'
                 ELSE interval '401 days' END",
        )
        .await;
    database
        .sql(
            "INSERT INTO authd_acts (id, time, kind, decision, times)
             SELECT gen_random_uuid(), now() - n * interval '100 days', 'log_in', 'allow', 1
             FROM generate_series(1, 6) n",
        )
        .await;
    let prune = ["prune", "--older-than", "400d"];
    for (visits, acts) in [(5_050, 3), (0, 0)] {
        let printed = lines(&database, &prune).await;
        let said =
            format!("{visits} rows of visits and {acts} of acts deleted, older than 400 days");
        assert_eq!(printed, [said]);
        assert_eq!(database.sql("SELECT count(*) FROM authd_acts").await, ["3"]);
        assert_eq!(database.sql("SELECT count(*) FROM authd_audit_log").await, ["50"]);
    }
    for age in ["400", "0d", "all"] {
        let refused = audit(&database, &["prune", "--older-than", age]).output().await.unwrap();
        assert_eq!(refused.status.code(), Some(2), "{age}");
        assert!(String::from_utf8(refused.stderr).unwrap().contains("such as `400d`"), "{age}");
    }
    let without = audit(&database, &["prune"]).output().await.unwrap();
    assert_eq!(without.status.code(), Some(2));
    assert_eq!(database.sql("SELECT count(*) FROM authd_audit_log").await, ["50"]);
}

#[tokio::test]
async fn the_log_gets_a_table_for_each_month() {
    let database = Database::new().await;
    fill(&database, 1, 100).await;
    database
        .sql(
            "UPDATE authd_audit_log SET time = now();
             UPDATE authd_audit_log SET time = now() - interval '401 days'
             WHERE id IN (SELECT id FROM authd_audit_log LIMIT 40)",
        )
        .await;
    let ends = "SELECT to_char(date_trunc('month', now()) + n * interval '1 month', 'YYYY-MM-DD')
                FROM generate_series(2, 3) n";
    let ends = database.sql(ends).await;
    let name = ends[0][..7].replace('-', "_");
    let expected = [
        format!("authd_audit_log_before_{name}   until {}", ends[0]),
        format!("authd_audit_log_{name}          until {}", ends[1]),
        "authd_audit_log_other            all other rows".to_owned(),
    ];
    for _ in 0..2 {
        assert_eq!(lines(&database, &["partition"]).await, expected);
    }
    let objects = lines(&database, &["partition", "--json"]).await;
    let objects = objects.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let found: Vec<_> =
        objects.map(|object| (object["table"].clone(), object["ends"].clone())).collect();
    assert_eq!(found[2], ("authd_audit_log_other".into(), Value::Null));
    assert_eq!(found[1].1, format!("{}T00:00:00Z", ends[1]));
    assert_eq!(found.len(), 3);

    assert_eq!(lines(&database, &["list", "--json", "--limit", "100"]).await.len(), 100);
    let printed = lines(&database, &["prune", "--older-than", "400d"]).await;
    assert_eq!(printed, ["40 rows of visits and 0 of acts deleted, older than 400 days"]);
}
