//! The candidate lookup of a sign-in, compared with the reference's chain of statements
//!
//! `cargo bench -p authd-benches --bench auth_path`, with `-- --test` for a quick
//! check that it runs.
//!
//! Sixteen callers, 100,000 agents with histories. Ours is the shipped `PgStore`. The reference's
//! chains are its prepared statements, over sixteen connections of tokio-postgres, one for each
//! caller. They use no pool and map no rows, which favours the reference. Its builds and
//! workspaces are views that join names for display, as here. Both sides have the same indices.
//! The database is reached over a local socket: over a network, each further statement of a chain
//! adds a round trip.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::sync::Arc;

use agent_auth::{Candidates, ProvenInstance, Rules, select};
use authd_benches::{Contest, Effort, Report, Round, Until, concurrently};
use criterion::Criterion;
use store::PgStore;
use testkit::Database;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls, Row, Statement};
use uuid::Uuid;

fn main() {
    let effort = Effort::from_args();
    let runtime = Runtime::new().unwrap();
    let (store, reference) = runtime.block_on(async {
        let database = Database::new().await;
        database.fill().await;
        let store = Arc::new(database.store().await);
        let reference = Arc::new(Reference::connect(database.url()).await);
        for case in CASES {
            same_answer(&store, &reference, &case).await;
        }
        (store, reference)
    });

    let contest = Contest::new(effort);
    let mut report = Report::default();
    for case in CASES {
        let result = contest.run(
            |time| chain(&runtime, &reference, case, Until::Time(time)),
            |time| single(&runtime, &store, case, Until::Time(time)),
        );
        report.faster(case.name, result, case.goal);
    }
    println!("candidate lookup, {CALLERS} callers, time between two answers\n\n{report}");

    let mut criterion = Criterion::default().configure_from_args();
    measure(&mut criterion, &runtime, &store, &reference);
    criterion.final_summary();
}

/// An instance with a number of candidates, and the reference's lookup of it
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    instance: fn(u64) -> String,
    agent_name: Option<&'static str>,
    chain: Chain,
    goal: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Chain {
    /// One statement for each step, as in the reference's own table
    Claimed,
    /// With the statements that its authorization repeats, as in operation
    AsRun,
}

const CASES: [Case; 3] = [
    Case {
        name: "1 candidate, chain of 6",
        instance: |n| format!("i-one-{}-10", 1001 + n % 4000 * 2),
        agent_name: None,
        chain: Chain::Claimed,
        goal: 4.0,
    },
    Case {
        name: "1 candidate, chain of 8",
        instance: |n| format!("i-one-{}-10", 1001 + n % 4000 * 2),
        agent_name: None,
        chain: Chain::AsRun,
        goal: 5.0,
    },
    Case {
        name: "20 candidates, 18 stale, chain of 65",
        instance: |n| format!("i-twenty-{}", 1 + n % 1000),
        agent_name: Some("main"),
        chain: Chain::AsRun,
        goal: 14.0,
    },
];

/// The same measured by criterion, which compares runs
fn measure(
    criterion: &mut Criterion,
    runtime: &Runtime,
    store: &Arc<PgStore>,
    reference: &Arc<Reference>,
) {
    let mut group = criterion.benchmark_group("auth_path");
    for case in CASES {
        group.bench_function(format!("{}/ours", case.name), |bencher| {
            bencher.iter_custom(|n| single(runtime, store, case, Until::Operations(n)).elapsed);
        });
        group.bench_function(format!("{}/reference", case.name), |bencher| {
            bencher.iter_custom(|n| chain(runtime, reference, case, Until::Operations(n)).elapsed);
        });
    }
    group.finish();
}

fn single(runtime: &Runtime, store: &Arc<PgStore>, case: Case, until: Until) -> Round {
    let store = Arc::clone(store);
    concurrently(runtime, CALLERS, until, move |_, call| {
        let store = Arc::clone(&store);
        async move {
            let found = store
                .by_instance(ProvenInstance::assume_verified(&(case.instance)(spread(call))))
                .await
                .unwrap();
            select(&found, case.agent_name, Rules::default()).unwrap();
        }
    })
}

fn chain(runtime: &Runtime, reference: &Arc<Reference>, case: Case, until: Until) -> Round {
    let reference = Arc::clone(reference);
    concurrently(runtime, CALLERS, until, move |caller, call| {
        let reference = Arc::clone(&reference);
        async move {
            reference.sign_in(caller, &(case.instance)(spread(call)), &case).await;
        }
    })
}

/// Checks that both sides give the same answer, as otherwise their times are not comparable
async fn same_answer(store: &PgStore, reference: &Reference, case: &Case) {
    for n in 0..10 {
        let instance = (case.instance)(n);
        let found = store.by_instance(ProvenInstance::assume_verified(&instance)).await.unwrap();
        let ours = select(&found, case.agent_name, Rules::default()).unwrap().agent.0;
        let (theirs, statements) = reference.sign_in(0, &instance, case).await;
        assert_eq!(ours, theirs, "{instance}");
        assert!(case.name.ends_with(&format!(" {statements}")), "{statements} statements");
    }
}

/// Spreads successive calls over the instances
fn spread(call: u64) -> u64 {
    call.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
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
    async fn sign_in(&self, caller: usize, instance: &str, case: &Case) -> (Uuid, u32) {
        let caller = &self.callers[caller];
        let mut statements = 1;
        let agents = caller.client.query(&caller.agents, &[&instance]).await.unwrap();
        let mut candidates = Vec::new();
        for agent in &agents {
            let resource = caller.one(&caller.resource, agent.get("resource_id")).await;
            statements += 2;
            let job = caller.one(&caller.job, resource.get("job_id")).await;
            if case.chain == Chain::AsRun {
                // Fetched once to authorize the resource, and once for itself.
                statements += 1;
                caller.one(&caller.job, resource.get("job_id")).await;
            }
            if job.get::<_, &str>("type") == "workspace_build" {
                candidates.push((agent, job));
            }
        }

        let named =
            |agent: &Row| case.agent_name.is_none_or(|name| agent.get::<_, &str>("name") == name);
        let (agent, job) = candidates.iter().find(|(agent, _)| named(agent)).unwrap();
        let build = caller.one(&caller.build, job.get("build_id")).await;
        let workspace = caller.one(&caller.workspace, build.get("workspace_id")).await;
        statements += 3;
        if case.chain == Chain::AsRun {
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
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
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

const CALLERS: usize = 16;
