//! Shows authd on one machine, without any configuration
//!
//! Only the clouds are not real: their keys are made on the spot and trusted through a trust
//! folder, like any key that an operator adds. Database, server, requests and answers are real.

mod cloud;
mod error;
mod fleet;
mod journey;
mod output;
mod scenes;
mod visits;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use agent_auth::Rules;
use authd::ServerLimits;
use authd_http::{Limits, Service};
use clap::Parser;
use private_postgres::{Ephemeral, Settings};
use store::{Migrations, PgStore, StatementCounter};
use testkit::Folder;
use testkit::net::Client;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use trust_folder::Trust;

use crate::cloud::TestClouds;
use crate::error::DemoError;
use crate::fleet::SampleFleet;
use crate::output::{milliseconds, print_error, say, say_step};
use crate::scenes::Scene;

/// Shows the whole path on this machine: private database, sample fleet, test clouds, sign-ins
/// and visits of apps
///
/// Exit status 0: every answer was as expected. 1: one was not, or the demonstration failed.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Keep the servers running, and print a link for a browser and `curl` lines that work
    #[arg(long)]
    serve: bool,
    /// Port of the links; 0 is any free port
    #[arg(long, value_name = "N", default_value_t = 0, requires = "serve")]
    port: u16,
    /// Folder of `initdb` and `postgres` [default: the newest installed]
    #[arg(long, env = "AUTHD_POSTGRES_BIN", value_name = "DIR")]
    postgres_bin: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), DemoError> {
    // The refusals below are expected, and their log lines would only disturb.
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::ERROR)
        .with_writer(std::io::stderr)
        .init();
    say("authd demo: a private database, a sample fleet, test clouds, and the real server\n");

    let started = Instant::now();
    let settings = Settings::default().superuser("authd");
    let settings = match &args.postgres_bin {
        Some(folder) => settings.binaries(folder),
        None => settings,
    };
    let database = tokio::task::spawn_blocking(move || Ephemeral::start(&settings)).await??;
    say_step("database", &format!("a private PostgreSQL in {}", milliseconds(started.elapsed())));

    let port = args.serve.then_some(args.port);
    let shown = show(&database.url("postgres"), port).await;
    tokio::task::spawn_blocking(move || drop(database)).await?;
    shown
}

/// Shows sign-ins and visits of apps, refusals too, and whether each was answered as expected
///
/// With a `port` it then serves browsers there, until a signal.
async fn show(database_url: &str, port: Option<u16>) -> Result<(), DemoError> {
    let started = Instant::now();
    let statements = StatementCounter::default();
    let options = store::Options::default().statements(statements.clone());
    let store = PgStore::connect(database_url, &options).await?;
    store.migrate(Migrations::All).await?;
    say_step("tables", &format!("migrated in {}", milliseconds(started.elapsed())));

    let app_url = match port {
        Some(_) => Some(journey::start_app().await?),
        None => None,
    };
    let sample = SampleFleet::new(app_url.as_deref());
    store.load(&sample.rows).await?;
    say_step("fleet", &sample.summary());

    let folder = Folder::create("authd-demo").map_err(DemoError::File)?;
    let clock = authd::system_clock();
    let clouds = TestClouds::new(clock());
    let trust_dir = folder.path().join("trust");
    clouds.publish(&trust_dir).map_err(DemoError::File)?;
    let trust = Trust::read(Some(&trust_dir))?;
    say_step("trust", &format!("what is built in, and test clouds in {}", trust_dir.display()));

    let identity = trust.into_identity(&identity_verify::Policy::default());
    let for_browsers = identity.clone();
    let apps = visits::config().map_err(DemoError::Apps)?;
    let store = Arc::new(store);
    let service = Service::over(&store, identity, Rules::default(), Limits::default(), clock);
    let service = Arc::new(service.with_apps(store, apps));
    service.maintain_keys(true).await?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(DemoError::Listen)?;
    let address = listener.local_addr().map_err(DemoError::Listen)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let server = authd::serve(listener, Arc::clone(&service), ServerLimits::default(), async {
        let _ = stopped.await;
    });
    let serving = tokio::spawn(server);
    let base = format!("http://{address}");
    say_step("server", &base);

    let scenes = Scene::all(&sample, &clouds);
    let client = Client::new();
    let mut failed = 0;
    for (number, scene) in (1..).zip(&scenes) {
        failed += usize::from(!scene.play(number, &base, &client).await?);
    }
    say("\nVisits of apps, through a proxy that asks authd for each:");
    let proxy = visits::Proxy { base: &base, client: &client, statements: &statements };
    let (visits, wrong) = proxy.show(scenes.len() + 1, &sample).await?;
    failed += wrong;
    let log = PgStore::connect(database_url, &store::Options::default()).await?;
    proxy.print_log(&log, &sample).await?;
    let all = scenes.len() + visits;
    if let Some(port) = port {
        // After either signal the folder and the database are removed.
        let mut interrupt = signal(SignalKind::interrupt()).map_err(DemoError::Signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(DemoError::Signals)?;
        say("\nThe server keeps running until Ctrl-C. These lines work in another terminal:\n");
        for scene in &scenes {
            let line = scene.curl(&base, folder.path()).map_err(DemoError::File)?;
            say(&format!("# {}\n{line}", scene.title));
        }
        let store = PgStore::connect(database_url, &store::Options::default()).await?;
        journey::start(store, for_browsers, &sample, port).await?;
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    }
    let _ = stop.send(());
    let _ = serving.await;
    service.drain_audit().await;

    match failed {
        0 => {
            say(&format!("\nAll {all} answers were as expected."));
            Ok(())
        }
        failed => Err(DemoError::Unexpected { failed, all }),
    }
}
