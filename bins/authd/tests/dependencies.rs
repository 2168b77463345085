//! Our crates depend on each other only in the allowed direction

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// The crates of this workspace that a crate may depend on
///
/// Its tests may use [`HELPERS`] too.
const ALLOWED: &[(&str, &[&str])] = &[
    ("agent-auth", &[]),
    ("agent-token", &[]),
    ("app-audit", &[]),
    ("app-authz", &[]),
    (
        "authd",
        &[
            "agent-auth",
            "agent-token",
            "app-audit",
            "app-authz",
            "authd-http",
            "authd-server",
            "database-check",
            "fleet-import",
            "identity-fetch",
            "identity-verify",
            "log-queue",
            "otlp-export",
            "private-postgres",
            "proof-repair",
            "authd-store",
            "trust-folder",
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
        "authd-demo",
        &[
            "agent-auth",
            "app-audit",
            "app-authz",
            "authd",
            "authd-http",
            "authd-server",
            "identity-fetch",
            "identity-verify",
            "private-postgres",
            "authd-store",
            "testkit",
            "trust-folder",
        ],
    ),
    ("authd-server", &["fair-share"]),
    (
        "authd-http",
        &[
            "agent-auth",
            "app-audit",
            "app-authz",
            "fair-share",
            "fleet-import",
            "identity-fetch",
            "identity-verify",
            "oidc-client",
            "authd-store",
        ],
    ),
    ("database-check", &["app-audit", "app-authz", "authd-store", "identity-verify"]),
    ("fair-share", &[]),
    ("fleet-import", &["app-audit", "app-authz", "authd-store", "identity-verify"]),
    ("identity-fetch", &["identity-verify"]),
    ("identity-verify", &[]),
    ("log-queue", &[]),
    ("oidc-client", &[]),
    ("otlp-export", &["authd-http", "identity-fetch"]),
    ("private-postgres", &[]),
    ("trust-folder", &["identity-fetch", "identity-verify"]),
    ("proof-repair", &["identity-fetch", "identity-verify"]),
    ("authd-store", &["agent-auth", "app-audit", "app-authz"]),
    ("testkit", &["private-postgres", "authd-store"]),
];

/// What tests may use: `testkit`, and the test clouds of `identity-verify`
const HELPERS: [&str; 2] = ["testkit", "identity-verify"];

/// What examples use beside what their crate may depend on
const EXAMPLES: &[(&str, &[&str])] = &[("identity-fetch", &["agent-auth"])];

/// The crates that may use HTTP, SQL and the command line; all others must not
const FOREIGN: &[(&str, &[&str])] = &[
    (
        "hyper",
        &[
            "agent-token",
            "authd-benches",
            "authd-demo",
            "authd-http",
            "authd-server",
            "identity-fetch",
            "testkit",
        ],
    ),
    ("http", &["authd", "authd-benches", "authd-http", "authd-server", "otlp-export", "testkit"]),
    ("diesel", &["authd-store"]),
    ("diesel-async", &["authd-store"]),
    ("rustix", &["app-audit", "authd", "authd-benches", "authd-server", "private-postgres"]),
    ("tokio-postgres", &["authd-store", "authd-benches", "testkit"]),
    ("clap", &["authd", "authd-benches", "authd-demo"]),
    ("tokio-rustls", &["agent-token", "authd-server", "identity-fetch", "testkit"]),
];

#[test]
fn every_dependency_is_allowed_by_the_design() {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let allowed: BTreeMap<_, BTreeSet<_>> =
        ALLOWED.iter().map(|(name, edges)| (*name, edges.iter().copied().collect())).collect();
    let foreign: BTreeMap<_, _> = FOREIGN.iter().copied().collect();
    let examples: BTreeMap<_, _> = EXAMPLES.iter().copied().collect();
    let packages = metadata.workspace_packages();

    let found: BTreeSet<_> = packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(found, allowed.keys().copied().collect(), "a crate is not in the table");

    for package in &packages {
        let edges = &allowed[package.name.as_str()];
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let test = dependency.kind == DependencyKind::Development;
            if found.contains(name) {
                // The tests of a crate may enable more of its features.
                let helper = HELPERS.contains(&name)
                    || name == package.name.as_str()
                    || examples.get(package.name.as_str()).is_some_and(|of| of.contains(&name));
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

#[test]
fn no_test_cloud_is_built_into_the_server() {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let packages: BTreeMap<_, _> = metadata
        .workspace_packages()
        .into_iter()
        .map(|package| (package.name.to_string(), package))
        .collect();
    let mut linked = BTreeSet::new();
    let mut next = vec!["authd".to_owned()];
    while let Some(name) = next.pop() {
        let Some(package) = packages.get(&name).filter(|_| linked.insert(name.clone())) else {
            continue;
        };
        for dependency in &package.dependencies {
            if dependency.kind == DependencyKind::Normal {
                let has_test_clouds = dependency.features.iter().any(|f| f == "test-util");
                assert!(!has_test_clouds, "{name} enables test-util of {}", dependency.name);
                next.push(dependency.name.clone());
            }
        }
    }
    assert!(linked.contains("identity-verify") && !linked.contains("testkit"), "{linked:?}");
}
