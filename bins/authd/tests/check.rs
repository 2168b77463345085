//! `authd check`, and the same words at the start of `authd serve`

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::net::Client;
use testkit::{Database, Release};

async fn authd(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authd"));
    command.args(args);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let Output { status, stdout, stderr } = output;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

async fn check(database: &Database, args: &[&str]) -> (Option<i32>, String, String) {
    authd(&[&["check", "--database-url", database.url()], args].concat()).await
}

const APPS: [&str; 5] = [
    "--access-url",
    "https://coder.example.com",
    "--secure-auth-cookie",
    "--proxy-trusted-origins",
    "127.0.0.1",
];

/// The line of the table about this
fn line<'a>(table: &'a str, subject: &str) -> &'a str {
    let of = |line: &&str| line.get(9..).is_some_and(|rest| rest.starts_with(subject));
    table.lines().find(of).unwrap_or_else(|| panic!("no line about {subject} in\n{table}"))
}

#[tokio::test]
async fn a_deployment_that_is_in_order_has_no_errors() {
    for release in Release::FIRST_WITH_APPS.and_later() {
        let database = Database::of_release(*release).await;
        let (status, table, said) = check(&database, &APPS).await;
        assert_eq!((status, &*said), (Some(0), ""), "{release}: {table}");
        assert!(table.starts_with("STATE    WHAT"), "{table}");
        assert!(!table.contains("\nerror"), "{table}");
        let told = line(&table, "control plane");
        let name = if *release == Release::NEWEST { "July 2026" } else { release.name() };
        assert!(told.contains(name) && told.contains("tested"), "{release}: {told}");
        assert!(line(&table, "the holder of a session").contains("nothing is missing"));
        let index = line(&table, "index for sign-in");
        assert_eq!(
            index.contains("CREATE INDEX CONCURRENTLY"),
            *release < Release::V2_29,
            "{index}"
        );
    }
}

#[tokio::test]
async fn a_machine_reads_the_same_as_json() {
    let database = Database::of_release(Release::NEWEST).await;
    let (status, printed, _) = check(&database, &[&APPS[..], &["--json"]].concat()).await;
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((status, &report["ok"]), (Some(0), &true.into()), "{printed}");
    assert_eq!(report["database"]["tables"]["migration"]["number"], 551);
    assert_eq!(report["database"]["tables"]["owner"], "control_plane");
    assert_eq!(report["database"]["tables"]["generation"], "v2.35");
    assert_eq!(report["tested"][0], serde_json::json!({"release": "v2.20", "migration": 296}));
    let states = report["findings"].as_array().unwrap().iter().map(|finding| &finding["state"]);
    assert!(states.clone().all(|state| state == "ok" || state == "warning"), "{printed}");

    database.sql("DROP TABLE authd_audit_log").await;
    let (status, printed, said) = check(&database, &[&APPS[..], &["--json"]].concat()).await;
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((status, &report["ok"]), (Some(1), &false.into()));
    let lacks = &report["database"]["tasks"][11]["lacks"][0];
    assert_eq!(*lacks, serde_json::json!({"missing": "table", "table": "authd_audit_log"}));
    assert!(
        said.starts_with("authd: the record of visits: missing: table authd_audit_log"),
        "{said}"
    );
    assert!(said.contains("run `authd migrate --owned-only`"), "{said}");
    assert_eq!(said.lines().count(), 1);
}

/// What is wrong, with the word that has to be said of it
#[tokio::test]
async fn what_is_wrong_is_said_with_what_to_do() {
    for (release, damage, subject, words) in [
        (Release::V2_22, "", "an app by name", "app access begins with v2.24"),
        (
            Release::NEWEST,
            "ALTER TABLE workspaces RENAME dormant_at TO sleeping_since",
            "an app by name",
            "missing: column workspaces.dormant_at; the tables are otherwise those of v2.35",
        ),
        (
            Release::NEWEST,
            "CREATE SCHEMA coder; ALTER TABLE users SET SCHEMA coder",
            "the holder of a session",
            "`users` is in the schema `coder`, and only `public` are searched",
        ),
        (
            Release::NEWEST,
            "DROP TABLE workspace_agents CASCADE",
            "the agents of an instance",
            "is this the control plane's database?",
        ),
        (
            Release::NEWEST,
            "INSERT INTO crypto_keys (feature, sequence, secret, starts_at)
             VALUES ('workspace_apps_token', 1, 'zz', now())",
            "keys workspace_apps_token",
            "none can be read: a row is not understood",
        ),
    ] {
        let database = Database::of_release(release).await;
        database.sql(damage).await;
        let (status, table, said) = check(&database, &APPS).await;
        assert_eq!(status, Some(1), "{damage}: {table}");
        let told = line(&table, subject);
        assert!(told.starts_with("error") && told.contains(words), "{damage}: {told}");
        assert!(said.starts_with("authd: ") && said.lines().count() == 1, "{said}");
    }
}

