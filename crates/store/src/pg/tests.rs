use agent_auth::Candidates;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use testkit::Database;

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
