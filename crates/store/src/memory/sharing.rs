use app_audit::Act;
use app_authz::app::Person;
use app_authz::id::{GroupId, NameOrId, OrganizationId};
use app_authz::{UserId, WorkspaceId};

use super::MemoryStore;
use super::tables::Tables;
use crate::fleet::Share;
use crate::sharing::{
    Changed, Edit, FoundPeople, MAX_PEOPLE, ShareChange, ShareRow, Sharing, columns_of, person,
};
use crate::{Error, MAX_LISTED};

impl Sharing for MemoryStore {
    async fn find_people(
        &self,
        organization: OrganizationId,
        users: &[String],
        groups: &[String],
    ) -> Result<FoundPeople, Error> {
        let tables = self.read();
        let user = |name: &String| {
            let id = match NameOrId::from(&**name) {
                NameOrId::Id(id) => tables.username(id).map(|_| id)?,
                NameOrId::Name(name) => *tables.user_by_name.get(&name.to_lowercase())?,
            };
            let memberships = tables.memberships.get(&id).into_iter().flatten();
            let is_member = memberships.into_iter().any(|of| of.organization_id == organization.0);
            Some((UserId(id), is_member))
        };
        let group = |name: &String| {
            let is_asked = |group: &&crate::fleet::Group| match NameOrId::from(&**name) {
                NameOrId::Id(id) => group.id == id,
                NameOrId::Name(name) => {
                    group.name == name && group.organization_id == organization.0
                }
            };
            tables.all_groups().find(is_asked).map(|group| GroupId(group.id))
        };
        Ok(FoundPeople {
            users: users.iter().map(user).collect(),
            groups: groups.iter().map(group).collect(),
        })
    }

    async fn shares(&self, workspace: Option<WorkspaceId>) -> Result<Vec<ShareRow>, Error> {
        let tables = self.read();
        let shares = tables.shares.values().flatten();
        let of_workspace =
            shares.filter(|share| workspace.is_none_or(|id| id.0 == share.workspace_id));
        let mut rows: Vec<_> = of_workspace.map(|share| tables.share_row(share)).collect();
        rows.sort_by(|a, b| {
            let key = |row: &ShareRow| {
                (row.workspace_id, row.agent.clone(), row.app.clone(), row.is_group, row.id)
            };
            key(a).cmp(&key(b))
        });
        rows.truncate(MAX_LISTED);
        Ok(rows)
    }

    async fn write_shares(
        &self,
        change: &ShareChange,
        act: &Act,
    ) -> Result<Option<Changed>, Error> {
        let mut tables = self.write();
        let shares = tables.shares.entry(change.workspace.0).or_default();
        let is_of_app = |share: &Share| {
            share.agent_name == change.agent && share.slug_or_port == change.slug_or_port
        };
        let of_app = shares.iter().filter(|share| is_of_app(share));
        let before: Vec<_> = of_app.map(person_of).collect();
        let is_removed = |person: &Person| match change.edit {
            Edit::Set => !change.people.contains(person),
            Edit::Add => false,
            Edit::Remove => change.people.contains(person),
        };
        let mut changed = Changed::default();
        changed.removed.extend(before.iter().copied().filter(is_removed));
        if change.edit != Edit::Remove {
            let new = change.people.iter().copied().filter(|person| !before.contains(person));
            changed.added.extend(new);
        }
        if before.len() + changed.added.len() - changed.removed.len() > MAX_PEOPLE {
            return Ok(None);
        }
        let is_withdrawn = |share: &mut Share| is_of_app(share) && is_removed(&person_of(share));
        let withdrawn: Vec<_> = shares.extract_if(.., is_withdrawn).collect();
        for person in &changed.added {
            let (is_group, person_id) = columns_of(*person);
            shares.push(Share {
                workspace_id: change.workspace.0,
                agent_name: change.agent.clone(),
                slug_or_port: change.slug_or_port.clone(),
                is_group,
                person_id,
                created_at: change.at.into(),
                created_by: change.by.map(|UserId(id)| id),
            });
        }
        changed.removed.sort();
        tables.note_withdrawn(&withdrawn);
        if !changed.is_empty() {
            self.acts.add(&[changed.of_act(act, change)]);
        }
        Ok(Some(changed))
    }
}

impl Tables {
    fn share_row(&self, share: &Share) -> ShareRow {
        let workspace = self.workspaces.get(&share.workspace_id).filter(|row| !row.deleted);
        let owner = |id| self.users.get(&id).map(|user| user.username.clone());
        let group = || self.all_groups().find(|group| group.id == share.person_id);
        ShareRow {
            workspace_id: share.workspace_id,
            workspace: workspace
                .and_then(|row| Some(format!("{}/{}", owner(row.owner_id)?, row.name))),
            agent: share.agent_name.clone(),
            app: share.slug_or_port.clone(),
            is_group: share.is_group,
            id: share.person_id,
            name: match share.is_group {
                true => group().map(|group| group.name.clone()),
                false => self.username(share.person_id),
            },
            created_at: share.created_at,
            created_by: share.created_by,
        }
    }
}

const fn person_of(share: &Share) -> Person {
    person(share.is_group, share.person_id)
}
