//! `cedar-policy`, with prepared requests and entities

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    PolicySet, Request, RestrictedExpression as Expression,
};
use serde_json::Value;

use super::Peer;

pub(super) struct Engine {
    authorizer: Authorizer,
    policies: PolicySet,
    cases: Vec<(Request, Entities)>,
}

impl Engine {
    pub(super) fn new(texts: &[String]) -> Self {
        Self {
            authorizer: Authorizer::new(),
            policies: include_str!("rbac.cedar").parse().unwrap(),
            cases: texts.iter().map(|text| prepare(text)).collect(),
        }
    }
}

impl Peer for Engine {
    fn decide(&mut self, n: usize) -> Result<bool, String> {
        let (request, entities) = &self.cases[n];
        let response = self.authorizer.is_authorized(request, &self.policies, entities);
        match response.diagnostics().errors().next() {
            Some(error) => Err(error.to_string()),
            None => Ok(response.decision() == Decision::Allow),
        }
    }
}

fn prepare(text: &str) -> (Request, Entities) {
    let case: Value = serde_json::from_str(text).unwrap();
    let (subject, object) = (&case["subject"], &case["object"]);
    let (kind, action) = (text_of(&object["type"]), text_of(&case["action"]));

    let roles: Vec<&Value> = subject["roles"].as_array().into_iter().flatten().collect();
    let members: BTreeSet<&String> = roles
        .iter()
        .flat_map(|role| role["by_org_id"].as_object())
        .flat_map(|lists| lists.keys())
        .collect();
    let scope = &subject["scope"];

    let mut attributes = levels(&roles, &members);
    attributes.insert("scope".to_owned(), uid_expression("Scope", "of the credential"));
    attributes.insert("belongs".to_owned(), Expression::new_bool(!members.is_empty()));
    let groups = subject["groups"].as_array().into_iter().flatten().map(text_of);
    let principal = Entity::new_with_tags(
        uid("User", text_of(&subject["id"])),
        attributes,
        groups.map(|group| uid("Group", group)),
        organizations(&roles, &members),
    );

    let mut attributes = levels(&[scope], &members);
    attributes.insert("allow".to_owned(), strings(texts_of(&scope["allow_list"])));
    let scope = Entity::new_with_tags(
        uid("Scope", "of the credential"),
        attributes,
        [],
        organizations(&[scope], &members),
    );

    let organization = text_of(&object["org_owner"]);
    let resource = Entity::new_with_tags(
        uid("Object", text_of(&object["id"])),
        [
            ("owner".to_owned(), uid_expression("User", text_of(&object["owner"]))),
            ("organization".to_owned(), Expression::new_string(organization.to_owned())),
            ("everyone".to_owned(), uid_expression("Group", organization)),
            ("anywhere".to_owned(), Expression::new_bool(object["any_org"] == true)),
        ],
        [],
        shared(object),
    );

    let id = text_of(&object["id"]);
    let asked = [("*", "*"), ("*", action), (kind, "*"), (kind, action)];
    let named = [("*", "*"), ("*", id), (kind, "*"), (kind, id)];
    let joined = |pairs: [(&str, &str); 4]| strings(pairs.map(|(a, b)| format!("{a}:{b}")));
    let context = Context::from_pairs([
        ("asked".to_owned(), joined(asked)),
        ("named".to_owned(), joined(named)),
        ("verb".to_owned(), Expression::new_string(action.to_owned())),
    ]);
    let [principal, scope, resource] = [principal, scope, resource].map(Result::unwrap);
    let (who, what) = (principal.uid(), resource.uid());
    let request = Request::new(who, uid("Action", "act"), what, context.unwrap(), None);
    let entities = Entities::from_entities([principal, scope, resource], None);
    (request.unwrap(), entities.unwrap())
}

/// Permissions that apply everywhere, permissions for own objects, and the slots of organizations
fn levels(roles: &[&Value], members: &BTreeSet<&String>) -> HashMap<String, Expression> {
    let mut attributes = HashMap::from([
        ("site".to_owned(), pool(roles.iter().map(|role| &role["site"]))),
        ("user".to_owned(), pool(roles.iter().map(|role| &role["user"]))),
    ]);
    assert!(members.len() <= 3, "more memberships than slots");
    let mut members = members.iter();
    for slot in ["a", "b", "c"] {
        let lists = match members.next() {
            Some(id) => in_organization(roles, id),
            None => record([("org", closed()), ("member", closed())]),
        };
        attributes.insert(slot.to_owned(), lists);
    }
    attributes
}

fn organizations(roles: &[&Value], members: &BTreeSet<&String>) -> BTreeMap<String, Expression> {
    members.iter().map(|id| ((*id).clone(), in_organization(roles, id))).collect()
}

fn in_organization(roles: &[&Value], id: &str) -> Expression {
    let list = |name: &str| pool(roles.iter().map(|role| &role["by_org_id"][id][name]));
    record([("org", list("org")), ("member", list("member"))])
}

fn pool<'a>(lists: impl Iterator<Item = &'a Value>) -> Expression {
    let (mut grants, mut denies) = (BTreeSet::new(), BTreeSet::new());
    for text in lists.flat_map(texts_of) {
        match text.strip_prefix('!') {
            Some(denied) => denies.insert(denied.to_owned()),
            None => grants.insert(text),
        };
    }
    record([("grants", strings(grants)), ("denies", strings(denies))])
}

fn closed() -> Expression {
    record([("grants", strings([])), ("denies", strings(["*:*".to_owned()]))])
}

/// By action, the users and groups that the object is shared with
fn shared(object: &Value) -> HashMap<String, Expression> {
    let mut entries: HashMap<String, HashSet<EntityUid>> = HashMap::new();
    for (list, kind) in [("acl_user_list", "User"), ("acl_group_list", "Group")] {
        for (id, actions) in object[list].as_object().into_iter().flatten() {
            for action in texts_of(actions) {
                entries.entry(action).or_default().insert(uid(kind, id));
            }
        }
    }
    let set = |uids: HashSet<EntityUid>| {
        Expression::new_set(uids.into_iter().map(Expression::new_entity_uid))
    };
    entries.into_iter().map(|(action, uids)| (action, set(uids))).collect()
}

fn record<const N: usize>(fields: [(&str, Expression); N]) -> Expression {
    Expression::new_record(fields.map(|(name, value)| (name.to_owned(), value))).unwrap()
}

fn strings(texts: impl IntoIterator<Item = String>) -> Expression {
    Expression::new_set(texts.into_iter().map(Expression::new_string))
}

fn uid(kind: &str, id: &str) -> EntityUid {
    let kind: EntityTypeName = kind.parse().unwrap();
    EntityUid::from_type_name_and_id(kind, EntityId::new(id))
}

fn uid_expression(kind: &str, id: &str) -> Expression {
    Expression::new_entity_uid(uid(kind, id))
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn texts_of(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|text| text_of(text).to_owned()).collect()
}
