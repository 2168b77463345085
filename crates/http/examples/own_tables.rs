//! A control plane with tables of its own behind the service: agent sign-in, app access and audit
//!
//! The tables are in memory here; what matters is the second half of the file, which answers what
//! the service asks of them.
//!
//! ```console
//! $ cargo run -p authd-http --example own_tables
//! $ curl -i -H 'Accept: text/html' http://127.0.0.1:8080/@alice/dev/apps/code/
//! ```

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use agent_auth::{Candidate, Rules, Standing};
use app_audit::{Kept, Row, SessionKey};
use app_authz::address::HttpUrl;
use app_authz::app::{Agent, App, Transition};
use app_authz::credential::{ApiKey, NewKey, SessionToken, UserStatus};
use app_authz::id::{NameOrId, OrganizationId};
use app_authz::rbac::RoleName;
use app_authz::token::CryptoKey;
use app_authz::{AppRequest, UserId, WorkspaceId};
use authd_http::{AppsConfig, Limits, PortError, Service};
use axum::Router;
use identity_fetch::{Clock, Identity};
use uuid::Uuid;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let service = service(Arc::default(), "http://127.0.0.1:8080".parse()?);
    service.maintain_keys(true).await?;
    let routes = Router::new().fallback_service(service);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    Ok(axum::serve(listener, routes.into_make_service_with_connect_info::<SocketAddr>()).await?)
}

/// The service over the tables, without the parts that they do not have
pub(crate) fn service(tables: Arc<Tables>, url: HttpUrl) -> Service {
    let clock: Clock = Arc::new(now);
    Service::new(Limits::default(), clock)
        .with_agents(Arc::clone(&tables), Identity::builtin(), Rules::default())
        .with_audit_log(Arc::clone(&tables))
        .with_apps(tables, AppsConfig::new(url))
}

#[expect(clippy::disallowed_methods, reason = "a control plane is where the clock is read")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// The tables of the control plane
#[derive(Default)]
pub(crate) struct Tables(Mutex<Rows>);

#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) users: HashMap<UserId, User>,
    pub(crate) logins: HashMap<String, Login>,
    pub(crate) workspaces: Vec<Workspace>,
    pub(crate) secrets: Vec<CryptoKey>,
    pub(crate) visits: HashMap<SessionKey, Kept>,
    pub(crate) log: HashMap<Uuid, Row>,
}

pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) status: UserStatus,
    pub(crate) organization: OrganizationId,
    pub(crate) roles: Vec<RoleName>,
}

/// A user's session, or one for apps that was made from it
pub(crate) struct Login {
    pub(crate) key: ApiKey,
    pub(crate) parent: Option<String>,
}

/// A workspace with the machines of all builds, the oldest first, and the apps of the newest
pub(crate) struct Workspace {
    pub(crate) id: WorkspaceId,
    pub(crate) name: String,
    pub(crate) owner: UserId,
    pub(crate) transition: Transition,
    pub(crate) machines: Vec<Machine>,
    pub(crate) apps: Vec<App>,
}

/// A machine with its agent, and what that is when it signs in
pub(crate) struct Machine {
    pub(crate) agent: Agent,
    pub(crate) instance: String,
    pub(crate) candidate: Candidate,
}

impl Machine {
    fn is_live(&self) -> bool {
        self.candidate.standing == Standing::Live
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    #[error("the user or the session of a new session is gone, or the id of a new row is taken")]
    Refused,
}

/// These tables are always there
impl PortError for TableError {
    fn is_unavailable(&self) -> bool {
        false
    }
}

impl Tables {
    pub(crate) fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signs a user in for a day
    #[allow(dead_code, reason = "the page that signs users in is not part of the example")]
    pub(crate) fn log_in(&self, user: UserId, token: &SessionToken) {
        let new = NewKey::new(token, user, now(), now() + Duration::from_secs(24 * 3_600));
        let login = Login { key: new.stored(), parent: None };
        self.rows().logins.insert(login.key.id.clone(), login);
    }
}

/// The two queries that more than one answer needs
impl Rows {
    /// The workspace that a request names, and the user whose it should be
    fn find(&self, of: &AppRequest) -> Option<(UserId, &Workspace)> {
        if let Some(agent) = of.terminal() {
            let has = |row: &&Workspace| {
                row.machines.iter().any(|on| on.is_live() && on.agent.id == agent)
            };
            return self.workspaces.iter().find(has).map(|row| (row.owner, row));
        }
        let (user, workspace) = (NameOrId::from(of.user()), NameOrId::from(of.workspace()));
        let is_user = |(id, row): &(&UserId, &User)| user.is(**id, &row.name);
        let asked = *self.users.iter().find(is_user)?.0;
        let is_workspace = |row: &&Workspace| match workspace {
            NameOrId::Name(_) if row.owner != asked => false,
            _ => workspace.is(row.id, &row.name),
        };
        Some((asked, self.workspaces.iter().find(is_workspace)?))
    }

