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
    let elsewhere = [Reason::PinsUnavailable, Reason::InvalidTrust];
    for reason in Reason::ALL.iter().filter(|reason| !elsewhere.contains(reason)) {
        let name = format!("`{reason}`");
        let has_row = section.lines().any(|line| {
            line.starts_with('|') && line.split('|').nth(1).is_some_and(|cell| cell.contains(&name))
        });
        assert!(has_row, "{reason}");
    }
}

#[test]
fn every_class_of_errors_of_a_sign_in_has_a_row_in_the_manual() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let manual = std::fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let (_, after) = manual.split_once("\nThe classes of errors:").unwrap();
    let (table, _) = after.split_once("\nThe reasons for which").unwrap();
    let mut classes = Vec::new();
    for source in ["mod.rs", "sign_in.rs"] {
        let path = root.join("crates/http/src/error").join(source);
        let text = std::fs::read_to_string(path).unwrap();
        // A class follows the status or the word `internal`, also on the next line.
        for start in ["StatusCode::", "Problem::internal("] {
            for part in text.split(start).skip(1) {
                let after = part.trim_start_matches(|c: char| c.is_ascii_uppercase() || c == '_');
                let after = after.trim_start_matches([',', ' ', '\n']);
                let class = after.strip_prefix('"').and_then(|rest| rest.split('"').next());
                classes.extend(class.map(str::to_owned));
            }
        }
    }
    // Messages are sentences.
    classes.retain(|class| !class.contains(' '));
    // Of `/readyz`, three times; of a denial that does not exist yet.
    classes
        .retain(|class| !["no_keys", "not_ready", "stopping", "refused"].contains(&class.as_str()));
    assert!(classes.len() > 18, "{classes:?}");
    for class in classes {
        assert!(table.contains(&format!("`{class}`")), "{class}");
    }
}

/// What the manual does not explain: parts of other messages, and what cannot happen
const PARTS: &[&str] = &[
    ", while it answers other requests",
    "a JSON body",
    "a PKCS#7 message",
    "a body that is not JSON",
    "a session token",
    "an HTML page",
    "an empty body",
    "an identity token",
    "an instance identity document",
    "the control plane",
    "the metadata service of aws",
    "the metadata service of azure",
    "the metadata service of google",
    // Every message about an attempt begins with one of these.
    "no metadata service returned a proof of identity: …",
    "no session token: …",
    // Not without a fault of the program.
    "TLS is not usable",
    "the metadata service has no address",
    "the proof is not complete",
    "the request cannot be sent",
];

/// The messages in the sources of a crate: its strings of three words or more, with `…` for values
fn messages(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            messages(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let code: Vec<_> = code.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
        // Quotes in strings are not used there, so every second part is a string.
        for string in code.join("\n").split('"').skip(1).step_by(2) {
            let lines: Vec<_> = string.split("\\\n").map(str::trim_start).collect();
            let message = lines.join("");
            let pieces = message.split('{').enumerate().map(|(at, piece)| match at {
                0 => piece.to_owned(),
                _ => format!("…{}", piece.split_once('}').map_or("", |(_, rest)| rest)),
            });
            let message = pieces.collect::<String>();
            let words = message.split(' ').filter(|w| w.contains(char::is_alphabetic)).count();
            if words > 2 && !message.contains('%') {
                found.push(message);
            }
        }
    }
}

#[test]
fn every_message_of_the_command_has_a_row_in_the_manual() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    messages(&root.join("crates/agent-token/src"), &mut found);
    assert!(found.len() > 40, "{found:#?}");
    let manual = std::fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let (_, section) = manual.split_once("## \"Why can this machine not sign in?\"").unwrap();
    let (table, _) = section.split_once("In the log, search for").unwrap();
    let quoted: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with('|'))
        .flat_map(|line| line.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .collect();
    let explains = |quote: &&str, message: &str| {
        let words = quote.split('…').map(str::trim).filter(|words| words.contains(' '));
        let words: Vec<_> = words.collect();
        !words.is_empty() && words.iter().all(|words| message.contains(words))
    };
    let mut unexplained = found.clone();
    unexplained.retain(|message| {
        let message = message.trim();
        !PARTS.contains(&message) && !quoted.iter().any(|quote| explains(quote, message))
    });
    assert!(unexplained.is_empty(), "{unexplained:#?}");
    for part in PARTS {
        assert!(found.iter().any(|message| message.trim() == *part), "no message {part:?}");
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
