//! An audit log with a table for each month

use store::PgStore;
use testkit::Database;

/// Gives an empty log a table for each of the last `months`, for this one and for those to come, as
/// if that had been done so long ago
pub(crate) async fn partition(database: &Database, store: &PgStore, months: u32) {
    store.partition_audit_log().await.unwrap();
    remove(database, "ends IS NOT NULL").await;
    let earlier = format!(
        "DO $$
         DECLARE
             begins timestamptz := date_trunc('month', now()) - {months} * interval '1 month';
         BEGIN
             EXECUTE format(
                 'CREATE TABLE authd_audit_log_%s PARTITION OF authd_audit_log
                  FOR VALUES FROM (%L) TO (%L)',
                 to_char(begins, 'YYYY_MM'), begins, begins + interval '1 month');
         END $$;
         SELECT authd_add_audit_months()"
    );
    database.sql(&earlier).await;
}

/// Drops the tables of months, as if they had never been added
pub(crate) async fn remove(database: &Database, which: &str) {
    let tables = format!("SELECT month FROM authd_audit_months() WHERE {which}");
    for table in database.sql(&tables).await {
        database.sql(&format!("DROP TABLE {table}")).await;
    }
}