    /// A session's key, which ends with the session that it was made from, and its user
    fn login(&self, id: &str) -> Option<(ApiKey, &User)> {
        let login = self.logins.get(id)?;
        let parent = login.parent.as_ref().map_or(Some(login), |id| self.logins.get(id))?;
        let mut key = login.key.clone();
        key.expires_at = key.expires_at.min(parent.key.expires_at);
        Some((key, self.users.get(&login.key.user)?))
    }
}

mod ports {
    use agent_auth::{Candidates, MAX_CANDIDATES, ProvenInstance};
    use app_audit::{
        ActLog, Answer, AuditExplorer, AuditLog, Entry, Filter, Groups, Journal, Page, Window,
    };
    use app_authz::Directory;
    use app_authz::app::{self, AppFacts, WorkspaceFacts};
    use app_authz::credential::{KeyHolder, KeyUpdate, OtherSessions, Sessions};
    use app_authz::proxy::Proxies;
    use app_authz::rbac::WorkspaceSharing;
    use app_authz::token::{Change, Feature, KeyStore, Rotation};

    use super::*;

    type Result<T> = std::result::Result<T, TableError>;

    impl Candidates for Tables {
        type Id = Uuid;
        type Token = Uuid;
        type Error = TableError;

        async fn by_instance(&self, instance: ProvenInstance<'_>) -> Result<Vec<Candidate>> {
            let (rows, spellings) = (self.rows(), instance.spellings().collect::<Vec<_>>());
            let newest_first = rows.workspaces.iter().flat_map(|of| &of.machines).rev();
            let found = newest_first.filter(|on| spellings.contains(&on.instance));
            let mut found: Vec<_> = found.map(|on| on.candidate.clone()).collect();
            found.sort_by_key(|candidate| candidate.standing != Standing::Live);
            found.truncate(MAX_CANDIDATES + 1);
            Ok(found)
        }
    }

    impl Directory for Tables {
        type Error = TableError;

        async fn app_access(&self, of: &AppRequest, tokens: &[SessionToken]) -> Result<AppFacts> {
            let rows = self.rows();
            let mut facts = AppFacts::default().with_holders(rows.holders(tokens));
            facts.workspace = rows.find(of).and_then(|found| rows.facts(found)).map(Arc::new);
            Ok(facts)
        }
    }

    impl Rows {
        fn facts(&self, (asked, of): (UserId, &Workspace)) -> Option<WorkspaceFacts> {
            let owner = self.users.get(&of.owner)?;
            let named = (of.owner, &*owner.name);
            let workspace = app::Workspace::new((of.id, &*of.name), named, owner.organization);
            let live = of.machines.iter().filter(|on| on.is_live());
            let facts = WorkspaceFacts::new(asked, workspace, of.transition, None)
                .with_agents(live.map(|on| on.agent.clone()))
                .with_apps(of.apps.iter().cloned());
            Some(facts)
        }

        fn holders(&self, tokens: &[SessionToken]) -> Vec<KeyHolder> {
            let holder = |(key, user): (ApiKey, &User)| {
                let roles = user.roles.iter().map(|name| (name.clone(), SHARING));
                let holder = KeyHolder::new(key, user.status, &*user.name);
                holder.with_organization(user.organization, SHARING).with_roles(roles)
            };
            tokens.iter().filter_map(|token| self.login(token.id())).map(holder).collect()
        }
    }

    const SHARING: WorkspaceSharing = WorkspaceSharing::Everyone;

    impl Sessions for Tables {
        type Error = TableError;

        async fn holders(&self, tokens: &[SessionToken]) -> Result<Vec<KeyHolder>> {
            Ok(self.rows().holders(tokens))
        }

        async fn username(&self, user: UserId) -> Result<Option<String>> {
            Ok(self.rows().users.get(&user).map(|user| user.name.clone()))
        }

        async fn update(&self, key: &ApiKey, update: KeyUpdate, _: Option<IpAddr>) -> Result<()> {
            self.rows().logins.entry(key.id.clone()).and_modify(|of| of.key.write(update));
            Ok(())
        }

