//! What was allowed and may not be any more, for carriers of connections that stay open

use std::time::{Duration, SystemTime};

use app_authz::app::Revocation;
use app_authz::{AgentId, UserId, WorkspaceId};
use uuid::Uuid;

use crate::Error;

/// Watches what visitors were let into, and keeps a log of what has ended
///
/// Any number of replicas may watch and read: what one of them watches, each of them sees end.
pub trait Revocations: Sync {
    /// Watches these grants until [`WATCHED`] after `now`
    ///
    /// A grant that is watched already is watched for longer, if it is due to be. One of a build that
    /// is not the newest any more is watched, too, and so ends at the next question. One statement.
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`].
    fn watch_grants(
        &self,
        grants: &[WatchedGrant],
        now: SystemTime,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Finds out which grants of `slice` do not hold any more at `now`, and what else that they may
    /// rest on is gone, logs that, and returns what was logged later than `since`, in any order
    ///
    /// What was found just now is always returned. A grant ends if its user is not active any more,
    /// if its session or the one that it was made from is gone or has expired, or if its workspace
    /// is deleted or has another build than at the time. At most 1,000 grants end at a time.
    ///
    /// A grant that has not ended may have been given for the agent that is now deleted, for a
    /// sharing level of an app or a port, for the user's roles, memberships and groups, or for an
    /// entry of the workspace's access lists. These are compared with those of the question before,
    /// and what is gone is logged for that agent, or for the app alone. What is added, or was gone
    /// before the first question, is not. A grant to the owner does not rest on levels, groups and
    /// lists. A share with a person is logged when it is withdrawn.
    ///
    /// Not noticed: changes of custom roles. Entries are kept for [`KEPT`]. One statement.
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`].
    fn revocations(
        &self,
        since: Option<SystemTime>,
        slice: Slice,
        now: SystemTime,
    ) -> impl Future<Output = Result<Logged, Error>> + Send;

    /// Waits until something may have ended since the last call, so that it is time to ask
    ///
    /// Not everything is noticed, and one that is may concern nothing that is watched: the question
    /// has to be asked from time to time in any case. A store that notices nothing waits forever, as
    /// this method does. The future may be dropped and called again; one is awaited at a time.
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Unavailable`] if nothing is noticed until the next call.
    fn changed(&self) -> impl Future<Output = Result<(), Error>> + Send {
        std::future::pending()
    }
}

/// A session, or visitors without one, that an agent was opened for
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct WatchedGrant {
    /// The user and the id of the session's key; `None` for visitors who are not signed in
    pub session: Option<(UserId, Box<str>)>,
    /// The workspace
    pub workspace: WorkspaceId,
    /// The agent
    pub agent: AgentId,
}

impl WatchedGrant {
    /// A grant to a session, or to visitors who are not signed in
    #[must_use]
    pub const fn new(
        session: Option<(UserId, Box<str>)>,
        workspace: WorkspaceId,
        agent: AgentId,
    ) -> Self {
        Self { session, workspace, agent }
    }
}

/// A part of what is watched, so that a question about much can be asked in pieces
///
/// All grants of a session are in one slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slice {
    number: u16,
    of: u16,
    part: u16,
    parts: u16,
}

impl Slice {
    /// All that is watched
    pub const ALL: Self = Self::new(0, 1);

    /// Nothing, to read the log alone
    pub const NONE: Self = Self { number: 1, ..Self::ALL };

    /// One of `of` slices of about the same size; there is always one
    #[must_use]
    pub const fn new(number: u16, of: u16) -> Self {
        let of = if of == 0 { 1 } else { of };
        Self { number: number % of, of, part: 0, parts: 1 }
    }

    /// The same slice, of which only one of `parts` parts of about the same size, and what is new,
    /// is compared with what it rested on at the question before; there is always one part
    ///
    /// To compare a grant takes several times as long as to find out whether it has ended.
    #[must_use]
    pub const fn comparing(mut self, part: u16, parts: u16) -> Self {
        self.parts = if parts == 0 { 1 } else { parts };
        self.part = part % self.parts;
        self
    }

    pub(crate) const fn number(self) -> u16 {
        self.number
    }

    pub(crate) const fn of(self) -> u16 {
        self.of
    }

    pub(crate) const fn part(self) -> u16 {
        self.part
    }

    pub(crate) const fn parts(self) -> u16 {
        self.parts
    }
}

/// A part of the log
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Logged {
    /// When the store was asked, by the store's clock, which also stamps the entries
    ///
    /// What is logged later may have an earlier stamp, if its transaction takes time.
    pub at: SystemTime,
    /// The entries; [`MAX_LOGGED`] at most, and then there may be more
    pub entries: Vec<Entry>,
}

/// An entry of the log
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The key of the entry, which has no order
    pub id: Uuid,
    /// When it was logged
    pub at: SystemTime,
    /// What has happened
    pub revocation: Revocation,
}

/// How long a grant is watched after its last decision
pub const WATCHED: Duration = Duration::from_secs(24 * 3600);

/// How long entries of the log are kept
pub const KEPT: Duration = Duration::from_secs(3600);

/// The most entries that are read at a time
pub const MAX_LOGGED: usize = 10_000;

/// A grant is watched for longer only if that is later by so much, so that few rows are written
#[allow(dead_code, reason = "a store without PostgreSQL writes no rows")]
pub(crate) const REFRESH: Duration = Duration::from_secs(3600);

/// The most grants that end at a time
pub(crate) const MAX_ENDED: usize = 1_000;
