//! What was found lately, so that app tokens of before do not count

use std::collections::VecDeque;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use app_authz::app::{Connection, Mask};
use app_authz::token::{AppToken, LEEWAY, TOKEN_LIFETIME};
use tokio::time::Instant;

/// The masks that were found while tokens of before may still be presented
#[derive(Debug, Default)]
pub(super) struct Recent(RwLock<Found>);

#[derive(Debug, Default)]
struct Found {
    masks: VecDeque<(Instant, Mask)>,
    /// Until when no token counts, since there are too many masks
    all_until: Option<Instant>,
}

impl Recent {
    /// Notes what was found, at `now`
    pub(super) fn add(&self, mask: &Mask, now: Instant) {
        let mut found = self.0.write().unwrap_or_else(PoisonError::into_inner);
        while found.masks.front().is_some_and(|(until, _)| *until < now) {
            found.masks.pop_front();
        }
        if found.masks.len() >= MAX_MASKS
            && let Some((until, _)) = found.masks.pop_back()
        {
            found.all_until = found.all_until.max(Some(until));
        }
        found.masks.push_back((now + KEPT, mask.clone()));
    }

    /// Whether nothing was found that concerns the token
    ///
    /// If something was, what the token admits has to be decided once more.
    pub(super) fn admits(&self, token: &AppToken, now: Instant) -> bool {
        let found = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if found.all_until.is_some_and(|until| now <= until) {
            return false;
        }
        if found.masks.is_empty() {
            return true;
        }
        let connection = Connection::from(token);
        let mut current = found.masks.iter().filter(|(until, _)| now <= *until);
        !current.any(|(_, mask)| mask.matches(&connection))
    }
}

/// As long as a token may be presented, and longer than finding out takes
pub(super) const KEPT: Duration =
    Duration::from_secs(TOKEN_LIFETIME.as_secs() + LEEWAY.as_secs() + 10);

/// More than this is compared with each visit only by deciding it once more
const MAX_MASKS: usize = 1_024;
