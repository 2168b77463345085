//! Sessions, and how the program that embeds the store opens them

use std::fmt;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_postgres::config::Config;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, CancelToken, Client, Connection, Socket};

use super::listener::Heard;
use super::watchdog::Watchdog;

/// A request of a [`PgStore`](super::PgStore) to the program that opens its sessions
///
/// Carries the settings that the session needs, such as its statement timeout.
#[derive(Debug)]
pub struct Opening {
    /// As the parameter `options` of libpq; `None` behind a pooler that refuses it
    options: Option<String>,
}

/// A session that was opened by [`Opening::connect`]
pub struct Session {
    pub(super) client: Client,
    pub(super) closed: Arc<AtomicBool>,
    pub(super) heard: Arc<Heard>,
    pub(super) guard: oneshot::Sender<Guard>,
    pub(super) cancel: Cancel,
}

/// Asks the server to cancel what a session runs
pub(super) type Cancel =
    Box<dyn FnOnce(CancelToken) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Opens the sessions of a store on behalf of another program
pub(super) type Open = dyn Fn(Opening) -> Pin<Box<dyn Future<Output = Result<Session, BoxError>> + Send>>
    + Send
    + Sync;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Opening {
    pub(super) const fn new(options: Option<String>) -> Self {
        Self { options }
    }

    /// Connects as `config` says, over `tls`
    ///
    /// The session gets the settings of the store, beside those that `config` has in its
    /// `options`, which override them.
    ///
    /// Behind a pooler that keeps these settings from the server, a statement that takes too long is
    /// cancelled with [`CancelToken::cancel_query`], which does not wait until the pooler has passed
    /// the request on. PgBouncer 1.18 to 1.20 may exit then
    /// ([801](https://github.com/pgbouncer/pgbouncer/issues/801),
    /// [822](https://github.com/pgbouncer/pgbouncer/issues/822)): use a newer one, or let the store
    /// connect by URL, which waits.
    ///
    /// # Errors
    ///
    /// Those of [`Config::connect`].
    pub async fn connect<T>(self, config: &Config, tls: T) -> Result<Session, tokio_postgres::Error>
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send + 'static,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let mut config = config.clone();
        if let Some(options) = self.options {
            let own = config.get_options().unwrap_or_default();
            let options = format!("{options} {own}");
            config.options(options.trim_end());
        }
        let to_cancel = tls.clone();
        let cancel: Cancel = Box::new(move |token| {
            Box::pin(async move {
                // The session ends in any case.
                let _ = token.cancel_query(to_cancel).await;
            })
        });
        Session::start(&config, tls, cancel).await
    }
}

impl Session {
    /// Connects, and drives the connection in a task of its own
    pub(super) async fn start<T>(
        config: &Config,
        tls: T,
        cancel: Cancel,
    ) -> Result<Self, tokio_postgres::Error>
    where
        T: MakeTlsConnect<Socket>,
        T::Stream: Send + 'static,
    {
        let (closed, heard) = (Arc::new(AtomicBool::new(false)), Arc::<Heard>::default());
        let (guard, guarded) = oneshot::channel();
        let (client, connection) = config.connect(tls).await?;
        tokio::spawn(attend(connection, Arc::clone(&closed), Arc::clone(&heard), guarded));
        Ok(Self { client, closed, heard, guard, cancel })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("closed", &self.closed).finish_non_exhaustive()
    }
}

/// Closes a connection whose statement takes too long
pub(super) struct Guard {
    pub(super) watchdog: Arc<Watchdog>,
    pub(super) limit: Duration,
    pub(super) token: CancelToken,
    pub(super) cancel: Cancel,
}

/// Drives a connection until its client is dropped, it breaks, or a statement takes too long
///
/// Statements that are running then fail as on a closed connection. `heard` is told of each
/// notification, and of the end.
async fn attend<S, T>(
    mut connection: Connection<S, T>,
    closed: Arc<AtomicBool>,
    heard: Arc<Heard>,
    guarded: oneshot::Receiver<Guard>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let connection = pin!(async {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(_) = message {
                heard.notify();
            }
        }
    });
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
    heard.notify();
    if let Either::Right((guard, _connection)) = ended {
        // While the connection still exists: without it a pooler no longer knows what to cancel.
        let _ = timeout(CANCEL, (guard.cancel)(guard.token)).await;
    }
}

/// The longest that cancelling a statement may take
const CANCEL: Duration = Duration::from_millis(500);
