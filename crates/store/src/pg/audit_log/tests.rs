//! The audit journal's statements: their texts, their plans, and that they are prepared

use std::collections::BTreeSet;
use std::time::Duration;

use app_audit::{AppId, Entry, Event, Groups, Journal, OrganizationId, Resource, UserId, Window};
use app_audit::{AuditExplorer, Count, Names, WorkspaceId};
use diesel::debug_query;
use diesel::pg::Pg;
use diesel::query_builder::QueryFragment;
use testkit::Database;

use super::explorer::LogPlot;
use super::*;
use crate::Options;
use crate::pg::housekeeping::{END_VISITS, EndVisits, FORGET_VISITS, ForgetVisits};
use crate::pg::journal::{COUNT_VISITS, CountVisits, NoteVisits, interval};
use crate::pg::plans::{Explain, pages, pages_of};

diesel::table! {
    pg_prepared_statements (name) {
        name -> Text,
        statement -> Text,
        generic_plans -> BigInt,
        custom_plans -> BigInt,
    }
}

/// A filter for each text of the page, with the index that should be used
fn filters() -> Vec<(Filter, &'static str)> {
    let (id, none) = (Uuid::from_u128(7), Filter::default());
    vec![
        (none.clone(), "authd_audit_log_time_idx"),
        (Filter { request: Some(id), ..none.clone() }, "authd_audit_log_request_id_idx"),
        (Filter { session: Some(id), ..none.clone() }, "authd_audit_log_pkey"),
        (
            Filter { app: Some(App::Id(AppId(id))), ..none.clone() },
            "authd_audit_log_resource_id_idx",
        ),
        (
            Filter { app: Some(App::Slug("code".to_owned())), ..none.clone() },
            "authd_audit_log_resource_target_idx",
        ),
        (
            Filter { workspace: Some(WorkspaceId(id)), ..none.clone() },
            "authd_audit_log_workspace_id_idx",
        ),
        (Filter { user: Some(UserId(id)), ..none.clone() }, "authd_audit_log_user_id_idx"),
        (
            Filter { reason: Some("not_shared".to_owned()), ..none.clone() },
            "authd_audit_log_denied_idx",
        ),
        (
            Filter { ip: Some("10.0.0.7".parse().unwrap()), ..none.clone() },
            "authd_audit_log_ip_idx",
        ),
        (
            Filter { organization: Some(OrganizationId(id)), ..none.clone() },
            "authd_audit_log_organization_id_idx",
        ),
        (Filter { decision: Some(Decision::Deny), ..none }, "authd_audit_log_denied_idx"),
    ]
}

/// Runs every statement of the journal and the log
async fn run_everything(store: &PgStore) {
    let event = Event::new(SystemTime::UNIX_EPOCH, Uuid::nil(), Resource::Terminal, 200);
    let entry = Entry::new(&event, Uuid::new_v4());
    let count = Count::new(entry.key, entry.record.session, 1);
    store.note(std::slice::from_ref(&entry), Window::default()).await.unwrap();
    store.note(&[entry], Window::default().close(true)).await.unwrap();
    store.count(&[count]).await.unwrap();
    store.end_sessions(Window::default(), 1).await.unwrap();
    store.prepare().await.unwrap();
    store.forget(Duration::from_secs(86_400 * 365 * 200), 1).await.unwrap();
    for (filter, _) in filters() {
        store.list(&filter, Page::first(1)).await.unwrap();
        store.explore(&filter, Page::first(1)).await.unwrap();
        store.plot(&filter).await.unwrap();
    }
    let names = Names { user: Some("ann".to_owned()), ..Names::default() };
    store.look_up(&names).await.unwrap();
    store.usernames(&[UserId(Uuid::nil())]).await.unwrap();
}

#[tokio::test]
async fn each_statement_is_prepared_once() {
    let database = Database::new().await;
    let options = Options::default().write_connections(1).audit_connections(1);
    let store = PgStore::new(database.url(), &options).unwrap();
    for _ in 0..3 {
        run_everything(&store).await;
    }
    let mut all = BTreeSet::new();
    for pool in [&store.audit, &store.pages] {
        let prepared = pool.run(async |connection| {
            pg_prepared_statements::table
                .select(pg_prepared_statements::statement)
                .filter(pg_prepared_statements::statement.not_like("%pg_prepared_statements%"))
                .filter(pg_prepared_statements::statement.not_like("%pg_attribute%"))
                .load::<String>(connection)
                .await
        });
        let prepared = prepared.await.unwrap();
        let texts: BTreeSet<_> = prepared.iter().cloned().collect();
        assert_eq!(texts.len(), prepared.len(), "one is prepared twice");
        all.extend(texts);
    }
    assert_eq!(all.len(), 9 + 3 * filters().len());
    insta::assert_snapshot!(all.into_iter().collect::<Vec<_>>().join("\n\n"));
}

