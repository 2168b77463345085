//! The report runs everything, and its document is about the same rows

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::process::{Command, Output};

use authd_benches::report::{self, Machine, Report, build_authd, without_figures};
use authd_benches::{Suite, suites};
use serde_json::Value;

/// Every suite, in its short form: a figure is not judged, so a slow machine is no reason to fail
#[test]
fn every_row_is_measured_once() {
    let folder = testkit::Folder::create("authd-report").unwrap();
    let (json, document) = (folder.path().join("report.json"), folder.path().join("document.md"));
    let authd = build_authd();
    let mut command = Command::new(env!("CARGO_BIN_EXE_report"));
    command.arg("--check").arg("--authd").arg(authd);
    command.arg("--allocations").arg(env!("CARGO_BIN_EXE_allocations"));
    command.arg("--json").arg(&json).arg("--document").arg(&document);
    let output = succeeded(command.output().unwrap());

    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let measured = |suite: &&&Suite| suite.feature.is_none() || cfg!(feature = "peers");
    let expected: Vec<_> = suites::ALL
        .iter()
        .filter(measured)
        .flat_map(|suite| suite.rows.iter().map(|row| (suite.id, row.name)))
        .collect();
    let found: Vec<_> = rows
        .iter()
        .map(|row| (row["suite"].as_str().unwrap(), row["name"].as_str().unwrap()))
        .collect();
    assert_eq!(found, expected, "{output}");
    for row in rows {
        assert!(row["ours"].as_f64().unwrap() > 0.0, "{row}");
        assert_eq!(row["met"], Value::Null, "{row}");
        assert!(output.contains(row["name"].as_str().unwrap()), "{output}");
        let is_compared = row["ratio"] != Value::Null;
        assert_eq!(row["floor"] != Value::Null, is_compared, "{row}");
    }
    let of = |suite: &'static str| rows.iter().filter(move |row| row["suite"] == suite);
    // A valid token costs no statement, and a decision no allocation.
    assert!(of("forward-auth").all(|row| row["statements"] == 0.0), "{output}");
    assert!(of("decisions").take(3).all(|row| row["allocations"] == 0.0), "{output}");
    assert!(of("sign-in").all(|row| row["statements"].as_f64().unwrap() > 0.0), "{output}");

    // The document is the repository's but for its figures.
    let document = std::fs::read_to_string(document).unwrap();
    assert_eq!(without_figures(&document), without_figures(&shipped()));
}

/// Run `report --from report.json --document docs/performance.md` if this fails
#[test]
fn the_document_has_the_rows_the_goals_and_the_commands_of_the_program() {
    let nothing = Report { machine: Machine::here(), rows: Vec::new() };
    let current = report::document(&nothing).unwrap();
    assert_eq!(without_figures(&shipped()), without_figures(&current));
    for suite in suites::ALL {
        assert!(shipped().contains(&suite.command()), "{suite:?}");
        for row in suite.rows {
            let begin = format!("\n| {} | {} |", row.name, row.floor);
            assert!(shipped().contains(&begin), "{begin}");
        }
    }
}

#[test]
fn rows_have_names_of_their_own() {
    for (n, suite) in suites::ALL.iter().enumerate() {
        assert!(suites::ALL[..n].iter().all(|other| other.id != suite.id), "{suite:?}");
        for (n, row) in suite.rows.iter().enumerate() {
            assert!(suite.rows[..n].iter().all(|other| other.name != row.name), "{row:?}");
        }
    }
}

#[test]
fn the_list_has_every_row_and_an_unknown_suite_is_explained() {
    let list = Command::new(env!("CARGO_BIN_EXE_report")).arg("--list").output().unwrap();
    let list = succeeded(list);
    for suite in suites::ALL {
        assert!(list.contains(&suite.command()), "{list}");
        assert!(suite.rows.iter().all(|row| list.contains(row.name)), "{list}");
    }
    let mut unknown = Command::new(env!("CARGO_BIN_EXE_report"));
    let unknown = unknown.args(["--only", "proofs,nothing"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    let message = String::from_utf8(unknown.stderr).unwrap();
    assert!(
        message.starts_with("error: `nothing` is not a suite; there are sign-in, "),
        "{message}"
    );
}

fn succeeded(output: Output) -> String {
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// The document of the repository
fn shipped() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/performance.md");
    std::fs::read_to_string(path).unwrap()
}
