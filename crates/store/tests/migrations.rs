//! The tables come, go, come again, and are what the rest of the crate believes

use std::collections::BTreeMap;

use store::{Error, Migrations, Options, PgStore};
use testkit::Database;

#[tokio::test]
async fn both_sets_go_up_down_and_up_again() {
    for set in [Migrations::All, Migrations::OwnedOnly] {
        let database = Database::empty().await;
        let store = database.store().await;
        let before = catalogue(&database).await;

        store.migrate(set).await.unwrap();
        let up = catalogue(&database).await;
        assert_ne!(up, before);
        store.migrate(set).await.unwrap();
        assert_eq!(catalogue(&database).await, up, "a second time changes nothing");

        store.revert(set).await.unwrap();
        assert_eq!(catalogue(&database).await, before, "nothing is left behind");
        store.migrate(set).await.unwrap();
        assert_eq!(catalogue(&database).await, up);
    }
}

#[tokio::test]
async fn owned_only_adds_just_tables_with_our_prefix() {
    let database = Database::empty().await;
    database.store().await.migrate(Migrations::OwnedOnly).await.unwrap();
    assert_eq!(tables(&database).await, OWNED);
}

#[tokio::test]
async fn owned_only_goes_beside_a_control_plane_and_all_is_refused() {
    let database = Database::empty().await;
    // A control plane of another version, which knows other columns.
    database.sql("CREATE TABLE users (id uuid PRIMARY KEY, theme text)").await;
    let store = database.store().await;

    let refused = store.migrate(Migrations::All).await.unwrap_err();
    assert_eq!(refused, Error::ForeignTables { table: "users" });
    assert!(refused.to_string().contains("--owned-only"));
    assert_eq!(tables(&database).await, ["users"], "nothing was touched");

    store.migrate(Migrations::OwnedOnly).await.unwrap();
    assert_eq!(tables(&database).await, [&OWNED[..], &["users"]].concat());
    let refused = store.migrate(Migrations::All).await.unwrap_err();
    assert_eq!(refused, Error::ForeignTables { table: "users" });
}

#[tokio::test]
async fn owned_only_may_be_completed_later() {
    let database = Database::empty().await;
    let store = database.store().await;
    store.migrate(Migrations::OwnedOnly).await.unwrap();
    store.migrate(Migrations::All).await.unwrap();
    store.migrate(Migrations::OwnedOnly).await.unwrap();
    assert_eq!(tables(&database).await, tables(&Database::new().await).await);
}

