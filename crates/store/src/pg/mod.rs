/// Says that the text of a statement is always the same, so that each connection
/// prepares it once
macro_rules! prepared_once {
    ($name:ident) => {
        impl diesel::query_builder::QueryId for $name<'_> {
            type QueryId = $name<'static>;

            const HAS_STATIC_QUERY_ID: bool = true;
        }
    };
}

mod accounts;
mod app_access;
mod audit_log;
mod authorized;
mod batches;
mod cancel;
mod candidates;
#[cfg(feature = "cluster")]
pub mod cluster;
mod connect;
mod crypto_keys;
mod fleet;
mod holders;
mod housekeeping;
mod import;
mod jobs;
mod journal;
mod login;
mod migrate;
mod options;
mod places;
mod pooling;
mod proxies;
mod reads;
#[rustfmt::skip] // as generated
#[allow(missing_debug_implementations, missing_docs, unreachable_pub)]
pub(crate) mod schema;
mod sessions;
#[cfg(test)]
mod tests;
mod tls;
mod url;
mod values;
mod watchdog;
mod workspaces;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use diesel::IntoSql;
use diesel::result::QueryResult;
use diesel::sql_types::Integer;
use diesel_async::RunQueryDsl;
use tokio::time::timeout;

pub use self::accounts::SessionRow;
use self::app_access::{NamedAccess, TerminalAccess};
use self::batches::Batches;
use self::candidates::InstanceId;
use self::connect::{Connection, Connector, Purpose};
pub use self::migrate::Migrations;
pub use self::options::{Options, StatementCounter};
pub use self::pooling::Pooling;
use self::reads::Reads;
use self::writes::Writes;
use crate::{Error, Store};

/// A store over PostgreSQL
///
/// Each question is one statement, prepared once per connection. Reads share a few
/// connections, and callers who ask the same question at the same time share its
/// statement. A connection that broke is replaced by the next read that meets it,
/// and that read is tried once more. Writes have a pool of their own,
/// and so has the audit journal.
///
/// ```no_run
/// use agent_auth::Candidates;
/// use store::{Migrations, Options, PgStore};
///
/// # async fn run() -> Result<(), store::Error> {
/// let store = PgStore::connect("postgresql://authd@db/coder", &Options::default()).await?;
/// // Beside a control plane that has tables of its own.
/// store.migrate(Migrations::OwnedOnly).await?;
/// let candidates = store.by_instance("i-076e9b91f7c420782").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PgStore {
    connector: Connector,
    reads: Arc<Reads>,
    candidates: Arc<Batches<InstanceId>>,
    apps: Arc<Batches<NamedAccess>>,
    terminals: Arc<Batches<TerminalAccess>>,
    writes: Writes,
    /// Its own connections, so that no other writes keep records waiting
    audit: Writes,
}

impl PgStore {
    /// A store over the database at `url`, without connecting to it yet
    ///
    /// `url` is a `postgresql://` URL or a list of `NAME=VALUE` with the parameters of libpq.
    /// With `sslmode=require`, `verify-ca` or `verify-full`, which mean the same, connections
    /// are over TLS and the server proves its name, to an authority of `sslrootcert=FILE` or of
    /// this machine; else they are in the clear. Of several hosts, the first that answers and
    /// is what `target_session_attrs` asks for is used. `connect_timeout` and
    /// `statement_timeout` in the URL take the place of those in `options`. Must be called, and
    /// the store used, within one tokio runtime.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUrl`], which names the parameter; [`Error::Tls`], which names the file,
    /// if certificates or a key cannot be used.
    pub fn new(url: &str, options: &Options) -> Result<Self, Error> {
        let connector = Connector::new(url, options)?;
        let reads = Arc::new(Reads::new(&connector, options.read_connections));
        let candidates = Arc::new(Batches::new(Arc::clone(&reads)));
        let apps = Arc::new(Batches::new(Arc::clone(&reads)));
        let terminals = Arc::new(Batches::new(Arc::clone(&reads)));
        let writes = Writes::new(connector.clone(), Purpose::Write, options.write_connections);
        let audit = Writes::new(connector.clone(), Purpose::Audit, options.audit_connections);
        Ok(Self { connector, reads, candidates, apps, terminals, writes, audit })
    }

    /// A store over the database at `url`, after making sure that it answers
    ///
    /// Whether the tables are there is not asked. A pooler is looked at once, as by
    /// [`pooling`](Self::pooling).
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new) and [`pooling`](Self::pooling).
    pub async fn connect(url: &str, options: &Options) -> Result<Self, Error> {
        let store = Self::new(url, options)?;
        let answer = store.reads.run(ping_statement).await;
        // First, as it explains why there may be no answer.
        if store.is_pooled() {
            store.pooling().await?;
        }
        answer.map(|_| store)
    }
}

impl Store for PgStore {
    async fn ping(&self) -> Result<(), Error> {
        let answer = timeout(PING_PATIENCE, self.reads.run(ping_statement)).await;
        match answer {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err(Error::unavailable("no answer within a second")),
        }
    }
}

async fn ping_statement(connection: Arc<Connection>) -> QueryResult<i32> {
    diesel::select(1.into_sql::<Integer>()).get_result(&mut &connection.inner).await
}

const PING_PATIENCE: Duration = Duration::from_secs(1);
