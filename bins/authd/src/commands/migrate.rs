use store::cluster::Persistent;
use store::{Migrations, Options, PgStore};
use tracing::info;

use super::serve::{blocking, cluster_settings};
use super::{CommandError, warn_of_unknown_environment};
use crate::cli::MigrateArgs;
use crate::config::StoreConfig;
use crate::telemetry;

/// Brings the tables of the configured database up to date
pub(crate) async fn run(args: MigrateArgs) -> Result<(), CommandError> {
    let config = args.config.resolve()?;
    telemetry::start_log(&config.log_level, config.log_format)?;
    warn_of_unknown_environment();
    let which = if args.owned_only { Migrations::OwnedOnly } else { Migrations::All };

    match config.store {
        StoreConfig::Memory => return Err(CommandError::NothingToMigrate),
        StoreConfig::Postgres { url, .. } => migrate(url.reveal(), which).await?,
        StoreConfig::Private { data_dir, postgres_bin, .. } => {
            let settings = cluster_settings(postgres_bin.as_deref());
            let database = blocking(move || Persistent::start(&data_dir, &settings)).await?;
            let migrated = migrate(&database.url(), which).await;
            blocking(move || database.stop()).await?;
            migrated?;
        }
    }
    info!("the tables are up to date");
    Ok(())
}

async fn migrate(url: &str, which: Migrations) -> Result<(), store::Error> {
    PgStore::connect(url, &Options::default()).await?.migrate(which).await
}
