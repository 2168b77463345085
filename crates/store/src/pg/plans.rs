//! Plans of statements in large tables of real releases
#![allow(clippy::disallowed_methods, reason = "a test has the time")]
#![allow(clippy::print_stdout, reason = "a test prints what a machine takes")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agent_auth::{Candidates, ProvenInstance};
use app_authz::app::UncheckedRequest;
use app_authz::credential::{LoginType, SessionToken};
use app_authz::{Directory, UserId};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::Json;
use diesel_async::RunQueryDsl;
use serde_json::Value;
use testkit::{Database, Release, World};
use uuid::Uuid;

use super::app_access::explained as apps;
use super::candidates::explained as candidates;
use super::connect::Connection;
use super::provider::explained as provider;
use super::refresh::explained as refreshes;
use super::revocations::explained as revocations;
use super::sessions::explained as sessions;
use super::{Options, PgStore};
use crate::provider::{ProviderSignIn, ProviderSignOut};
use crate::refresh::LinkId;

/// A statement to be explained
pub(super) struct Explain<Q>(pub(super) Q);

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for Explain<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) ");
        self.0.walk_ast(out)
    }
}

impl<Q> QueryId for Explain<Q> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q> Query for Explain<Q> {
    type SqlType = Json;
}

impl<Q> Explain<Q>
where
    Q: QueryFragment<Pg> + Send,
{
    pub(super) async fn load(self, connection: &Connection) -> QueryResult<Value> {
        self.get_result(&mut &connection.inner).await
    }
}

