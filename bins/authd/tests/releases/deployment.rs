//! The control plane of a release, and authd beside it

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agent_auth::Rules;
use authd::{ServerLimits, serve};
use authd_http::{AppsConfig, Limits, Service, TrustedProxies};
use bytes::Bytes;
use hyper::Method;
use hyper::header::HeaderName;
use serde_json::Value;
use store::{Options, PgStore, StatementCounter};
use testkit::net::{Answer, Client};
use testkit::{Database, Release, World};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::clouds::Clouds;

pub const ISSUE: &str = "/api/v2/workspaceproxies/me/issue-signed-app-token";
pub const DASHBOARD: &str = "authd.test";
pub const APPS: &str = "apps.test";

/// The current time of all clocks
pub fn now() -> SystemTime {
    identity_verify::test_util::at("2026-11-21T00:00:00Z")
}

/// authd beside the tables of a release
pub struct Deployment {
    pub world: World,
    pub clouds: Clouds,
    pub statements: StatementCounter,
    /// The tokens of agents, by agent id
    pub agents: BTreeMap<Uuid, String>,
    url: String,
    client: Client,
}

impl Deployment {
    /// Starts authd on the database that the world was loaded into
    pub async fn start(world: World, database: &Database, apps: bool, clouds: &Clouds) -> Self {
        // The ids in the world are readable names, which AWS would never assign.
        database
            .sql(
                "UPDATE workspace_agents SET auth_instance_id =
                 'i-' || rpad(encode(substr(auth_instance_id, 3)::bytea, 'hex'), 17, '0')
                 WHERE auth_instance_id LIKE 'i-%'",
            )
            .await;
        let agents = database.sql("SELECT id, auth_token FROM workspace_agents").await;
        let agents = agents.iter().map(|row| row.split_once('|').unwrap());
        let agents = agents.map(|(id, token)| (id.parse().unwrap(), token.to_owned())).collect();

        let statements = StatementCounter::default();
        let options = Options::default().read_connections(1).write_connections(1);
        let options = options.app_access(apps).statements(statements.clone());
        let store = Arc::new(PgStore::connect(database.url(), &options).await.unwrap());
        let clock: authd_http::Clock = Arc::new(now);
        let (rules, limits) = (Rules::default(), Limits::default());
        let mut app = Service::over(&store, clouds.identity(), rules, limits, clock);
        if apps {
            app = app.with_apps(store, config());
            // Fails before app access, whose tables do not store everything about keys.
            let _ = app.maintain_keys(false).await;
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(
            listener,
            Arc::new(app),
            ServerLimits::default(),
            std::future::pending(),
        ));
        let (clouds, client) = (clouds.clone(), Client::new());
        Self { world, clouds, statements, agents, url, client }
    }

    pub fn release(&self) -> Release {
        self.world.release()
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let headers: Vec<(HeaderName, &str)> =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), *value)).collect();
        let method: Method = method.parse().unwrap();
        let url = format!("{}{path}", self.url);
        self.client.send(method, &url, &headers, Bytes::from(body.to_owned())).await.unwrap()
    }

    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers, "").await
    }

    pub async fn post_json(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body).await
    }

    /// Sends the check of a forward-auth proxy for a browser's visit
    pub async fn visit(&self, (host, uri): (&str, &str), headers: &[(&str, &str)]) -> Answer {
        let mut all = vec![
            ("x-forwarded-host", host),
            ("x-forwarded-uri", uri),
            ("x-forwarded-method", "GET"),
            ("x-forwarded-proto", "https"),
            ("accept", "text/html"),
        ];
        all.extend(headers);
        self.get("/api/v2/forward-auth/traefik", &all).await
    }

    /// Requests a token as the proxy does
    pub async fn issue(&self, envelope: &Value) -> Answer {
        let proxy = self.world.token("proxy: oslo");
        let headers = [("coder-external-proxy-token", proxy), ("content-type", "application/json")];
        self.send("POST", ISSUE, &headers, &envelope.to_string()).await
    }

    /// Fetches the keys of a feature as the proxy does
    pub async fn keys(&self, feature: &str) -> Answer {
        let path = format!("/api/v2/workspaceproxies/me/crypto-keys?feature={feature}");
        self.get(&path, &[("coder-external-proxy-token", self.world.token("proxy: oslo"))]).await
    }

    /// Waits until every visit is recorded
    pub async fn written(&self) {
        for _ in 0..2_000 {
            let metrics = self.get("/metrics", &[]).await;
            let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
            let idle = "authd_audit_queued_events 0";
            if metrics.lines().any(|line| line == idle) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the audit is not written");
    }

    /// Runs `work` and counts its statements, including those that record it
    pub async fn counted<T>(&self, work: impl Future<Output = T>) -> (T, u64) {
        self.written().await;
        let before = self.statements.get();
        let result = work.await;
        self.written().await;
        (result, self.statements.get() - before)
    }
}

fn config() -> AppsConfig {
    let mut config = AppsConfig::new(World::ACCESS_URL.parse().unwrap());
    config.app_hosts = Some(format!("*.{APPS}").parse().unwrap());
    config.trusted = TrustedProxies {
        unix_sockets: false,
        origins: vec!["127.0.0.1".parse().unwrap()],
        headers: vec![HeaderName::from_static("x-forwarded-for")],
    };
    config
}

/// The id of an instance in the form of its cloud, as stored in the database
pub fn instance_id(instance: &str) -> String {
    match instance.strip_prefix("i-") {
        Some(name) => {
            let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
            format!("i-{hex:0<17}")
        }
        None => instance.to_owned(),
    }
}

pub fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

pub fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// The host and path of a redirect's target
pub fn location(answer: &Answer) -> (String, String) {
    let url: app_authz::address::HttpUrl = header(answer, "location").parse().unwrap();
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    let host = url.origin().split_once("://").unwrap().1.to_owned();
    (host, format!("{}{query}", url.path()))
}

/// A query parameter of a redirect's target
pub fn query_of(answer: &Answer, name: &str) -> String {
    let (_, uri) = location(answer);
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    let mut found = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    found.next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}
