//! The whole path on one machine, with nothing configured
//!
//! Only the cloud is played: its key is made on the spot and trusted through a
//! trust folder, like any key an operator adds. Database, server, requests and
//! answers are real.

mod cloud;
mod fleet;
mod scenes;
mod visits;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_auth::Rules;
use identity_verify::Policy;
use private_postgres::Ephemeral;
use store::{Migrations, PgStore, StatementCounter};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use self::cloud::TestClouds;
use self::fleet::SampleFleet;
use self::scenes::Scene;
use super::serve::{blocking, private_settings};
use super::{CommandError, warn_of_unknown_environment};
use crate::cli::DemoArgs;
use crate::client::Client;
use crate::clock::system_clock;
use crate::server::ServerLimits;
use crate::trust::Trust;
use crate::{log, server};
use authd_http::{Limits, Service};

/// Shows sign-ins and visits of apps, refusals too, and whether each was answered as expected
pub(crate) async fn run(args: DemoArgs) -> Result<(), CommandError> {
    // The refusals below are the show; their log lines would be noise.
    log::start("error", None)?;
    warn_of_unknown_environment();
    say("authd demo: a private database, a sample fleet, test clouds, and the real server\n");

    let started = Instant::now();
    let settings = private_settings(args.postgres_bin.as_deref());
    let database = blocking(move || Ephemeral::start(&settings)).await?;
    let url = database.url("postgres");
    say_step("database", &format!("a private PostgreSQL in {}", milliseconds(started.elapsed())));

    let shown = show(&url, args.serve).await;
    blocking(move || {
        drop(database);
        Ok(())
    })
    .await?;
    shown
}

async fn show(database_url: &str, keep_serving: bool) -> Result<(), CommandError> {
    let started = Instant::now();
    let statements = StatementCounter::default();
    let options = store::Options::default().statements(statements.clone());
    let store = PgStore::connect(database_url, &options).await?;
    store.migrate(Migrations::All).await?;
    say_step("tables", &format!("migrated in {}", milliseconds(started.elapsed())));

    let sample = SampleFleet::new();
    store.load(&sample.rows).await?;
    say_step("fleet", &sample.summary());

    let folder = Folder::create().map_err(CommandError::DemoFile)?;
    let clock = system_clock();
    let clouds = TestClouds::new(clock());
    let trust_dir = folder.path().join("trust");
    clouds.publish(&trust_dir).map_err(CommandError::DemoFile)?;
    let trust = Trust::read(Some(&trust_dir))?;
    say_step("trust", &format!("what is built in, and test clouds in {}", trust_dir.display()));

    let identity = trust.into_identity(&Policy::default());
    let apps = visits::config().map_err(CommandError::DemoApps)?;
    let app = Service::new(store, identity, Rules::default(), Limits::default(), clock);
    let app = Arc::new(app.with_apps(apps));
    app.maintain_keys(true).await?;
    let any_port = ([127, 0, 0, 1], 0).into();
    let listener = TcpListener::bind(any_port)
        .await
        .map_err(|error| CommandError::Listen { address: any_port, error })?;
    let address =
        listener.local_addr().map_err(|error| CommandError::Listen { address: any_port, error })?;
    let (stop, stopped) = oneshot::channel::<()>();
    let serving =
        tokio::spawn(server::serve(listener, Arc::clone(&app), ServerLimits::default(), async {
            let _ = stopped.await;
        }));
    let base = format!("http://{address}");
    say_step("server", &base);

    let scenes = Scene::all(&sample, &clouds);
    let client = Client::new();
    let mut failed = 0;
    for (number, scene) in (1..).zip(&scenes) {
        failed += usize::from(!scene.play(number, &base, &client).await?);
    }
    say("\nVisits of apps, through a proxy that asks authd for each:");
    let next = scenes.len() + 1;
    let (visits, wrong) = visits::show(next, &sample, &base, &client, &statements).await?;
    failed += wrong;
    let log = PgStore::connect(database_url, &store::Options::default()).await?;
    visits::print_log(&log, &sample, &base, &client).await?;
    let all = scenes.len() + visits;
    if keep_serving {
        // Either leaves the folder and the database to be cleared away.
        let mut interrupt = signal(SignalKind::interrupt()).map_err(CommandError::Signals)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(CommandError::Signals)?;
        say("\nThe server keeps running until Ctrl-C. These lines work in another terminal:\n");
        for scene in &scenes {
            let line = scene.curl(&base, folder.path()).map_err(CommandError::DemoFile)?;
            say(&format!("# {}\n{line}", scene.title));
        }
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    }
    let _ = stop.send(());
    let _ = serving.await;
    app.drain_audit().await;

    match failed {
        0 => {
            say(&format!("\nAll {all} answers were as expected."));
            Ok(())
        }
        failed => Err(CommandError::Demo { failed, all }),
    }
}

/// A temporary folder for the trusted key and the proofs, removed at the end
struct Folder(PathBuf);

impl Folder {
    fn create() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("authd-demo-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn say_step(what: &str, how: &str) {
    say(&format!("  {what:<9} {how}"));
}

#[expect(clippy::print_stdout, reason = "what a demonstration is for")]
fn say(line: &str) {
    println!("{line}");
}

fn milliseconds(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}
