//! What authd leaves alone beside a control plane, and how it goes away again
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use app_authz::proxy::ProxyToken;
use store::fleet::Fleet;
use store::import::{Import, Rows};
use store::{Error, Migrations, Options, Owner, PgStore};
use testkit::{Database, Release};
use uuid::Uuid;

/// The oldest, one in the middle, and the newest
const SOME: [Release; 3] = [Release::OLDEST, Release::V2_28, Release::NEWEST];

/// Records the migrations as releases of authd did before they had a record of their own
async fn make_former(database: &Database) {
    database
        .sql(
            "CREATE TABLE __diesel_schema_migrations (
                 version varchar(50) PRIMARY KEY,
                 run_on timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
             );
             INSERT INTO __diesel_schema_migrations (version)
             SELECT version FROM authd_schema_migrations;
             DROP TABLE authd_schema_migrations",
        )
        .await;
}

async fn recorded(database: &Database) -> Vec<String> {
    database.sql("SELECT version FROM authd_schema_migrations ORDER BY 1").await
}

async fn has_former(database: &Database) -> bool {
    database.sql("SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL").await == ["t"]
}

#[tokio::test]
async fn a_record_of_an_earlier_release_is_moved_with_all_its_rows() {
    for (set, owner) in
        [(Migrations::All, Owner::Authd), (Migrations::OwnedOnly, Owner::ControlPlane)]
    {
        let database = Database::empty().await;
        let store = database.store().await;
        let first = store.migrate(set).await.unwrap();
        let before = recorded(&database).await;
        assert_eq!((first.applied.len(), first.former_record), (before.len(), None));
        make_former(&database).await;
        assert_eq!(store.owner().await.unwrap(), owner, "known before anything is moved");

        let moved = store.migrate(set).await.unwrap();
        let former = moved.former_record.unwrap();
        assert_eq!((former.entries, former.dropped), (before.len(), true));
        assert!(moved.applied.is_empty(), "{:?}", moved.applied);
        assert_eq!(recorded(&database).await, before);
        assert!(!has_former(&database).await);
        assert_eq!(store.owner().await.unwrap(), owner);
        assert_eq!(store.migrate(set).await.unwrap().former_record, None);
    }
}

#[tokio::test]
async fn another_programs_record_keeps_what_is_not_ours() {
    let database = Database::empty().await;
    let store = database.store().await;
    store.migrate(Migrations::OwnedOnly).await.unwrap();
    let before = recorded(&database).await;
    make_former(&database).await;
    database.sql("INSERT INTO __diesel_schema_migrations VALUES ('20200101000000')").await;
    let moved = store.migrate(Migrations::OwnedOnly).await.unwrap().former_record.unwrap();
    assert_eq!((moved.entries, moved.dropped), (before.len(), false));
    let left = database.sql("SELECT version FROM __diesel_schema_migrations").await;
    assert_eq!(left, ["20200101000000"]);
    assert_eq!(recorded(&database).await, before);

    // Not touched: an empty one, and one with another program's rows alone, even if the version of
    // one is by chance the same as one of ours.
    for rows in [
        "",
        "INSERT INTO __diesel_schema_migrations VALUES ('20200101000000');",
        "INSERT INTO __diesel_schema_migrations VALUES ('20261121000900');",
    ] {
        let database = Database::empty().await;
        database
            .sql(&format!(
                "CREATE TABLE __diesel_schema_migrations (
                     version varchar(50) PRIMARY KEY, run_on timestamp DEFAULT now()
                 ); {rows}"
            ))
            .await;
        let store = database.store().await;
        let migrated = store.migrate(Migrations::OwnedOnly).await.unwrap();
        assert_eq!((migrated.applied.len(), migrated.former_record), (before.len(), None));
        store.remove_owned().await.unwrap();
        assert!(has_former(&database).await);
    }
}

/// A role that may create tables, and a store that connects as it
async fn other_role(database: &Database, options: &Options) -> (String, PgStore) {
    let role = format!("role_{}", Uuid::new_v4().simple());
    database
        .sql(&format!("CREATE ROLE {role} LOGIN; GRANT CREATE, USAGE ON SCHEMA public TO {role}"))
        .await;
    let url = database.url().replace("user=authd", &format!("user={role}"));
    (role, PgStore::connect(&url, options).await.unwrap())
}

