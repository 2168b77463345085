//! Recording a visit, compared with the statements of the reference
//!
//! `cargo bench -p authd-benches --bench audit`, with `-- --test` for a quick check that
//! it runs.
//!
//! Sixteen callers, each of which waits until its visit is committed. Ours awaits the receipt of
//! the shipped recorder over the shipped `PgStore`. The reference is represented by its prepared
//! statements over sixteen connections of tokio-postgres, one for each caller: `BEGIN`, an upsert
//! into an unlogged table with a text key, `COMMIT`, and for a new session the row of the log. The
//! reference's log has its five indices, and ours its nine, one of which covers denials only. When
//! it serves a request, authd does not wait for any of this, and the reference waits for all of it.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use app_audit::{
    AgentId, AppId, Event, OrganizationId, Recorder, Resource, Settings, UserId, Workspace,
    WorkspaceId,
};
use authd_benches::{Contest, Effort, Report, Round, Until, concurrently};
use criterion::Criterion;
use testkit::Database;
use tokio::runtime::Runtime;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, NoTls, Statement};
use uuid::Uuid;

fn main() {
    let contest = Contest::new(Effort::from_args());
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    let (recorder, reference) = runtime.block_on(async {
        let ours = Database::new().await;
        let theirs = Database::new().await;
        theirs.sql(TABLES).await;
        let store = Arc::new(ours.store().await);
        let recorder = Arc::new(Recorder::start(store, Settings::default()));
        (recorder, Arc::new(Reference::connect(theirs.url()).await))
    });

    let mut report = Report::default();
    for case in CASES {
        let result = contest.run(
            |time| theirs(&runtime, &reference, case, Until::Time(time)),
            |time| ours(&runtime, &recorder, case, Until::Time(time)),
        );
        report.faster(case.name, result, case.goal);
    }
    println!("a visit recorded, {CALLERS} callers, time between two\n\n{report}");

    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("audit");
    for case in CASES {
        group.bench_function(format!("{}/ours", case.name), |bencher| {
            bencher.iter_custom(|n| ours(&runtime, &recorder, case, Until::Operations(n)).elapsed);
        });
        group.bench_function(format!("{}/reference", case.name), |bencher| {
            bencher
                .iter_custom(|n| theirs(&runtime, &reference, case, Until::Operations(n)).elapsed);
        });
    }
    group.finish();
    criterion.final_summary();
}

/// The number of the next visitor
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    visitor: fn() -> u64,
    goal: f64,
}

const CASES: [Case; 2] = [
    Case {
        name: "fresh keys",
        visitor: || {
            static NEXT: AtomicU64 = AtomicU64::new(1);
            NEXT.fetch_add(1, Ordering::Relaxed)
        },
        goal: 2.0,
    },
    Case { name: "one hot key", visitor: || 0, goal: 4.0 },
];

fn ours(runtime: &Runtime, recorder: &Arc<Recorder>, case: Case, until: Until) -> Round {
    let recorder = Arc::clone(recorder);
    concurrently(runtime, CALLERS, until, move |_, _| {
        let recorder = Arc::clone(&recorder);
        async move {
            recorder.record(event((case.visitor)())).unwrap().await.unwrap();
            // A caller that never waits would keep other tasks from running.
            tokio::task::consume_budget().await;
        }
    })
}

fn theirs(runtime: &Runtime, reference: &Arc<Reference>, case: Case, until: Until) -> Round {
    let reference = Arc::clone(reference);
    concurrently(runtime, CALLERS, until, move |caller, _| {
        let reference = Arc::clone(&reference);
        async move { reference.record(caller, event((case.visitor)())).await }
    })
}

/// The event, with some fields changed
fn with(mut event: Event, change: impl FnOnce(&mut Event)) -> Event {
    change(&mut event);
    event
}

/// A visit by one of many devices, the same for both sides
fn event(visitor: u64) -> Event {
    #[allow(clippy::disallowed_methods, reason = "as the binary does")]
    let time = SystemTime::now();
    with(
        Event::new(
            time,
            Uuid::new_v4(),
            Resource::App(AppId(Uuid::from_u128(3)), "code-server".to_owned()),
            200,
        ),
        |it| {
            it.user = Some(UserId(Uuid::from_u128(2)));
            it.ip = Some(IpAddr::from([192, 0, 2, 1]));
            it.user_agent =
                format!("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) {visitor}").into_bytes();
            it.agent = Some((AgentId(Uuid::from_u128(4)), "main".to_owned()));
            it.workspace = Some(Workspace::new(
                WorkspaceId(Uuid::from_u128(5)),
                "dev",
                "ann",
                OrganizationId(Uuid::from_u128(6)),
            ));
        },
    )
}

