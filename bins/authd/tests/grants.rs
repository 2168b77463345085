//! authd as a role with exactly the rights that `authd grants` prints

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agent_auth::Rules;
use app_audit::{Journal, Window};
use app_authz::credential::SessionToken;
use app_authz::proxy::ProxyToken;
use authd::{ServerLimits, serve};
use authd_http::{AppsConfig, Limits, Service, TrustedProxies};
use bytes::Bytes;
use common::{REGION, SIGN_IN, proof, status_and_message};
use hyper::Method;
use hyper::header::HeaderName;
use identity_fetch::Identity;
use identity_verify::test_util::aws::Cloud;
use identity_verify::{Policy, aws};
use store::fleet::{Fleet, KeyScope, Transition};
use store::inspection::{Asked, Part};
use store::{Options, PgStore};
use testkit::net::{Answer, Client};
use testkit::{Database, Release, Rows};
use tokio::net::TcpListener;
use uuid::Uuid;

const INSTANCE: &str = "i-0123456789abcdef0";
const HOST: &str = "code--main--dev--alice.apps.example.test";

fn everything() -> Asked {
    Asked::with([Part::Apps, Part::KeyRotation, Part::AuditRetention, Part::AuditMirror])
}

/// A control plane with rows, and a role without any right
struct Deployment {
    database: Database,
    role: String,
    owner: SessionToken,
    alice: SessionToken,
    proxy: ProxyToken,
    now: SystemTime,
}

impl Deployment {
    async fn new(release: Release) -> Self {
        let database = Database::of_release(release).await;
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_219_200);
        let mut fleet = Fleet::default();
        let acme = fleet.organization("acme");
        let alice = fleet.user("alice", acme);
        let root = fleet.user("root", acme);
        fleet.users[1].rbac_roles = vec!["owner".to_owned()];
        let (alice, owner) = (fleet.session(alice), fleet.session(root));
        for key in &mut fleet.api_keys {
            key.last_used = (now - Duration::from_secs(86_400)).into();
        }
        let workspace = fleet.workspace(fleet.users[0].id, "dev");
        let build = fleet.build(workspace, Transition::Start);
        let agent = fleet.agent(build.resource, "main", INSTANCE).id;
        fleet.app(agent, "code");
        for row in &mut fleet.workspace_agents {
            row.first_connected_at = Some(now.into());
            row.last_connected_at = Some(now.into());
        }
        let proxy = fleet.proxy("sydney", "https://sydney.example.test", "*.sydney.example.test");
        assert_eq!(fleet.api_keys[0].scopes, [KeyScope::all()]);
        database.load(Rows::of(&fleet)).await.unwrap();
        let role = format!("Role \" {}", Uuid::new_v4().simple());
        database.sql(&format!("CREATE ROLE {} LOGIN", quoted(&role))).await;
        Self { database, role, owner, alice, proxy, now }
    }

    /// What `authd grants` prints for the role, with these settings
    async fn grants(&self, settings: &[&str]) -> String {
        let (status, printed, stderr) =
            authd(self.database.url(), &[&["grants", "--role", &self.role], settings].concat())
                .await;
        assert_eq!(status, Some(0), "{stderr}");
        printed
    }

    fn role_url(&self) -> String {
        let role = form_urlencoded::byte_serialize(self.role.as_bytes()).collect::<String>();
        self.database.url().replace("user=authd", &format!("user={}", role.replace('+', "%20")))
    }

    async fn store(&self) -> PgStore {
        let options = Options::default().mirror_audit(true);
        PgStore::connect(&self.role_url(), &options).await.unwrap()
    }

    /// Waits until a query has this answer, even on a slow machine
    async fn until(&self, query: &str, expected: &str) {
        for _ in 0..10 {
            if self.comes(query, expected).await {
                return;
            }
        }
        panic!("{query}: {:?}", self.database.sql(query).await);
    }

    /// Whether a query returns that within about a second
    async fn comes(&self, query: &str, expected: &str) -> bool {
        for _ in 0..100 {
            if self.database.sql(query).await == [expected] {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

async fn authd(url: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
    command.args(args).args(["--log-level", "error", "--database-url", url]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let Output { status, stdout, stderr } = output;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

const APPS: [&str; 5] = [
    "--access-url",
    "https://coder.example.test",
    "--audit-retention-days",
    "30",
    "--mirror-audit",
];

/// A server and a client
struct Served {
    url: String,
    client: Client,
}

impl Served {
    async fn with(app: Service) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve(
            listener,
            Arc::new(app),
            ServerLimits::default(),
            std::future::pending(),
        ));
        Self { url, client: Client::new() }
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        let headers: Vec<(HeaderName, &str)> =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), *value)).collect();
        self.client
            .send(method, &format!("{}{path}", self.url), &headers, Bytes::new())
            .await
            .unwrap()
    }

    async fn visit(&self, token: &str) -> Answer {
        let headers = [
            ("x-forwarded-host", HOST),
            ("x-forwarded-uri", "/"),
            ("x-forwarded-method", "GET"),
            ("x-forwarded-proto", "https"),
            ("accept", "text/html"),
            ("coder-session-token", token),
        ];
        self.ask(Method::GET, "/api/v2/forward-auth/traefik", &headers).await
    }
}

