//! The meaning of rows, the same for every store

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use app_authz::app::{App, SharingLevel, WorkspaceFacts};
use app_authz::credential::{ApiKey, KeyUpdate, OauthLink};
use app_authz::id::OrganizationId;
use app_authz::rbac::{
    Action, AllowList, Levels, MAX_ALLOW_ENTRIES, Pattern, Permission, Permissions, ResourceType,
    Role, RoleName, ScopeName, WorkspaceSharing,
};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;

use crate::Error;

/// The roles that a user holds in the whole deployment, or in one organization
pub(crate) struct Held {
    pub(crate) organization: Option<Uuid>,
    /// The roles as they are stored, without the name of the organization; includes those that
    /// the organization gives to each member
    pub(crate) names: Vec<String>,
    /// The rows of stored roles among these, including the implied one
    pub(crate) rows: Vec<StoredRole>,
}

/// A row of `custom_roles`
pub(crate) struct StoredRole {
    pub(crate) name: String,
    pub(crate) site: Permissions,
    pub(crate) org: Permissions,
    pub(crate) user: Permissions,
    /// Permissions on a member's own objects, in the organization of the role
    pub(crate) member: Permissions,
    /// Whether the control plane itself maintains the role
    pub(crate) is_system: bool,
}

/// The role that every user holds in the deployment, or every member in an organization
pub(crate) const fn implied_role(in_organization: bool, is_service_account: bool) -> &'static str {
    match (in_organization, is_service_account) {
        (false, _) => "member",
        (true, false) => "organization-member",
        (true, true) => "organization-service-account",
    }
}

type Roles = (Vec<(RoleName, WorkspaceSharing)>, Vec<Arc<Role>>);

/// All roles of a user, and those of them that are stored
///
/// Texts that are not the name of a role are left out, and grant nothing. How an organization
/// shares workspaces is part of the row of its implied role, so names have the default here.
pub(crate) fn roles(held: impl IntoIterator<Item = Held>, is_service_account: bool) -> Roles {
    let (mut names, mut stored) = (Vec::new(), Vec::new());
    for Held { organization, names: texts, rows } in held {
        let organization = organization.map(OrganizationId);
        let name = |name: &str| match organization {
            Some(organization) => RoleName::in_organization(name, organization),
            None => name.parse(),
        };
        let implied = implied_role(organization.is_some(), is_service_account);
        let all = texts.iter().map(String::as_str).chain([implied]);
        names.extend(all.filter_map(|text| Some((name(text).ok()?, WorkspaceSharing::default()))));
        for row in rows {
            let Ok(name) = name(&row.name) else { continue };
            let mut levels = Levels { user: row.user, ..Levels::site(row.site) };
            if let Some(organization) = organization {
                levels = levels.with_organization(organization, row.org, row.member);
            }
            let role = Role::new(name, levels);
            stored.push(Arc::new(if row.is_system { role.into_system() } else { role }));
        }
    }
    (names, stored)
}

/// The permissions of a custom role
pub(crate) fn permissions(stored: Vec<StoredPermission<'_>>) -> Permissions {
    let permission = |stored: StoredPermission<'_>| {
        let kind = pattern(&stored.resource_type, ResourceType::from);
        let action = pattern(&stored.action, Action::from);
        match stored.negate {
            true => Permission::deny(kind, action),
            false => Permission::grant(kind, action),
        }
    };
    stored.into_iter().map(permission).collect()
}

/// An entry of the lists of permissions in `custom_roles`
///
/// An entry that cannot be read may be a denial, so it is an error and is not skipped.
#[derive(Deserialize)]
pub(crate) struct StoredPermission<'a> {
    negate: bool,
    #[serde(borrow)]
    resource_type: Cow<'a, str>,
    #[serde(borrow)]
    action: Cow<'a, str>,
}

fn pattern<'a, T>(text: &'a str, read: fn(&'a str) -> T) -> Pattern<T> {
    if text == "*" { Pattern::Any } else { Pattern::Only(read(text)) }
}

/// The widest level at which a template allows ports to be shared; the narrowest level without a
/// template
pub(crate) fn max_port_sharing(template: Option<SharingLevel>) -> SharingLevel {
    template.unwrap_or_default()
}

/// Sorts agents by name and apps by slug
pub(crate) fn put_in_order(place: &mut WorkspaceFacts) {
    place.agents.sort_unstable_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    let WorkspaceFacts { agents, apps, .. } = place;
    // Two agents may have apps with the same slug: these are in the order of the agents.
    let rank = |app: &App| agents.iter().position(|agent| agent.id == app.agent);
    apps.sort_by(|a, b| (&a.slug, rank(a)).cmp(&(&b.slug, rank(b))));
}

/// A user's link to an identity provider
pub(crate) fn link(expiry: SystemTime, can_refresh: bool) -> OauthLink {
    // The control plane writes the year 1 for a token that does not expire.
    let expires_at = Some(expiry).filter(|expiry| *expiry > SystemTime::UNIX_EPOCH);
    OauthLink::new(expires_at, can_refresh)
}

/// When a key was used, according to an update of it
pub(crate) fn seen_at(key: &ApiKey, update: KeyUpdate) -> Option<SystemTime> {
    let extended = || update.expires_at.and_then(|end| end.checked_sub(key.lifetime));
    update.last_used.or_else(extended)
}

/// A duration in seconds; zero if negative
pub(crate) fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(seconds.try_into().unwrap_or(0))
}

/// A time as databases store it, in microseconds; the latest possible one if it is out of range
pub(crate) fn stored_time(time: SystemTime) -> DateTime<Utc> {
    unix_micros(time).and_then(DateTime::from_timestamp_micros).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Microseconds since 1970; `None` if out of range
pub(crate) fn unix_micros(time: SystemTime) -> Option<i64> {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_micros().try_into().ok(),
        Err(before) => i64::try_from(before.duration().as_micros()).ok().map(|micros| -micros),
    }
}

/// The scopes of a key; a label that is not known grants nothing
///
/// A newer control plane may have more scopes. The known ones still apply: each scope widens
/// what the key may do, and none limits another.
pub(crate) fn scopes<'a>(stored: impl IntoIterator<Item = Option<&'a str>>) -> Vec<ScopeName> {
    let mut scopes: Vec<ScopeName> = Vec::new();
    for scope in stored.into_iter().flatten().filter_map(|label| label.parse().ok()) {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    scopes
}

/// The allow list of a key as it is stored
///
/// Fails if the list is empty: the control plane's table has no such keys.
pub(crate) fn allow_entries(list: &AllowList) -> Result<Vec<String>, Error> {
    let entries: Vec<String> = list.iter().map(ToString::to_string).collect();
    match entries.is_empty() {
        true => Err(Error::query("an API key needs at least one entry in its allow list")),
        false => Ok(entries),
    }
}

/// The allow list of a key; an entry that cannot be read allows nothing
///
/// The other entries still apply: each entry widens what the key may touch, and none limits
/// another. A list allows nothing if it is empty or too long, or if no entry can be read.
pub(crate) fn allow_list<'a>(stored: impl IntoIterator<Item = Option<&'a String>>) -> AllowList {
    let entries: Vec<_> = stored.into_iter().take(MAX_ALLOW_ENTRIES + 1).collect();
    if entries.len() > MAX_ALLOW_ENTRIES {
        return AllowList::default();
    }
    entries.into_iter().flatten().filter_map(|entry| entry.parse().ok()).collect()
}
