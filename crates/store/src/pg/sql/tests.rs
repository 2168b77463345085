use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use testkit::{Database, Release};

use super::*;
use crate::pg::PgStore;

const FILE: &str = "\
-- A head
SELECT id,
       deleted  --since v2.24
       false  --until v2.24
FROM workspace_agents
WHERE id = $1 AND name = $2  -- a comment of its own
  AND parent_id IS NULL  --since v2.22
  AND seldom  --since v2.22 --if careful
--if careful --until v2.24 {
  -- A comment in a block
  AND old
  AND older  --until v2.22
--}
  AND plain  --unless careful
";

fn text(file: &str, generation: Generation, variants: &[&str]) -> String {
    Sql::new(file, generation, variants).to_string()
}

#[test]
fn lines_follow_generation_and_variants() {
    const HEAD: &str = "SELECT id,\n       ";
    const FROM: &str =
        "FROM workspace_agents\nWHERE id = $1 AND name = $2  -- a comment of its own";
    for (generation, variants, expected) in [
        (
            Generation::NEWEST,
            &[][..],
            format!("{HEAD}deleted\n{FROM}\n  AND parent_id IS NULL\n  AND plain"),
        ),
        (
            Generation::NEWEST,
            &["careful", "other"],
            format!("{HEAD}deleted\n{FROM}\n  AND parent_id IS NULL\n  AND seldom"),
        ),
        (Generation::V2_20, &["other"], format!("{HEAD}false\n{FROM}\n  AND plain")),
        (Generation::V2_20, &["careful"], format!("{HEAD}false\n{FROM}\n  AND old\n  AND older")),
        (
            Generation::V2_22,
            &["careful"],
            format!("{HEAD}false\n{FROM}\n  AND parent_id IS NULL\n  AND seldom\n  AND old"),
        ),
    ] {
        assert_eq!(text(FILE, generation, variants), expected, "{generation} {variants:?}");
    }
}

#[test]
fn a_guard_names_what_may_come() {
    let file = format!("{FILE}--guard\n");
    let guard = |generation| text(&file, generation, &[]);
    assert!(!guard(Generation::NEWEST).contains("WHERE (SELECT"));
    let oldest = guard(Generation::V2_20);
    assert!(oldest.contains("('workspace_agents', 'parent_id'), ('workspace_agents', 'deleted')"));
    let newer = guard(Generation::V2_22);
    assert!(!newer.contains("'parent_id'") && newer.contains("'deleted'"), "{newer}");
}

/// A statement's files, by name
fn files() -> BTreeMap<String, String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/pg/sql");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeMap<_, _> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(files.len() > 10, "{files:?}");
    files
}

/// What the command in CONTRIBUTING.md makes of a file
///
/// `sed -E '/^--.*(if|until) .*\{$/,/^--}$/d; /--(if|until) /d'`
fn for_psql(file: &str) -> String {
    let is_dropped = |line: &str| line.contains("--if ") || line.contains("--until ");
    let mut is_in_block = false;
    let kept = file.lines().filter(|line| {
        let begins = line.starts_with("--") && line.ends_with('{') && is_dropped(line);
        let drops = is_in_block || begins || is_dropped(line);
        is_in_block = (is_in_block || begins) && *line != "--}";
        !drops
    });
    kept.map(|line| format!("{line}\n")).collect()
}

/// The types of the parameters as the head of a file lists them
fn listed_types(file: &str) -> Vec<&str> {
    let lines = file.lines().take_while(|line| line.starts_with("--"));
    let listed = lines.filter_map(|line| line.strip_prefix("-- $")?.split_once(' '));
    let mut types = Vec::new();
    for (number, rest) in listed {
        types.push(rest.split_once(": ").unwrap().0);
        assert_eq!(number, types.len().to_string());
    }
    types
}

/// Prepares a statement, and returns the types of its parameters
async fn prepare(database: &Database, text: &str) -> Result<Vec<String>, String> {
    let statements = format!(
        "PREPARE question AS {text};
         SELECT unnest(parameter_types) FROM pg_prepared_statements WHERE name = 'question'"
    );
    database.try_sql(&statements).await
}

#[tokio::test]
async fn each_file_is_a_statement_for_psql() {
    let database = Database::of_release(Release::NEWEST).await;
    for (name, file) in files() {
        let text = for_psql(&file);
        let types = prepare(&database, &text).await;
        let listed = listed_types(&file);
        let listed = match listed.is_empty() {
            true => Vec::new(),
            // As PostgreSQL calls them.
            false => {
                let types = listed.iter().map(|name| format!("('{name}'::regtype)"));
                let types: Vec<_> = types.collect();
                database.sql(&format!("VALUES {}", types.join(", "))).await
            }
        };
        assert_eq!(types, Ok(listed), "{name}");
        // And it is what is sent, but for comments.
        let sent = Sql::plain(&file).to_string();
        assert_eq!(Sql::plain(&text).to_string(), sent, "{name}");
        assert!(!sent.contains("--"), "{name} has a mark or a comment that is not known:\n{sent}");
    }
}

