//! Tables in memory that keep all rules, or break some by a mistake

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::SystemTime;

use app_authz::app::{
    Agent, AppFacts, Contact, CorsBehavior, SharingLevel, Transition, Workspace, WorkspaceFacts,
};
use app_authz::conformance::{self, Rows};
use app_authz::credential::{
    ApiKey, KeyHolder, KeyUpdate, NewKey, OtherSessions, SessionToken, Sessions, UserStatus,
};
use app_authz::id::NameOrId;
use app_authz::proxy::{Proxies, Proxy};
use app_authz::rbac::{AccessList, Acl, AllowList, ScopeName, WorkspaceSharing};
use app_authz::token::{Change, CryptoKey, Feature, KeyStore, Rotation};
use app_authz::{AppRequest, Directory, UserId};
use uuid::Uuid;

use super::Mistake;

pub(crate) struct Tables {
    rows: Rows,
    mistake: Option<Mistake>,
    /// Keys by id, each with the id of the one that it was made from
    sessions: Mutex<BTreeMap<String, (ApiKey, Option<String>)>>,
    crypto_keys: Mutex<Vec<CryptoKey>>,
}

impl Tables {
    pub(crate) fn new(rows: &Rows, mistake: Option<Mistake>) -> Self {
        let sessions = rows.sessions.iter().map(|row| {
            let (id, digest) = (row.token.id(), row.token.secret_digest());
            let key = ApiKey::new(id, digest, row.user, row.expires_at)
                .with_last_used(row.last_used)
                .with_lifetime(row.lifetime)
                .with_scopes([row.scope.clone()]);
            (id.to_owned(), (key, None))
        });
        Self {
            mistake,
            sessions: Mutex::new(sessions.collect()),
            crypto_keys: Mutex::new(rows.crypto_keys.clone()),
            rows: rows.clone(),
        }
    }