#[tokio::test]
async fn a_page_is_planned_for_the_values_at_hand_however_many_there_were() {
    let database = Database::new().await;
    let options = Options::default().write_connections(1);
    let store = PgStore::new(database.url(), &options).unwrap();
    for _ in 0..8 {
        for (filter, _) in filters() {
            store.explore(&filter, Page::first(50)).await.unwrap();
        }
    }
    let plans = store.pages.run(async |connection| {
        pg_prepared_statements::table
            .select((pg_prepared_statements::generic_plans, pg_prepared_statements::custom_plans))
            .filter(pg_prepared_statements::custom_plans.gt(7))
            .load::<(i64, i64)>(connection)
            .await
    });
    assert_eq!(plans.await.unwrap(), vec![(0, 8); filters().len()]);
}

#[tokio::test]
async fn no_statement_reads_a_whole_table() {
    let database = Database::new().await;
    database.sql(FILL).await;
    database.sql("VACUUM ANALYZE").await;

    let plan = async |text: &str, mode: &str, values: &str| {
        let plan = database
            .sql(&format!(
                "SET plan_cache_mode = {mode};
                 PREPARE question AS {text};
                 EXPLAIN EXECUTE question ({values})"
            ))
            .await
            .join("\n");
        assert!(!plan.contains("Seq Scan"), "{plan}");
        plan
    };
    for (filter, index) in filters() {
        for (limit, listing) in
            [(50, Listing::Rows), (1_000, Listing::Rows), (50, Listing::Sessions)]
        {
            let page = LogPage::of(&filter, Page::first(limit), listing).unwrap();
            let given = values(&filter);
            let position = "'infinity', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '-infinity'";
            let given = format!("{position}, {given}, {limit}");
            let plan = plan(&text(&page), "force_custom_plan", &given).await;
            assert!(plan.contains(index), "{index} is not used:\n{plan}");
            // A request or a session has so few rows that they may be sorted.
            let few = filter.request.is_some() || filter.session.is_some();
            assert!(limit > 50 || few || !plan.contains("Sort"), "{plan}");
        }
        let plot = LogPlot::of(&filter).unwrap();
        let given =
            format!("{}, 'infinity', '-infinity', 1000, '{{60, 3600}}', 60", values(&filter));
        let plan = plan(&text(&plot), "force_custom_plan", &given).await;
        assert!(plan.contains(index), "{index} is not used:\n{plan}");
    }

    let generic = "force_generic_plan";
    let end =
        EndVisits { sql: &END_VISITS, idle: interval(Duration::ZERO), close: true, at_most: 1_000 };
    let ended = plan(&text(&end), generic, "'1 h', 1000, true").await;
    assert!(ended.contains("authd_audit_sessions_updated_at_idx"), "{ended}");
    let forget = ForgetVisits {
        sql: &FORGET_VISITS,
        from: DateTime::UNIX_EPOCH,
        keep: interval(Duration::ZERO),
        before: None,
        at_most: 1_000,
    };
    let forgotten = plan(&text(&forget), generic, "'-infinity', '1 h', null, 1000").await;
    assert!(forgotten.contains("authd_audit_log_time_idx"), "{forgotten}");

    // The path of every visit, with and without a session to be closed.
    let store = PgStore::new(database.url(), &Options::default()).unwrap();
    let tables = store.current_tables().await.unwrap();
    let groups = Groups::of(&[], Window::default());
    let values = format!("'1 h', '1 min', true, {}", vec!["null"; 19].join(", "));
    for careful in [false, true] {
        let sql = tables.note_visits(careful, false);
        let note = NoteVisits::of(&groups, Window::default(), sql);
        plan(&text(&note), generic, &values).await;
    }
    let (keys, sessions, visits) = Default::default();
    let count = CountVisits { sql: &COUNT_VISITS, keys, sessions, visits };
    plan(&text(&count), generic, "null, null, null").await;
}

/// A condition on each column that filters name, which half of the rows of [`HALVES`] meet
fn half(column: usize, id: u128, filter: Filter) -> Filter {
    let uuid = Uuid::from_u128(id);
    match column {
        0 => Filter { app: Some(App::Id(AppId(uuid))), ..filter },
        1 => Filter { app: Some(App::Slug(format!("app-{id}"))), ..filter },
        2 => Filter { workspace: Some(WorkspaceId(uuid)), ..filter },
        3 => Filter { user: Some(UserId(uuid)), ..filter },
        4 => Filter { organization: Some(OrganizationId(uuid)), ..filter },
        5 => Filter { ip: Some(format!("10.0.0.{id}").parse().unwrap()), ..filter },
        6 => Filter {
            decision: Some([Decision::Allow, Decision::Deny][usize::from(id == 1)]),
            ..filter
        },
        _ => Filter { reason: Some(format!("reason-{id}")), ..filter },
    }
}

