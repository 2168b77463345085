//! The command line: help, manual, completions, secrets from files, and which database is used

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::process::{Command, Output};

use common::command::{Scratch, text};
use serde_json::Value;
use testkit::Database;
use testkit::net::free_address;

fn authd(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
    command.args(args);
    // Those of the tests are not settings of authd, which would say so.
    let own = std::env::vars_os().map(|(name, _)| name);
    own.filter(|name| name.as_encoded_bytes().starts_with(b"AUTHD_")).for_each(|name| {
        command.env_remove(name);
    });
    command
}

/// Exit status, standard output and standard error
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// Every command that uses the store, with what it requires
const OF_STORE: [&[&str]; 10] = [
    &["audit", "list"],
    &["audit", "partition"],
    &["audit", "tail"],
    &["check"],
    &["grants"],
    &["keys", "list"],
    &["keys", "rotate"],
    &["migrate"],
    &["token", "create", "--user", "alice"],
    &["token", "list"],
];

#[test]
fn no_command_but_serve_creates_a_database() {
    let scratch = Scratch::new();
    let folder = scratch.0.join("absent");
    let document = scratch.write("document.toml", "");
    let import = ["import", &document];
    for command in OF_STORE.iter().copied().chain([&import[..]]) {
        let (status, out, err) = run(authd(command).args(["--data-dir", &text(&folder)]));
        assert!(!folder.exists(), "{command:?}");
        if command == ["check"] {
            assert!(out.contains("does not have one"), "{out}");
            continue;
        }
        assert_eq!((status, &*out), (Some(2), ""), "{command:?}");
        assert!(
            err.contains(&format!("`{}` does not contain a database", folder.display()))
                && err.contains("`--database-url`")
                && err.contains("`--data-dir`"),
            "{command:?}: {err}"
        );
    }
}

#[test]
fn the_help_of_a_command_is_its_own() {
    for command in OF_STORE.iter().copied().chain([&["import", "FILE"][..]]) {
        let words: Vec<&str> = command
            .iter()
            .copied()
            .filter(|word| !["--user", "alice", "FILE"].contains(word))
            .collect();
        for (option, most) in [("-h", 40), ("--help", 90)] {
            let (status, out, _) = run(authd(&words).arg(option));
            assert_eq!(status, Some(0));
            let lines = out.lines().count();
            assert!(lines <= most, "{words:?} {option} has {lines} lines");
            assert!(out.contains("--database-url") && out.contains("authd help settings"), "{out}");
            assert!(!out.contains("--google-audience"), "{words:?} {option}");
        }
    }
    let (_, short, _) = run(&mut authd(&["serve", "-h"]));
    assert!(short.lines().count() <= 50 && short.contains("--tls-cert"), "{short}");
    assert!(!short.contains("--google-audience"), "{short}");
    for args in [&["serve", "--help"][..], &["help", "settings"], &["settings"]] {
        let (status, out, _) = run(&mut authd(args));
        assert!(status == Some(0) && out.contains("--google-audience"), "{args:?}");
    }
    // A hidden setting is still taken.
    let (status, _, err) = run(&mut authd(&["token", "list", "--google-audience"]));
    assert!(status == Some(2) && err.contains("a value is required"), "{err}");
}

#[test]
fn completions_and_manual_pages_are_printed() {
    for (shell, line) in
        [("bash", "complete -F _authd"), ("zsh", "#compdef authd"), ("fish", "complete -c authd")]
    {
        let (status, out, _) = run(&mut authd(&["completions", shell]));
        assert_eq!(status, Some(0), "{shell}");
        assert!(out.contains(line) && out.contains("into-control-plane"), "{shell}");
    }
    let (status, page, _) = run(&mut authd(&["man"]));
    assert!(status == Some(0) && page.contains(".TH authd 1"), "{page}");
    let scratch = Scratch::new();
    let (status, ..) = run(&mut authd(&["man", "--dir", &text(&scratch.0)]));
    assert_eq!(status, Some(0));
    for page in ["authd.1", "authd-serve.1", "authd-settings.1", "authd-audit-list.1"] {
        assert!(scratch.0.join(page).exists(), "{page}");
    }
    let (status, _, err) = run(&mut authd(&["man", "--dir", "/nonexistent/folder"]));
    assert!(
        status == Some(1) && err.contains("`/nonexistent/folder` cannot be written to"),
        "{err}"
    );
}

#[test]
fn an_unknown_log_level_is_refused() {
    for command in ["serve", "check", "migrate"] {
        let (status, out, err) = run(&mut authd(&[command, "--log-level", "loud"]));
        let printed = out + &err;
        assert!(status != Some(0), "{command}");
        assert!(
            printed.contains("`loud` is not a log filter; use `error`"),
            "{command}: {printed}"
        );
    }
}

