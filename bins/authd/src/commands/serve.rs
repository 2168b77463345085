use std::sync::Arc;
use std::time::{Duration, Instant};

use authd_http::{
    HostCounts, MaintenanceSettings, ProcessFacts, RouteGroup, Routes, Service, error_chain,
};
use authd_server::{
    Limits as ServerLimits, ListenAddress, Listener, Process, Server, Tls, systemd,
};
use identity_fetch::{Identity, IssuerFetcher, KeyCache, Online, System};
use store::{MemoryStore, Migrations, Options, Owner, PgStore, Store};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};
use trust_folder::Trust;

use super::database::{Absent, configure, with_url};
use super::error::CommandError;
use crate::cli::ServeArgs;
use crate::clock::system_clock;
use crate::config::{Config, IdentityConfig, ListenConfig, StoreConfig};
use crate::{check, log, server};

/// Answers requests until a signal stops it
pub(super) async fn run(args: ServeArgs) -> Result<(), CommandError> {
    let mut config = configure(args.config)?;
    // First, so that a port in use or an unreadable key is reported before a database is started.
    let listeners = listen(&config)?;
    let identity = identity(&config.identity, online(&config.identity))?;

    let _ = check::log(&check::of_settings(&config));
    let options = config.store_options();
    let store = std::mem::replace(&mut config.store, StoreConfig::Memory);
    if matches!(store, StoreConfig::Memory) {
        return serve(config, listeners, identity, MemoryStore::default()).await;
    }
    with_url(&store, Absent::Created, async |url| {
        let database = connect(url, &options, config.database_wait).await?;
        if matches!(store, StoreConfig::Private { .. }) {
            database.migrate(Migrations::All).await?;
        }
        // Before the first request, so that a mistake shows now and not at a sign-in.
        let (findings, _) = check::of_database(&database, &config).await?;
        if let Some(finding) = check::log(&findings) {
            return Err(CommandError::Check(finding.line()));
        }
        if let Some(apps) = &mut config.apps {
            apps.has_dashboard = database.owner().await? == Owner::ControlPlane;
        }
        serve(config, listeners, identity, database).await
    })
    .await
}

/// Connects to the database, and waits for one that cannot be reached yet
///
/// A database may start after authd, or be failing over.
async fn connect(url: &str, options: &Options, wait: Duration) -> Result<PgStore, store::Error> {
    let started = Instant::now();
    loop {
        let error = match PgStore::connect(url, options).await {
            Err(error @ store::Error::Unavailable { .. }) if started.elapsed() < wait => error,
            done => return done,
        };
        let seconds_left = wait.saturating_sub(started.elapsed()).as_secs();
        warn!(%error, seconds_left, "waiting for the database");
        tokio::time::sleep(BETWEEN_CONNECTIONS.min(wait)).await;
    }
}

const BETWEEN_CONNECTIONS: Duration = Duration::from_secs(2);

/// Where requests arrive
struct Listeners {
    all: Vec<Listener>,
    /// For health and metrics alone
    admin: Vec<Listener>,
    tls: Option<Tls>,
}

/// Listens where the configuration says, or on the sockets of systemd
fn listen(config: &Config) -> Result<Listeners, CommandError> {
    let ListenConfig { addresses, admin, socket_mode, tls } = &config.listen;
    let bind = |addresses: &[ListenAddress]| -> Result<Vec<Listener>, CommandError> {
        let bound = addresses.iter().map(|address| {
            let listener = address.bind(*socket_mode);
            listener.map_err(|error| CommandError::Listen { address: address.clone(), error })
        });
        bound.collect()
    };
    let tls = tls.as_ref().map(|files| Tls::load(&files.certificate, &files.key)).transpose()?;
    let inherited = systemd::sockets().map_err(CommandError::Sockets)?;
    let admin = bind(admin)?;
    let all = if inherited.is_empty() { bind(addresses)? } else { inherited };
    let all = match &tls {
        Some(tls) => all.into_iter().map(|listener| listener.with_tls(tls)).collect(),
        None => all,
    };
    Ok(Listeners { all, admin, tls })
}

