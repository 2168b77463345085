//! A program with tables, connections and migrations of its own uses the store beside them

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![allow(clippy::disallowed_methods, reason = "as a binary, a test has the time")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use app_audit::{
    Act, ActFilter, ActJournal, ActKind, ActLog, AuditExplorer, AuditLog, Filter, Journal, Names,
    Noted, Page, UserId,
};
use app_authz::token::{Feature, KeyStore, Rotation, rotate};
use common::{entries, entry, event, hour};
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use store::inspection::{Asked, Part};
use store::{EncryptionKeys, Error, Migrations, Opening, Options, PgStore, Store, transaction};
use testkit::{Database, OwnServer};
use tokio::task::spawn_blocking;
use tokio_postgres::NoTls;
use uuid::Uuid;

/// The migrations of the program, whose users and workspaces are not a control plane's
const OF_PROGRAM: EmbeddedMigrations = embed_migrations!("tests/host-migrations");

const FEATURE: Feature = Feature::WorkspaceAppsToken;

/// Runs diesel's own migrations as the program does
async fn with_harness<T: Send + 'static>(
    database: &Database,
    work: impl FnOnce(&mut AsyncConnectionWrapper<AsyncPgConnection>) -> T + Send + 'static,
) -> T {
    let url = database.url().to_owned();
    let work = move || {
        let session = <AsyncConnectionWrapper<_> as diesel::Connection>::establish(&url);
        work(&mut session.unwrap())
    };
    spawn_blocking(work).await.unwrap()
}

async fn apply(database: &Database) -> usize {
    with_harness(database, |session| session.run_pending_migrations(OF_PROGRAM).unwrap().len())
        .await
}

async fn revert_all(database: &Database) -> usize {
    with_harness(database, |session| session.revert_all_migrations(OF_PROGRAM).unwrap().len()).await
}

async fn tables(database: &Database) -> Vec<String> {
    let tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1";
    database.sql(tables).await
}

/// The database of a program that has migrated its tables and those of authd
async fn program() -> Database {
    let database = Database::empty().await;
    apply(&database).await;
    database.store().await.migrate(Migrations::OwnedOnly).await.unwrap();
    database
}

async fn store(database: &Database) -> PgStore {
    PgStore::connect(database.url(), &Options::own_tables()).await.unwrap()
}

const OF_AUTHD: [&str; 12] = [
    "authd_acts",
    "authd_app_sessions",
    "authd_audit_log",
    "authd_audit_sessions",
    "authd_crypto_keys",
    "authd_identity_pins",
    "authd_oidc_sessions",
    "authd_revocations",
    "authd_schema_migrations",
    "authd_shares",
    "authd_token_refreshes",
    "authd_watched_grants",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_programs_migrations_go_back_and_forth_beside_ours() {
    for ours_first in [true, false] {
        let database = Database::empty().await;
        let store = database.store().await;
        if ours_first {
            store.migrate(Migrations::OwnedOnly).await.unwrap();
        }
        assert_eq!(apply(&database).await, 2);
        if !ours_first {
            store.migrate(Migrations::OwnedOnly).await.unwrap();
        }
        let both = tables(&database).await;
        assert!(OF_AUTHD.iter().all(|table| both.contains(&(*table).to_owned())), "{both:?}");

        let newest = with_harness(&database, |session| {
            let pending = session.has_pending_migration(OF_PROGRAM).unwrap();
            assert!(!pending, "of ours, none counts as the program's");
            session.revert_last_migration(OF_PROGRAM).unwrap().to_string()
        });
        assert_eq!(newest.await, "20200102000000");
        assert_eq!(apply(&database).await, 1);
        assert_eq!(revert_all(&database).await, 2);
        assert!(store.migrate(Migrations::OwnedOnly).await.unwrap().applied.is_empty());
        assert_eq!(apply(&database).await, 2);
        store.revert(Migrations::OwnedOnly).await.unwrap();
        let left = tables(&database).await;
        assert_eq!(left, ["__diesel_schema_migrations", "things", "users", "workspaces"]);
        assert_eq!(revert_all(&database).await, 2);
    }
}

/// Earlier releases recorded their migrations where diesel records those of the program
#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_ours_in_the_programs_table_is_moved_once() {
    let database = program().await;
    let moved = database
        .sql(
            "INSERT INTO __diesel_schema_migrations (version)
             SELECT version FROM authd_schema_migrations;
             DROP TABLE authd_schema_migrations;
             SELECT count(*) - 2 FROM __diesel_schema_migrations",
        )
        .await;
    let replicas = (0..4).map(|_| {
        let store = PgStore::new(database.url(), &Options::own_tables()).unwrap();
        tokio::spawn(async move { store.migrate(Migrations::OwnedOnly).await.unwrap() })
    });
    let mut former = Vec::new();
    for replica in replicas.collect::<Vec<_>>() {
        let migrated = replica.await.unwrap();
        assert_eq!(migrated.applied, [""; 0]);
        former.extend(migrated.former_record.map(|record| (record.entries, record.dropped)));
    }
    assert_eq!(former, [(moved[0].parse().unwrap(), false)]);
    assert_eq!(revert_all(&database).await, 2);
}

