//! `docs/openapi.json` against the router and its answers

use std::collections::BTreeSet;
use std::sync::LazyLock;

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;

use crate::oidc::Fake;
use crate::world::ISSUE;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../../docs/openapi.json")).unwrap());

/// The methods that an OpenAPI document can describe
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Compares an answer with the document, and returns the first difference
///
/// Checks the status, the content type, and the headers that a client needs.
pub fn undocumented(
    method: &str,
    path: &str,
    status: StatusCode,
    headers: &HeaderMap,
) -> Option<String> {
    let place = format!("{method} {path}: {}", status.as_u16());
    let path = path.split('?').next().unwrap();
    let Some(item) = DOCUMENT["paths"].get(path) else {
        return Some(format!("{place}: the path is not documented"));
    };
    let own = item.get(method.to_lowercase());
    let like_get = item.get("get").filter(|_| item["x-any-method"] == true);
    let Some(operation) = own.or(like_get) else {
        return Some(format!("{place}: the method is not documented"));
    };
    let Some(response) = operation["responses"].get(status.as_str()).map(resolved) else {
        return Some(format!("{place}: the status is not documented"));
    };
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap());
    let essence = content_type.map(|value| value.split(';').next().unwrap());
    let documented = match (essence, response.get("content")) {
        (Some(essence), Some(content)) => content.get(essence).is_some(),
        // The answer to HEAD has the type of a body that is not sent.
        (essence, None) => essence.is_none() || method == "HEAD",
        (None, Some(_)) => false,
    };
    if !documented {
        return Some(format!("{place}: the content type {content_type:?} is not documented"));
    }
    let needed = ["Location", "Retry-After", "WWW-Authenticate", "X-Authd-Answer"];
    let lacking = needed.into_iter().find(|name| {
        let is_documented = response["headers"].get(name).is_some();
        is_documented != headers.contains_key(*name) && method != "HEAD"
    });
    lacking.map(|name| format!("{place}: `{name}` is documented or sent, and not both"))
}