fn app(store: PgStore, cloud: &Cloud, apps: bool, now: SystemTime) -> Service {
    let mut keys = aws::Keys::builtin();
    keys.add_pem(cloud.region(), cloud.public_key_pem().as_bytes()).unwrap();
    let identity = Identity::builtin().aws(aws::Verifier::new(keys, Policy::default()));
    let store = Arc::new(store);
    let app =
        Service::over(&store, identity, Rules::default(), Limits::default(), Arc::new(move || now));
    if !apps {
        return app;
    }
    let mut config = AppsConfig::new("https://coder.example.test".parse().unwrap());
    config.app_hosts = Some("*.apps.example.test".parse().unwrap());
    config.trusted =
        TrustedProxies { origins: vec!["127.0.0.1".parse().unwrap()], ..TrustedProxies::NONE };
    app.with_apps(store, config)
}

#[tokio::test]
async fn everything_works_with_the_rights_that_are_printed_on_every_release() {
    let cloud = Cloud::generate(REGION);
    for (n, release) in Release::FIRST_WITH_APPS.and_later().iter().enumerate() {
        let deployment = Deployment::new(*release).await;
        let grants = deployment.grants(&APPS).await;
        deployment.database.sql(&grants).await;
        // The rights are the same with a table for each month of the audit log.
        if n % 2 == 0 {
            deployment.database.store().await.partition_audit_log().await.unwrap();
        }

        let store = deployment.store().await;
        let inspection = store.inspect(&everything(), &|| deployment.now).await.unwrap();
        for task in &inspection.tasks {
            assert_eq!(task.lacks, [], "{release}: {}\n{grants}", task.name);
        }
        assert!(inspection.tables.migration.is_some() && inspection.tables.pending.is_some());

        let app = app(store, &cloud, true, deployment.now);
        app.maintain_keys(true).await.unwrap();
        let served = Served::with(app).await;
        let body = proof(&cloud, INSTANCE, None).to_string();
        let signed_in = served.client.post_json(&format!("{}{SIGN_IN}", served.url), body).await;
        assert_eq!(status_and_message(&signed_in.unwrap()).0, 200, "{release}");

        let alice = deployment.alice.reveal();
        let visit = served.visit(alice).await;
        assert_eq!(visit.status, 200, "{release}: {:?}", visit.body);
        let stranger = served.visit("").await;
        assert_eq!(stranger.status, 303, "{release}");
        let id = deployment.alice.id();
        let used = format!("SELECT last_used > created_at FROM api_keys WHERE id = '{id}'");
        let used = used.replace("created_at", "to_timestamp(1795219000)");
        // The server leaves a write that fails to the next use.
        let mut more = 0..20;
        while !deployment.comes(&used, "t").await {
            assert!(more.next().is_some(), "{release}: the use of a session was not written");
            assert_eq!(served.visit(alice).await.status, 200, "{release}");
        }
        deployment.until("SELECT count(*) FROM authd_audit_log", "2").await;

        let cookie = format!("coder_session_token={alice}");
        let by_cookie = [("cookie", &*cookie)];
        let to = "/api/v2/applications/auth-redirect?redirect_uri=https%3A%2F%2Fcode--main--dev--alice.\
                  apps.example.test%2F";
        let redirected = served.ask(Method::GET, to, &by_cookie).await;
        assert_eq!(redirected.status, 303, "{release}: {:?}", redirected.body);
        deployment.until("SELECT count(*) FROM api_keys", "3").await;

        let proxy = deployment.proxy.reveal();
        let keys = "/api/v2/workspaceproxies/me/crypto-keys?feature=workspace_apps_token";
        let keys = served.ask(Method::GET, keys, &[("coder-external-proxy-token", &proxy)]).await;
        assert_eq!(keys.status, 200, "{release}: {:?}", keys.body);

        let root = [("coder-session-token", deployment.owner.reveal())];
        let audit = served.ask(Method::GET, "/api/v2/audit", &root).await;
        assert_eq!(audit.status, 200, "{release}: {:?}", audit.body);
        let home = served.ask(Method::GET, "/", &by_cookie).await;
        assert_eq!(home.status, 200, "{release}: {:?}", home.body);

        for users in ["[\"root\"]", "[]"] {
            let list = format!(
                r#"{{"workspace": "alice/dev", "app": "code", "users": {users}, "groups": []}}"#
            );
            let headers = [(HeaderName::from_static("coder-session-token"), alice)];
            let url = format!("{}/api/v2/authd/shares", served.url);
            let shared = served.client.send(Method::PUT, &url, &headers, list.into()).await;
            let shared = shared.unwrap();
            assert_eq!(shared.status, 200, "{release}: {:?}", shared.body);
        }
        deployment.until("SELECT count(*) FROM authd_acts WHERE kind = 'share_change'", "2").await;

        let out = served
            .ask(Method::POST, "/api/v2/users/logout", &[("coder-session-token", alice)])
            .await;
        assert_eq!(out.status, 200, "{release}: {:?}", out.body);
        deployment.until("SELECT count(*) FROM api_keys", "1").await;

        // Housekeeping, and a rotation by an operator.
        let store = deployment.store().await;
        let ended =
            Window::default().stale(Duration::from_secs(1)).touch(Duration::ZERO).close(true);
        deployment
            .database
            .sql(
                "UPDATE authd_audit_sessions SET updated_at = now() - interval '1 hour';
                 UPDATE authd_audit_log SET \"time\" = now() - interval '100 days' WHERE status_code = 303",
            )
            .await;
        assert_eq!(store.end_sessions(ended, 100).await.unwrap(), 2, "{release}");
        store.prepare().await.unwrap();
        let keep = Duration::from_secs(30 * 86_400);
        assert_eq!(store.forget(keep, 100).await.unwrap(), 1, "{release}");
        let (status, _, stderr) =
            authd(&deployment.role_url(), &["keys", "rotate", "--force"]).await;
        assert_eq!(status, Some(0), "{release}: {stderr}");
    }
}

