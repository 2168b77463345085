//! The files of `packaging` fit the program: settings, times, names and versions

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn packaging(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// Reads settings as every command does, and ends before it needs a database
fn settings_of(file: Option<&Path>, environment: &[(&str, &str)], flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
    command.args(["keys", "list"]).args(flags).env_clear().envs(environment.iter().copied());
    command.args(file.iter().flat_map(|file| [Path::new("--config"), file]));
    command.output().unwrap()
}

/// Exit status 1: the settings are good, but a store in memory has no keys. 2: they are not.
fn assert_accepted(toml: &str, flags: &[&str]) {
    let folder = testkit::Folder::create("authd-packaging").unwrap();
    let file: PathBuf = folder.path().join("authd.toml");
    std::fs::write(&file, toml).unwrap();
    let output = settings_of(Some(&file), &[], flags);
    assert_eq!(output.status.code(), Some(1), "{toml}{output:?}");
}

/// The settings in comments: `#key = value`
fn examples(toml: &str) -> Vec<&str> {
    let is_setting = |line: &&str| line.starts_with(|c: char| c.is_ascii_lowercase());
    toml.lines().filter_map(|line| line.strip_prefix('#')).filter(is_setting).collect()
}

#[test]
fn the_example_of_settings_is_accepted_as_it_is_and_with_each_line_in_use() {
    let toml = packaging("authd.toml");
    assert_accepted(&toml, &["--store", "memory"]);
    let examples = examples(&toml);
    assert!(examples.len() > 25, "{examples:?}");
    for line in &examples {
        // A database that refuses at once.
        let (line, flags) = match line.starts_with("database_url") {
            true => (line.replace("db.internal", "127.0.0.1:1"), &[][..]),
            false => ((*line).to_owned(), &["--store", "memory"][..]),
        };
        // Some settings need one of these beside them.
        let others =
            ["access_url = \"https://a.example\"", "tls_cert = \"a.crt\"", "tls_key = \"a.key\""];
        let key = |line: &str| line.split(' ').next().map(str::to_owned);
        let beside = others.into_iter().filter(|other| key(other) != key(&line));
        let beside: Vec<_> = beside.collect();
        assert_accepted(&format!("{}\n{line}\n", beside.join("\n")), flags);
    }
    // And together, as one file.
    let together = examples.iter().filter(|line| !line.starts_with("database_url"));
    let together: Vec<_> = together.copied().collect();
    assert_accepted(&together.join("\n"), &["--store", "memory"]);
}

#[test]
fn a_pod_and_a_unit_may_take_as_long_to_stop_as_authd() {
    let number = |text: &str, key: &str| -> u32 {
        let (_, rest) = text.split_once(key).unwrap();
        rest.trim_start_matches([' ', '=', ':']).split_whitespace().next().unwrap().parse().unwrap()
    };
    // The defaults of --drain-timeout-seconds, and the time for the audit.
    let rest = 20 + 10;
    let (_, toml) = packaging("kubernetes/configmap.yaml")
        .split_once("authd.toml: |\n")
        .map(|(before, toml)| {
            (before.to_owned(), toml.lines().map(str::trim).collect::<Vec<_>>().join("\n"))
        })
        .unwrap();
    assert_accepted(&toml, &["--store", "memory"]);
    let lame_duck = number(&toml, "\nlame_duck_seconds");
    let deployment = packaging("kubernetes/deployment.yaml");
    let grace = number(&deployment, "\n      terminationGracePeriodSeconds");
    assert!(grace > lame_duck + rest, "{grace}");
    // A private database has a minute to stop, and the lame duck is a second.
    let unit = packaging("systemd/authd.service");
    let timeout = number(&unit, "\nTimeoutStopSec");
    assert!(timeout > 1 + rest + 60, "{timeout}");
}

#[test]
fn the_image_sets_what_authd_knows() {
    let file = packaging("container/Dockerfile");
    let pairs: Vec<(&str, &str)> = file
        .lines()
        .filter_map(|line| line.trim_start_matches("ENV").trim().split_once('='))
        .map(|(name, value)| (name, value.trim_end_matches([' ', '\\'])))
        .filter(|(name, _)| name.starts_with("AUTHD_"))
        .collect();
    assert_eq!(pairs.len(), 3, "{pairs:?}");
    let output = settings_of(None, &pairs, &["--store", "memory"]);
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(!log.contains("not a setting"), "{log}");
    // Kubernetes compares it with `runAsNonRoot`, which needs a number.
    assert!(file.contains("\nUSER 10001:10001\n"));
    let toolchain = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../rust-toolchain.toml");
    let toolchain = std::fs::read_to_string(toolchain).unwrap();
    let version = toolchain.split('"').nth(1).unwrap();
    assert!(file.contains(&format!("FROM rust:{version}-slim-")), "{version}");
    assert!(file.contains(&format!("RUSTUP_TOOLCHAIN={version}\n")), "{version}");
}

#[test]
fn manifests_name_the_image_of_this_release() {
    for name in ["kubernetes/deployment.yaml", "kubernetes/once/migrate.yaml"] {
        let image = format!("/authd:{}\n", env!("CARGO_PKG_VERSION"));
        assert!(packaging(name).contains(&image), "{name}");
    }
}
