use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::{NoContext, Timestamp, Uuid};

use crate::{Answer, Count, Entry, Noted, Record, Row, Session, SessionKey, Window};

/// The entries of one call of [`Journal::note`], in the order of their keys
///
/// For implementations of [`Journal`]. Entries with the same key share a row: the first visit
/// begins or continues the session, and those after it continue the same one. If each visit is a
/// session of its own, each has a row, and the last row has the count of the key.
///
/// - A journal that is one statement of SQL passes the columns of [`rows`](Self::rows) as
///   arguments. The rows are sorted, so that two statements that lock rows in this order do not
///   wait for each other. It makes its answers of what the statement returns, with
///   [`answers`](Self::answers).
/// - A journal that reads, decides and writes calls [`apply`](Self::apply) in between, under a lock
///   or in a serializable transaction. A lock on the rows that were read is not enough: the first
///   visit of a key finds no row to lock, so two of them could each begin a session.
///
/// [`Journal`]: crate::Journal
/// [`Journal::note`]: crate::Journal::note
#[derive(Clone, Debug)]
pub struct Groups<'a> {
    /// The first entry of each row, and how many visits the session has; zero if another row
    /// counts them
    rows: Vec<(&'a Entry, u64)>,
    /// The row of each entry, in the order given
    of_entry: Vec<usize>,
    window: Window,
}

impl<'a> Groups<'a> {
    /// Groups the entries by their keys
    #[must_use]
    pub fn of(entries: &'a [Entry], window: Window) -> Self {
        let each_is_a_session = window.stale.is_zero();
        let mut order: Vec<usize> = (0..entries.len()).collect();
        // Stable: visits with the same key keep their order.
        order.sort_by_key(|&n| entries[n].key);
        let mut rows: Vec<(&Entry, u64)> = Vec::with_capacity(entries.len());
        let mut of_entry = vec![0; entries.len()];
        for n in order {
            let entry = &entries[n];
            match rows.last_mut() {
                Some((last, visits)) if last.key == entry.key => {
                    *visits = visits.saturating_add(entry.visits);
                    if each_is_a_session {
                        let visits = std::mem::take(visits);
                        rows.push((entry, visits));
                    }
                }
                _ => rows.push((entry, entry.visits)),
            }
            of_entry[n] = rows.len() - 1;
        }
        Self { rows, of_entry, window }
    }

    /// Returns the first entry of each row, and how many visits the row has; zero if a later row
    /// of the same key counts them
    #[must_use]
    pub fn rows(&self) -> &[(&'a Entry, u64)] {
        &self.rows
    }

    /// Returns an answer to each entry, in the order given
    ///
    /// `kept` returns the session that has the key once all rows are applied, and how long ago
    /// its last written visit was; `None` if the row changed nothing, because the entry had been
    /// noted before.
    #[must_use]
    pub fn answers(&self, kept: impl Fn(&SessionKey) -> Option<(Uuid, Duration)>) -> Vec<Answer> {
        let mut answered = vec![false; self.rows.len()];
        self.of_entry
            .iter()
            .map(|&row| {
                let (entry, _) = self.rows[row];
                let fresh = entry.record.session;
                if self.window.stale.is_zero() {
                    return Answer::new(Noted::Began(fresh), None);
                }
                let (session, idle) = match kept(&entry.key) {
                    Some((session, idle)) => (session, Some(idle)),
                    None => (fresh, None),
                };
                let first = !std::mem::replace(&mut answered[row], true);
                let noted = match first && session == fresh {
                    true => Noted::Began(session),
                    false => Noted::Continued(session),
                };
                Answer::new(noted, idle)
            })
            .collect()
    }

    /// Applies the entries to the sessions that a journal keeps, and returns what to write
    ///
    /// `last` returns the stored session with a key, and may be asked again for the same key. `now`
    /// is the time of the clock that wrote these sessions, which is the database's where several
    /// programs share one. Nothing may write to the sessions between the calls of `last` and the
    /// writing of the changes: otherwise two visits may begin the same session.
    #[must_use]
    pub fn apply(
        &self,
        now: SystemTime,
        mut last: impl FnMut(&SessionKey) -> Option<Kept>,
    ) -> Changes<'a> {
        let mut sessions: BTreeMap<SessionKey, Kept> = BTreeMap::new();
        let mut answers = HashMap::new();
        let (mut begun, mut replaced) = (Vec::new(), Vec::new());
        for &(entry, visits) in &self.rows {
            let fresh = entry.record.session;
            let last = sessions.get(&entry.key).copied().or_else(|| last(&entry.key));
            if last.is_some_and(|last| last.session.id == fresh) {
                continue;
            }
            let (session, _) =
                Session::visit(last.map(|last| last.session), fresh, now, self.window);
            let began = session.id == fresh;
            if began {
                begun.push(&entry.record);
                replaced.extend(last);
            }
            let before = last.filter(|_| !began).map_or(0, |last| last.visits);
            let visits = before.saturating_add(visits);
            sessions.insert(entry.key, Kept::new(session, visits));
            let idle = now.duration_since(session.updated_at).unwrap_or_default();
            answers.insert(entry.key, (session.id, idle));
        }
        let answers = self.answers(|key| answers.get(key).copied());
        let sessions = sessions.into_iter().collect();
        Changes { sessions, begun, replaced, answers, window: self.window }
    }
}

