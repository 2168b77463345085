//! How the cost of questions grows with a deployment, compared with bare look-ups
//!
//! The small deployment has 10,000 workspaces, and the large one as many as the option says. A
//! workspace has ten builds, and the newest has one agent. Sixteen callers ask the shipped `PgStore`.
//!
//! The floor is a chain of as many look-ups by primary key, on the same tables and in one statement
//! of bare tokio-postgres for eight questions, since eight callers of ours share one too. What it
//! takes longer in the large deployment is the price of memory: no question with as many look-ups
//! can grow less.

use std::sync::Arc;

use agent_auth::{Candidates, ProvenInstance, Rules, select};
use app_authz::app::UncheckedRequest;
use app_authz::{Directory, resolve};
use openssl::hash::{MessageDigest, hash};
use store::PgStore;
use testkit::{Database, OwnServer};
use tokio::runtime::Runtime;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::connections::connect_for_reads;
use super::{CALLERS, spread};
use crate::{
    Case, Contest, Effort, Goal, Measurement, Row, Setting, Side, Suite, Unit, callers, operation,
};

/// Growth of questions with the number of workspaces
pub static GROWTH: Suite = Suite {
    id: "growth",
    title: "Growth: a hundred times as many workspaces",
    feature: None,
    rows: &[
        Row { unit: Unit::Growth, ..Row::new("candidate lookup", FIVE, Goal::AtMost(1.1)) },
        Row { unit: Unit::Growth, ..Row::new("app access", TEN, Goal::AtMost(1.1)) },
    ],
    prepare,
};

const FIVE: &str = "five look-ups by primary key";
const TEN: &str = "ten look-ups by primary key";

fn prepare(setting: &Setting) -> Vec<Case> {
    let large = setting.growth_workspaces;
    let small = match setting.effort {
        Effort::Check => 100,
        _ => 10_000.min(large),
    };
    let deployments = setting.runtime.block_on(async {
        let server = server(setting).await;
        [Deployment::new(&server, small).await, Deployment::new(&server, large).await]
            .map(|deployment| (deployment, Arc::clone(&server)))
    });
    let of = |question: Question| {
        let sides = deployments.clone().map(|(deployment, server)| {
            (
                deployment.ours(&setting.runtime, question),
                deployment.chain(setting, question),
                server,
            )
        });
        let [(our_small, chain_small, server), (our_large, chain_large, _)] = sides;
        let mut sides = [our_small, our_large, chain_small, chain_large];
        Case::Figure(Box::new(move |setting| {
            let _running = &server;
            let [our_small, our_large, chain_small, chain_large] = &mut sides;
            // The noise of four sides is in each ratio.
            let contest = Contest::new(setting.effort).times(3);
            let rounds = contest.run([our_small, our_large, chain_small, chain_large]);
            let ours = rounds.iter().map(|[small, large, ..]| large / small);
            let chain = rounds.iter().map(|[.., small, large]| large / small);
            let note = format!("{large} workspaces against {small}");
            Measurement::of(chain.map(Some).zip(ours).collect()).with_note(note)
        }))
    };
    vec![of(Question::SignIn), of(Question::OpenApp)]
}

/// A server with the requested memory
async fn server(setting: &Setting) -> Arc<OwnServer> {
    let server = OwnServer::start().await;
    if let Some(size) = &setting.growth_shared_buffers {
        let database = server.database().await;
        database.sql(&format!("ALTER SYSTEM SET shared_buffers = '{size}'")).await;
        server.pause().await;
        server.resume().await;
    }
    Arc::new(server)
}

#[derive(Clone, Copy)]
enum Question {
    SignIn,
    OpenApp,
}

/// A deployment with a given number of workspaces
#[derive(Clone)]
struct Deployment {
    workspaces: u64,
    database: Arc<Database>,
    store: Arc<PgStore>,
}

impl Deployment {
    async fn new(server: &OwnServer, workspaces: u64) -> Self {
        let database = server.database().await;
        let rows = include_str!("growth.sql").replace("$workspaces", &workspaces.to_string());
        database.sql(&rows).await;
        database.sql("VACUUM ANALYZE").await;
        // Otherwise it would come while something is measured.
        database.sql("CHECKPOINT").await;
        let store = Arc::new(database.store().await);
        Self { workspaces, store, database: Arc::new(database) }
    }

