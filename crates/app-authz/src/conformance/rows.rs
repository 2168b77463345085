use std::time::{Duration, SystemTime};

use uuid::Uuid;

use crate::app::{
    Agent, App, Contact, CorsBehavior, People, PeopleShare, PortShare, SharingLevel, Transition,
    UncheckedRequest,
};
use crate::credential::{SessionToken, UserStatus};
use crate::id::{AppId, GroupId, OrganizationId};
use crate::proxy::{Proxy, ProxyToken};
use crate::rbac::ScopeName;
use crate::token::{CryptoKey, Feature, Secret};
use crate::{AgentId, AppRequest, UserId, WorkspaceId};

/// What the tables of an implementation hold while a rule is checked
///
/// The ids are those that the implementation has to return.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Rows {
    /// The users, each a member of one organization
    pub users: Vec<User>,
    /// The sessions of users
    pub sessions: Vec<Session>,
    /// The workspaces, with their builds, agents and apps
    pub workspaces: Vec<Workspace>,
    /// The keys that sign and seal, cleared ones included
    pub crypto_keys: Vec<CryptoKey>,
    /// The registered proxies
    pub proxies: Vec<RegisteredProxy>,
}

/// A user
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct User {
    /// The user's id
    pub id: UserId,
    /// The user's name, which no other user has that is not deleted
    pub name: String,
    /// The status of the account
    pub status: UserStatus,
    /// Whether the user was deleted; the row stays
    pub is_deleted: bool,
    /// The organization that the user is a member of, without a role in it
    pub organization: OrganizationId,
    /// The groups of that organization that the user is in, beside that of everyone
    pub groups: Vec<GroupId>,
}

/// A session, in which a user signed in with a password
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Session {
    /// The token of the session: tables hold its id, and the digest of its secret
    pub token: SessionToken,
    /// The user of the session
    pub user: UserId,
    /// What the session may do, on all objects
    pub scope: ScopeName,
    /// When the session was last used; it was created then, too
    pub last_used: SystemTime,
    /// When the session expires
    pub expires_at: SystemTime,
    /// By how much use extends the session
    pub lifetime: Duration,
}

/// A workspace
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Workspace {
    /// The workspace's id
    pub id: WorkspaceId,
    /// The workspace's name, which no other workspace of the owner has that is not deleted
    pub name: String,
    /// The user who owns the workspace
    pub owner: UserId,
    /// The organization of the workspace
    pub organization: OrganizationId,
    /// Whether the workspace was deleted; the row stays
    pub is_deleted: bool,
    /// Whether the workspace is dormant
    pub is_dormant: bool,
    /// The users with whom the workspace is shared: they may read it and open its apps
    pub shared_with_users: Vec<UserId>,
    /// The groups with whom the workspace is shared in the same way
    pub shared_with_groups: Vec<GroupId>,
    /// The workspace's builds, the oldest first
    pub builds: Vec<Build>,
    /// The shared ports of the workspace
    pub port_shares: Vec<PortShare>,
    /// The apps and ports that are shared with users and groups by name
    pub people_shares: Vec<PeopleShare>,
    /// The widest level at which the template lets ports be shared
    pub max_port_sharing: SharingLevel,
    /// Which side answers cross-origin requests, as the template configures it
    pub cors: CorsBehavior,
}

/// A build of a workspace
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Build {
    /// What the build does
    pub transition: Transition,
    /// The agents that the build created
    pub agents: Vec<BuildAgent>,
}

/// An agent with its apps
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BuildAgent {
    /// The agent
    pub agent: Agent,
    /// Whether the row is soft-deleted
    pub is_deleted: bool,
    /// The agent's apps
    pub apps: Vec<App>,
}

/// A registered proxy
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegisteredProxy {
    /// The proxy
    pub proxy: Proxy,
    /// Whether the proxy was deleted; the row stays
    pub is_deleted: bool,
}

pub(super) const ACME: OrganizationId = OrganizationId(Uuid::from_u128(0xac3e));
pub(super) const GLOBEX: OrganizationId = OrganizationId(Uuid::from_u128(0x910b));
pub(super) const FRIENDS: GroupId = GroupId(Uuid::from_u128(0xf71e));

