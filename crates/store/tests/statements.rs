//! Every question is one statement, prepared once

use agent_auth::Candidates;
use store::fleet::{Fleet, Transition};
use testkit::Database;

// scenario 273
#[tokio::test]
async fn a_lookup_is_one_statement_for_any_number_of_candidates() {
    let database = Database::new().await;
    let (store, statements) = database.counted_store().await;
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    for (id, builds) in [("i-1", 1), ("i-2", 2), ("i-20", 20)] {
        let workspace = fleet.workspace(alice, id);
        for _ in 0..builds {
            let build = fleet.build(workspace, Transition::Start);
            fleet.agent(build.resource, "main", id);
        }
    }
    store.load(&fleet).await.unwrap();

    for (id, candidates) in [("i-0", 0), ("i-1", 1), ("i-2", 2), ("i-20", 20)] {
        for call in ["first", "second"] {
            let before = statements.get();
            assert_eq!(store.by_instance(id).await.unwrap().len(), candidates);
            assert_eq!(statements.get() - before, 1, "{call} call for {id}");
        }
    }
}

#[tokio::test]
async fn an_id_that_no_row_can_have_costs_no_statement() {
    let (store, statements) = Database::new().await.counted_store().await;
    let before = statements.get();
    assert_eq!(store.by_instance("i-\0").await.unwrap(), []);
    assert_eq!(statements.get(), before);
}
