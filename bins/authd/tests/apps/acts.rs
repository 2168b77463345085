//! Acts over HTTP: log-in, log-out and import, and the route that lists them

use std::sync::Arc;

use agent_auth::Rules;
use authd_http::{ActAudit, AppsConfig, Limits, Service};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode};
use identity_fetch::Identity;
use serde_json::{Value, json};
use store::{Options, PgStore};

use crate::world::{DASHBOARD, World};

/// Another replica of the world, which records acts
async fn replica(world: &World) -> Arc<Service> {
    let store = PgStore::connect(world.database.url(), &Options::default()).await.unwrap();
    let store = Arc::new(store);
    let config = AppsConfig::new(DASHBOARD.parse().unwrap());
    let service = Service::over(
        &store,
        Identity::builtin(),
        Rules::default(),
        Limits::default(),
        Arc::new(world.clock()),
    )
    .with_act_audit(Arc::clone(&store), ActAudit::default())
    .with_apps(store, config);
    Arc::new(service)
}

async fn send(
    service: &Service,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (StatusCode, Value) {
    let mut request = Request::builder().method(method).uri(path).header("host", "coder.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    let answer = service.answer_to([198, 51, 100, 4].into(), request).await;
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn log_ins_log_outs_and_imports_are_recorded_and_listed() {
    let world = World::new().await;
    let service = replica(&world).await;
    let (alice, root) = (world.token("alice"), world.token("root"));
    let form = ("content-type", "application/x-www-form-urlencoded");
    let origin = ("origin", DASHBOARD);
    for (token, expected) in [(alice, StatusCode::SEE_OTHER), ("wrong", StatusCode::UNAUTHORIZED)] {
        let body = format!("token={token}&redirect=/");
        let (status, _) = send(&service, "POST", "/login", &[form, origin], &body).await;
        assert_eq!(status, expected);
    }
    let session = ("coder-session-token", alice);
    let (status, _) = send(&service, "POST", "/api/v2/users/logout", &[session], "").await;
    assert_eq!(status, StatusCode::OK);
    let session = ("coder-session-token", root);
    let document = json!({ "organizations": [{ "name": "beta" }] }).to_string();
    for path in ["/api/v2/authd/import?dry_run", "/api/v2/authd/import"] {
        let (status, answer) = send(&service, "POST", path, &[session], &document).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    // An import is in the table at once, and the others a moment later.
    let list = async |query: &str| {
        let path = format!("/api/v2/authd/audit/acts{query}");
        let (status, answer) = send(&service, "GET", &path, &[session], "").await;
        assert_eq!(status, StatusCode::OK, "{query}: {answer}");
        answer["acts"].as_array().unwrap().clone()
    };
    assert_eq!(list("?kind=import").await.len(), 1);
    while list("").await.len() < 4 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let one = async |query: &str| {
        let mut found = list(query).await;
        assert_eq!(found.len(), 1, "{query}");
        found.remove(0)
    };
    let log_in = one("?kind=log_in&decision=allow").await;
    assert_eq!(log_in["username"], "alice");
    assert_eq!(log_in["ip"], "198.51.100.4");
    assert_eq!(log_in["subject"], alice.split_once('-').unwrap().0);
    let refused = one("?kind=log_in&decision=deny").await;
    assert_eq!((&refused["reason"], &refused["user_id"]), (&json!("invalid_token"), &Value::Null));
    assert_eq!(one("?kind=log_out").await["username"], "alice");
    let import = one("?kind=import").await;
    assert_eq!((&import["username"], &import["detail"]["added"]), (&json!("root"), &json!(1)));
    let of_alice = format!("?user={}&address=198.51.100.4", world.people["alice"].id);
    assert_eq!(list(&of_alice).await.len(), 2);

    let path = "/api/v2/authd/audit/acts?limit=3";
    let (_, first) = send(&service, "GET", path, &[session], "").await;
    let path = format!("{path}&after={}", first["next"].as_str().unwrap());
    let (_, second) = send(&service, "GET", &path, &[session], "").await;
    assert_eq!((second["acts"].as_array().unwrap().len(), &second["next"]), (1, &Value::Null));
    for bad in [
        "?kind=nonsense",
        "?address=here",
        "?user=alice",
        "?subject=%00",
        "?what=1",
        "?kind=import&kind=import",
    ] {
        let path = format!("/api/v2/authd/audit/acts{bad}");
        let (status, _) = send(&service, "GET", &path, &[session], "").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}");
    }
    for secret in [alice, root].map(|token| token.split_once('-').unwrap().1) {
        let holding = format!("SELECT count(*) FROM authd_acts a WHERE a::text LIKE '%{secret}%'");
        assert_eq!(world.database.sql(&holding).await, ["0"]);
    }
}
