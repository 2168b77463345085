//! Opens sessions: hosts, TLS, and the settings of a session

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use tokio_postgres::config::Config;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use uuid::Uuid;

use super::cancel::{Endpoint, cancel};
use super::connect::{ByUrl, Connector, Purpose, Source};
use super::listener::Heard;
use super::session::{BoxError, Cancel, Guard, Open, Opening, Session};
use super::tls::{MakeTlsConnector, Security};
use super::url::{DatabaseUrl, Host, SessionAttributes, Settings, to_options};
use super::watchdog::Watchdog;
use crate::Error;
use crate::error::{Failed, database_error};

/// A session on a server that satisfies the URL
pub(super) struct LoggedIn {
    pub(super) client: Client,
    pub(super) closed: Arc<AtomicBool>,
    pub(super) heard: Arc<Heard>,
    /// Enforces the statement timeout if the server does not
    pub(super) watchdog: Option<Arc<Watchdog>>,
}

impl Connector {
    /// Opens a session
    pub(super) async fn log_in(&self, purpose: Purpose) -> Result<LoggedIn, Error> {
        match &self.source {
            Source::Url(source) => self.log_in_by_url(source, purpose).await,
            Source::Program(open) => self.log_in_by_program(&**open, purpose).await,
        }
    }

    /// Lets the program that embeds the store open the session
    async fn log_in_by_program(&self, open: &Open, purpose: Purpose) -> Result<LoggedIn, Error> {
        let wanted = Wanted { attributes: SessionAttributes::Any, purpose };
        let none = Settings::default();
        let failed = |error: BoxError| Error::unavailable(Failed::of(error));
        let mut opened = None;
        if !self.is_pooled() {
            match open(Opening::new(Some(self.all_settings(&none, purpose)))).await {
                Err(error) if database_error(&*error).is_some_and(refuses_settings) => {}
                tried => opened = Some(tried.map_err(failed)?),
            }
        }
        let session = match opened {
            Some(session) => session,
            None => open(Opening::new(None)).await.map_err(failed)?,
        };
        self.accept(session, &none, wanted).await.map_err(Error::unavailable)
    }

    /// Tries one host after another
    ///
    /// Each may take the `connect_timeout`, or an equal share of the time that is left.
    async fn log_in_by_url(&self, source: &ByUrl, purpose: Purpose) -> Result<LoggedIn, Error> {
        let url = &source.url;
        let deadline = Instant::now() + self.connect_timeout();
        let tls = source.current_tls().await?;
        let mut hosts: Vec<&Host> = url.hosts.iter().collect();
        if url.random_order {
            hosts.sort_by_cached_key(|_| Uuid::new_v4());
        }
        let rounds = url.session.rounds();
        let mut tries = hosts.len() * rounds.len();
        let mut failures = Vec::new();
        for attributes in rounds {
            for host in &hosts {
                let left = deadline.saturating_duration_since(Instant::now());
                let share = left / u32::try_from(tries).unwrap_or(u32::MAX).max(1);
                let share = url.connect_timeout.map_or(share, |given| given.min(left));
                tries -= 1;
                let wanted = Wanted { attributes: *attributes, purpose };
                let attempt = Attempt { url, wanted, tls: tls.as_ref() };
                match self.log_in_at(host, attempt, share).await {
                    Ok(session) => return Ok(session),
                    Err(failure) => failures.push((format!("`{host}`"), failure)),
                }
            }
        }
        Err(Error::unavailable(Failed::all(failures)))
    }