    fn ours(&self, runtime: &Arc<Runtime>, question: Question) -> Side {
        let (store, workspaces) = (Arc::clone(&self.store), self.workspaces);
        let ask = match question {
            Question::SignIn => operation(move |_, call| {
                let store = Arc::clone(&store);
                async move {
                    let instance = format!("i-{}", 1 + spread(call) % workspaces);
                    let instance = ProvenInstance::assume_verified(&instance);
                    let found = store.by_instance(instance).await.unwrap();
                    select(&found, None, Rules::default()).unwrap();
                }
            }),
            Question::OpenApp => operation(move |_, call| {
                let store = Arc::clone(&store);
                async move { open_app(&store, 1 + spread(call) % workspaces).await }
            }),
        };
        callers(runtime, CALLERS, ask)
    }

    /// The side of bare look-ups, whose rounds count questions and not statements
    fn chain(&self, setting: &Setting, question: Question) -> Side {
        let (text, types): (_, &[Type]) = match question {
            Question::SignIn => (SIGN_IN_CHAIN, &SIGN_IN_TYPES),
            Question::OpenApp => (OPEN_APP_CHAIN, &OPEN_APP_TYPES),
        };
        let askers: Arc<[(Client, Statement)]> = setting.runtime.block_on(async {
            let mut askers = Vec::new();
            for _ in 0..CALLERS / SHARING {
                let client = connect_for_reads(self.database.url()).await;
                let statement = client.prepare_typed(text, types).await.unwrap();
                askers.push((client, statement));
            }
            askers.into()
        });
        let workspaces = self.workspaces;
        let ask = operation(move |caller, call| {
            let askers = Arc::clone(&askers);
            async move {
                let first = call * u64::try_from(SHARING).unwrap();
                let asked = (first..).take(SHARING).map(|call| 1 + spread(call) % workspaces);
                let (client, statement) = &askers[caller];
                let keys = Keys::of(&asked.collect::<Vec<_>>());
                let rows = client.query(statement, &keys.parameters(question)).await.unwrap();
                assert_eq!(rows.len(), SHARING);
            }
        });
        let mut statements = callers(&setting.runtime, CALLERS / SHARING, ask);
        Box::new(move |until| {
            let mut round = statements(until);
            round.operations *= u64::try_from(SHARING).unwrap();
            round
        })
    }
}

async fn open_app(store: &PgStore, workspace: u64) {
    let user = workspace.div_ceil(10);
    let request = UncheckedRequest {
        access_method: "subdomain".to_owned(),
        username_or_id: format!("user-{user}"),
        workspace_name_or_id: format!("workspace-{workspace}"),
        app_slug_or_port: "code".to_owned(),
        ..UncheckedRequest::default()
    };
    let request = request.normalize().check().unwrap();
    let token = format!("{user:010}-{user:022}").parse().unwrap();
    let access = store.app_access(&request, &[token]).await.unwrap();
    resolve(&request, access.workspace.as_deref(), app_authz::Rules::default()).unwrap();
    assert_eq!(access.holders.len(), 1);
}

/// The primary keys of the rows that questions about some workspaces lead to
#[derive(Default)]
struct Keys {
    agents: Vec<Uuid>,
    resources: Vec<Uuid>,
    builds: Vec<Uuid>,
    workspaces: Vec<Uuid>,
    /// Builds that are elsewhere in the index, as the newest build of a workspace is in ours
    other_builds: Vec<Uuid>,
    users: Vec<Uuid>,
    templates: Vec<Uuid>,
    apps: Vec<Uuid>,
    sessions: Vec<String>,
    organizations: Vec<Uuid>,
}

impl Keys {
    fn of(workspaces: &[u64]) -> Self {
        let mut keys = Self::default();
        for workspace in workspaces {
            let user = workspace.div_ceil(10);
            keys.agents.push(id(&format!("agent {workspace}")));
            keys.resources.push(id(&format!("resource {workspace}")));
            keys.builds.push(id(&format!("build {workspace} 10")));
            keys.workspaces.push(id(&format!("workspace {workspace}")));
            keys.other_builds.push(id(&format!("build {workspace} 9")));
            keys.users.push(id(&format!("user {user}")));
            keys.templates.push(id(&format!("template {}", workspace % 100)));
            keys.apps.push(id(&format!("app {workspace}")));
            keys.sessions.push(format!("{user:010}"));
            keys.organizations.push(id("organization"));
        }
        keys
    }