    fn has(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    fn is_named(&self, name: &str, asked: &str) -> bool {
        if self.has(Mistake::Wildcards) && asked.contains(['%', '_']) {
            return true;
        }
        match self.has(Mistake::CaseCounts) {
            true => name == asked,
            false => name.to_lowercase() == asked.to_lowercase(),
        }
    }

    fn by<'a>(&self, text: &'a str) -> NameOrId<'a> {
        if self.has(Mistake::NamesOnly) {
            return NameOrId::Name(text);
        }
        match Uuid::try_parse(text) {
            Ok(id) if self.has(Mistake::AnyFormOfId) => NameOrId::Id(id),
            _ => NameOrId::from(text),
        }
    }

    fn user(&self, user: UserId) -> Option<&conformance::User> {
        self.rows.users.iter().find(|row| row.id == user)
    }

    fn named(&self, request: &AppRequest) -> Option<WorkspaceFacts> {
        let deleted_too = self.has(Mistake::DeletedUsers);
        let user = self.rows.users.iter().find(|row| match self.by(request.user()) {
            NameOrId::Id(id) => row.id.0 == id,
            NameOrId::Name(name) => {
                (!row.is_deleted || deleted_too) && self.is_named(&row.name, name)
            }
        })?;
        let deleted_too = self.has(Mistake::DeletedWorkspaces);
        let mut workspaces =
            self.rows.workspaces.iter().filter(|row| !row.is_deleted || deleted_too);
        let workspace = workspaces.find(|row| match self.by(request.workspace()) {
            NameOrId::Id(id) => row.id.0 == id,
            NameOrId::Name(name) => row.owner == user.id && self.is_named(&row.name, name),
        })?;
        let asked = if self.has(Mistake::OwnerIsAsked) { workspace.owner } else { user.id };
        self.facts(asked, workspace)
    }

    fn of_terminal(&self, request: &AppRequest) -> Option<WorkspaceFacts> {
        let asked = request.terminal()?;
        let has = |facts: &WorkspaceFacts| facts.agents.iter().any(|agent| agent.id == asked);
        let workspaces = self.rows.workspaces.iter().filter(|row| !row.is_deleted);
        if self.has(Mistake::TerminalsOfThePast) {
            let mut all = self.rows.workspaces.iter().filter_map(|row| {
                let mut facts = self.facts(row.owner, row)?;
                let agents = row.builds.iter().flat_map(|build| &build.agents);
                facts.agents = agents.map(|row| row.agent.clone()).collect();
                Some(facts)
            });
            return all.find(has);
        }
        workspaces.filter_map(|row| self.facts(row.owner, row)).find(has)
    }

    fn facts(&self, asked: UserId, row: &conformance::Workspace) -> Option<WorkspaceFacts> {
        let list = |ids: Vec<Uuid>| {
            let ids = ids.into_iter().filter(|_| !self.has(Mistake::NoAccessLists));
            ids.map(|id| (id, ["read", "application_connect"])).collect::<AccessList>()
        };
        let users = row.shared_with_users.iter().map(|id| id.0).collect();
        let groups = row.shared_with_groups.iter().map(|id| id.0);
        let groups = groups.filter(|_| !self.has(Mistake::NoGroups)).collect();
        let owner = self.user(row.owner)?;
        let workspace =
            Workspace::new((row.id, &*row.name), (owner.id, &*owner.name), row.organization)
                .with_dormant(row.is_dormant && !self.has(Mistake::NeverDormant))
                .with_acl(Acl::new(list(users), list(groups)));
        let newest = match row.builds.last() {
            Some(newest) => newest.transition,
            None if self.has(Mistake::Unbuilt) => Transition::Start,
            None => return None,
        };
        let transition = if self.has(Mistake::AlwaysStarts) { Transition::Start } else { newest };
        let builds = match self.has(Mistake::AllBuilds) {
            true => &row.builds[..],
            false => &row.builds[row.builds.len().saturating_sub(1)..],
        };
        let agents = builds.iter().flat_map(|build| &build.agents);
        let agents: Vec<_> =
            agents.filter(|row| !row.is_deleted || self.has(Mistake::DeletedAgents)).collect();
        let mut apps: Vec<_> = agents.iter().flat_map(|row| row.apps.clone()).collect();
        for app in apps.iter_mut().filter(|_| self.has(Mistake::NoLevels)) {
            app.sharing = SharingLevel::Owner;
        }
        if self.has(Mistake::OneOfEachCase) {
            apps.dedup_by_key(|app| app.slug.to_lowercase());
        }
        let timeless = |agent: &Agent| match self.has(Mistake::NoTimes) {
            true => Agent::new(agent.id, &*agent.name, Contact::new(SystemTime::UNIX_EPOCH)),
            false => agent.clone(),
        };
        let shares = row.port_shares.iter().filter(|_| !self.has(Mistake::NoPortShares)).cloned();
        let mut people = row.people_shares.clone();
        if self.has(Mistake::PeopleOfAnyAgent) {
            for share in &mut people {
                let agents = agents.iter().filter(|row| row.agent.name != share.agent_name);
                let other = agents.map(|row| row.agent.name.clone()).next();
                share.agent_name = other.unwrap_or_default();
            }
        }
        if self.has(Mistake::PeopleOfAnyCase) {
            people.iter_mut().for_each(|share| share.slug_or_port.make_ascii_lowercase());
        }
        let people = people.into_iter().filter(|_| !self.has(Mistake::NoPeople));
        let widest = (!self.has(Mistake::NoWidestLevel)).then_some(row.max_port_sharing);
        let cors = if self.has(Mistake::NoCors) { CorsBehavior::Simple } else { row.cors };
        let facts = WorkspaceFacts::new(asked, workspace, transition, widest)
            .with_agents(agents.iter().map(|row| timeless(&row.agent)))
            .with_apps(apps)
            .with_port_shares(shares)
            .with_people_shares(people)
            .with_cors(cors);
        Some(facts)
    }

    fn holder(&self, token: &SessionToken) -> Option<KeyHolder> {
        let sessions = self.sessions.lock().unwrap();
        let (key, parent) = sessions.get(token.id())?;
        let mut key = key.clone();
        if let Some((parent, _)) = parent.as_ref().and_then(|parent| sessions.get(parent))
            && !self.has(Mistake::MadeKeysOutlive)
        {
            key.expires_at = key.expires_at.min(parent.expires_at);
        }
        if self.has(Mistake::AnySecret) {
            key.secret_digest = token.secret_digest().to_vec();
        }
        if self.has(Mistake::LaterUse) {
            key.last_used += std::time::Duration::from_secs(1);
        }
        let user = self.user(key.user)?;
        let groups = user.groups.iter().filter(|_| !self.has(Mistake::NoGroups)).copied();
        let mut holder = KeyHolder::new(key, user.status, &*user.name)
            .with_organization(user.organization, WorkspaceSharing::Everyone)
            .with_groups(groups);
        if self.has(Mistake::NoMemberRole) {
            holder.roles.remove(0);
        }
        if self.has(Mistake::NoOrganizations) {
            holder.roles.truncate(1);
        }
        Some(holder)
    }

    fn all_holders(&self, tokens: &[SessionToken]) -> Vec<KeyHolder> {
        let all: Vec<_> = self.rows.sessions.iter().map(|row| row.token.clone()).collect();
        let tokens = match self.mistake {
            Some(Mistake::AllHolders) => &all[..],
            Some(Mistake::FirstHolder) => tokens.get(..1).unwrap_or_default(),
            _ => tokens,
        };
        tokens.iter().filter_map(|token| self.holder(token)).collect()
    }
}

