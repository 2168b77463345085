//! `authd check`, and the same messages at the start of `authd serve`

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use testkit::net::{Client, free_address};
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

const APPS: [&str; 4] =
    ["--access-url", "https://coder.example.com", "--proxy-trusted-origins", "127.0.0.1"];

/// The line of the table about a subject
fn line<'a>(table: &'a str, subject: &str) -> &'a str {
    let of = |line: &&str| line.get(9..).is_some_and(|rest| rest.starts_with(subject));
    table.lines().find(of).unwrap_or_else(|| panic!("no line about {subject} in\n{table}"))
}

#[tokio::test]
async fn a_sound_deployment_has_no_errors() {
    for release in Release::FIRST_WITH_APPS.and_later() {
        let database = Database::of_release(*release).await;
        let (status, table, stderr) = check(&database, &APPS).await;
        assert_eq!((status, &*stderr), (Some(0), ""), "{release}: {table}");
        assert!(table.starts_with("STATE    WHAT"), "{table}");
        assert!(!table.contains("\nerror"), "{table}");
        let row = line(&table, "control plane");
        let name = if *release == Release::NEWEST { "July 2026" } else { release.name() };
        assert!(row.contains(name) && row.contains("tested"), "{release}: {row}");
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
async fn missing_months_of_the_audit_log_are_a_warning() {
    let database = Database::of_release(Release::NEWEST).await;
    let (_, table, _) = check(&database, &APPS).await;
    assert!(!table.contains("a table for each month"), "{table}");
    database.store().await.partition_audit_log().await.unwrap();
    let (_, table, _) = check(&database, &APPS).await;
    let months = line(&table, "audit log");
    assert!(table.contains(&format!("ok       {}", &months[9..])), "{months}");
    let until = "SELECT to_char(date_trunc('month', now()) + interval '3 months', 'YYYY-MM-DD')";
    let until = database.sql(until).await.remove(0);
    assert!(months.contains(&format!("a table for each month, until {until}")), "{months}");

    // As if it had not been served for months.
    database
        .sql(
            "DO $$ DECLARE month regclass; BEGIN
                 FOR month IN SELECT m.month FROM authd_audit_months() m WHERE ends IS NOT NULL LOOP
                     EXECUTE format('DROP TABLE %s', month);
                 END LOOP;
                 EXECUTE format('CREATE TABLE authd_audit_log_early PARTITION OF authd_audit_log
                                 FOR VALUES FROM (MINVALUE) TO (%L)', date_trunc('month', now()));
             END $$",
        )
        .await;
    let (_, table, _) = check(&database, &APPS).await;
    let months = line(&table, "audit log");
    assert!(months.starts_with("warning") && months.contains("authd audit partition"), "{months}");
}

#[tokio::test]
async fn the_report_is_available_as_json() {
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
    let (status, printed, stderr) = check(&database, &[&APPS[..], &["--json"]].concat()).await;
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((status, &report["ok"]), (Some(1), &false.into()));
    let tasks = report["database"]["tasks"].as_array().unwrap();
    let visits = tasks.iter().find(|task| task["name"] == "the record of visits").unwrap();
    let lacks = &visits["lacks"][0];
    assert_eq!(*lacks, serde_json::json!({"missing": "table", "table": "authd_audit_log"}));
    assert!(
        stderr.starts_with("authd: the record of visits: missing: table authd_audit_log"),
        "{stderr}"
    );
    assert!(stderr.contains("run `authd migrate --owned-only`"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1);
}

/// Cases of damage, with the words that the report must contain
#[tokio::test]
async fn an_error_is_reported_with_its_remedy() {
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
        let (status, table, stderr) = check(&database, &APPS).await;
        assert_eq!(status, Some(1), "{damage}: {table}");
        let row = line(&table, subject);
        assert!(row.starts_with("error") && row.contains(words), "{damage}: {row}");
        assert!(stderr.starts_with("authd: ") && stderr.lines().count() == 1, "{stderr}");
    }
}

#[tokio::test]
async fn a_suspicious_state_is_a_warning() {
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

/// What a control plane stored and what can never work, for tables of the oldest and newest release
#[tokio::test]
async fn names_that_can_never_work_are_counted_with_examples() {
    for release in [Release::FIRST_WITH_APPS, Release::NEWEST] {
        let database = Database::of_release(release).await;
        let mut rows = store::fleet::Fleet::default();
        let acme = rows.organization("acme");
        let alice = rows.user("alice", acme);
        let workspace = rows.workspace(alice, "dev");
        let old = rows.build(workspace, store::fleet::Transition::Start);
        rows.agent(old.resource, "main", "sir-00000000");
        let build = rows.build(workspace, store::fleet::Transition::Start);
        let good = rows.agent(build.resource, "main", "i-0123456789abcdef0").id;
        for (n, id) in ["sir-08b93456", "mi-0123456789abcdef0", "my-vm", "/subscriptions/1"]
            .into_iter()
            .enumerate()
        {
            rows.agent(build.resource, &format!("odd{n}"), id);
        }
        let gone = rows.workspace(alice, "gone");
        rows.workspaces.last_mut().unwrap().deleted = true;
        let gone = rows.build(gone, store::fleet::Transition::Start);
        rows.agent(gone.resource, "main", "sir-11111111");
        let long = "l".repeat(60);
        for (slug, url, subdomain) in [
            ("code", "http://127.0.0.1:1", true),
            ("Code Server", "http://127.0.0.1:1", false),
            ("my_app", "http://127.0.0.1:1", true),
            (&*long, "http://127.0.0.1:1", true),
            ("8080", "http://127.0.0.1:1", true),
            ("ftp", "ftp://127.0.0.1", true),
        ] {
            let app = rows.app(good, slug);
            (app.url, app.subdomain) = (Some(url.to_owned()), subdomain);
        }
        database.load(testkit::Rows::of(&rows)).await.unwrap();
        let (status, table, stderr) = check(&database, &APPS).await;
        assert_eq!((status, &*stderr), (Some(0), ""), "{table}");
        let ids = line(&table, "instance ids");
        assert!(ids.starts_with("warning"), "{ids}");
        for words in ["4 of 5", "`sir-08b93456` of the agent `odd0`", "Spot request", "; …"] {
            assert!(ids.contains(words), "{words}: {ids}");
        }
        let apps = line(&table, "app addresses");
        assert!(apps.starts_with("warning") && apps.contains("4 of 6"), "{apps}");

        database.sql("UPDATE workspace_agents SET auth_instance_id = 'i-0123456789abcdef0'").await;
        database.sql("UPDATE workspace_apps SET slug = 'a' || md5(slug), url = 'http://a'").await;
        let (_, table, _) = check(&database, &APPS).await;
        assert!(line(&table, "instance ids").starts_with("ok"), "{table}");
        assert!(line(&table, "app addresses").starts_with("ok"), "{table}");
        let (_, table, _) = check(&database, &[]).await;
        assert!(!table.contains("app addresses"), "{table}");
    }
}

/// Unencrypted keys can be read, but the next key could not be created
#[tokio::test]
async fn a_missing_encryption_key_is_named() {
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
    let (status, table, stderr) = check(&database, &APPS).await;
    assert_eq!(status, Some(1), "{table}");
    let encryption = line(&table, "encryption");
    assert!(encryption.contains("not among --external-token-encryption-keys"), "{encryption}");
    assert!(encryption.contains("`39d228e`") && encryption.starts_with("warning"), "{encryption}");
    let tokens = line(&table, "keys workspace_apps_token");
    assert!(tokens.starts_with("warning") && tokens.contains("1 can be read"), "{tokens}");
    let seals = line(&table, "keys workspace_apps_api_key");
    assert!(seals.starts_with("error") && seals.contains("39d228e"), "{seals}");
    assert!(stderr.contains("none can be read"), "{stderr}");
}

#[tokio::test]
async fn a_provider_is_asked_and_is_not_for_a_control_planes_users() {
    let provider = [
        "--oidc-issuer-url",
        "http://127.0.0.1:1",
        "--oidc-client-id",
        "authd",
        "--oidc-client-secret",
        "hunter2",
    ];
    let args = [&APPS[..], &provider].concat();
    let database = Database::new().await;
    let (status, table, stderr) = check(&database, &args).await;
    assert_eq!(status, Some(1), "{table}");
    let row = line(&table, "oidc_issuer_url");
    assert!(row.contains("the discovery document cannot be fetched: no connection"), "{row}");
    assert!(line(&table, "sign-in at an OpenID prov").contains("nothing is missing"), "{table}");
    assert!(!table.contains("hunter2") && !stderr.contains("hunter2"), "{table}{stderr}");
    database.sql("DROP TABLE authd_oidc_sessions").await;
    let (_, table, _) = check(&database, &args).await;
    let row = line(&table, "sign-in at an OpenID prov");
    assert!(row.contains("authd_oidc_sessions"), "{row}");

    let database = Database::of_release(Release::NEWEST).await;
    let refused = "the control plane of this database signs people in; leave it out";
    let (status, table, _) = check(&database, &args).await;
    assert!(status == Some(1) && table.contains(refused), "{table}");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--database-url", database.url()];
    let (status, _, log) = authd(&[&serve[..], &args].concat()).await;
    assert!(status != Some(0) && log.contains(refused), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

#[tokio::test]
async fn clients_of_a_control_plane_are_tried_and_are_not_for_users_of_authd() {
    let clients = [
        "--refresh-oidc-issuer-url",
        "http://127.0.0.1:1",
        "--refresh-oidc-client-id",
        "coder",
        "--refresh-oidc-client-secret",
        "hunter2",
        "--refresh-github-client-id",
        "Iv1",
    ];
    let args = [&APPS[..], &clients].concat();
    let database = Database::of_release(Release::NEWEST).await;
    let (status, table, stderr) = check(&database, &args).await;
    assert_eq!(status, Some(1), "{table}");
    let row = line(&table, "refresh_oidc_issuer_url");
    assert!(row.contains("the discovery document cannot be fetched: no connection"), "{row}");
    assert!(line(&table, "the refresh of provider").contains("nothing is missing"), "{table}");
    assert!(!table.contains("hunter2") && !stderr.contains("hunter2"), "{table}{stderr}");
    database.sql("DROP TABLE authd_token_refreshes").await;
    let (_, table, _) = check(&database, &args).await;
    let row = line(&table, "the refresh of provider");
    assert!(row.contains("authd_token_refreshes"), "{row}");

    let database = Database::new().await;
    let refused = "only a control plane keeps tokens of providers";
    let (status, table, _) = check(&database, &args).await;
    assert!(status == Some(1) && table.contains(refused), "{table}");
    let serve = ["serve", "--listen", "127.0.0.1:0", "--database-url", database.url()];
    let (status, _, log) = authd(&[&serve[..], &args].concat()).await;
    assert!(status != Some(0) && log.contains(refused), "{log}");
}

#[tokio::test]
async fn settings_are_checked_before_there_is_a_database() {
    let memory = ["check", "--store", "memory"];
    let (status, table, stderr) = authd(
        &[&memory[..], &["--access-url", "http://a.example", "--secure-auth-cookie"]].concat(),
    )
    .await;
    assert_eq!(status, Some(1), "{table}");
    assert!(
        stderr.starts_with("authd: secure_auth_cookie: browsers drop Secure cookies"),
        "{stderr}"
    );

    // A setting that does not parse is reported in the same way.
    for (args, words) in [
        (&["--access-url", "a.example"][..], "`access_url`"),
        (
            &["--access-url", "http://a.example", "--samesite-auth-cookie", "none"],
            "`samesite_auth_cookie`",
        ),
        (&["--config", "/nonexistent.toml"], "/nonexistent.toml"),
    ] {
        let (status, table, stderr) = authd(&[&["check"], args].concat()).await;
        assert_eq!(status, Some(1), "{args:?}: {stderr}");
        assert!(
            line(&table, "settings").contains(words) && stderr.contains(words),
            "{table}{stderr}"
        );
    }

    let (status, table, stderr) =
        authd(&[&memory[..], &["--fetch-google-keys", "off"]].concat()).await;
    assert_eq!((status, &*stderr), (Some(0), ""), "{table}");
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
async fn check_does_not_create_a_database() {
    let folder: PathBuf =
        std::env::temp_dir().join(format!("authd-check-{}", uuid::Uuid::new_v4()));
    let (status, table, _) = authd(&["check", "--data-dir", folder.to_str().unwrap()]).await;
    assert_eq!(status, Some(0), "{table}");
    assert!(line(&table, "database").contains("`authd serve` creates one there"), "{table}");
    assert!(!folder.exists());

    let (status, table, stderr) =
        authd(&["check", "--database-url", "postgresql://127.0.0.1:1/x"]).await;
    assert_eq!(status, Some(1), "{table}");
    assert!(stderr.starts_with("authd: database: ") && stderr.contains("unavailable"), "{stderr}");
}

/// An error stops the start, but an upgrade under way does not
#[tokio::test]
async fn serve_reports_what_check_reports() {
    let database = Database::of_release(Release::NEWEST).await;
    database.sql("ALTER TABLE crypto_keys RENAME TO elsewhere").await;
    let (_, _, stderr) = check(&database, &APPS).await;
    let serve = ["serve", "--listen", "127.0.0.1:0", "--database-url", database.url()];
    let (status, _, refused) = authd(&[&serve[..], &APPS].concat()).await;
    assert_eq!(status, Some(1), "{refused}");
    assert_eq!(refused.lines().last(), stderr.lines().last());
    database.sql("ALTER TABLE elsewhere RENAME TO crypto_keys").await;

    database.sql("ALTER TABLE workspaces RENAME dormant_at TO sleeping_since").await;
    let address = free_address();
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
    let (_, _, stderr) = check(&database, &APPS).await;
    let (_, words) = stderr.trim_end().split_once("an app by name: ").unwrap();
    let logged = std::fs::read_to_string(&log).unwrap();
    assert!(logged.contains(words), "{words}\n{logged}");

    database.sql("ALTER TABLE workspaces RENAME sleeping_since TO dormant_at").await;
    ready(200).await;
    assert!(process.try_wait().unwrap().is_none());
    std::fs::remove_file(log).unwrap();
}

/// Readiness requires only the tables that are used
#[tokio::test]
async fn sign_in_alone_is_ready_beside_the_oldest_release() {
    let database = Database::of_release(Release::OLDEST).await;
    let address = free_address();
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
    panic!("the server does not become ready");
}

#[test]
fn the_documents_state_the_releases_that_check_names() {
    for (name, document) in [
        ("README.md", include_str!("../../../README.md")),
        ("compatibility.md", include_str!("../../../docs/compatibility.md")),
    ] {
        for (release, migration) in store::releases::TESTED {
            let stated = format!("{release} ({migration})");
            assert!(document.contains(&stated), "{name} lacks {stated}");
        }
    }
}