    fn parameters(&self, question: Question) -> Vec<&(dyn ToSql + Sync)> {
        match question {
            Question::SignIn => vec![
                &self.agents,
                &self.resources,
                &self.builds,
                &self.workspaces,
                &self.other_builds,
            ],
            Question::OpenApp => vec![
                &self.users,
                &self.workspaces,
                &self.builds,
                &self.templates,
                &self.resources,
                &self.agents,
                &self.apps,
                &self.sessions,
                &self.organizations,
            ],
        }
    }
}

/// The id that `growth.sql` gives to the row of this name
fn id(name: &str) -> Uuid {
    let digest = hash(MessageDigest::md5(), name.as_bytes()).unwrap();
    Uuid::from_slice(&digest).unwrap()
}

/// How many questions share a statement of the floor
const SHARING: usize = 8;

const SIGN_IN_TYPES: [Type; 5] = [Type::UUID_ARRAY; 5];

/// `OFFSET 0` keeps each look-up a step of its own.
const SIGN_IN_CHAIN: &str = "
    SELECT n, a.name, a.auth_token, r.job_id, b.build_number, w.deleted, o.build_number
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[])
        WITH ORDINALITY AS asked (agent, resource, build, workspace, other, n)
    CROSS JOIN LATERAL
        (SELECT name, auth_token FROM workspace_agents WHERE id = asked.agent OFFSET 0) a
    CROSS JOIN LATERAL
        (SELECT job_id FROM workspace_resources WHERE id = asked.resource OFFSET 0) r
    CROSS JOIN LATERAL
        (SELECT build_number FROM workspace_builds WHERE id = asked.build OFFSET 0) b
    CROSS JOIN LATERAL
        (SELECT deleted FROM workspaces WHERE id = asked.workspace OFFSET 0) w
    CROSS JOIN LATERAL
        (SELECT build_number FROM workspace_builds WHERE id = asked.other OFFSET 0) o";

const OPEN_APP_TYPES: [Type; 9] = [
    Type::UUID_ARRAY,
    Type::UUID_ARRAY,
    Type::UUID_ARRAY,
    Type::UUID_ARRAY,
    Type::UUID_ARRAY,
    Type::UUID_ARRAY,
    Type::UUID_ARRAY,
    Type::TEXT_ARRAY,
    Type::UUID_ARRAY,
];

/// The owner and the holder of the session are one user, as in the question.
const OPEN_APP_CHAIN: &str = "
    SELECT n, u.username, w.name, b.job_id, t.name, r.job_id, a.name, p.slug, k.hashed_secret,
           h.rbac_roles, m.roles
    FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[],
                $7::uuid[], $8::text[], $9::uuid[])
        WITH ORDINALITY AS asked
        (usr, workspace, build, template, resource, agent, app, session, organization, n)
    CROSS JOIN LATERAL (SELECT username FROM users WHERE id = asked.usr OFFSET 0) u
    CROSS JOIN LATERAL (SELECT name FROM workspaces WHERE id = asked.workspace OFFSET 0) w
    CROSS JOIN LATERAL (SELECT job_id FROM workspace_builds WHERE id = asked.build OFFSET 0) b
    CROSS JOIN LATERAL (SELECT name FROM templates WHERE id = asked.template OFFSET 0) t
    CROSS JOIN LATERAL
        (SELECT job_id FROM workspace_resources WHERE id = asked.resource OFFSET 0) r
    CROSS JOIN LATERAL (SELECT name FROM workspace_agents WHERE id = asked.agent OFFSET 0) a
    CROSS JOIN LATERAL (SELECT slug FROM workspace_apps WHERE id = asked.app OFFSET 0) p
    CROSS JOIN LATERAL (SELECT hashed_secret FROM api_keys WHERE id = asked.session OFFSET 0) k
    CROSS JOIN LATERAL (SELECT rbac_roles FROM users WHERE id = asked.usr OFFSET 0) h
    CROSS JOIN LATERAL
        (SELECT roles FROM organization_members
         WHERE organization_id = asked.organization AND user_id = asked.usr OFFSET 0) m";
