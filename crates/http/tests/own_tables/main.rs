//! The example of a host with tables of its own does what it says, keeps the published rules, and is
//! short

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod conformance;
#[path = "../../examples/own_tables.rs"]
#[allow(dead_code, reason = "the test does not call `main`")]
mod example;

use std::sync::Arc;
use std::time::Duration;

use agent_auth::{AgentToken, Candidate, Standing};
use app_authz::app::{Agent, App, Contact, Transition};
use app_authz::credential::{NewKey, SessionToken, Sessions, UserStatus};
use app_authz::id::{AppId, OrganizationId};
use app_authz::rbac::RoleName;
use app_authz::{AgentId, UserId};
use authd_http::{AppsConfig, Service};
use bytes::Bytes;
use example::{Machine, Tables, User, Workspace, now};
use http::header::{HeaderMap, LOCATION, SET_COOKIE};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use uuid::Uuid;

const ALICE: UserId = UserId(Uuid::from_u128(1));
const BOB: UserId = UserId(Uuid::from_u128(2));

/// Alice, who owns a workspace, and Bob, who may read the audit
fn tables() -> Arc<Tables> {
    let tables = Arc::<Tables>::default();
    let mut rows = tables.rows();
    let user = |name: &str, roles| User {
        name: name.to_owned(),
        status: UserStatus::Active,
        organization: OrganizationId(Uuid::from_u128(7)),
        roles,
    };
    rows.users.insert(ALICE, user("alice", Vec::new()));
    rows.users.insert(BOB, user("bob", vec![RoleName::site("auditor").unwrap()]));
    let main = AgentId(Uuid::from_u128(4));
    let contact = Contact::new(now()).with_connected(now(), now());
    let (token, [build, workspace]) = (Uuid::from_u128(6), [8, 3].map(Uuid::from_u128));
    let machine = Machine {
        agent: Agent::new(main, "main", contact),
        instance: "i-1".to_owned(),
        candidate: Candidate::new(
            main.0.into(),
            "main".to_owned(),
            AgentToken::new(token),
            build.into(),
            workspace.into(),
            Standing::Live,
        ),
    };
    rows.workspaces.push(Workspace {
        id: workspace.into(),
        name: "dev".to_owned(),
        owner: ALICE,
        transition: Transition::Start,
        machines: vec![machine],
        apps: vec![App::new(AppId(Uuid::from_u128(5)), main, "code", "http://127.0.0.1:8080")],
    });
    drop(rows);
    tables
}

struct Host {
    service: Service,
    tables: Arc<Tables>,
}

impl Host {
    async fn start() -> Self {
        let tables = tables();
        let url = "http://host.test".parse().unwrap();
        let service = example::service(Arc::clone(&tables), url);
        service.maintain_keys(true).await.unwrap();
        Self { service, tables }
    }

