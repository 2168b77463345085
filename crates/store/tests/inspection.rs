//! What an operator learns of a database before authd uses it
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "as a binary, a test has the time")]

use std::time::{Duration, SystemTime};

use app_authz::credential::Sessions;
use store::fleet::Fleet;
use store::inspection::{Asked, Index, Inspection, Lack, Part};
use store::{Error, Generation, Migrations, Options, Owner, PgStore, Pooling, Right};
use testkit::{Database, Release, Rows};
use uuid::Uuid;

fn everything() -> Asked {
    let parts = [Part::Apps, Part::KeyRotation, Part::AuditRetention, Part::Commands];
    Asked::with(parts).and(Part::IdentityPins)
}

async fn inspect(store: &PgStore) -> Inspection {
    store.inspect(&everything(), &SystemTime::now).await.unwrap()
}

fn lacks(inspection: &Inspection) -> Vec<&Lack> {
    inspection.tasks.iter().flat_map(|task| &task.lacks).collect()
}

#[tokio::test]
async fn every_release_is_told_with_what_it_lacks() {
    for release in Release::ALL {
        let database = Database::of_release(*release).await;
        let store = database.store().await;
        let inspection = inspect(&store).await;
        let tables = &inspection.tables;
        assert_eq!(tables.owner, Owner::ControlPlane, "{release}");
        assert_eq!(tables.schema.as_deref(), Some("public"));
        assert_eq!(tables.search_path, ["public"]);
        assert_eq!((tables.pending, &*tables.hidden_rows), (Some(0), &[][..]), "{release}");
        let migration = tables.migration.unwrap();
        let stated = database.sql("SELECT version FROM schema_migrations").await;
        assert_eq!([migration.number.to_string()], *stated);
        assert!(!migration.is_dirty);
        for task in &inspection.tasks {
            let of_sign_in = [Part::SignIn, Part::IdentityPins].contains(&task.part);
            let answered = of_sign_in || *release >= Release::FIRST_WITH_APPS;
            // Questions about other objects can be answered before.
            if answered {
                assert_eq!(task.lacks, [], "{release}: {}", task.name);
            }
        }
        if *release < Release::FIRST_WITH_APPS {
            let missing = Lack::Column { table: "workspace_agents", column: "deleted" };
            assert!(lacks(&inspection).contains(&&missing), "{release}");
        }
        match (&inspection.sign_in_index, *release >= Release::V2_29) {
            (Some(Index::Valid { .. }), true) => {}
            (Some(Index::Missing { create, .. }), false) => {
                database.sql(create).await;
                let index = inspect(&store).await.sign_in_index;
                assert!(matches!(index, Some(Index::Valid { .. })), "{release}: {index:?}");
            }
            (index, _) => panic!("{release}: {index:?}"),
        }
    }
}

#[tokio::test]
async fn authds_own_tables_lack_nothing() {
    let database = Database::new().await;
    let inspection = inspect(&database.store().await).await;
    assert_eq!(inspection.tables.owner, Owner::Authd);
    assert_eq!(inspection.tables.generation, Generation::NEWEST);
    assert_eq!((inspection.tables.migration, inspection.tables.pending), (None, Some(0)));
    assert_eq!(lacks(&inspection), Vec::<&Lack>::new());
    let keys: Vec<_> = inspection.keys.iter().map(|keys| (keys.readable, &keys.problem)).collect();
    assert_eq!(keys, [(0, &None), (0, &None)]);
    let server = &inspection.server;
    assert_eq!((&*server.user, &*server.application_name), ("authd", "authd"));
    assert!(!server.is_standby && !server.is_read_only);
    assert!(server.clock_ahead.abs() < 1.0 + server.clock_precision.as_secs_f64());
    for setting in &server.settings {
        assert!(setting.wanted.as_ref().is_none_or(|wanted| *wanted == setting.value));
    }
    assert_eq!((server.connections, server.connection_limit), (18, None));
    assert_eq!(server.pooling, Pooling::None);
    assert_eq!(inspection.encryption.unwrap().active, []);
}

