//! The tables of a release match the facts
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use store::fleet::{Fleet, Transition};
use testkit::{Database, Refusal, Release, Rows, World};

/// The columns, keys and labels in the database are those of the facts
#[tokio::test]
async fn tables_match_the_facts() {
    let facts: Value = serde_json::from_str(include_str!("../src/releases.json")).unwrap();
    for release in Release::ALL {
        let database = Database::of_release(*release).await;
        let found = found(&database).await;
        let known = known(&facts, *release);
        let missing: Vec<_> = known.difference(&found).collect();
        let further: Vec<_> = found.difference(&known).collect();
        assert!(missing.is_empty() && further.is_empty(), "{release}: {missing:?} {further:?}");

        let version = database.sql("SELECT version, dirty FROM schema_migrations").await;
        let number = &facts["releases"][Release::ALL.iter().position(|r| r == release).unwrap()];
        assert_eq!(number[0], release.name());
        assert_eq!(version, [format!("{}|f", number[1])]);
        assert_eq!(database.sql("SELECT count(*) FROM authd_audit_log").await, ["0"]);
    }
}

#[tokio::test]
async fn a_fleet_is_written_as_each_release_writes_it() {
    let fleet = fleet();
    for release in Release::ALL {
        let database = Database::of_release(*release).await;
        let mut rows = Rows::of(&fleet);
        set(&mut rows, "api_keys", "scopes", json!(["application_connect"]));
        rows.add("oauth2_provider_app_tokens", json!({"api_key_id": fleet.api_keys[0].id}));
        database.load(rows).await.unwrap();
        let question = "SELECT to_jsonb(k) -> 'scope', to_jsonb(k) -> 'scopes',
            to_jsonb(k) -> 'allow_list' FROM api_keys k";
        let scope = database.sql(question).await;
        let expected = if *release < Release::V2_27 {
            "\"application_connect\"||"
        } else {
            "|[\"coder:application_connect\"]|[\"*:*\"]"
        };
        assert_eq!(scope, [expected], "{release}");
        let joined = "SELECT a.name, u.username FROM workspace_agents a
            JOIN workspace_resources r ON r.id = a.resource_id
            JOIN workspace_builds b ON b.job_id = r.job_id
            JOIN template_versions v ON v.id = b.template_version_id
            JOIN users u ON u.id = v.created_by";
        assert_eq!(database.sql(joined).await, ["main|alice"], "{release}");
        if *release >= Release::V2_25 {
            let joined = "SELECT u.username FROM oauth2_provider_app_tokens t
                JOIN oauth2_provider_app_secrets s ON s.id = t.app_secret_id
                JOIN users u ON u.id = t.user_id";
            assert_eq!(database.sql(joined).await, ["alice"], "{release}");
        }
    }
}

#[tokio::test]
async fn rows_that_a_release_cannot_hold_are_refused() {
    let no_column = |name: &str| Some(Refusal::NoColumn(name.to_owned()));
    type Change = fn(&mut Rows);
    let cases: [(Change, &str, Release); 8] = [
        (
            |rows| set(rows, "workspace_agents", "deleted", json!(true)),
            "workspace_agents.deleted",
            Release::V2_24,
        ),
        (
            |rows| set(rows, "workspace_agents", "parent_id", json!(AGENT)),
            "workspace_agents.parent_id",
            Release::V2_22,
        ),
        (
            |rows| set(rows, "workspaces", "user_acl", json!({"a": 1})),
            "workspaces.user_acl",
            Release::V2_26,
        ),
        (
            |rows| set(rows, "templates", "cors_behavior", json!("passthru")),
            "templates.cors_behavior",
            Release::V2_26,
        ),
        (
            |rows| set(rows, "api_keys", "allow_list", json!(["workspace:*"])),
            "api_keys.allow_list",
            Release::V2_27,
        ),
        (
            |rows| set(rows, "api_keys", "scopes", json!(["user:read"])),
            "api_keys.scopes",
            Release::V2_27,
        ),
        (
            |rows| set(rows, "users", "is_service_account", json!(true)),
            "users.is_service_account",
            Release::V2_32,
        ),
        (|rows| set(rows, "users", "is_system", json!(true)), "users.is_system", Release::V2_22),
    ];
    for (change, column, since) in cases {
        for release in Release::ALL {
            let mut rows = Rows::of(&fleet());
            set(&mut rows, "workspace_agents", "id", json!(AGENT));
            change(&mut rows);
            let loaded = Database::lent(*release, rows).await;
            let refused = if *release < since { no_column(column) } else { None };
            assert_eq!(loaded.err(), refused, "{release} {column}");
        }
    }
    for release in Release::ALL {
        let database = Database::of_release(*release).await;
        let mut rows = Rows::of(&fleet());
        rows.change("workspace_agents", |row| _ = row.insert("resource_id".into(), json!(AGENT)));
        let refused = database.load(rows).await.unwrap_err();
        assert!(refused.to_string().contains("foreign key"), "{refused}");
        assert_eq!(database.sql("SELECT id FROM users").await, [""; 0], "nothing was kept");
    }
}