/// The reference's statements, prepared on a connection for each caller
struct Reference {
    callers: Vec<(Client, Statement, Statement)>,
}

impl Reference {
    async fn connect(url: &str) -> Self {
        let mut callers = Vec::new();
        for _ in 0..CALLERS {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
            tokio::spawn(connection);
            let upsert = client
                .prepare_typed(
                    UPSERT,
                    &[Type::UUID, Type::UUID, Type::UUID, Type::UUID, Type::TEXT],
                )
                .await
                .unwrap();
            let log =
                client.prepare_typed(LOG, &[Type::UUID, Type::UUID, Type::TEXT]).await.unwrap();
            callers.push((client, upsert, log));
        }
        Self { callers }
    }

    async fn record(&self, caller: usize, event: Event) {
        let (client, upsert, log) = &self.callers[caller];
        let id = Uuid::new_v4();
        let agent = event.agent.map(|(agent, _)| agent.0);
        let app = Uuid::from_u128(3);
        let user = event.user.map(|user| user.0);
        let user_agent = String::from_utf8(event.user_agent).unwrap();
        client.batch_execute("BEGIN").await.unwrap();
        let row = client.query_one(upsert, &[&id, &agent, &app, &user, &user_agent]).await.unwrap();
        client.batch_execute("COMMIT").await.unwrap();
        if row.get(0) {
            client.execute(log, &[&user, &app, &user_agent]).await.unwrap();
        }
    }
}

const CALLERS: usize = 16;

const TABLES: &str = "
CREATE UNLOGGED TABLE reference_sessions (
    id           uuid PRIMARY KEY,
    agent_id     uuid NOT NULL,
    app_id       uuid NOT NULL,
    user_id      uuid NOT NULL,
    ip           text NOT NULL,
    user_agent   text NOT NULL,
    slug_or_port text NOT NULL,
    status_code  integer NOT NULL,
    started_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL
);
CREATE UNIQUE INDEX ON reference_sessions
    (agent_id, app_id, user_id, ip, user_agent, slug_or_port, status_code);
CREATE TABLE reference_log (
    id                uuid PRIMARY KEY,
    \"time\"            timestamptz NOT NULL,
    user_id           uuid NOT NULL,
    organization_id   uuid NOT NULL,
    ip                inet,
    user_agent        varchar(256),
    resource_type     authd_resource_type NOT NULL,
    resource_id       uuid NOT NULL,
    resource_target   text NOT NULL,
    action            authd_audit_action NOT NULL,
    diff              jsonb NOT NULL,
    status_code       integer NOT NULL,
    additional_fields jsonb NOT NULL,
    request_id        uuid NOT NULL,
    resource_icon     text NOT NULL
);
CREATE INDEX ON reference_log (\"time\" DESC);
CREATE INDEX ON reference_log (user_id);
CREATE INDEX ON reference_log (organization_id);
CREATE INDEX ON reference_log (resource_id)";

const UPSERT: &str = "
INSERT INTO reference_sessions AS last
    (id, agent_id, app_id, user_id, ip, user_agent, slug_or_port, status_code, started_at, updated_at)
VALUES ($1, $2, $3, $4, '192.0.2.1', $5, '', 200, now(), now())
ON CONFLICT (agent_id, app_id, user_id, ip, user_agent, slug_or_port, status_code) DO UPDATE SET
    id = CASE WHEN last.updated_at > now() - interval '1 h' THEN last.id ELSE excluded.id END,
    started_at = CASE WHEN last.updated_at > now() - interval '1 h'
                      THEN last.started_at ELSE excluded.started_at END,
    updated_at = excluded.updated_at
RETURNING id = $1 AS new_or_stale";

const LOG: &str = "
INSERT INTO reference_log
VALUES (gen_random_uuid(), now(), $1, '00000000-0000-0000-0000-000000000006', '192.0.2.1', $3,
        'workspace_app', $2, 'code-server', 'open', '{}', 200,
        '{\"workspace_name\": \"dev\", \"workspace_owner\": \"ann\", \"build_number\": \"\",
          \"build_reason\": \"\", \"workspace_id\": \"00000000-0000-0000-0000-000000000005\"}',
        gen_random_uuid(), '')";
