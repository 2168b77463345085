//! `authd policy`: operators test their roles

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const CASES: &str = r#"{"n":1,"expected":true,"action":"ssh","subject":{"id":"ann","roles":[{"name":"member","by_org_id":{"acme":{"org":[],"member":["workspace:*"]}}}],"scope":{"site":["*:*"],"allow_list":["*:*"]}},"object":{"type":"workspace","id":"w","owner":"ann","org_owner":"acme"}}

{"n":2,"expected":true,"action":"ssh","subject":{"id":"ben","roles":[{"name":"member","by_org_id":{"acme":{"org":[],"member":["workspace:*"]}}}],"scope":{"site":["*:*"],"allow_list":["*:*"]}},"object":{"type":"workspace","id":"w","owner":"ann","org_owner":"acme"}}
"#;

fn policy(args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
    command.arg("policy").args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_case_is_answered_in_one_line() {
    let output = policy(&["test", "-"], CASES);
    assert_eq!(output.status.code(), Some(0));
    let answers = lines(&output);
    assert_eq!((&answers[0]["n"], &answers[0]["allowed"]), (&1.into(), &true.into()));
    assert_eq!((&answers[1]["n"], &answers[1]["allowed"]), (&2.into(), &false.into()));
}

#[test]
fn disagreements_are_listed_and_counted() {
    let output = policy(&["test", "-", "--expect"], CASES);
    assert_eq!(output.status.code(), Some(1));
    let answers = lines(&output);
    assert_eq!(answers.len(), 2);
    assert_eq!((&answers[0]["n"], &answers[0]["expected"]), (&2.into(), &true.into()));
    assert_eq!((&answers[1]["compared"], &answers[1]["disagreements"]), (&2.into(), &1.into()));
    let agreed = policy(&["test", "--expect", "-"], CASES.lines().next().unwrap());
    assert_eq!(agreed.status.code(), Some(0));
}

#[test]
fn an_explanation_names_the_deciding_permission() {
    let output = policy(&["explain", "-", "--case", "1"], CASES);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("1: allowed"), "{text}");
    assert!(text.contains("workspace:*"), "{text}");
    assert!(!text.contains("\n2:"), "{text}");
    let output = policy(&["explain", "-", "--case", "99"], CASES);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "authd: there is no case 99\n");
}

#[test]
fn a_malformed_case_is_reported_with_its_line() {
    let output = policy(&["test", "-"], &format!("{CASES}\n{{\"n\":3}}\n"));
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("line 5"), "{stderr}");
}

#[test]
fn all_published_decisions_agree() {
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/app-authz/tests/vectors");
    let more = std::env::var_os("AUTHD_VECTORS");
    for (folder, count) in
        std::iter::once((kept.into(), 282)).chain(more.map(|folder| (folder, 5000)))
    {
        let cases = Path::new(&folder).join("rbac/cases.jsonl");
        let output = policy(&["test", cases.to_str().unwrap(), "--expect"], "");
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(lines(&output)[0]["compared"], count);
    }
}
