//! An audit log with a table for each month: how it gets them, loses them, and is written meanwhile
//!
//! `tests/ports.rs` has the rules of the log, which hold for both forms.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use app_audit::Journal;
use common::{entry, event, hour, months};
use store::{Migrations, Options, PgStore};
use testkit::{Database, Release};

/// Adds 100 rows to each month from `first` to `last`, which are counted from this one
async fn fill(database: &Database, first: i32, last: i32) {
    let rows = format!(
        "INSERT INTO authd_audit_log (id, session_id, time, user_id, organization_id, resource_type,
                                      resource_id, resource_target, action, status_code, request_id)
         SELECT id, id, date_trunc('month', now()) + m * interval '1 month' + n * interval '6 h',
                id, id, 'workspace_app', id, '', 'open', 200, id
         FROM (SELECT m, n, gen_random_uuid() AS id
               FROM generate_series({first}, {last}) m, generate_series(1, 100) n) rows"
    );
    database.sql(&rows).await;
}

async fn count(database: &Database) -> String {
    database.sql("SELECT count(*) FROM authd_audit_log").await.remove(0)
}

/// The name of each table after `authd_audit_log_`, and its number of rows
///
/// Months are counted from this one.
async fn tables(database: &Database) -> Vec<String> {
    let tables = "SELECT CASE WHEN ends IS NULL THEN 'other' ELSE
                      extract(year FROM age(ends, now))::int * 12
                      + extract(month FROM age(ends, now)) - 1 || '' END, count(l.id)
                  FROM (SELECT *, date_trunc('month', now()) AS now FROM authd_audit_months()) m
                  LEFT JOIN authd_audit_log l ON l.tableoid = m.month
                  GROUP BY month, ends, now ORDER BY ends";
    database.sql(tables).await
}

/// What is asked of the log as a whole: its indexes, rights and number of rows
async fn whole(database: &Database) -> Vec<String> {
    let whole = "SELECT replace(indexdef, ' ON ONLY ', ' ON ') FROM pg_indexes
                 WHERE tablename = 'authd_audit_log' AND indexname <> 'authd_audit_log_pkey'
                 UNION ALL SELECT 'owner ' || relowner::regrole FROM pg_class
                 WHERE oid = 'authd_audit_log'::regclass
                 UNION ALL SELECT grantee || privilege_type || is_grantable
                 FROM information_schema.table_privileges WHERE table_name = 'authd_audit_log'
                 UNION ALL SELECT grantee || column_name || privilege_type || is_grantable
                 FROM information_schema.column_privileges WHERE table_name = 'authd_audit_log'
                 UNION ALL SELECT column_name || data_type || is_nullable || coalesce(column_default, '')
                 FROM information_schema.columns WHERE table_name = 'authd_audit_log'
                 UNION ALL SELECT count(*) || ' rows' FROM authd_audit_log
                 ORDER BY 1";
    database.sql(whole).await
}

/// A role with rights to the log, and the URL to connect as it
async fn role(database: &Database, rights: &str) -> (String, String) {
    let role = format!("months {}", uuid::Uuid::new_v4().simple());
    let rights = rights.replace("ROLE", &format!("\"{role}\""));
    database.sql(&format!("CREATE ROLE \"{role}\" LOGIN; {rights}")).await;
    let url = database.url().replace("user=authd", &format!("user={}", role.replace(' ', "%20")));
    (role, url)
}

#[tokio::test]
async fn a_log_keeps_its_rows_indexes_and_rights() {
    let database = Database::new().await;
    let store = database.store().await;
    // A row of a clock that is ahead.
    fill(&database, -14, 0).await;
    fill(&database, 1, 1).await;
    let rights = "GRANT SELECT, INSERT ON authd_audit_log TO ROLE;
                  GRANT UPDATE (resource_icon), REFERENCES (id) ON authd_audit_log TO ROLE
                  WITH GRANT OPTION;
                  GRANT TRUNCATE ON authd_audit_log TO PUBLIC";
    role(&database, rights).await;
    // An operator's own.
    database.sql("CREATE INDEX \"by agent\" ON authd_audit_log (user_agent)").await;
    let before = whole(&database).await;

    let first = store.partition_audit_log().await.unwrap();
    assert_eq!(whole(&database).await, before);
    assert_eq!(tables(&database).await, ["2|1600", "other|0"]);
    let names: Vec<_> = first.iter().map(|month| &*month.table).collect();
    let before_it = "SELECT to_char(date_trunc('month', now()) + interval '3 months', 'YYYY_MM')";
    let before_it = database.sql(before_it).await.remove(0);
    let expected = [&*format!("authd_audit_log_before_{before_it}"), "authd_audit_log_other"];
    assert_eq!(names, expected);

    // Again, there is nothing to do.
    assert_eq!(store.partition_audit_log().await.unwrap(), first);
    assert_eq!(whole(&database).await, before);
}

