//! Notifications of what may have ended, on a connection that all who wait for them share

use diesel_async::SimpleAsyncConnection;
use tokio::sync::{Mutex, Notify};

use super::connect::{Connection, Connector, Purpose};
use super::migrate::{Owner, Recorded};
use crate::Error;

/// Listens for notifications on a connection, which is opened when the first of them is waited for
#[derive(Debug, Default)]
pub(super) struct Listener(Mutex<Option<Connection>>);

/// What waits for notifications
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// The question which grants have ended
    Grants,
    /// The question which sessions have ended
    Sessions,
}

/// What is told of notifications that have come on a connection, and of its end
#[derive(Debug, Default)]
pub(super) struct Heard {
    grants: Notify,
    sessions: Notify,
}

impl Heard {
    pub(super) fn notify(&self) {
        self.grants.notify_one();
        self.sessions.notify_one();
    }

    /// Waits until a notification came that no earlier call for `waiting` has returned for, or the
    /// connection was closed
    async fn by(&self, waiting: Waiting) {
        match waiting {
            Waiting::Grants => self.grants.notified().await,
            Waiting::Sessions => self.sessions.notified().await,
        }
    }
}

impl Listener {
    /// Waits for a notification; returns at once if the connection was just opened
    pub(super) async fn heard(&self, connector: &Connector, waiting: Waiting) -> Result<(), Error> {
        let mut listener = self.0.lock().await;
        if let Some(connection) = listener.as_ref().filter(|connection| !connection.is_closed()) {
            let heard = connection.heard();
            drop(listener);
            heard.by(waiting).await;
            return Ok(());
        }
        *listener = None;
        let mut connection = connector.uncounted().connect(Purpose::Read).await?;
        // A pooler would hand the connection to others, and give away its notifications.
        let is_deaf = connector.is_pooled()
            || waiting == Waiting::Sessions
                && Recorded::read(&connection.inner).await.map_err(Error::query)?.owner()?
                    == Owner::ControlPlane;
        if is_deaf {
            drop((connection, listener));
            return std::future::pending().await;
        }
        let listen = connection.inner.batch_execute("LISTEN authd_revocations");
        listen.await.map_err(Error::query)?;
        // What has changed before is found by the next question.
        *listener = Some(connection);
        Ok(())
    }
}
