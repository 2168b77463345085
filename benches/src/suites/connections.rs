//! Connections of tokio-postgres' own for floors, and the texts of our statements

use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls};

/// A connection with the settings of the server
pub(super) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A connection with the settings that ours have for short reads
pub(super) async fn connect_for_reads(url: &str) -> Client {
    let client = connect(url).await;
    let settings = "SET jit = off; SET plan_cache_mode = force_generic_plan;
                    SET enable_bitmapscan = off; SET enable_memoize = off; SET enable_seqscan = off";
    client.batch_execute(settings).await.unwrap();
    client
}

/// The statement with which the store reads what a request for an app leads to, word for word
///
/// [`APP_BY_NAME_TYPES`] are its parameters.
pub(super) fn app_by_name() -> &'static str {
    let mut statements = READS.split("\n\n").filter(|text| text.contains("port, key_id, n)"));
    let text = statements.next().unwrap();
    assert!(statements.next().is_none(), "several statements read apps by name");
    text
}

/// The statements that the store prepares, from the snapshots of its tests
const READS: &str =
    include_str!("../../../crates/store/src/pg/snapshots/store__pg__tests__reads.snap");

/// Names of owners and of workspaces, slugs, ports, and ids of keys
pub(super) const APP_BY_NAME_TYPES: [Type; 5] =
    [Type::TEXT_ARRAY, Type::TEXT_ARRAY, Type::TEXT_ARRAY, Type::INT4_ARRAY, Type::TEXT_ARRAY];