#[tokio::test]
async fn servers_write_meanwhile() {
    let database = Database::new().await;
    fill(&database, -3, 0).await;
    let done = Arc::new(AtomicBool::new(false));
    let device = Arc::new(AtomicU32::new(0));
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let (store, done, device) = (database.store().await, done.clone(), device.clone());
        replicas.push(tokio::spawn(async move {
            let mut written = 0;
            while !done.load(Ordering::Relaxed) {
                let first = device.fetch_add(10, Ordering::Relaxed);
                let visits: Vec<_> = (first..first + 10).map(|n| entry(&event(n))).collect();
                // A caller that does not know the outcome asks again.
                for _ in 0..2 {
                    store.note(&visits, hour().close(true)).await.unwrap();
                }
                written += visits.len();
            }
            written
        }));
    }
    let store = database.store().await;
    // Of a long transaction. The others would wait for its end if something waited behind it.
    let held = database.hold("SELECT count(*) FROM authd_audit_log").await;
    let rows_so_far = count(&database).await;
    let (partitioned, ()) = tokio::join!(store.partition_audit_log(), async {
        held.wait_for_other().await;
        while count(&database).await == rows_so_far {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        held.commit().await;
    });
    partitioned.unwrap();
    let partitioned = count(&database).await;
    while count(&database).await == partitioned {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    done.store(true, Ordering::Relaxed);
    let mut written = 0;
    for replica in replicas {
        written += replica.await.unwrap();
    }
    let rows = database.sql("SELECT count(*), count(DISTINCT id) FROM authd_audit_log").await;
    assert_eq!(rows, [format!("{0}|{0}", 400 + written)]);
}

#[tokio::test]
async fn a_log_stays_as_it_was_if_it_cannot_have_months() {
    let database = Database::new().await;
    fill(&database, 0, 0).await;
    let (_, url) = role(&database, "GRANT SELECT ON authd_audit_log TO ROLE").await;
    let before = whole(&database).await;
    let other = PgStore::connect(&url, &Options::default()).await.unwrap();
    let error = other.partition_audit_log().await.unwrap_err().to_string();
    assert!(error.contains("must be owner of"), "{error}");
    // A view of an operator may have the name of a month.
    let month = "SELECT format('CREATE VIEW authd_audit_log_%s AS SELECT 1',
                               to_char(date_trunc('month', now()) + interval '2 months', 'YYYY_MM'))";
    let view = database.sql(month).await.remove(0);
    database.sql(&view).await;
    let error = database.store().await.partition_audit_log().await.unwrap_err().to_string();
    assert!(error.contains("already exists"), "{error}");
    assert_eq!(whole(&database).await, before);
    let left =
        "SELECT conname FROM pg_constraint WHERE conname ~ 'authd_audit_log' AND contype = 'c'
                UNION ALL SELECT relname FROM pg_class WHERE relname ~ 'id_and_time|other|before'";
    assert_eq!(database.sql(left).await, [""; 0]);
}

