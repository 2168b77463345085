use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

#[cfg(feature = "seal")]
use super::{LEEWAY, seal::LIFETIME};
use crate::digest::sha256;

/// The sealed sessions that this replica has opened, so that each is opened once
///
/// A seal is part of an address, which histories and logs keep. A reader of those could open it for
/// a minute, as [`KeyRing::open`](super::KeyRing::open) itself remembers nothing. Add a seal only
/// after it was opened, so that forged ones take no memory. Replicas do not share what they
/// remember: [`Sessions::give`](crate::credential::Sessions::give) knows of all of them.
///
/// ```
/// use std::time::SystemTime;
///
/// use app_authz::credential::SessionToken;
/// use app_authz::token::{KeyRing, LEEWAY, OpenedSeals, SealKey, TokenError};
///
/// fn open_once(
///     keys: &KeyRing<SealKey>,
///     opened: &OpenedSeals,
///     sealed: &str,
///     now: SystemTime,
/// ) -> Result<Option<SessionToken>, TokenError> {
///     let session = keys.open(sealed, now, LEEWAY)?;
///     Ok(opened.insert(sealed, now).then_some(session.token))
/// }
/// ```
#[cfg(feature = "seal")]
#[derive(Debug)]
pub struct OpenedSeals(RecentTexts);

#[cfg(feature = "seal")]
impl OpenedSeals {
    /// No seal has been opened yet
    #[must_use]
    pub fn new() -> Self {
        // Valid from a minute before to a minute after a seal is made, with a leeway on both sides.
        Self(RecentTexts::new(2 * (LIFETIME + LEEWAY)))
    }

    /// Remembers that the seal was opened at `now`, and returns whether this is the first time
    ///
    /// If it is not, the session in it must not be used. Returns `false` too if more seals are
    /// remembered than there is room for (see [`RecentTexts`]).
    #[must_use]
    pub fn insert(&self, sealed: &str, now: SystemTime) -> bool {
        self.0.insert(sealed, now)
    }
}

#[cfg(feature = "seal")]
impl Default for OpenedSeals {
    fn default() -> Self {
        Self::new()
    }
}

/// Texts that were seen lately, and when, by their digests
///
/// Holds at most [`MAX_RECENT_TEXTS`]. Time is an argument of each call, and may go back: a text with
/// a later time than that of the call is kept.
#[derive(Debug)]
pub struct RecentTexts {
    lifetime: Duration,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    at: HashMap<[u8; 32], SystemTime>,
    /// The number of texts from which on old ones are removed
    sweep_at: usize,
    /// When old ones were removed last
    swept: SystemTime,
}

impl RecentTexts {
    /// Remembers a text for `lifetime` after it was last seen
    #[must_use]
    pub fn new(lifetime: Duration) -> Self {
        let (at, sweep_at, swept) = (HashMap::new(), SWEEP, SystemTime::UNIX_EPOCH);
        Self { lifetime, seen: Mutex::new(Seen { at, sweep_at, swept }) }
    }

    /// Remembers the text, and returns whether it was not seen within the lifetime before
    ///
    /// Returns `false` too if [`MAX_RECENT_TEXTS`] other texts are remembered.
    pub fn insert(&self, text: &str, now: SystemTime) -> bool {
        let mut seen = self.lock();
        // Most calls do not sweep, however many texts are kept and whether or not there is room.
        let is_rested = || now.duration_since(seen.swept).map_or(true, |age| age >= SWEEP_PAUSE);
        let is_full = seen.at.len() >= MAX_RECENT_TEXTS;
        if seen.at.len() >= seen.sweep_at && (!is_full || is_rested()) {
            seen.at.retain(|_, at| self.is_recent(*at, now));
            seen.sweep_at = SWEEP.max(2 * seen.at.len()).min(MAX_RECENT_TEXTS);
            seen.swept = now;
        }
        let key = sha256(text.as_bytes());
        if seen.at.len() >= MAX_RECENT_TEXTS && !seen.at.contains_key(&key) {
            return false;
        }
        let before = seen.at.insert(key, now);
        !before.is_some_and(|at| self.is_recent(at, now))
    }

    /// When the text was seen last; `None` if it is not remembered
    ///
    /// That may be longer ago than the lifetime, since old texts are removed only to make room.
    #[must_use]
    pub fn last(&self, text: &str) -> Option<SystemTime> {
        self.lock().at.get(&sha256(text.as_bytes())).copied()
    }

    fn is_recent(&self, at: SystemTime, now: SystemTime) -> bool {
        now.duration_since(at).map_or(true, |age| age < self.lifetime)
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The maximum number of texts that [`RecentTexts`] remembers
///
/// About 20 MB, and more sign-ins than a replica has in two minutes.
pub const MAX_RECENT_TEXTS: usize = 1 << 18;

/// The number of texts from which on old ones are removed first
const SWEEP: usize = 4096;

/// While the list is full, old texts are removed no more often than this
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[cfg(feature = "seal")]
    #[test]
    fn a_seal_is_opened_once_for_as_long_as_it_is_good() {
        let opened = OpenedSeals::new();
        assert!(opened.insert("a", at(1_000)));
        assert!(opened.insert("b", at(1_000)));
        for now in [1_000, 1_129, 900, 1_001] {
            assert!(!opened.insert("a", at(now)), "{now}");
        }
        // Many others do not push it out.
        for n in 0..10_000 {
            assert!(opened.insert(&format!("other {n}"), at(1_010)));
        }
        assert!(!opened.insert("b", at(1_011)));
    }

    #[test]
    fn old_texts_make_room() {
        let texts = RecentTexts::new(Duration::from_secs(10));
        for n in 0..SWEEP {
            assert!(texts.insert(&n.to_string(), at(100)));
        }
        assert_eq!(texts.last("0"), Some(at(100)));
        assert!(texts.insert("late", at(110)));
        assert_eq!(texts.lock().at.len(), 1);
        assert_eq!((texts.last("0"), texts.last("late")), (None, Some(at(110))));
        assert!(!texts.insert("late", at(119)));
        assert_eq!(texts.last("late"), Some(at(119)));
        assert!(texts.insert("late", at(129)), "the lifetime is over");
    }

    #[test]
    fn the_number_of_texts_is_bounded() {
        let texts = RecentTexts::new(Duration::from_secs(10));
        for n in 0..MAX_RECENT_TEXTS {
            texts.insert(&n.to_string(), at(100));
        }
        assert!(!texts.insert("one more", at(108)));
        assert_eq!(texts.last("one more"), None);
        assert!(!texts.insert("0", at(108)), "known");
        assert_eq!(texts.lock().at.len(), MAX_RECENT_TEXTS);
        // A full table is searched for old texts once a second, even if some are old by now.
        let (before, after) = (Duration::from_millis(9_900), Duration::from_millis(10_500));
        assert!(!texts.insert("one more", at(100) + before));
        assert!(!texts.insert("one more", at(100) + after));
        assert!(texts.insert("one more", at(111)));
        assert_eq!(texts.lock().at.len(), 2);
    }
}
