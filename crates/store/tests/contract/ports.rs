//! The published rules of app-authz's ports, over every store

use app_authz::app::{CorsBehavior, SharingLevel, Transition};
use app_authz::conformance::{DirectoryRule, KeysRule, ProxiesRule, Rows, SessionsRule, Workspace};
use app_authz::credential::UserStatus;
use app_authz::token::Feature;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use store::fleet::{
    self, CryptoKey, Digest, Fleet, Hidden, KeyFeature, KeyScope, Share, WorkspaceAgentPortShare,
};
use uuid::Uuid;

// scenarios 115, 121 and 123
rules! {
    DIRECTORY: DirectoryRule since V2_24;
    NamesAndIds = names_and_ids,
    NoCase = no_case,
    UnknownNames = unknown_names,
    AskedOwner = asked_owner,
    DeletedUser = deleted_user,
    DeletedWorkspace = deleted_workspace,
    Unbuilt = unbuilt,
    NewestBuild = newest_build,
    Transition = transition,
    Contact = contact,
    Apps = apps,
    ExactName = exact_name,
    Ports = ports,
    People = people,
    Dormant = dormant,
    Cors = cors,
    Terminal = terminal,
    Holders = holders,
    Alone = alone,
    Shared = shared,
}

rules! {
    SESSIONS: SessionsRule since V2_24;
    Stored = stored,
    Many = many,
    Secret = secret,
    Members = members,
    Groups = groups,
    Names = names,
    Update = update,
    NewerUpdate = newer_update,
    LogOut = log_out,
    NewKey = new_key,
    Limits = limits,
    Refused = refused,
    Made = made,
    MadeOfOwn = made_of_own,
    Ended = ended,
}

rules! {
    KEYS: KeysRule since V2_24;
    ByFeature = by_feature,
    Planned = planned,
    First = first,
    Whole = whole,
    Replicas = replicas,
}

rules! {
    PROXIES: ProxiesRule since V2_24;
    Registered = registered,
    Token = token,
}

/// The rows of a rule as a control plane has them: with members, templates, jobs and resources
fn fleet(rows: &Rows) -> Fleet {
    let mut fleet = Fleet::default();
    for row in &rows.users {
        let known = fleet.organizations.iter().any(|of| of.id == row.organization.0);
        if !known {
            fleet.organization(&row.organization.to_string());
            fleet.organizations.last_mut().unwrap().id = row.organization.0;
        }
        fleet.user(&row.name, row.organization.0);
        fleet.organization_members.last_mut().unwrap().user_id = row.id.0;
        let user = fleet.users.last_mut().unwrap();
        user.id = row.id.0;
        user.email = format!("{}@example.com", row.id);
        user.deleted = row.is_deleted;
        user.status = match row.status {
            UserStatus::Suspended => fleet::UserStatus::Suspended,
            UserStatus::Dormant => fleet::UserStatus::Dormant,
            _ => fleet::UserStatus::Active,
        };
        for group in &row.groups {
            let name = group.to_string();
            if fleet.groups.iter().all(|known| known.id != group.0) {
                fleet.group(&name, row.organization.0, &[]);
                fleet.groups.last_mut().unwrap().id = group.0;
            }
            fleet.group_members.push(fleet::GroupMember { user_id: row.id.0, group_id: group.0 });
        }
    }
    for row in &rows.sessions {
        fleet.session(row.user.0);
        let key = fleet.api_keys.last_mut().unwrap();
        key.id = row.token.id().to_owned();
        key.hashed_secret = Digest(row.token.secret_digest().to_vec());
        key.scopes = vec![KeyScope(row.scope.to_string())];
        (key.last_used, key.expires_at) = (row.last_used.into(), row.expires_at.into());
        key.lifetime_seconds = i64::try_from(row.lifetime.as_secs()).unwrap();
    }
    for row in &rows.workspaces {
        add_workspace(&mut fleet, row);
    }
    for row in &rows.crypto_keys {
        fleet.crypto_keys.push(CryptoKey {
            feature: match row.feature {
                Feature::WorkspaceAppsApiKey => KeyFeature::WorkspaceAppsApiKey,
                _ => KeyFeature::WorkspaceAppsToken,
            },
            sequence: row.sequence,
            secret: row.secret.as_ref().map(|secret| Hidden(secret.to_hex())),
            starts_at: row.starts_at.into(),
            deletes_at: row.deletes_at.map(Into::into),
        });
    }
    for row in &rows.proxies {
        let proxy = &row.proxy;
        fleet.proxy(&proxy.name, &proxy.url, &proxy.wildcard_hostname);
        let stored = fleet.workspace_proxies.last_mut().unwrap();
        stored.id = proxy.id;
        stored.token_hashed_secret = Digest(proxy.secret_digest.clone());
        stored.deleted = row.is_deleted;
    }
    fleet
}

