use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ring::digest::{SHA256, digest};

/// What this replica has seen lately, by its digest
///
/// Replicas do not share it.
#[derive(Debug)]
pub(super) struct Recent {
    lifetime: Duration,
    seen: Mutex<Seen>,
}

type Seen = HashMap<[u8; 32], SystemTime>;

impl Recent {
    /// Forgets what was seen longer than `lifetime` ago
    pub(super) fn new(lifetime: Duration) -> Self {
        Self { lifetime, seen: Mutex::default() }
    }

    /// Remembers the text, and says whether it was not known
    pub(super) fn insert(&self, text: &str, now: SystemTime) -> bool {
        let mut seen = self.lock();
        if seen.len() >= SWEEP {
            seen.retain(|_, at| now.duration_since(*at).is_ok_and(|age| age < self.lifetime));
        }
        seen.insert(key(text), now).is_none()
    }

    /// When the text was seen last
    pub(super) fn last(&self, text: &str) -> Option<SystemTime> {
        self.lock().get(&key(text)).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(text: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    key
}

/// The number of digests from which on old ones are removed
const SWEEP: usize = 4096;
