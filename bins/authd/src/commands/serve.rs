use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use authd_http::{HostCounts, Service, error_chain};
use authd_server::{Limits as ServerLimits, Server, systemd};
use identity_fetch::{Identity, IssuerFetcher, KeyCache, Online, System};
use store::{MemoryStore, Migrations, PgStore, Store};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use trust_folder::Trust;

use super::database::{configure, with_url};
use super::error::CommandError;
use crate::cli::ServeArgs;
use crate::clock::system_clock;
use crate::config::{Config, IdentityConfig, StoreConfig};
use crate::{check, log, server};

/// Answers requests until a signal stops it
pub(super) async fn run(args: ServeArgs) -> Result<(), CommandError> {
    let mut config = configure(args.config)?;
    // First, so that a port in use or an unreadable key is reported before a database is started.
    let listeners = listen(&config).await?;
    let identity = identity(&config.identity, online(&config.identity))?;

    let _ = check::log(&check::of_settings(&config));
    let options = config.store_options();
    let store = std::mem::replace(&mut config.store, StoreConfig::Memory);
    if matches!(store, StoreConfig::Memory) {
        return serve(config, listeners, identity, MemoryStore::default()).await;
    }
    with_url(&store, async |url| {
        let database = PgStore::connect(url, &options).await?;
        if matches!(store, StoreConfig::Private { .. }) {
            database.migrate(Migrations::All).await?;
        }
        // Before the first request, so that a mistake shows now and not at a sign-in.
        let (findings, _) = check::of_database(&database, &config).await?;
        if let Some(finding) = check::log(&findings) {
            return Err(CommandError::Check(finding.line()));
        }
        serve(config, listeners, identity, database).await
    })
    .await
}

/// Where requests arrive
struct Listeners {
    all: Vec<TcpListener>,
    /// For health and metrics alone
    admin: Option<TcpListener>,
}

/// Listens where the configuration says, or on the sockets of systemd
async fn listen(config: &Config) -> Result<Listeners, CommandError> {
    let bind =
        async |address| bind_to(address).map_err(|error| CommandError::Listen { address, error });
    let inherited = systemd::sockets().map_err(CommandError::Sockets)?;
    let admin = match config.admin_listen {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let all = if inherited.is_empty() { vec![bind(config.listen).await?] } else { inherited };
    Ok(Listeners { all, admin })
}

async fn serve<S: Store + 'static>(
    config: Config,
    listeners: Listeners,
    identity: Identity,
    store: S,
) -> Result<(), CommandError> {
    let server = Server::new(config.server.within_open_files());
    let counted = server.clone();
    let mut service = Service::new(store, identity, config.rules, config.limits, system_clock())
        .with_host(move || host_counts(&counted), listeners.admin.is_some())
        .with_act_audit(config.act_audit);
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
    let has_keys = maintain_keys(&service, config.key_rotation).await;
    let housekeeping = service.start_housekeeping(config.audit_retention);
    let mut terminate = signal(SignalKind::terminate()).map_err(CommandError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CommandError::Signals)?;
    let reload = tokio::spawn(reload_trust(Arc::clone(&service), config.identity)?);
    let watch = tokio::spawn(watch_expiry(Arc::clone(&service)));
    let keeper = maintain_keys_regularly(Arc::clone(&service), config.key_rotation, has_keys);
    let keeper = tokio::spawn(keeper);

    for listener in &listeners.all {
        let address = listener.local_addr().unwrap_or(config.listen);
        info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    }
    let admin = tokio::spawn(serve_admin(listeners.admin, Arc::clone(&service)));
    let systemd = systemd::Notifier::start().map_err(CommandError::Sockets)?;
    let alive = systemd.clone();
    let alive = tokio::spawn(async move { alive.ready().await });
    let stopping = Arc::clone(&service);
    server::serve_on(&server, listeners.all, Arc::clone(&service), async move {
        tokio::select! {
            _ = terminate.recv() => info!("stopping on SIGTERM"),
            _ = interrupt.recv() => info!("stopping on SIGINT"),
        }
        systemd.stopping();
        stopping.set_stopping();
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            error!("stopping at once on a second signal");
            log::flush();
            std::process::exit(1);
        });
    })
    .await;
    log::stopping();
    admin.abort();
    reload.abort();
    watch.abort();
    keeper.abort();
    drop(housekeeping);
    service.drain_audit().await;
    alive.abort();
    info!("stopped");
    Ok(())
}

