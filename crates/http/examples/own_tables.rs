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
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use agent_auth::Rules;
use app_audit::{Kept, Row, SessionKey};
use app_authz::address::HttpUrl;
use app_authz::app::SharingLevel;
use app_authz::credential::SessionToken;
use app_authz::id::AppId;
use app_authz::rbac::{RoleName, ScopeName};
use app_authz::token::CryptoKey;
use app_authz::{AgentId, UserId, WorkspaceId};
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
    pub(crate) log: Vec<Row>,
}

pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) roles: Vec<RoleName>,
}

/// A user's session, or one for apps that was made from it
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) user: UserId,
    pub(crate) digest: Vec<u8>,
    pub(crate) scope: ScopeName,
    pub(crate) parent: Option<String>,
    pub(crate) expires: SystemTime,
}

/// A workspace with its one machine
pub(crate) struct Workspace {
    pub(crate) id: WorkspaceId,
    pub(crate) name: String,
    pub(crate) owner: UserId,
    pub(crate) machine: AgentId,
    pub(crate) instance: String,
    pub(crate) machine_token: Uuid,
    pub(crate) last_seen: SystemTime,
    pub(crate) apps: Vec<App>,
}

pub(crate) struct App {
    pub(crate) id: AppId,
    pub(crate) slug: String,
    pub(crate) url: String,
    pub(crate) sharing: SharingLevel,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TableError {
    #[error("the user or the session of a new session is gone")]
    Ended,
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
        let (digest, expires) = (digest(token), now() + Duration::from_secs(24 * 3_600));
        let login = Login { user, digest, scope: ScopeName::All, parent: None, expires };
        self.rows().logins.insert(token.id().to_owned(), login);
    }
}

fn digest(token: &SessionToken) -> Vec<u8> {
    token.secret_digest().to_vec()
}

mod ports {
    use agent_auth::{AgentToken, Candidate, Candidates, ProvenInstance, Standing};
    use app_audit::{
        ActLog, Answer, AuditExplorer, AuditLog, Entry, Filter, Groups, Journal, Page, Window,
    };
    use app_authz::app::{Agent, App, AppFacts, Contact, Transition, Workspace, WorkspaceFacts};
    use app_authz::credential::{ApiKey, KeyHolder, NewKey, OtherSessions, Sessions, UserStatus};
    use app_authz::id::OrganizationId;
    use app_authz::proxy::Proxies;
    use app_authz::rbac::WorkspaceSharing;
    use app_authz::token::{Change, Feature, KeyStore, Rotation};
    use app_authz::{AppRequest, Directory};

    use super::*;

    type Result<T> = std::result::Result<T, TableError>;

    impl Candidates for Tables {
        type Id = Uuid;
        type Token = Uuid;
        type Error = TableError;

        async fn by_instance(&self, instance: ProvenInstance<'_>) -> Result<Vec<Candidate>> {
            let candidate = |of: &super::Workspace| {
                let (agent, build, workspace) = (of.machine.0, of.id.0.into(), of.id.0.into());
                let (name, token) = (of.name.clone(), AgentToken::new(of.machine_token));
                Candidate::new(agent.into(), name, token, build, workspace, Standing::Live)
            };
            let rows = self.rows();
            let of_instance = rows.workspaces.iter().filter(|of| of.instance == instance.as_str());
            Ok(of_instance.map(candidate).collect())
        }
    }

    impl Directory for Tables {
        type Error = TableError;

        async fn app_access(&self, of: &AppRequest, tokens: &[SessionToken]) -> Result<AppFacts> {
            let rows = self.rows();
            let is_named = |found: &&super::Workspace| match of.terminal() {
                Some(agent) => found.machine == agent,
                None => rows.name(found.owner) == Some(of.user()) && found.name == of.workspace(),
            };
            let facts = AppFacts::default().with_holders(rows.holders(tokens));
            let found = rows.workspaces.iter().find(is_named).and_then(|found| rows.facts(found));
            let Some(found) = found else { return Ok(facts) };
            Ok(facts.with_workspace(found))
        }
    }