#[tokio::test]
async fn what_may_be_meant_otherwise_is_a_warning() {
    for (damage, subject, words) in [
        (
            "UPDATE schema_migrations SET dirty = true",
            "control plane",
            "is in progress or has failed",
        ),
        (
            "UPDATE schema_migrations SET version = 600",
            "control plane",
            "newer than July 2026 (551)",
        ),
        ("UPDATE schema_migrations SET version = 200", "control plane", "older than every"),
        ("DROP TABLE schema_migrations", "control plane", "release is not known"),
        (
            "DELETE FROM authd_schema_migrations WHERE version LIKE '%1400'",
            "migrations",
            "1 has not been applied: run `authd migrate --owned-only`",
        ),
        (
            "UPDATE pg_index SET indisvalid = false WHERE indrelid = 'workspace_agents'::regclass
             AND indexrelid::regclass::text LIKE '%instance%'",
            "index for sign-in",
            "REINDEX INDEX CONCURRENTLY",
        ),
    ] {
        let database = Database::of_release(Release::NEWEST).await;
        database.sql(damage).await;
        let (status, table, _) = check(&database, &APPS).await;
        assert_eq!(status, Some(0), "{damage}: {table}");
        assert!(line(&table, subject).contains(words), "{damage}: {table}");
    }
}

/// Keys in the clear can be read, and the next one could not be made
#[tokio::test]
async fn a_control_plane_that_encrypts_is_named_with_the_key_that_is_missing() {
    let database = Database::of_release(Release::NEWEST).await;
    database
        .sql(
            "INSERT INTO dbcrypt_keys (number, active_key_digest, test) VALUES (1, '39d228e', '');
             INSERT INTO crypto_keys (feature, sequence, secret, secret_key_id, starts_at) VALUES
                 ('workspace_apps_token', 1, repeat('ab', 64), NULL, now()),
                 ('workspace_apps_token', 2, 'sealed', '39d228e', now()),
                 ('workspace_apps_api_key', 1, 'sealed', '39d228e', now())",
        )
        .await;
    let (status, table, said) = check(&database, &APPS).await;
    assert_eq!(status, Some(1), "{table}");
    let encryption = line(&table, "encryption");
    assert!(encryption.contains("not among --external-token-encryption-keys"), "{encryption}");
    assert!(encryption.contains("`39d228e`") && encryption.starts_with("warning"), "{encryption}");
    let tokens = line(&table, "keys workspace_apps_token");
    assert!(tokens.starts_with("warning") && tokens.contains("1 can be read"), "{tokens}");
    let seals = line(&table, "keys workspace_apps_api_key");
    assert!(seals.starts_with("error") && seals.contains("39d228e"), "{seals}");
    assert!(said.contains("none can be read"), "{said}");
}

