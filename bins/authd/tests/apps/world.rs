//! A control plane with a few users, workspaces and apps, and authd in front of it

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use agent_auth::Rules;
use app_authz::address::HttpUrl;
use app_authz::credential::SessionToken;
use app_authz::proxy::ProxyToken;
use authd::{ServerLimits, serve};
use authd_http::{
    ActAudit, AppsConfig, Limits, OidcConfig, RefreshConfig, Service, TrustedProxies,
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use hyper::Method;
use hyper::header::{HeaderName, SET_COOKIE};
use identity_fetch::Identity;
use serde_json::{Value, json};
use store::fleet::{CorsBehavior, Fleet, SharingLevel, Transition, UserStatus};
use store::{Options, PgStore, StatementCounter};
use testkit::net::{Answer, Client};
use testkit::{Database, Rows};
use tokio::net::TcpListener;
use uuid::Uuid;

pub const DASHBOARD: &str = "https://coder.test";
pub const WILDCARD: &str = "*.test.coder.com";
pub const ISSUE: &str = "/api/v2/workspaceproxies/me/issue-signed-app-token";
/// What a browser holds that signs in at an app's host, and the cookie with it
pub const NONCE: &str = "000102030405060708090a0b0c0d0e0f";
pub const SIGN_IN: &str = "authd_sign_in=000102030405060708090a0b0c0d0e0f.0.0";
pub const TRAEFIK: &str = "/api/v2/forward-auth/traefik";

/// The rows of a control plane under construction, and the settings of authd
pub struct Plan {
    pub rows: Fleet,
    pub config: AppsConfig,
    pub limits: Limits,
    pub options: Options,
    pub people: HashMap<&'static str, Person>,
    pub proxy: ProxyToken,
    pub workspace: Uuid,
    pub agent: Uuid,
    pub now: SystemTime,
    pub oidc: Option<OidcConfig>,
    pub refresh: Option<RefreshConfig>,
    /// Whether proxies are told what may not be allowed any more
    pub revocations: bool,
}

#[derive(Clone)]
pub struct Person {
    pub id: Uuid,
    /// A session of scope `all`
    pub token: SessionToken,
    /// A session of scope `application_connect`
    pub scoped: SessionToken,
}

impl Plan {
    /// Alice owns `dev`; Bob is in her organization, Carol in another, Root has the site-wide owner
    /// role, and Sue is suspended
    pub fn new() -> Self {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_219_200);
        let mut rows = Fleet::default();
        let acme = rows.organization("acme");
        let other = rows.organization("other");
        let mut people = HashMap::new();
        for (name, organization) in
            [("alice", acme), ("bob", acme), ("carol", other), ("root", other), ("sue", acme)]
        {
            let id = rows.user(name, organization);
            let token = rows.session(id);
            let scoped = rows.session(id);
            rows.api_keys.last_mut().unwrap().scopes =
                vec![store::fleet::KeyScope::application_connect()];
            people.insert(name, Person { id, token, scoped });
        }
        let user = |name| people[name].id;
        for row in &mut rows.users {
            if row.id == user("root") {
                row.rbac_roles = vec!["owner".to_owned()];
            }
            if row.id == user("sue") {
                row.status = UserStatus::Suspended;
            }
        }
        let workspace = rows.workspace(user("alice"), "dev");
        let build = rows.build(workspace, Transition::Start);
        let agent = rows.agent(build.resource, "agent", "i-1").id;
        let slow = rows.agent(build.resource, "slow", "i-2").id;
        for (slug, sharing) in [
            ("owner", SharingLevel::Owner),
            ("authed", SharingLevel::Authenticated),
            ("org", SharingLevel::Organization),
            ("public", SharingLevel::Public),
            ("app-ends-in-s", SharingLevel::Owner),
            ("initializing", SharingLevel::Owner),
            ("command", SharingLevel::Owner),
            ("external", SharingLevel::Owner),
            ("query", SharingLevel::Owner),
        ] {
            let app = rows.app(agent, slug);
            app.sharing_level = sharing;
            match slug {
                "initializing" => app.health = store::fleet::AppHealth::Initializing,
                "command" => app.url = None,
                "external" => app.external = true,
                "query" => app.url = Some("http://127.0.0.1:8080/?q=default".to_owned()),
                _ => {}
            }
        }
        rows.app(slow, "slow-app");
        let solo = rows.workspace(user("alice"), "solo");
        let build = rows.build(solo, Transition::Start);
        rows.agent(build.resource, "main", "i-3");
        let off = rows.workspace(user("alice"), "off");
        let build = rows.build(off, Transition::Start);
        let gone = rows.agent(build.resource, "main", "i-4").id;
        rows.app(gone, "owner");
        rows.build(off, Transition::Stop);
        let asleep = rows.workspace(user("alice"), "asleep");
        let build = rows.build(asleep, Transition::Start);
        let drowsy = rows.agent(build.resource, "main", "i-5").id;
        rows.app(drowsy, "owner");
        rows.workspaces.last_mut().unwrap().dormant_at = Some(now.into());

        for row in &mut rows.workspace_agents {
            if row.name != "slow" {
                row.first_connected_at = Some(now.into());
                row.last_connected_at = Some(now.into());
            }
        }
        let recent: DateTime<Utc> = now.into();
        for key in &mut rows.api_keys {
            key.last_used = recent;
        }
        let proxy = rows.proxy("sydney", "https://sydney.coder.com", "*.sydney.coder.com");

        let mut config = AppsConfig::new(DASHBOARD.parse().unwrap());
        config.app_hosts = Some(WILDCARD.parse().unwrap());
        config.rules =
            config.rules.allow_path_app_sharing(true).allow_path_app_site_owner_access(true);
        config.trusted = TrustedProxies {
            unix_sockets: false,
            origins: vec!["127.0.0.1".parse().unwrap()],
            // The second is that of Envoy.
            headers: ["x-forwarded-for", "x-envoy-external-address"]
                .map(HeaderName::from_static)
                .to_vec(),
        };
        let (limits, options) = (Limits::default(), Options::default());
        let (oidc, refresh, revocations) = (None, None, false);
        Self {
            rows,
            config,
            limits,
            options,
            people,
            proxy,
            workspace,
            agent,
            now,
            oidc,
            refresh,
            revocations,
        }
    }

    /// Shares a port of the agent `agent` of `dev`
    pub fn share_port(&mut self, port: i32, share_level: SharingLevel) {
        self.rows.workspace_agent_port_share.push(store::fleet::WorkspaceAgentPortShare {
            workspace_id: self.workspace,
            agent_name: "agent".to_owned(),
            port,
            share_level,
            protocol: Default::default(),
        });
    }

    pub fn cors(&mut self, cors: CorsBehavior) {
        for template in &mut self.rows.templates {
            template.cors_behavior = cors;
        }
    }

    pub async fn serve(self) -> World {
        self.serve_from(Database::new().await).await
    }

    pub async fn serve_from(self, database: Database) -> World {
        let statements = StatementCounter::default();
        let options = self.options.statements(statements.clone());
        let store = PgStore::connect(database.url(), &options).await.unwrap();
        match database.release() {
            Some(_) => database.load(Rows::of(&self.rows)).await.unwrap(),
            None => store.load(&self.rows).await.unwrap(),
        }
        let (now, shift) = (self.now, Arc::new(AtomicI64::new(0)));
        let clock: authd_http::Clock = Arc::new(clock(now, &shift));
        let store = Arc::new(store);
        let refreshed = Arc::clone(&store);
        let app = Service::over(&store, Identity::builtin(), Rules::default(), self.limits, clock);
        let app = match self.revocations {
            true => app.with_revocations(Arc::clone(&store)),
            false => app,
        };
        let app = app.with_apps(Arc::clone(&store), self.config);
        let app = match self.oidc {
            Some(oidc) => {
                app.with_oidc(Arc::clone(&store), oidc).with_act_audit(store, ActAudit::default())
            }
            None => app,
        };
        let app = app.with_token_refresh(refreshed, self.refresh.unwrap_or_default());
        app.maintain_keys(true).await.unwrap();
        let app = Arc::new(app);
        let served = Arc::clone(&app);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, served, ServerLimits::default(), std::future::pending()));
        let world = World {
            app,
            database,
            statements,
            url,
            client: Client::new(),
            people: self.people,
            proxy: self.proxy,
            agent: self.agent,
            workspace: self.workspace,
            now,
            shift,
        };
        // Proxies are loaded and connections open, so that tests can count statements.
        world.issue(json!({})).await;
        world
    }
}

