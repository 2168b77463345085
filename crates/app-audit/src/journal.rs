use std::error::Error;
use std::future::ready;
use std::time::Duration;

use uuid::Uuid;

use crate::{Event, Record, SessionKey, Window};

/// Keeps sessions, and writes a record when one begins
///
/// Exactly one of the visits with the same key begins the session, even if they come at
/// the same instant and from several replicas that share the journal. An implementation
/// over SQL must use the database's clock, and a single statement or a serializable transaction,
/// so that it writes the session and its record together or not at all.
/// [`Groups`](crate::Groups) does what every implementation needs.
///
/// # Ends of sessions
///
/// With [`Window::close`], a journal writes a row for the end of a session, made by
/// [`Row::closing`](crate::Row::closing), and it does so where it notices the end, which is in two
/// places:
///
/// - in [`note`](Self::note), for the session that a new one with the same key replaces
/// - in [`end_sessions`](Self::end_sessions), for each session that it deletes
///
/// No row is written if [`Window::closes`] returns `false`, or if the log no longer has the row of
/// the beginning, which may have been deleted as too old.
///
/// # Which trait to use
///
/// References, `Arc`s and boxes of a journal are journals too. Prefer a type parameter
/// `J: Journal`. [`DynJournal`](crate::DynJournal) is for journals that are chosen while the
/// program runs: `Arc<dyn DynJournal>` is a journal. The feature `conformance` has these rules as
/// checks for your tests.
pub trait Journal: Send + Sync {
    /// Why entries could not be noted
    type Error: Error + Send + Sync + 'static;

    /// Notes all entries or none, and returns an answer to each, in the order given
    ///
    /// The rule is [`Session::visit`](crate::Session::visit). Entries with the same key in
    /// one call are visits of the same moment.
    ///
    /// A caller that does not know whether an entry was noted notes it again. A record is written
    /// once for each [`Record::session`], whatever else happened meanwhile. If the session with
    /// the entry's key is the one that the entry began, the answer is [`Noted::Began`] again, with
    /// [`Answer::idle`] `None`, and no visit is counted. If another session has taken its place,
    /// the entry is a visit like any other: it continues that session, or begins one if that is
    /// stale, without a second record.
    ///
    /// # Errors
    ///
    /// Fails if no entry was noted, or if it is not known whether they were.
    fn note(
        &self,
        entries: &[Entry],
        window: Window,
    ) -> impl Future<Output = Result<Vec<Answer>, Self::Error>> + Send;

    /// Adds visits to sessions, except to those that another session has replaced, or that were
    /// deleted
    ///
    /// `counts` names each session at most once. Unlike entries, counts that are passed again in
    /// another call are added again.
    ///
    /// By default nothing is counted, for a journal that does not write the ends of sessions. One
    /// that writes them would state too few visits.
    fn count(&self, _counts: &[Count]) -> impl Future<Output = Result<(), Self::Error>> + Send {
        ready(Ok(()))
    }

    /// Deletes at most `at_most` sessions that have [ended for
    /// good](Window::forgotten_after), and returns how many it deleted
    ///
    /// With [`Window::close`], each gets a row for its end: see
    /// [above](Self#ends-of-sessions).
    ///
    /// By default no session is deleted and no end is written here, for a journal that deletes
    /// sessions itself. In any other, sessions are kept for ever, and only those that a new one
    /// replaces get a row for their end.
    fn end_sessions(
        &self,
        _window: Window,
        _at_most: u32,
    ) -> impl Future<Output = Result<u64, Self::Error>> + Send {
        ready(Ok(0))
    }

    /// Prepares the log for rows of the time to come
    ///
    /// By default nothing is done. A log that has a table for each month adds those of the next ones.
    fn prepare(&self) -> impl Future<Output = Result<(), Self::Error>> + Send {
        ready(Ok(()))
    }

    /// Deletes at most `at_most` rows of the log that are older than `keep`, and returns
    /// how many it deleted
    ///
    /// A log that has a table for each month may drop whole months instead, however many rows they
    /// have, and may keep a row until all rows of its month are old.
    ///
    /// By default nothing is deleted, even if a retention period is set, for a log that is kept for
    /// ever or deleted by other means.
    fn forget(
        &self,
        _keep: Duration,
        _at_most: u32,
    ) -> impl Future<Output = Result<u64, Self::Error>> + Send {
        ready(Ok(0))
    }

    /// Returns whether the journal was unavailable, so that the same call may succeed later
    ///
    /// Any other error means that the journal refused what it was given.
    fn is_unavailable(error: &Self::Error) -> bool;
}

/// A visit, ready to be noted
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// The key of the session that the visit belongs to
    pub key: SessionKey,
    /// The agent that was visited; the nil id if it was not found
    pub agent_id: Uuid,
    /// How many visits the entry stands for, at least one
    pub visits: u64,
    /// The row to write if the visit begins a session; it has the new session's id
    pub record: Record,
}

impl Entry {
    /// Returns the same entry, for so many visits
    #[must_use]
    pub const fn visits(mut self, visits: u64) -> Self {
        self.visits = visits;
        self
    }

    /// Makes the entry of one visit; `fresh` is the id of the session that it may begin
    #[must_use]
    pub fn new(event: &Event, fresh: Uuid) -> Self {
        Self::of(event, event.key(), fresh)
    }

    /// Makes the entry of one visit whose key is known: a digest takes as long as all other fields
    pub(crate) fn of(event: &Event, key: SessionKey, fresh: Uuid) -> Self {
        Self {
            key,
            agent_id: event.agent.as_ref().map_or(Uuid::nil(), |(agent, _)| agent.0),
            visits: 1,
            record: event.record(fresh),
        }
    }
}

/// Visits to add to a session that were not noted one by one
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Count {
    /// The session's key
    pub key: SessionKey,
    /// The session's id
    pub session: Uuid,
    /// How many visits to add
    pub visits: u64,
}

impl Count {
    /// Adds `visits` to the session with this key and id
    #[must_use]
    pub const fn new(key: SessionKey, session: Uuid, visits: u64) -> Self {
        Self { key, session, visits }
    }
}

/// What a journal returns for an entry
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// Whether the visit began a session, and which session it belongs to
    pub noted: Noted,
    /// How long ago the session's last written visit was; `None` if that is not known
    pub idle: Option<Duration>,
}

impl Answer {
    /// Returns the answer with these fields, for implementations of [`Journal`]
    #[must_use]
    pub const fn new(noted: Noted, idle: Option<Duration>) -> Self {
        Self { noted, idle }
    }
}

/// Whether a visit began a session, and the id of its session
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// The visit began the session with this id, and its record is written
    Began(Uuid),
    /// The visit belongs to the session with this id, which had begun before
    Continued(Uuid),
}

impl Noted {
    /// Returns the id of the visit's session
    #[must_use]
    pub const fn session(self) -> Uuid {
        match self {
            Self::Began(session) | Self::Continued(session) => session,
        }
    }
}
