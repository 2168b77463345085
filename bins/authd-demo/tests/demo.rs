//! The demonstration ends well, and the README shows what it prints

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::process::Command;

#[test]
fn every_answer_is_as_expected_and_as_the_readme_shows() {
    let shown = Command::new(env!("CARGO_BIN_EXE_authd-demo")).output().unwrap();
    let printed = String::from_utf8(shown.stdout).unwrap();
    let errors = String::from_utf8(shown.stderr).unwrap();
    assert!(shown.status.success(), "{printed}\n{errors}");
    assert!(printed.ends_with("\nAll 17 answers were as expected.\n"), "{printed}");
    assert!(!printed.contains("NOT AS EXPECTED"), "{printed}");

    let readme = include_str!("../../../README.md");
    let excerpts = readme.split("```text\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let lines: Vec<_> = excerpts.flat_map(str::lines).filter(|line| !varies(line)).collect();
    assert!(lines.len() >= 12, "{lines:?}");
    for line in lines {
        assert!(
            printed.lines().any(|printed| printed.trim_end() == line),
            "not printed: {line}\n{printed}"
        );
    }
}

/// Whether a line has a time, a port, a random value or an omission
fn varies(line: &str) -> bool {
    line.contains(" ms") || line.contains("127.0.0.1") || line.contains('…') || {
        line.contains("session_token") || line.trim().is_empty()
    }
}
