use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use app_authz::app::Revocation;
use store::revocations::Entry;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};
use uuid::Uuid;

use super::Shared;
use super::feed::Sent;
use super::position::Position;
use crate::metrics::Listening;

/// Receives what was allowed and may not be any more
///
/// Made by [`Service::revocations`](crate::Service::revocations). It keeps a place among the listeners
/// of the service until it is dropped.
pub struct RevocationListener {
    /// What was found before it listened
    first: VecDeque<Sent>,
    /// The same, since it may be sent once more
    known: HashSet<Uuid>,
    /// The position to go on from, if nothing else comes
    pub(super) began: Option<Position>,
    sent: broadcast::Receiver<Sent>,
    read: watch::Receiver<Option<Position>>,
    is_stopping: watch::Receiver<bool>,
    _listening: Listening,
    _place: OwnedSemaphorePermit,
}

/// What a carrier of connections is told
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationNotice {
    /// This may not be allowed any more
    Revoked(Revocation),
    /// Something may not be allowed any more, and it is not known what: every connection is concerned
    Reset,
}

/// What a listener receives
pub(super) enum Received {
    Entry(Arc<Entry>),
    Reset(Position),
    /// It was too slow, and has missed something
    Lagged,
    /// The server stops
    Stopped,
}

impl RevocationListener {
    pub(super) fn new(shared: &Shared, place: OwnedSemaphorePermit) -> Self {
        Self {
            first: VecDeque::new(),
            known: HashSet::new(),
            began: None,
            sent: shared.sent.subscribe(),
            read: shared.read.subscribe(),
            is_stopping: shared.is_stopping.subscribe(),
            _listening: shared.metrics.listening(),
            _place: place,
        }
    }

    /// Begins with what was found before
    pub(super) fn begin(&mut self, began: Option<Position>, mut entries: Vec<Entry>) {
        entries.sort_by_key(|entry| (entry.at, entry.id));
        self.began = began;
        self.known = entries.iter().map(|entry| entry.id).collect();
        self.first = entries.into_iter().map(|entry| Sent::Entry(Arc::new(entry))).collect();
    }

    /// Begins with the notice that everything is concerned
    pub(super) fn begin_with_reset(&mut self, now: Position) {
        self.first.push_back(Sent::Reset(now));
    }

    /// Waits for the next notice
    ///
    /// Returns `None` once the service stops. If it was not called for so long that something was
    /// missed, the notice is [`Reset`](RevocationNotice::Reset). What was found by a call that was
    /// dropped is returned by the next one.
    pub async fn next(&mut self) -> Option<RevocationNotice> {
        match self.receive().await {
            Received::Entry(entry) => Some(RevocationNotice::Revoked(entry.revocation.clone())),
            Received::Reset(_) | Received::Lagged => Some(RevocationNotice::Reset),
            Received::Stopped => None,
        }
    }

    pub(super) async fn receive(&mut self) -> Received {
        if let Some(first) = self.first.pop_front() {
            return first.into();
        }
        loop {
            let sent = tokio::select! {
                biased;
                sent = self.sent.recv() => sent,
                _ = self.is_stopping.wait_for(|is_stopping| *is_stopping) => {
                    return Received::Stopped;
                }
            };
            match sent {
                Ok(Sent::Entry(entry)) if self.known.remove(&entry.id) => {}
                Ok(sent) => return sent.into(),
                Err(broadcast::error::RecvError::Lagged(_)) => return Received::Lagged,
                Err(broadcast::error::RecvError::Closed) => return Received::Stopped,
            }
        }
    }

    /// The position up to which everything was received; `None` if something waits, or if that is not
    /// known
    pub(super) fn position(&self) -> Option<Position> {
        // Read first: it is set after what was found was sent.
        let position = *self.read.borrow();
        let is_empty = self.first.is_empty() && self.sent.is_empty();
        position.or(self.began).filter(|_| is_empty)
    }
}

impl From<Sent> for Received {
    fn from(sent: Sent) -> Self {
        match sent {
            Sent::Entry(entry) => Self::Entry(entry),
            Sent::Reset(position) => Self::Reset(position),
        }
    }
}

impl fmt::Debug for RevocationListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationListener")
            .field("waiting", &self.sent.len())
            .finish_non_exhaustive()
    }
}