/// A served control plane
pub struct World {
    pub app: Arc<Service>,
    pub database: Database,
    pub statements: StatementCounter,
    pub url: String,
    pub client: Client,
    pub people: HashMap<&'static str, Person>,
    pub proxy: ProxyToken,
    pub agent: Uuid,
    pub workspace: Uuid,
    now: SystemTime,
    shift: Arc<AtomicI64>,
}

impl World {
    pub async fn new() -> Self {
        Plan::new().serve().await
    }

    pub fn token(&self, name: &str) -> &str {
        self.people[name].token.reveal()
    }

    pub fn scoped(&self, name: &str) -> &str {
        self.people[name].scoped.reveal()
    }

    /// The server's clock
    pub fn clock(&self) -> impl Fn() -> SystemTime + Send + Sync + use<> {
        clock(self.now, &self.shift)
    }

    /// Moves the clock of the server only
    pub fn move_clock(&self, seconds: i64) {
        self.shift.fetch_add(seconds, Ordering::SeqCst);
    }

    /// Visits until the server has written what the use of a session changes
    ///
    /// It writes in the background, and leaves a write that fails to the next use.
    pub async fn use_until(
        &self,
        (host, status): (&str, u16),
        session: (&str, &str),
        (query, expected): (&str, &str),
    ) {
        let mut found = Vec::new();
        for _ in 0..20 {
            assert_eq!(self.visit(host, "/", &[session]).await.status, status);
            for _ in 0..100 {
                found = self.database.sql(query).await;
                if found == [expected] {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        panic!("{query}: {found:?}, not {expected}");
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

    /// Requests a token as a proxy does
    pub async fn issue(&self, envelope: Value) -> Answer {
        let proxy = self.proxy.reveal();
        let headers =
            [("coder-external-proxy-token", &*proxy), ("content-type", "application/json")];
        self.send("POST", ISSUE, &headers, &envelope.to_string()).await
    }

    /// Sends the check of a forward-auth proxy for a visit; without other headers that say what it
    /// is for, of a person who navigates
    pub async fn visit(&self, host: &str, uri: &str, headers: &[(&str, &str)]) -> Answer {
        let mut all = vec![
            ("x-forwarded-host", host),
            ("x-forwarded-uri", uri),
            ("x-forwarded-method", "GET"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-for", "203.0.113.7"),
        ];
        all.extend(headers);
        if !headers.iter().any(|(name, _)| ["accept", "sec-fetch-mode"].contains(name)) {
            all.push(("accept", "text/html"));
        }
        self.send("GET", TRAEFIK, &all, "").await
    }

    /// The rows of the log once everything is written, oldest first
    pub async fn rows(&self) -> Vec<Row> {
        for _ in 0..1_000 {
            let metrics = self.send("GET", "/metrics", &[], "").await;
            let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
            let idle = "authd_audit_queued_events 0";
            if metrics.lines().any(|line| line == idle) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let rows = self
            .database
            .sql(
                "select json_build_object('user', user_id, 'status', status_code, 'reason', reason,
                 'ip', host(ip), 'agent', user_agent, 'type', resource_type, 'id', resource_id,
                 'target', resource_target, 'fields', additional_fields, 'decision', decision, 'request', request_id)
                 from authd_audit_log where action = 'open' order by time, id",
            )
            .await;
        rows.iter().map(|row| Row(serde_json::from_str(row).unwrap())).collect()
    }

    /// Runs `work` and counts its statements, including the recorder's
    pub async fn counted<T>(&self, work: impl Future<Output = T>) -> (T, u64) {
        self.rows().await;
        let before = self.statements.get();
        let result = work.await;
        self.rows().await;
        (result, self.statements.get() - before)
    }
}

/// A clock that stands still at `now`, plus the shift in seconds
fn clock(now: SystemTime, shift: &Arc<AtomicI64>) -> impl Fn() -> SystemTime + Send + Sync + use<> {
    let shift = Arc::clone(shift);
    move || {
        let seconds = shift.load(Ordering::SeqCst);
        let by = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { now - by } else { now + by }
    }
}

/// A row of the log
#[derive(Debug)]
pub struct Row(pub Value);

impl Row {
    pub fn user(&self) -> Uuid {
        self.0["user"].as_str().unwrap().parse().unwrap()
    }

    pub fn status(&self) -> u64 {
        self.0["status"].as_u64().unwrap()
    }

    pub fn text(&self, field: &str) -> &str {
        self.0[field].as_str().unwrap_or_default()
    }
}

/// What a proxy sends for a visit by path
pub fn by_path(user: &str, workspace: &str, agent: &str, slug: &str, token: &str) -> Value {
    let joined =
        if agent.is_empty() { workspace.to_owned() } else { format!("{workspace}.{agent}") };
    json!({
        "app_request": {
            "access_method": "path",
            "base_path": format!("/@{user}/{joined}/apps/{slug}"),
            "username_or_id": user,
            "workspace_name_or_id": workspace,
            "agent_name_or_id": agent,
            "app_slug_or_port": slug,
        },
        "path_app_base_url": "https://sydney.coder.com",
        "app_hostname": "*.sydney.coder.com",
        "app_path": "/some/path/",
        "app_query": "a=1",
        "session_token": token,
        "client_ip": "198.51.100.4",
        "user_agent": "browser/1",
    })
}

/// What a proxy sends for a visit to an app's own host
pub fn by_subdomain(user: &str, workspace: &str, agent: &str, slug: &str, token: &str) -> Value {
    let mut envelope = by_path(user, workspace, agent, slug, token);
    envelope["app_request"]["access_method"] = "subdomain".into();
    envelope["app_request"]["base_path"] = "/".into();
    envelope
}

/// The claims of a token, unverified
pub fn claims(answer: &Answer) -> Value {
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    claims_of(body["signed_token_str"].as_str().unwrap())
}

pub fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    let padded = format!(
        "{}{}",
        payload.replace('-', "+").replace('_', "/"),
        &"==="[..(4 - payload.len() % 4) % 4]
    );
    serde_json::from_slice(&openssl::base64::decode_block(&padded).unwrap()).unwrap()
}

pub fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

/// The page without the reference of its request and the time
pub fn page(answer: &Answer) -> String {
    let page = text(answer);
    let Some((before, rest)) = page.split_once("<p>Reference ") else { return page };
    format!("{before}{}", rest.split_once("</p>").unwrap().1)
}

pub fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// The target of a redirect
pub fn location(answer: &Answer) -> HttpUrl {
    header(answer, "location").parse().unwrap()
}

/// The parameters of a query, decoded
pub fn query(url: &HttpUrl) -> HashMap<String, String> {
    form_urlencoded::parse(url.query().unwrap_or_default().as_bytes()).into_owned().collect()
}

/// The name and value of each cookie that an answer sets, with its whole text
pub fn set_cookies(answer: &Answer) -> Vec<(String, String, String)> {
    let lines = answer.headers.get_all(SET_COOKIE).iter();
    let cookie = |line: &hyper::header::HeaderValue| {
        let line = line.to_str().unwrap();
        let (name, rest) = line.split_once('=').unwrap();
        let value = rest.split(';').next().unwrap();
        (name.to_owned(), value.to_owned(), line.to_owned())
    };
    lines.map(cookie).collect()
}
