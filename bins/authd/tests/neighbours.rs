//! Commands and routes that may change a control plane's tables, and those that refuse to

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod common;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agent_auth::Rules;
use authd::{ServerLimits, serve};
use authd_http::{AppsConfig, Limits, Service};
use bytes::Bytes;
use common::command::on as authd;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderName};
use identity_fetch::Identity;
use store::fleet::Fleet;
use store::{Migrations, Options, PgStore};
use testkit::net::Client;
use testkit::{Database, Release, Rows};
use tokio::net::TcpListener;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn now() -> SystemTime {
    NOW + Duration::from_secs(1_795_219_200)
}

/// Creates a control plane with an owner, a proxy and keys; returns the owner's session token too
async fn control_plane() -> (Database, String) {
    let database = Database::of_release(Release::NEWEST).await;
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let root = fleet.user("root", acme);
    fleet.users[0].rbac_roles = vec!["owner".to_owned()];
    let token = fleet.session(root).reveal().to_owned();
    fleet.proxy("sydney", "https://sydney.example.com", "");
    database.load(Rows::of(&fleet)).await.unwrap();
    let (status, _, stderr) = authd(&database, &["keys", "rotate"]).await;
    assert_eq!(status, Some(0), "due keys are rotated beside a control plane: {stderr}");
    (database, token)
}

const STATE: &str = "SELECT rbac_roles::text FROM users
    UNION ALL SELECT encode(token_hashed_secret, 'hex') FROM workspace_proxies
    UNION ALL SELECT feature || ' ' || sequence || ' ' || coalesce(secret, 'cleared') FROM crypto_keys";

