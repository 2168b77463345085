use private_postgres::Persistent;
use store::{Migrations, PgStore};

use super::serve::{blocking, private_settings};
use super::{CommandError, warn_of_unknown_environment};
use crate::config::{Config, ConfigArgs, StoreConfig};
use crate::log;

/// Does `work` with the configured database
///
/// A database of authd's own is started if no server uses it, and its tables are brought
/// up to date.
///
/// # Errors
///
/// [`CommandError::NothingStored`] for a store in memory, which is another process'.
pub(super) async fn with_store<T>(
    config: ConfigArgs,
    work: impl AsyncFnOnce(&PgStore) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let config = config.resolve()?;
    log::start(&config.log_level, config.log_format)?;
    warn_of_unknown_environment();
    let own = matches!(config.store, StoreConfig::Private { .. });
    with_database(&config, async |store| {
        if own {
            store.migrate(Migrations::All).await?;
        }
        work(store).await
    })
    .await
}

/// Does `work` with the configured database as it is
///
/// A database of authd's own is started if no server uses it.
///
/// # Errors
///
/// As [`with_store`].
pub(super) async fn with_database<T>(
    config: &Config,
    work: impl AsyncFnOnce(&PgStore) -> Result<T, CommandError>,
) -> Result<T, CommandError> {
    let options = config.store_options();
    match &config.store {
        StoreConfig::Memory => Err(CommandError::NothingStored),
        StoreConfig::Postgres { url, .. } => {
            work(&PgStore::connect(url.reveal(), &options).await?).await
        }
        StoreConfig::Private { data_dir, postgres_bin, .. } => {
            let (data_dir, settings) =
                (data_dir.clone(), private_settings(postgres_bin.as_deref()));
            let database = blocking(move || Persistent::start(&data_dir, &settings)).await?;
            let url = database.url();
            let done = async { work(&PgStore::connect(&url, &options).await?).await }.await;
            blocking(move || database.stop()).await?;
            done
        }
    }
}
