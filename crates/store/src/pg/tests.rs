use agent_auth::{Candidates, ProvenInstance};
use app_authz::app::{AppFacts, UncheckedRequest};
use app_authz::credential::{KeyHolder, KeyUpdate, NewKey, OtherSessions, SessionToken, Sessions};
use app_authz::id::JobId;
use app_authz::jobs::{JobKind, Jobs, ProvisionerJob};
use app_authz::proxy::Proxies;
use app_authz::rbac::Subject;
use app_authz::token::{Feature, KeyStore};
use app_authz::{AgentId, AppRequest, Directory, WorkspaceId};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{Array, Integer, Text};
use diesel_async::RunQueryDsl;
use testkit::Database;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::batches::{BatchQuery, Batches};
use super::connect::{Connection, SHORT_READS};
use super::*;
use crate::authorized::Authorized;
use crate::fleet::{Fleet, Transition};
use crate::revocations::{Revocations, Slice, WatchedGrant};

/// A statement that a connection has prepared, and the types of its parameters
type Prepared = (String, Vec<String>);

/// The statements that the read connections of `store` have prepared, one connection of each kind
async fn prepared_reads(store: &PgStore) -> Vec<Prepared> {
    let mut prepared: Vec<Prepared> = Vec::new();
    for reads in [&store.sign_in, &store.access, &store.reads, &store.watch] {
        let of = reads.run(async |connection: Arc<Connection>| {
            PreparedStatements.load(&mut &connection.inner).await
        });
        prepared.extend(of.await.unwrap());
    }
    prepared.sort();
    prepared
}

/// The statements that the one write connection of `store` has prepared
async fn prepared_writes(store: &PgStore) -> Vec<Prepared> {
    let mut connection = store.writes.get().await.unwrap();
    PreparedStatements.load(&mut *connection).await.unwrap()
}

#[derive(QueryId)]
struct PreparedStatements;

impl QueryFragment<Pg> for PreparedStatements {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "SELECT statement, parameter_types::text[] FROM pg_prepared_statements
             WHERE statement !~ 'pg_prepared_statements|FROM pg_attribute|JOIN pg_attribute' ORDER BY statement",
        );
        Ok(())
    }
}

impl Query for PreparedStatements {
    type SqlType = (Text, Array<Text>);
}

/// Runs every statement for which a caller waits
async fn ask_everything(store: &PgStore, n: u64) {
    let tokens = [session(n)];
    let system = Subject::system_restricted();
    let authorized = Authorized::new(store, &system);
    store.ping().await.unwrap();
    store
        .by_instance(ProvenInstance::assume_verified(&format!("i-ten-{}", 1002 + 2 * n)))
        .await
        .unwrap();
    store.app_access(&app(n, "code"), &tokens).await.unwrap();
    store.app_access(&app_of(&Uuid::nil().to_string(), "dev", "code"), &tokens).await.unwrap();
    store.app_access(&terminal(n), &tokens).await.unwrap();
    store.keys(Feature::WorkspaceAppsToken).await.unwrap();
    store.active_encryption_keys().await.unwrap();
    store.proxies().await.unwrap();
    for kind in
        [JobKind::WorkspaceBuild, JobKind::TemplateVersionImport, JobKind::TemplateVersionDryRun]
    {
        store.origin(ProvisionerJob::new(JobId(Uuid::nil()), kind)).await.unwrap();
    }
    authorized.workspace(WorkspaceId(Uuid::nil())).await.unwrap();
    authorized.workspaces(None, 10).await.unwrap();
    authorized.provisioner_job(JobId(Uuid::nil())).await.unwrap();

    let KeyHolder { key, .. } = store.holders(&tokens).await.unwrap().remove(0);
    assert!(store.ended(&[&key.id], key.last_used).await.unwrap().is_empty());
    store.forget_ended(key.last_used, 10).await.unwrap();
    store.give("gone", key.last_used).await.unwrap();
    let session = Some((key.user, key.id.as_str().into()));
    let agent = AgentId(Uuid::from_u128(n.into()));
    let grant = WatchedGrant::new(session, WorkspaceId(Uuid::nil()), agent);
    store.watch_grants(&[grant], key.last_used).await.unwrap();
    store.revocations(Some(key.last_used), Slice::ALL, key.last_used).await.unwrap();
    store.revoke("gone").await.unwrap();
    let update = KeyUpdate { last_used: Some(key.expires_at), expires_at: None };
    store.update(&key, update, None).await.unwrap();
    store.log_out(&key, OtherSessions::EndOfApps).await.unwrap();
    let again = NewKey::new(&tokens[0], key.user, key.last_used, key.expires_at)
        .with_login_type(key.login_type)
        .with_allow_list(&key.allow_list)
        .with_lifetime(key.lifetime);
    store.insert(&again).await.unwrap();
}

