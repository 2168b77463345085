use std::sync::Arc;

use agent_auth::Candidates;
use identity_verify::aws;
use store::cluster::{self, Persistent};
use store::{MemoryStore, Migrations, PgStore, Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use super::{CommandError, warn_of_unknown_environment};
use crate::app::{App, system_clock};
use crate::cli::ServeArgs;
use crate::config::{Config, IdentityConfig, StoreConfig};
use crate::{server, telemetry, trust};

/// Answers requests until told to stop
pub(crate) async fn run(args: ServeArgs) -> Result<(), CommandError> {
    let mut config = args.config.resolve()?;
    telemetry::start_log(&config.log_level, config.log_format)?;
    warn_of_unknown_environment();
    // First, so that a port in use or an unreadable key is told before a database
    // has been started for nothing.
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| CommandError::Listen { address: config.listen, error })?;
    let verifier = verifier(&config.identity)?;

    match std::mem::replace(&mut config.store, StoreConfig::Memory) {
        StoreConfig::Memory => serve(config, listener, verifier, MemoryStore::default()).await,
        StoreConfig::Postgres { url, connections } => {
            let store = PgStore::connect(url.reveal(), &connections.options()).await?;
            check_tables(&store).await?;
            serve(config, listener, verifier, store).await
        }
        StoreConfig::Private { data_dir, postgres_bin, connections } => {
            let settings = cluster_settings(postgres_bin.as_deref());
            let database = blocking(move || Persistent::start(&data_dir, &settings)).await?;
            let url = database.url();
            let served = async {
                let store = PgStore::connect(&url, &connections.options()).await?;
                store.migrate(Migrations::All).await?;
                serve(config, listener, verifier, store).await
            }
            .await;
            blocking(move || database.stop()).await?;
            served
        }
    }
}

/// Asks one question before any client does, so that a database without the tables
/// is told at the start and not at the first sign-in
async fn check_tables(store: &PgStore) -> Result<(), CommandError> {
    match store.by_instance("").await {
        Err(error @ store::Error::Query { .. }) => Err(CommandError::NoTables(error)),
        other => Ok(other.map(drop)?),
    }
}

async fn serve<S: Store + 'static>(
    config: Config,
    listener: TcpListener,
    verifier: aws::Verifier,
    store: S,
) -> Result<(), CommandError> {
    let app = Arc::new(App::new(store, verifier, config.rules, config.limits, system_clock()));
    let mut terminate = signal(SignalKind::terminate()).map_err(CommandError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CommandError::Signals)?;
    let reload = tokio::spawn(reload_trust(Arc::clone(&app), config.identity)?);

    let address = listener.local_addr().unwrap_or(config.listen);
    info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    server::serve(listener, app, async {
        tokio::select! {
            _ = terminate.recv() => info!("stopping on SIGTERM"),
            _ = interrupt.recv() => info!("stopping on SIGINT"),
        }
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            error!("stopping at once on a second signal");
            std::process::exit(1);
        });
    })
    .await;
    reload.abort();
    info!("stopped");
    Ok(())
}

/// Builds what verifies proofs, and tells whom it trusts
fn verifier(identity: &IdentityConfig) -> Result<aws::Verifier, CommandError> {
    let keys = trust::aws_keys(identity.trust_dir.as_deref())?;
    info!(cloud = "aws", regions = keys.regions().len(), keys = keys.iter().len(), "trusting");
    Ok(aws::Verifier::new(keys, identity.policy.clone()))
}

/// Reads the trust folder anew at every SIGHUP
///
/// If it is not usable the keys stay as they were: a typing error in one file must
/// not lock every machine out.
fn reload_trust<S: Store + 'static>(
    app: Arc<App<S>>,
    identity: IdentityConfig,
) -> Result<impl Future<Output = ()> + Send, CommandError> {
    let mut hangup = signal(SignalKind::hangup()).map_err(CommandError::Signals)?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            match verifier(&identity) {
                Ok(verifier) => app.aws.store(Arc::new(verifier)),
                Err(error) => {
                    error!(
                        error = crate::error::chain(&error),
                        "the trusted keys stay as they were"
                    );
                }
            }
        }
    })
}

/// Runs what blocks, for most of a second, off the reactor
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, cluster::Error> + Send + 'static,
) -> Result<T, CommandError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

pub(super) fn cluster_settings(postgres_bin: Option<&std::path::Path>) -> cluster::Settings {
    let settings = cluster::Settings::default();
    match postgres_bin {
        Some(folder) => settings.binaries(folder),
        None => settings,
    }
}
