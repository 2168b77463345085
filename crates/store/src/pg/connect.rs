use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use diesel::result::QueryResult;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use postgres_openssl::MakeTlsConnector;
use tokio::time::timeout;
use tokio_postgres::config::{Config, SslMode};
use tokio_postgres::{Client, NoTls};

use super::Options;
use super::tables::{Catalog, Question, Tables};
use super::tls::Security;
use crate::Error;

/// Opens connections to one database
#[derive(Clone)]
pub(super) struct Connector {
    /// Its `Debug` leaves the password out
    config: Arc<Config>,
    tls: Option<MakeTlsConnector>,
    options: Options,
    /// The tables as the last connection found them, which all that find the same share
    tables: Arc<ArcSwapOption<Tables>>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("config", &self.config)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// What a connection is for
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Short statements that share the connection
    Read,
    /// Statements and transactions that have it to themselves
    Write,
    /// Statements of the audit journal, which have it to themselves
    Audit,
    /// Statements that may take as long as they need
    Migrate,
}

/// An open connection, and whether it still is
pub(super) struct Connection {
    pub(super) inner: AsyncPgConnection,
    /// The tables as they were when it was opened: its prepared statements are for these
    pub(super) tables: Arc<Tables>,
    pub(super) statement_timeout: Duration,
    closed: Arc<AtomicBool>,
}

impl Connector {
    pub(super) fn new(url: &str, options: &Options) -> Result<Self, Error> {
        // The parser's own words may quote the part of the URL it stumbled over,
        // which may be the password.
        let (security, url) = Security::of(url)?;
        let mut config: Config = url.parse().map_err(|_| Error::InvalidUrl)?;
        let tls = security.connector()?;
        // Asked for in a spelling that was not recognized: not to be taken for no word on it.
        if tls.is_none() && config.get_ssl_mode() == SslMode::Require {
            return Err(Error::InvalidUrl);
        }
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(Error::InvalidUrl);
        }
        if config.get_application_name().is_none() {
            config.application_name("authd");
        }
        // Without these a host that vanished is noticed only after minutes.
        config.keepalives_idle(KEEPALIVE_IDLE);
        config.tcp_user_timeout(options.connect_timeout + options.statement_timeout);
        let tables = Arc::default();
        Ok(Self { config: Arc::new(config), tls, options: options.clone(), tables })
    }

    /// Opens a connection, in at most the connect timeout
    pub(super) async fn connect(&self, purpose: Purpose) -> Result<Connection, Error> {
        let patience = self.options.connect_timeout;
        timeout(patience, self.open(purpose)).await.unwrap_or_else(|_| {
            let patience = patience.as_secs_f32();
            Err(Error::unavailable(format_args!("no connection within {patience} s")))
        })
    }

    async fn open(&self, purpose: Purpose) -> Result<Connection, Error> {
        match self.set_up(self.log_in().await?, purpose).await {
            // An administrator who ends all sessions also ends the newest.
            Err(_) => self.set_up(self.log_in().await?, purpose).await,
            opened => opened,
        }
    }

    async fn log_in(&self) -> Result<(Client, Arc<AtomicBool>), Error> {
        let closed = Arc::new(AtomicBool::new(false));
        let client = match &self.tls {
            Some(tls) => {
                let opened = self.config.connect(tls.clone()).await;
                let (client, connection) = opened.map_err(unavailable)?;
                tokio::spawn(attend(connection, Arc::clone(&closed)));
                client
            }
            None => {
                let opened = self.config.connect(NoTls).await;
                let (client, connection) = opened.map_err(unavailable)?;
                tokio::spawn(attend(connection, Arc::clone(&closed)));
                client
            }
        };
        Ok((client, closed))
    }

    async fn set_up(
        &self,
        (client, closed): (Client, Arc<AtomicBool>),
        purpose: Purpose,
    ) -> Result<Connection, Error> {
        let mut inner = AsyncPgConnection::try_from(client).await.map_err(Error::unavailable)?;
        inner.batch_execute(&self.settings(purpose)).await.map_err(Error::unavailable)?;
        let catalog = Catalog::read(&inner).await.map_err(Error::unavailable)?;
        if let Some(counter) = &self.options.statements {
            inner.set_instrumentation(counter.clone());
        }
        Ok(Connection {
            inner,
            tables: self.tables_of(catalog),
            statement_timeout: self.options.statement_timeout,
            closed,
        })
    }

    /// The tables that the catalog tells of
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

    /// Set after connecting rather than with it: a pooler in between forwards the
    /// one and refuses the other
    fn settings(&self, purpose: Purpose) -> String {
        let statement_timeout = match purpose {
            Purpose::Read | Purpose::Write | Purpose::Audit => {
                self.options.statement_timeout.as_millis()
            }
            Purpose::Migrate => 0,
        };
        let plans = match purpose {
            Purpose::Read => SHORT_READS,
            Purpose::Audit => "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off;",
            Purpose::Write | Purpose::Migrate => "",
        };
        format!("SET statement_timeout = {statement_timeout}; SET jit = off; {plans}")
    }
}

impl Connector {
    /// How long it takes to learn that there is no connection to be had
    pub(super) fn patience(&self) -> Duration {
        self.options.connect_timeout
    }

    pub(super) const fn options(&self) -> &Options {
        &self.options
    }
}

impl Connection {
    /// The statement for these tables: see [`Tables::text`]
    pub(super) fn text(&self, question: Question) -> QueryResult<&[String]> {
        self.tables.text(question)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Has the connection count as closed, such as one that knows earlier tables
    pub(super) fn retire(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("closed", &self.closed).finish_non_exhaustive()
    }
}

/// Drives a connection until its client is dropped or it breaks; the statements under
/// way are told why
async fn attend(
    connection: impl Future<Output = Result<(), tokio_postgres::Error>>,
    closed: Arc<AtomicBool>,
) {
    let _ = connection.await;
    closed.store(true, Ordering::Release);
}

/// What a failed connection attempt says, and why
fn unavailable(error: tokio_postgres::Error) -> Error {
    match error.source() {
        Some(source) => Error::unavailable(format_args!("{error}: {source}")),
        None => Error::unavailable(error),
    }
}

/// How statements that each read a few rows are planned
///
/// The best plan does not depend on which id is asked for, and planning costs more than
/// running it. Left alone, PostgreSQL plans the first five calls anew on every connection.
/// With few rows a bitmap and a memory of earlier rows cost more than they save, and so
/// does a table that is read whole because it was small when the plan was made.
pub(super) const SHORT_READS: &str = "\
SET plan_cache_mode = force_generic_plan; SET enable_bitmapscan = off;
SET enable_memoize = off; SET enable_seqscan = off;";

const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