/// A document that leaves out the roles of `root` and contains its id in the database
async fn demotion(database: &Database) -> String {
    let root = database.sql("SELECT id FROM users").await.remove(0);
    format!(r#"{{"users": [{{"id": "{root}", "username": "root"}}]}}"#)
}

#[tokio::test]
async fn commands_name_what_they_would_change_and_change_nothing() {
    let (database, _) = control_plane().await;
    let before = database.sql(STATE).await;
    let file = std::env::temp_dir().join(format!("authd-{}.json", uuid::Uuid::new_v4()));
    std::fs::write(&file, demotion(&database).await).unwrap();
    let file_name = file.to_str().unwrap();
    let commands: [(&[&str], &[&str]); 3] = [
        (&["import", file_name], &["1 row of users (root)"]),
        (
            &["token", "create", "--proxy", "sydney"],
            &["the token of the proxy", "workspace_proxies"],
        ),
        (
            &["keys", "rotate", "--compromised"],
            &["workspace_apps_token 1", "workspace_apps_api_key 1", "crypto_keys"],
        ),
    ];
    for (command, named) in commands {
        let (status, printed, stderr) = authd(&database, command).await;
        assert_eq!((status, &*printed), (Some(1), ""), "{command:?}: {stderr}");
        assert!(stderr.contains("`--into-control-plane`"), "{command:?}: {stderr}");
        for name in named {
            assert!(stderr.contains(name), "{command:?}: {stderr}");
        }
        assert_eq!(database.sql(STATE).await, before, "{command:?}");
    }
    let (status, printed, _) = authd(&database, &["import", file_name, "--dry-run"]).await;
    assert_eq!(status, Some(0));
    assert!(printed.starts_with("~ users root: rbac_roles"), "{printed}");
    for (command, _) in commands {
        let allowed = [command, &["--into-control-plane"]].concat();
        let (status, _, stderr) = authd(&database, &allowed).await;
        assert_eq!(status, Some(0), "{command:?}: {stderr}");
    }
    let after = database.sql(STATE).await;
    assert!(before.iter().all(|row| !after.contains(row)), "{before:?} {after:?}");
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn commands_change_a_database_of_authd_alone_without_the_flag() {
    let database = Database::new().await;
    let mut fleet = Fleet::default();
    fleet.organization("acme");
    fleet.proxy("sydney", "https://sydney.example.com", "");
    database.store().await.load(&fleet).await.unwrap();
    for command in
        [&["token", "create", "--proxy", "sydney"][..], &["keys", "rotate", "--compromised"]]
    {
        let (status, _, stderr) = authd(&database, command).await;
        assert_eq!(status, Some(0), "{command:?}: {stderr}");
    }
}

#[tokio::test]
async fn the_route_imports_into_a_control_plane_only_if_that_is_allowed() {
    let (database, token) = control_plane().await;
    let before = database.sql(STATE).await;
    let document = demotion(&database).await;
    for (allowed, query, status) in
        [(false, "", 403), (false, "?dry_run=true", 200), (true, "", 200)]
    {
        let options = Options::default().into_control_plane(allowed);
        let store = PgStore::connect(database.url(), &options).await.unwrap();
        let store = Arc::new(store);
        let app = Service::over(
            &store,
            Identity::builtin(),
            Rules::default(),
            Limits::default(),
            Arc::new(now),
        )
        .with_apps(store, AppsConfig::new("https://coder.example.com".parse().unwrap()));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/api/v2/authd/import{query}", listener.local_addr().unwrap());
        tokio::spawn(serve(
            listener,
            Arc::new(app),
            ServerLimits::default(),
            std::future::pending(),
        ));
        let headers = [
            (CONTENT_TYPE, "application/json"),
            (HeaderName::from_static("coder-session-token"), &*token),
        ];
        let body = Bytes::from(document.clone());
        let answer = Client::new().send(Method::POST, &url, &headers, body).await.unwrap();
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        assert_eq!(answer.status, status, "{text}");
        if status == 403 {
            assert!(text.contains("The tables are a control plane's."), "{text}");
            assert!(text.contains("1 row of users (root)"), "{text}");
        }
        assert_eq!(database.sql(STATE).await == before, !allowed);
    }
}

#[tokio::test]
async fn migrate_reports_its_changes_and_can_remove_them() {
    let database = Database::empty().await;
    database.sql("CREATE TABLE users (id uuid PRIMARY KEY, theme text)").await;
    let (status, printed, _) = authd(&database, &["migrate", "--owned-only"]).await;
    assert_eq!(status, Some(0));
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.first(), Some(&"applied 2026-11-21-000900_audit_sessions"));
    assert_eq!(lines.last(), Some(&"the tables are up to date"));
    let (_, printed, _) = authd(&database, &["migrate", "--owned-only"]).await;
    assert_eq!(printed, "the tables were up to date\n");

    database
        .sql(
            "CREATE TABLE __diesel_schema_migrations (version text PRIMARY KEY, run_on timestamp);
             INSERT INTO __diesel_schema_migrations SELECT version, run_on FROM authd_schema_migrations;
             DROP TABLE authd_schema_migrations",
        )
        .await;
    let (_, printed, _) = authd(&database, &["migrate", "--owned-only"]).await;
    assert!(printed.starts_with("moved the record of "), "{printed}");
    assert!(printed.contains("from __diesel_schema_migrations, which was dropped\n"), "{printed}");

    let (status, printed, stderr) = authd(&database, &["migrate", "--remove-owned"]).await;
    assert_eq!(status, Some(2), "{printed}");
    assert!(printed.contains("would remove: table authd_audit_log (0 rows)\n"), "{printed}");
    assert!(stderr.contains("nothing was removed; `--yes` removes it"), "{stderr}");
    let (status, printed, stderr) = authd(&database, &["migrate", "--remove-owned", "--yes"]).await;
    assert_eq!(status, Some(0), "{stderr}");
    assert!(printed.contains("removed: table authd_audit_log (0 rows)\n"), "{printed}");
    assert!(printed.contains("removed: type authd_audit_action\n"), "{printed}");
    assert!(!printed.contains("left"), "{printed}");
    let left = database.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").await;
    assert_eq!(left, ["users"]);
    let (status, printed, _) = authd(&database, &["migrate", "--remove-owned"]).await;
    assert_eq!((status, &*printed), (Some(0), "authd has no tables here\n"));

    let (status, _, stderr) = authd(&database, &["migrate", "--yes"]).await;
    assert_eq!(status, Some(2));
    assert!(stderr.contains("--remove-owned"), "{stderr}");
}

#[tokio::test]
async fn nothing_is_removed_from_a_database_of_authd_alone() {
    let database = Database::new().await;
    for flags in [&["migrate", "--remove-owned"][..], &["migrate", "--remove-owned", "--yes"]] {
        let (status, printed, stderr) = authd(&database, flags).await;
        assert_eq!((status, &*printed), (Some(1), ""));
        assert!(stderr.contains("authd stands alone in this database"), "{stderr}");
    }
    assert_eq!(database.store().await.migrate(Migrations::All).await.unwrap().applied, [""; 0]);
}
