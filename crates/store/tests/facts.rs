//! What a store counts for metrics

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agent_auth::{Candidates, ProvenInstance};
use app_audit::{Act, ActJournal, ActKind, AuditLog, Filter, Page};
use app_authz::UserId;
use app_authz::credential::{NewKey, SessionToken, Sessions};
use store::facts::{PoolFacts, Question, QuestionFacts};
use store::{MemoryStore, Options, PgStore, Store};
use testkit::Database;
use uuid::Uuid;

fn asked(store: &PgStore, question: Question) -> Option<QuestionFacts> {
    store.facts().questions.into_iter().find(|facts| facts.question == question)
}

fn pool(store: &PgStore, name: &str) -> PoolFacts {
    store.facts().pools.into_iter().find(|facts| facts.pool == name).unwrap()
}

#[tokio::test]
async fn statements_are_counted_by_question() {
    let database = Database::new().await;
    let store = PgStore::connect(database.url(), &Options::default()).await.unwrap();
    assert_eq!(asked(&store, Question::Candidates), None);
    let instance = ProvenInstance::assume_verified("i-0123456789abcdef0");
    for statements in 1..=3 {
        store.by_instance(instance).await.unwrap();
        let facts = asked(&store, Question::Candidates).unwrap();
        assert_eq!((facts.durations.count(), facts.failures), (statements, 0));
        assert!(facts.durations.sum > Duration::ZERO);
    }
    database.sql("DROP TABLE workspace_agents CASCADE").await;
    store.by_instance(instance).await.unwrap_err();
    assert!(asked(&store, Question::Candidates).unwrap().failures > 0);
    assert_eq!(asked(&store, Question::Terminal), None);
}

#[tokio::test]
async fn statements_that_record_acts_are_counted_apart() {
    let database = Database::new().await;
    let store = PgStore::connect(database.url(), &Options::default()).await.unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let act = Act::new(ActKind::LogIn, time).request(Uuid::nil(), None, b"");
    store.note_acts(std::slice::from_ref(&act)).await.unwrap();
    store.count_acts(&[(act.id(), 1)]).await.unwrap();
    store.forget_acts(Duration::from_secs(3600), 1).await.unwrap();
    for question in [Question::NoteActs, Question::CountActs, Question::Housekeeping] {
        let facts = asked(&store, question);
        assert_eq!(facts.map(|facts| facts.durations.count()), Some(1), "{question:?}");
    }
}

#[tokio::test]
async fn statements_that_fail_are_counted_as_failures() {
    let database = Database::new().await;
    let store = PgStore::connect(database.url(), &Options::default()).await.unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    database.sql("DROP TABLE api_keys CASCADE").await;
    let token = SessionToken::generate(|bytes| bytes.fill(b'a'));
    let key = NewKey::new(&token, UserId(Uuid::nil()), now, now);
    store.insert(&key).await.unwrap_err();
    store.forget_ended(now, 1).await.unwrap_err();
    database.sql("DROP TABLE authd_app_sessions").await;
    store.give("a", now).await.unwrap_err();
    for question in [Question::NewSession, Question::GiveSession, Question::Housekeeping] {
        let facts = asked(&store, question).unwrap();
        assert_eq!(facts.failures, facts.durations.count(), "{question:?}");
    }
}

/// A probe is made over a connection of its own, and does not count as a statement of the store
#[tokio::test]
async fn a_probe_notices_what_a_ping_does() {
    let database = Database::new().await;
    let (store, statements) = database.counted_store().await;
    let before = statements.get();
    store.probe().await.unwrap();
    assert_eq!(statements.get(), before);
    assert_eq!(pool(&store, "watch").open, 1);
    database.sql("ALTER TABLE workspace_agents DROP COLUMN auth_token").await;
    let error = store.probe().await.unwrap_err();
    assert_eq!(error.to_string(), store.ping().await.unwrap_err().to_string());
}

#[tokio::test]
async fn waiting_for_a_connection_is_counted() {
    let database = Database::new().await;
    let store = Arc::new(database.store().await);
    let locked = database.hold("LOCK TABLE authd_audit_log").await;
    let pages: Vec<_> = (0..3)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.list(&Filter::default(), Page::first(1)).await })
        })
        .collect();
    let is_busy = |pool: PoolFacts| (pool.open, pool.in_use, pool.waiting) == (2, 2, 1);
    while !is_busy(pool(&store, "pages")) {
        assert!(pages.iter().all(|page| !page.is_finished()), "{:?}", pool(&store, "pages"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    locked.commit().await;
    for page in pages {
        page.await.unwrap().unwrap();
    }
    let after = pool(&store, "pages");
    assert_eq!((after.limit, after.in_use, after.waiting), (2, 0, 0));
    assert_eq!(after.waits.count(), 3);
    assert_eq!(asked(&store, Question::AuditPage).unwrap().durations.count(), 3);
}

#[test]
fn a_store_in_memory_has_no_facts() {
    let facts = MemoryStore::default().facts();
    assert!(facts.questions.is_empty() && facts.pools.is_empty());
}