#[tokio::test]
async fn each_file_is_a_statement_on_every_release_and_in_every_variant() {
    let files = files();
    for release in Release::ALL {
        let database = Database::of_release(*release).await;
        let store = PgStore::connect(database.url(), &Default::default()).await.unwrap();
        let generation = store.current_tables().await.unwrap().generation();
        // Not beside a control plane, but for the statements over it.
        let own_keys =
            include_str!("../../../migrations/owned/2026-11-27-002100_crypto_keys/up.sql");
        database.sql(&own_keys.replace("to_regclass('crypto_keys') IS NULL", "true")).await;
        for (name, file) in &files {
            if *release < Release::FIRST_WITH_APPS && !OF_SIGN_IN.contains(&&**name) {
                continue;
            }
            let conditions = file.lines().flat_map(|line| split(line).1);
            let variants: BTreeSet<&str> = conditions
                .filter_map(|condition| match condition {
                    Condition::If(variant) | Condition::Unless(variant) => Some(variant),
                    _ => None,
                })
                .collect();
            let all: Vec<&str> = variants.iter().copied().collect();
            let each = variants.iter().map(|variant| vec![*variant]);
            for variants in each.chain([vec![], all]) {
                let text = text(file, generation, &variants);
                let types = prepare(&database, &text).await;
                let count = types.map(|types| types.len());
                let listed = listed_types(file).len();
                assert_eq!(count, Ok(listed), "{release}, {name}, {variants:?}:\n{text}");
                assert_eq!(cut(&text).len(), listed + 1, "{release}, {name}, {variants:?}");
                assert!(!text.contains("--"), "{release}, {name}, {variants:?}:\n{text}");
            }
        }
    }
}

/// The statements for which the tables of every release suffice
const OF_SIGN_IN: [&str; 3] = ["candidates.sql", "forget_pins.sql", "pinned_candidates.sql"];

/// Parts that occur in several files, by their first and last line
#[test]
fn what_files_share_is_the_same_text() {
    let all = files();
    for (first, last, names) in [
        (
            "       holder.id, ",
            "FROM group_members WHERE user_id = holder.user_id)",
            &["holders.sql", "app_by_name.sql", "app_by_id.sql", "terminal.sql"][..],
        ),
        (
            "    SELECT k.id, k.hashed_secret",
            ") holder ON true",
            &["holders.sql", "app_by_name.sql", "app_by_id.sql", "terminal.sql"],
        ),
        (
            "       place.asked_owner",
            "place.max_port_sharing_level",
            &["app_by_name.sql", "app_by_id.sql", "terminal.sql"],
        ),
        (
            "           w.id, w.name",
            "t.max_port_sharing_level::text",
            &["app_by_name.sql", "app_by_id.sql", "terminal.sql"],
        ),
        (
            "       ARRAY(\n           SELECT ROW(a.id",
            "WHERE r.job_id = place.job_id",
            &["app_by_name.sql", "app_by_id.sql"],
        ),
        (
            "        SELECT job_id, transition",
            "LEFT JOIN templates t ON t.id = w.template_id",
            &["app_by_name.sql", "app_by_id.sql"],
        ),
        (
            "    CROSS JOIN LATERAL (\n        SELECT id, name, auth_token",
            "WHERE w.id = ANY (ARRAY(SELECT workspace_id FROM origins))",
            &["candidates.sql", "pinned_candidates.sql"],
        ),
        (
            "    SELECT md5('close '",
            "ON CONFLICT DO NOTHING",
            &["end_visits.sql", "note_visits.sql"],
        ),
    ] {
        let parts: BTreeSet<&str> = names
            .iter()
            .map(|name| {
                let (_, rest) = all[*name].split_once(first).unwrap();
                rest.split_once(last).unwrap().0
            })
            .collect();
        assert_eq!(parts.len(), 1, "`{first}` differs between {names:?}: {parts:#?}");
    }
}

impl std::fmt::Display for Sql {
    /// The text with its parameters
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (number, piece) in self.pieces.iter().enumerate() {
            if number > 0 {
                write!(f, "${number}")?;
            }
            f.write_str(piece)?;
        }
        Ok(())
    }
}

#[test]
fn lists_are_as_long_as_is_said() {
    for list in [include_str!("list_sessions.sql"), include_str!("list_shares.sql")] {
        let limit = list.rsplit_once("LIMIT ").map(|(_, limit)| limit.trim());
        assert_eq!(limit, Some(&*crate::MAX_LISTED.to_string()), "{list}");
    }
}