/// Listens with the longest queue that the kernel allows, for machines that start together
fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// More than `net.core.somaxconn` usually allows
const BACKLOG: u32 = 32_768;

/// Answers operators, with room of their own
async fn serve_admin<S: Store + 'static>(listener: Option<TcpListener>, service: Arc<Service<S>>) {
    let Some(listener) = listener else { return };
    info!(address = listener.local_addr().ok().map(tracing::field::display), "listening (admin)");
    let answer = move |_, request| {
        let service = Arc::clone(&service);
        async move { service.answer_operational(request).await }
    };
    let limits = ServerLimits { connections: 256, ..ServerLimits::default() };
    Server::new(limits).serve(vec![listener], answer, std::future::pending()).await;
}

fn host_counts(server: &Server) -> HostCounts {
    let counts = server.counts();
    HostCounts {
        log_lines_dropped: log::dropped_lines(),
        connections: counts.open,
        connections_replaced: counts.replaced,
        connections_refused: counts.refused,
        connections_overdue: counts.overdue,
        waiting_answers: counts.waiting_answers,
    }
}

/// Maintains the keys of app access every ten minutes, and within seconds after a failure
async fn maintain_keys_regularly<S: Store + 'static>(
    service: Arc<Service<S>>,
    rotate: bool,
    has_keys: bool,
) {
    let mut failures = u32::from(!has_keys);
    loop {
        let pause = match failures {
            0 => 10 * 60,
            failures => 1 << failures.min(4),
        };
        tokio::time::sleep(Duration::from_secs(pause)).await;
        failures = match maintain_keys(&service, rotate).await {
            true => 0,
            false => failures.saturating_add(1),
        };
    }
}

/// Creates, rotates and fetches the keys of app access; returns whether that succeeded
async fn maintain_keys<S: Store + 'static>(service: &Service<S>, rotate: bool) -> bool {
    let maintained = service.maintain_keys(rotate).await;
    if let Err(error) = &maintained {
        error!(error = error_chain(error), "the keys of app access stay as they were");
    }
    maintained.is_ok()
}

/// The fetchers that the configuration allows
fn online(config: &IdentityConfig) -> Online {
    let keys = config.google_keys.clone();
    Online::new(
        keys.map(|url| KeyCache::fetching(url, Arc::new(System), system_clock())),
        config.fetch_azure_issuers.then(|| IssuerFetcher::new(Arc::new(System))),
    )
}

/// Builds what verifies proofs, and logs what it trusts
fn identity(config: &IdentityConfig, online: Online) -> Result<Identity, CommandError> {
    let trust = Trust::read(config.trust_dir.as_deref())?;
    if let Some(missing) = check::missing_keys(&trust, config) {
        let _ = check::log(&[missing]);
    }
    info!(
        aws_regions = trust.aws().regions().len(),
        aws_keys = trust.aws().iter().len(),
        azure_certificates = trust.azure().certificates().count(),
        google_keys = trust.google().map(|keys| keys.ids().len()),
        "trusting"
    );
    let _ = check::log(&check::without_effect(&trust, config, system_clock()()));
    Ok(trust.into_identity(&config.policy).online(online))
}

/// Reads the trust folder again at every SIGHUP
///
/// If it is not usable, the earlier trust stays in use: a typo in one file must not lock out every
/// machine.
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
                    error!(error = error_chain(&error), "trust stays as it was");
                }
            }
        }
    })
}

/// Warns at the start and then every day of certificates that expire soon
async fn watch_expiry<S: Store + 'static>(service: Arc<Service<S>>) {
    let mut daily = tokio::time::interval(Duration::from_secs(86_400));
    loop {
        daily.tick().await;
        service.warn_of_expiry();
    }
}
