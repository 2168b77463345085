#[macro_use]
mod sql;

mod accounts;
mod acts;
mod app_access;
mod audit_log;
mod authorized;
mod batches;
mod cancel;
mod candidates;
mod connect;
mod crypto_keys;
mod export;
mod failure;
mod fleet;
mod holders;
mod housekeeping;
mod import;
mod inspect;
mod jobs;
mod journal;
mod listener;
mod listing;
mod login;
mod migrate;
mod options;
mod outage;
mod permissions;
mod places;
#[cfg(test)]
mod plans;
mod pooling;
mod provider;
mod proxies;
mod reads;
mod refresh;
mod replay;
mod revocations;
#[rustfmt::skip] // as generated
#[allow(missing_debug_implementations, missing_docs, unreachable_pub)]
pub(crate) mod schema;
mod session;
mod sessions;
mod sharing;
mod tables;
#[cfg(test)]
mod tests;
mod timing;
mod tls;
pub mod transaction;
mod url;
mod values;
mod watchdog;
mod workspaces;
mod writes;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use diesel_async::RunQueryDsl;
use tokio::sync::Mutex;
use tokio::time::timeout;

pub use self::accounts::SessionRow;
use self::app_access::{NamedAccess, TerminalAccess};
use self::batches::Batches;
use self::candidates::Asked;
use self::connect::{Connection, Connector, Purpose, Source};
pub use self::crypto_keys::ActiveKey;
use self::housekeeping::Forgotten;
use self::listener::Listener;
pub use self::migrate::{AuditMonth, FormerRecord, Migrated, Migrations, Owned, Owner};
pub use self::options::{Options, StatementCounter};
pub use self::pooling::Pooling;
use self::reads::Reads;
use self::session::BoxError;
pub use self::session::{Opening, Session};
use self::tables::{Catalog, Statement, Tables};
pub use self::tables::{Generation, Grants, Right};
use self::writes::Writes;
use crate::facts::{Facts, Question};
use crate::{EncryptionKeys, Error, Store};

/// A store over PostgreSQL
///
/// Each question is one statement, prepared once per connection. Reads share a few connections,
/// and callers who ask the same question at the same time share a statement. A read that finds
/// its connection broken replaces it and is tried once more. Writes have a pool of their own,
/// and so has the audit journal.
///
/// ```no_run
/// use agent_auth::{Candidates, ProvenInstance};
/// use store::{Migrations, Options, PgStore};
///
/// # async fn run() -> Result<(), store::Error> {
/// let store = PgStore::connect("postgresql://authd@db/coder", &Options::default()).await?;
/// // Beside a control plane that has tables of its own.
/// store.migrate(Migrations::OwnedOnly).await?;
/// let instance = ProvenInstance::assume_verified("i-076e9b91f7c420782");
/// let candidates = store.by_instance(instance).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PgStore {
    connector: Connector,
    /// The connections of sign-in, those of app access, and one for all other reads: a table
    /// that is locked or slow delays only the statements that need it
    sign_in: Arc<Reads>,
    access: Arc<Reads>,
    reads: Arc<Reads>,
    /// A connection for the question which sessions have ended: it is asked every second, so it
    /// neither waits for other reads nor counts among statements
    watch: Arc<Reads>,
    /// Hears of what may have ended
    listener: Listener,
    /// The statements that the tables must fit
    statements: Vec<Statement>,
    candidates: Arc<Batches<Asked>>,
    apps: Arc<Batches<NamedAccess>>,
    terminals: Arc<Batches<TerminalAccess>>,
    writes: Writes,
    /// Connections of the audit journal, so that other writes do not delay it
    audit: Writes,
    /// Connections of pages of the audit log: a reader who is in no hurry delays nothing else
    pages: Writes,
    visits_forgotten: Forgotten,
    acts_forgotten: Forgotten,
    /// Whether visits are also written where the control plane looks for them
    mirror: bool,
    encryption_keys: EncryptionKeys,
    /// Held by an import, so that at most one has a connection
    import: Mutex<()>,
}