impl Directory for Tables {
    type Error = io::Error;

    async fn app_access(
        &self,
        request: &AppRequest,
        tokens: &[SessionToken],
    ) -> Result<AppFacts, io::Error> {
        if self.has(Mistake::NulFails) && request.slug_or_port().contains('\0') {
            return Err(io::Error::other("invalid byte sequence"));
        }
        let found = match request.terminal() {
            Some(_) => self.of_terminal(request),
            None => self.named(request),
        };
        let facts = AppFacts::default();
        Ok(match found {
            Some(found) => facts.with_holders(self.all_holders(tokens)).with_workspace(found),
            None if self.has(Mistake::NoHoldersAlone) => facts,
            None => facts.with_holders(self.all_holders(tokens)),
        })
    }
}

impl Sessions for Tables {
    type Error = io::Error;

    async fn holders(&self, tokens: &[SessionToken]) -> Result<Vec<KeyHolder>, io::Error> {
        Ok(self.all_holders(tokens))
    }

    async fn username(&self, user: UserId) -> Result<Option<String>, io::Error> {
        let row = self.user(user).filter(|row| !row.is_deleted || self.has(Mistake::DeletedUsers));
        Ok(row.map(|row| row.name.clone()))
    }

    async fn update(
        &self,
        key: &ApiKey,
        update: KeyUpdate,
        _: Option<IpAddr>,
    ) -> Result<(), io::Error> {
        let mut sessions = self.sessions.lock().unwrap();
        if self.has(Mistake::UpdatesRevive) && !sessions.contains_key(&key.id) {
            sessions.insert(key.id.clone(), (key.clone(), None));
        }
        for (stored, _) in sessions.values_mut() {
            if stored.id != key.id && !self.has(Mistake::UpdatesAll) {
                continue;
            }
            if self.has(Mistake::OlderUpdates) {
                stored.last_used = update.last_used.unwrap_or(stored.last_used);
            }
            stored.write(update);
        }
        Ok(())
    }

    async fn insert(&self, key: &NewKey<'_>) -> Result<(), io::Error> {
        let mut sessions = self.sessions.lock().unwrap();
        let of_same_user = |parent: &str| {
            let parent = sessions.get(parent);
            parent.is_some_and(|(parent, made_from)| parent.user == key.user && made_from.is_none())
        };
        let is_known = self.user(key.user).is_some_and(|user| !user.is_deleted);
        let fails = !is_known && !self.has(Mistake::AnyUser)
            || sessions.contains_key(key.token.id()) && !self.has(Mistake::TakenIds)
            || !key.parent.is_none_or(of_same_user) && !self.has(Mistake::AnyParent);
        if fails {
            return Err(io::Error::other("violates a constraint"));
        }
        let stored = match self.mistake {
            Some(Mistake::WiderScope) => key.stored().with_scopes([ScopeName::All]),
            Some(Mistake::WiderList) => key.stored().with_allow_list(AllowList::everything()),
            _ => key.stored(),
        };
        sessions.insert(stored.id.clone(), (stored, key.parent.map(str::to_owned)));
        Ok(())
    }

