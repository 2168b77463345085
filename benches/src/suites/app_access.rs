//! App access compared with the bare statement, and with the reference's chain of statements
//!
//! Sixteen callers, each with a session, open apps and ports of 9,000 workspaces; there
//! are 100,000 agents with histories. Ours is `PgStore` as shipped.
//!
//! The floor is our own statement on bare tokio-postgres, prepared, over sixteen connections with
//! the same settings. Each caller has one connection and asks one question at a time. The rows are
//! not read.
//!
//! The reference's chain consists of its prepared statements, each on the next free one of ten
//! connections, the default size of its pool. Only the columns that the next statement needs are
//! mapped, and nothing is authorized, which favours the reference. Both sides have the same
//! indices.

#![allow(clippy::as_conversions)]

use std::sync::{Arc, Mutex};

use app_authz::app::UncheckedRequest;
use app_authz::credential::SessionToken;
use app_authz::{AppRequest, Directory, Rules, resolve};
use store::PgStore;
use tokio::sync::Semaphore;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use super::connections::{APP_BY_NAME_TYPES, app_by_name, connect, connect_for_reads};
use super::{CALLERS, spread};
use crate::{Case, Duel, Filled, Goal, Operation, Setting, Suite, callers, operation};

/// One statement for a visit, against itself and against the reference's chain
pub static APP_ACCESS: Suite = Suite {
    id: "app-access",
    title: "App access: one statement against itself, and against the reference's chain",
    feature: None,
    rows: &[
        crate::Row::new("app", "the same statement alone", Goal::AtMost(1.1)),
        crate::Row::new("app, as run", "the reference's chain of 11", Goal::AtLeast(4.0)),
        crate::Row::new("port", "the same statement alone", Goal::AtMost(1.1)),
        crate::Row::new("port, as run", "the reference's chain of 12", Goal::AtLeast(4.0)),
    ],
    prepare,
};

fn prepare(setting: &Setting) -> Vec<Case> {
    let filled = setting.filled();
    let (bare, reference) = setting.runtime.block_on(async {
        let bare = Arc::new(Bare::connect(filled.database.url()).await);
        let reference = Arc::new(Reference::connect(filled.database.url()).await);
        for target in &TARGETS {
            same_answer(&filled.store, &bare, &reference, target).await;
        }
        (bare, reference)
    });
    let mut cases = Vec::new();
    for target in &TARGETS {
        let bare = Arc::clone(&bare);
        let alone = operation(move |caller, call| {
            let bare = Arc::clone(&bare);
            async move {
                bare.ask(caller, &Question::new(target, call)).await;
            }
        });
        let reference = Arc::clone(&reference);
        let chain = operation(move |_, call| {
            let reference = Arc::clone(&reference);
            async move {
                reference.ask(&Question::new(target, call)).await;
            }
        });
        for floor in [alone, chain] {
            let sides = [floor, ours(&filled, target)];
            let [floor, ours] = sides.map(|side| callers(&setting.runtime, CALLERS, side));
            let statements = filled.statements.clone();
            let duel = Duel::new(floor, ours).with_statements(move || statements.get());
            cases.push(Case::Duel(duel));
        }
    }
    cases
}

/// The kind of target, and the number of statements that the reference needs for it
struct Target {
    slug_or_port: &'static str,
    statements: u32,
}

static TARGETS: [Target; 2] = [
    Target { slug_or_port: "code", statements: 11 },
    Target { slug_or_port: "8001", statements: 12 },
];

/// One visit
struct Question {
    owner: String,
    workspace: String,
    slug_or_port: &'static str,
    token: SessionToken,
}

impl Question {
    /// Spreads successive calls over workspaces and sessions
    fn new(target: &Target, call: u64) -> Self {
        let n = spread(call);
        let workspace = 1001 + n % 8000;
        let session = n % 20_000;
        Self {
            owner: format!("owner-{}", workspace % 500),
            workspace: format!("workspace-{workspace}"),
            slug_or_port: target.slug_or_port,
            token: format!("{session:010}-{session:022}").parse().unwrap(),
        }
    }

    fn request(&self) -> AppRequest {
        let request = UncheckedRequest {
            access_method: "subdomain".to_owned(),
            username_or_id: self.owner.clone(),
            workspace_name_or_id: self.workspace.clone(),
            app_slug_or_port: self.slug_or_port.to_owned(),
            ..UncheckedRequest::default()
        };
        request.normalize().check().unwrap()
    }
}

