use app_authz::app::SharingLevel;
use app_authz::id::{AppId, GroupId};
use uuid::Uuid;

use super::MemoryStore;
use super::tables::Tables;
use crate::Error;
use crate::fleet::{AppHealth, Workspace, WorkspaceApp};
use crate::listing::{Health, ListPosition, ListQuery, ListedApp, ListedWorkspace, Listing};

impl Listing for MemoryStore {
    async fn listed(&self, asked: &ListQuery) -> Result<Vec<ListedWorkspace>, Error> {
        let tables = self.read();
        let live = tables.workspaces.values().filter(|w| !w.deleted && w.dormant_at.is_none());
        let mut listed: Vec<_> =
            live.filter_map(|workspace| tables.list(workspace, asked)).collect();
        let place = |listed: &ListedWorkspace| position(asked, listed);
        if let Some(after) = &asked.after {
            let after = key(after);
            listed.retain(|listed| place(listed) > after);
        }
        listed.sort_by_key(place);
        listed.truncate(asked.limit.into());
        Ok(listed)
    }
}

/// Own workspaces first, then by owner and name
fn key(position: &ListPosition) -> (bool, String, String) {
    let ListPosition { is_of_other, owner, workspace } = position;
    (*is_of_other, owner.to_lowercase(), workspace.to_lowercase())
}

fn position(asked: &ListQuery, listed: &ListedWorkspace) -> (bool, String, String) {
    let workspace = &listed.facts.workspace;
    key(&ListPosition {
        is_of_other: workspace.owner != asked.openable.user,
        owner: workspace.owner_name.clone(),
        workspace: workspace.name.clone(),
    })
}

impl Tables {
    /// Whether an app or a port of the workspace is shared with the user by name
    fn is_shared_with(&self, workspace: Uuid, asked: &ListQuery) -> bool {
        let user = asked.openable.user.0;
        let memberships = self.memberships.get(&user).into_iter().flatten();
        let organizations: Vec<_> = memberships.map(|of| of.organization_id).collect();
        let groups = &asked.openable.groups;
        let mut shares = self.shares.get(&workspace).into_iter().flatten();
        shares.any(|share| match share.is_group {
            true => {
                groups.contains(&GroupId(share.person_id))
                    || organizations.contains(&share.person_id)
            }
            false => share.person_id == user,
        })
    }

    /// The workspace with its apps, if it is part of the list
    fn list(&self, workspace: &Workspace, asked: &ListQuery) -> Option<ListedWorkspace> {
        let (facts, apps) = self.all_apps(workspace)?;
        let is_member = || {
            let user = asked.openable.user.0;
            let memberships = self.memberships.get(&user).into_iter().flatten();
            memberships.into_iter().any(|of| of.organization_id == workspace.organization_id)
        };
        let is_open = |level: SharingLevel| match level {
            SharingLevel::Authenticated | SharingLevel::Public => true,
            SharingLevel::Organization => is_member(),
            _ => false,
        };
        let is_openable = asked.openable.matches(&facts.workspace.object())
            || apps.iter().any(|app| is_open(app.sharing_level.into()))
            || self.is_shared_with(workspace.id, asked);
        let has = |text: &str| text.to_lowercase().contains(&asked.search);
        let is_found = has(&facts.workspace.name)
            || has(&facts.workspace.owner_name)
            || apps.iter().any(|app| has(&app.slug) || has(&app.display_name));
        (is_openable && is_found)
            .then(|| ListedWorkspace { apps: apps.into_iter().map(describe).collect(), facts })
    }
}

fn describe(app: &WorkspaceApp) -> ListedApp {
    ListedApp {
        id: AppId(app.id),
        display_name: app.display_name.clone(),
        is_on_own_host: app.subdomain,
        health: match app.health {
            AppHealth::Initializing => Health::Initializing,
            AppHealth::Healthy => Health::Healthy,
            AppHealth::Unhealthy => Health::Unhealthy,
            _ => Health::Unknown,
        },
    }
}
