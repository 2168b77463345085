use std::sync::Arc;
use std::time::Duration;

use authd_http::Service;
use identity_fetch::{Identity, IssuerFetcher, KeyCache, Online, System};
use private_postgres::{Persistent, Settings};
use store::{MemoryStore, Migrations, PgStore, Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use super::{CommandError, warn_of_unknown_environment};
use crate::check;
use crate::cli::ServeArgs;
use crate::clock::system_clock;
use crate::config::{Config, IdentityConfig, StoreConfig};
use crate::trust::Trust;
use crate::{log, server};

/// Answers requests until told to stop
pub(crate) async fn run(args: ServeArgs) -> Result<(), CommandError> {
    let mut config = args.config.resolve()?;
    log::start(&config.log_level, config.log_format)?;
    warn_of_unknown_environment();
    // First, so that a port in use or an unreadable key is told before a database
    // has been started for nothing.
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| CommandError::Listen { address: config.listen, error })?;
    let identity = identity(&config.identity, online(&config.identity))?;

    let _ = check::log(&check::of_settings(&config));
    let options = config.store_options();
    match std::mem::replace(&mut config.store, StoreConfig::Memory) {
        StoreConfig::Memory => serve(config, listener, identity, MemoryStore::default()).await,
        StoreConfig::Postgres { url, .. } => {
            let store = PgStore::connect(url.reveal(), &options).await?;
            look(&store, &config).await?;
            serve(config, listener, identity, store).await
        }
        StoreConfig::Private { data_dir, postgres_bin, .. } => {
            let settings = private_settings(postgres_bin.as_deref());
            let database = blocking(move || Persistent::start(&data_dir, &settings)).await?;
            let url = database.url();
            let served = async {
                let store = PgStore::connect(&url, &options).await?;
                store.migrate(Migrations::All).await?;
                look(&store, &config).await?;
                serve(config, listener, identity, store).await
            }
            .await;
            blocking(move || database.stop()).await?;
            served
        }
    }
}

/// Looks at the database before any client does, so that a mistake shows at the start and not
/// at the first sign-in, or where visits went unrecorded
async fn look(store: &PgStore, config: &Config) -> Result<(), CommandError> {
    let (findings, _) = check::look(store, config).await?;
    match check::log(&findings) {
        None => Ok(()),
        Some(stop) => Err(CommandError::Check(stop.line())),
    }
}

async fn serve<S: Store + 'static>(
    config: Config,
    listener: TcpListener,
    identity: Identity,
    store: S,
) -> Result<(), CommandError> {
    let mut service = Service::new(store, identity, config.rules, config.limits, system_clock());
    if let Some(apps) = config.apps {
        info!(
            access_url = %apps.access_url,
            app_hosts = apps.app_hosts.as_ref().map(tracing::field::display),
            trusted_proxies = apps.trusted.origins.len(),
            "app access is on"
        );
        service = service.with_apps(apps);
    }
    let service = Arc::new(service);
    maintain_keys(&service, config.key_rotation).await;
    let housekeeping = service.start_housekeeping(config.audit_retention);
    let mut terminate = signal(SignalKind::terminate()).map_err(CommandError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CommandError::Signals)?;
    let reload = tokio::spawn(reload_trust(Arc::clone(&service), config.identity)?);
    let watch = tokio::spawn(watch_expiry(Arc::clone(&service)));
    let keeper = tokio::spawn(maintain_keys_regularly(Arc::clone(&service), config.key_rotation));

    let address = listener.local_addr().unwrap_or(config.listen);
    info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    server::serve(listener, Arc::clone(&service), config.server, async {
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
    watch.abort();
    keeper.abort();
    drop(housekeeping);
    service.drain_audit().await;
    info!("stopped");
    Ok(())
}

/// Sees to the keys of app access every ten minutes, and sooner where that failed
async fn maintain_keys_regularly<S: Store + 'static>(service: Arc<Service<S>>, rotate: bool) {
    let mut failed = false;
    loop {
        let pause = if failed { 15 } else { 10 * 60 };
        tokio::time::sleep(Duration::from_secs(pause)).await;
        failed = !maintain_keys(&service, rotate).await;
    }
}

/// Whether the keys of app access are as they should be
async fn maintain_keys<S: Store + 'static>(service: &Service<S>, rotate: bool) -> bool {
    let kept = service.maintain_keys(rotate).await;
    if let Err(error) = &kept {
        error!(error = authd_http::error_chain(error), "the keys of app access stay as they were");
    }
    kept.is_ok()
}

/// What may be fetched from the network
fn online(config: &IdentityConfig) -> Online {
    let keys = config.google_keys.clone();
    Online::new(
        keys.map(|url| KeyCache::fetching(url, Arc::new(System), system_clock())),
        config.fetch_azure_issuers.then(|| IssuerFetcher::new(Arc::new(System))),
    )
}

/// Builds what verifies proofs, and tells whom it trusts
fn identity(config: &IdentityConfig, online: Online) -> Result<Identity, CommandError> {
    let trust = Trust::read(config.trust_dir.as_deref())?;
    if let Some(missing) = check::missing_trust(&trust, config) {
        let _ = check::log(&[missing]);
    }
    info!(
        aws_regions = trust.aws.regions().len(),
        aws_keys = trust.aws.iter().len(),
        azure_certificates = trust.azure.certificates().count(),
        google_keys = trust.google.as_ref().map(|keys| keys.ids().len()),
        "trusting"
    );
    let _ = check::log(&check::idle_trust(&trust, config, system_clock()()));
    Ok(trust.into_identity(&config.policy).online(online))
}

/// Reads the trust folder anew at every SIGHUP
///
/// If it is not usable everything stays as it was: a typing error in one file must not
/// lock every machine out.
fn reload_trust<S: Store + 'static>(
    service: Arc<Service<S>>,
    config: IdentityConfig,
) -> Result<impl Future<Output = ()> + Send, CommandError> {
    let mut hangup = signal(SignalKind::hangup()).map_err(CommandError::Signals)?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            let online = service.identity().fetchers().clone();
            match identity(&config, online) {
                Ok(identity) => service.set_identity(identity),
                Err(error) => {
                    error!(error = authd_http::error_chain(&error), "trust stays as it was");
                }
            }
        }
    })
}

/// Warns at the start and then daily of what ends soon
async fn watch_expiry<S: Store + 'static>(service: Arc<Service<S>>) {
    let mut daily = tokio::time::interval(Duration::from_secs(86_400));
    loop {
        daily.tick().await;
        service.warn_of_expiry();
    }
}

/// Runs what blocks, for most of a second, off the reactor
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, private_postgres::Error> + Send + 'static,
) -> Result<T, CommandError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

pub(super) fn private_settings(postgres_bin: Option<&std::path::Path>) -> Settings {
    let settings = Settings::default().superuser("authd");
    match postgres_bin {
        Some(folder) => settings.binaries(folder),
        None => settings,
    }
}