    /// Tries one address of a host after another, each for an equal share of the time
    async fn log_in_at(
        &self,
        host: &Host,
        attempt: Attempt<'_>,
        time: Duration,
    ) -> Result<LoggedIn, Failed> {
        let deadline = Instant::now() + time;
        let late = || format!("no connection within {:.1} s", time.as_secs_f32());
        let found = timeout(time, host.endpoints()).await.map_err(|_| late())?;
        let mut endpoints = found.map_err(|error| Failed::of(error.into()))?;
        if attempt.url.random_order {
            endpoints.sort_by_cached_key(|_| Uuid::new_v4());
        }
        let mut failure = Failed::from("its name has no address".to_owned());
        for (tried, endpoint) in endpoints.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(endpoints.len() - tried).unwrap_or(u32::MAX);
            let config = host.config(&attempt.url.config, endpoint);
            let session = self.log_in_with(config, host, endpoint, attempt);
            failure = match timeout(share, session).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(failure)) => failure,
                Err(_) => late().into(),
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
    ) -> Result<LoggedIn, Failed> {
        let Attempt { url, wanted, tls } = attempt;
        if url.passfile.is_some() {
            let (url, host) = (Arc::clone(url), host.clone());
            let read = spawn_blocking(move || url.password(&host)).await;
            let password = read.map_err(|error| error.to_string())?;
            if let Some(password) = password.map_err(|error| error.to_string())? {
                config.password(password.reveal());
            }
        }
        if !self.is_pooled() {
            let mut config = config.clone();
            config.options(self.all_settings(&url.settings, wanted.purpose));
            match start(&config, endpoint, tls).await {
                Err(error) if error.as_db_error().is_some_and(refuses_settings) => {}
                started => {
                    let started = started.map_err(|error| Failed::of(error.into()))?;
                    return self.accept(started, &url.settings, wanted).await;
                }
            }
        }
        if !url.settings.0.is_empty() {
            config.options(to_options(url.settings.iter()));
        }
        let started = start(&config, endpoint, tls).await.map_err(|error| {
            let refuses = error.as_db_error().is_some_and(refuses_settings);
            let failed = Failed::of(error.into());
            if refuses { failed.within(&lost(&url.settings)) } else { failed }
        })?;
        self.accept(started, &url.settings, wanted).await
    }

    /// The settings of the URL, and those of authd that the URL does not set
    fn all_settings(&self, of_url: &Settings, purpose: Purpose) -> String {
        let ours = self.settings(purpose);
        let ours = ours.iter().map(|(name, value)| (*name, value.as_str()));
        let ours = ours.filter(|(name, _)| of_url.get(name).is_none());
        to_options(ours.chain(of_url.iter()).chain([(MARK, "on")]))
    }

    /// Checks whether a session can be used that was opened with these settings of a URL
    async fn accept(
        &self,
        session: Session,
        settings: &Settings,
        wanted: Wanted,
    ) -> Result<LoggedIn, Failed> {
        let Session { client, closed, heard, guard, cancel } = session;
        let state = State::of(&client).await?;
        if let Some(fault) = wanted.attributes.fault(state.is_standby, state.is_read_only) {
            return Err(fault.to_owned().into());
        }
        let pooled = !state.has_settings;
        if pooled {
            // Another schema may have other tables of the same names, and another role may have
            // other rights.
            for (name, actual) in [("search_path", &state.search_path), ("role", &state.role)] {
                let wanted = settings.get(name);
                if wanted.is_some_and(|wanted| without_blanks(wanted) != without_blanks(actual)) {
                    return Err(lost(settings).into());
                }
            }
        }
        self.pooled.store(pooled, Ordering::Release);
        let has_timeout = !matches!(wanted.purpose, Purpose::Import | Purpose::Migrate);
        let watchdog = (pooled && has_timeout).then(Arc::<Watchdog>::default);
        if let Some(watchdog) = &watchdog {
            let _ = guard.send(Guard {
                watchdog: Arc::clone(watchdog),
                limit: self.statement_timeout() + GRACE,
                token: client.cancel_token(),
                cancel,
            });
        }
        Ok(LoggedIn { client, closed, heard, watchdog })
    }
}

impl ByUrl {
    /// The TLS configuration of the next connection
    ///
    /// Files are read each time: short-lived certificates are replaced while authd runs.
    async fn current_tls(&self) -> Result<Option<MakeTlsConnector>, Error> {
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
            _ => Ok(Option::clone(&self.tls)),
        }
    }
}

fn lost(settings: &Settings) -> String {
    format!(
        "a pooler in between keeps {} from the server; \
         set this with `ALTER ROLE … SET`, or at the pooler, and not in the URL",
        settings.names()
    )
}

/// The requirements on a session
#[derive(Clone, Copy)]
struct Wanted {
    attributes: SessionAttributes,
    purpose: Purpose,
}

/// An attempt to open a session by URL
#[derive(Clone, Copy)]
struct Attempt<'a> {
    url: &'a Arc<DatabaseUrl>,
    wanted: Wanted,
    tls: Option<&'a MakeTlsConnector>,
}

/// Opens a session at one endpoint of a URL
async fn start(
    config: &Config,
    endpoint: &Endpoint,
    tls: Option<&MakeTlsConnector>,
) -> Result<Session, tokio_postgres::Error> {
    let (to_cancel, at) = (tls.cloned(), endpoint.clone());
    let cancelling: Cancel = Box::new(move |token| {
        Box::pin(async move {
            // The session ends in any case.
            let _ = cancel(&token, &at, to_cancel.as_ref()).await;
        })
    });
    match tls.cloned() {
        Some(tls) => Session::start(config, tls, cancelling).await,
        None => Session::start(config, NoTls, cancelling).await,
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
    async fn of(client: &Client) -> Result<Self, Failed> {
        let messages = client.simple_query(STATE).await;
        let messages = messages.map_err(|error| Failed::of(error.into()))?;
        let row = messages.into_iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.ok_or_else(|| "the server does not answer queries".to_owned())?;
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
fn refuses_settings(error: &DbError) -> bool {
    let said = error.message();
    match *error.code() {
        SqlState::PROTOCOL_VIOLATION | SqlState::FEATURE_NOT_SUPPORTED => {
            said.contains("startup parameter") || said.contains("options")
        }
        _ => said.contains("unsupported startup parameter"),
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
