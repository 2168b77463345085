//! The statements about acts: they are prepared once, and read no whole table

use std::time::{Duration, SystemTime};

use app_audit::{
    Act, ActFilter, ActJournal, ActKind, ActLog, AgentId, Decision, Page, UserId, WorkspaceId,
};
use diesel::debug_query;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde_json::Value;
use testkit::Database;
use uuid::Uuid;

use super::page::ActsPage;
use crate::Options;
use crate::pg::PgStore;
use crate::pg::plans::{Explain, pages, pages_of};

diesel::table! {
    pg_prepared_statements (name) {
        name -> Text,
        statement -> Text,
    }
}

/// A filter for each text of the page, with the index that should be used
fn filters() -> Vec<(ActFilter, &'static str)> {
    let (id, none) = (Uuid::from_u128(7), ActFilter::default);
    let sign_ins = Some(ActKind::AgentSignIn);
    vec![
        (none(), "authd_acts_time_idx"),
        (ActFilter { kind: sign_ins, ..none() }, "authd_acts_time_idx"),
        (ActFilter { request: Some(id), ..none() }, "authd_acts_request_id_idx"),
        (ActFilter { subject: Some("i-7".to_owned()), ..none() }, "authd_acts_subject_idx"),
        (ActFilter { agent: Some(AgentId(id)), ..none() }, "authd_acts_agent_id_idx"),
        (ActFilter { workspace: Some(WorkspaceId(id)), ..none() }, "authd_acts_workspace_id_idx"),
        (ActFilter { user: Some(UserId(id)), ..none() }, "authd_acts_user_id_idx"),
        (ActFilter { ip: Some([10, 0, 0, 7].into()), ..none() }, "authd_acts_ip_idx"),
        (ActFilter { kind: Some(ActKind::LogIn), ..none() }, "authd_acts_kind_idx"),
        (ActFilter { decision: Some(Decision::Deny), ..none() }, "authd_acts_denied_idx"),
    ]
}

#[tokio::test]
async fn each_statement_is_prepared_once() {
    let database = Database::new().await;
    let options = Options::default().write_connections(1).audit_connections(1);
    let store = PgStore::new(database.url(), &options).unwrap();
    for _ in 0..3 {
        let act = Act::new(ActKind::Import, SystemTime::UNIX_EPOCH);
        store.note_acts(std::slice::from_ref(&act)).await.unwrap();
        store.replay_acts(std::slice::from_ref(&act)).await.unwrap();
        store.count_acts(&[(act.id(), 1)]).await.unwrap();
        store.forget_acts(Duration::from_secs(86_400), 1).await.unwrap();
        for (filter, _) in filters() {
            store.list_acts(&filter, Page::first(1)).await.unwrap();
        }
    }
    let mut count = 0;
    for pool in [&store.audit, &store.pages] {
        let prepared = pool.run(async |connection| {
            pg_prepared_statements::table
                .select(pg_prepared_statements::statement)
                .filter(pg_prepared_statements::statement.like("%authd_acts%"))
                .load::<String>(connection)
                .await
        });
        let mut texts = prepared.await.unwrap();
        let all = texts.len();
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), all, "one is prepared twice");
        count += all;
    }
    // Two filters share the text that reads in the order of times.
    assert_eq!(count, 4 + filters().len() - 1);
}

#[tokio::test]
async fn no_page_reads_a_whole_table() {
    let database = Database::new().await;
    database.sql(FILL).await;
    database.sql("VACUUM ANALYZE").await;
    for (filter, index) in filters() {
        let page = ActsPage::of(&filter, Page::first(50), true).unwrap();
        let shown = debug_query::<Pg, _>(&page).to_string();
        let (text, _) = shown.rsplit_once(" -- binds").unwrap();
        let given = |given: bool, value: &str| if given { value } else { "null" }.to_owned();
        let values = [
            "now()".to_owned(),
            format!("'{}'", Uuid::max()),
            "'2000-01-01'".to_owned(),
            given(filter.request.is_some(), "md5('r7')::uuid"),
            given(filter.subject.is_some(), "'i-7'"),
            given(filter.agent.is_some(), "md5('7')::uuid"),
            given(filter.workspace.is_some(), "md5('7')::uuid"),
            given(filter.user.is_some(), "md5('7')::uuid"),
            given(filter.ip.is_some(), "'10.0.0.7'"),
            filter.kind.map_or_else(|| "null".to_owned(), |kind| format!("'{}'", kind.as_str())),
            given(filter.decision.is_some(), "'deny'"),
            "null".to_owned(),
            "50".to_owned(),
        ];
        let plan = database
            .sql(&format!(
                "SET plan_cache_mode = force_custom_plan;
                 PREPARE question AS {text};
                 EXPLAIN EXECUTE question ({})",
                values.join(", ")
            ))
            .await
            .join("\n");
        assert!(plan.contains(index), "{index} is not used:\n{plan}");
        assert!(!plan.contains("Seq Scan on authd_acts"), "{plan}");
    }
}