        async fn insert(&self, key: &NewKey<'_>) -> Result<()> {
            let (mut rows, parent) = (self.rows(), key.parent.map(str::to_owned));
            let is_own =
                |id: &String| rows.logins.get(id).is_some_and(|of| of.key.user == key.user);
            let is_taken = rows.logins.contains_key(key.token.id());
            if is_taken
                || !rows.users.contains_key(&key.user)
                || !parent.as_ref().is_none_or(is_own)
            {
                return Err(TableError::Refused);
            }
            rows.logins.insert(key.token.id().to_owned(), Login { key: key.stored(), parent });
            Ok(())
        }

        async fn log_out(&self, key: &ApiKey, others: OtherSessions) -> Result<Vec<String>> {
            let mut rows = self.rows();
            let parent = rows.logins.get(&key.id).and_then(|login| login.parent.clone());
            let siblings = parent.filter(|_| others == OtherSessions::EndOfApps);
            let from = |id: &String| *id == key.id || siblings.as_ref() == Some(id);
            let ends =
                |id: &String, of: &mut Login| *id == key.id || of.parent.as_ref().is_some_and(from);
            Ok(rows.logins.extract_if(ends).map(|(id, _)| id).collect())
        }

        async fn ended(&self, ids: &[&str], now: SystemTime) -> Result<Vec<String>> {
            let rows = self.rows();
            let counts = |(key, user): (ApiKey, &User)| {
                key.expires_at >= now && user.status == UserStatus::Active
            };
            let ended = ids.iter().filter(|id| !rows.login(id).is_some_and(counts));
            Ok(ended.map(|id| (*id).to_owned()).collect())
        }
    }

    impl KeyStore for Tables {
        type Error = TableError;

        async fn keys(&self, feature: Feature) -> Result<Vec<CryptoKey>> {
            let rows = self.rows();
            let with_secret = rows.secrets.iter().filter(|key| key.secret.is_some());
            Ok(with_secret.filter(|key| key.feature == feature).cloned().collect())
        }
    }

    impl Rotation for Tables {
        type Error = TableError;

        async fn rotate<P>(&self, feature: Feature, plan: P) -> Result<usize>
        where
            P: FnOnce(&[CryptoKey]) -> Vec<Change> + Send,
        {
            let mut rows = self.rows();
            let of_feature = rows.secrets.iter().filter(|key| key.feature == feature);
            let changes = plan(&of_feature.cloned().collect::<Vec<_>>());
            Change::apply_all(&changes, &mut rows.secrets).map_err(|_| TableError::Refused)?;
            Ok(changes.len())
        }
    }

    /// There are none elsewhere
    impl Proxies for Tables {
        type Error = TableError;
    }

    impl Journal for Tables {
        type Error = TableError;

        async fn note(&self, entries: &[Entry], window: Window) -> Result<Vec<Answer>> {
            let mut rows = self.rows();
            let last = |key: &SessionKey| rows.visits.get(key).copied();
            let changes = Groups::of(entries, window).apply(now(), last);
            for row in changes.rows(|id| rows.log.get(&id)) {
                rows.log.entry(row.id).or_insert(row);
            }
            rows.visits.extend(changes.sessions);
            Ok(changes.answers)
        }

        async fn end_sessions(&self, window: Window, at_most: u32) -> Result<u64> {
            let is_over = |_: &_, kept: &mut Kept| kept.is_forgotten(now(), window);
            Ok((0..at_most).zip(self.rows().visits.extract_if(is_over)).map(|_| 1).sum())
        }

        async fn forget(&self, keep: Duration, at_most: u32) -> Result<u64> {
            let is_old = |_: &_, row: &mut Row| row.is_older_than(keep, now());
            Ok((0..at_most).zip(self.rows().log.extract_if(is_old)).map(|_| 1).sum())
        }

        fn is_unavailable(error: &TableError) -> bool {
            PortError::is_unavailable(error)
        }
    }

    impl AuditLog for Tables {
        type Error = TableError;

        async fn list(&self, filter: &Filter, page: Page) -> Result<Vec<Row>> {
            Ok(filter.select(self.rows().log.values(), page))
        }
    }

    /// Without names: auditors search by id
    impl AuditExplorer for Tables {}

    /// Sign-ins of machines are not recorded
    impl ActLog for Tables {
        type Error = TableError;
    }
}