fn ours(filled: &Filled, target: &'static Target) -> Operation {
    let store = Arc::clone(&filled.store);
    operation(move |_, call| {
        let store = Arc::clone(&store);
        async move {
            let question = Question::new(target, call);
            let request = question.request();
            let token = std::slice::from_ref(&question.token);
            let access = store.app_access(&request, token).await.unwrap();
            resolve(&request, access.workspace.as_deref(), Rules::default()).unwrap();
            assert_eq!(access.holders.len(), 1);
        }
    })
}

/// Checks that all sides give the same answer, as otherwise their times are not comparable
async fn same_answer(store: &PgStore, bare: &Bare, reference: &Reference, to: &Target) {
    for call in 0..10 {
        let question = Question::new(to, call);
        let request = question.request();
        let token = std::slice::from_ref(&question.token);
        let access = store.app_access(&request, token).await.unwrap();
        let target = resolve(&request, access.workspace.as_deref(), Rules::default()).unwrap();
        let answer = reference.ask(&question).await;
        assert_eq!(target.workspace().id.0, answer.workspace);
        assert_eq!(target.agent().id.0, answer.agent);
        assert_eq!(target.app().map(|app| app.0), answer.app);
        assert_eq!(target.sharing().as_str(), answer.sharing);
        assert_eq!(access.holders[0].key.user.0, answer.visitor);
        assert_eq!(access.holders[0].groups.len(), answer.groups);
        assert_eq!(answer.statements, to.statements);
        assert_eq!(bare.ask(0, &question).await, 1, "a place and a holder");
    }
}

/// Our statement on a connection for each caller
struct Bare {
    callers: Vec<(Client, Statement)>,
}

impl Bare {
    async fn connect(url: &str) -> Self {
        let mut callers = Vec::new();
        for _ in 0..CALLERS {
            let client = connect_for_reads(url).await;
            let statement = client.prepare_typed(app_by_name(), &APP_BY_NAME_TYPES).await.unwrap();
            callers.push((client, statement));
        }
        Self { callers }
    }

    /// Runs the statement and returns the number of rows
    async fn ask(&self, caller: usize, question: &Question) -> usize {
        let (client, statement) = &self.callers[caller];
        let port: Option<i32> = question.slug_or_port.parse().ok();
        let slug = Some(question.slug_or_port).filter(|_| port.is_none());
        let rows = client
            .query(
                statement,
                &[
                    &[Some(question.owner.as_str())].as_slice(),
                    &[Some(question.workspace.as_str())].as_slice(),
                    &[slug].as_slice(),
                    &[port].as_slice(),
                    &[question.token.id()].as_slice(),
                ],
            )
            .await;
        rows.unwrap().len()
    }
}

/// The reference's statements, prepared on each of the connections of a pool
struct Reference {
    free: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

struct Connection {
    client: Client,
    statements: Vec<Statement>,
}

/// The result of the chain
struct Answer {
    visitor: Uuid,
    groups: usize,
    workspace: Uuid,
    agent: Uuid,
    app: Option<Uuid>,
    sharing: String,
    statements: u32,
}

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Reference {
    async fn connect(url: &str) -> Self {
        let mut idle = Vec::new();
        for _ in 0..POOL {
            let client = connect(url).await;
            let mut statements = Vec::new();
            for text in CHAIN {
                statements.push(client.prepare(text).await.unwrap());
            }
            idle.push(Connection { client, statements });
        }
        Self { free: Semaphore::new(POOL), idle: Mutex::new(idle) }
    }

    async fn ask(&self, question: &Question) -> Answer {
        let mut statements = 0;
        let mut run = async |step: Step, parameters: Parameters<'_>| {
            statements += 1;
            self.run(step, parameters).await
        };
        let key = run(Step::Key, &[&question.token.id()]).await;
        let visitor: Uuid = key[0].get("user_id");
        run(Step::User, &[&visitor]).await;
        run(Step::Roles, &[&visitor]).await;
        let groups = run(Step::Groups, &[&visitor]).await.len();
        let owner: Uuid = run(Step::Owner, &[&question.owner]).await[0].get("id");
        let workspace = run(Step::Workspace, &[&owner, &question.workspace]).await;
        let id: Uuid = workspace[0].get("id");
        let build = run(Step::Build, &[&id]).await;
        let resources = run(Step::Resources, &[&build[0].get::<_, Uuid>("job_id")]).await;
        let resources: Vec<Uuid> = resources.iter().map(|row| row.get("id")).collect();
        let agents = run(Step::Agents, &[&resources]).await;
        let agent_ids: Vec<Uuid> = agents.iter().map(|row| row.get("id")).collect();
        let apps = run(Step::Apps, &[&agent_ids]).await;
        let (agent, app, sharing) = if let Ok(port) = question.slug_or_port.parse::<i32>() {
            let name: &str = agents[0].get("name");
            let share = run(Step::PortShare, &[&id, &name, &port]).await;
            (agent_ids[0], None, share[0].get("share_level"))
        } else {
            let of_slug = |row: &&Row| row.get::<_, &str>("slug") == question.slug_or_port;
            let row = apps.iter().find(of_slug).unwrap();
            (row.get("agent_id"), Some(row.get("id")), row.get("sharing_level"))
        };
        run(Step::Template, &[&workspace[0].get::<_, Uuid>("template_id")]).await;
        Answer { visitor, groups, workspace: id, agent, app, sharing, statements }
    }