fn add_workspace(fleet: &mut Fleet, row: &Workspace) {
    fleet.workspace(row.owner.0, &row.name);
    let template = fleet.templates.last_mut().unwrap();
    template.max_port_sharing_level = level(row.max_port_sharing);
    if row.cors == CorsBehavior::Passthru {
        template.cors_behavior = fleet::CorsBehavior::Passthru;
    }
    let workspace = fleet.workspaces.last_mut().unwrap();
    workspace.id = row.id.0;
    workspace.dormant_at = row.is_dormant.then_some(workspace.last_used_at);
    workspace.user_acl = acl(row.shared_with_users.iter().map(|id| id.0));
    workspace.group_acl = acl(row.shared_with_groups.iter().map(|id| id.0));
    for build in &row.builds {
        let transition = match build.transition {
            Transition::Stop => fleet::Transition::Stop,
            Transition::Delete => fleet::Transition::Delete,
            _ => fleet::Transition::Start,
        };
        let resource = fleet.build(row.id.0, transition).resource;
        for of_build in &build.agents {
            let (known, contact) = (&of_build.agent, of_build.agent.contact);
            let agent = fleet.agent(resource, &known.name, "i-0abc");
            let time = |at: Option<std::time::SystemTime>| at.map(DateTime::<Utc>::from);
            agent.id = known.id.0;
            agent.deleted = of_build.is_deleted;
            agent.created_at = contact.created_at.into();
            agent.first_connected_at = time(contact.first_connected_at);
            agent.last_connected_at = time(contact.last_connected_at);
            agent.disconnected_at = time(contact.disconnected_at);
            agent.connection_timeout_seconds =
                i32::try_from(contact.connection_timeout.as_secs()).unwrap();
            for app in &of_build.apps {
                let stored = fleet.app(known.id.0, &app.slug);
                stored.id = app.id.0;
                stored.url = (!app.url.is_empty()).then(|| app.url.clone());
                stored.external = app.external;
                stored.sharing_level = level(app.sharing);
            }
        }
    }
    // A build that deletes marks the workspace as deleted, which happens later.
    fleet.workspaces.last_mut().unwrap().deleted = row.is_deleted;
    for share in &row.people_shares {
        let (people, at) = (&share.people, fleet.workspaces.last().unwrap().last_used_at);
        let users = people.users().iter().map(|id| (false, id.0));
        let groups = people.groups().iter().map(|id| (true, id.0));
        fleet.authd_shares.extend(users.chain(groups).map(|(is_group, person_id)| Share {
            workspace_id: row.id.0,
            agent_name: share.agent_name.clone(),
            slug_or_port: share.slug_or_port.clone(),
            is_group,
            person_id,
            created_at: at,
            created_by: None,
        }));
    }
    for share in &row.port_shares {
        fleet.workspace_agent_port_share.push(WorkspaceAgentPortShare {
            workspace_id: row.id.0,
            agent_name: share.agent_name.clone(),
            port: share.port.into(),
            share_level: level(share.sharing),
            protocol: Default::default(),
        });
    }
}

const fn level(level: SharingLevel) -> fleet::SharingLevel {
    match level {
        SharingLevel::Public => fleet::SharingLevel::Public,
        SharingLevel::Authenticated => fleet::SharingLevel::Authenticated,
        SharingLevel::Organization => fleet::SharingLevel::Organization,
        _ => fleet::SharingLevel::Owner,
    }
}

fn acl(ids: impl Iterator<Item = Uuid>) -> Value {
    ids.map(|id| (id.to_string(), json!(["read", "application_connect"]))).collect()
}