#[tokio::test]
async fn the_audit_needs_our_tables_alone() {
    let database = Database::empty().await;
    apply(&database).await;
    let store = store(&database).await;
    let refused = store.ping().await.unwrap_err();
    assert!(matches!(refused, Error::Tables(_)), "nothing is there yet: {refused}");
    let said = refused.to_string();
    assert!(
        said.starts_with("the tables of authd do not fit") && said.contains("migrations"),
        "{said}"
    );
    store.migrate(Migrations::OwnedOnly).await.unwrap();
    store.ping().await.unwrap();
    store.probe().await.unwrap();

    let noted = store.note(&entries(1, 2), hour()).await.unwrap();
    assert!(matches!(noted[0].noted, Noted::Began(_)), "{noted:?}");
    let rows = store.list(&Filter::default(), Page::first(10)).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(store.explore(&Filter::default(), Page::first(10)).await.unwrap().len(), 1);
    store.plot(&Filter::default()).await.unwrap();
    // Who has which name is not known here, but which app was visited is.
    let names = Names {
        user: Some("ann".to_owned()),
        workspace: Some(("ann".to_owned(), "dev".to_owned())),
        app: Some("code".to_owned()),
    };
    let found = store.look_up(&names).await.unwrap();
    assert_eq!((found.user, found.workspace, found.app), (None, None, true));
    assert!(store.usernames(&[UserId(Uuid::nil())]).await.unwrap().is_empty());

    let act = Act::new(ActKind::AgentSignIn, event(1).time).request(Uuid::new_v4(), None, b"curl");
    assert!(store.records_acts().await.unwrap());
    store.note_acts(&[act]).await.unwrap();
    let acts = store.list_acts(&ActFilter::default(), Page::first(10)).await.unwrap();
    assert_eq!(acts.len(), 1);
    store.end_sessions(hour(), 10).await.unwrap();
    assert_eq!(store.forget(Duration::ZERO, 10).await.unwrap(), 1);
    assert_eq!(store.forget_acts(Duration::ZERO, 10).await.unwrap(), 1);
}

#[tokio::test]
async fn a_ping_notices_that_the_table_of_keys_is_missing() {
    let database = program().await;
    let store = store(&database).await;
    store.ping().await.unwrap();
    // Earlier releases did not create it.
    database.sql("DROP TABLE authd_crypto_keys").await;
    let refused = store.ping().await.unwrap_err();
    assert!(refused.to_string().contains("needs table authd_crypto_keys"), "{refused}");
}

/// Rotates the keys at a time, and returns the number of changes
async fn rotate_at(store: &PgStore, day: u32, byte: u8) -> usize {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400) * day;
    let rotated = store.rotate(FEATURE, |keys| rotate(FEATURE, keys, now, |new| new.fill(byte)));
    rotated.await.unwrap()
}

async fn sequences(store: &PgStore) -> Vec<i32> {
    store.keys(FEATURE).await.unwrap().iter().map(|key| key.sequence).collect()
}