#[tokio::test]
async fn replicas_that_start_together_migrate_once() {
    let database = Database::empty().await;
    let replicas = (0..4).map(|_| {
        let store = PgStore::new(database.url(), &Options::default()).unwrap();
        tokio::spawn(async move { store.migrate(Migrations::All).await })
    });
    for replica in replicas.collect::<Vec<_>>() {
        replica.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_unavailable() {
    let url = Database::empty().await.url().replace("/test_", "/none_");
    let store = PgStore::new(&url, &Options::default()).unwrap();
    let error = store.migrate(Migrations::All).await.unwrap_err();
    let Error::Unavailable { reason } = error else { panic!("{error}") };
    assert!(reason.to_string().contains("does not exist"), "{reason}");
}

#[tokio::test]
async fn the_generated_schema_is_that_of_the_database() {
    let database = Database::new().await;
    let columns = database
        .sql(
            "SELECT table_name, column_name, is_nullable, udt_name
             FROM information_schema.columns
             WHERE table_schema = 'public' AND table_name <> 'authd_schema_migrations'
             ORDER BY table_name, ordinal_position",
        )
        .await;
    let mut in_database = BTreeMap::<_, Vec<_>>::new();
    for row in &columns {
        let [table, column, nullable, of_type] = row.split('|').collect::<Vec<_>>()[..] else {
            panic!("`{row}`")
        };
        let of_type = diesel_type(of_type);
        let of_type = if nullable == "YES" { format!("Nullable<{of_type}>") } else { of_type };
        in_database.entry(table).or_default().push(format!("{column} -> {of_type}"));
    }
    assert_eq!(generated(include_str!("../src/pg/schema.rs")), in_database);
}

/// The rows of each table, by the columns that the reference writes, as any other
/// program would insert them
#[tokio::test]
async fn plain_inserts_of_the_needed_columns_suffice() {
    let database = Database::new().await;
    database.sql(include_str!("plain_inserts.sql")).await;
    for table in tables(&database).await.iter().filter(|table| *table != "authd_schema_migrations")
    {
        let rows = database.sql(&format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(rows, ["1"], "{table}");
    }
}

#[tokio::test]
async fn deleting_a_user_ends_its_sessions_and_no_new_one_begins() {
    let database = Database::new().await;
    database.sql(include_str!("plain_inserts.sql")).await;
    let left = database
        .sql(
            "UPDATE users SET deleted = true;
             SELECT (SELECT count(*) FROM api_keys) + (SELECT count(*) FROM user_links)",
        )
        .await;
    assert_eq!(left, ["0"]);
    let refused = database
        .try_sql(
            "INSERT INTO api_keys (id, hashed_secret, user_id, last_used, expires_at, created_at,
                                   updated_at, login_type)
             SELECT 'k', '', id, now(), now(), now(), now(), 'token' FROM users",
        )
        .await
        .unwrap_err();
    assert!(refused.contains("the user of an API key is deleted"), "{refused}");
}

#[tokio::test]
async fn live_agents_of_one_build_have_different_names() {
    let database = Database::new().await;
    database.sql(include_str!("plain_inserts.sql")).await;
    // A second resource of the same build does not help.
    database
        .sql(
            "INSERT INTO workspace_resources (id, job_id, transition, type, name)
             SELECT gen_random_uuid(), job_id, transition, type, 'second' FROM workspace_resources",
        )
        .await;
    let again = |condition: &str| {
        format!(
            "INSERT INTO workspace_agents (id, resource_id, name, auth_token, created_at, deleted)
             SELECT gen_random_uuid(), r.id, a.name, gen_random_uuid(), now(), {condition}
             FROM workspace_agents a, workspace_resources r WHERE r.name = 'second'"
        )
    };
    let refused = database.try_sql(&again("false")).await.unwrap_err();
    assert!(refused.contains("already exists in this workspace build"), "{refused}");
    database.sql(&again("true")).await;
    let revived = database.try_sql("UPDATE workspace_agents SET deleted = false").await;
    assert!(revived.is_err());
    database.sql("DELETE FROM workspace_builds").await;
    database.sql("UPDATE workspace_agents SET deleted = false").await;
}

#[test]
fn every_migration_can_be_undone_and_is_dated() {
    for set in ["control-plane", "owned"] {
        let set = format!("{}/migrations/{set}", env!("CARGO_MANIFEST_DIR"));
        for folder in std::fs::read_dir(set).unwrap() {
            let folder = folder.unwrap().path();
            assert!(folder.join("up.sql").is_file() && folder.join("down.sql").is_file());
            let name = folder.file_name().unwrap().to_str().unwrap();
            let (date, concern) = name.split_once('_').unwrap();
            assert!(date.len() == 17 && !concern.is_empty(), "{name}");
        }
    }
}

async fn tables(database: &Database) -> Vec<String> {
    database
        .sql(
            "SELECT tablename FROM pg_tables
             WHERE schemaname = 'public' ORDER BY 1",
        )
        .await
}

/// What authd makes where no table `crypto_keys` is
const OWNED: [&str; 12] = [
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

/// Everything that a migration can create
async fn catalogue(database: &Database) -> Vec<String> {
    database
        .sql(
            "SELECT * FROM (
                 SELECT 'column', attrelid::regclass::text, attname || format_type(atttypid, atttypmod)
                 FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
                 WHERE relnamespace = 'public'::regnamespace AND NOT attisdropped
                 UNION ALL SELECT 'index', indexname, indexdef
                 FROM pg_indexes WHERE schemaname = 'public'
                 UNION ALL SELECT 'constraint', conrelid::regclass::text, pg_get_constraintdef(oid)
                 FROM pg_constraint WHERE connamespace = 'public'::regnamespace
                 UNION ALL SELECT 'function', proname, prosrc
                 FROM pg_proc WHERE pronamespace = 'public'::regnamespace
                 UNION ALL SELECT 'trigger', tgname, pg_get_triggerdef(t.oid)
                 FROM pg_trigger t WHERE NOT tgisinternal
                 UNION ALL SELECT 'label', enumtypid::regtype::text, enumlabel FROM pg_enum
                 UNION ALL SELECT 'type', typname, typtype::text
                 FROM pg_type WHERE typnamespace = 'public'::regnamespace
             ) things (kind, name, definition)
             ORDER BY 1, 2, 3",
        )
        .await
}

/// `table! { name (key) { column -> Type, } }` as table to columns
fn generated(schema: &str) -> BTreeMap<&str, Vec<String>> {
    let mut tables = BTreeMap::<_, Vec<_>>::new();
    let mut table = "";
    let mut renamed = None;
    for line in schema.lines().map(str::trim) {
        if let Some((name, _)) = line.split_once(" (").filter(|(_, rest)| rest.ends_with(") {")) {
            table = name;
        } else if let Some(name) = line.strip_prefix("#[sql_name = \"") {
            renamed = name.strip_suffix("\"]");
        } else if let Some((column, of_type)) = line.split_once(" -> ")
            && !line.starts_with("diesel::joinable")
        {
            let column = renamed.take().unwrap_or(column);
            let of_type = of_type.trim_end_matches(',');
            tables.entry(table).or_default().push(format!("{column} -> {of_type}"));
        }
    }
    tables
}

/// What the generator calls a type of PostgreSQL
fn diesel_type(name: &str) -> String {
    if let Some(element) = name.strip_prefix('_') {
        return format!("Array<Nullable<{}>>", diesel_type(element));
    }
    let capital = |word: &str| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    };
    name.split('_').map(capital).collect()
}