#[tokio::test]
async fn agents_sign_in_with_the_rights_that_are_printed_for_sign_in_alone() {
    let cloud = Cloud::generate(REGION);
    for release in Release::ALL {
        let deployment = Deployment::new(*release).await;
        let grants = deployment.grants(&[]).await;
        assert!(!grants.contains("api_keys") && !grants.contains("authd_audit"), "{grants}");
        let mut others = grants.split(';').filter(|statement| !statement.contains("authd_acts"));
        assert!(others.all(|it| !it.contains("INSERT") && !it.contains("UPDATE")), "{grants}");
        deployment.database.sql(&grants).await;
        let served =
            Served::with(app(deployment.store().await, &cloud, false, deployment.now)).await;
        let body = proof(&cloud, INSTANCE, None).to_string();
        let signed_in = served.client.post_json(&format!("{}{SIGN_IN}", served.url), body).await;
        assert_eq!(status_and_message(&signed_in.unwrap()).0, 200, "{release}");
    }
}

#[tokio::test]
async fn tokens_are_created_listed_and_revoked_with_the_rights_for_commands() {
    for release in [Release::FIRST_WITH_APPS, Release::NEWEST] {
        let deployment = Deployment::new(release).await;
        deployment.database.sql(&deployment.grants(&["--commands"]).await).await;
        let url = deployment.role_url();
        for args in [
            &["token", "create", "--user", "alice"][..],
            &["token", "list", "--user", "alice"],
            &["token", "create", "--proxy", "sydney", "--into-control-plane"],
            &["token", "revoke", deployment.alice.id()],
            &["audit", "list"],
        ] {
            let (status, _, stderr) = authd(&url, args).await;
            assert_eq!(status, Some(0), "{release} {args:?}: {stderr}");
        }
        // Without the rights for commands, sessions cannot be listed.
        let other = Deployment::new(release).await;
        other.database.sql(&other.grants(&APPS).await).await;
        let (status, _, stderr) = authd(&other.role_url(), &["token", "list"]).await;
        assert_eq!(status, Some(1), "{stderr}");
    }
}