#[tokio::test]
async fn a_record_of_another_role_is_copied_and_not_dropped() {
    let database = Database::empty().await;
    let (role, store) = other_role(&database, &Options::default()).await;
    store.migrate(Migrations::OwnedOnly).await.unwrap();
    let before = recorded(&database).await;
    make_former(&database).await;
    // Nothing may be read of it: it is not known whose it is.
    assert_eq!(store.owner().await.unwrap(), Owner::ControlPlane);
    for (grant, left) in [("SELECT", before.len()), ("SELECT, DELETE", 0)] {
        database
            .sql(&format!(
                "DROP TABLE IF EXISTS authd_schema_migrations;
                 GRANT {grant} ON __diesel_schema_migrations TO {role}"
            ))
            .await;
        let moved = store.migrate(Migrations::OwnedOnly).await.unwrap();
        let former = moved.former_record.unwrap();
        assert_eq!((former.entries, former.dropped), (before.len(), false), "{grant}");
        assert_eq!(recorded(&database).await, before, "{grant}");
        let count = database.sql("SELECT count(*) FROM __diesel_schema_migrations").await;
        assert_eq!(count, [left.to_string()], "{grant}");
    }
}

/// Everything in a schema, by name and definition
async fn schema(database: &Database) -> Vec<String> {
    database
        .sql(
            "SELECT * FROM (
                 SELECT 'relation', c.relname::text, c.relkind::text || ' ' || c.relpersistence::text || ' '
                        || coalesce(c.relacl::text, '') || ' ' || coalesce(c.reloptions::text, '')
                 FROM pg_class c WHERE relnamespace = 'public'::regnamespace
                 UNION ALL SELECT 'column', attrelid::regclass::text,
                        attnum || ' ' || attname || ' ' || format_type(atttypid, atttypmod) || ' '
                        || attnotnull || ' '
                        || coalesce((SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef
                                     WHERE adrelid = attrelid AND adnum = attnum), '')
                 FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
                 WHERE relnamespace = 'public'::regnamespace AND attnum > 0
                 UNION ALL SELECT 'index', indexname::text, indexdef FROM pg_indexes
                 WHERE schemaname = 'public'
                 UNION ALL SELECT 'constraint', conname::text, pg_get_constraintdef(oid)
                 FROM pg_constraint WHERE connamespace = 'public'::regnamespace
                 UNION ALL SELECT 'function', proname::text, prosrc
                 FROM pg_proc WHERE pronamespace = 'public'::regnamespace
                 UNION ALL SELECT 'trigger', tgname::text, pg_get_triggerdef(oid)
                 FROM pg_trigger WHERE NOT tgisinternal
                 UNION ALL SELECT 'type', typname::text, typtype::text
                 FROM pg_type WHERE typnamespace = 'public'::regnamespace
                 UNION ALL SELECT 'label', enumtypid::regtype::text, enumsortorder || enumlabel
                 FROM pg_enum
             ) things ORDER BY 1, 2, 3",
        )
        .await
}

#[tokio::test]
async fn a_control_planes_schema_is_as_it_was_after_authd_is_gone() {
    for release in SOME {
        let database = Database::of_release(release).await;
        let with_authd = schema(&database).await;
        let store = database.store().await;
        let removed = store.remove_owned().await.unwrap();
        let names: Vec<&str> = removed.iter().map(|owned| &*owned.name).collect();
        for name in ["authd_audit_log", "authd_audit_sessions", "authd_schema_migrations"] {
            assert!(names.contains(&name), "{release}: {names:?}");
        }
        assert_eq!(store.owned().await.unwrap(), [], "{release}");
        let without = schema(&database).await;
        let of_authd = |row: &&String| {
            row.contains("|authd_") || row.contains("|_authd_") || row.contains(" authd_")
        };
        let expected: Vec<&String> = with_authd.iter().filter(|row| !of_authd(row)).collect();
        assert_eq!(without.iter().collect::<Vec<_>>(), expected, "{release}");
        assert!(!without.iter().any(|row| row.contains("authd")), "{release}");

        // Again, from a record of an earlier release.
        store.migrate(Migrations::OwnedOnly).await.unwrap();
        store.partition_audit_log().await.unwrap();
        make_former(&database).await;
        store.remove_owned().await.unwrap();
        assert_eq!(schema(&database).await, without, "{release}");
        assert_eq!(store.remove_owned().await.unwrap(), [], "{release}: there is nothing");
    }
}

