//! What was found lately, so that app tokens of before do not count

use std::collections::VecDeque;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use app_authz::app::{Connection, Mask};
use app_authz::token::{LEEWAY, TOKEN_LIFETIME};
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

    /// Whether nothing was found that concerns the connection of a token
    ///
    /// If something was, what the token admits has to be decided once more.
    pub(super) fn admits(&self, connection: impl FnOnce() -> Connection, now: Instant) -> bool {
        let found = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if found.all_until.is_some_and(|until| now <= until) {
            return false;
        }
        if found.masks.is_empty() {
            return true;
        }
        let connection = connection();
        let mut current = found.masks.iter().filter(|(until, _)| now <= *until);
        !current.any(|(_, mask)| mask.matches(&connection))
    }
}

/// As long as a token may be presented, and longer than finding out takes
pub(super) const KEPT: Duration =
    Duration::from_secs(TOKEN_LIFETIME.as_secs() + LEEWAY.as_secs() + 10);

/// More than this is compared with each visit only by deciding it once more
const MAX_MASKS: usize = 1_024;

#[cfg(test)]
mod tests {
    use app_authz::UserId;
    use app_authz::app::Visitor;
    use uuid::Uuid;

    use super::*;

    fn of(user: usize) -> Mask {
        let mut mask = Mask::default();
        mask.user = Some(id(user));
        mask
    }

    fn id(user: usize) -> UserId {
        UserId(Uuid::from_u128(user.try_into().unwrap()))
    }

    fn admits(recent: &Recent, user: usize, now: Instant) -> bool {
        recent.admits(|| Connection::of(Visitor::User(id(user))), now)
    }

    const NEXT: Duration = Duration::from_nanos(1);

    #[test]
    fn what_was_found_counts_for_as_long_as_tokens_of_before() {
        let (recent, start) = (Recent::default(), Instant::now());
        assert!(admits(&recent, 1, start));
        recent.add(&of(1), start);
        for (user, later, is_admitted) in [
            (1, Duration::ZERO, false),
            (2, Duration::ZERO, true),
            (1, KEPT, false),
            (1, KEPT + NEXT, true),
        ] {
            assert_eq!(admits(&recent, user, start + later), is_admitted, "{user} {later:?}");
        }
        assert!(KEPT >= TOKEN_LIFETIME + LEEWAY);
    }

    #[test]
    fn while_too_much_was_found_no_token_counts() {
        let (recent, start) = (Recent::default(), Instant::now());
        for user in 0..MAX_MASKS {
            recent.add(&of(user), start);
        }
        assert!(admits(&recent, MAX_MASKS, start));
        let second = Duration::from_secs(1);
        recent.add(&of(MAX_MASKS), start + second);
        // The mask that had to make room counts for everyone, as long as it would have counted.
        for (user, later, is_admitted) in [
            (MAX_MASKS + 1, second, false),
            (MAX_MASKS + 1, KEPT, false),
            (MAX_MASKS + 1, KEPT + NEXT, true),
            (MAX_MASKS, KEPT + NEXT, false),
            (MAX_MASKS, KEPT + second + NEXT, true),
        ] {
            assert_eq!(admits(&recent, user, start + later), is_admitted, "{user} {later:?}");
        }
    }

    #[test]
    fn what_does_not_count_any_more_makes_room() {
        let (recent, start) = (Recent::default(), Instant::now());
        for user in 0..MAX_MASKS {
            recent.add(&of(user), start);
        }
        let later = start + KEPT + NEXT;
        recent.add(&of(0), later);
        recent.add(&of(0), later);
        assert!(admits(&recent, 1, later) && !admits(&recent, 0, later));
    }
}
