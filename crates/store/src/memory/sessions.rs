use std::net::IpAddr;
use std::time::SystemTime;

use app_authz::UserId;
use app_authz::credential::{
    ApiKey, KeyHolder, KeyUpdate, NewKey, OtherSessions, SessionToken, Sessions,
};
use app_authz::id::GroupId;
use app_authz::rbac::ScopeName;
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::MemoryStore;
use super::tables::Tables;
use crate::Error;
use crate::domain::{self, Held, StoredPermission, StoredRole};
use crate::fleet::{self, CustomRole, Digest, KeyScope, LoginType, UserStatus};

impl Sessions for MemoryStore {
    type Error = Error;

    async fn holders(&self, tokens: &[SessionToken]) -> Result<Vec<KeyHolder>, Error> {
        self.read().holders(tokens)
    }

    async fn username(&self, user: UserId) -> Result<Option<String>, Error> {
        let tables = self.read();
        let user = tables.users.get(&user.0).filter(|user| !user.deleted);
        Ok(user.map(|user| user.username.clone()))
    }

    async fn update(
        &self,
        key: &ApiKey,
        update: KeyUpdate,
        _ip: Option<IpAddr>,
    ) -> Result<(), Error> {
        let mut tables = self.write();
        let ends = tables.expiry(&key.id);
        let Some(stored) = tables.keys.get_mut(&key.id) else { return Ok(()) };
        if stored.last_used > domain::stored_time(key.last_used)
            || ends.is_some_and(|ends| ends > domain::stored_time(key.expires_at))
        {
            return Ok(());
        }
        if let Some(last_used) = update.last_used {
            stored.last_used = domain::stored_time(last_used);
        }
        let user = stored.user_id;
        if let Some(expires_at) = update.expires_at {
            stored.expires_at = domain::stored_time(expires_at);
            tables.extend_family(&key.id);
        }
        if let Some((seen_at, user)) = domain::seen_at(key, update).zip(tables.users.get_mut(&user))
        {
            user.last_seen_at = user.last_seen_at.max(domain::stored_time(seen_at));
        }
        Ok(())
    }

    async fn insert(&self, key: &NewKey<'_>) -> Result<(), Error> {
        if key.scope == ScopeName::NoUserData {
            return Err(Error::query("no API key can have this scope"));
        }
        let allow_list = domain::allow_entries(key.allow_list)?;
        let mut tables = self.write();
        if tables.users.get(&key.user.0).is_none_or(|user| user.deleted) {
            return Err(Error::query("the user of an API key is unknown or deleted"));
        }
        let same_name = |stored: &fleet::ApiKey| {
            stored.login_type == LoginType::Token
                && (stored.user_id, &*stored.token_name) == (key.user.0, key.name)
        };
        let login_type = LoginType::of_label(key.login_type.as_str())
            .ok_or_else(|| Error::query("no API key can have this login type"))?;
        if tables.keys.contains_key(key.token.id())
            || login_type == LoginType::Token && tables.keys.values().any(same_name)
        {
            return Err(Error::query("an API key of that id or name is there already"));
        }
        let created_at = domain::stored_time(key.created_at);
        if let Some(parent) = key.parent {
            if tables.keys.get(parent).is_none_or(|parent| parent.user_id != key.user.0) {
                return Err(Error::query("the session that the key is made from has ended"));
            }
            tables.note_made(key.token.id(), parent, key.user.0, created_at);
        }
        let row = fleet::ApiKey {
            id: key.token.id().to_owned(),
            hashed_secret: Digest(key.token.secret_digest().to_vec()),
            user_id: key.user.0,
            last_used: created_at,
            expires_at: domain::stored_time(key.expires_at),
            created_at,
            updated_at: created_at,
            login_type,
            lifetime_seconds: i64::try_from(key.lifetime.as_secs()).unwrap_or(i64::MAX),
            token_name: key.name.to_owned(),
            scopes: vec![KeyScope(key.scope.to_string())],
            allow_list,
        };
        tables.keys.insert(row.id.clone(), row);
        Ok(())
    }

    async fn give(&self, id: &str, _now: SystemTime) -> Result<bool, Error> {
        let mut tables = self.write();
        let made = tables.made.get_mut(id);
        Ok(made.is_some_and(|made| !std::mem::replace(&mut made.is_given, true)))
    }

    async fn log_out(&self, key: &ApiKey, others: OtherSessions) -> Result<Vec<String>, Error> {
        let with_apps = others == OtherSessions::EndOfApps;
        let mut tables = self.write();
        let parent = |id: &str| tables.made.get(id).map(|made| made.parent.as_str());
        let own_parent = parent(&key.id);
        let ends = |stored: &fleet::ApiKey| {
            let parent = parent(&stored.id);
            let for_apps = stored.scopes.contains(&KeyScope::application_connect());
            let is_other = match own_parent {
                Some(_) => parent == own_parent,
                None => parent.is_none() && for_apps,
            };
            stored.id == key.id || parent == Some(&*key.id) || with_apps && is_other
        };
        let of_user = tables.keys.values().filter(|stored| stored.user_id == key.user.0);
        let ended: Vec<String> =
            of_user.filter(|stored| ends(stored)).map(|stored| stored.id.clone()).collect();
        tables.end(&ended);
        Ok(ended)
    }