/// Adds 100,000 workspaces of one owner, and 2,000 of as many others
///
/// Each is a copy of a workspace of the deployment with a build, an agent of its own
/// instance, and an app. The rows are copied as JSON, so that the release's own columns come
/// along.
const FILL: &str = r#"
SET session_replication_role = replica;
CREATE FUNCTION fill(tab regclass, base jsonb, owners int, copies int, changes text) RETURNS void
LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE format(
        'INSERT INTO %1$s SELECT p.* FROM generate_series(1, %2$s) n,
         LATERAL jsonb_populate_record(NULL::%1$s, $1 || %3$s) p', tab, copies, changes) USING base;
END $$;
CREATE FUNCTION copy_all(workspace uuid, kind text, copies int, owner text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE b workspace_builds; r workspace_resources; a workspace_agents; base jsonb;
BEGIN
    SELECT * INTO b FROM workspace_builds WHERE workspace_id = workspace ORDER BY build_number DESC LIMIT 1;
    SELECT * INTO r FROM workspace_resources WHERE job_id = b.job_id LIMIT 1;
    SELECT * INTO a FROM workspace_agents WHERE resource_id = r.id AND name = 'main' LIMIT 1;
    SELECT to_jsonb(w) INTO base FROM workspaces w WHERE id = workspace;
    PERFORM fill('workspaces', base, 1, copies, format(
        'jsonb_build_object(''id'', md5(%1$L || ''w'' || n), ''name'', %1$L || n, ''owner_id'', %2$s)', kind, owner));
    PERFORM fill('workspace_builds', to_jsonb(b), 1, copies, format(
        'jsonb_build_object(''id'', md5(%1$L || ''b'' || n), ''workspace_id'', md5(%1$L || ''w'' || n),
                            ''job_id'', md5(%1$L || ''j'' || n), ''build_number'', 1)', kind));
    PERFORM fill('workspace_resources', to_jsonb(r), 1, copies, format(
        'jsonb_build_object(''id'', md5(%1$L || ''r'' || n), ''job_id'', md5(%1$L || ''j'' || n))', kind));
    PERFORM fill('workspace_agents', to_jsonb(a), 1, copies, format(
        'jsonb_build_object(''id'', md5(%1$L || ''a'' || n), ''resource_id'', md5(%1$L || ''r'' || n),
                            ''auth_instance_id'', ''i-'' || %1$L || n)', kind));
    SELECT to_jsonb(p) INTO base FROM workspace_apps p WHERE agent_id = a.id AND slug = 'closed';
    PERFORM fill('workspace_apps', base, 1, copies, format(
        'jsonb_build_object(''id'', md5(%1$L || ''p'' || n), ''agent_id'', md5(%1$L || ''a'' || n))', kind));
END $$;
"#;

async fn fill(world: &World) -> Database {
    let database = Database::of_release(world.release()).await;
    world.load(&database).await;
    let (alice, dev, acme) = (world.id("alice"), world.id("alice/dev"), world.id("acme"));
    database
        .sql(&format!(
            "{FILL}
             SELECT fill('users', (SELECT to_jsonb(u) FROM users u WHERE id = '{alice}'), 1, 2000,
                 'jsonb_build_object(''id'', md5(''u'' || n), ''username'', ''user'' || n, ''email'', n || ''@x'')');
             SELECT fill('organization_members',
                 (SELECT to_jsonb(m) FROM organization_members m WHERE user_id = '{alice}' AND organization_id = '{acme}'),
                 1, 2000, 'jsonb_build_object(''user_id'', md5(''u'' || n))');
             SELECT fill('api_keys', (SELECT to_jsonb(k) FROM api_keys k WHERE user_id = '{alice}' AND token_name = '' LIMIT 1),
                 1, 2000, 'jsonb_build_object(''id'', lpad(n::text, 10, ''0''), ''user_id'', md5(''u'' || n))');
             SELECT copy_all('{dev}', 'many', 100000, '''{alice}''');
             SELECT copy_all('{dev}', 'other', 2000, 'md5(''u'' || n)');
             SET session_replication_role = origin;"
        ))
        .await;
    database.sql("VACUUM ANALYZE").await;
    database
}

/// The pages that a statement has read, of tables and indexes
pub(super) fn pages(plan: &Value) -> u64 {
    let count = |name: &str| plan.pointer(name).and_then(Value::as_u64).unwrap_or(0);
    count("/0/Plan/Shared Hit Blocks") + count("/0/Plan/Shared Read Blocks")
}

/// The pages that a table or an index has
pub(super) async fn pages_of(database: &Database, relation: &str) -> u64 {
    let pages = format!("SELECT pg_relation_size('{relation}') / 8192");
    database.sql(&pages).await[0].parse().unwrap()
}

/// The faults of a plan
fn faults(plan: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    if plan.pointer("/0/JIT").is_some() {
        faults.push("it is compiled".to_owned());
    }
    let pages = pages(plan);
    if pages < 3 {
        faults.push("it reads nothing".to_owned());
    }
    // One workspace with one agent, and one holder: some 15 look-ups of three or four pages.
    if pages > 150 {
        faults.push(format!("it reads {pages} pages"));
    }
    faults
}

#[tokio::test]
async fn no_question_reads_much_where_one_owner_has_100_000_workspaces() {
    let mut wrong = Vec::new();
    for release in [Release::FIRST_WITH_APPS, Release::V2_29, Release::NEWEST] {
        let world = World::of(release, SystemTime::now());
        let database = fill(&world).await;
        // So that a plan is compiled regardless of its cost.
        database.sql("ALTER SYSTEM SET jit = on").await;
        database.sql("SELECT pg_reload_conf()").await;
        let options = Options::default().read_connections(1);
        let store = PgStore::connect(database.url(), &options).await.unwrap();
        let agent = world.id("alice/dev/main");
        assert_eq!(
            store.by_instance(ProvenInstance::assume_verified("i-many4711")).await.unwrap().len(),
            1,
            "{release}"
        );
        let many: UncheckedRequest = serde_json::from_value(serde_json::json!({
            "access_method": "subdomain", "base_path": "/", "username_or_id": "alice",
            "workspace_name_or_id": "many777", "app_slug_or_port": "closed",
        }))
        .unwrap();
        let many = many.normalize().check().unwrap();
        let facts = store.app_access(&many, &[]).await.unwrap().workspace.unwrap();
        assert_eq!(facts.apps.len(), 1, "{release}");
        for _ in 0..2 {
            let plans = store.access.run(async |connection: Arc<Connection>| {
                let mut plans = vec![
                    ("a holder", sessions(&connection, "0000000007").await?),
                    (
                        "an app",
                        apps::by_name(&connection, "alice", "many777", "closed", "0000000007")
                            .await?,
                    ),
                    (
                        "another's app",
                        apps::by_name(&connection, "user7", "other7", "closed", "0000000008")
                            .await?,
                    ),
                    ("an app by id", apps::by_id(&connection, "user7", agent, "closed").await?),
                    ("a terminal", apps::by_agent(&connection, agent, "0000000007").await?),
                ];
                // Its index exists since v2.29; before that operators add one.
                if release >= Release::V2_29 {
                    plans.push(("sign-in", candidates(&connection, "i-many4711").await?));
                }
                Ok(plans)
            });
            for (question, plan) in plans.await.unwrap() {
                let faults = faults(&plan);
                if !faults.is_empty() {
                    wrong.push(format!("{release}, {question}: {}\n{plan:#}", faults.join(", ")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// A grant costs some look-ups of three or four pages, however large the tables are
#[tokio::test]
async fn what_has_ended_is_found_by_look_ups_of_what_is_watched() {
    let now = SystemTime::now();
    for release in [Release::FIRST_WITH_APPS, Release::NEWEST] {
        let database = fill(&World::of(release, now)).await;
        let store = PgStore::connect(database.url(), &Options::default()).await.unwrap();
        for watched in [0_u64, 1_000, 10_000] {
            database
                .sql(&format!(
                    "TRUNCATE authd_watched_grants;
                     INSERT INTO authd_watched_grants
                     SELECT lpad((n % 2000 + 1)::text, 10, '0'), md5('manya' || n)::uuid,
                            md5('u' || (n % 2000 + 1))::uuid, md5('manyw' || n)::uuid, 1, 'infinity'
                     FROM generate_series(1, {watched}) n;
                     UPDATE api_keys SET expires_at = now() + interval '1 day';
                     ANALYZE authd_watched_grants"
                ))
                .await;
            let mut connection = store.writes.get().await.unwrap();
            // From the sixth time on, the plan may be one for any parameters. By the eleventh, what
            // grants rest on is kept, for 1,000 each time.
            for time in 0..12 {
                let plan =
                    revocations(&mut connection, if time < 11 { 1 } else { 3 }, now).await.unwrap();
                let count = |name: &str| plan.pointer(name).and_then(Value::as_u64).unwrap_or(0);
                let pages =
                    count("/0/Plan/Shared Hit Blocks") + count("/0/Plan/Shared Read Blocks");
                if time == 11 {
                    let took = plan.pointer("/0/Execution Time").unwrap();
                    println!("{release}: {watched} grants: {pages} pages, {took} ms");
                }
                assert!(pages < 3_000 + 100 * watched, "{release}, {watched}: {pages}\n{plan:#}");
            }
            let left = database.sql("SELECT count(*) FROM authd_watched_grants").await;
            assert_eq!(left, [watched.to_string()], "they hold");
        }
    }
}

/// 100,000 users of a provider, each with a session, one that was made from it, and three groups
const PEOPLE: &str = "
    INSERT INTO organizations (id, name) VALUES (md5('o')::uuid, 'default');
    INSERT INTO groups (id, name, organization_id)
    SELECT md5('g' || n)::uuid, 'group' || n, md5('o')::uuid FROM generate_series(0, 199) n;
    CREATE TEMPORARY TABLE people AS
    SELECT n, md5('u' || n)::uuid AS id, lpad(n::text, 10, '0') AS key, timestamptz '2026-01-01' AS at
    FROM generate_series(1, 100000) n;
    INSERT INTO users (id, username, email, status, login_type, created_at, updated_at)
    SELECT id, 'user' || n, 'user' || n || '@example.com', 'active', 'oidc', at, at FROM people;
    INSERT INTO organization_members (organization_id, user_id) SELECT md5('o')::uuid, id FROM people;
    INSERT INTO group_members (user_id, group_id)
    SELECT id, md5('g' || (n + step) % 200)::uuid FROM people, generate_series(0, 2) step;
    INSERT INTO user_links (user_id, login_type, linked_id)
    SELECT id, 'oidc', 'https://id.example||' || n FROM people WHERE n % 10 > 0;
    INSERT INTO api_keys (id, hashed_secret, user_id, last_used, expires_at, created_at, updated_at,
                          login_type)
    SELECT kind || substr(key, 2), '', id, at, 'infinity', at, at, 'oidc'
    FROM people, unnest('{0,9}'::text[]) kind;
    INSERT INTO authd_oidc_sessions (key_id, user_id, issuer, subject, session_id, created_at)
    SELECT key, id, 'https://id.example', n::text, CASE WHEN n % 2 = 0 THEN 's' || n END, at FROM people;
    INSERT INTO authd_app_sessions (key_id, parent_id, user_id, created_at)
    SELECT '9' || substr(key, 2), key, id, at FROM people;
";

/// Checks that a statement reads more than nothing, and far less than one of the large tables
///
/// The first time, it reads the catalog too.
fn check_pages(question: &str, plan: &Value) {
    assert!((3..200).contains(&pages(plan)), "{question}: {} pages\n{plan:#}", pages(plan));
}

#[tokio::test]
async fn a_provider_signs_one_of_100_000_users_in_and_out_by_look_ups() {
    let (database, issuer) = (Database::new().await, "https://id.example");
    database.sql(PEOPLE).await;
    database.sql("VACUUM ANALYZE").await;
    let store = PgStore::connect(database.url(), &Options::default()).await.unwrap();
    let mut connection = store.writes.get().await.unwrap();
    // From the sixth time on, the plan may be one for any parameters.
    for time in 1..9_u32 {
        let subject = |n: u32| (time * 1_000 + n).to_string();
        // One who has a link, one who is found by the address, and one who is new
        for (kind, subject) in [(1, subject(1)), (2, subject(0)), (3, format!("new{time}"))] {
            let token: SessionToken = format!("k{kind}{time:08}-{time:022}").parse().unwrap();
            let name = format!("user{subject}");
            let (id, email, now) =
                (Uuid::new_v4(), format!("{name}@example.com"), SystemTime::now());
            let sign_in = ProviderSignIn {
                links_by_email: true,
                allows_new: true,
                groups: Some(["group3", "group150", "other"].map(str::to_owned).to_vec()),
                ..ProviderSignIn::new((issuer, &subject), (&name, &email), id, &token, now)
            };
            let plan = provider::sign_in(&mut connection, &sign_in).await.unwrap();
            check_pages(&format!("sign-in {time} of {subject}"), &plan);
        }
        let session = format!("s{}", subject(4));
        for (subject, session) in [
            (Some(subject(2)), None),
            (None, Some(&*session)),
            (Some(subject(3)), Some("unknown")),
            (None, Some("unknown")),
        ] {
            let subject = subject.as_deref();
            let sign_out = ProviderSignOut::new(issuer, subject, session, SystemTime::now());
            let plan = provider::sign_out(&mut connection, &sign_out).await.unwrap();
            check_pages(&format!("sign-out {time} of {subject:?} {session:?}"), &plan);
        }
    }
    let made = database.sql("SELECT count(*) FROM authd_app_sessions").await;
    assert_eq!(made, [(100_000 - 3 * 8).to_string()]);
}

#[tokio::test]
async fn one_of_100_000_links_is_refreshed_by_look_ups() {
    let expiry = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for release in [Release::FIRST_WITH_APPS, Release::NEWEST] {
        let database = Database::of_release(release).await;
        database
            .sql(
                "SET session_replication_role = replica;
                 INSERT INTO user_links (user_id, login_type, linked_id, oauth_access_token,
                                         oauth_refresh_token, oauth_expiry)
                 SELECT md5('u' || n)::uuid, 'oidc', n::text, 'old', 'refresh', to_timestamp(1700000000)
                 FROM generate_series(1, 100000) n;
                 INSERT INTO authd_token_refreshes
                 SELECT md5('u' || n)::uuid, 'oidc', to_timestamp(1600000000), md5('h' || n)::uuid,
                        '-infinity', true
                 FROM generate_series(1, 100000) n;
                 SET session_replication_role = origin",
            )
            .await;
        database.sql("VACUUM ANALYZE").await;
        let store = PgStore::connect(database.url(), &Options::default()).await.unwrap();
        let mut connection = store.writes.get().await.unwrap();
        for time in 1..9 {
            let id = database.sql(&format!("SELECT md5('u{time}')::uuid")).await;
            let link = LinkId::new(UserId(id[0].parse().unwrap()), LoginType::Oidc);
            let plans = refreshes(&mut connection, link, expiry, "refresh").await.unwrap();
            for (what, plan) in ["begin", "end"].into_iter().zip(plans) {
                check_pages(&format!("{release}, {what} {time}"), &plan);
            }
        }
        let refreshed = "SELECT count(*) FROM user_links WHERE oauth_access_token = 'new'";
        assert_eq!(database.sql(refreshed).await, ["8"], "{release}");
    }
}
