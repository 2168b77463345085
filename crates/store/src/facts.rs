//! Counts and times of a store's work, for metrics

use std::time::Duration;

/// Counts and times of a store since it was created
///
/// A store without a database, such as [`MemoryStore`](crate::MemoryStore), has none.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Facts {
    /// The questions that were asked at least once
    pub questions: Vec<QuestionFacts>,
    /// Every group of connections
    pub pools: Vec<PoolFacts>,
}

/// Times and failures of the statements that answer one question
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct QuestionFacts {
    /// The question
    pub question: Question,
    /// From sending a statement to its result, of statements that succeeded or failed
    pub durations: Durations,
    /// Statements that failed or had no answer in time
    pub failures: u64,
}

/// The connections of one group
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PoolFacts {
    /// The purpose of the connections, in a word
    pub pool: &'static str,
    /// Connections that are open now
    pub open: u64,
    /// Open connections that a caller has for itself now; 0 where callers share connections
    pub in_use: u64,
    /// The most connections that may be open
    pub limit: u64,
    /// Callers that wait for a connection, or for the next statement that they share
    pub waiting: u64,
    /// How long callers waited for a connection of their own; all zero where callers share
    /// connections
    pub waits: Durations,
}

/// A histogram of durations
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Durations {
    /// For each bound of [`BOUNDS`](Self::BOUNDS), the number of durations up to it that are above
    /// the bound before; the last element counts those above all bounds
    pub counts: [u64; Self::BOUNDS.len() + 1],
    /// The sum of all durations
    pub sum: Duration,
}

impl Durations {
    /// The upper bounds of the counts, in seconds
    pub const BOUNDS: [f64; 16] = [
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
        5.0, 10.0,
    ];

    /// The number of durations
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// A kind of statement, by which times are counted
///
/// The set is closed, so that a metric has few labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Question {
    /// The agents of an instance
    Candidates,
    /// An app or a port of a workspace, and the holders of session tokens
    App,
    /// The terminal of an agent, and the holders of session tokens
    Terminal,
    /// The holders of session tokens alone
    Holders,
    /// A user's name
    Username,
    /// Which sessions have ended
    EndedSessions,
    /// Adds a session
    NewSession,
    /// Notes that a session for apps was given to its browser
    GiveSession,
    /// Ends a session
    LogOut,
    /// Writes that a session was used
    UseSession,
    /// The keys that sign and seal
    Keys,
    /// The registered proxies
    Proxies,
    /// A page of the audit log
    AuditPage,
    /// Records visits
    NoteVisits,
    /// Adds to the number of visits of a session
    CountVisits,
    /// Records sign-ins and other acts
    NoteActs,
    /// Adds to the number of times that an act was repeated
    CountActs,
    /// Watches what visitors were let into
    WatchGrants,
    /// What does not hold any more of what visitors were let into
    Revocations,
    /// Deletes or closes old rows
    Housekeeping,
    /// The columns of the tables, to find out whether the database is ready
    Catalog,
    /// Every other statement
    Other,
}

impl Question {
    /// All questions
    pub const ALL: [Self; 22] = [
        Self::Candidates,
        Self::App,
        Self::Terminal,
        Self::Holders,
        Self::Username,
        Self::EndedSessions,
        Self::NewSession,
        Self::GiveSession,
        Self::LogOut,
        Self::UseSession,
        Self::Keys,
        Self::Proxies,
        Self::AuditPage,
        Self::NoteVisits,
        Self::CountVisits,
        Self::NoteActs,
        Self::CountActs,
        Self::WatchGrants,
        Self::Revocations,
        Self::Housekeeping,
        Self::Catalog,
        Self::Other,
    ];

    /// The question in a word, as a label of metrics
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Candidates => "candidates",
            Self::App => "app",
            Self::Terminal => "terminal",
            Self::Holders => "holders",
            Self::Username => "username",
            Self::EndedSessions => "ended_sessions",
            Self::NewSession => "new_session",
            Self::GiveSession => "give_session",
            Self::LogOut => "log_out",
            Self::UseSession => "use_session",
            Self::Keys => "keys",
            Self::Proxies => "proxies",
            Self::AuditPage => "audit_page",
            Self::NoteVisits => "note_visits",
            Self::CountVisits => "count_visits",
            Self::NoteActs => "note_acts",
            Self::CountActs => "count_acts",
            Self::WatchGrants => "watch_grants",
            Self::Revocations => "revocations",
            Self::Housekeeping => "housekeeping",
            Self::Catalog => "catalog",
            Self::Other => "other",
        }
    }
}
