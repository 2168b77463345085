//! Laws of the decision, over random subjects and objects
//!
//! There are only three organizations and three users, and few listed and unlisted types and
//! actions, so that random names often coincide.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests")]

use app_authz::rbac::Case;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

const USERS: [&str; 4] = ["", "ann", "ben", "00000000-0000-0000-0000-000000000000"];
const ORGANIZATIONS: [&str; 4] = ["acme", "beta", "corp", "00000000-0000-0000-0000-000000000000"];
const TYPES: [&str; 4] = ["workspace", "template", "workspace_dormant", "unheard_of"];
const ACTIONS: [&str; 4] = ["read", "ssh", "update", "never"];
const IDS: [&str; 3] = ["", "one", "6b1b36d5-0000-4000-a000-000000000001"];

fn permission() -> impl Strategy<Value = String> {
    let sign = prop_oneof![3 => Just(""), 1 => Just("!")];
    let kind = prop_oneof![4 => select(&TYPES[..]), 1 => Just("*")];
    let action = prop_oneof![3 => select(&ACTIONS[..]), 1 => Just("*")];
    (sign, kind, action).prop_map(|(sign, kind, action)| format!("{sign}{kind}:{action}"))
}

fn permissions() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![2 => Just(vec![]), 3 => prop::collection::vec(permission(), 1..4)]
}

fn levels() -> impl Strategy<Value = Value> {
    let organizations = prop::collection::btree_map(
        select(&ORGANIZATIONS[..]),
        (permissions(), permissions()),
        0..3,
    );
    (permissions(), permissions(), organizations).prop_map(|(site, user, organizations)| {
        let by_org_id: serde_json::Map<String, Value> = organizations
            .into_iter()
            .map(|(id, (org, member))| (id.to_owned(), json!({"org": org, "member": member})))
            .collect();
        json!({"name": "role", "site": site, "user": user, "by_org_id": by_org_id})
    })
}

fn scope() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![select(&TYPES[..]), Just("*")];
    let id = prop_oneof![select(&IDS[..]), Just("*")];
    let entry = (kind, id).prop_map(|(kind, id)| format!("{kind}:{id}"));
    let entries = prop_oneof![Just(vec!["*:*".to_owned()]), prop::collection::vec(entry, 0..4),];
    let unlimited = json!({"name": "all", "site": ["*:*"], "user": [], "by_org_id": {}});
    (prop_oneof![Just(unlimited), levels()], entries).prop_map(|(mut scope, entries)| {
        scope["allow_list"] = json!(entries);
        scope
    })
}

fn acl(keys: Vec<&'static str>) -> impl Strategy<Value = Value> {
    let action = prop_oneof![3 => select(&ACTIONS[..]), 1 => Just("*")];
    prop::collection::btree_map(select(keys), prop::collection::vec(action, 0..3), 0..3)
        .prop_map(|entries| json!(entries))
}

fn case() -> impl Strategy<Value = Value> {
    let subject = (
        select(&USERS[1..]),
        subsequence(vec!["staff", "crew", "acme"], 0..=3),
        prop::collection::vec(levels(), 0..4),
        scope(),
    );
    let organization = prop_oneof![Just(""), select(&ORGANIZATIONS[..])].prop_map(|id| (id, false));
    let organization = prop_oneof![3 => organization, 1 => Just(("", true))];
    let object = (
        select(&TYPES[..]),
        select(&IDS[..]),
        select(&USERS[..]),
        organization,
        acl(vec!["ann", "ben"]),
        acl(vec!["staff", "crew", "acme", "beta"]),
    );
    (subject, select(&ACTIONS[..]), object).prop_map(
        |((user, groups, roles, scope), action, (kind, id, owner, (org, any), users, lists))| {
            json!({
                "n": 1,
                "subject": {"id": user, "groups": groups, "roles": roles, "scope": scope},
                "action": action,
                "object": {
                    "type": kind, "id": id, "owner": owner, "org_owner": org, "any_org": any,
                    "acl_user_list": users, "acl_group_list": lists,
                },
            })
        },
    )
}

fn decide(case: &Value) -> bool {
    Case::from_json(&case.to_string()).unwrap().is_allowed()
}

/// The rule implemented again over texts: the vote, the levels, the access lists
mod by_the_book {
    use super::*;

    pub(super) fn decide(case: &Value) -> bool {
        let question = Question { case, members: members(case) };
        let (subject, object) = (&case["subject"], &case["object"]);
        let allow_list = texts(&subject["scope"]["allow_list"]).any(|entry| {
            let (kind, id) = entry.split_once(':').unwrap();
            let object_id = object["id"].as_str().unwrap();
            (kind == "*" || kind == object["type"]) && (id == "*" || id == object_id)
        });
        let roles: Vec<&Value> = subject["roles"].as_array().unwrap().iter().collect();
        allow_list
            && question.levels(&[&subject["scope"]])
            && (question.levels(&roles) || question.shared())
    }