/// A session as a journal keeps it
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kept {
    /// The session
    pub session: Session,
    /// How many visits it has had
    pub visits: u64,
}

impl Kept {
    /// Returns a session with so many visits
    #[must_use]
    pub const fn new(session: Session, visits: u64) -> Self {
        Self { session, visits }
    }

    /// Returns whether the session ended so long ago that [`Journal::end_sessions`] deletes it
    ///
    /// [`Journal::end_sessions`]: crate::Journal::end_sessions
    #[must_use]
    pub fn is_forgotten(&self, now: SystemTime, window: Window) -> bool {
        let idle = now.duration_since(self.session.updated_at).unwrap_or_default();
        idle > window.forgotten_after()
    }

    /// Adds the visits, if they are of this session
    pub fn count(&mut self, count: &Count) {
        if count.session == self.session.id {
            self.visits = self.visits.saturating_add(count.visits);
        }
    }

    /// Returns the row for the session's end; `None` if the window does not ask for it
    ///
    /// `open` is the row of the session's beginning, without which no end is written.
    #[must_use]
    pub fn closing(&self, window: Window, open: Option<&Row>) -> Option<Row> {
        let open = open.filter(|_| window.closes())?;
        let ended_at = self.session.ended_at(window);
        let since = ended_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = Timestamp::from_unix(NoContext, since.as_secs(), since.subsec_nanos());
        Some(Row::closing(open, Uuid::new_v7(since), self.session, self.visits, ended_at))
    }
}

/// What to write after entries were [applied](Groups::apply), all of it or nothing
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Changes<'a> {
    /// The sessions to store, one for each key; they replace those with the same key
    pub sessions: Vec<(SessionKey, Kept)>,
    /// The records of sessions that began: a row for each, unless the log has a row with its id
    pub begun: Vec<&'a Record>,
    /// Sessions that new ones replace: each gets a row for its end, if [`Kept::closing`] returns
    /// one
    pub replaced: Vec<Kept>,
    /// What to answer to the entries
    pub answers: Vec<Answer>,
    window: Window,
}

impl Changes<'_> {
    /// Returns the rows to write: for sessions that began, and for the ends of those that they
    /// replace
    ///
    /// `open` finds the row of a session's beginning by its id. A row whose id the log has already
    /// must be left as it is.
    #[must_use]
    pub fn rows<'r>(&self, open: impl Fn(Uuid) -> Option<&'r Row>) -> Vec<Row> {
        let closing = |kept: &Kept| kept.closing(self.window, open(kept.session.id));
        let closed = self.replaced.iter().filter_map(closing);
        closed.chain(self.begun.iter().map(|record| Row::from(*record))).collect()
    }
}
