//! What an explanation prints

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests")]

use app_authz::rbac::Case;
use serde_json::{Value, json};

const ANN: &str = "11111111-0000-4000-a000-000000000001";
const BEN: &str = "22222222-0000-4000-a000-000000000002";
const STAFF: &str = "55555555-0000-4000-a000-000000000005";
const ACME: &str = "aaaaaaaa-0000-4000-a000-00000000000a";
const ITEM: &str = "33333333-0000-4000-a000-000000000003";

/// Explains whether Ann, with one role and an unlimited scope, may `ssh` into an object
fn explained(role: Value, object: Value) -> String {
    within(json!({"site": ["*:*"], "allow_list": ["*:*"]}), role, object)
}

fn within(scope: Value, mut role: Value, mut object: Value) -> String {
    role["name"] = json!("tester");
    object["type"] = json!("workspace");
    object["id"] = json!(ITEM);
    let subject = json!({"id": ANN, "groups": [STAFF], "roles": [role], "scope": scope});
    let case = json!({"subject": subject, "action": "ssh", "object": object});
    Case::from_json(&case.to_string()).unwrap().explain().unwrap().to_string()
}

#[test]
fn an_explanation_names_level_role_permission_and_entry() {
    let in_acme = |org: &[&str], member: &[&str]| json!({"by_org_id": {ACME: {"org": org, "member": member}}});
    let owned_by = |owner: &str| json!({"owner": owner, "org_owner": ACME});
    let shared = |list: &str, with: &str| {
        let mut object = owned_by(BEN);
        object[list] = json!({with: ["ssh"]});
        object
    };
    let own = ["workspace:*"];
    let texts = [
        explained(json!({"site": ["workspace:ssh"]}), owned_by(BEN)),
        explained(json!({"user": ["*:ssh"]}), json!({"owner": ANN})),
        explained(in_acme(&["*:*", "!workspace:ssh"], &own), owned_by(ANN)),
        explained(in_acme(&[], &own), owned_by(ANN)),
        explained(in_acme(&[], &own), owned_by(BEN)),
        explained(in_acme(&[], &["!*:*"]), owned_by(BEN)),
        explained(in_acme(&[], &["!*:*"]), owned_by(ANN)),
        explained(in_acme(&[], &own), shared("acl_user_list", ANN)),
        explained(in_acme(&[], &own), shared("acl_group_list", STAFF)),
        explained(in_acme(&[], &own), shared("acl_group_list", ACME)),
        within(
            json!({"site": ["workspace:read", "!*:ssh"], "allow_list": [format!("workspace:{ITEM}")]}),
            json!({"site": ["*:*"]}),
            owned_by(BEN),
        ),
        within(json!({"allow_list": ["template:*"]}), json!({"site": ["*:*"]}), owned_by(BEN)),
    ];
    insta::assert_snapshot!(texts.join("\n\n"));
}
