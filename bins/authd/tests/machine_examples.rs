//! The manual for machines: systemd and cloud-init accept its examples, and it lists every reason
//! for a refusal

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::{Path, PathBuf};
use std::process::Command;

use identity_verify::Reason;

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/machine").join(name);
    std::fs::read_to_string(path).unwrap()
}

const UNITS: [&str; 2] = ["authd-agent-token.service", "coder-agent.service"];

#[test]
fn the_user_data_contains_the_units_verbatim() {
    let user_data = example("cloud-init.yaml");
    for unit in UNITS {
        let indented: Vec<_> = example(unit)
            .lines()
            .map(|line| if line.is_empty() { String::new() } else { format!("      {line}") })
            .collect();
        let block =
            format!("/etc/systemd/system/{unit}\n    permissions: \"0644\"\n    content: |\n");
        let (_, after) = user_data.split_once(&block).unwrap();
        assert!(after.starts_with(&indented.join("\n")), "{unit}");
        assert!(user_data.lines().last().unwrap().contains(unit), "{unit} is not started");
    }
}

#[test]
fn every_possible_reason_has_a_row_in_the_manual() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let (_, section) = manual.split_once("## \"Why can this machine not sign in?\"").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    // Reasons that only embedders see, and those of trust material.
    let elsewhere = [Reason::Replayed, Reason::PinsUnavailable, Reason::InvalidTrust];
    for reason in Reason::ALL.iter().filter(|reason| !elsewhere.contains(reason)) {
        let name = format!("`{reason}`");
        let has_row = section.lines().any(|line| {
            line.starts_with('|') && line.split('|').nth(1).is_some_and(|cell| cell.contains(&name))
        });
        assert!(has_row, "{reason}");
    }
}

#[test]
fn systemd_accepts_the_units() {
    let folder = std::env::temp_dir().join(format!("authd-units-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    // Programs and files that exist on a real machine at these paths.
    let there = env!("CARGO_BIN_EXE_authd");
    let paths: Vec<PathBuf> = UNITS
        .iter()
        .map(|unit| {
            let text = example(unit)
                .replace("/usr/bin/authd", there)
                .replace("/usr/bin/coder", "/bin/true")
                .replace("User=coder", "User=root");
            let path = folder.join(unit);
            std::fs::write(&path, text).unwrap();
            path
        })
        .collect();
    let verified = Command::new("systemd-analyze").arg("verify").args(&paths).output();
    std::fs::remove_dir_all(&folder).unwrap();
    let Ok(verified) = verified else {
        let required = std::env::var_os("AUTHD_REQUIRE_PROGRAMS").is_some();
        assert!(!required, "systemd-analyze is not installed");
        eprintln!("WARNING: no systemd-analyze: THE UNITS WERE NOT VERIFIED");
        return;
    };
    let stderr = String::from_utf8_lossy(&verified.stderr);
    let ours: Vec<_> =
        stderr.lines().filter(|line| UNITS.iter().any(|u| line.contains(u))).collect();
    assert!(verified.status.success() && ours.is_empty(), "{stderr}");
}

#[test]
fn the_units_use_valid_options_of_the_command() {
    let unit = example("authd-agent-token.service");
    let start =
        unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/authd ")).unwrap();
    // The status is 2 for a wrong option, and 1 for a wrong address.
    let folder = std::env::temp_dir().join(format!("authd-units-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    let start = start.replace("/run/authd-agent", folder.to_str().unwrap()).replace("forever", "0");
    let output = Command::new(env!("CARGO_BIN_EXE_authd"))
        .args(start.split(' '))
        .args(["--metadata-url", "http://127.0.0.1:1"])
        .env_clear()
        .env("AUTHD_URL", "http://127.0.0.1:1")
        .output()
        .unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
