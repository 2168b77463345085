//! Laws of imports and exports: they hold for documents that are made from a number
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

mod document;

use std::io::Cursor;

use chrono::{DateTime, Utc};
use document::Made;
use fleet_import::{Document, Event, ImportError, Options, Secrets, Source, export, import};
use proptest::prelude::*;
use serde_json::json;
use store::import::{Change, Details, Difference, Import, Outcome};
use store::{MemoryStore, PgStore};
use testkit::Database;

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

async fn import_into<S: Import>(
    store: &S,
    text: &str,
) -> Result<(Outcome, Vec<Difference>), ImportError> {
    let source = Source::open(Cursor::new(text.as_bytes()))?;
    let options = Options { dry_run: false, details: Details::All, now: NOW, act: None };
    let mut differences = Vec::new();
    let report = |event| {
        if let Event::Difference(difference) = event {
            differences.push(difference);
        }
    };
    let outcome = import(store, source, options, report).await?;
    Ok((outcome, differences))
}

async fn exported(store: &PgStore, secrets: Secrets) -> String {
    let mut text = Vec::new();
    let mut rows = store.begin_export().await.unwrap();
    let warn = |event| assert!(matches!(event, Event::Progress(_)), "{event:?}");
    export(&mut rows, secrets, &mut text, warn).await.unwrap();
    String::from_utf8(text).unwrap()
}

/// What differs, without values: each store has its own text for a time
fn lines(differences: &[Difference]) -> Vec<String> {
    let line = |difference: &Difference| {
        let columns = match &difference.change {
            Change::Changed(columns) => columns.iter().map(|change| &*change.column).collect(),
            Change::Added => vec!["+"],
            _ => vec!["-"],
        };
        format!("{} {} {columns:?}", difference.table, difference.label)
    };
    let mut lines: Vec<_> = differences.iter().map(line).collect();
    lines.sort_unstable();
    lines
}

fn run(law: impl AsyncFnOnce()) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(law());
}

/// Every import starts and ends a connection, so a few cases have to do
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

#[test]
fn a_second_import_changes_nothing_and_an_export_describes_what_is_there() {
    proptest!(cases(8), |(seed in any::<u64>())| {
        run(async || {
            let text = Made::of(seed).json();
            let database = Database::new().await;
            let store = database.store().await;
            let (first, added) = import_into(&store, &text).await.unwrap();
            assert_eq!(first.total().added, u64::try_from(added.len()).unwrap());
            assert!(added.iter().all(|difference| difference.change == Change::Added));
            let (second, differences) = import_into(&store, &text).await.unwrap();
            assert_eq!((second.total().unchanged, differences), (first.total().added, Vec::new()));

            for secrets in [Secrets::LeaveOut, Secrets::Write] {
                let export = exported(&store, secrets).await;
                let (same, differences) = import_into(&store, &export).await.unwrap();
                assert_eq!(differences, [], "{export}");
                assert!(same.total().unchanged <= first.total().added);

                let empty = Database::new().await;
                let other = empty.store().await;
                import_into(&other, &export).await.unwrap();
                assert_eq!(exported(&other, secrets).await, export);
                let tokens = "SELECT auth_token FROM workspace_agents WHERE NOT deleted ORDER BY id";
                let copied = database.sql(tokens).await == empty.sql(tokens).await;
                assert!(copied == (secrets == Secrets::Write) || !export.contains("agents"));
            }
        });
    });
}

#[test]
fn the_order_of_lists_and_the_way_of_reading_make_no_difference() {
    proptest!(cases(64), |(seed in any::<u64>())| {
        run(async || {
            let made = Made::of(seed);
            let (_, expected) =
                import_into(&MemoryStore::default(), &made.json()).await.unwrap();
            let (_, reversed) =
                import_into(&MemoryStore::default(), &made.reversed()).await.unwrap();
            assert_eq!(lines(&reversed), lines(&expected));

            let options = Options { dry_run: false, details: Details::All, now: NOW, act: None };
            let whole = Source::from(Document::from_json(&made.json()).unwrap());
            let mut differences = Vec::new();
            let report = |event| {
                if let Event::Difference(difference) = event {
                    differences.push(difference);
                }
            };
            import(&MemoryStore::default(), whole, options, report).await.unwrap();
            assert_eq!(lines(&differences), lines(&expected));
        });
    });
}

/// The store in memory and the database find, change and describe the same rows
#[test]
fn a_change_of_a_document_is_the_same_in_both_stores() {
    let steps = || (any::<u64>(), any::<u64>());
    proptest!(cases(8), |((one, two) in steps())| {
        run(async || {
            let database = Database::new().await;
            let (store, memory) = (database.store().await, MemoryStore::default());
            let text = |seed| Made::of(seed).without_ids().json();
            for text in [text(one), text(two), text(one)] {
                let (outcome, differences) = import_into(&store, &text).await.unwrap();
                let (in_memory, expected) = import_into(&memory, &text).await.unwrap();
                assert_eq!(lines(&differences), lines(&expected), "{text}");
                assert_eq!(outcome, in_memory);
            }
        });
    });
}

/// A list is read a few hundred entries at a time
#[test]
fn an_error_late_in_a_list_names_its_entry() {
    run(async || {
        let user = |n| format!(r#"{{"username": "u{}"}}"#, n % 1_100);
        let users: Vec<_> = (0..1_200).map(user).collect();
        let text = format!(r#"{{"users": [{}]}}"#, users.join(",\n"));
        let refused = import_into(&MemoryStore::default(), &text).await.unwrap_err();
        let ImportError::Document(error) = &refused else { panic!("{refused}") };
        assert_eq!(error.path, "users[1100].username");
    });
}

#[test]
fn an_export_leaves_deleted_entries_out() {
    run(async || {
        let database = Database::new().await;
        let store = database.store().await;
        let agents = json!([{ "name": "main" }, { "name": "gone-agent", "deleted": true }]);
        let builds = json!([{ "number": 1, "agents": agents }]);
        let document = json!({
            "organizations": [{ "name": "acme" }, { "name": "gone-organization", "deleted": true }],
            "users": [{ "username": "alice" }, { "username": "gone-user", "deleted": true }],
            "templates": [
                { "name": "linux", "organization": "acme" },
                { "name": "gone-template", "organization": "acme", "deleted": true },
            ],
            "workspaces": [
                { "name": "dev", "owner": "alice", "organization": "acme", "builds": builds },
                { "name": "gone-dev", "owner": "alice", "organization": "acme", "deleted": true },
            ],
            "proxies": [
                { "name": "sydney", "url": "" },
                { "name": "gone-proxy", "url": "", "deleted": true },
            ],
        });
        import_into(&store, &document.to_string()).await.unwrap();
        let export = exported(&store, Secrets::LeaveOut).await;
        for name in ["acme", "alice", "linux", "dev", "main", "sydney"] {
            assert!(export.contains(&format!("name\":\"{name}\"")), "{export}");
        }
        assert!(!export.contains("gone"), "{export}");
    });
}
