use std::time::SystemTime;

use app_authz::app::{Mask, Person, Revocation, RevocationReason};
use uuid::Uuid;

use super::MemoryStore;
use super::tables::Tables;
use crate::fleet::UserStatus;
use crate::revocations::{
    Entry, KEPT, Logged, MAX_ENDED, MAX_LOGGED, Revocations, Slice, WATCHED, WatchedGrant,
};
use crate::sharing::{Changed, ShareChange};
use crate::{Error, domain};

/// A grant that is watched
#[derive(Clone, Debug)]
pub(super) struct Watched {
    grant: WatchedGrant,
    /// The number of the build that the agent is of; 0 if that is not known
    build: i32,
    until: SystemTime,
}

impl Revocations for MemoryStore {
    async fn watch_grants(&self, grants: &[WatchedGrant], now: SystemTime) -> Result<(), Error> {
        let mut tables = self.write();
        tables.watched.retain(|watched| watched.until >= now);
        for grant in grants {
            let of_same = |watched: &&mut Watched| {
                let key =
                    |grant: &WatchedGrant| (grant.session.clone().map(|(_, key)| key), grant.agent);
                key(&watched.grant) == key(grant)
            };
            let until = now + WATCHED;
            match tables.watched.iter_mut().find(of_same) {
                Some(watched) => watched.until = watched.until.max(until),
                None => {
                    let agent = tables.agents.get(&grant.agent.0);
                    let build = agent.and_then(|agent| tables.build_of(agent));
                    let build = build.map_or(0, |build| build.build_number);
                    tables.watched.push(Watched { grant: grant.clone(), build, until });
                }
            }
        }
        Ok(())
    }

    async fn revocations(
        &self,
        since: Option<SystemTime>,
        slice: Slice,
        now: SystemTime,
    ) -> Result<Logged, Error> {
        let mut tables = self.write();
        let known = tables.log.len();
        tables.end_grants(slice, now);
        let kept = now.checked_sub(KEPT).unwrap_or(SystemTime::UNIX_EPOCH);
        let is_read = |(n, entry): &(usize, &Entry)| {
            *n >= known || entry.at >= kept && since.is_some_and(|since| entry.at > since)
        };
        let read = tables.log.iter().enumerate().filter(is_read);
        let entries = read.take(MAX_LOGGED).map(|(_, entry)| entry.clone()).collect();
        tables.log.retain(|entry| entry.at >= kept);
        Ok(Logged { at: now, entries })
    }
}

impl Tables {
    /// Moves grants that do not hold any more to the log
    fn end_grants(&mut self, slice: Slice, now: SystemTime) {
        let watched = std::mem::take(&mut self.watched);
        let (mut kept, mut over) = (Vec::new(), Vec::new());
        for watched in watched {
            let is_asked =
                is_in(&watched.grant, slice) && watched.until >= now && over.len() < MAX_ENDED;
            match self.end_of(&watched, now).filter(|_| is_asked) {
                Some(revocation) if over.contains(&revocation) => {}
                Some(revocation) => over.push(revocation),
                None => kept.push(watched),
            }
        }
        self.watched = kept;
        for revocation in over {
            self.log_revocation(revocation, now);
        }
    }

    /// Why a grant does not hold any more
    fn end_of(&self, watched: &Watched, now: SystemTime) -> Option<Revocation> {
        let WatchedGrant { session, workspace, agent } = &watched.grant;
        let mut mask = Mask::default();
        if let Some((user, key)) = session {
            let row = self.users.get(&user.0).filter(|user| !user.deleted);
            mask.user = Some(*user);
            if row.is_none_or(|user| user.status != UserStatus::Active) {
                return Some(Revocation::new(RevocationReason::UserSuspended, mask));
            }
            if self.expiry(key).is_none_or(|end| end < domain::stored_time(now)) {
                mask.session = Some(String::from(&**key));
                return Some(Revocation::new(RevocationReason::SessionEnded, mask));
            }
        }
        let place = self.workspaces.get(&workspace.0).filter(|place| !place.deleted);
        let newest = self.newest_build.get(&workspace.0).map(|(number, _)| *number);
        if place.is_some() && newest == Some(watched.build) {
            return None;
        }
        mask = Mask::default();
        (mask.workspace, mask.agent) = (Some(*workspace), Some(*agent));
        Some(Revocation::new(RevocationReason::WorkspaceStopped, mask))
    }

    fn log_revocation(&mut self, revocation: Revocation, at: SystemTime) {
        self.log.push(Entry { id: Uuid::new_v4(), at, revocation });
    }

    /// Logs that shares were withdrawn
    pub(super) fn log_withdrawn(&mut self, change: &ShareChange, changed: &Changed) {
        let kept = change.at.checked_sub(KEPT).unwrap_or(SystemTime::UNIX_EPOCH);
        self.log.retain(|entry| entry.at >= kept);
        for person in &changed.removed {
            let mut mask = Mask::default();
            mask.workspace = Some(change.workspace);
            mask.app = Some(change.slug_or_port.clone());
            mask.user = match person {
                Person::User(user) => Some(*user),
                Person::Group(_) => None,
            };
            let revocation = Revocation::new(RevocationReason::ShareWithdrawn, mask);
            self.log_revocation(revocation, change.at);
        }
    }
}

/// Whether a grant is of a slice: those of a session together
fn is_in(grant: &WatchedGrant, slice: Slice) -> bool {
    let bytes = match &grant.session {
        Some((_, key)) => key.as_bytes(),
        None => grant.agent.0.as_bytes(),
    };
    let sum = bytes.iter().fold(0_u16, |sum, byte| sum.wrapping_add((*byte).into()));
    sum % slice.of() == slice.number()
}
