//! Every question is one statement, prepared once
#![allow(clippy::unwrap_used, reason = "helpers outside of `#[test]` functions")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agent_auth::{Candidates, ProvenInstance};
use app_authz::app::{AppFacts, UncheckedRequest};
use app_authz::credential::{KeyUpdate, NewKey, OtherSessions, SessionToken, Sessions};
use app_authz::id::JobId;
use app_authz::proxy::Proxies;
use app_authz::rbac::{BuiltInRoles, Subject, Switches};
use app_authz::token::{Feature, KeyStore, Rotation, rotate};
use app_authz::{AppRequest, Directory, Rules, WorkspaceId, resolve};
use chrono::DateTime;
use store::authorized::Authorized;
use store::fleet::{Fleet, Transition};
use store::{Error, StatementCounter};
use testkit::Database;
use uuid::Uuid;

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
            assert_eq!(
                store.by_instance(ProvenInstance::assume_verified(id)).await.unwrap().len(),
                candidates
            );
            assert_eq!(statements.get() - before, 1, "{call} call for {id}");
        }
    }
}

/// The lookup and the pin are one statement, whatever it does with the pin
#[tokio::test]
async fn a_lookup_with_pins_is_one_statement() {
    let database = Database::new().await;
    let (store, statements) = database.counted_store().await;
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    let workspace = fleet.workspace(alice, "dev");
    for _ in 0..20 {
        let build = fleet.build(workspace, Transition::Start);
        fleet.agent(build.resource, "main", "i-1");
    }
    store.load(&fleet).await.unwrap();
    for (id, moment, pinned) in [
        ("i-0", 5, None),
        ("i-1", 5, Some(5)),
        ("i-1", 4, Some(5)),
        ("i-1", 5, Some(5)),
        ("i-1", 6, Some(6)),
    ] {
        let before = statements.get();
        let asked = ProvenInstance::assume_verified(id).pinning(moment_of(moment));
        let found = store.by_instance(asked).await.unwrap();
        let found = found.first().and_then(|candidate| candidate.pinned);
        assert_eq!(found, pinned.map(moment_of), "{id} at {moment}");
        assert_eq!(statements.get() - before, 1, "{id} at {moment}");
    }
    let rows = database.sql("SELECT count(*) FROM authd_identity_pins").await;
    assert_eq!(rows, ["1"], "only the newest build is pinned");

    database.sql("UPDATE workspaces SET deleted = true").await;
    let before = statements.get();
    assert_eq!(store.forget_pins(10).await.unwrap(), 1);
    assert_eq!(statements.get() - before, 1);
}

/// Callers share statements, and each statement pins many instances and some of them several times
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pins_that_are_moved_at_once_end_at_the_newest_moment() {
    let database = Database::new().await;
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    let workspace = fleet.workspace(alice, "dev");
    let build = fleet.build(workspace, Transition::Start);
    for n in 0..INSTANCES {
        fleet.agent(build.resource, &format!("agent-{n}"), &format!("i-{n}"));
    }
    // Replicas, whose statements wait for each other's rows.
    let (first, statements) = database.counted_store().await;
    let (second, _) = database.counted_store().await;
    first.load(&fleet).await.unwrap();
    let before = statements.get();
    let stores = [Arc::new(first), Arc::new(second)];
    let callers: Vec<_> = (0..MOMENTS * INSTANCES)
        .map(|n| {
            // Both replicas have each instance, in opposite orders.
            let (moment, at) = (n / INSTANCES, n % INSTANCES);
            let instance = if moment % 2 == 0 { at } else { INSTANCES - 1 - at };
            let store = Arc::clone(&stores[usize::try_from(moment % 2).unwrap()]);
            tokio::spawn(async move {
                let id = format!("i-{instance}");
                let asked = ProvenInstance::assume_verified(&id).pinning(moment_of(moment));
                let found = store.by_instance(asked).await.unwrap();
                (instance, moment, found[0].pinned.unwrap())
            })
        })
        .collect();
    let mut newest_admitted = vec![0; usize::try_from(INSTANCES).unwrap()];
    for caller in callers {
        let (instance, moment, pinned) = caller.await.unwrap();
        assert!(pinned >= moment_of(moment), "a pin is older than its proof");
        if pinned == moment_of(moment) {
            let newest = &mut newest_admitted[usize::try_from(instance).unwrap()];
            *newest = moment.max(*newest);
        }
    }
    // The newest proof of each instance is admitted, whatever came before it.
    assert!(newest_admitted.iter().all(|newest| *newest == MOMENTS - 1), "{newest_admitted:?}");
    let rows =
        database.sql("SELECT count(*), count(DISTINCT signed_at) FROM authd_identity_pins").await;
    assert_eq!(rows, [format!("{INSTANCES}|1")]);
    assert!(statements.get() - before < MOMENTS * INSTANCES / 2, "callers share statements");
}