pub(super) const ANN: UserId = UserId(Uuid::from_u128(0xa1));
pub(super) const BEN: UserId = UserId(Uuid::from_u128(0xa2));
pub(super) const CID: UserId = UserId(Uuid::from_u128(0xa3));
pub(super) const DAN: UserId = UserId(Uuid::from_u128(0xa4));
pub(super) const GONE_EVE: UserId = UserId(Uuid::from_u128(0xa5));
pub(super) const EVE: UserId = UserId(Uuid::from_u128(0xa6));
pub(super) const GHOST: UserId = UserId(Uuid::from_u128(0xa7));

pub(super) const DEV: WorkspaceId = WorkspaceId(Uuid::from_u128(0xb1));
pub(super) const STOPPED: WorkspaceId = WorkspaceId(Uuid::from_u128(0xb2));
pub(super) const LEAVING: WorkspaceId = WorkspaceId(Uuid::from_u128(0xb3));
pub(super) const ASLEEP: WorkspaceId = WorkspaceId(Uuid::from_u128(0xb4));
pub(super) const GONE: WorkspaceId = WorkspaceId(Uuid::from_u128(0xb5));
pub(super) const AGAIN: WorkspaceId = WorkspaceId(Uuid::from_u128(0xb6));
pub(super) const UNBUILT: WorkspaceId = WorkspaceId(Uuid::from_u128(0xb7));
pub(super) const LAB: WorkspaceId = WorkspaceId(Uuid::from_u128(0xb8));
pub(super) const OF_EVE: WorkspaceId = WorkspaceId(Uuid::from_u128(0xb9));
pub(super) const OF_GHOST: WorkspaceId = WorkspaceId(Uuid::from_u128(0xba));

pub(super) const STALE: AgentId = AgentId(Uuid::from_u128(0xc1));
pub(super) const MAIN: AgentId = AgentId(Uuid::from_u128(0xc2));
pub(super) const SIDE: AgentId = AgentId(Uuid::from_u128(0xc3));
pub(super) const DELETED: AgentId = AgentId(Uuid::from_u128(0xc4));

impl Rows {
    /// The users of two organizations, and Ann's workspaces in all states
    pub(super) fn office() -> Self {
        let connected = Contact::new(at(0))
            .with_connected(at(10), at(20) + Duration::from_micros(1))
            .with_disconnected(at(15))
            .with_connection_timeout(Duration::from_secs(120));
        let main = BuildAgent {
            agent: Agent::new(MAIN, "main", connected),
            is_deleted: false,
            apps: vec![
                app(1, MAIN, "open").with_sharing(SharingLevel::Public),
                app(2, MAIN, "signed-in").with_sharing(SharingLevel::Authenticated),
                app(3, MAIN, "team").with_sharing(SharingLevel::Organization),
                app(4, MAIN, "closed"),
                app(5, MAIN, "elsewhere").with_external(true),
                App::new(AppId(Uuid::from_u128(0xd6)), MAIN, "command", ""),
            ],
        };
        let side = with_app(SIDE, "side", app(7, SIDE, "aside"));
        let deleted = BuildAgent {
            is_deleted: true,
            ..with_app(DELETED, "deleted", app(8, DELETED, "vanished"))
        };
        let stale = with_app(STALE, "stale", app(9, STALE, "past"));
        let dev = Workspace {
            port_shares: vec![
                PortShare::new("main", 8080, SharingLevel::Public),
                PortShare::new("main", 8081, SharingLevel::Organization),
                PortShare::new("main", 9000, SharingLevel::Public),
            ],
            max_port_sharing: SharingLevel::Authenticated,
            ..workspace(DEV, "dev", ANN)
                .build(Transition::Start, vec![stale])
                .build(Transition::Start, vec![main, side, deleted])
        };
        let lab = AgentId(Uuid::from_u128(0xc8));
        let lab = BuildAgent {
            agent: Agent::new(lab, "Main", Contact::new(at(0))),
            is_deleted: false,
            apps: vec![app(20, lab, "code"), app(21, lab, "Code"), app(22, lab, "Code Server")],
        };
        let lab = Workspace {
            port_shares: vec![
                PortShare::new("MAIN", 8443, SharingLevel::Public),
                PortShare::new("MAIN", 8444, SharingLevel::Public),
                PortShare::new("Main", 8444, SharingLevel::Authenticated),
            ],
            max_port_sharing: SharingLevel::Public,
            ..workspace(LAB, "Lab", ANN).build(Transition::Start, vec![lab])
        };
        let running = |id: WorkspaceId, name, owner, n: u128| {
            let agent = AgentId(Uuid::from_u128(0xe0 + n));
            workspace(id, name, owner)
                .build(Transition::Start, vec![with_app(agent, "main", app(30 + n, agent, "code"))])
        };
        let ended = |id, name, n, transition| running(id, name, ANN, n).build(transition, vec![]);
        Self {
            users: vec![
                user(ANN, "ann", ACME),
                User { groups: vec![FRIENDS], ..user(BEN, "ben", ACME) },
                user(CID, "cid", GLOBEX),
                User { status: UserStatus::Suspended, ..user(DAN, "dan", ACME) },
                User { is_deleted: true, ..user(GONE_EVE, "eve", ACME) },
                user(EVE, "Eve", ACME),
                User { is_deleted: true, ..user(GHOST, "ghost", ACME) },
            ],
            sessions: [ANN, BEN, CID, DAN].into_iter().map(session).collect(),
            workspaces: vec![
                dev,
                lab,
                ended(STOPPED, "stopped", 1, Transition::Stop),
                ended(LEAVING, "leaving", 2, Transition::Delete),
                Workspace { is_dormant: true, ..running(ASLEEP, "asleep", ANN, 3) },
                Workspace { is_deleted: true, ..running(GONE, "again", ANN, 4) },
                running(AGAIN, "again", ANN, 5),
                workspace(UNBUILT, "unbuilt", ANN),
                running(OF_EVE, "dev", EVE, 6),
                running(OF_GHOST, "dev", GHOST, 7),
            ],
            ..Self::default()
        }
    }