    impl Rows {
        fn name(&self, user: UserId) -> Option<&str> {
            self.users.get(&user).map(|user| &*user.name)
        }

        fn facts(&self, of: &super::Workspace) -> Option<WorkspaceFacts> {
            let app = |app: &super::App| {
                App::new(app.id, of.machine, &*app.slug, &*app.url).with_sharing(app.sharing)
            };
            let owner = (of.owner, self.name(of.owner)?);
            let workspace = Workspace::new((of.id, &*of.name), owner, ORGANIZATION);
            let contact = Contact::new(of.last_seen).with_connected(of.last_seen, of.last_seen);
            let facts = WorkspaceFacts::new(of.owner, workspace, Transition::Start, None);
            let facts = facts.with_agents([Agent::new(of.machine, "main", contact)]);
            Some(facts.with_apps(of.apps.iter().map(app)))
        }

        /// When a login stops to count; `None` if it has ended
        fn end(&self, id: &str) -> Option<SystemTime> {
            let login = self.logins.get(id)?;
            let parent = login.parent.as_ref().map_or(Some(login), |id| self.logins.get(id))?;
            Some(login.expires.min(parent.expires))
        }

        fn holders(&self, tokens: &[SessionToken]) -> Vec<KeyHolder> {
            let holder = |token: &SessionToken| {
                let (login, end) = (self.logins.get(token.id())?, self.end(token.id())?);
                let key = ApiKey::new(token.id(), &*login.digest, login.user, end)
                    .with_prolonged(false)
                    .with_scopes([login.scope.clone()]);
                let user = self.users.get(&login.user)?;
                let roles = user.roles.iter().map(|name| (name.clone(), SHARING));
                let holder = KeyHolder::new(key, UserStatus::Active, &*user.name);
                Some(holder.with_organization(ORGANIZATION, SHARING).with_roles(roles))
            };
            tokens.iter().filter_map(holder).collect()
        }
    }

    const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(1));
    const SHARING: WorkspaceSharing = WorkspaceSharing::Everyone;

    impl Sessions for Tables {
        type Error = TableError;

        async fn holders(&self, tokens: &[SessionToken]) -> Result<Vec<KeyHolder>> {
            Ok(self.rows().holders(tokens))
        }

        async fn insert(&self, key: &NewKey<'_>) -> Result<()> {
            let (mut rows, parent) = (self.rows(), key.parent.map(str::to_owned));
            let is_own = |id: &String| rows.logins.get(id).is_some_and(|of| of.user == key.user);
            if rows.name(key.user).is_none() || !parent.as_ref().is_none_or(is_own) {
                return Err(TableError::Ended);
            }
            let (user, scope, expires) = (key.user, key.scope.clone(), key.expires_at);
            let login = Login { user, scope, expires, parent, digest: digest(key.token) };
            rows.logins.insert(key.token.id().to_owned(), login);
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
            let ended = ids.iter().filter(|id| rows.end(id).is_none_or(|end| end < now));
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
            changes.iter().for_each(|change| change.apply(&mut rows.secrets));
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
            // An entry that is noted again is in the log already.
            let is_new = |row: &Row| rows.log.iter().all(|of| of.id != row.id);
            let new: Vec<_> =
                changes.begun.iter().map(|of| Row::from(*of)).filter(is_new).collect();
            rows.log.extend(new);
            rows.visits.extend(changes.sessions);
            Ok(changes.answers)
        }

        fn is_unavailable(error: &TableError) -> bool {
            PortError::is_unavailable(error)
        }
    }

    impl AuditLog for Tables {
        type Error = TableError;

        async fn list(&self, filter: &Filter, page: Page) -> Result<Vec<Row>> {
            Ok(filter.select(&self.rows().log, page))
        }
    }

    /// Without names: auditors search by id
    impl AuditExplorer for Tables {}

    /// Sign-ins of machines are not recorded
    impl ActLog for Tables {
        type Error = TableError;
    }
}
