//! What happens to reads and writes when the database goes away and comes back

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use agent_auth::{Candidates, ProvenInstance};
use app_audit::{Act, ActKind};
use app_authz::UserId;
use app_authz::credential::{NewKey, SessionToken};
use app_authz::proxy::ProxyToken;
use store::fleet::{Fleet, Transition};
use store::{Error, Options, PgStore, Store};
use testkit::{Database, OwnServer};
use uuid::Uuid;

#[tokio::test]
async fn reads_and_writes_go_on_after_the_database_restarts() {
    let server = OwnServer::start().await;
    let store = server.database().await.store().await;
    store.load(&one_agent()).await.unwrap();
    // Pings go round the connections: all are open, and then none.
    for _ in 0..8 {
        store.ping().await.unwrap();
        assert_eq!(store.by_instance(proven(ID)).await.unwrap().len(), 1);
    }
    server.pause().await;
    server.resume().await;
    for _ in 0..8 {
        store.ping().await.unwrap();
        assert_eq!(store.by_instance(proven(ID)).await.unwrap().len(), 1);
    }
    store.load(&one_agent()).await.unwrap();
    assert_eq!(store.by_instance(proven(ID)).await.unwrap().len(), 2);
}

/// Callers who ask while it restarts get an answer, and no error
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_is_waited_for() {
    let server = OwnServer::start().await;
    let store = Arc::new(server.database().await.store().await);
    store.load(&one_agent()).await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (store, is_over) = (Arc::clone(&store), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut answers = 0;
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(store.by_instance(proven(ID)).await.unwrap().len(), 1);
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    for _ in 0..2 {
        server.pause().await;
        server.resume().await;
        let returned = Instant::now();
        assert_eq!(store.by_instance(proven(ID)).await.unwrap().len(), 1);
        assert!(returned.elapsed() < Duration::from_secs(1), "{:?}", returned.elapsed());
    }
    is_over.store(true, Ordering::Relaxed);
    for caller in callers {
        assert!(caller.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_read_only_database_is_ready_only_for_those_who_do_not_write() {
    let server = OwnServer::start().await;
    let database = server.database().await;
    let reads = database.store().await;
    let options = Options::default().needs_writes(true);
    let writes = PgStore::connect(database.url(), &options).await.unwrap();
    writes.ping().await.unwrap();
    for (read_only, expected) in [(true, false), (false, true)] {
        database.set_read_only(read_only).await;
        reads.ping().await.unwrap();
        let ready = writes.ping().await;
        assert_eq!(ready.is_ok(), expected, "{ready:?}");
        assert!(ready.err().is_none_or(|error| error.to_string().contains("accepts no writes")));
    }
}

/// Writes that an act is recorded with may be tried later, as any other may
#[tokio::test]
async fn recorded_writes_say_that_the_database_cannot_be_written_now() {
    let server = OwnServer::start().await;
    let database = server.database().await;
    let store = database.store().await;
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = UserId(fleet.user("alice", acme));
    store.load(&fleet).await.unwrap();
    let session = SessionToken::generate(|bytes| bytes.fill(b'a'));
    let act = || Act::new(ActKind::TokenCreate, UNIX_EPOCH);
    store.insert_recorded(&key(&session, alice), act()).await.unwrap();
    let proxy = ProxyToken::generate(Uuid::from_u128(1), |bytes| bytes.fill(b'a'));

    let attempts = async |why: &str| {
        let options = Options::default().statement_timeout(Duration::from_secs(1));
        let store = PgStore::connect(database.url(), &options).await.unwrap();
        let other = SessionToken::generate(|bytes| bytes.fill(b'b'));
        let errors = [
            store.insert_recorded(&key(&other, alice), act()).await.unwrap_err(),
            store.revoke_recorded(session.id(), act()).await.unwrap_err(),
            store.set_proxy_token_recorded(&proxy, Some(&act())).await.unwrap_err(),
        ];
        for error in errors {
            assert!(error.is_unavailable(), "{error}");
            assert!(error.to_string().contains(why), "{error}");
        }
    };
    database.set_read_only(true).await;
    attempts("the database accepts no writes").await;
    database.set_read_only(false).await;
    let _locked = database.hold("LOCK TABLE api_keys, workspace_proxies, authd_acts").await;
    attempts("the database gave up").await;
}

#[tokio::test]
async fn while_the_database_is_away_everything_fails_soon_and_says_so() {
    let server = OwnServer::start().await;
    let database = server.database().await;
    let store = database.store().await;
    server.pause().await;

    let asked = Instant::now();
    let unavailable = |error| matches!(error, Error::Unavailable { .. });
    assert!(unavailable(store.by_instance(proven(ID)).await.unwrap_err()));
    assert!(unavailable(store.ping().await.unwrap_err()));
    assert!(unavailable(store.load(&one_agent()).await.unwrap_err()));
    let fresh = PgStore::connect(database.url(), &Options::default()).await;
    assert!(unavailable(fresh.unwrap_err()));
    assert!(asked.elapsed() < Duration::from_secs(20));

    server.resume().await;
    store.ping().await.unwrap();
}

#[tokio::test]
async fn connections_that_an_administrator_ends_are_replaced_unnoticed() {
    let database = Database::new().await;
    let store = Arc::new(database.store().await);
    store.load(&one_agent()).await.unwrap();

    let (reads, mut read) = tokio::sync::watch::channel(0);
    let reader = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            // Ends once the receiver is dropped.
            for count in 1.. {
                assert_eq!(store.by_instance(proven(ID)).await.unwrap().len(), 1);
                if reads.send(count).is_err() {
                    break;
                }
            }
        }
    });
    for _ in 0..10 {
        // The question under way was possibly put before the last end, the next one was not.
        let before = *read.borrow_and_update();
        read.wait_for(|count| *count >= before + 2).await.unwrap();
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
        assert!(!database.sql(others).await.is_empty());
    }
    drop(read);
    reader.await.unwrap();
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_given_up_without_a_second_try() {
    let database = Database::new().await;
    let options = Options::default().statement_timeout(Duration::from_secs(1));
    let store = PgStore::connect(database.url(), &options).await.unwrap();
    let _locked = database.hold("LOCK TABLE workspace_agents").await;

    let error = store.by_instance(proven(ID)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
    assert_eq!(store.facts().questions.iter().map(|facts| facts.failures).sum::<u64>(), 1);
}

/// Accepts and then says nothing, like a host behind a broken firewall
#[tokio::test]
async fn a_host_that_never_answers_is_given_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgresql://u:secret@{}/d", silent.local_addr().unwrap());
    let options = Options::default().connect_timeout(Duration::from_millis(200));
    let store = Arc::new(PgStore::new(&url, &options.read_connections(1)).unwrap());

    let asked = Instant::now();
    let many: Vec<_> = (0..50)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.by_instance(proven(ID)).await.unwrap_err() })
        })
        .collect();
    for error in many {
        let error = error.await.unwrap();
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        assert!(!format!("{error} {error:?} {store:?}").contains("secret"));
    }
    assert!(asked.elapsed() < Duration::from_secs(2), "they shared one attempt");
}