#[tokio::test]
async fn servers_add_the_months_to_come_and_drop_old_ones() {
    let database = Database::new().await;
    let owner = database.store().await;
    months::partition(&database, &owner, 6).await;
    let no_months: Vec<_> = (-6..=2).map(|month| format!("{month}|0")).collect();
    assert_eq!(tables(&database).await[..9], no_months[..]);
    let rights = "GRANT SELECT, INSERT, DELETE, UPDATE (resource_icon) ON authd_audit_log TO ROLE";
    let (name, url) = role(&database, rights).await;
    let server = PgStore::connect(&url, &Options::default()).await.unwrap();

    // Months are missing, and rows of them are where rows of any other time are.
    months::remove(&database, "ends > now()").await;
    fill(&database, -8, 4).await;
    assert_eq!(tables(&database).await.last().unwrap(), "other|700");
    let (first, second) = tokio::join!(server.prepare(), owner.prepare());
    first.and(second).unwrap();
    let expected: Vec<_> = (-6..=2).map(|month| format!("{month}|100")).collect();
    assert_eq!(tables(&database).await[..9], expected[..]);
    assert_eq!(tables(&database).await[9], "other|400");

    // Rows of before the first month are deleted one by one.
    database.sql("ANALYZE authd_audit_log").await;
    // Since the third month before this one was ten days old.
    let since = "SELECT extract(epoch FROM now() - interval '10 days'
                        - (date_trunc('month', now()) - interval '3 months'))::bigint";
    let keep = Duration::from_secs(database.sql(since).await[0].parse().unwrap());
    assert_eq!(server.forget(keep, 150).await.unwrap(), 300 + 150);
    assert_eq!(server.forget(keep, 150).await.unwrap(), 50);
    assert_eq!(server.forget(keep, 150).await.unwrap(), 0);
    let left = tables(&database).await;
    assert_eq!((&*left[0], &*left[left.len() - 1]), ("-3|100", "other|200"));

    // A role without the right to delete rows may not drop their tables.
    database.sql(&format!("REVOKE DELETE ON authd_audit_log FROM \"{name}\"")).await;
    let error = server.forget(Duration::from_secs(1), 1).await.unwrap_err().to_string();
    assert!(error.contains("permission denied for table authd_audit_log"), "{error}");
    assert_eq!(tables(&database).await, left);
}

#[tokio::test]
async fn the_schema_of_the_tables_counts() {
    let database = Database::empty().await;
    database.sql("CREATE SCHEMA \"It's 50% mine\"; CREATE SCHEMA first").await;
    let of = |path: &str| format!("{}&search_path={path}", database.url());
    let mine = "%22It%27s 50%25 mine%22".replace(' ', "%20");
    let owner = PgStore::connect(&of(&mine), &Options::default()).await.unwrap();
    owner.migrate(Migrations::All).await.unwrap();
    // The tables are not in the first schema of the path.
    let store = PgStore::connect(&of(&format!("first,{mine}")), &Options::default()).await.unwrap();
    let months = store.partition_audit_log().await.unwrap();
    assert_eq!(months.len(), 3);
    store.prepare().await.unwrap();
    let elsewhere = "SELECT count(*) FROM pg_class WHERE relnamespace = 'first'::regnamespace";
    assert_eq!(database.sql(elsewhere).await, ["0"]);
    let found =
        "SELECT nspname, count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                 WHERE relname LIKE 'authd\\_audit\\_log%' AND relkind IN ('r', 'p') GROUP BY 1";
    assert_eq!(database.sql(found).await, ["It's 50% mine|4"]);
}

#[tokio::test]
async fn months_are_those_of_utc_in_any_session() {
    let utc = Database::new().await.store().await.partition_audit_log().await.unwrap();
    for settings in ["timezone = 'Asia/Tokyo'", "datestyle = 'SQL, DMY'"] {
        let database = Database::new().await;
        let name = database.sql("SELECT current_database()").await.remove(0);
        database.sql(&format!("ALTER DATABASE {name} SET {settings}")).await;
        let store = database.store().await;
        assert_eq!(store.partition_audit_log().await.unwrap(), utc, "{settings}");
        database.sql(&format!("DROP TABLE {}", utc[1].table)).await;
        store.prepare().await.unwrap();
        assert_eq!(store.partition_audit_log().await.unwrap(), utc, "{settings}");
    }
}

#[tokio::test]
async fn authd_leaves_with_all_months() {
    let database = Database::of_release(Release::NEWEST).await;
    let store = database.store().await;
    store.partition_audit_log().await.unwrap();
    fill(&database, 0, 3).await;
    let removed = store.remove_owned().await.unwrap();
    let log = removed.iter().find(|owned| owned.name == "authd_audit_log").unwrap();
    assert_eq!(log.rows, Some(400));
    let left = "SELECT relname FROM pg_class WHERE relname LIKE 'authd%'
                UNION ALL SELECT proname FROM pg_proc WHERE proname LIKE 'authd%'";
    assert_eq!(database.sql(left).await, [""; 0]);
}
