use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use app_authz::app::{Mask, Revocation, RevocationReason, SharingLevel};
use app_authz::{UserId, WorkspaceId};
use serde_json::Value;
use uuid::Uuid;

use super::MemoryStore;
use super::tables::Tables;
use crate::fleet::{Share, UserStatus};
use crate::revocations::{
    Entry, KEPT, Logged, MAX_ENDED, MAX_LOGGED, Revocations, Slice, WATCHED, WatchedGrant,
};
use crate::{Error, domain};

/// A grant that is watched
#[derive(Clone, Debug)]
pub(super) struct Watched {
    grant: WatchedGrant,
    /// The number of the build that the agent is of; 0 if that is not known
    build: i32,
    until: SystemTime,
    /// What else a decision may rest on, as it was at the last question
    rests_on: BTreeSet<Ground>,
}

/// Something that widens what is allowed
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ground {
    Agent,
    Owner,
    /// An app or a port is shared at this level or a wider one
    Shared(String, SharingLevel),
    /// Ports may be
    Template(SharingLevel),
    Role(String),
    Member(String),
    Group(Uuid),
    /// An entry of an access list, with what it grants
    Listed(String, String),
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
                    let rests_on = BTreeSet::new();
                    tables.watched.push(Watched { grant: grant.clone(), build, until, rests_on });
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
    /// Logs which grants have ended, and what others rested on and is gone
    fn end_grants(&mut self, slice: Slice, now: SystemTime) {
        let mut over = std::mem::take(&mut self.withdrawn);
        let watched = std::mem::take(&mut self.watched);
        let (mut kept, mut ended) = (Vec::new(), 0);
        for mut watched in watched {
            let is_asked = is_in(&watched.grant, slice) && watched.until >= now;
            if !is_asked || ended == MAX_ENDED {
                kept.push(watched);
                continue;
            }
            if let Some(revocation) = self.end_of(&watched, now) {
                ended += 1;
                over.push(revocation);
                continue;
            }
            if !watched.rests_on.is_empty() && !is_compared(&watched.grant, slice) {
                kept.push(watched);
                continue;
            }
            let present = self.grounds(&watched.grant);
            let gone = watched.rests_on.difference(&present);
            over.extend(gone.map(|ground| ground.revocation(&watched.grant)));
            watched.rests_on = present;
            kept.push(watched);
        }
        self.watched = kept;
        for (n, revocation) in over.iter().enumerate() {
            if !over[..n].contains(revocation) {
                let (id, at, revocation) = (Uuid::new_v4(), now, revocation.clone());
                self.log.push(Entry { id, at, revocation });
            }
        }
    }

    /// What a grant that has not ended may rest on
    fn grounds(&self, grant: &WatchedGrant) -> BTreeSet<Ground> {
        let user = grant.session.as_ref().and_then(|(user, _)| self.users.get(&user.0));
        let agent = self.agents.get(&grant.agent.0).filter(|agent| !agent.deleted);
        let mut grounds: BTreeSet<_> = agent.map(|_| Ground::Agent).into_iter().collect();
        let Some(place) = self.workspaces.get(&grant.workspace.0) else { return grounds };
        if let Some(user) = user {
            grounds.extend(user.rbac_roles.iter().cloned().map(Ground::Role));
            let members = self.memberships.get(&user.id).into_iter().flatten();
            if let Some(member) =
                members.into_iter().find(|of| of.organization_id == place.organization_id)
            {
                let implied = self.default_roles.get(&place.organization_id);
                let roles = member.roles.iter().chain(implied.into_iter().flatten()).cloned();
                grounds.extend(roles.chain([String::new()]).map(Ground::Member));
            }
            if user.id == place.owner_id {
                grounds.insert(Ground::Owner);
                return grounds;
            }
            let groups = self.groups.get(&user.id).into_iter().flatten().copied();
            let groups: Vec<Uuid> = groups.collect();
            let listed = |list: &Value, id: Uuid| {
                let granted = list.get(id.to_string())?.to_string();
                Some(Ground::Listed(id.to_string(), granted))
            };
            grounds.extend(listed(&place.user_acl, user.id));
            let of_groups = groups.iter().chain([&place.organization_id]);
            grounds.extend(of_groups.filter_map(|group| listed(&place.group_acl, *group)));
            grounds.extend(groups.into_iter().map(Ground::Group));
        }
        let apps = self.apps.get(&grant.agent.0).into_iter().flat_map(BTreeMap::values);
        for app in apps {
            let level = app.sharing_level.into();
            grounds.extend(up_to(level, |level| Ground::Shared(app.slug.clone(), level)));
        }
        let ports = self.port_shares.iter().filter(|((of, _), _)| *of == place.id);
        for ((_, port), shares) in ports {
            let of_agent = shares.iter().filter(|(name, _)| {
                agent.is_some_and(|agent| agent.name.to_lowercase() == name.to_lowercase())
            });
            for (_, level) in of_agent {
                let shared = |level| Ground::Shared(port.to_string(), level);
                grounds.extend(up_to((*level).into(), shared));
            }
        }
        if let Some(template) = self.templates.get(&place.template_id) {
            grounds.extend(up_to(template.max_port_sharing_level.into(), Ground::Template));
        }
        grounds
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

    /// Notes that shares were withdrawn, for the log
    pub(super) fn note_withdrawn<'a>(&mut self, shares: impl IntoIterator<Item = &'a Share>) {
        for share in shares {
            let mut mask = Mask::default();
            mask.workspace = Some(WorkspaceId(share.workspace_id));
            mask.app = Some(share.slug_or_port.clone());
            mask.user = (!share.is_group).then_some(UserId(share.person_id));
            self.withdrawn.push(Revocation::new(RevocationReason::ShareWithdrawn, mask));
        }
    }
}

