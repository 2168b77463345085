use serde_json::json;
use store::{Migrated, Migrations, Options, Owned, Owner, PgStore};

use super::database::{Absent, configure, with_url};
use super::error::CommandError;
use super::output::{print, print_json};
use crate::cli::MigrateArgs;
use crate::config::StoreConfig;

/// Migrates the configured database, or removes the tables that authd created in it
pub(super) async fn run(args: MigrateArgs) -> Result<(), CommandError> {
    let config = configure(args.config)?;
    if matches!(config.store, StoreConfig::Memory) {
        return Err(CommandError::NothingToMigrate);
    }
    with_url(&config.store, Absent::Refused, async |url| {
        let store = PgStore::connect(url, &Options::default()).await?;
        let migrations = if args.owned_only { Migrations::OwnedOnly } else { Migrations::All };
        match (args.remove_owned, args.yes) {
            (true, true) => remove_owned(&store, args.json).await,
            (true, false) => list_owned(&store, args.json).await,
            (false, _) => {
                let migrated = store.migrate(migrations).await?;
                if args.json { print_json([&migrated]) } else { print(&report(&migrated)) }
            }
        }
    })
    .await
}

async fn remove_owned(store: &PgStore, json: bool) -> Result<(), CommandError> {
    let removed = store.remove_owned().await?;
    // Without a record, authd may not have created them.
    let left = store.owned().await?;
    if json {
        return print_json([json!({ "removed": removed, "left": left })]);
    }
    let mut lines: Vec<String> = removed.iter().map(|owned| line("removed", owned)).collect();
    lines.extend(left.iter().map(|owned| line("left, not recorded", owned)));
    if lines.is_empty() {
        lines.push(NOTHING_OWNED.to_owned());
    }
    print(&lines)
}

/// Lists what `--yes` would remove
async fn list_owned(store: &PgStore, json: bool) -> Result<(), CommandError> {
    if store.owner().await? == Owner::Authd {
        return Err(store::Error::NoControlPlane.into());
    }
    let owned = store.owned().await?;
    if json {
        print_json([json!({ "would_remove": owned })])?;
    } else if owned.is_empty() {
        print(&[NOTHING_OWNED.to_owned()])?;
    } else {
        let lines: Vec<String> = owned.iter().map(|owned| line("would remove", owned)).collect();
        print(&lines)?;
    }
    if owned.is_empty() {
        return Ok(());
    }
    Err(CommandError::Usage(
        "nothing was removed; `--yes` removes it, and rows of the audit log are lost".to_owned(),
    ))
}

/// What a migration did, line by line
fn report(migrated: &Migrated) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(former) = migrated.former_record {
        let entries = former.entries;
        let became = match former.dropped {
            true => "which was dropped",
            false => "which was not dropped",
        };
        lines.push(format!(
            "moved the record of {entries} migrations from __diesel_schema_migrations, {became}"
        ));
    }
    lines.extend(migrated.applied.iter().map(|name| format!("applied {name}")));
    lines.extend(migrated.tables.iter().map(|name| format!("created the table {name}")));
    lines.push(match migrated.applied.len() {
        0 => "the tables were up to date".to_owned(),
        _ => "the tables are up to date".to_owned(),
    });
    lines
}

fn line(what: &str, owned: &Owned) -> String {
    match owned.rows {
        Some(1) => format!("{what}: table {} (1 row)", owned.name),
        Some(rows) => format!("{what}: table {} ({rows} rows)", owned.name),
        None => format!("{what}: type {}", owned.name),
    }
}

const NOTHING_OWNED: &str = "authd has no tables here";