impl PgStore {
    /// Creates a store over the database at `url`, without connecting to it yet
    ///
    /// `url` is a `postgresql://` URL or a list of `NAME=VALUE`, with the parameters of libpq.
    /// `sslmode=require`, `verify-ca` and `verify-full` mean the same: connections use TLS, and
    /// the server's certificate must be valid for its name and issued by an authority of
    /// `sslrootcert=FILE`, or of this machine without that. With any other `sslmode`
    /// connections are not encrypted. Of several hosts, the first one is used that answers and
    /// satisfies `target_session_attrs`. `connect_timeout` and `statement_timeout` in the URL
    /// override those in `options`. The store must be created and used within one tokio
    /// runtime.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUrl`], which names the parameter. [`Error::Tls`] if certificates or a
    /// key cannot be used, which names the file.
    pub fn new(url: &str, options: &Options) -> Result<Self, Error> {
        Ok(Self::over(Connector::new(url, options)?))
    }

    /// Creates a store whose connections `connect` opens, without connecting to the database yet
    ///
    /// `connect` is called for each new connection, so it may fetch a new password each time, and
    /// it chooses TLS. [`Opening::connect`] opens the session with the settings that the store
    /// needs. No other part of the program uses these connections, and each call is to open a new
    /// one: the store keeps statements prepared on them, sends several at the same time, and sets
    /// parameters of the session that would be wrong elsewhere. For the same reason they cannot be
    /// taken from a pool that the program has; [`Options`] limits their number.
    ///
    /// Each call may take [`Options::connect_timeout`]. The store must be created and used within
    /// one tokio runtime. Call [`pooling`](Self::pooling) once if there may be a pooler before
    /// the database.
    #[must_use]
    pub fn from_connect<F, T, E>(connect: F, options: &Options) -> Self
    where
        F: Fn(Opening) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Session, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let open = move |opening| -> Pin<Box<dyn Future<Output = _> + Send>> {
            let opened = connect(opening);
            Box::pin(async move { opened.await.map_err(Into::<BoxError>::into) })
        };
        Self::over(Connector::of(Source::Program(Arc::new(open)), options.clone()))
    }

    fn over(connector: Connector) -> Self {
        let options = connector.options();
        let reads = |connections| Arc::new(Reads::new(&connector, connections));
        let (sign_in, access) = (reads(options.read_connections), reads(options.read_connections));
        let reads = reads(1);
        let watch = Arc::new(Reads::new(&connector.uncounted(), 1));
        let candidates = Arc::new(Batches::new(Arc::clone(&sign_in)));
        let apps = Arc::new(Batches::new(Arc::clone(&access)));
        let terminals = Arc::new(Batches::new(Arc::clone(&access)));
        let of_apps = Statement::OF_APPS.into_iter().filter(|_| options.app_access);
        let mirror = options.mirror_audit && options.app_access;
        let mirrored = mirror.then_some(Statement::Mirror);
        let of_sign_in = options.sign_in.then_some(Statement::Candidates);
        let pins = options.identity_pins.then_some(Statement::PinnedCandidates);
        let of_sign_in = of_sign_in.into_iter().chain(pins.filter(|_| options.sign_in));
        let statements = of_sign_in.chain(of_apps).chain(mirrored).collect();
        let writes = Writes::new(connector.clone(), Purpose::Write, options.write_connections);
        let audit = Writes::new(connector.clone(), Purpose::Audit, options.audit_connections);
        let pages = Writes::new(connector.clone(), Purpose::Page, PAGE_CONNECTIONS);
        let encryption_keys = options.encryption_keys.clone();
        Self {
            connector,
            sign_in,
            access,
            reads,
            watch,
            listener: Listener::default(),
            statements,
            candidates,
            apps,
            terminals,
            writes,
            audit,
            pages,
            visits_forgotten: Forgotten::default(),
            acts_forgotten: Forgotten::default(),
            mirror,
            encryption_keys,
            import: Mutex::default(),
        }
    }

    /// Returns the servers and the database that `url` names, without user and password
    ///
    /// For example `postgres://db1:5432,db2:5432/coder`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUrl`], which names the parameter.
    pub fn describe(url: &str) -> Result<String, Error> {
        Ok(url::DatabaseUrl::parse(url)?.describe())
    }

    /// Creates a store over the database at `url`, and checks that the database answers
    ///
    /// Does not check that the tables exist. Examines a pooler once, as
    /// [`pooling`](Self::pooling) does.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new) and [`pooling`](Self::pooling); [`Error::Unavailable`].
    pub async fn connect(url: &str, options: &Options) -> Result<Self, Error> {
        let store = Self::new(url, options)?;
        let answer = store.current_tables().await;
        // First: a fault of the pooler may be why there is no answer.
        if store.is_pooled() {
            store.pooling().await?;
        }
        answer.map(|_| store)
    }
}

