//! The candidate lookup of a sign-in, compared with the reference's chain of statements
//!
//! Sixteen callers, 100,000 agents with histories. Ours is the shipped `PgStore`. The reference's
//! chains are its prepared statements, over sixteen connections of tokio-postgres, one for each
//! caller. They use no pool and map no rows, which favours the reference. Its builds and
//! workspaces are views that join names for display, as here. Both sides have the same indices.
//! The database is reached over a local socket: over a network, each further statement of a chain
//! adds a round trip.

use std::sync::Arc;

use agent_auth::{Candidates, ProvenInstance, Rules, select};
use store::PgStore;
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use super::connections::connect;
use super::{CALLERS, spread};
use crate::{Case, Duel, Goal, Setting, Suite, callers, operation};

/// One statement for a sign-in, against the reference's chains
pub static SIGN_IN: Suite = Suite {
    id: "sign-in",
    title: "Agent sign-in: one statement against the reference's chains",
    feature: None,
    rows: &[
        crate::Row::new("one candidate", "the reference's chain of 6", Goal::AtLeast(5.0)),
        crate::Row::new("one candidate, as run", "the reference's chain of 8", Goal::AtLeast(7.0)),
        crate::Row::new(
            "20 candidates, 18 of them stale",
            "the reference's chain of 65",
            Goal::AtLeast(15.0),
        ),
    ],
    prepare,
};

fn prepare(setting: &Setting) -> Vec<Case> {
    let filled = setting.filled();
    let reference = setting.runtime.block_on(async {
        let reference = Arc::new(Reference::connect(filled.database.url()).await);
        for lookup in &LOOKUPS {
            same_answer(&filled.store, &reference, lookup).await;
        }
        reference
    });
    let case = |lookup: &'static Lookup| {
        let floor = operation({
            let reference = Arc::clone(&reference);
            move |caller, call| {
                let reference = Arc::clone(&reference);
                async move {
                    reference.sign_in(caller, &(lookup.instance)(spread(call)), lookup).await;
                }
            }
        });
        let ours = operation({
            let store = Arc::clone(&filled.store);
            move |_, call| {
                let store = Arc::clone(&store);
                async move {
                    let instance = (lookup.instance)(spread(call));
                    let instance = ProvenInstance::assume_verified(&instance);
                    let found = store.by_instance(instance).await.unwrap();
                    select(&found, lookup.agent_name, Rules::default()).unwrap();
                }
            }
        });
        let [floor, ours] = [floor, ours].map(|side| callers(&setting.runtime, CALLERS, side));
        let statements = filled.statements.clone();
        Case::Duel(Duel::new(floor, ours).with_statements(move || statements.get()))
    };
    LOOKUPS.iter().map(case).collect()
}

/// An instance with a number of candidates, and the reference's lookup of it
struct Lookup {
    instance: fn(u64) -> String,
    agent_name: Option<&'static str>,
    chain: Chain,
    /// The statements of the chain
    statements: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Chain {
    /// One statement for each step, as in the reference's own table
    Claimed,
    /// With the statements that its authorization repeats, as in operation
    AsRun,
}

/// In the order of the rows
static LOOKUPS: [Lookup; 3] = [
    Lookup {
        instance: |n| format!("i-one-{}-10", 1001 + n % 4000 * 2),
        agent_name: None,
        chain: Chain::Claimed,
        statements: 6,
    },
    Lookup {
        instance: |n| format!("i-one-{}-10", 1001 + n % 4000 * 2),
        agent_name: None,
        chain: Chain::AsRun,
        statements: 8,
    },
    Lookup {
        instance: |n| format!("i-twenty-{}", 1 + n % 1000),
        agent_name: Some("main"),
        chain: Chain::AsRun,
        statements: 65,
    },
];

/// Checks that both sides give the same answer, as otherwise their times are not comparable
async fn same_answer(store: &PgStore, reference: &Reference, lookup: &Lookup) {
    for n in 0..10 {
        let instance = (lookup.instance)(n);
        let found = store.by_instance(ProvenInstance::assume_verified(&instance)).await.unwrap();
        let ours = select(&found, lookup.agent_name, Rules::default()).unwrap().agent.0;
        let (theirs, statements) = reference.sign_in(0, &instance, lookup).await;
        assert_eq!(ours, theirs, "{instance}");
        assert_eq!(statements, lookup.statements, "{instance}");
    }
}

/// The reference's statements, prepared on a connection for each caller
struct Reference {
    callers: Vec<Caller>,
}

struct Caller {
    client: Client,
    agents: Statement,
    resource: Statement,
    job: Statement,
    build: Statement,
    workspace: Statement,
    latest_build: Statement,
}

impl Reference {
    async fn connect(url: &str) -> Self {
        let mut callers = Vec::new();
        for _ in 0..CALLERS {
            callers.push(Caller::connect(url).await);
        }
        Self { callers }
    }

