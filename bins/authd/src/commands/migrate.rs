use std::io::Write;
use std::process::ExitCode;

use private_postgres::Persistent;
use store::{Migrated, Migrations, Options, Owned, Owner, PgStore};

use super::serve::{blocking, private_settings};
use super::{CommandError, warn_of_unknown_environment};
use crate::cli::MigrateArgs;
use crate::config::StoreConfig;
use crate::log;

/// Brings the tables of the configured database up to date, or takes authd's own away
pub(crate) async fn run(args: MigrateArgs) -> Result<ExitCode, CommandError> {
    let config = args.config.resolve()?;
    log::start(&config.log_level, config.log_format)?;
    warn_of_unknown_environment();
    let todo = match (args.remove_owned, args.yes, args.owned_only) {
        (true, yes, _) => Todo::RemoveOwned { yes },
        (false, _, true) => Todo::Migrate(Migrations::OwnedOnly),
        (false, _, false) => Todo::Migrate(Migrations::All),
    };
    match config.store {
        StoreConfig::Memory => Err(CommandError::NothingToMigrate),
        StoreConfig::Postgres { url, .. } => todo.carry_out(url.reveal()).await,
        StoreConfig::Private { data_dir, postgres_bin, .. } => {
            let settings = private_settings(postgres_bin.as_deref());
            let database = blocking(move || Persistent::start(&data_dir, &settings)).await?;
            let done = todo.carry_out(&database.url()).await;
            blocking(move || database.stop()).await?;
            done
        }
    }
}

/// What is to be done with the tables
enum Todo {
    Migrate(Migrations),
    /// Without `yes` the tables are only listed
    RemoveOwned {
        yes: bool,
    },
}

impl Todo {
    async fn carry_out(self, url: &str) -> Result<ExitCode, CommandError> {
        let store = PgStore::connect(url, &Options::default()).await?;
        match self {
            Self::Migrate(migrations) => print(&report(&store.migrate(migrations).await?)),
            Self::RemoveOwned { yes: true } => {
                let removed = store.remove_owned().await?;
                let mut lines: Vec<String> =
                    removed.iter().map(|owned| row("removed", owned)).collect();
                // Without a record it is not known how they came about.
                lines.extend(
                    store.owned().await?.iter().map(|owned| row("left, not recorded", owned)),
                );
                if lines.is_empty() {
                    lines.push("there is nothing of authd here".to_owned());
                }
                print(&lines)
            }
            Self::RemoveOwned { yes: false } => {
                if store.owner().await? == Owner::Authd {
                    return Err(store::Error::NoControlPlane.into());
                }
                let owned = store.owned().await?;
                if owned.is_empty() {
                    return print(&["there is nothing of authd here".to_owned()]);
                }
                let lines: Vec<String> =
                    owned.iter().map(|owned| row("would remove", owned)).collect();
                print(&lines)?;
                Err(CommandError::Usage(
                    "nothing was removed; `--yes` removes it, and rows of the audit log are lost"
                        .to_owned(),
                ))
            }
        }
    }
}

/// What a migration did, line by line
fn report(migrated: &Migrated) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(former) = migrated.former_record {
        let entries = former.entries;
        let became =
            if former.dropped { "which is gone" } else { "which stays, as it is not ours" };
        lines.push(format!(
            "moved the record of {entries} migrations from __diesel_schema_migrations, {became}"
        ));
    }
    lines.extend(migrated.applied.iter().map(|name| format!("applied {name}")));
    lines.push(match migrated.applied.len() {
        0 => "the tables were up to date".to_owned(),
        _ => "the tables are up to date".to_owned(),
    });
    lines
}

fn row(what: &str, owned: &Owned) -> String {
    match owned.rows {
        Some(1) => format!("{what}: table {} (1 row)", owned.name),
        Some(rows) => format!("{what}: table {} ({rows} rows)", owned.name),
        None => format!("{what}: type {}", owned.name),
    }
}

fn print(lines: &[String]) -> Result<ExitCode, CommandError> {
    let mut out = std::io::stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{line}")).map_err(CommandError::Output)?;
    Ok(ExitCode::SUCCESS)
}