    async fn log_out(&self, key: &ApiKey, _: OtherSessions) -> Result<Vec<String>, io::Error> {
        let mut sessions = self.sessions.lock().unwrap();
        let keeps_made = self.has(Mistake::MadeKeysOutlive);
        let ends = |id: &str, parent: &Option<String>| {
            id == key.id || parent.as_ref() == Some(&key.id) && !keeps_made
        };
        let ended = sessions.iter().filter(|(id, (_, parent))| ends(id, parent));
        let ended = ended.map(|(id, _)| id.clone()).collect();
        if !self.has(Mistake::StaysSignedIn) {
            sessions.retain(|id, (_, parent)| !ends(id, parent));
        }
        Ok(ended)
    }

    async fn ended(&self, ids: &[&str], now: SystemTime) -> Result<Vec<String>, io::Error> {
        let sessions = self.sessions.lock().unwrap();
        let counts = |id: &&&str| {
            sessions.get(**id).is_some_and(|(key, _)| {
                let is_active = self.user(key.user).map(|user| user.status);
                key.expires_at >= now
                    && (is_active == Some(UserStatus::Active) || self.has(Mistake::Suspended))
            })
        };
        let ended = ids.iter().filter(|id| !counts(id));
        Ok(ended.map(|id| (*id).to_owned()).filter(|_| !self.has(Mistake::NoneEnded)).collect())
    }
}

impl KeyStore for Tables {
    type Error = io::Error;

    async fn keys(&self, feature: Feature) -> Result<Vec<CryptoKey>, io::Error> {
        let keys = self.crypto_keys.lock().unwrap();
        let of_feature = keys.iter().filter(|key| key.feature == feature);
        let found = of_feature.filter(|key| key.secret.is_some() || self.has(Mistake::ClearedKeys));
        Ok(found.cloned().collect())
    }
}

impl Rotation for Tables {
    type Error = io::Error;

    async fn rotate<P>(&self, feature: Feature, plan: P) -> Result<usize, io::Error>
    where
        P: FnOnce(&[CryptoKey]) -> Vec<Change> + Send,
    {
        let mut rows = self.crypto_keys.lock().unwrap().clone();
        rows.retain(|row| {
            row.feature == feature && (row.secret.is_some() || !self.has(Mistake::LiveKeysOnly))
        });
        if self.has(Mistake::NeverFirst) && rows.is_empty() {
            return Ok(0);
        }
        let changes = plan(&rows);
        if self.has(Mistake::NoLock) {
            tokio::task::yield_now().await;
        }
        let mut keys = self.crypto_keys.lock().unwrap();
        if self.has(Mistake::NoLock) {
            let new = |change: &Change| match change {
                Change::Insert(key) => Some(key.clone()),
                _ => None,
            };
            keys.extend(changes.iter().filter_map(new));
            return Ok(changes.len());
        }
        let at_once = if self.has(Mistake::HalfRotations) { 1 } else { changes.len().max(1) };
        for changes in changes.chunks(at_once) {
            Change::apply_all(changes, &mut keys).map_err(io::Error::other)?;
        }
        Ok(changes.len())
    }
}

impl Proxies for Tables {
    type Error = io::Error;

    async fn proxies(&self) -> Result<Vec<Proxy>, io::Error> {
        let deleted_too = self.has(Mistake::DeletedProxies);
        let known = self.rows.proxies.iter().filter(|row| !row.is_deleted || deleted_too);
        let described = |row: &conformance::RegisteredProxy| {
            let mut proxy = row.proxy.clone();
            if self.has(Mistake::NoAddresses) {
                proxy.url.clear();
            }
            if self.has(Mistake::OneSecret) {
                proxy.secret_digest = self.rows.proxies[0].proxy.secret_digest.clone();
            }
            proxy
        };
        Ok(known.map(described).collect())
    }
}