/// Two first proofs of one moment, as of a machine that starts two agents, are both admitted
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn equal_first_proofs_at_once_are_all_admitted() {
    let database = Database::new().await;
    let (store, _) = database.counted_store().await;
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    let workspace = fleet.workspace(alice, "dev");
    let build = fleet.build(workspace, Transition::Start);
    fleet.agent(build.resource, "main", "i-1");
    store.load(&fleet).await.unwrap();
    let store = Arc::new(store);
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let asked = ProvenInstance::assume_verified("i-1").pinning(moment_of(1));
                store.by_instance(asked).await.unwrap()[0].pinned
            })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap(), Some(moment_of(1)));
    }
}

const INSTANCES: u64 = 40;
const MOMENTS: u64 = 10;

fn moment_of(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600 + seconds)
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
                let found = store
                    .by_instance(ProvenInstance::assume_verified(&format!("i-{n}")))
                    .await
                    .unwrap();
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
    assert_eq!(store.by_instance(ProvenInstance::assume_verified("i-\0")).await.unwrap(), []);
    assert_eq!(statements.get(), before);
}

#[tokio::test]
async fn checking_sign_in_runs_its_one_statement() {
    let database = Database::new().await;
    let (store, statements) = database.counted_store().await;
    let before = statements.get();
    store.check_candidates().await.unwrap();
    assert_eq!(statements.get() - before, 1);

    database.sql("ALTER TABLE workspace_agents RENAME COLUMN auth_token TO token").await;
    let error = store.check_candidates().await.unwrap_err();
    assert!(error.to_string().contains("auth_token"), "{error}");
}

#[tokio::test]
async fn each_question_and_each_write_is_one_statement() {
    let (store, statements) = Database::new().await.counted_store().await;
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    let workspace = fleet.workspace(alice, "dev");
    let resource = fleet.build(workspace, Transition::Start).resource;
    let agents = ["main", "side"].map(|name| fleet.agent(resource, name, "i-0abc").id);
    for agent in agents {
        fleet.app(agent, "code");
    }
    let tokens: Vec<SessionToken> = (0..8).map(|_| fleet.session(alice)).collect();
    fleet.proxy("sydney", "https://sydney.example.com", "");
    store.load(&fleet).await.unwrap();

    let key = {
        let one = Count::from(&statements);
        let holders = store.holders(&tokens).await.unwrap();
        assert_eq!((holders.len(), one.so_far()), (8, 1));
        holders[0].key.clone()
    };
    for request in [app("alice", "dev", "code"), app("nobody", "dev", "8080"), terminal(agents[0])]
    {
        for tokens in [&tokens[..], &[]] {
            let one = Count::from(&statements);
            let access = store.app_access(&request, tokens).await.unwrap();
            assert_eq!((access.holders.len(), one.so_far()), (tokens.len(), 1));
            assert_eq!(
                resolve(&request, access.workspace.as_deref(), Rules::default()).is_ok(),
                request.user() != "nobody"
            );
        }
    }

    let one = Count::from(&statements);
    assert!(store.holders(&[]).await.unwrap().is_empty());
    assert_eq!(one.so_far(), 0);
    let one = Count::from(&statements);
    assert_eq!(store.proxies().await.unwrap().len(), 1);
    assert_eq!(one.so_far(), 1);
    let one = Count::from(&statements);
    assert!(store.keys(Feature::WorkspaceAppsToken).await.unwrap().is_empty());
    assert_eq!(one.so_far(), 1);

    let one = Count::from(&statements);
    let update = KeyUpdate { last_used: Some(key.expires_at), expires_at: Some(key.expires_at) };
    store.update(&key, update, None).await.unwrap();
    assert_eq!(one.so_far(), 1);
    let one = Count::from(&statements);
    store.log_out(&key, OtherSessions::EndOfApps).await.unwrap();
    assert_eq!(one.so_far(), 1);
    let one = Count::from(&statements);
    let new = NewKey::new(&tokens[0], key.user, key.last_used, key.expires_at)
        .with_login_type(key.login_type)
        .with_lifetime(key.lifetime);
    store.insert(&new).await.unwrap();
    assert_eq!(one.so_far(), 1);
}

