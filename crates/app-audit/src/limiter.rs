use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::source::{Source, UNKNOWN};

/// Limits how often something happens for each source in a minute, and counts the rest
///
/// A visitor can come back at will and vary what it sends, and could fill a table or a log.
/// Each source has a token bucket that holds one minute's worth and refills evenly. The table of
/// buckets is bounded too: sources that find no place share a bucket.
#[derive(Debug)]
pub(crate) struct Limiter {
    per_minute: u32,
    /// When the bucket of each source will be full again
    full_at: HashMap<Source, Instant>,
    swept: Option<Instant>,
    /// How much was left out since the last report, and when to report it
    unreported: Option<(u64, Instant)>,
}

impl Limiter {
    /// Returns a limiter that admits `per_minute` of each source
    pub(crate) fn new(per_minute: u32) -> Self {
        Self { per_minute, full_at: HashMap::new(), swept: None, unreported: None }
    }

    /// Returns whether one more of this source is admitted
    pub(crate) fn admit(&mut self, source: Source, now: Instant) -> bool {
        let admitted = self.take(source, now);
        if !admitted {
            self.leave_out(now);
        }
        admitted
    }

    /// Counts one that was left out for another reason
    pub(crate) fn leave_out(&mut self, now: Instant) {
        let (count, _) = self.unreported.get_or_insert((0, now + MINUTE));
        *count += 1;
    }

    /// Returns when the next report is due
    pub(crate) fn next(&self) -> Option<Instant> {
        self.unreported.map(|(_, at)| at)
    }

    /// Returns how many were left out in the last minute, once it is over or `at_once`
    pub(crate) fn report(&mut self, now: Instant, at_once: bool) -> Option<u64> {
        self.unreported.take_if(|(_, at)| at_once || now >= *at).map(|(count, _)| count)
    }

    fn take(&mut self, source: Source, now: Instant) -> bool {
        let Some(each) = MINUTE.checked_div(self.per_minute) else { return false };
        if !self.has_room_for(source) {
            self.sweep(now);
        }
        // Once the table is full, new sources share the bucket for unknown addresses.
        let source = if self.has_room_for(source) { source } else { UNKNOWN };
        let full_at = self.full_at.entry(source).or_insert(now);
        let begin = (*full_at).max(now);
        let admitted = begin + each <= now + MINUTE;
        if admitted {
            *full_at = begin + each;
        }
        admitted
    }

    fn has_room_for(&self, source: Source) -> bool {
        self.full_at.len() < MAX_SOURCES || self.full_at.contains_key(&source)
    }

    /// Removes buckets that are full, which are the same as none
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_none_or(|swept| now >= swept + SWEEP) {
            self.swept = Some(now);
            self.full_at.retain(|_, full_at| *full_at > now);
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const SWEEP: Duration = Duration::from_secs(1);
const MAX_SOURCES: usize = 10_000;
