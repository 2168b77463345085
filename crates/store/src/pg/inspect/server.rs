use std::time::{Duration, SystemTime};

use diesel::result::QueryResult;
use diesel::sql_types::{Array, Bool, Integer, Nullable, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::Clock;
use crate::inspection::{Server, Setting};
use crate::pg::pooling::Pooling;
use crate::pg::values::Moment;
use crate::pg::{PAGE_CONNECTIONS, PgStore};

impl PgStore {
    /// Describes the server and the session
    pub(super) async fn server(
        &self,
        mut connection: &AsyncPgConnection,
        pooling: Pooling,
        clock: Clock<'_>,
    ) -> QueryResult<Server> {
        let (clock_ahead, clock_precision) = clock_difference(connection, clock).await?;
        let facts: Facts = sql_query(FACTS).get_result(&mut connection).await?;
        let options = self.connector.options();
        let wanted = [
            ("jit", Some("off".to_owned())),
            ("plan_cache_mode", Some("force_generic_plan".to_owned())),
            ("statement_timeout", Some(options.statement_timeout.as_millis().to_string())),
            ("lock_timeout", None),
            ("idle_in_transaction_session_timeout", None),
            ("idle_session_timeout", None),
        ];
        let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
        let rows = sql_query("SELECT name, setting FROM pg_settings WHERE name = ANY ($1)");
        let rows: Vec<Row> = rows.bind::<Array<Text>, _>(names).load(&mut connection).await?;
        let setting = |(name, wanted): (&str, Option<String>)| {
            let row = rows.iter().find(|row| row.name == name)?;
            // What the URL sets is intended.
            let wanted = wanted.filter(|_| !self.connector.source.sets(name));
            Some(Setting { name: name.to_owned(), value: row.setting.clone(), wanted })
        };
        // Sign-in and app access have as many connections each, the question which sessions have
        // ended has one, and all other reads have one.
        let reads = options.read_connections.saturating_mul(2).saturating_add(2);
        let reads = u32::try_from(reads).unwrap_or(u32::MAX);
        let exclusive = options.write_connections.saturating_add(options.audit_connections);
        let exclusive = exclusive.saturating_add(PAGE_CONNECTIONS);
        Ok(Server {
            version: facts.version,
            database: facts.database,
            user: facts.role,
            application_name: facts.application_name,
            is_standby: facts.is_standby,
            is_read_only: facts.is_read_only,
            clock_ahead,
            clock_precision,
            pooling,
            settings: wanted.into_iter().filter_map(setting).collect(),
            connections: reads.saturating_add(exclusive),
            connection_limit: facts.connection_limit.and_then(|limit| u32::try_from(limit).ok()),
        })
    }
}

/// How many seconds the server's clock is ahead, and the precision of that
async fn clock_difference(
    mut connection: &AsyncPgConnection,
    clock: Clock<'_>,
) -> QueryResult<(f64, Duration)> {
    let before = clock();
    let row: Now = sql_query("SELECT clock_timestamp() AS now").get_result(&mut connection).await?;
    let precision = clock().duration_since(before).unwrap_or_default() / 2;
    Ok((seconds_between(before + precision, row.now.0), precision))
}

/// Seconds from one time to another, negative if that is earlier
fn seconds_between(from: SystemTime, to: SystemTime) -> f64 {
    match to.duration_since(from) {
        Ok(ahead) => ahead.as_secs_f64(),
        Err(behind) => -behind.duration().as_secs_f64(),
    }
}

#[derive(QueryableByName)]
struct Facts {
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = Text)]
    database: String,
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Text)]
    application_name: String,
    #[diesel(sql_type = Bool)]
    is_standby: bool,
    #[diesel(sql_type = Bool)]
    is_read_only: bool,
    #[diesel(sql_type = Nullable<Integer>)]
    connection_limit: Option<i32>,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    setting: String,
}

#[derive(QueryableByName)]
struct Now {
    #[diesel(sql_type = Timestamptz)]
    now: Moment,
}

/// A limit of -1 means unlimited
const FACTS: &str = "\
SELECT current_setting('server_version') AS version, current_database()::text AS database,
       current_user::text AS role, current_setting('application_name') AS application_name,
       pg_is_in_recovery() AS is_standby,
       current_setting('default_transaction_read_only')::boolean AS is_read_only,
       (SELECT min(most) FROM (
            SELECT rolconnlimit FROM pg_roles WHERE rolname = session_user
            UNION ALL
            SELECT datconnlimit FROM pg_database WHERE datname = current_database()
        ) limits (most) WHERE most >= 0) AS connection_limit";
