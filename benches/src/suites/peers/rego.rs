//! `regorus`, with prepared input values

use regorus::Value;
use serde_json::{Value as Json, json};

use super::Peer;

pub(super) struct Engine {
    engine: regorus::Engine,
    inputs: Vec<Value>,
}

impl Engine {
    pub(super) fn new(texts: &[String]) -> Self {
        let mut engine = regorus::Engine::new();
        engine.add_policy("rbac.rego".to_owned(), include_str!("rbac.rego").to_owned()).unwrap();
        Self { engine, inputs: texts.iter().map(|text| prepare(text)).collect() }
    }
}

impl Peer for Engine {
    fn decide(&mut self, n: usize) -> Result<bool, String> {
        self.engine.set_input(self.inputs[n].clone());
        match self.engine.eval_rule("data.authd.rbac.allow".to_owned()) {
            Ok(Value::Bool(allowed)) => Ok(allowed),
            Ok(other) => Err(other.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The case with all fields, its permissions and its allow list split into parts
fn prepare(text: &str) -> Value {
    let mut case: Json = serde_json::from_str(text).unwrap();
    let scope = &mut case["subject"]["scope"];
    each(&mut scope["allow_list"], |entry| {
        let (kind, id) = entry.split_once(':').unwrap();
        json!({ "type": kind, "id": id })
    });
    take_apart(scope);
    case["subject"]["roles"].as_array_mut().into_iter().flatten().for_each(take_apart);
    for name in ["id", "owner", "org_owner"] {
        let field = &mut case["object"][name];
        if field.is_null() {
            *field = json!("");
        }
    }
    Value::from_json_str(&case.to_string()).unwrap()
}

fn take_apart(role: &mut Json) {
    let permission = |text: &str| {
        let (negate, rest) = match text.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (kind, action) = rest.split_once(':').unwrap();
        json!({ "negate": negate, "type": kind, "action": action })
    };
    each(&mut role["site"], permission);
    each(&mut role["user"], permission);
    let organizations = &mut role["by_org_id"];
    if organizations.is_null() {
        *organizations = json!({});
    }
    for (_, lists) in organizations.as_object_mut().into_iter().flatten() {
        each(&mut lists["org"], permission);
        each(&mut lists["member"], permission);
    }
}

/// A missing list counts as empty
fn each(list: &mut Json, parse: impl Fn(&str) -> Json) {
    if list.is_null() {
        *list = json!([]);
    }
    for text in list.as_array_mut().into_iter().flatten() {
        *text = parse(text.as_str().unwrap());
    }
}
