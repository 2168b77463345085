//! Entries of a document that can never work are named with their place

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use fleet_import::{Document, Warning};
use serde_json::{Value, json};

/// A document with one workspace, whose newest build has these agents
fn document(workspace: &str, agents: Value, port_shares: Value) -> Document {
    let document = json!({
        "organizations": [{ "name": "acme" }],
        "users": [{ "username": "alice", "organizations": { "acme": [] } }],
        "workspaces": [{
            "name": workspace, "owner": "alice", "organization": "acme",
            "builds": [
                { "number": 2, "agents": agents },
                { "number": 1, "agents": [{ "name": "main", "instance_id": "sir-1" }] },
            ],
            "port_shares": port_shares,
        }],
    });
    let document = Document::from_json(&document.to_string()).unwrap();
    assert!(!document.rows(chrono::DateTime::UNIX_EPOCH).unwrap().is_empty());
    document
}

fn only(warnings: &[Warning]) -> Option<(&str, &str)> {
    assert!(warnings.len() <= 1, "{warnings:?}");
    warnings.first().map(|warning| (&*warning.path, &*warning.text))
}

const AGENT: &str = "workspaces[0].builds[0].agents[0]";

#[test]
fn an_instance_id_that_no_cloud_gives() {
    for (id, expected) in [
        ("i-0123456789abcdef0", None),
        ("02aab8a4-74ef-476e-8182-f6d2ba4166a6", None),
        ("02AAB8A4-74EF-476E-8182-F6D2BA4166A6", None),
        ("4520031799277581759", None),
        ("sir-08b93456", Some("Spot request")),
        ("mi-0123456789abcdef0", Some("managed node")),
        ("/subscriptions/1/resourceGroups/g/providers/x/virtualMachines/vm", Some("`vmId`")),
        ("projects/p/zones/z/instances/vm", Some("its number")),
        ("my-vm", Some("not a name")),
        ("i-0123456789ABCDEF0", Some("lower case")),
        ("i-0123456789abcdef0 ", Some("white space")),
        ("", Some("empty")),
    ] {
        let agents = json!([{ "name": "main", "instance_id": id }]);
        let warnings = document("dev", agents, json!([])).warnings();
        let found = only(&warnings);
        assert_eq!(found.is_some(), expected.is_some(), "{id}: {found:?}");
        if let (Some((path, text)), Some(expected)) = (found, expected) {
            assert_eq!(path, format!("{AGENT}.instance_id"));
            assert!(text.contains("cannot sign in") && text.contains(expected), "{id}: {text}");
        }
    }
}

#[test]
fn an_app_whose_address_no_browser_can_open() {
    let long = "l".repeat(50);
    for (slug, workspace, more, expected) in [
        ("code", "dev", json!({ "subdomain": true }), None),
        ("a-b2", "dev", json!({ "subdomain": true }), None),
        ("Code Server", "dev", json!({}), None),
        ("my_app", "dev", json!({}), None),
        // A link, or a command, has no address here.
        ("my_app", "dev", json!({ "subdomain": true, "external": true }), None),
        ("my_app", "dev", json!({ "subdomain": true, "url": null }), None),
        ("Code Server", "dev", json!({ "subdomain": true }), Some("the slug `Code Server`")),
        ("my_app", "dev", json!({ "subdomain": true }), Some("the slug `my_app`")),
        ("a--b", "dev", json!({ "subdomain": true }), Some("single hyphens")),
        ("-a", "dev", json!({ "subdomain": true }), Some("cannot be part of a host")),
        ("caf\u{e9}", "dev", json!({ "subdomain": true }), Some("cannot be part of a host")),
        ("8080", "dev", json!({ "subdomain": true }), Some("read as a port")),
        ("80S", "dev", json!({}), Some("read as a port")),
        ("a/b", "dev", json!({}), Some("holds a slash")),
        ("code", "my.dev", json!({ "subdomain": true }), Some("the workspace name `my.dev`")),
        ("Code", "dev", json!({ "subdomain": true }), Some("opened as `code`")),
        // 50 + 2 + 3 + 2 + 5 are 62, and the agent's name makes it 68.
        (&long, "dev", json!({ "subdomain": true }), Some("an address that names its agent")),
        (&long, "dev12", json!({ "subdomain": true }), Some("has 64 characters")),
    ] {
        let mut app = json!({ "slug": slug, "url": "http://127.0.0.1:1" });
        for (field, value) in more.as_object().unwrap() {
            app[field] = value.clone();
        }
        let agents = json!([{ "name": "main", "apps": [app] }]);
        let warnings = document(workspace, agents, json!([])).warnings();
        let found = only(&warnings);
        assert_eq!(found.is_some(), expected.is_some(), "{slug} {workspace}: {found:?}");
        if let (Some((path, text)), Some(expected)) = (found, expected) {
            assert_eq!(path, format!("{AGENT}.apps[0].slug"));
            assert!(text.contains(expected), "{slug} {workspace}: {text}");
        }
    }
}

#[test]
fn a_shared_port_that_cannot_be_opened() {
    let agents = || json!([{ "name": "main" }, { "name": "my_agent" }, { "name": "l".repeat(50) }]);
    for (agent, expected) in [
        ("main", None),
        ("MAIN", None),
        ("other", Some("no agent `other`")),
        ("my_agent", Some("the agent name `my_agent`")),
        (&*"l".repeat(50), Some("has 68 characters")),
    ] {
        let shares = json!([{ "agent": agent, "port": 8080, "level": "public" }]);
        let warnings = document("dev", agents(), shares).warnings();
        let found = only(&warnings);
        assert_eq!(found.is_some(), expected.is_some(), "{agent}: {found:?}");
        if let (Some((path, text)), Some(expected)) = (found, expected) {
            assert_eq!(path, "workspaces[0].port_shares[0].agent");
            assert!(text.contains(expected), "{agent}: {text}");
        }
    }
    // A stopped workspace has no agents, and its shares are for the next build.
    let shares = json!([{ "agent": "main", "port": 8080, "level": "public" }]);
    assert_eq!(document("dev", json!([]), shares).warnings(), []);
}