/// A database that was upgraded through all releases equals one that was created for the last
#[tokio::test]
async fn tables_are_upgraded_with_their_rows() {
    let facts: Value = serde_json::from_str(include_str!("../src/releases.json")).unwrap();
    let mut database = Database::of_release(Release::OLDEST).await;
    let world =
        World::of(Release::OLDEST, SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    world.load(&database).await;
    let count = "SELECT count(*) FROM api_keys, workspace_agents, users";
    let rows = database.sql(count).await;
    for release in &Release::ALL[1..] {
        database.upgrade(*release).await;
        assert_eq!(database.release(), Some(*release));
        let (found, known) = (found(&database).await, known(&facts, *release));
        let missing: Vec<_> = known.difference(&found).collect();
        let further: Vec<_> = found.difference(&known).collect();
        assert!(missing.is_empty() && further.is_empty(), "{release}: {missing:?} {further:?}");
        assert_eq!(database.sql(count).await, rows, "{release}");
    }
    let scopes = "SELECT scopes::text, allow_list FROM api_keys GROUP BY 1, 2 ORDER BY 1";
    let expected = ["{coder:all}|{*:*}", "{coder:application_connect}|{*:*}"];
    assert_eq!(database.sql(scopes).await, expected);

    // Back to older releases, where labels and enumerations stay.
    let lasting = |line: &String| !line.starts_with("label");
    for release in Release::ALL.iter().rev().skip(1) {
        database.upgrade(*release).await;
        let (found, known) = (found(&database).await, known(&facts, *release));
        let missing: Vec<_> = known.difference(&found).collect();
        let further: Vec<_> = found.difference(&known).filter(|line| lasting(line)).collect();
        assert!(missing.is_empty() && further.is_empty(), "{release}: {missing:?} {further:?}");
        assert_eq!(database.sql(count).await, rows, "{release}");
    }
    let scopes = "SELECT scope::text FROM api_keys GROUP BY 1 ORDER BY 1";
    assert_eq!(database.sql(scopes).await, ["all", "application_connect"]);
    let versions = database.sql("SELECT version FROM schema_migrations").await;
    assert_eq!(versions, ["296"]);
}

fn set(rows: &mut Rows, table: &str, column: &str, value: Value) {
    rows.change(table, |row| _ = row.insert(column.to_owned(), value.clone()));
}

fn fleet() -> Fleet {
    let mut fleet = Fleet::default();
    let acme = fleet.organization("acme");
    let alice = fleet.user("alice", acme);
    fleet.session(alice);
    let workspace = fleet.workspace(alice, "dev");
    let build = fleet.build(workspace, Transition::Start);
    fleet.agent(build.resource, "main", "i-0abc");
    fleet
}

/// One line for each column, key, index and label
async fn found(database: &Database) -> BTreeSet<String> {
    let lines = database
        .sql(
            "SELECT concat_ws(' ', 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
                 CASE WHEN a.attnotnull THEN 'not null' END,
                 CASE WHEN a.atthasdef THEN 'default' END,
                 CASE WHEN a.attgenerated <> '' THEN 'generated' END)
             FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
             WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
               AND a.attnum > 0 AND NOT a.attisdropped
               AND c.relname NOT LIKE 'authd_%' AND c.relname NOT LIKE '%schema_migrations'
             UNION ALL
             SELECT concat_ws(' ', 'index', c.relname,
                 (SELECT string_agg(pg_get_indexdef(i.indexrelid, n, true), ', ' ORDER BY n)
                  FROM generate_series(1, i.indnkeyatts) n),
                 CASE WHEN i.indisunique THEN 'unique' END,
                 CASE WHEN i.indpred IS NOT NULL THEN 'partial' END)
             FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
             WHERE c.relnamespace = 'public'::regnamespace
               AND c.relname NOT LIKE 'authd_%' AND c.relname NOT LIKE '%schema_migrations'
             UNION ALL
             SELECT concat_ws(' ', 'constraint', k.contype, k.conrelid::regclass,
                 (SELECT string_agg(a.attname, ', ' ORDER BY n)
                  FROM unnest(k.conkey) WITH ORDINALITY AS key (attnum, n)
                  JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = key.attnum),
                 nullif(k.confrelid, 0)::regclass)
             FROM pg_constraint k
             WHERE k.connamespace = 'public'::regnamespace AND k.contype IN ('p', 'u', 'f')
               AND k.conrelid::regclass::text NOT LIKE 'authd_%'
               AND k.conrelid::regclass::text NOT LIKE '%schema_migrations'
             UNION ALL
             SELECT concat_ws(' ', 'label', t.typname, e.enumlabel)
             FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid
             WHERE t.typname NOT LIKE 'authd_%'",
        )
        .await;
    lines.into_iter().collect()
}