#[tokio::test]
async fn keys_are_in_our_own_table_without_a_control_plane() {
    let database = program().await;
    let one = Arc::new(store(&database).await);
    let other = Arc::new(store(&database).await);
    assert!(one.keys(FEATURE).await.unwrap().is_empty());
    let both = [&one, &other].map(|store| {
        let store = Arc::clone(store);
        tokio::spawn(async move { rotate_at(&store, 1, 7).await })
    });
    let mut changes = 0;
    for replica in both {
        changes += replica.await.unwrap();
    }
    assert_eq!(changes, 1, "of replicas that rotate at the same time one creates the key");
    let key = one.keys(FEATURE).await.unwrap().remove(0);
    assert_eq!((key.sequence, key.secret.unwrap().reveal()), (1, &[7; 64][..]));
    assert_eq!(one.keys(Feature::WorkspaceAppsApiKey).await.unwrap(), []);
    // A month later it is replaced, later it is ended, and then cleared.
    assert!(rotate_at(&one, 31, 8).await > 0);
    rotate_at(&one, 34, 9).await;
    assert_eq!(sequences(&other).await, [2]);
    let kept = "SELECT sequence, secret IS NULL FROM authd_crypto_keys ORDER BY 1";
    assert_eq!(database.sql(kept).await, ["1|t", "2|f"]);
    // A rotation happens whole or not at all.
    let before = one.keys(FEATURE).await.unwrap();
    let twice = |keys: &[app_authz::token::CryptoKey]| {
        vec![app_authz::token::Change::Insert(keys[1].clone())]
    };
    let refused = one.rotate(FEATURE, twice).await.unwrap_err();
    assert_eq!(refused.sqlstate(), Some("23505"), "the sequence is taken: {refused}");
    assert_eq!(one.keys(FEATURE).await.unwrap(), before);
}

#[tokio::test]
async fn keys_in_our_own_table_are_encrypted_if_there_are_encryption_keys() {
    let database = program().await;
    let keys = |texts: &[&str]| EncryptionKeys::from_base64(texts).unwrap();
    let with = async |keys| {
        let options = Options::own_tables().encryption_keys(keys);
        PgStore::connect(database.url(), &options).await.unwrap()
    };
    const OLD: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const NEW: &str = "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=";
    let old = with(keys(&[OLD])).await;
    rotate_at(&old, 1, 7).await;
    let row = database.sql("SELECT secret_key_id, secret FROM authd_crypto_keys").await;
    assert!(row[0].starts_with("6d28cf8|") && !row[0].contains("0707"), "{row:?}");
    let active = old.active_encryption_keys().await.unwrap();
    assert!(matches!(&active[..], [key] if key.digest == "6d28cf8" && key.is_known), "{active:?}");

    let both = with(keys(&[NEW, OLD])).await;
    assert_eq!(sequences(&both).await, [1]);
    rotate_at(&both, 31, 8).await;
    let digests = "SELECT secret_key_id FROM authd_crypto_keys ORDER BY sequence";
    assert_eq!(database.sql(digests).await, ["6d28cf8", "864f702"]);
    let without = store(&database).await;
    let refused = without.keys(FEATURE).await.unwrap_err();
    assert_eq!(refused, Error::MissingEncryptionKey { digest: "864f702".to_owned() });
    assert_eq!(without.active_encryption_keys().await.unwrap(), []);
}

#[tokio::test]
async fn a_control_plane_that_comes_has_the_keys_from_then_on() {
    let database = program().await;
    let store = store(&database).await;
    rotate_at(&store, 1, 7).await;
    assert_eq!(sequences(&store).await, [1]);
    // The store has connections that know the tables as they were.
    database
        .sql(
            "CREATE TYPE crypto_key_feature AS ENUM ('workspace_apps_token');
             CREATE TABLE dbcrypt_keys (number integer, active_key_digest text);
             CREATE TABLE crypto_keys (
                 feature crypto_key_feature, sequence integer, secret text, secret_key_id text,
                 starts_at timestamptz, deletes_at timestamptz, PRIMARY KEY (feature, sequence)
             );
             INSERT INTO crypto_keys
             VALUES ('workspace_apps_token', 5, repeat('05', 64), NULL, to_timestamp(0), NULL)",
        )
        .await;
    assert_eq!(sequences(&store).await, [5]);
    rotate_at(&store, 40, 9).await;
    assert_eq!(sequences(&store).await, [6, 5]);
    let ours = "SELECT sequence FROM authd_crypto_keys";
    assert_eq!(database.sql(ours).await, ["1"], "nothing more is written there");
}