impl Ground {
    /// What its end means for a grant
    fn revocation(&self, grant: &WatchedGrant) -> Revocation {
        let mut mask = Mask::default();
        (mask.workspace, mask.agent) = (Some(grant.workspace), Some(grant.agent));
        let user = grant.session.as_ref().map(|(user, _)| *user);
        let reason = match self {
            Self::Agent => RevocationReason::WorkspaceStopped,
            Self::Shared(app, _) => {
                (mask.user, mask.app) = (user, Some(app.clone()));
                RevocationReason::ShareWithdrawn
            }
            Self::Template(_) => {
                mask.user = user;
                RevocationReason::ShareWithdrawn
            }
            Self::Owner | Self::Role(_) | Self::Member(_) | Self::Group(_) | Self::Listed(..) => {
                mask.user = user;
                RevocationReason::PermissionWithdrawn
            }
        };
        Revocation::new(reason, mask)
    }
}

/// A ground for each level above the narrowest, up to this one
fn up_to<T>(widest: SharingLevel, ground: impl Fn(SharingLevel) -> T) -> Vec<T> {
    let levels = SharingLevel::ALL.iter().copied();
    levels
        .filter(|level| (SharingLevel::Owner..=widest).contains(level))
        .skip(1)
        .map(ground)
        .collect()
}

/// Whether a grant is of a slice: those of a session together
fn is_in(grant: &WatchedGrant, slice: Slice) -> bool {
    let bytes = match &grant.session {
        Some((_, key)) => key.as_bytes(),
        None => grant.agent.0.as_bytes(),
    };
    sum(bytes) % slice.of() == slice.number()
}

/// Whether a grant of a slice is of the part that is compared
fn is_compared(grant: &WatchedGrant, slice: Slice) -> bool {
    sum(grant.agent.0.as_bytes()) % slice.parts() == slice.part()
}

fn sum(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum: u16, byte| sum.wrapping_add((*byte).into()))
}