    /// The agent that signs in, and the number of statements
    async fn sign_in(&self, caller: usize, instance: &str, lookup: &Lookup) -> (Uuid, u32) {
        let caller = &self.callers[caller];
        let mut statements = 1;
        let agents = caller.client.query(&caller.agents, &[&instance]).await.unwrap();
        let mut candidates = Vec::new();
        for agent in &agents {
            let resource = caller.one(&caller.resource, agent.get("resource_id")).await;
            statements += 2;
            let job = caller.one(&caller.job, resource.get("job_id")).await;
            if lookup.chain == Chain::AsRun {
                // Fetched once to authorize the resource, and once for itself.
                statements += 1;
                caller.one(&caller.job, resource.get("job_id")).await;
            }
            if job.get::<_, &str>("type") == "workspace_build" {
                candidates.push((agent, job));
            }
        }

        let named =
            |agent: &Row| lookup.agent_name.is_none_or(|name| agent.get::<_, &str>("name") == name);
        let (agent, job) = candidates.iter().find(|(agent, _)| named(agent)).unwrap();
        let build = caller.one(&caller.build, job.get("build_id")).await;
        let workspace = caller.one(&caller.workspace, build.get("workspace_id")).await;
        statements += 3;
        if lookup.chain == Chain::AsRun {
            statements += 1;
            caller.one(&caller.workspace, build.get("workspace_id")).await;
        }
        let latest = caller.one(&caller.latest_build, workspace.get("id")).await;
        assert_eq!(latest.get::<_, Uuid>("id"), build.get::<_, Uuid>("id"));
        (agent.get("id"), statements)
    }
}

impl Caller {
    async fn connect(url: &str) -> Self {
        let client = connect(url).await;
        let prepare = |sql| client.prepare(sql);
        Self {
            agents: prepare(
                "SELECT id, parent_id, resource_id, name, auth_token, auth_instance_id
                 FROM workspace_agents
                 WHERE auth_instance_id = $1 AND deleted = FALSE AND parent_id IS NULL
                 ORDER BY created_at DESC",
            )
            .await
            .unwrap(),
            resource: prepare(
                "SELECT id, job_id, type, name FROM workspace_resources WHERE id = $1",
            )
            .await
            .unwrap(),
            job: prepare(
                "SELECT id, type::text, organization_id,
                        (input->>'workspace_build_id')::uuid AS build_id
                 FROM provisioner_jobs WHERE id = $1",
            )
            .await
            .unwrap(),
            build: prepare(
                "SELECT b.id, b.workspace_id, b.build_number, b.job_id, b.initiator_id,
                        coalesce(u.username, '') AS initiator_by_username
                 FROM workspace_builds b LEFT JOIN users u ON u.id = b.initiator_id
                 WHERE b.id = $1",
            )
            .await
            .unwrap(),
            workspace: prepare(
                "SELECT w.id, w.owner_id, w.organization_id, w.template_id, w.name, w.deleted,
                        u.username AS owner_username, o.name AS organization_name,
                        t.name AS template_name
                 FROM workspaces w
                 JOIN users u ON u.id = w.owner_id
                 JOIN organizations o ON o.id = w.organization_id
                 JOIN templates t ON t.id = w.template_id
                 WHERE w.id = $1",
            )
            .await
            .unwrap(),
            latest_build: prepare(
                "SELECT b.id, b.workspace_id, b.build_number, b.job_id, b.initiator_id,
                        coalesce(u.username, '') AS initiator_by_username
                 FROM workspace_builds b LEFT JOIN users u ON u.id = b.initiator_id
                 WHERE b.workspace_id = $1 ORDER BY b.build_number DESC LIMIT 1",
            )
            .await
            .unwrap(),
            client,
        }
    }

    async fn one(&self, statement: &Statement, id: Uuid) -> Row {
        self.client.query_one(statement, &[&id]).await.unwrap()
    }
}