#[tokio::test]
async fn nothing_is_taken_away_where_authd_stands_alone() {
    let database = Database::new().await;
    let before = schema(&database).await;
    let refused = database.store().await.remove_owned().await.unwrap_err();
    assert_eq!(refused, Error::NoControlPlane);
    assert_eq!(schema(&database).await, before);
}

/// A control plane with a user and a proxy; and what would take the role `owner` from the user
async fn control_plane(release: Release) -> (Database, Rows, Uuid) {
    let database = Database::of_release(release).await;
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    fleet.user("root", acme);
    fleet.users[0].rbac_roles = vec!["owner".to_owned()];
    fleet.proxy("sydney", "https://sydney.example.com", "");
    let proxy = fleet.workspace_proxies[0].id;
    database.load(testkit::Rows::of(&fleet)).await.unwrap();
    fleet.users[0].rbac_roles = Vec::new();
    let mut demotion = Rows::default();
    demotion.want(&fleet.users[0], &["created_at"]);
    (database, demotion, proxy)
}

/// What only the control plane changes
const STATE: &str = "SELECT rbac_roles::text FROM users
                     UNION ALL SELECT encode(token_hashed_secret, 'hex') FROM workspace_proxies";

#[tokio::test]
async fn rows_of_a_control_plane_are_changed_only_where_that_is_allowed() {
    let (database, demotion, _) = control_plane(Release::NEWEST).await;
    let before = database.sql(STATE).await;
    let store = database.store().await;
    assert_eq!(store.owner().await.unwrap(), Owner::ControlPlane);
    let refused = store.import(&demotion, false).await.unwrap_err();
    assert_eq!(refused, Error::ControlPlane { changes: "1 row of users (root)".to_owned() });
    assert!(refused.to_string().contains("`--into-control-plane`"), "{refused}");
    let differences = store.import(&demotion, true).await.unwrap();
    assert_eq!(differences.len(), 1, "a dry run tells and changes nothing");
    assert_eq!(database.sql(STATE).await, before);

    let options = Options::default().into_control_plane(true);
    let store = PgStore::connect(database.url(), &options).await.unwrap();
    assert_eq!(store.import(&demotion, false).await.unwrap().len(), 1);
    assert_eq!(database.sql(STATE).await[0], "{}");
    // An import that changes nothing is not refused.
    assert_eq!(database.store().await.import(&demotion, false).await.unwrap(), []);
}

#[tokio::test]
async fn a_proxy_of_a_control_plane_keeps_its_token() {
    for release in SOME {
        let (database, _, proxy) = control_plane(release).await;
        let before = database.sql(STATE).await;
        let token = ProxyToken::generate(proxy, |bytes| bytes.fill(7));
        let refused = database.store().await.set_proxy_token(&token).await.unwrap_err();
        assert!(matches!(refused, Error::ControlPlane { .. }), "{release}: {refused}");
        assert!(refused.to_string().contains(&proxy.to_string()), "{refused}");
        assert_eq!(database.sql(STATE).await, before, "{release}");
        let options = Options::default().into_control_plane(true);
        let store = PgStore::connect(database.url(), &options).await.unwrap();
        assert!(store.set_proxy_token(&token).await.unwrap());
        assert_ne!(database.sql(STATE).await, before, "{release}");
    }
}

#[tokio::test]
async fn an_import_that_could_not_be_carried_out_is_refused_all_the_same() {
    let (database, demotion, _) = control_plane(Release::NEWEST).await;
    let (_, store) = other_role(&database, &Options::default()).await;
    let refused = store.import(&demotion, false).await.unwrap_err();
    assert_eq!(refused, Error::ControlPlane { changes: "rows of users".to_owned() });
}