#[tokio::test]
async fn a_table_that_came_later_is_missing_until_the_database_is_migrated() {
    let database = Database::of_release(Release::NEWEST).await;
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    let token = fleet.session(alice);
    database.load(Rows::of(&fleet)).await.unwrap();
    database
        .sql(
            "DROP TABLE authd_app_sessions;
             DELETE FROM authd_schema_migrations
             WHERE version IN ('20261127001700', '20261128002900')",
        )
        .await;
    let store = database.store().await;
    let inspection = inspect(&store).await;
    assert_eq!(inspection.tables.pending, Some(2));
    let missing = Lack::Table { table: "authd_app_sessions" };
    assert!(lacks(&inspection).into_iter().all(|lack| *lack == missing));
    for name in ["the holder of a session", "a new session", "sessions that have ended"] {
        let task = inspection.tasks.iter().find(|task| task.name == name).unwrap();
        assert_eq!(task.lacks, std::slice::from_ref(&missing), "{name}");
    }
    let refused = store.holders(std::slice::from_ref(&token)).await.unwrap_err();
    assert!(matches!(refused, Error::Tables(_)), "{refused}");

    store.migrate(Migrations::OwnedOnly).await.unwrap();
    assert_eq!(lacks(&inspect(&store).await), Vec::<&Lack>::new());
    assert_eq!(store.holders(&[token]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_unusual_about_a_database_is_reported() {
    let database = Database::of_release(Release::NEWEST).await;
    let store = database.store().await;
    database.sql("UPDATE schema_migrations SET dirty = true").await;
    assert!(inspect(&store).await.tables.migration.unwrap().is_dirty);
    // Other programs have a table of that name.
    database.sql("ALTER TABLE schema_migrations ALTER version TYPE text").await;
    assert_eq!(inspect(&store).await.tables.migration, None);
    database.forget_version().await;
    assert_eq!(inspect(&store).await.tables.migration, None);

    database.sql("DELETE FROM authd_schema_migrations WHERE version LIKE '%1400'").await;
    assert_eq!(inspect(&store).await.tables.pending, Some(1));

    database
        .sql(
            "UPDATE pg_index SET indisvalid = false
             WHERE indrelid = 'workspace_agents'::regclass AND indexrelid::regclass::text LIKE '%instance%'",
        )
        .await;
    let index = inspect(&store).await.sign_in_index;
    assert!(matches!(index, Some(Index::Invalid { .. })), "{index:?}");

    database
        .sql(
            "INSERT INTO crypto_keys (feature, sequence, secret, starts_at)
             VALUES ('workspace_apps_token', 1, 'no hexadecimal number', now())",
        )
        .await;
    let keys = inspect(&store).await.keys;
    assert!(keys[0].problem.as_ref().is_some_and(|problem| !problem.contains("hexadecimal")));
    assert_eq!(keys[1].problem, None);

    let behind = SystemTime::now() - Duration::from_secs(3600);
    let server = store.inspect(&everything(), &move || behind).await.unwrap().server;
    assert!((3599.0..3660.0).contains(&server.clock_ahead), "{}", server.clock_ahead);
    let ahead = SystemTime::now() + Duration::from_secs(3600);
    let server = store.inspect(&everything(), &move || ahead).await.unwrap().server;
    assert!((-3601.0..-3500.0).contains(&server.clock_ahead), "{}", server.clock_ahead);
}

/// A role of its own, and the store that connects as it
async fn role(database: &Database, settings: &str) -> (String, PgStore) {
    let role = format!("role_{}", Uuid::new_v4().simple());
    database.sql(&format!("CREATE ROLE {role} LOGIN {settings}")).await;
    let url = database.url().replace("user=authd", &format!("user={role}"));
    (role, PgStore::new(&url, &Options::default()).unwrap())
}

#[tokio::test]
async fn tables_in_another_schema_are_found() {
    let database = Database::of_release(Release::NEWEST).await;
    let (role, store) = role(&database, "CONNECTION LIMIT 4").await;
    database
        .sql(
            "CREATE SCHEMA coder; ALTER TABLE workspaces SET SCHEMA coder;
             CREATE SCHEMA hidden; ALTER TABLE users SET SCHEMA hidden",
        )
        .await;
    database.sql(&format!("GRANT USAGE ON SCHEMA coder TO {role}")).await;
    let inspection = inspect(&store).await;
    assert!(lacks(&inspection).contains(&&Lack::Table { table: "workspaces" }));
    let elsewhere: Vec<_> = inspection
        .tables
        .elsewhere
        .iter()
        .map(|there| (&*there.table, &*there.schema, there.is_usable))
        .collect();
    assert_eq!(elsewhere, [("users", "hidden", false), ("workspaces", "coder", true)]);
    assert_eq!(inspection.server.connection_limit, Some(4));
}

#[tokio::test]
async fn a_pool_without_connections_has_the_reason_of_the_server() {
    let database = Database::new().await;
    let (role, store) = role(&database, "CONNECTION LIMIT 1").await;
    // The one connection is taken by reads.
    database.sql(&format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")).await;
    store.sessions(None).await.unwrap();
    let error = store.revoke("0123456789").await.unwrap_err().to_string();
    assert!(error.contains("no connection became free in time"), "{error}");
    assert!(error.contains(&format!("too many connections for role \"{role}\"")), "{error}");
}

#[test]
fn a_database_is_described_without_user_and_password() {
    for (url, described) in [
        ("postgres://u:hunter2@db/coder", "postgres://db:5432/coder"),
        (
            "postgres://u:hunter2@db1:1,[::1]:2/coder?sslmode=require",
            "postgres://db1:1,[::1]:2/coder",
        ),
        ("host=db password=hunter2 user=u", "postgres://db:5432/u"),
        ("postgresql:///coder?host=/run/pg&user=u", "coder at /run/pg/.s.PGSQL.5432"),
    ] {
        assert_eq!(PgStore::describe(url).unwrap(), described);
    }
    assert!(matches!(PgStore::describe("hunter2"), Err(Error::InvalidUrl { .. })));
}

#[tokio::test]
async fn a_role_without_rights_is_told_each_of_them_and_of_hidden_rows() {
    let database = Database::of_release(Release::NEWEST).await;
    let (role, store) = role(&database, "").await;
    database.sql(&format!("ALTER ROLE {role} SET default_transaction_read_only = on")).await;
    let inspection = inspect(&store).await;
    assert!(inspection.tasks.iter().all(|task| !task.lacks.is_empty()));
    assert!(inspection.server.is_read_only);
    assert_eq!(inspection.tables.migration, None, "it may not be read");
    assert_eq!(inspection.tables.pending, None, "nor may authd's own record");
    let columns = vec!["last_seen_at"];
    let missing = Lack::Right { right: Right::Update, table: "users", columns };
    assert!(lacks(&inspection).contains(&&missing));
    let missing = Lack::Right { right: Right::Delete, table: "api_keys", columns: Vec::new() };
    assert!(lacks(&inspection).contains(&&missing));

    database.sql("ALTER TABLE workspaces ENABLE ROW LEVEL SECURITY").await;
    assert_eq!(inspect(&store).await.tables.hidden_rows, ["workspaces"]);
}

/// Sign-in alone needs nothing of what apps need
#[tokio::test]
async fn only_what_is_asked_for_is_looked_at() {
    let database = Database::of_release(Release::OLDEST).await;
    let store = database.store().await;
    database.sql("DROP TABLE api_keys CASCADE; DROP TABLE crypto_keys CASCADE").await;
    let inspection = store.inspect(&Asked::with([]), &SystemTime::now).await.unwrap();
    assert_eq!(lacks(&inspection), Vec::<&Lack>::new());
    // Sign-ins, and their audit.
    assert_eq!((inspection.tasks.len(), inspection.keys.len()), (2, 0));
}

#[tokio::test]
async fn an_inspection_ends_although_a_table_is_locked() {
    let database = Database::of_release(Release::NEWEST).await;
    let options = Options::default().statement_timeout(Duration::from_secs(1));
    let store = PgStore::connect(database.url(), &options).await.unwrap();
    let _locked = database
        .hold("LOCK TABLE workspace_agents, users, api_keys IN ACCESS EXCLUSIVE MODE")
        .await;
    // Rights and columns are read from catalogs, which an upgrade does not lock.
    let inspection = inspect(&store).await;
    assert_eq!(lacks(&inspection), Vec::<&Lack>::new());
}