async fn serve<S: Store>(
    config: Config,
    listeners: Listeners,
    identity: Identity,
    store: S,
) -> Result<(), CommandError> {
    let server = Server::new(config.server.within_open_files());
    let (counted, tls) = (server.clone(), listeners.tls.clone());
    let routes = match listeners.admin[..] {
        [] => Routes::all(),
        _ => Routes::all().without(RouteGroup::Metrics),
    };
    let store = Arc::new(store);
    let mut service = Service::over(&store, identity, config.rules, config.limits, system_clock())
        .with_routes(routes)
        .with_host(move || host_counts(&counted, tls.as_ref()))
        .with_freshness(Arc::clone(&store), &config.freshness)
        .with_act_audit(Arc::clone(&store), config.act_audit);
    if let Some(apps) = config.apps {
        info!(
            access_url = %apps.access_url,
            app_hosts = apps.app_hosts.as_ref().map(tracing::field::display),
            trusted_proxies = apps.trusted.origins.len(),
            "app access is on"
        );
        if let Some(oidc) = config.oidc {
            service = service.with_oidc(Arc::clone(&store), oidc);
        }
        service = service.with_token_refresh(Arc::clone(&store), config.refresh);
        if config.revocations {
            service = service.with_revocations(Arc::clone(&store));
        }
        service = service.with_apps(store, apps);
    }
    if cfg!(not(feature = "otlp")) && std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some() {
        info!("no traces are exported: this authd is built without the feature `otlp`");
    }
    #[cfg(feature = "otlp")]
    let (service, exporter) =
        crate::traces::start(service).map_err(|error| CommandError::Usage(error.to_string()))?;
    let service = Arc::new(service);
    let maintenance = MaintenanceSettings::default()
        .rotate_keys(config.key_rotation)
        .keep_rows(config.audit_retention);
    let maintenance = service.maintain(maintenance).await;
    let mut terminate = signal(SignalKind::terminate()).map_err(CommandError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CommandError::Signals)?;
    let reload =
        tokio::spawn(reload(Arc::clone(&service), config.identity, listeners.tls.clone())?);
    let certificate = tokio::spawn(async move {
        if let Some(tls) = listeners.tls {
            tls.watch(&*system_clock()).await;
        }
    });

    for listener in &listeners.all {
        let (address, tls) = (address_of(listener), listener.is_tls());
        info!(address, tls, version = env!("CARGO_PKG_VERSION"), "listening");
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
    certificate.abort();
    maintenance.finish().await;
    #[cfg(feature = "otlp")]
    crate::traces::finish(exporter).await;
    alive.abort();
    info!("stopped");
    Ok(())
}

/// Answers operators, with room of their own
async fn serve_admin(listeners: Vec<Listener>, service: Arc<Service>) {
    for listener in &listeners {
        info!(address = address_of(listener), "listening (admin)");
    }
    let answer = move |_, request| {
        let service = Arc::clone(&service);
        async move { service.answer_operational(request).await }
    };
    let limits = ServerLimits { connections: 256, ..ServerLimits::default() };
    Server::new(limits).serve(listeners, answer, std::future::pending()).await;
}

fn address_of(listener: &Listener) -> String {
    listener.address().map_or_else(|| "unknown".to_owned(), |address| address.to_string())
}

fn host_counts(server: &Server, tls: Option<&Tls>) -> HostCounts {
    let counts = server.counts();
    HostCounts {
        log_lines_dropped: log::dropped_lines(),
        connections: counts.open,
        connections_replaced: counts.replaced,
        connections_refused: counts.refused,
        connections_overdue: counts.overdue,
        waiting_answers: counts.waiting_answers,
        tls_expires: tls.map(Tls::expires),
        tls_failed_handshakes: tls.map_or(0, Tls::failed_handshakes),
        process: Process::read().map(|process| ProcessFacts {
            cpu: process.cpu,
            open_files: process.open_files,
            max_files: process.max_files,
            threads: process.threads,
            virtual_memory: process.virtual_memory,
            resident_memory: process.resident_memory,
            started: process.started,
        }),
    }
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

/// Reads the trust folder and the certificate again at every SIGHUP
///
/// If it is not usable, the earlier trust stays in use: a typo in one file must not lock out every
/// machine.
fn reload(
    service: Arc<Service>,
    config: IdentityConfig,
    tls: Option<Tls>,
) -> Result<impl Future<Output = ()> + Send, CommandError> {
    let mut hangup = signal(SignalKind::hangup()).map_err(CommandError::Signals)?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            if let Some(tls) = &tls {
                tls.reload(system_clock()()).await;
            }
            let Some(former) = service.identity() else { continue };
            match identity(&config, former.fetchers().clone()) {
                Ok(identity) => service.set_identity(identity),
                Err(error) => {
                    error!(error = error_chain(&error), "trust stays as it was");
                }
            }
        }
    })
}
