//! An upgrade or a downgrade of the control plane beneath a store that is being asked
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![allow(clippy::disallowed_methods, reason = "as a binary, a test has the time")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::SystemTime;

use agent_auth::{Candidates, ProvenInstance, Rules, select};
use app_authz::address::AgentInHost;
use app_authz::app::UncheckedRequest;
use app_authz::credential::{KeyHolder, SessionToken, Sessions};
use app_authz::rbac::{AllowList, ScopeName};
use app_authz::{AppRequest, Directory};
use store::{Error, Options, PgStore, Store};
use testkit::{Database, Release, World};
use tokio::task::JoinHandle;

/// Sends queries without a pause until it is stopped, and counts the answers
struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(store: &Arc<PgStore>, world: &World) -> Self {
        let (stop, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let main = world.id("alice/dev/main");
        let token: SessionToken = world.token("alice").parse().unwrap();
        let mut tasks = Vec::new();
        for n in 0..4 {
            let (store, token) = (Arc::clone(store), token.clone());
            let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let outcome = match n % 2 {
                        0 => store.by_instance(proven("i-dev")).await.map(|found| {
                            let agent = select(&found, None, Rules::default()).unwrap().agent.0;
                            assert_eq!(agent, main);
                        }),
                        _ => store.app_access(&app(), std::slice::from_ref(&token)).await.map(
                            |access| {
                                assert_eq!(access.holders.len(), 1);
                                assert_eq!(access.workspace.unwrap().apps.len(), 1);
                            },
                        ),
                    };
                    match outcome {
                        Ok(()) => drop(answers.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => assert!(error.is_unavailable(), "{error}"),
                    }
                }
            }));
        }
        Self { stop, answers, tasks }
    }

    /// Waits for some answers more
    async fn goes_on(&self) {
        let before = self.answers.load(Ordering::Relaxed);
        while self.answers.load(Ordering::Relaxed) < before + 20 {
            assert!(self.tasks.iter().all(|task| !task.is_finished()), "a wrong answer");
            tokio::task::yield_now().await;
        }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

fn app() -> AppRequest {
    let request = UncheckedRequest {
        access_method: "subdomain".to_owned(),
        username_or_id: "alice".to_owned(),
        workspace_name_or_id: "dev".to_owned(),
        app_slug_or_port: "closed".to_owned(),
        ..UncheckedRequest::default()
    };
    request.normalize().check().unwrap()
}

async fn holder(store: &PgStore, token: &SessionToken) -> KeyHolder {
    store.holders(std::slice::from_ref(token)).await.unwrap().remove(0)
}

async fn has_agents(store: &PgStore, instance: &str) -> bool {
    !store.by_instance(proven(instance)).await.unwrap().is_empty()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_upgrade_is_noticed_by_the_next_question() {
    let mut database = Database::of_release(Release::FIRST_WITH_APPS).await;
    let world = World::of(Release::FIRST_WITH_APPS, SystemTime::now());
    world.load(&database).await;
    // Few connections that are never new, so that each has been used before the upgrade.
    let options = Options::default().read_connections(1).write_connections(1);
    let store = Arc::new(PgStore::connect(database.url(), &options).await.unwrap());
    let load = Load::start(&store, &world);
    let token: SessionToken = world.token("alice").parse().unwrap();
    let alice = world.id("alice");
    load.goes_on().await;
    for release in &Release::FIRST_WITH_APPS.and_later()[1..] {
        database.upgrade(*release).await;
        match release {
            Release::V2_26 => {
                let other = world.id("bob");
                database
                    .sql(&format!(
                        "UPDATE workspaces SET user_acl = '{{\"{other}\": [\"ssh\"]}}' \
                         WHERE name = 'dev' AND owner_id = '{alice}'"
                    ))
                    .await;
                let access = store.app_access(&app(), &[]).await.unwrap();
                assert!(format!("{:?}", access.workspace).contains(&other.to_string()));
                assert_eq!(access.agent_in_host, AgentInHost::OfAll);
            }
            Release::V2_27 => {
                database
                    .sql(&format!(
                        "UPDATE api_keys SET allow_list = '{{template:*}}' WHERE id = '{}'",
                        token.id()
                    ))
                    .await;
                let key = holder(&store, &token).await.key;
                assert_eq!(key.allow_list, AllowList::parse(["template:*"]).unwrap());
                assert_eq!(key.scopes, [ScopeName::All]);
                let access = store.app_access(&app(), &[]).await.unwrap();
                assert_eq!(access.agent_in_host, AgentInHost::OfPorts);
            }
            Release::V2_32 => {
                database
                    .sql(&format!(
                        "UPDATE users SET is_service_account = true WHERE id = '{alice}'"
                    ))
                    .await;
                let roles = format!("{:?}", holder(&store, &token).await.roles);
                assert!(roles.contains("organization-service-account"), "{roles}");
                database
                    .sql(&format!(
                        "UPDATE users SET is_service_account = false WHERE id = '{alice}'"
                    ))
                    .await;
            }
            Release::V2_35 => {
                database
                    .sql("UPDATE organizations SET default_org_member_roles = '{organization-auditor}'")
                    .await;
                let roles = format!("{:?}", holder(&store, &token).await.roles);
                assert!(roles.contains("organization-auditor"), "{roles}");
            }
            _ => {}
        }
        store.ping().await.unwrap();
        load.goes_on().await;
    }
    // And back again, as an operator does whose upgrade went wrong.
    for release in Release::FIRST_WITH_APPS.and_later().iter().rev().skip(1) {
        database.sql("UPDATE api_keys SET last_used = last_used").await;
        database.upgrade(*release).await;
        store.ping().await.unwrap();
        load.goes_on().await;
    }
    load.end().await;
}

#[tokio::test]
async fn a_column_that_only_narrows_is_noticed_too() {
    let mut database = Database::of_release(Release::V2_20).await;
    let world = World::of(Release::V2_20, SystemTime::now());
    world.load(&database).await;
    let options = Options::default().read_connections(1).app_access(false);
    let store = PgStore::connect(database.url(), &options).await.unwrap();
    store.ping().await.unwrap();
    assert!(has_agents(&store, "i-dev").await);

    database.upgrade(Release::V2_22).await;
    let (main, side) = (world.id("alice/dev/main"), world.id("alice/dev/side"));
    database
        .sql(&format!("UPDATE workspace_agents SET parent_id = '{main}' WHERE id = '{side}'"))
        .await;
    assert!(!has_agents(&store, "i-dev-side").await, "a part of another agent signs in");

    database.upgrade(Release::V2_24).await;
    database.sql(&format!("UPDATE workspace_agents SET deleted = true WHERE id = '{main}'")).await;
    let live = store.by_instance(proven("i-dev")).await.unwrap();
    assert!(live.iter().all(|candidate| candidate.agent.0 != main), "a deleted agent signs in");
}

#[tokio::test]
async fn tables_that_fit_nothing_are_told_and_come_back() {
    let mut database = Database::of_release(Release::V2_22).await;
    let world = World::of(Release::V2_22, SystemTime::now());
    world.load(&database).await;
    let store = database.store().await;
    assert!(has_agents(&store, "i-dev").await, "sign-in needs less than app access");
    let error = store.app_access(&app(), &[]).await.unwrap_err();
    assert!(matches!(error, Error::Tables(_)) && error.is_unavailable(), "{error}");
    assert!(error.to_string().contains("workspace_agents.deleted"), "{error}");
    assert_eq!(store.ping().await, Err(error));

    database.upgrade(Release::NEWEST).await;
    assert!(store.app_access(&app(), &[]).await.unwrap().workspace.is_some());
    store.ping().await.unwrap();

    // A release to come that says in another way which agents are deleted.
    database.sql("ALTER TABLE workspace_agents RENAME deleted TO deleted_at").await;
    for error in [
        store.by_instance(proven("i-dev")).await.map(drop).unwrap_err(),
        store.app_access(&app(), &[]).await.map(drop).unwrap_err(),
        store.ping().await.unwrap_err(),
    ] {
        assert!(error.to_string().contains("workspace_agents.deleted"), "{error}");
    }
    database.sql("ALTER TABLE workspace_agents RENAME deleted_at TO deleted").await;
    assert!(has_agents(&store, "i-dev").await);
    store.ping().await.unwrap();
}

/// Who changes tables in another order than a statement reads them stops one of the two
#[tokio::test]
async fn a_deadlock_with_an_upgrade_costs_no_answer() {
    let database = Database::of_release(Release::NEWEST).await;
    let world = World::of(Release::NEWEST, SystemTime::now());
    world.load(&database).await;
    let store = database.store().await;
    assert!(has_agents(&store, "i-dev").await);
    assert!(store.app_access(&app(), &[]).await.unwrap().workspace.is_some());
    database.sql("CREATE TABLE deadlocks (question text)").await;
    for (question, first, second) in [
        ("sign-in", "workspaces", "workspace_agents"),
        ("sign-in", "workspace_agents", "workspaces"),
        ("visit", "workspaces", "workspace_agents"),
        ("visit", "workspace_agents", "workspaces"),
    ] {
        // One of the two orders is not the statement's, which then has the second table and
        // waits for the first.
        let upgrade = database
            .sql_in_background(&format!(
                "SET deadlock_timeout = '1min';
                 DO $$ BEGIN
                     LOCK TABLE {first};
                     WHILE NOT EXISTS (
                         SELECT FROM pg_locks
                         WHERE NOT granted AND relation = '{first}'::regclass AND {HERE}
                     ) LOOP
                         PERFORM pg_sleep(0.01);
                     END LOOP;
                     INSERT INTO deadlocks SELECT '{question}' FROM pg_locks
                     WHERE relation = '{second}'::regclass AND pid <> pg_backend_pid() AND {HERE};
                     LOCK TABLE {second};
                 END $$"
            ))
            .await;
        let answered = match question {
            "sign-in" => store.by_instance(proven("i-dev")).await.map(|found| !found.is_empty()),
            _ => store.app_access(&app(), &[]).await.map(|access| access.workspace.is_some()),
        };
        assert_eq!(answered, Ok(true), "{question}");
        upgrade.await.unwrap();
    }
    let met = database.sql("SELECT DISTINCT question FROM deadlocks ORDER BY question").await;
    assert_eq!(met, ["sign-in", "visit"]);
}

/// The locks of this database: other tests have theirs on the same server
const HERE: &str = "database = (SELECT oid FROM pg_database WHERE datname = current_database())";

fn proven(id: &str) -> ProvenInstance<'_> {
    ProvenInstance::assume_verified(id)
}