    /// The office, where Ann shares her workspace with Ben, or with the group of his friends
    pub(super) fn shared() -> Self {
        let mut rows = Self::office();
        for workspace in &mut rows.workspaces {
            match workspace.id {
                DEV => workspace.shared_with_users.push(BEN),
                AGAIN => workspace.shared_with_groups.push(FRIENDS),
                _ => {}
            }
        }
        rows
    }

    /// The office, where Ann shares apps and a port by name
    pub(super) fn shared_with_people() -> Self {
        let mut rows = Self::office();
        let share = |agent, slug_or_port, users: &[UserId], groups: &[GroupId]| {
            let people = People::new(users.iter().copied(), groups.iter().copied());
            PeopleShare::new(agent, slug_or_port, people)
        };
        for workspace in &mut rows.workspaces {
            match workspace.id {
                DEV => workspace.people_shares.extend([
                    share("side", "aside", &[CID, BEN], &[FRIENDS]),
                    share("main", "8082", &[], &[FRIENDS]),
                    share("main", "8083", &[CID], &[]),
                    // Of an agent that an earlier build had.
                    share("stale", "closed", &[CID], &[]),
                ]),
                LAB => workspace.people_shares.push(share("Main", "Code", &[BEN], &[])),
                AGAIN => workspace.people_shares.push(share("main", "8082", &[CID], &[])),
                _ => {}
            }
        }
        rows
    }

    /// The office, where the template of a workspace leaves other origins to the apps
    pub(super) fn open_to_others() -> Self {
        let mut rows = Self::office();
        for workspace in rows.workspaces.iter_mut().filter(|workspace| workspace.id == DEV) {
            workspace.cors = CorsBehavior::Passthru;
        }
        rows
    }

    pub(super) fn nothing() -> Self {
        Self::default()
    }

    /// A key of another feature, and three of the feature that rotates: one is cleared, one has
    /// ended, and one is about to
    ///
    /// The first has the sequence of one that a rotation changes, so that a change that ignores the
    /// feature is noticed.
    pub(super) fn keys() -> Self {
        let day = |day: u64| at(day * 86_400);
        let token = |sequence, secret: Option<u8>, starts| {
            let secret = secret.map(|byte| Secret::new([byte; 64]));
            CryptoKey::new(Feature::WorkspaceAppsToken, sequence, secret, day(starts))
        };
        Self {
            crypto_keys: vec![
                CryptoKey::new(Feature::WorkspaceAppsApiKey, 2, Secret::new([1; 32]), day(0)),
                token(1, None, 0).with_deletes_at(day(1)),
                token(2, Some(2), 0).with_deletes_at(day(35)),
                token(3, Some(3), 5),
            ],
            ..Self::default()
        }
    }