/// The same lines from the facts
fn known(facts: &Value, release: Release) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for (name, sets) in facts["enums"].as_object().unwrap() {
        for set in holding(sets, release) {
            lines.extend(strings(&set["labels"]).map(|label| format!("label {name} {label}")));
        }
    }
    let tables = facts["tables"].as_object().unwrap();
    for (table, facts) in tables.iter().filter(|(_, facts)| holds(facts, release)) {
        let word = |fact: &Value, key: &str, word: &str| match fact[key].as_bool() {
            Some(true) => format!(" {word}"),
            _ => String::new(),
        };
        for column in holding(&facts["columns"], release) {
            let [name, type_] = ["name", "type"].map(|key| column[key].as_str().unwrap());
            let words =
                [("not_null", "not null"), ("default", "default"), ("generated", "generated")]
                    .map(|(key, text)| word(column, key, text));
            lines.insert(format!("column {table} {name} {type_}{}", words.concat()));
        }
        for index in holding(&facts["indexes"], release) {
            let columns = strings(&index["columns"]).collect::<Vec<_>>().join(", ");
            let words = [word(index, "unique", "unique"), word(index, "partial", "partial")];
            lines.insert(format!("index {table} {columns}{}", words.concat()));
        }
        for (key, letter) in [("primary_key", "p"), ("unique", "u"), ("references", "f")] {
            for constraint in holding(&facts[key], release) {
                let columns = strings(&constraint["columns"]).collect::<Vec<_>>().join(", ");
                let target = constraint["table"].as_str().unwrap_or_default();
                // References to tables that authd does not use.
                if target.is_empty() || tables.get(target).is_some_and(|t| holds(t, release)) {
                    let line = format!("constraint {letter} {table} {columns} {target}");
                    lines.insert(line.trim_end().to_owned());
                }
            }
        }
    }
    lines
}

fn holding(facts: &Value, release: Release) -> impl Iterator<Item = &Value> {
    facts.as_array().into_iter().flatten().filter(move |fact| holds(fact, release))
}

fn holds(fact: &Value, release: Release) -> bool {
    let bound = |key: &str| {
        let name = fact[key].as_str();
        name.map(|name| *Release::ALL.iter().find(|release| release.name() == name).unwrap())
    };
    bound("since").is_none_or(|since| since <= release)
        && bound("until").is_none_or(|until| release <= until)
}

fn strings(values: &Value) -> impl Iterator<Item = &str> {
    values.as_array().unwrap().iter().map(|value| value.as_str().unwrap())
}

const AGENT: &str = "00000000-0000-4000-8000-000000000001";
