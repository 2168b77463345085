//! Opens sessions: hosts, TLS, and the settings of a session

use std::error::Error as _;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use postgres_openssl::MakeTlsConnector;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use tokio_postgres::config::Config;
use tokio_postgres::error::SqlState;
use tokio_postgres::{CancelToken, Client, NoTls, SimpleQueryMessage};
use uuid::Uuid;

use super::cancel::{Endpoint, cancel};
use super::connect::{Connector, Purpose};
use super::tls::Security;
use super::url::{Host, SessionAttributes, to_options};
use super::watchdog::Watchdog;
use crate::Error;

/// A session on a server that satisfies the URL
pub(super) struct LoggedIn {
    pub(super) client: Client,
    pub(super) closed: Arc<AtomicBool>,
    /// Enforces the statement timeout if the server does not
    pub(super) watchdog: Option<Arc<Watchdog>>,
}

impl Connector {
    /// Tries one host after another
    ///
    /// Each may take the `connect_timeout`, or an equal share of the time that is left.
    pub(super) async fn log_in(&self, purpose: Purpose) -> Result<LoggedIn, Error> {
        let deadline = Instant::now() + self.connect_timeout();
        let tls = self.tls().await?;
        let mut hosts: Vec<&Host> = self.url.hosts.iter().collect();
        if self.url.random_order {
            hosts.sort_by_cached_key(|_| Uuid::new_v4());
        }
        let rounds = self.url.session.rounds();
        let mut tries = hosts.len() * rounds.len();
        let mut failures = Vec::new();
        for attributes in rounds {
            for host in &hosts {
                let left = deadline.saturating_duration_since(Instant::now());
                let share = left / u32::try_from(tries).unwrap_or(u32::MAX).max(1);
                let share = self.url.connect_timeout.map_or(share, |given| given.min(left));
                tries -= 1;
                let attempt = Attempt { attributes: *attributes, purpose, tls: tls.as_ref() };
                match self.log_in_at(host, attempt, share).await {
                    Ok(session) => return Ok(session),
                    Err(failure) => failures.push(format!("`{host}`: {failure}")),
                }
            }
        }
        Err(Error::unavailable(failures.join("; ")))
    }

    /// The TLS configuration of the next connection
    ///
    /// Files are read each time: short-lived certificates are replaced while authd runs.
    async fn tls(&self) -> Result<Option<MakeTlsConnector>, Error> {
        match &self.url.security {
            Security::Tls(tls) if tls.names_files() => {
                let tls = tls.clone();
                let read = spawn_blocking(move || tls.connector()).await;
                match read.map_err(Error::unavailable)? {
                    Ok(connector) => Ok(Some(connector)),
                    // A file that is being replaced may be complete a moment later.
                    Err(error) => Err(Error::unavailable(error)),
                }
            }
            _ => Ok(self.tls.clone()),
        }
    }

    /// Tries one address of a host after another, each for an equal share of the time
    async fn log_in_at(
        &self,
        host: &Host,
        attempt: Attempt<'_>,
        time: Duration,
    ) -> Result<LoggedIn, String> {
        let deadline = Instant::now() + time;
        let late = || format!("no connection within {:.1} s", time.as_secs_f32());
        let found = timeout(time, host.endpoints()).await.map_err(|_| late())?;
        let mut endpoints = found.map_err(|error| error.to_string())?;
        if self.url.random_order {
            endpoints.sort_by_cached_key(|_| Uuid::new_v4());
        }
        let mut failure = "its name has no address".to_owned();
        for (tried, endpoint) in endpoints.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(endpoints.len() - tried).unwrap_or(u32::MAX);
            let config = host.config(&self.url.config, endpoint);
            let session = self.log_in_with(config, host, endpoint, attempt);
            failure = match timeout(share, session).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(failure)) => failure,
                Err(_) => late(),
            };
        }
        Err(failure)
    }

    async fn log_in_with(
        &self,
        mut config: Config,
        host: &Host,
        endpoint: &Endpoint,
        attempt: Attempt<'_>,
    ) -> Result<LoggedIn, String> {
        if self.url.passfile.is_some() {
            let (url, host) = (Arc::clone(&self.url), host.clone());
            let read = spawn_blocking(move || url.password(&host)).await;
            let password = read.map_err(|error| error.to_string())?;
            if let Some(password) = password.map_err(|error| error.to_string())? {
                config.password(password.reveal());
            }
        }
        if !self.is_pooled() {
            let mut config = config.clone();
            match start(config.options(self.all_settings(attempt.purpose)), attempt.tls).await {
                Err(error) if refuses_settings(&error) => {}
                started => {
                    let started = started.map_err(|error| describe(&error))?;
                    return self.accept(started, endpoint, attempt).await;
                }
            }
        }
        if !self.url.settings.0.is_empty() {
            config.options(to_options(self.url.settings.iter()));
        }
        let started =
            start(&config, attempt.tls).await.map_err(|error| match refuses_settings(&error) {
                true => format!("{}: {}", self.lost_settings(), describe(&error)),
                false => describe(&error),
            })?;
        self.accept(started, endpoint, attempt).await
    }

    /// The settings of the URL, and those of authd that the URL does not set
    fn all_settings(&self, purpose: Purpose) -> String {
        let of_url = &self.url.settings;
        let ours = self.settings(purpose);
        let ours = ours.iter().map(|(name, value)| (*name, value.as_str()));
        let ours = ours.filter(|(name, _)| of_url.get(name).is_none());
        to_options(ours.chain(of_url.iter()).chain([(MARK, "on")]))
    }

    /// Checks whether the session of a host can be used
    async fn accept(
        &self,
        started: Started,
        endpoint: &Endpoint,
        attempt: Attempt<'_>,
    ) -> Result<LoggedIn, String> {
        let Started { client, closed, guard } = started;
        let state = State::of(&client).await?;
        if let Some(fault) = attempt.attributes.fault(state.is_standby, state.is_read_only) {
            return Err(fault.to_owned());
        }
        let pooled = !state.has_settings;
        if pooled {
            // Another schema may have other tables of the same names, and another role may have
            // other rights.
            for (name, actual) in [("search_path", &state.search_path), ("role", &state.role)] {
                let wanted = self.url.settings.get(name);
                if wanted.is_some_and(|wanted| without_blanks(wanted) != without_blanks(actual)) {
                    return Err(self.lost_settings());
                }
            }
        }
        self.pooled.store(pooled, Ordering::Release);
        let has_timeout = !matches!(attempt.purpose, Purpose::Import | Purpose::Migrate);
        let watchdog = (pooled && has_timeout).then(Arc::<Watchdog>::default);
        if let Some(watchdog) = &watchdog {
            let _ = guard.send(Guard {
                watchdog: Arc::clone(watchdog),
                limit: self.statement_timeout() + GRACE,
                token: client.cancel_token(),
                endpoint: endpoint.clone(),
                tls: attempt.tls.cloned(),
            });
        }
        Ok(LoggedIn { client, closed, watchdog })
    }

    fn lost_settings(&self) -> String {
        format!(
            "a pooler in between keeps {} from the server; \
             set this with `ALTER ROLE … SET`, or at the pooler, and not in the URL",
            self.url.settings.names()
        )
    }
}

