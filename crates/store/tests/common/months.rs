//! An audit log with a table for each month

use store::PgStore;
use testkit::Database;

/// Gives an empty log a table for each of the last `months`, for this one and for those to come, as
/// if that had been done so long ago
pub(crate) async fn partition(database: &Database, store: &PgStore, months: u32) {
    store.partition_audit_log().await.unwrap();
    let earlier = format!(
        "DO $$
         DECLARE
             begins timestamptz := date_trunc('month', now()) - {months} * interval '1 month';
             month regclass;
         BEGIN
             FOR month IN SELECT m.month FROM authd_audit_months() m WHERE ends IS NOT NULL LOOP
                 EXECUTE format('DROP TABLE %s', month);
             END LOOP;
             EXECUTE format(
                 'CREATE TABLE authd_audit_log_%s PARTITION OF authd_audit_log
                  FOR VALUES FROM (%L) TO (%L)',
                 to_char(begins, 'YYYY_MM'), begins, begins + interval '1 month');
         END $$;
         SELECT authd_add_audit_months()"
    );
    database.sql(&earlier).await;
}