    struct Question<'a> {
        case: &'a Value,
        members: Vec<&'a String>,
    }

    fn members(case: &Value) -> Vec<&String> {
        let roles = case["subject"]["roles"].as_array().unwrap().iter();
        roles.flat_map(|role| role["by_org_id"].as_object().unwrap().keys()).collect()
    }

    fn texts(list: &Value) -> impl Iterator<Item = &str> {
        list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap())
    }

    impl Question<'_> {
        fn vote<'v>(&self, lists: impl IntoIterator<Item = &'v Value>) -> i8 {
            let matching: Vec<&str> = lists
                .into_iter()
                .flat_map(texts)
                .filter(|permission| {
                    let plain = permission.trim_start_matches('!');
                    let (kind, action) = plain.split_once(':').unwrap();
                    (kind == "*" || kind == self.case["object"]["type"])
                        && (action == "*" || action == self.case["action"])
                })
                .collect();
            match matching.iter().any(|permission| permission.starts_with('!')) {
                true => -1,
                false => i8::from(!matching.is_empty()),
            }
        }

        fn levels(&self, roles: &[&Value]) -> bool {
            let object = &self.case["object"];
            let owned = object["owner"] != "" && object["owner"] == self.case["subject"]["id"];
            let (org, any) = (object["org_owner"].as_str().unwrap(), object["any_org"] == true);
            let within = |id: &str, list: &str| {
                self.vote(roles.iter().map(|role| &role["by_org_id"][id][list]))
            };
            let site = self.vote(roles.iter().map(|role| &role["site"]));
            if site != 0 {
                return site == 1;
            }
            let user = self.vote(roles.iter().map(|role| &role["user"]));
            if owned && org.is_empty() && !any && user == 1 {
                return true;
            }
            let asked: Vec<&str> = match any {
                true => self.members.iter().map(|id| id.as_str()).collect(),
                false => {
                    self.members.iter().map(|id| id.as_str()).filter(|id| *id == org).collect()
                }
            };
            let best = |list| asked.iter().map(|id| within(id, list)).max().unwrap_or(0);
            best("org") == 1 || best("org") == 0 && owned && best("member") == 1
        }

        fn shared(&self) -> bool {
            let (subject, object) = (&self.case["subject"], &self.case["object"]);
            let org = object["org_owner"].as_str().unwrap();
            let member = match object["any_org"] == true {
                true => !self.members.is_empty(),
                false => self.members.iter().any(|id| *id == org),
            };
            let grants = |list: &str, key: &str| {
                texts(&object[list][key]).any(|held| held == "*" || held == self.case["action"])
            };
            member
                && (grants("acl_user_list", subject["id"].as_str().unwrap())
                    || texts(&subject["groups"]).any(|group| grants("acl_group_list", group))
                    || grants("acl_group_list", org))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_decision_is_by_the_book(case in case()) {
        prop_assert_eq!(decide(&case), by_the_book::decide(&case));
    }

    #[test]
    fn an_explanation_names_the_same_decision(case in case()) {
        let case = Case::from_json(&case.to_string()).unwrap();
        let explanation = case.explain().unwrap();
        prop_assert_eq!(explanation.allowed, case.is_allowed());
        prop_assert_eq!(explanation.roles.level.is_some(), explanation.role.is_some());
        prop_assert_eq!(explanation.scope.level.is_some(), explanation.scope_permission.is_some());
        if let Some((_, permission)) = &explanation.role {
            let denies = permission.to_string().starts_with('!');
            prop_assert_eq!(denies, !explanation.roles.allowed);
        }
    }

    #[test]
    fn a_filter_finds_what_is_allowed_one_by_one(mut case in case()) {
        case["object"]["any_org"] = json!(false);
        if case["object"]["id"] == "" {
            case["object"]["id"] = json!("one");
        }
        let kind = case["object"]["type"].as_str().unwrap().into();
        let case = Case::from_json(&case.to_string()).unwrap();
        let filter = case.subject().filter(case.action(), &kind);
        let found = filter.matches(&case.object().unwrap());
        prop_assert_eq!(found, case.is_allowed(), "{:?}", filter);
        prop_assert!(!(filter.is_never() && found));
        prop_assert!(!filter.is_always() || found);
    }

    #[test]
    fn the_order_of_roles_and_permissions_never_matters(case in case()) {
        let mut turned = case.clone();
        for role in turned["subject"]["roles"].as_array_mut().unwrap() {
            role["site"].as_array_mut().unwrap().reverse();
            role["user"].as_array_mut().unwrap().reverse();
        }
        turned["subject"]["roles"].as_array_mut().unwrap().reverse();
        prop_assert_eq!(decide(&case), decide(&turned));
    }

    #[test]
    fn a_further_denial_never_allows(
        case in case(),
        denial in permission(),
        list in select(&["site", "user", "org", "member"][..]),
        organization in select(&ORGANIZATIONS[..]),
    ) {
        let denial = format!("!{}", denial.trim_start_matches('!'));
        let denied = allowed_after_adding(&case, &denial, list, organization);
        prop_assert!(decide(&case) || !denied);
    }

    #[test]
    fn a_scope_never_widens(case in case()) {
        let mut unlimited = case.clone();
        unlimited["subject"]["scope"] = json!({"site": ["*:*"], "allow_list": ["*:*"]});
        prop_assert!(!decide(&case) || decide(&unlimited));
    }

    #[test]
    fn an_access_list_never_widens_a_scope(case in case()) {
        let mut owner = case.clone();
        owner["subject"]["roles"].as_array_mut().unwrap().push(json!({"site": ["*:*"]}));
        owner["subject"]["roles"].as_array_mut().unwrap().iter_mut().for_each(|role| {
            let allowed = role["site"].as_array().unwrap().iter()
                .filter(|text| !text.as_str().unwrap().starts_with('!')).cloned().collect();
            role["site"] = Value::Array(allowed);
        });
        prop_assert!(!decide(&case) || decide(&owner));
    }

    #[test]
    fn what_one_organization_allows_any_organization_allows(
        mut case in case(),
        organization in select(&ORGANIZATIONS[..]),
    ) {
        // Without the scope's lists, which may limit the organization, and without the group
        // of everyone, which an object in any organization does not have.
        case["subject"]["scope"] = json!({"site": ["*:*"], "allow_list": ["*:*"]});
        case["object"]["acl_group_list"] = json!({});

        case["object"]["org_owner"] = json!(organization);
        case["object"]["any_org"] = json!(false);
        let in_one = decide(&case);
        case["object"]["org_owner"] = json!("");
        case["object"]["any_org"] = json!(true);
        prop_assert!(!in_one || decide(&case));
    }
}

