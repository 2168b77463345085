use clap::CommandFactory;
use private_postgres::{Persistent, Settings};
use store::{Migrations, PgStore};

use super::error::CommandError;
use crate::cli::Cli;
use crate::config::{Config, ConfigArgs, StoreConfig, unknown_environment};
use crate::log;

/// Resolves the configuration of a command and starts its log
pub(super) fn configure(config: ConfigArgs) -> Result<Config, CommandError> {
    let config = config.resolve()?;
    log::start(&config.log_level, config.log_format)?;
    for name in unknown_environment(&Cli::command()) {
        tracing::warn!(name, "this environment variable is not a setting of authd");
    }
    Ok(config)
}

/// Runs `work` with the configured database, and migrates it first if authd runs it
///
/// # Errors
///
/// [`CommandError::NothingStored`] for a store in memory, which belongs to another process.
pub(super) async fn with_store<T>(
    config: ConfigArgs,
    work: impl AsyncFnOnce(&PgStore) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let config = configure(config)?;
    let is_private = matches!(config.store, StoreConfig::Private { .. });
    with_database(&config, async |store| {
        if is_private {
            store.migrate(Migrations::All).await?;
        }
        work(store).await
    })
    .await
}

/// Runs `work` with the configured database, and does not migrate it
///
/// # Errors
///
/// As [`with_store`].
pub(super) async fn with_database<T>(
    config: &Config,
    work: impl AsyncFnOnce(&PgStore) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let options = config.store_options();
    with_url(&config.store, Absent::Refused, async |url| {
        work(&PgStore::connect(url, &options).await?).await
    })
    .await
}

/// What happens if the data folder has no database
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    Created,
    Refused,
}

/// Runs `work` with the URL of the configured database, after a line on standard error that names it
///
/// If authd runs the database server, it is started if it does not run, and stopped afterwards.
///
/// # Errors
///
/// As [`with_store`]; [`CommandError::NoDatabase`] if an `absent` database is refused.
pub(super) async fn with_url<T>(
    store: &StoreConfig,
    absent: Absent,
    work: impl AsyncFnOnce(&str) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    match store {
        StoreConfig::Memory => Err(CommandError::NothingStored),
        StoreConfig::Postgres { url, .. } => {
            announce(store, absent)?;
            work(url.reveal()).await
        }
        StoreConfig::Private { data_dir, postgres_bin, .. } => {
            let settings = Settings::default().superuser("authd");
            let settings = match postgres_bin {
                Some(folder) => settings.binaries(folder),
                None => settings,
            };
            let folder = data_dir.clone();
            let database = blocking(move || match absent {
                Absent::Created => Persistent::start(&folder, &settings),
                Absent::Refused => Persistent::start_existing(&folder, &settings),
            })
            .await?;
            announce(store, absent)?;
            let done = work(&database.url()).await;
            blocking(move || database.stop()).await?;
            done
        }
    }
}

/// Where the configured database is, without user and password
pub(super) fn place_of(store: &StoreConfig) -> Result<String, store::Error> {
    match store {
        StoreConfig::Memory => Ok("in memory".to_owned()),
        StoreConfig::Postgres { url, .. } => PgStore::describe(url.reveal()),
        StoreConfig::Private { data_dir, .. } => {
            Ok(format!("authd's own, in {}", data_dir.display()))
        }
    }
}

/// Says which database is used: `serve` in its log, and others on standard error, unless only
/// problems are to be logged
fn announce(store: &StoreConfig, absent: Absent) -> Result<(), store::Error> {
    let database = place_of(store)?;
    if absent == Absent::Created {
        tracing::info!(database, "the database");
    } else if log::tells(tracing::Level::INFO) {
        log::print(&format!("database: {database}"));
    }
    Ok(())
}

/// Runs blocking work, which may take a second, on another thread
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, private_postgres::Error> + Send + 'static,
) -> Result<T, CommandError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