#[tokio::test]
async fn the_system_needs_no_further_statement_to_read_a_job() {
    let (store, statements) = Database::new().await.counted_store().await;
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    let workspace = fleet.workspace(alice, "dev");
    fleet.build(workspace, Transition::Start);
    let token = fleet.session(alice);
    store.load(&fleet).await.unwrap();
    let holders = store.holders(&[token]).await.unwrap();
    let member = holders[0].subject(&BuiltInRoles::new(Switches::default()));
    let nobody = Subject::new(member.id(), [], app_authz::rbac::Scope::all());

    let job = JobId(fleet.provisioner_jobs[0].id);
    for (subject, count) in [(&Subject::system_restricted(), 1), (&member, 2)] {
        let authorized = Authorized::new(&store, subject);
        let so_far = Count::from(&statements);
        assert!(authorized.provisioner_job(job).await.unwrap().is_some());
        assert_eq!(so_far.so_far(), count);
        let one = Count::from(&statements);
        assert!(authorized.workspace(WorkspaceId(workspace)).await.unwrap().is_some());
        assert_eq!(one.so_far(), 1);
        let one = Count::from(&statements);
        assert_eq!(authorized.workspaces(None, 10).await.unwrap().rows.len(), 1);
        assert_eq!(one.so_far(), 1);
    }
    let none = Count::from(&statements);
    let page = Authorized::new(&store, &nobody).workspaces(None, 10).await.unwrap();
    assert_eq!((page.rows.len(), none.so_far()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_that_rotate_at_once_make_one_key() {
    let database = Database::new().await;
    let feature = Feature::WorkspaceAppsToken;
    let now = DateTime::from_timestamp(1_750_000_000, 0).unwrap().into();
    let mut replicas = Vec::new();
    for _ in 0..4 {
        let store = database.store().await;
        // So that none is late for having to connect.
        assert_eq!(store.rotate(feature, |_| Vec::new()).await, Ok(0));
        replicas.push(store);
    }
    let replicas: Vec<_> = replicas
        .into_iter()
        .map(|store| {
            tokio::spawn(async move {
                let plan = |rows: &[_]| {
                    std::thread::sleep(Duration::from_millis(50));
                    rotate(feature, rows, now, |bytes| bytes.fill(7))
                };
                store.rotate(feature, plan).await.unwrap()
            })
        })
        .collect();
    let mut changes = 0;
    for replica in replicas {
        changes += replica.await.unwrap();
    }
    assert_eq!(changes, 1);
    assert_eq!(database.sql("SELECT count(*) FROM crypto_keys").await, ["1"]);
}

/// What the database itself does when a key is used
#[tokio::test]
async fn the_use_of_a_key_is_noted_with_its_address_and_its_user() {
    let database = Database::new().await;
    let store = database.store().await;
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    let token = fleet.session(alice);
    store.load(&fleet).await.unwrap();
    let noted = "SELECT host(ip_address), last_used = last_seen_at, expires_at = last_seen_at
                 FROM api_keys JOIN users ON users.id = user_id";

    let key = store.holders(&[token]).await.unwrap().remove(0).key;
    let used = key.last_used + Duration::from_secs(7_200);
    let update = KeyUpdate { last_used: Some(used), expires_at: None };
    store.update(&key, update, Some("::ffff:192.0.2.7".parse().unwrap())).await.unwrap();
    assert_eq!(database.sql(noted).await, ["192.0.2.7|t|f"]);
    let late = KeyUpdate { last_used: Some(used + key.lifetime), expires_at: None };
    store.update(&key, late, None).await.unwrap();
    assert_eq!(database.sql(noted).await, ["192.0.2.7|t|f"], "somebody else has noted it");
}

#[tokio::test]
async fn callers_who_open_apps_at_once_share_statements_but_not_faults() {
    let (store, statements) = Database::new().await.counted_store().await;
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let mut tokens = Vec::new();
    for n in 0..100 {
        let user = fleet.user(&format!("user-{n}"), acme);
        let workspace = fleet.workspace(user, "dev");
        let build = fleet.build(workspace, Transition::Start);
        let agent = fleet.agent(build.resource, "main", "i-0abc").id;
        fleet.app(agent, "code");
        tokens.push(fleet.session(user));
    }
    // One of them holds a role that cannot be read.
    fleet.users[42].rbac_roles.push("broken".to_owned());
    fleet.custom_roles.push(
        serde_json::from_str(r#"{"name": "broken", "site_permissions": {"read": "all"}}"#).unwrap(),
    );
    store.load(&fleet).await.unwrap();

    let count = Count::from(&statements);
    let (store, fleet) = (Arc::new(store), Arc::new(fleet));
    let callers: Vec<_> = tokens
        .into_iter()
        .enumerate()
        .map(|(n, token)| {
            let (store, fleet) = (Arc::clone(&store), Arc::clone(&fleet));
            tokio::spawn(async move {
                let request = app(&format!("user-{n}"), "dev", "code");
                let access = store.app_access(&request, &[token]).await;
                if n == 42 {
                    return assert!(matches!(access, Err(Error::InvalidRow { .. })), "{access:?}");
                }
                let access = access.unwrap();
                assert_eq!(access.workspace.unwrap().workspace.id.0, fleet.workspaces[n].id);
                assert_eq!(access.holders[0].key.user.0, fleet.users[n].id);
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    // The batch with the fault is asked one by one.
    assert!(count.so_far() < 90, "{} statements", count.so_far());
}

#[tokio::test]
async fn what_several_ask_for_is_told_to_each_of_them() {
    let store = Database::new().await.store().await;
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let (mut tokens, mut agents) = (Vec::new(), Vec::new());
    for name in ["ann", "bob"] {
        let user = fleet.user(name, acme);
        let workspace = fleet.workspace(user, "dev");
        let build = fleet.build(workspace, Transition::Start);
        let agent = fleet.agent(build.resource, "main", "i-0abc").id;
        fleet.app(agent, "code");
        fleet.app(agent, "docs");
        agents.push(agent);
        tokens.push(fleet.session(user));
    }
    store.load(&fleet).await.unwrap();
    let unknown: SessionToken = format!("{}-{}", "0".repeat(10), "0".repeat(22)).parse().unwrap();
    let id = fleet.users[0].id.to_string();
    let requests = [
        app("ann", "dev", "code"),
        app("ann", "dev", "docs"),
        app("bob", "dev", "code"),
        app("bob", "dev", "8080"),
        app("ann", "none", "code"),
        app("nobody", "dev", "code"),
        terminal(agents[0]),
        terminal(agents[1]),
        app(&id, "dev", "code"),
    ];
    let carried = [
        vec![],
        vec![tokens[0].clone()],
        vec![tokens[1].clone(), unknown.clone(), tokens[0].clone()],
        vec![unknown],
    ];
    let shown = |access: AppFacts| {
        let holders: Vec<_> = access.holders.iter().map(|holder| holder.key.id.clone()).collect();
        (access.workspace, holders)
    };

    let store = Arc::new(store);
    let mut callers = Vec::new();
    for n in 0..200 {
        // Every request with all that is carried, and most of them several times.
        let (request, tokens) = (requests[n % 9].clone(), carried[n % 4].clone());
        let alone = shown(store.app_access(&request, &tokens).await.unwrap());
        assert_eq!(alone.0.is_some(), !matches!(n % 9, 4 | 5), "{n}");
        assert_eq!(alone.1.len(), [0, 1, 2, 0][n % 4], "{n}");
        let store = Arc::clone(&store);
        callers.push((alone, async move { store.app_access(&request, &tokens).await }));
    }
    let callers: Vec<_> =
        callers.into_iter().map(|(alone, together)| (alone, tokio::spawn(together))).collect();
    for (alone, together) in callers {
        assert_eq!(shown(together.await.unwrap().unwrap()), alone);
    }
}

/// Statements from some moment on
struct Count<'a> {
    counter: &'a StatementCounter,
    before: u64,
}

impl<'a> Count<'a> {
    fn from(counter: &'a StatementCounter) -> Self {
        Self { counter, before: counter.get() }
    }

    fn so_far(&self) -> u64 {
        self.counter.get() - self.before
    }
}

fn app(owner: &str, workspace: &str, slug: &str) -> AppRequest {
    let request = UncheckedRequest {
        access_method: "subdomain".to_owned(),
        username_or_id: owner.to_owned(),
        workspace_name_or_id: workspace.to_owned(),
        app_slug_or_port: slug.to_owned(),
        ..UncheckedRequest::default()
    };
    request.normalize().check().unwrap()
}

fn terminal(agent: Uuid) -> AppRequest {
    let request = UncheckedRequest {
        access_method: "terminal".to_owned(),
        agent_name_or_id: agent.to_string(),
        ..UncheckedRequest::default()
    };
    request.normalize().check().unwrap()
}
