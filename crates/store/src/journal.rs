use std::time::Duration;

use app_audit::{Answer, Entry, Noted, SessionKey, Window};
use uuid::Uuid;

/// Entries in the order of their keys
///
/// Entries with the same key share a row: the visits after the first continue the session that
/// it began. If each visit is a session of its own, each has a row, and the last row has the
/// session's count.
pub(crate) struct Groups<'a> {
    /// The first entry of each row, and how many visits the session has; zero if another row
    /// counts them
    rows: Vec<(&'a Entry, u64)>,
    /// The row of each entry, in the order given
    of_entry: Vec<usize>,
    each_is_a_session: bool,
}

impl<'a> Groups<'a> {
    pub(crate) fn of(entries: &'a [Entry], window: Window) -> Self {
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
        Self { rows, of_entry, each_is_a_session }
    }

    pub(crate) fn rows(&self) -> &[(&'a Entry, u64)] {
        &self.rows
    }

    /// An answer to each entry
    ///
    /// `kept` returns the session with a key and the age of its last visit; `None` if the
    /// visit was noted before.
    pub(crate) fn answers(
        &self,
        kept: impl Fn(&SessionKey) -> Option<(Uuid, Duration)>,
    ) -> Vec<Answer> {
        let mut answered = vec![false; self.rows.len()];
        self.of_entry
            .iter()
            .map(|&row| {
                let (entry, _) = self.rows[row];
                let fresh = entry.record.session;
                if self.each_is_a_session {
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
}
