//! The service as `authd serve` runs it, the floors beside it, and the requests of both

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_auth::Rules;
use authd_http::{AppsConfig, Limits, Service, TrustedProxies};
use bytes::Bytes;
use hyper::header::SET_COOKIE;
use hyper::{Request, StatusCode};
use identity_fetch::Identity;
use identity_verify::test_util::aws;
use identity_verify::{Policy, aws as aws_identity};
use serde_json::json;
use store::fleet::{Fleet, SharingLevel, Transition};
use store::{Options, PgStore, StatementCounter};
use testkit::Database;
use tokio::net::TcpListener;

use super::client::{Asked, Caller};
use super::floors;
use crate::Setting;
use crate::suites::CALLERS;

/// The servers, and the credentials for requests
pub(super) struct World {
    pub(super) authd: SocketAddr,
    /// Answers with a token after the statement
    pub(super) reads: SocketAddr,
    /// Answers with a token after the statement and a durable row
    pub(super) reads_and_writes: SocketAddr,
    /// Answers a check of a proxy after no work
    pub(super) plain: SocketAddr,
    pub(super) statements: StatementCounter,
    metrics: Arc<[Caller]>,
    cloud: aws::Cloud,
    proxy_token: String,
    session: String,
    _database: Database,
}

impl World {
    pub(super) async fn new(setting: &Setting) -> Arc<Self> {
        let database = setting.durable().await.database().await;
        let mut fleet = Fleet::default();
        let acme = fleet.organization("acme");
        let alice = fleet.user("alice", acme);
        let session = fleet.session(alice).reveal().to_owned();
        let proxy = fleet.proxy("sydney", "https://sydney.example.com", "").reveal().to_owned();
        let workspace = fleet.workspace(alice, "dev");
        let build = fleet.build(workspace, Transition::Start);
        let agent = fleet.agent(build.resource, "main", INSTANCE);
        agent.first_connected_at = Some(agent.created_at);
        // Connected for as long as any run takes: the year 9999.
        agent.last_connected_at = chrono::DateTime::from_timestamp(253_402_214_400, 0);
        let agent = agent.id;
        fleet.app(agent, "code").sharing_level = SharingLevel::Owner;

        let statements = StatementCounter::default();
        let options = Options::default().statements(statements.clone());
        let shared = options.read_connections;
        let store = PgStore::connect(database.url(), &options).await.unwrap();
        store.load(&fleet).await.unwrap();
        let cloud = aws::Cloud::generate(REGION);
        let authd = serve(store, &cloud).await;

        let mut world = Self {
            authd,
            reads: authd,
            reads_and_writes: authd,
            plain: authd,
            statements,
            metrics: Caller::of(authd, 1),
            cloud,
            proxy_token: proxy,
            session,
            _database: database,
        };
        // What ours answers, the floors answer too.
        let caller = &world.metrics[0];
        let issued = caller.ask(&world.issue(0)).await;
        assert_eq!(issued.status, StatusCode::CREATED);
        let visit = world.visits(caller, 1).await.remove(0);
        let checked = caller.ask(&visit).await;
        assert_eq!(checked.status, StatusCode::OK);

        let url = world._database.url();
        let read = floors::read(url, shared, &world.session).await;
        let written = floors::insert_after(Arc::clone(&read), url, CALLERS).await;
        world.reads = floors::serve(&issued, read).await;
        world.reads_and_writes = floors::serve(&issued, written).await;
        world.plain = floors::serve(&checked, floors::nothing()).await;
        Arc::new(world)
    }