impl PgStore {
    /// Reads the catalog for the tables as they are now
    async fn current_tables(&self) -> Result<Arc<Tables>, Error> {
        self.current_tables_over(&self.sign_in).await
    }

    async fn current_tables_over(&self, reads: &Reads) -> Result<Arc<Tables>, Error> {
        let catalog = reads.ask(Question::Catalog, async |connection: Arc<Connection>| {
            let catalog = Catalog::read(&connection.inner).await?;
            if catalog != *connection.tables.catalog() {
                connection.retire();
            }
            Ok(catalog)
        });
        Ok(self.connector.tables_of(catalog.await?))
    }
}

impl PgStore {
    /// Fails if the database accepts no writes
    async fn check_writable(&self, reads: &Reads) -> Result<(), Error> {
        let is_read_only = reads.ask(Question::Catalog, async |connection: Arc<Connection>| {
            let setting = "current_setting('transaction_read_only')::boolean";
            let asked = diesel::select(diesel::dsl::sql::<diesel::sql_types::Bool>(setting));
            let is_read_only: bool = asked.get_result(&mut &connection.inner).await?;
            if is_read_only {
                // After a failover the next connection may lead to the new primary.
                connection.retire();
            }
            Ok(is_read_only)
        });
        match is_read_only.await? {
            true => Err(Error::unavailable("the database accepts no writes")),
            false => Ok(()),
        }
    }

    /// Checks over these connections that the database can be used
    async fn ping_over(&self, reads: &Reads) -> Result<(), Error> {
        let tables = timeout(PING_TIMEOUT, self.current_tables_over(reads)).await;
        let tables = tables.map_err(|_| Error::unavailable("no answer within a second"))??;
        tables.fit(&self.statements).map_err(Error::Tables)?;
        if self.statements.is_empty() {
            tables.have_own().map_err(Error::Tables)?;
        }
        let options = self.connector.options();
        if options.needs_writes || (options.sign_in && options.identity_pins) {
            let writable = timeout(PING_TIMEOUT, self.check_writable(reads)).await;
            writable.map_err(|_| Error::unavailable("no answer within a second"))??;
        }
        Ok(())
    }
}

impl Store for PgStore {
    async fn ping(&self) -> Result<(), Error> {
        self.ping_over(&self.sign_in).await
    }

    async fn probe(&self) -> Result<(), Error> {
        self.ping_over(&self.watch).await
    }

    fn facts(&self) -> Facts {
        let of_apps = self.apps.waiting() + self.terminals.waiting();
        let pools = vec![
            self.sign_in.facts("sign_in", self.candidates.waiting()),
            self.access.facts("access", of_apps),
            self.reads.facts("reads", 0),
            self.watch.facts("watch", 0),
            self.writes.facts("writes"),
            self.audit.facts("audit"),
            self.pages.facts("pages"),
        ];
        Facts { questions: self.connector.statements.facts(), pools }
    }
}

/// Enough for a few people, and so few that they do not keep the database busy
const PAGE_CONNECTIONS: u32 = 2;

const PING_TIMEOUT: Duration = Duration::from_secs(1);