    fn log_in(&self, user: UserId) -> String {
        // Neighbouring bytes may stand for the same letter.
        let letters = |bytes: &mut [u8]| bytes.fill(50 * u8::try_from(user.0.as_u128()).unwrap());
        let token = SessionToken::generate(letters);
        self.tables.log_in(user, &token);
        token.reveal().to_owned()
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (StatusCode, HeaderMap, String) {
        let mut request = Request::builder().method(method).uri(path).header("host", "host.test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.service.answer(request.body(Full::<Bytes>::default()).unwrap()).await;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
    }
}

const APP: &str = "/@alice/dev/apps/code/";

#[tokio::test]
async fn visits_are_decided_and_recorded_over_tables_of_the_host() {
    let host = Host::start().await;
    let (alice, bob) = (host.log_in(ALICE), host.log_in(BOB));
    let html = ("accept", "text/html");

    // Signed out, and signed in as a user who may not open it.
    let (status, headers, _) = host.ask("GET", APP, &[html]).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert!(headers[LOCATION].to_str().unwrap().contains("/login?"), "{headers:?}");
    let of_bob = ("coder-session-token", &*bob);
    assert_eq!(host.ask("GET", APP, &[html, of_bob]).await.0, StatusCode::NOT_FOUND);

    // The owner may: nothing carries the visit here, and the browser gets an app token.
    let of_alice = ("coder-session-token", &*alice);
    let (status, headers, body) = host.ask("GET", APP, &[html, of_alice]).await;
    assert!(headers.contains_key(SET_COOKIE), "{status} {headers:?} {body}");
    let cookie = headers[SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("coder_signed_app_token="), "{cookie} {body}");
    // The token is good without the session, until that ends.
    let cookie = cookie.split(';').next().unwrap();
    let carried = async || host.ask("GET", APP, &[html, ("cookie", cookie)]).await.0;
    assert_eq!(carried().await, StatusCode::BAD_GATEWAY);
    let origin = ("origin", "http://host.test");
    let (status, _, _) = host.ask("POST", "/api/v2/users/logout", &[of_alice, origin]).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(carried().await, StatusCode::SEE_OTHER);

    // Auditors see what became of the visits.
    host.service.drain_audit().await;
    let (status, _, log) = host.ask("GET", "/api/v2/audit", &[of_bob]).await;
    assert_eq!(status, StatusCode::OK, "{log}");
    for (reason, count) in [("not_signed_in", 1), ("path_app_of_another", 1), ("", 1)] {
        let found = log.matches(&format!(r#""reason":"{reason}""#)).count();
        assert_eq!(found, count, "{reason}: {log}");
    }
    let (status, _, page) = host.ask("GET", "/audit", &[html, of_bob]).await;
    assert_eq!((status, page.contains("dev")), (StatusCode::OK, true), "{page}");
}

#[tokio::test]
async fn users_sign_in_with_something_of_the_host() {
    let host = Host::start().await;
    let html = ("accept", "text/html");
    let (_, headers, _) = host.ask("GET", &format!("{APP}?folder=a%26b"), &[html]).await;
    let login: Uri = headers[LOCATION].to_str().unwrap().parse().unwrap();
    assert_eq!(login.path(), "/login");
    let query = form_urlencoded::parse(login.query().unwrap().as_bytes());
    let redirect = query.into_iter().find(|(name, _)| name == "redirect").unwrap().1;

    // The host knows the user, by whatever means.
    let token = SessionToken::generate(|bytes| bytes.fill(b'a'));
    let new = NewKey::new(&token, ALICE, now(), now() + Duration::from_secs(3_600));
    host.tables.insert(&new).await.unwrap();
    let config = AppsConfig::new("http://host.test".parse().unwrap());
    let answer = config.signed_in(&token, &redirect);
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(answer.headers()[LOCATION], format!("{APP}?folder=a%26b"));
    let cookie = answer.headers()[SET_COOKIE].to_str().unwrap();
    let cookie = ("cookie", cookie.split(';').next().unwrap());
    let (_, headers, _) = host.ask("GET", APP, &[html, cookie]).await;
    assert!(headers[SET_COOKIE].to_str().unwrap().starts_with("coder_signed_app_token="));

    let elsewhere = config.signed_in(&token, "//elsewhere.test/");
    assert_eq!(elsewhere.headers()[LOCATION], "/");
}

#[tokio::test]
async fn parts_that_the_tables_lack_are_absent() {
    let host = Host::start().await;
    for (method, path, status) in [
        ("POST", "/api/v2/authd/import", StatusCode::NOT_FOUND),
        ("GET", "/api/v2/authd/shares", StatusCode::NOT_FOUND),
        ("POST", "/api/v2/workspaceagents/aws-instance-identity", StatusCode::BAD_REQUEST),
        ("GET", "/readyz", StatusCode::OK),
    ] {
        assert_eq!(host.ask(method, path, &[]).await.0, status, "{path}");
    }
    let token = host.log_in(ALICE);
    let headers = [("accept", "text/html"), ("coder-session-token", &*token)];
    let (status, _, page) = host.ask("GET", "/", &headers).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("Apps open at their own addresses."), "{page}");
}

#[test]
fn the_ports_take_at_most_150_lines() {
    let source = include_str!("../../examples/own_tables.rs");
    let (_, ports) = source.split_once("    type Result<T>").unwrap();
    let counts = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with("//");
    let lines = ports.lines().filter(counts).count();
    assert!((100..=150).contains(&lines), "{lines}");
    assert!(!source.contains("store::"), "a host needs nothing of the crate `store`");
}
