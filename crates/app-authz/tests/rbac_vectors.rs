//! Every decision of the vectors, and the built-in roles they hold

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests")]

mod vectors;

use std::collections::BTreeSet;
use std::sync::Arc;

use app_authz::rbac::{BuiltInRoles, Case, Role, RoleName, Subject, Switches, WorkspaceSharing};
use serde_json::Value;

/// Cases of the same format that the vectors do not have
const OWN_CASES: &str = r#"
{"n":1,"expected":true,"action":"ssh","subject":{"id":"ann","roles":[{"name":"r","by_org_id":{"acme":{"member":["workspace:*"]}}}],"scope":{"site":["*:*"],"allow_list":["*:*"]}},"object":{"type":"workspace","id":"w","owner":"ann","org_owner":"acme"}}
{"n":2,"expected":false,"action":"ssh","subject":{"id":"ben","roles":[{"name":"r","by_org_id":{"acme":{"member":["workspace:*"]}}}],"scope":{"site":["*:*"],"allow_list":["*:*"]}},"object":{"type":"workspace","id":"w","owner":"ann","org_owner":"acme"}}
{"n":3,"expected":true,"action":"ssh","subject":{"id":"ben","roles":[{"name":"r","site":["!*:*"],"by_org_id":{"acme":{}}}],"scope":{"site":["*:*"],"allow_list":["*:*"]}},"object":{"type":"workspace","id":"w","owner":"ann","org_owner":"acme","acl_user_list":{"ben":["ssh"]}}}
{"n":4,"expected":false,"action":"ssh","subject":{"id":"ann","roles":[{"name":"r","site":["*:*"]}],"scope":{"site":["*:*"],"allow_list":["workspace:other"]}},"object":{"type":"workspace","id":"w","owner":"ann","org_owner":"acme"}}
{"n":5,"expected":true,"action":"create","subject":{"id":"ann","roles":[{"name":"r","site":["workspace:create"]}],"scope":{"site":["*:*"],"allow_list":["workspace:"]}},"object":{"type":"workspace","owner":"ann","org_owner":"acme"}}
{"n":6,"expected":false,"action":"read","subject":{"id":"ann","roles":[{"name":"r","site":["*:*"]}],"scope":{"site":["*:*"],"allow_list":["*:*"]}},"object":{"type":"workspace","any_org":true,"org_owner":"acme"}}
{"n":7,"expected":true,"action":"invented","subject":{"id":"ann","roles":[{"name":"r","site":["unheard_of:invented","!unheard_of:other"]}],"scope":{"site":["*:*"],"allow_list":["unheard_of:*"]}},"object":{"type":"unheard_of","id":"x"}}
{"n":8,"expected":false,"action":"other","subject":{"id":"ann","roles":[{"name":"r","site":["*:*","!unheard_of:other"]}],"scope":{"site":["*:*"],"allow_list":["*:*"]}},"object":{"type":"unheard_of","id":"x"}}
{"n":9,"expected":true,"action":"read","subject":{"id":"abcdefab-0000-4000-a000-000000000001","roles":[{"name":"r","user":["*:*"]}],"scope":{"site":["*:*"],"allow_list":["*:*"]}},"object":{"type":"api_key","id":"x","owner":"abcdefab-0000-4000-a000-000000000001"}}
{"n":10,"expected":false,"action":"read","subject":{"id":"abcdefab-0000-4000-a000-000000000001","roles":[{"name":"r","user":["*:*"]}],"scope":{"site":["*:*"],"allow_list":["*:*"]}},"object":{"type":"api_key","id":"x","owner":"ABCDEFAB-0000-4000-A000-000000000001"}}
{"n":11,"expected":true,"action":"read","subject":{"id":"ann","roles":[{"name":"r","by_org_id":{"acme":{"org":["workspace:read"]}}}],"scope":{"site":["*:*"],"allow_list":["*:*"]}},"object":{"type":"workspace","any_org":true,"org_owner":"00000000-0000-0000-0000-000000000000"}}
"#;

fn lines(more: &str) -> impl Iterator<Item = &str> {
    let own = OWN_CASES.lines().filter(|line| !line.is_empty());
    own.chain(vectors::KEPT.lines()).chain(more.lines())
}

