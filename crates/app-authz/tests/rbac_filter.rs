//! The fields of a filter, and when it needs no query or no condition

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests")]

use app_authz::UserId;
use app_authz::id::OrganizationId;
use app_authz::rbac::{Action, Case, Filter, ObjectId, ResourceType};
use serde_json::{Value, json};
use uuid::Uuid;

const ANN: &str = "11111111-0000-4000-a000-000000000001";
const BEN: &str = "22222222-0000-4000-a000-000000000002";
const ACME: &str = "aaaaaaaa-0000-4000-a000-00000000000a";
const ITEM: &str = "33333333-0000-4000-a000-000000000003";

fn case(role: &Value, scope: &Value, object: &Value) -> Case {
    let subject = json!({"id": ANN, "roles": [role], "scope": scope});
    let case = json!({"subject": subject, "action": "read", "object": object});
    Case::from_json(&case.to_string()).unwrap()
}

fn filter(role: &Value, scope: &Value) -> Filter {
    let case = case(role, scope, &json!({"type": "workspace"}));
    case.subject().filter(&Action::Read, &ResourceType::Workspace)
}

fn in_acme(org: &[&str], member: &[&str]) -> Value {
    json!({"by_org_id": {ACME: {"org": org, "member": member}}})
}

fn everything() -> Value {
    json!({"site": ["*:*"], "allow_list": ["*:*"]})
}

fn acme() -> OrganizationId {
    OrganizationId(ACME.parse().unwrap())
}

/// The lists of organizations in the order of the fields, with `x` if Acme is in the list
fn extents(filter: &Filter) -> String {
    let lists = [
        &filter.organizations,
        &filter.own_in_organizations,
        &filter.shared_in_organizations,
        &filter.own_shared_in_organizations,
    ];
    lists.map(|list| if *list == [acme()] { "x" } else { "-" }).concat()
}

#[test]
fn a_filter_has_no_redundant_fields() {
    let own = json!({"allow_list": ["*:*"], "by_org_id": {ACME: {"member": ["*:*"]}}});
    let read = ["workspace:read"];
    for (role, scope, expected) in [
        (in_acme(&read, &read), everything(), "x---"),
        (in_acme(&[], &read), everything(), "-xx-"),
        (in_acme(&[], &[]), everything(), "--x-"),
        (in_acme(&["!*:*"], &read), everything(), "--x-"),
        (in_acme(&read, &[]), own.clone(), "-x--"),
        (in_acme(&[], &read), own.clone(), "-x--"),
        (in_acme(&[], &[]), own, "---x"),
        (in_acme(&read, &read), json!({"allow_list": ["*:*"]}), "----"),
    ] {
        assert_eq!(extents(&filter(&role, &scope)), expected, "{role} {scope}");
    }
}

#[test]
fn a_filter_knows_whether_it_includes_nothing_or_everything() {
    let site = json!({"site": ["workspace:read"]});
    let always = filter(&site, &everything());
    assert!(always.everything && always.is_always() && !always.is_never());
    let some = json!({"site": ["*:*"], "allow_list": [format!("workspace:{ITEM}")]});
    let some = filter(&site, &some);
    assert_eq!(some.ids, Some(vec![ObjectId::from(ITEM)]));
    assert!(some.everything && !some.is_always() && !some.is_never());
    for allow_list in [json!([]), json!(["template:*"]), json!(["workspace:"])] {
        let none = filter(&site, &json!({"site": ["*:*"], "allow_list": allow_list}));
        assert_eq!(none.ids, Some(vec![]));
        assert!(none.is_never() && !none.is_always());
    }

    let own = json!({"allow_list": ["*:*"], "by_org_id": {ACME: {"member": ["*:*"]}}});
    let read = ["workspace:read"];
    for partial in [
        filter(&json!({"user": read}), &everything()),
        filter(&in_acme(&read, &[]), &everything()),
        filter(&in_acme(&[], &read), &own),
        filter(&in_acme(&[], &[]), &everything()),
        filter(&in_acme(&[], &[]), &own),
    ] {
        assert!(!partial.is_never() && !partial.is_always(), "{partial:?}");
    }
    for nothing in [
        filter(&json!({}), &everything()),
        filter(&json!({"site": ["!workspace:read"], "user": read}), &everything()),
        filter(&in_acme(&read, &read), &json!({"allow_list": ["*:*"]})),
    ] {
        assert!(nothing.is_never() && !nothing.is_always(), "{nothing:?}");
    }
}

#[test]
fn a_filter_includes_objects_of_its_type_only() {
    let object = |kind: &str, owner: &str| json!({"type": kind, "id": ITEM, "owner": owner});
    let role = json!({"user": ["*:read"]});
    for (kind, owner, expected) in [
        ("workspace", ANN, true),
        ("workspace", BEN, false),
        ("workspace_dormant", ANN, false),
        ("template", ANN, false),
    ] {
        let case = case(&role, &everything(), &object(kind, owner));
        let filter = case.subject().filter(&Action::Read, &ResourceType::Workspace);
        assert_eq!(filter.user, UserId(ANN.parse::<Uuid>().unwrap()));
        assert_eq!(filter.matches(&case.object().unwrap()), expected, "{kind} of {owner}");
        // A filter is for stored objects, in an organization or outside.
        assert!(!filter.matches(&case.object().unwrap().any_organization()));
    }
}
