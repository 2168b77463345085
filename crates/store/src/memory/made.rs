//! Keys that were made from sessions, and that end with them

use app_authz::credential::{MAX_MADE, MAX_MADE_FOR_USER};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::tables::{Made, Tables};

impl Tables {
    /// When a key expires; `None` if it does not exist, or the session that it was made from
    pub(super) fn expiry(&self, id: &str) -> Option<DateTime<Utc>> {
        let key = self.keys.get(id)?;
        let Some(made) = self.made.get(id) else { return Some(key.expires_at) };
        let parent = self.keys.get(&made.parent).filter(|parent| parent.user_id == key.user_id)?;
        Some(key.expires_at.min(parent.expires_at))
    }

    /// Notes that a key is made from a session, and ends the oldest if there are too many
    pub(super) fn note_made(&mut self, id: &str, parent: &str, user: Uuid, at: DateTime<Utc>) {
        let mut of_user: Vec<_> = self.made.iter().filter(|(_, made)| made.user == user).collect();
        of_user.sort_unstable_by_key(|(id, made)| (std::cmp::Reverse(made.at), (*id).clone()));
        // The new one is not among them yet.
        let of_parent = of_user.iter().filter(|(_, made)| made.parent == parent);
        let surplus =
            of_parent.skip(MAX_MADE - 1).chain(of_user.iter().skip(MAX_MADE_FOR_USER - 1));
        let surplus: Vec<String> = surplus.map(|(id, _)| (*id).clone()).collect();
        self.end(&surplus);
        let made = Made { parent: parent.to_owned(), user, at, is_given: false };
        self.made.insert(id.to_owned(), made);
    }

    /// Extends the session that a key was made from, and all keys made from that, as far as the
    /// key itself was extended
    pub(super) fn extend_family(&mut self, id: &str) {
        let Some(used) = self.keys.get(id).cloned() else { return };
        let first = self.made.get(id).map_or(id, |made| &made.parent).to_owned();
        let seconds = |seconds| TimeDelta::try_seconds(seconds).unwrap_or_default();
        let now = used.expires_at - seconds(used.lifetime_seconds);
        for key in self.keys.values_mut() {
            let is_made = self.made.get(&key.id).is_some_and(|made| made.parent == first);
            let is_other = (key.id == first || is_made) && key.id != used.id;
            if !is_other || key.user_id != used.user_id {
                continue;
            }
            if key.lifetime_seconds >= 3600 && key.expires_at >= now {
                let end = now + seconds(key.lifetime_seconds);
                key.expires_at = key.expires_at.max(end);
            }
        }
    }

    /// Deletes keys
    pub(super) fn end(&mut self, ids: &[String]) {
        for id in ids {
            self.keys.remove(id);
            self.made.remove(id);
        }
    }
}