/// A condition on each column that filters name, which half of the rows of [`HALVES`] meet
fn half(column: usize, id: u8, filter: ActFilter) -> ActFilter {
    let uuid = Uuid::from_u128(id.into());
    let first = id == 1;
    match column {
        0 => ActFilter { subject: Some(format!("i-{id}")), ..filter },
        1 => ActFilter { agent: Some(AgentId(uuid)), ..filter },
        2 => ActFilter { workspace: Some(WorkspaceId(uuid)), ..filter },
        3 => ActFilter { user: Some(UserId(uuid)), ..filter },
        4 => ActFilter { ip: Some([10, 0, 0, id].into()), ..filter },
        5 => ActFilter {
            kind: Some(if first { ActKind::AgentSignIn } else { ActKind::LogIn }),
            ..filter
        },
        6 => ActFilter {
            decision: Some(if first { Decision::Deny } else { Decision::Allow }),
            ..filter
        },
        _ => ActFilter { reason: Some(format!("reason-{id}")), ..filter },
    }
}

/// By statistics, a quarter of the rows pass each of these pairs of filters. None does, and
/// none is read.
#[tokio::test]
async fn filters_without_a_row_in_common_are_compared_within_an_index() {
    let database = Database::new().await;
    database.sql(HALVES).await;
    database.sql("VACUUM ANALYZE").await;
    let [index, table] = ["authd_acts_time_idx", "authd_acts"];
    let index = pages_of(&database, index).await;
    assert!(pages_of(&database, table).await > 10 * index);

    let store = PgStore::connect(database.url(), &Options::default()).await.unwrap();
    let pairs = (0..8).flat_map(|a| (0..8).map(move |b| (a, b)));
    for (a, b) in pairs.filter(|(a, b)| a != b) {
        let filter = half(b, 2, half(a, 1, ActFilter::default()));
        let page = ActsPage::of(&filter, Page::first(50), true).unwrap();
        let explained = async |connection: &mut _| Explain(page).get_result(connection).await;
        let plan: Value = store.pages.run(explained).await.unwrap();
        let read = pages(&plan);
        assert!(read < 2 * index, "{filter:?}: {read} pages\n{plan:#}");
    }
}

/// Large rows of two halves, which have no value in common
const HALVES: &str = "
INSERT INTO authd_acts (id, time, kind, decision, reason, user_id, agent_id, workspace_id, subject,
                        ip, request_id, detail)
SELECT id, now() - n * interval '1 s', CASE n % 2 WHEN 0 THEN 'agent_sign_in' ELSE 'log_in' END,
       CASE n % 2 WHEN 0 THEN 'deny'::authd_audit_decision ELSE 'allow' END,
       CASE n % 2 WHEN 0 THEN 'reason-1' ELSE '' END, half, half, half, 'i-' || 1 + n % 2,
       '10.0.0.1'::inet + n % 2, id, jsonb_build_object('claims', repeat('claim ', 250))
FROM (SELECT n, gen_random_uuid() AS id, lpad((1 + n % 2)::text, 32, '0')::uuid AS half
      FROM generate_series(1, 20000) n) rows";

/// Sign-ins of a thousand agents, a few of them refused, and what operators do
const FILL: &str = "
INSERT INTO authd_acts (id, time, kind, decision, user_id, agent_id, workspace_id, subject, ip,
                        request_id)
SELECT gen_random_uuid(), now() - n * interval '1 s',
       CASE n % 500 WHEN 0 THEN 'log_in' ELSE 'agent_sign_in' END,
       CASE n % 40 WHEN 0 THEN 'deny'::authd_audit_decision ELSE 'allow' END,
       CASE n % 500 WHEN 0 THEN md5((n % 7000)::text)::uuid END, md5((n % 1000)::text)::uuid,
       md5((n % 1000)::text)::uuid, 'i-' || n % 1000, '10.0.0.0'::inet + n % 1000,
       md5('r' || n)::uuid
FROM generate_series(1, 100000) n";