/// By statistics, a quarter of the rows pass each of these pairs of filters. None does, and
/// none is read.
#[tokio::test]
async fn filters_without_a_row_in_common_are_compared_within_an_index() {
    let database = Database::new().await;
    database.sql(HALVES).await;
    database.sql("VACUUM ANALYZE").await;
    let index = pages_of(&database, "authd_audit_log_time_idx").await;
    assert!(pages_of(&database, "authd_audit_log").await > 10 * index);

    let store = PgStore::connect(database.url(), &Options::default()).await.unwrap();
    let columns = 0..8;
    let pairs = columns.clone().flat_map(|a| columns.clone().map(move |b| (a, b)));
    for (a, b) in pairs.filter(|(a, b)| a != b) {
        for c in columns.clone() {
            let filter = half(c, 2, half(b, 2, half(a, 1, Filter::default())));
            let Some(page) = LogPage::of(&filter, Page::first(50), Listing::Sessions) else {
                continue;
            };
            let explained = async |connection: &mut _| Explain(page).get_result(connection).await;
            let plan: Value = store.pages.run(explained).await.unwrap();
            let read = pages(&plan);
            assert!(read < 2 * index, "{filter:?}: {read} pages\n{plan:#}");
        }
    }
}

/// The statement as it is sent
fn text(query: &impl QueryFragment<Pg>) -> String {
    let shown = debug_query::<Pg, _>(query).to_string();
    shown.rsplit_once(" -- binds").unwrap().0.to_owned()
}

/// Values of a filter's parameters that match existing rows
fn values(filter: &Filter) -> String {
    let id = |given: bool, id: &str| if given { format!("{id}::uuid") } else { "null".to_owned() };
    let word =
        |given: bool, word: &str| if given { format!("'{word}'") } else { "null".to_owned() };
    let slug = matches!(filter.app, Some(App::Slug(_)));
    [
        id(filter.request.is_some(), "md5('7')"),
        id(filter.session.is_some(), "md5('7')"),
        id(filter.app.is_some() && !slug, "md5('7')"),
        id(filter.workspace.is_some(), "md5('7')"),
        id(filter.user.is_some(), "md5('7')"),
        id(filter.organization.is_some(), "md5('3')"),
        word(slug, "app-7"),
        word(filter.decision.is_some(), "deny"),
        word(filter.reason.is_some(), "not_shared"),
        word(filter.ip.is_some(), "10.0.0.7"),
    ]
    .join(", ")
}

/// Large rows of two halves, which have no value in common
const HALVES: &str = "
INSERT INTO authd_audit_log (id, session_id, time, user_id, organization_id, workspace_id,
                             resource_type, resource_id, resource_target, action, status_code,
                             request_id, decision, reason, ip, additional_fields)
SELECT id, id, now() - n * interval '1 s', half, half, half, 'workspace_app', half,
       'app-' || 1 + n % 2, 'open', 200, id,
       CASE n % 2 WHEN 0 THEN 'deny'::authd_audit_decision ELSE 'allow' END,
       CASE n % 2 WHEN 0 THEN 'reason-1' ELSE '' END,
       '10.0.0.1'::inet + n % 2, jsonb_build_object('workspace_name', repeat('name ', 300))
FROM (SELECT n, gen_random_uuid() AS id, lpad((1 + n % 2)::text, 32, '0')::uuid AS half
      FROM generate_series(1, 20000) n) rows";

/// A million sessions and a fifth as many rows, of some hundred users
const FILL: &str = "
INSERT INTO users (id, username, email, created_at, updated_at)
SELECT md5(n::text)::uuid, 'user-' || n, n || '@example.com', now(), now()
FROM generate_series(1, 20000) n;

INSERT INTO authd_audit_sessions (key, id, agent_id, started_at, updated_at)
SELECT sha256(n::text::bytea), gen_random_uuid(), gen_random_uuid(), now(), now() - n * interval '1 s'
FROM generate_series(1, 1000000) n;

INSERT INTO authd_audit_log (id, session_id, time, user_id, organization_id, workspace_id,
                             resource_type, resource_id, resource_target, action, status_code,
                             request_id, decision, reason, ip)
SELECT id, id, now() - n * interval '1 s', md5((n % 300)::text)::uuid, md5((n % 5)::text)::uuid,
       md5((n % 1000)::text)::uuid, 'workspace_app', md5((n % 3000)::text)::uuid,
       'app-' || n % 50, 'open', 200, gen_random_uuid(),
       CASE n % 40 WHEN 0 THEN 'deny'::authd_audit_decision ELSE 'allow' END,
       CASE n % 40 WHEN 0 THEN 'not_shared' ELSE '' END, '10.0.0.0'::inet + n % 500
FROM (SELECT n, gen_random_uuid() AS id FROM generate_series(1, 200000) n) rows";