#[tokio::test]
async fn settings_are_checked_before_there_is_a_database() {
    let memory = ["check", "--store", "memory"];
    let (status, table, said) = authd(
        &[&memory[..], &["--access-url", "http://a.example", "--secure-auth-cookie"]].concat(),
    )
    .await;
    assert_eq!(status, Some(1), "{table}");
    assert!(said.starts_with("authd: secure_auth_cookie: browsers drop Secure cookies"), "{said}");

    // A setting that is refused while it is read is reported in the same way.
    for (args, words) in [
        (&["--access-url", "a.example"][..], "`access_url`"),
        (
            &["--access-url", "https://a.example", "--samesite-auth-cookie", "none"],
            "`samesite_auth_cookie`",
        ),
        (&["--config", "/nonexistent.toml"], "/nonexistent.toml"),
    ] {
        let (status, table, said) = authd(&[&["check"], args].concat()).await;
        assert_eq!(status, Some(1), "{args:?}: {said}");
        assert!(line(&table, "settings").contains(words) && said.contains(words), "{table}{said}");
    }

    let (status, table, said) =
        authd(&[&memory[..], &["--fetch-google-keys", "off"]].concat()).await;
    assert_eq!((status, &*said), (Some(0), ""), "{table}");
    assert!(line(&table, "fetch_google_keys").starts_with("warning"), "{table}");

    let trust = std::env::temp_dir().join(format!("authd-check-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(trust.join("aws")).unwrap();
    std::fs::write(trust.join("aws/eu-west-3.txt"), "").unwrap();
    let (status, table, _) =
        authd(&[&memory[..], &["--trust-dir", trust.to_str().unwrap()]].concat()).await;
    assert_eq!(status, Some(1));
    assert!(line(&table, "trust_dir").contains("eu-west-3.txt"), "{table}");
    std::fs::remove_dir_all(trust).unwrap();
}

#[tokio::test]
async fn no_database_is_made_by_looking_for_one() {
    let folder: PathBuf =
        std::env::temp_dir().join(format!("authd-check-{}", uuid::Uuid::new_v4()));
    let (status, table, _) = authd(&["check", "--data-dir", folder.to_str().unwrap()]).await;
    assert_eq!(status, Some(0), "{table}");
    assert!(line(&table, "database").contains("`authd serve` creates one there"), "{table}");
    assert!(!folder.exists());

    let (status, table, said) =
        authd(&["check", "--database-url", "postgresql://127.0.0.1:1/x"]).await;
    assert_eq!(status, Some(1), "{table}");
    assert!(said.starts_with("authd: database: ") && said.contains("unavailable"), "{said}");
}

/// A mistake stops the start; an upgrade that is under way does not
#[tokio::test]
async fn serve_says_what_check_says() {
    let database = Database::of_release(Release::NEWEST).await;
    database.sql("ALTER TABLE crypto_keys RENAME TO elsewhere").await;
    let (_, _, said) = check(&database, &APPS).await;
    let serve = ["serve", "--listen", "127.0.0.1:0", "--database-url", database.url()];
    let (status, _, refused) = authd(&[&serve[..], &APPS].concat()).await;
    assert_eq!(status, Some(1), "{refused}");
    assert_eq!(refused.lines().last(), said.lines().last());
    database.sql("ALTER TABLE elsewhere RENAME TO crypto_keys").await;

    database.sql("ALTER TABLE workspaces RENAME dormant_at TO sleeping_since").await;
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listen = address.to_string();
    let serve = ["serve", "--listen", &listen, "--database-url", database.url()];
    let log = std::env::temp_dir().join(format!("authd-check-{}.log", uuid::Uuid::new_v4()));
    let mut process = tokio::process::Command::new(env!("CARGO_BIN_EXE_authd"))
        .args([&serve[..], &APPS].concat())
        .stderr(Stdio::from(std::fs::File::create(&log).unwrap()))
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let client = Client::new();
    let ready = |status: u16| {
        let (client, url) = (client.clone(), format!("http://{address}/readyz"));
        async move {
            for _ in 0..1_000 {
                if let Ok(answer) = client.get(&url).await
                    && answer.status == status
                {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("/readyz is never {status}");
        }
    };
    let unready = ready(503).await;
    assert!(unready.headers.contains_key("retry-after"));
    let body = String::from_utf8(unready.body.to_vec()).unwrap();
    assert!(body.contains("workspaces.dormant_at"), "{body}");
    let (_, _, said) = check(&database, &APPS).await;
    let (_, words) = said.trim_end().split_once("an app by name: ").unwrap();
    let logged = std::fs::read_to_string(&log).unwrap();
    assert!(logged.contains(words), "{words}\n{logged}");

    database.sql("ALTER TABLE workspaces RENAME sleeping_since TO dormant_at").await;
    ready(200).await;
    assert!(process.try_wait().unwrap().is_none());
    std::fs::remove_file(log).unwrap();
}

/// Readiness asks for no more than is used
#[tokio::test]
async fn sign_in_alone_is_ready_beside_the_oldest_release() {
    let database = Database::of_release(Release::OLDEST).await;
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _process = tokio::process::Command::new(env!("CARGO_BIN_EXE_authd"))
        .args(["serve", "--listen", &address.to_string(), "--database-url", database.url()])
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let client = Client::new();
    for _ in 0..1_000 {
        if let Ok(answer) = client.get(&format!("http://{address}/readyz")).await {
            assert_eq!(answer.status, 200, "{:?}", answer.body);
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not serve");
}