/// The requirements on a session
#[derive(Clone, Copy)]
struct Attempt<'a> {
    attributes: SessionAttributes,
    purpose: Purpose,
    tls: Option<&'a MakeTlsConnector>,
}

/// A session on which no statement was sent yet
struct Started {
    client: Client,
    closed: Arc<AtomicBool>,
    guard: oneshot::Sender<Guard>,
}

async fn start(
    config: &Config,
    tls: Option<&MakeTlsConnector>,
) -> Result<Started, tokio_postgres::Error> {
    let closed = Arc::new(AtomicBool::new(false));
    let (guard, guarded) = oneshot::channel();
    let client = match tls {
        Some(tls) => {
            let (client, connection) = config.connect(tls.clone()).await?;
            tokio::spawn(attend(connection, Arc::clone(&closed), guarded));
            client
        }
        None => {
            let (client, connection) = config.connect(NoTls).await?;
            tokio::spawn(attend(connection, Arc::clone(&closed), guarded));
            client
        }
    };
    Ok(Started { client, closed, guard })
}

/// Closes a connection whose statement takes too long
struct Guard {
    watchdog: Arc<Watchdog>,
    limit: Duration,
    token: CancelToken,
    endpoint: Endpoint,
    tls: Option<MakeTlsConnector>,
}

/// Drives a connection until its client is dropped, it breaks, or a statement takes too long
///
/// Statements that are running then fail as on a closed connection.
async fn attend(
    connection: impl Future<Output = Result<(), tokio_postgres::Error>>,
    closed: Arc<AtomicBool>,
    guarded: oneshot::Receiver<Guard>,
) {
    let connection = pin!(connection);
    let overdue = pin!(async {
        match guarded.await {
            Ok(guard) => {
                guard.watchdog.overdue(guard.limit).await;
                guard
            }
            Err(_) => pending().await,
        }
    });
    let ended = select(connection, overdue).await;
    closed.store(true, Ordering::Release);
    if let Either::Right((guard, _connection)) = ended {
        // While the connection still exists: without it a pooler no longer knows what to cancel.
        let _ = timeout(CANCEL, cancel(&guard.token, &guard.endpoint, guard.tls.as_ref())).await;
    }
}

/// The state of a session
struct State {
    /// Whether the settings that were sent while connecting have reached the server
    has_settings: bool,
    search_path: String,
    role: String,
    is_standby: bool,
    is_read_only: bool,
}

impl State {
    /// Reads the state in one statement that is not prepared
    async fn of(client: &Client) -> Result<Self, String> {
        let messages = client.simple_query(STATE).await.map_err(|error| describe(&error))?;
        let row = messages.into_iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.ok_or("the server does not answer queries")?;
        let text = |column| row.try_get(column).ok().flatten().unwrap_or_default();
        Ok(Self {
            has_settings: text(0) == "on",
            search_path: text(1).to_owned(),
            role: text(2).to_owned(),
            is_standby: text(3) == "t",
            is_read_only: text(4) == "on",
        })
    }
}

/// Whether the other side refuses settings that are sent while connecting
///
/// PgBouncer answers `unsupported startup parameter`, others that they do not support
/// command-line options. A server that does not know a setting answers differently.
fn refuses_settings(error: &tokio_postgres::Error) -> bool {
    let Some(error) = error.as_db_error() else { return false };
    let said = error.message();
    match *error.code() {
        SqlState::PROTOCOL_VIOLATION | SqlState::FEATURE_NOT_SUPPORTED => {
            said.contains("startup parameter") || said.contains("options")
        }
        _ => said.contains("unsupported startup parameter"),
    }
}

/// The message of a failed attempt, with its cause
fn describe(error: &tokio_postgres::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn without_blanks(text: &str) -> String {
    text.split_whitespace().collect()
}

/// A setting without effect: a session that has it has received the others as well
const MARK: &str = "authd.settings";

const STATE: &str = "\
SELECT current_setting('authd.settings', true), current_setting('search_path'),
       current_setting('role'), pg_is_in_recovery(), current_setting('transaction_read_only')";

/// How much longer this side waits than the server would, whose own timeout keeps the connection
/// open
const GRACE: Duration = Duration::from_millis(500);

/// The longest that cancelling a statement may take
const CANCEL: Duration = Duration::from_millis(500);