    /// Two proxies of which one has not registered its address, and a deleted one
    pub(super) fn proxies() -> Self {
        let proxy = |n: u8, name: &str| {
            let token = proxy_token(n);
            Proxy::new(token.id(), name, token.secret_digest())
        };
        let sydney =
            proxy(1, "sydney").with_addresses("https://syd.example.com", "*.syd.example.com");
        let registered = |proxy, is_deleted| RegisteredProxy { proxy, is_deleted };
        Self {
            proxies: vec![
                registered(sydney, false),
                registered(proxy(2, "oslo"), false),
                registered(proxy(3, "gone"), true),
            ],
            ..Self::default()
        }
    }
}

impl Workspace {
    fn build(mut self, transition: Transition, agents: Vec<BuildAgent>) -> Self {
        self.builds.push(Build { transition, agents });
        self
    }
}

fn user(id: UserId, name: &str, organization: OrganizationId) -> User {
    User {
        id,
        name: name.to_owned(),
        status: UserStatus::Active,
        is_deleted: false,
        organization,
        groups: Vec::new(),
    }
}

fn workspace(id: WorkspaceId, name: &str, owner: UserId) -> Workspace {
    Workspace {
        id,
        name: name.to_owned(),
        owner,
        organization: ACME,
        is_deleted: false,
        is_dormant: false,
        shared_with_users: Vec::new(),
        shared_with_groups: Vec::new(),
        builds: Vec::new(),
        port_shares: Vec::new(),
        people_shares: Vec::new(),
        max_port_sharing: SharingLevel::Owner,
        cors: CorsBehavior::Simple,
    }
}

fn with_app(id: AgentId, name: &str, app: App) -> BuildAgent {
    let agent = Agent::new(id, name, Contact::new(at(0)));
    BuildAgent { agent, is_deleted: false, apps: vec![app] }
}

fn app(n: u128, agent: AgentId, slug: &str) -> App {
    App::new(AppId(Uuid::from_u128(0xd0 + n)), agent, slug, "http://127.0.0.1:8080")
}

fn session(user: UserId) -> Session {
    Session {
        token: token_of(user),
        user,
        scope: if user == BEN { ScopeName::ApplicationConnect } else { ScopeName::All },
        last_used: at(0),
        expires_at: at(30 * 86_400),
        lifetime: Duration::from_secs(86_400),
    }
}

/// The token of the user's session
pub(super) fn token_of(user: UserId) -> SessionToken {
    // The last byte tells the users apart.
    let n = user.0.as_bytes()[15];
    SessionToken::generate(|bytes| bytes.fill((n & 0x0f) << 2))
}

pub(super) fn proxy_token(n: u8) -> ProxyToken {
    ProxyToken::generate(Uuid::from_u128(0x9000 + u128::from(n)), |bytes| bytes.fill(n << 2))
}

/// So many seconds after a moment
pub(super) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000 + seconds)
}

/// A request for an app or a port; `None` if no server makes it
pub(super) fn app_request(
    user: &str,
    workspace: &str,
    agent: &str,
    slug: &str,
) -> Option<AppRequest> {
    let fields = UncheckedRequest {
        access_method: "subdomain".to_owned(),
        base_path: "/".to_owned(),
        username_or_id: user.to_owned(),
        workspace_name_or_id: workspace.to_owned(),
        agent_name_or_id: agent.to_owned(),
        app_slug_or_port: slug.to_owned(),
        ..UncheckedRequest::default()
    };
    fields.check().ok()
}

/// A request for the terminal of an agent
pub(super) fn terminal_request(agent: AgentId) -> Option<AppRequest> {
    let fields = UncheckedRequest {
        access_method: "terminal".to_owned(),
        base_path: "/".to_owned(),
        agent_name_or_id: agent.to_string(),
        ..UncheckedRequest::default()
    };
    fields.check().ok()
}