#[tokio::test]
async fn the_table_of_keys_is_only_where_there_is_no_control_plane() {
    for (database, expected) in [(Database::empty().await, "t"), (Database::new().await, "f")] {
        let store = database.store().await;
        store.migrate(Migrations::OwnedOnly).await.unwrap();
        let exists = "SELECT to_regclass('authd_crypto_keys') IS NOT NULL";
        assert_eq!(database.sql(exists).await, [expected]);
        store.migrate(Migrations::All).await.unwrap();
        assert_eq!(database.sql(exists).await, ["f"]);
    }
}

/// A role with the rights that are granted, and no others, can do what they are for
#[tokio::test]
async fn rights_to_our_own_table_of_keys_are_granted_and_checked() {
    let database = program().await;
    let role = format!("role_{}", Uuid::new_v4().simple());
    database.sql(&format!("CREATE ROLE {role} LOGIN")).await;
    let owner = store(&database).await;
    let asked = Asked::with([Part::Apps, Part::KeyRotation]);
    let url = database.url().replace("user=authd", &format!("user={role}"));
    let limited = PgStore::connect(&url, &Options::own_tables()).await.unwrap();
    let lacks = async |store: &PgStore| {
        let inspection = store.inspect(&asked, &SystemTime::now).await.unwrap();
        let of_keys = inspection.tasks.into_iter().filter(|task| task.name.contains("keys"));
        of_keys.flat_map(|task| task.lacks).map(|lack| lack.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(lacks(&owner).await, [""; 0]);
    let missing = lacks(&limited).await;
    assert!(missing[0].starts_with("SELECT on authd_crypto_keys ("), "{missing:?}");
    assert!(limited.keys(FEATURE).await.is_err());

    let grants = owner.grants(&asked, &role).await.unwrap();
    assert!(!grants.to_string().contains("dbcrypt_keys"), "{grants}");
    database.sql(&grants.statements.join(";")).await;
    assert_eq!(lacks(&limited).await, [""; 0]);
    rotate_at(&limited, 1, 7).await;
    rotate_at(&limited, 31, 8).await;
    assert_eq!(sequences(&limited).await, [2, 1]);
}

#[tokio::test]
async fn the_programs_transaction_decides_whether_a_record_is_kept() {
    let database = program().await;
    let store = store(&database).await;
    let mut connection = AsyncPgConnection::establish(database.url()).await.unwrap();
    let visit = entry(&event(1));
    let act = Act::new(ActKind::AgentSignIn, event(1).time).request(Uuid::new_v4(), None, b"curl");
    let mut write = async |commits: bool| {
        let written = connection.transaction(async |connection| {
            connection.batch_execute("INSERT INTO things VALUES (1)").await?;
            let noted = transaction::note(std::slice::from_ref(&visit), hour(), connection).await?;
            transaction::note_acts(std::slice::from_ref(&act), connection).await?;
            match commits {
                true => Ok(noted),
                false => Err(Error::from(diesel::result::Error::RollbackTransaction)),
            }
        });
        written.await
    };
    let counts = "SELECT (SELECT count(*) FROM things), (SELECT count(*) FROM authd_audit_log),
                         (SELECT count(*) FROM authd_acts)";
    write(false).await.unwrap_err();
    assert_eq!(database.sql(counts).await, ["0|0|0"]);
    let noted = write(true).await.unwrap();
    assert!(matches!(noted[0].noted, Noted::Began(_)), "{noted:?}");
    assert_eq!(database.sql(counts).await, ["1|1|1"]);
    // The store continues the session that the program's transaction began.
    let noted = store.note(&entries(1, 1), hour()).await.unwrap();
    assert!(matches!(noted[0].noted, Noted::Continued { .. }), "{noted:?}");

    // An entry that comes again spoils no transaction, even if its session has been replaced.
    database.sql("DELETE FROM authd_audit_sessions; DELETE FROM things").await;
    let again = write(true).await;
    assert!(again.is_ok(), "{again:?}");
    assert_eq!(database.sql("SELECT count(*) FROM authd_audit_log").await, ["1"]);
    assert_eq!(transaction::note(&[], hour(), &mut connection).await.unwrap(), []);
    transaction::note_acts(&[], &mut connection).await.unwrap();
}

#[tokio::test]
async fn a_programs_connections_have_the_stores_settings_and_are_opened_again() {
    let server = OwnServer::start().await;
    let database = server.database().await;
    let opened = Arc::new(AtomicUsize::new(0));
    let options = Options::default().statement_timeout(Duration::from_millis(2500));
    let mut config: tokio_postgres::Config = database.url().parse().unwrap();
    config.options("-c work_mem=8MB -c jit=on");
    let counted = Arc::clone(&opened);
    let connect = move |opening: Opening| {
        let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
        let mut config = config.clone();
        config.application_name(format!("program-{number}"));
        async move { opening.connect(&config, NoTls).await }
    };
    let store = PgStore::from_connect(connect, &options);
    assert_eq!(opened.load(Ordering::SeqCst), 0, "each is opened when it is first needed");
    store.ping().await.unwrap();
    assert!(!store.is_pooled());
    assert_eq!(store.pooling().await.unwrap(), store::Pooling::None);

    let inspection = store.inspect(&Asked::with([]), &SystemTime::now).await.unwrap();
    let server_side = inspection.server;
    assert!(server_side.application_name.starts_with("program-"), "{server_side:?}");
    let value = |name| {
        let mut settings = server_side.settings.iter();
        settings.find(|setting| setting.name == name).unwrap().value.as_str()
    };
    assert_eq!(value("statement_timeout"), "2500");
    assert_eq!(value("plan_cache_mode"), "force_generic_plan");
    assert_eq!(value("jit"), "on", "the program's own settings decide");

    store.note(&entries(1, 1), hour()).await.unwrap();
    let before = opened.load(Ordering::SeqCst);
    server.pause().await;
    let refused = store.ping().await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused}");
    server.resume().await;
    store.ping().await.unwrap();
    store.note(&entries(2, 1), hour()).await.unwrap();
    assert!(opened.load(Ordering::SeqCst) > before, "by the program, as before");
}

#[tokio::test]
async fn errors_of_a_programs_connections_are_kept() {
    let database = Database::empty().await;
    let gone = |_| async { Err::<store::Session, _>(std::io::Error::other("no token from Vault")) };
    let store = PgStore::from_connect(gone, &Options::default());
    let Err(Error::Unavailable { reason }) = store.ping().await else { panic!("no connection") };
    assert!(reason.to_string().contains("no token from Vault"), "{reason}");

    let hung = |_| std::future::pending::<Result<store::Session, std::io::Error>>();
    let options = Options::default().connect_timeout(Duration::from_millis(50));
    let store = PgStore::from_connect(hung, &options);
    let refused = store.migrate(Migrations::OwnedOnly).await.unwrap_err();
    assert!(refused.to_string().contains("no connection to the database within"), "{refused}");

    let mut config: tokio_postgres::Config = database.url().parse().unwrap();
    config.dbname("none");
    let elsewhere = move |opening: Opening| {
        let config = config.clone();
        async move { opening.connect(&config, NoTls).await }
    };
    let store = PgStore::from_connect(elsewhere, &Options::default());
    let refused = store.migrate(Migrations::OwnedOnly).await.unwrap_err();
    assert_eq!(refused.sqlstate(), Some("3D000"), "{refused}");
    assert!(refused.to_string().contains("does not exist"), "{refused}");
}