fn app(n: u64, slug: &str) -> AppRequest {
    app_of(&format!("owner-{}", n % 500), &format!("workspace-{n}"), slug)
}

fn app_of(owner: &str, workspace: &str, slug: &str) -> AppRequest {
    let request = UncheckedRequest {
        access_method: "subdomain".to_owned(),
        username_or_id: owner.to_owned(),
        workspace_name_or_id: workspace.to_owned(),
        app_slug_or_port: slug.to_owned(),
        ..UncheckedRequest::default()
    };
    request.normalize().check().unwrap()
}

fn terminal(n: u64) -> AppRequest {
    let request = UncheckedRequest {
        access_method: "terminal".to_owned(),
        agent_name_or_id: Uuid::from_u128(n.into()).to_string(),
        ..UncheckedRequest::default()
    };
    request.normalize().check().unwrap()
}

/// A session of the filled database
fn session(n: u64) -> SessionToken {
    format!("{n:010}-{n:022}").parse().unwrap()
}

#[tokio::test]
async fn each_statement_is_prepared_once_and_reads_no_whole_table() {
    let database = Database::new().await;
    database.fill().await;
    let options = Options::default().read_connections(1).write_connections(1);
    let store = PgStore::new(database.url(), &options).unwrap();
    for n in 2001..2004 {
        ask_everything(&store, n).await;
    }
    for (id, candidates) in [("i-one-1001-10", 1), ("i-ten-1002", 10), ("i-twenty-7", 20)] {
        assert_eq!(
            store.by_instance(ProvenInstance::assume_verified(id)).await.unwrap().len(),
            candidates,
            "{id}"
        );
    }
    for (slug, apps, shares) in [("code", 2, 0), ("8001", 0, 1)] {
        let tokens = [session(7), session(8)];
        let AppFacts { workspace, holders, .. } =
            store.app_access(&app(7, slug), &tokens).await.unwrap();
        let facts = workspace.unwrap();
        assert_eq!((facts.agents.len(), holders.len()), (2, 2), "{slug}");
        assert_eq!((facts.apps.len(), facts.port_shares.len()), (apps, shares), "{slug}");
    }

    let reads = prepared_reads(&store).await;
    let writes = prepared_writes(&store).await;
    let texts = |statements: &[Prepared]| {
        let texts: Vec<_> = statements.iter().map(|(text, _)| text.as_str()).collect();
        texts.join("\n\n")
    };
    insta::assert_snapshot!("reads", texts(&reads));
    insta::assert_snapshot!("writes", texts(&writes));

    for (statement, types) in reads.iter().chain(&writes) {
        let plan = plan(&database, statement, types).await;
        // It has a handful of rows in any deployment.
        let large = plan.replace("Seq Scan on workspace_proxies", "");
        assert!(!large.contains("Seq Scan"), "{statement}\n\n{plan}");
        if statement.contains("carriers") {
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
    }
}

/// The generic plan, as on read connections
async fn plan(database: &Database, statement: &str, types: &[String]) -> String {
    let list = |items: Vec<&str>| match items.len() {
        0 => String::new(),
        _ => format!("({})", items.join(", ")),
    };
    let nulls = list(vec!["NULL"; types.len()]);
    let types = list(types.iter().map(String::as_str).collect());
    let settings = SHORT_READS.iter().map(|(name, value)| format!("SET {name} = {value};"));
    let settings: String = settings.collect();
    let statements = format!(
        "{settings}
         PREPARE question {types} AS {statement};
         EXPLAIN EXECUTE question {nulls}"
    );
    database.sql(&statements).await.join("\n")
}

/// A control plane's tables have many more columns than authd reads
#[tokio::test]
async fn columns_and_labels_that_are_not_known_do_no_harm() {
    let database = Database::new().await;
    database
        .sql(
            r#"DO $$ DECLARE name text; BEGIN
                   FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
                       EXECUTE format('ALTER TABLE %I ADD COLUMN "more" jsonb DEFAULT %L', name, '{}');
                       EXECUTE format('ALTER TABLE %I ADD COLUMN icon text', name);
                   END LOOP;
               END $$"#,
        )
        .await;
    database.sql("ALTER TYPE crypto_key_feature ADD VALUE 'oidc_convert'").await;
    database
        .sql(
            "INSERT INTO crypto_keys (feature, sequence, secret, starts_at)
             VALUES ('oidc_convert', 1, 'not for us', now())",
        )
        .await;
    let store = PgStore::new(database.url(), &Options::default()).unwrap();
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let owner = fleet.user("owner-7", acme);
    let workspace = fleet.workspace(owner, "workspace-7");
    let build = fleet.build(workspace, Transition::Start);
    let agent = fleet.agent(build.resource, "main", "i-ten-1016").id;
    fleet.app(agent, "code");
    fleet.session(owner);
    let row = &mut fleet.api_keys[0];
    row.id = session(7).id().to_owned();
    row.hashed_secret.0 = session(7).secret_digest().to_vec();
    PgStore::load(&store, &fleet).await.unwrap();

    ask_everything(&store, 7).await;
    assert_eq!(
        store.by_instance(ProvenInstance::assume_verified("i-ten-1016")).await.unwrap().len(),
        1
    );
    let tokens = [session(7)];
    let AppFacts { workspace, holders, .. } =
        store.app_access(&app(7, "code"), &tokens).await.unwrap();
    assert_eq!((workspace.unwrap().apps.len(), holders.len()), (1, 1));
    let system = Subject::system_restricted();
    let page = Authorized::new(&store, &system).workspaces(None, 10).await.unwrap();
    assert_eq!(page.rows.len(), 1);
}

/// A query that the database refuses to answer for zero
struct Reciprocal(i32);

impl BatchQuery for Reciprocal {
    type Answer = i32;

    async fn run(queries: &[Self], connection: Arc<Connection>) -> QueryResult<Vec<i32>> {
        let divisors: Vec<i32> = queries.iter().map(|query| query.0).collect();
        diesel::select(unnest(array_divide(divisors))).load(&mut &connection.inner).await
    }
}

#[diesel::declare_sql_function]
extern "SQL" {
    fn unnest(values: Array<Integer>) -> Integer;
    fn array_divide(divisors: Array<Integer>) -> Array<Integer>;
}

#[tokio::test]
async fn a_query_at_fault_spoils_no_other_of_its_batch() {
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
    assert_eq!(reason.to_string(), "division by zero");
    let source = reason.downcast_ref::<diesel::result::Error>();
    assert!(matches!(source, Some(diesel::result::Error::DatabaseError(..))), "{reason:?}");
    assert_eq!(answers, [Ok(100), Ok(50), Ok(25), Ok(20)]);
}

/// A query that is answered once it is let through, with how many share its statement
struct Held(Arc<Semaphore>);

impl BatchQuery for Held {
    type Answer = usize;

    async fn run(queries: &[Self], _: Arc<Connection>) -> QueryResult<Vec<usize>> {
        queries[0].0.acquire().await.unwrap().forget();
        Ok(vec![queries.len(); queries.len()])
    }
}

/// Lets all tasks run as far as they can while time stands still
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn callers_gather_while_a_statement_runs_but_not_behind_one_that_hangs() {
    let database = Database::empty().await;
    let store = PgStore::new(database.url(), &Options::default().read_connections(2)).unwrap();
    // Opens both connections, which is not possible while time stands still.
    for _ in 0..2 {
        store.sign_in.run(async |_| Ok(())).await.unwrap();
    }
    let batches = Arc::new(Batches::new(Arc::clone(&store.sign_in)));
    let door = Arc::new(Semaphore::new(0));
    tokio::time::pause();
    let ask = || {
        let (batches, door) = (Arc::clone(&batches), Arc::clone(&door));
        tokio::spawn(async move { batches.ask(Held(door)).await.unwrap() })
    };
    let waiting = |callers: usize| {
        assert_eq!(format!("{batches:?}"), format!("Batches {{ waiting: {callers} }}"));
    };

    let first = ask();
    settle().await;
    let others = [ask(), ask(), ask()];
    settle().await;
    waiting(3);
    door.add_permits(2);
    assert_eq!(first.await.unwrap(), 1);
    for other in others {
        assert_eq!(other.await.unwrap(), 3);
    }

    let first = ask();
    settle().await;
    let mut others = Vec::new();
    for callers in [1, 2, 3, 4, 5, 6, 7, 0] {
        others.push(ask());
        settle().await;
        waiting(callers);
    }
    door.add_permits(2);
    assert_eq!(first.await.unwrap(), 1);
    for other in others {
        assert_eq!(other.await.unwrap(), 8);
    }

    let hung = ask();
    settle().await;
    let other = ask();
    settle().await;
    waiting(1);
    tokio::time::advance(Duration::from_millis(2)).await;
    settle().await;
    waiting(0);
    door.add_permits(2);
    assert_eq!((hung.await.unwrap(), other.await.unwrap()), (1, 1));
}