#[test]
fn two_roles_of_one_organization_are_one_membership() {
    // For an object in any organization, a second and empty membership would hide the vote of
    // the first.
    let role = |org: &[&str]| json!({"name": "role", "by_org_id": {"acme": {"org": org, "member": ["workspace:read"]}}});
    let case = |any: bool| {
        json!({
            "subject": {
                "id": "ann", "roles": [role(&["!workspace:read"]), role(&[])],
                "scope": {"site": ["*:*"], "allow_list": ["*:*"]},
            },
            "action": "read",
            "object": {
                "type": "workspace", "owner": "ann", "any_org": any,
                "org_owner": if any { "" } else { "acme" },
            },
        })
    };
    assert!(!decide(&case(true)) && !decide(&case(false)));
}

#[test]
fn a_filter_limits_sharing_to_the_scope() {
    // The scope allows own objects only, the roles none, and the access list grants the action.
    let case = |owner: &str| {
        let lists = json!({"acme": {"member": ["workspace:read"]}});
        let case = json!({
            "subject": {
                "id": "ann", "roles": [{"name": "role", "by_org_id": {"acme": {}}}],
                "scope": {"by_org_id": lists, "allow_list": ["*:*"]},
            },
            "action": "read",
            "object": {
                "type": "workspace", "id": "one", "owner": owner, "org_owner": "acme",
                "acl_user_list": {"ann": ["read"]},
            },
        });
        Case::from_json(&case.to_string()).unwrap()
    };
    for (owner, allowed) in [("ann", true), ("ben", false)] {
        let case = case(owner);
        let filter = case.subject().filter(case.action(), &"workspace".into());
        assert_eq!(case.is_allowed(), allowed);
        assert_eq!(filter.matches(&case.object().unwrap()), allowed);
        assert_eq!(filter.own_shared_in_organizations.len(), 1);
        assert!(filter.shared_in_organizations.is_empty() && !filter.is_never());
    }
}

fn allowed_after_adding(case: &Value, denial: &str, list: &str, organization: &str) -> bool {
    let mut denied = case.clone();
    let roles = denied["subject"]["roles"].as_array_mut().unwrap();
    for role in roles.iter_mut() {
        // Only with an existing membership, as a new one could itself allow the action.
        let target = match list {
            "site" | "user" => &mut role[list],
            _ if role["by_org_id"].get(organization).is_some() => {
                &mut role["by_org_id"][organization][list]
            }
            _ => continue,
        };
        target.as_array_mut().unwrap().push(json!(denial));
        break;
    }
    decide(&denied)
}