    /// The sign-in of a machine of AWS
    pub(super) fn sign_in(&self) -> Asked {
        let document =
            aws::Document::new(INSTANCE, REGION, "123456789012", "2026-01-01T00:00:00Z").to_json();
        let signature = self.cloud.sign(document.as_bytes());
        let body = json!({ "signature": signature, "document": document }).to_string();
        let request = Request::post("/api/v2/workspaceagents/aws-instance-identity")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Bytes::from(body));
        Asked::new(request.unwrap())
    }

    /// A proxy's request for a visitor, each of whom has a different address
    pub(super) fn issue(&self, visitor: u64) -> Asked {
        let envelope = json!({
            "app_request": {
                "access_method": "path",
                "base_path": "/@alice/dev.main/apps/code/",
                "username_or_id": "alice",
                "workspace_name_or_id": "dev",
                "agent_name_or_id": "main",
                "app_slug_or_port": "code",
            },
            "path_app_base_url": "https://sydney.example.com",
            "app_hostname": "",
            "app_path": "/",
            "app_query": "",
            "session_token": self.session,
            "client_ip": format!("2001:db8::{:x}:{:x}", visitor >> 16 & 0xffff, visitor & 0xffff),
            "user_agent": "Mozilla/5.0",
        });
        let request = Request::post("/api/v2/workspaceproxies/me/issue-signed-app-token")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("coder-external-proxy-token", &self.proxy_token)
            .body(Bytes::from(envelope.to_string()));
        Asked::new(request.unwrap())
    }

    /// Checks of visits by the owner to hosts of the app, each with the token of its first visit
    ///
    /// There are as many as asked, or as could be made in ten seconds: tokens are good for a minute.
    pub(super) async fn visits(&self, caller: &Caller, count: usize) -> Vec<Asked> {
        let mut visits = Vec::new();
        let start = Instant::now();
        while visits.len() < count && (visits.is_empty() || start.elapsed() < MINTING) {
            let host = format!("{:05}---code--main--dev--alice.apps.example.com", visits.len());
            let session = format!("coder_session_token={}", self.session);
            let answer = caller.ask(&check(&host, &session)).await;
            assert_eq!(answer.status, StatusCode::OK);
            let cookie = answer.headers[SET_COOKIE].to_str().unwrap();
            visits.push(check(&host, cookie.split(';').next().unwrap()));
        }
        visits
    }

    /// Waits until all visits so far are in the log
    pub(super) async fn written(&self) {
        let metrics = Request::get("/metrics").header("host", "localhost").body(Bytes::new());
        let metrics = Asked::new(metrics.unwrap());
        loop {
            let answer = self.metrics[0].ask(&metrics).await;
            let text = std::str::from_utf8(&answer.body).unwrap();
            let queued = text.lines().find_map(|line| line.strip_prefix(QUEUED));
            if queued.unwrap().trim() == "0" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn serve(store: PgStore, cloud: &aws::Cloud) -> SocketAddr {
    let mut keys = aws_identity::Keys::builtin();
    keys.add_pem(REGION, cloud.public_key_pem().as_bytes()).unwrap();
    let verifier = aws_identity::Verifier::new(keys, Policy::default());
    let identity = Identity::builtin().aws(verifier);
    let mut config = AppsConfig::new("https://coder.example.com".parse().unwrap());
    config.app_hosts = Some("*.apps.example.com".parse().unwrap());
    config.trusted = TrustedProxies {
        unix_sockets: false,
        origins: vec!["127.0.0.1".parse().unwrap()],
        headers: vec!["x-forwarded-for".parse().unwrap()],
    };
    let app = Service::new(Limits::default(), authd::system_clock());
    let store = Arc::new(store);
    let app = app.with_agents(Arc::clone(&store), identity, Rules::default());
    let app = Arc::new(app.with_apps(store, config));
    app.maintain_keys(true).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = authd::ServerLimits::default();
    // Boxed, so that the compiler sees the type of this future once.
    let serving: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> =
        Box::pin(authd::serve(listener, app, limits, std::future::pending()));
    tokio::spawn(serving);
    address
}

/// Traefik's check of a visit
fn check(host: &str, cookie: &str) -> Asked {
    let request = Request::get("/api/v2/forward-auth/traefik")
        .header("host", "localhost")
        .header("x-forwarded-host", host)
        .header("x-forwarded-uri", "/")
        .header("x-forwarded-method", "GET")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-for", "203.0.113.7")
        .header("cookie", cookie)
        .body(Bytes::new());
    Asked::new(request.unwrap())
}

const INSTANCE: &str = "i-0123456789abcdef0";
const REGION: &str = "test-1";
/// The name of the metric that counts visits which wait to be written
const QUEUED: &str = "authd_audit_queued_events ";
/// How long tokens are made
const MINTING: Duration = Duration::from_secs(10);
