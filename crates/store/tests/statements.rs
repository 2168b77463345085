//! Every question is one statement, prepared once

use std::sync::Arc;

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
async fn callers_who_ask_at_once_share_statements() {
    let (store, statements) = Database::new().await.counted_store().await;
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    let workspace = fleet.workspace(alice, "dev");
    let build = fleet.build(workspace, Transition::Start);
    for n in 0..100 {
        fleet.agent(build.resource, &format!("agent-{n}"), &format!("i-{n}"));
    }
    store.load(&fleet).await.unwrap();

    let before = statements.get();
    let (store, fleet) = (Arc::new(store), Arc::new(fleet));
    let callers: Vec<_> = (0..100)
        .map(|n| {
            let (store, fleet) = (Arc::clone(&store), Arc::clone(&fleet));
            tokio::spawn(async move {
                let found = store.by_instance(&format!("i-{n}")).await.unwrap();
                assert_eq!(found.len(), 1);
                assert_eq!(found[0].agent.0, fleet.workspace_agents[n].id);
            })
        })
        .collect();
    // Some go away, which is nothing to the others.
    for caller in callers.iter().skip(1).step_by(7) {
        caller.abort();
    }
    for caller in callers {
        assert!(caller.await.map_or_else(|error| error.is_cancelled(), |()| true));
    }
    assert!(statements.get() - before < 20, "{} statements", statements.get() - before);
}

#[tokio::test]
async fn an_id_that_no_row_can_have_costs_no_statement() {
    let (store, statements) = Database::new().await.counted_store().await;
    let before = statements.get();
    assert_eq!(store.by_instance("i-\0").await.unwrap(), []);
    assert_eq!(statements.get(), before);
}
