use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use diesel::result::QueryResult;
use diesel_async::{AsyncConnection, AsyncPgConnection};
use tokio::time::{sleep, timeout};

use super::Options;
use super::listener::Heard;
use super::login::LoggedIn;
use super::outage::{Outage, PAUSE};
use super::session::Open;
use super::sql::Sql;
use super::tables::{Catalog, Statement, Tables};
use super::timing::Statements;
use super::tls::{MakeTlsConnector, Security};
use super::url::DatabaseUrl;
use super::watchdog::{Observers, Watchdog};
use crate::Error;

/// Opens connections to one database
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) source: Source,
    pub(super) options: Options,
    /// Whether a pooler keeps settings from the server
    pub(super) pooled: Arc<AtomicBool>,
    /// The tables as the last connection found them; connections that find the same share them
    tables: Arc<ArcSwapOption<Tables>>,
    outage: Arc<Outage>,
    /// The times of the statements of all connections
    pub(super) statements: Arc<Statements>,
}

/// The way to the database
#[derive(Clone)]
pub(super) enum Source {
    Url(Arc<ByUrl>),
    /// The program that embeds the store opens the sessions
    Program(Arc<Open>),
}

/// A URL, and TLS as it asks for it
pub(super) struct ByUrl {
    pub(super) url: Arc<DatabaseUrl>,
    pub(super) tls: Option<MakeTlsConnector>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("source", &self.source)
            .field("pooled", &self.pooled)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(source) => fmt::Debug::fmt(&source.url, f),
            Self::Program(_) => f.write_str("Program"),
        }
    }
}

/// The purpose of a connection
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Short reads that share the connection
    Read,
    /// Statements and transactions that have the connection to themselves
    Write,
    /// Statements of the audit journal, which have the connection to themselves
    Audit,
    /// Pages of the audit log, which have the connection to themselves
    Page,
    /// An import or an export: statements that read and write many rows
    Import,
    /// Statements without a timeout
    Migrate,
}

/// A connection that was opened, and whether it is still open
pub(super) struct Connection {
    pub(super) inner: AsyncPgConnection,
    /// The tables as they were when the connection was opened, which its prepared statements fit
    pub(super) tables: Arc<Tables>,
    pub(super) statement_timeout: Duration,
    closed: Arc<AtomicBool>,
    heard: Arc<Heard>,
    watchdog: Option<Arc<Watchdog>>,
}

impl Connector {
    pub(super) fn new(url: &str, options: &Options) -> Result<Self, Error> {
        let mut url = DatabaseUrl::parse(url)?;
        let mut options = options.clone();
        if let Some(timeout) = url.statement_timeout {
            options.statement_timeout = timeout;
        }
        if let Some(timeout) = url.connect_timeout {
            let tries = url.hosts.len() * url.session.rounds().len();
            options.connect_timeout = timeout * u32::try_from(tries).unwrap_or(u32::MAX);
        }
        if !url.tcp_user_timeout {
            // Without this it takes minutes to notice that a host has vanished.
            url.config.tcp_user_timeout(options.connect_timeout + options.statement_timeout);
        }
        let tls = match &url.security {
            Security::Clear => None,
            Security::Tls(tls) => Some(tls.connector()?),
        };
        let source = Source::Url(Arc::new(ByUrl { url: Arc::new(url), tls }));
        Ok(Self::of(source, options))
    }

    pub(super) fn of(source: Source, options: Options) -> Self {
        Self {
            source,
            options,
            pooled: Arc::new(AtomicBool::new(false)),
            tables: Arc::default(),
            outage: Arc::default(),
            statements: Arc::default(),
        }
    }

    /// The same connector, whose connections do not count statements
    pub(super) fn uncounted(&self) -> Self {
        let mut uncounted = self.clone();
        uncounted.options.statements = None;
        uncounted
    }