/// The rights in the statements: for each, the statements that revoke and grant it, and the text
/// that names it
fn rights(grants: &str) -> Vec<(String, String, String)> {
    let mut rights = Vec::new();
    let grants = grants.replace(",\n      ", ", ");
    for line in grants.lines().filter(|line| line.contains(" ON \"public\".")) {
        let (granted, rest) = line.strip_prefix("GRANT ").unwrap().split_once(" ON ").unwrap();
        let table = rest.split(" TO ").next().unwrap().strip_prefix("\"public\".").unwrap();
        let to = rest.split_once(" TO ").unwrap().1;
        for part in granted.split("), ") {
            let Some((right, columns)) = part.split_once(" (") else { continue };
            for column in columns.trim_end_matches(')').split(", ") {
                rights.push((
                    format!("REVOKE {right} ({column}) ON {table} FROM {to}"),
                    format!("GRANT {right} ({column}) ON {table} TO {to}"),
                    format!("{right} on {table} ({column})"),
                ));
            }
        }
    }
    rights
}

#[tokio::test]
async fn each_right_that_is_left_out_is_named() {
    for release in [Release::FIRST_WITH_APPS, Release::V2_28, Release::NEWEST] {
        let deployment = Deployment::new(release).await;
        let grants = deployment.grants(&APPS).await;
        deployment.database.sql(&grants).await;
        let store = deployment.store().await;
        let rights = rights(&grants);
        assert!(rights.len() > 150, "{release}: {} rights", rights.len());
        for (revoke, grant, named) in &rights {
            // These are optional: authd reads them if it may.
            if named.contains("schema_migrations") {
                continue;
            }
            deployment.database.sql(revoke).await;
            let inspection = store.inspect(&everything(), &|| deployment.now).await.unwrap();
            let lacks: Vec<String> = inspection
                .tasks
                .iter()
                .flat_map(|task| &task.lacks)
                .map(ToString::to_string)
                .collect();
            assert!(
                !lacks.is_empty() && lacks.iter().all(|lack| lack == named),
                "{named}: {lacks:?}"
            );
            deployment.database.sql(grant).await;
        }
    }
}

#[tokio::test]
async fn a_column_that_is_left_out_is_named_by_check_and_stops_serve() {
    let deployment = Deployment::new(Release::NEWEST).await;
    let grants = deployment.grants(&APPS).await;
    let url = deployment.role_url();
    let role = quoted(&deployment.role);
    for (without, named) in [
        ("SELECT (user_acl) ON workspaces", "SELECT on workspaces (user_acl)"),
        ("UPDATE (last_used) ON api_keys", "UPDATE on api_keys (last_used)"),
        ("DELETE ON api_keys", "DELETE on api_keys"),
        ("INSERT (secret) ON crypto_keys", "INSERT on crypto_keys (secret)"),
    ] {
        deployment.database.sql(&grants).await;
        let (status, printed, stderr) = authd(&url, &[&["check"], &APPS[..]].concat()).await;
        assert_eq!(status, Some(0), "{printed}{stderr}");
        deployment.database.sql(&format!("REVOKE {without} FROM {role}")).await;
        let (status, printed, stderr) = authd(&url, &[&["check"], &APPS[..]].concat()).await;
        assert_eq!(status, Some(1), "{without}: {printed}");
        assert!(printed.contains(named) && stderr.contains(named), "{without}: {stderr}");
        assert!(stderr.contains("`authd grants` prints the statements"), "{stderr}");
        let serve = [&["serve", "--listen", "127.0.0.1:0"], &APPS[..]].concat();
        let (status, _, refused) = authd(&url, &serve).await;
        assert_eq!(status, Some(1), "{without}: {refused}");
        assert_eq!(
            refused.lines().last(),
            stderr.lines().last(),
            "serve reports the same error as check"
        );
    }
}