    async fn ended(&self, ids: &[&str], now: SystemTime) -> Result<Vec<String>, Error> {
        let (tables, now) = (self.read(), domain::stored_time(now));
        let counts = |id: &str| {
            let user = tables.keys.get(id).and_then(|key| tables.users.get(&key.user_id));
            user.is_some_and(|user| !user.deleted && user.status == UserStatus::Active)
                && tables.expiry(id).is_some_and(|end| end >= now)
        };
        Ok(ids.iter().filter(|id| !counts(id)).map(|id| (*id).to_owned()).collect())
    }

    async fn forget_ended(&self, now: SystemTime, at_most: u32) -> Result<u64, Error> {
        let (mut tables, now) = (self.write(), domain::stored_time(now));
        let made = tables.made.keys();
        let over = made.filter(|id| tables.expiry(id).is_none_or(|end| end < now));
        let at_most = usize::try_from(at_most).unwrap_or(usize::MAX);
        let over: Vec<String> = over.take(at_most).cloned().collect();
        tables.end(&over);
        Ok(u64::try_from(over.len()).unwrap_or(u64::MAX))
    }
}

impl Tables {
    pub(super) fn holders(&self, tokens: &[SessionToken]) -> Result<Vec<KeyHolder>, Error> {
        tokens.iter().filter_map(|token| self.holder(token.id())).collect()
    }

    fn holder(&self, key: &str) -> Option<Result<KeyHolder, Error>> {
        let key = self.keys.get(key)?;
        let expires_at = self.expiry(&key.id)?;
        let user = self.users.get(&key.user_id).filter(|user| !user.deleted)?;
        let audience = match key.login_type {
            LoginType::Oauth2ProviderApp => self.audience(&key.id)?,
            _ => None,
        };
        let link = self.links.get(&(user.id, key.login_type));
        let members = self.memberships.get(&user.id).into_iter().flatten();
        let is_service_account = user.is_service_account;
        let in_organizations = members.map(|member| {
            let defaults = self.default_roles.get(&member.organization_id).into_iter().flatten();
            let names = member.roles.iter().chain(defaults).cloned().collect();
            (Some(member.organization_id), names)
        });
        let held = std::iter::once((None, user.rbac_roles.clone())).chain(in_organizations);
        Some((|| {
            let held = held
                .map(|(organization, names)| self.held(organization, names, is_service_account));
            let held = held.collect::<Result<Vec<_>, Error>>()?;
            let (roles, custom_roles) = domain::roles(held, is_service_account);
            let scopes = domain::scopes(key.scopes.iter().map(|KeyScope(label)| Some(&**label)));
            let digest = &*key.hashed_secret.0;
            let described = ApiKey::new(&*key.id, digest, UserId(user.id), expires_at.into())
                .with_login_type(key.login_type.into())
                .with_last_used(key.last_used.into())
                .with_lifetime(domain::seconds(key.lifetime_seconds))
                .with_scopes(scopes)
                .with_allow_list(domain::allow_list(key.allow_list.iter().map(Some)))
                .with_audience(audience)
                .with_prolonged(key.login_type != LoginType::Token);
            let link = link.map(|link| {
                let can_refresh = !link.oauth_refresh_token.0.is_empty();
                domain::link(link.oauth_expiry.into(), can_refresh)
            });
            let groups = self.groups.get(&user.id).into_iter().flatten();
            Ok(KeyHolder::new(described, user.status.into(), &*user.username)
                .with_link(link)
                .with_roles(roles)
                .with_custom_roles(custom_roles)
                .with_groups(groups.copied().map(GroupId)))
        })())
    }

    /// The audience of a key that was issued to an OAuth2 app, if it has one
    ///
    /// `None` if the key is not accepted: it has no token, or tokens with different audiences.
    fn audience(&self, key: &str) -> Option<Option<String>> {
        let tokens = self.app_tokens.get(key)?;
        let mut named = tokens.values().flatten().filter(|audience| !audience.is_empty());
        let audience = named.next();
        named.all(|other| Some(other) == audience).then(|| audience.cloned())
    }

    fn held(
        &self,
        organization: Option<Uuid>,
        names: Vec<String>,
        is_service_account: bool,
    ) -> Result<Held, Error> {
        let implied = domain::implied_role(organization.is_some(), is_service_account);
        let all = names.iter().map(String::as_str).chain([implied]);
        let rows = all.filter_map(|name| {
            self.custom_roles.get(&(organization, name.to_owned())).map(stored_role)
        });
        let rows = rows.collect::<Result<_, Error>>()?;
        Ok(Held { organization, names, rows })
    }
}

fn stored_role(role: &CustomRole) -> Result<StoredRole, Error> {
    let permissions = |stored: &Value| {
        let stored =
            Vec::<StoredPermission<'_>>::deserialize(stored).map_err(Error::invalid_row)?;
        Ok::<_, Error>(domain::permissions(stored))
    };
    Ok(StoredRole {
        name: role.name.clone(),
        site: permissions(&role.site_permissions)?,
        org: permissions(&role.org_permissions)?,
        user: permissions(&role.user_permissions)?,
        member: permissions(&role.member_permissions)?,
        is_system: role.is_system,
    })
}