#[test]
fn the_document_has_exactly_the_routes_of_the_router() {
    let mut wrong = Vec::new();
    let mut known = BTreeSet::new();
    for (path, methods) in authd_http::routes() {
        known.insert(path);
        let item = &DOCUMENT["paths"][path];
        let documented: BTreeSet<String> =
            operations(item).map(|(method, _)| method.to_uppercase()).collect();
        let routed: BTreeSet<String> = match &*methods {
            "*" => BTreeSet::from(["GET".to_owned()]),
            listed => listed.split(", ").map(str::to_owned).collect(),
        };
        if documented != routed || (methods == "*") != (item["x-any-method"] == true) {
            wrong.push(format!("{path}: {documented:?} is documented, and answered is {methods}"));
        }
    }
    for path in DOCUMENT["paths"].as_object().unwrap().keys() {
        if !known.contains(path.strip_suffix("/{path}").unwrap_or(path)) {
            wrong.push(format!("{path}: no such route"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_document_is_consistent() {
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    references(&DOCUMENT, &mut used);
    for reference in &used {
        if DOCUMENT.pointer(&reference[1..]).is_none() {
            wrong.push(format!("{reference} leads nowhere"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (kind, components) in DOCUMENT["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys() {
            let reference = format!("#/components/{kind}/{name}");
            if kind != "securitySchemes" && !used.contains(&reference) {
                wrong.push(format!("{reference} is not used"));
            }
        }
    }
    let tags = DOCUMENT["tags"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in all_operations() {
        let place = format!("{method} {path}");
        let id = operation["operationId"].as_str().unwrap();
        if !ids.insert(id) {
            wrong.push(format!("{place}: there is another {id}"));
        }
        let tag = &operation["tags"][0];
        if !tags.iter().any(|known| known["name"] == *tag) {
            wrong.push(format!("{place}: {tag} is not a tag"));
        }
        for scheme in operation["security"].as_array().unwrap() {
            for name in scheme.as_object().unwrap().keys() {
                if DOCUMENT["components"]["securitySchemes"].get(name).is_none() {
                    wrong.push(format!("{place}: {name} is not a security scheme"));
                }
            }
        }
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let in_path = parameters.filter(|parameter| parameter["in"] == "path");
        if in_path.count() != path.matches('{').count() {
            wrong.push(format!("{place}: other parameters than in the path"));
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            let is_status = status.parse().is_ok_and(|status| StatusCode::from_u16(status).is_ok());
            if !is_status || resolved(response)["description"].as_str().is_none_or(str::is_empty) {
                wrong.push(format!("{place}: {status} is not described"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Answers that follow from the kind of route, so that no request is needed to know them
#[test]
fn answers_that_every_route_can_give_are_documented_everywhere() {
    let mut wrong = Vec::new();
    for (path, method, operation) in all_operations() {
        // A panic (500); a deadline, a busy server or an unreachable database (503).
        let mut expected = vec!["500", "503"];
        if !path.contains("identity") && !path.ends_with('z') && path != "/metrics" {
            // App access is off.
            expected.push("404");
        }
        let security = operation["security"].as_array().unwrap();
        if security.iter().any(|scheme| scheme.get("proxyToken").is_some()) {
            expected.push("401");
        }
        if security.iter().any(|scheme| scheme.get("bearer").is_some()) {
            // A session that is not good, and a change that is requested by another origin's page.
            expected.push("401");
            expected.push("403");
        }
        if operation.get("requestBody").is_some() {
            expected.extend(["400", "408", "413"]);
        }
        for status in expected {
            if operation["responses"].get(status).is_none() {
                wrong.push(format!("{method} {path}: {status} is not documented"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn unusual_requests_are_answered_as_documented() {
    let world = Fake::start().await.plan().serve().await;
    let mut wrong = Vec::new();
    let host = "owner--agent--dev--alice.test.coder.com";
    let visit = [("x-forwarded-host", host), ("x-forwarded-uri", "/a"), ("host", host)];
    for (path, methods) in authd_http::routes() {
        let methods = if methods == "*" { "HEAD, POST, DELETE, OPTIONS" } else { &*methods };
        for method in methods.split(", ") {
            let answer = world.send(method, path, &visit, "").await;
            wrong.extend(undocumented(method, path, answer.status, &answer.headers));
        }
    }

    let (root, proxy) = (world.token("root").to_owned(), world.proxy.reveal());
    let large = " ".repeat((16 << 20) + 1);
    for (path, method, _) in all_operations().filter(|(_, _, op)| op.get("requestBody").is_some()) {
        let credential = match path {
            ISSUE => ("coder-external-proxy-token", &*proxy),
            _ => ("coder-session-token", &*root),
        };
        for (kind, body, expected) in [
            ("application/json", large.as_str(), 413),
            ("application/json", "{", 400),
            ("text/plain", "{}", 415),
        ] {
            // These ignore the content type: one accepts only JSON, the others a form.
            let expected = match path {
                "/api/v2/users/oidc/backchannel-logout" if body.len() < 9 => 400,
                "/api/v2/authd/import" if kind == "text/plain" => 200,
                "/login" if body.len() < 9 => 401,
                _ => expected,
            };
            let headers = [credential, ("content-type", kind)];
            let method = method.to_uppercase();
            let answer = world.send(&method, path, &headers, body).await;
            if answer.status != expected {
                wrong.push(format!("{method} {path}: {}, not {expected}", answer.status));
            }
            wrong.extend(undocumented(&method, path, answer.status, &answer.headers));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn operations(item: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    METHODS.into_iter().filter_map(|method| Some((method, item.get(method)?)))
}

fn all_operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, item)| {
        operations(item).map(move |(method, operation)| (path.as_str(), method, operation))
    })
}

/// The value that a reference refers to
fn resolved(value: &'static Value) -> &'static Value {
    match value.get("$ref") {
        Some(reference) => DOCUMENT.pointer(&reference.as_str().unwrap()[1..]).unwrap(),
        None => value,
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                found.insert(reference.clone());
            }
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}
