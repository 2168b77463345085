//! Names, replay and rights of acts; `tests/ports.rs` has the rules of the ports

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use app_audit::{Act, ActFilter, ActJournal, ActKind, ActRow, Page, SubjectKind, UserId};
use store::fleet::Fleet;
use store::{MemoryStore, Migrations, PgStore, Store};
use testkit::Database;
use uuid::Uuid;

/// A store with a user, `alice`, and a workspace of hers, `dev`
struct World<S> {
    store: Arc<S>,
    alice: Uuid,
    workspace: Uuid,
    _database: Option<Database>,
}

fn fleet() -> (Fleet, Uuid, Uuid) {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    let workspace = fleet.workspace(alice, "dev");
    (fleet, alice, workspace)
}

impl World<MemoryStore> {
    fn in_memory() -> Self {
        let (fleet, alice, workspace) = fleet();
        let store = MemoryStore::with_clock(now);
        store.load(&fleet);
        Self { store: Arc::new(store), alice, workspace, _database: None }
    }
}

impl World<PgStore> {
    async fn in_postgres() -> Self {
        let (fleet, alice, workspace) = fleet();
        let database = Database::new().await;
        let store = Arc::new(database.store().await);
        PgStore::load(&store, &fleet).await.unwrap();
        Self { store, alice, workspace, _database: Some(database) }
    }
}

impl<S: Store> World<S> {
    /// A sign-in in the hour `hours` ago, in a request of its own
    fn sign_in(&self, hours: u32, agent: u128) -> Act {
        Act::new(ActKind::AgentSignIn, hour() - Duration::from_secs(3600) * hours)
            .agent(Uuid::from_u128(agent), self.workspace)
            .subject(SubjectKind::Instance, &format!("i-{agent}"))
            .proof("aws")
            .request(Uuid::new_v4(), Some([192, 0, 2, 7].into()), b"curl")
            .detail("agent_name", "main")
    }

    async fn rows(&self, filter: &ActFilter) -> Vec<ActRow> {
        self.store.list_acts(filter, Page::first(Page::MAX)).await.unwrap()
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has the time")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// A quarter past the last full hour
fn hour() -> SystemTime {
    let secs = now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(secs - secs % 3600 + 900 - 3600)
}

/// Runs each check over every store
macro_rules! contract {
    ($($(#[$attr:meta])* fn $name:ident($world:ident) $body:block)*) => {
        $(async fn $name<S: Store>($world: World<S>) $body)*

        mod memory {
            $(#[tokio::test] $(#[$attr])* async fn $name() {
                super::$name(super::World::in_memory()).await;
            })*
        }

        mod postgres {
            $(#[tokio::test] $(#[$attr])* async fn $name() {
                super::$name(super::World::in_postgres().await).await;
            })*
        }
    };
}

contract! {
    fn an_act_is_a_row_with_names_of_now(world) {
        let act = world.sign_in(0, 5);
        world.store.note_acts(std::slice::from_ref(&act)).await.unwrap();
        let rows = world.rows(&ActFilter::default()).await;
        let [row] = &rows[..] else { panic!("{rows:?}") };
        let mut expected = ActRow::from(&act);
        expected.workspace_name = Some("dev".to_owned());
        expected.workspace_owner = Some("alice".to_owned());
        assert_eq!(*row, expected);

        let act = Act::new(ActKind::TokenCreate, now())
            .user(world.alice)
            .subject(SubjectKind::Token, "abcdefghij");
        world.store.note_acts(&[act]).await.unwrap();
        let of_alice = ActFilter { user: Some(UserId(world.alice)), ..ActFilter::default() };
        let rows = world.rows(&of_alice).await;
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].username.as_deref(), Some("alice"));
        assert_eq!((rows[0].kind.as_str(), rows[0].request_id), ("token_create", None));
    }
}

#[tokio::test]
async fn a_replay_adds_what_is_missing_and_nothing_twice() {
    let world = World::in_postgres().await;
    let acts: Vec<Act> = (0..300).map(|n| world.sign_in(0, n)).collect();
    world.store.note_acts(&acts[..10]).await.unwrap();
    assert_eq!(world.store.replay_acts(&acts).await.unwrap(), 290);
    assert_eq!(world.store.replay_acts(&acts).await.unwrap(), 0);
    // In another request of the hour: a replay cannot know whether the row counts it already.
    assert_eq!(world.store.replay_acts(&[world.sign_in(0, 3)]).await.unwrap(), 0);
    let rows = world.rows(&ActFilter::default()).await;
    assert!(rows.len() == 300 && rows.iter().all(|row| row.times == 1));
}

#[tokio::test]
async fn acts_are_recorded_where_the_table_is_and_may_be_written() {
    let database = Database::empty().await;
    let store = database.store().await;
    assert!(!store.records_acts().await.unwrap(), "the table is missing");
    store.migrate(Migrations::OwnedOnly).await.unwrap();
    assert!(store.records_acts().await.unwrap(), "the same connection sees the table");
    let role = format!("role_{}", Uuid::new_v4().simple());
    database.sql(&format!("CREATE ROLE {role} LOGIN")).await;
    let url = database.url().replace("user=authd", &format!("user={role}"));
    let store = PgStore::new(&url, &store::Options::default()).unwrap();
    assert!(!store.records_acts().await.unwrap(), "the role has no right");
    database.sql(&format!("GRANT INSERT (id, kind) ON authd_acts TO {role}")).await;
    assert!(store.records_acts().await.unwrap());
}
