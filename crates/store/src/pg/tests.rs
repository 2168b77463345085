use agent_auth::Candidates;
use diesel::prelude::*;
use diesel::sql_types::{Array, Integer};
use diesel_async::RunQueryDsl;
use testkit::Database;

use super::batches::{Batches, Question};
use super::connect::Connection;
use super::*;

diesel::table! {
    pg_prepared_statements (name) {
        name -> Text,
        statement -> Text,
    }
}

/// What the one read connection of `store` has prepared
async fn prepared(store: &PgStore) -> Vec<String> {
    let statements = store.reads.run(async |connection: Arc<Connection>| {
        pg_prepared_statements::table
            .select(pg_prepared_statements::statement)
            .filter(pg_prepared_statements::statement.not_like("%pg_prepared_statements%"))
            .order(pg_prepared_statements::statement)
            .load(&mut &connection.inner)
            .await
    });
    statements.await.unwrap()
}

#[tokio::test]
async fn each_question_is_prepared_once() {
    let database = Database::new().await;
    let options = Options::default().read_connections(1);
    let store = PgStore::new(database.url(), &options).unwrap();
    for n in 0..3 {
        store.by_instance(&format!("i-{n}")).await.unwrap();
        store.ping().await.unwrap();
    }
    insta::assert_snapshot!(prepared(&store).await.join("\n\n"));
}

/// The plan for any value, as the read connections demand it
#[tokio::test]
async fn no_question_reads_a_whole_table() {
    let database = Database::new().await;
    database.fill().await;
    let options = Options::default().read_connections(1);
    let store = PgStore::new(database.url(), &options).unwrap();
    for (id, candidates) in [("i-one-1001-10", 1), ("i-ten-1002", 10), ("i-twenty-7", 20)] {
        assert_eq!(store.by_instance(id).await.unwrap().len(), candidates, "{id}");
    }

    let statements = prepared(&store).await;
    let statement = statements.iter().find(|text| text.contains("carriers")).unwrap();
    let plan = database
        .sql(&format!(
            "SET plan_cache_mode = force_generic_plan; SET enable_bitmapscan = off;
             PREPARE question (text[]) AS {statement};
             EXPLAIN EXECUTE question (ARRAY['i-twenty-7'])"
        ))
        .await
        .join("\n");
    assert!(!plan.contains("Seq Scan"), "{plan}");
    for index in [
        "workspace_agents_auth_instance_id_idx",
        "workspace_resources_pkey",
        "workspace_builds_job_id_key",
        "workspaces_pkey",
        "workspace_builds_workspace_id_build_number_key",
    ] {
        assert!(plan.contains(index), "{index} is not used:\n{plan}");
    }
}

/// A question that the database refuses to answer for zero
struct Reciprocal(i32);

impl Question for Reciprocal {
    type Answer = i32;

    async fn ask(questions: &[Self], connection: Arc<Connection>) -> QueryResult<Vec<i32>> {
        let divisors: Vec<i32> = questions.iter().map(|question| question.0).collect();
        diesel::select(unnest(array_divide(divisors))).load(&mut &connection.inner).await
    }
}

#[diesel::declare_sql_function]
extern "SQL" {
    fn unnest(values: Array<Integer>) -> Integer;
    fn array_divide(divisors: Array<Integer>) -> Array<Integer>;
}

#[tokio::test]
async fn a_question_at_fault_spoils_no_other_of_its_batch() {
    let database = Database::empty().await;
    database
        .sql(
            "CREATE FUNCTION array_divide(divisors integer[]) RETURNS integer[] LANGUAGE sql AS
             'SELECT array_agg(100 / d ORDER BY n) FROM unnest(divisors) WITH ORDINALITY u (d, n)'",
        )
        .await;
    let store = PgStore::new(database.url(), &Options::default().read_connections(1)).unwrap();
    let batches = Arc::new(Batches::new(Arc::clone(&store.reads)));
    let callers: Vec<_> = [1, 2, 0, 4, 5]
        .into_iter()
        .map(|divisor| {
            let batches = Arc::clone(&batches);
            tokio::spawn(async move { batches.ask(Reciprocal(divisor)).await })
        })
        .collect();
    let mut answers = Vec::new();
    for caller in callers {
        answers.push(caller.await.unwrap());
    }
    let Err(Error::Query { reason }) = answers.remove(2) else { panic!("{answers:?}") };
    assert_eq!(reason, "division by zero");
    assert_eq!(answers, [Ok(100), Ok(50), Ok(25), Ok(20)]);
}