#[tokio::test]
async fn each_command_says_which_database_it_uses() {
    let database = Database::new().await;
    let url = database.url();
    let (status, out, err) = run(&mut authd(&["migrate", "--json", "--database-url", url]));
    assert_eq!(status, Some(0), "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["applied"], Value::Array(Vec::new()));
    for (args, lines) in [
        (&["keys", "list", "--json"][..], 0),
        (&["token", "list", "--json"], 0),
        (&["audit", "list", "--json"], 0),
        (&["audit", "partition", "--json"], 3),
        (&["keys", "rotate", "--json"], 2),
        (&["keys", "list", "--json"], 2),
    ] {
        let (status, out, err) = run(authd(args).args(["--database-url", url]));
        assert_eq!(status, Some(0), "{err}");
        assert!(err.starts_with("database: "), "{args:?}: {err}");
        let objects = out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        assert_eq!(objects.filter(Value::is_object).count(), lines, "{args:?}: {out}");
    }
    let quiet = ["token", "list", "--log-level", "warn", "--database-url", url];
    assert_eq!(run(&mut authd(&quiet)).2, "");
}

#[tokio::test]
async fn what_a_migration_did_is_printed() {
    let database = Database::empty().await;
    let url = database.url();
    let migrate = || authd(&["migrate", "--database-url", url]);
    let (status, out, err) = run(&mut migrate());
    assert_eq!(status, Some(0), "{err}");
    assert!(out.contains("created the table authd_audit_log\n"), "{out}");
    assert!(out.contains("created the table workspaces\n") && out.contains("applied 20"), "{out}");
    assert_eq!(run(&mut migrate()).1, "the tables were up to date\n");
}

#[test]
fn a_database_that_is_away_is_named_without_the_password() {
    // No program listens on this port.
    let port = free_address().port();
    let url = format!("postgres://authd:hunter2@127.0.0.1:{port}/coder");
    let (status, _, err) = run(&mut authd(&["token", "list", "--database-url", &url]));
    assert_eq!(status, Some(1));
    assert!(err.starts_with(&format!("database: postgres://127.0.0.1:{port}/coder\n")), "{err}");
    assert!(err.contains(&format!("`127.0.0.1:{port}`: ")), "{err}");
    assert_eq!(err.matches("onnection refused").count(), 1, "{err}");
    assert!(!err.contains("hunter2"), "{err}");

    let serve = ["serve", "--listen", "127.0.0.1:0", "--database-wait-seconds", "1"];
    let (status, _, err) = run(authd(&serve).args(["--database-url", &url]));
    assert_eq!(status, Some(1));
    assert!(err.contains("waiting for the database") && !err.contains("hunter2"), "{err}");
    let (status, _, err) =
        run(authd(&serve[..3]).args(["--database-wait-seconds", "0", "--database-url", &url]));
    assert!(status == Some(1) && !err.contains("waiting"), "{err}");
}

#[tokio::test]
async fn secrets_are_read_from_files() {
    let database = Database::new().await;
    let scratch = Scratch::new();
    let url_file = |content: &str| scratch.write("url", content);
    let list = |file: &str| {
        run(authd(&["token", "list", "--log-level", "error"]).env("AUTHD_DATABASE_URL_FILE", file))
    };
    for end in ["", "\n", "\r\n"] {
        let (status, out, err) = list(&url_file(&format!("{}{end}", database.url())));
        assert!(status == Some(0) && out.starts_with("ID"), "{end:?}: {err}");
    }
    for (content, problem) in [
        (String::new(), "it is empty"),
        ("\n".to_owned(), "it is empty"),
        ("hunter2".repeat(10_000), "it is larger than 64 KiB"),
        ("hunter2://u:hunter2@h/d".to_owned(), "the database URL is not understood"),
    ] {
        let (status, _, err) = list(&url_file(&content));
        assert_eq!(status, Some(2));
        assert!(err.contains(problem) && !err.contains("hunter2"), "{err}");
    }
    let (status, _, err) = list("/nonexistent/url");
    assert!(status == Some(2) && err.contains("`/nonexistent/url` cannot be read"), "{err}");
    let both = ["token", "list", "--database-url", "postgres://hunter2@h/d"];
    let (status, _, err) =
        run(authd(&both).env("AUTHD_DATABASE_URL_FILE", url_file(database.url())));
    assert_eq!(status, Some(2));
    assert!(err.contains("`database_url` and `database_url_file` exclude each other"), "{err}");
    assert!(!err.contains("hunter2"), "{err}");

    let keys = scratch.write("keys", "hunter2\n");
    let (status, _, err) = run(authd(&["token", "list", "--database-url", database.url()])
        .args(["--external-token-encryption-keys-file", &keys]));
    assert_eq!(status, Some(2));
    assert!(
        err.contains("encryption key 1 of 1 is not base64") && !err.contains("hunter2"),
        "{err}"
    );
}