#[test]
fn every_case_is_decided_as_expected_and_explained_consistently() {
    let more = vectors::more().unwrap_or_default();
    let mut allowed = 0;
    let mut cases = 0;
    for line in lines(&more) {
        let case = Case::from_json(line).unwrap();
        let decision = case.is_allowed();
        assert_eq!(Some(decision), case.expected, "case {}: {}", case.number, line);
        if let Some(explanation) = case.explain() {
            assert_eq!(explanation.allowed, decision, "{explanation}");
        }
        cases += 1;
        allowed += u32::from(decision);
    }
    println!("{cases} cases, {allowed} allowed");
}

#[test]
fn a_prepared_filter_finds_the_objects_that_are_allowed_one_by_one() {
    let more = vectors::more().unwrap_or_default();
    for line in lines(&more) {
        let value: Value = serde_json::from_str(line).unwrap();
        let stored = value["object"]["id"] != "" && value["object"]["id"] != Value::Null;
        if !stored || value["object"]["any_org"] == true {
            continue;
        }
        let case = Case::from_json(line).unwrap();
        let object = case.object().unwrap();
        let kind = value["object"]["type"].as_str().unwrap().into();
        let filter = case.subject().filter(case.action(), &kind);
        assert_eq!(filter.matches(&object), case.is_allowed(), "{line}\n{filter:?}");
    }
}

#[test]
fn the_built_in_roles_of_the_vectors_are_part_of_ours() {
    let built_in = BuiltInRoles::new(Switches::default());
    let more = vectors::more().unwrap_or_default();
    let mut roles = BTreeSet::new();
    for line in vectors::KEPT.lines().chain(more.lines()) {
        let value: Value = serde_json::from_str(line).unwrap();
        for role in value["subject"]["roles"].as_array().unwrap() {
            roles.insert(role.to_string());
        }
    }
    for text in roles {
        let value: Value = serde_json::from_str(&text).unwrap();
        let name: RoleName = value["name"].as_str().unwrap().parse().unwrap();
        if name.name().starts_with("custom-") {
            continue;
        }
        let ours = match name.name() {
            "system" => Subject::system_restricted().roles().next().unwrap().clone(),
            _ => built_in.role(&name, WorkspaceSharing::Everyone).unwrap(),
        };
        // The vectors omit some grants at random and add denials, so only what they grant can
        // be compared.
        for level in [Vec::new(), vec!["org"], vec!["member"]] {
            for listed in permissions(&value, &level) {
                let (kind, _) = listed.split_once(':').unwrap();
                let held = ours_at(&ours, &name, &level);
                let held = held.contains(&listed) || held.contains(&format!("{kind}:*"));
                assert!(held || listed.starts_with('!'), "{name} lacks {listed} at {level:?}");
            }
        }
    }
}

fn permissions(role: &Value, level: &[&str]) -> Vec<String> {
    let lists: Vec<&Value> = match level {
        [] => vec![&role["site"], &role["user"]],
        [list, ..] => {
            role["by_org_id"].as_object().unwrap().values().map(|lists| &lists[*list]).collect()
        }
    };
    let texts = lists.into_iter().flat_map(|list| list.as_array().unwrap());
    texts.map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn ours_at(role: &Role, name: &RoleName, level: &[&str]) -> Vec<String> {
    let levels = role.levels();
    let organization = levels.organizations.iter().find(|(id, _)| Some(*id) == name.organization());
    let lists = match (level, organization) {
        ([], _) => vec![&levels.site, &levels.user],
        (["org"], Some((_, lists))) => vec![&lists.org],
        (["member"], Some((_, lists))) => vec![&lists.member],
        _ => vec![],
    };
    lists.into_iter().flat_map(|list| list.iter()).map(ToString::to_string).collect()
}

#[test]
fn expanding_a_role_does_not_copy_it() {
    let built_in = BuiltInRoles::new(Switches::default());
    let names = ["owner", "gone", "mine"].map(|name| name.parse().unwrap());
    let custom = ["other", "mine"]
        .map(|name| Arc::new(Role::new(name.parse().unwrap(), app_authz::rbac::Levels::default())));
    let roles =
        built_in.expand(names.iter().map(|name| (name, WorkspaceSharing::Everyone)), &custom);
    // scenario 109
    assert_eq!(roles.len(), 2);
    assert_eq!(*roles[0].name(), RoleName::OWNER);
    assert!(Arc::ptr_eq(&roles[1], &custom[1]));
}
