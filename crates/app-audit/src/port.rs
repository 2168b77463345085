use std::error::Error;
use std::time::Duration;

use uuid::Uuid;

use crate::{Event, Record, SessionKey, Window};

/// Keeps sessions, and writes down when one begins
///
/// Over all replicas that share a journal, of any number of visits with one key exactly
/// one begins the session, even at the same instant. An implementation over SQL uses a
/// single statement and the database's clock, so that the session and its record are
/// there together or not at all.
pub trait Journal: Send + Sync {
    /// Why entries could not be noted
    type Error: Error + Send + Sync + 'static;

    /// Notes all entries, or none, and answers to each in their order
    ///
    /// [`Session::visit`](crate::Session::visit) is the rule. Entries of one key that
    /// come together are visits of one moment. With [`Window::close`] a session that
    /// gives way to the next leaves a row of its end. Whoever does not know whether an entry
    /// was noted offers it again: its record, which has one id, is written once.
    fn note(
        &self,
        entries: &[Entry],
        window: Window,
    ) -> impl Future<Output = Result<Vec<Answer>, Self::Error>> + Send;

    /// Adds visits to sessions; those that have ended meanwhile are left alone
    ///
    /// Offered again these are counted again.
    fn count(&self, counts: &[Count]) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Forgets sessions that have [ended for good](Window::forgotten_after), at most so
    /// many, and says how many
    ///
    /// With [`Window::close`] each leaves a row of its end.
    fn end_sessions(
        &self,
        window: Window,
        at_most: u32,
    ) -> impl Future<Output = Result<u64, Self::Error>> + Send;

    /// Forgets rows of the log that are older than `keep`, at most so many, and says how
    /// many
    fn forget(
        &self,
        keep: Duration,
        at_most: u32,
    ) -> impl Future<Output = Result<u64, Self::Error>> + Send;

    /// Whether the same call may succeed later, because nothing was wrong with it
    fn is_unavailable(error: &Self::Error) -> bool;
}

/// A visit, ready to be noted
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Which visits it belongs together with
    pub key: SessionKey,
    /// The agent it was to; the nil id if it led nowhere
    pub agent_id: Uuid,
    /// How many visits it stands for, at least one
    pub visits: u64,
    /// What is written if it begins a session, under the session's id
    pub record: Record,
}

impl Entry {
    /// One visit, `fresh` being the id of the session that it may begin
    #[must_use]
    pub fn new(event: &Event, fresh: Uuid) -> Self {
        Self {
            key: event.key(),
            agent_id: event.agent.as_ref().map_or(Uuid::nil(), |(agent, _)| agent.0),
            visits: 1,
            record: event.record(fresh),
        }
    }
}

/// Visits to a session that were not noted one by one
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The session's key
    pub key: SessionKey,
    /// The session
    pub session: Uuid,
    /// How many visits more
    pub visits: u64,
}

/// What a journal says to an entry
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What became of it
    pub noted: Noted,
    /// The age of the session's last visit, as far as it is written; nothing if that is
    /// not known
    pub idle: Option<Duration>,
}

/// What became of a visit
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It began the session of that id, and its record is written
    Began(Uuid),
    /// It belongs to the session of that id, which had begun before
    Continued(Uuid),
}

impl Noted {
    /// The session
    #[must_use]
    pub const fn session(self) -> Uuid {
        match self {
            Self::Began(session) | Self::Continued(session) => session,
        }
    }
}