#[tokio::test]
async fn many_callers_share_the_connections_and_each_gets_its_own_answer() {
    let (store, statements) = Database::new().await.counted_store().await;
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    for n in 0..50 {
        let workspace = fleet.workspace(alice, &format!("w{n}"));
        let build = fleet.build(workspace, Transition::Start);
        fleet.agent(build.resource, "main", &format!("i-{n}"));
    }
    store.load(&fleet).await.unwrap();

    let before = statements.get();
    let (store, fleet) = (Arc::new(store), Arc::new(fleet));
    let callers = (0..16).map(|caller| {
        let (store, fleet) = (Arc::clone(&store), Arc::clone(&fleet));
        tokio::spawn(async move {
            for n in 0..50 {
                let n = (n + caller) % 50;
                let found = store.by_instance(proven(&format!("i-{n}"))).await.unwrap();
                assert_eq!(found.len(), 1);
                assert_eq!(found[0].agent.0, fleet.workspace_agents[n].id);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    assert!(statements.get() - before <= 16 * 50);
}

#[tokio::test]
async fn a_url_that_is_not_understood_is_not_repeated() {
    for url in ["", "secret", "postgresql://u:se#cret@h:x/d", "host=h passw0rd=secret", "mysql://h"]
    {
        let error = PgStore::new(url, &Options::default()).unwrap_err();
        assert!(matches!(error, Error::InvalidUrl { .. }), "{url}: {error}");
        assert!(!error.to_string().contains("cret"));
    }
}

fn one_agent() -> Fleet {
    let mut fleet = Fleet::default();
    let name = |part| format!("{part}-{}", Uuid::new_v4().simple());
    let acme = fleet.organization("acme");
    let alice = fleet.user(&name("alice"), acme);
    let workspace = fleet.workspace(alice, "dev");
    let build = fleet.build(workspace, Transition::Start);
    fleet.agent(build.resource, "main", ID);
    fleet
}

fn key(token: &SessionToken, user: UserId) -> NewKey<'_> {
    NewKey::new(token, user, UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(60))
}

const ID: &str = "i-0abc";

fn proven(id: &str) -> ProvenInstance<'_> {
    ProvenInstance::assume_verified(id)
}
