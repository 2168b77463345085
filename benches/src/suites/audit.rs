//! Recording a visit, compared with the statements of the reference
//!
//! Sixty-four callers, each of which waits until its visit is committed. The server writes to disk
//! before it answers a commit, as PostgreSQL does by default. Ours awaits the receipt of
//! the shipped recorder over the shipped `PgStore`. The reference is represented by its prepared
//! statements over 64 connections of tokio-postgres, one for each caller: `BEGIN`, an upsert
//! into an unlogged table with a text key, `COMMIT`, and for a new session the row of the log. The
//! reference's log has its five indices, and ours its nine. When it serves a request, authd does
//! not wait for any of this, and the reference waits for all of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use app_audit::{
    AgentId, AppId, Event, OrganizationId, Recorder, Resource, Settings, UserId, Workspace,
    WorkspaceId,
};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Statement};
use uuid::Uuid;

use super::connections::connect;
use crate::{Case, Duel, Goal, Setting, Suite, callers, operation};

/// Rows of visits, against the reference's transactions
pub static AUDIT: Suite = Suite {
    id: "audit",
    title: "App audit: against the reference's two transactions",
    feature: None,
    rows: &[
        crate::Row::new("a new session each time", "the reference's shape", Goal::AtLeast(3.0)),
        crate::Row::new("one session", "the reference's shape", Goal::AtLeast(4.0)),
    ],
    prepare,
};

fn prepare(setting: &Setting) -> Vec<Case> {
    let (recorder, statements, reference) = setting.runtime.block_on(async {
        let server = setting.durable().await;
        let (ours, theirs) = (server.database().await, server.database().await);
        theirs.sql(TABLES).await;
        let (store, statements) = ours.counted_store().await;
        let recorder = Arc::new(Recorder::start(Arc::new(store), Settings::default()));
        (recorder, statements, Arc::new(Reference::connect(theirs.url()).await))
    });
    let case = |visitor: fn() -> u64| {
        let floor = operation({
            let reference = Arc::clone(&reference);
            move |caller, _| {
                let reference = Arc::clone(&reference);
                async move { reference.record(caller, event(visitor())).await }
            }
        });
        let ours = operation({
            let recorder = Arc::clone(&recorder);
            move |_, _| {
                let recorder = Arc::clone(&recorder);
                async move {
                    recorder.record(event(visitor())).unwrap().await.unwrap();
                }
            }
        });
        let [floor, ours] = [floor, ours].map(|side| callers(&setting.runtime, CALLERS, side));
        let statements = statements.clone();
        Case::Duel(Duel::new(floor, ours).with_statements(move || statements.get()))
    };
    vec![case(next_visitor), case(|| 0)]
}

/// More than elsewhere: rows are written for the visitors of a whole deployment
const CALLERS: usize = 64;

/// The number of a new visitor
fn next_visitor() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A visit by one of many devices, the same for both sides
fn event(visitor: u64) -> Event {
    #[allow(clippy::disallowed_methods, reason = "as the binary does")]
    let time = SystemTime::now();
    let app = Resource::App(AppId(Uuid::from_u128(3)), "code-server".to_owned());
    let mut event = Event::new(time, Uuid::new_v4(), app, 200);
    event.user = Some(UserId(Uuid::from_u128(2)));
    event.ip = Some(IpAddr::from([192, 0, 2, 1]));
    event.user_agent = format!("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) {visitor}").into_bytes();
    event.agent = Some((AgentId(Uuid::from_u128(4)), "main".to_owned()));
    event.workspace = Some(Workspace::new(
        WorkspaceId(Uuid::from_u128(5)),
        "dev",
        "ann",
        OrganizationId(Uuid::from_u128(6)),
    ));
    event
}

/// The reference's statements, prepared on a connection for each caller
struct Reference {
    callers: Vec<(Client, Statement, Statement)>,
}

impl Reference {
    async fn connect(url: &str) -> Self {
        let mut callers = Vec::new();
        for _ in 0..CALLERS {
            let client = connect(url).await;
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
