//! Dependencies between our crates point one way

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Which of our crates a crate may be built with; what it may be *tested* with is
/// this and `testkit`
const ALLOWED: &[(&str, &[&str])] = &[
    ("agent-auth", &[]),
    ("app-audit", &[]),
    ("app-authz", &[]),
    (
        "authd",
        &[
            "agent-auth",
            "app-audit",
            "app-authz",
            "authd-http",
            "fleet-import",
            "identity-fetch",
            "identity-verify",
            "private-postgres",
            "authd-store",
        ],
    ),
    (
        "authd-benches",
        &[
            "agent-auth",
            "app-audit",
            "app-authz",
            "authd",
            "authd-http",
            "identity-fetch",
            "identity-verify",
            "private-postgres",
            "authd-store",
            "testkit",
        ],
    ),
    (
        "authd-http",
        &[
            "agent-auth",
            "app-audit",
            "app-authz",
            "fleet-import",
            "identity-fetch",
            "identity-verify",
            "authd-store",
        ],
    ),
    ("fleet-import", &["app-authz", "authd-store"]),
    ("identity-fetch", &["identity-verify"]),
    ("identity-verify", &[]),
    ("private-postgres", &[]),
    ("authd-store", &["agent-auth", "app-audit", "app-authz"]),
    ("testkit", &["private-postgres", "authd-store"]),
];

/// What must never reach a library: it knows no HTTP, and only the store knows SQL
const FOREIGN: &[(&str, &[&str])] = &[
    ("hyper", &["authd", "authd-benches", "identity-fetch", "testkit"]),
    ("http", &["authd", "authd-benches", "authd-http", "testkit"]),
    ("diesel", &["authd-store", "authd-benches"]),
    ("diesel-async", &["authd-store", "authd-benches"]),
    ("rustix", &["authd", "private-postgres"]),
    ("tokio-postgres", &["authd-store", "authd-benches", "testkit"]),
    ("clap", &["authd"]),
    ("tokio-rustls", &["authd", "identity-fetch"]),
];

#[test]
fn no_edge_that_the_design_does_not_allow() {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let allowed: BTreeMap<_, BTreeSet<_>> =
        ALLOWED.iter().map(|(name, edges)| (*name, edges.iter().copied().collect())).collect();
    let foreign: BTreeMap<_, _> = FOREIGN.iter().copied().collect();
    let packages = metadata.workspace_packages();

    let found: BTreeSet<_> = packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(found, allowed.keys().copied().collect(), "a crate is not in the table");

    for package in &packages {
        let edges = &allowed[package.name.as_str()];
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let test = dependency.kind == DependencyKind::Development;
            if found.contains(name) {
                // A crate's own tests may ask for more of its features.
                let helper = name == "testkit" || name == package.name.as_str();
                let fine = edges.contains(name) || test && helper;
                assert!(fine, "{} must not depend on {name}", package.name);
            }
            if let Some(users) = foreign.get(name) {
                let fine = test || users.contains(&package.name.as_str());
                assert!(fine, "{} must not depend on {name}", package.name);
            }
        }
    }
}
