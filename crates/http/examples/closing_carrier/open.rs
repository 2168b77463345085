//! The connections that are open, and which of them have to be closed

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use app_authz::app::{Connection, Mask};
use authd_http::{RevocationNotice, Service};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

#[derive(Clone, Default)]
pub(crate) struct OpenConnections(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    next: u64,
    /// The sender of each is dropped to close it
    open: HashMap<u64, (Connection, watch::Sender<()>)>,
    /// What was revoked a moment ago: it also concerns what was allowed just before
    lately: VecDeque<(Instant, Mask)>,
}

impl OpenConnections {
    /// Listens for as long as authd runs
    pub(crate) async fn follow(self, authd: Service) {
        loop {
            if let Ok(mut listener) = authd.revocations().await {
                // What was revoked before is not known.
                self.close(Mask::default());
                while let Some(notice) = listener.next().await {
                    self.close(match notice {
                        RevocationNotice::Revoked(revocation) => revocation.mask,
                        _ => Mask::default(),
                    });
                }
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Adds a connection, as soon as it was allowed
    pub(crate) fn add(&self, connection: Connection) -> OpenConnection {
        let (sender, revoked) = watch::channel(());
        let mut table = self.lock();
        table.next += 1;
        let id = table.next;
        if !table.lately.iter().any(|(_, mask)| mask.matches(&connection)) {
            table.open.insert(id, (connection, sender));
        }
        OpenConnection { id, revoked, all: self.clone() }
    }

    /// Closes what a mask concerns
    ///
    /// A carrier could also authorize each request again, without the cookie of its app token.
    fn close(&self, mask: Mask) {
        let (mut table, now) = (self.lock(), Instant::now());
        table.open.retain(|_, (connection, _)| !mask.matches(connection));
        table.lately.retain(|(at, _)| now - *at < LATELY);
        // At the start nothing was allowed yet.
        if mask != Mask::default() {
            table.lately.push_back((now, mask));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is open until this is dropped
pub(crate) struct OpenConnection {
    id: u64,
    revoked: watch::Receiver<()>,
    all: OpenConnections,
}

impl OpenConnection {
    /// Waits until the connection has to be closed
    pub(crate) async fn revoked(&mut self) {
        while self.revoked.changed().await.is_ok() {}
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.all.lock().open.remove(&self.id);
    }
}

/// Longer than a request is decided
const LATELY: Duration = Duration::from_secs(10);