    async fn run(&self, step: Step, parameters: Parameters<'_>) -> Vec<Row> {
        let _permit = self.free.acquire().await.unwrap();
        let connection = self.idle.lock().unwrap().pop().unwrap();
        let rows = connection.client.query(&connection.statements[step as usize], parameters).await;
        self.idle.lock().unwrap().push(connection);
        rows.unwrap()
    }
}

#[derive(Clone, Copy)]
enum Step {
    Key,
    User,
    Roles,
    Groups,
    Owner,
    Workspace,
    Build,
    Resources,
    Agents,
    Apps,
    PortShare,
    Template,
}

/// In the order of the steps
const CHAIN: [&str; 12] = [
    "SELECT id, hashed_secret, user_id, last_used, expires_at, created_at, updated_at,
            login_type::text, lifetime_seconds, scopes::text[], token_name
     FROM api_keys WHERE id = $1 LIMIT 1",
    "SELECT id, username, email, status::text, deleted, rbac_roles, login_type::text, last_seen_at
     FROM users WHERE id = $1 LIMIT 1",
    "SELECT u.id, u.username, u.status::text,
            array_cat(
                CASE WHEN u.status = 'active' THEN array_append(u.rbac_roles, 'member')
                     ELSE '{}' END,
                (SELECT coalesce(array_agg(r || ':' || m.organization_id), '{}')
                 FROM organization_members m,
                      unnest(array_append(m.roles, 'organization-member')) r
                 WHERE m.user_id = u.id)) AS roles
     FROM users u WHERE u.id = $1",
    "SELECT g.id, g.name, g.organization_id
     FROM groups g JOIN group_members m ON m.group_id = g.id WHERE m.user_id = $1",
    "SELECT id, username, email, status::text, deleted, rbac_roles, login_type::text, last_seen_at
     FROM users WHERE lower(username) = lower($1) AND deleted = false LIMIT 1",
    "SELECT w.id, w.owner_id, w.organization_id, w.template_id, w.name, w.deleted, w.dormant_at,
            w.user_acl::text, w.group_acl::text, u.username AS owner_username,
            o.name AS organization_name, t.name AS template_name
     FROM workspaces w
     JOIN users u ON u.id = w.owner_id
     JOIN organizations o ON o.id = w.organization_id
     JOIN templates t ON t.id = w.template_id
     WHERE w.owner_id = $1 AND w.deleted = false AND lower(w.name) = lower($2)",
    "SELECT b.id, b.workspace_id, b.build_number, b.transition::text, b.job_id, b.initiator_id,
            coalesce(u.username, '') AS initiator_by_username
     FROM workspace_builds b LEFT JOIN users u ON u.id = b.initiator_id
     WHERE b.workspace_id = $1 ORDER BY b.build_number DESC LIMIT 1",
    "SELECT id, job_id, transition::text, type, name FROM workspace_resources WHERE job_id = $1",
    "SELECT id, parent_id, resource_id, name, auth_token, auth_instance_id, created_at,
            first_connected_at, last_connected_at, disconnected_at, connection_timeout_seconds,
            lifecycle_state::text
     FROM workspace_agents WHERE resource_id = ANY ($1) AND deleted = false",
    "SELECT id, agent_id, slug, display_name, url, command, external, subdomain,
            sharing_level::text, health::text, hidden
     FROM workspace_apps WHERE agent_id = ANY ($1) ORDER BY slug",
    "SELECT workspace_id, agent_name, port, share_level::text, protocol::text
     FROM workspace_agent_port_share WHERE workspace_id = $1 AND agent_name = $2 AND port = $3",
    "SELECT id, organization_id, name, max_port_sharing_level::text, cors_behavior::text, deleted,
            user_acl::text, group_acl::text
     FROM templates WHERE id = $1 LIMIT 1",
];

/// Connections of the reference's pool
const POOL: usize = 10;