    /// Opens a connection, each attempt within the connect timeout
    ///
    /// While the database restarts it is tried again.
    pub(super) async fn connect(&self, purpose: Purpose) -> Result<Connection, Error> {
        loop {
            let attempt = self.in_time(self.open(purpose)).await;
            if !self.outage.is_waited_for(&attempt) {
                return attempt;
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits for `connecting`, at most for the connect timeout
    pub(super) async fn in_time<T>(
        &self,
        connecting: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let limit = self.options.connect_timeout;
        timeout(limit, connecting).await.unwrap_or_else(|_| {
            let (place, limit) = (self.source.place(), limit.as_secs_f32());
            Err(Error::unavailable(format!("no connection to {place} within {limit} s")))
        })
    }

    async fn open(&self, purpose: Purpose) -> Result<Connection, Error> {
        match self.set_up(self.log_in(purpose).await?).await {
            // An administrator who ends all sessions also ends the newest one.
            Err(_) => self.set_up(self.log_in(purpose).await?).await,
            opened => opened,
        }
    }

    async fn set_up(&self, session: LoggedIn) -> Result<Connection, Error> {
        let LoggedIn { client, closed, heard, watchdog } = session;
        let mut inner = AsyncPgConnection::try_from(client).await.map_err(Error::unavailable)?;
        let catalog = Catalog::read(&inner).await.map_err(Error::unavailable)?;
        let counter = self.options.statements.clone();
        if watchdog.is_some() || counter.is_some() {
            inner.set_instrumentation(Observers { watchdog: watchdog.clone(), counter });
        }
        Ok(Connection {
            inner,
            tables: self.tables_of(catalog),
            statement_timeout: self.options.statement_timeout,
            closed,
            heard,
            watchdog,
        })
    }

    /// The tables that a catalog describes
    pub(super) fn tables_of(&self, catalog: Catalog) -> Arc<Tables> {
        match self.tables.load_full().filter(|known| *known.catalog() == catalog) {
            Some(known) => known,
            None => {
                let tables = Arc::new(Tables::new(catalog));
                self.tables.store(Some(Arc::clone(&tables)));
                tables
            }
        }
    }

    /// The settings that a session asks of the server, beside those of the URL
    ///
    /// They are sent while connecting and never by a statement: a pooler would hand a setting
    /// that a statement made on to other clients. A pooler refuses settings that are sent while
    /// connecting.
    pub(super) fn settings(&self, purpose: Purpose) -> Vec<(&'static str, String)> {
        let statement_timeout = match purpose {
            Purpose::Read | Purpose::Write | Purpose::Audit | Purpose::Page => {
                self.options.statement_timeout.as_millis()
            }
            Purpose::Import => IMPORT_TIMEOUT.as_millis(),
            Purpose::Migrate => 0,
        };
        let of_purpose: &[(&str, &str)] = match purpose {
            Purpose::Read => SHORT_READS,
            Purpose::Audit => AUDIT,
            Purpose::Write => &[],
            Purpose::Page => PAGES,
            Purpose::Import => IMPORTS,
            Purpose::Migrate => MIGRATIONS,
        };
        let all = EVERYWHERE.iter().chain(of_purpose);
        let all = all.map(|(name, value)| (*name, (*value).to_owned()));
        let timeout = ("statement_timeout", statement_timeout.to_string());
        std::iter::once(timeout).chain(all).collect()
    }
}

impl Source {
    /// The servers, in an error
    fn place(&self) -> String {
        match self {
            Self::Url(source) => {
                let hosts = source.url.hosts.iter().map(|host| format!("`{host}`"));
                hosts.collect::<Vec<_>>().join(", ")
            }
            Self::Program(_) => "the database".to_owned(),
        }
    }

    /// Whether the URL sets a parameter of the server
    pub(super) fn sets(&self, name: &str) -> bool {
        match self {
            Self::Url(source) => source.url.settings.get(name).is_some(),
            Self::Program(_) => false,
        }
    }
}

impl Connector {
    /// How long opening a connection may take
    pub(super) fn connect_timeout(&self) -> Duration {
        self.options.connect_timeout
    }

    /// Why the last connection could not be opened; `None` if it was
    pub(super) fn failure(&self) -> Option<Error> {
        self.outage.failure()
    }

    pub(super) fn statement_timeout(&self) -> Duration {
        self.options.statement_timeout
    }

    /// Whether a pooler kept settings from the server, as of the last connection
    pub(super) fn is_pooled(&self) -> bool {
        self.pooled.load(Ordering::Acquire)
    }

    pub(super) const fn options(&self) -> &Options {
        &self.options
    }
}

impl Connection {
    /// The text of a statement for these tables: see [`Tables::sql`]
    pub(super) fn sql(&self, statement: Statement) -> QueryResult<&Sql> {
        self.tables.sql(statement)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// What is told of notifications on the connection
    pub(super) fn heard(&self) -> Arc<Heard> {
        Arc::clone(&self.heard)
    }

    /// Makes the connection count as closed, for example because it knows outdated tables
    pub(super) fn retire(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether the connection was closed because a statement took too long
    pub(super) fn is_overdue(&self) -> bool {
        self.watchdog.as_ref().is_some_and(|watchdog| watchdog.is_overdue())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("closed", &self.closed).finish_non_exhaustive()
    }
}

/// Without `jit=off`, the server compiles each execution of a statement for which it expects many
/// rows, which takes 30 ms to 1 s even if an index finds a few rows.
const EVERYWHERE: &[(&str, &str)] = &[("jit", "off")];

/// Settings for statements that each read a few rows
///
/// The best plan does not depend on the ids, and planning costs more than executing. By default
/// PostgreSQL plans the first five calls anew on every connection. With few rows, bitmaps and
/// memoization cost more than they save. The same goes for reading a whole table because it was
/// small when the plan was made.
pub(super) const SHORT_READS: &[(&str, &str)] = &[
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_bitmapscan", "off"),
    ("enable_memoize", "off"),
    ("enable_seqscan", "off"),
];

/// The best plan of a page depends on the values. After five pages PostgreSQL would use one plan for any
/// user, which reads all rows of the busiest.
const PAGES: &[(&str, &str)] = &[("plan_cache_mode", "force_custom_plan")];

const AUDIT: &[(&str, &str)] =
    &[("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off")];

/// The longest that the database may work on one statement of an import, which may change every
/// row of a table
pub(super) const IMPORT_TIMEOUT: Duration = Duration::from_secs(600);

/// The longest that an import waits for a lock, such as that of another import
pub(super) const IMPORT_LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// Rows are staged in memory and compared by hash: with less of it, PostgreSQL writes them to
/// files. An import is idle in its transaction while it reads the document.
const IMPORTS: &[(&str, &str)] = &[
    ("lock_timeout", "60s"),
    ("idle_in_transaction_session_timeout", "0"),
    ("temp_buffers", "64MB"),
    ("work_mem", "64MB"),
];

/// A migration gives up on a table that others keep locked. The lock that keeps other migrations
/// out is held by an idle transaction.
const MIGRATIONS: &[(&str, &str)] =
    &[("lock_timeout", "60s"), ("idle_in_transaction_session_timeout", "0")];

#[cfg(test)]
mod tests {
    use testkit::Database;
    use tokio_postgres::SimpleQueryMessage;

    use super::*;

    /// The settings that a session for `purpose` has
    async fn found<const N: usize>(url: &str, purpose: Purpose, names: [&str; N]) -> [String; N] {
        let connector = Connector::new(url, &Options::default()).unwrap();
        let client = connector.log_in(purpose).await.unwrap().client;
        let columns = names.map(|name| format!("current_setting('{name}')")).join(", ");
        let messages = client.simple_query(&format!("SELECT {columns}")).await.unwrap();
        let row = messages.into_iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.unwrap();
        std::array::from_fn(|column| row.get(column).unwrap().to_owned())
    }

    #[tokio::test]
    async fn each_purpose_finds_its_settings_and_the_url_decides_over_them() {
        let database = Database::empty().await;
        let names =
            ["jit", "statement_timeout", "plan_cache_mode", "enable_seqscan", "lock_timeout"];
        for (purpose, expected) in [
            (Purpose::Read, ["off", "3s", "force_generic_plan", "off", "0"]),
            (Purpose::Write, ["off", "3s", "auto", "on", "0"]),
            (Purpose::Page, ["off", "3s", "force_custom_plan", "on", "0"]),
            (Purpose::Audit, ["off", "3s", "force_generic_plan", "off", "0"]),
            (Purpose::Import, ["off", "10min", "auto", "on", "1min"]),
            (Purpose::Migrate, ["off", "0", "auto", "on", "1min"]),
        ] {
            assert_eq!(found(database.url(), purpose, names).await, expected, "{purpose:?}");
        }

        let wish = "options=-cjit%3Don%20-cenable_seqscan=on&statement_timeout=5s&lock_timeout=1s";
        let url = format!("{}&{wish}", database.url());
        for (purpose, expected) in [
            (Purpose::Read, ["on", "5s", "force_generic_plan", "on", "1s"]),
            (Purpose::Import, ["on", "10min", "auto", "on", "1s"]),
            (Purpose::Migrate, ["on", "0", "auto", "on", "1s"]),
        ] {
            assert_eq!(found(&url, purpose, names).await, expected, "{purpose:?}");
        }
        let names = ["application_name", "TimeZone", "search_path"];
        let found_there = found(database.url(), Purpose::Write, names).await;
        assert_eq!(found_there, ["authd", "UTC", "\"$user\", public"]);
        let path = "\"My schema\", a\\b";
        let url = format!("{}&search_path=%22My%20schema%22,%20a%5Cb", database.url());
        assert_eq!(found(&url, Purpose::Write, ["search_path"]).await, [path]);
    }
}
